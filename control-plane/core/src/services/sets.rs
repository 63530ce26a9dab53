//! Task sets at work: each is decided over like a service of its own, one step of one set at a time.

use super::decision::{Decider, Looked, PER_STEP, Step, silent_hosts};
use super::picture::{Seen, set_picture};
use super::troubles::troubles;
use super::words::{self, Said};
use crate::commands::{Moves, NewDeployment, StepService, StepTaskSet, is_news};
use crate::records::{RolloutState, ServiceTaskSet};
use crate::state::{ServiceState, Silent, State};
use longshore_model::Timestamp;
use longshore_rollout::decide;
use std::sync::Arc;

impl Decider<'_> {
    /// What is to be done for a service with the EXTERNAL controller: a step of the first set that needs one.
    pub(super) fn decided_for_sets(
        self,
        state: &State,
        found: &ServiceState,
        was_unplaced: bool,
        now: Timestamp,
        mut looked: Looked,
    ) -> (Option<Step>, Looked) {
        let service = &found.record;
        if !service.is_active() && service.task_sets.is_empty() && state.service_tasks(&service.key).is_empty() {
            return (Some(Step::Service(Box::new(self.over(found)))), looked);
        }
        let mut step = None;
        for set in &service.task_sets {
            let next = self.decided_for_set(state, found, set, was_unplaced, now, &mut looked);
            // The others are looked at once this one was carried out: a step is refused after any change.
            if step.is_some() && next.is_some() {
                looked.again = true;
            }
            step = step.or(next);
        }
        (step.map(|step| Step::TaskSet(Box::new(step))), looked)
    }

    fn decided_for_set(
        self,
        state: &State,
        found: &ServiceState,
        set: &ServiceTaskSet,
        was_unplaced: bool,
        now: Timestamp,
        looked: &mut Looked,
    ) -> Option<StepTaskSet> {
        let service = &found.record;
        let id = &set.deployment.id;
        let Seen { picture, silent } = set_picture(state, service, set, self.looking(was_unplaced));
        let decision = decide(&picture, now);
        let mut says = Vec::new();
        self.mind(&silent, looked, &mut says, now);
        looked.wake_at = [looked.wake_at, decision.wake_at].into_iter().flatten().min();
        if picture.no_gain {
            looked.waits_for_room(now);
        }
        let troubles = troubles(&service.key, &picture, &decision, &set.deployment);
        let mut stops = decision.stops;
        looked.again |= stops.len() > PER_STEP;
        stops.truncate(PER_STEP);
        let placed = self.placed(state, service, &set.deployment, &picture, &decision.launch, looked, &mut says, now);
        let gone = !picture.active && picture.tasks.is_empty();
        let steady = decision.steady && !gone;
        let was_steady = set.deployment.state == RolloutState::Completed;
        if steady && !was_steady {
            says.push(words::steady(&service.key).into());
        }
        says.extend(troubles.into_iter().map(Said::from));
        let moves = !stops.is_empty() || placed.is_some() || steady != was_steady || gone;
        let mut says: Vec<Said> = says.into_iter().map(|said| said.of_task_set(&service.key, id)).collect();
        // Each look finds again what the set is. A turn of the owner's is for what is new.
        if !moves {
            says.retain(|said| is_news(found.events.iter().rev().map(|event| &**event), &said.message, now));
        }
        if !moves && !decision.recovered && !decision.forgiven && says.is_empty() {
            return None;
        }
        Some(StepTaskSet {
            moves: Moves {
                key: service.key.clone(),
                epoch: found.epoch,
                launch: placed.map(|(launch, plan)| (launch, Some(plan))),
                recovered: decision.recovered,
                forgiven: decision.forgiven,
                stops,
                silent: silent_hosts(state, &service.key.cluster),
            },
            id: Arc::clone(id),
            steady,
            gone,
            event_ids: (0..says.len() + 2).map(|_| uuid::Uuid::new_v4()).collect(),
            says,
        })
    }

    /// The end of a service that was deleted and has nothing left.
    fn over(self, found: &ServiceState) -> StepService {
        StepService {
            moves: Moves {
                key: found.record.key.clone(),
                epoch: found.epoch,
                launch: None,
                recovered: false,
                forgiven: false,
                stops: Vec::new(),
                silent: Silent::new(),
            },
            verdict: None,
            gone: Vec::new(),
            over: true,
            says: Vec::new(),
            new: NewDeployment::random(),
            event_ids: Vec::new(),
        }
    }
}
