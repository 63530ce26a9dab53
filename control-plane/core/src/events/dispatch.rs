//! The task that brings events to targets.
//!
//! For each target the event that waits longest is tried until it is delivered or given up, and then the next: a
//! target gets events in their order. Failures of one target hold up no other. What was delivered is recorded after it
//! was, so a crash in between delivers once more, with the same id; a task is run once all the same, as its request
//! has a token.

use super::input::{Known, input, is_changed};
use super::webhook::{self, WebhookRequest};
use crate::caller::Caller;
use crate::commands::{NO_INSTANCES, Outcome, Settle};
use crate::handle::Core;
use crate::ops::{self, run::Ran};
use crate::records::{HookKey, Rule, RuleTarget, TargetKey};
use crate::schedules::unplaced;
use crate::state::{Queue, State};
use crate::target;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use longshore_ecs_api::events::RetryPolicy;
use longshore_ecs_api::requests::RunTaskRequest;
use longshore_ecs_api::types::TaskOverride;
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{Region, Timestamp};
use serde_json::Value;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

/// Deliveries at once. Most of their time they wait for somebody else.
const AT_ONCE: usize = 64;
/// Events that a log group gets at once.
const LOG_EVENTS: usize = 64;
/// Bytes of them.
const LOG_BYTES: usize = 512 << 10;
/// How long one attempt may take. EventBridge gives webhooks five seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same of a task, which a busy control plane may have to place.
const PATIENCE_TASK: Duration = Duration::from_secs(30);
/// EventBridge's retry policy where a target has none, and its pauses.
const MAX_ATTEMPTS: u32 = 185;
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The longest sleep: the wall clock may be set.
const LONGEST: Duration = Duration::from_secs(30);
/// Characters of a reason that is kept.
const MAX_REASON: usize = 512;
/// Characters of the `startedBy` of a rule's tasks (EventBridge).
const MAX_STARTED_BY: usize = 36;

/// Why something was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undelivered {
    /// It may be delivered later.
    Passing(String),
    /// It will never be taken.
    Final(String),
}

/// A stream of a log group that events go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogGroup {
    /// The group's region.
    pub region: Region,
    /// Its name. It is not made for this.
    pub group: String,
    /// The stream, to be made when it is not there.
    pub stream: String,
}

/// Who brings events to what is not the core's: the world outside, and log groups.
pub trait Courier: Send + Sync + 'static {
    /// Sends a request. An answer of 2xx says that it was taken.
    fn post(&self, request: WebhookRequest) -> impl Future<Output = Result<(), Undelivered>> + Send;

    /// Adds events, each with its time, to a stream.
    fn log(
        &self,
        to: LogGroup,
        events: Vec<(Timestamp, String)>,
    ) -> impl Future<Output = Result<(), Undelivered>> + Send;
}

/// Brings events to targets. Run it beside the owner task.
#[must_use]
pub struct Dispatcher<C> {
    core: Core,
    courier: C,
}

/// What is to be done for a target.
enum Work {
    /// So many tasks are missing.
    Run(Box<RunTaskRequest>, Caller, u32),
    Log(LogGroup, Vec<(Timestamp, String)>, u64),
    Post(WebhookRequest, Duration),
    /// Nothing can be done.
    No(Undelivered),
    /// All is done.
    Nothing,
}

/// Why an attempt did not deliver an event, or not all of it.
struct Missed {
    why: Undelivered,
    /// Tasks that it started.
    started: u32,
}

impl From<Undelivered> for Missed {
    fn from(why: Undelivered) -> Self {
        Self { why, started: 0 }
    }
}

impl<C: Courier> Dispatcher<C> {
    /// A dispatcher of the events in `core`.
    pub const fn new(core: Core, courier: C) -> Self {
        Self { core, courier }
    }

    /// Runs until `shutdown` completes.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut busy: BTreeSet<TargetKey> = BTreeSet::new();
        let mut deliveries = FuturesUnordered::new();
        loop {
            let now = self.core.inner().clock.now();
            let state = self.core.snapshot();
            let idle = state.waiting_queues().filter(|(target, _)| !busy.contains(*target));
            let (due, later): (Vec<_>, Vec<_>) = idle.partition(|(_, queue)| is_due(queue.progress.next_at, now));
            let sleep = later.iter().filter_map(|(_, queue)| queue.progress.next_at).map(|at| at.since(now)).min();
            let sleep = sleep.unwrap_or(LONGEST).min(LONGEST);
            for (target, _) in due.into_iter().take(AT_ONCE.saturating_sub(busy.len())) {
                busy.insert(target.clone());
                deliveries.push(self.deliver(target.clone()));
            }
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(target) = deliveries.next() => {
                    busy.remove(&target);
                }
                () = self.core.inner().deliveries.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Tries the event that a target waits for longest, and records what became of it.
    async fn deliver(&self, target: TargetKey) -> TargetKey {
        let state = self.core.snapshot();
        let Some(queue) = state.queue(&target) else { return target };
        let Some(number) = queue.waiting.get_min().copied() else { return target };
        let policy = Policy::of(&state, &target);
        let now = self.core.inner().clock.now();
        let at = state.outbox_event(number).map_or(now, |event| event.at);
        let last_error = queue.progress.last_error.as_deref();
        let outcome = if now.since(at) >= policy.max_age {
            let why = format!("it is too old; {}", last_error.unwrap_or("it was not tried"));
            Outcome::GivenUp { why }
        } else {
            match self.attempt(self.work(&state, &target, queue, number), number).await {
                Ok(up_to) => Outcome::Delivered { up_to },
                Err(Missed { why: Undelivered::Final(why), .. }) => Outcome::GivenUp { why: shortened(&why) },
                Err(Missed { why: Undelivered::Passing(why), .. })
                    if queue.progress.attempts >= policy.max_attempts =>
                {
                    let why = shortened(&format!("it was tried {} times; {why}", u64::from(policy.max_attempts) + 1));
                    Outcome::GivenUp { why }
                }
                Err(Missed { why: Undelivered::Passing(why), started }) => {
                    let now = self.core.inner().clock.now();
                    let next_at = now.after(pause(queue.progress.attempts)).min(at.after(policy.max_age));
                    Outcome::Failed { why: shortened(&why), next_at, started }
                }
            }
        };
        let (rule, id) = (&target.rule.name, &target.id);
        let event = state.outbox_event(number).map(|event| event.id);
        match &outcome {
            Outcome::Delivered { .. } => tracing::debug!(%rule, target = %id, ?event, "an event was delivered"),
            Outcome::GivenUp { why } => {
                tracing::warn!(%rule, target = %id, ?event, why, "an event is given up: it could not be delivered");
            }
            Outcome::Failed { why, next_at, started: _ } => {
                tracing::info!(%rule, target = %id, ?event, why, %next_at, "an event was not delivered; trying again");
            }
        }
        let settle = Settle { target: target.clone(), number, outcome };
        if let Err(error) = self.core.submit(settle).await {
            tracing::warn!(%rule, target = %id, %error, "could not record what became of an event; it comes once more");
            tokio::time::sleep(FIRST_PAUSE).await;
        }
        target
    }

    /// Does some work; answers with the number of the last event that is delivered with it.
    async fn attempt(&self, work: Work, number: u64) -> Result<u64, Missed> {
        let late = |_| Undelivered::Passing("no answer came in time".to_owned());
        match work {
            Work::No(why) => Err(why.into()),
            Work::Nothing => Ok(number),
            Work::Log(to, events, up_to) => {
                let taken = tokio::time::timeout(PATIENCE, self.courier.log(to, events)).await;
                taken.map_err(late)??;
                Ok(up_to)
            }
            Work::Post(request, spacing) => {
                let began = tokio::time::Instant::now();
                let taken = tokio::time::timeout(PATIENCE, self.courier.post(request)).await;
                taken.map_err(late)??;
                tokio::time::sleep_until(began + spacing).await;
                Ok(number)
            }
            Work::Run(request, caller, missing) => {
                let run = Box::pin(ops::run_task(&self.core, &caller, *request));
                let ran = tokio::time::timeout(PATIENCE_TASK, run).await.map_err(late)?;
                let Ran { made, refusals } = ran.map_err(|error| match error.status() {
                    500.. => Undelivered::Passing(error.to_string()),
                    // ECS gives it the code of every wrong parameter; hosts may join.
                    _ if error.message == NO_INSTANCES => Undelivered::Passing(error.to_string()),
                    _ => Undelivered::Final(error.to_string()),
                })?;
                let started = u32::try_from(made).unwrap_or(u32::MAX);
                if started >= missing {
                    return Ok(number);
                }
                let why = unplaced((missing - started) as usize, &refusals);
                Err(Missed { why: Undelivered::Passing(why), started })
            }
        }
    }

    /// What brings the event of that number, which the target waits for first.
    fn work(&self, state: &State, target: &TargetKey, queue: &Queue, number: u64) -> Work {
        let no = |why: &str| Work::No(Undelivered::Final(why.to_owned()));
        let Some(rule) = state.rule(&target.rule).map(|rule| &*rule.record) else { return no("its rule is gone") };
        let Some(to) = rule.target(&target.id) else { return no("its target is gone") };
        let account = self.core.account();
        let rule_arn = rule.arn(account);
        let input_of = |number: u64| {
            let event = state.outbox_event(number)?;
            if !is_changed(&to.body) {
                return Some((event, event.body.to_string()));
            }
            let body: Value = serde_json::from_str(&event.body).unwrap_or_default();
            let known = Known { rule_arn: &rule_arn, rule_name: &rule.key.name, at: event.at };
            Some((event, input(&to.body, &body, &known)))
        };
        let Some((event, first)) = input_of(number) else { return no("it is gone") };
        let region = &target.rule.region;
        if let Some(group) = log_group(&to.arn) {
            let stream = format!("{}/{}", rule.key.name, to.id);
            let mut up_to = number;
            let mut bytes = first.len();
            let mut events = vec![(event.at, first)];
            for next in queue.waiting.iter().skip(1).take(LOG_EVENTS - 1) {
                let Some((event, text)) = input_of(*next) else { break };
                bytes += text.len();
                if bytes > LOG_BYTES {
                    break;
                }
                events.push((event.at, text));
                up_to = *next;
            }
            return Work::Log(LogGroup { region: region.clone(), group, stream }, events, up_to);
        }
        if let Some(name) = destination(&to.arn) {
            let key = HookKey { region: region.clone(), name: name.into() };
            let Some(hook) = state.destination(&key).filter(|hook| hook.arn(account) == to.arn) else {
                return no("the API destination does not exist any more");
            };
            let Some(connection) = state.connection(&hook.connection) else {
                return no("the connection of the API destination does not exist any more");
            };
            let more = to.body.http_parameters.as_ref();
            return match webhook::request(hook, connection, more, first, &self.core.inner().sealing_key) {
                Ok(request) => Work::Post(request, Duration::from_secs(1) / hook.rate.max(1)),
                Err(error) => {
                    tracing::error!(connection = %connection.key.name, %error, "a connection cannot be used");
                    no("the secret of the connection cannot be opened")
                }
            };
        }
        let started = queue.progress.started;
        let missing = tasks(to).saturating_sub(started);
        if missing == 0 {
            return Work::Nothing;
        }
        let input = is_changed(&to.body).then_some(first);
        match run_request(rule, to, event.id, started, input) {
            Ok(request) => {
                let caller = Caller {
                    region: region.clone(),
                    account: account.clone(),
                    principal_arn: to.body.role_arn.clone().unwrap_or(rule_arn),
                    access_key_id: String::new(),
                    endpoint: String::new(),
                };
                Work::Run(Box::new(request), caller, missing)
            }
            Err(why) => Work::No(Undelivered::Final(why)),
        }
    }
}

/// How long a target's events are tried.
struct Policy {
    /// After the first attempt.
    max_attempts: u32,
    max_age: Duration,
}

impl Policy {
    fn of(state: &State, target: &TargetKey) -> Self {
        let rule = state.rule(&target.rule).map(|rule| &rule.record);
        let policy = rule.and_then(|rule| rule.target(&target.id)).and_then(|to| to.body.retry_policy.clone());
        let RetryPolicy { maximum_retry_attempts, maximum_event_age_in_seconds } = policy.unwrap_or_default();
        let age = maximum_event_age_in_seconds.map(|secs| Duration::from_secs(secs.unsigned_abs().into()));
        Self {
            max_attempts: maximum_retry_attempts.map_or(MAX_ATTEMPTS, i32::unsigned_abs),
            max_age: age.unwrap_or(MAX_AGE),
        }
    }
}

/// Whether something is tried now that is to be tried again at `next_at`. No pause is so long as one that a clock which
/// was set back makes.
fn is_due(next_at: Option<Timestamp>, now: Timestamp) -> bool {
    next_at.is_none_or(|at| at <= now || at > now.after(LONGEST_PAUSE))
}

/// The pause after so many attempts before this one: longer each time, with jitter.
fn pause(attempts: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempts)).min(LONGEST_PAUSE);
    longest.mul_f64(rand::random_range(0.75..=1.0))
}

fn shortened(why: &str) -> String {
    why.chars().take(MAX_REASON).collect()
}

/// The name in a log group's ARN.
pub(crate) fn log_group(arn: &str) -> Option<String> {
    let name = arn.strip_prefix("arn:aws:logs:")?.split_once(":log-group:")?.1;
    Some(name.strip_suffix(":*").unwrap_or(name).to_owned())
}

/// The name in an API destination's ARN.
pub(crate) fn destination(arn: &str) -> Option<&str> {
    arn.strip_prefix("arn:aws:events:")?.split_once(":api-destination/")?.1.split('/').next()
}

/// How many tasks a target runs for an event.
fn tasks(to: &RuleTarget) -> u32 {
    let count = to.body.ecs_parameters.as_ref().and_then(|ecs| ecs.task_count);
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
}

/// The request that runs those of a target's tasks that are missing once so many are started. The same event makes the
/// same request, with the same token.
fn run_request(
    rule: &Rule,
    to: &RuleTarget,
    event: uuid::Uuid,
    started: u32,
    input: Option<String>,
) -> Result<RunTaskRequest, String> {
    let overrides = match input {
        Some(text) => {
            let read = serde_json::from_str::<TaskOverride>(&text);
            Some(read.map_err(|error| format!("its input is no JSON of overrides of a task: {error}"))?)
        }
        None => None,
    };
    let ecs = to.body.ecs_parameters.clone().unwrap_or_default();
    let count = i32::try_from(tasks(to).saturating_sub(started)).ok();
    let started_by = format!("events-rule/{}", rule.key.name).replace('.', "_");
    let rest = if started == 0 { String::new() } else { format!(" {started}") };
    let token = super::event_id(&format!("run {event} {} {}{rest}", rule.key.name, to.id));
    Ok(RunTaskRequest {
        started_by: Some(started_by.chars().take(MAX_STARTED_BY).collect()),
        client_token: Some(token.to_string()).filter(|_| !is_planted(Bug::RunsOfRulesHaveNoToken)),
        ..target::run_task(Some(to.arn.clone()), ecs, count, overrides)
    })
}
