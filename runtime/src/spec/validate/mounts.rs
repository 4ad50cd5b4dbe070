//! The mounts.

use std::path::{Component, Path};

use oci_spec::runtime::{LinuxIdMapping, Mount, Spec};

use super::linux::{check_mapping, is_mapped};
use super::{host_path, invalid, lenient_path, text};
use crate::error::Result;
use crate::rootfs::options::{self, MountOptions};
use crate::spec::plan::{IdMap, MountKind, MountPlan, Propagation};

/// What mounts are checked against.
pub(super) struct Surroundings<'a> {
    /// What relative sources start at.
    pub bundle: &'a Path,
    /// The root file system on the host.
    pub root: &'a Path,
    /// The ids of a new user namespace; none without one.
    pub users: &'a [LinuxIdMapping],
    /// As `users`, of groups.
    pub groups: &'a [LinuxIdMapping],
    /// The container joins a user namespace.
    pub joins_users: bool,
}

/// Checks the mounts.
pub(super) fn mounts(
    spec: &Spec,
    around: &Surroundings<'_>,
    notes: &mut Vec<String>,
) -> Result<Vec<MountPlan>> {
    let mut plans = Vec::new();
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let at = format!("mounts[{index}]");
        let mut plan = plan(&at, mount, around.bundle, notes)?;
        // Like runc: as the host sees it, a place in the root is one of the container, too.
        if let Ok(below) = plan.destination.strip_prefix(around.root)
            && !below.as_os_str().is_empty()
        {
            plan.destination = Path::new("/").join(below);
        }
        if let MountKind::Bind { source, inside, .. } = &mut plan.kind {
            // A way that leads up again may lead out.
            let below = source.strip_prefix(around.root).ok();
            let below = below.filter(|below| !below.components().any(|part| part == Component::ParentDir));
            *inside = below.map(|below| Path::new("/").join(below));
        }
        plan.id_map = id_map(&at, mount, &plan, around)?;
        refuse_unmapped(&at, &plan, around)?;
        plans.push(plan);
    }
    Ok(plans)
}

/// An owner of a file system has to be somebody in the new user namespace that it is made in.
fn refuse_unmapped(at: &str, plan: &MountPlan, around: &Surroundings<'_>) -> Result<()> {
    if !matches!(plan.kind, MountKind::Filesystem { .. }) {
        return Ok(());
    }
    for (key, value) in &plan.options.data {
        let (mappings, field) = match key.as_str() {
            "uid" => (around.users, "linux.uidMappings"),
            "gid" => (around.groups, "linux.gidMappings"),
            _ => continue,
        };
        let id = value.as_deref().and_then(|value| value.parse().ok());
        if id.is_some_and(|id| !is_mapped(id, mappings)) {
            let value = value.as_deref().unwrap_or_default();
            return Err(invalid(&format!("{at}.options"), format!("{key}={value} is not mapped by {field}")));
        }
    }
    Ok(())
}

/// Its own mappings, or with the option `idmap` alone those of the container.
fn id_map(at: &str, mount: &Mount, plan: &MountPlan, around: &Surroundings<'_>) -> Result<Option<IdMap>> {
    let own = |list: &Option<Vec<LinuxIdMapping>>| list.clone().unwrap_or_default();
    let (own_users, own_groups) = (own(mount.uid_mappings()), own(mount.gid_mappings()));
    let (users, groups) = match (own_users.is_empty(), own_groups.is_empty(), plan.options.id_map) {
        (true, true, None) => return Ok(None),
        // Those of the namespace that is joined.
        (true, true, Some(_)) if around.joins_users => (Vec::new(), Vec::new()),
        (true, true, Some(_)) if around.users.is_empty() => {
            let reason = "idmap needs uidMappings and gidMappings, or a user namespace".to_owned();
            return Err(invalid(&format!("{at}.options"), reason));
        }
        (true, true, Some(_)) => (around.users.to_vec(), around.groups.to_vec()),
        (false, false, _) => (own_users, own_groups),
        _ => return Err(invalid(at, "uidMappings and gidMappings need each other".to_owned())),
    };
    if !matches!(plan.kind, MountKind::Bind { .. }) {
        return Err(invalid(at, "only a bind mount can be id-mapped".to_owned()));
    }
    check_mapping(&format!("{at}.uidMappings"), &users)?;
    check_mapping(&format!("{at}.gidMappings"), &groups)?;
    Ok(Some(IdMap { users, groups, recursive: plan.options.id_map.unwrap_or(false) }))
}

fn plan(at: &str, mount: &Mount, bundle: &Path, notes: &mut Vec<String>) -> Result<MountPlan> {
    let destination = lenient_path(&format!("{at}.destination"), mount.destination())?;
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
        // A word that is no option of a mount would mean a file system's, and a bind has none. Engines send some.
        notes.extend(
            options
                .data
                .iter()
                .map(|(word, _)| format!("{at}.options: {word:?} is no option of a bind mount, left out")),
        );
        MountKind::Bind {
            source: host_path(&format!("{at}.source"), source, bundle)?,
            inside: None,
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
    if options.copy_up && !matches!(&kind, MountKind::Filesystem { filesystem, .. } if filesystem == "tmpfs")
    {
        return Err(invalid(&format!("{at}.options"), "tmpcopyup is an option of a tmpfs".to_owned()));
    }
    Ok(MountPlan { destination, kind, options, id_map: None })
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
