//! An agent without a host: says and answers what an agent does, of tasks whose containers start and stop at once.
//!
//! As the agent's own session (`agent/src/session`): a Hello, heartbeats with the disk, health and usage, each
//! assignment acknowledged, each change of a task reported, one batch of reports on its way at a time. It saves
//! nothing.

use crate::board::Board;
use crate::dial::{Dialler, Identity};
use crate::facts::facts;
use anyhow::{Context as _, Result, bail};
use longshore_model::TaskId;
use longshore_proto::{MAX_VERSION, MIN_VERSION, v1};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;
use v1::agent_message::Kind;
use v1::control_message::Kind as Said;

/// From an assignment to RUNNING, and from a stop to STOPPED: what the containers take, which is not measured here.
const STARTS: Duration = Duration::from_millis(200);
const STOPS: Duration = Duration::from_millis(100);
/// Messages that wait to be sent, as at the agent.
const OUTBOUND: usize = 16;
/// How often the health is said again, as by the agent.
const HEALTH_BEATS: u64 = 60;
const CONTAINER: &str = "app";

/// A session.
pub(crate) struct Agent {
    n: usize,
    board: Arc<Board>,
    messages: Streaming<v1::ControlMessage>,
    sender: mpsc::Sender<v1::AgentMessage>,
    // The connection is this one's.
    _channel: longshore_proto::v1::agent_service_client::AgentServiceClient<Channel>,
    heartbeat: Duration,
    /// How often it says what is used, and when it did last.
    usage: Duration,
    used_at: Option<Instant>,
    beats: u64,
    /// Versions of tasks' reports.
    tasks: BTreeMap<String, u64>,
    /// What becomes of tasks, and when.
    due: VecDeque<(Instant, String, v1::TaskStatus)>,
    /// Reports that were not sent, the latest of each task, and the batch that is on its way.
    waiting: BTreeMap<String, v1::TaskReport>,
    flight: Option<(u64, Vec<v1::TaskStatus>)>,
    batches: u64,
}

/// Connects the nth agent, says Hello, and waits for the Welcome.
pub(crate) async fn open(n: usize, identity: &Identity, dialler: &Dialler, board: &Arc<Board>) -> Result<Agent> {
    let mut client = dialler.connect(identity).await?;
    let (sender, outbound) = mpsc::channel(OUTBOUND);
    let hello = v1::Hello {
        min_version: MIN_VERSION,
        max_version: MAX_VERSION,
        facts: Some(facts(n).into()),
        boot_id: format!("{n:032x}"),
        ..v1::Hello::default()
    };
    sender.try_send(v1::AgentMessage { kind: Some(Kind::Hello(hello)) })?;
    let mut messages = client.session(ReceiverStream::new(outbound)).await?.into_inner();
    let first = messages.message().await?.and_then(|message| message.kind);
    let Some(Said::Welcome(welcome)) = first else { bail!("a session began without a welcome") };
    let heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_millis.max(100)));
    board.set_pace(welcome.heartbeat_millis);
    Ok(Agent {
        n,
        board: Arc::clone(board),
        messages,
        sender,
        _channel: client,
        heartbeat,
        usage: Duration::from_millis(welcome.usage_millis.into()),
        used_at: None,
        beats: 0,
        tasks: BTreeMap::new(),
        due: VecDeque::new(),
        waiting: BTreeMap::new(),
        flight: None,
        batches: 0,
    })
}

impl Agent {
    /// Whether there are tasks that a next session would have to tell of.
    pub(crate) fn has_tasks(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Serves the session until `stop`.
    ///
    /// # Errors
    /// When it ends otherwise.
    pub(crate) async fn serve(&mut self, stop: &CancellationToken) -> Result<()> {
        // Beats are spread over their interval, as those of agents that were started one by one.
        let first = Instant::now() + self.heartbeat * u32::try_from(self.n % 1000)? / 1000;
        let mut beat = std::pin::pin!(tokio::time::sleep_until(first));
        let board = Arc::clone(&self.board);
        loop {
            let due = self.due.front().map(|(at, ..)| *at);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                message = self.messages.message() => {
                    let message = message?.context("the control plane closed a session")?;
                    self.message(message)?;
                }
                () = sleep_until(due) => {
                    if let Some((_, task, status)) = self.due.pop_front() {
                        self.report(task, status)?;
                    }
                }
                () = &mut beat => {
                    self.beat()?;
                    let next = beat.deadline() + self.heartbeat;
                    beat.as_mut().reset(next);
                }
                () = board.nudge(self.n).notified() => self.ask()?,
            }
        }
    }

    fn message(&mut self, message: v1::ControlMessage) -> Result<()> {
        match message.kind {
            Some(Said::Assignment(assignment)) => self.assignment(*assignment),
            Some(Said::ReportsAck(ack)) => {
                for status in self.flight.take_if(|(seq, _)| *seq <= ack.seq).map(|(_, all)| all).into_iter().flatten()
                {
                    match status {
                        v1::TaskStatus::Running => self.board.run(),
                        v1::TaskStatus::Stopped => self.board.stop(),
                        _ => {}
                    }
                }
                self.flush()
            }
            Some(Said::HeartbeatAck(ack)) => {
                if ack.heartbeat_millis > 0 {
                    self.heartbeat = Duration::from_millis(ack.heartbeat_millis.into());
                    self.board.set_pace(ack.heartbeat_millis);
                }
                Ok(())
            }
            Some(Said::Network(_) | Said::Exec(_)) | None => Ok(()),
            Some(Said::Welcome(_)) => bail!("a second welcome"),
        }
    }

    fn assignment(&mut self, assignment: v1::Assignment) -> Result<()> {
        let now = std::time::Instant::now();
        let at = Instant::from_std(now);
        for task in assignment.tasks {
            let id = task.spec.context("a task without a spec")?.id;
            let is_new = !self.tasks.contains_key(&id);
            if task.desired == i32::from(v1::Desired::Stopped) {
                self.board.ended(&id, now);
                self.report(id.clone(), v1::TaskStatus::Stopping)?;
                self.due.push_back((at + STOPS, id, v1::TaskStatus::Stopped));
            } else if is_new {
                self.board.assigned(&id, now);
                self.report(id.clone(), v1::TaskStatus::Pending)?;
                self.due.push_back((at + STARTS, id, v1::TaskStatus::Running));
            }
        }
        for id in assignment.removed {
            self.tasks.remove(&id);
        }
        self.send(Kind::Applied(v1::Applied { generation: assignment.generation }))
    }

    /// Asks a bare server for a task.
    fn ask(&mut self) -> Result<()> {
        let why = TaskId::random().to_string();
        self.board.asked(&why);
        self.send(Kind::Resync(v1::Resync { why }))
    }

    fn beat(&mut self) -> Result<()> {
        self.beats += 1;
        let disk = v1::DiskStatus { free_mib: 100_000, short: None };
        let every = |beats: u64| beats > 0 && self.beats % beats == 1;
        let health = every(HEALTH_BEATS).then(health);
        let now = Instant::now();
        let uses = !self.usage.is_zero() && self.used_at.is_none_or(|at| now.duration_since(at) >= self.usage);
        if uses {
            self.used_at = Some(now);
        }
        let usage = uses.then(|| v1::HostUsage { cpu_units: 100, memory_mib: 1000, tasks: self.used() });
        self.send(Kind::Heartbeat(v1::Heartbeat { seq: self.beats, disk: Some(disk), health, usage }))
    }

    fn used(&self) -> Vec<v1::TaskUsage> {
        let usage = |task: &String| v1::TaskUsage { task: task.clone(), cpu_units: 5, memory_kib: 8192 };
        self.tasks.keys().map(usage).collect()
    }

    /// Notes what became of a task, and says so as soon as no other batch is on its way.
    fn report(&mut self, task: String, status: v1::TaskStatus) -> Result<()> {
        let version = self.tasks.entry(task.clone()).or_default();
        *version += 1;
        let report = report(&task, *version, status);
        self.waiting.insert(task, report);
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        if self.flight.is_some() || self.waiting.is_empty() {
            return Ok(());
        }
        self.batches += 1;
        let tasks: Vec<_> = std::mem::take(&mut self.waiting).into_values().collect();
        self.flight = Some((self.batches, tasks.iter().map(v1::TaskReport::status).collect()));
        self.send(Kind::Reports(v1::Reports { seq: self.batches, tasks }))
    }

    fn send(&self, kind: Kind) -> Result<()> {
        self.sender.try_send(v1::AgentMessage { kind: Some(kind) }).context("the control plane does not read")
    }
}

fn health() -> v1::InstanceHealth {
    let now = millis();
    let check = v1::CheckResult {
        check: "CONTAINER_RUNTIME".to_owned(),
        status: v1::CheckStatus::Ok.into(),
        reason: None,
        checked_at: now,
        changed_at: now,
    };
    v1::InstanceHealth { checks: vec![check] }
}

/// A report of a task of one container, of the size that a real one has.
fn report(task: &str, version: u64, status: v1::TaskStatus) -> v1::TaskReport {
    let now = millis();
    let runs = status != v1::TaskStatus::Pending;
    let stops = matches!(status, v1::TaskStatus::Stopping | v1::TaskStatus::Stopped);
    let is_over = status == v1::TaskStatus::Stopped;
    let container = match status {
        v1::TaskStatus::Pending => v1::ContainerStatus::Pending,
        v1::TaskStatus::Stopped => v1::ContainerStatus::Stopped,
        _ => v1::ContainerStatus::Running,
    };
    let container = v1::ContainerReport {
        name: CONTAINER.to_owned(),
        status: container.into(),
        runtime_id: runs.then(|| task.repeat(2)),
        image_digest: runs.then(|| format!("sha256:{:064x}", 1)),
        exit_code: is_over.then_some(143),
        health: v1::HealthStatus::Unknown.into(),
        ..v1::ContainerReport::default()
    };
    v1::TaskReport {
        task: task.to_owned(),
        version,
        status: status.into(),
        stop: stops.then(|| v1::StopInfo { code: 0, reason: "Task stopped by user".to_owned() }),
        pull_started_at: runs.then_some(now),
        pull_stopped_at: runs.then_some(now),
        started_at: runs.then_some(now),
        stopping_at: stops.then_some(now),
        execution_stopped_at: is_over.then_some(now),
        stopped_at: is_over.then_some(now),
        containers: vec![container],
        ..v1::TaskReport::default()
    }
}

/// Since the epoch.
fn millis() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        None => std::future::pending().await,
        Some(when) => tokio::time::sleep_until(when).await,
    }
}
