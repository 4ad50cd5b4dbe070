//! What else the runtime specification has for Linux: scheduling, time, mounts with other owners, labels.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::Command;

use common::{Bundle, Done};
use serde_json::json;

#[test]
fn a_time_namespace_has_its_own_clocks() {
    let mut bundle = Bundle::new(&["cat", "/proc/uptime"]);
    let host = fs::read_to_string("/proc/uptime").unwrap();
    let seconds = |text: &str| text.split('.').next().unwrap().parse::<i64>().unwrap();
    bundle.set("/linux/namespaces/-", json!({ "type": "time" }));
    bundle.set(
        "/linux/timeOffsets",
        json!({ "boottime": { "secs": 1_000_000 }, "monotonic": { "secs": 5, "nanosecs": 7 } }),
    );
    let inside = bundle.run().succeeded().out;
    assert!((1_000_000..1_000_100).contains(&(seconds(&inside) - seconds(&host))), "{inside}");
    // What joins the container has its time too, and the runtime itself none of it.
    bundle.args(&["sleep", "1000"]);
    bundle.start();
    let inside = bundle.exec(&["cat", "/proc/uptime"]).succeeded().out;
    assert!(seconds(&inside) - seconds(&host) >= 1_000_000, "{inside}");
    let pid = bundle.state()["pid"].to_string();
    let mut second = Bundle::new(&["readlink", "/proc/self/ns/time"]);
    second.set("/linux/namespaces/-", json!({ "type": "time", "path": format!("/proc/{pid}/ns/time") }));
    let namespace = fs::read_link(format!("/proc/{pid}/ns/time")).unwrap();
    assert_eq!(second.run().succeeded().out.trim(), namespace.to_str().unwrap());
    second.set("/linux/timeOffsets", json!({ "boottime": { "secs": 1 } }));
    second.run().failed(1, "it needs a new time namespace");
    bundle.set("/linux/timeOffsets", json!({ "boottime": { "secs": -9_000_000_000i64 } }));
    let mut third = Bundle::new(&["true"]);
    third.set("/linux/namespaces/-", json!({ "type": "time" }));
    third.set("/linux/timeOffsets", json!({ "boottime": { "secs": -9_000_000_000i64 } }));
    third.run().failed(1, "linux.timeOffsets: the kernel refuses");
    third.assert_nothing_left();
}

#[test]
fn the_command_is_scheduled_as_asked() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 7 }));
    bundle.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 }));
    bundle.set("/linux/personality", json!({ "domain": "LINUX32" }));
    bundle.args(&["sleep", "1000"]);
    bundle.start();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // proc_pid_stat(5) counts from 1 and two fields are cut off: nice is 19, policy 41.
    assert_eq!((fields[16], fields[38]), ("7", "3"), "{stat}");
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/personality")).unwrap(), "00000008\n");
    // The container's personality is that of whoever joins it; the scheduling is each process's own.
    assert_eq!(bundle.exec(&["cat", "/proc/self/personality"]).succeeded().out, "00000008\n");
    for (pointer, value, words) in [
        ("/process/scheduler", json!({ "policy": "SCHED_FIFO" }), "process.scheduler.priority"),
        ("/process/scheduler", json!({ "policy": "SCHED_OTHER", "nice": 20 }), "process.scheduler.nice"),
        ("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }), "process.ioPriority"),
        ("/process/execCPUAffinity", json!({ "initial": "1-0" }), "execCPUAffinity.initial"),
        ("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "x" }), "linux.memoryPolicy.nodes"),
        ("/linux/memoryPolicy", json!({ "mode": "MPOL_DEFAULT", "nodes": "0-7" }), "0 nodes but got 8"),
    ] {
        let mut bad = Bundle::new(&["true"]);
        bad.set(pointer, value);
        bad.run().failed(1, words);
    }
    let mut bad = Bundle::new(&["true"]);
    bad.set("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "1000" }));
    bad.run().failed(1, "cannot set the memory policy: EINVAL");
    let mut local = Bundle::new(&["cat", "/proc/self/numa_maps"]);
    local.set(
        "/linux/memoryPolicy",
        json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }),
    );
    let maps = local.run();
    // A kernel without NUMA has no such file, and no such policy.
    assert!(maps.out.contains("bind=static:0") || maps.err.contains("ENOSYS") || maps.code == 1, "{maps:?}");
}

#[test]
fn a_joining_process_runs_where_it_was_told() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let file = bundle.path().join("process.json");
    let process = json!({
        "args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "cwd": "/", "env": ["PATH=/bin"],
        "user": { "uid": 0, "gid": 0 }, "execCPUAffinity": { "initial": "1", "final": "0" }
    });
    fs::write(&file, process.to_string()).unwrap();
    let done = bundle.verb(&["exec", "--process", file.to_str().unwrap(), &bundle.id]).succeeded();
    assert_eq!(done.out.split_ascii_whitespace().last(), Some("0"));
}

#[test]
fn binds_can_have_other_owners() {
    let mut bundle = Bundle::new(&["stat", "-c", "%u:%g", "/data/file"]);
    let data = bundle.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::create_dir(bundle.rootfs().join("data")).unwrap();
    fs::write(data.join("file"), "").unwrap();
    chown(data.join("file"), Some(7), Some(8)).unwrap();
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 100 }]);
    let mount = |options: serde_json::Value| {
        json!({ "destination": "/data", "source": data, "type": "bind", "options": options,
            "uidMappings": map, "gidMappings": map })
    };
    bundle.set("/mounts/-", mount(json!(["bind", "idmap"])));
    assert_eq!(bundle.run().succeeded().out, "1007:1008\n");
    // The mappings alone say it as well, and without any the option means the container's own.
    let last = bundle.config["mounts"].as_array().unwrap().len() - 1;
    let pointer = format!("/mounts/{last}");
    bundle.set(&pointer, mount(json!(["rbind"])));
    assert_eq!(bundle.run().succeeded().out, "1007:1008\n");
    let plain = json!({ "destination": "/data", "source": data, "options": ["bind", "idmap"] });
    bundle.set(&pointer, plain.clone());
    bundle.run().failed(1, "idmap needs uidMappings");
    bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
    let own = json!([{ "containerID": 0, "hostID": 100_000, "size": 100 }]);
    bundle.set("/linux/uidMappings", own.clone()).set("/linux/gidMappings", own);
    chown(bundle.path(), Some(100_000), None).unwrap();
    assert_eq!(bundle.run().succeeded().out, "7:8\n");

    let mut bad = Bundle::new(&["true"]);
    bad.set(
        "/mounts/-",
        json!({ "destination": "/t", "type": "tmpfs", "uidMappings": map, "gidMappings": map }),
    );
    bad.run().failed(1, "only a bind mount can be id-mapped");
    let last = bad.config["mounts"].as_array().unwrap().len() - 1;
    bad.set(
        &format!("/mounts/{last}"),
        json!({ "destination": "/t", "source": "/", "options": ["bind"], "uidMappings": map }),
    );
    bad.run().failed(1, "need each other");
}

#[test]
fn a_tmpfs_looks_like_what_it_covers() {
    let mut bundle = Bundle::new(&["true"]);
    let covered = bundle.rootfs().join("covered");
    fs::create_dir(&covered).unwrap();
    fs::set_permissions(&covered, fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(covered.join("file"), "old\n").unwrap();
    symlink("/etc/passwd", covered.join("link")).unwrap();
    bundle.set(
        "/mounts/-",
        json!({ "destination": "/covered", "type": "tmpfs", "options": ["tmpcopyup", "ro"] }),
    );
    bundle.shell("stat -c %a /covered; cat /covered/file; readlink /covered/link; touch /covered/new");
    let done = bundle.run();
    assert_eq!(done.out, "711\nold\n/etc/passwd\n");
    assert!(done.err.contains("Read-only"), "{done:?}");
    let last = bundle.config["mounts"].as_array().unwrap().len() - 1;
    bundle.set(
        &format!("/mounts/{last}"),
        json!({ "destination": "/covered", "type": "tmpfs", "options": ["mode=1777"] }),
    );
    bundle.shell("stat -c %a /covered; ls /covered");
    assert_eq!(bundle.run().succeeded().out, "1777\n");
    assert_eq!(fs::metadata(covered.join("file")).unwrap().size(), 4);
    bundle.set(
        &format!("/mounts/{last}"),
        json!({ "destination": "/covered", "type": "ramfs", "options": ["tmpcopyup"] }),
    );
    bundle.run().failed(1, "tmpcopyup is an option of a tmpfs");
}

#[test]
fn a_root_can_be_changed_without_pivot() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell("pwd; ls /; cat /proc/self/mountinfo | wc -l");
    bundle.write_config();
    let done = bundle.verb(&["run", "--no-pivot", &bundle.id]).succeeded();
    assert!(done.out.starts_with("/\nbin\ndev\netc\nproc\nroot\nsys\ntmp\n"), "{done:?}");
    bundle.set("/hooks", json!({ "createContainer": [{ "path": "/bin/true" }] }));
    bundle.write_config();
    let done = bundle.verb(&["run", "--no-pivot", &bundle.id]).succeeded();
    assert!(done.out.starts_with("/\nbin\n"), "{done:?}");
    bundle.assert_nothing_left();
}

#[test]
fn without_pivot_the_mounts_of_a_shared_host_stay() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/linux/rootfsPropagation", json!("rshared"));
    bundle.write_config();
    let script = format!(
        // Two of them at one place: the upper is on the lower, which has peers as well.
        "mount --make-rprivate / && mount -t proc proc /proc && mount --make-rshared / && {} --root {} run --no-pivot {} >&2 && cat /proc/self/mountinfo",
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
    let places = |list: &str| -> Vec<String> {
        list.lines().filter_map(|line| line.split(' ').nth(4).map(str::to_owned)).collect()
    };
    let after = places(&String::from_utf8_lossy(&output.stdout));
    let mut before = places(&fs::read_to_string("/proc/self/mountinfo").unwrap());
    before.push("/proc".to_owned());
    let count = |list: &[String], place: &str| list.iter().filter(|other| *other == place).count();
    for place in before.iter().filter(|place| place.starts_with("/sys") || place.starts_with("/proc")) {
        assert!(count(&after, place) >= count(&before, place), "a mount at {place} is gone");
    }
}

#[test]
fn labels_need_their_security_module() {
    let there = |path: &str| fs::read_to_string(path).is_ok();
    for (field, words, present) in [
        ("apparmorProfile", "AppArmor is not enabled", there("/sys/module/apparmor/parameters/enabled")),
        ("selinuxLabel", "SELinux is not enabled", there("/sys/fs/selinux/enforce")),
    ] {
        if present {
            println!("skipped: this machine enforces {field}");
            continue;
        }
        let mut bundle = Bundle::new(&["true"]);
        bundle.set(&format!("/process/{field}"), json!("some-label"));
        bundle.run().failed(1, words);
        bundle.assert_nothing_left();
    }
}

#[test]
fn words_of_file_systems_mean_nothing_to_a_bind() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set(
        "/mounts/-",
        json!({ "destination": "/t", "source": "/etc", "options": ["bind", "ro", "mode=755"] }),
    );
    bundle.write_config();
    bundle.verb(&["run", &bundle.id]).succeeded();
    let log = bundle.path().join("log");
    bundle.verb(&["--log", log.to_str().unwrap(), "run", &bundle.id]).succeeded();
    let text = fs::read_to_string(log).unwrap();
    assert!(text.contains("is no option of a bind mount, left out"), "{text}");
}

#[test]
fn a_bind_has_the_flags_of_its_words() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell("grep ' /data ' /proc/self/mounts | cut -d' ' -f4");
    let data = bundle.path().join("data");
    fs::create_dir_all(&data).unwrap();
    fs::create_dir(bundle.rootfs().join("data")).unwrap();
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // A source with flags of its own, in a mount namespace of the test's.
    let run = |bundle: &Bundle| {
        bundle.write_config();
        let script = format!(
            "mount -t tmpfs -o mode=755 x {0} && mount --bind -o remount,ro,nosuid,noexec,noatime {0} && exec {1} --root {2} run {3}",
            data.display(),
            common::ROCI,
            bundle.state_root().display(),
            bundle.id
        );
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .current_dir(bundle.path())
            .output()
            .unwrap();
        Done::from(output)
    };
    bundle.set("/mounts/-", json!({ "destination": "/data", "source": data, "options": ["bind"] }));
    let pointer = format!("/mounts/{}/options", bundle.config["mounts"].as_array().unwrap().len() - 1);
    let flags = |bundle: &mut Bundle, words: &[&str]| {
        let mut options = vec!["bind"];
        options.extend(words);
        bundle.set(&pointer, json!(options));
        let line = run(bundle).succeeded().out;
        let flags = |flag: &&str| line.trim().split(',').any(|word| word == *flag);
        ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"]
            .into_iter()
            .filter(flags)
            .collect::<Vec<_>>()
    };
    assert_eq!(flags(&mut bundle, &[]), ["ro", "nosuid", "noexec", "noatime"]);
    assert_eq!(flags(&mut bundle, &["nodev"]), ["nodev", "noatime"]);
    assert_eq!(flags(&mut bundle, &["rw", "relatime"]), Vec::<&str>::new());
    assert_eq!(flags(&mut bundle, &["nodiratime"]), ["nodiratime"]);
    // A user namespace keeps what it may not take away, and may not ask for that.
    bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
    let own = json!([{ "containerID": 0, "hostID": 100_000, "size": 100 }]);
    bundle.set("/linux/uidMappings", own.clone()).set("/linux/gidMappings", own);
    chown(bundle.path(), Some(100_000), None).unwrap();
    assert_eq!(flags(&mut bundle, &["nodev"]), ["ro", "nosuid", "nodev", "noexec", "noatime"]);
    bundle.set(&pointer, json!(["bind", "rw"]));
    run(&bundle).failed(1, "Operation not permitted");
}

#[test]
fn a_bind_can_come_from_what_an_earlier_mount_made() {
    let mut bundle = Bundle::new(&["sh", "-c", "cat /second/file; touch /second/new"]);
    let (data, rootfs) = (bundle.path().join("data"), bundle.rootfs());
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "of the first\n").unwrap();
    bundle.set("/mounts/-", json!({ "destination": "/first", "source": data, "options": ["bind"] }));
    bundle.set(
        "/mounts/-",
        json!({ "destination": "/second", "source": rootfs.join("first"), "options": ["bind", "ro"] }),
    );
    let done = bundle.run();
    assert_eq!(done.out, "of the first\n");
    assert!(done.err.contains("Read-only"), "{done:?}");
    // A link in the root means what it means in the root.
    symlink("/etc", bundle.rootfs().join("link")).unwrap();
    bundle.set(
        "/mounts/-",
        json!({ "destination": "/third", "source": rootfs.join("link"), "options": ["bind"] }),
    );
    bundle.args(&["cat", "/third/passwd"]);
    assert!(bundle.run().succeeded().out.starts_with("root:x:0:0::/root"));
    // Unless it leads to what is made for the container: bound from there it would be whole and writable.
    for target in ["/proc", "/proc/sys", "/sys"] {
        fs::remove_file(bundle.rootfs().join("link")).unwrap();
        symlink(target, bundle.rootfs().join("link")).unwrap();
        bundle.run().failed(1, "cannot mount");
    }
    bundle.assert_nothing_left();
}

#[test]
fn the_kernel_lists_mounts_in_the_order_of_the_configuration() {
    let mut bundle = Bundle::new(&["cat", "/proc/self/mountinfo"]);
    let data = bundle.path().join("data");
    fs::create_dir(&data).unwrap();
    let mut expected = Vec::new();
    let mut add = |place: &str, source: Option<&str>| {
        expected.push(place.to_owned());
        bundle.set(
            "/mounts/-",
            match source {
                None => json!({ "destination": place, "type": "tmpfs", "source": "tmpfs" }),
                Some(word) => json!({ "destination": place, "source": data, "options": ["rbind", word] }),
            },
        );
    };
    add("/data/a", None);
    add("/data/b", Some("runbindable"));
    add("/data/c", None);
    // More than the creator hands over at once, and one place twice.
    (0..70).for_each(|number| add(&format!("/data/d{number}"), Some("ro")));
    add("/data/c", Some("rshared"));
    add("/data/c", None);
    let seen = bundle.run().succeeded().out;
    let places = seen.lines().filter_map(|line| line.split(' ').nth(4));
    let places: Vec<_> = places.filter(|place| place.starts_with("/data/")).collect();
    assert_eq!(places, expected);
    // What is not there is found before anything is made.
    bundle.set("/mounts/-", json!({ "destination": "/z", "source": "/nonexistent", "options": ["bind"] }));
    bundle.run().failed(1, ".source: cannot bind /nonexistent: No such file");
    assert!(!bundle.rootfs().join("z").exists());
    bundle.assert_nothing_left();
}

#[test]
fn what_an_earlier_mount_made_can_have_other_owners() {
    let mut bundle = Bundle::new(&["stat", "-c", "%u:%g", "/second/file"]);
    let (data, rootfs) = (bundle.path().join("data"), bundle.rootfs());
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "").unwrap();
    chown(data.join("file"), Some(7), Some(8)).unwrap();
    bundle.set("/mounts/-", json!({ "destination": "/first", "source": data, "options": ["bind"] }));
    // Both ends as the host sees them.
    let mapped = |map: serde_json::Value| {
        json!({ "destination": rootfs.join("second"), "source": rootfs.join("first"),
            "options": ["rbind", "idmap"], "uidMappings": map, "gidMappings": map })
    };
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 100 }]);
    bundle.set("/mounts/-", mapped(map));
    assert_eq!(bundle.run().succeeded().out, "1007:1008\n");
    // In a user namespace its process has no right to do that itself.
    let own = json!([{ "containerID": 0, "hostID": 100_000, "size": 2000 }]);
    bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
    bundle.set("/linux/uidMappings", own.clone()).set("/linux/gidMappings", own);
    let last = bundle.config["mounts"].as_array().unwrap().len() - 1;
    let map = json!([{ "containerID": 0, "hostID": 101_000, "size": 100 }]);
    bundle.set(&format!("/mounts/{last}"), mapped(map));
    for folder in [bundle.path(), &rootfs, &data] {
        chown(folder, Some(100_000), Some(100_000)).unwrap();
    }
    assert_eq!(bundle.run().succeeded().out, "1007:1008\n");
    bundle.assert_nothing_left();
}

#[test]
fn a_filter_that_knows_few_calls_starts_a_command_all_the_same() {
    let mut bundle = Bundle::new(&["echo", "started"]);
    // Calls younger than many a profile.
    let young = ["faccessat2", "openat2", "close_range", "mount_setattr", "statx", "clone3"];
    bundle.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": young, "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }] }),
    );
    for promised in [true, false] {
        bundle.set("/process/noNewPrivileges", json!(promised));
        assert_eq!(bundle.run().succeeded().out, "started\n");
    }
}

#[test]
fn what_the_kernel_links_to_is_masked_and_read_only() {
    let mut bundle = Bundle::new(&[]);
    bundle
        .set("/linux/maskedPaths", json!(["/sys/class/net/lo"]))
        .set("/linux/readonlyPaths", json!(["/proc/net"]));
    bundle.shell("ls /sys/class/net/lo; grep -c ' /proc/1/net ro' /proc/self/mountinfo");
    assert_eq!(bundle.run().succeeded().out, "1\n");
    // One that leads elsewhere was made by no kernel.
    symlink("/etc/passwd", bundle.rootfs().join("proc/planted")).unwrap();
    bundle.set("/linux/maskedPaths", json!(["/proc/planted"])).config["mounts"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    bundle.set("/linux/readonlyPaths", json!([]));
    bundle.run().failed(1, "cannot mask /proc/planted: EXDEV");
    bundle.assert_nothing_left();
}

#[test]
fn there_may_be_more_mounts_than_open_files() {
    let mut bundle = Bundle::new(&["ls", "/many/599"]);
    let source = bundle.path().join("source");
    fs::create_dir_all(source.join("found")).unwrap();
    for number in 0..600 {
        let destination = format!("/many/{number}");
        let bind =
            json!({ "destination": destination, "type": "bind", "source": source, "options": ["bind"] });
        bundle.set("/mounts/-", bind);
    }
    // Its own limit of open files would be above ours.
    bundle.set("/process/rlimits", json!([])).write_config();
    let roci = bundle.roci(&["run", &bundle.id]);
    let mut few = Command::new("prlimit");
    few.arg("--nofile=512:512").arg(roci.get_program()).args(roci.get_args()).current_dir(bundle.path());
    assert_eq!(Done::from(few.output().unwrap()).succeeded().out, "found\n");
    bundle.assert_nothing_left();
}
