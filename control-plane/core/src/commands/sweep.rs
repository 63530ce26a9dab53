//! Forgetting what is over, and what nothing refers to any more.

use crate::agent::Unavailable;
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::DefinitionKey;
use crate::state::{Grave, State};
use longshore_model::Timestamp;
use std::time::Duration;

/// Forgets these, as far as that is still right.
pub(crate) struct Sweep {
    pub(crate) due: Vec<Due>,
}

/// Something to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// It was over long enough ago.
    Grave(Timestamp, Grave),
    /// Its deletion was asked for.
    Definition(DefinitionKey),
}

impl Sweep {
    /// What is due at `now`. Looks at nothing that is not.
    pub(crate) fn find(state: &State, now: Timestamp, retention: Duration) -> Vec<Due> {
        let graves = state
            .graves()
            // Ordered by time, so nothing that is not due is looked at. A client token or a secret lies under its own end
            // and is kept for the retention beyond it, which does no harm: nobody is given it any more.
            .take_while(|(at, _)| at.after(retention) <= now)
            .map(|(at, grave)| Due::Grave(*at, grave.clone()));
        let doomed = state.doomed_definitions().filter(|key| state.definition_users(key) == 0);
        graves.chain(doomed.cloned().map(Due::Definition)).collect()
    }
}

impl Command for Sweep {
    const NAME: &'static str = "Sweep";
    type Reply = ();
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Unavailable> {
        for due in self.due {
            if let Some(change) = forget(tx.state(), due) {
                tx.change(change);
            }
        }
        Ok(())
    }
}

/// The change that forgets `due`; `None` when it came back to life or something still refers to it.
fn forget(state: &State, due: Due) -> Option<Change> {
    match due {
        Due::Definition(key) => (state.definition_users(&key) == 0).then_some(Change::ForgetDefinition(key)),
        Due::Grave(at, grave) => {
            if !state.is_grave(at, &grave) {
                return None;
            }
            match grave {
                Grave::Task(id) => Some(Change::ForgetTask(id)),
                Grave::Instance(id) => {
                    let has_tasks = state.host(id).is_some_and(|host| !host.live.is_empty());
                    (!has_tasks).then_some(Change::ForgetInstance(id))
                }
                Grave::Cluster(key) => {
                    let empty = state.cluster(&key).is_some_and(|c| c.hosts.is_empty() && c.live_tasks() == 0);
                    empty.then_some(Change::ForgetCluster(key))
                }
                Grave::ClientToken(key) => Some(Change::ForgetClientToken(key)),
                Grave::Secret(key) => Some(Change::ForgetSecret(key)),
            }
        }
    }
}
