//! One run's world: what all its parts share.

use crate::addresses::Addresses;
use crate::bounds::Seen;
use crate::clock::{Clock, WallClock};
use crate::control::Process;
use crate::docker::Docker;
use crate::drivers::Disk;
use crate::entropy::Dice;
use crate::firings::Firings;
use crate::host::{Host, facts, takes_part};
use crate::invariants;
use crate::net::Link;
use crate::plan::Plan;
use crate::promises::Promised;
use crate::runs::Runs;
use crate::store::SimStore;
use crate::trace::Trace;
use longshore_core::{Core, State};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The world.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) trace: Arc<Trace>,
    pub(crate) clock: Clock,
    /// The control plane's.
    pub(crate) wall: WallClock,
    /// What schedules and rules fired.
    pub(crate) firings: Firings,
    /// Who has which address.
    pub(crate) addresses: Addresses,
    pub(crate) dice: Dice,
    pub(crate) store: Arc<SimStore>,
    pub(crate) hosts: Vec<Arc<Host>>,
    pub(crate) runs: Arc<Runs>,
    /// Since when clients see tasks run.
    pub(crate) seen_running: Seen,
    control: Mutex<Option<Arc<Process>>>,
    /// Whether clients come to an end.
    closing: AtomicBool,
    /// Whether troubles are over.
    healing: AtomicBool,
    /// What clients saw last.
    seen: Mutex<Option<Arc<State>>>,
    /// Clients that are in the middle of something.
    busy: AtomicU32,
    /// What clients were promised.
    promised: Mutex<Promised>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(plan: Plan, echo: bool) -> Arc<Self> {
        let seed = plan.seed;
        let trace = Arc::new(Trace::new(echo));
        let clock = Clock::new();
        let runs = Arc::new(Runs::default());
        let host = |(index, (cpu, memory)): (usize, &(u32, u32))| {
            let name = format!("h{index}");
            let dice = |part: &str| Dice::new(seed, &format!("{name} {part}"));
            let zone = if index % 2 == 0 { "a" } else { "b" };
            let docker = Docker::new(&name, *memory, dice("engine"), clock, Arc::clone(&trace), Arc::clone(&runs));
            docker.engine().deaf = plan.deaf;
            let disk = Disk::new(dice("disk"));
            disk.fail(plan.ledger_faults);
            let link = Link::new(dice("line"), plan.delay, plan.tamper);
            let mut facts = facts(&name, zone, *cpu, *memory);
            if plan.network {
                takes_part(&mut facts, index);
            }
            Host::new(index, facts, docker, disk, link, [dice("host"), dice("network")])
        };
        let hosts = plan.hosts.iter().enumerate().map(host).collect();
        let store = Arc::new(SimStore::new(seed, Arc::clone(&trace)));
        Arc::new(Self {
            trace,
            clock,
            wall: WallClock::new(clock),
            firings: Firings::default(),
            addresses: Addresses::default(),
            dice: Dice::new(seed, "world"),
            store,
            hosts,
            runs,
            seen_running: Seen::default(),
            control: Mutex::default(),
            closing: AtomicBool::new(false),
            healing: AtomicBool::new(false),
            seen: Mutex::default(),
            busy: AtomicU32::new(0),
            promised: Mutex::default(),
            plan,
        })
    }

    /// The control plane, while it is up.
    pub(crate) fn control(&self) -> Option<Arc<Process>> {
        lock(&self.control).clone()
    }

    pub(crate) fn set_control(&self, process: Option<Arc<Process>>) {
        *lock(&self.control) = process;
    }

    pub(crate) fn promised(&self) -> MutexGuard<'_, Promised> {
        lock(&self.promised)
    }

    /// Does what a client does; the fleet is mended only once it is through.
    pub(crate) async fn client<T>(&self, act: impl Future<Output = T>) -> T {
        self.busy.fetch_add(1, Ordering::Relaxed);
        let done = act.await;
        self.busy.fetch_sub(1, Ordering::Relaxed);
        done
    }

    /// Whether a client is in the middle of something.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// Whether clients come to an end.
    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Clients come to an end.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn healing(&self) -> bool {
        self.healing.load(Ordering::Relaxed)
    }

    /// What clients see.
    pub(crate) fn state(&self) -> Option<Arc<State>> {
        lock(&self.seen).clone()
    }

    /// A new process of the control plane has read its store.
    pub(crate) fn reopened(&self, core: &Core) {
        self.look(core, true);
    }

    /// Compares what clients see now with what they saw before.
    fn look(&self, core: &Core, anew: bool) {
        let now = core.snapshot();
        let before = lock(&self.seen).replace(Arc::clone(&now));
        self.runs.publish(Arc::clone(&now));
        self.seen_running.look(&now, self.trace.at());
        invariants::snapshot(self, &now);
        if self.plan.network {
            self.addresses.snapshot(self, &now);
        }
        if let Some(before) = before
            && !Arc::ptr_eq(&before, &now)
        {
            invariants::step(self, &before, &now, anew);
            self.firings.step(self, &before, &now);
            self.addresses.step(self, &before, &now);
        }
    }

    /// Looks after each commit. Runs for as long as the run.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            self.store.committed.notified().await;
            if let Some(process) = self.control() {
                self.look(&process.core, false);
            }
        }
    }

    /// Troubles are over, and what they broke is mended.
    pub(crate) fn heal(&self) {
        self.healing.store(true, Ordering::Relaxed);
        self.trace.say("troubles are over");
        self.store.fail(0);
        self.store.slow.store(false, Ordering::Relaxed);
        for host in &self.hosts {
            host.link.tamper.store(0, Ordering::Relaxed);
            host.link.delay.store(20, Ordering::Relaxed);
            host.link.set_up(true);
            host.disk.fail(0);
            {
                let mut engine = host.docker.engine();
                engine.deaf = 0;
                engine.drag = std::time::Duration::ZERO;
            }
            if !host.has_power() {
                host.power_on();
            } else if !host.docker.engine().up {
                host.docker.start_engine();
            }
        }
    }
}
