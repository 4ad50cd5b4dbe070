//! The translation, run in an interpreter: against libseccomp's own programs, and against attacks on the default
//! profile in every ABI.

use std::collections::HashSet;
use std::io::{Read, Seek};
use std::os::fd::AsFd;

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::Capability;

use super::*;
use crate::spec::defaults;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const DENY: u32 = 0x0005_0001;
const ABSENT: u32 = 0x0005_0026;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;

/// Runs a program over `struct seccomp_data` as the kernel does. Panics where the kernel's verifier would refuse.
fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::with_capacity(64);
    data.extend(number.to_le_bytes());
    data.extend(architecture.to_le_bytes());
    data.extend(0u64.to_le_bytes());
    arguments.iter().for_each(|argument| data.extend(argument.to_le_bytes()));
    let (mut at, mut accumulator, mut index, mut memory) = (0, 0u32, 0u32, [0u32; 16]);
    loop {
        let Instruction { code, jump_true, jump_false, operand } = program[at];
        at += 1;
        let mut jump = |holds| at += usize::from(if holds { jump_true } else { jump_false });
        match code {
            0x20 => {
                let offset = operand as usize;
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            0x54 => accumulator &= operand,
            0x05 => at += operand as usize,
            0x15 => jump(accumulator == operand),
            0x25 => jump(accumulator > operand),
            0x35 => jump(accumulator >= operand),
            0x06 => return operand,
            // What only libseccomp uses: registers and memory.
            0x00 => accumulator = operand,
            0x02 => memory[operand as usize] = accumulator,
            0x60 => accumulator = memory[operand as usize],
            0x07 => index = accumulator,
            0x87 => accumulator = index,
            other => panic!("instruction {other:#x} at {}", at - 1),
        }
    }
}

fn compiled(profile: &LinuxSeccomp) -> Vec<Instruction> {
    compile(profile).unwrap().0.instructions
}

fn profile(json: &str) -> LinuxSeccomp {
    serde_json::from_str(json).unwrap()
}

fn number(name: &str, abi: Abi) -> u32 {
    abi.number(name).unwrap_or_else(|| panic!("{name} in {abi:?}"))
}

/// The same profile through the library, as runc does it.
fn through_library(profile: &LinuxSeccomp) -> Vec<Instruction> {
    let action = |action: Action, errno: Option<u32>| match action {
        Action::ScmpActErrno => ScmpAction::Errno(errno.unwrap_or(EPERM) as i32),
        Action::ScmpActKillProcess => ScmpAction::KillProcess,
        Action::ScmpActLog => ScmpAction::Log,
        Action::ScmpActTrap => ScmpAction::Trap,
        _ => ScmpAction::Allow,
    };
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut context = ScmpFilterContext::new(default).unwrap();
    context.set_act_badarch(ScmpAction::KillProcess).unwrap();
    for arch in profile.architectures().iter().flatten() {
        let arch = match arch {
            Arch::ScmpArchX86 => ScmpArch::X86,
            Arch::ScmpArchX32 => ScmpArch::X32,
            _ => ScmpArch::X8664,
        };
        context.add_arch(arch).unwrap();
    }
    for entry in profile.syscalls().iter().flatten() {
        let entry_action = action(entry.action(), entry.errno_ret().or(profile.default_errno_ret()));
        if entry_action == default {
            continue;
        }
        let comparisons: Vec<_> = entry
            .args()
            .iter()
            .flatten()
            .map(|argument| {
                let value = argument.value();
                let (operator, value) = match argument.op() {
                    Operator::ScmpCmpNe => (ScmpCompareOp::NotEqual, value),
                    Operator::ScmpCmpLt => (ScmpCompareOp::Less, value),
                    Operator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, value),
                    Operator::ScmpCmpEq => (ScmpCompareOp::Equal, value),
                    Operator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, value),
                    Operator::ScmpCmpGt => (ScmpCompareOp::Greater, value),
                    Operator::ScmpCmpMaskedEq => {
                        (ScmpCompareOp::MaskedEqual(value), argument.value_two().unwrap_or(0))
                    }
                };
                ScmpArgCompare::new(argument.index() as u32, operator, value)
            })
            .collect();
        for name in entry.names() {
            if let Ok(call) = ScmpSyscall::from_name(name) {
                context.add_rule_conditional(entry_action, call, &comparisons).unwrap();
            }
        }
    }
    let mut file = tempfile::tempfile().unwrap();
    context.export_bpf(file.as_fd()).unwrap();
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
        .chunks_exact(8)
        .map(|bytes| Instruction {
            code: u16::from_le_bytes([bytes[0], bytes[1]]),
            jump_true: bytes[2],
            jump_false: bytes[3],
            operand: u32::from_le_bytes(bytes[4..].try_into().unwrap()),
        })
        .collect()
}

/// Compares both programs for every number and the interesting arguments. `allowed` excuses known differences.
fn compare(profile: &LinuxSeccomp, excused: &dyn Fn(u32, u32, u64) -> bool) {
    let (ours, library) = (compiled(profile), through_library(profile));
    let ends: [u64; 6] = [0, 1, 2, 1 << 31, u32::MAX.into(), u64::MAX];
    let mut values: HashSet<u64> = ends.into();
    for argument in profile.syscalls().iter().flatten().flat_map(|entry| entry.args().iter().flatten()) {
        for value in [argument.value(), argument.value_two().unwrap_or(0)] {
            for near in
                [value, value.wrapping_add(1), value.wrapping_sub(1), value ^ (1 << 32), value | (1 << 40)]
            {
                values.insert(near);
            }
        }
    }
    for architecture in [X86_64, X86] {
        let x32 = syscalls::X32_BIT..syscalls::X32_BIT + 560;
        for number in (0..451).chain(x32).chain([u32::MAX - 1]) {
            if architecture == X86 && number > 450 {
                // Newer than the library: absent for us, the default for it.
                continue;
            }
            for value in &values {
                // A 32-bit process has no upper halves. An x32 one has, but the library does not look at them.
                let wide = architecture == X86_64 && number < syscalls::X32_BIT;
                let value = if wide { *value } else { value & 0xffff_ffff };
                let arguments = [value, value, 5, value, 0, value];
                let expected = run(&library, architecture, number, arguments);
                let found = run(&ours, architecture, number, arguments);
                assert!(
                    expected == found || excused(architecture, number, value),
                    "{architecture:#x} call {number} ({value:#x}): library {expected:#x}, ours {found:#x}"
                );
            }
        }
    }
}

#[test]
fn agrees_with_the_library_on_every_operator() {
    for operator in ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"] {
        for value in [0u64, 1, 0x7e02_0000, 0xffff_ffff, 0x1_0000_0005, 0x8000_0000_0000_0001] {
            let profile = profile(&format!(
                r#"{{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 7,
                    "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{{"names": ["read", "set_mempolicy_home_node"], "action": "SCMP_ACT_ALLOW"}},
                    {{"names": ["write", "ioctl"], "action": "SCMP_ACT_ALLOW", "args":
                    [{{"index": 1, "value": {value}, "valueTwo": 4, "op": "SCMP_CMP_{operator}"}},
                     {{"index": 2, "value": 5, "op": "SCMP_CMP_EQ"}}]}}]}}"#
            ));
            compare(&profile, &|_, _, _| false);
        }
    }
}

#[test]
fn agrees_with_the_library_on_32_bit_abis_and_default_allow() {
    let profile = profile(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures":
            ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": [
            {"names": ["mount", "ptrace", "socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 9},
            {"names": ["keyctl"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["personality"], "action": "SCMP_ACT_LOG",
             "args": [{"index": 0, "value": 4294967295, "op": "SCMP_CMP_GE"}]}]}"#,
    );
    compare(&profile, &|_, _, _| false);
}

#[test]
fn agrees_with_the_library_on_the_default_profile() {
    for extra in [None, Some(Capability::SysAdmin)] {
        let mut capabilities = defaults::capabilities();
        capabilities.extend(extra);
        let profile = default_profile(&capabilities);
        let socketcall = number("socketcall", Abi::X86);
        let uretprobe = number("uretprobe", Abi::X86_64);
        // The library does not know uretprobe, and opens socketcall(SYS_SOCKET) beside every rule on socket, and may then not be told otherwise.
        compare(&profile, &|architecture, number, _| {
            number == if architecture == X86 { socketcall } else { uretprobe }
        });
    }
}

#[test]
fn no_abi_makes_a_forbidden_socket() {
    let program = compiled(&default_profile(&defaults::capabilities()));
    for family in 0..64u64 {
        for upper in [0, 1 << 32, 0xdead_beef_u64 << 32] {
            let found = run(&program, X86_64, number("socket", Abi::X86_64), [family | upper, 0, 0, 0, 0, 0]);
            let forbidden = matches!(family, 38 | 40 | 48..);
            assert_eq!(found, if forbidden { DENY } else { ALLOW }, "family {family} upper {upper:#x}");
        }
        let found = run(&program, X86, number("socket", Abi::X86), [family, 0, 0, 0, 0, 0]);
        assert_eq!(found == ALLOW, !matches!(family, 38 | 40 | 48..));
    }
    let socketcall = number("socketcall", Abi::X86);
    assert_eq!(run(&program, X86, socketcall, [1, 0, 0, 0, 0, 0]), ABSENT);
    assert_eq!(run(&program, X86, socketcall, [0, 0, 0, 0, 0, 0]), ABSENT);
    assert_eq!(run(&program, X86, socketcall, [3, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn unlisted_abis_are_killed() {
    let program = compiled(&default_profile(&defaults::capabilities()));
    let getpid = number("getpid", Abi::X86_64);
    assert_eq!(run(&program, X86_64, getpid, [0; 6]), ALLOW);
    assert_eq!(run(&program, X86_64, getpid | syscalls::X32_BIT, [0; 6]), KILL);
    assert_eq!(run(&program, X86_64, syscalls::X32_BIT, [0; 6]), KILL);
    for architecture in [0, 0xc000_00b7, 0x4000_003e, X86_64 ^ 1] {
        assert_eq!(run(&program, architecture, getpid, [0; 6]), KILL);
    }
    // A tracer's "no call".
    assert_eq!(run(&program, X86_64, u32::MAX, [0; 6]), ABSENT);
}

#[test]
fn newer_calls_are_absent_and_older_ones_denied() {
    let program = compiled(&default_profile(&defaults::capabilities()));
    for architecture in [X86_64, X86] {
        for number in [470, 500, 1000, 0x3fff_ffff] {
            assert_eq!(run(&program, architecture, number, [0; 6]), ABSENT);
        }
        for number in [467, 456 + 3, 425] {
            assert_eq!(run(&program, architecture, number, [0; 6]), DENY, "{number}");
        }
        for number in [451, 452, 462, 469] {
            assert_eq!(run(&program, architecture, number, [0; 6]), ALLOW, "{number}");
        }
    }
}

#[test]
fn capabilities_open_what_they_are_for() {
    let plain = compiled(&default_profile(&defaults::capabilities()));
    let admin = compiled(&default_profile(&[Capability::SysAdmin].into()));
    let (mount, clone3, clone) = (165, 435, 56);
    assert_eq!(run(&plain, X86_64, mount, [0; 6]), DENY);
    assert_eq!(run(&admin, X86_64, mount, [0; 6]), ALLOW);
    assert_eq!(run(&plain, X86_64, clone3, [0; 6]), ABSENT);
    assert_eq!(run(&admin, X86_64, clone3, [0; 6]), ALLOW);
    for (flags, expected) in [(0x11, ALLOW), (0x3d0f00, ALLOW), (0x1000_0011, DENY), (0x0002_0000, DENY)] {
        assert_eq!(run(&plain, X86_64, clone, [flags, 0, 0, 0, 0, 0]), expected, "{flags:#x}");
        assert_eq!(run(&admin, X86_64, clone, [flags, 0, 0, 0, 0, 0]), ALLOW);
    }
    for never in ["keyctl", "add_key", "io_uring_setup", "userfaultfd", "kexec_load", "swapon", "nfsservctl"]
    {
        assert_eq!(run(&admin, X86_64, number(never, Abi::X86_64), [0; 6]), DENY, "{never}");
    }
}

#[test]
fn conditions_on_one_argument_stand_alone() {
    let profile = profile(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["personality"],
            "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
            {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    let program = compiled(&profile);
    let personality = number("personality", Abi::X86_64);
    for (value, expected) in [(0, DENY), (1, ALLOW), (2, ALLOW), (3, DENY)] {
        assert_eq!(run(&program, X86_64, personality, [value, 0, 0, 0, 0, 0]), expected);
    }
}

#[test]
fn wrong_and_unsupported_profiles_are_refused() {
    let call = |fields: &str| {
        profile(&format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{"names": ["read"], {fields}}}]}}"#
        ))
    };
    for (profile, message) in [
        (
            call(r#""action": "SCMP_ACT_NOTIFY""#),
            "linux.seccomp.listenerPath: it is missing, and a rule hands calls over to a listener",
        ),
        (
            profile(r#"{"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"}"#),
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (
            call(r#""action": "SCMP_ACT_ALLOW", "errnoRet": 1"#),
            "linux.seccomp.syscalls[0].errnoRet: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take a number",
        ),
        (
            call(r#""action": "SCMP_ACT_ERRNO", "errnoRet": 4096"#),
            "linux.seccomp.syscalls[0].errnoRet: 4096 is not an error number (at most 4095)",
        ),
        (
            call(r#""action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]"#),
            "linux.seccomp.syscalls[0].args[0].index: 6 is not an argument (0 to 5)",
        ),
    ] {
        assert_eq!(compile(&profile).unwrap_err().to_string(), message);
    }
}

#[test]
fn an_unknown_name_is_said_only_where_it_was_to_be_denied() {
    let with = |action: &str| {
        let json = format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["nonsense"], "action": "{action}"}}]}}"#
        );
        compile(&profile(&json)).unwrap().1
    };
    assert!(with("SCMP_ACT_ALLOW").is_empty());
    assert_eq!(
        with("SCMP_ACT_ERRNO")[0].to_string(),
        "linux.seccomp.syscalls[0]: unknown system call \"nonsense\", left out"
    );
}

#[test]
fn a_program_that_is_too_long_is_refused() {
    let many: Vec<String> = (0..1500)
        .map(|value| {
            format!(
                r#"{{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                    "args": [{{"index": 0, "value": {value}, "op": "SCMP_CMP_EQ"}}]}}"#
            )
        })
        .collect();
    let json = format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{}]}}"#, many.join(","));
    assert!(matches!(compile(&profile(&json)), Err(Error::TooLong { .. })));
}
