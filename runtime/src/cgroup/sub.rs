//! A cgroup below a container's own for a further process: chosen (`exec --cgroup`), or that of the first process.

use std::os::fd::OwnedFd;
use std::path::{Component, Path};
use std::str::FromStr;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::group::Place;
use super::mounts::read_whole;
use super::{Cgroup, CgroupPath, Entrance, Error, Hierarchies, Kind};

/// `[CONTROLLER[,CONTROLLER]...:]PATH`: for all hierarchies, or for those of some v1 controllers. The path starts at the
/// container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubCgroup {
    controllers: Vec<String>,
    path: String,
}

impl FromStr for SubCgroup {
    type Err = Error;

    fn from_str(text: &str) -> Result<SubCgroup, Error> {
        let (controllers, path) = match text.split_once(':') {
            Some((controllers, path)) => (controllers.split(',').map(str::to_owned).collect(), path),
            None => (Vec::new(), text),
        };
        let relative = path.trim_start_matches('/');
        let inside = |component| matches!(component, Component::Normal(_) | Component::CurDir);
        if !Path::new(relative).components().all(inside) || relative.contains('\0') {
            return Err(Error::Path {
                given: text.chars().take(80).collect(),
                reason: "is a bad sub cgroup path: it has to be below the container's",
            });
        }
        Ok(SubCgroup { controllers, path: relative.to_owned() })
    }
}

impl Cgroup {
    /// Opens what a child needs to enter the cgroup of an existing container, below it where `choices` say so; the last that
    /// fits a hierarchy counts. Hierarchies in which the container has no folder are left out, as by [`Cgroup::open`].
    pub fn entrance_of_existing(
        hierarchies: &Hierarchies,
        path: &CgroupPath,
        choices: &[SubCgroup],
    ) -> Result<Entrance, Error> {
        // Mostly all are there, so none is looked for first.
        match Cgroup::at(hierarchies, path).entrance_below(choices) {
            Err(error) if error.errno() == Some(Errno::NOENT) => {
                Cgroup::open(hierarchies, path).entrance_below(choices)
            }
            opened => opened,
        }
    }

    fn entrance_below(&self, choices: &[SubCgroup]) -> Result<Entrance, Error> {
        let fits = |place: &Place, choice: &SubCgroup| match place.hierarchy.kind() {
            Kind::V1(own) => {
                choice.controllers.is_empty() || choice.controllers.iter().any(|name| own.contains(name))
            }
            Kind::V2 => choice.controllers.is_empty(),
        };
        for choice in choices {
            if !self.places().iter().any(|place| fits(place, choice)) {
                let given = format!("{}:{}", choice.controllers.join(","), choice.path);
                let reason = "has an unknown controller in front: it has no v1 hierarchy here";
                return Err(Error::Path { given, reason });
            }
        }
        self.entrance_at(|place| {
            let choice = choices.iter().rev().find(|choice| fits(place, choice));
            choice.map_or_else(|| place.folder.clone(), |choice| place.folder.join(&choice.path))
        })
        .map_err(|error| match error {
            Error::Folder { path, source, .. } if !choices.is_empty() => Error::Below { path, source },
            other => other,
        })
    }

    /// Opens the v2 cgroup below this one that a process of the container has put itself into; `None` where it is in none.
    ///
    /// Where a container hands controllers down, as a systemd or docker in it does, its own cgroup takes no process any
    /// more (EBUSY; the kernel's cgroup-v2.rst, "No Internal Process Constraint").
    pub fn open_below(&self, process: i32) -> Option<OwnedFd> {
        let list = read_whole(format!("/proc/{process}/cgroup")).ok()?;
        let list = std::str::from_utf8(&list).ok()?;
        let below = below(self.path().as_str(), list)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::open(self.version2_folder()?.join(below), flags, Mode::empty()).ok()
    }
}

/// The rest of the v2 path in `/proc/<pid>/cgroup` after `own`. No component of it leads up: who is outside of the reader's
/// cgroup namespace is told with `/..`, and that is not below anybody's.
fn below<'a>(own: &str, list: &'a str) -> Option<&'a str> {
    let path = list.lines().find_map(|line| line.strip_prefix("0::"))?;
    let below = path.strip_prefix(own)?.strip_prefix('/')?;
    let inside = Path::new(below).components().all(|component| matches!(component, Component::Normal(_)));
    (inside && !below.is_empty()).then_some(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cgroup_below_the_containers_is_its_processes() {
        for (list, expected) in [
            ("0::/hull/x/init/a\n", Some("init/a")),
            ("4:memory:/hull/x/no\n0::/hull/x/init\n", Some("init")),
            ("0::/hull/x\n", None),
            ("0::/hull/x/\n", None),
            ("0::/hull/xy/init\n", None),
            ("0::/hull/x/../y\n", None),
            ("0::/../hull/x/init\n", None),
            ("4:memory:/hull/x/init\n", None),
        ] {
            assert_eq!(below("/hull/x", list), expected, "{list}");
        }
    }

    #[test]
    fn only_what_is_below_is_taken() {
        let parsed: SubCgroup = "cpu,memory:/a/b".parse().unwrap();
        assert_eq!((parsed.controllers, &*parsed.path), (vec!["cpu".to_owned(), "memory".to_owned()], "a/b"));
        assert_eq!("/".parse::<SubCgroup>().unwrap().path, "");
        for bad in ["..", "a/../..", "cpu:../x", "a\0"] {
            assert!(bad.parse::<SubCgroup>().is_err(), "{bad:?}");
        }
    }
}
