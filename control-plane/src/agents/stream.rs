//! One agent's session, from its Welcome to its end: a task of its own.
//!
//! Owns what was sent on this stream and what of it was acknowledged. Assignments leave at once while none is in
//! flight (sent and not yet acknowledged) and gather while one is. Reports are durable before they are acknowledged;
//! while some are being saved the session goes on, and those that come then gather.
//! Every message renews the lease; when it runs out, or a while after the stream ended otherwise, the core hears
//! that the agent is gone, unless a newer stream has taken over (`presence`).

use super::delta::Sent;
use super::front::AgentMessages;
use super::network::{NetworkEvent, NetworkLine};
use super::pace::Pace;
use super::presence::Presence;
use super::{Fleet, refuse};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use longshore_core::{SessionError, SessionId};
use longshore_model::{
    Assignment, DiskStatus, ExecOrder, Generation, HostUsage, InstanceHealth, InstanceId, NetworkStatus, NetworkUpdate,
    TaskId, TaskReport,
};
use longshore_proto::convert::read_reports;
use longshore_proto::{ReadReports, UnreadableReport, v1};
use prost::Message as _;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// Messages of kinds unknown here that a stream may carry. A newer agent that settled on our version sends none.
const UNKNOWN_MESSAGES: u32 = 100;
/// Bytes of reports that may gather while others are being saved: as much as one message brings.
const GATHERED_BYTES: usize = longshore_proto::MAX_MESSAGE;
/// Reports of one message that are named in the log because they cannot be read.
const UNREADABLE_TOLD: usize = 5;

/// What a session is made of.
pub(super) struct SessionParts<F: Fleet> {
    pub(super) fleet: Arc<F>,
    pub(super) instance: InstanceId,
    pub(super) session: SessionId,
    pub(super) inbound: AgentMessages,
    pub(super) outbound: mpsc::Sender<Result<v1::ControlMessage, Status>>,
    /// Wakes when the instance's assignment changed; closed when it is deregistered.
    pub(super) changes: watch::Receiver<Generation>,
    /// Told each time the agent is heard; its end tells the core of ours.
    pub(super) presence: Presence<F>,
    pub(super) superseded: CancellationToken,
    pub(super) shutdown: CancellationToken,
    pub(super) lease: Duration,
    pub(super) pace: Pace,
    pub(super) apply_timeout: Duration,
    /// What the complete assignment that follows the Welcome holds.
    pub(super) sent: Sent,
    pub(super) network: NetworkLine<F>,
    /// Commands that somebody waits for in this host's containers; ends when a newer session takes over.
    pub(super) execs: mpsc::Receiver<Box<ExecOrder>>,
}

pub(super) struct Session<F: Fleet> {
    parts: SessionParts<F>,
    flight: Flight,
    /// The sequence number of the batch of reports that is being made durable, and its outcome.
    saving: Option<(u64, BoxFuture<'static, Result<(), SessionError>>)>,
    /// What was reported meanwhile.
    gathered: Option<Gathered>,
    last_reports: u64,
    /// A disk status that is being taken.
    disk: Option<tokio::task::JoinHandle<()>>,
    unknown_messages: u32,
}

/// Where the assignment stands.
enum Flight {
    /// Everything sent is saved by the agent. Left when something changed.
    Idle,
    /// Sent, not yet acknowledged. Left by the acknowledgement, a resync, or `until`.
    InFlight { generation: Generation, until: Instant },
}

/// Why a session ended.
enum End {
    /// The agent closed the stream, or the connection broke.
    Closed(Option<Status>),
    /// Nothing was heard for the length of the lease.
    LeaseLost,
    /// The agent sent something that it must not, or does not read.
    Refused(Status),
    /// A newer session of the same instance.
    Superseded,
    /// The instance was deregistered.
    Deregistered,
    /// The core cannot save what the agent says.
    Unavailable(Status),
    /// The process ends.
    Shutdown,
}

impl End {
    /// What the agent is told.
    fn status(&self, instance: InstanceId) -> Option<Status> {
        match self {
            Self::Closed(_) => None,
            Self::LeaseLost => Some(Status::deadline_exceeded("no heartbeat came for as long as the lease lasts")),
            Self::Refused(status) | Self::Unavailable(status) => Some(status.clone()),
            Self::Superseded => Some(refuse::superseded()),
            Self::Deregistered => Some(refuse::connect(&longshore_core::ConnectError::Deregistered(instance))),
            Self::Shutdown => Some(Status::unavailable("the control plane is shutting down")),
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Closed(None) => "the agent closed it".to_owned(),
            Self::Closed(Some(status)) => format!("the connection ended: {}", status.message()),
            Self::LeaseLost => "the lease ran out".to_owned(),
            Self::Refused(status) | Self::Unavailable(status) => status.message().to_owned(),
            Self::Superseded => "a newer session took over".to_owned(),
            Self::Deregistered => "the instance was deregistered".to_owned(),
            Self::Shutdown => "the control plane is shutting down".to_owned(),
        }
    }
}

impl<F: Fleet> Session<F> {
    pub(super) fn new(parts: SessionParts<F>) -> Self {
        Self {
            parts,
            flight: Flight::Idle,
            saving: None,
            gathered: None,
            last_reports: 0,
            disk: None,
            unknown_messages: 0,
        }
    }

    /// Runs until the stream ends.
    pub(super) async fn run(mut self, welcome: v1::Welcome, assignment: Assignment) {
        let (instance, session) = (self.parts.instance, self.parts.session);
        let end = match self.begin(welcome, assignment) {
            Ok(()) => self.serve().await,
            Err(end) => end,
        };
        tracing::info!(%instance, %session, why = end.why(), "a session ended");
        if let Some(status) = end.status(instance) {
            // A full queue means an agent that does not read; it finds the stream closed.
            let _ = self.parts.outbound.try_send(Err(status));
        }
        match end {
            End::Deregistered => self.parts.presence.settle(),
            End::Closed(_)
            | End::LeaseLost
            | End::Refused(_)
            | End::Superseded
            | End::Unavailable(_)
            | End::Shutdown => {}
        }
    }

    fn begin(&mut self, welcome: v1::Welcome, assignment: Assignment) -> Result<(), End> {
        self.send(v1::control_message::Kind::Welcome(Box::new(welcome)))?;
        self.send_assignment(assignment)?;
        let first = self.parts.network.push();
        self.send_network(first)
    }

    async fn serve(&mut self) -> End {
        // Both outlive the loop: thousands of agents are heard every second, and each would set them up anew.
        let mut ended = pin!(ended(self.parts.shutdown.clone(), self.parts.superseded.clone()));
        let mut lease = pin!(tokio::time::sleep_until(self.lease_ends()));
        loop {
            let resend_at = match self.flight {
                Flight::Idle => None,
                Flight::InFlight { until, .. } => Some(until),
            };
            // Saving may take long, and the agent's heartbeats are answered all the same. Only when too much has
            // gathered nothing more is read: the agent's next words wait in the connection, and the lease with them.
            let reading = self.has_room();
            let parts = &mut self.parts;
            let wake = tokio::select! {
                biased;
                end = &mut ended => Wake::End(end),
                changed = parts.changes.changed() => match changed {
                    Ok(()) => Wake::Changed,
                    Err(_) => Wake::End(End::Deregistered),
                },
                saved = saved(&mut self.saving) => Wake::Saved(saved),
                message = parts.inbound.next(), if reading => match message {
                    Some(Ok(message)) => Wake::Message(message),
                    None => Wake::End(End::Closed(None)),
                    Some(Err(status)) => Wake::End(closed(status)),
                },
                () = sleep_until(resend_at) => Wake::NotApplied,
                event = parts.network.next() => Wake::Network(event),
                Some(order) = parts.execs.recv() => Wake::Exec(order),
                () = &mut lease, if reading => Wake::Lease,
            };
            let step = match wake {
                Wake::End(end) => Err(end),
                Wake::Changed => self.push(),
                Wake::Network(event) => self.network_event(event),
                Wake::Exec(order) => self.send(v1::control_message::Kind::Exec(Box::new((*order).into()))),
                Wake::Saved((seq, outcome)) => self.saved(seq, outcome),
                Wake::Message(message) => {
                    self.parts.presence.hear();
                    self.message(message)
                }
                // The agent was heard since it was set, most likely.
                Wake::Lease if self.lease_ends() <= Instant::now() => Err(End::LeaseLost),
                Wake::Lease => {
                    lease.as_mut().reset(self.lease_ends());
                    Ok(())
                }
                Wake::NotApplied => {
                    tracing::warn!(
                        instance = %self.parts.instance, generation = %self.parts.sent.generation,
                        "an assignment was not acknowledged; sending everything again"
                    );
                    self.push_complete()
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn lease_ends(&self) -> Instant {
        self.parts.presence.heard() + self.parts.lease
    }

    fn message(&mut self, message: v1::AgentMessage) -> Result<(), End> {
        use v1::agent_message::Kind;
        match message.kind {
            Some(Kind::Heartbeat(beat)) => {
                if let Some(disk) = beat.disk {
                    let status = DiskStatus::try_from(disk)
                        .map_err(|error| garbage(format!("in field `heartbeat.disk`: {error}")))?;
                    self.hear_of_disk(status);
                }
                if let Some(health) = beat.health {
                    self.health(health);
                }
                if let Some(usage) = beat.usage {
                    self.usage(usage);
                }
                let heartbeat_millis = self.parts.pace.news();
                self.send(v1::control_message::Kind::HeartbeatAck(v1::HeartbeatAck {
                    seq: beat.seq,
                    network_settled: self.parts.network.settled(),
                    heartbeat_millis,
                }))
            }
            Some(Kind::Applied(applied)) => self.applied(Generation(applied.generation)),
            Some(Kind::Resync(resync)) => {
                let why: String = resync.why.chars().filter(|c| !c.is_control()).take(200).collect();
                tracing::warn!(instance = %self.parts.instance, why, "an agent asks for everything again");
                self.push_complete()?;
                let update = self.parts.network.everything();
                self.send_network(update)
            }
            Some(Kind::Reports(reports)) => self.reports(reports),
            Some(Kind::NetworkStatus(status)) => {
                let status = NetworkStatus::try_from(status)
                    .map_err(|error| garbage(format!("in field `network_status`: {error}")))?;
                let update = self.parts.network.hear(status);
                self.send_network(update)
            }
            Some(Kind::Hello(_)) => Err(garbage("field `hello`: a session has one hello, and it came")),
            None => {
                self.unknown_messages += 1;
                if self.unknown_messages > UNKNOWN_MESSAGES {
                    return Err(garbage("field `kind`: too many messages of unknown kinds"));
                }
                tracing::debug!(instance = %self.parts.instance, "ignored a message of an unknown kind");
                Ok(())
            }
        }
    }

    /// Every heartbeat says it again, so one that comes while another is being taken can be left out.
    fn hear_of_disk(&mut self, status: DiskStatus) {
        if self.disk.as_ref().is_some_and(|taking| !taking.is_finished()) {
            return;
        }
        let (fleet, instance, session) = (Arc::clone(&self.parts.fleet), self.parts.instance, self.parts.session);
        let mut taking = Box::pin(async move {
            if let Err(error) = fleet.disk_status(instance, session, status).await {
                tracing::debug!(%instance, %error, "a host's disk status was not taken");
            }
        });
        // Nearly always it is the same as before, and done at once.
        self.disk = match taking.as_mut().now_or_never() {
            Some(()) => None,
            None => Some(tokio::spawn(taking)),
        };
    }

    /// What cannot be read is passed over: an agent that is newer would say it again in the next session.
    fn health(&self, health: v1::InstanceHealth) {
        match InstanceHealth::try_from(health) {
            Ok(health) => self.parts.fleet.health(self.parts.instance, self.parts.session, health),
            Err(error) => tracing::debug!(instance = %self.parts.instance, %error, "health that cannot be read"),
        }
    }

    /// As of health.
    fn usage(&self, usage: v1::HostUsage) {
        match HostUsage::try_from(usage) {
            Ok(usage) => self.parts.fleet.usage(self.parts.instance, self.parts.session, usage),
            Err(error) => tracing::debug!(instance = %self.parts.instance, %error, "figures that cannot be read"),
        }
    }

    fn applied(&mut self, saved: Generation) -> Result<(), End> {
        let sent = self.parts.sent.generation;
        if saved > sent {
            return Err(garbage(format!("field `applied.generation`: {saved} was never sent, only up to {sent}")));
        }
        match self.flight {
            Flight::InFlight { generation, .. } if saved == generation => {
                self.flight = Flight::Idle;
                tracing::debug!(instance = %self.parts.instance, generation = %saved, "an assignment is saved");
                self.push()
            }
            // A late acknowledgement of what was sent again meanwhile.
            Flight::InFlight { .. } | Flight::Idle => Ok(()),
        }
    }

    fn reports(&mut self, reports: v1::Reports) -> Result<(), End> {
        if reports.seq <= self.last_reports {
            let last = self.last_reports;
            return Err(garbage(format!("field `reports.seq` is {}, and must be above {last}", reports.seq)));
        }
        let read = read_reports("reports.tasks", reports.tasks).map_err(|error| End::Refused(refuse::field(&error)))?;
        let tasks = readable(self.parts.instance, read);
        self.last_reports = reports.seq;
        match self.saving {
            None => self.save(reports.seq, tasks),
            Some(_) => self.gathered.get_or_insert_default().add(reports.seq, tasks),
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.gathered.as_ref().is_none_or(|gathered| gathered.bytes < GATHERED_BYTES)
    }

    fn save(&mut self, seq: u64, tasks: Vec<TaskReport>) {
        let (fleet, instance, session) = (Arc::clone(&self.parts.fleet), self.parts.instance, self.parts.session);
        let saving = async move { fleet.reports(instance, session, tasks).await };
        self.saving = Some((seq, Box::pin(saving)));
    }

    fn saved(&mut self, seq: u64, outcome: Result<(), SessionError>) -> Result<(), End> {
        if !self.has_room() {
            // What waited in the connection meanwhile was not heard because we did not listen.
            self.parts.presence.hear();
        }
        match outcome {
            Ok(()) => {
                if let Some(Gathered { seq, tasks, .. }) = self.gathered.take() {
                    self.save(seq, tasks.into_values().map(|(report, _)| report).collect());
                }
                let revision = self.parts.fleet.revision().0;
                self.send(v1::control_message::Kind::ReportsAck(v1::ReportsAck { seq, revision }))
            }
            Err(error @ SessionError::Superseded { .. }) => {
                tracing::debug!(%error, "reports of an older session");
                Err(End::Superseded)
            }
            Err(SessionError::Deregistered(_)) => Err(End::Deregistered),
            Err(error @ SessionError::Unavailable(_)) => Err(End::Unavailable(refuse::session(&error))),
        }
    }

    /// Sends what changed, unless an assignment is in flight; then it goes with the next.
    fn push(&mut self) -> Result<(), End> {
        match self.flight {
            Flight::InFlight { .. } => Ok(()),
            Flight::Idle => {
                // Seen from here on: a change after this line wakes again.
                self.parts.changes.mark_unchanged();
                let current = self.parts.fleet.assignment(self.parts.instance).ok_or(End::Deregistered)?;
                match self.parts.sent.advance(current) {
                    Some(assignment) => self.send_assignment(assignment),
                    None => Ok(()),
                }
            }
        }
    }

    fn push_complete(&mut self) -> Result<(), End> {
        self.parts.changes.mark_unchanged();
        let current = self.parts.fleet.assignment(self.parts.instance).ok_or(End::Deregistered)?;
        let (sent, assignment) = Sent::complete(current, self.parts.sent.generation);
        self.parts.sent = sent;
        self.send_assignment(assignment)
    }

    fn send_assignment(&mut self, assignment: Assignment) -> Result<(), End> {
        let generation = assignment.generation();
        match &assignment {
            Assignment::Complete { tasks, .. } => {
                tracing::debug!(instance = %self.parts.instance, %generation, tasks = tasks.len(),
                    "sending everything");
            }
            Assignment::Delta { base, tasks, removed, .. } => {
                let (tasks, removed) = (tasks.len(), removed.len());
                tracing::debug!(instance = %self.parts.instance, %generation, %base, tasks, removed, "sending a delta");
            }
        }
        self.flight = Flight::InFlight { generation, until: Instant::now() + self.parts.apply_timeout };
        self.send(v1::control_message::Kind::Assignment(Box::new(assignment.into())))
    }

    fn network_event(&mut self, event: NetworkEvent) -> Result<(), End> {
        let update = match event {
            NetworkEvent::Changed => self.parts.network.push(),
            NetworkEvent::NotApplied => self.parts.network.again(),
            NetworkEvent::Taken(Ok(())) => return Ok(()),
            NetworkEvent::Taken(Err(SessionError::Superseded { .. })) => return Err(End::Superseded),
            NetworkEvent::Taken(Err(SessionError::Deregistered(_))) => return Err(End::Deregistered),
            NetworkEvent::Taken(Err(error @ SessionError::Unavailable(_))) => {
                return Err(End::Unavailable(refuse::session(&error)));
            }
        };
        self.send_network(update)
    }

    fn send_network(&self, update: Option<NetworkUpdate>) -> Result<(), End> {
        let Some(update) = update else { return Ok(()) };
        let complete = matches!(update, NetworkUpdate::Complete { .. });
        let generation = update.generation();
        tracing::debug!(instance = %self.parts.instance, %generation, complete, "sending a network update");
        self.send(v1::control_message::Kind::Network(Box::new(update.into())))
    }

    fn send(&self, kind: v1::control_message::Kind) -> Result<(), End> {
        self.parts.outbound.try_send(Ok(v1::ControlMessage { kind: Some(kind) })).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) => End::Closed(None),
            mpsc::error::TrySendError::Full(_) => {
                End::Refused(Status::resource_exhausted("the agent does not read what it is sent"))
            }
        })
    }
}

/// Reports that came while others were being saved: of each task the latest, so that what an agent sends again because
/// no answer comes does not pile up.
#[derive(Default)]
struct Gathered {
    /// Of the last batch.
    seq: u64,
    /// The reports and their sizes.
    tasks: BTreeMap<TaskId, (TaskReport, usize)>,
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, seq: u64, tasks: Vec<TaskReport>) {
        self.seq = seq;
        for report in tasks {
            let size = v1::TaskReport::from(report.clone()).encoded_len();
            let older = match self.tasks.get(&report.task) {
                Some((known, _)) if known.version > report.version => continue,
                Some(_) | None => self.tasks.insert(report.task, (report, size)),
            };
            self.bytes = self.bytes + size - older.map_or(0, |(_, size)| size);
        }
    }
}

/// What woke a session.
#[expect(clippy::large_enum_variant, reason = "made and taken apart in one place, never stored")]
enum Wake {
    End(End),
    Changed,
    Network(NetworkEvent),
    Exec(Box<ExecOrder>),
    Saved((u64, Result<(), SessionError>)),
    Message(v1::AgentMessage),
    NotApplied,
    /// The lease was set to end now; it may have been renewed since.
    Lease,
}

/// Completes when the session is to end whatever its agent does.
async fn ended(shutdown: CancellationToken, superseded: CancellationToken) -> End {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => End::Shutdown,
        () = superseded.cancelled() => End::Superseded,
    }
}

/// The outcome of the reports that are being saved; never completes when there are none.
async fn saved(
    saving: &mut Option<(u64, BoxFuture<'static, Result<(), SessionError>>)>,
) -> (u64, Result<(), SessionError>) {
    match saving {
        None => std::future::pending().await,
        Some((seq, outcome)) => {
            let result = (*seq, outcome.await);
            *saving = None;
            result
        }
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        None => std::future::pending().await,
        Some(when) => tokio::time::sleep_until(when).await,
    }
}

/// The reports that can be taken. The rest is told and passed over: an agent that is newer than this control plane may
/// say what cannot be read here, and would say it again in every session that ended for it.
pub(super) fn readable(instance: InstanceId, read: ReadReports) -> Vec<TaskReport> {
    for UnreadableReport { task, error } in read.unreadable.iter().take(UNREADABLE_TOLD) {
        let task = task.map(|task| task.to_string());
        tracing::warn!(%instance, task, %error, "a report cannot be read and is passed over");
    }
    if read.unreadable.len() > UNREADABLE_TOLD {
        tracing::warn!(%instance, reports = read.unreadable.len(), "as many reports as this cannot be read");
    }
    read.reports
}

fn garbage(text: impl Into<String>) -> End {
    End::Refused(Status::invalid_argument(text))
}

/// A broken connection, or bytes that are no message.
fn closed(status: Status) -> End {
    let status = refuse::unreadable(status);
    match status.code() {
        Code::InvalidArgument | Code::ResourceExhausted => End::Refused(status),
        _ => End::Closed(Some(status)),
    }
}
