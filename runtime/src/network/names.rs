//! Names that become parts of paths, of variables and of rules of other programs.

use super::error::{Error, Result};

/// Interface names have at most 15 bytes (`IFNAMSIZ`).
const MOST_INTERFACE: usize = 15;
/// A cache file is named after network, container and interface, and file names have at most 255 bytes.
const MOST_NAME: usize = 110;

/// The rule of CNI for networks and containers: letters, digits and `_.-`, the first a letter or digit.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= MOST_NAME
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// Checks the name of a network or container.
pub(super) fn check(what: &'static str, name: &str) -> Result<()> {
    refuse_unless(
        is_name(name),
        what,
        name,
        "a name has at most 110 letters, digits and \"_.-\", and begins with a letter or digit",
    )
}

/// Is this the name of an interface? The kernel's rule, and CNI's.
pub(super) fn is_interface(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MOST_INTERFACE
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}

/// Checks the name of an interface.
pub(super) fn check_interface(name: &str) -> Result<()> {
    refuse_unless(
        is_interface(name),
        "network interface",
        name,
        "a name has 1 to 15 bytes without \"/\", \":\" and space",
    )
}

/// Checks an argument for `CNI_ARGS`, which has no way to quote.
pub(super) fn check_argument(key: &str, value: &str) -> Result<()> {
    let plain = |text: &str| !text.contains(|c: char| c == ';' || c.is_control());
    let whole = !key.is_empty() && !key.contains('=') && plain(key) && plain(value);
    refuse_unless(
        whole,
        "network argument",
        &format!("{key}={value}"),
        "it cannot be passed to plugins: no \";\" and no control characters",
    )
}

fn refuse_unless(right: bool, what: &'static str, value: &str, reason: &'static str) -> Result<()> {
    if right { Ok(()) } else { Err(Error::Value { what, value: value.to_owned(), reason }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        for good in ["hull", "k8s-pod.network_1", "0"] {
            assert!(check("network", good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-x", "a/b", "a b", "a\0", "ä", &"n".repeat(111)] {
            assert!(check("network", bad).is_err(), "{bad:?}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "sixteen-bytes-16"] {
            assert!(check_interface(bad).is_err(), "{bad:?}");
        }
        assert!(check_interface("eth0.100").is_ok());
    }

    #[test]
    fn arguments_cannot_add_arguments() {
        assert!(check_argument("K8S_POD_NAME", "web=1").is_ok());
        for (key, value) in [("", "x"), ("a=b", "x"), ("a", "x;b=y"), ("a", "x\n"), ("a;b", "x")] {
            assert!(check_argument(key, value).is_err(), "{key}={value}");
        }
    }
}
