//! The interface of an `awsvpc` task: what is kept of it, and what becomes of a task whose sandbox ends.

use crate::observe::{RunState, Sighting};
use crate::reasons;
use crate::record::{Ending, ResourceKind, ResourcePhase};
use crate::step::{Lane, Step};
use crate::task::Task;
use longshore_model::{Bandwidth, ContainerName, EniId, EniReport, GroupId, StopCode, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long containers may outlive their sandbox when they restart: an engine that is shut down waits for each of them.
const OUTLIVED: Duration = Duration::from_secs(60);

/// An interface as a task was given it. In the record and in the label of each container, so that either is enough to
/// put everything back as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its id and addresses.
    pub eni: EniReport,
    /// The engine's id of the container that holds its network namespace, which the task's containers join.
    pub sandbox: String,
    /// The host's directory with the files that name the task and its resolver.
    pub files: String,
    /// The task's security groups.
    pub groups: BTreeSet<GroupId>,
    /// Its limits.
    pub bandwidth: Bandwidth,
}

impl Task {
    fn interface_phase(&self) -> Option<&ResourcePhase> {
        self.record.resources.iter().find(|r| r.kind == ResourceKind::Interface).map(|r| &r.phase)
    }

    /// The interface, while the task has it.
    #[must_use]
    pub fn held_interface(&self) -> Option<&Interface> {
        match self.interface_phase()? {
            ResourcePhase::Ready => self.record.interface.as_ref(),
            ResourcePhase::Wanted | ResourcePhase::Gone => None,
        }
    }

    /// What is reported of the interface: from when it is wired, also once it is gone.
    pub(crate) fn eni(&self) -> Option<EniReport> {
        let interface = self.record.interface.as_ref()?;
        Some(EniReport { attached: self.held_interface().is_some(), ..interface.eni.clone() })
    }

    /// Whether the task needs an interface and has not had it yet.
    pub(crate) fn lacks_interface(&self) -> bool {
        match self.interface_phase() {
            Some(ResourcePhase::Wanted) => true,
            Some(ResourcePhase::Ready | ResourcePhase::Gone) | None => false,
        }
    }

    /// Whether no interface is the task's any more, or ever was.
    pub(crate) fn interface_returned(&self) -> bool {
        match self.interface_phase() {
            Some(ResourcePhase::Wanted | ResourcePhase::Ready) => false,
            Some(ResourcePhase::Gone) | None => true,
        }
    }

    /// Whether the task's end waits for the return of its interface. That waits for the ledger itself, and as long as
    /// the ledger cannot be written the end is told without it: until it is returned the host gives its address to
    /// nobody, whatever is known of the task.
    pub(crate) fn end_awaits_interface(&self) -> bool {
        !self.interface_returned() && !self.live.ledger_fault
    }

    /// Takes the interface from the label of a container that was made in it.
    pub(crate) fn found_interface(&mut self, interface: &Interface) {
        if self.record.interface.is_none() {
            self.record.interface = Some(interface.clone());
        }
        if let Some(resource) = self.record.resource_mut(&ResourceKind::Interface)
            && resource.phase == ResourcePhase::Wanted
        {
            resource.phase = ResourcePhase::Ready;
        }
    }

    /// Compares the sandboxes, each with whether it runs, and the task's containers, listed when `as_of` outcomes had
    /// been taken in. A task whose sandbox does not run ends: its containers may go on, but nobody can join or look
    /// after their network any more. Where one of them may be started again, as after a reboot of the host, the task
    /// goes on once all of them have ended, and its sandbox is started with it; an engine that is shut down ends them
    /// one after another. Says whether a pass would see anything new.
    pub fn sight_sandboxes(
        &mut self,
        sandboxes: &BTreeMap<EniId, bool>,
        listing: &BTreeMap<ContainerName, Sighting>,
        as_of: u64,
        now: Timestamp,
    ) -> bool {
        let busy = self.live.in_flight.contains_key(&Lane::Resource(ResourceKind::Interface));
        if busy || self.live.interface_touched > as_of || self.record.ending.is_some() {
            return false;
        }
        let Some(interface) = self.held_interface() else { return false };
        let eni = interface.eni.id;
        let runs = sandboxes.get(&eni).copied();
        self.live.sandbox_asleep = runs == Some(false);
        let restarts = self.outline.containers.iter().any(|c| c.restart.is_some());
        let goes_on = match runs {
            Some(true) => true,
            Some(false) if restarts && self.is_live(listing, as_of) => {
                let since = *self.live.outlived_since.get_or_insert(now);
                return now.since(since) >= OUTLIVED && self.lose_sandbox(eni, now);
            }
            Some(false) => restarts,
            None => false,
        };
        self.live.outlived_since = None;
        !goes_on && self.lose_sandbox(eni, now)
    }

    fn lose_sandbox(&mut self, eni: EniId, now: Timestamp) -> bool {
        let reason = reasons::clip(format!("{} ({eni})", reasons::SANDBOX_LOST));
        self.record.ending = Some(Ending { code: Some(StopCode::InfrastructureHealth), reason, at: now });
        self.settle(now);
        true
    }

    /// Whether a container ran when a listing was asked for. One that was started since tells nothing of its sandbox
    /// then.
    fn is_live(&self, listing: &BTreeMap<ContainerName, Sighting>, as_of: u64) -> bool {
        self.record.containers.iter().zip(&self.live.containers).enumerate().any(|(i, (container, live))| {
            let begins = matches!(self.live.in_flight.get(&Lane::Container(i)), Some(Step::Start(_)));
            let runs = listing.get(&container.name).is_some_and(|seen| seen.state == RunState::Running);
            runs && !begins && live.touched <= as_of
        })
    }
}
