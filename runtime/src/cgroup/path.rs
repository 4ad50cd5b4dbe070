//! The path of a container's cgroup: absolute, normal, and never the root.
//!
//! An empty path would mean the caller's own cgroup, whose removal kills the caller. So nothing in this module takes
//! a string: whoever needs a cgroup holds a [`CgroupPath`], and there is no way to make one that is empty.

use std::fmt;

use super::Error;

/// Longest path that we take, in bytes; the kernel's limit for a whole path is 4096.
const LONGEST: usize = 1024;

/// `/a/b`: at least one component, no `.`, `..`, empty component or control character.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CgroupPath(String);

impl CgroupPath {
    /// The cgroup that `linux.cgroupsPath` asks for, or `/hull/<id>` where it is missing or empty.
    ///
    /// A relative path is taken below the root of the hierarchy, as the specification leaves to the runtime.
    pub fn new(requested: Option<&str>, id: &str) -> Result<CgroupPath, Error> {
        match requested {
            None | Some("") => {
                // Anything that would normalise away leaves `/hull`, the parent of all.
                if id.contains('/') || matches!(id, "" | "." | "..") {
                    return Err(refused(id, "cannot be made from this container id"));
                }
                CgroupPath::parse(&format!("/hull/{id}"))
            }
            Some(path) => CgroupPath::parse(path),
        }
    }

    /// Beside the cgroup of this process, on a machine with v2 alone: what a user is delegated has his own processes further
    /// down, and in a cgroup with processes nothing can be limited. `None` where that cannot be told.
    pub fn beside_own(id: &str) -> Option<CgroupPath> {
        let list = super::mounts::read_whole("/proc/self/cgroup").ok()?;
        beside(std::str::from_utf8(&list).ok()?, id)
    }

    /// Checks and normalises a path.
    pub fn parse(path: &str) -> Result<CgroupPath, Error> {
        if path.len() > LONGEST {
            return Err(refused(path, "is longer than 1024 bytes"));
        }
        if !path.starts_with('/') && path.matches(':').count() == 2 {
            return Err(refused(path, "names a slice of systemd, which needs --systemd-cgroup"));
        }
        let mut normal = String::with_capacity(path.len() + 1);
        for component in path.split('/').filter(|component| !matches!(*component, "" | ".")) {
            if component == ".." {
                return Err(refused(path, "contains `..`"));
            }
            if component.len() > 255 {
                return Err(refused(path, "has a component longer than 255 bytes"));
            }
            if component.chars().any(char::is_control) {
                return Err(refused(path, "contains a control character"));
            }
            normal.push('/');
            normal.push_str(component);
        }
        if normal.is_empty() {
            return Err(refused(path, "is the root of the hierarchy, which no container may own"));
        }
        Ok(CgroupPath(normal))
    }

    /// The path with its leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Every folder from the outermost parent down to the cgroup itself, without leading slash.
    pub(super) fn levels(&self) -> impl Iterator<Item = &str> {
        let relative = &self.0[1..];
        relative.match_indices('/').map(|(at, _)| &relative[..at]).chain(std::iter::once(relative))
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn beside(own: &str, id: &str) -> Option<CgroupPath> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (parent, _) = own.rsplit_once('/')?;
    CgroupPath::parse(&format!("{parent}/{id}")).ok()
}

fn refused(given: &str, reason: &'static str) -> Error {
    Error::Path { given: given.chars().take(80).collect(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_empty_become_the_containers_own() {
        for requested in [None, Some("")] {
            assert_eq!(CgroupPath::new(requested, "c1").unwrap().as_str(), "/hull/c1");
        }
        for id in ["", "a/b", "..", "."] {
            assert!(CgroupPath::new(None, id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn paths_are_normalised_or_refused() {
        for (given, expected) in [
            ("/a", "/a"),
            ("a/b", "/a/b"),
            ("//a///b/./c/", "/a/b/c"),
            ("/a:b:c", "/a:b:c"),
            ("/kubepods/pod1/x", "/kubepods/pod1/x"),
        ] {
            assert_eq!(CgroupPath::parse(given).unwrap().as_str(), expected);
        }
        let long = format!("/{}", "a".repeat(256));
        for given in
            ["/", "", ".", "/..", "/a/../b", "..", "/a/..", "system.slice:hull:x", "/a\n", "/a\0b", &long]
        {
            assert!(CgroupPath::parse(given).is_err(), "{given:?}");
        }
    }

    #[test]
    fn an_ordinary_users_is_beside_his_own() {
        let of = |list: &str| beside(list, "c").map(|path| path.as_str().to_owned());
        let session = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope\n";
        assert_eq!(of(session).unwrap(), "/user.slice/user-1000.slice/user@1000.service/app.slice/c");
        assert_eq!(of("1:name=systemd:/x\n0::/a\n").unwrap(), "/c");
        assert_eq!(of("0::/\n").unwrap(), "/c");
        assert_eq!(of("0::/../../a\n"), None);
        assert_eq!(of("1:cpu:/a\n"), None);
    }

    #[test]
    fn levels_go_from_the_outside_in() {
        let path = CgroupPath::parse("/a/b/c").unwrap();
        assert_eq!(path.levels().collect::<Vec<_>>(), ["a", "a/b", "a/b/c"]);
    }
}
