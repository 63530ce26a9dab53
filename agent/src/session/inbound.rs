//! What arrives at the agent: assignments, guarded, handed on one at a time, and answered once they are saved.

use super::{ApplyError, DesiredUpdate, RefusedTask};
use futures::future::BoxFuture;
use longshore_model::{Assignment, Generation};
use longshore_proto::{FieldError, ReadAssignment, v1};
use tokio::sync::{mpsc, oneshot};

/// The assignments of one stream.
pub(super) struct Inbound {
    /// The generation that is durably saved, as far as this stream knows.
    saved: Generation,
    desired: mpsc::Sender<DesiredUpdate>,
    /// The assignment that is being saved, and its outcome.
    applying: Option<BoxFuture<'static, Result<Generation, ApplyError>>>,
    /// One that came meanwhile. The control plane sends the next only when the last is acknowledged, or everything
    /// again when that takes long; so the latest is the one that counts.
    waiting: Option<ReadAssignment>,
}

/// What to do after an assignment came or was saved.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// Nothing yet.
    Nothing,
    /// Tell the control plane that this generation is saved.
    Applied(Generation),
    /// Ask it for everything.
    Resync(String),
}

/// An assignment that no correct control plane sends: the stream ends.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Wrong {
    /// Not readable as a whole.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// It would turn the agent back.
    #[error(
        "the control plane sent generation {offered}, and generation {saved} is saved here; an agent does not go \
             back. Was the control plane's store replaced by an older copy?"
    )]
    Older {
        /// What came.
        offered: Generation,
        /// What is saved.
        saved: Generation,
    },
}

impl Inbound {
    pub(super) fn new(saved: Generation, desired: mpsc::Sender<DesiredUpdate>) -> Self {
        Self { saved, desired, applying: None, waiting: None }
    }

    /// Takes a message off the stream.
    pub(super) fn take(&mut self, message: v1::Assignment) -> Result<Answer, Wrong> {
        let read = ReadAssignment::try_from(message)?;
        for error in &read.unreadable {
            tracing::error!(%error, "an entry of an assignment has no readable task id; ignored");
        }
        if self.applying.is_some() {
            self.waiting = Some(read);
            return Ok(Answer::Nothing);
        }
        self.apply(read)
    }

    fn apply(&mut self, read: ReadAssignment) -> Result<Answer, Wrong> {
        let ReadAssignment { assignment, refused, unreadable: _ } = read;
        let (offered, saved) = (assignment.generation(), self.saved);
        if offered < saved {
            return Err(Wrong::Older { offered, saved });
        }
        if let Assignment::Delta { base, .. } = &assignment
            && *base != saved
        {
            return Ok(Answer::Resync(format!("the delta builds on generation {base}, and {saved} is saved here")));
        }
        for task in &refused {
            tracing::error!(task = %task.task, error = %task.error, "a task of the assignment cannot be read; refused");
        }
        let refused = refused
            .into_iter()
            .map(|refused| RefusedTask {
                task: refused.task,
                desired: refused.desired,
                stop_reason: refused.stop_reason,
                why: refused.error.to_string(),
            })
            .collect();
        let (done, outcome) = oneshot::channel();
        let update = DesiredUpdate { assignment, refused, done };
        let desired = self.desired.clone();
        let not_saved = || ApplyError::NotSaved { why: "the engine ended".to_owned() };
        self.applying = Some(Box::pin(async move {
            desired.send(update).await.map_err(|_| not_saved())?;
            outcome.await.unwrap_or_else(|_| Err(not_saved()))
        }));
        Ok(Answer::Nothing)
    }

    /// Waits until the assignment at hand is saved; for ever when there is none. Cancel-safe.
    pub(super) async fn applied(&mut self) -> Result<Generation, ApplyError> {
        match &mut self.applying {
            None => std::future::pending().await,
            Some(applying) => {
                let outcome = applying.await;
                self.applying = None;
                outcome
            }
        }
    }

    /// What follows from an outcome, and the next assignment if one waits.
    pub(super) fn after(&mut self, outcome: Result<Generation, ApplyError>) -> Result<Answer, Wrong> {
        let answer = match outcome {
            Ok(saved) => {
                self.saved = saved;
                Answer::Applied(saved)
            }
            Err(ApplyError::Outdated { saved }) => {
                self.saved = saved;
                Answer::Resync(format!("generation {saved} is saved here, and the update did not build on it"))
            }
            Err(error @ ApplyError::NotSaved { .. }) => {
                // Not answered: the control plane sends everything again after a while.
                tracing::error!(%error, "an assignment was not saved, and is not acknowledged");
                Answer::Nothing
            }
        };
        match self.waiting.take() {
            None => Ok(answer),
            Some(next) => match (self.apply(next)?, answer) {
                (Answer::Nothing, answer) => Ok(answer),
                (next, _) => Ok(next),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::DESIRED_QUEUE;

    fn complete(generation: u64) -> v1::Assignment {
        v1::Assignment { generation, complete: true, ..v1::Assignment::default() }
    }

    fn delta(base: u64, generation: u64) -> v1::Assignment {
        v1::Assignment { generation, base_generation: base, ..v1::Assignment::default() }
    }

    #[tokio::test]
    async fn saved_first_then_acknowledged() {
        let (desired, mut engine) = mpsc::channel(DESIRED_QUEUE);
        let mut inbound = Inbound::new(Generation(4), desired);
        assert_eq!(inbound.take(complete(5)), Ok(Answer::Nothing));
        // The next one waits its turn; of several that wait the latest counts.
        assert_eq!(inbound.take(complete(6)), Ok(Answer::Nothing));
        assert_eq!(inbound.take(complete(7)), Ok(Answer::Nothing));
        let (outcome, ()) = tokio::join!(inbound.applied(), async {
            let update: DesiredUpdate = engine.recv().await.expect("an update");
            assert_eq!(update.assignment.generation(), Generation(5));
            update.done.send(Ok(Generation(5))).expect("somebody waits");
        });
        assert_eq!(inbound.after(outcome), Ok(Answer::Applied(Generation(5))));
        let (outcome, ()) = tokio::join!(inbound.applied(), async {
            let update = engine.recv().await.expect("an update");
            assert_eq!(update.assignment.generation(), Generation(7));
            drop(update);
        });
        assert_eq!(inbound.after(outcome), Ok(Answer::Nothing), "what is not saved is not acknowledged");
    }

    #[tokio::test]
    async fn an_agent_does_not_go_back_and_a_gap_is_a_resync() {
        let (desired, mut engine) = mpsc::channel(DESIRED_QUEUE);
        let mut inbound = Inbound::new(Generation(4), desired);
        let older = Wrong::Older { offered: Generation(3), saved: Generation(4) };
        assert_eq!(inbound.take(complete(3)), Err(older));
        assert!(matches!(inbound.take(delta(5, 6)), Ok(Answer::Resync(_))));
        assert!(matches!(inbound.take(delta(3, 6)), Ok(Answer::Resync(_))));
        assert!(matches!(inbound.take(delta(6, 6)), Err(Wrong::Field(_))));
        assert!(engine.try_recv().is_err(), "none of them was handed on");
        // The engine knows better than the session.
        assert_eq!(inbound.take(delta(4, 6)), Ok(Answer::Nothing));
        let (outcome, ()) = tokio::join!(inbound.applied(), async {
            let update = engine.recv().await.expect("an update");
            update.done.send(Err(ApplyError::Outdated { saved: Generation(5) })).expect("somebody waits");
        });
        assert!(matches!(inbound.after(outcome), Ok(Answer::Resync(_))));
        assert_eq!(inbound.saved, Generation(5));
    }
}
