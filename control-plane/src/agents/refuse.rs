//! The core's refusals as gRPC statuses. The codes are part of the protocol: agents act on them, people read the
//! texts. docs/protocol.md has the table.

use crate::pki::CsrError;
use longshore_core::{ConnectError, JoinError, SessionError, TokenError};
use longshore_proto::FieldError;
use tonic::{Code, Status};

/// A field that cannot be used.
pub(super) fn field(error: &FieldError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// A token text that is none.
pub(super) fn token(error: TokenError) -> Status {
    Status::invalid_argument(format!("field `token`: {error}"))
}

/// A stream that broke, or bytes that are no message: for those the transport has codes that name no one's fault.
pub(super) fn unreadable(status: Status) -> Status {
    match status.code() {
        Code::Internal if status.message().contains("decode") => {
            Status::invalid_argument(format!("a message of the stream is not of this protocol: {}", status.message()))
        }
        Code::OutOfRange => Status::resource_exhausted(status.message()),
        _ => status,
    }
}

/// A certificate request that gets no certificate.
pub(super) fn request(error: &CsrError) -> Status {
    match error {
        CsrError::Unreadable(_) | CsrError::Algorithm => Status::invalid_argument(error.to_string()),
        CsrError::Make(_) => {
            tracing::error!(error = %crate::chain(error), "could not certify an agent");
            Status::internal("the control plane could not make a certificate; its log says why")
        }
    }
}

pub(super) fn join(error: &JoinError) -> Status {
    let text = error.to_string();
    match error {
        JoinError::UnknownToken => Status::unauthenticated(text),
        JoinError::Expired(_) | JoinError::Spent(_) => Status::permission_denied(text),
        JoinError::OtherCluster { .. } => Status::failed_precondition(text),
        JoinError::NoCluster(_) => Status::not_found(text),
        JoinError::Facts(_) => Status::invalid_argument(text),
        JoinError::Unavailable(_) => Status::unavailable(text),
    }
}

pub(super) fn connect(error: &ConnectError) -> Status {
    let text = error.to_string();
    match error {
        // Its certificate is one of ours, so it was an instance once: whether it is still remembered as deregistered
        // makes no difference to its agent.
        ConnectError::Unknown(_) | ConnectError::Deregistered(_) => Status::permission_denied(text),
        ConnectError::Ahead { .. } => Status::failed_precondition(text),
        ConnectError::Facts(_) => Status::invalid_argument(text),
        ConnectError::Unavailable(_) => Status::unavailable(text),
    }
}

/// A newer stream of the same instance has taken over.
pub(super) fn superseded() -> Status {
    Status::aborted("a newer session of this container instance has taken over")
}

pub(super) fn session(error: &SessionError) -> Status {
    let text = error.to_string();
    match error {
        SessionError::Superseded { .. } => Status::aborted(text),
        SessionError::Deregistered(_) => Status::permission_denied(text),
        SessionError::Unavailable(_) => Status::unavailable(text),
    }
}
