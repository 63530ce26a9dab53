//! What a container needs of others of its task before it is made: those whose volumes it takes, since they have to
//! exist, and those that it links, since they have to run. Both wait until the other has begun, which ECS asks of links
//! alone: so whatever a container is made from is never made again after it.

use crate::outcome::Stage;
use crate::pass::Pass;
use crate::record::Phase;
use crate::step::Lane;
use crate::task::Task;
use longshore_model::{ContainerName, Timestamp};

impl Task {
    /// A container that `i` waits for, if there is one. One that is over is not waited for.
    pub(crate) fn missing_company(&self, i: usize) -> Option<&ContainerName> {
        let begun = |name: &&ContainerName| {
            self.phase_of(name).is_none_or(|phase| match phase {
                Phase::Running { .. } | Phase::Restarting { .. } | Phase::Stopped(_) => true,
                Phase::Waiting
                | Phase::Pulled
                | Phase::Created { .. }
                | Phase::Starting { .. }
                | Phase::Discarding { .. } => false,
            })
        };
        self.outline.containers[i].after.iter().find(|name| !begun(name))
    }

    /// Whether one that container `i` links is down until its restart policy starts it again: the engine links running
    /// ones only. Says so.
    pub(crate) fn company_rests(&self, i: usize, pass: &mut Pass) -> bool {
        let rests = |name: &&ContainerName| matches!(self.phase_of(name), Some(Phase::Restarting { .. }));
        let found = self.outline.containers[i].links.iter().find(rests);
        if let Some(name) = found {
            pass.going_on(Some(&self.record.containers[i].name), &format!("the restart of container `{name}`"));
        }
        found.is_some()
    }

    /// Ends every container that cannot be made because one that it needs ended without ever being made, and those that
    /// need it in turn.
    pub(crate) fn end_forsaken(&mut self, now: Timestamp) {
        // Of a task that may have run before, each container is looked at by itself.
        if self.record.ending.is_some() || !self.record.may_start {
            return;
        }
        while let Some((i, name)) = self.forsaken() {
            let text = format!("container `{name}`, which it needs by volumesFrom or links, was never created");
            self.fail(i, Stage::Create, &text, false, now);
        }
    }

    fn forsaken(&self) -> Option<(usize, ContainerName)> {
        let never_made = |name: &&ContainerName| match self.phase_of(name) {
            Some(Phase::Stopped(stopped)) => stopped.id.is_none() && !stopped.ran,
            Some(_) | None => false,
        };
        (0..self.record.containers.len()).find_map(|i| {
            let after = &self.outline.containers[i].after;
            let missing = after.iter().find(never_made).filter(|_| self.is_unmade(i));
            missing.map(|name| (i, name.clone()))
        })
    }

    /// Whether it is certain that container `i` does not exist and nobody is about to make it.
    pub(crate) fn is_unmade(&self, i: usize) -> bool {
        matches!(self.record.containers[i].phase, Phase::Waiting | Phase::Pulled)
            && !self.live.containers[i].look
            && !self.live.in_flight.contains_key(&Lane::Container(i))
    }

    fn phase_of(&self, name: &ContainerName) -> Option<&Phase> {
        self.record.containers.iter().find(|c| c.name == *name).map(|c| &c.phase)
    }
}
