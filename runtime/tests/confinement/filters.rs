//! The default filter on the real kernel, also from ABIs other than the native one.

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use oci_spec::runtime::{Capability, LinuxSeccomp};
use runtime::security::seccomp::{compile, default_profile};
use runtime::spec::defaults;
use rustix::net::{AddressFamily, SocketType};

use crate::Test;
use crate::child;

pub const TESTS: &[Test] = &[
    ("filters::ordinary_programs_run", ordinary_programs_run),
    ("filters::forbidden_calls_are_denied", forbidden_calls_are_denied),
    ("filters::no_abi_gets_around_it", no_abi_gets_around_it),
    ("filters::a_filter_kills_logs_and_returns_errors", a_filter_kills_and_returns_errors),
    ("filters::a_filter_needs_no_new_privileges_or_rights", a_filter_needs_rights),
];

fn install(profile: &LinuxSeccomp) {
    rustix::thread::set_no_new_privs(true).unwrap();
    compile(profile).unwrap().0.install().unwrap();
}

fn profile() -> LinuxSeccomp {
    default_profile(&defaults::capabilities())
}

fn ordinary_programs_run() {
    let report = child::run(|| {
        install(&profile());
        let script = "id -u; ls / >/dev/null && (sleep 0.01 & wait) && echo $(cat /proc/self/status | grep Seccomp: | cut -f2)";
        let output = Command::new("sh").args(["-c", script]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    assert_eq!(report, "0\n2\n");
}

fn forbidden_calls_are_denied() {
    let report = child::run(|| {
        install(&profile());
        let flags = rustix::mount::MountFlags::empty();
        let mount = rustix::mount::mount("none", "/mnt", "tmpfs", flags, None::<&std::ffi::CStr>);
        let vsock = rustix::net::socket(AddressFamily::from_raw(40), SocketType::STREAM, None);
        let crypto = rustix::net::socket(AddressFamily::from_raw(38), SocketType::SEQPACKET, None);
        let unshare = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER);
        let inet = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
        // clone3 is ENOSYS, not EPERM: else no C library falls back to clone.
        let clone3 = runtime::sys::clone::clone3(0, None);
        format!(
            "{:?} {:?} {:?} {:?} {} {:?}",
            mount.unwrap_err().raw_os_error(),
            vsock.unwrap_err().raw_os_error(),
            crypto.unwrap_err().raw_os_error(),
            unshare.unwrap_err() as i32,
            inet.is_ok(),
            clone3.unwrap_err().raw_os_error(),
        )
    });
    assert_eq!(report, "1 1 1 1 true 38");
}

/// A program that makes calls as 32-bit x86 and x32 programs do, and with bits that the kernel ignores.
#[cfg(target_arch = "x86_64")]
fn no_abi_gets_around_it() {
    let folder = tempfile::tempdir().unwrap();
    let (source, probe) =
        (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/confinement/probe.c"), folder.path().join("probe"));
    let built =
        Command::new("cc").args(["-O1", "-static", "-nostdlib", "-o"]).arg(&probe).arg(source).status();
    assert!(built.unwrap().success());
    let results = |confine: bool| -> Vec<String> {
        ["wide", "direct", "multiplexed", "native", "x32"]
            .into_iter()
            .map(|attack| {
                child::run(|| {
                    if confine {
                        install(&profile());
                    }
                    let status = Command::new(&probe).arg(attack).status().unwrap();
                    match status.signal() {
                        Some(signal) => format!("signal {signal}"),
                        None => format!("{}", status.code().unwrap()),
                    }
                })
            })
            .collect()
    };
    // 0 is a socket; else the error number. AF_ALG may be missing in the kernel (97), the ABI too (38).
    let free = results(false);
    assert!(free[..4].iter().all(|result| matches!(result.as_str(), "0" | "97" | "38")), "{free:?}");
    if free[1] == "38" {
        child::note("skipped: ia32");
    }
    assert_eq!(results(true), ["1", "1", "38", "1", "signal 31"]);
}

#[cfg(not(target_arch = "x86_64"))]
fn no_abi_gets_around_it() {}

fn a_filter_kills_and_returns_errors() {
    let profile: LinuxSeccomp = serde_json::from_str(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77},
            {"names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#,
    )
    .unwrap();
    let process = child::start(None, |gate| {
        install(&profile);
        gate.say(&format!("{:?}", rustix::process::getpriority_process(None).unwrap_err().raw_os_error()));
        let _ = rustix::system::sethostname(b"never");
        "alive".to_owned()
    });
    let (status, report) = process.end();
    assert_eq!(report, "77");
    assert_eq!(status.terminating_signal(), Some(31));
}

fn a_filter_needs_rights() {
    let report = child::run(|| {
        let program = compile(&default_profile(&HashSet::<Capability>::new())).unwrap().0;
        nix::unistd::setuid(nix::unistd::Uid::from_raw(4711)).unwrap();
        let refused = program.install().unwrap_err().raw_os_error();
        rustix::thread::set_no_new_privs(true).unwrap();
        program.install().unwrap();
        refused.to_string()
    });
    assert_eq!(report, "13");
}
