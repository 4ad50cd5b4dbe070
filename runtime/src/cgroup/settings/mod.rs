//! `linux.resources`: from the specification's fields to control files.
//!
//! Ours and not libcgroups', whose controllers are private to a manager that reads the list of mounts anew for each
//! of twelve controllers (3 ms). One file is one open, one write, one close; a specification without limits costs
//! the device rules alone. A field that the machine cannot honour is an error, as somebody relies on it; only what
//! the kernel itself has given up is left out with a [`Notice`].

mod check;
mod version1;
mod version2;

pub use check::check;

use std::path::Path;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxPids, LinuxRdma, LinuxResources,
};
use rustix::fs;
use rustix::io::Errno;

use super::group::write_file;
use super::{Cgroup, DeviceRules, Error, Rootless, devices, systemd};
use crate::error::Kind;
use crate::fault::{self, Defence};
use crate::security::Notice;

impl Cgroup {
    /// Applies resource limits and device rules. Without `resources` the rules of [`DeviceRules`] still hold.
    ///
    /// To be called before the container's process does anything; it may be inside already.
    pub fn apply(&self, resources: Option<&LinuxResources>) -> Result<Vec<Notice>, Error> {
        self.apply_with(resources, Rootless::No)
    }

    /// As [`Cgroup::apply`], but who is `rootless` goes without device rules, which take rights on the machine: his
    /// containers cannot make devices, and open those that they find no better than he does.
    pub fn apply_with(
        &self,
        resources: Option<&LinuxResources>,
        rootless: Rootless,
    ) -> Result<Vec<Notice>, Error> {
        let devices = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
        let rules = DeviceRules::new(devices)?;
        let applied = if fault::without(Defence::DeviceRules) { Ok(()) } else { self.apply_devices(&rules) };
        let left_out = match applied {
            Ok(()) => false,
            Err(error) if self.is_refusal(&error) && rootless.applies() => !devices.is_empty(),
            Err(error) => return Err(error),
        };
        let mut notices: Vec<_> = devices::notices(devices).collect();
        if let Some(resources) = resources {
            notices.extend(self.limit(resources)?);
        }
        if left_out {
            notices.push(Notice {
                setting: "linux.resources.devices".to_owned(),
                reason: "left out, device rules take rights on the machine".to_owned(),
            });
        }
        Ok(notices)
    }

    /// Is it for want of rights that something failed?
    fn is_refusal(&self, error: &Error) -> bool {
        let missing = matches!(error, Error::Unsupported { .. }) && self.is_partial();
        missing || error.kind() == Kind::PermissionDenied
    }

    /// Applies resource limits alone: what may be changed while the container runs. Device rules stay as they are.
    pub fn limit(&self, resources: &LinuxResources) -> Result<Vec<Notice>, Error> {
        check(resources)?;
        let mut notices = Vec::new();
        if let Some(memory) = resources.memory().as_ref().filter(|memory| **memory != LinuxMemory::default())
        {
            match self.controller("memory", "memory") {
                Ok(Controller { version: Version::One, target }) => {
                    version1::memory(&target, memory, &mut notices)?;
                }
                Ok(Controller { target, .. }) => version2::memory(&target, memory, &mut notices)?,
                Err(error) => return Err(error),
            }
        }
        if let Some(cpu) = resources.cpu() {
            if version1::wants_cpu(cpu) {
                let Controller { version, target } = self.controller("cpu", "cpu")?;
                match version {
                    Version::One => version1::cpu(&target, cpu)?,
                    Version::Two => version2::cpu(&target, cpu)?,
                }
            }
            for (file, setting, value) in
                [("cpuset.cpus", "cpu.cpus", cpu.cpus()), ("cpuset.mems", "cpu.mems", cpu.mems())]
            {
                if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                    self.controller("cpuset", setting)?.target.set(file, value)?;
                }
            }
        }
        if let Some(limit) = resources.pids() {
            self.apply_pids(limit)?;
        }
        if let Some(block_io) = resources.block_io().as_ref().filter(|io| **io != LinuxBlockIo::default()) {
            match self.controller("blkio", "blockIO") {
                Ok(Controller { target, .. }) => version1::block_io(&target, block_io)?,
                Err(_) => version2::block_io(&self.controller("io", "blockIO")?.target, block_io)?,
            }
        }
        self.apply_huge_pages(resources.hugepage_limits().as_deref().unwrap_or_default())?;
        if let Some(network) = resources.network() {
            self.apply_network(network)?;
        }
        for (device, limit) in resources.rdma().iter().flatten() {
            self.apply_rdma(device, limit)?;
        }
        if let Some(unified) = resources.unified().as_ref().filter(|unified| !unified.is_empty()) {
            version2::unified(self, unified)?;
        }
        if let (Some(unit), Some(folder)) = (self.unit(), self.version2_folder()) {
            systemd::tell(unit, folder)?;
        }
        Ok(notices)
    }

    fn apply_devices(&self, rules: &DeviceRules) -> Result<(), Error> {
        if let Some(folder) = self.folder_of("devices") {
            return rules.write(folder, self.path().as_str());
        }
        match self.version2_folder() {
            Some(folder) => rules.attach(folder, self.path().as_str()),
            None => Err(Error::Unsupported { setting: "devices", reason: self.missing() }),
        }
    }

    fn apply_pids(&self, pids: &LinuxPids) -> Result<(), Error> {
        let value = match pids.limit() {
            // What a container without such a cgroup has.
            ..0 if self.is_partial() && self.folder_of("pids").is_none() => return Ok(()),
            // The kernel takes a limit of 0 for a group whose first process is in it already: runc reads it as 1.
            0 => "1".to_owned(),
            limit @ 1.. => limit.to_string(),
            _ => "max".to_owned(),
        };
        self.controller("pids", "pids")?.target.set("pids.max", &value)
    }

    fn apply_huge_pages(&self, limits: &[LinuxHugepageLimit]) -> Result<(), Error> {
        for limit in limits {
            let size = limit.page_size();
            let Controller { version, target } = self.controller("hugetlb", "hugepageLimits")?;
            let (limit_file, reserved_file) = match version {
                Version::One => ("limit_in_bytes", "rsvd.limit_in_bytes"),
                Version::Two => ("max", "rsvd.max"),
            };
            let value = limit.limit().to_string();
            target.set(&format!("hugetlb.{size}.{limit_file}"), &value)?;
            // Since 5.7; without it a reservation beyond the limit succeeds and its use is killed.
            let reserved = format!("hugetlb.{size}.{reserved_file}");
            if target.has(&reserved) {
                target.set(&reserved, &value)?;
            }
        }
        Ok(())
    }

    fn apply_network(&self, network: &LinuxNetwork) -> Result<(), Error> {
        if let Some(class) = network.class_id() {
            self.version1_only("net_cls", "network.classID")?.set("net_cls.classid", &class.to_string())?;
        }
        for priority in network.priorities().iter().flatten() {
            let value = format!("{} {}", priority.name(), priority.priority());
            self.version1_only("net_prio", "network.priorities")?.set("net_prio.ifpriomap", &value)?;
        }
        Ok(())
    }

    fn apply_rdma(&self, device: &str, limit: &LinuxRdma) -> Result<(), Error> {
        let mut value = device.to_owned();
        for (name, number) in [("hca_handle", limit.hca_handles()), ("hca_object", limit.hca_objects())] {
            if let Some(number) = number {
                value.push_str(&format!(" {name}={number}"));
            }
        }
        self.controller("rdma", "rdma")?.target.set("rdma.max", &value)
    }

    fn version1_only(&self, controller: &str, setting: &'static str) -> Result<Target<'_>, Error> {
        let folder =
            self.folder_of(controller).ok_or(Error::Unsupported { setting, reason: self.missing() })?;
        Ok(Target { folder, group: self.path().as_str() })
    }

    /// Where a controller lives on this machine: its v1 hierarchy, else v2 if that has it.
    fn controller(&self, name: &str, setting: &'static str) -> Result<Controller<'_>, Error> {
        let group = self.path().as_str();
        if let Some(folder) = self.folder_of(name) {
            return Ok(Controller { version: Version::One, target: Target { folder, group } });
        }
        let missing = Error::Unsupported { setting, reason: self.missing() };
        match self.version2_folder() {
            Some(folder) if self.has_version2_controller(name)? => {
                Ok(Controller { version: Version::Two, target: Target { folder, group } })
            }
            _ => Err(missing),
        }
    }

    /// Why a controller is not there.
    fn missing(&self) -> &'static str {
        if self.is_partial() {
            "the container could not join or create a cgroup for it: have one delegated, and name it in linux.cgroupsPath"
        } else {
            "this machine's cgroups have no such controller"
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A controller's folder and which files it has.
#[derive(Debug)]
struct Controller<'a> {
    version: Version,
    target: Target<'a>,
}

/// A folder of control files.
#[derive(Debug, Clone, Copy)]
struct Target<'a> {
    folder: &'a Path,
    group: &'a str,
}

impl Target<'_> {
    fn set(&self, file: &str, value: &str) -> Result<(), Error> {
        write_file(&self.folder.join(file), value.as_bytes()).map_err(|source| Error::Setting {
            file: file.to_owned(),
            group: self.group.to_owned(),
            value: value.to_owned(),
            source,
            hint: hint(source),
        })
    }

    fn has(&self, file: &str) -> bool {
        fs::access(self.folder.join(file), fs::Access::EXISTS).is_ok()
    }

    fn has_line(&self, file: &str, line: &str) -> bool {
        super::mounts::read_whole(self.folder.join(file))
            .is_ok_and(|content| content.split(|byte| *byte == b'\n').any(|other| other == line.as_bytes()))
    }

    /// The number in a control file, if it is there and is one.
    fn read_number(&self, file: &str) -> Option<u64> {
        self.first_word(file)?.parse().ok()
    }

    /// The first word of a control file, if it is there.
    fn first_word(&self, file: &str) -> Option<String> {
        let content = super::mounts::read_whole(self.folder.join(file)).ok()?;
        Some(std::str::from_utf8(&content).ok()?.split_ascii_whitespace().next()?.to_owned())
    }
}

/// Makes two settings of which the kernel may refuse the first (EINVAL) until the second is made: which comes first depends on
/// what is set already.
fn in_either_order(
    first: &dyn Fn() -> Result<(), Error>,
    second: &dyn Fn() -> Result<(), Error>,
) -> Result<(), Error> {
    match first() {
        Err(error) if error.errno() == Some(Errno::INVAL) => {
            second()?;
            first()
        }
        Err(error) => Err(error),
        Ok(()) => second(),
    }
}

/// What the usual causes mean for a control file.
fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => ": this kernel or its configuration lacks the setting",
        Errno::INVAL => ": the kernel refuses the value",
        Errno::BUSY => ": more than that is in use already",
        Errno::RANGE => ": the value is out of range",
        Errno::NOSPC => ": the parent cgroup has not that many cpus or memory nodes",
        Errno::NODEV => ": no such device",
        Errno::PERM | Errno::ACCESS => ": we may not, or the parent cgroup does not allow as much",
        _ => "",
    }
}

fn invalid(setting: &str, reason: impl Into<String>) -> Error {
    Error::Invalid { setting: setting.to_owned(), reason: reason.into() }
}
