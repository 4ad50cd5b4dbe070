//! System call filters: from `linux.seccomp` to classic BPF.
//!
//! The translation is ours; libseccomp knows the numbers of system calls and, in the tests, is the oracle that our
//! programs are compared with. Three things are asked of a filter that the library's generator does not give:
//!
//! - a 32-bit program reaches `socket` also through `socketcall`, whose arguments no filter can see. The library
//!   adds that way to every rule on `socket`, dropping its conditions; here a rule with conditions allows the direct
//!   call alone (CVE-2026-31431 through CVE-2026-123876);
//! - system calls newer than the profile answer ENOSYS, so that the C library falls back; EPERM would break it.
//!   That needs a program before the library's, as runc has it, and names newer than the library;
//! - the library takes 5 ms and more for the default profile, so that others cache its programs. A search tree over
//!   ranges of numbers is made in 0.1 ms. To find, read and check a cached one would save half of that, for a folder
//!   whose content must be neither stale nor forged: so there is no cache. The kernel loads the shorter program
//!   faster, too.
//!
//! Of several rules for a call, one without conditions decides; else the first whose conditions hold; else the
//! default action. An ABI that the profile does not list is killed: its numbers mean other calls.

mod assemble;
mod profile;
mod syscalls;

use std::os::fd::OwnedFd;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use rustix::io::Errno;

pub use profile::default_profile;
use syscalls::Abi;

use super::Notice;
use crate::error::Kind;
use crate::sys::seccomp::{Instruction, NEW_LISTENER, is_flag_known, set_filter, set_filter_with_listener};

const FLAG_TSYNC: u32 = 1 << 0;
const FLAG_LOG: u32 = 1 << 1;
const FLAG_SPEC_ALLOW: u32 = 1 << 2;
const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// The actions of a profile.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// The comparisons of an argument.
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// The architectures whose calls are translated.
pub const ARCHITECTURES: [&str; 5] =
    ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"];

/// The flags of a profile, each with its bit.
const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", FLAG_LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", FLAG_SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_TSYNC", FLAG_TSYNC),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", FLAG_WAIT_KILLABLE_RECV),
];

/// The flags of a profile by name.
pub fn known_flags() -> Vec<&'static str> {
    FLAGS.iter().map(|(name, _)| *name).collect()
}

/// Those that this kernel takes.
pub fn supported_flags() -> Vec<&'static str> {
    FLAGS.iter().filter(|(_, bit)| is_flag_known(*bit)).map(|(name, _)| *name).collect()
}

/// The kernel returns no error number above this one.
const LARGEST_ERRNO: u32 = 4095;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// A profile that cannot become a filter.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A field is wrong.
    #[error("linux.seccomp.{field}: {reason}")]
    Invalid {
        /// Where, below `linux.seccomp`.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// A field asks for something that we do not do.
    #[error("linux.seccomp.{field}: {what} is not supported")]
    Unsupported {
        /// Where, below `linux.seccomp`.
        field: String,
        /// What is asked for.
        what: &'static str,
    },
    /// More instructions than the kernel takes.
    #[error("linux.seccomp: the filter has {length} instructions, the kernel takes 4096")]
    TooLong {
        /// Instructions needed.
        length: usize,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Invalid { .. } | Error::TooLong { .. } => Kind::InvalidSpec,
            Error::Unsupported { .. } => Kind::Unsupported,
        }
    }
}

/// A filter ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
    flags: u32,
    listened: bool,
}

impl Program {
    /// Does it hand calls over to a listener? Then it is loaded by [`Program::install_with_listener`].
    pub fn has_listener(&self) -> bool {
        self.listened
    }

    /// As [`Program::install`], for a filter that hands calls over: returns the descriptor by which they are answered.
    pub fn install_with_listener(&self) -> Result<OwnedFd, Errno> {
        set_filter_with_listener(&self.instructions, self.flags)
    }

    /// Loads the filter into the calling thread in one call, without allocating.
    ///
    /// Needs no_new_privs, and then comes last before execve; without it, CAP_SYS_ADMIN, and then comes before the
    /// capabilities are dropped, and every later call of the set-up must be one that the profile allows.
    pub fn install(&self) -> Result<(), Errno> {
        set_filter(&self.instructions, self.flags)
    }

    /// The `SECCOMP_FILTER_FLAG_*` that it is loaded with.
    pub fn flags(&self) -> u32 {
        if self.listened { self.flags | NEW_LISTENER } else { self.flags }
    }

    /// The number of instructions.
    pub fn length(&self) -> usize {
        self.instructions.len()
    }
}

/// Translates a profile. The notices name denied system calls that no kernel known to us has.
pub fn compile(profile: &LinuxSeccomp) -> Result<(Program, Vec<Notice>), Error> {
    let listened = listened(profile)?;
    let default_errno = profile.default_errno_ret();
    let default = action(profile.default_action(), default_errno, EPERM, || "defaultErrnoRet".to_owned())?;
    let mut rules = Vec::new();
    let mut notices = Vec::new();
    for (index, entry) in profile.syscalls().iter().flatten().enumerate() {
        let field = || format!("syscalls[{index}]");
        let value = action(entry.action(), entry.errno_ret(), default_errno.unwrap_or(EPERM), || {
            format!("{}.errnoRet", field())
        })?;
        let alternatives = alternatives(entry, &field())?;
        for name in entry.names() {
            if entry.action() != Action::ScmpActAllow && !syscalls::is_known(name) {
                notices.push(Notice {
                    setting: format!("linux.seccomp.{}", field()),
                    reason: format!("unknown system call {name:?}, left out"),
                });
            }
            rules.extend(alternatives.iter().map(|conditions| Rule {
                name,
                conditions: conditions.clone(),
                value,
            }));
        }
    }
    let stub = matches!(
        profile.default_action(),
        Action::ScmpActErrno
            | Action::ScmpActKill
            | Action::ScmpActKillThread
            | Action::ScmpActKillProcess
            | Action::ScmpActTrap
    );
    let beyond = if stub { errno_value(ENOSYS) } else { default };
    let instructions = assemble::program(&abis(profile), &rules, default, beyond)?;
    Ok((Program { instructions, flags: flags(profile), listened }, notices))
}

/// One system call, one conjunction of conditions, one result.
#[derive(Debug, Clone)]
struct Rule<'a> {
    name: &'a str,
    conditions: Vec<Condition>,
    value: u32,
}

/// A comparison of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Condition {
    index: u32,
    operator: Operator,
    value: u64,
    /// The value to compare with after masking, for `SCMP_CMP_MASKED_EQ`.
    masked: u64,
}

/// Does any rule hand calls over?
fn hands_over(profile: &LinuxSeccomp) -> bool {
    profile.syscalls().iter().flatten().any(|entry| entry.action() == Action::ScmpActNotify)
}

/// Whether calls are handed over, and whether that can be: somebody has to listen, and the process must be able to say so.
fn listened(profile: &LinuxSeccomp) -> Result<bool, Error> {
    let invalid = |field: &str, reason: &str| {
        Err(Error::Invalid { field: field.to_owned(), reason: reason.to_owned() })
    };
    if profile.default_action() == Action::ScmpActNotify {
        return invalid("defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action");
    }
    let notifies = |entry: &LinuxSyscall| entry.action() == Action::ScmpActNotify;
    for (index, entry) in profile.syscalls().iter().flatten().enumerate().filter(|(_, entry)| notifies(entry))
    {
        // By this one the process tells the runtime of the listener.
        if entry.names().iter().any(|name| name == "write") {
            let reason = "SCMP_ACT_NOTIFY cannot be used for the write syscall";
            return invalid(&format!("syscalls[{index}].names"), reason);
        }
    }
    let listened = hands_over(profile);
    if listened && profile.listener_path().is_none() {
        return invalid("listenerPath", "it is missing, and a rule hands calls over to a listener");
    }
    Ok(listened)
}

/// The filter's return value for an action.
fn action(
    action: Action,
    errno: Option<u32>,
    default_errno: u32,
    field: impl Fn() -> String,
) -> Result<u32, Error> {
    let takes_errno = matches!(action, Action::ScmpActErrno | Action::ScmpActTrace);
    match errno {
        Some(_) if !takes_errno => Err(Error::Invalid {
            field: field(),
            reason: "only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take a number".to_owned(),
        }),
        Some(number) if number > LARGEST_ERRNO => Err(Error::Invalid {
            field: field(),
            reason: format!("{number} is not an error number (at most {LARGEST_ERRNO})"),
        }),
        _ if takes_errno => Ok(action.as_u32(Some(errno.unwrap_or(default_errno)))),
        _ => Ok(action.as_u32(None)),
    }
}

fn errno_value(errno: u32) -> u32 {
    Action::ScmpActErrno.as_u32(Some(errno))
}

/// An entry's conditions as alternatives of conjunctions.
///
/// All conditions must hold, but where one argument appears twice each condition stands alone: so runc reads the
/// specification, and profiles rely on it.
fn alternatives(entry: &LinuxSyscall, field: &str) -> Result<Vec<Vec<Condition>>, Error> {
    let arguments = entry.args().as_deref().unwrap_or_default();
    let conditions = arguments
        .iter()
        .enumerate()
        .map(|(index, argument)| condition(argument, || format!("{field}.args[{index}]")))
        .collect::<Result<Vec<_>, _>>()?;
    let repeated = conditions
        .iter()
        .enumerate()
        .any(|(at, one)| conditions[..at].iter().any(|other| other.index == one.index));
    if repeated {
        return Ok(conditions.into_iter().map(|condition| vec![condition]).collect());
    }
    Ok(vec![conditions])
}

fn condition(argument: &LinuxSeccompArg, field: impl Fn() -> String) -> Result<Condition, Error> {
    let index = argument.index();
    if index > 5 {
        return Err(Error::Invalid {
            field: format!("{}.index", field()),
            reason: format!("{index} is not an argument (0 to 5)"),
        });
    }
    Ok(Condition {
        index: index as u32,
        operator: argument.op(),
        value: argument.value(),
        masked: argument.value_two().unwrap_or(0),
    })
}

/// The ABIs that the filter knows: always the native one, and those of the profile that this machine can run.
fn abis(profile: &LinuxSeccomp) -> Vec<Abi> {
    let mut abis = vec![Abi::NATIVE];
    for arch in profile.architectures().iter().flatten() {
        let abi = match arch {
            Arch::ScmpArchX86_64 => Abi::X86_64,
            Arch::ScmpArchX86 => Abi::X86,
            Arch::ScmpArchX32 => Abi::X32,
            Arch::ScmpArchAarch64 => Abi::Aarch64,
            Arch::ScmpArchArm => Abi::Arm,
            // No process of this machine can make calls of any other.
            _ => continue,
        };
        if abi.runs_here() && !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    abis
}

fn flags(profile: &LinuxSeccomp) -> u32 {
    let bit = |flag: &Flag| match flag {
        // A process that loads a filter here has one thread: there is nobody to bring along.
        Flag::SeccompFilterFlagTsync => 0,
        Flag::SeccompFilterFlagLog => FLAG_LOG,
        Flag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
        // Means nothing, and is refused by the kernel, where nobody listens.
        Flag::SeccompFilterFlagWaitKillableRecv if !hands_over(profile) => 0,
        Flag::SeccompFilterFlagWaitKillableRecv => FLAG_WAIT_KILLABLE_RECV,
    };
    match profile.flags() {
        Some(flags) => flags.iter().map(bit).fold(0, |flags, bit| flags | bit),
        // As runc: without a word a filter does not slow its process down by the mitigation of speculative stores.
        None => FLAG_SPEC_ALLOW,
    }
}

#[cfg(test)]
mod tests;
