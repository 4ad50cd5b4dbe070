//! The unit of a container and its place below the slices, from `slice:prefix:name`.

use crate::cgroup::{CgroupPath, Error};

/// Where containers go that name no slice.
const DEFAULT_SLICE: &str = "system.slice";
/// How units of containers begin that have no `cgroupsPath`.
const DEFAULT_PREFIX: &str = "hull";
/// The longest name of a unit (systemd.unit(5)).
const LONGEST: usize = 255;

/// A transient scope: its name, its slice, and where its cgroup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    unit: String,
    slice: String,
    path: CgroupPath,
}

impl Scope {
    /// The scope that `linux.cgroupsPath` asks for, as runc reads it: `slice:prefix:name` is `prefix-name.scope` in the slice,
    /// `system.slice` if that is empty. Without a path it is `hull-<id>.scope` there.
    ///
    /// # Errors
    /// What is not of that form, and names that systemd would not take.
    pub fn new(requested: Option<&str>, id: &str) -> Result<Scope, Error> {
        let given = requested.unwrap_or_default();
        let parts: Vec<&str> = given.split(':').collect();
        let (slice, prefix, name) = match *parts.as_slice() {
            [""] => ("", DEFAULT_PREFIX, id),
            [slice, prefix, name] => (slice, prefix, name),
            _ => return Err(refused(given, "is not of the form slice:prefix:name, which systemd needs")),
        };
        if name.is_empty() {
            return Err(refused(given, "names no unit after the second colon"));
        }
        if name.ends_with(".slice") {
            return Err(refused(given, "names a slice as the container's unit; only scopes are supported"));
        }
        let slice = if slice.is_empty() { DEFAULT_SLICE } else { slice };
        let unit = format!("{prefix}-{name}.scope");
        if !unit.bytes().all(is_allowed) {
            let reason = "needs a unit name of letters, digits and : - _ . \\ alone, as systemd does";
            return Err(refused(&unit, reason));
        }
        if unit.len() > LONGEST {
            return Err(refused(&unit, "needs a unit name longer than the 255 bytes that systemd takes"));
        }
        let path = CgroupPath::parse(&format!("{}/{unit}", folder_of(slice)?))?;
        Ok(Scope { unit, slice: slice.to_owned(), path })
    }

    /// The unit's name.
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// The slice that it is in.
    pub(super) fn slice(&self) -> &str {
        &self.slice
    }

    /// The cgroup that systemd makes for it.
    pub fn path(&self) -> &CgroupPath {
        &self.path
    }
}

/// systemd.unit(5): the characters of a unit's name. `@` would make it one of a template.
fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\".contains(&byte)
}

/// The folder of a slice: dashes are levels, so `a-b.slice` is `/a.slice/a-b.slice` (systemd.slice(5)); `-.slice` is the root.
fn folder_of(slice: &str) -> Result<String, Error> {
    let Some(levels) = slice.strip_suffix(".slice") else {
        return Err(refused(slice, "is no slice: its name does not end in .slice"));
    };
    if slice.len() > LONGEST {
        return Err(refused(slice, "is longer than the 255 bytes that systemd takes"));
    }
    if levels == "-" {
        return Ok(String::new());
    }
    if !slice.bytes().all(is_allowed) {
        return Err(refused(slice, "has a character that systemd takes in no name of a slice"));
    }
    if levels.split('-').any(str::is_empty) {
        return Err(refused(slice, "is no slice: a level between its dashes is empty"));
    }
    let ends = levels.match_indices('-').map(|(at, _)| at).chain([levels.len()]);
    Ok(ends.map(|end| format!("/{}.slice", &levels[..end])).collect())
}

fn refused(given: &str, reason: &'static str) -> Error {
    Error::Path { given: given.chars().take(80).collect(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_units_in_their_slices() {
        for (requested, unit, path) in [
            (None, "hull-c1.scope", "/system.slice/hull-c1.scope"),
            (Some(""), "hull-c1.scope", "/system.slice/hull-c1.scope"),
            (Some(":docker:x"), "docker-x.scope", "/system.slice/docker-x.scope"),
            (Some("machine.slice:libpod:a.b"), "libpod-a.b.scope", "/machine.slice/libpod-a.b.scope"),
            (Some("a-b-c.slice:p:n"), "p-n.scope", "/a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
            (Some("-.slice:p:n"), "p-n.scope", "/p-n.scope"),
            (Some("user.slice::n"), "-n.scope", "/user.slice/-n.scope"),
        ] {
            let scope = Scope::new(requested, "c1").unwrap();
            assert_eq!((scope.unit(), scope.path().as_str()), (unit, path));
        }
    }

    #[test]
    fn what_systemd_would_not_take_is_refused() {
        let long = format!("system.slice:p:{}", "n".repeat(250));
        for requested in [
            "/a/b",
            "a",
            "a:b",
            "a:b:c",
            "a.slice:b:c:d",
            "system.slice:p:",
            "::",
            "system.slice:p:x.slice",
            "system.slice:p:a/b",
            "system.slice:../p:x",
            "system.slice:p:a+b",
            "system.slice:p@:x",
            "a/b.slice:p:x",
            "../a.slice:p:x",
            ".slice:p:x",
            "-a.slice:p:x",
            "a-.slice:p:x",
            "a--b.slice:p:x",
            "a b.slice:p:x",
            &long,
        ] {
            assert!(Scope::new(Some(requested), "c1").is_err(), "{requested:?}");
        }
        let error = Scope::new(None, "c+1").unwrap_err().to_string();
        assert!(error.contains("hull-c+1.scope"), "{error}");
    }
}
