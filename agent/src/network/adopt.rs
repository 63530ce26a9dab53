//! A start: who has which interface, what is still good, and what belongs to nobody.

use super::claims::{Slot, Stage, admission, failure, write_files};
use super::fabric::{Admission, Fabric, Fault, Kernel, Seen, Shape, Wiring};
use super::handle::Wake;
use super::owner::{Done, Look, Network};
use super::pool::MAKES;
use super::sandboxes::{Sandbox, Sandboxes};
use super::saved::Said;
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{Bandwidth, EniId, EniReport, Generation, InstanceId, TaskId};
use longshore_plan::{Failure, Interface, ResourceKind, ResourcePhase, TaskRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How often in a row, and for how long, the engine may refuse to start a sandbox again before its task ends.
const STUBBORN: (u32, Duration) = (20, Duration::from_secs(300));

/// Longest wait for the files of a task whose sandbox is started again.
const WRITTEN: Duration = Duration::from_secs(30);

/// What the ledger says of a task's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owned {
    /// The task has it.
    Held(Interface),
    /// The task may have been given one that the ledger does not know yet: its containers' labels do.
    Perhaps,
    /// The task has none, or none any more, whatever labels say.
    Not,
}

impl Owned {
    /// What a record says.
    #[must_use]
    pub fn of(record: &TaskRecord) -> Self {
        let phase = record.resources.iter().find(|r| r.kind == ResourceKind::Interface).map(|r| &r.phase);
        match (phase, &record.interface) {
            (Some(ResourcePhase::Ready), Some(interface)) => Self::Held(interface.clone()),
            (Some(ResourcePhase::Wanted | ResourcePhase::Ready), _) => Self::Perhaps,
            (Some(ResourcePhase::Gone) | None, _) => Self::Not,
        }
    }
}

/// A fabric, as it was found.
pub(super) struct Opened {
    fabric: Arc<dyn Fabric>,
    refused: Vec<(InstanceId, String)>,
    seen: BTreeMap<EniId, Seen>,
    /// Interfaces of tasks that are let through.
    admitted: BTreeSet<EniId>,
    /// Interfaces of tasks that could not be put back, and why.
    lost: BTreeMap<EniId, String>,
    /// Interfaces of tasks whose sandbox has ended.
    asleep: BTreeSet<EniId>,
    /// What is wrong with the host, and keeps none of its tasks from going on.
    trouble: Option<String>,
}

/// What came of starting the sandbox of a task again.
pub(super) struct Woken {
    /// The interface, as it is let through.
    cut: Box<Admission>,
    did: Did,
    result: Result<(), Failure>,
    /// Who started a container again waits for this.
    answer: oneshot::Sender<Result<(), Failure>>,
}

/// How far that went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Did {
    /// Its sandbox runs, and is as it was wired.
    Nothing,
    /// It has to be started, or is not wired.
    Wakes,
    /// The engine did not start it.
    Stubborn,
    /// All of it.
    All,
}

/// Why the link of a task's sandbox was not made.
#[derive(Debug)]
pub(super) enum Unwired {
    /// Its sandbox has ended: the engine's part of the agent ends the task, or starts it again.
    Asleep,
    /// The container engine does not say, now or of this one.
    Unknown(Failure),
    /// It did not work.
    Failed(String),
}

/// An interface of a task.
pub(super) struct Kept {
    pub(super) task: TaskId,
    pub(super) admission: Admission,
    pub(super) bandwidth: Bandwidth,
}

impl Network {
    /// Finds the owner of every sandbox. What the ledger says counts; a task that it does not know, or not well enough,
    /// has what its containers were made in.
    pub(super) fn adopt(&mut self, owned: BTreeMap<TaskId, Owned>, look: Look) {
        let Look { sandboxes, labelled } = look;
        let mut claims: BTreeMap<TaskId, Interface> = BTreeMap::new();
        for (task, interface) in labelled {
            let by_label = matches!(owned.get(&task), None | Some(Owned::Perhaps));
            // A task whose sandbox is gone has nothing to give back.
            if by_label && sandboxes.contains_key(&interface.eni.id) {
                claims.insert(task, interface);
            }
        }
        for (task, owned) in owned {
            match owned {
                Owned::Held(interface) => _ = claims.insert(task, interface),
                Owned::Perhaps | Owned::Not => {}
            }
        }
        for (task, interface) in claims {
            let address = interface.eni.ipv4;
            tracing::info!(%task, eni = %interface.eni.id, %address, "interface found");
            let stage = Stage::Claimed { task, interface: Box::new(interface.clone()), admitted: false, asleep: false };
            self.slots.insert(interface.eni.id, Slot { address, sandbox: Some(interface.sandbox), stage });
        }
        for (eni, sandbox) in &sandboxes {
            self.found(*eni, sandbox);
        }
        let (files, known) = (self.files.clone(), self.slots.keys().copied().collect());
        self.jobs.spawn(async move {
            if let Err(error) = files.keep(known).await {
                tracing::warn!(%error, "files of interfaces that are gone are still there");
            }
            Done::Nothing
        });
        self.pending.reopen = self.said.state.is_some();
    }

    /// A sandbox that may be nobody's.
    fn found(&mut self, eni: EniId, sandbox: &Sandbox) {
        if self.slots.contains_key(&eni) {
            return;
        }
        let ours = |address| {
            self.leases().iter().any(|lease| lease.v4.contains(&address)) || is_planted(Bug::FormerAddressesAreGiven)
        };
        let good = sandbox.running && sandbox.current && self.settings.enabled;
        let address = sandbox.address.filter(|address| good && ours(*address) && !self.is_taken(*address));
        let id = Some(sandbox.id.clone());
        match address {
            Some(address) => _ = self.slots.insert(eni, Slot { address, sandbox: id, stage: Stage::Found }),
            None => {
                tracing::info!(%eni, "removing a sandbox of no use");
                self.remove_found(eni, sandbox);
            }
        }
    }

    /// A later listing: a warm sandbox that ended is of no use, and one of nobody's is removed. Those of tasks are the
    /// engine's business, which ends their tasks.
    pub(super) fn compare(&mut self, sandboxes: &BTreeMap<EniId, Sandbox>, asked_at: Instant) {
        let running = |eni: &EniId| sandboxes.get(eni).is_some_and(|s| s.running);
        let shown = |slot: &Slot| match slot.stage {
            Stage::Warm { since, .. } => since < asked_at,
            Stage::Found => true,
            Stage::Making
            | Stage::Claiming { .. }
            | Stage::Claimed { .. }
            | Stage::Releasing { .. }
            | Stage::Removing { .. } => false,
        };
        let dead = |(eni, slot): (&EniId, &Slot)| (shown(slot) && !running(eni)).then_some(*eni);
        let dead: Vec<EniId> = self.slots.iter().filter_map(dead).collect();
        for eni in dead {
            tracing::warn!(%eni, "a warm sandbox ended; another is made");
            self.discard(eni, None);
        }
        for (eni, sandbox) in sandboxes {
            if !self.slots.contains_key(eni) {
                self.remove_found(*eni, sandbox);
            }
        }
    }

    /// A sandbox of nobody's goes. It may have been a task's of which nothing is known any more, when the ledger is gone
    /// or is that of another container instance, so its address rests, unless somebody else has it.
    fn remove_found(&mut self, eni: EniId, sandbox: &Sandbox) {
        let address = sandbox.address.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
        if sandbox.address.is_some() && !self.slots.values().any(|slot| slot.address == address) {
            self.rest(eni, address);
        }
        let stage = Stage::removing_found(None);
        self.slots.insert(eni, Slot { address, sandbox: Some(sandbox.id.clone()), stage });
    }

    fn rest(&mut self, eni: EniId, address: std::net::Ipv4Addr) {
        let now = self.now();
        self.quarantine.add(eni, address, now);
        self.unsaved.resting = true;
    }

    /// Makes the fabric, or takes over what is there, and brings it to what is known.
    pub(super) fn open(&mut self, shape: Shape) {
        let kept = self.slots.values().filter_map(|slot| match &slot.stage {
            Stage::Claimed { task, interface, .. } => {
                Some(Kept { task: *task, admission: admission(interface), bandwidth: interface.bandwidth })
            }
            Stage::Found
            | Stage::Making
            | Stage::Warm { .. }
            | Stage::Claiming { .. }
            | Stage::Releasing { .. }
            | Stage::Removing { .. } => None,
        });
        let kept: Vec<Kept> = kept.collect();
        let known = self.slots.iter().filter(|(_, slot)| !matches!(slot.stage, Stage::Removing { .. }));
        let known: BTreeSet<EniId> = known.map(|(eni, _)| *eni).collect();
        self.opening = true;
        let wired = self.wired();
        let (kernel, sandboxes) = (self.kernel.clone(), self.sandboxes.clone());
        let said = self.said.clone();
        self.jobs.spawn(async move {
            let opened = open(&*kernel, &*sandboxes, &shape, &said, kept, (&known, wired)).await;
            Done::Opened(said.generation, opened.map(Box::new))
        });
    }

    pub(super) fn opened(&mut self, generation: Generation, result: Result<Box<Opened>, Fault>) {
        let opened = match result {
            Ok(opened) => *opened,
            Err(fault) => {
                self.pending.reopen = true;
                return self.lane_failed("the fabric cannot be opened", fault);
            }
        };
        let Opened { fabric, refused, seen, admitted, lost, asleep, trouble } = opened;
        self.adopt_fabric(fabric.clone());
        self.repair_fault = trouble;
        for (eni, why) in &lost {
            self.end_without_interface(*eni, why);
        }
        let now = self.now();
        let mut used = Vec::new();
        for (eni, slot) in &mut self.slots {
            match &mut slot.stage {
                Stage::Claimed { admitted: through, asleep: sleeps, .. } => {
                    *sleeps = asleep.contains(eni);
                    *through = admitted.contains(eni) || lost.contains_key(eni) || *sleeps;
                }
                Stage::Found => match seen.get(eni).copied().unwrap_or_default() {
                    Seen { wired: true, admitted: false } => {
                        slot.stage = Stage::Warm { since: Instant::now(), looked: false };
                    }
                    // It was let through, so others may know its address: it rests like any other.
                    Seen { admitted: true, .. } => {
                        self.quarantine.add(*eni, slot.address, now);
                        used.push(*eni);
                    }
                    Seen { wired: false, admitted: false } => used.push(*eni),
                },
                Stage::Making
                | Stage::Warm { .. }
                | Stage::Claiming { .. }
                | Stage::Releasing { .. }
                | Stage::Removing { .. } => {}
            }
        }
        self.unsaved.resting |= !used.is_empty();
        self.in_force(generation, Some(refused));
        for eni in used {
            let Some(address) = self.slots.get(&eni).map(|slot| slot.address) else { continue };
            let admission = Admission { eni: self.eni(eni, address), groups: BTreeSet::new() };
            if let Some(slot) = self.slots.get_mut(&eni) {
                slot.stage = Stage::removing_found(Some(admission));
            }
        }
        // Also those that were made while it was opened.
        fabric.adopt(&self.wired());
    }
}

impl Network {
    /// Interfaces that a repair could not put back: those of tasks are made again from their sandboxes' processes, and
    /// those of the pool are of no use.
    pub(super) fn take_lost(&mut self) {
        let Some(fabric) = self.fabric.clone() else { return };
        for (eni, why) in fabric.lost() {
            let Some(slot) = self.slots.get(&eni) else { continue };
            let kept = match &slot.stage {
                Stage::Warm { .. } => {
                    tracing::warn!(%eni, why, "a warm sandbox lost its interface; another is made");
                    self.discard(eni, None);
                    continue;
                }
                Stage::Claimed { task, interface, .. } => {
                    Kept { task: *task, admission: admission(interface), bandwidth: interface.bandwidth }
                }
                // The end of what goes on says the same.
                Stage::Found
                | Stage::Making
                | Stage::Claiming { .. }
                | Stage::Releasing { .. }
                | Stage::Removing { .. } => continue,
            };
            if self.rewiring.insert(eni) {
                tracing::warn!(%eni, task = %kept.task, why, "the interface of a task is made again");
                let (fabric, sandboxes) = (fabric.clone(), self.sandboxes.clone());
                self.jobs.spawn(async move {
                    let again = async {
                        rewire(&*fabric, &*sandboxes, &kept.admission).await?;
                        put_back(&*fabric, &kept).await.map_err(|fault| Unwired::Failed(fault.why))
                    };
                    let done = again.await;
                    Done::Rewired(Box::new(kept.admission), done)
                });
            }
        }
    }

    pub(super) fn rewired(&mut self, cut: Box<Admission>, result: Result<(), Unwired>) {
        let eni = cut.eni.id;
        self.rewiring.remove(&eni);
        match (self.slots.get_mut(&eni).map(|slot| &mut slot.stage), result) {
            (Some(Stage::Claimed { admitted, asleep, .. }), Ok(())) => {
                (*admitted, *asleep) = (true, false);
                tracing::info!(%eni, "the interface of a task is there again");
            }
            (Some(Stage::Claimed { asleep, .. }), Err(Unwired::Asleep)) => {
                *asleep = true;
                self.forget_link(cut);
            }
            // The next repair finds it lost again.
            (Some(Stage::Claimed { .. }), Err(Unwired::Unknown(failure))) => {
                tracing::warn!(%eni, why = failure.text(), "it is not known whether the sandbox of a task runs");
            }
            // Nothing of it runs: a restart makes it again.
            (Some(Stage::Claimed { asleep: true, .. }), Err(Unwired::Failed(why))) => {
                tracing::warn!(%eni, why, "the interface of a task that is started again could not be made yet");
            }
            (Some(Stage::Claimed { .. }), Err(Unwired::Failed(why))) => self.end_without_interface(eni, &why),
            (Some(_) | None, _) => self.undo_link(cut),
        }
    }

    /// Tasks whose containers are started again: their sandboxes are, too, if they have ended, and their links are made.
    pub(super) fn drive_wakes(&mut self, now: Instant) {
        for (wake, until) in std::mem::take(&mut self.wakes) {
            if wake.answer.is_closed() {
                continue;
            }
            // One that is to be opened anew is nothing to wire to.
            let fabric = self.fabric.clone().filter(|_| !self.pending.reopen);
            match self.obstacle_to_wake(wake.task) {
                Some(why) if now >= until => _ = wake.answer.send(Err(why)),
                // Without a fabric it is only looked at.
                None if fabric.is_some() || now >= until => self.wake(wake, fabric),
                Some(_) | None => self.wakes.push((wake, until)),
            }
        }
    }

    /// Why the sandbox of a task is not looked at now: [`Failure::Away`] where only its turn has not come.
    fn obstacle_to_wake(&mut self, task: TaskId) -> Option<Failure> {
        let (opening, busy) = (self.opening && self.fabric.is_some(), self.rewiring.len() >= MAKES);
        let rewiring = self.rewiring.clone();
        let Some((eni, slot)) = self.slot_of(task) else {
            return Some(Failure::Passing("the task has no interface".to_owned()));
        };
        if !matches!(slot.stage, Stage::Claimed { .. }) {
            return Some(Failure::Passing("the task's interface is being given or returned".to_owned()));
        }
        if rewiring.contains(&eni) {
            return Some(Failure::Away("the task's interface is being made again".to_owned()));
        }
        if opening {
            return Some(Failure::Away("the host's task network is being opened anew".to_owned()));
        }
        busy.then(|| Failure::Away("its turn: other sandboxes are started again".to_owned()))
    }

    /// Looks whether the sandbox of a task is as it was wired, and with a fabric makes it so.
    fn wake(&mut self, wake: Wake, fabric: Option<Arc<dyn Fabric>>) {
        let Wake { task, names, answer } = wake;
        // What does not come for long will not come by itself.
        let comes = self.settings.enabled && self.fault_since.is_none_or(|since| since.elapsed() < STUBBORN.1);
        let why = self.obstacle().unwrap_or_else(|| "the host's task network: it is being opened anew".to_owned());
        let Some((eni, slot)) = self.slot_of(task) else { return };
        let Stage::Claimed { interface, admitted, asleep, .. } = &slot.stage else { return };
        let (admitted, asleep) = (*admitted, *asleep);
        let kept = Kept { task, admission: admission(interface), bandwidth: interface.bandwidth };
        self.rewiring.insert(eni);
        let (sandboxes, files, kernel) = (self.sandboxes.clone(), self.files.clone(), self.kernel.clone());
        self.jobs.spawn(async move {
            let mut did = Did::Nothing;
            let again = async {
                let process = sandboxes.process(eni).await?;
                let wiring = match process {
                    Some(pid) => kernel.wiring(eni, pid).await.map_err(failure)?,
                    None => Wiring::Elsewhere,
                };
                if wiring == Wiring::Linked && !asleep {
                    // It is let through later where that is not possible now.
                    if let Some(fabric) = fabric.filter(|_| !admitted)
                        && put_back(&*fabric, &kept).await.is_ok()
                    {
                        did = Did::All;
                    }
                    return Ok(());
                }
                let fabric = fabric.ok_or(if comes { Failure::Away(why) } else { Failure::Passing(why) })?;
                if wiring == Wiring::Elsewhere || asleep {
                    // From here on it is not what it was, whatever comes of the rest.
                    did = Did::Wakes;
                }
                if wiring == Wiring::Elsewhere {
                    sandboxes.none_runs(eni, task).await?;
                }
                let pid = match process {
                    Some(pid) => pid,
                    None => {
                        tracing::info!(%eni, %task, "the sandbox of a task is started again with its container");
                        let started = sandboxes.start_again(eni).await;
                        if matches!(&started, Err(Failure::Passing(_) | Failure::Lasting(_))) {
                            did = Did::Stubborn;
                        }
                        started?
                    }
                };
                let written = write_files(&*files, &kept.admission.eni, names);
                tokio::time::timeout(WRITTEN, written)
                    .await
                    .map_err(|_| Failure::Passing("the disk takes long for the task's files".to_owned()))??;
                fabric.wire(&kept.admission.eni, pid).await.map_err(failure)?;
                put_back(&*fabric, &kept).await.map_err(failure)?;
                did = Did::All;
                Ok(())
            };
            let result = again.await;
            Done::Woken(Woken { cut: Box::new(kept.admission), did, result, answer })
        });
    }

    pub(super) fn woken(&mut self, woken: Woken) {
        let Woken { cut, did, result, answer } = woken;
        let eni = cut.eni.id;
        self.rewiring.remove(&eni);
        match self.slots.get_mut(&eni).map(|slot| &mut slot.stage) {
            Some(Stage::Claimed { admitted, asleep, .. }) => {
                *asleep = match did {
                    Did::Nothing if result.is_err() => *asleep,
                    Did::Nothing | Did::All => false,
                    Did::Wakes | Did::Stubborn => true,
                };
                *admitted |= did == Did::All;
                match (did, &result) {
                    (Did::Stubborn, Err(failure)) => {
                        let (refused, since) = self.stubborn.entry(eni).or_insert((0, Instant::now()));
                        *refused += 1;
                        if *refused >= STUBBORN.0 && since.elapsed() >= STUBBORN.1 {
                            // Its containers are made for this one: no other one helps.
                            self.stubborn.remove(&eni);
                            self.end_without_interface(eni, failure.text());
                        }
                    }
                    (Did::Nothing | Did::All, Ok(())) => _ = self.stubborn.remove(&eni),
                    (Did::Nothing | Did::All | Did::Wakes | Did::Stubborn, _) => {}
                }
            }
            Some(_) | None => {
                self.stubborn.remove(&eni);
                self.undo_link(cut);
            }
        }
        // Whoever asked may have gone.
        _ = answer.send(result);
    }

    /// What was made again for a task that ended meanwhile goes as well.
    pub(super) fn undo_link(&mut self, cut: Box<Admission>) {
        match self.slots.get_mut(&cut.eni.id).map(|slot| &mut slot.stage) {
            // Its removal comes after this. What lets it through may have been made after it was cut off.
            Some(Stage::Releasing { by_fabric, .. }) => *by_fabric = false,
            Some(
                Stage::Found | Stage::Making | Stage::Warm { .. } | Stage::Claiming { .. } | Stage::Claimed { .. },
            ) => {}
            Some(Stage::Removing { .. }) | None => self.forget_link(cut),
        }
    }

    /// What the kernel still has of an interface goes. Nothing else is done with it until then.
    fn forget_link(&mut self, cut: Box<Admission>) {
        let Some(fabric) = self.fabric.clone() else { return };
        let eni = cut.eni.id;
        self.rewiring.insert(eni);
        self.jobs.spawn(async move {
            let forget = async {
                fabric.dismiss(&cut).await?;
                fabric.unwire(eni).await
            };
            if let Err(error) = forget.await {
                tracing::warn!(%eni, %error, "what is left of the link of a sandbox that ended is still there");
            }
            Done::LinkForgotten(eni)
        });
    }

    /// The end of its sandbox ends a task, which says why. Its address rests already: the next agent may be that of
    /// another container instance, which finds neither the task nor the sandbox.
    fn end_without_interface(&mut self, eni: EniId, why: &str) {
        tracing::error!(%eni, why, "the interface of a task could not be put back; its task ends");
        if let Some(address) = self.slots.get(&eni).map(|slot| slot.address) {
            self.rest(eni, address);
        }
        let sandboxes = self.sandboxes.clone();
        self.jobs.spawn(async move {
            if let Err(failure) = sandboxes.remove(eni).await {
                tracing::error!(%eni, error = failure.text(), "and its sandbox could not be removed");
            }
            Done::Nothing
        });
    }
}

async fn open(
    kernel: &dyn Kernel,
    sandboxes: &dyn Sandboxes,
    shape: &Shape,
    said: &Said,
    kept: Vec<Kept>,
    (known, mut wired): (&BTreeSet<EniId>, Vec<EniReport>),
) -> Result<Opened, Fault> {
    let fabric = kernel.open(shape).await?;
    let mut seen = fabric.observe(known).await?;
    // What is not is wired below, or of no use.
    wired.retain(|eni| seen.get(&eni.id).is_some_and(|seen| seen.wired));
    fabric.adopt(&wired);
    let mut admitted = BTreeSet::new();
    let mut lost = BTreeMap::new();
    let mut asleep = BTreeSet::new();
    if let Some(state) = &said.state {
        // Groups before tasks, which are admitted by them; tasks before members, among which they are kept.
        fabric.set_groups(&state.groups).await?;
        for kept in kept {
            let admission = &kept.admission;
            let eni = admission.eni.id;
            if !seen.remove(&eni).unwrap_or_default().wired {
                match rewire(&*fabric, sandboxes, admission).await {
                    Ok(()) => {}
                    Err(Unwired::Asleep) => {
                        asleep.insert(eni);
                        continue;
                    }
                    // Tried again with all the others: whether it runs decides what becomes of its task.
                    Err(Unwired::Unknown(Failure::Away(why))) => return Err(Fault { why, lasting: false }),
                    // A repair finds it lost, and asks again.
                    Err(Unwired::Unknown(failure)) => {
                        tracing::warn!(%eni, why = failure.text(), "it is not known whether the sandbox of a task runs");
                        continue;
                    }
                    Err(Unwired::Failed(why)) => {
                        lost.insert(eni, why);
                        continue;
                    }
                }
            }
            match put_back(&*fabric, &kept).await {
                Ok(()) => _ = admitted.insert(eni),
                Err(fault) => tracing::warn!(%eni, error = %fault, "not let through yet"),
            }
        }
        fabric.set_members(&state.members).await?;
    }
    let peers: Vec<_> = said.state.iter().flat_map(|state| state.peers.values().cloned()).collect();
    // A fabric that was there is taken over also on a host where it could not be made now: its links and routes may be
    // gone for a while, and the next repair goes on with them.
    let (refused, no_peers) = match fabric.set_peers(&peers).await {
        Ok(refused) => (refused, None),
        Err(fault) => (Vec::new(), Some(fault.why)),
    };
    let trouble = fabric.repair().await.err().map(|fault| fault.why).or(no_peers);
    for stray in fabric.remove_strays(known).await? {
        tracing::info!(what = stray, "removed what belonged to no task");
    }
    Ok(Opened { fabric, refused, seen, admitted, lost, asleep, trouble })
}

pub(super) async fn put_back(fabric: &dyn Fabric, kept: &Kept) -> Result<(), Fault> {
    let Kept { task, admission, bandwidth } = kept;
    fabric.admit(admission).await?;
    fabric.name_task(admission.eni.id, *task).await?;
    if *bandwidth == Bandwidth::default() {
        return Ok(());
    }
    fabric.set_limits(admission.eni.id, *bandwidth).await
}

/// A task's sandbox without its link: the kernel's side is gone, as after the fabric's namespace was deleted.
async fn rewire(fabric: &dyn Fabric, sandboxes: &dyn Sandboxes, admission: &Admission) -> Result<(), Unwired> {
    let pid = sandboxes.process(admission.eni.id).await.map_err(Unwired::Unknown)?.ok_or(Unwired::Asleep)?;
    fabric.wire(&admission.eni, pid).await.map_err(|fault| Unwired::Failed(fault.why))
}
