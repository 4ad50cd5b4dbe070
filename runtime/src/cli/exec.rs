//! `roci exec`.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, User};
use runtime::cgroup::SubCgroup;
use runtime::container::{self, Console, ExecRequest, ExecTarget, Id, Stdio};
use runtime::monitor::signals::block_signals;

use super::log::Log;
use super::run::{check_preserved, follow};
use super::terminal;

#[derive(Debug, Args)]
pub struct Arguments {
    /// File with the process, as config.json describes one
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["cwd", "env", "user", "additional_gids", "cap", "apparmor", "process_label"])]
    process: Option<PathBuf>,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// Socket that receives the terminal's master
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set a variable, NAME=VALUE
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// User by number, or user and group as UID:GID
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// A further group by number
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// A capability more
    #[arg(short, long, value_name = "CAP")]
    cap: Vec<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Never gain privileges
    #[arg(long)]
    no_new_privs: bool,
    /// Return when the command was executed
    #[arg(short, long)]
    detach: bool,
    /// File to write the pid to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Pass this many descriptors after standard error on
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Socket that receives a descriptor of the process
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Run it in a paused container too, where it waits for resume
    #[arg(long)]
    ignore_paused: bool,
    /// Cgroup below the container's to run it in, as [CONTROLLER,...:]PATH
    #[arg(long, value_name = "CGROUP", value_parser = sub_cgroup)]
    cgroup: Vec<SubCgroup>,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::id)]
    id: Id,
    /// Command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub fn run(arguments: &Arguments, state_root: &Path, log: &Log) -> anyhow::Result<u8> {
    check_preserved(arguments.preserve_fds)?;
    let console = match &arguments.console_socket {
        Some(socket) => Console::Socket(socket.clone()),
        None if arguments.detach => Console::Absent,
        None => Console::Returned,
    };
    let mut target = ExecTarget::open(state_root, &arguments.id)?;
    let request = ExecRequest {
        process: process(arguments, &target, log)?,
        stdio: Stdio::Inherit,
        console,
        preserve_descriptors: arguments.preserve_fds,
        pid_file: arguments.pid_file.clone(),
        as_sibling: false,
        pidfd_socket: arguments.pidfd_socket.clone(),
        ignore_paused: arguments.ignore_paused,
        cgroups: arguments.cgroup.clone(),
    };
    let signals = if arguments.detach { None } else { Some(block_signals()?) };
    let executed = container::exec(&mut target, request)?;
    log.clamped(&executed.clamped);
    let Some(signals) = signals else { return Ok(0) };
    let exit = match &executed.console_master {
        Some(master) => {
            terminal::ready(master)?;
            terminal::follow(executed.pidfd.as_fd(), executed.pid, master, &signals)?
        }
        None => follow(executed.pidfd.as_fd(), &signals)?,
    };
    Ok(exit.code())
}

/// The process: from a file, or the container's own with what the options change.
fn process(arguments: &Arguments, target: &ExecTarget, log: &Log) -> anyhow::Result<Process> {
    if let Some(file) = &arguments.process {
        let (mut process, notes) = runtime::spec::parse_process(file)?;
        log.clamped(&notes);
        if arguments.tty {
            process.set_terminal(Some(true));
        }
        return Ok(process);
    }
    anyhow::ensure!(!arguments.command.is_empty(), "process args cannot be empty");
    let mut process = target.process()?;
    process.set_args(Some(arguments.command.clone()));
    process.set_terminal(Some(arguments.tty));
    if let Some(cwd) = &arguments.cwd {
        process.set_cwd(cwd.clone());
    }
    for variable in &arguments.env {
        anyhow::ensure!(
            variable.find('=').is_some_and(|at| at > 0),
            "--env {variable:?}: not of the form NAME=VALUE"
        );
    }
    let mut environment = process.env().clone().unwrap_or_default();
    environment.extend(arguments.env.iter().cloned());
    process.set_env(Some(environment));
    if let Some(text) = &arguments.user {
        let mut user = user(text)?;
        user.set_umask(process.user().umask());
        user.set_additional_gids(process.user().additional_gids().clone());
        process.set_user(user);
    }
    if !arguments.additional_gids.is_empty() {
        let mut groups = process.user().additional_gids().clone().unwrap_or_default();
        groups.extend(&arguments.additional_gids);
        process.user_mut().set_additional_gids(Some(groups));
    }
    if arguments.apparmor.is_some() {
        process.set_apparmor_profile(arguments.apparmor.clone());
    }
    if arguments.process_label.is_some() {
        process.set_selinux_label(arguments.process_label.clone());
    }
    if arguments.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    add_capabilities(&mut process, &arguments.cap)?;
    Ok(process)
}

/// `UID[:GID]`, decimal digits and nothing else: a sign, a space or a name would mean another user to someone
/// (CVE-2026-30892).
fn user(text: &str) -> anyhow::Result<User> {
    let number = |text: &str| -> Option<u32> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number != u32::MAX)
    };
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (number(uid), number(gid)),
        None => (number(text), Some(0)),
    };
    let (Some(uid), Some(gid)) = (uid, gid) else {
        anyhow::bail!("--user {text:?}: not of the form UID[:GID] with numbers below 4294967295");
    };
    let mut user = User::default();
    user.set_uid(uid);
    user.set_gid(gid);
    Ok(user)
}

fn sub_cgroup(text: &str) -> Result<SubCgroup, String> {
    text.parse().map_err(|error: runtime::cgroup::Error| error.to_string())
}

fn add_capabilities(process: &mut Process, names: &[String]) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let added: Vec<Capability> = names
        .iter()
        .map(|name| runtime::security::capabilities::parse_name(name))
        .collect::<Result<_, _>>()
        .context("--cap")?;
    let sets = process.capabilities().clone();
    let own = |set: Option<&Option<std::collections::HashSet<Capability>>>| {
        let mut set = set.cloned().flatten().unwrap_or_default();
        set.extend(added.iter().copied());
        Some(set)
    };
    let mut all = LinuxCapabilities::default();
    all.set_bounding(own(sets.as_ref().map(LinuxCapabilities::bounding)));
    all.set_effective(own(sets.as_ref().map(LinuxCapabilities::effective)));
    all.set_permitted(own(sets.as_ref().map(LinuxCapabilities::permitted)));
    // Not these two: what is inheritable lets files of the image raise privilege (CVE-2022-24769).
    all.set_inheritable(sets.as_ref().and_then(|sets| sets.inheritable().clone()));
    // An ambient set is one of what is inheritable already; the command is to have what was added as it has the rest.
    let inheritable = all.inheritable().clone().unwrap_or_default();
    let ambient = sets.as_ref().and_then(|sets| sets.ambient().clone()).map(|mut ambient| {
        ambient.extend(added.iter().filter(|capability| inheritable.contains(capability)));
        ambient
    });
    all.set_ambient(ambient);
    process.set_capabilities(Some(all));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_two_plain_numbers() {
        let parsed = |text: &str| user(text).ok().map(|user| (user.uid(), user.gid()));
        assert_eq!(parsed("0"), Some((0, 0)));
        assert_eq!(parsed("1000:50"), Some((1000, 50)));
        assert_eq!(parsed("4294967294:1"), Some((4294967294, 1)));
        for bad in [
            "",
            ":",
            "1:",
            ":1",
            "root",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1:2:3",
            "4294967295",
            "4294967296",
            "0x0",
            "1:x",
        ] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }
}
