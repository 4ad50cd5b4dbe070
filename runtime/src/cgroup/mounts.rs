//! Where the cgroup hierarchies are mounted, found once per process.
//!
//! On a v2 machine that is one `statfs`. With v1 controllers (alone, or hybrid with an empty v2 hierarchy beside
//! them) it is one read of mountinfo. Named hierarchies such as `name=systemd` count too: a container that stays in
//! the caller's cgroup there would be killed or counted with the caller.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::Error;

const STANDARD: &str = "/sys/fs/cgroup";
const MOUNT_LIST: &str = "/proc/self/mountinfo";
/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// The cgroup hierarchies of this machine.
#[derive(Debug, Clone)]
pub struct Hierarchies {
    all: Vec<Hierarchy>,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    mount: PathBuf,
    kind: Kind,
}

/// Which version a hierarchy has, and what it controls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Version 1 with its controllers, sorted; a named one holds `name=...`.
    V1(Vec<String>),
    /// Version 2; its controllers are listed by each cgroup itself.
    V2,
}

impl Hierarchies {
    /// Finds the hierarchies, once per process: workers of a monitor have what it found.
    pub fn discover() -> Result<Hierarchies, Error> {
        static KNOWN: OnceLock<Hierarchies> = OnceLock::new();
        if let Some(known) = KNOWN.get() {
            return Ok(known.clone());
        }
        Hierarchies::find().map(|found| KNOWN.get_or_init(|| found).clone())
    }

    fn find() -> Result<Hierarchies, Error> {
        if fs::statfs(STANDARD).is_ok_and(|status| status.f_type as u64 == CGROUP2_MAGIC) {
            return Ok(Hierarchies { all: vec![Hierarchy { mount: STANDARD.into(), kind: Kind::V2 }] });
        }
        let list = read_whole(MOUNT_LIST).map_err(|source| Error::Discover { file: MOUNT_LIST, source })?;
        let all = parse_mount_list(&list);
        if all.is_empty() {
            return Err(Error::NoHierarchy);
        }
        Ok(Hierarchies { all })
    }

    /// All of them, v1 first in the order of mounting.
    pub fn all(&self) -> &[Hierarchy] {
        &self.all
    }

    /// Those that have controllers: beside v1 an empty v2 hierarchy is only an easier way to kill, and one that an ordinary
    /// user is not let into, whatever is delegated to him, unless he is in the delegated part himself.
    pub fn with_controllers(mut self) -> Hierarchies {
        if !self.is_unified() {
            self.all.retain(|hierarchy| hierarchy.kind != Kind::V2);
        }
        self
    }

    /// True where version 2 is the only one, and so carries every controller.
    pub fn is_unified(&self) -> bool {
        self.all.iter().all(|hierarchy| hierarchy.kind == Kind::V2)
    }
}

impl Hierarchy {
    /// Where it is mounted.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// Its version and controllers.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// True for a v1 hierarchy with that controller.
    pub fn controls(&self, controller: &str) -> bool {
        matches!(&self.kind, Kind::V1(controllers) if controllers.iter().any(|known| known == controller))
    }
}

/// Everything in a small kernel file; these report no size.
pub(super) fn read_whole(path: impl rustix::path::Arg) -> Result<Vec<u8>, Errno> {
    let file = fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut content = Vec::with_capacity(16 * 1024);
    loop {
        if content.spare_capacity_mut().is_empty() {
            content.reserve(content.len());
        }
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut content)) {
            Ok(0) => return Ok(content),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn parse_mount_list(list: &[u8]) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    let mut version2 = None;
    for line in list.split(|byte| *byte == b'\n') {
        let Some(hierarchy) = parse_mount(line) else { continue };
        if hierarchy.kind == Kind::V2 {
            version2.get_or_insert(hierarchy);
        } else if !found.iter().any(|known| known.kind == hierarchy.kind) {
            // A second mount of the same controllers is another view (a container's), not another hierarchy.
            found.push(hierarchy);
        }
    }
    found.extend(version2);
    found
}

/// One line of mountinfo: `id parent dev root mountpoint options [tags...] - type source superoptions`.
fn parse_mount(line: &[u8]) -> Option<Hierarchy> {
    let separator = line.windows(3).position(|window| window == b" - ")?;
    let mut tail = line[separator + 3..].split(|byte| *byte == b' ');
    let kind = match tail.next()? {
        b"cgroup" => {
            let options = std::str::from_utf8(tail.nth(1)?).ok()?;
            let mut controllers: Vec<String> = options.split(',').filter_map(controller).collect();
            controllers.sort();
            Kind::V1(controllers)
        }
        b"cgroup2" => Kind::V2,
        _ => return None,
    };
    let mount = unescape(line[..separator].split(|byte| *byte == b' ').nth(4)?);
    Some(Hierarchy { mount: PathBuf::from(OsString::from_vec(mount)), kind })
}

/// A superblock option of a v1 hierarchy, if it is a controller or a name and not a mount option.
fn controller(option: &str) -> Option<String> {
    let is_option =
        matches!(option, "rw" | "ro" | "none" | "xattr" | "noprefix" | "clone_children" | "seclabel")
            || option.starts_with("release_agent=")
            || option.starts_with("cpuset_v2_mode")
            || option.starts_with("favordynmods");
    (!is_option && !option.is_empty()).then(|| option.to_owned())
}

/// mountinfo writes space, tab, newline and backslash as `\ooo`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match octal {
            Some(digits) if byte == b'\\' => {
                plain.push(digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8) + (digit - b'0')));
                rest = &after[3..];
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory,release_agent=/x
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 31 0:32 /c /srv/with\\040space ro - cgroup cgroup rw,memory
broken line
60 31 0:32";

    #[test]
    fn a_hybrid_machine() {
        let all = parse_mount_list(HYBRID);
        let mounts: Vec<_> = all.iter().map(|hierarchy| hierarchy.mount().to_str().unwrap()).collect();
        assert_eq!(
            mounts,
            [
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/systemd",
                "/sys/fs/cgroup/unified"
            ]
        );
        assert!(all[0].controls("cpu") && all[0].controls("cpuacct") && !all[0].controls("rw"));
        assert!(all[1].controls("memory"));
        assert_eq!(all[2].kind(), &Kind::V1(vec!["name=systemd".into()]));
        assert_eq!(all[3].kind(), &Kind::V2);
    }

    #[test]
    fn escapes_in_mount_points() {
        assert_eq!(unescape(b"/a\\040b\\134c\\"), b"/a b\\c\\");
        assert_eq!(unescape(b"/a\\999"), b"/a\\999");
    }

    #[test]
    fn this_machine_has_hierarchies() {
        assert!(!Hierarchies::discover().unwrap().all().is_empty());
    }
}
