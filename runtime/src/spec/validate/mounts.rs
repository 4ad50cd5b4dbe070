//! The mounts.

use std::path::Path;

use oci_spec::runtime::{Mount, Spec};

use super::{container_path, host_path, invalid, refuse_if, text};
use crate::error::Result;
use crate::rootfs::options::{self, MountOptions};
use crate::spec::plan::{MountKind, MountPlan, Propagation};

pub(super) fn mounts(spec: &Spec, bundle: &Path) -> Result<Vec<MountPlan>> {
    let mounts = spec.mounts().iter().flatten().enumerate();
    mounts.map(|(index, mount)| plan(&format!("mounts[{index}]"), mount, bundle)).collect()
}

fn plan(at: &str, mount: &Mount, bundle: &Path) -> Result<MountPlan> {
    refuse_if(
        mount.uid_mappings().as_ref().is_some_and(|list| !list.is_empty()),
        &format!("{at}.uidMappings"),
    )?;
    refuse_if(
        mount.gid_mappings().as_ref().is_some_and(|list| !list.is_empty()),
        &format!("{at}.gidMappings"),
    )?;
    let destination = container_path(&format!("{at}.destination"), mount.destination())?;
    if destination == Path::new("/") {
        return Err(invalid(&format!("{at}.destination"), "mounting over the root is refused".to_owned()));
    }
    let words = mount.options().as_deref().unwrap_or_default();
    for (index, word) in words.iter().enumerate() {
        text(&format!("{at}.options[{index}]"), word)?;
    }
    let options = options::parse(words)
        .map_err(|(index, reason)| invalid(&format!("{at}.options[{index}]"), reason))?;
    let filesystem = mount.typ().as_deref().unwrap_or("");
    text(&format!("{at}.type"), filesystem)?;
    let kind = if options.bind.is_some() || filesystem == "bind" || filesystem == "rbind" {
        let source = mount.source().as_deref().ok_or_else(|| super::missing(&format!("{at}.source")))?;
        // A word that is no option of a mount would mean a file system's, and a bind has none.
        if let Some((word, _)) = options.data.first() {
            return Err(invalid(&format!("{at}.options"), format!("{word:?} is no option of a bind mount")));
        }
        MountKind::Bind {
            source: host_path(&format!("{at}.source"), source, bundle)?,
            recursive: options.bind.unwrap_or(filesystem == "rbind"),
        }
    } else if matches!(filesystem, "cgroup" | "cgroup2") {
        check_cgroup(&format!("{at}.options"), &options)?;
        MountKind::Cgroup
    } else if filesystem.is_empty() {
        return Err(super::missing(&format!("{at}.type")));
    } else {
        let source = mount.source().as_deref().unwrap_or(Path::new(filesystem));
        text(&format!("{at}.source"), source)?;
        let source = source.to_str().ok_or_else(|| {
            invalid(&format!("{at}.source"), "the source of a file system must be UTF-8".to_owned())
        })?;
        MountKind::Filesystem { filesystem: filesystem.to_owned(), source: source.to_owned() }
    };
    for place in ["/proc", "/sys"] {
        let own = if place == "/proc" { "proc" } else { "sysfs" };
        let is_place = destination == Path::new(place);
        let is_other = matches!(&kind, MountKind::Filesystem { filesystem, .. } if filesystem != own && filesystem != "tmpfs");
        if is_place && is_other {
            return Err(invalid(&format!("{at}.type"), format!("{filesystem} cannot be mounted at {place}")));
        }
    }
    Ok(MountPlan { destination, kind, options })
}

/// A cgroup mount shows the container's own folders by bind: it takes attributes, but no options of the file system,
/// which would be the host's, and never travels.
fn check_cgroup(at: &str, options: &MountOptions) -> Result<()> {
    if let Some((word, _)) = options.data.first() {
        return Err(invalid(at, format!("{word:?} is no option of a cgroup mount")));
    }
    let travels = |propagation: &Propagation| propagation.kind == libc::MS_SHARED;
    if options.propagations.iter().any(travels) {
        return Err(invalid(at, "a cgroup mount cannot be shared".to_owned()));
    }
    Ok(())
}
