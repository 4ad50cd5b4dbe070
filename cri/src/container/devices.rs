//! Device files of the host in a container.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use k8s_cri::v1::Device as CriDevice;
use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use super::mounts::destination;
use crate::error::{Error, Result};

const HOST: &str = "/dev";
/// What a container has of its own below `/dev`, or what is no device.
const OWN: [&str; 9] = [
    "/dev/pts",
    "/dev/shm",
    "/dev/fd",
    "/dev/mqueue",
    "/dev/console",
    "/dev/.lxc",
    "/dev/.lxd-mounts",
    "/dev/.udev",
    "/dev/ptmx",
];
/// More than any machine has.
const MOST: usize = 10_000;
/// Folders in folders.
const DEEPEST: usize = 16;

/// Devices to make, and rules that let them be used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Devices {
    /// Files to make.
    pub files: Vec<LinuxDevice>,
    /// Rules, later ones win.
    pub rules: Vec<LinuxDeviceCgroup>,
}

/// The devices of a request. A privileged container has all of the host's, and may use every other one.
pub fn of(asked: &[CriDevice], privileged: bool) -> Result<Devices> {
    let mut devices = Devices::default();
    if privileged {
        collect(Path::new(HOST), Path::new(HOST), &mut devices.files, 0)?;
        devices.rules.push(rule(LinuxDeviceType::A, None, None, "rwm")?);
    }
    for (index, device) in asked.iter().enumerate() {
        add(&format!("config.devices[{index}]"), device, &mut devices)?;
    }
    Ok(devices)
}

fn add(at: &str, asked: &CriDevice, devices: &mut Devices) -> Result<()> {
    let permissions = asked.permissions.as_str();
    let good = !permissions.is_empty() && permissions.chars().all(|letter| "rwm".contains(letter));
    if !good {
        return Err(Error::invalid(
            format!("{at}.permissions"),
            format!("{permissions:?} is no subset of rwm"),
        ));
    }
    let inside = destination(&format!("{at}.container_path"), &asked.container_path)?;
    let host = fs::canonicalize(&asked.host_path).map_err(|error| {
        Error::invalid(format!("{at}.host_path"), format!("{:?}: {error}", asked.host_path))
    })?;
    let mut files = Vec::new();
    match file(&host, &inside)? {
        Some(device) => files.push(device),
        None => collect(&host, &inside, &mut files, 0)?,
    }
    if files.is_empty() {
        return Err(Error::invalid(format!("{at}.host_path"), format!("{} is no device", host.display())));
    }
    for device in files {
        devices.rules.push(rule(device.typ(), Some(device.major()), Some(device.minor()), permissions)?);
        // The request's own place and rights win over those that all devices have.
        devices.files.retain(|other| other.path() != device.path());
        devices.files.push(device);
    }
    Ok(())
}

/// All devices below a folder of the host. What vanishes meanwhile was unplugged.
fn collect(host: &Path, inside: &Path, found: &mut Vec<LinuxDevice>, depth: usize) -> Result<()> {
    let Ok(entries) = fs::read_dir(host) else { return Ok(()) };
    for entry in entries.flatten() {
        let (path, target) = (entry.path(), inside.join(entry.file_name()));
        let Ok(kind) = entry.file_type() else { continue };
        if OWN.iter().any(|own| path == Path::new(own)) {
            continue;
        }
        if kind.is_dir() && depth < DEEPEST {
            collect(&path, &target, found, depth + 1)?;
        } else if kind.is_block_device() || kind.is_char_device() {
            found.extend(file(&path, &target)?);
        }
        if found.len() > MOST {
            return Err(Error::invalid("config.devices", format!("there are more than {MOST} devices")));
        }
    }
    Ok(())
}

/// A device file; `None` for what is none.
fn file(host: &Path, inside: &Path) -> Result<Option<LinuxDevice>> {
    let Ok(metadata) = fs::symlink_metadata(host) else { return Ok(None) };
    let kind = match metadata.file_type() {
        kind if kind.is_block_device() => LinuxDeviceType::B,
        kind if kind.is_char_device() => LinuxDeviceType::C,
        _ => return Ok(None),
    };
    let number = metadata.rdev();
    LinuxDeviceBuilder::default()
        .path(PathBuf::from(inside))
        .typ(kind)
        .major(i64::from(rustix::fs::major(number)))
        .minor(i64::from(rustix::fs::minor(number)))
        .file_mode(metadata.mode() & 0o7777)
        .uid(metadata.uid())
        .gid(metadata.gid())
        .build()
        .map(Some)
        .map_err(|error| Error::invalid("config.devices", error))
}

fn rule(
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> Result<LinuxDeviceCgroup> {
    let mut rule = LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(kind)
        .access(access)
        .build()
        .map_err(|error| Error::invalid("config.devices", error))?;
    rule.set_major(major).set_minor(minor);
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(host: &str, permissions: &str) -> CriDevice {
        CriDevice {
            host_path: host.to_owned(),
            container_path: "/dev/x".to_owned(),
            permissions: permissions.to_owned(),
        }
    }

    #[test]
    fn links_are_followed_and_rights_are_as_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let devices = of(&[device(link.to_str().unwrap(), "rw")], false).unwrap();
        let (file, rule) = (&devices.files[0], &devices.rules[0]);
        assert_eq!((file.path().to_str(), file.major(), file.minor()), (Some("/dev/x"), 1, 3));
        assert_eq!((rule.access().as_deref(), rule.major(), rule.minor()), (Some("rw"), Some(1), Some(3)));
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().to_str().unwrap();
        for (host, permissions) in
            [("/etc/passwd", "r"), ("/nowhere", "r"), ("/dev/null", ""), ("/dev/null", "rx"), (empty, "r")]
        {
            assert!(of(&[device(host, permissions)], false).is_err(), "{host} {permissions:?}");
        }
    }

    #[test]
    fn privileged_means_all_devices_of_the_host() {
        let devices = of(&[], true).unwrap();
        assert!(devices.files.iter().any(|device| device.path() == Path::new("/dev/null")));
        assert!(devices.files.iter().all(|device| !device.path().starts_with("/dev/pts")));
        assert_eq!(devices.rules[0].typ(), Some(LinuxDeviceType::A));
    }
}
