//! What the caller of `roci` has set for itself: nothing of it is the container's, and nothing of it stops `roci`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use common::{Bundle, Done, ROCI};
use nix::sys::signal::Signal;

/// `roci` called by somebody who ignores and blocks signals, its children's among them.
fn called_deaf(bundle: &Bundle, arguments: &[&str]) -> Done {
    let roci = bundle.roci(arguments);
    let mut command = Command::new("timeout");
    // A run that misses the end of its container waits for ever.
    command.args(["--signal=KILL", "60", "env", "--ignore-signal=CHLD,USR1,TERM", "--block-signal=USR2"]);
    command.arg(roci.get_program()).args(roci.get_args());
    command.current_dir(bundle.path()).stdin(Stdio::null());
    Done::from(command.output().unwrap())
}

#[test]
fn a_command_starts_with_no_signal_ignored_or_blocked() {
    let mut bundle = Bundle::new(&["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"]);
    bundle.write_config();
    let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    let done = called_deaf(&bundle, &["run", &bundle.id]).succeeded();
    assert_eq!(done.out, none);
    bundle.assert_nothing_left();
    bundle.args(&["sleep", "1000"]);
    bundle.start();
    let words = ["exec", &bundle.id, "grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"];
    assert_eq!(called_deaf(&bundle, &words).succeeded().out, none);
}

#[test]
fn a_caller_that_ignores_its_children_has_the_exit_code_and_its_hooks() {
    let mut bundle = Bundle::new(&["sh", "-c", "exit 7"]);
    let hooks = serde_json::json!({ "createRuntime": [{ "path": "/bin/true" }], "poststop": [{ "path": "/bin/true" }] });
    bundle.set("/hooks", hooks);
    bundle.write_config();
    let done = called_deaf(&bundle, &["run", &bundle.id]);
    assert_eq!((done.code, &*done.err), (7, ""));
    bundle.assert_nothing_left();
}

/// The program as a shell starts it with these redirections.
fn redirected(bundle: &Bundle, redirections: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$0\" \"$@\" {redirections}"), ROCI, "--root"]);
    command.arg(bundle.state_root()).args(arguments).current_dir(bundle.path());
    command
}

#[test]
fn a_closed_stream_is_null_and_nothing_else_gets_its_number() {
    let mut bundle = Bundle::new(&[]);
    bundle.shell("ls -l /proc/$$/fd >/seen; grep SigIgn /proc/self/status >>/seen");
    bundle.write_config();
    // In the shell that looks, standard output is its file: what it was before has another number.
    for (redirections, null) in
        [("<&- >&- 2>&-", [0, 2].as_slice()), ("2>&-", &[2]), ("<&- 2>&-", &[0, 2]), (">&-", &[])]
    {
        let log = bundle.path().join("log");
        let mut run = redirected(&bundle, redirections, &["--debug", "--log"]);
        run.arg(&log).args(["run", &bundle.id]);
        let output = run.output().unwrap();
        assert!(output.status.success(), "{redirections}: {output:?}");
        let seen = fs::read_to_string(bundle.rootfs().join("seen")).unwrap();
        for number in null {
            assert!(seen.contains(&format!(" {number} -> /dev/null\n")), "{redirections}: {seen}");
        }
        assert!(!seen.contains("log"), "{redirections}: {seen}");
        let ignored = seen.split("SigIgn:").nth(1).unwrap().trim();
        let ignored = u64::from_str_radix(ignored, 16).unwrap();
        assert_eq!(ignored & 1 << (Signal::SIGPIPE as i32 - 1), 0, "{seen}");
        // Without the defence what is logged would be the container's to write.
        assert!(fs::read_to_string(&log).unwrap().contains("level=debug"), "{redirections}");
    }
    bundle.assert_nothing_left();
}

#[test]
fn a_pipe_that_nobody_reads_is_no_reason_to_die() {
    let bundle = Bundle::new(&["true"]);
    for arguments in [["features"].as_slice(), &["list"], &["state", "missing"], &["--help"]] {
        let mut command = redirected(&bundle, "", arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let status = command.status().unwrap();
        assert_eq!(status.signal(), None, "{arguments:?}");
    }
}
