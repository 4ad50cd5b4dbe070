//! What a caller leaves the program in the places of the three streams.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use common::{Bundle, ROCI};
use nix::sys::signal::Signal;

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
