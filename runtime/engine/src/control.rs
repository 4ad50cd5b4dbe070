//! What is done to living containers, by way of their monitors.
//!
//! A container that has ended is told by its status.json and not by its monitor, which is gone by then, so a monitor that
//! does not answer is no failure here until the state says that it should.

use std::thread::sleep;
use std::time::{Duration, Instant};

use runtime::monitor::client::{Client, ClientError};
use runtime::monitor::protocol::{ErrorKind, Subject};
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
    let Some(mut client) = living(containers, record)? else { return Ok(()) };
    if !still_there(send(&mut client, record, signal))? {
        return wait_until_free(containers, record);
    }
    if signal != Signal::KILL && ended_within(&mut client, record, timeout)? {
        return wait_until_free(containers, record);
    }
    // A late answer to the wait above must not be taken for another, so it is asked in another conversation.
    let Some(mut client) = living(containers, record)? else { return Ok(()) };
    still_there(client.delete(&record.id).map_err(Error::from))?;
    wait_until_free(containers, record)
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

/// Its monitor, if it lives.
fn living(containers: &Containers, record: &Record) -> Result<Option<Client>> {
    // One that is being made has no process yet and will soon.
    if !matches!(containers.state(&record.id)?, State::Running { .. } | State::Created) {
        return Ok(None);
    }
    match Client::connect(&containers.monitor(record)) {
        Ok(client) => Ok(Some(client)),
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

/// Its monitor has told everybody, and gives the lock back at its very end. A pod's keeps no lock of this container then.
fn wait_until_free(containers: &Containers, record: &Record) -> Result<()> {
    let ends = Instant::now() + KILL_PATIENCE;
    let folder = containers.folder(&record.id);
    while folder::is_held(&folder)? {
        if Instant::now() > ends {
            return Err(Error::Invalid(format!("container {} does not end", record.shown_name())));
        }
        sleep(Duration::from_millis(2));
    }
    Ok(())
}
