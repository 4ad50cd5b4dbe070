//! The systemd driver: a container's cgroup as a transient scope, so that systemd knows whose it is.
//!
//! ```text
//! create   Scope::new (names) -> Systemd::connect -> start: an occupant, StartTransientUnit, wait for the job
//!          -> the cgroup is there: limits and device rules as always, then `tell` -> the container is born in it -> the
//!          occupant ends
//! update   limits as always, then `tell`
//! delete   the cgroup is removed as always, then `stop`: the job, and a failure that systemd still shows
//! ```
//! The scope is delegated: what is below is ours and the container's, and systemd touches only the limits that it has a
//! property for. So it is told those ([`limits`]), and the others are only in the control files. A scope that becomes empty
//! goes by itself, so one whose creator was killed needs nobody.
//!
//! Only with cgroup v2 alone: on v1 systemd keeps to itself which controllers a scope has and writes device lists anew.

mod annotations;
mod bus;
mod gvariant;
mod limits;
mod message;
mod name;
mod occupant;

use std::path::Path;
use std::time::Duration;

use self::bus::{Bus, Deadline, Failure};
use self::message::{Body, Message, Method, Value};
use super::group::write_file;
use super::mounts::read_whole;
use super::{Cgroup, Error, Hierarchies};

pub use annotations::Properties;
pub use name::Scope;
pub use occupant::Occupant;

/// There while systemd is what started this machine (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// How long a job may take; a busy systemd needs some of it.
const PATIENCE: Duration = Duration::from_secs(30);

const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const BEING_STARTED: &str = "org.freedesktop.systemd1.TransactionIsDestructive";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// A connection to systemd.
#[derive(Debug)]
pub struct Systemd {
    bus: Bus,
}

impl Systemd {
    /// Connects to the systemd that manages this machine's cgroups.
    ///
    /// # Errors
    /// Which of the parts is missing: cgroup v2, systemd, its bus.
    pub fn connect(hierarchies: &Hierarchies) -> Result<Systemd, Error> {
        if !hierarchies.is_unified() {
            let reason = "this machine has cgroup v1, with which only the cgroupfs driver works".to_owned();
            return Err(Error::NoSystemd { reason });
        }
        if rustix::fs::access(BOOTED, rustix::fs::Access::EXISTS).is_err() {
            let reason = format!("{BOOTED} not found: systemd is not the init of this machine");
            return Err(Error::NoSystemd { reason });
        }
        Systemd::at_bus()
    }

    fn at_bus() -> Result<Systemd, Error> {
        let bus = Bus::connect().map_err(|failure| Error::NoSystemd { reason: failure.to_string() })?;
        Ok(Systemd { bus })
    }

    /// Makes the scope, with further properties, and opens its cgroup. The occupant has to stay until somebody else is in it.
    pub fn start(
        mut self,
        hierarchies: &Hierarchies,
        scope: &Scope,
        further: &Properties,
    ) -> Result<(Cgroup, Occupant), Error> {
        let failed = |failure: Failure| failed("start", scope.unit(), &failure);
        self.listen().map_err(failed)?;
        let occupant = Occupant::new().map_err(|errno| failed(Failure::Io(errno.into())))?;
        let mut properties = properties(scope, occupant.pid());
        // The later one of the same name counts.
        properties.extend(further.0.iter().map(|(name, value)| (&**name, value.clone())));
        let start = |systemd: &mut Systemd| {
            let body = Body::default().text(scope.unit()).text("fail").properties(&properties).no_units();
            systemd.bus.call(manager("StartTransientUnit"), body)
        };
        let job = match start(&mut self) {
            // One that failed stays known until somebody takes note.
            Err(Failure::Refused { name, .. }) if name == UNIT_EXISTS => {
                self.reset_failed(scope.unit()).map_err(failed)?;
                start(&mut self)
            }
            other => other,
        };
        let result = job.and_then(|job| self.result_of(&job)).map_err(failed)?;
        if result != "done" {
            let reason = format!("its job ended as {result:?}; see journalctl -u {}", scope.unit());
            return Err(Error::Systemd { operation: "start", unit: scope.unit().to_owned(), reason });
        }
        let cgroup = Cgroup::of_scope(hierarchies, scope)?;
        Ok((cgroup, occupant))
    }

    fn listen(&mut self) -> Result<(), Failure> {
        self.bus.listen(
            "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',\
             member='JobRemoved'",
        )
    }

    /// Waits for a job and says how it ended: `done`, or why not.
    fn result_of(&mut self, answer: &Message) -> Result<String, Failure> {
        let job = answer.text();
        let deadline = Deadline::after(PATIENCE);
        loop {
            let removed = self.bus.next_removed(deadline)?;
            // A rule of ours keeps out what others broadcast, but not what somebody sends to us alone.
            if removed.job == job && removed.sender == answer.sender {
                return Ok(removed.result);
            }
        }
    }

    fn reset_failed(&mut self, unit: &str) -> Result<(), Failure> {
        known(self.bus.call(manager("ResetFailedUnit"), Body::default().text(unit))).map(drop)
    }

    /// The number that `systemctl --version` begins with; it is also an answer that comes after all that was asked before is
    /// done.
    fn version(&mut self) -> Result<u32, Failure> {
        const GET: Method = Method { interface: "org.freedesktop.DBus.Properties", ..manager("Get") };
        let arguments = Body::default().text("org.freedesktop.systemd1.Manager").text("Version");
        let version = self.bus.call(GET, arguments)?.text();
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        Ok(digits.parse().unwrap_or(0))
    }
}

/// Tells systemd the limits that the scope's folder has.
pub(super) fn tell(unit: &str, folder: &Path) -> Result<(), Error> {
    let failed = |failure: Failure| failed("set the limits of", unit, &failure);
    let mut systemd = Systemd::at_bus()?;
    let version = systemd.version().map_err(failed)?;
    let file = folder.join("cpu.max");
    let quota = read_whole(&file).ok();
    let body = Body::default().text(unit).flag(true).properties(&limits::read(folder, version));
    systemd.bus.call(manager("SetUnitProperties"), body).map_err(failed)?;
    // It writes them on its next turn, the quota in whole percents: after that turn it becomes again what was asked for.
    systemd.version().map_err(failed)?;
    if let Some(quota) = quota.filter(|quota| read_whole(&file).is_ok_and(|now| now != *quota)) {
        write_file(&file, quota.trim_ascii()).map_err(|errno| failed(Failure::Io(errno.into())))?;
    }
    Ok(())
}

/// Ends a scope whose cgroup is gone, and with it what systemd remembers. One that it does not know is ended.
pub(super) fn stop(unit: &str) -> Result<(), Error> {
    let failed = |failure: Failure| failed("stop", unit, &failure);
    let mut systemd = Systemd::at_bus()?;
    systemd.listen().map_err(failed)?;
    let stopped = systemd.bus.call(manager("StopUnit"), Body::default().text(unit).text("fail"));
    if let Err(Failure::Refused { name, .. }) = &stopped
        && name == BEING_STARTED
    {
        // By somebody else, who found the name free already.
        return Ok(());
    }
    if let Some(job) = known(stopped).map_err(failed)? {
        systemd.result_of(&job).map_err(failed)?;
    }
    systemd.reset_failed(unit).map_err(failed)
}

/// The answer, or nothing where systemd does not know the unit.
fn known(answer: Result<Message, Failure>) -> Result<Option<Message>, Failure> {
    match answer {
        Err(Failure::Refused { name, .. }) if name == NO_SUCH_UNIT => Ok(None),
        other => other.map(Some),
    }
}

/// What the unit is made with; limits follow once its control files have them.
fn properties(scope: &Scope, process: i32) -> Vec<(&str, Value)> {
    let processes = Value::Array("u".to_owned(), vec![Value::Uint32(process.unsigned_abs())]);
    let mut properties = vec![
        ("Description", Value::Text(format!("container {}", scope.unit().trim_end_matches(".scope")))),
        ("Slice", Value::Text(scope.slice().to_owned())),
        ("PIDs", processes),
        ("Delegate", Value::Flag(true)),
        // Its processes end when somebody says so, not because the machine goes to another target.
        ("DefaultDependencies", Value::Flag(false)),
        // Where the specification has no limit there is none; systemd has one for scopes.
        ("TasksMax", Value::Number(u64::MAX)),
        // So nothing of it stays that somebody would have to reset.
        ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
    ];
    let accounting = ["CPUAccounting", "IOAccounting", "MemoryAccounting", "TasksAccounting"];
    properties.extend(accounting.map(|name| (name, Value::Flag(true))));
    properties
}

const fn manager(member: &'static str) -> Method {
    Method {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member,
    }
}

fn failed(operation: &'static str, unit: &str, failure: &Failure) -> Error {
    Error::Systemd { operation, unit: unit.to_owned(), reason: failure.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_systemd_says_how_a_job_ended() {
        let job = "/org/freedesktop/systemd1/job/7";
        let mut bytes = message::tests::removed(":1.66", job, "failed");
        bytes.extend(message::tests::answer(2, job));
        bytes.extend(message::tests::removed(":1.66", job, "canceled"));
        bytes.extend(message::tests::removed(":1.1", "/org/freedesktop/systemd1/job/8", "timeout"));
        bytes.extend(message::tests::removed(":1.1", job, "done"));
        let (bus, server) = bus::tests::bus_that_sends(bytes);
        let mut systemd = Systemd { bus };
        let answer = systemd.bus.call(manager("StartTransientUnit"), Body::default()).unwrap();
        assert_eq!(systemd.result_of(&answer).unwrap(), "done");
        drop(server.join().unwrap());
    }
}
