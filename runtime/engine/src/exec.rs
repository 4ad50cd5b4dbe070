//! The further processes of a container: its own one, with what the caller wants to be different.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxCapabilities, Process};
use runtime::spec::defaults;
use runtime::spec::from_image::{TerminalSize, merge_env};

use crate::error::{Error, Result};
use crate::user;

/// What is different from the container's own process.
#[derive(Clone, Debug, Default)]
pub struct ExecSettings {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Further variables, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// `user[:group]`, names or numbers of the container's user database.
    pub user: Option<String>,
    /// It gets a terminal, of this size where that is known.
    pub terminal: Option<TerminalSize>,
}

/// The process to execute, as JSON for [`runtime::monitor::client::Client::exec`]. `folder` is the container's, `pid`
/// its first process.
pub fn process(folder: &Path, pid: i32, settings: &ExecSettings) -> Result<Vec<u8>> {
    let spec = runtime::spec::load(folder)?.spec;
    let missing = || Error::Invalid(format!("{} describes no process", folder.join("config.json").display()));
    let mut process = spec.process().clone().ok_or_else(missing)?;
    process.set_args(Some(settings.args.clone()));
    process.set_terminal(Some(settings.terminal.is_some()));
    process.set_console_size(settings.terminal.filter(|size| size.rows > 0).and_then(|size| {
        let builder = oci_spec::runtime::BoxBuilder::default();
        builder.height(u64::from(size.rows)).width(u64::from(size.columns)).build().ok()
    }));
    if let Some(cwd) = &settings.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    if settings.terminal.is_some() && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push(format!("TERM={}", defaults::TERM));
    }
    if let Some(wanted) = &settings.user {
        let home = change_user(&mut process, pid, wanted, &env)?;
        env = merge_env(&env, home.as_slice());
    }
    process.set_env(Some(merge_env(&env, &settings.env)));
    serde_json::to_vec(&process)
        .map_err(|error| Error::Invalid(format!("cannot encode the process: {error}")))
}

/// Makes the process one of another user, with the capabilities that the container grants such a user: all to root,
/// none to others. Returns the variable `HOME` if it is the user's business.
fn change_user(process: &mut Process, pid: i32, wanted: &str, env: &[String]) -> Result<Option<String>> {
    let root = user::root_of(pid)?;
    let before = process.user();
    let own_home = user::resolve(root.as_fd(), &format!("{}:{}", before.uid(), before.gid()), &[])?.home;
    let resolved = user::resolve(root.as_fd(), wanted, &[])?;
    // Nobody chose the variable if it is what the database says; then it follows the user.
    let follows = env.iter().all(|entry| entry.strip_prefix("HOME=").is_none_or(|home| home == own_home));
    let mut user = oci_spec::runtime::User::default();
    user.set_uid(resolved.uid);
    user.set_gid(resolved.gid);
    user.set_umask(before.umask());
    user.set_additional_gids(Some(resolved.additional_gids));
    process.set_user(user);
    if let Some(granted) = process.capabilities().as_ref().map(|sets| sets.bounding().clone()) {
        let held = if resolved.uid == 0 { granted.clone() } else { Some(Default::default()) };
        let mut sets = LinuxCapabilities::default();
        // Inheritable and ambient ones would let files of the image raise privilege (CVE-2022-24769).
        sets.set_bounding(granted)
            .set_permitted(held.clone())
            .set_effective(held)
            .set_inheritable(Some(Default::default()))
            .set_ambient(Some(Default::default()));
        process.set_capabilities(Some(sets));
    }
    Ok(follows.then(|| format!("HOME={}", resolved.home)))
}

#[cfg(test)]
mod tests {
    use runtime::spec::from_image::{ContainerSettings, container_spec};

    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = ContainerSettings::new("x", vec!["sleep".to_owned()]);
        settings.env = vec!["A=1".to_owned(), "B=2".to_owned()];
        let spec = serde_json::to_vec(&container_spec(&settings)).unwrap();
        std::fs::write(folder.path().join("config.json"), spec).unwrap();
        folder
    }

    fn made(folder: &tempfile::TempDir, settings: &ExecSettings) -> Process {
        let own = std::process::id().cast_signed();
        serde_json::from_slice(&process(folder.path(), own, settings).unwrap()).unwrap()
    }

    #[test]
    fn what_is_not_asked_for_stays() {
        let folder = folder();
        let args = vec!["id".to_owned()];
        let plain = made(&folder, &ExecSettings { args: args.clone(), ..ExecSettings::default() });
        assert_eq!((plain.args().as_ref(), plain.terminal()), (Some(&args), Some(false)));
        assert_eq!(plain.cwd(), Path::new("/"));
        let changed = made(
            &folder,
            &ExecSettings {
                args,
                env: vec!["A=3".to_owned(), "C=4".to_owned()],
                cwd: Some("/tmp".into()),
                terminal: Some(TerminalSize { rows: 24, columns: 80 }),
                user: None,
            },
        );
        let env = changed.env().clone().unwrap();
        for entry in ["A=3", "B=2", "C=4", "TERM=xterm"] {
            assert!(env.iter().any(|it| it == entry), "{entry} of {env:?}");
        }
        assert_eq!(changed.cwd(), Path::new("/tmp"));
        assert!(changed.console_size().is_some());
        assert_eq!(changed.capabilities(), plain.capabilities());
    }

    #[test]
    fn another_user_has_other_capabilities_and_another_home() {
        let folder = folder();
        let settings = ExecSettings { args: vec!["id".to_owned()], ..ExecSettings::default() };
        let other = made(&folder, &ExecSettings { user: Some("12345:7".to_owned()), ..settings });
        assert_eq!((other.user().uid(), other.user().gid()), (12345, 7));
        let sets = other.capabilities().clone().unwrap();
        assert_eq!(sets.effective().as_ref().map(|set| set.len()), Some(0));
        assert!(!sets.bounding().as_ref().unwrap().is_empty());
    }
}
