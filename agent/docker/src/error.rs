//! What can go wrong between us and the engine, in the terms that a caller acts on.
//!
//! [`DockerError`] is the common cause; each operation wraps it in an error of its own that names the operation and
//! the kinds that this operation treats differently.

use std::error::Error as StdError;
use std::time::Duration;

/// The underlying failure, opaque: bollard's error type stays inside this crate.
pub type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// A call that the engine did not carry out, or did not confirm.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// No connection was made, so nothing happened.
    #[error("the container engine at `{endpoint}` cannot be reached; is dockerd running?")]
    Unreachable {
        /// The endpoint as configured.
        endpoint: String,
        /// Why there is no connection.
        #[source]
        source: Cause,
    },
    /// The connection broke after the request was sent: the engine may or may not have acted.
    #[error("lost the connection to the container engine while {doing}")]
    Lost {
        /// What was being done, e.g. ``creating container `ls-…` ``.
        doing: String,
        /// How it broke.
        #[source]
        source: Cause,
    },
    /// No answer within the deadline: the engine may still act.
    #[error("the container engine did not answer within {} while {doing}", go_duration(*after))]
    Timeout {
        /// What was being done.
        doing: String,
        /// The deadline.
        after: Duration,
    },
    /// The engine said no.
    #[error("the container engine refused {doing}: {message}")]
    Refused {
        /// What was being done.
        doing: String,
        /// The HTTP status.
        status: u16,
        /// The engine's own words.
        message: String,
    },
    /// The engine answered something that we cannot read.
    #[error("could not read the container engine's answer while {doing}")]
    Unreadable {
        /// What was being done.
        doing: String,
        /// What was unreadable.
        #[source]
        source: Cause,
    },
    /// The engine is older than the oldest version that we work with.
    #[error("the container engine speaks API {found}; Longshore needs {needed} (Docker Engine 20.10) or newer")]
    TooOld {
        /// What the engine speaks.
        found: String,
        /// What we need.
        needed: &'static str,
    },
}

/// What to do after a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call will fail again.
    Never,
    /// Nothing happened; the same call may succeed later.
    Later,
    /// Something may have happened: look at the host before deciding.
    LookFirst,
}

impl DockerError {
    /// Whether and how to try again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { .. } => Retry::Later,
            Self::Lost { .. } | Self::Timeout { .. } => Retry::LookFirst,
            // 5xx covers both lasting faults (a bad mount) and passing ones; the operation's own kinds come first.
            Self::Refused { .. } | Self::TooOld { .. } => Retry::Never,
            Self::Unreadable { .. } => Retry::LookFirst,
        }
    }

    /// Whether the engine as a whole is not answering, as opposed to answering this call with an error.
    #[must_use]
    pub const fn engine_is_away(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } | Self::Timeout { .. } => true,
            Self::Refused { .. } | Self::Unreadable { .. } | Self::TooOld { .. } => false,
        }
    }

    /// The HTTP status and the engine's words, when it refused.
    pub(crate) fn refusal(&self) -> Option<(u16, &str)> {
        match self {
            Self::Refused { status, message, .. } => Some((*status, message)),
            Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::Timeout { .. }
            | Self::Unreadable { .. }
            | Self::TooOld { .. } => None,
        }
    }

    /// As ECS words a container's reason: `{name}: Error response from daemon: …`, or `DockerTimeoutError: Could not
    /// transition to {transition}; timed out after waiting 3m0s`.
    #[must_use]
    pub fn ecs_reason(&self, name: &str, transition: &str) -> String {
        match self {
            Self::Timeout { after, .. } => format!(
                "DockerTimeoutError: Could not transition to {transition}; timed out after waiting {}",
                go_duration(*after)
            ),
            Self::Refused { message, .. } => format!("{name}: Error response from daemon: {message}"),
            Self::Unreachable { .. } | Self::Lost { .. } | Self::Unreadable { .. } | Self::TooOld { .. } => {
                format!("{name}: {}", chain(self))
            }
        }
    }

    /// Sorts bollard's error; `doing` completes "while …".
    pub(crate) fn from_bollard(endpoint: &str, doing: &str, error: bollard::errors::Error) -> Self {
        use bollard::errors::Error as B;
        let doing = doing.to_owned();
        match error {
            B::DockerResponseServerError { status_code, message } => {
                Self::Refused { doing, status: status_code, message: one_line(&message) }
            }
            B::DockerStreamError { error } => Self::Refused { doing, status: 500, message: one_line(&error) },
            B::SocketNotFoundError(_) => Self::Unreachable { endpoint: endpoint.to_owned(), source: error.into() },
            B::HyperLegacyError { ref err } if err.is_connect() => {
                Self::Unreachable { endpoint: endpoint.to_owned(), source: error.into() }
            }
            B::HyperLegacyError { .. } | B::HyperResponseError { .. } | B::IOError { .. } => {
                Self::Lost { doing, source: error.into() }
            }
            B::RequestTimeoutError => Self::Timeout { doing, after: crate::client::BOLLARD_TIMEOUT },
            // bollard's enum grows with its features; everything else is about encoding or decoding.
            other => Self::Unreadable { doing, source: other.into() },
        }
    }
}

/// The error and its causes on one line, as logs and reasons carry them.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Transparent wrappers repeat their cause's text; once is enough.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    one_line(&text)
}

/// The engine's messages may end in a newline or hold several lines; reasons and logs are one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A duration as ECS's agent prints it (`3m0s`, `1m30s`, `45s`), to the second, smaller ones in milliseconds.
pub(crate) fn go_duration(d: Duration) -> String {
    let secs = d.as_secs();
    match (secs / 3600, secs / 60 % 60, secs % 60) {
        (0, 0, 0) => format!("{}ms", d.as_millis()),
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_ecs() {
        for (millis, text) in
            [(250, "250ms"), (45_000, "45s"), (180_000, "3m0s"), (90_000, "1m30s"), (7_200_000, "2h0m0s")]
        {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn reasons_carry_the_engines_words() {
        let refused =
            DockerError::Refused { doing: "creating container `x`".into(), status: 400, message: "bad mount".into() };
        assert_eq!(
            refused.ecs_reason("CannotCreateContainerError", "created"),
            "CannotCreateContainerError: Error response from daemon: bad mount"
        );
        let late = DockerError::Timeout { doing: "starting container `x`".into(), after: Duration::from_secs(180) };
        assert_eq!(
            late.ecs_reason("CannotStartContainerError", "started"),
            "DockerTimeoutError: Could not transition to started; timed out after waiting 3m0s"
        );
        assert_eq!(late.retry(), Retry::LookFirst);
    }

    #[test]
    fn a_chain_does_not_repeat_itself() {
        let inner = std::io::Error::other("connection refused");
        let outer = DockerError::Unreachable { endpoint: "unix:///x".into(), source: inner.into() };
        assert_eq!(
            chain(&outer),
            "the container engine at `unix:///x` cannot be reached; is dockerd running?: connection refused"
        );
    }
}
