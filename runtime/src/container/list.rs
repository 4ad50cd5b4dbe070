//! `list`: every container below a state root.

use std::path::Path;

use super::state::State;
use super::{Id, state};
use crate::error::{Error, Kind, Result};

/// The containers, by name, each with the name of the user who made it. Those that cannot be described are in the
/// second list, with the reason; a state root that is missing has none.
pub fn list(state_root: &Path) -> Result<(Vec<State>, Vec<Error>)> {
    let (mut states, mut failures) = (Vec::new(), Vec::new());
    for id in ids(state_root)? {
        let described = state(state_root, &id)
            .and_then(|described| Ok(State { owner: owner(&state_root.join(id.as_str()))?, ..described }));
        match described {
            Ok(state) => states.push(state),
            // It was deleted while we looked.
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => failures.push(error),
        }
    }
    Ok((states, failures))
}

/// The names of all containers, sorted, whatever state they are in. What else is in the folder is passed over.
pub fn ids(state_root: &Path) -> Result<Vec<Id>> {
    let fail = |error: std::io::Error| {
        let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
        Error::system("list", state_root.to_string_lossy())(errno)
    };
    let entries = match std::fs::read_dir(state_root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.map_err(fail)?.file_name();
        ids.extend(name.to_str().and_then(|name| name.parse::<Id>().ok()));
    }
    ids.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    Ok(ids)
}

/// The user whom a container's folder belongs to: the name, or `#uid`.
fn owner(folder: &Path) -> Result<String> {
    let uid = rustix::fs::stat(folder).map_err(Error::system("examine", folder.to_string_lossy()))?.st_uid;
    // Read here and not by getpwuid, which a static program must not call.
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    Ok(name.unwrap_or_else(|| format!("#{uid}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_container_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        assert!(ids(&root.path().join("absent")).unwrap().is_empty());
        for name in ["b", "a", ".hidden"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        let ids: Vec<String> = ids(root.path()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(ids, ["a", "b"]);
        // Neither was ever written down.
        let (states, failures) = list(root.path()).unwrap();
        assert_eq!((states.len(), failures.len()), (0, 2));
        assert_eq!(owner(root.path()).unwrap(), "root");
    }
}
