//! What an image or a volume plants in the way of a container's set-up: links, covers and wrong devices, each against the
//! real program with a canary on the host. The table of known attacks, by advisory, is docs/threats.md.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use common::{Bundle, Canary, repelled};
use runtime::fault::Defence;
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
fn a_link_does_not_choose_where_kernel_file_systems_go() {
    for place in ["proc", "sys", "dev"] {
        repelled(&[Defence::NoKernelLinks], |without| {
            let bundle = Bundle::without(without, &["true"]);
            plant(&bundle, place, Path::new("/tmp"));
            !bundle.run().err.contains(&format!("cannot prepare the mount point /{place} "))
        });
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
    repelled(&[Defence::NoKernelLinks, Defence::InRoot], |without| {
        let canary = Canary::new();
        let mut bundle = Bundle::without(without, &["true"]);
        without_dev(&mut bundle);
        plant(&bundle, "dev", &canary.path().join("folder"));
        let done = bundle.run();
        assert!(!without.is_empty() || done.err.contains("ELOOP"), "{done:?}");
        canary.is_touched()
    });
}

#[test]
fn mount_points_below_a_link_are_made_inside_the_root() {
    // CVE-2021-30465, CVE-2024-45310, CVE-2025-24965: folders, and a file that we make.
    for (destination, kind, source) in
        [("/data/new/folder", "tmpfs", "tmpfs"), ("/data/new-file", "bind", "/etc/hostname")]
    {
        repelled(&[Defence::InRoot], |without| {
            let canary = Canary::new();
            let mut bundle = Bundle::without(without, &["true"]);
            plant(&bundle, "data", canary.path());
            bundle.set(
                "/mounts/-",
                json!({ "destination": destination, "type": kind, "source": source, "options": ["rw"] }),
            );
            let done = bundle.run();
            assert!(done.code == 0 || done.code == 1, "{done:?}");
            bundle.assert_nothing_left();
            canary.is_touched()
        });
    }
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
fn masks_are_made_of_the_null_device_or_not_at_all() {
    // CVE-2025-31133: here the host's own null device was replaced, in a mount namespace for this test.
    repelled(&[Defence::ProvenMask], |without| {
        let canary = Canary::new();
        let mut bundle = Bundle::without(without, &["cat", "/etc/masked"]);
        fs::write(bundle.rootfs().join("etc/masked"), "to be hidden").unwrap();
        bundle.set("/linux/maskedPaths", json!(["/etc/masked"]));
        bundle.write_config();
        let command = bundle.roci(&["run", &bundle.id]);
        let mut apart = std::process::Command::new("unshare");
        apart.args(["--mount", "sh", "-c", "mount --bind \"$0\" /dev/null && exec \"$@\""]);
        apart.arg(canary.path().join("secret")).arg(command.get_program()).args(command.get_args());
        apart.current_dir(bundle.path()).stdin(Stdio::null());
        apart.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = apart.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !without.is_empty() || errors.contains("cannot mask paths with the host's /dev/null: ENODEV"),
            "{errors}"
        );
        canary.assert_untouched();
        bundle.assert_nothing_left();
        String::from_utf8_lossy(&output.stdout).contains("canary secret")
    });
}

#[test]
fn every_path_that_is_masked_by_default_reads_empty() {
    // GHSA-7ww5-4wqc-m92c and others: the power meters, and moby's list of November 2026.
    let masked = runtime::security::defaults::masked_paths();
    for path in [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ] {
        assert!(masked.iter().any(|masked| masked == path), "{path}");
    }
    let script = masked
        .iter()
        .map(|path| format!("if [ -d {path} ]; then ls {path}; elif [ -e {path} ]; then cat {path}; fi;"))
        .collect::<String>();
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell(&script);
    bundle.set("/linux/maskedPaths", json!(masked));
    assert_eq!(bundle.run().succeeded().out, "");
    bundle.set("/linux/maskedPaths", json!([]));
    assert_ne!(
        bundle.verb(&["run", &bundle.id]).out + &bundle.run().out,
        "",
        "none of them has content anyway"
    );
}

#[test]
fn readonly_paths_and_root_stay_so() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/root/readonly", json!(true));
    bundle.shell(
        "for path in /x /etc/x /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/x /sys/fs/cgroup/x; do \
         (echo 0 > $path) 2>/dev/null && echo wrote $path; done; \
         (echo 1 > /sys/fs/cgroup/memory/cgroup.procs) 2>/dev/null && echo cgroup; \
         (echo 1 > /sys/fs/cgroup/cgroup.procs) 2>/dev/null && echo cgroup; \
         echo ok > /dev/shm/x && cat /dev/shm/x",
    );
    assert_eq!(bundle.run().succeeded().out, "ok\n");
    assert!(!bundle.rootfs().join("x").exists());
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
fn a_bind_led_over_dev_gets_no_devices() {
    repelled(&[Defence::UncoveredKernelFolders], |without| {
        let canary = Canary::new();
        let mut bundle = Bundle::without(without, &["true"]);
        without_dev(&mut bundle);
        plant(&bundle, "data", Path::new("/dev"));
        let bind =
            json!({ "destination": "/data", "type": "bind", "source": canary.path(), "options": ["rw"] });
        bundle.set("/mounts/-", bind);
        bundle.run();
        canary.is_touched()
    });
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

#[test]
fn a_console_link_makes_no_file_on_the_host() {
    repelled(&[Defence::FreshConsole], |without| {
        let canary = Canary::new();
        let mut bundle = Bundle::without(without, &["true"]);
        bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
        plant(&bundle, "dev/console", &canary.path().join("missing"));
        bundle.set("/process/terminal", json!(true));
        bundle.run();
        canary.is_touched()
    });
}

#[test]
fn covers_over_proc_get_no_write() {
    // CVE-2025-52881, CVE-2025-62596, CVE-2019-16884: a file of the host over the one that we would write, as a swap of
    // /proc/sysrq-trigger or core_pattern would place it.
    for destination in ["/proc/sys/kernel/msgmax", "/proc/sys/kernel"] {
        repelled(&[Defence::PrivateProc], |without| {
            let canary = Canary::new();
            let mut bundle = Bundle::without(without, &["true"]);
            let folder = canary.path().join("kernel");
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("msgmax"), "of the host").unwrap();
            let source = if destination.ends_with("msgmax") { folder.join("msgmax") } else { folder.clone() };
            bundle.set(
                "/mounts/-",
                json!({ "destination": destination, "source": source, "options": ["bind"] }),
            );
            bundle.set("/linux/sysctl", json!({ "kernel.msgmax": "7777" }));
            bundle.run().succeeded();
            fs::read_to_string(folder.join("msgmax")).unwrap() != "of the host"
        });
    }
    // The files of the process's label, and a /proc that is none at all.
    for destination in ["/proc/1/attr/exec", "/proc/1/attr/current", "/proc"] {
        let canary = Canary::new();
        let mut bundle = Bundle::new(&["true"]);
        let source = canary.path().join(if destination == "/proc" { "folder" } else { "secret" });
        bundle.set("/mounts/-", json!({ "destination": destination, "source": source, "options": ["bind"] }));
        if runtime::security::labels::has_apparmor() {
            bundle.set("/process/apparmorProfile", json!("unconfined"));
        }
        bundle.set("/linux/sysctl", json!({ "kernel.msgmax": "7777" }));
        let done = bundle.run();
        assert!(done.code == 0 || done.code == 1, "{done:?}");
        canary.assert_untouched();
        bundle.assert_nothing_left();
    }
    // Through a link of procfs itself nothing is mounted.
    let mut bundle = Bundle::new(&["true"]);
    let mount =
        json!({ "destination": "/proc/self/attr/exec", "source": "/etc/hostname", "options": ["bind"] });
    bundle.set("/mounts/-", mount);
    bundle.run().failed(1, "ELOOP");
}

#[test]
fn a_mount_whose_ids_cannot_be_mapped_is_an_error() {
    let mut bundle = Bundle::new(&["true"]);
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    bundle.set(
        "/mounts/-",
        json!({ "destination": "/tmp/bound", "source": "/sys/kernel", "options": ["bind", "idmap"],
                "uidMappings": map, "gidMappings": map }),
    );
    bundle.run().failed(1, "cannot map the ids of /sys/kernel (does its file system support that?)");
    bundle.assert_nothing_left();
}
