//! One session in the eyes of the core, and the promise that the core hears of its end.
//!
//! Owns: telling the core that a session is over once its lease is, whichever way it ended: a stream that broke, a
//! call that was dropped between its Hello and its Welcome, a task that panicked. Never: ends a session. `service`
//! makes one before the core may believe in the session and hands it to `stream`, which drops it at the end.

use super::Fleet;
use super::sessions::Sessions;
use longshore_core::SessionId;
use longshore_model::InstanceId;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The wait before the core is told again that an agent is gone, when it could not save that.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// A session that the core may believe in. Dropping it tells the core, when the lease is over, that it ended.
pub(super) struct Presence<F: Fleet> {
    parting: Option<Parting<F>>,
    heard: Instant,
    runtime: Handle,
}

/// What it takes to tell the core.
pub(super) struct Parting<F: Fleet> {
    pub(super) fleet: Arc<F>,
    pub(super) sessions: Sessions,
    pub(super) instance: InstanceId,
    pub(super) session: SessionId,
    pub(super) lease: Duration,
    pub(super) shutdown: CancellationToken,
    /// Ends this session's claim to be the newest; absent until it was made.
    pub(super) superseded: Option<CancellationToken>,
}

impl<F: Fleet> Presence<F> {
    /// For a session that is about to be opened in the core. Its agent was heard just now.
    pub(super) fn new(parting: Parting<F>) -> Self {
        parting.fleet.heard(parting.instance);
        Self { parting: Some(parting), heard: Instant::now(), runtime: Handle::current() }
    }

    /// When the agent was last heard: the lease counts from there.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// The agent was heard just now.
    pub(super) fn hear(&mut self) {
        self.heard = Instant::now();
        if let Some(parting) = &self.parting {
            parting.fleet.heard(parting.instance);
        }
    }

    /// Makes the session its instance's newest and ends the one before, unless the core already has a newer one. The
    /// token ends this one in its turn.
    pub(super) fn claim(&mut self) -> Option<CancellationToken> {
        self.parting.as_mut()?.claim()
    }

    /// There is nothing to tell: the instance is none any more.
    pub(super) fn settle(&mut self) {
        if let Some(parting) = self.parting.take() {
            parting.sessions.release(parting.instance, parting.session);
        }
    }
}

impl<F: Fleet> Drop for Presence<F> {
    fn drop(&mut self) {
        if let Some(parting) = self.parting.take() {
            self.runtime.spawn(parting.run(self.heard));
        }
    }
}

impl<F: Fleet> Parting<F> {
    fn claim(&mut self) -> Option<CancellationToken> {
        let (fleet, instance, session) = (&self.fleet, self.instance, self.session);
        self.superseded = self.sessions.claim(instance, session, || fleet.is_current(instance, session));
        self.superseded.clone()
    }

    /// The lease is the agent's, not the stream's: one that comes back within it was never gone.
    async fn run(mut self, heard: Instant) {
        let superseded = self.superseded.clone().unwrap_or_default();
        let shutdown = self.shutdown.clone();
        let gone = async {
            tokio::time::sleep_until(heard + self.lease).await;
            if self.superseded.is_none() {
                // The call ended before its stream began. If the core took the session all the same, an older stream
                // that still runs is not the core's any more, and its agent has to come again.
                self.claim();
            }
            let (instance, session) = (self.instance, self.session);
            while let Err(error) = self.fleet.disconnected(instance, session).await {
                tracing::warn!(%instance, %session, %error, "could not save that an agent is gone; trying again");
                tokio::time::sleep(TELL_AGAIN).await;
            }
            if self.sessions.release(instance, session) {
                tracing::warn!(%instance, %session, "an agent is gone: its lease ran out");
            }
        };
        tokio::select! {
            biased;
            () = superseded.cancelled() => {}
            () = shutdown.cancelled() => {}
            () = gone => {}
        }
    }
}
