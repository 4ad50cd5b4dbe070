//! What may be asked of a container or pod in which state. Pure: no lock, no file; a verdict with a reason.

use engine::State;

use super::Container;
use crate::error::{Error, Result};
use crate::sandbox::Pod;

/// What is to be done about a request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopVerdict {
    /// Nothing runs, so it is done.
    Nothing,
    /// Ask it to end, and then make it.
    Stop,
}

/// Why a request is refused, in words that follow the object.
pub type Refusal = &'static str;

/// May it be started?
pub fn start(state: &State) -> Result<(), Refusal> {
    match state {
        State::Created => Ok(()),
        State::Running { .. } => Err("is running already"),
        State::Exited { .. } | State::Lost { .. } => Err("has ended and is never started again"),
    }
}

/// May something be executed in it, or its log be opened anew?
pub fn use_running(state: &State) -> Result<(), Refusal> {
    match state {
        State::Running { .. } => Ok(()),
        State::Created => Err("is not running: it was not started yet"),
        State::Exited { .. } | State::Lost { .. } => Err("is not running: it has ended"),
    }
}

/// What stopping it means.
pub fn stop(state: &State) -> StopVerdict {
    match state {
        State::Running { .. } => StopVerdict::Stop,
        State::Created | State::Exited { .. } | State::Lost { .. } => StopVerdict::Nothing,
    }
}

/// May a container be made in a pod that is ready or not?
pub fn add_container(ready: bool) -> Result<(), Refusal> {
    match ready {
        true => Ok(()),
        false => Err("is not ready: the process that holds its namespaces is gone"),
    }
}

/// What to do about a request for something whose name an object has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The answer to the first request got lost: give it again.
    Same,
    /// Nobody can have any use for the old one: make a new one in its place.
    Replace,
    /// They are different things.
    Conflict,
}

/// A pod of this name and attempt is there.
pub fn pod_again(same_request: bool, ready: bool, has_containers: bool) -> Again {
    match (same_request, ready, has_containers) {
        (true, true, _) => Again::Same,
        (_, false, false) => Again::Replace,
        _ => Again::Conflict,
    }
}

/// A container of this name and attempt is there. Is it the answer to the same request, which got lost?
pub fn is_same_container(same_request: bool, state: &State) -> bool {
    same_request && *state == State::Created
}

/// The error for a container whose state refuses a request.
pub fn refuse(container: &Container, refusal: Refusal) -> Error {
    Error::State { what: "container", id: container.short().to_owned(), state: refusal }
}

/// The error for a pod whose state refuses a request.
pub fn refuse_pod(pod: &Pod, refusal: Refusal) -> Error {
    Error::State { what: "pod sandbox", id: pod.short().to_owned(), state: refusal }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> [State; 4] {
        [
            State::Created,
            State::Running { pid: 1, since: 1 },
            State::Exited { code: 0, started: 1, finished: 2, oom: false, failure: None },
            State::Lost { started: 1, finished: 2 },
        ]
    }

    #[test]
    fn only_what_was_just_made_is_started_and_only_what_runs_is_used() {
        assert_eq!(states().map(|state| start(&state).is_ok()), [true, false, false, false]);
        assert_eq!(states().map(|state| use_running(&state).is_ok()), [false, true, false, false]);
        assert_eq!(states().map(|state| stop(&state) == StopVerdict::Stop), [false, true, false, false]);
    }

    #[test]
    fn a_second_request_never_makes_a_second_object() {
        assert_eq!(pod_again(true, true, true), Again::Same);
        assert_eq!(pod_again(false, true, false), Again::Conflict);
        assert_eq!(pod_again(true, false, false), Again::Replace);
        assert_eq!(pod_again(true, false, true), Again::Conflict);
        assert_eq!(states().map(|state| is_same_container(true, &state)), [true, false, false, false]);
        assert!(!states().iter().any(|state| is_same_container(false, state)));
    }
}
