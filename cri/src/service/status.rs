//! From our errors to codes of gRPC, in one place. The kubelet acts on NotFound, Unimplemented and DeadlineExceeded; to it
//! all others are the same. An answer that is an error is told here, once.

use tonic::{Code, Response, Status};

use crate::error::{Error, Kind, Result};

/// The answer to `call`.
pub fn answer<T>(call: &'static str, result: Result<T>) -> Result<Response<T>, Status> {
    match result {
        Ok(reply) => Ok(Response::new(reply)),
        Err(error) => {
            let status = status_of(&error);
            match status.code() {
                // The kubelet asks for what it has just removed, and that is no news.
                Code::NotFound => tracing::debug!(call, "{}", status.message()),
                Code::Internal => tracing::error!(call, "{}", status.message()),
                _ => tracing::warn!(call, "{}", status.message()),
            }
            Err(status)
        }
    }
}

/// The answer to a call that is not built.
pub fn unimplemented<T>(call: &'static str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!("{call} is not implemented")))
}

fn status_of(error: &Error) -> Status {
    let code = match error.kind() {
        Kind::NotFound => Code::NotFound,
        Kind::Exists => Code::AlreadyExists,
        Kind::Invalid => Code::InvalidArgument,
        Kind::State => Code::FailedPrecondition,
        Kind::Timeout => Code::DeadlineExceeded,
        Kind::Failed if matches!(error, Error::Internal(_)) => Code::Internal,
        Kind::Failed => Code::Unknown,
    };
    Status::new(code, error.chain())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_the_kubelet_acts_on() {
        let missing = Error::Missing { what: "container", id: "x".to_owned() };
        assert_eq!(status_of(&missing).code(), Code::NotFound);
        assert_eq!(status_of(&Error::Timeout { seconds: 1 }).code(), Code::DeadlineExceeded);
        let io = Error::io("open", "/x")(std::io::Error::other("because"));
        let status = status_of(&io);
        assert_eq!((status.code(), status.message()), (Code::Unknown, "cannot open /x: because"));
        let both = missing.and_undo(Err(Error::Internal("oh".to_owned())));
        assert_eq!(status_of(&both).message(), "no such container: x; undoing it: internal error: oh");
    }
}
