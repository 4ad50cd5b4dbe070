//! A failing step as data: which step, of what, and why.

use std::fmt;

use rustix::io::Errno;

/// Declares the steps with the words that follow "cannot". The numbers cross from child to parent.
macro_rules! steps {
    ($($(#[$meta:meta])* $name:ident = $words:literal,)*) => {
        /// What the child was doing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step { $($(#[$meta])* $name,)* }

        impl Step {
            /// All of them, by their numbers.
            pub(super) const ALL: &'static [Step] = &[$(Step::$name),*];

            fn words(self) -> &'static str {
                match self { $(Step::$name => $words,)* }
            }
        }
    };
}

steps! {
    /// Waiting for or telling the parent.
    Talk = "exchange messages with the runtime about",
    /// Entering a cgroup.
    Cgroup = "enter",
    /// Becoming root of a new user namespace.
    BecomeRoot = "become root in",
    /// Joining an existing namespace.
    JoinNamespace = "join the",
    /// Creating a namespace that could not be made at clone.
    CreateNamespace = "create the",
    /// Leading a session.
    Session = "start",
    /// A keyring of its own.
    Keyring = "join",
    /// Host or domain name.
    Name = "set the",
    /// Mount propagation.
    Propagation = "set the propagation of",
    /// Attaching the root file system.
    AttachRoot = "attach",
    /// Making a place to mount on.
    Target = "prepare the mount point",
    /// Mounting.
    Mount = "mount",
    /// Making a device.
    Device = "create the device",
    /// Making a default link.
    Link = "create the link",
    /// A kernel parameter.
    Sysctl = "write the sysctl",
    /// Hiding a path.
    Mask = "mask",
    /// A read-only path or root.
    ReadOnly = "make read-only",
    /// Changing the root.
    Pivot = "pivot to",
    /// The terminal.
    Console = "set up",
    /// The standard streams.
    Stdio = "set up the stream",
    /// The network namespace's own device.
    Loopback = "bring up",
    /// A resource limit.
    Limit = "set the limit",
    /// Scheduling.
    Schedule = "set",
    /// A label of a security module.
    Label = "set",
    /// Users and groups.
    User = "set",
    /// Capability sets.
    Capabilities = "set",
    /// The promise to gain no privileges.
    NoNewPrivileges = "set",
    /// The system call filter.
    Seccomp = "load",
    /// Closing what the command must not have.
    Descriptors = "close",
    /// The working directory.
    WorkingDirectory = "change to the working directory",
    /// Finding the command.
    Find = "find",
    /// Executing the command.
    Execute = "execute",
    /// A fault that a test asked for.
    Fault = "pass",
}

/// A step that failed, with its object and cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// The step.
    pub step: Step,
    /// What it was done to.
    pub object: String,
    /// The cause.
    pub errno: Errno,
}

impl StepFailure {
    /// A failure of `step` on `object`, for `map_err`.
    pub fn of(step: Step, object: impl Into<String>) -> impl FnOnce(Errno) -> StepFailure {
        let object = object.into();
        move |errno| StepFailure { step, object, errno }
    }
}

impl fmt::Display for StepFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = nix::errno::Errno::from_raw(self.errno.raw_os_error());
        write!(formatter, "cannot {} {}: {errno:?}", self.step.words(), self.object)
    }
}

impl std::error::Error for StepFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_reads_step_object_and_errno() {
        let failure = StepFailure::of(Step::Mount, "proc at /proc")(Errno::PERM);
        assert_eq!(failure.to_string(), "cannot mount proc at /proc: EPERM");
    }
}
