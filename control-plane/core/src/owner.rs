//! The owner task: the only place where the state changes.
//!
//! It takes commands from a queue, applies as many as wait to a working copy of the state, commits what they
//! changed as one batch, publishes the copy, wakes the watchers of touched instances, and answers, in this order.
//! What queues up while one batch is being written becomes the next one, so that batches grow with the load.
//!
//! Nothing is published or answered that a crash would forget. A batch that the store refuses is answered with an
//! error and leaves no trace. When the store cannot say whether it took a batch, or another process has taken this
//! one's place, the task ends with an error: only a new start can tell what is true.

use crate::agent::Unavailable;
use crate::change::Change;
use crate::clock::Tick;
use crate::command::{Applied, Call, Command, Effects, Tx, Waiting};
use crate::commands::{ExpireSessions, Sweep};
use crate::handle::Inner;
use crate::keys;
use crate::state::{State, Touched};
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{Generation, Timestamp};
use longshore_store::{Batch, CommitError, Expect, Revision, Store, Write};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// Commands that may wait. Each is a request somebody holds a connection open for; beyond this many the
/// control plane is overloaded, and callers wait for room in turn.
pub(crate) const QUEUE: usize = 4096;
/// Commands in one batch at most, so that the first of them does not wait for too many others.
const BATCH: usize = 512;
/// How often what is over is looked at. Half a minute is little against an hour of retention.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Why the owner task ended by itself. The process must end with it; the next start reads the truth.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The store did not say whether it took a batch.
    #[error("it is not known what the store holds; start again to read it")]
    Unknown(#[source] CommitError),
    /// Another process writes to this store now.
    #[error("this process may no longer write to the store: another one has taken its place")]
    Replaced(#[source] CommitError),
}

/// The one task that changes the state. Run it, or nothing that changes anything is ever answered.
#[must_use]
pub struct OwnerTask {
    pub(crate) inner: Arc<Inner>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: mpsc::Receiver<Box<dyn Waiting>>,
    /// The revision of this process's [`keys::WRITER`] record; every batch is guarded by it.
    pub(crate) writer: Revision,
}

/// Records that one command of the owner's own changes at most, so that any store takes it as one batch.
const CHORE: usize = 64;

/// What the owner task woke up for.
enum Wake {
    Command(Box<dyn Waiting>),
    /// Agents that were connected before the start had their time to return.
    LeaseOver,
    Sweep,
}

/// A command's effects that wait to be committed, in order.
struct Pending {
    effects: Effects,
    applied: Applied,
    name: &'static str,
}

impl OwnerTask {
    /// Runs until `shutdown` completes, then finishes what is queued and returns.
    ///
    /// # Errors
    /// When only a new start can go on; see [`OwnerError`].
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), OwnerError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let every = SWEEP_EVERY.min(self.inner.config.stopped_task_retention / 4).max(Duration::from_millis(100));
        let mut sweep = tokio::time::interval(every);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lease = std::pin::pin!(tokio::time::sleep(self.inner.config.lease));
        let mut lease_over = false;
        loop {
            // Shutdown comes first, and the queue last: under load it is never empty, and must not keep the owner
            // from its own chores. What each arm waits for loses nothing when another one wins.
            let wake = tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = &mut lease, if !lease_over => Some(Wake::LeaseOver),
                _ = sweep.tick() => Some(Wake::Sweep),
                first = self.queue.recv() => first.map(Wake::Command),
            };
            match wake {
                None => break,
                Some(Wake::Command(first)) => self.turn(first).await?,
                Some(Wake::LeaseOver) => {
                    lease_over = true;
                    let process = self.inner.process;
                    let gone = ExpireSessions::find(&self.inner.state.load(), process);
                    for instances in gone.chunks(CHORE).map(<[_]>::to_vec) {
                        self.turn(unattended(ExpireSessions { process, instances })).await?;
                    }
                }
                Some(Wake::Sweep) => {
                    let retention = self.inner.config.stopped_task_retention;
                    let found = Sweep::find(&self.inner.state.load(), self.inner.clock.now(), retention);
                    for due in found.chunks(CHORE).map(<[_]>::to_vec) {
                        self.turn(unattended(Sweep { due })).await?;
                    }
                }
            }
        }
        self.queue.close();
        while let Some(first) = self.queue.recv().await {
            self.turn(first).await?;
        }
        Ok(())
    }

    /// Applies `first` and what waits behind it, and commits until all of it is answered.
    async fn turn(&mut self, first: Box<dyn Waiting>) -> Result<(), OwnerError> {
        let mut next = Some(first);
        // What did not fit into a batch. It was applied on top of all before it: that is durable by its turn, or it is
        // refused with it.
        let mut carried: Option<Pending> = None;
        while next.is_some() || carried.is_some() {
            let limits = self.store.limits();
            let now = (self.inner.clock.now(), self.inner.clock.tick());
            let followed = self.inner.feed.is_followed();
            let mut state = (*self.inner.state.load_full()).clone();
            let mut batch = Batch::new().expect(keys::WRITER, Expect::Version(self.writer));
            let (mut ops, mut bytes) = (batch.ops(), batch.bytes());
            let mut pending: Vec<Pending> = Vec::new();
            while pending.len() < BATCH {
                let before = state.clone();
                let one = match carried.take() {
                    Some(one) => {
                        one.effects.changes.iter().for_each(|c| state.apply(c, &mut Touched::default()));
                        one
                    }
                    None => match next.take().or_else(|| self.queue.try_recv().ok()) {
                        Some(waiting) => apply(waiting, &mut state, now, followed),
                        None => break,
                    },
                };
                let writes: Vec<_> = one.effects.changes.iter().filter_map(Change::to_store).collect();
                let more: usize = writes.iter().map(|(key, write)| key.len() + value_len(write)).sum();
                if !pending.is_empty() && (ops + writes.len() > limits.ops || bytes + more > limits.bytes) {
                    state = before;
                    carried = Some(one);
                    break;
                }
                ops += writes.len();
                bytes += more;
                writes.into_iter().for_each(|(key, write)| batch.write(key, write));
                pending.push(one);
            }
            let refused = self.commit(state, batch, pending).await?;
            if let Some(why) = refused
                && let Some(one) = carried.take()
            {
                (one.applied.answer)(Err(why));
            }
        }
        Ok(())
    }

    /// Gives followers of events what commands told that are done.
    fn tell(&self, pending: &mut [Pending]) {
        self.inner.feed.push(pending.iter_mut().flat_map(|p| std::mem::take(&mut p.effects.told)));
    }

    /// Commits what was applied, and answers. Gives why the store refused it, when it did and all goes on.
    async fn commit(
        &mut self,
        mut state: State,
        batch: Batch,
        mut pending: Vec<Pending>,
    ) -> Result<Option<Unavailable>, OwnerError> {
        let touched: Touched = pending.iter().map(|p| &p.effects.touched).collect();
        if batch.writes().len() == 0 {
            // Replies may rest on nothing but what is published, and on what is never kept.
            if pending.iter().any(|p| !p.effects.changes.is_empty()) {
                self.inner.publish(state, &touched);
            }
            self.tell(&mut pending);
            pending.into_iter().for_each(|p| (p.applied.answer)(Ok(())));
            return Ok(None);
        }
        match self.store.commit(batch).await {
            Ok(revision) => {
                state.commit(Generation(revision.0), &touched);
                self.inner.publish(state, &touched);
                self.tell(&mut pending);
                pending.into_iter().for_each(|p| (p.applied.answer)(Ok(())));
                Ok(None)
            }
            Err(error) if error.is_certain() && is_planted(Bug::RefusedBatchIsPublished) => {
                self.inner.publish(state, &touched);
                pending.into_iter().for_each(|p| (p.applied.answer)(Ok(())));
                tracing::error!(error = %chain(&error), "a batch was not committed");
                Ok(None)
            }
            Err(error) => {
                let commands: Vec<_> = pending.iter().map(|p| p.name).collect();
                tracing::error!(error = %chain(&error), ?commands, "could not commit a batch");
                let why = Unavailable(error.to_string());
                pending.into_iter().for_each(|p| (p.applied.answer)(Err(why.clone())));
                match error {
                    CommitError::TooLarge { .. }
                    | CommitError::Key { .. }
                    | CommitError::Full { .. }
                    | CommitError::NotWritten { .. } => Ok(Some(why)),
                    CommitError::Guard { .. } | CommitError::Fenced { .. } => Err(OwnerError::Replaced(error)),
                    CommitError::Unknown { .. } => Err(OwnerError::Unknown(error)),
                }
            }
        }
    }
}

/// Everything still queued is refused; callers get an error instead of waiting for ever.
impl Drop for OwnerTask {
    fn drop(&mut self) {
        self.queue.close();
        while let Ok(waiting) = self.queue.try_recv() {
            waiting.refuse(Unavailable("it is shutting down".to_owned()));
        }
    }
}

fn apply(waiting: Box<dyn Waiting>, state: &mut State, now: (Timestamp, Tick), followed: bool) -> Pending {
    let before = state.clone();
    let name = waiting.name();
    let mut effects = Effects { followed, ..Effects::default() };
    let mut tx = Tx::new(now, state, &mut effects);
    let applied = waiting.apply(&mut tx);
    if applied.done {
        tx.finish();
    } else {
        *state = before;
        effects = Effects::default();
    }
    Pending { effects, applied, name }
}

fn value_len(write: &Write) -> usize {
    match write {
        Write::Put(value) => value.len(),
        Write::Delete => 0,
    }
}

/// A command that nobody waits for.
fn unattended<C: Command>(command: C) -> Box<dyn Waiting> {
    let (reply, _) = tokio::sync::oneshot::channel();
    Box::new(Call { command, reply })
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
