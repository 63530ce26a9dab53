//! What one session tells its agent of the task network, and hears of it.
//!
//! Updates leave as assignments do: the first one is complete, later ones say what changed, one is in flight at a time,
//! and what changes meanwhile goes into the next. An update is acknowledged by a status that has it in force. Hosts
//! without a part of the network, and agents that take none, are sent nothing.

use super::Fleet;
use futures::future::BoxFuture;
use longshore_core::{NetworkView, SessionError, SessionId};
use longshore_model::{Generation, InstanceId, NetworkStatus, NetworkUpdate};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The longest wait before everything is sent again to an agent that does not put it in force.
const MAX_PATIENCE: Duration = Duration::from_secs(300);

/// The network's part of a session.
pub(super) struct NetworkLine<F: Fleet> {
    fleet: Arc<F>,
    instance: InstanceId,
    session: SessionId,
    /// Wakes when what the host has to know changed.
    changes: watch::Receiver<Generation>,
    /// What the last update brought the agent to.
    sent: Option<NetworkView>,
    flight: Flight,
    /// The wait for an acknowledgement: the first, and the one in force, which grows while none comes.
    patience: (Duration, Duration),
    /// A status that is being taken, and the newest that waits for that.
    taking: Option<BoxFuture<'static, Result<(), SessionError>>>,
    waiting: Option<NetworkStatus>,
}

/// Where the network's state stands.
enum Flight {
    /// The agent has everything sent in force. Left when something changed, or when it says that it has lost some.
    Idle,
    /// Sent, not yet in force. Left by a status, or `until`.
    InFlight {
        /// What an update with changes builds on.
        base: Option<Generation>,
        until: Instant,
    },
}

/// What happened on the line.
pub(super) enum NetworkEvent {
    /// There may be something to send.
    Changed,
    /// No acknowledgement came in time.
    NotApplied,
    /// A status was taken, or could not be.
    Taken(Result<(), SessionError>),
}

impl<F: Fleet> NetworkLine<F> {
    /// A line that has sent nothing. `changes` was subscribed to before the session was opened.
    pub(super) fn new(
        fleet: Arc<F>,
        instance: InstanceId,
        session: SessionId,
        changes: watch::Receiver<Generation>,
        patience: Duration,
    ) -> Self {
        let patience = (patience, patience);
        Self {
            fleet,
            instance,
            session,
            changes,
            sent: None,
            flight: Flight::Idle,
            patience,
            taking: None,
            waiting: None,
        }
    }

    /// Waits for something to happen. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> NetworkEvent {
        let until = match self.flight {
            Flight::Idle => None,
            Flight::InFlight { until, .. } => Some(until),
        };
        let timeout = async {
            match until {
                None => std::future::pending().await,
                Some(until) => tokio::time::sleep_until(until).await,
            }
        };
        let taking = &mut self.taking;
        let taken = async {
            match taking {
                None => std::future::pending().await,
                Some(outcome) => outcome.await,
            }
        };
        let changes = &mut self.changes;
        let changed = async {
            if changes.changed().await.is_err() {
                // The instance was deregistered; the session hears of that from its assignment.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            outcome = taken => {
                self.taking = None;
                if let Some(status) = self.waiting.take() {
                    self.take(status);
                }
                NetworkEvent::Taken(outcome)
            }
            () = changed => NetworkEvent::Changed,
            () = timeout => NetworkEvent::NotApplied,
        }
    }

    /// What to send now: what changed, or everything to an agent that was sent nothing yet. Nothing while an update is
    /// in flight; then it goes with the next.
    pub(super) fn push(&mut self) -> Option<NetworkUpdate> {
        match self.flight {
            Flight::InFlight { .. } => return None,
            Flight::Idle => {}
        }
        let Some(before) = &self.sent else { return self.everything() };
        self.changes.mark_unchanged();
        let now = self.fleet.network(self.instance)?;
        let (base, generation) = (before.generation, now.generation);
        if generation <= base {
            return None;
        }
        // Also when nothing is left of what changed: until it is at that generation, the host counts as behind.
        let update = NetworkUpdate::Delta { base, generation, changes: before.changes_to(&now) };
        self.sent = Some(now);
        self.depart(Some(base));
        Some(update)
    }

    /// Everything, whatever is in flight.
    pub(super) fn everything(&mut self) -> Option<NetworkUpdate> {
        // Seen from here on: a change after this line wakes again.
        self.changes.mark_unchanged();
        let now = self.fleet.network(self.instance)?;
        let update = NetworkUpdate::Complete { generation: now.generation, state: now.state() };
        self.sent = Some(now);
        self.depart(None);
        Some(update)
    }

    /// Everything once more, for an agent that did not put it in force in time. It is asked less and less often: what
    /// is wrong there is in its status.
    pub(super) fn again(&mut self) -> Option<NetworkUpdate> {
        self.patience.1 = (self.patience.1 * 2).min(MAX_PATIENCE);
        tracing::warn!(
            instance = %self.instance, wait_secs = self.patience.1.as_secs(),
            "a network update was not put in force; sending everything again"
        );
        self.everything()
    }

    fn depart(&mut self, base: Option<Generation>) {
        self.flight = Flight::InFlight { base, until: Instant::now() + self.patience.1 };
    }

    /// Takes what the agent says, and answers with what to send on it.
    pub(super) fn hear(&mut self, mut status: NetworkStatus) -> Option<NetworkUpdate> {
        let sent = self.sent.as_ref().map(|sent| sent.generation);
        if sent.is_none_or(|sent| status.applied > sent) {
            // Left over from another control plane, or from before it had a part of this network.
            tracing::debug!(instance = %self.instance, applied = %status.applied, "an agent has what it was not sent");
            status.applied = Generation(0);
        }
        let applied = status.applied;
        match self.taking {
            None => self.take(status),
            Some(_) => self.waiting = Some(status),
        }
        let sent = sent?;
        match self.flight {
            Flight::InFlight { .. } if applied == sent => {
                self.flight = Flight::Idle;
                self.patience.1 = self.patience.0;
                self.push()
            }
            // It has lost what the changes build on.
            Flight::InFlight { base: Some(base), .. } if applied < base => self.everything(),
            Flight::InFlight { .. } => None,
            Flight::Idle if applied < sent => self.everything(),
            Flight::Idle => None,
        }
    }

    fn take(&mut self, status: NetworkStatus) {
        let (fleet, instance, session) = (Arc::clone(&self.fleet), self.instance, self.session);
        self.taking = Some(Box::pin(async move { fleet.network_status(instance, session, status).await }));
    }

    /// What a heartbeat's answer says: how far all hosts are, to a host that has a part of the network.
    pub(super) fn settled(&self) -> u64 {
        if self.sent.is_some() { self.fleet.network_settled().0 } else { 0 }
    }
}
