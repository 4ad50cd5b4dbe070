//! Containers of an ordinary user, of whom the host is protected as before and the user himself no less.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::ordinary::{LENT, Ordinary, USER, open_folder, own_all};
use common::{Canary, Done, receive_descriptor, wait_for};
use runtime::cgroup::{Hierarchies, Kind};
use serde_json::json;

#[test]
fn a_user_is_root_in_his_container_and_nobody_else() {
    let mut user = Ordinary::new(&["true"]);
    user.shell("id; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; echo $$; touch /tmp/made; exit 7");
    let done = user.run();
    assert_eq!(done.code, 7, "{done:?}");
    let map = format!("         0      {USER}          1\n");
    assert_eq!(done.out, format!("uid=0(root) gid=0\n{map}{map}deny\n1\n"));
    let made = fs::metadata(user.bundle.rootfs().join("tmp/made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (USER, USER));
    let state = fs::metadata(user.bundle.state_root()).unwrap();
    assert_eq!((state.uid(), state.mode() & 0o7777), (USER, 0o700));
    user.bundle.assert_nothing_left();
}

#[test]
fn a_container_lives_and_ends_by_its_users_verbs() {
    let mut user = Ordinary::new(&["sleep", "1000"]);
    user.set("/process/oomScoreAdj", json!(600));
    user.create().succeeded();
    assert_eq!(user.state()["status"], "created");
    user.exec(&["true"]).failed(255, "container that is not started is not supported");
    user.verb(&["start", user.id()]).succeeded();
    let state = user.state();
    assert_eq!(state["status"], "running");
    let proc = format!("/proc/{}", state["pid"]);
    assert_eq!(fs::metadata(&proc).unwrap().uid(), USER);
    assert_eq!(fs::read_to_string(format!("{proc}/oom_score_adj")).unwrap(), "600\n");
    // A further process is in every namespace of the first, the PID namespace included.
    let script =
        "for n in user pid mnt ipc uts; do readlink /proc/self/ns/$n; done; test $$ != 1 && id -u; exit 9";
    let done = user.exec(&["sh", "-c", script]);
    assert_eq!(done.code, 9, "{done:?}");
    let namespaces = ["user", "pid", "mnt", "ipc", "uts"]
        .map(|name| format!("{}\n", fs::read_link(format!("{proc}/ns/{name}")).unwrap().display()));
    assert_eq!(done.out, namespaces.concat() + "0\n");
    assert!(user.verb(&["list"]).succeeded().out.contains(user.id()));
    // These work by a cgroup, and there is none.
    for arguments in [["ps", user.id()], ["pause", user.id()], ["resume", user.id()]] {
        assert_ne!(user.verb(&arguments).code, 0, "{arguments:?}");
    }
    user.verb(&["pause", user.id()]).failed(1, "has no cgroup, as its user may make none");
    user.verb(&["update", "--pids-limit", "5", user.id()])
        .failed(1, "has no cgroup, as its user may make none");
    user.verb(&["kill", "--all", user.id(), "TERM"]).failed(1, "has no cgroup, as its user may make none");
    user.verb(&["delete", user.id()]).failed(1, "not stopped");
    user.verb(&["kill", user.id(), "KILL"]).succeeded();
    wait_for("its end", || user.state()["status"] == "stopped");
    user.verb(&["delete", user.id()]).succeeded();
    user.bundle.assert_nothing_left();
}

#[test]
fn a_terminal_is_the_users() {
    let mut user = Ordinary::new(&["true"]);
    user.set("/process/terminal", json!(true));
    user.shell("tty; test -t 0 && test -t 1 && stat -c 'owner %u %F' /dev/console /dev/pts/0; sleep 1000");
    user.bundle.write_config();
    let socket = user.bundle.path().join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    own_all(&socket, USER);
    let arguments = ["create", "--console-socket", socket.to_str().unwrap(), user.id()];
    assert!(user.roci(&arguments).stdout(Stdio::null()).status().unwrap().success());
    let master = receive_descriptor(&listener);
    user.verb(&["start", user.id()]).succeeded();
    let mut text = String::new();
    wait_for("the terminal's output", || {
        let mut buffer = [0; 512];
        if let Ok(length) = rustix::io::read(&master, &mut buffer) {
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        text.matches("owner").count() == 2
    });
    assert_eq!(text.matches("owner 0 character special file").count(), 2, "{text}");
    user.delete();
}

#[test]
fn a_terminal_of_somebody_else_is_copied_as_well() {
    // As after su: the user has it, and may not open it anew.
    let user = Ordinary::new(&["sleep", "1000"]);
    user.start();
    let program = user.program();
    let state = user.bundle.state_root();
    let line = format!(
        "setpriv --reuid {USER} --regid {USER} --clear-groups {} --root {} exec -t {} sh -c 'tty; exit 5'",
        program.display(),
        state.display(),
        user.id()
    );
    let mut command = Command::new("timeout");
    let done =
        command.args(["20", "script", "-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let done = Done::from(done);
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.out.contains("/dev/pts/0"), "{done:?}");
    user.delete();
}

#[test]
fn devices_are_the_hosts_and_no_others() {
    let mut user = Ordinary::new(&["true"]);
    let devices = "null zero full random urandom tty";
    user.shell(&format!(
        "cd /dev; for d in {devices}; do stat -c '%n %t:%T' $d; done; echo x > null; head -c3 zero | wc -c; \
         mknod /tmp/null c 1 3 2>/dev/null && echo made; true"
    ));
    let expected = "null 1:3\nzero 1:5\nfull 1:7\nrandom 1:8\nurandom 1:9\ntty 5:0\n3\n";
    assert_eq!(user.run().succeeded().out, expected);
    // What is bound has to be the device that was asked for.
    let device = |path: &str, minor| json!([{ "path": path, "type": "c", "major": 1, "minor": minor }]);
    user.set("/linux/devices", device("/dev/zero", 3));
    user.run().failed(1, "cannot create the device /dev/zero: ENODEV");
    user.set("/linux/devices", device("/dev/nothing-there", 3));
    user.run().failed(1, "cannot create the device /dev/nothing-there: ENOENT");
    user.bundle.assert_nothing_left();
}

#[test]
fn protected_paths_hold() {
    let mut user = Ordinary::new(&["true"]);
    user.set("/linux/maskedPaths/-", json!("/etc")).set("/root/readonly", json!(true));
    user.shell(
        "wc -c < /proc/keys; ls -A /etc | wc -l; for f in /tmp/x /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/x; do \
         (echo x > $f) 2>/dev/null && echo wrote $f; done; umount /proc/keys 2>/dev/null && echo unmasked; \
         umount /proc/sys 2>/dev/null && echo writable; mount -o remount,rw /proc/sys 2>/dev/null && echo remounted; true",
    );
    assert_eq!(user.run().succeeded().out, "0\n0\n");
}

#[test]
fn a_container_reaches_no_more_of_the_host_than_its_user() {
    let canary = Canary::new();
    fs::set_permissions(canary.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let canary_before = fs::metadata(canary.path()).unwrap().mode();
    let mut user = Ordinary::new(&["true"]);
    for set in ["bounding", "effective", "permitted"] {
        user.set(
            &format!("/process/capabilities/{set}"),
            json!([
                "CAP_DAC_OVERRIDE",
                "CAP_CHOWN",
                "CAP_FOWNER",
                "CAP_SETUID",
                "CAP_MKNOD",
                "CAP_SYS_ADMIN"
            ]),
        );
    }
    user.set(
        "/mounts/-",
        json!({ "destination": "/host", "type": "bind", "source": canary.path(), "options": ["rbind", "rw"] }),
    );
    user.shell(
        "cd /host; echo x > secret; echo x >> secret; echo x > new; rm -rf secret folder; chmod 777 . secret; chown 0 secret; \
         ln -s x y; mount -t tmpfs t /host; hostname changed; id -u",
    );
    let done = user.run();
    assert_eq!(done.out, "0\n", "{done:?}");
    assert_eq!(fs::metadata(canary.path()).unwrap().mode(), canary_before);
    canary.assert_untouched();
}

#[test]
fn the_program_cannot_be_written_from_inside() {
    // CVE-2019-5736, where the file is the user's own and so would be the container's.
    let mut user = Ordinary::new(&["sleep", "1000"]);
    for set in ["bounding", "effective", "permitted"] {
        user.set(&format!("/process/capabilities/{set}"), json!(["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"]));
    }
    let before = fs::read(user.program()).unwrap();
    user.start();
    std::os::unix::fs::symlink("/proc/self/exe", user.bundle.rootfs().join("bin/self")).unwrap();
    let done = user.exec(&["/bin/self", "--version"]);
    assert!(done.code != 0 || done.out.is_empty() || done.out.starts_with("BusyBox"), "{done:?}");
    // A watcher tries every process that appears while others join.
    let script = "while true; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) continue;; esac; \
                  (echo x >> $p/exe) 2>/dev/null; done; echo > /tmp/tried; done";
    let mut watcher = user.roci(&["exec", user.id(), "sh", "-c", script]);
    let mut watcher = watcher.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the watcher", || user.bundle.rootfs().join("tmp/tried").exists());
    for _ in 0..20 {
        user.exec(&["true"]).succeeded();
    }
    assert_eq!(fs::read(user.program()).unwrap(), before);
    user.delete();
    watcher.wait().unwrap();
}

#[test]
fn what_a_user_cannot_have_is_refused_by_its_field() {
    let refused = |pointer: &str, value: serde_json::Value, words: &str| {
        let mut user = Ordinary::new(&["true"]);
        user.set(pointer, value);
        user.run().failed(1, words);
        user.bundle.assert_nothing_left();
    };
    let own = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    refused(
        "/linux/namespaces",
        json!([{ "type": "mount" }]),
        "linux.uidMappings: there are id mappings but no user",
    );
    refused("/linux/namespaces/-", json!({ "type": "time" }), "linux.namespaces: a new time namespace");
    refused("/linux/uidMappings", own(0), "linux.uidMappings: ");
    refused("/linux/gidMappings", own(USER + 1), "linux.gidMappings: ");
    refused("/linux/uidMappings", json!([]), "linux.uidMappings");
    refused(
        "/process/user",
        json!({ "uid": 1, "gid": 0 }),
        "process.user.uid: 1 is not mapped by linux.uidMappings",
    );
    refused(
        "/process/user",
        json!({ "uid": 0, "gid": 3 }),
        "process.user.gid: 3 is not mapped by linux.gidMappings",
    );
    let groups = json!({ "uid": 0, "gid": 0, "additionalGids": [0] });
    refused("/process/user", groups, "process.user.additionalGids: nobody may change groups");
    refused(
        "/mounts/2/options/-",
        json!("gid=5"),
        "mounts[2].options: gid=5 is not mapped by linux.gidMappings",
    );
    let bind =
        json!({ "destination": "/tmp", "type": "bind", "source": "/usr/bin", "options": ["bind", "idmap"] });
    refused("/mounts/-", bind, "mounts[7]: to map the ids of a mount takes rights");
    let closed = json!({ "destination": "/tmp", "type": "bind", "source": "/root", "options": ["bind"] });
    let mut user = Ordinary::new(&["ls", "/tmp"]);
    user.set("/mounts/-", closed);
    // Whether or not this machine's root lets others look into his folder.
    let done = user.run();
    assert_eq!(done.code == 0, fs::metadata("/root").unwrap().mode() & 0o5 == 0o5, "{done:?}");
    let missing =
        json!({ "destination": "/tmp", "type": "bind", "source": "/nothing-there", "options": ["bind"] });
    refused("/mounts/-", missing, "mounts[7].source: cannot bind /nothing-there");
    refused("/root/path", json!("/nothing-there"), "root.path: ");
    let mut user = Ordinary::new(&["true"]);
    user.set("/linux/namespaces", json!([{ "type": "mount" }, { "type": "pid" }, { "type": "ipc" }]));
    user.set("/linux/uidMappings", json!([]))
        .set("/linux/gidMappings", json!([]))
        .set("/hostname", json!(""));
    user.run().failed(1, "linux.namespaces: the container of an ordinary user needs a user namespace");
    user.bundle.assert_nothing_left();
}

#[test]
fn only_a_folder_of_his_own_is_a_users_state() {
    let user = Ordinary::new(&["true"]);
    user.bundle.write_config();
    let run = |root: &Path| {
        let mut command = user.command(&user.program());
        Done::from(command.arg("--root").arg(root).args(["run", user.id()]).output().unwrap())
    };
    let foreign = open_folder();
    fs::set_permissions(foreign.path(), fs::Permissions::from_mode(0o777)).unwrap();
    run(foreign.path()).failed(1, "belongs to user 0 and not to you");
    own_all(foreign.path(), USER);
    run(foreign.path()).failed(1, "others may write to");
    fs::set_permissions(foreign.path(), fs::Permissions::from_mode(0o755)).unwrap();
    run(foreign.path()).succeeded();
    // Without a name it is below the user's runtime folder, and kept from those who tidy up there.
    let runtime = open_folder();
    let by_default = || {
        let mut command = user.command(&user.program());
        command.env("XDG_RUNTIME_DIR", runtime.path()).args(["run", user.id()]);
        Done::from(command.output().unwrap())
    };
    by_default().failed(1, "check XDG_RUNTIME_DIR, or use --root");
    own_all(runtime.path(), USER);
    by_default().succeeded();
    let made = fs::metadata(runtime.path().join("roci")).unwrap();
    assert_eq!((made.uid(), made.mode() & 0o7777), (USER, 0o1700));
}

#[test]
fn a_network_of_its_own_has_a_loopback() {
    let mut user = Ordinary::new(&["cat", "/sys/class/net/lo/flags"]);
    user.set("/linux/namespaces/-", json!({ "type": "network" }));
    user.set(
        "/mounts/5",
        json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] }),
    );
    assert_eq!(user.run().succeeded().out, "0x9\n");
}

#[test]
fn limits_of_the_process_are_set_or_clamped() {
    let mut user = Ordinary::new(&["true"]);
    user.set("/process/oomScoreAdj", json!(-900));
    user.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 4_000_000_000u64 }]));
    user.shell("ulimit -n; cat /proc/self/oom_score_adj");
    let log = user.bundle.path().join("log");
    user.bundle.write_config();
    let done = user.verb(&["--log", log.to_str().unwrap(), "run", user.id()]).succeeded();
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(done.out, format!("100\n{own}"));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("oomScoreAdj") && log.contains("RLIMIT_NOFILE"), "{log}");
}

#[test]
fn the_namespaces_of_another_container_of_his_can_be_joined() {
    let first = Ordinary::new(&["sleep", "1000"]);
    first.start();
    let pid = first.state()["pid"].to_string();
    let mut second =
        Ordinary::new(&["sh", "-c", "id -u; for n in user pid ipc; do readlink /proc/self/ns/$n; done"]);
    let joined = |kind: &str| json!({ "type": kind, "path": format!("/proc/{pid}/ns/{kind}") });
    second
        .set("/linux/namespaces", json!([{ "type": "mount" }, joined("user"), joined("pid"), joined("ipc")]));
    second
        .set("/linux/uidMappings", json!([]))
        .set("/linux/gidMappings", json!([]))
        .set("/hostname", json!(""));
    let expected = ["user", "pid", "ipc"]
        .map(|name| format!("{}\n", fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display()));
    assert_eq!(second.run().succeeded().out, format!("0\n{}", expected.concat()));
    second.bundle.assert_nothing_left();
    let mounts = json!({ "type": "mount", "path": format!("/proc/{pid}/ns/mnt") });
    second.set("/linux/namespaces", json!([mounts, joined("user")]));
    second.run().failed(1, "needs a mount namespace of its own");
    first.delete();
}

#[test]
fn root_of_a_user_namespace_is_no_root_of_the_machine() {
    // With and without a mount namespace of his own; the container in his user namespace, and in one below.
    for own_mounts in [true, false] {
        for below in [true, false] {
            let mut user = Ordinary::new(&["true"]);
            let mapping = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
            user.set("/linux/uidMappings", mapping.clone()).set("/linux/gidMappings", mapping);
            if !below {
                user.set(
                    "/linux/namespaces",
                    json!(["pid", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind }))),
                );
                user.set("/linux/uidMappings", json!([])).set("/linux/gidMappings", json!([]));
            }
            user.shell("id -u; stat -c %t:%T /dev/null; cat /proc/self/setgroups");
            user.bundle.write_config();
            let in_user_namespace = |user: &Ordinary, script: &str| {
                let mut command = user.command(Path::new("unshare"));
                command
                    .arg("--map-root-user")
                    .args(own_mounts.then_some("--mount"))
                    .args(["sh", "-e", "-c", script]);
                Done::from(
                    command
                        .arg(user.program())
                        .args([&user.bundle.state_root(), Path::new(user.id())])
                        .output()
                        .unwrap(),
                )
            };
            let done = in_user_namespace(&user, "exec \"$0\" --root \"$1\" run \"$2\"");
            assert_eq!(done.succeeded().out, "0\n1:3\ndeny\n", "{own_mounts} {below}");
            user.bundle.assert_nothing_left();
            user.bundle.args(&["sleep", "1000"]);
            user.bundle.write_config();
            let done = in_user_namespace(
                &user,
                "roci() { \"$program\" --root \"$root\" \"$@\"; }; program=$0 root=$1
                 roci create \"$2\" > /dev/null 2>&1 < /dev/null; roci exec \"$2\" id -u; roci start \"$2\"
                 roci exec \"$2\" sh -c 'test $$ != 1; cat /proc/1/comm'; roci kill \"$2\" KILL
                 while ! roci state \"$2\" | grep -q stopped; do sleep 0.05; done; roci delete \"$2\"",
            );
            assert_eq!(done.succeeded().out, "0\nsleep\n", "{own_mounts} {below}");
            user.bundle.assert_nothing_left();
        }
    }
}

/// The two programs of Debian's package uidmap, or says that they are missing.
fn has_map_programs() -> bool {
    let missing = ["newuidmap", "newgidmap"]
        .map(|name| Path::new("/usr/bin").join(name))
        .into_iter()
        .find(|path| !path.exists());
    if let Some(missing) = &missing {
        // Past the capture of test output, so that a skipped test does not look like a passed one.
        let _ = writeln!(std::io::stderr(), "skipped: {} not found", missing.display());
    }
    missing.is_none()
}

#[test]
fn ids_that_are_lent_are_mapped() {
    if !has_map_programs() {
        return;
    }
    let mut user = Ordinary::with_lent_ids(&["sleep", "1000"], &[]);
    user.set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 6] }));
    fs::set_permissions(user.bundle.rootfs().join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    user.start();
    let proc = format!("/proc/{}", user.state()["pid"]);
    assert_eq!(fs::metadata(&proc).unwrap().uid(), LENT.0 + 999);
    let map = fs::read_to_string(format!("{proc}/uid_map")).unwrap();
    let map: Vec<u32> = map.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(map, [0, USER, 1, 1, LENT.0, LENT.1 - 1]);
    assert_eq!(fs::read_to_string(format!("{proc}/setgroups")).unwrap(), "allow\n");
    let done = user.exec(&["sh", "-c", "touch /tmp/made; id -u; id -G"]).succeeded();
    assert_eq!(done.out, "1000\n1001 5 6\n");
    let made = fs::metadata(user.bundle.rootfs().join("tmp/made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (LENT.0 + 999, LENT.0 + 1000));
    let root =
        user.verb(&["exec", "--user", "0:0", user.id(), "sh", "-c", "id -u; touch /root/made"]).succeeded();
    assert_eq!(root.out, "0\n");
    assert_eq!(fs::metadata(user.bundle.rootfs().join("root/made")).unwrap().uid(), USER);
    // The user's signal reaches what runs as somebody else in his namespace.
    user.verb(&["kill", user.id(), "KILL"]).succeeded();
    wait_for("its end", || user.state()["status"] == "stopped");
    user.verb(&["delete", user.id()]).succeeded();
    user.bundle.assert_nothing_left();
}

#[test]
fn root_may_be_a_lent_id_that_cannot_walk_to_the_root() {
    if !has_map_programs() {
        return;
    }
    let mut user = Ordinary::with_lent_ids(&["true"], &[]);
    let mapping = json!([{ "containerID": 0, "hostID": LENT.0, "size": LENT.1 }]);
    user.set("/linux/uidMappings", mapping.clone()).set("/linux/gidMappings", mapping);
    own_all(&user.bundle.rootfs(), LENT.0);
    // The folder above is his and closed to all others.
    fs::set_permissions(user.bundle.path(), fs::Permissions::from_mode(0o700)).unwrap();
    user.shell("id -u; touch /made");
    assert_eq!(user.run().succeeded().out, "0\n");
    assert_eq!(fs::metadata(user.bundle.rootfs().join("made")).unwrap().uid(), LENT.0);
    user.bundle.assert_nothing_left();
}

#[test]
fn maps_that_a_user_may_not_have_are_refused_with_what_to_do() {
    if !has_map_programs() {
        return;
    }
    // Not lent: an id of the host's root, and one more than there are.
    for (host, size) in [(0, 1), (LENT.0, LENT.1 + 1)] {
        let mut user = Ordinary::with_lent_ids(&["true"], &[]);
        user.set("/linux/uidMappings", json!([{ "containerID": 0, "hostID": host, "size": size }]));
        let done = user.run().failed(1, "linux.uidMappings: newuidmap refused: ");
        assert!(done.err.contains("/etc/subuid") && done.err.contains("not allowed"), "{done:?}");
        user.bundle.assert_nothing_left();
    }
    let mut user = Ordinary::with_lent_ids(&["true"], &[]);
    user.set("/linux/gidMappings", json!([{ "containerID": 0, "hostID": 0, "size": 1 }]));
    user.run().failed(1, "linux.gidMappings: newgidmap refused: ");
    user.bundle.assert_nothing_left();
    let user = Ordinary::with_lent_ids(&["true"], &["/usr/bin/newuidmap", "/usr/local/bin/newuidmap"]);
    let done =
        user.run().failed(1, "linux.uidMappings: to map more than the caller's own id takes newuidmap");
    assert!(done.err.contains("package uidmap"), "{done:?}");
    user.bundle.assert_nothing_left();
}

/// A cgroup of the user's in every hierarchy that has controllers, above the container's own. On a machine with v2 alone it is
/// not enough that he owns it: his processes have to be in there.
struct Delegated {
    folders: Vec<PathBuf>,
}

impl Delegated {
    fn new(user: &mut Ordinary) -> Delegated {
        let name = format!("hull-test-{}", user.id());
        user.set("/linux/cgroupsPath", json!(format!("/{name}/c")));
        let hierarchies = Hierarchies::discover().unwrap().with_controllers();
        let folders: Vec<PathBuf> = hierarchies.all().iter().map(|one| one.mount().join(&name)).collect();
        for (folder, hierarchy) in folders.iter().zip(hierarchies.all()) {
            fs::create_dir(folder).unwrap();
            if hierarchy.controls("cpuset") {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let all = fs::read(hierarchy.mount().join(file)).unwrap();
                    fs::write(folder.join(file), all).unwrap();
                }
            }
            let delegated = ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];
            for file in delegated.map(|file| folder.join(file)).iter().filter(|file| file.exists()) {
                std::os::unix::fs::chown(file, Some(USER), Some(USER)).unwrap();
            }
        }
        Delegated { folders }
    }

    fn file(&self, name: &str) -> String {
        let folder =
            self.folders.iter().map(|folder| folder.join("c")).find(|folder| folder.join(name).exists());
        fs::read_to_string(folder.unwrap().join(name)).unwrap()
    }
}

#[test]
fn a_delegated_cgroup_limits_and_moves_a_container() {
    if Hierarchies::discover().unwrap().is_unified() {
        // A user's processes enter a cgroup of v2 only from within what is delegated to him.
        let _ = writeln!(std::io::stderr(), "skipped: cgroup v1 not found");
        return;
    }
    let mut user = Ordinary::new(&["sh", "-c", "sleep 1000 & sleep 1000 & wait"]);
    let delegated = Delegated::new(&mut user);
    user.set(
        "/linux/resources",
        json!({ "pids": { "limit": 20 }, "memory": { "limit": 64 << 20 }, "devices": [{ "allow": false, "access": "rwm" }] }),
    );
    user.start();
    assert_eq!(delegated.file("pids.max"), "20\n");
    assert_eq!(delegated.file("memory.limit_in_bytes"), format!("{}\n", 64 << 20));
    assert_eq!(
        user.exec(&["sh", "-c", "grep -c /c$ /proc/self/cgroup"]).succeeded().out,
        format!("{}\n", delegated.folders.len())
    );
    assert_eq!(user.exec(&["ls", "/sys/fs/cgroup/pids"]).succeeded().out.matches("pids.max").count(), 1);
    wait_for("three processes", || {
        let list = user.verb(&["ps", "--format", "json", user.id()]).succeeded().out;
        serde_json::from_str::<Vec<i32>>(&list).unwrap().len() == 3
    });
    user.verb(&["update", "--pids-limit", "30", user.id()]).succeeded();
    assert_eq!(delegated.file("pids.max"), "30\n");
    assert!(user.verb(&["events", "--stats", user.id()]).succeeded().out.contains("\"pids\""));
    user.verb(&["pause", user.id()]).succeeded();
    assert_eq!(user.state()["status"], "paused");
    user.verb(&["resume", user.id()]).succeeded();
    assert_eq!(user.state()["status"], "running");
    user.verb(&["kill", "--all", user.id(), "KILL"]).succeeded();
    wait_for("its end", || user.state()["status"] == "stopped");
    user.verb(&["delete", user.id()]).succeeded();
    user.bundle.assert_nothing_left();
    // What was delegated cannot give what its parents do not.
    user.set("/linux/resources", json!({ "unified": { "memory.high": "1" } }));
    user.run().failed(1, "linux.resources.unified");
    user.bundle.assert_nothing_left();
}

#[test]
fn without_delegation_there_is_no_cgroup_and_no_limit() {
    let mut user = Ordinary::new(&["true"]);
    // What asks for nothing gets it.
    user.set(
        "/linux/resources",
        json!({ "devices": [{ "allow": false, "access": "rwm" }], "memory": {}, "cpu": {}, "pids": { "limit": -1 } }),
    );
    user.shell("ls -A /sys/fs/cgroup | wc -l; touch /sys/fs/cgroup/x 2>/dev/null && echo wrote; true");
    assert_eq!(user.run().succeeded().out, "0\n");
    user.verb(&["--rootless", "false", "run", user.id()]).failed(1, "cannot create cgroup");
    user.verb(&["--rootless", "maybe", "run", user.id()]).failed(1, "it is true, false or auto");
    for (field, limit) in [
        ("memory", json!({ "memory": { "limit": 1 << 26 } })),
        ("pids", json!({ "pids": { "limit": 5 } })),
        ("cpu", json!({ "cpu": { "shares": 512 } })),
    ] {
        user.set("/linux/resources", limit);
        user.run().failed(
            1,
            &format!("linux.resources.{field} cannot be honoured: the container could not join or create"),
        );
        user.bundle.assert_nothing_left();
    }
    user.set("/linux/resources", json!(null));
    user.set("/linux/cgroupsPath", json!(format!("/hull-test-{}/c", user.id())));
    let done = user.run().failed(1, "linux.cgroupsPath: cannot create cgroup");
    assert!(done.err.contains("permission denied"), "{done:?}");
    user.bundle.assert_nothing_left();
    // Processes of a shared PID namespace are found by their cgroup alone: that is told, and the first is killed.
    let mut user = Ordinary::new(&["sleep", "1000"]);
    user.set("/linux/namespaces", json!(["mount", "ipc", "uts", "user"].map(|kind| json!({ "type": kind }))));
    user.set(
        "/mounts/0",
        json!({ "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"] }),
    );
    user.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    user.bundle.write_config();
    let log = user.bundle.path().join("log");
    let mut create = user.roci(&["--log", log.to_str().unwrap(), "create", user.id()]);
    assert!(create.stdout(Stdio::null()).status().unwrap().success());
    assert!(fs::read_to_string(log).unwrap().contains("neither a cgroup nor a PID namespace"));
    user.verb(&["start", user.id()]).succeeded();
    user.verb(&["kill", user.id(), "KILL"]).succeeded();
    wait_for("its end", || user.state()["status"] == "stopped");
    user.delete();
}

#[test]
fn flags_that_the_host_set_stay() {
    let folder = open_folder();
    let bind = |options: serde_json::Value| {
        let mut user = Ordinary::new(&[
            "sh",
            "-c",
            "mount | grep -c ' /data .*[(,]ro.*nosuid'; (echo > /data/x) 2>&1 | wc -l",
        ]);
        user.set(
            "/mounts/-",
            json!({ "destination": "/data", "type": "bind", "source": folder.path(), "options": options }),
        );
        user.bundle.write_config();
        // A mount with flags, which only this command sees.
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg("mkdir -p \"$0\" && mount -t tmpfs -o ro,nosuid t \"$0\" && exec setpriv --reuid \"$@\"")
            .arg(folder.path())
            .args([USER.to_string(), "--regid".to_owned(), USER.to_string(), "--clear-groups".to_owned()])
            .arg(user.program())
            .arg("--root")
            .arg(user.bundle.state_root())
            .args(["run", user.id()])
            .current_dir(user.bundle.path());
        let done = Done::from(command.output().unwrap());
        user.bundle.assert_nothing_left();
        done
    };
    assert_eq!(bind(json!(["bind"])).succeeded().out, "1\n1\n");
    assert_eq!(bind(json!(["rbind", "nodev"])).succeeded().out, "1\n1\n");
    bind(json!(["bind", "rw"])).failed(1, "flags of the host's mount stay");
    bind(json!(["bind", "suid"])).failed(1, "flags of the host's mount stay");
}

#[test]
fn mounts_that_belong_together_are_bound_together() {
    let mut user = Ordinary::new(&["true"]);
    user.set(
        "/mounts/-",
        json!({ "destination": "/tmp", "type": "bind", "source": "/sys", "options": ["bind"] }),
    );
    user.run().failed(1, "by rbind");
    user.bundle.assert_nothing_left();
    // A place in the root is what the mounts before it made of it.
    let mut user =
        Ordinary::new(&["sh", "-c", "cat /root/passwd; (echo > /root/passwd) 2>/dev/null || echo kept"]);
    fs::write(user.bundle.path().join("passwd"), "bound\n").unwrap();
    let (file, inside) = (user.bundle.path().join("passwd"), user.bundle.rootfs().join("etc"));
    let mount = |source, destination: &str, options: serde_json::Value| json!({ "destination": destination, "type": "bind", "source": source, "options": options });
    user.set("/mounts/-", mount(file, "/etc/passwd", json!(["bind"])));
    user.set("/mounts/-", mount(inside, "/root", json!(["rbind", "rro"])));
    assert_eq!(user.run().succeeded().out, "bound\nkept\n");
}

#[test]
fn hooks_and_filters_are_the_users() {
    let mut user = Ordinary::new(&["true"]);
    let hook = |name: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("id -u >> /proc/self/cwd/{name}")] }]);
    let mut hooks = json!({});
    for (point, name) in [("createRuntime", "runtime"), ("poststop", "poststop")] {
        hooks[point] = hook(name);
    }
    user.set("/hooks", hooks).set("/process/noNewPrivileges", json!(false));
    user.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }]
        }),
    );
    user.shell("mkdir /tmp/x; grep -e Seccomp: -e NoNewPrivs /proc/self/status");
    let done = user.run().succeeded();
    assert_eq!(done.out, "NoNewPrivs:\t0\nSeccomp:\t2\n");
    assert!(done.err.contains("Operation not supported"), "{done:?}");
    for name in ["runtime", "poststop"] {
        let text = fs::read_to_string(user.bundle.path().join(name)).unwrap();
        assert_eq!(text, format!("{USER}\n"), "{name}");
    }
    let listener = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nothing-there",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]
    });
    user.set("/linux/seccomp", listener);
    user.run().failed(1, "linux.seccomp: SCMP_ACT_NOTIFY takes rights");
    user.bundle.assert_nothing_left();
}

#[test]
fn groups_of_the_caller_stay_where_nobody_may_change_them() {
    let mut user = Ordinary::new(&["id", "-G"]);
    user.bundle.write_config();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &USER.to_string(), "--regid", &USER.to_string(), "--groups", "5"])
        .arg(user.program())
        .arg("--root")
        .arg(user.bundle.state_root())
        .args(["run", user.id()])
        .current_dir(user.bundle.path());
    // Not mapped, and so nobody's in there.
    assert_eq!(Done::from(command.output().unwrap()).succeeded().out, "0 65534\n");
    user.bundle.args(&["sleep", "1000"]);
    user.start();
    user.verb(&["exec", "--additional-gids", "1", user.id(), "true"])
        .failed(255, "cannot set groups [1], which a user namespace with");
    user.delete();
}

#[test]
fn what_is_delegated_of_version_2_is_used_unasked() {
    let hierarchies = Hierarchies::discover().unwrap();
    let Some(version2) = hierarchies.all().iter().find(|one| *one.kind() == Kind::V2) else {
        let _ = writeln!(std::io::stderr(), "skipped: cgroup v2 not found");
        return;
    };
    // The v2 hierarchy as the only one, in a mount namespace that nobody else sees: it may have no controllers, but all else.
    let mut user = Ordinary::new(&["sh", "-c", "sleep 1000 & wait"]);
    user.bundle.write_config();
    let script = "mount -t cgroup2 none /sys/fs/cgroup; top=/sys/fs/cgroup/hull-test-$2; mkdir $top $top/own
                  chown $3 $top $top/cgroup.procs $top/cgroup.subtree_control $top/own $top/own/cgroup.procs
                  [ $5 = outside ] || echo $$ > $top/own/cgroup.procs
                  exec setpriv --reuid $3 --regid $3 --clear-groups sh -ec \"$4\" \"$0\" \"$1\" \"$2\"";
    let within = |user: &Ordinary, place: &str, verbs: &str| {
        let verbs =
            format!("program=$0 root=$1 id=$2; roci() {{ \"$program\" --root \"$root\" \"$@\"; }}; {verbs}");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", script]).arg(user.program());
        command.arg(user.bundle.state_root()).args([user.id(), &USER.to_string(), &verbs, place]);
        let done = Done::from(command.current_dir(user.bundle.path()).output().unwrap());
        let top = version2.mount().join(format!("hull-test-{}", user.id()));
        fs::remove_dir(top.join("own")).unwrap();
        // Nothing of the container is left in there.
        fs::remove_dir(top).unwrap();
        done
    };
    let done = within(
        &user,
        "inside",
        "roci create $id > /dev/null 2>&1 < /dev/null; roci start $id; roci exec $id cat /proc/self/cgroup | grep ^0:
         test $(roci ps --format json $id | tr , '\\n' | wc -l) = 2
         roci pause $id; roci state $id | grep -o paused; roci resume $id; roci kill -a $id KILL
         while ! roci state $id | grep -q stopped; do sleep 0.05; done; roci delete $id",
    );
    let below = format!("/hull-test-{}", user.id());
    assert_eq!(done.succeeded().out, format!("0::{below}/{}\npaused\n", user.id()));
    user.bundle.assert_nothing_left();
    // Who is outside goes without, and is not let into one that he owns.
    user.bundle.args(&["cat", "/proc/self/cgroup"]);
    user.bundle.write_config();
    assert!(!within(&user, "outside", "roci run $id").succeeded().out.contains("hull-test"));
    user.set("/linux/cgroupsPath", json!(format!("{below}/c")));
    user.bundle.write_config();
    within(&user, "outside", "roci run $id").failed(1, "we are outside of what is delegated to us");
    user.bundle.assert_nothing_left();
}
