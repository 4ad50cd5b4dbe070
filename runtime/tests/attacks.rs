//! Attacks on the set-up of a container, each carried out against the real program with a canary on the host.
//! The table of known ones is by advisory; a test names those it stands for.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Stdio;

use common::{Bundle, Canary, wait_for};
use serde_json::json;

/// Replaces a folder of the root by a link.
fn plant(bundle: &Bundle, name: &str, target: &Path) {
    let path = bundle.rootfs().join(name);
    let _ = fs::remove_dir(&path);
    let _ = fs::remove_file(&path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}

/// Removes the mounts below /dev, so that the image's own /dev is used.
fn without_dev(bundle: &mut Bundle) {
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
}

#[test]
fn links_for_kernel_file_systems_are_refused() {
    // CVE-2019-16884, -19921, CVE-2023-27561, -28642, CVE-2025-54867, CVE-2026-41579, -47766
    for place in ["proc", "sys", "dev"] {
        for target in [None, Some("/bin"), Some("../../../../../../../../etc")] {
            let canary = Canary::new();
            let bundle = Bundle::new(&["true"]);
            plant(&bundle, place, target.map_or(canary.path(), Path::new));
            let done = bundle.run();
            assert_eq!(done.code, 1, "{done:?}");
            assert!(
                done.err.contains(&format!("cannot prepare the mount point /{place} (it must"))
                    && done.err.contains("ELOOP"),
                "{done:?}"
            );
            canary.assert_untouched();
            bundle.assert_nothing_left();
        }
    }
}

#[test]
fn links_below_the_images_own_dev_reach_nothing() {
    for place in ["dev/pts", "dev/shm", "dev/mqueue", "dev/null", "dev/console", "dev/ptmx", "dev/fd"] {
        let canary = Canary::new();
        let mut bundle = Bundle::new(&["true"]);
        // Only the tmpfs of /dev goes away; the mounts below it meet the image's links.
        bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
        let target = if place.ends_with("null") || place.ends_with("console") {
            canary.path().join("secret")
        } else {
            canary.path().join("folder")
        };
        plant(&bundle, place, &target);
        let done = bundle.run();
        assert!(done.code == 0 || done.code == 1, "{done:?}");
        canary.assert_untouched();
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_dev_link_without_mounts_makes_no_device_on_the_host() {
    let canary = Canary::new();
    let mut bundle = Bundle::new(&["true"]);
    without_dev(&mut bundle);
    plant(&bundle, "dev", &canary.path().join("folder"));
    bundle.run().failed(1, "ELOOP");
    canary.assert_untouched();
}

#[test]
fn mount_points_below_a_link_are_made_inside_the_root() {
    // CVE-2021-30465, CVE-2024-45310
    let canary = Canary::new();
    let mut bundle = Bundle::new(&["true"]);
    plant(&bundle, "data", canary.path());
    for destination in ["/data/new/file", "/data/folder"] {
        bundle.set("/mounts/-", json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" }));
    }
    let done = bundle.run();
    assert!(done.code == 0 || done.code == 1, "{done:?}");
    canary.assert_untouched();
    bundle.assert_nothing_left();
}

#[test]
fn a_swapped_mount_point_never_leads_outside() {
    // CVE-2021-30465: the destination is swapped for a link between check and use.
    let canary = Canary::new();
    let shared = tempfile::tempdir().unwrap();
    fs::create_dir_all(shared.path().join("real/target")).unwrap();
    let mut bundle = Bundle::new(&["true"]);
    bundle.set(
        "/mounts/-",
        json!({ "destination": "/shared", "type": "bind", "source": shared.path(), "options": ["rbind"] }),
    );
    bundle.set(
        "/mounts/-",
        json!({ "destination": "/shared/place/target", "type": "tmpfs", "source": "tmpfs" }),
    );
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let place = shared.path().join("place");
            let swap = shared.path().join("swap");
            let _ = symlink(canary.path(), &swap);
            let _ = fs::create_dir_all(place.join("target"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &place,
                    rustix::fs::CWD,
                    &swap,
                    rustix::fs::RenameFlags::EXCHANGE,
                );
            }
        });
        for _ in 0..40 {
            let done = bundle.run();
            assert!(done.code == 0 || done.code == 1, "{done:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    canary.assert_untouched();
    bundle.assert_nothing_left();
}

#[test]
fn masked_paths_read_empty_whatever_the_image_has_as_null() {
    // CVE-2025-31133, CVE-2025-62161
    let canary = Canary::new();
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
    fs::write(bundle.rootfs().join("etc/masked"), "to be hidden").unwrap();
    fs::create_dir(bundle.rootfs().join("etc/hidden")).unwrap();
    fs::write(bundle.rootfs().join("etc/hidden/file"), "to be hidden").unwrap();
    fs::write(bundle.rootfs().join("etc/leak"), "leaked").unwrap();
    bundle.set("/linux/maskedPaths", json!(["/etc/masked", "/etc/hidden", "/proc/keys", "/proc/timer_list"]));
    bundle.shell(
        "cat /etc/masked /proc/keys /proc/timer_list; ls /etc/hidden; echo x > /etc/masked; \
         touch /etc/hidden/new 2>/dev/null && echo written; true",
    );
    // A regular file as the image's null device: it is not the device, so the container does not start.
    fs::write(bundle.rootfs().join("dev/null"), "leaked").unwrap();
    bundle.run().failed(1, "cannot create the device /dev/null: EEXIST");
    fs::remove_file(bundle.rootfs().join("dev/null")).unwrap();
    let done = bundle.run().succeeded();
    assert_eq!(done.out, "");
    assert_eq!(fs::read_to_string(bundle.rootfs().join("etc/masked")).unwrap(), "to be hidden");
    canary.assert_untouched();
}

#[test]
fn readonly_paths_and_root_stay_so() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/root/readonly", json!(true));
    bundle.shell(
        "for path in /x /etc/x /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/x /sys/fs/cgroup/x; do \
         (echo 0 > $path) 2>/dev/null && echo wrote $path; done; \
         (echo 1 > /sys/fs/cgroup/memory/cgroup.procs) 2>/dev/null && echo cgroup; \
         echo ok > /dev/shm/x && cat /dev/shm/x",
    );
    assert_eq!(bundle.run().succeeded().out, "ok\n");
    assert!(!bundle.rootfs().join("x").exists());
}

#[test]
fn no_working_directory_leads_to_the_host() {
    // CVE-2024-21626: for every descriptor number, for run and for exec.
    let canary = Canary::new();
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell("cat secret; cat ../../../etc/hostname; pwd");
    bundle.write_config();
    for number in 3..64 {
        bundle.set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        bundle.write_config();
        let mut command = bundle.roci(&["run", &bundle.id]);
        // Descriptors that the caller leaks: a folder of the host under each number.
        leak(&mut command, canary.path(), number);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && !text.contains("canary secret"), "{number}: {output:?}");
    }
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.set("/process/cwd", json!("/"));
    bundle.start();
    for number in 3..64 {
        let cwd = format!("/proc/self/fd/{number}");
        let mut command = bundle.roci(&["exec", "--cwd", &cwd, &bundle.id, "sh", "-c", "cat secret; pwd"]);
        leak(&mut command, canary.path(), number);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && !text.contains("canary secret"), "{number}: {output:?}");
    }
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
    shell.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    if let Some(directory) = directory {
        shell.current_dir(directory);
    }
    *command = shell;
}

#[test]
fn leaked_descriptors_do_not_arrive() {
    let canary = Canary::new();
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell("ls /proc/self/fd");
    bundle.write_config();
    let mut command = bundle.roci(&["run", &bundle.id]);
    leak(&mut command, canary.path(), 37);
    assert_eq!(String::from_utf8_lossy(&command.output().unwrap().stdout), "0\n1\n2\n3\n");
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
fn a_bind_is_not_led_over_the_kernels_folders() {
    // With /data as a link to /dev our devices would be made in the host's folder.
    for kernels in ["dev", "proc", "sys"] {
        for with_mounts in [true, false] {
            let canary = Canary::new();
            let mut bundle = Bundle::new(&["true"]);
            if !with_mounts {
                without_dev(&mut bundle);
            }
            plant(&bundle, "data", &Path::new("/").join(kernels));
            bundle.set(
                "/mounts/-",
                json!({ "destination": "/data", "type": "bind", "source": canary.path(),
                        "options": ["rbind", "rw"] }),
            );
            bundle.run().failed(1, &format!("/data, a link to /{kernels}: ELOOP"));
            canary.assert_untouched();
            bundle.assert_nothing_left();
        }
    }
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
fn devices_outside_the_list_cannot_be_opened() {
    // GHSA-g54h-m393-cpwq
    let mut bundle = Bundle::new(&["true"]);
    for set in ["bounding", "effective", "permitted"] {
        bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE"]));
    }
    bundle.shell(
        "mknod /tmp/disk b 254 0; mknod /tmp/mem c 1 1; mknod /tmp/null c 1 3; \
         for f in disk mem null; do head -c1 /tmp/$f >/dev/null 2>&1 && echo opened $f; done; true",
    );
    assert_eq!(bundle.run().succeeded().out, "opened null\n");
}

#[test]
fn a_joining_process_cannot_be_looked_into() {
    // CVE-2016-9962: root of the container, with the right to trace, tries every process that appears.
    let mut bundle = Bundle::new(&["true"]);
    for set in ["bounding", "effective", "permitted"] {
        bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_KILL"]));
    }
    bundle.shell(
        "echo > /tmp/up; while true; do for p in /proc/[0-9]*; do \
         case $p in /proc/1|/proc/$$) continue;; esac; \
         ls -l $p/fd $p/cwd $p/root $p/exe 2>/dev/null | grep -- '->' | grep -v -e /dev/null -e pipe: -e busybox -e ' /$' \
         >> /tmp/seen; done; done",
    );
    bundle.start();
    wait_for("the watcher", || bundle.rootfs().join("tmp/up").exists());
    for _ in 0..60 {
        bundle.exec(&["true"]).succeeded();
    }
    let seen = fs::read_to_string(bundle.rootfs().join("tmp/seen")).unwrap_or_default();
    let host: Vec<&str> = seen
        .lines()
        .filter(|line| {
            line.contains("roci")
                || line.contains(bundle.path().to_str().unwrap())
                || line.contains("socket:")
        })
        .collect();
    assert_eq!(host, Vec::<&str>::new());
}

#[test]
fn the_program_cannot_be_written_from_inside() {
    // CVE-2019-5736: the container's command is the runtime's own executable.
    let before = fs::read(common::ROCI).unwrap();
    let inode = fs::metadata(common::ROCI).unwrap().ino();
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    plant(&bundle, "bin/self", Path::new("/proc/self/exe"));
    let done = bundle.exec(&["/bin/self", "--version"]);
    // Whatever was executed, it ran inside and the host's file is what it was.
    assert!(done.code != 0 || done.out.is_empty() || done.out.starts_with("BusyBox"), "{done:?}");
    let done = bundle.exec(&["sh", "-c", "for p in /proc/[0-9]*/exe; do echo x >> $p; done"]);
    assert_ne!(done.code, -1);
    assert_eq!(fs::read(common::ROCI).unwrap(), before);
    assert_eq!(fs::metadata(common::ROCI).unwrap().ino(), inode);
}

#[test]
fn binds_are_what_their_options_say() {
    let canary = Canary::new();
    let mut bundle = Bundle::new(&["true"]);
    for (destination, options) in
        [("/ro", json!(["bind", "ro", "nosuid"])), ("/rro", json!(["rbind", "rro"]))]
    {
        bundle.set(
            "/mounts/-",
            json!({ "destination": destination, "type": "bind", "source": canary.path(), "options": options }),
        );
    }
    let file = canary.path().join("secret");
    bundle.set("/mounts/-", json!({ "destination": "/etc/file", "source": file, "options": ["bind", "ro"] }));
    bundle.shell(
        "cat /ro/secret /etc/file; for f in /ro/x /rro/x /etc/file; do (echo > $f) 2>/dev/null && echo wrote $f; done; true",
    );
    assert_eq!(bundle.run().succeeded().out, "canary secretcanary secret");
    canary.assert_untouched();
    bundle.set("/mounts/-", json!({ "destination": "/x", "source": "/nonexistent", "options": ["bind"] }));
    bundle.run().failed(1, "mounts[10].source");
    bundle.assert_nothing_left();
}

#[test]
fn parameters_are_written_for_the_container_alone() {
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let shmall = fs::read_to_string("/proc/sys/kernel/msgmax").unwrap();
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "7777" }));
    bundle.shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax; hostname");
    assert_eq!(bundle.run().succeeded().out, "1\n7777\ntesthost\n");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), before);
    assert_eq!(fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), shmall);
    // A cover over a proc file gets no write, for ours is a proc nobody else has (CVE-2025-52881).
    let canary = Canary::new();
    bundle.set(
        "/mounts/-",
        json!({ "destination": "/proc/sys/net", "source": canary.path(), "options": ["bind"] }),
    );
    bundle.shell("true");
    let done = bundle.run();
    assert!(done.code == 0, "{done:?}");
    canary.assert_untouched();
}

#[test]
fn the_console_is_bound_on_nothing_that_an_image_planted() {
    // CVE-2025-52565, CVE-2026-88264: the terminal appears on a fresh file, and the host's is never its owner's.
    for target in ["secret", "folder", "missing"] {
        let canary = Canary::new();
        let mut bundle = Bundle::new(&["true"]);
        bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
        plant(&bundle, "dev/console", &canary.path().join(target));
        bundle.set("/process/terminal", json!(true));
        bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        bundle.shell("stat -c '%F' /dev/console; stat -c %u /dev/pts/0");
        let done = bundle.run().succeeded();
        assert_eq!(done.out.replace('\r', ""), "character special file\n1000\n");
        canary.assert_untouched();
        bundle.assert_nothing_left();
    }
    // A pts folder that is a link, or no devpts, makes no terminal at all.
    let canary = Canary::new();
    let mut bundle = Bundle::new(&["true"]);
    without_dev(&mut bundle);
    plant(&bundle, "dev/pts", Path::new("/proc"));
    bundle.set("/process/terminal", json!(true));
    bundle.run().failed(1, "a terminal of the container's /dev/pts");
    canary.assert_untouched();
    bundle.assert_nothing_left();
}
