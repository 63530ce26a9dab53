//! What follows from the record by itself: when a task ends and why, what never starts any more, and the times.

use crate::observe::Ended;
use crate::reasons;
use crate::record::{ContainerRecord, Ending, Phase, Wish};
use crate::room::Place;
use crate::task::Task;
use longshore_model::{StopCode, TaskStatus, Timestamp};

impl Task {
    /// Brings the record in line with itself. Running it twice changes nothing.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        // Found running without having been placed by this agent: it has what it needs, whatever it asked for.
        if self.record.place == Place::Wanted && self.record.containers.iter().any(|c| c.phase.is_running()) {
            self.record.place = Place::Given;
        }
        self.end_forsaken(now);
        if self.record.ending.is_none() {
            self.record.ending = self.why_it_ends(now);
        }
        if self.record.ending.is_some() {
            (0..self.record.containers.len()).for_each(|i| self.end_unstarted(i, now));
        }
        self.stamp(now);
        self.record.reached = self.record.reached.max(self.status_now());
    }

    fn why_it_ends(&self, now: Timestamp) -> Option<Ending> {
        let wish = match &self.record.wish {
            Wish::Unknown | Wish::Run => None,
            Wish::Stop { reason } | Wish::Forget { reason } => Some(reason),
        };
        if let Some(reason) = wish {
            return Some(Ending { code: None, reason: reasons::clip(reason.clone()), at: now });
        }
        if self.outline.pull_only {
            return self.why_pulling_ends(now);
        }
        // The first essential container that ended says why.
        let (name, stopped) = self
            .outline
            .containers
            .iter()
            .zip(&self.record.containers)
            .filter(|(outline, _)| outline.essential)
            .filter_map(|(_, c)| c.phase.stopped().map(|stopped| (&c.name, stopped)))
            .min_by_key(|(_, stopped)| stopped.at)?;
        let ending = |code, reason| Some(Ending { code: Some(code), reason, at: now });
        match (&stopped.reason, stopped.ran) {
            (Some(reason), _) if reason == reasons::UNKNOWN_HERE => {
                ending(StopCode::InfrastructureHealth, reason.clone())
            }
            (_, true) => ending(StopCode::EssentialContainerExited, reasons::ESSENTIAL_EXITED.to_owned()),
            (Some(reason), false) => ending(StopCode::TaskFailedToStart, reasons::failed_to_start(name, reason)),
            (None, false) => ending(StopCode::TaskFailedToStart, "Task failed to start".to_owned()),
        }
    }

    /// Of a task that ends, a container that certainly never ran is over. One that may be starting is looked at first.
    fn end_unstarted(&mut self, i: usize, now: Timestamp) {
        if self.is_unstarted(i) && !self.is_engaged(i) {
            let phase = &self.record.containers[i].phase;
            let ended = match phase {
                // It ran, and ended as it did.
                Phase::Restarting { ended, .. } => {
                    let reason = ended.reason.clone().or_else(|| Some(reasons::NOT_RESTARTED.to_owned()));
                    Ended { reason, ..Ended::at(ended.at) }
                }
                Phase::Waiting
                | Phase::Pulled
                | Phase::Created { .. }
                | Phase::Starting { .. }
                | Phase::Discarding { .. }
                | Phase::Running { .. }
                | Phase::Stopped(_) => {
                    let reason = phase.id().map(|_| reasons::NOT_STARTED.to_owned());
                    Ended { reason, ..Ended::at(now) }
                }
            };
            self.end(i, ended);
        }
    }

    fn stamp(&mut self, now: Timestamp) {
        let stops = |c: &ContainerRecord| c.phase.stopped().map(|stopped| (stopped.at, stopped.ran));
        let awaited = self.end_awaits_interface();
        let record = &mut self.record;
        let up = record.containers.iter().all(|c| c.phase.is_up());
        let all_ran = record.containers.iter().all(|c| c.started_at.is_some());
        if record.times.started_at.is_none() && ((up && record.ending.is_none()) || all_ran) {
            record.times.started_at = record.containers.iter().filter_map(|c| c.started_at).max();
        }
        let all_stopped = record.all_stopped();
        if record.times.execution_stopped_at.is_none() {
            let essential = self
                .outline
                .containers
                .iter()
                .zip(&record.containers)
                .filter(|(o, _)| o.essential)
                .filter_map(|(_, c)| stops(c))
                .filter(|(_, ran)| *ran)
                .map(|(at, _)| at)
                .min();
            let last = record.containers.iter().filter_map(stops).filter(|(_, ran)| *ran).map(|(at, _)| at).max();
            record.times.execution_stopped_at = essential.or(last.filter(|_| all_stopped));
        }
        if all_stopped && !awaited && record.ending.is_some() && record.times.stopped_at.is_none() {
            record.times.stopped_at = Some(now);
        }
    }

    /// The status that the record shows, ECS's minimum over the containers with the rule of the essential ones.
    pub(crate) fn status_now(&self) -> TaskStatus {
        match (&self.record.ending, self.record.all_stopped()) {
            (Some(_), true) if self.end_awaits_interface() => TaskStatus::Deprovisioning,
            (Some(_), true) => TaskStatus::Stopped,
            (Some(_), false) => TaskStatus::Stopping,
            (None, _) => {
                let up = self.record.containers.iter().all(|c| c.phase.is_up());
                match (up, self.lacks_interface()) {
                    (true, _) => TaskStatus::Running,
                    (false, true) => TaskStatus::Provisioning,
                    (false, false) => TaskStatus::Pending,
                }
            }
        }
    }
}
