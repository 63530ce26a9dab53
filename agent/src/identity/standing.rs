//! Whether this host still is what its identity says: what an answer of the control plane tells of that, and asking.

use super::Identity;
use super::dial::{self, DialError};
use crate::session::chain;
use longshore_proto::v1;
use std::time::{Duration, SystemTime};
use tonic::{Code, Status};

/// What the control plane says of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The host is a member.
    Member,
    /// It is none any more: deregistered, or its certificate ran out. The reason, for people.
    Refused(String),
    /// The control plane did not say. Why, for people.
    Unknown(String),
}

/// Asks `control` whether `identity` is still good, waiting at most `limit` for a connection and then for the answer.
/// Nothing changes, neither here nor there, and a session of this host goes on.
pub async fn standing(identity: &Identity, control: &str, limit: Duration) -> Standing {
    let mut client = match dial::connect(identity, control, limit).await {
        Ok(client) => client,
        Err(error) => {
            return refused_dial(&error, identity).map_or_else(|| Standing::Unknown(chain(&error)), Standing::Refused);
        }
    };
    // A renewal without a request is refused either way; for whom it is none of the request's business comes first.
    let answer = Box::pin(client.renew(v1::RenewRequest::default()));
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(_)) => Standing::Member,
        Ok(Err(status)) => match refusal(&status, identity) {
            Some(why) => Standing::Refused(why),
            None if status.code() == Code::InvalidArgument => Standing::Member,
            None => Standing::Unknown(describe(&status)),
        },
        Err(_) => Standing::Unknown(format!("it did not answer within {} ms", limit.as_millis())),
    }
}

/// Why this host is not to come again by itself, if an answer of the control plane says so.
pub(crate) fn refusal(status: &Status, identity: &Identity) -> Option<String> {
    // In TLS 1.3 a client hears of a refused certificate only after its own part of the handshake is over.
    if std::error::Error::source(status).is_some()
        && let Some(expired) = expired(identity)
    {
        return Some(format!("{expired} ({})", describe(status)));
    }
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated | Code::NotFound => Some(describe(status)),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => None,
    }
}

/// The same of a connection that was not made.
pub(crate) fn refused_dial(error: &DialError, identity: &Identity) -> Option<String> {
    match error {
        DialError::Tls { .. } | DialError::Http { .. } => {
            expired(identity).map(|expired| format!("{expired} ({})", chain(error)))
        }
        DialError::Address(_)
        | DialError::Connect { .. }
        | DialError::WrongAuthority { .. }
        | DialError::Timeout { .. }
        | DialError::Credential(_) => None,
    }
}

/// Says so when this host's certificate has run out. Asked only when the control plane broke a connection off: the
/// clock that decides is the control plane's, and this one may be wrong.
fn expired(identity: &Identity) -> Option<String> {
    let over = SystemTime::now().duration_since(identity.expires()).ok()?;
    Some(format!("this host's certificate ran out {} s ago and could not be renewed in time", over.as_secs()))
}

/// A status's own words and what is behind it: a broken connection says little by itself.
pub(crate) fn describe(status: &Status) -> String {
    let words = if status.message().is_empty() { status.code().description() } else { status.message() };
    match std::error::Error::source(status) {
        Some(source) => format!("{words}: {}", chain(source)),
        None => words.to_owned(),
    }
}
