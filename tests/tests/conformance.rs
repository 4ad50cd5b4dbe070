//! The conformance runner, with a suite in place of youki's contest that loses results and leaves behind what it started.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ::tests::{Command, eventually, needs};
use rustix::process::Signal;

/// The group `torn` has no results as a whole, and its second case none alone either; with a runtime that refuses everything
/// both have. The group `untidy` leaves a process that is over and one that is not, both in cgroups of their own.
const CONTEST: &str = r#"#!/bin/sh
case "$1 $7" in
list*) echo torn untidy;;
*torn*)
    echo '# Start group torn'
    if ! "$3" create; then
        echo '1 / 2 : a : not ok'
        echo '2 / 2 : b : not ok'
    elif [ "$7" = torn::a ]; then
        echo '1 / 1 : a : ok'
    else
        echo "thread 'b' panicked at b.rs:1:1:"
        echo lost
        exit 101
    fi;;
*untidy)
    (setsid ./in-cgroup "$MARK-over" true &)
    (setsid ./in-cgroup "$MARK-lives" sleep 1000 &)
    until [ -e "$TMPDIR/$MARK-over" ] && [ -e "$TMPDIR/$MARK-lives" ]; do sleep 0.01; done
    echo '# Start group untidy'
    echo '1 / 1 : a : ok';;
esac
"#;

/// Makes a cgroup in each hierarchy that matters here, and runs a command in it.
const IN_CGROUP: &str = r#"#!/bin/sh
name=$1
shift
for root in $ROOTS; do
    mkdir "$root/$name"
    echo $$ > "$root/$name/cgroup.procs"
done
touch "$TMPDIR/$name"
exec "$@"
"#;

/// Where this machine has version 2, and one of version 1 where it has those.
fn roots() -> Vec<PathBuf> {
    let all = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"];
    let all = all.map(PathBuf::from).into_iter();
    // On a machine with version 2 alone the others would be cgroups in it.
    let alone = Path::new("/sys/fs/cgroup/cgroup.procs").exists();
    all.filter(|root| root.join("cgroup.procs").exists()).take(if alone { 1 } else { 2 }).collect()
}

#[test]
fn lost_results_are_found_and_what_is_left_is_ended() {
    needs!("root");
    let peers = tempfile::tempdir().unwrap();
    let suite = peers.path().join("share/contest");
    std::fs::create_dir_all(&suite).unwrap();
    for (name, text) in [("contest", CONTEST), ("in-cgroup", IN_CGROUP)] {
        std::fs::write(suite.join(name), text).unwrap();
        std::fs::set_permissions(suite.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mark = format!("hull-untidy-{}", std::process::id());
    let roots = roots();
    let root_list = roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(" ");
    let in_this_world = |command: Command| {
        command
            .env("HULL_PEERS", peers.path())
            .env("TMPDIR", peers.path())
            .env("MARK", &mark)
            .env("ROOTS", &root_list)
    };

    // Somebody else's, whose name is nearly the same.
    let other = format!("{mark}-other");
    let running =
        in_this_world(Command::new(suite.join("in-cgroup"))).args([&other, "sleep", "1000"]).spawn();
    eventually("the other one is there", || peers.path().join(&other).exists());

    let runner = in_this_world(Command::new(env!("CARGO_BIN_EXE_conformance")));
    let runtime = Path::new("/bin/true").canonicalize().unwrap();
    let output = peers.path().join("output").display().to_string();
    let outcome = runner.args(["--runtime", "/bin/true", "--output", &output, "contest"]).run();
    let stdout = outcome.succeeds().stdout();
    let lines: Vec<&str> = stdout.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(
        lines[..6],
        [
            "torn has no results (lost): each of its 2 cases alone",
            "pass torn: a",
            "fail torn: b | lost",
            "pass untidy: a",
            "as contest prints it, a group without results as one case: 2 cases: 1 pass, 1 fail, 0 hang, 0 skip",
            &format!("contest, {}: 3 cases: 2 pass, 1 fail, 0 hang, 0 skip", runtime.display()),
        ]
    );

    let left = |name: &str| roots.iter().map(|root| root.join(name)).filter(|cgroup| cgroup.exists()).count();
    assert_eq!([left(&format!("{mark}-over")), left(&format!("{mark}-lives"))], [0, 0]);
    assert_eq!(left(&other), roots.len(), "what was there before is not touched");
    running.signal(Signal::KILL);
    running.wait();
    eventually("its cgroups can be removed", || {
        roots.iter().all(|root| std::fs::remove_dir(root.join(&other)).is_ok() || !root.join(&other).exists())
    });
}
