//! Events on their way to targets: put there with what they tell of, and taken away when they were delivered or given
//! up.

use crate::agent::Unavailable;
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::events::{self, Event};
use crate::records::{GivenUp, Outbox, OutboxEvent, TargetKey, TargetProgress};
use crate::state::State;
use longshore_ecs_api::ApiError;
use longshore_model::{AccountId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Events that wait for one target at most; the oldest are given up for newer ones.
const MAX_WAITING: usize = 2048;
/// Events that wait for all targets together, counted for each; beyond it the longest queues give up their oldest.
const MAX_WAITING_IN_ALL: usize = 32_768;

/// Puts events into the outbox, as one record. Targets that are gone get nothing.
pub(crate) fn enqueue(tx: &mut Tx<'_>, mut events: Vec<OutboxEvent>) {
    let mut added: BTreeMap<TargetKey, usize> = BTreeMap::new();
    for event in &mut events {
        event.to.retain(|target| tx.state().queue(target).is_some());
        for target in &event.to {
            *added.entry(target.clone()).or_default() += 1;
        }
    }
    events.retain(|event| !event.to.is_empty());
    if events.is_empty() {
        return;
    }
    for (target, over) in overflow(tx.state(), &added) {
        let Some(queue) = tx.state().queue(&target) else { continue };
        let over = over.min(queue.waiting.len());
        let Some(last) = over.checked_sub(1).and_then(|nth| queue.waiting.iter().nth(nth).copied()) else { continue };
        let why = "too many events wait for this target: it takes fewer than come";
        tracing::warn!(rule = %target.rule.name, target = %target.id, events = over, why, "events are given up");
        let progress = given_up(tx, &queue.progress, last, over, why.to_owned());
        tx.change(Change::Progress(Arc::new(progress)));
    }
    let first = tx.state().last_event() + 1;
    tx.change(Change::Outbox(Arc::new(Outbox { first, events })));
    forget_finished(tx);
}

/// How many events each target gives up when so many are added: what is over its own limit, and of what is over the
/// limit of all of them what the longest queues are above the others.
fn overflow(state: &State, added: &BTreeMap<TargetKey, usize>) -> BTreeMap<TargetKey, usize> {
    let own = |target: &TargetKey, added: usize| {
        let all = state.queue(target).map_or(0, |queue| queue.waiting.len()) + added;
        all.saturating_sub(MAX_WAITING)
    };
    let owns = added.iter().map(|(target, added)| (target.clone(), own(target, *added)));
    let mut over: BTreeMap<TargetKey, usize> = owns.filter(|(_, over)| *over > 0).collect();
    let all = state.waiting_events() + added.values().sum::<usize>() - over.values().sum::<usize>();
    let excess = all.saturating_sub(MAX_WAITING_IN_ALL);
    if excess == 0 {
        return over;
    }
    // Targets that nothing waited for have nothing to give up: what comes now is kept.
    let length = |target: &TargetKey, waiting: usize| (waiting + added.get(target).unwrap_or(&0)).min(MAX_WAITING);
    let mut lengths: Vec<(usize, &TargetKey)> =
        state.waiting_queues().map(|(target, queue)| (length(target, queue.waiting.len()), target)).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let above = |level: usize| lengths.iter().map(|(length, _)| length.saturating_sub(level)).sum::<usize>();
    // The highest level above which there is enough to give up.
    let (mut low, mut high) = (0, MAX_WAITING);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if above(middle) >= excess { low = middle } else { high = middle - 1 }
    }
    let mut rest = excess.saturating_sub(above(low + 1));
    for (length, target) in lengths.iter().filter(|(length, _)| *length > low) {
        let one = rest.min(1);
        rest -= one;
        let share = length - (low + 1) + one;
        if share > 0 {
            *over.entry((*target).clone()).or_default() += share;
        }
    }
    over
}

/// Forgets the events that nobody waits for any more.
pub(crate) fn forget_finished(tx: &mut Tx<'_>) {
    let finished: Vec<u64> = tx.state().finished_outbox().collect();
    finished.into_iter().for_each(|first| tx.change(Change::ForgetOutbox(first)));
}

/// The progress of a target once it has given up `events` events up to the number `last`.
fn given_up(tx: &Tx<'_>, before: &TargetProgress, last: u64, events: usize, why: String) -> TargetProgress {
    let event = tx.state().outbox_event(last).map(|event| event.id);
    TargetProgress {
        done: last,
        attempts: 0,
        started: 0,
        next_at: None,
        last_error: None,
        given_up: before.given_up.saturating_add(events as u64),
        last_given_up: Some(GivenUp { event: event.unwrap_or_default(), at: tx.now, why }),
        target: before.target.clone(),
    }
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was taken, with others that wait up to this number.
    Delivered { up_to: u64 },
    /// It will not be.
    GivenUp { why: String },
    /// It is tried again; so many more of its tasks are started.
    Failed { why: String, next_at: Timestamp, started: u32 },
}

/// Records what became of a delivery of the event that a target waits for first. Does nothing when another one is that
/// by now.
pub(crate) struct Settle {
    pub(crate) target: TargetKey,
    pub(crate) number: u64,
    pub(crate) outcome: Outcome,
}

impl Command for Settle {
    const NAME: &'static str = "Settle";
    type Reply = ();
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Unavailable> {
        let Self { target, number, outcome } = self;
        let queue = tx.state().queue(&target).filter(|queue| queue.waiting.get_min() == Some(&number));
        let Some(before) = queue.map(|queue| Arc::clone(&queue.progress)) else { return Ok(()) };
        let progress = match outcome {
            Outcome::Delivered { up_to } => TargetProgress {
                done: up_to.max(number),
                attempts: 0,
                started: 0,
                next_at: None,
                last_error: None,
                ..(*before).clone()
            },
            Outcome::GivenUp { why } => given_up(tx, &before, number, 1, why),
            Outcome::Failed { why, next_at, started } => TargetProgress {
                attempts: before.attempts.saturating_add(1),
                started: before.started.saturating_add(started),
                next_at: Some(next_at),
                last_error: Some(why),
                ..(*before).clone()
            },
        };
        tx.change(Change::Progress(Arc::new(progress)));
        forget_finished(tx);
        Ok(())
    }
}

/// Takes events of users' own.
pub(crate) struct PublishEvents {
    pub(crate) account: AccountId,
    pub(crate) events: Vec<Event>,
}

impl Command for PublishEvents {
    const NAME: &'static str = "PublishEvents";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        for event in &self.events {
            events::publish(tx, &self.account, event);
        }
        Ok(())
    }
}
