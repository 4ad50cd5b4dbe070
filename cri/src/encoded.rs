//! Requests of the kubelet inside of our records: protobuf as base64, so that a newer or older `rcri` reads what it
//! knows and skips the rest, as on the wire. As JSON every new field of the API would make old records unreadable.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest request that is kept, in bytes. The API server takes 256 KiB of annotations.
pub const LONGEST: usize = 1 << 20;

/// A message that is kept as base64.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded<T>(pub T);

impl<T: Message> Serialize for Encoded<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0.encode_to_vec()))
    }
}

impl<'de, T: Message + Default> Deserialize<'de> for Encoded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Encoded<T>, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        T::decode(bytes.as_slice()).map(Encoded).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::ContainerMetadata;

    use super::*;

    #[test]
    fn a_message_survives_and_unknown_fields_do_not_hurt() {
        let metadata = ContainerMetadata { name: "web".to_owned(), attempt: 3 };
        let text = serde_json::to_string(&Encoded(metadata.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Encoded<ContainerMetadata>>(&text).unwrap().0, metadata);
        let mut newer = metadata.encode_to_vec();
        newer.extend([0xf8, 0x07, 1]);
        let text = format!("{:?}", STANDARD.encode(newer));
        assert_eq!(serde_json::from_str::<Encoded<ContainerMetadata>>(&text).unwrap().0, metadata);
        for bad in ["\"%\"", "\"/////w==\"", "1"] {
            assert!(serde_json::from_str::<Encoded<ContainerMetadata>>(bad).is_err(), "{bad}");
        }
    }
}
