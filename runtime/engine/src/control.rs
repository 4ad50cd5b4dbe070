//! What is done to living containers, by way of their monitors.
//!
//! A container that has ended is told by its status.json and not by its monitor, which is gone by then, so a monitor that
//! does not answer is no failure here until the state says that it should.

use std::thread::sleep;
use std::time::{Duration, Instant};

use runtime::monitor::client::{Client, ClientError};
use runtime::monitor::protocol::{ErrorKind, Subject};
use runtime::monitor::status_record::StatusRecord;
use runtime::process::Signal;

use crate::containers::Containers;
use crate::error::{Error, Result};
use crate::folder;
use crate::record::Record;
use crate::state::State;

/// Seconds until a container that ignores its stop signal is killed, where nobody says otherwise.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often to look at what tells nobody.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a killed container may take to be gone: what keeps it is a call into the kernel, or a plugin.
const KILL_PATIENCE: Duration = Duration::from_secs(120);

/// Opens a conversation with the monitor of a container that runs.
pub fn connect(containers: &Containers, record: &Record) -> Result<Client> {
    match Client::connect(&containers.monitor(record)) {
        Ok(client) => Ok(client),
        Err(error) if error.is_gone() => Err(not_running(record)),
        Err(error) => Err(error.into()),
    }
}

/// Sends a signal to the first process of a container.
pub fn kill(containers: &Containers, record: &Record, signal: Signal) -> Result<()> {
    if !containers.state(&record.id)?.is_running() {
        return Err(not_running(record));
    }
    send(&mut connect(containers, record)?, record, signal)
}

/// Ends a container and waits until nothing of it is left but its files; one that does not run is fine. Without a
/// `timeout` it may take for ever, otherwise it is killed then.
pub fn stop(
    containers: &Containers,
    record: &Record,
    signal: Signal,
    timeout: Option<Duration>,
) -> Result<()> {
    let Some((mut client, life)) = living(containers, record)? else { return Ok(()) };
    if !still_there(send(&mut client, record, signal))? {
        return wait_until_free(containers, record, life);
    }
    if signal != Signal::KILL && ended_within(&mut client, record, timeout)? {
        return wait_until_free(containers, record, life);
    }
    // A late answer to the wait above must not be taken for another, so it is asked in another conversation.
    let Some((mut client, now)) = living(containers, record)? else { return Ok(()) };
    if life.is_over(now) {
        return Ok(());
    }
    still_there(client.delete(&record.id).map_err(Error::from))?;
    wait_until_free(containers, record, life)
}

/// Waits until a container has ended, for as long as that takes; returns its exit code. One that was never started is
/// waited for, too.
pub fn wait(containers: &Containers, record: &Record) -> Result<u8> {
    loop {
        if let Some(code) = containers.state(&record.id)?.exit_code() {
            return Ok(code);
        }
        if let Ok(mut client) = Client::connect(&containers.monitor(record)) {
            match client.wait(Some(&record.id), None) {
                Ok(exit) => return Ok(exit.code()),
                Err(error) if error.is_gone() || error.refusal() == Some(ErrorKind::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if containers.record(&record.id)?.is_none() {
            return Err(Error::Missing { what: "container", name: record.shown_name() });
        }
        sleep(PAUSE);
    }
}

/// The error for a container that had to run.
pub fn not_running(record: &Record) -> Error {
    Error::NotRunning { name: record.shown_name() }
}

/// One of the lives of a container that is started again and again: when its command was executed, 0 if it was not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life(i64);

impl Life {
    /// The life of a container in this state, if it is in one.
    pub(crate) fn of(state: &State) -> Option<Life> {
        match state {
            State::Running { since, .. } => Some(Life(*since)),
            State::Created => Some(Life(0)),
            _ => None,
        }
    }

    /// Is a container that is in this life `now` in another than before? A life may get its time while we look.
    fn is_over(self, now: Life) -> bool {
        self.0 > 0 && self != now
    }

    /// Whether a container whose life ended is in its next one, by its status.json.
    fn is_followed(self, status: Option<&StatusRecord>) -> bool {
        match status {
            // What is started anew begins without.
            None => self.0 > 0,
            Some(status) => status.started != self.0 && (self.0 > 0 || !status.has_ended()),
        }
    }
}

/// Its monitor, if it lives, and which of its lives that is.
fn living(containers: &Containers, record: &Record) -> Result<Option<(Client, Life)>> {
    // One that is being made has no process yet and will soon.
    let Some(life) = Life::of(&containers.state(&record.id)?) else { return Ok(None) };
    match Client::connect(&containers.monitor(record)) {
        Ok(client) => Ok(Some((client, life))),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn send(client: &mut Client, record: &Record, signal: Signal) -> Result<()> {
    let number = u32::try_from(signal.0).unwrap_or_default();
    client.signal(Subject::Container(&record.id), number, false).map_err(|error| match error.refusal() {
        Some(ErrorKind::NotFound | ErrorKind::WrongPhase) => not_running(record),
        _ => error.into(),
    })
}

/// Whether there was anything to talk to.
fn still_there(result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::NotRunning { .. }) => Ok(false),
        Err(Error::Client(error)) if is_over(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_over(error: &ClientError) -> bool {
    error.is_gone() || error.refusal() == Some(ErrorKind::NotFound)
}

fn ended_within(client: &mut Client, record: &Record, timeout: Option<Duration>) -> Result<bool> {
    let begin = Instant::now();
    match client.wait(Some(&record.id), timeout) {
        Ok(_) => Ok(true),
        Err(error) if is_over(&error) => Ok(true),
        // Its time is over.
        Err(_) if timeout.is_some_and(|timeout| begin.elapsed() >= timeout) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Its monitor has told everybody, and gives the lock back at its very end. A pod's keeps no lock of this container then, and
/// where somebody starts it again the lock is soon held for its next life, which is none of our business.
pub(crate) fn wait_until_free(containers: &Containers, record: &Record, life: Life) -> Result<()> {
    let ends = Instant::now() + KILL_PATIENCE;
    let folder = containers.folder(&record.id);
    while folder::is_held(&folder)? && !life.is_followed(StatusRecord::read(&folder)?.as_ref()) {
        if Instant::now() > ends {
            return Err(Error::Invalid(format!("container {} does not end", record.shown_name())));
        }
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use runtime::process::Exit;

    use super::*;
    use crate::containers::tests::{containers, record};

    #[test]
    fn the_next_life_is_not_waited_for() {
        let (_root, containers) = containers();
        let record = record("a");
        // Held by whoever starts it again.
        let held = containers.create(&record).unwrap();
        let ended = StatusRecord::running(7).unwrap();
        let (life, unstarted) = (Life(ended.started), Life(0));
        wait_until_free(&containers, &record, life).unwrap();
        let next = StatusRecord { started: ended.started + 1, ..StatusRecord::running(8).unwrap() };
        next.write(&held.path).unwrap();
        wait_until_free(&containers, &record, life).unwrap();
        wait_until_free(&containers, &record, unstarted).unwrap();
        // While its own end is there, its monitor has something to do yet.
        let end = ended.ended(Exit::Code(1), false);
        assert!(!life.is_followed(Some(&end)) && !unstarted.is_followed(Some(&end)));
        assert!(!unstarted.is_followed(None));
        assert!(life.is_over(Life(next.started)) && !unstarted.is_over(life) && !life.is_over(life));
    }
}
