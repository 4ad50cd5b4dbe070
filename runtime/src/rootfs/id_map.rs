//! User namespaces that only hold a mapping, for id-mapped mounts.

use std::os::fd::OwnedFd;

use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, OFlags};

use crate::container::write_id_map;
use crate::error::{Error, Result};
use crate::process::{self, Signal};
use crate::spec::plan::IdMap;
use crate::sys::clone::{Cloned, clone3, exit_now};

/// A user namespace with the ids of `map`. Nobody is in it: it lives as long as the descriptor and the mounts made with it.
pub(super) fn namespace(map: &IdMap) -> Result<OwnedFd> {
    let flags = CloneFlags::CLONE_NEWUSER.bits();
    let parent = Some(rustix::process::getpid());
    match clone3(flags, None).map_err(Error::system("create", "a user namespace for an id-mapped mount"))? {
        Cloned::Child => {
            // Ends with its parent, if that is killed before it kills.
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            // Or has ended already, in that moment.
            if rustix::process::getppid() != parent {
                exit_now(0);
            }
            loop {
                let _ = rustix::event::poll(&mut [], None);
            }
        }
        Cloned::Parent { pid, pidfd } => {
            let path = format!("/proc/{pid}/ns/user");
            let opened = write_id_map(pid, "uid_map", &map.users)
                .and_then(|()| write_id_map(pid, "gid_map", &map.groups))
                .and_then(|()| {
                    rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                        .map_err(Error::system("open", &path))
                });
            process::signal(std::os::fd::AsFd::as_fd(&pidfd), Signal::KILL)?;
            process::wait(&pidfd)?;
            opened
        }
    }
}
