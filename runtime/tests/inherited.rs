//! What the caller of `roci` has set for itself: nothing of it is the container's, and nothing of it stops `roci`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::process::{Command, Stdio};

use common::{Bundle, Done};

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
