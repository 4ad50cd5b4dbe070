//! The ids of a new user namespace, written from outside while its first process waits (user_namespaces(7)).
//!
//! Who has the rights of root writes any map. An ordinary user writes himself as the only user and the only group, and
//! for that gives up that anybody in there changes groups. Further ids are lent to him by `/etc/subuid` and `/etc/subgid`,
//! which newuidmap(1) and newgidmap(1) know: two programs with the right to write what these files allow.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oci_spec::runtime::LinuxIdMapping;
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;

use super::settings::write_file;
use crate::error::{Error, Result};
use crate::sys::process::{close_descriptors, effective_user};

/// Where the programs are looked for: never in what a caller's PATH says.
const FOLDERS: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/bin", "/run/wrappers/bin"];

/// Lets this process, and the children that are born meanwhile, be traced by its user, until dropped. The files below
/// `/proc` of any other process are root's, so an ordinary user could not write a child's maps. Nobody but that user gains
/// anything: a container's root is in another user namespace. The child ends it for itself when it becomes root in there.
pub(super) struct Traceable;

impl Traceable {
    pub(super) fn new() -> Result<Traceable> {
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
            .map_err(Error::system("make traceable", "the runtime"))?;
        Ok(Traceable)
    }
}

impl Drop for Traceable {
    fn drop(&mut self) {
        // The kernel takes this value always.
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// One of the two kinds of ids.
struct Ids<'a> {
    field: &'static str,
    file: &'static str,
    program: &'static str,
    lent: &'static str,
    mappings: &'a [LinuxIdMapping],
}

/// Writes the maps of the user namespace that the process `pid` was born in.
pub(super) fn write_maps(pid: i32, users: &[LinuxIdMapping], groups: &[LinuxIdMapping]) -> Result<()> {
    write_id_map(pid, "uid_map", users)?;
    write_id_map(pid, "gid_map", groups)
}

/// As [`write_maps`], for a caller without rights over other users; the process has to be one that its user may trace.
pub(super) fn write_maps_as_user(
    pid: i32,
    users: &[LinuxIdMapping],
    groups: &[LinuxIdMapping],
) -> Result<()> {
    let users = Ids {
        field: "linux.uidMappings",
        file: "uid_map",
        program: "newuidmap",
        lent: "/etc/subuid",
        mappings: users,
    };
    let groups = Ids {
        field: "linux.gidMappings",
        file: "gid_map",
        program: "newgidmap",
        lent: "/etc/subgid",
        mappings: groups,
    };
    if is_single(groups.mappings, rustix::process::getegid().as_raw()) {
        // Groups may be there to take rights away from their members.
        write_file(&format!("/proc/{pid}/setgroups"), "deny")?;
        groups.write(pid)?;
    } else {
        groups.have_written(pid)?;
    }
    if is_single(users.mappings, effective_user()) { users.write(pid) } else { users.have_written(pid) }
}

/// Is it the map that everybody may write: of one id, his own?
pub(super) fn is_single(mappings: &[LinuxIdMapping], own: u32) -> bool {
    matches!(mappings, [only] if only.size() == 1 && only.host_id() == own)
}

/// All lines in one write: the kernel takes a map once.
pub(crate) fn write_id_map(pid: i32, name: &str, mappings: &[LinuxIdMapping]) -> Result<()> {
    let line = |mapping: &LinuxIdMapping| {
        format!("{} {} {}\n", mapping.container_id(), mapping.host_id(), mapping.size())
    };
    write_file(&format!("/proc/{pid}/{name}"), &mappings.iter().map(line).collect::<String>())
}

impl Ids<'_> {
    fn write(&self, pid: i32) -> Result<()> {
        write_id_map(pid, self.file, self.mappings)?;
        self.prove(pid)
    }

    /// By the program that may.
    fn have_written(&self, pid: i32) -> Result<()> {
        let program = find(self.program)
            .ok_or_else(|| self.refusal(format!(
                "to map more than the caller's own id takes {}, which is in none of {}: install it (Debian's package uidmap), \
                 or map that id alone",
                self.program,
                FOLDERS.join(", ")
            )))?;
        let mut command = Command::new(&program);
        command.arg(pid.to_string()).env_clear().stdin(Stdio::null());
        for mapping in self.mappings {
            let numbers = [mapping.container_id(), mapping.host_id(), mapping.size()];
            command.args(numbers.map(|number| number.to_string()));
        }
        close_descriptors(&mut command);
        let done = command.output().map_err(|error| {
            Error::system("execute", program.to_string_lossy())(
                Errno::from_io_error(&error).unwrap_or(Errno::IO),
            )
        })?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(self.refusal(format!(
                "{} refused: {}; it maps what {} lends to user {}, as in \"{}:100000:65536\", and that user's own id",
                self.program,
                said.trim(),
                self.lent,
                effective_user(),
                effective_user()
            )));
        }
        self.prove(pid)
    }

    /// Reads back what the kernel took. It sorts long maps.
    fn prove(&self, pid: i32) -> Result<()> {
        let path = format!("/proc/{pid}/{}", self.file);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Error::system("read", &path)(Errno::from_io_error(&error).unwrap_or(Errno::IO))
        })?;
        let mut there: Vec<Vec<u32>> = text
            .lines()
            .map(|line| line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect())
            .collect();
        let numbers =
            |mapping: &LinuxIdMapping| vec![mapping.container_id(), mapping.host_id(), mapping.size()];
        let mut asked: Vec<Vec<u32>> = self.mappings.iter().map(numbers).collect();
        there.sort_unstable();
        asked.sort_unstable();
        if there == asked {
            return Ok(());
        }
        Err(self.refusal(format!("{path} says {:?} and not what was asked for", text.trim())))
    }

    fn refusal(&self, reason: String) -> Error {
        Error::Spec { path: self.field.to_owned(), reason }
    }
}

fn find(program: &str) -> Option<PathBuf> {
    FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok())
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxIdMappingBuilder;

    use super::*;

    fn mapping(inside: u32, outside: u32, size: u32) -> LinuxIdMapping {
        LinuxIdMappingBuilder::default().container_id(inside).host_id(outside).size(size).build().unwrap()
    }

    #[test]
    fn only_the_own_id_alone_needs_no_help() {
        assert!(is_single(&[mapping(0, 1000, 1)], 1000));
        assert!(!is_single(&[mapping(0, 1001, 1)], 1000));
        assert!(!is_single(&[mapping(0, 1000, 2)], 1000));
        assert!(!is_single(&[mapping(0, 1000, 1), mapping(1, 100_000, 1)], 1000));
        assert!(!is_single(&[], 1000));
    }
}
