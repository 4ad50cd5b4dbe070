//! Properties of a container's unit that annotations ask for: `org.systemd.property.NAME`, as with runc.
//!
//! Who writes a config.json may run what he likes as root, but engines copy annotations into it from where others write: an
//! image, a pod's manifest. With runc every property gets through, and some of them reach beyond the container: `Conflicts` ends
//! other units, `FailureAction` the machine, `PIDs` takes processes of the host into the container's cgroup. So there is a list,
//! of what concerns the container's own unit; and what we rely on ourselves (`Slice`, `Delegate`) is not in it.

use std::collections::BTreeMap;

use super::gvariant;
use super::message::Value;

const PREFIX: &str = "org.systemd.property.";
const MICROSECONDS: u64 = 1_000_000;

/// systemd.scope(5), systemd.kill(5) and, of systemd.unit(5), what neither starts nor stops anything else.
const OF_A_UNIT: [&str; 17] = [
    "After",
    "Before",
    "CollectMode",
    "DefaultDependencies",
    "Description",
    "Documentation",
    "FinalKillSignal",
    "IgnoreOnIsolate",
    "KillMode",
    "KillSignal",
    "OOMPolicy",
    "RestartKillSignal",
    "RuntimeMaxUSec",
    "RuntimeRandomizedExtraUSec",
    "SendSIGHUP",
    "SendSIGKILL",
    "TimeoutStopUSec",
];

/// systemd.resource-control(5). Limits of config.json come after them and count.
const OF_ITS_RESOURCES: [&str; 51] = [
    "AllowedCPUs",
    "AllowedMemoryNodes",
    "BlockIOAccounting",
    "BlockIOWeight",
    "CPUAccounting",
    "CPUQuotaPerSecUSec",
    "CPUQuotaPeriodUSec",
    "CPUShares",
    "CPUWeight",
    "DefaultMemoryLow",
    "DefaultMemoryMin",
    "DefaultStartupMemoryLow",
    "DevicePolicy",
    "IOAccounting",
    "IOWeight",
    "IPAccounting",
    "ManagedOOMMemoryPressure",
    "ManagedOOMMemoryPressureDurationUSec",
    "ManagedOOMMemoryPressureLimit",
    "ManagedOOMPreference",
    "ManagedOOMSwap",
    "MemoryAccounting",
    "MemoryHigh",
    "MemoryHighScale",
    "MemoryLimit",
    "MemoryLow",
    "MemoryLowScale",
    "MemoryMax",
    "MemoryMaxScale",
    "MemoryMin",
    "MemoryMinScale",
    "MemoryPressureThresholdUSec",
    "MemoryPressureWatch",
    "MemorySwapMax",
    "MemorySwapMaxScale",
    "MemoryZSwapMax",
    "MemoryZSwapWriteback",
    "StartupAllowedCPUs",
    "StartupAllowedMemoryNodes",
    "StartupBlockIOWeight",
    "StartupCPUShares",
    "StartupCPUWeight",
    "StartupIOWeight",
    "StartupMemoryHigh",
    "StartupMemoryLow",
    "StartupMemoryMax",
    "StartupMemorySwapMax",
    "StartupMemoryZSwapMax",
    "TasksAccounting",
    "TasksMax",
    "TasksMaxScale",
];

/// An annotation that cannot be followed.
#[derive(Debug)]
pub struct Refused {
    /// Its whole key.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Properties for a unit, sorted by name.
#[derive(Debug, Default)]
pub struct Properties(pub(super) Vec<(String, Value)>);

impl Properties {
    /// Those that `annotations` ask for. Other annotations mean nothing here.
    ///
    /// # Errors
    /// The first that is no property, is none that an annotation may set, or whose value is not in GVariant's text format.
    pub fn of<'a>(
        annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Properties, Refused> {
        let mut properties = BTreeMap::new();
        for (key, text) in annotations {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let refused = |reason: String| Refused { key: key.clone(), reason };
            let value = gvariant::parse(text).map_err(refused)?;
            let (name, value) = in_microseconds(name, value).map_err(refused)?;
            if !OF_A_UNIT.contains(&&*name) && !OF_ITS_RESOURCES.contains(&&*name) {
                let reason =
                    "is no property that an annotation may set: those of the container's own unit alone";
                return Err(refused(format!("{name} {reason}")));
            }
            if properties.insert(name.clone(), value).is_some() {
                return Err(refused(format!("{name} is set by another annotation, too")));
            }
        }
        Ok(Properties(properties.into_iter().collect()))
    }
}

/// In unit files times are seconds and end in `Sec`, on the bus they are microseconds and end in `USec`.
fn in_microseconds(name: &str, value: Value) -> Result<(String, Value), String> {
    let seconds =
        name.strip_suffix("Sec").filter(|stem| stem.ends_with(|letter: char| letter.is_ascii_lowercase()));
    let Some(stem) = seconds else { return Ok((name.to_owned(), value)) };
    let whole = match value {
        Value::Byte(number) => Some(u64::from(number)),
        Value::Int16(number) => number.try_into().ok(),
        Value::Uint16(number) => Some(u64::from(number)),
        Value::Int32(number) => number.try_into().ok(),
        Value::Uint32(number) => Some(u64::from(number)),
        Value::Int64(number) => number.try_into().ok(),
        Value::Number(number) => Some(number),
        Value::Double(number) => {
            let microseconds = number * MICROSECONDS as f64;
            // A larger one would be rounded, or none at all.
            let fits = (0.0..=2_f64.powi(53)).contains(&microseconds);
            let value = fits.then_some(Value::Number(microseconds as u64));
            return value.map(|value| (format!("{stem}USec"), value)).ok_or_else(|| out_of_range(name));
        }
        _ => return Err(format!("{name} is a number of seconds")),
    };
    let microseconds = whole.and_then(|seconds| seconds.checked_mul(MICROSECONDS));
    let value = Value::Number(microseconds.ok_or_else(|| out_of_range(name))?);
    Ok((format!("{stem}USec"), value))
}

fn out_of_range(name: &str) -> String {
    format!("{name} is not within what can be waited for")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(annotations: &[(&str, &str)]) -> Result<Vec<(String, Value)>, String> {
        let annotations: BTreeMap<String, String> =
            annotations.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        let properties = Properties::of(&annotations).map_err(|refused| {
            assert!(annotations.contains_key(&refused.key));
            refused.reason
        });
        properties.map(|properties| properties.0)
    }

    /// One property that `name` and `text` become.
    fn one(name: &str, text: &str) -> Result<(String, Value), String> {
        of(&[(&format!("{PREFIX}{name}"), text)]).map(|mut properties| properties.remove(0))
    }

    #[test]
    fn what_engines_and_users_write_becomes_properties() {
        let texts = Value::Array("s".to_owned(), vec![Value::Text("crio.service".to_owned())]);
        let annotations = [
            ("org.systemd.property.TimeoutStopUSec", "uint64 30000000"),
            ("org.systemd.property.After", "['crio.service']"),
            ("org.systemd.property.DefaultDependencies", "true"),
            ("org.systemd.property.CollectMode", "'inactive-or-failed'"),
            ("io.kubernetes.cri-o.Name", "not (a value"),
        ];
        let expected = [
            ("After", texts),
            ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
            ("DefaultDependencies", Value::Flag(true)),
            ("TimeoutStopUSec", Value::Number(30_000_000)),
        ];
        assert_eq!(of(&annotations).unwrap(), expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(of(&[]).unwrap(), []);
    }

    #[test]
    fn seconds_become_microseconds() {
        for (text, expected) in [
            ("456", 456_000_000),
            ("byte 234", 234_000_000),
            ("int16 2", 2_000_000),
            ("uint16 2", 2_000_000),
            ("uint32 2", 2_000_000),
            ("int64 2", 2_000_000),
            ("uint64 2", 2_000_000),
            ("234.789", 234_789_000),
            ("0", 0),
        ] {
            let expected = ("TimeoutStopUSec".to_owned(), Value::Number(expected));
            assert_eq!(one("TimeoutStopSec", text).unwrap(), expected, "{text}");
        }
        let in_it = one("CPUQuotaPerSecUSec", "uint64 500000").unwrap();
        assert_eq!(in_it, ("CPUQuotaPerSecUSec".to_owned(), Value::Number(500_000)));
        for text in ["-1", "-0.5", "1e300", "uint64 18446744073709551615", "'5'", "true", "['5']"] {
            assert!(one("TimeoutStopSec", text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_reaches_beyond_the_unit_is_refused() {
        for (name, text) in [
            ("Conflicts", "['ssh.service']"),
            ("PropagatesStopTo", "['ssh.service']"),
            ("Requires", "['evil.service']"),
            ("Wants", "['reboot.target']"),
            ("OnFailure", "['reboot.target']"),
            ("FailureAction", "'reboot-force'"),
            ("SuccessAction", "'poweroff'"),
            ("JobTimeoutAction", "'reboot'"),
            ("PIDs", "[uint32 1]"),
            ("Slice", "'system.slice'"),
            ("Delegate", "false"),
            ("ExecStart", "'/bin/sh'"),
            ("BPFProgram", "'x'"),
            ("", "1"),
            ("Sec", "1"),
            ("USec", "1"),
            ("aSec", "1"),
            ("kill mode", "1"),
            ("KillMode\n", "'none'"),
        ] {
            let reason = one(name, text).unwrap_err();
            assert!(reason.contains("no property that an annotation may set"), "{name}: {reason}");
        }
        assert!(one("KillMode", "none").unwrap_err().contains("a text needs quotes"));
        let twice = [
            ("org.systemd.property.RuntimeMaxSec", "1"),
            ("org.systemd.property.RuntimeMaxUSec", "uint64 1"),
        ];
        assert!(of(&twice).unwrap_err().contains("by another annotation"));
    }
}
