//! What of the host a container sees.
//!
//! A link at the end of a host path is resolved here, on the host; the path in the container is resolved by the runtime,
//! inside the root. A missing host path becomes a folder, as containerd does it.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use k8s_cri::v1::{Mount as CriMount, MountPropagation};
use oci_spec::runtime::Mount;

use super::security;
use crate::error::{Error, Result};

/// A mount as asked for, checked as far as that needs no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// In the container: absolute and normal.
    pub destination: PathBuf,
    source: PathBuf,
    readonly: bool,
    recursive_readonly: bool,
    propagation: MountPropagation,
}

/// Checks the mounts of a request. They come back in the order in which they are made: the shallow ones first.
pub fn check(mounts: &[CriMount]) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::with_capacity(mounts.len());
    for (index, mount) in mounts.iter().enumerate() {
        wanted.push(check_one(&format!("config.mounts[{index}]"), mount)?);
    }
    wanted.sort_by_key(|mount| mount.destination.components().count());
    Ok(wanted)
}

fn check_one(at: &str, mount: &CriMount) -> Result<Wanted> {
    let field = |name: &str| format!("{at}.{name}");
    if mount.image.as_ref().is_some_and(|image| !image.image.is_empty()) {
        return Err(Error::Unsupported { field: "config.mounts.image", what: "image volumes are" });
    }
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return Err(Error::Unsupported { field: "config.mounts.uidMappings", what: "user namespaces are" });
    }
    if mount.selinux_relabel && security::has_selinux() {
        return Err(Error::Unsupported {
            field: "config.mounts.selinux_relabel",
            what: "SELinux labels are",
        });
    }
    let propagation = MountPropagation::try_from(mount.propagation)
        .map_err(|_| Error::invalid(field("propagation"), format!("{} is none", mount.propagation)))?;
    if mount.recursive_read_only && !mount.readonly {
        return Err(Error::invalid(field("recursive_read_only"), "it needs readonly"));
    }
    if mount.recursive_read_only && propagation != MountPropagation::PropagationPrivate {
        return Err(Error::invalid(field("recursive_read_only"), "it goes with private propagation only"));
    }
    let source = PathBuf::from(&mount.host_path);
    if !source.is_absolute() || mount.host_path.contains('\0') {
        return Err(Error::invalid(field("host_path"), format!("{:?} is no absolute path", mount.host_path)));
    }
    // The folders on the way would be made, and then lead somewhere else.
    if source.components().any(|part| part == Component::ParentDir) {
        return Err(Error::invalid(field("host_path"), format!("{:?} leads up", mount.host_path)));
    }
    Ok(Wanted {
        destination: destination(&field("container_path"), &mount.container_path)?,
        source,
        readonly: mount.readonly,
        recursive_readonly: mount.recursive_read_only,
        propagation,
    })
}

/// A path in the container. One that is relative starts at the root; one that goes up can only mean another place than
/// its writer thought.
pub fn destination(field: &str, path: &str) -> Result<PathBuf> {
    let refuse = |reason| Err(Error::invalid(field, format!("{path:?} {reason}")));
    let absolute: PathBuf = Path::new("/").join(path).components().collect();
    if path.contains('\0') || absolute.components().any(|part| part == Component::ParentDir) {
        return refuse("leads up");
    }
    if absolute == Path::new("/") {
        return refuse("is the root itself");
    }
    Ok(absolute)
}

/// Makes the host's side ready, and the entry of config.json.
pub fn prepare(wanted: &Wanted, table: &MountTable) -> Result<Mount> {
    let source = resolve(&wanted.source)?;
    let needs = |kind: &str| {
        Error::invalid(
            "config.mounts.propagation",
            format!("{} is not on a {kind} mount of the host", source.display()),
        )
    };
    let propagation = match wanted.propagation {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => match table.sharing(&source) {
            Sharing { shared: false, slave: false } => return Err(needs("shared or slave")),
            _ => "rslave",
        },
        MountPropagation::PropagationBidirectional => match table.sharing(&source).shared {
            false => return Err(needs("shared")),
            true => "rshared",
        },
    };
    let access = match (wanted.readonly, wanted.recursive_readonly) {
        (_, true) => "rro",
        (true, false) => "ro",
        (false, false) => "rw",
    };
    Ok(bind(&source, &wanted.destination, &["rbind", propagation, access]))
}

impl Wanted {
    /// Do its mounts travel to the host?
    pub fn is_bidirectional(&self) -> bool {
        self.propagation == MountPropagation::PropagationBidirectional
    }
}

/// An entry of config.json that shows a path of the host.
pub fn bind(source: &Path, destination: &Path, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.to_owned())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source.to_owned()))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

fn resolve(source: &Path) -> Result<PathBuf> {
    match std::fs::canonicalize(source) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o755).create(source).map_err(Error::io("create", source))?;
            std::fs::canonicalize(source).map_err(Error::io("resolve", source))
        }
        resolved => resolved.map_err(Error::io("resolve", source)),
    }
}

/// The default mounts, without those that a mount of the request takes the place of.
pub fn without_covered(defaults: Vec<Mount>, wanted: &[Wanted]) -> Vec<Mount> {
    let places: BTreeSet<&Path> = wanted.iter().map(|mount| mount.destination.as_path()).collect();
    let covered = |path: &Path| {
        places.contains(path) || (path.starts_with("/dev") && places.contains(Path::new("/dev")))
    };
    defaults.into_iter().filter(|mount| !covered(mount.destination())).collect()
}

/// How mounts travel at some place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// To and from its peers.
    pub shared: bool,
    /// From its master.
    pub slave: bool,
}

/// The mounts of this machine.
#[derive(Debug, Default)]
pub struct MountTable {
    entries: Vec<(PathBuf, Sharing)>,
}

impl MountTable {
    /// Reads it.
    pub fn read() -> Result<MountTable> {
        const PATH: &str = "/proc/self/mountinfo";
        let bytes = std::fs::read(PATH).map_err(Error::io("read", PATH))?;
        Ok(MountTable::parse(&String::from_utf8_lossy(&bytes)))
    }

    fn parse(text: &str) -> MountTable {
        let entry = |line: &str| {
            let mut fields = line.split(' ');
            let place = unescape(fields.nth(4)?);
            let optional: Vec<&str> = fields.skip(1).take_while(|field| *field != "-").collect();
            let has = |prefix: &str| optional.iter().any(|field| field.starts_with(prefix));
            Some((place, Sharing { shared: has("shared:"), slave: has("master:") }))
        };
        MountTable { entries: text.lines().filter_map(entry).collect() }
    }

    /// How mounts travel at `path`, which has no links: as the last mount does that is at or above it.
    pub fn sharing(&self, path: &Path) -> Sharing {
        let above = self.entries.iter().filter(|(place, _)| path.starts_with(place));
        above.max_by_key(|(place, _)| place.components().count()).map_or_else(Sharing::default, |(_, it)| *it)
    }
}

/// The kernel writes spaces, tabs, line ends and backslashes as octal numbers.
fn unescape(field: &str) -> PathBuf {
    let mut text = field.to_owned();
    for (code, letter) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(code, letter);
    }
    PathBuf::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(host: &str, container: &str) -> CriMount {
        CriMount { host_path: host.to_owned(), container_path: container.to_owned(), ..Default::default() }
    }

    #[test]
    fn mounts_are_made_from_the_outside_in() {
        let wanted = check(&[mount("/a", "/x/y/z"), mount("/b", "/x"), mount("/c", "relative/")]).unwrap();
        let places: Vec<_> = wanted.iter().map(|mount| mount.destination.to_str().unwrap()).collect();
        assert_eq!(places, ["/x", "/relative", "/x/y/z"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (host, container) in [
            ("", "/x"),
            ("rel", "/x"),
            ("/a/../b", "/x"),
            ("/a", ""),
            ("/a", "/"),
            ("/a", "/x/../../y"),
            ("/a\0", "/x"),
        ] {
            assert!(check(&[mount(host, container)]).is_err(), "{host:?} {container:?}");
        }
        let recursive = CriMount { recursive_read_only: true, ..mount("/a", "/x") };
        assert!(check(std::slice::from_ref(&recursive)).is_err());
        let travelling = CriMount { readonly: true, propagation: 1, ..recursive.clone() };
        assert!(check(&[travelling]).is_err());
        assert!(check(&[CriMount { readonly: true, ..recursive }]).is_ok());
        assert!(check(&[CriMount { propagation: 9, ..mount("/a", "/x") }]).is_err());
    }

    #[test]
    fn links_are_resolved_on_the_host_and_missing_folders_made() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("target")).unwrap();
        std::os::unix::fs::symlink("target", real.join("link")).unwrap();
        let prepared = |name: &str| {
            let wanted = check(&[mount(real.join(name).to_str().unwrap(), "/x")]).unwrap();
            prepare(&wanted[0], &MountTable::default())
        };
        assert_eq!(prepared("link").unwrap().source().as_deref(), Some(real.join("target").as_path()));
        prepared("new/deep").unwrap();
        assert!(real.join("new/deep").is_dir());
        std::os::unix::fs::symlink("nowhere", real.join("dangling")).unwrap();
        assert!(prepared("dangling").is_err());
    }

    #[test]
    fn propagation_needs_a_mount_that_travels() {
        let table = MountTable::parse(
            "1 0 8:1 / / rw - ext4 /dev/x rw\n2 1 0:5 / /tmp/a\\040b rw,nosuid shared:3 - tmpfs none rw\n\
             3 1 0:6 / /slave rw master:2 - tmpfs none rw\n",
        );
        assert_eq!(table.sharing(Path::new("/etc")), Sharing::default());
        assert!(table.sharing(Path::new("/tmp/a b/c")).shared);
        assert!(table.sharing(Path::new("/slave")).slave);
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().canonicalize().unwrap();
        let prepared = |propagation, table: &MountTable| {
            let asked = CriMount { propagation, ..mount(host.to_str().unwrap(), "/x") };
            prepare(&check(&[asked]).unwrap()[0], table)
        };
        let plain = MountTable::parse("1 0 8:1 / / rw - ext4 /dev/x rw\n");
        let shared = MountTable::parse("1 0 8:1 / / rw shared:1 - ext4 /dev/x rw\n");
        assert!(prepared(1, &plain).is_err() && prepared(2, &plain).is_err());
        let options = prepared(2, &shared).unwrap().options().clone().unwrap();
        assert!(options.contains(&"rshared".to_owned()));
    }

    #[test]
    fn a_mount_of_the_request_takes_the_place_of_a_default_one() {
        let places = |wanted: &[Wanted]| {
            let left = without_covered(runtime::spec::defaults::mounts(), wanted);
            left.iter().map(|mount| mount.destination().display().to_string()).collect::<Vec<_>>()
        };
        assert!(!places(&check(&[mount("/a", "/dev/shm")]).unwrap()).contains(&"/dev/shm".to_owned()));
        let left = places(&check(&[mount("/dev", "/dev")]).unwrap());
        assert!(left.iter().all(|place| !place.starts_with("/dev")));
    }
}
