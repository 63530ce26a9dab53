//! What a command is: data that says what is wanted, and a pure function from a state to changes and a reply.
//!
//! A command reads the state as all commands before it left it, durable or not yet; the owner task answers only
//! once everything that a reply was based on is durable. Commands read no clock and make no ids: the time comes
//! with the transaction, ids come with the command.

use crate::agent::Unavailable;
use crate::change::Change;
use crate::clock::Tick;
use crate::events::{self, Told};
use crate::records::OutboxEvent;
use crate::state::{State, Touched};
use longshore_ecs_api::ApiError;
use longshore_model::Timestamp;
use tokio::sync::oneshot;

/// Something to be done to the state, all of it or nothing.
pub(crate) trait Command: Send + 'static {
    /// For logs.
    const NAME: &'static str;
    /// The answer.
    type Reply: Send + 'static;
    /// Why it was not done.
    type Error: From<Unavailable> + Send + 'static;

    /// Does it. On an error every change made before it is taken back.
    fn apply(self, tx: &mut Tx<'_>) -> Result<Self::Reply, Self::Error>;
}

/// A command's view of the state, and its hand on it.
pub(crate) struct Tx<'a> {
    /// The time, the same for all commands of a batch.
    pub(crate) now: Timestamp,
    /// The same by the clock that nobody sets.
    pub(crate) tick: Tick,
    state: &'a mut State,
    effects: &'a mut Effects,
    /// Events that targets are to get.
    outbox: Vec<OutboxEvent>,
}

/// What commands did.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Changes in their order.
    pub(crate) changes: Vec<Change>,
    /// Instances whose agents should hear of it.
    pub(crate) touched: Touched,
    /// Whether somebody follows events; set before the first command.
    pub(crate) followed: bool,
    /// Events for who does.
    pub(crate) told: Vec<Told>,
}

impl<'a> Tx<'a> {
    pub(crate) const fn new((now, tick): (Timestamp, Tick), state: &'a mut State, effects: &'a mut Effects) -> Self {
        Self { now, tick, state, effects, outbox: Vec::new() }
    }

    /// The state, with this command's changes so far.
    pub(crate) const fn state(&self) -> &State {
        self.state
    }

    /// Makes a change, and tells of it whoever asked for such events.
    pub(crate) fn change(&mut self, change: Change) {
        let news = events::news(self.state, &change, self.effects.followed);
        self.state.apply(&change, &mut self.effects.touched);
        self.effects.changes.push(change);
        if let Some(news) = news {
            events::tell(self, &news);
        }
    }

    /// Whether somebody follows events.
    pub(crate) const fn followed(&self) -> bool {
        self.effects.followed
    }

    /// An event for followers.
    pub(crate) fn told(&mut self, told: Told) {
        self.effects.told.push(told);
    }

    /// An event for the targets that it names.
    pub(crate) fn send(&mut self, event: OutboxEvent) {
        self.outbox.push(event);
    }

    /// Ends a command that is done: what targets are to get becomes one more change.
    pub(crate) fn finish(mut self) {
        let events = std::mem::take(&mut self.outbox);
        if !events.is_empty() {
            crate::commands::enqueue(&mut self, events);
        }
    }
}

/// A command that waits for the owner task, its type forgotten.
pub(crate) trait Waiting: Send {
    /// For logs.
    fn name(&self) -> &'static str;
    /// Does it; on an error the caller takes the changes back.
    fn apply(self: Box<Self>, tx: &mut Tx<'_>) -> Applied;
    /// Answers that it cannot be done.
    fn refuse(self: Box<Self>, why: Unavailable);
}

/// A command that was applied and not answered yet.
pub(crate) struct Applied {
    /// Whether its changes hold.
    pub(crate) done: bool,
    /// Answers, once what it did is durable (`Ok`) or known not to be.
    pub(crate) answer: Box<dyn FnOnce(Result<(), Unavailable>) + Send>,
}

/// A command and who waits for its reply.
pub(crate) struct Call<C: Command> {
    pub(crate) command: C,
    pub(crate) reply: oneshot::Sender<Result<C::Reply, C::Error>>,
}

impl<C: Command> Waiting for Call<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn apply(self: Box<Self>, tx: &mut Tx<'_>) -> Applied {
        let Self { command, reply } = *self;
        let result = command.apply(tx);
        Applied {
            done: result.is_ok(),
            // A caller that no longer waits is no reason to undo what it asked for.
            answer: Box::new(move |durable| drop(reply.send(durable.map_err(C::Error::from).and(result)))),
        }
    }

    fn refuse(self: Box<Self>, why: Unavailable) {
        drop(self.reply.send(Err(why.into())));
    }
}

impl From<Unavailable> for ApiError {
    fn from(why: Unavailable) -> Self {
        Self::server(why.to_string())
    }
}
