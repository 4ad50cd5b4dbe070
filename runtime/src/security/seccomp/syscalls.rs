//! The numbers of system calls in each ABI.
//!
//! libseccomp's tables, completed by two of ours: calls newer than the library (2.5.4 ends at 450, kernel 5.17),
//! and the direct forms of calls that 32-bit x86 also has as `socketcall` and `ipc`, for which the library gives
//! placeholders below zero.

use libseccomp::{ScmpArch, ScmpSyscall};

/// An ABI as a filter tells it: the audit token, and for x32 a bit in the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

/// Set in the number of every x32 call.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Calls since 5.17, with the same number in every ABI (x32: plus its bit). Kernel 6.18 ends at 469.
const NEWER: &[(&str, u32)] = &[
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
];

/// Calls that only 64-bit x86 has, newer than the library.
const NEWER_X86_64: &[(&str, u32)] = &[("uretprobe", 335), ("uprobe", 336)];

/// 32-bit x86: the direct call since kernel 4.3, and its number within `socketcall`.
const SOCKET_CALLS: &[(&str, Option<u32>, u32)] = &[
    ("socket", Some(359), 1),
    ("bind", Some(361), 2),
    ("connect", Some(362), 3),
    ("listen", Some(363), 4),
    ("accept", None, 5),
    ("getsockname", Some(367), 6),
    ("getpeername", Some(368), 7),
    ("socketpair", Some(360), 8),
    ("send", None, 9),
    ("recv", None, 10),
    ("sendto", Some(369), 11),
    ("recvfrom", Some(371), 12),
    ("shutdown", Some(373), 13),
    ("setsockopt", Some(366), 14),
    ("getsockopt", Some(365), 15),
    ("sendmsg", Some(370), 16),
    ("recvmsg", Some(372), 17),
    ("accept4", Some(364), 18),
    ("recvmmsg", Some(337), 19),
    ("sendmmsg", Some(345), 20),
];

/// 32-bit x86: the direct call since kernel 5.1, and its number within `ipc`.
const IPC_CALLS: &[(&str, Option<u32>, u32)] = &[
    ("semop", None, 1),
    ("semget", Some(393), 2),
    ("semctl", Some(394), 3),
    ("semtimedop", None, 4),
    ("msgsnd", Some(400), 11),
    ("msgrcv", Some(401), 12),
    ("msgget", Some(399), 13),
    ("msgctl", Some(402), 14),
    ("shmat", Some(397), 21),
    ("shmdt", Some(398), 22),
    ("shmget", Some(395), 23),
    ("shmctl", Some(396), 24),
];

impl Abi {
    /// The ABI of this program.
    #[cfg(target_arch = "x86_64")]
    pub(super) const NATIVE: Abi = Abi::X86_64;
    /// The ABI of this program.
    #[cfg(target_arch = "aarch64")]
    pub(super) const NATIVE: Abi = Abi::Aarch64;

    /// True if a kernel of our own architecture can run it.
    pub(super) fn runs_here(self) -> bool {
        match Abi::NATIVE {
            Abi::Aarch64 => matches!(self, Abi::Aarch64 | Abi::Arm),
            _ => matches!(self, Abi::X86_64 | Abi::X86 | Abi::X32),
        }
    }

    /// `AUDIT_ARCH_*`, which x32 shares with x86-64.
    pub(super) fn audit_token(self) -> u32 {
        match self {
            Abi::X86_64 | Abi::X32 => 0xc000_003e,
            Abi::X86 => 0x4000_0003,
            Abi::Aarch64 => 0xc000_00b7,
            Abi::Arm => 0x4000_0028,
        }
    }

    /// True if arguments have 32 bits, so that only the lower half of a value counts.
    pub(super) fn is_32_bit(self) -> bool {
        matches!(self, Abi::X86 | Abi::Arm)
    }

    /// The call's own number in this ABI, if it has one.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        match ScmpSyscall::from_name_by_arch(name, self.library_token()) {
            Ok(found) => u32::try_from(found.as_raw_syscall()).ok().or_else(|| {
                // Below zero: known to the library, but absent in this ABI or with its direct form in our table.
                if self == Abi::X86 { multiplexed(name)?.1 } else { None }
            }),
            Err(_) if self == Abi::X86_64 => find(NEWER, name).or_else(|| find(NEWER_X86_64, name)),
            Err(_) if self == Abi::X32 => find(NEWER, name).map(|number| number | X32_BIT),
            Err(_) => find(NEWER, name),
        }
    }

    /// The multiplexing call and the selector in its first argument through which 32-bit x86 also reaches a call.
    pub(super) fn multiplexer(self, name: &str) -> Option<(u32, u32)> {
        const SOCKETCALL: u32 = 102;
        const IPC: u32 = 117;
        // Every such name begins with one of these letters; most names do not, and this runs for each of them.
        if self != Abi::X86 || !name.starts_with(['a', 'b', 'c', 'g', 'l', 'm', 'r', 's']) {
            return None;
        }
        let (family, _, selector) = multiplexed(name)?;
        Some((if family == Family::Socket { SOCKETCALL } else { IPC }, selector))
    }

    fn library_token(self) -> ScmpArch {
        match self {
            Abi::X86_64 => ScmpArch::X8664,
            Abi::X86 => ScmpArch::X86,
            Abi::X32 => ScmpArch::X32,
            Abi::Aarch64 => ScmpArch::Aarch64,
            Abi::Arm => ScmpArch::Arm,
        }
    }
}

/// True if any ABI that we know has or had such a call.
pub(super) fn is_known(name: &str) -> bool {
    find(NEWER, name).is_some()
        || find(NEWER_X86_64, name).is_some()
        || ScmpSyscall::from_name_by_arch(name, Abi::NATIVE.library_token()).is_ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Socket,
    Ipc,
}

fn multiplexed(name: &str) -> Option<(Family, Option<u32>, u32)> {
    let in_table = |table: &[(&str, Option<u32>, u32)], family| {
        let entry = table.iter().find(|(known, ..)| *known == name)?;
        Some((family, entry.1, entry.2))
    };
    in_table(SOCKET_CALLS, Family::Socket).or_else(|| in_table(IPC_CALLS, Family::Ipc))
}

fn find(table: &[(&str, u32)], name: &str) -> Option<u32> {
    table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}
