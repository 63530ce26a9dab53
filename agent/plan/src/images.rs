//! Images: which one a container is made from, and tasks that are over once theirs are here.

use crate::observe::Ended;
use crate::reasons;
use crate::record::{Ending, Phase};
use crate::task::Task;
use longshore_model::{StopCode, TaskSpec, Timestamp};
use std::sync::Arc;

impl Task {
    /// Takes over the digests that `told` knows for images that are still to come. A container whose image is here
    /// keeps the one it has. Says whether there were any.
    pub(crate) fn learn_digests(&mut self, told: &TaskSpec) -> bool {
        let Some(spec) = &mut self.spec else { return false };
        let mut learned = false;
        for (i, record) in self.record.containers.iter().enumerate() {
            let new = told.containers.iter().find(|c| c.name == record.name).and_then(|c| c.image_digest.clone());
            let known = spec.containers.get(i).is_none_or(|c| c.name != record.name || c.image_digest.is_some());
            if new.is_some() && !known && record.phase == Phase::Waiting {
                Arc::make_mut(spec).containers[i].image_digest = new;
                learned = true;
            }
        }
        learned
    }

    /// The image of container `i` is here, and has this digest where it has one.
    pub(crate) fn image_is_here(&mut self, i: usize, digest: Option<String>, now: Timestamp) {
        let pinned = self.spec.as_ref().and_then(|spec| spec.containers.get(i)?.image_digest.as_ref());
        if pinned.is_some_and(|pinned| digest.as_deref() != Some(pinned.as_str())) {
            // The digest came to be known while what the tag means was being pulled: the next pass asks for it.
            return;
        }
        self.record.times.pull_stopped_at = Some(now);
        let container = &mut self.record.containers[i];
        container.image_digest = digest.or(container.image_digest.take());
        if container.phase != Phase::Waiting {
            return;
        }
        if self.outline.pull_only {
            // There is nothing to remove, and its exit code is that of something that did what it should.
            self.end(i, Ended { exit_code: Some(0), remains: false, ..Ended::at(now) });
        } else {
            container.phase = Phase::Pulled;
        }
    }

    /// Why a task that only wants its images ends: all are here, or will not come.
    pub(crate) fn why_pulling_ends(&self, now: Timestamp) -> Option<Ending> {
        if !self.record.all_stopped() {
            return None;
        }
        let failed = |c: &crate::record::ContainerRecord| {
            let reason = c.phase.stopped()?.reason.as_ref()?;
            Some(reasons::failed_to_start(&c.name, reason))
        };
        let (code, reason) = match self.record.containers.iter().find_map(failed) {
            Some(reason) => (StopCode::TaskFailedToStart, reason),
            None => (StopCode::EssentialContainerExited, reasons::PULLED.to_owned()),
        };
        Some(Ending { code: Some(code), reason, at: now })
    }
}
