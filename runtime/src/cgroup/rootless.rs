//! Who may make no cgroup, and whether his containers go without.

use super::mounts::read_whole;
use crate::sys::process::effective_user;

/// May a container go without a cgroup where the kernel refuses one, if its config.json names neither a cgroup nor limits?
/// (`--rootless`)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rootless {
    /// If its user is not root of the machine.
    Auto,
    /// Yes.
    Yes,
    /// No: it is an error.
    No,
}

impl Rootless {
    /// The answer. Asked only after a refusal, so that root pays nothing for it.
    pub(crate) fn applies(self) -> bool {
        match self {
            Rootless::Auto => effective_user() != 0 || in_user_namespace(),
            Rootless::Yes => true,
            Rootless::No => false,
        }
    }
}

/// Is this process in a user namespace other than the machine's first, whose map is the identity of all ids? A kernel
/// without user namespaces has no map to read.
pub fn in_user_namespace() -> bool {
    let Ok(map) = read_whole("/proc/self/uid_map") else { return false };
    !String::from_utf8_lossy(&map).split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_given_counts() {
        assert!(Rootless::Yes.applies());
        assert!(!Rootless::No.applies());
        assert_eq!(Rootless::Auto.applies(), effective_user() != 0 || in_user_namespace());
    }
}
