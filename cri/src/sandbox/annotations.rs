//! Annotations of a pod that plugins of the network understand. Nothing else follows an annotation here: they reach a
//! node from people who may not decide about it (CVE-2024-3154, CVE-2023-6476).

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// Bits per second that Kubernetes accepts.
const RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;
/// As much as the plugins take.
const BURST: u64 = u32::MAX as u64;

/// The value of the capability `bandwidth`; `None` if nothing is limited.
pub fn bandwidth(annotations: &HashMap<String, String>) -> Result<Option<Value>> {
    let mut limits = Map::new();
    for (name, rate, burst) in
        [(INGRESS, "ingressRate", "ingressBurst"), (EGRESS, "egressRate", "egressBurst")]
    {
        if let Some(text) = annotations.get(name) {
            let bits = quantity(text).filter(|bits| RATES.contains(bits));
            let bits = bits.ok_or_else(|| {
                Error::invalid(format!("annotation {name}"), format!("{text:?} is not between 1k and 1P"))
            })?;
            limits.insert(rate.to_owned(), json!(bits));
            limits.insert(burst.to_owned(), json!(BURST));
        }
    }
    Ok((!limits.is_empty()).then_some(Value::Object(limits)))
}

/// A quantity of Kubernetes that is a whole number: digits, perhaps a fraction, and a unit.
fn quantity(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut value = u128::from(whole.parse::<u64>().ok()?) * u128::from(factor);
    if !fraction.is_empty() {
        let places = u32::try_from(fraction.len()).ok().filter(|places| *places <= 15)?;
        value += u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor) / 10u128.pow(places);
    }
    u64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, value) in [("10M", 10_000_000), ("1.5k", 1_500), ("1000", 1_000), ("1Ki", 1_024)] {
            assert_eq!(quantity(text), Some(value), "{text}");
        }
        for bad in ["", "M", "-1", "1 M", "1e3", "1.2.3", "9999999999999999999P"] {
            assert_eq!(quantity(bad), None, "{bad}");
        }
    }

    #[test]
    fn limits_become_plugin_arguments() {
        let annotations = |name: &str, value: &str| HashMap::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(bandwidth(&HashMap::new()).unwrap(), None);
        let limits = bandwidth(&annotations(EGRESS, "10M")).unwrap().unwrap();
        assert_eq!(limits, json!({"egressRate": 10_000_000, "egressBurst": 4_294_967_295u64}));
        assert!(bandwidth(&annotations(INGRESS, "10")).is_err());
    }
}
