//! What a container's process must not have, in run and in exec: descriptors, users, rights, devices, surroundings, and the
//! cgroup of another. The table of known attacks, by advisory, is docs/threats.md.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use common::{Bundle, Canary, repelled};
use runtime::fault::Defence;
use serde_json::json;

#[test]
fn no_working_directory_leads_to_the_host() {
    // CVE-2024-21626: for every descriptor number, in run and in exec, with a folder of the host open under it.
    const DEFENCES: &[Defence] = &[Defence::ClosedDescriptors, Defence::ProvenDirectory];
    let canary = Canary::new();
    let reads_host = |command: &mut std::process::Command, number: i32| {
        leak(command, canary.path(), number);
        let output = command.output().unwrap();
        let read = String::from_utf8_lossy(&output.stdout).contains("canary secret");
        assert!(read || !output.status.success(), "{number}: {output:?}");
        read
    };
    repelled(DEFENCES, |without| {
        let mut bundle = Bundle::without(without, &["cat", "secret"]);
        (3..=64).any(|number| {
            bundle.set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
            bundle.write_config();
            reads_host(&mut bundle.roci(&["run", &bundle.id]), number)
        })
    });
    repelled(DEFENCES, |without| {
        let bundle = Bundle::without(without, &["sleep", "1000"]);
        bundle.start();
        (3..=64).any(|number| {
            let cwd = format!("/proc/self/fd/{number}");
            let exec = ["exec", "--cwd", &cwd, &bundle.id, "cat", "secret"];
            reads_host(&mut bundle.roci(&exec), number)
        })
    });
    canary.assert_untouched();
}

/// Gives the command an open folder under a number, not close-on-exec.
fn leak(command: &mut std::process::Command, folder: &Path, number: i32) {
    // By a shell, as only it can place a descriptor without unsafe code here.
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let directory = command.get_current_dir().map(ToOwned::to_owned);
    let mut shell = std::process::Command::new("bash");
    shell
        .arg("-c")
        .arg(format!("exec {number}<\"$0\"; exec \"$@\""))
        .arg(folder)
        .arg(program)
        .args(arguments);
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(Stdio::null());
    if let Some(directory) = directory {
        shell.current_dir(directory);
    }
    *command = shell;
}

#[test]
fn leaked_descriptors_do_not_arrive() {
    repelled(&[Defence::ClosedDescriptors], |without| {
        let canary = Canary::new();
        let bundle = Bundle::without(without, &["ls", "/proc/self/fd"]);
        bundle.write_config();
        let mut command = bundle.roci(&["run", &bundle.id]);
        leak(&mut command, canary.path(), 37);
        String::from_utf8_lossy(&command.output().unwrap().stdout) != "0\n1\n2\n3\n"
    });
}

#[test]
fn the_hosts_null_device_does_not_arrive() {
    // CVE-2026-88265: root of a container may change mode and owner of what it has open, also of a host's device.
    let host = fs::metadata("/dev/null").unwrap();
    let script = "touch -d 2001-02-03 /proc/self/fd/0; \
                  stat -L -c %d:%i /proc/self/fd/0 /dev/null";
    let assert_own = |out: &str| {
        let seen: Vec<&str> = out.lines().collect();
        assert!(seen.len() == 2 && seen[0] == seen[1], "{out}");
        assert_ne!(seen[0], format!("{}:{}", host.dev(), host.ino()));
        let now = fs::metadata("/dev/null").unwrap();
        assert_eq!(now.mtime(), host.mtime());
    };
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell(script);
    assert_own(&bundle.run().succeeded().out);
    bundle.args(&["sleep", "1000"]);
    bundle.start();
    assert_own(&bundle.exec(&["sh", "-c", script]).succeeded().out);
    // What a container puts there before an exec is neither followed nor believed.
    for replacement in ["ln -s /etc/passwd /dev/null", "mkfifo /dev/null", "echo x > /dev/null", "true"] {
        let plant = format!("rm -f /dev/null; {replacement}");
        let mut planting = bundle.roci(&["exec", &bundle.id, "sh", "-c", &plant]);
        assert!(planting.stdin(Stdio::piped()).status().unwrap().success());
        bundle.exec(&["true"]).failed(255, "0 as the container's /dev/null");
    }
}

#[test]
fn without_its_own_null_device_a_container_would_have_the_hosts() {
    let host = fs::metadata("/dev/null").unwrap();
    let host = format!("{}:{}\n", host.dev(), host.ino());
    let script = "stat -L -c %d:%i /proc/self/fd/0";
    repelled(&[Defence::OwnNull], |without| {
        let mut bundle = Bundle::without(without, &["true"]);
        bundle.shell(script);
        let run = bundle.run().succeeded().out == host;
        bundle.args(&["sleep", "1000"]);
        bundle.start();
        let exec = bundle.exec(&["sh", "-c", script]).succeeded().out == host;
        assert_eq!(run, exec);
        run
    });
    // What stands in its place is not believed: here a file, which would become the standard input.
    repelled(&[Defence::ProvenNull], |without| {
        let bundle = Bundle::without(without, &["sleep", "1000"]);
        bundle.start();
        let mut plant =
            bundle.roci(&["exec", &bundle.id, "sh", "-c", "rm /dev/null; echo planted > /dev/null"]);
        assert!(plant.stdin(Stdio::piped()).status().unwrap().success());
        bundle.exec(&["cat"]).out == "planted\n"
    });
}

#[test]
fn a_joining_process_leaves_the_keys_of_its_caller_behind() {
    if !Path::new("/proc/keys").exists() {
        return;
    }
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.config["linux"]["maskedPaths"] = json!([]);
    bundle.start();
    // To another user only the keyring that it possesses shows.
    let keys = bundle.verb(&["exec", "--user", "1000", &bundle.id, "cat", "/proc/keys"]).succeeded().out;
    assert!(keys.contains(&format!("_ses.{}", bundle.id)), "{keys}");
}

#[test]
fn only_descriptors_of_the_caller_are_preserved() {
    // With 3 closed by the caller the log would be opened there and passed on.
    let bundle = Bundle::new(&["ls", "/proc/self/fd"]);
    bundle.write_config();
    let log = bundle.path().join("log");
    let run = |count: &str| {
        bundle.verb(&["--log", log.to_str().unwrap(), "run", "--preserve-fds", count, &bundle.id])
    };
    run("1").failed(1, "descriptor 3 is not open");
    run("4294967295").failed(1, "descriptor 3 is not open");
    assert_eq!(run("0").succeeded().out, "0\n1\n2\n3\n");
}

#[test]
fn capabilities_and_promises_are_those_asked_for_in_run_and_exec() {
    // CVE-2022-29162, CVE-2022-24769, CVE-2022-27650 and others: nothing inheritable, nothing ambient.
    let expected = "CapInh:\t0000000000000000\nCapPrm:\t0000000000000420\nCapEff:\t0000000000000420\n\
                    CapBnd:\t0000000000000420\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";
    let script = "grep -E '^(Cap|NoNew)' /proc/self/status";
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell(script);
    assert_eq!(bundle.run().succeeded().out, expected);
    bundle.args(&["sleep", "1000"]);
    bundle.start();
    assert_eq!(bundle.exec(&["sh", "-c", script]).succeeded().out, expected);
    // An ordinary user has them permitted by nobody: effective falls with the change of user at exec.
    let user = bundle.verb(&["exec", "--user", "1000", &bundle.id, "sh", "-c", script]).succeeded().out;
    assert!(user.contains("CapEff:\t0000000000000000"), "{user}");
    let more = bundle.verb(&["exec", "--cap", "CAP_CHOWN", &bundle.id, "sh", "-c", script]).succeeded().out;
    assert!(
        more.contains("CapEff:\t0000000000000421") && more.contains("CapInh:\t0000000000000000"),
        "{more}"
    );
    bundle.verb(&["exec", "--cap", "CAP_NOPE", &bundle.id, "true"]).failed(255, "CAP_NOPE");
}

#[test]
fn capabilities_that_nobody_asked_for_are_not_there() {
    repelled(&[Defence::ExactCapabilities], |without| {
        let mut bundle = Bundle::without(without, &["true"]);
        let script = "grep ^CapPrm /proc/self/status";
        bundle.shell(script);
        let run = bundle.run().succeeded().out;
        bundle.args(&["sleep", "1000"]);
        bundle.start();
        let exec = bundle.exec(&["sh", "-c", script]).succeeded().out;
        assert_eq!(run, exec);
        run != "CapPrm:\t0000000000000420\n"
    });
}

#[test]
fn users_and_groups_are_exactly_those_asked_for() {
    // CVE-2022-36109 and others, CVE-2026-30892
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o27 }));
    bundle.shell("id -u; id -g; id -G; umask; grep -E '^(Uid|Gid)' /proc/self/status; echo $HOME");
    let out = bundle.run().succeeded().out;
    let expected = "1000\n1001\n1001 5 6\n0027\nUid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\n/home/user\n";
    assert_eq!(out, expected);
}

#[test]
fn groups_of_the_caller_do_not_arrive() {
    // CVE-2022-36109, -2990, -2995, CVE-2023-25173: the primary group counts among the groups, and nobody else's do; for
    // a user of the image, for one with further groups, and for one that nobody knows.
    let cases = [
        (json!({ "uid": 1000, "gid": 1000 }), "1000"),
        (json!({ "uid": 1000, "gid": 1000, "additionalGids": [7, 8] }), "1000 7 8"),
        (json!({ "uid": 4711, "gid": 0 }), "0"),
        (json!({ "uid": 0, "gid": 0, "additionalGids": [0, 10] }), "0 10"),
    ];
    let as_member = |mut command: std::process::Command| {
        let mut member = std::process::Command::new("setpriv");
        member.args(["--groups", "4242"]).arg(command.get_program()).args(command.get_args());
        member.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command = member;
        command.stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for (user, expected) in &cases {
        repelled(&[Defence::ExactGroups], |without| {
            let mut bundle = Bundle::without(without, &["id", "-G"]);
            bundle.set("/process/user", user.clone());
            bundle.write_config();
            let bundle_option = bundle.path().to_str().unwrap().to_owned();
            let run = as_member(bundle.roci(&["run", "--bundle", &bundle_option, &bundle.id]));
            bundle.args(&["sleep", "1000"]);
            bundle.start();
            let ids = format!("{}:{}", user["uid"], user["gid"]);
            // The further groups are those of config.json.
            let arguments = ["exec", "--user", &ids, &bundle.id, "id", "-G"];
            let exec = as_member(bundle.roci(&arguments));
            if without.is_empty() {
                assert_eq!((&*run, &*exec), (*expected, *expected), "{user}");
            }
            run.contains("4242") || exec.contains("4242")
        });
    }
}

#[test]
fn a_user_of_an_exec_is_a_number_and_nothing_else() {
    // CVE-2026-30892, CVE-2016-3697: what is no uid, or none that the kernel takes, is nobody, and never root.
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    for (user, expected) in [
        ("0", "0 0"),
        ("1000", "1000 0"),
        ("1000:5", "1000 5"),
        ("007:010", "7 10"),
        ("4294967294:1", "4294967294 1"),
    ] {
        let exec = ["exec", "--user", user, &bundle.id, "sh", "-c", "echo $(id -u) $(id -g)"];
        assert_eq!(bundle.verb(&exec).succeeded().out.trim(), expected, "{user}");
    }
    for user in [
        "",
        ":",
        ":5",
        "1000:",
        "1000:5:6",
        "-1",
        "+1",
        " 1000",
        "1000 ",
        "0x10",
        "1e3",
        "user",
        "root",
        "1000:users",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "1000:4294967295",
        "1000:-1",
        "1000,5",
        "\u{661}",
    ] {
        let done = bundle.verb(&["exec", &format!("--user={user}"), &bundle.id, "id"]);
        assert!(done.code != 0 && done.out.is_empty(), "{user:?}: {done:?}");
    }
}

#[test]
fn programs_of_the_image_are_run_by_no_other_verb() {
    // CVE-2022-1227: the image has a ps of its own, and everything else that a verb might call for.
    let bundle = Bundle::new(&["sleep", "1000"]);
    for name in ["ps", "runc", "kill", "newuidmap", "newgidmap", "nsenter", "ip"] {
        let path = bundle.rootfs().join("bin").join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, "#!/bin/sh\necho ran > /tmp/ran\n").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    bundle.start();
    let id = &*bundle.id;
    for verb in [
        &["ps", id][..],
        &["events", "--stats", id],
        &["pause", id],
        &["resume", id],
        &["state", id],
        &["list"],
    ] {
        bundle.verb(verb).succeeded();
    }
    bundle.exec(&["true"]).succeeded();
    bundle.verb(&["delete", "--force", id]).succeeded();
    assert!(!bundle.rootfs().join("tmp/ran").exists());
}

#[test]
fn the_filter_holds_in_run_and_exec() {
    for (promise, user) in [(true, 0), (false, 0), (true, 1000), (false, 1000)] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.set("/process/noNewPrivileges", json!(promise));
        bundle.set("/process/user", json!({ "uid": user, "gid": user }));
        bundle.set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }]
            }),
        );
        let script = "mkdir /tmp/x; grep ^Seccomp: /proc/self/status; grep ^NoNew /proc/self/status";
        bundle.shell(script);
        let done = bundle.run().succeeded();
        let state = format!("Seccomp:\t2\nNoNewPrivs:\t{}\n", u8::from(promise));
        assert!(done.out == state && done.err.contains("not supported"), "{done:?}");
        bundle.args(&["sleep", "1000"]);
        bundle.start();
        let done = bundle.exec(&["sh", "-c", script]).succeeded();
        assert!(done.out == state && done.err.contains("not supported"), "{done:?}");
    }
}

#[test]
fn without_its_filter_a_call_goes_through() {
    repelled(&[Defence::Filter], |without| {
        let mut bundle = Bundle::without(without, &["mkdir", "/tmp/run"]);
        bundle.set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }]
            }),
        );
        bundle.run();
        bundle.args(&["sleep", "1000"]);
        bundle.start();
        bundle.exec(&["mkdir", "/tmp/exec"]);
        let made = |name: &str| bundle.rootfs().join("tmp").join(name).exists();
        assert_eq!(made("run"), made("exec"));
        made("run")
    });
}

#[test]
fn devices_outside_the_list_cannot_be_opened() {
    // GHSA-g54h-m393-cpwq: what nobody allowed is denied, also where no list, an empty one, or one that only allows is
    // given.
    let lists = [
        json!({}),
        json!({ "devices": [] }),
        json!({ "devices": [{ "allow": true, "type": "c", "major": 10, "minor": 200, "access": "r" }] }),
        json!({ "devices": [{ "allow": false, "access": "rwm" }] }),
    ];
    for resources in &lists {
        repelled(&[Defence::DeviceRules], |without| {
            let mut bundle = Bundle::without(without, &["true"]);
            for set in ["bounding", "effective", "permitted"] {
                let capabilities = json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SYSLOG"]);
                bundle.set(&format!("/process/capabilities/{set}"), capabilities);
            }
            bundle.set("/linux/resources", resources.clone());
            let script = "mknod /tmp/log$0 c 1 11; mknod /tmp/null$0 c 1 3; \
                for f in log$0 null$0; do (: < /tmp/$f) 2>/dev/null && echo opened $f; done; true";
            bundle.args(&["sh", "-c", script, "1"]);
            let run = bundle.run().succeeded().out;
            bundle.args(&["sleep", "1000"]);
            bundle.start();
            let exec = bundle.exec(&["sh", "-c", script, "2"]).succeeded().out;
            if without.is_empty() {
                assert_eq!((&*run, &*exec), ("opened null1\n", "opened null2\n"), "{resources}");
            }
            run.contains("log") && exec.contains("log")
        });
    }
}

#[test]
fn limits_of_the_parents_cgroup_cannot_be_written() {
    // CVE-2023-25809: the mount may be written, and there is no cgroup namespace.
    let mut bundle = Bundle::new(&["true"]);
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "cgroup");
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    let cgroup = mounts.iter_mut().find(|mount| mount["type"] == "cgroup").unwrap();
    cgroup["options"] = json!(["nosuid", "noexec", "nodev"]);
    bundle.shell(
        "for f in $(find /sys/fs/cgroup/ /sys/fs/cgroup/*/ /sys/fs/cgroup/*/../ -name pids.max); do \
         echo 77 > $f && echo wrote; done | sort -u",
    );
    bundle.create().succeeded();
    let parents: Vec<_> =
        bundle.cgroups().iter().map(|folder| folder.parent().unwrap().join("pids.max")).collect();
    let limits = || parents.iter().filter_map(|file| fs::read_to_string(file).ok()).collect::<Vec<_>>();
    let before = limits();
    bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    bundle.set("/linux/resources/pids", json!({ "limit": 50 }));
    // Its own it may change, so the attack has found the right files.
    assert_eq!(bundle.run().succeeded().out, "wrote\n");
    assert!(!before.is_empty() && limits().iter().all(|limit| limit == "max\n"), "{before:?}");
}

#[test]
fn hooks_have_nothing_of_the_image_in_their_surroundings() {
    // CVE-2025-23266: a variable of the image makes the loader of a hook's program take a library from there.
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/process/env/-", json!("LD_PRELOAD=./evil.so"));
    bundle.set("/process/env/-", json!("MINE=image"));
    let out = bundle.path().to_str().unwrap().to_owned();
    let points = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    for point in points {
        let script =
            format!("tr '\\0' '\\n' < /proc/self/environ > {out}/{point}.env; pwd > {out}/{point}.cwd");
        bundle.set("/hooks", bundle.config.get("hooks").cloned().unwrap_or(json!({})));
        bundle.set(&format!("/hooks/{point}"), json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]));
    }
    bundle.run().succeeded();
    for point in points {
        let read = |kind: &str| fs::read_to_string(format!("{out}/{point}.{kind}")).unwrap();
        assert!(
            !read("env").contains("LD_PRELOAD") && !read("env").contains("MINE="),
            "{point}: {}",
            read("env")
        );
        assert!(read("env").contains("PATH="), "{point}");
        // Only what prepares the root runs in it, as with runc.
        let expected = if point == "createContainer" { format!("{out}/rootfs") } else { out.clone() };
        assert_eq!(read("cwd").trim(), expected, "{point}");
    }
}

#[test]
fn long_fields_arrive_whole_or_not_at_all() {
    // CVE-2021-43784: no length wraps, no message is cut.
    let long = "x".repeat(100 << 10);
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/process/env/-", json!(format!("LONG={long}")));
    bundle.set("/annotations", json!({ "long": long }));
    bundle.args(&["sh", "-c", "echo ${#LONG} ${#1}; sleep 0.01", "sh", &long]);
    assert_eq!(bundle.run().succeeded().out, "102400 102400\n");
    bundle.args(&["sleep", "1000"]);
    bundle.start();
    assert_eq!(bundle.state()["annotations"]["long"], json!(long));
    let argument = bundle.exec(&["sh", "-c", "echo ${#1}", "sh", &long]).succeeded();
    assert_eq!(argument.out, "102400\n");
    bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    // More than the kernel takes in one string (128 KiB), and more id maps than it takes at all.
    bundle.args(&["true", &"x".repeat(200 << 10)]);
    bundle.run().failed(1, "process.args[1]: it has 204800 bytes");
    bundle.assert_nothing_left();
    bundle.args(&["true"]);
    bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
    let maps: Vec<_> =
        (0..2000).map(|id| json!({ "containerID": id, "hostID": 100_000 + 2 * id, "size": 1 })).collect();
    bundle.set("/linux/uidMappings", json!(maps));
    bundle.set("/linux/gidMappings", json!(maps));
    let done = bundle.run();
    assert!(done.code == 1 && done.err.contains("uid"), "{done:?}");
    bundle.assert_nothing_left();
}

#[test]
fn who_took_a_cgroup_over_is_not_killed_with_who_had_it() {
    repelled(&[Defence::CgroupOwner], |without| {
        let mut first = Bundle::without(without, &["true"]);
        first.config["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .retain(|namespace| namespace["type"] != "pid");
        first.start();
        first.wait_status("stopped");
        let mut second = Bundle::new(&["sleep", "1000"]);
        second.set("/linux/cgroupsPath", first.config["linux"]["cgroupsPath"].clone());
        second.start();
        let killed = first.verb(&["kill", "--all", &first.id, "KILL"]).code == 0;
        assert!(killed || second.status() == "running");
        killed
    });
}
