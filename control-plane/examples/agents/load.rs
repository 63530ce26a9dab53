//! Assignments at a steady rate, whatever the answers take, and how long each takes to its agent.

use crate::api::Api;
use crate::board::Board;
use crate::figures::{Meter, Process, Window, millis_at};
use crate::{LIMIT, Plan, WARM_UP};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const ECS: &str = "AmazonEC2ContainerServiceV20141113";
/// Connections to the API: more than are needed while it answers at once.
const CALLERS: usize = 32;

/// What one load was.
pub(crate) struct Outcome {
    count: usize,
    /// To the agent, in order.
    latencies: Vec<Duration>,
    /// Until the API answered, in order.
    answers: Vec<Duration>,
    used: Window,
}

impl Outcome {
    fn new(mut latencies: Vec<Duration>, mut answers: Vec<Duration>, used: Window) -> Result<Self> {
        ensure!(!latencies.is_empty(), "nothing was measured");
        latencies.sort_unstable();
        answers.sort_unstable();
        Ok(Self { count: latencies.len(), latencies, answers, used })
    }

    pub(crate) fn json(&self) -> Value {
        let at = |share| millis_at(&self.latencies, share);
        let answer = |share| millis_at(&self.answers, share);
        json!({"count": self.count, "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0),
            "answer_p50": answer(0.5), "answer_p99": answer(0.99), "used": self.used.json()})
    }
}

/// When what is started at a steady rate is due.
struct Pace {
    begin: Instant,
    every: Duration,
    next: AtomicU32,
    count: u32,
}

impl Pace {
    fn new(rate: u32, span: Duration) -> Self {
        let every = Duration::from_secs(1) / rate.max(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let count = (span.as_secs_f64() * f64::from(rate)).round() as u32;
        Self { begin: Instant::now(), every, next: AtomicU32::new(0), count }
    }

    /// Waits for the next turn: its number, and the moment from which it counts. One that begins late, since all
    /// callers wait for answers, counts from when it was due.
    async fn turn(&self) -> Option<(u32, Instant)> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        if n >= self.count {
            return None;
        }
        let due = self.begin + self.every * n;
        if due <= Instant::now() {
            return Some((n, due));
        }
        tokio::time::sleep_until(due.into()).await;
        Some((n, Instant::now()))
    }
}

/// One call of the API: what it was for, and when it began and was answered.
struct Called {
    task: String,
    begin: Instant,
    answered: Instant,
}

/// RunTask at a rate, then StopTask of the same tasks at the same rate.
pub(crate) async fn through_the_api(plan: &Plan, mut api: Api, board: &Arc<Board>) -> Result<(Outcome, Outcome)> {
    let app = json!({"name": "app", "image": "busybox", "cpu": 10, "memory": 16, "command": ["sleep", "1000"]});
    let definition = json!({"family": "load", "containerDefinitions": [app]});
    api.call(&format!("{ECS}.RegisterTaskDefinition"), &definition).await?;
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(api.another(plan.api).await?);
    }
    // What was started for this stays, and is stopped with the rest.
    let (mut tasks, mut callers) = run(plan, callers, WARM_UP, board).await?;
    let warm = tasks.len();
    board.take_assigned();
    let meter = Meter::start(plan.control)?;
    let (called, back) = run(plan, callers, plan.load, board).await?;
    let used = meter.stop()?;
    callers = back;
    println!("{} tasks at {} a second: {used}", called.len(), plan.rate);
    let started = outcome(&called, &board.take_assigned(), used)?;
    tasks.extend(called);
    board.wait("all tasks run", LIMIT, |board| board.running() == tasks.len()).await?;

    let tasks: Vec<String> = tasks.into_iter().map(|called| called.task).collect();
    let meter = Meter::start(plan.control)?;
    let called = stop(plan, callers, &tasks).await?;
    let used = meter.stop()?;
    board.wait("all tasks are stopped", LIMIT, |board| board.stopped() == tasks.len()).await?;
    println!("{} stops at {} a second: {used}", called.len(), plan.rate);
    let stopped = outcome(&called[warm..], &board.take_ended(), used)?;
    Ok((started, stopped))
}

fn outcome(called: &[Called], arrived: &std::collections::HashMap<String, Instant>, used: Window) -> Result<Outcome> {
    let took = |called: &Called| {
        let at = arrived.get(&called.task).with_context(|| format!("no agent heard of task {}", called.task))?;
        Ok(at.saturating_duration_since(called.begin))
    };
    let latencies = called.iter().map(took).collect::<Result<_>>()?;
    Outcome::new(latencies, called.iter().map(|called| called.answered - called.begin).collect(), used)
}

/// RunTask of one task a call; what was called, and the callers. Every assignment has arrived.
async fn run(plan: &Plan, callers: Vec<Api>, span: Duration, board: &Arc<Board>) -> Result<(Vec<Called>, Vec<Api>)> {
    let pace = Arc::new(Pace::new(plan.rate, span));
    let mut all = JoinSet::new();
    let before = board.running();
    for mut api in callers {
        let pace = Arc::clone(&pace);
        all.spawn(async move {
            let mut called = Vec::new();
            while let Some((_, begin)) = pace.turn().await {
                let answer = api.call(&format!("{ECS}.RunTask"), &json!({"taskDefinition": "load"})).await?;
                let answered = Instant::now();
                let arn = answer["tasks"][0]["taskArn"].as_str();
                let arn = arn.with_context(|| format!("a task was not placed: {}", answer["failures"]))?;
                let task = arn.rsplit('/').next().context("an odd ARN")?.to_owned();
                called.push(Called { task, begin, answered });
            }
            Ok::<_, anyhow::Error>((called, api))
        });
    }
    let (mut called, mut callers) = (Vec::new(), Vec::new());
    while let Some(done) = all.join_next().await {
        let (one, api) = done??;
        called.extend(one);
        callers.push(api);
    }
    board.wait("what was started runs", LIMIT, |board| board.running() >= before + called.len()).await?;
    Ok((called, callers))
}

/// StopTask of each, in order.
async fn stop(plan: &Plan, callers: Vec<Api>, tasks: &[String]) -> Result<Vec<Called>> {
    let mut pace = Pace::new(plan.rate, Duration::ZERO);
    pace.count = u32::try_from(tasks.len())?;
    let (pace, tasks) = (Arc::new(pace), Arc::new(tasks.to_vec()));
    let called = Arc::new(Mutex::new(Vec::new()));
    let mut all = JoinSet::new();
    for mut api in callers {
        let (pace, tasks, called) = (Arc::clone(&pace), Arc::clone(&tasks), Arc::clone(&called));
        all.spawn(async move {
            while let Some((n, begin)) = pace.turn().await {
                let task = tasks[n as usize].clone();
                api.call(&format!("{ECS}.StopTask"), &json!({"task": task})).await?;
                let answered = Instant::now();
                called.lock().unwrap().push((n, Called { task, begin, answered }));
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    let mut called = std::mem::take(&mut *called.lock().unwrap());
    called.sort_by_key(|(n, _)| *n);
    Ok(called.into_iter().map(|(_, called)| called).collect())
}

/// Agents ask a bare server for a task, each in its turn, and take it: an assignment without a control plane.
pub(crate) async fn by_asking(plan: &Plan, server: Process, board: &Arc<Board>) -> Result<Outcome> {
    ask(plan, board, WARM_UP).await?;
    let meter = Meter::start(server)?;
    let (asked, assigned) = ask(plan, board, plan.load).await?;
    let used = meter.stop()?;
    println!("{} tasks of the bare server at {} a second: {used}", asked.len(), plan.rate);
    let took = |(task, at): (&String, &Instant)| Some(assigned.get(task)?.saturating_duration_since(*at));
    let latencies: Vec<Duration> = asked.iter().filter_map(took).collect();
    ensure!(latencies.len() == asked.len(), "{} of {} were answered", latencies.len(), asked.len());
    Outcome::new(latencies, Vec::new(), used)
}

type Times = std::collections::HashMap<String, Instant>;

async fn ask(plan: &Plan, board: &Arc<Board>, span: Duration) -> Result<(Times, Times)> {
    let (pace, before) = (Pace::new(plan.rate, span), board.running());
    while let Some((n, _)) = pace.turn().await {
        board.nudge(n as usize).notify_one();
    }
    let count = pace.count as usize;
    board.wait("what was asked for runs", LIMIT, |board| board.running() >= before + count).await?;
    Ok((board.take_asked(), board.take_assigned()))
}
