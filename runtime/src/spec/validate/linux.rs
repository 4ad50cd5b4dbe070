//! Namespaces, id mappings, names, devices and the cgroup.

use std::collections::BTreeMap;
use std::path::{Component, PathBuf};

use nix::sched::CloneFlags;
use oci_spec::runtime::{Linux, LinuxDeviceType, LinuxIdMapping, LinuxNamespaceType};

use super::{container_path, invalid, missing, refuse_if, text};
use crate::error::Result;
use crate::namespaces::{NEW_TIME, Namespaces};
use crate::spec::plan::{DevicePlan, NetDevicePlan, ProcessPlan};

/// Refuses by name what this runtime does not do.
pub(super) fn refuse_unsupported(linux: &Linux) -> Result<()> {
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    refuse_if(filled(linux.mount_label()), "linux.mountLabel")?;
    match linux.intel_rdt() {
        Some(_) => Err(invalid("linux.intelRdt", crate::resctrl::refusal().to_owned())),
        None => Ok(()),
    }
}

pub(super) fn namespaces(linux: &Linux) -> Result<Namespaces> {
    let mut namespaces = Namespaces { create: CloneFlags::empty(), join: Vec::new() };
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let at = format!("linux.namespaces[{index}]");
        let kind = match namespace.typ() {
            LinuxNamespaceType::Mount => CloneFlags::CLONE_NEWNS,
            LinuxNamespaceType::Pid => CloneFlags::CLONE_NEWPID,
            LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
            LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
            LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
            LinuxNamespaceType::User => CloneFlags::CLONE_NEWUSER,
            LinuxNamespaceType::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            LinuxNamespaceType::Time => NEW_TIME,
        };
        if namespaces.has(kind) {
            return Err(invalid(&format!("{at}.type"), "this namespace is given twice".to_owned()));
        }
        match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            None => namespaces.create |= kind,
            Some(path) => {
                text(&format!("{at}.path"), path)?;
                if !path.is_absolute() {
                    return Err(invalid(
                        &format!("{at}.path"),
                        format!("{} is not absolute", path.display()),
                    ));
                }
                namespaces.join.push((kind, index, path.clone()));
            }
        }
    }
    if namespaces.create.contains(CloneFlags::CLONE_NEWUSER)
        && !namespaces.create.contains(CloneFlags::CLONE_NEWNS)
    {
        let reason = "a new user namespace cannot enter an existing mount namespace".to_owned();
        return Err(invalid("linux.namespaces", reason));
    }
    if namespaces.has(CloneFlags::CLONE_NEWUSER) && !namespaces.has(CloneFlags::CLONE_NEWNS) {
        let reason = "a user namespace has no rights on the host's mount namespace".to_owned();
        return Err(invalid("linux.namespaces", reason));
    }
    Ok(namespaces)
}

/// The lines for `timens_offsets`: a clock, seconds, nanoseconds.
pub(super) fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<String> {
    let mut lines = String::new();
    let offsets: BTreeMap<_, _> = linux.time_offsets().iter().flatten().collect();
    for (clock, offset) in offsets {
        let at = format!("linux.timeOffsets[{clock:?}]");
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(invalid(&at, "only the clocks monotonic and boottime can be set apart".to_owned()));
        }
        if !namespaces.create.contains(NEW_TIME) {
            return Err(invalid(&at, "it needs a new time namespace".to_owned()));
        }
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        if nanoseconds >= 1_000_000_000 {
            return Err(invalid(&format!("{at}.nanosecs"), "it is a second or more".to_owned()));
        }
        lines.push_str(&format!("{clock} {seconds} {nanoseconds}\n"));
    }
    Ok(lines)
}

/// The mappings of a new user namespace: there, complete, and without overlap.
pub(super) fn id_mappings(
    linux: &Linux,
    namespaces: &Namespaces,
) -> Result<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)> {
    let uid = linux.uid_mappings().clone().unwrap_or_default();
    let gid = linux.gid_mappings().clone().unwrap_or_default();
    let creates = namespaces.create.contains(CloneFlags::CLONE_NEWUSER);
    for (name, mappings) in [("linux.uidMappings", &uid), ("linux.gidMappings", &gid)] {
        if !creates {
            if !mappings.is_empty() && !namespaces.has(CloneFlags::CLONE_NEWUSER) {
                return Err(invalid(name, "there are id mappings but no user namespace".to_owned()));
            }
            continue;
        }
        if mappings.is_empty() {
            return Err(missing(name));
        }
        check_mapping(name, mappings)?;
        if !mappings.iter().any(|mapping| mapping.container_id() == 0) {
            return Err(invalid(
                name,
                "id 0 of the container is not mapped; setting it up needs it".to_owned(),
            ));
        }
    }
    // The mappings of a joined namespace exist already.
    if creates { Ok((uid, gid)) } else { Ok((Vec::new(), Vec::new())) }
}

/// Ids that a new user namespace does not map cannot be used in there, and the kernel only says that they are invalid.
pub(super) fn user_is_mapped(
    process: &ProcessPlan,
    users: &[LinuxIdMapping],
    groups: &[LinuxIdMapping],
) -> Result<()> {
    let one = |field: &str, id: u32, name: &str, mappings: &[LinuxIdMapping]| match is_mapped(id, mappings) {
        true => Ok(()),
        false => Err(invalid(field, format!("{id} is not mapped by {name}"))),
    };
    one("process.user.uid", process.uid, "linux.uidMappings", users)?;
    one("process.user.gid", process.gid, "linux.gidMappings", groups)?;
    for (index, &gid) in process.additional_gids.iter().enumerate() {
        one(&format!("process.user.additionalGids[{index}]"), gid, "linux.gidMappings", groups)?;
    }
    Ok(())
}

/// Is this id of the container mapped? Without mappings, and so without a new user namespace, every one is.
pub(super) fn is_mapped(id: u32, mappings: &[LinuxIdMapping]) -> bool {
    let covers = |mapping: &LinuxIdMapping| {
        id.checked_sub(mapping.container_id()).is_some_and(|offset| offset < mapping.size())
    };
    mappings.is_empty() || mappings.iter().any(covers)
}

pub(super) fn check_mapping(name: &str, mappings: &[LinuxIdMapping]) -> Result<()> {
    /// The kernel's limit (user_namespaces(7)).
    const MOST: usize = 340;
    if mappings.len() > MOST {
        return Err(invalid(name, format!("there are more than {MOST} mappings")));
    }
    let range = |start: u32, size: u32| u64::from(start)..u64::from(start) + u64::from(size);
    for (index, one) in mappings.iter().enumerate() {
        let inside = range(one.container_id(), one.size());
        let outside = range(one.host_id(), one.size());
        let at = format!("{name}[{index}]");
        if one.size() == 0 {
            return Err(invalid(&format!("{at}.size"), "it is zero".to_owned()));
        }
        if inside.end > u64::from(u32::MAX) || outside.end > u64::from(u32::MAX) {
            return Err(invalid(&at, "it goes beyond the largest id".to_owned()));
        }
        for other in &mappings[..index] {
            let meets = |mine: &std::ops::Range<u64>, start, size| {
                let theirs = range(start, size);
                mine.start < theirs.end && theirs.start < mine.end
            };
            if meets(&inside, other.container_id(), other.size())
                || meets(&outside, other.host_id(), other.size())
            {
                return Err(invalid(&at, "it overlaps an earlier mapping".to_owned()));
            }
        }
    }
    Ok(())
}

/// A host or domain name, which needs a namespace to be set in.
pub(super) fn name(field: &str, name: &Option<String>, namespaces: &Namespaces) -> Result<Option<String>> {
    /// `__NEW_UTS_LEN` of the kernel.
    const LONGEST: usize = 64;
    let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    text(field, name)?;
    if name.len() > LONGEST {
        return Err(invalid(field, format!("it is longer than {LONGEST} bytes")));
    }
    if !namespaces.has(CloneFlags::CLONE_NEWUTS) {
        return Err(invalid(field, "it cannot be set without a UTS namespace".to_owned()));
    }
    Ok(Some(name.to_owned()))
}

pub(super) fn devices(linux: &Linux) -> Result<Vec<DevicePlan>> {
    let mut plans = Vec::new();
    for (index, device) in linux.devices().iter().flatten().enumerate() {
        let at = format!("linux.devices[{index}]");
        let path = container_path(&format!("{at}.path"), device.path())?;
        if path.file_name().is_none() {
            return Err(invalid(&format!("{at}.path"), "it names no file".to_owned()));
        }
        let number = |name: &str, value: i64, largest: i64| {
            let reason = || invalid(&format!("{at}.{name}"), format!("{value} is no device number"));
            if (0..=largest).contains(&value) { Ok(value as u32) } else { Err(reason()) }
        };
        if device.typ() == LinuxDeviceType::A {
            return Err(invalid(&format!("{at}.type"), "\"a\" is no type of a device file".to_owned()));
        }
        plans.push(DevicePlan {
            path,
            kind: device.typ(),
            major: number("major", device.major(), (1 << 12) - 1)?,
            minor: number("minor", device.minor(), (1 << 20) - 1)?,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        });
    }
    Ok(plans)
}

/// Network devices to move, in the order of their names.
pub(super) fn net_devices(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<NetDevicePlan>> {
    let asked: BTreeMap<_, _> = linux.net_devices().iter().flatten().collect();
    let mut plans: Vec<NetDevicePlan> = Vec::new();
    for (host_name, device) in asked {
        let name = device.name().as_ref().filter(|name| !name.is_empty()).unwrap_or(host_name);
        let plan = NetDevicePlan { host_name: host_name.clone(), name: name.clone() };
        let at = plan.field();
        device_name(&at, host_name, false)?;
        device_name(&format!("{at}.name"), name, true)?;
        if !namespaces.has(CloneFlags::CLONE_NEWNET) {
            return Err(invalid(&at, "it cannot be moved without a network namespace".to_owned()));
        }
        if plans.iter().any(|other| other.name == plan.name && !plan.is_template()) {
            let reason = format!("another one is to be named {name:?} in the container too");
            return Err(invalid(&format!("{at}.name"), reason));
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// What the kernel takes as the name of a network device, or as the template of one.
fn device_name(at: &str, name: &str, may_be_template: bool) -> Result<()> {
    /// `IFNAMSIZ` without the byte that ends it.
    const LONGEST: usize = 15;
    let number = if may_be_template { name.strip_suffix("%d") } else { None };
    let odd = |byte: u8| matches!(byte, b'/' | b':' | b'%' | 0) || byte.is_ascii_whitespace();
    let fits = name.len() <= LONGEST && !matches!(name, "" | "." | "..");
    if !fits || number.unwrap_or(name).bytes().any(odd) {
        return Err(invalid(at, format!("{name:?} is no name of a network device")));
    }
    Ok(())
}

/// The cgroup below each hierarchy, or `slice:prefix:name`: who makes the cgroup knows which of them it has to be. Empty, `/`
/// and what leads out of it would mean a cgroup that is not ours.
pub(super) fn cgroups_path(linux: &Linux) -> Result<Option<PathBuf>> {
    const FIELD: &str = "linux.cgroupsPath";
    let Some(path) = linux.cgroups_path().as_deref().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(None);
    };
    text(FIELD, path)?;
    if path.components().any(|component| component == Component::ParentDir) {
        return Err(invalid(FIELD, "it has a parent component".to_owned()));
    }
    if !path.components().any(|component| matches!(component, Component::Normal(_))) {
        return Err(invalid(FIELD, "it names the root cgroup".to_owned()));
    }
    Ok(Some(path.to_owned()))
}
