//! Forgetting what is over, and what nothing refers to any more.

use crate::agent::Unavailable;
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::{DefinitionKey, PinKey};
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
    /// No task and no deployment refers to them.
    Pins(PinKey),
}

impl Sweep {
    /// What is due at `now`. Looks at nothing that is not.
    pub(crate) fn find(state: &State, now: Timestamp, retention: Duration) -> Vec<Due> {
        let graves = state
            .graves()
            // Ordered by time, so nothing that is not due is looked at. A client token or a secret lies under its own
            // end and is kept for the retention beyond it, which does no harm: nobody is given it any more.
            .take_while(|(at, _)| at.after(retention) <= now)
            .map(|(at, grave)| Due::Grave(*at, grave.clone()));
        let doomed = state.doomed_definitions().filter(|key| state.definition_users(key) == 0);
        let idle = state.idle_pins().cloned().map(Due::Pins);
        graves.chain(doomed.cloned().map(Due::Definition)).chain(idle).collect()
    }
}

impl Command for Sweep {
    const NAME: &'static str = "Sweep";
    type Reply = ();
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Unavailable> {
        for due in self.due {
            let changes = forget(tx.state(), due);
            changes.into_iter().for_each(|change| tx.change(change));
        }
        Ok(())
    }
}

/// The changes that forget `due`; none when it came back to life or something still refers to it.
fn forget(state: &State, due: Due) -> Vec<Change> {
    if let Due::Grave(at, Grave::Service(key)) = &due {
        let found = state.service(key).filter(|_| state.is_grave(*at, &Grave::Service(key.clone())));
        let events = found.iter().flat_map(|service| &service.events);
        let events = events.map(|event| Change::ForgetServiceEvent(key.clone(), event.number));
        let deployments = found.iter().flat_map(|service| &service.deployments);
        let deployments = deployments.map(|record| Change::ForgetServiceDeployment(key.clone(), record.number));
        return events.chain(deployments).chain(found.map(|_| Change::ForgetService(key.clone()))).collect();
    }
    forget_one(state, due).into_iter().collect()
}

fn forget_one(state: &State, due: Due) -> Option<Change> {
    match due {
        Due::Definition(key) => (state.definition_users(&key) == 0).then_some(Change::ForgetDefinition(key)),
        Due::Pins(key) => state.are_idle(&key).then_some(Change::ForgetPins(key)),
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
                // With its events, above.
                Grave::Service(_) => None,
                Grave::ClientToken(key) => Some(Change::ForgetClientToken(key)),
                Grave::Secret(key) => Some(Change::ForgetSecret(key)),
            }
        }
    }
}
