//! The agent's one stream to the control plane: assignments in, reports and heartbeats out.
//!
//! Owns: connecting, the Hello, handing assignments to whoever keeps the desired state, acknowledging them
//! once they are saved, reporting what is observed until it is acknowledged, and noticing a dead peer.
//! Never: decides what runs, keeps anything across a restart, or makes supervision wait for it. The
//! generated protocol types end here and in `identity`.
//!
//! The two stores on either side belong to the engine: assignments go to it through [`DesiredUpdate`]s, and
//! it publishes [`ObservedReports`] that this module reads. `assemble` makes both channels.

pub(crate) mod backoff;
pub(crate) mod exec;
mod inbound;
pub(crate) mod logs;
mod network;
mod outbound;
mod peer;
pub(crate) mod protection;
pub(crate) mod registry;
mod stream;

pub use peer::{Connection, ControlMessages, OpenError, Peer};

use crate::contact::Contacts;
use crate::identity::IdentityHandle;
use crate::metadata::UsageLine;
use crate::network::SessionLink;
use backoff::Backoff;
use longshore_model::{
    Assignment, DesiredStatus, DiskStatus, ExecOrder, Generation, HostFacts, InstanceHealth, TaskId, TaskReport,
};
use peer::Dialled;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use stream::{Ended, Stream, Then};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Depth of the queue of [`DesiredUpdate`]s: the session has one assignment in flight at a time, and one more
/// may wait from a stream that just ended.
pub const DESIRED_QUEUE: usize = 2;

/// One assignment on its way to the desired store.
///
/// The receiver saves it durably (assignment, generation and all) and only then answers on `done`; the
/// answer makes the session acknowledge it. Applying the same one twice changes nothing.
#[derive(Debug)]
pub struct DesiredUpdate {
    /// What to run. Its generation is never lower than the one last answered, and a delta's base is
    /// exactly that one: the session refuses all others before they come here.
    pub assignment: Assignment,
    /// Tasks of the same assignment that this agent does not understand. They count as present in it: one
    /// that is already known keeps running as known (or stops, where `desired` says so); an unknown one is
    /// reported STOPPED with `why` and is never started.
    pub refused: Vec<RefusedTask>,
    /// Where the answer goes. Dropping it counts as [`ApplyError::NotSaved`].
    pub done: oneshot::Sender<Result<Generation, ApplyError>>,
}

/// A task that could not be read from an assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedTask {
    /// Which one.
    pub task: TaskId,
    /// What it should be, where that much could be read.
    pub desired: Option<DesiredStatus>,
    /// Why it should stop, when it should; for people.
    pub stop_reason: String,
    /// The field at fault and what is wrong with it, for people.
    pub why: String,
}

/// Why an assignment was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The desired store is at another generation than the session believed. Answered by a resync.
    #[error("the desired state is at generation {saved}, and the update does not build on it")]
    Outdated {
        /// The generation that is saved.
        saved: Generation,
    },
    /// It could not be made durable; the old desired state holds. The control plane sends it again.
    #[error("could not save the assignment: {why}")]
    NotSaved {
        /// The whole error chain on one line.
        why: String,
    },
}

/// The latest report of every task that the agent knows, by task. One writer (the engine); a report replaces
/// its predecessor only with a higher `version`; a task is taken out when the agent forgets it.
pub type ObservedReports = BTreeMap<TaskId, Arc<TaskReport>>;

/// What was done so far, for metrics.
#[derive(Debug, Default)]
pub struct SessionFigures {
    /// Streams that were welcomed.
    pub streams: AtomicU64,
    /// Streams that ended, or were not welcomed.
    pub failures: AtomicU64,
    /// Reports that were sent.
    pub reports_sent: AtomicU64,
    /// Reports that the control plane has not made durable yet.
    pub reports_waiting: AtomicU64,
}

/// What a session needs from the rest of the agent.
#[derive(Debug)]
pub struct SessionInputs {
    /// Takes assignments, in order; depth [`DESIRED_QUEUE`].
    pub desired: mpsc::Sender<DesiredUpdate>,
    /// The generation that is durably saved; read when a stream begins. `Generation(0)` for none.
    pub saved: watch::Receiver<Generation>,
    /// What is observed; each change is reported at once while no report is unacknowledged.
    pub observed: watch::Receiver<ObservedReports>,
    /// What the host is and offers. The stream begins once it is there, and a change begins a new stream.
    pub facts: watch::Receiver<Option<Arc<HostFacts>>>,
    /// The owner of the host's part of the task network.
    pub network: SessionLink,
    /// What there is to say of the host's disk; each heartbeat carries it.
    pub disk: watch::Receiver<Option<DiskStatus>>,
    /// How the host is; without checks before the first look.
    pub health: watch::Receiver<InstanceHealth>,
    /// What the host and its tasks use, as often as the control plane asks for it.
    pub usage: UsageLine,
    /// Counts what is done.
    pub figures: Arc<SessionFigures>,
    /// Takes commands to execute in containers.
    pub exec: mpsc::Sender<ExecOrder>,
    /// Takes when what was acknowledged was sent.
    pub contacts: Arc<Contacts>,
}

/// How a session behaves in time.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// `host:port` of the control plane's agent port; that of the identity when absent.
    pub control: Option<String>,
    /// Longest wait for a connection, and for the Welcome after it.
    pub connect_timeout: Duration,
    /// First wait after a failed or ended stream; doubles, with jitter, up to `backoff_max`.
    pub backoff_min: Duration,
    /// Longest wait between attempts.
    pub backoff_max: Duration,
    /// Wait after the control plane refused this instance for good (deregistered), or after this agent's
    /// certificate ran out: only a person can help, so the attempts are rare and each is logged.
    pub refused_retry: Duration,
    /// How long a batch of reports may stay unacknowledged before it is sent again.
    pub report_resend: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            control: None,
            connect_timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(15),
            refused_retry: Duration::from_secs(3600),
            report_resend: Duration::from_secs(5),
        }
    }
}

/// Where the session stands, for the status socket and for tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SessionState {
    /// No stream has been tried yet.
    Starting,
    /// A connection is being made, or its Welcome awaited.
    Connecting,
    /// Connected and welcomed.
    Connected {
        /// The protocol version that both sides speak.
        protocol: u32,
        /// The control plane's own version, for people.
        control_plane: String,
    },
    /// Waiting before the next attempt.
    Waiting {
        /// Why the last stream ended or was not made.
        why: String,
        /// How long the wait is, in milliseconds.
        millis: u64,
    },
    /// Refused for good; see [`SessionConfig::refused_retry`].
    Refused {
        /// The control plane's words, and what to do.
        why: String,
    },
}

/// The session: one long-lived task that keeps a stream to the control plane open.
pub struct Session {
    config: SessionConfig,
    peer: Arc<dyn Peer>,
    inputs: SessionInputs,
    state: watch::Sender<SessionState>,
}

impl Session {
    /// A session of `identity`; says where it stands through `state`.
    #[must_use]
    pub fn new(
        config: SessionConfig,
        identity: IdentityHandle,
        inputs: SessionInputs,
        state: watch::Sender<SessionState>,
    ) -> Self {
        let peer = Arc::new(Dialled::new(identity, config.control.clone()));
        Self { config, peer, inputs, state }
    }

    /// The same over whatever `peer` is; of the configuration only the times count then.
    #[must_use]
    pub fn over(
        config: SessionConfig,
        peer: Arc<dyn Peer>,
        inputs: SessionInputs,
        state: watch::Sender<SessionState>,
    ) -> Self {
        Self { config, peer, inputs, state }
    }

    /// Runs until `shutdown`; connects again for ever, with a logged reason and a wait each time.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.keep_connected()).await;
    }

    async fn keep_connected(mut self) {
        let boot_id = uuid::Uuid::new_v4().simple().to_string();
        let mut backoff = Backoff::new(self.config.backoff_min, self.config.backoff_max);
        loop {
            let Ok(facts) = self.inputs.facts.wait_for(Option::is_some).await.map(|facts| facts.clone()) else {
                tracing::error!("nobody will say what this host is; no session");
                return std::future::pending().await;
            };
            let facts = facts.expect("waited for");
            self.state.send_replace(SessionState::Connecting);
            let peer = Arc::clone(&self.peer);
            let figures = self.inputs.figures.clone();
            let opened = Stream::open(&self.config, &*peer, &mut self.inputs, facts, &boot_id, &self.state).await;
            if opened.is_ok() {
                figures.streams.fetch_add(1, Ordering::Relaxed);
            }
            let Ended { why, then } = match opened {
                Ok(stream) => {
                    let welcomed = Instant::now();
                    let ended = Box::pin(stream.serve(&*peer)).await;
                    if welcomed.elapsed() > STEADY {
                        backoff.reset();
                    }
                    ended
                }
                // However long it took to fail.
                Err(ended) => ended,
            };
            figures.failures.fetch_add(1, Ordering::Relaxed);
            let wait = match then {
                Then::Again => Duration::ZERO,
                Then::Retry => backoff.next(),
                Then::Yield => self.config.backoff_max,
                Then::Refused => self.config.refused_retry,
            };
            let instance = peer.instance();
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            if then == Then::Refused {
                let why = format!("{why}. Tasks keep running; join again with a new token to bring the host back");
                tracing::error!(%instance, why, retry_millis = millis, "the control plane refuses this host");
                self.state.send_replace(SessionState::Refused { why });
            } else {
                tracing::warn!(%instance, why, retry_millis = millis, "no session with the control plane");
                self.state.send_replace(SessionState::Waiting { why, millis });
            }
            tokio::time::sleep(wait).await;
        }
    }
}

/// A stream that lasted this long after its Welcome was a good one: the next failure begins with the shortest wait
/// again.
const STEADY: Duration = Duration::from_secs(10);

/// An error and everything behind it, on one line. Repetitions (an error that shows its source) are left out.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = inner.source();
    }
    text
}
