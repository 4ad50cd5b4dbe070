//! What the machine refused and nobody insisted on: clamped, said once, shown in the container's state.

use std::fmt;

/// A setting that was narrowed or left out, and why. Never a security setting: those fail instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The field of the specification, such as `process.rlimits[RLIMIT_NOFILE]`.
    pub setting: String,
    /// What was done instead and why.
    pub reason: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.setting, self.reason)
    }
}
