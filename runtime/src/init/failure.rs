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
            const ALL: &'static [Step] = &[$(Step::$name),*];

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

    /// The failure as bytes: step, errno, object.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Cut to what a reader takes in one piece; only the words of a message can be lost.
        const LONGEST: usize = 3000;
        let object = &self.object.as_bytes()[..self.object.len().min(LONGEST)];
        let mut bytes = vec![self.step as u8];
        bytes.extend(self.errno.raw_os_error().to_le_bytes());
        bytes.extend(object);
        bytes
    }

    /// Reads [`StepFailure::encode`]'s bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<StepFailure> {
        let (&step, rest) = bytes.split_first()?;
        let (errno, object) = rest.split_first_chunk::<4>()?;
        Some(StepFailure {
            step: *Step::ALL.get(usize::from(step))?,
            object: String::from_utf8_lossy(object).into_owned(),
            errno: Errno::from_raw_os_error(i32::from_le_bytes(*errno)),
        })
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
    fn failures_cross_as_data() {
        for &step in Step::ALL {
            let failure = StepFailure { step, object: "proc at /proc".to_owned(), errno: Errno::PERM };
            assert_eq!(StepFailure::decode(&failure.encode()), Some(failure));
        }
        assert_eq!(StepFailure::decode(&[]), None);
        assert_eq!(StepFailure::decode(&[0, 1, 0]), None);
        assert_eq!(StepFailure::decode(&[250, 1, 0, 0, 0]), None);
    }

    #[test]
    fn the_user_reads_step_object_and_errno() {
        let failure = StepFailure::of(Step::Mount, "proc at /proc")(Errno::PERM);
        assert_eq!(failure.to_string(), "cannot mount proc at /proc: EPERM");
    }
}
