//! Namespaces created and joined, user namespaces, passed roots, propagation, limits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use common::{Bundle, Canary};
use serde_json::json;

/// The identity of a namespace of a process.
fn namespace(pid: &str, name: &str) -> u64 {
    fs::metadata(format!("/proc/{pid}/ns/{name}")).unwrap().ino()
}

#[test]
fn named_namespaces_are_made_new_and_others_are_ours() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.set("/hostname", json!(""));
    bundle.set("/linux/namespaces", json!([{ "type": "mount" }, { "type": "pid" }]));
    // Without a network namespace of its own sysfs cannot be mounted anew by everyone; a bind always can.
    bundle.start();
    let pid = bundle.state()["pid"].to_string();
    for name in ["mnt", "pid"] {
        assert_ne!(namespace(&pid, name), namespace("self", name), "{name}");
    }
    for name in ["net", "ipc", "uts", "user", "cgroup"] {
        assert_eq!(namespace(&pid, name), namespace("self", name), "{name}");
    }
}

#[test]
fn every_namespace_of_another_container_can_be_joined() {
    let first = Bundle::new(&["sleep", "1000"]);
    first.start();
    let pid = first.state()["pid"].to_string();
    let mut second = Bundle::new(&["sleep", "1000"]);
    second.set("/hostname", json!(""));
    second.set(
        "/linux/namespaces",
        json!([
            { "type": "mount" },
            { "type": "pid", "path": format!("/proc/{pid}/ns/pid") },
            { "type": "network", "path": format!("/proc/{pid}/ns/net") },
            { "type": "ipc", "path": format!("/proc/{pid}/ns/ipc") },
            { "type": "uts", "path": format!("/proc/{pid}/ns/uts") },
            { "type": "cgroup", "path": format!("/proc/{pid}/ns/cgroup") }
        ]),
    );
    second.start();
    let other = second.state()["pid"].to_string();
    for name in ["pid", "net", "ipc", "uts", "cgroup"] {
        assert_eq!(namespace(&pid, name), namespace(&other, name), "{name}");
    }
    assert_ne!(namespace(&pid, "mnt"), namespace(&other, "mnt"));
    assert_eq!(second.exec(&["hostname"]).succeeded().out, "testhost\n");
    // The runtime itself stayed where it was: its next container's pids are ours again.
    assert_eq!(first.exec(&["sh", "-c", "cat /proc/[0-9]*/comm | grep -c sleep"]).out.trim(), "2");
    second.verb(&["delete", "-f", &second.id]).succeeded();
    second.assert_nothing_left();
    assert_eq!(first.status(), "running");
}

#[test]
fn without_namespaces_a_container_mounts_nothing_on_the_host() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.set("/hostname", json!("")).set("/linux/namespaces", json!([])).set("/root/readonly", json!(true));
    bundle.set("/mounts/1/options/-", json!("ro"));
    let data = bundle.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "bound").unwrap();
    bundle.set("/mounts/-", json!({ "destination": "/data", "source": data, "options": ["rbind"] }));
    let created = bundle.create();
    if created.err.contains("before Linux 6.15") {
        bundle.assert_nothing_left();
        common::report_skipped("Linux 6.15");
        return;
    }
    created.succeeded();
    let seen = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!seen.contains(bundle.path().to_str().unwrap()), "{seen}");
    bundle.verb(&["start", &bundle.id]).succeeded();
    let pid = bundle.state()["pid"].to_string();
    for name in ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"] {
        assert_eq!(namespace(&pid, name), namespace("self", name), "{name}");
    }
    // Who joins it is in its root, with all that was mounted, read-only and masked there.
    let script =
        "cat /data/file; touch /new /dev/new; echo 1 > /proc/sys/kernel/panic; cat /proc/keys; pwd; ls /";
    let done = bundle.exec(&["sh", "-c", script]);
    assert_eq!(done.out, "bound/\nbin\ndata\ndev\netc\nproc\nroot\nsys\ntmp\n", "{done:?}");
    assert_eq!(done.err.matches("Read-only").count(), 3, "{done:?}");
    bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    bundle.assert_nothing_left();
    // What cannot be had without a mount namespace is refused.
    let hook = json!([{ "path": "/bin/true" }]);
    bundle.set("/hooks", json!({ "createRuntime": hook }));
    bundle.run().failed(1, "hooks: those before the start need a mount namespace");
    bundle.set("/hooks", json!({ "poststart": hook })).args(&["true"]);
    bundle.run().succeeded();
    bundle.set("/linux/namespaces", json!([{ "type": "user", "path": own("user") }]));
    bundle.run().failed(1, "no rights on the host's mount namespace");
    bundle.assert_nothing_left();
}

#[test]
fn wrong_namespaces_are_refused_before_anything_is_made() {
    let mut bundle = Bundle::new(&["true"]);
    // One that waits for a writer must not make us wait.
    rustix::fs::mkfifoat(rustix::fs::CWD, bundle.path().join("fifo"), rustix::fs::Mode::RUSR).unwrap();
    for (path, words) in [
        ("/nonexistent", "linux.namespaces[1].path: cannot open /nonexistent"),
        ("/etc/passwd", "is no namespace"),
        ("fifo", "linux.namespaces[1].path: "),
        (
            "/proc/self/ns/ipc",
            "linux.namespaces[1].path: /proc/self/ns/ipc is a namespace of type ipc and not net",
        ),
    ] {
        let fifo = bundle.path().join("fifo");
        let path = if path == "fifo" { fifo.to_str().unwrap() } else { path };
        bundle.set("/linux/namespaces", json!([{ "type": "mount" }, { "type": "network", "path": path }]));
        bundle.set("/hostname", json!(""));
        bundle.run().failed(1, words);
        bundle.assert_nothing_left();
    }
    bundle.set("/linux/namespaces", json!([{ "type": "mount", "path": own("mnt") }]));
    bundle.run().failed(1, "mount namespace of the runtime itself");
    // Naming the host's own namespace is no way to change the host (CVE-2022-0532).
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    bundle.set("/linux/namespaces", json!([{ "type": "mount" }, { "type": "uts", "path": own("uts") }]));
    bundle.set("/hostname", json!("changed"));
    bundle.run().failed(1, "hostname: it would change the host");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), host);
    bundle.assert_nothing_left();
}

#[test]
fn a_pid_namespace_that_has_ended_takes_nobody() {
    let first = Bundle::new(&["sleep", "1000"]);
    first.start();
    let held = fs::File::open(format!("/proc/{}/ns/pid", first.state()["pid"])).unwrap();
    first.verb(&["delete", "--force", &first.id]).succeeded();
    let mut bundle = Bundle::new(&["true"]);
    let path = format!("/proc/{}/fd/{}", std::process::id(), held.as_raw_fd());
    bundle.set("/linux/namespaces/0", json!({ "type": "pid", "path": path }));
    bundle.run().failed(1, "config.json: linux.namespaces[0].path: its first process has ended");
    bundle.assert_nothing_left();
}

/// The path of a namespace of this test, which is the runtime's too.
fn own(name: &str) -> String {
    format!("/proc/{}/ns/{name}", std::process::id())
}

/// A bundle in a user namespace whose root is user 100000 of the host.
fn in_user_namespace(args: &[&str]) -> Bundle {
    let mut bundle = Bundle::new(args);
    bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
    let mapping = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    bundle.set("/linux/uidMappings", mapping.clone());
    bundle.set("/linux/gidMappings", mapping);
    for entry in walk(&bundle.rootfs()) {
        std::os::unix::fs::lchown(entry, Some(100_000), Some(100_000)).unwrap();
    }
    bundle
}

fn walk(root: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![root.to_owned()];
    let mut next = 0;
    while next < all.len() {
        if fs::symlink_metadata(&all[next]).unwrap().is_dir() {
            let entries: Vec<_> =
                fs::read_dir(&all[next]).unwrap().map(|entry| entry.unwrap().path()).collect();
            all.extend(entries);
        }
        next += 1;
    }
    all
}

#[test]
fn a_user_namespace_has_its_map_and_no_more() {
    let canary = Canary::new();
    let mut bundle = in_user_namespace(&["true"]);
    bundle.set(
        "/mounts/-",
        json!({ "destination": "/canary", "source": canary.path(), "options": ["rbind", "ro"] }),
    );
    bundle.shell(
        "id -u; id -g; id -G; head -c0 /dev/null && echo x > /dev/null && echo device; \
         sort -u /proc/self/uid_map | grep -c 100000; grep ^Groups /proc/self/status; touch /tmp/mine; stat -c %u:%g /canary; \
         touch /canary/x 2>/dev/null || echo refused; cat /proc/self/setgroups",
    );
    let done = bundle.run().succeeded();
    assert_eq!(done.out, "0\n0\n0\ndevice\n1\nGroups:\t \n65534:65534\nrefused\nallow\n", "{done:?}");
    assert_eq!(fs::metadata(bundle.rootfs().join("tmp/mine")).unwrap().uid(), 100_000);
    canary.assert_untouched();
    bundle.assert_nothing_left();
}

#[test]
fn exec_enters_a_user_namespace() {
    let bundle = in_user_namespace(&["sleep", "1000"]);
    bundle.start();
    let pid = bundle.state()["pid"].to_string();
    let out = bundle.exec(&["sh", "-c", "id -u; readlink /proc/self/ns/user; hostname"]).succeeded().out;
    let expected = format!("0\nuser:[{}]\ntesthost\n", namespace(&pid, "user"));
    assert_eq!(out, expected);
}

#[test]
fn a_user_namespace_can_be_joined_with_others_made_new() {
    let first = in_user_namespace(&["sleep", "1000"]);
    first.start();
    let pid = first.state()["pid"].to_string();
    let mut second = in_user_namespace(&["sleep", "1000"]);
    second.set("/hostname", json!("second"));
    second.set(
        "/linux/namespaces",
        json!([
            { "type": "user", "path": format!("/proc/{pid}/ns/user") },
            { "type": "network", "path": format!("/proc/{pid}/ns/net") },
            { "type": "mount" }, { "type": "pid" }, { "type": "uts" }, { "type": "ipc" }
        ]),
    );
    second.start();
    let other = second.state()["pid"].to_string();
    for name in ["user", "net"] {
        assert_eq!(namespace(&pid, name), namespace(&other, name), "{name}");
    }
    for name in ["mnt", "pid", "uts", "ipc"] {
        assert_ne!(namespace(&pid, name), namespace(&other, name), "{name}");
        assert_ne!(namespace("self", name), namespace(&other, name), "{name}");
    }
    let out =
        second.exec(&["sh", "-c", "hostname; id -u; cat /proc/[0-9]*/comm | grep -c sleep"]).succeeded().out;
    assert_eq!(out, "second\n0\n1\n");
    second.verb(&["delete", "-f", &second.id]).succeeded();
    second.assert_nothing_left();
}

#[test]
fn a_passed_mount_is_the_root_and_is_seen_nowhere_else() {
    let bundle = Bundle::new(&["cat", "/marker"]);
    fs::write(bundle.rootfs().join("marker"), "from the mount\n").unwrap();
    // A detached clone of the root, whose path in config.json then leads nowhere.
    let tree = rustix::mount::open_tree(
        rustix::fs::CWD,
        bundle.rootfs(),
        rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE,
    )
    .unwrap();
    let mut bundle = bundle;
    bundle.set("/root/path", json!("/nonexistent"));
    bundle.write_config();
    let number = tree.as_raw_fd();
    let done = bundle.verb(&["run", "--rootfs-fd", &number.to_string(), &bundle.id]);
    assert_eq!(done.succeeded().out, "from the mount\n");
    bundle.verb(&["run", "--rootfs-fd", "77", &bundle.id]).failed(1, "--rootfs-fd 77");
    bundle.verb(&["run", "--rootfs-fd", "1", &bundle.id]).failed(1, "--rootfs-fd 1");
    bundle.run().failed(1, "root.path");
    bundle.assert_nothing_left();
}

#[test]
fn mounts_of_a_container_stay_in_it() {
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for propagation in ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable"] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.set("/linux/rootfsPropagation", json!(propagation));
        for set in ["bounding", "effective", "permitted"] {
            bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_ADMIN"]));
        }
        bundle.shell("mount -t tmpfs inside /tmp && mount | grep -c ' /tmp '");
        assert_eq!(bundle.run().succeeded().out, "1\n", "{propagation}");
        bundle.assert_nothing_left();
    }
    let after = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = |text: &str| {
        text.lines().filter(|line| line.contains("roci-test-") || line.contains(" inside ")).count()
    };
    assert_eq!(own(&after), own(&before));
}

#[test]
fn limits_are_seen_in_the_cgroup_and_in_the_process() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set(
        "/linux/resources",
        json!({
            "devices": [{ "allow": false, "access": "rwm" }],
            "memory": { "limit": 67_108_864 },
            "pids": { "limit": 33 },
            "cpu": { "shares": 512, "quota": 50_000, "period": 100_000 }
        }),
    );
    bundle.set("/process/oomScoreAdj", json!(321));
    let (files, limits) = match common::unified() {
        true => ("memory.max pids.max cpu.weight cpu.max", "67108864\n33\n59\n50000 100000\n"),
        false => (
            "memory/memory.limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us",
            "67108864\n33\n512\n50000\n",
        ),
    };
    bundle.shell(&format!(
        "cd /sys/fs/cgroup; cat {files}; cat /proc/self/oom_score_adj; ulimit -S -n; ulimit -H -n"
    ));
    assert_eq!(bundle.run().succeeded().out, format!("{limits}321\n512\n1024\n"));
    bundle.assert_nothing_left();
}

#[test]
fn pids_without_a_limit_are_unlimited() {
    let mut bundle = Bundle::new(&["sh", "-c", "true | true; echo forked"]);
    bundle.set("/linux/resources/pids", json!({}));
    assert_eq!(bundle.run().succeeded().out, "forked\n");
    bundle.args(&["sleep", "1000"]).set("/linux/resources/pids", json!({ "limit": 33 }));
    bundle.start();
    let file = bundle.path().join("limits");
    fs::write(&file, "{\"pids\":{}}").unwrap();
    bundle.verb(&["update", "-r", file.to_str().unwrap(), &bundle.id]).succeeded();
    assert_eq!(
        bundle
            .exec(&["sh", "-c", "true | true; cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>&-"])
            .out,
        "33\n"
    );
}

#[test]
fn what_the_machine_withholds_is_clamped_and_said() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.set("/process/capabilities/ambient", json!(["CAP_KILL"]));
    bundle.start();
    let clamped = bundle.state()["clamped"].to_string();
    assert!(clamped.contains("can't raise ambient capability CAP_KILL: "), "{clamped}");
    let mut odd = Bundle::new(&["true"]);
    let rule = json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "ra" });
    odd.set("/linux/resources/devices/-", rule);
    assert!(odd.run().succeeded().err.contains("devices[1].access: 'a' left out"));
}

#[test]
fn a_working_directory_is_made_and_devices_are_too() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/process/cwd", json!("/srv/deep/place"));
    bundle.set(
        "/linux/devices",
        json!([
            { "path": "/dev/sub/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6 },
            { "path": "/dev/pipe", "type": "p", "fileMode": 0o600 }
        ]),
    );
    bundle.shell("pwd; stat -c '%F %t:%T %a %u:%g' /dev/sub/mine; stat -c '%F %a' /dev/pipe; readlink /dev/fd; readlink /dev/ptmx");
    let expected = "/srv/deep/place\ncharacter special file 1:3 640 5:6\nfifo 600\n/proc/self/fd\npts/ptmx\n";
    assert_eq!(bundle.run().succeeded().out, expected);
}

#[test]
fn the_cgroup_cannot_be_left_upwards() {
    // CVE-2023-25809
    for own in [true, false] {
        let mut bundle = Bundle::new(&["true"]);
        if !own {
            let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "cgroup");
        }
        // One folder with v2, a folder for each hierarchy otherwise.
        let own_files = if common::unified() { "cgroup.procs" } else { "*/cgroup.procs" };
        bundle.shell(&format!(
            "cd /sys/fs/cgroup/; for f in {own_files}; do (echo 1 > $f) 2>/dev/null && echo wrote $f; done; \
             ls -d hull-test-* */hull-test-* 2>/dev/null; ls ../hull-test* */../hull-test* 2>/dev/null; \
             cat {own_files} | sort -u | head -1",
        ));
        // No parent is seen, nothing can be written, and the first process is the only one.
        assert_eq!(bundle.run().succeeded().out, "1\n", "{own}");
    }
    let output = Command::new("ls").arg("/sys/fs/cgroup").output().unwrap();
    assert!(output.status.success());
}

/// Runs the container on a host whose mounts are shared, as systemd makes them, and returns the host's mounts after.
fn run_on_shared_host(bundle: &Bundle) -> String {
    bundle.write_config();
    // First cut off: where the machine's own mounts are shared, the test's would reach them.
    let script = format!(
        "mount --make-rprivate / && mount --make-rshared / && {} --root {} run {} >&2 && cat /proc/self/mountinfo",
        common::ROCI,
        bundle.state_root().display(),
        bundle.id
    );
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "unchanged", "sh", "-c", &script])
        .current_dir(bundle.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn mounts_reach_a_shared_host_only_where_asked() {
    let shared = tempfile::Builder::new().prefix("roci-shared-").tempdir().unwrap();
    fs::create_dir(shared.path().join("in")).unwrap();
    for (root, bind, arrives) in [
        ("", "rslave", false),
        ("", "rprivate", false),
        ("rslave", "rshared", false),
        ("rprivate", "rshared", false),
        ("rshared", "rslave", false),
        ("rshared", "rshared", true),
        ("shared", "rshared", true),
    ] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.set("/linux/rootfsPropagation", json!(root));
        for set in ["bounding", "effective", "permitted"] {
            bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_ADMIN"]));
        }
        bundle.set(
            "/mounts/-",
            json!({ "destination": "/shared", "source": shared.path(), "options": ["rbind", bind] }),
        );
        bundle.shell("mount -t tmpfs inside /shared/in && mount -t tmpfs inside /tmp");
        let mounts = run_on_shared_host(&bundle);
        let inside: Vec<&str> = mounts.lines().filter(|line| line.contains(" inside ")).collect();
        assert_eq!(inside.len(), usize::from(arrives), "{root} {bind}: {inside:?}");
        // Nothing of the host went away, and nothing of the container's set-up arrived.
        assert!(mounts.lines().any(|line| line.contains(" /proc ")), "{root} {bind}");
        assert!(!mounts.contains("roci-test-"), "{root} {bind}: {mounts}");
    }
}

#[test]
fn ids_outside_the_map_cannot_be_used() {
    for (user, words) in [
        (json!({ "uid": 65_536, "gid": 0 }), "process.user.uid: 65536 is not mapped by linux.uidMappings"),
        (json!({ "uid": 0, "gid": 70_000 }), "process.user.gid: 70000 is not mapped by linux.gidMappings"),
        (
            json!({ "uid": 1, "gid": 1, "additionalGids": [99_999] }),
            "process.user.additionalGids[0]: 99999 is not",
        ),
    ] {
        let mut bundle = in_user_namespace(&["true"]);
        bundle.set("/process/user", user);
        bundle.run().failed(1, words);
        bundle.assert_nothing_left();
    }
    // The kernel refuses them to whoever joins.
    let bundle = in_user_namespace(&["sleep", "1000"]);
    bundle.start();
    bundle
        .verb(&["exec", "--user", "70000", &bundle.id, "true"])
        .failed(255, "cannot set user 70000: EINVAL");
    bundle.verb(&["exec", "--additional-gids", "99999", &bundle.id, "true"]).failed(255, "EINVAL");
}
