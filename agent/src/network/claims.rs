//! Interfaces from their making to their removal: the warm pool, tasks that ask, and tasks that end.

use super::adopt::{Kept, put_back};
use super::apply::SharedFabric;
use super::fabric::{Admission, Fault};
use super::files::TaskNames;
use super::handle::Claim;
use super::owner::{AGAIN, Done, Network};
use super::pool::{MAKES, REFILLS};
use super::shelf::InterfaceFiles;
use crate::crash::{self, Place};
use crate::engine::docker::chain;
use longshore_model::{Bandwidth, EniId, EniReport, Mac, TaskId};
use longshore_plan::{Failure, Interface};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a task waits here before it is told why; then it asks again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it counts that nobody else had an address.
const LOOKED: Duration = Duration::from_secs(30);

/// Waits between tries of a removal: the first, and the longest.
const REMOVE_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

type Answer = oneshot::Sender<Result<Interface, Failure>>;
type ReleaseAnswer = oneshot::Sender<Result<(), Failure>>;

/// An interface that exists or is being made.
pub(super) struct Slot {
    pub(super) address: Ipv4Addr,
    /// The engine's id of its sandbox.
    pub(super) sandbox: Option<String>,
    pub(super) stage: Stage,
}

/// How far an interface is.
pub(super) enum Stage {
    /// A sandbox without a task was there at the start. Left when the kernel's side was looked at.
    Found,
    /// Its sandbox is being made and wired.
    Making,
    /// It waits for a task; it can neither send nor receive.
    Warm {
        /// Since when: a listing that is older does not show it.
        since: Instant,
        /// Whether nobody else on the hosts' network had its address then.
        looked: bool,
    },
    /// It is being let through for a task.
    Claiming { task: TaskId, interface: Box<Interface>, answers: Vec<Answer>, releases: Vec<ReleaseAnswer> },
    /// A task has it.
    Claimed {
        task: TaskId,
        interface: Box<Interface>,
        /// Whether the kernel lets it through as far as this process knows, or never will again.
        admitted: bool,
        /// Its sandbox has ended, and with it what the kernel had; a restart of one of its containers starts it again.
        asleep: bool,
    },
    /// It is being cut off.
    Releasing {
        task: TaskId,
        interface: Box<Interface>,
        /// Whether a fabric does that. Without one its processes are gone, and its removal does the rest.
        by_fabric: bool,
        releases: Vec<ReleaseAnswer>,
    },
    /// What there is of it is being removed.
    Removing {
        /// What may still be let through.
        admission: Option<Box<Admission>>,
        /// Whether its address rests from the end on: it was found, and may have been let through until then.
        rests: bool,
        failures: u32,
        /// When it is tried again; absent while it is being tried.
        again_at: Option<Instant>,
        error: Option<String>,
    },
}

impl Stage {
    pub(super) fn removing(admission: Option<Admission>) -> Self {
        Self::begin_removal(admission, false)
    }

    /// Of one that was found, and may have been a task's.
    pub(super) fn removing_found(admission: Option<Admission>) -> Self {
        Self::begin_removal(admission, true)
    }

    fn begin_removal(admission: Option<Admission>, rests: bool) -> Self {
        let (admission, again_at) = (admission.map(Box::new), Some(Instant::now()));
        Self::Removing { admission, rests, failures: 0, again_at, error: None }
    }
}

impl Slot {
    pub(super) fn task(&self) -> Option<TaskId> {
        match &self.stage {
            Stage::Claiming { task, .. } | Stage::Claimed { task, .. } | Stage::Releasing { task, .. } => Some(*task),
            Stage::Found | Stage::Making | Stage::Warm { .. } | Stage::Removing { .. } => None,
        }
    }

    /// Whether it is there for whichever task comes.
    pub(super) fn is_spare(&self) -> bool {
        match &self.stage {
            Stage::Found | Stage::Warm { .. } => true,
            Stage::Making
            | Stage::Claiming { .. }
            | Stage::Claimed { .. }
            | Stage::Releasing { .. }
            | Stage::Removing { .. } => false,
        }
    }
}

/// Why an interface was not made, or not given.
#[derive(Debug)]
pub(super) enum Refused {
    /// It did not work.
    Failed(Failure),
    /// Somebody else on the hosts' network has its address.
    Occupied(Mac),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Failed(failure(fault))
    }
}

/// Whether an address is free on the hosts' network.
async fn look_for_holder(fabric: &SharedFabric, address: Ipv4Addr) -> Result<(), Refused> {
    match fabric.holder(address).await? {
        Some(holder) => Err(Refused::Occupied(holder)),
        None => Ok(()),
    }
}

/// A task that waits for an interface.
pub(super) struct Waiting {
    claim: Claim,
    until: Instant,
    /// What it waits for, as far as that is known.
    why: String,
}

pub(super) fn admission(interface: &Interface) -> Admission {
    Admission { eni: interface.eni.clone(), groups: interface.groups.clone() }
}

pub(super) fn failure(fault: Fault) -> Failure {
    if fault.lasting { Failure::Lasting(fault.why) } else { Failure::Passing(fault.why) }
}

impl Network {
    /// The interfaces that are wired, and are to stay so.
    pub(super) fn wired(&self) -> Vec<EniReport> {
        let of = |(eni, slot): (&EniId, &Slot)| match &slot.stage {
            Stage::Found | Stage::Warm { .. } => Some(self.eni(*eni, slot.address)),
            Stage::Claiming { interface, .. }
            | Stage::Claimed { interface, asleep: false, .. }
            | Stage::Releasing { interface, .. } => Some(interface.eni.clone()),
            Stage::Claimed { asleep: true, .. } | Stage::Making | Stage::Removing { .. } => None,
        };
        self.slots.iter().filter_map(of).collect()
    }

    pub(super) fn slot_of(&mut self, task: TaskId) -> Option<(EniId, &mut Slot)> {
        self.slots.iter_mut().find(|(_, slot)| slot.task() == Some(task)).map(|(eni, slot)| (*eni, slot))
    }

    pub(super) fn claim(&mut self, claim: Claim) {
        let Some((_, slot)) = self.slot_of(claim.task) else {
            let until = Instant::now() + PATIENCE;
            self.waiting.push(Waiting { claim, until, why: "its turn".to_owned() });
            return;
        };
        match &mut slot.stage {
            Stage::Claimed { interface, .. } => _ = claim.answer.send(Ok(Interface::clone(interface))),
            Stage::Claiming { answers, .. } => answers.push(claim.answer),
            Stage::Releasing { .. } => {
                _ = claim.answer.send(Err(Failure::Passing("its interface is being returned".to_owned())));
            }
            Stage::Found | Stage::Making | Stage::Warm { .. } | Stage::Removing { .. } => {
                unreachable!("a slot with a task is in one of the stages above")
            }
        }
    }

    /// Gives interfaces to the tasks that wait, and makes as many as are missing.
    pub(super) fn drive_claims(&mut self, now: Instant) {
        let mut kept = Vec::new();
        let (mut missing, mut early) = (0_usize, 0_usize);
        for mut waiting in std::mem::take(&mut self.waiting) {
            if waiting.claim.answer.is_closed() {
                continue;
            }
            if let Some(why) = self.obstacle() {
                waiting.why = why;
            } else if let Some(why) = self.lacks_rules(&waiting.claim.wanted.groups) {
                // Its sandbox is made while they come.
                early += 1;
                waiting.why = why;
            } else if let Some(eni) = self.warm() {
                self.give(eni, waiting.claim, now);
                continue;
            } else {
                missing += 1;
                waiting.why.clear();
            }
            kept.push(waiting);
        }
        let wanted = (missing + early).saturating_sub(self.warm_count());
        let made = (self.making()..wanted.min(MAKES)).try_for_each(|_| self.make());
        let why = made.err().unwrap_or_else(|| "a sandbox, which is being made".to_owned());
        for mut waiting in kept {
            if waiting.why.is_empty() {
                waiting.why.clone_from(&why);
            }
            // Whoever asked may have gone.
            if !self.settings.enabled {
                _ = waiting.claim.answer.send(Err(Failure::Lasting(waiting.why)));
            } else if now >= waiting.until {
                _ = waiting.claim.answer.send(Err(Failure::Away(waiting.why)));
            } else {
                self.waiting.push(waiting);
            }
        }
    }

    pub(super) fn claims_wake(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// Why no task can be given an interface now.
    pub(super) fn obstacle(&self) -> Option<String> {
        if !self.settings.enabled {
            return Some("task_network is false in this host's configuration".to_owned());
        }
        if self.leases().is_empty() {
            return Some("the host's lease of the task network, which the control plane gives".to_owned());
        }
        if self.fabric.is_none() {
            let why = self.fabric_fault.as_deref().unwrap_or("it is being opened");
            return Some(format!("the host's task network: {why}"));
        }
        None
    }

    /// Why no task with these groups can be let through now.
    fn lacks_rules(&self, groups: &BTreeSet<longshore_model::GroupId>) -> Option<String> {
        let unknown: Vec<String> =
            groups.iter().filter(|group| !self.groups_in_force.contains(group)).map(ToString::to_string).collect();
        (!unknown.is_empty()).then(|| format!("the rules of its security groups {}", unknown.join(", ")))
    }

    fn warm(&self) -> Option<EniId> {
        self.slots.iter().find(|(_, slot)| matches!(slot.stage, Stage::Warm { .. })).map(|(eni, _)| *eni)
    }

    fn warm_count(&self) -> usize {
        self.slots.values().filter(|slot| matches!(slot.stage, Stage::Warm { .. })).count()
    }

    fn making(&self) -> usize {
        self.slots.values().filter(|slot| matches!(slot.stage, Stage::Making)).count()
    }

    /// Gives a warm sandbox to a task.
    fn give(&mut self, eni: EniId, claim: Claim, now: Instant) {
        let Claim { task, wanted, names, answer } = claim;
        let (Some(fabric), Some(slot)) = (self.fabric.clone(), self.slots.get(&eni)) else { return };
        let interface = Interface {
            eni: self.eni(eni, slot.address),
            sandbox: slot.sandbox.clone().unwrap_or_default(),
            files: self.files.of(eni).display().to_string(),
            groups: wanted.groups,
            bandwidth: wanted.bandwidth,
        };
        tracing::debug!(%task, %eni, address = %slot.address, "interface given");
        let files = self.files.clone();
        let wanted = interface.clone();
        let looked = matches!(&slot.stage, Stage::Warm { since, looked: true } if now.duration_since(*since) < LOOKED);
        self.jobs.spawn(async move {
            let through = async {
                if !looked {
                    look_for_holder(&fabric, wanted.eni.ipv4).await?;
                }
                let_through(&fabric, &*files, (task, &wanted), names).await.map_err(Refused::Failed)
            };
            Done::Claimed(eni, through.await)
        });
        let stage =
            Stage::Claiming { task, interface: Box::new(interface), answers: vec![answer], releases: Vec::new() };
        if let Some(slot) = self.slots.get_mut(&eni) {
            slot.stage = stage;
        }
        self.demand.claimed(now);
    }

    pub(super) fn claimed(&mut self, eni: EniId, result: Result<(), Refused>) {
        let Some(slot) = self.slots.get_mut(&eni) else { return };
        let Stage::Claiming { task, interface, answers, releases } = std::mem::replace(&mut slot.stage, Stage::Making)
        else {
            unreachable!("only the end of the claim leads out of it")
        };
        match result {
            Ok(()) => {
                for answer in answers {
                    _ = answer.send(Ok(Interface::clone(&interface)));
                }
                slot.stage = Stage::Claimed { task, interface, admitted: true, asleep: false };
                // Its task ended meanwhile.
                for answer in releases {
                    self.release(task, answer);
                }
            }
            Err(refused) => {
                let failure = self.refused(interface.eni.ipv4, refused);
                for answer in answers {
                    _ = answer.send(Err(failure.clone()));
                }
                self.discard(eni, Some(admission(&interface)));
                for answer in releases {
                    _ = answer.send(Ok(()));
                }
            }
        }
    }

    /// Why there is no interface, for whoever waits for it. An address that somebody else has is set aside.
    fn refused(&mut self, address: Ipv4Addr, refused: Refused) -> Failure {
        match refused {
            Refused::Failed(failure) => failure,
            Refused::Occupied(holder) => {
                tracing::warn!(%address, %holder, "somebody on the hosts' network has an address; it is set aside");
                self.set_aside.add(address, holder, Instant::now());
                Failure::Passing(format!("{address} is in use on the hosts' network by {holder}; it gets another"))
            }
        }
    }

    /// Lets tasks through that the kernel did not take at the start, now that more is known.
    pub(super) fn admit_again(&mut self) {
        let Some(fabric) = &self.fabric else { return };
        for slot in self.slots.values() {
            if let Stage::Claimed { task, interface, admitted: false, .. } = &slot.stage
                && interface.groups.is_subset(&self.groups_in_force)
            {
                let fabric = fabric.clone();
                let kept = Kept { task: *task, admission: admission(interface), bandwidth: interface.bandwidth };
                self.jobs.spawn(async move {
                    let admitted = put_back(&*fabric, &kept).await;
                    Done::Admitted(Box::new(kept.admission), admitted)
                });
            }
        }
    }

    pub(super) fn admitted(&mut self, cut: Box<Admission>, result: Result<(), Fault>) {
        let eni = cut.eni.id;
        match (self.slots.get_mut(&eni).map(|slot| &mut slot.stage), result) {
            (Some(Stage::Claimed { admitted, .. }), Ok(())) => *admitted = true,
            // The next change of the network tries again.
            (Some(Stage::Claimed { .. }), Err(fault)) => {
                tracing::error!(%eni, error = %fault, "an interface is not let through");
            }
            // Its task ended meanwhile.
            // It may be let through, and only not named or limited.
            (Some(_) | None, _) => self.undo_link(cut),
        }
    }

    pub(super) fn release(&mut self, task: TaskId, answer: ReleaseAnswer) {
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.claim.task == task {
                _ = waiting.claim.answer.send(Err(Failure::Passing("its task ends".to_owned())));
            } else {
                self.waiting.push(waiting);
            }
        }
        let fabric = self.fabric.clone();
        let Some((eni, slot)) = self.slot_of(task) else {
            _ = answer.send(Ok(()));
            return;
        };
        match &mut slot.stage {
            Stage::Claiming { releases, .. } | Stage::Releasing { releases, .. } => releases.push(answer),
            Stage::Claimed { interface, .. } => {
                crash::after(Place::ContainersStopped);
                let (interface, cut) = (interface.clone(), admission(interface));
                let by_fabric = fabric.is_some();
                slot.stage = Stage::Releasing { task, interface, by_fabric, releases: vec![answer] };
                self.jobs.spawn(async move {
                    Done::Dismissed(
                        eni,
                        match fabric {
                            Some(fabric) => fabric.dismiss(&cut).await,
                            None => Ok(()),
                        },
                    )
                });
            }
            Stage::Found | Stage::Making | Stage::Warm { .. } | Stage::Removing { .. } => {
                unreachable!("a slot with a task is in one of the stages above")
            }
        }
    }

    /// It is cut off: its address begins to rest, and once that is on the disk its task is over.
    pub(super) fn dismissed(&mut self, eni: EniId, result: Result<(), Fault>) {
        let now = self.now();
        let Some(slot) = self.slots.get_mut(&eni) else { return };
        match result {
            Ok(()) => {
                self.quarantine.add(eni, slot.address, now);
                self.unsaved.resting = true;
                self.unsaved.then.push(eni);
            }
            Err(fault) => {
                if let Stage::Releasing { task, interface, releases, .. } =
                    std::mem::replace(&mut slot.stage, Stage::Making)
                {
                    slot.stage = Stage::Claimed { task, interface, admitted: true, asleep: false };
                    for answer in releases {
                        _ = answer.send(Err(Failure::Passing(fault.why.clone())));
                    }
                }
            }
        }
    }

    pub(super) fn rests(&mut self, eni: EniId) {
        let Some(slot) = self.slots.get_mut(&eni) else { return };
        crash::after(Place::AddressRests);
        if let Stage::Releasing { interface, by_fabric, releases, .. } =
            std::mem::replace(&mut slot.stage, Stage::removing(None))
        {
            if !by_fabric {
                slot.stage = Stage::removing(Some(admission(&interface)));
            }
            for answer in releases {
                _ = answer.send(Ok(()));
            }
        }
    }

    /// Fills the pool while the container engine has nothing better to do.
    pub(super) fn drive_pool(&mut self, now: Instant) {
        if self.fabric.is_none() || self.make_again.is_some_and(|at| now < at) {
            return;
        }
        let warm = self.warm_count();
        let making = self.making();
        let target = self.demand.target(&self.settings, now);
        let calm = self.demand.calm_at().is_none_or(|at| now >= at);
        // An empty pool is filled in any case: the next task would wait for the whole of it.
        if warm + making < target && making < REFILLS && (calm || warm == 0) {
            // Without a free address there is nothing to fill it with; an end brings one.
            let _ = self.make();
        } else if warm > target.max(self.waiting.len()) && calm {
            self.drop_one();
        }
    }

    /// Gives one warm sandbox up, the oldest, unless one is being removed: demand has passed, and the engine has time.
    /// It was never let through, so its address need not rest.
    fn drop_one(&mut self) {
        if self.slots.values().any(|slot| matches!(slot.stage, Stage::Removing { .. })) {
            return;
        }
        let warm = self.slots.iter().filter_map(|(eni, slot)| match &slot.stage {
            Stage::Warm { since, .. } => Some((*since, *eni)),
            Stage::Found
            | Stage::Making
            | Stage::Claiming { .. }
            | Stage::Claimed { .. }
            | Stage::Releasing { .. }
            | Stage::Removing { .. } => None,
        });
        if let Some((_, eni)) = warm.min() {
            self.discard(eni, None);
        }
    }

    /// Begins to make an interface.
    fn make(&mut self) -> Result<(), String> {
        let Some(fabric) = self.fabric.clone() else { return Err("the host's task network".to_owned()) };
        if let Some(at) = self.make_again.filter(|at| Instant::now() < *at) {
            let why = self.engine_fault.as_deref().unwrap_or("it failed a moment ago");
            let millis = at.duration_since(Instant::now()).as_millis();
            return Err(format!("a sandbox, tried again in {millis} ms: {why}"));
        }
        let mut book = std::mem::take(&mut self.book);
        let given = book.give(self.leases(), |address| self.is_taken(address));
        self.book = book;
        let address = given.ok_or("an address: all of the host's leases are in use or rest after their use")?;
        let id = EniId::random();
        let eni = self.eni(id, address);
        self.slots.insert(id, Slot { address, sandbox: None, stage: Stage::Making });
        crash::after(Place::AddressChosen);
        let sandboxes = self.sandboxes.clone();
        self.jobs.spawn(async move {
            let make = async {
                look_for_holder(&fabric, address).await?;
                let (sandbox, pid) = sandboxes.make(&eni).await.map_err(Refused::Failed)?;
                fabric.wire(&eni, pid).await?;
                crash::after(Place::Wired);
                Ok(sandbox)
            };
            Done::Made(id, make.await)
        });
        Ok(())
    }

    pub(super) fn made(&mut self, eni: EniId, result: Result<String, Refused>) {
        let Some(slot) = self.slots.get_mut(&eni) else { return };
        match result {
            Ok(sandbox) => {
                slot.sandbox = Some(sandbox);
                slot.stage = Stage::Warm { since: Instant::now(), looked: true };
                let address = slot.address;
                // The fabric may have been opened anew meanwhile.
                if let Some(fabric) = &self.fabric {
                    fabric.adopt(&[self.eni(eni, address)]);
                }
                self.make_again = None;
                self.engine_fault = None;
            }
            Err(Refused::Occupied(holder)) => {
                let address = slot.address;
                let _ = self.refused(address, Refused::Occupied(holder));
                // Nothing was made: the next has another address at once.
                self.slots.remove(&eni);
            }
            Err(Refused::Failed(failure)) => {
                tracing::warn!(%eni, error = failure.text(), "could not make a sandbox");
                self.engine_fault = Some(failure.text().to_owned());
                self.make_again = Some(Instant::now() + AGAIN);
                self.discard(eni, None);
            }
        }
    }

    /// An interface is of no use any more: all of it is removed, for as long as it takes.
    pub(super) fn discard(&mut self, eni: EniId, admission: Option<Admission>) {
        if let Some(slot) = self.slots.get_mut(&eni) {
            slot.stage = Stage::removing(admission);
        }
    }

    pub(super) fn drive_removals(&mut self, now: Instant) {
        if self.opening {
            return;
        }
        for (eni, slot) in &mut self.slots {
            let Stage::Removing { admission, again_at, .. } = &mut slot.stage else { continue };
            if again_at.take_if(|at| *at <= now).is_none() {
                continue;
            }
            let (eni, cut) = (*eni, admission.clone());
            let (fabric, sandboxes, files) = (self.fabric.clone(), self.sandboxes.clone(), self.files.clone());
            self.jobs.spawn(async move {
                let remove = async {
                    if let (Some(fabric), Some(cut)) = (&fabric, &cut) {
                        fabric.dismiss(cut).await.map_err(failure)?;
                    }
                    sandboxes.remove(eni).await?;
                    crash::after(Place::SandboxGone);
                    // Without a fabric what is left in the kernel is a stray for the one to come.
                    if let Some(fabric) = &fabric {
                        fabric.unwire(eni).await.map_err(failure)?;
                    }
                    files.remove(eni).await.map_err(|e| Failure::Passing(chain(&e)))
                };
                Done::Removed(eni, remove.await)
            });
        }
    }

    pub(super) fn removals_wake(&self) -> Option<Instant> {
        let again = |slot: &Slot| match &slot.stage {
            Stage::Removing { again_at, .. } => *again_at,
            Stage::Found
            | Stage::Making
            | Stage::Warm { .. }
            | Stage::Claiming { .. }
            | Stage::Claimed { .. }
            | Stage::Releasing { .. } => None,
        };
        self.slots.values().filter_map(again).min()
    }

    pub(super) fn removed(&mut self, eni: EniId, result: Result<(), Failure>) {
        match (result, self.slots.get_mut(&eni).map(|slot| &mut slot.stage)) {
            (Ok(()), stage) => {
                let rests = matches!(stage, Some(Stage::Removing { rests: true, .. }));
                if rests && self.quarantine.begin_again(eni, self.now()) {
                    self.unsaved.resting = true;
                }
                self.slots.remove(&eni);
                self.stubborn.remove(&eni);
            }
            (Err(failure), Some(Stage::Removing { failures, again_at, error, .. })) => {
                *failures += 1;
                let (first, longest) = REMOVE_AGAIN;
                *again_at = Some(Instant::now() + first.saturating_mul(1 << (*failures - 1).min(10)).min(longest));
                tracing::warn!(%eni, error = failure.text(), failures, "an interface is not removed yet");
                *error = Some(failure.text().to_owned());
            }
            (Err(_), Some(_) | None) => {}
        }
    }
}

/// Writes the files that name a task.
pub(super) async fn write_files(files: &dyn InterfaceFiles, eni: &EniReport, names: TaskNames) -> Result<(), Failure> {
    files.write(eni, names).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Failure::NoSpace(format!("the files of the task's interface: {}", chain(&error)))
        }
        _ => Failure::Passing(chain(&error)),
    })
}

/// What makes a warm sandbox a task's: its files, its elements in the firewall, its limits.
async fn let_through(
    fabric: &SharedFabric,
    files: &dyn InterfaceFiles,
    (task, interface): (TaskId, &Interface),
    names: TaskNames,
) -> Result<(), Failure> {
    write_files(files, &interface.eni, names).await?;
    crash::after(Place::FilesWritten);
    if interface.bandwidth != Bandwidth::default() {
        fabric.set_limits(interface.eni.id, interface.bandwidth).await.map_err(failure)?;
    }
    fabric.admit(&admission(interface)).await.map_err(failure)?;
    // It is for people; if the link is gone, so are these words, and both come back.
    if let Err(error) = fabric.name_task(interface.eni.id, task).await {
        tracing::warn!(%task, eni = %interface.eni.id, %error, "the task's link does not say whose it is");
    }
    Ok(())
}
