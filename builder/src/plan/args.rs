//! Variables: build arguments, the global scope before the first FROM, and the scope of a stage.
//!
//! Order of values for a stage's `ARG NAME`: `--build-arg`, its default, the global value, the platform's value. ENV
//! and ARG share one scope in which the later instruction wins; only ENV reaches the image's config.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;

use image::document::Platform;

use crate::dockerfile::Lookup;

/// Arguments that RUN sees without ARG, and that identify nothing.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Arguments that are addressed to the builder, not to a file.
const SPECIAL: [&str; 10] = [
    "BUILDKIT_SYNTAX",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_SBOM_SCAN_CONTEXT",
    "BUILDKIT_SBOM_SCAN_STAGE",
];

/// `--build-arg` options, in order; the last of a name counts.
#[derive(Debug, Default)]
pub struct BuildArgs {
    values: Vec<(String, String)>,
    used: RefCell<BTreeSet<String>>,
}

impl BuildArgs {
    /// Takes the pairs of the command line.
    pub fn new(values: Vec<(String, String)>) -> BuildArgs {
        BuildArgs { values, used: RefCell::default() }
    }

    /// The value given for a declared name.
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().rev().find(|(given, _)| given == name)?;
        self.used.borrow_mut().insert(name.to_owned());
        Some(&found.1)
    }

    /// Proxy settings as `NAME=value`.
    pub fn proxies(&self) -> Vec<String> {
        self.values
            .iter()
            .filter(|(name, _)| is_proxy(name))
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    /// Names that nobody declared, in order.
    pub fn unused(&self) -> Vec<&str> {
        let used = self.used.borrow();
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in &self.values {
            if !used.contains(name) && !is_predefined(name) && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }
}

/// Whether this is one of the proxy variables, in either case.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| *proxy == name || proxy.to_ascii_lowercase() == name)
}

fn is_predefined(name: &str) -> bool {
    is_proxy(name) || name == "SOURCE_DATE_EPOCH" || SPECIAL.contains(&name)
}

/// The values that the machine and the target give: declared by `ARG NAME` to be seen.
pub fn platform_values(platform: &Platform, target: &str) -> Vec<(String, String)> {
    let variant = platform.variant.clone().unwrap_or_default();
    let with_variant = if variant.is_empty() { String::new() } else { format!("/{variant}") };
    let whole = format!("{}/{}{with_variant}", platform.os, platform.architecture);
    let mut values = vec![("TARGETSTAGE".to_owned(), target.to_owned())];
    for side in ["TARGET", "BUILD"] {
        for (suffix, value) in [
            ("PLATFORM", whole.as_str()),
            ("OS", platform.os.as_str()),
            ("OSVERSION", ""),
            ("ARCH", platform.architecture.as_str()),
            ("VARIANT", variant.as_str()),
        ] {
            values.push((format!("{side}{suffix}"), value.to_owned()));
        }
    }
    values
}

/// A set of variables in order of their first appearance.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    list: Vec<(String, String)>,
}

impl Variables {
    /// Takes `NAME=value` entries; those without `=` are dropped, never completed from our own environment.
    pub fn from_env(env: &[String]) -> Variables {
        let mut variables = Variables::default();
        for entry in env {
            if let Some((name, value)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) {
                variables.set(name, value);
            }
        }
        variables
    }

    /// Sets a variable, in its old place if it has one.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.list.iter_mut().find(|(existing, _)| existing == name) {
            Some((_, existing)) => value.clone_into(existing),
            None => self.list.push((name.to_owned(), value.to_owned())),
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.list.iter().find(|(existing, _)| existing == name).map(|(_, value)| value.as_str())
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|(name, _)| name.as_str())
    }

    /// As `NAME=value` entries, in order.
    pub fn to_env(&self) -> Vec<String> {
        self.list.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

impl Lookup for Variables {
    fn lookup(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_names_are_told_once_and_proxies_never() {
        let pairs = [("A", "1"), ("B", "2"), ("B", "3"), ("http_proxy", "p"), ("A", "4")];
        let args = BuildArgs::new(pairs.map(|(name, value)| (name.into(), value.into())).to_vec());
        assert_eq!(args.value("A"), Some("4"));
        assert_eq!(args.unused(), ["B"]);
        assert_eq!(args.proxies(), ["http_proxy=p"]);
    }

    #[test]
    fn entries_without_a_value_are_dropped() {
        let variables = Variables::from_env(&["A=1", "PATH", "=x", "B=", "A=2"].map(str::to_owned));
        assert_eq!(variables.to_env(), ["A=2", "B="]);
    }

    #[test]
    fn the_machine_has_values() {
        let platform = Platform { architecture: "arm64".into(), os: "linux".into(), ..Platform::default() };
        let values = platform_values(&platform, "default");
        assert!(values.contains(&("TARGETPLATFORM".into(), "linux/arm64".into())));
        assert!(values.contains(&("BUILDVARIANT".into(), String::new())));
    }
}
