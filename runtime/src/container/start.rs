//! `start`: lets a created container through its gate.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::delete::end;
use super::record::{Folder, observe};
use super::{Id, State, Status};
use crate::error::{Error, Result};
use crate::fault;
use crate::hooks::{self, Defaults, Point};
use crate::init::Failure;
use crate::process;

/// The byte that lets a container through.
const GO: &[u8] = b"s";

/// Starts a created container; returns when its command was executed.
pub fn start(state_root: &Path, id: &Id) -> Result<()> {
    let folder = Folder::open(state_root, id)?;
    // Two at once would both find it created.
    let lock = folder.lock()?;
    let observed = observe(&folder, folder.read()?.as_ref())?;
    let refuse = |status| Error::State { id: id.to_string(), verb: "start", status };
    if !observed.status.can_start() {
        return Err(refuse(observed.status));
    }
    fault::point(20)?;
    let stopped = || refuse(Status::Stopped);
    let answer = folder.open_gate(OFlags::RDONLY)?.ok_or_else(stopped)?;
    let knock = folder.open_gate(OFlags::WRONLY)?.ok_or_else(stopped)?;
    rustix::io::write(&knock, GO).map_err(Error::system("write to", "the container's gate"))?;
    drop(knock);
    log::debug!("let container {id} through its gate");
    fault::point(21)?;
    wait_closed(&answer)?;
    let mut message = [0; 4096];
    match rustix::io::read(&answer, &mut message) {
        // Executed: its end of the gate closed by itself.
        Ok(0) | Err(Errno::AGAIN) => match observed.process {
            Some(first) => {
                // It runs by now, and a hook may want to do something with it.
                drop(lock);
                run_poststart(&folder, &first)
            }
            None => Ok(()),
        },
        Ok(length) if &message[..length] == GO => Err(Error::Vanished { stage: "its start" }),
        Ok(length) => match Failure::decode(&message[..length]) {
            Some(failure) => {
                // It ends by itself; who deletes it next is to find it ended.
                observed.process.as_ref().map_or(Ok(()), end)?;
                Err(failure.into())
            }
            None => Err(Error::Vanished { stage: "its start" }),
        },
        Err(errno) => Err(Error::system("read from", "the container's gate")(errno)),
    }
}

/// Runs the hooks that follow the start; where one fails the container ends (runtime-spec, "Lifecycle", step 10).
pub(super) fn run_poststart(folder: &Folder, first: &OwnedFd) -> Result<()> {
    let Some(record) = folder.read()?.filter(|record| !record.hooks.poststart.is_empty()) else {
        return Ok(());
    };
    fault::point(29)?;
    log::debug!("running the poststart hooks");
    let hooks = record.hooks.poststart.clone();
    let state = State::of(folder.id(), record, Status::Running);
    let defaults = Defaults { directory: Some(&state.bundle), environment: None };
    hooks::run(Point::Poststart, &hooks, &state, defaults).map_err(|failure| {
        // Fails only when it has ended already.
        let _ = process::signal(first.as_fd(), process::Signal::KILL);
        failure.into()
    })
}

/// Waits until the container has closed its end: by executing its command, or by ending.
fn wait_closed(gate: &OwnedFd) -> Result<()> {
    loop {
        // No events asked for: only the end of all writers wakes us, not the byte that we wrote.
        let mut polled = [PollFd::new(gate, PollFlags::empty())];
        match rustix::event::poll(&mut polled, None) {
            Ok(_) if polled[0].revents().contains(PollFlags::HUP) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait at", "the container's gate")(errno)),
        }
    }
}
