//! The task that waits for what is due and has it done.

use crate::agent::Unavailable;
use crate::caller::Caller;
use crate::clock::Jumps;
use crate::commands::{
    DecideFiring, Decided, DropFiring, EmptyScheduleGroup, EndFiring, FailFiring, FireRule, FireScaling, Fired,
    FiredAction, Launch, NewDeployment, PlaceError, Plan, StartFiring, Tried, plan,
};
use crate::handle::Core;
use crate::ops::run;
use crate::records::{Firing, FiringKey, RuleKey, Schedule, ScheduleKey, ServiceKey};
use crate::schedules::{Names, run_task, unplaced, waits_too_long};
use crate::state::{Due, State};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use longshore_ecs_api::ApiError;
use longshore_model::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What is done at once. Their changes share a commit.
const AT_ONCE: usize = 64;
/// The longest sleep: the wall clock may be set.
const LONGEST: Duration = Duration::from_secs(30);
/// How long something rests that could not be made durable, or that a deletion overtakes.
const REST: Duration = Duration::from_secs(1);

/// Fires schedules. Run it beside the owner task.
#[must_use]
pub struct ScheduleEngine {
    core: Core,
}

impl ScheduleEngine {
    /// An engine of the schedules in `core`.
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    /// Runs until `shutdown` completes. What is cut then goes on with the next start.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut busy: BTreeSet<Due> = BTreeSet::new();
        let mut resting: BTreeMap<Due, Instant> = BTreeMap::new();
        let mut works = FuturesUnordered::new();
        let clock = &*self.core.inner().clock;
        let mut jumps = Jumps::of(clock);
        // What a clock that was set back has put off: then, or before this start.
        let mut put_off = self.put_off();
        loop {
            let now = clock.now();
            if jumps.any(clock) {
                put_off.extend(self.put_off());
            }
            resting.retain(|_, until| *until > Instant::now());
            let state = self.core.snapshot();
            put_off.retain(|due| is_put_off(&state, due, now));
            let free = |due: &Due| !busy.contains(due) && !resting.contains_key(due);
            let due = state.dues().take_while(|(at, _)| *at <= now).map(|(_, due)| due);
            let ready: Vec<Due> =
                due.chain(&put_off).filter(|due| free(due)).take(AT_ONCE.saturating_sub(busy.len())).cloned().collect();
            let next = state.dues().find(|(at, _)| *at > now).map_or(LONGEST, |(at, _)| at.since(now));
            drop(state);
            for due in ready {
                busy.insert(due.clone());
                works.push(self.work(due));
            }
            let rest = resting.values().min().map(|until| until.saturating_duration_since(Instant::now()));
            let sleep = rest.map_or(next, |rest| rest.min(next)).min(LONGEST);
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some((due, done)) = works.next() => {
                    busy.remove(&due);
                    if done == Done::Rest {
                        resting.insert(due, Instant::now() + REST);
                    }
                }
                () = self.core.inner().due_wakes.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    fn put_off(&self) -> BTreeSet<Due> {
        let now = self.core.inner().clock.now();
        let state = self.core.snapshot();
        state.dues().map(|(_, due)| due).filter(|due| is_put_off(&state, due, now)).cloned().collect()
    }

    async fn work(&self, due: Due) -> (Due, Done) {
        let done = match &due {
            Due::Schedule(key) => self.decide(key).await,
            Due::Firing(key) => self.carry_out(key).await,
            Due::Group(key) => match self.core.submit(EmptyScheduleGroup(key.clone())).await {
                Ok(()) => Ok(Done::Well),
                Err(error) => Err(Unavailable(error.message)),
            },
            Due::Rule(key) => self.fire(key).await,
            Due::Scaling(key) => self.fire_scaling(key).await,
        };
        let done = done.unwrap_or_else(|Unavailable(why)| {
            tracing::warn!(?due, why, "could not do what is due for a schedule; trying again");
            Done::Rest
        });
        (due, done)
    }

    async fn decide(&self, key: &ScheduleKey) -> Result<Done, Unavailable> {
        match self.core.submit(DecideFiring(key.clone())).await? {
            Decided::Fired(FiringKey { schedule, at }) => {
                tracing::info!(%schedule, region = %schedule.region, %at, "a schedule fires");
                Ok(Done::Well)
            }
            Decided::Missed(FiringKey { schedule, at }) => {
                tracing::warn!(%schedule, region = %schedule.region, %at,
                    "a firing was missed: it is older than MaximumEventAgeInSeconds");
                Ok(Done::Well)
            }
            Decided::Nothing => Ok(Done::Rest),
        }
    }

    async fn fire(&self, key: &RuleKey) -> Result<Done, Unavailable> {
        let (rule, region) = (&key.name, &key.region);
        Ok(match self.core.submit(FireRule(key.clone())).await? {
            Some((at, Fired::Sent)) => {
                tracing::info!(%rule, %region, %at, "a rule fires");
                Done::Well
            }
            Some((at, Fired::Missed)) => {
                tracing::warn!(%rule, %region, %at, "firings of a rule were missed: they are older than a day");
                Done::Well
            }
            None => Done::Rest,
        })
    }

    /// Fires the scheduled action of a service's scaling that is due.
    async fn fire_scaling(&self, key: &ServiceKey) -> Result<Done, Unavailable> {
        let activities = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        let fire = FireScaling { key: key.clone(), activities, new: NewDeployment::random() };
        let fired = self.core.submit(fire).await.map_err(|error| Unavailable(error.message))?;
        match fired {
            Some(FiredAction { name, at, suspended: true, .. }) => {
                tracing::info!(service = %key, cluster = %key.cluster, action = name, %at,
                    "a scheduled action is left out: scheduled scaling is suspended");
            }
            Some(FiredAction { name, at, to, failure: None, .. }) => {
                tracing::info!(service = %key, cluster = %key.cluster, action = name, %at, to,
                    "a scheduled action fires");
            }
            Some(FiredAction { name, at, failure: Some(why), .. }) => {
                tracing::warn!(service = %key, cluster = %key.cluster, action = name, %at, why,
                    "a scheduled action fired and could not set the desired count; its bounds hold from now on");
            }
            None => {}
        }
        Ok(Done::Well)
    }

    /// One try of a firing.
    async fn carry_out(&self, key: &FiringKey) -> Result<Done, Unavailable> {
        let state = self.core.snapshot();
        let Some(firing) = state.firing(key).cloned() else { return Ok(Done::Well) };
        let schedule = state.schedule(&key.schedule).filter(|schedule| schedule.carries_out(&firing)).cloned();
        let Some(schedule) = schedule else {
            self.core.submit(DropFiring(key.clone())).await?;
            return Ok(Done::Well);
        };
        let missing = schedule.settings.tasks().saturating_sub(firing.started);
        let tried = match (missing > 0).then(|| self.planned(&state, &schedule, &firing, missing)) {
            // It is to start fewer than when it began.
            None => self.core.submit(EndFiring(firing)).await?,
            Some(Ok((launch, plan))) => match self.start(&firing, &schedule, Arc::new(launch), plan).await {
                Ok(tried) => tried,
                Err(error) => self.failed(firing, Problem::of(error)).await?,
            },
            Some(Err(problem)) => self.failed(firing, problem).await?,
        };
        let (schedule, region, at) = (&key.schedule, &key.schedule.region, key.at);
        Ok(match tried {
            Tried::Done(tasks) => {
                tracing::info!(%schedule, %region, %at, ?tasks, "a firing has started its tasks");
                Done::Well
            }
            Tried::Again(why, next) => {
                tracing::warn!(%schedule, %region, %at, why, again_at = %next, "a firing could not start its tasks");
                Done::Well
            }
            Tried::GivenUp(why) => {
                tracing::error!(%schedule, %region, %at, why, "a firing is given up");
                Done::Well
            }
            Tried::Changed => Done::Rest,
        })
    }

    /// Starts what was planned; a plan that was outdated by then is made again by the owner task.
    async fn start(
        &self,
        firing: &Arc<Firing>,
        schedule: &Arc<Schedule>,
        launch: Arc<Launch>,
        plan: Plan,
    ) -> Result<Tried, ApiError> {
        let start = |plan| StartFiring {
            firing: Arc::clone(firing),
            schedule: Arc::clone(schedule),
            launch: Arc::clone(&launch),
            plan,
        };
        match self.core.submit(start(Some(plan))).await {
            Ok(tried) => return Ok(tried),
            Err(PlaceError::Api(error)) => return Err(error),
            Err(PlaceError::Outdated) => tracing::debug!(schedule = %schedule.key, "placing again: it was outdated"),
        }
        self.core.submit(start(None)).await.map_err(|error| match error {
            PlaceError::Api(error) => error,
            // A plan over the very state that it is committed to always holds.
            PlaceError::Outdated => ApiError::server("The placement did not hold; it is made again."),
        })
    }

    async fn failed(&self, firing: Arc<Firing>, problem: Problem) -> Result<Tried, Unavailable> {
        match problem {
            Problem::Passing(problem) => self.core.submit(FailFiring { firing, problem, for_good: false }).await,
            Problem::Lasting(problem) => self.core.submit(FailFiring { firing, problem, for_good: true }).await,
            Problem::Ours(why) => Err(Unavailable(why)),
        }
    }

    /// The tasks that are `missing` yet, and where they go.
    fn planned(
        &self,
        state: &Arc<State>,
        schedule: &Schedule,
        firing: &Firing,
        missing: u32,
    ) -> Result<(Launch, Plan), Problem> {
        let account = self.core.account();
        let target = &schedule.settings.target;
        let names = Names {
            schedule_arn: &schedule.arn(account),
            scheduled_time: firing.key.at,
            attempt: firing.tries.saturating_add(1),
        };
        let request = run_task(target, missing, &names).map_err(Problem::of)?;
        // It acts as the role that whoever made it gave it.
        let caller = Caller {
            region: schedule.key.region.clone(),
            account: account.clone(),
            principal_arn: target.role_arn.clone().unwrap_or_default(),
            access_key_id: String::new(),
            endpoint: String::new(),
        };
        let started_by = format!("chronos-schedule/{}", schedule.key.name).into();
        let launch = run::prepared(&self.core, &caller, Arc::clone(state), request, started_by).map_err(Problem::of)?;
        let plan = plan(state, &launch).map_err(|error| Problem::Passing(error.message))?;
        if plan.places.is_empty() {
            return Err(Problem::Passing(unplaced(launch.ids.len(), &plan.refusals)));
        }
        Ok((launch, plan))
    }
}

/// Whether something waits for a time that is only yet to come because the clock was set back.
fn is_put_off(state: &State, due: &Due, now: Timestamp) -> bool {
    match due {
        Due::Firing(key) => state.firing(key).is_some_and(|firing| waits_too_long(firing, now)),
        Due::Group(key) => {
            let since = state.schedule_group(key).and_then(|group| group.deleting_since);
            since.is_some_and(|since| since > now)
        }
        // They go by the clock.
        Due::Schedule(_) | Due::Rule(_) | Due::Scaling(_) => false,
    }
}

/// What became of something that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Well,
    /// It is looked at again a little later, should it still be due.
    Rest,
}

/// Why tasks are not started.
enum Problem {
    /// Hosts may come, and room.
    Passing(String),
    /// The request itself is refused.
    Lasting(String),
    /// Nothing can be made durable.
    Ours(String),
}

impl Problem {
    fn of(error: ApiError) -> Self {
        if error.status() >= 500 { Self::Ours(error.message) } else { Self::Lasting(error.message) }
    }
}
