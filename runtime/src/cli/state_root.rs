//! Where containers are recorded, and whether that folder can be trusted.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use runtime::cgroup::in_user_namespace;
use runtime::sys::process::effective_user;

/// The folder that was named, or the default one. That of an ordinary user is proven to be his alone: what is recorded
/// there is obeyed, up to the programs that a container's end runs.
pub fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let root = match given {
        Some(root) => std::path::absolute(root).unwrap_or_else(|_| root.to_owned()),
        None => match (variable("HULL_STATE"), variable("XDG_RUNTIME_DIR")) {
            (Some(state), _) => Path::new(&state).join("oci"),
            // One that is not absolute is to be ignored (XDG base directory specification).
            (None, Some(runtime)) if Path::new(&runtime).is_absolute() && is_a_users() => {
                make(&Path::new(&runtime).join("roci"))?
            }
            (None, _) => PathBuf::from("/run/hull/oci"),
        },
    };
    if effective_user() != 0 {
        refuse_foreign(&root)?;
    }
    Ok(root)
}

/// As with runc: the machine's root has a folder of the machine's, whatever session he has come from.
fn is_a_users() -> bool {
    effective_user() != 0
        || (std::env::var_os("USER").is_none_or(|name| name != "root") && in_user_namespace())
}

/// Makes the folder in the user's runtime folder, sticky so that nobody takes its files for forgotten ones (the same).
fn make(root: &Path) -> anyhow::Result<PathBuf> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .with_context(|| format!("cannot create {}: check XDG_RUNTIME_DIR, or use --root", root.display()))?;
    let made = std::fs::metadata(root).with_context(|| format!("cannot examine {}", root.display()))?;
    if made.uid() == effective_user() && made.mode() & 0o7777 != 0o1700 {
        std::fs::set_permissions(root, Permissions::from_mode(0o1700))
            .with_context(|| format!("cannot change the mode of {}", root.display()))?;
    }
    Ok(root.to_owned())
}

fn refuse_foreign(root: &Path) -> anyhow::Result<()> {
    let there = match std::fs::metadata(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        there => there.with_context(|| {
            format!(
                "cannot examine {}: use a folder of your own, by --root or XDG_RUNTIME_DIR",
                root.display()
            )
        })?,
    };
    if there.uid() != effective_user() {
        bail!(
            "{} belongs to user {} and not to you, and what is written there is obeyed: use a folder of your own, by --root \
             or XDG_RUNTIME_DIR",
            root.display(),
            there.uid()
        );
    }
    if there.mode() & 0o022 != 0 {
        bail!(
            "others may write to {}, and what is written there is obeyed: chmod go-w, or use another folder by --root",
            root.display()
        );
    }
    Ok(())
}
