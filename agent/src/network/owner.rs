//! The owner's loop: take in what became known, see what follows, publish.

use super::adopt::{Opened, Owned, Unwired, Woken};
use super::apply::{Lane, Pending, RefusedPeers};
use super::book::{Book, capacity};
use super::claims::{Refused, Slot, Stage, Waiting};
use super::fabric::{Admission, Fabric, Fault, Kernel};
use super::handle::{Ends, Heard, Request, Wake};
use super::peers::Checks;
use super::pool::Demand;
use super::quarantine::Quarantine;
use super::sandboxes::{Sandbox, Sandboxes};
use super::saved::{Said, Step};
use super::set_aside::SetAside;
use super::shelf::{InterfaceFiles, Shelf};
use super::status::{InterfaceLine, NetworkLine, PeerLine};
use super::underlay::Underlay;
use super::upkeep::REPAIR;
use crate::engine::drivers::Clock;
use crate::jumps::Jumps;
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{
    EniId, EniReport, Generation, GroupId, InstanceId, Lease, Mac, NetworkHealth, NetworkStatus, TaskId, Timestamp,
};
use longshore_plan::{Failure, Interface};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Between two listings of sandboxes when nothing happens.
const LOOK: Duration = Duration::from_secs(30);

/// Between two tries of something that failed and that everything waits for.
pub(super) const AGAIN: Duration = Duration::from_secs(2);

/// How long a container that is started again waits here for its task's interface: each refusal counts as a failure of
/// its start.
const WAKES: Duration = Duration::from_secs(20);

/// How the owner behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether this host takes part in the task network.
    pub enabled: bool,
    /// How many sandboxes are kept warm.
    pub warm: usize,
    /// How many of them on a host that has had no task with an interface lately.
    pub idle: usize,
}

/// Everything that an owner is made of.
pub struct Parts {
    /// How it behaves.
    pub settings: Settings,
    /// Its ends of the channels.
    pub ends: Ends,
    /// What is there again after a restart.
    pub shelf: Arc<dyn Shelf>,
    /// The files that name a task and its resolver.
    pub files: Arc<dyn InterfaceFiles>,
    /// The container engine.
    pub sandboxes: Arc<dyn Sandboxes>,
    /// The kernel.
    pub kernel: Arc<dyn Kernel>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What the ledger says of the interface of every task in it.
    pub owned: BTreeMap<TaskId, Owned>,
    /// The address that other hosts send to.
    pub underlay: watch::Receiver<Underlay>,
    /// Something happened to a sandbox.
    pub events: Arc<Notify>,
}

/// What came of work outside the loop.
pub(super) enum Done {
    /// A listing; with what containers' labels say, as long as nothing was adopted.
    Looked(Instant, Result<Look, Failure>),
    Opened(Generation, Result<Box<Opened>, Fault>),
    Applied(Generation, Result<Option<RefusedPeers>, Fault>),
    Repaired(Result<Vec<String>, Fault>),
    /// Whether packets pass to other hosts.
    Reached(BTreeMap<InstanceId, Result<(), Fault>>),
    /// A sandbox was made and wired, or not.
    Made(EniId, Result<String, Refused>),
    Claimed(EniId, Result<(), Refused>),
    /// A task's interface was let through once more, after a start.
    Admitted(Box<Admission>, Result<(), Fault>),
    /// An interface that was lost was made again from its sandbox's process, or could not be.
    Rewired(Box<Admission>, Result<(), Unwired>),
    /// What the kernel had of one was removed.
    LinkForgotten(EniId),
    /// An interface was made again, with its sandbox, for a container that is started again.
    Woken(Woken),
    Dismissed(EniId, Result<(), Fault>),
    /// What was to be kept is on the disk, or could not be.
    Saved(Saving),
    Removed(EniId, Result<(), Failure>),
    /// Nothing follows.
    Nothing,
}

/// What is to be saved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Saving {
    /// All that the control plane said.
    pub(super) whole: bool,
    /// What it said since.
    pub(super) steps: Vec<Step>,
    /// The addresses that rest.
    pub(super) resting: bool,
    /// Interfaces whose end goes on once that is done.
    pub(super) then: Vec<EniId>,
}

/// What the container engine has.
pub(super) struct Look {
    pub(super) sandboxes: BTreeMap<EniId, Sandbox>,
    pub(super) labelled: BTreeMap<TaskId, Interface>,
}

/// The owner of the host's part of the task network.
pub struct Network {
    pub(super) settings: Settings,
    pub(super) ends: Ends,
    pub(super) sandboxes: Arc<dyn Sandboxes>,
    pub(super) kernel: Arc<dyn Kernel>,
    clock: Arc<dyn Clock>,
    jumps: Jumps,
    underlay: watch::Receiver<Underlay>,
    events: Arc<Notify>,
    pub(super) files: Arc<dyn InterfaceFiles>,
    pub(super) shelf: Arc<dyn Shelf>,
    pub(super) said: Said,
    pub(super) quarantine: Quarantine,
    /// Addresses that somebody else on the hosts' network has.
    pub(super) set_aside: SetAside,
    /// What is to be saved next.
    pub(super) unsaved: Saving,
    /// What could not be saved, to be tried again.
    not_saved: Saving,
    /// Whether something is being saved. One at a time: a later state must not be overtaken by an earlier one.
    pub(super) saving: bool,
    pub(super) settled: u64,
    pub(super) slots: BTreeMap<EniId, Slot>,
    pub(super) book: Book,
    pub(super) demand: Demand,
    pub(super) waiting: Vec<Waiting>,
    /// Tasks whose containers start again, and until when each waits for its turn.
    pub(super) wakes: Vec<(Wake, Instant)>,
    /// How often in a row the engine refused to start the sandbox of an interface again, and since when.
    pub(super) stubborn: BTreeMap<EniId, (u32, Instant)>,
    /// What the ledger said, until it is adopted.
    pub(super) owned: Option<BTreeMap<TaskId, Owned>>,
    /// Requests that came before that.
    parked: Vec<Request>,
    pub(super) fabric: Option<Arc<dyn Fabric>>,
    pub(super) lane: Lane,
    /// The fabric is being opened with what was known when that began: nothing may end meanwhile.
    pub(super) opening: bool,
    pub(super) pending: Pending,
    /// The generation in force.
    pub(super) applied: Generation,
    pub(super) groups_in_force: BTreeSet<GroupId>,
    /// Why there is no fabric, or it is not as it should be.
    pub(super) fabric_fault: Option<String>,
    /// Since when that is so.
    pub(super) fault_since: Option<Instant>,
    /// Why what somebody else removed cannot be put back.
    pub(super) repair_fault: Option<String>,
    /// Interfaces of tasks that are being made again.
    pub(super) rewiring: BTreeSet<EniId>,
    /// Why the container engine gives no sandboxes.
    pub(super) engine_fault: Option<String>,
    pub(super) refused_peers: BTreeMap<InstanceId, String>,
    /// Whether packets pass to the other hosts.
    pub(super) checks: Checks,
    pub(super) jobs: JoinSet<Done>,
    looking: bool,
    next_look: Instant,
    pub(super) next_repair: Instant,
    pub(super) repaired_at: Instant,
    /// Somebody else changed something of the fabric.
    pub(super) stirred: Arc<Notify>,
    /// What waits for that.
    pub(super) watcher: Option<AbortOnDropHandle<()>>,
    /// After a failure, when the fabric is opened or applied to again.
    pub(super) lane_again: Option<Instant>,
    /// After a failure, when sandboxes are made again.
    pub(super) make_again: Option<Instant>,
}

impl Network {
    /// An owner with what was kept. Nothing happens until [`Network::run`].
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { settings, ends, shelf, files, sandboxes, kernel, clock, owned, underlay, events } = parts;
        let (said, quarantine) = shelf.load();
        let now = Instant::now();
        Self {
            files,
            settings,
            ends,
            sandboxes,
            kernel,
            jumps: Jumps::new(clock.now()),
            clock,
            underlay,
            events,
            shelf,
            said,
            quarantine,
            set_aside: SetAside::default(),
            unsaved: Saving::default(),
            not_saved: Saving::default(),
            saving: false,
            settled: 0,
            slots: BTreeMap::new(),
            book: Book::default(),
            demand: Demand::default(),
            waiting: Vec::new(),
            wakes: Vec::new(),
            stubborn: BTreeMap::new(),
            owned: Some(owned),
            parked: Vec::new(),
            fabric: None,
            lane: Lane::Idle,
            opening: false,
            pending: Pending::default(),
            applied: Generation::default(),
            groups_in_force: BTreeSet::new(),
            fabric_fault: None,
            fault_since: None,
            repair_fault: None,
            rewiring: BTreeSet::new(),
            engine_fault: None,
            refused_peers: BTreeMap::new(),
            checks: Checks::new(now),
            jobs: JoinSet::new(),
            looking: false,
            next_look: now,
            next_repair: now + REPAIR,
            repaired_at: now,
            stirred: Arc::new(Notify::new()),
            watcher: None,
            lane_again: None,
            make_again: None,
        }
    }

    /// Runs until `shutdown`. Interfaces go on without it.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.take_underlay();
        loop {
            let now = self.drive();
            let wake = self.next_wake(now);
            let (events, stirred) = (self.events.clone(), self.stirred.clone());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(done) = self.jobs.join_next() => match done {
                    Ok(done) => self.take_done(done),
                    // A fault of ours: the agent ends with it, and its next start adopts what is there.
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => return,
                    },
                },
                Some(request) = self.ends.requests.recv() => self.take_request(request),
                Some(heard) = self.ends.heard.recv() => self.take_heard(heard),
                Ok(()) = self.underlay.changed() => self.take_underlay(),
                () = events.notified() => self.next_look = Instant::now(),
                () = stirred.notified() => self.repair_soon(),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What follows from what is known, now.
    fn drive(&mut self) -> Instant {
        let now = Instant::now();
        if let Some(moved) = self.jumps.look(self.now()) {
            self.quarantine.clock_moved(moved);
            self.unsaved.resting |= self.quarantine.len() > 0;
        }
        if now >= self.next_look && !self.looking {
            self.look();
        }
        if self.quarantine.sweep(self.settled, self.now()) {
            self.unsaved.resting = true;
        }
        if self.owned.is_none() {
            self.drive_fabric(now);
            self.drive_claims(now);
            self.drive_wakes(now);
            self.drive_pool(now);
        }
        self.drive_removals(now);
        self.drive_checks(now);
        self.drive_saves();
        if self.lane == Lane::Idle && self.fabric.is_some() && now >= self.next_repair {
            self.next_repair = now + REPAIR;
            self.repaired_at = now;
            self.repair();
        }
        self.publish();
        now
    }

    /// When to look again, after everything up to `acted` was acted upon.
    fn next_wake(&self, acted: Instant) -> Instant {
        let mut wake = Instant::now() + LOOK;
        if !self.looking {
            wake = wake.min(self.next_look);
        }
        if self.lane == Lane::Idle && self.fabric.is_some() {
            wake = wake.min(self.next_repair);
        }
        let rest = self.quarantine.next().filter(|at| *at > self.now());
        let rest = rest.map(|at| Instant::now() + at.since(self.now()) + Duration::from_millis(1));
        let calm = self.demand.calm_at();
        let times = [
            self.checks.wake(),
            self.set_aside.wake(),
            self.lane_again,
            self.make_again,
            rest,
            calm,
            self.claims_wake(),
            self.wakes.iter().map(|(_, until)| *until).min(),
            self.removals_wake(),
        ];
        // What is over already was acted upon, or waits for something else.
        for at in times.into_iter().flatten().filter(|at| *at > acted) {
            wake = wake.min(at);
        }
        wake.max(Instant::now() + Duration::from_millis(1))
    }

    fn take_request(&mut self, request: Request) {
        let early = self.owned.is_some() && !matches!(request, Request::Status { .. });
        if early || (self.opening && matches!(request, Request::Release { .. })) {
            // Who has what is not known before the container engine was asked.
            self.parked.push(request);
            return;
        }
        // Whoever asked may have gone.
        match request {
            Request::Claim(claim) => self.claim(claim),
            Request::Wake(wake) => self.wakes.push((wake, Instant::now() + WAKES)),
            Request::Release { task, answer } => self.release(task, answer),
            Request::List { answer } => _ = answer.send(self.slots.values().filter_map(Slot::task).collect()),
            Request::Status { answer } => _ = answer.send(self.line()),
        }
    }

    fn take_parked(&mut self) {
        for request in std::mem::take(&mut self.parked) {
            self.take_request(request);
        }
    }

    fn take_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Update(update) => self.update(update),
            Heard::Recorded { revision, what } => {
                self.unsaved.resting |= self.quarantine.record(&what, revision, self.now());
            }
            Heard::Settled(settled) => self.settled = self.settled.max(settled),
        }
    }

    fn take_done(&mut self, done: Done) {
        match done {
            Done::Looked(asked_at, result) => self.looked(asked_at, result),
            Done::Opened(generation, result) => {
                self.opening = false;
                self.opened(generation, result);
                self.take_parked();
            }
            Done::Applied(generation, result) => self.applied(generation, result),
            Done::Repaired(result) => self.repaired(result),
            Done::Reached(results) => self.reached(results),
            Done::Made(eni, result) => self.made(eni, result),
            Done::Claimed(eni, result) => self.claimed(eni, result),
            Done::Admitted(cut, result) => self.admitted(cut, result),
            Done::Rewired(cut, result) => self.rewired(cut, result),
            Done::LinkForgotten(eni) => _ = self.rewiring.remove(&eni),
            Done::Woken(woken) => self.woken(woken),
            Done::Dismissed(eni, result) => self.dismissed(eni, result),
            Done::Saved(saving) => self.saved(saving),
            Done::Removed(eni, result) => self.removed(eni, result),
            Done::Nothing => {}
        }
    }

    fn look(&mut self) {
        self.looking = true;
        // The disk may have been full: what is not said again until then is saved at the next look.
        let again = std::mem::take(&mut self.not_saved);
        self.unsaved.whole |= again.whole;
        self.unsaved.resting |= again.resting;
        self.next_look = Instant::now() + LOOK;
        let asked_at = Instant::now();
        let (sandboxes, first) = (self.sandboxes.clone(), self.owned.is_some());
        self.jobs.spawn(async move {
            let look = async {
                let labelled = if first { sandboxes.labelled().await? } else { BTreeMap::new() };
                Ok(Look { sandboxes: sandboxes.list().await?, labelled })
            };
            Done::Looked(asked_at, look.await)
        });
    }

    fn looked(&mut self, asked_at: Instant, result: Result<Look, Failure>) {
        self.looking = false;
        match result {
            Ok(look) => {
                self.engine_fault = None;
                match self.owned.take() {
                    Some(owned) => {
                        self.adopt(owned, look);
                        self.take_parked();
                    }
                    None => self.compare(&look.sandboxes, asked_at),
                }
            }
            Err(failure) => {
                self.engine_fault = Some(failure.text().to_owned());
                self.next_look = Instant::now() + AGAIN;
            }
        }
    }

    fn take_underlay(&mut self) {
        let at = self.underlay.borrow_and_update().address();
        // A way that is gone for now is no other address: the fabric stays as it is.
        if let Some(address) = at
            && self.said.underlay != Some(address)
        {
            tracing::info!(%address, "other hosts send to this address");
            self.said.underlay = Some(address);
            self.unsaved.whole = true;
            self.pending.reopen = true;
        }
    }

    /// Saves what changed since the last time. Whatever came together is one write.
    fn drive_saves(&mut self) {
        if self.saving || self.unsaved == Saving::default() {
            return;
        }
        self.saving = true;
        let mut saving = std::mem::take(&mut self.unsaved);
        let shelf = self.shelf.clone();
        let steps = std::mem::take(&mut saving.steps);
        let whole = saving.whole || (!steps.is_empty() && shelf.wants_whole());
        let said = whole.then(|| self.said.clone());
        let resting = saving.resting.then(|| self.quarantine.clone());
        self.jobs.spawn(async move {
            // Without the disk everything goes on as long as this process lives, and is said again to the next.
            let kept = match said {
                Some(said) => shelf.save_said(said).await,
                None => shelf.save_steps(steps).await,
            };
            // From here on, what could not be saved.
            saving.whole = kept.is_err();
            if let Err(error) = kept {
                tracing::error!(%error, "could not save what the control plane said of the network");
            }
            saving.resting = false;
            if let Some(resting) = resting
                && let Err(error) = shelf.save_resting(&resting).await
            {
                tracing::error!(%error, "could not save the addresses that rest");
                saving.resting = true;
            }
            Done::Saved(saving)
        });
    }

    fn saved(&mut self, saving: Saving) {
        self.saving = false;
        self.not_saved.whole |= saving.whole;
        self.not_saved.resting |= saving.resting;
        for eni in saving.then {
            self.rests(eni);
        }
    }

    /// Whether what was said is on its way to the disk: it comes before the kernel.
    pub(super) fn is_saving_said(&self) -> bool {
        self.unsaved.whole || !self.unsaved.steps.is_empty() || self.saving
    }

    /// The host's leases.
    pub(super) fn leases(&self) -> &[Lease] {
        self.said.state.as_ref().map_or(&[], |state| &state.leases)
    }

    /// An interface with this address.
    pub(super) fn eni(&self, id: EniId, address: Ipv4Addr) -> EniReport {
        let lease = self.leases().iter().find(|lease| lease.v4.contains(&address));
        EniReport {
            id,
            mac: Mac::of_task(address),
            ipv4: address,
            ipv6: lease.and_then(|lease| lease.v6_of(address)),
            attached: true,
        }
    }

    pub(super) fn is_taken(&self, address: Ipv4Addr) -> bool {
        self.quarantine.holds(address)
            || self.set_aside.holds(address, Instant::now())
            || self.slots.values().any(|slot| slot.address == address && !is_given_anyhow(slot))
    }

    /// Addresses that tasks could be given at once.
    fn free(&self) -> usize {
        let ours = |address: &Ipv4Addr| self.leases().iter().any(|lease| lease.v4.contains(address));
        let spare = |slot: &&Slot| slot.is_spare() || matches!(slot.stage, Stage::Making);
        let used = self.slots.values().filter(|slot| !spare(slot)).map(|slot| slot.address);
        let resting = self.quarantine.addresses().chain(self.set_aside.addresses(Instant::now()));
        let used: BTreeSet<Ipv4Addr> = used.chain(resting).filter(ours).collect();
        capacity(self.leases()).saturating_sub(used.len())
    }

    /// Why tasks cannot be given interfaces; nothing to say before the network was said and opened.
    fn degraded(&self) -> Option<String> {
        if let Some(why) = self.underlay.borrow().obstacle() {
            return Some(why.to_owned());
        }
        if self.leases().is_empty() {
            return Some("this host has no lease of the task network".to_owned());
        }
        self.fabric_fault.clone().or_else(|| self.repair_fault.clone()).or_else(|| self.isolated())
    }

    fn publish(&mut self) {
        let degraded = self.degraded();
        // A host that lacks something says so before it is asked to take part.
        let unable = self.underlay.borrow().obstacle().is_some();
        let known = self.said.state.is_some() || unable || self.ends.status.borrow().is_some();
        let settled = self.fabric.is_some() || degraded.is_some();
        if !self.settings.enabled || !known || !settled {
            return;
        }
        let health = match degraded {
            Some(reason) => NetworkHealth::Degraded { reason },
            None => NetworkHealth::Ready,
        };
        let free_addresses = u32::try_from(self.free()).unwrap_or(u32::MAX);
        let status = NetworkStatus { health, applied: self.applied, free_addresses };
        self.ends.status.send_if_modified(|known| {
            let news = known.as_ref() != Some(&status);
            if news {
                if known.as_ref().map(|k| &k.health) != Some(&status.health) {
                    match &status.health {
                        NetworkHealth::Ready => tracing::info!("the task network is ready"),
                        NetworkHealth::Degraded { reason } => tracing::warn!(reason, "the task network is degraded"),
                    }
                }
                *known = Some(status);
            }
            news
        });
    }

    /// What is not as it should be and harms no task of this host.
    fn warnings(&self) -> Vec<String> {
        let engine = self.engine_fault.iter().map(|why| format!("the container engine: {why}"));
        engine.chain(self.set_aside.warnings(Instant::now())).collect()
    }

    fn line(&self) -> NetworkLine {
        let off = || Some("task_network is false in this host's configuration".to_owned());
        let none = || self.said.state.is_none().then(|| "the control plane has not said anything of it yet".to_owned());
        let unable = || self.underlay.borrow().obstacle().map(str::to_owned);
        let why = if self.settings.enabled { unable().or_else(none).or_else(|| self.degraded()) } else { off() };
        let refused = |id: &InstanceId| self.refused_peers.get(id).cloned().or_else(|| self.checks.fault(id));
        let peers = self.said.state.iter().flat_map(|state| state.peers.values());
        NetworkLine {
            ok: why.is_none(),
            why,
            warnings: self.warnings(),
            generation: self.said.generation.0,
            applied: self.applied.0,
            settled: self.settled,
            underlay: self.said.underlay.map(|address| address.to_string()),
            leases: self.leases().iter().map(|lease| lease.v4.to_string()).collect(),
            free: self.free(),
            resting: self.quarantine.len(),
            set_aside: self.set_aside.lines(Instant::now()),
            warm: self.slots.values().filter(|slot| matches!(slot.stage, Stage::Warm { .. })).count(),
            warm_target: self.demand.peek(&self.settings),
            waiting: self.waiting.len(),
            interfaces: self.slots.iter().filter_map(|(eni, slot)| interface_line(*eni, slot)).collect(),
            peers: peers
                .map(|peer| PeerLine {
                    instance: peer.instance.to_string(),
                    underlay: peer.underlay.to_string(),
                    leases: peer.leases.iter().map(|lease| lease.v4.to_string()).collect(),
                    connected: peer.connected,
                    fault: refused(&peer.instance),
                })
                .collect(),
        }
    }
}

fn is_given_anyhow(slot: &Slot) -> bool {
    is_planted(Bug::AddressesInUseAreGiven) && slot.task().is_some()
}

fn interface_line(eni: EniId, slot: &Slot) -> Option<InterfaceLine> {
    let (stage, error) = match &slot.stage {
        Stage::Warm { .. } => return None,
        Stage::Found => ("found", None),
        Stage::Making => ("making", None),
        Stage::Claiming { .. } => ("claiming", None),
        Stage::Claimed { .. } => ("claimed", None),
        Stage::Releasing { .. } => ("releasing", None),
        Stage::Removing { error, .. } => ("removing", error.clone()),
    };
    let task = slot.task().map(|task| task.to_string());
    Some(InterfaceLine { eni: eni.to_string(), address: slot.address.to_string(), stage, task, error })
}
