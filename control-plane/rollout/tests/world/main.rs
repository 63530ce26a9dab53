//! A service in a world that does what it likes: tasks that fail, fall ill and hang, hosts that drain and are lost,
//! operators who change their minds. Whatever happens, the bounds hold; once it ends, the service is as it should be.

mod cases;

use longshore_model::{InstanceId, TaskId, Timestamp};
use longshore_rollout::{
    Bounds, Breaker, Decision, Deployment, Health, Host, Launch, Phase, Picture, Rebalance, Rollout, Scheduling, Task,
    Threshold, Verdict, Why, decide, delay,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const HEALTHY_AFTER: Duration = Duration::from_secs(40);
const GRACE: Duration = Duration::from_secs(5);

fn instance(n: u8) -> InstanceId {
    InstanceId::from_bytes([n; 16])
}

/// The zone of a host: there are two.
fn zone(n: u8) -> Option<Arc<str>> {
    Some(if n.is_multiple_of(2) { "a" } else { "b" }.into())
}

struct World {
    picture: Picture,
    /// Whether the service is evened out over zones.
    rebalances: bool,
    /// Whether the task definition has health checks.
    checked: bool,
    /// Hosts that drain.
    draining: BTreeSet<InstanceId>,
    silent: BTreeSet<InstanceId>,
    hosts: u8,
    now: Timestamp,
    made: u64,
    completed: usize,
    /// Tasks that have been healthy.
    healed: BTreeSet<TaskId>,
    /// Failures of the PRIMARY deployment since one of its tasks became healthy.
    unhealed: u32,
}

/// Something that happens between two decisions.
#[derive(Debug, Clone)]
enum Event {
    /// Every task that can goes a step further.
    Progress,
    Wait(u16),
    /// The nth task ends by itself.
    Fail(usize),
    Sicken(usize),
    Drain(u8),
    Undrain(u8),
    /// Nothing is heard of a host.
    Silence(u8),
    /// All are heard of again.
    Return,
    /// The tasks of a host are lost: wanted stopped, and nobody knows.
    Lose(u8),
    Desired(u32),
    Percent(u32, u32),
    Deploy,
    Protect(usize),
    Unplaced(bool),
    /// Whether what it gives up makes no place.
    NoGain(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Progress),
        3 => (1_u16..60).prop_map(Event::Wait),
        2 => any::<usize>().prop_map(Event::Fail),
        2 => any::<usize>().prop_map(Event::Sicken),
        1 => (0_u8..4).prop_map(Event::Drain),
        1 => (0_u8..4).prop_map(Event::Undrain),
        1 => (0_u8..4).prop_map(Event::Silence),
        1 => Just(Event::Return),
        1 => (0_u8..4).prop_map(Event::Lose),
        1 => (0_u32..12).prop_map(Event::Desired),
        1 => prop_oneof![Just((100, 200)), Just((50, 100)), Just((0, 100)), Just((66, 133)), Just((100, 101))]
            .prop_map(|(min, max)| Event::Percent(min, max)),
        2 => Just(Event::Deploy),
        1 => any::<usize>().prop_map(Event::Protect),
        1 => any::<bool>().prop_map(Event::Unplaced),
        1 => any::<bool>().prop_map(Event::NoGain),
    ]
}

const NEW: Deployment =
    Deployment { rollout: Rollout::InProgress, failures: 0, setbacks: 0, failed_at: None, can_roll_back: false };

impl World {
    fn new(desired: Option<u32>, checked: bool, breaker: Option<Breaker>) -> Self {
        let hosts = 4;
        let scheduling = match desired {
            Some(desired) => Scheduling::Replica { desired },
            None => Scheduling::Daemon { hosts: Vec::new() },
        };
        let bounds = if desired.is_some() { Bounds::REPLICA } else { Bounds::DAEMON };
        Self {
            picture: Picture {
                scheduling,
                active: true,
                bounds,
                healthy_after: HEALTHY_AFTER,
                grace: GRACE,
                breaker,
                deployments: vec![NEW],
                tasks: Vec::new(),
                unplaced: false,
                no_gain: false,
                rebalance: Rebalance::Off,
            },
            rebalances: false,
            checked,
            draining: BTreeSet::new(),
            silent: BTreeSet::new(),
            hosts,
            now: Timestamp::from_millis(1_000_000),
            made: 0,
            completed: 0,
            healed: BTreeSet::new(),
            unhealed: 0,
        }
    }

    fn happens(&mut self, event: &Event) {
        let tasks = self.picture.tasks.len();
        let nth = |n: &usize| n.checked_rem(tasks);
        match event {
            Event::Progress => self.progress(),
            Event::Wait(seconds) => self.now = self.now.after(Duration::from_secs(u64::from(*seconds))),
            Event::Fail(n) => {
                if let Some(n) = nth(n) {
                    let task = self.picture.tasks.remove(n);
                    let early = task.is_wanted() && !task.is_healthy(&self.picture, self.now);
                    self.failed(task.deployment.filter(|_| early));
                }
            }
            Event::Sicken(n) => {
                if let Some(Phase::Running { health, .. }) = nth(n).map(|n| &mut self.picture.tasks[n].phase)
                    && *health != Health::Unchecked
                {
                    *health = Health::Unhealthy;
                }
            }
            Event::Drain(n) => {
                self.draining.insert(instance(*n));
            }
            Event::Undrain(n) => {
                self.draining.remove(&instance(*n));
            }
            Event::Silence(n) => {
                self.silent.insert(instance(*n));
            }
            Event::Return => self.silent.clear(),
            Event::Lose(n) => {
                self.silent.remove(&instance(*n));
                self.picture
                    .tasks
                    .iter_mut()
                    .filter(|task| task.host == instance(*n))
                    .for_each(|task| task.lost = true);
            }
            Event::Desired(count) => {
                if let Scheduling::Replica { desired } = &mut self.picture.scheduling {
                    *desired = *count;
                }
            }
            Event::Percent(min, max) => {
                if matches!(self.picture.scheduling, Scheduling::Replica { .. }) {
                    self.picture.bounds = Bounds { minimum_healthy_percent: *min, maximum_percent: *max };
                }
            }
            Event::Deploy => self.deploy(NEW),
            Event::Protect(n) => {
                if let Some(n) = nth(n) {
                    self.picture.tasks[n].protected_until = Some(self.now.after(Duration::from_secs(90)));
                }
            }
            Event::Unplaced(unplaced) => self.picture.unplaced = *unplaced,
            Event::NoGain(no_gain) => self.picture.no_gain = *no_gain,
        }
        self.look();
    }

    fn deploy(&mut self, new: Deployment) {
        self.unhealed = 0;
        self.picture.deployments.insert(0, new);
        for task in &mut self.picture.tasks {
            task.deployment = task.deployment.map(|n| n + 1);
        }
    }

    fn failed(&mut self, deployment: Option<usize>) {
        if let Some(deployment) = deployment {
            self.picture.deployments[deployment].failures += 1;
            self.picture.deployments[deployment].setbacks += 1;
            self.picture.deployments[deployment].failed_at = Some(self.now);
            self.unhealed += u32::from(deployment == 0);
        }
    }

    fn progress(&mut self) {
        let (now, checked) = (self.now, self.checked);
        for task in &mut self.picture.tasks {
            task.phase = match task.phase {
                Phase::Pending if checked => Phase::Running { since: now, health: Health::Unknown },
                Phase::Pending => Phase::Running { since: now, health: Health::Unchecked },
                Phase::Running { since, health: Health::Unknown } => Phase::Running { since, health: Health::Healthy },
                other => other,
            };
            if matches!(task.phase, Phase::Running { health: Health::Healthy, .. }) {
                task.healthy_at.get_or_insert(now);
            }
        }
        self.picture.tasks.retain(|task| task.phase != Phase::Stopping { lost: false });
    }

    /// What the picture takes from the hosts.
    fn look(&mut self) {
        for task in &mut self.picture.tasks {
            task.draining = self.draining.contains(&task.host);
            task.silent = !task.lost && self.silent.contains(&task.host);
        }
        self.picture.rebalance = match self.rebalances {
            true if self.draining.len() == usize::from(self.hosts) => Rebalance::Nowhere,
            true => Rebalance::To(zone(self.free())),
            false => Rebalance::Off,
        };
        if let Scheduling::Daemon { hosts } = &mut self.picture.scheduling {
            let with_task = |id| self.picture.tasks.iter().any(|task| task.host == id);
            let all = (0..self.hosts).map(instance).map(|id| (id, self.draining.contains(&id)));
            let of = |(id, draining)| Host { id, draining, busy: false };
            *hosts = all.filter(|(id, draining)| !draining || with_task(*id)).map(of).collect();
        }
    }

    fn desired(&self) -> u32 {
        match &self.picture.scheduling {
            Scheduling::Replica { desired } => *desired,
            Scheduling::Daemon { hosts } => u32::try_from(hosts.len()).expect("four at most"),
        }
    }

    fn healthy(&self) -> u32 {
        let healthy = |task: &&Task| task.is_healthy(&self.picture, self.now);
        u32::try_from(self.picture.tasks.iter().filter(healthy).count()).expect("few")
    }

    fn active(&self) -> u32 {
        let known = |task: &&Task| task.phase != Phase::Stopping { lost: true };
        u32::try_from(self.picture.tasks.iter().filter(known).count()).expect("few")
    }

    /// What failed is held against the deployment until one of its tasks becomes healthy, not because one still is.
    fn check_failures(&mut self, decision: &Decision) {
        let desired = self.desired();
        let primary = self.picture.deployments[0];
        let opens = |breaker: Breaker| self.unhealed >= breaker.threshold.of(desired);
        if self.picture.breaker.is_some_and(opens) && primary.rollout == Rollout::InProgress {
            assert!(matches!(decision.verdict, Some(Verdict::Failed { .. })), "{} failed: {decision:?}", self.unhealed);
        }
        if let Some(failed_at) = primary.failed_at.filter(|_| self.unhealed > 0 && decision.launch.count() > 0) {
            let pause = delay(self.unhealed, desired);
            assert!(self.now >= failed_at.after(pause), "{} failed: {decision:?}", self.unhealed);
        }
    }

    /// A deployment that failed says so whenever something waits for it.
    fn check_failed(&self, decision: &Decision) {
        if self.picture.deployments[0].rollout != Rollout::Failed {
            assert!(!decision.halted, "{decision:?}");
            return;
        }
        let stops = |task: &Task| decision.stops.iter().any(|stop| stop.task == task.id);
        let stays = |task: &&Task| task.is_wanted() && !stops(task);
        let (tasks, now) = (&self.picture.tasks, self.now);
        let waits = tasks.iter().filter(stays).any(|task| task.draining || task.is_ill(&self.picture, now));
        // What is on its way out holds its host's place, and is waited for first.
        let holds = |task: &Task| match task.phase {
            Phase::Pending | Phase::Running { .. } => !task.lost,
            Phase::Stopping { lost } => !lost,
        };
        let taken = |host: &Host| tasks.iter().any(|task| task.host == host.id && holds(task));
        let missing = match &self.picture.scheduling {
            Scheduling::Replica { desired } => tasks.iter().filter(stays).count() < *desired as usize,
            Scheduling::Daemon { hosts } => hosts.iter().any(|host| !host.draining && !taken(host)),
        };
        assert!(decision.halted || !(waits || missing), "{decision:?} {:?}", self.picture);
    }

    /// Decides, checks that the decision keeps the bounds, and carries it out.
    fn step(&mut self) -> Decision {
        let healthy = |task: &&Task| task.deployment == Some(0) && task.is_healthy(&self.picture, self.now);
        let healthy: Vec<TaskId> = self.picture.tasks.iter().filter(healthy).map(|task| task.id).collect();
        if healthy.into_iter().filter(|id| self.healed.insert(*id)).count() > 0 {
            self.unhealed = 0;
        }
        let decision = decide(&self.picture, self.now);
        self.check_failures(&decision);
        self.check_failed(&decision);
        assert_eq!(decision, decide(&self.picture, self.now), "the same picture, the same answer");
        // What this step stops for its health is not forgiven by it.
        if decision.recovered {
            self.picture.deployments[0].setbacks = 0;
        }
        if decision.forgiven {
            self.picture.deployments[0].failures = 0;
        }
        let serve = |task: &&Task| task.is_wanted() && task.is_healthy(&self.picture, self.now);
        let well: BTreeSet<TaskId> = self.picture.tasks.iter().filter(serve).map(|task| task.id).collect();
        let (healthy, active, desired) = (self.healthy(), self.active(), self.desired());
        let (mut empties, mut unheard, mut for_room) = (0, 0, 0);
        let protected = |task: &&Task| task.is_protected(&self.picture, self.now);
        let protected: BTreeSet<TaskId> = self.picture.tasks.iter().filter(protected).map(|task| task.id).collect();
        for stop in &decision.stops {
            let found = self.picture.tasks.iter_mut().find(|task| task.id == stop.task).expect("one of its tasks");
            assert!(!matches!(found.phase, Phase::Stopping { .. }), "it is asked once");
            let (forced, lost) = (matches!(stop.why, Why::Misplaced | Why::Deleted | Why::Lost), stop.why == Why::Lost);
            assert!(forced || !protected.contains(&stop.task), "protected tasks stay");
            let of_daemon = matches!(self.picture.scheduling, Scheduling::Daemon { .. });
            empties += u32::from(of_daemon && matches!(stop.why, Why::Draining | Why::Misplaced));
            let runs = matches!(found.phase, Phase::Running { .. });
            let serves = well.contains(&found.id);
            for_room += u32::from(!of_daemon && serves && matches!(stop.why, Why::Superseded | Why::Draining));
            let leaves = of_daemon && stop.why == Why::Draining;
            unheard += u32::from(found.silent && runs && !forced && !leaves);
            let (ill, deployment) = (stop.why == Why::Ill, found.deployment);
            found.phase = Phase::Stopping { lost };
            if ill {
                self.failed(deployment);
            }
        }
        let floor = self.picture.bounds.floor(desired);
        assert!(self.healthy() + empties >= healthy.min(floor), "{decision:?} leaves {} healthy", self.healthy());
        let gives_up = self.picture.no_gain && for_room > 0 && self.healthy() < desired;
        assert!(!gives_up, "{decision:?} gives up healthy tasks and gains nothing");
        // Nobody knows what a silent host's tasks do: they are given up only when none of them is needed.
        assert!(unheard == 0 || self.healthy() + empties >= floor, "{decision:?} gives up what may be needed");
        let hosts: Vec<InstanceId> = match &decision.launch {
            Launch::Anywhere(_) => Vec::new(),
            Launch::On(hosts) => hosts.clone(),
        };
        for host in hosts {
            self.start(host, None);
        }
        if let (Launch::Anywhere(count), false) = (&decision.launch, self.picture.unplaced) {
            for _ in 0..*count {
                let host = self.free();
                self.start(instance(host), zone(host));
            }
        }
        let ceiling = self.picture.bounds.ceiling(desired);
        if matches!(self.picture.scheduling, Scheduling::Replica { .. }) {
            assert!(self.active() <= active.max(ceiling), "{decision:?} makes {} active", self.active());
        } else {
            let mut seen = BTreeSet::new();
            let on = |task: &&Task| task.phase != Phase::Stopping { lost: true } && task.is_wanted();
            let twice = self.picture.tasks.iter().filter(on).find(|task| !seen.insert(task.host));
            assert_eq!(twice, None, "one task of a daemon on a host");
        }
        self.settle(&decision);
        decision
    }

    fn settle(&mut self, decision: &Decision) {
        match decision.verdict {
            None => {}
            Some(Verdict::Completed) => {
                self.picture.deployments[0].rollout = Rollout::Completed;
                self.completed += 1;
            }
            Some(Verdict::Failed { roll_back }) => {
                self.picture.deployments[0].rollout = Rollout::Failed;
                if roll_back {
                    self.deploy(NEW);
                }
            }
        }
        for index in decision.gone.iter().rev() {
            self.picture.deployments.remove(*index);
            for task in &mut self.picture.tasks {
                task.deployment = match task.deployment {
                    Some(n) if n == *index => None,
                    Some(n) if n > *index => Some(n - 1),
                    other => other,
                };
            }
        }
    }

    /// Where placement puts the next task: on a host that takes tasks, of the zone with the fewest, the one with the
    /// fewest; some other host when all are draining.
    fn free(&self) -> u8 {
        let live = || self.picture.tasks.iter();
        let rank = |n: &u8| {
            let in_zone = live().filter(|task| task.zone == zone(*n)).count();
            (in_zone, live().filter(|task| task.host == instance(*n)).count())
        };
        (0..self.hosts).filter(|host| !self.draining.contains(&instance(*host))).min_by_key(rank).unwrap_or(9)
    }

    /// How many tasks each zone has.
    fn zones(&self) -> [usize; 2] {
        let of = |n| self.picture.tasks.iter().filter(|task| task.is_wanted() && task.zone == zone(n)).count();
        [of(0), of(1)]
    }

    fn start(&mut self, host: InstanceId, zone: Option<Arc<str>>) {
        self.made += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.made.to_be_bytes());
        self.picture.tasks.push(Task {
            id: TaskId::from_bytes(id),
            deployment: Some(0),
            phase: Phase::Pending,
            host,
            zone,
            draining: false,
            silent: self.silent.contains(&host),
            unproven: false,
            lost: false,
            protected_until: None,
            healthy_at: None,
            created_at: self.now,
        });
    }

    /// Faults are over: hosts come back, nothing is without a place.
    fn calm(&mut self) {
        (self.picture.unplaced, self.picture.no_gain) = (false, false);
        self.draining.clear();
        self.silent.clear();
        self.picture.tasks.retain(|task| task.phase != Phase::Stopping { lost: true });
        self.look();
        for _ in 0..200 {
            // A deployment that failed, for what happened before, stays as it is until somebody deploys again.
            if self.picture.deployments[0].rollout == Rollout::Failed {
                self.deploy(NEW);
            }
            let was_complete = self.picture.deployments[0].rollout == Rollout::Completed;
            let decision = self.step();
            // Zones are evened out once the deployment is complete, all are healthy and none is on its way out, and no
            // pause holds starts up.
            let at_rest = self.picture.tasks.iter().all(Task::is_wanted) && !decision.pausing;
            let settled = !self.rebalances || was_complete && self.healthy() == self.desired() && at_rest;
            if decision.steady && settled && self.picture.deployments[0].rollout != Rollout::InProgress {
                return;
            }
            assert!(!decision.stuck, "{decision:?} {:?}", self.picture);
            self.now = match decision.wake_at {
                Some(at) if decision.launch.count() == 0 && decision.stops.is_empty() => at,
                Some(_) | None => self.now.after(Duration::from_secs(1)),
            };
            self.progress();
            self.look();
        }
        panic!("never steady: {:?}", self.picture);
    }
}

fn breakers() -> impl Strategy<Value = Option<Breaker>> {
    let breaker = (any::<bool>(), any::<bool>(), 1_u32..5).prop_map(|(rollback, reset_on_healthy, count)| {
        Some(Breaker { rollback, threshold: Threshold::Count(count), reset_on_healthy })
    });
    prop_oneof![Just(None), breaker]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_service_keeps_its_bounds_and_converges(
        desired in prop_oneof![3 => (0_u32..10).prop_map(Some), 1 => Just(None)],
        checked: bool,
        breaker in breakers(),
        rebalances: bool,
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut world = World::new(desired, checked, breaker);
        world.rebalances = rebalances && desired.is_some();
        world.look();
        for event in &events {
            world.happens(event);
            world.step();
        }
        // A full stop of 100 % both ways cannot move, and says so; that is not what is tried here.
        if matches!(world.picture.scheduling, Scheduling::Replica { .. }) {
            world.picture.bounds = Bounds::REPLICA;
        }
        world.calm();
        world.progress();
        prop_assert_eq!(world.picture.tasks.len(), world.desired() as usize);
        let all = world.picture.tasks.iter().all(|task| task.deployment == Some(0));
        prop_assert!(all && world.picture.deployments.len() == 1);
        prop_assert!(!decide(&world.picture, world.now).stuck);
        let [a, b] = world.zones();
        prop_assert!(!world.rebalances || a.abs_diff(b) <= 1, "{} and {}", a, b);
    }
}
