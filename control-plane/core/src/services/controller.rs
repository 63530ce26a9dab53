//! The task that looks at services when there may be something to decide.

use crate::clock::Jumps;
use crate::commands::{StepError, Stepped};
use crate::handle::Core;
use crate::records::{SchedulingStrategy, ServiceKey};
use crate::services::decision::{Looked, Step};
use crate::services::picture::{is_uneven_over, zones};
use crate::services::timers::Timers;
use crate::services::wakes::Due;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use longshore_ecs_api::enums::AvailabilityZoneRebalancing;
use longshore_model::ClusterKey;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

/// Services decided over at once. Their steps share a commit.
const AT_ONCE: usize = 64;
/// The longest sleep: the wall clock may be set, and what is decided by it is decided anew then.
const LONGEST: Duration = Duration::from_secs(30);
/// Refusals of outdated steps after which others have their turn first.
const REFUSALS: u32 = 8;
/// How much longer the wait is after each of them: they cost a plan over all hosts.
const REFUSED: Duration = Duration::from_millis(2);

/// Keeps services as they should be. Run it beside the owner task.
#[must_use]
pub struct Controller {
    core: Core,
}

/// Services that hosts concern whether or not they have tasks there.
#[derive(Default)]
struct Followers {
    /// DAEMON services: they come first to a new host.
    daemons: Vec<ServiceKey>,
    /// Those that are evened out over zones, and are not even.
    others: Vec<ServiceKey>,
}

impl Controller {
    /// A controller of the services in `core`.
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    /// Runs until `shutdown` completes.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        // Whatever happened while nobody looked.
        let mut due: BTreeSet<ServiceKey> = self.core.snapshot().services().map(|(key, _)| key.clone()).collect();
        // DAEMON services whose hosts changed: the others of their clusters wait until these have been looked at.
        let mut first: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut unplaced: BTreeSet<ServiceKey> = BTreeSet::new();
        // And those that wait for room that they cannot make by themselves.
        let mut wanting: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut silent: BTreeSet<ServiceKey> = BTreeSet::new();
        // Those in whose clusters room was made while they were being looked at: what they found may be over.
        let mut overtaken: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut timers = Timers::default();
        let mut busy: BTreeSet<ServiceKey> = BTreeSet::new();
        // Those of `first` that are being looked at.
        let mut early: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut looks = FuturesUnordered::new();
        let clock = &*self.core.inner().clock;
        let mut jumps = Jumps::of(clock);
        loop {
            let ticks = clock.ticks();
            due.extend(timers.over(ticks));
            if jumps.any(clock) {
                due.extend(self.core.snapshot().services().map(|(key, _)| key.clone()));
            }
            let waiting: BTreeSet<&ClusterKey> = first.iter().chain(&early).map(|key| &key.cluster).collect();
            let others = due.iter().filter(|key| !waiting.contains(&key.cluster));
            let ready: Vec<ServiceKey> = first
                .iter()
                .chain(others)
                .filter(|key| !busy.contains(*key))
                .take(AT_ONCE.saturating_sub(busy.len()))
                .cloned()
                .collect();
            for key in ready {
                due.remove(&key);
                if first.remove(&key) {
                    early.insert(key.clone());
                }
                busy.insert(key.clone());
                let was_unplaced = unplaced.contains(&key);
                looks.push(self.look(key, was_unplaced));
            }
            let sleep = timers.next().map_or(LONGEST, |at| at.saturating_sub(ticks).min(LONGEST));
            // In the same order each time, so that one run of the simulation is like the next. Nobody starves: what was
            // looked at is looked at again only after a change.
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some((looked, wake)) = looks.next() => {
                    let Looked { key, unplaced: without, wants_room: wants, silent: waits, wake_at: _, again } = looked;
                    busy.remove(&key);
                    early.remove(&key);
                    for (set, is_in) in [(&mut unplaced, without), (&mut wanting, wants), (&mut silent, waits)] {
                        if is_in {
                            set.insert(key.clone());
                        } else {
                            set.remove(&key);
                        }
                    }
                    timers.set(&key, wake);
                    let overtaken = overtaken.remove(&key) && (wants || waits);
                    if again || overtaken {
                        due.insert(key);
                    }
                }
                Due { services, rooms, hosts } = self.core.inner().service_wakes.next() => {
                    self.core.inner().silences.tidy(&self.core.snapshot());
                    due.extend(services);
                    let in_rooms = |key: &&ServiceKey| rooms.contains(&key.cluster);
                    due.extend(wanting.iter().chain(&silent).filter(in_rooms).cloned());
                    overtaken.extend(busy.iter().filter(in_rooms).cloned());
                    let Followers { daemons, others } = self.followers(&hosts);
                    first.extend(daemons);
                    due.extend(others);
                }
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// The services of these clusters that follow their hosts.
    fn followers(&self, clusters: &BTreeSet<ClusterKey>) -> Followers {
        let state = self.core.snapshot();
        let mut followers = Followers::default();
        for cluster in clusters {
            let zones = zones(&state, cluster);
            for service in state.services_of(cluster, "").map(|s| &s.record).filter(|service| service.is_active()) {
                let evens_out = || {
                    service.zone_rebalancing == Some(AvailabilityZoneRebalancing::Enabled)
                        && is_uneven_over(&state, &service.key, &zones)
                };
                match service.scheduling {
                    SchedulingStrategy::Daemon => followers.daemons.push(service.key.clone()),
                    SchedulingStrategy::Replica if evens_out() => followers.others.push(service.key.clone()),
                    SchedulingStrategy::Replica => {}
                }
            }
        }
        followers
    }

    /// Decides over one service and carries it out. Gives with it when to look again, by the clock that nobody sets.
    async fn look(&self, key: ServiceKey, was_unplaced: bool) -> (Looked, Option<Duration>) {
        let clock = &*self.core.inner().clock;
        let mut refused = 0;
        loop {
            let state = self.core.snapshot();
            let (now, ticks) = (clock.now(), clock.ticks());
            let by_ticks = |looked: Looked| {
                let wake = looked.wake_at.map(|at| ticks.saturating_add(at.since(now)));
                (looked, wake)
            };
            let decided = self.core.inner().decider().decided(&state, &key, was_unplaced, now);
            let Some((step, mut looked)) = decided else { return by_ticks(Looked::nothing(&key)) };
            let Some(mut step) = step else { return by_ticks(looked) };
            let launch = step.launch();
            let found = launch.as_ref().and_then(|(_, plan)| Some(plan.as_ref()?.places.len())).unwrap_or(0);
            if refused > 0
                && let Some((_, plan)) = launch
            {
                // Hosts may change faster than a plan gets its turn. What is planned at its turn always holds.
                *plan = None;
            }
            let done = match step {
                Step::Service(step) => self.core.submit(*step).await,
                Step::TaskSet(step) => self.core.submit(*step).await,
            };
            match done {
                Ok(Stepped { started, stopped }) => {
                    if started + stopped > 0 {
                        tracing::info!(service = %key, cluster = %key.cluster, started, stopped, "a service moved");
                    }
                    looked.again |= started < found;
                }
                Err(StepError::Outdated) if refused < REFUSALS => {
                    tokio::time::sleep(REFUSED * refused).await;
                    refused += 1;
                    continue;
                }
                Err(StepError::Outdated) => looked.again = true,
                Err(StepError::Unavailable(why)) => {
                    tracing::warn!(service = %key, %why, "could not carry out what was decided for a service");
                    looked.wake_at = Some(now.after(Duration::from_secs(1)));
                }
            }
            return by_ticks(looked);
        }
    }
}
