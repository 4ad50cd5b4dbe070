//! Content digests: parsed once, compared as bytes, verified while streaming.
//!
//! Only sha256 exists here. A digest from outside is text until [`Digest::from_str`] has accepted it, so no
//! unchecked string ever becomes a path or a request (CVE-2024-3727).

use std::{
    fmt,
    io::{self, Read, Write},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::error::Kind;

/// A sha256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// What can be wrong with a digest.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum DigestError {
    /// Not `sha256:` and 64 lower-case hexadecimal digits.
    #[error("{text:?} is not a digest (sha256: and 64 lower-case hexadecimal digits)")]
    Malformed {
        /// What was given, shortened.
        text: String,
    },
    /// Bytes that are not what they were said to be.
    #[error("{what} has digest {actual}, expected {expected}")]
    Mismatch {
        /// What was read.
        what: String,
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// More or fewer bytes than promised.
    #[error("{what} has {actual} bytes, expected {expected}")]
    WrongSize {
        /// What was read.
        what: String,
        /// What was promised.
        expected: u64,
        /// What came; for a stream that was cut off at the limit, at least this.
        actual: u64,
    },
}

impl DigestError {
    /// What a caller can decide on.
    pub fn kind(&self) -> Kind {
        match self {
            DigestError::Malformed { .. } => Kind::Invalid,
            DigestError::Mismatch { .. } | DigestError::WrongSize { .. } => Kind::Corrupt,
        }
    }
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// From the 64 hexadecimal digits alone, as in file names below `blobs/sha256`.
    pub fn from_hex(hex: &str) -> Result<Digest, DigestError> {
        let malformed = || DigestError::Malformed { text: hex.chars().take(80).collect() };
        let digits: &[u8; 64] = hex.as_bytes().try_into().map_err(|_| malformed())?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(nibble);
            *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or_else(malformed)?;
        }
        Ok(Digest(bytes))
    }

    /// The 64 hexadecimal digits without the algorithm.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// The first 12 hexadecimal digits: how people name an image.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }

    /// The chain ids of a stack of layers, lowest first (OCI image specification, "Layer ChainID").
    pub fn chain(diff_ids: &[Digest]) -> Vec<Digest> {
        let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            let id =
                chain.last().map_or(*diff_id, |parent| Digest::of(format!("{parent} {diff_id}").as_bytes()));
            chain.push(id);
        }
        chain
    }

    /// Fails unless `self` is what was promised; `what` is named in the message.
    pub fn expect(&self, expected: &Digest, what: &str) -> Result<(), DigestError> {
        match self == expected {
            true => Ok(()),
            false => Err(DigestError::Mismatch { what: what.into(), expected: *expected, actual: *self }),
        }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let malformed = || DigestError::Malformed { text: text.chars().take(80).collect() };
        Digest::from_hex(text.strip_prefix("sha256:").ok_or_else(malformed)?).map_err(|_| malformed())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Digests bytes as they come.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// With nothing in it yet.
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Digests and counts what is read through it.
#[derive(Debug)]
pub struct DigestReader<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
}

impl<R: Read> DigestReader<R> {
    /// Wraps a reader.
    pub fn new(inner: R) -> DigestReader<R> {
        DigestReader { inner, hasher: Hasher::new(), count: 0 }
    }

    /// Bytes read so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Digest and number of all bytes read. What was not read is not included: see [`DigestReader::drain`].
    pub fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.count)
    }

    /// Reads to the end, so that trailing bytes which a parser left are part of the digest.
    pub fn drain(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(drop)
    }
}

impl<R: Read> Read for DigestReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}

/// Digests and counts what is written through it.
#[derive(Debug)]
pub struct DigestWriter<W> {
    inner: W,
    hasher: Hasher,
    count: u64,
}

impl<W: Write> DigestWriter<W> {
    /// Wraps a writer.
    pub fn new(inner: W) -> DigestWriter<W> {
        DigestWriter { inner, hasher: Hasher::new(), count: 0 }
    }

    /// Bytes written so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The writer, the digest and the number of all bytes written.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.count)
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_and_bytes_agree() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
        assert_eq!(Digest::of(b"").short(), "e3b0c44298fc");
    }

    #[test]
    fn anything_but_the_one_form_is_refused() {
        let hex = &EMPTY[7..];
        for text in [
            "",
            "sha256:",
            hex,
            &format!("sha512:{hex}{hex}"),
            &format!("SHA256:{hex}"),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("sha256:{hex}0"),
            &format!("sha256:{}/../../../x", &hex[..52]),
            &format!("sha256:{}é", &hex[..62]),
            &format!(" {EMPTY}"),
            &format!("{EMPTY}\n"),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn streams_are_digested_and_counted() {
        let mut reader = DigestReader::new(&b"some bytes"[..]);
        let mut four = [0; 4];
        reader.read_exact(&mut four).unwrap();
        reader.drain().unwrap();
        assert_eq!(reader.finish(), (Digest::of(b"some bytes"), 10));
        let mut writer = DigestWriter::new(Vec::new());
        writer.write_all(b"some bytes").unwrap();
        assert_eq!(writer.finish(), (b"some bytes".to_vec(), Digest::of(b"some bytes"), 10));
    }

    #[test]
    fn chain_ids_start_with_the_lowest_diff_id() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let chain = Digest::chain(&[a, b]);
        assert_eq!(chain[0], a);
        assert_eq!(chain[1], Digest::of(format!("{a} {b}").as_bytes()));
    }
}
