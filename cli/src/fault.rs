//! Everything that can end the command without success: its text, what to do next, and the exit status.
//!
//! Exit statuses are part of the interface and listed in `longshore --help`.

use crate::client::{CallError, ClientError};
use crate::settings::SettingsError;
use std::path::PathBuf;
use std::time::Duration;

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Settings are missing or wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Certificates cannot be read.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A call had no result.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A file could not be read.
    #[error("could not read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no JSON.
    #[error("{path} is not JSON")]
    Json {
        /// Which file.
        path: String,
        /// Names the place.
        #[source]
        source: serde_json::Error,
    },
    /// A file holds a value of another type than its field has.
    #[error("{path} is not {what}: {fault}")]
    Field {
        /// Which file.
        path: String,
        /// What it should be.
        what: &'static str,
        /// Names the field.
        fault: String,
    },
    /// A file says something that the API has no field for.
    #[error("{path}: {what} has no field {fields}")]
    UnknownField {
        /// Which file.
        path: String,
        /// What it should be.
        what: &'static str,
        /// The fields' paths.
        fields: String,
    },
    /// An argument cannot be.
    #[error("{argument} `{value}`: {why}")]
    Argument {
        /// Which, as `--env`.
        argument: &'static str,
        /// What it said.
        value: String,
        /// What is wrong.
        why: String,
    },
    /// Nothing of that name.
    #[error("there is no {kind} `{name}` in {place}")]
    Missing {
        /// `task`, `host`…
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// `cluster default`, `region lab`.
        place: String,
        /// What can be done.
        hint: &'static str,
    },
    /// Several of that name.
    #[error("`{name}` could be any of these {kind}s: {candidates}")]
    Ambiguous {
        /// `task`, `host`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// Who it could be.
        candidates: String,
    },
    /// An ARN that the chosen region does not have.
    #[error("{arn} is of region {theirs}, and the chosen region is {ours}")]
    OtherRegion {
        /// The ARN.
        arn: String,
        /// Its region.
        theirs: String,
        /// The settings' region.
        ours: String,
    },
    /// The API answered for some of the things named that it cannot.
    #[error("{operation}: {failures}")]
    Failures {
        /// The operation.
        operation: &'static str,
        /// One text for all.
        failures: String,
    },
    /// Not every task found a place.
    #[error("{placed} of {wanted} tasks found a place: {reasons}")]
    NotPlaced {
        /// How many did.
        placed: usize,
        /// How many should.
        wanted: usize,
        /// Why not, each reason once.
        reasons: String,
    },
    /// A task that was waited for did not do well.
    #[error("{text}")]
    TaskFailed {
        /// Which task, how it ended and why.
        text: String,
    },
    /// A deployment that was waited for did not succeed.
    #[error("{text}")]
    DeploymentFailed {
        /// Of which service, how it ended and why.
        text: String,
    },
    /// Waiting took too long.
    #[error("after {} s still waiting for {what}", waited.as_secs())]
    TimedOut {
        /// For what.
        what: String,
        /// How long.
        waited: Duration,
    },
    /// A command in a container ended otherwise than well, or a signal ended this one.
    #[error("the command ended with exit status {status}")]
    Ended {
        /// The exit status of both.
        status: u8,
    },
    /// The stream of a command could not be opened, or broke.
    #[error(transparent)]
    Stream(#[from] crate::stream::StreamError),
    /// The result could not be written.
    #[error("could not write the result")]
    Output(#[from] std::io::Error),
}

impl Fault {
    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Call(CallError::Unreachable { .. } | CallError::Nonsense { .. }) => 4,
            Self::Call(CallError::Refused { .. } | CallError::Sign { .. } | CallError::Write { .. })
            | Self::Missing { .. }
            | Self::Ambiguous { .. }
            | Self::OtherRegion { .. }
            | Self::Failures { .. }
            | Self::Output(_) => 1,
            Self::File { .. }
            | Self::Json { .. }
            | Self::Field { .. }
            | Self::UnknownField { .. }
            | Self::Argument { .. } => 2,
            Self::Settings(_) | Self::Client(_) => 3,
            Self::NotPlaced { .. } => 5,
            Self::TaskFailed { .. } | Self::DeploymentFailed { .. } => 6,
            Self::TimedOut { .. } => 7,
            Self::Ended { status } => *status,
            Self::Stream(error) => error.status(),
        }
    }

    /// What a person can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Call(error) => return error.hint(),
            Self::Stream(error) => return error.hint(),
            Self::Missing { hint, .. } => hint,
            Self::Ambiguous { .. } => "Give more of the id, or the ARN.",
            Self::OtherRegion { theirs, .. } => return Some(format!("Use --region {theirs}.")),
            Self::NotPlaced { .. } => {
                "`longshore host list` shows what is free; with --json the reason for each host is in `failures`."
            }
            Self::TimedOut { .. } => {
                "Nothing was undone. --wait-secs waits longer; `longshore ps` shows how far it is."
            }
            Self::DeploymentFailed { .. } => {
                "`longshore service describe` has the service's events, `longshore service ps --all` its tasks' ends."
            }
            Self::UnknownField { .. } => "A field that would be ignored is refused, as it may be a slip.",
            Self::Settings(_)
            | Self::Client(_)
            | Self::File { .. }
            | Self::Json { .. }
            | Self::Field { .. }
            | Self::Argument { .. }
            | Self::Failures { .. }
            | Self::TaskFailed { .. }
            | Self::Ended { .. }
            | Self::Output(_) => return None,
        };
        Some(text.to_owned())
    }

    /// Whether the reader of our output went away, as `head` does: no fault of anybody's.
    pub(crate) fn reader_left(&self) -> bool {
        let source = match self {
            Self::Output(source) | Self::Stream(crate::stream::StreamError::Local { source, .. }) => source,
            _ => return false,
        };
        source.kind() == std::io::ErrorKind::BrokenPipe
    }
}
