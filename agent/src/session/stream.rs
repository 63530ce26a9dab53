//! One stream, from the dial to its end.

use super::inbound::{Answer, Inbound};
use super::network::{NetworkSide, Said};
use super::outbound::Outbound;
use super::peer::{ControlMessages, OpenError, Peer};
use super::{SessionConfig, SessionInputs, SessionState};
use crate::contact::Uptime;
use crate::crash::{self, Place};
use crate::identity::standing::describe;
use futures::StreamExt;
use longshore_model::{ExecOrder, HostFacts, HostUsage, InstanceHealth, TaskReport};
use longshore_proto::{MAX_VERSION, MIN_VERSION, v1};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::{Code, Status};

/// Messages that wait to be sent: one batch of reports, one acknowledgement, one resync and a few heartbeats are
/// under way at most. More means that the connection does not move.
const OUTBOUND: usize = 16;
/// Bounds of what a control plane may ask for, so that a mistake there does not make an agent mute or frantic.
const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));
const LEASE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3600));

/// Why a stream ended, and what that asks for.
pub(super) struct Ended {
    pub(super) why: String,
    pub(super) then: Then,
}

/// What follows the end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Another stream at once: this side wanted it.
    Again,
    /// Another one after a wait that grows.
    Retry,
    /// Another one after the longest wait: somebody else holds this identity's session.
    Yield,
    /// Only a person can help.
    Refused,
}

impl Ended {
    fn retry(why: impl Into<String>) -> Self {
        Self { why: why.into(), then: Then::Retry }
    }

    fn unopened(error: OpenError, peer: &dyn Peer) -> Self {
        match error {
            OpenError::Refused(why) => Self { why, then: Then::Refused },
            OpenError::Unreached(why) => Self::retry(why),
            OpenError::Answered(status) => Self::status(&status, peer),
        }
    }

    fn status(status: &Status, peer: &dyn Peer) -> Self {
        if let Some(why) = peer.refusal(status) {
            return Self { why, then: Then::Refused };
        }
        let then = if status.code() == Code::Aborted { Then::Yield } else { Then::Retry };
        Self { why: describe(status), then }
    }
}

/// A stream that was welcomed.
pub(super) struct Stream<'a> {
    inputs: &'a mut SessionInputs,
    messages: ControlMessages,
    sender: mpsc::Sender<v1::AgentMessage>,
    inbound: Inbound,
    outbound: Outbound,
    network: NetworkSide,
    heartbeat: Duration,
    lease: Duration,
    beats: u64,
    /// When heartbeats were sent that are not acknowledged.
    beaten: VecDeque<(u64, Uptime)>,
    /// What was said last of the host's health.
    health: InstanceHealth,
    /// What the Hello said of the host.
    facts: Arc<HostFacts>,
}

impl<'a> Stream<'a> {
    /// Dials, says Hello, and waits for the Welcome.
    pub(super) async fn open(
        config: &SessionConfig,
        peer: &dyn Peer,
        inputs: &'a mut SessionInputs,
        facts: Arc<HostFacts>,
        boot_id: &str,
        state: &watch::Sender<SessionState>,
    ) -> Result<Self, Ended> {
        let control = peer.address();
        let limit = config.connect_timeout;
        let connection = peer.connect(limit).await.map_err(|error| Ended::unopened(error, peer))?;
        let saved = *inputs.saved.borrow_and_update();
        let observed = inputs.observed.borrow_and_update().clone();
        let hello = v1::Hello {
            min_version: MIN_VERSION,
            max_version: MAX_VERSION,
            facts: Some(HostFacts::clone(&facts).into()),
            applied_generation: saved.0,
            observed: observed.values().map(|report| TaskReport::clone(report).into()).collect(),
            boot_id: boot_id.to_owned(),
        };
        let mut network = NetworkSide::new(inputs.network.clone(), &observed);
        let (sender, messages) = mpsc::channel(OUTBOUND);
        let hello = v1::AgentMessage { kind: Some(v1::agent_message::Kind::Hello(hello)) };
        let said_hello = inputs.contacts.now();
        sender.try_send(hello).expect("the queue was just made");
        let welcomed = Box::pin(async {
            let mut messages = connection.session(messages).await?;
            let first = messages.next().await.transpose()?;
            Ok::<_, Status>((messages, first))
        });
        let late = |_| Ended::retry(format!("{control} sent no welcome within {} ms", limit.as_millis()));
        let (messages, first) = tokio::time::timeout(limit, welcomed)
            .await
            .map_err(late)?
            .map_err(|status| Ended::status(&status, peer))?;
        let welcome = match first.and_then(|message| message.kind) {
            Some(v1::control_message::Kind::Welcome(welcome)) => welcome,
            Some(_) | None => return Err(Ended::retry(format!("{control} did not begin with a welcome"))),
        };
        if !(MIN_VERSION..=MAX_VERSION).contains(&welcome.version) {
            let version = welcome.version;
            return Err(Ended::retry(format!("{control} speaks version {version} of the protocol, unasked")));
        }
        let control_plane: String =
            welcome.control_plane_version.chars().filter(|c| !c.is_control()).take(64).collect();
        tracing::info!(
            instance = %peer.instance(), control, control_plane, version = welcome.version, generation = %saved,
            "connected to the control plane"
        );
        state.send_replace(SessionState::Connected { protocol: welcome.version, control_plane });
        network.welcomed(welcome.revision);
        inputs.contacts.heard(said_hello);
        let millis = |value: u32| Duration::from_millis(value.into());
        inputs.usage.ask(millis(welcome.usage_millis));
        Ok(Self {
            messages,
            sender,
            inbound: Inbound::new(saved, inputs.desired.clone()),
            outbound: Outbound::new(&observed, config.report_resend),
            network,
            heartbeat: heartbeat(welcome.heartbeat_millis),
            lease: millis(welcome.lease_millis).clamp(LEASE.0, LEASE.1),
            inputs,
            beats: 0,
            beaten: VecDeque::new(),
            health: InstanceHealth::default(),
            facts,
        })
    }

    /// Serves the stream until it ends.
    pub(super) async fn serve(mut self, peer: &dyn Peer) -> Ended {
        let mut heard = Instant::now();
        let mut beaten = Instant::now();
        let mut beat = pin!(tokio::time::sleep_until(beaten));
        loop {
            let silence = heard + self.lease;
            let resend_at = self.outbound.resend_at();
            let wake = tokio::select! {
                biased;
                message = self.messages.next() => match message {
                    Some(Ok(message)) => Wake::Message(message),
                    None => return Ended::retry("the control plane closed the stream"),
                    Some(Err(status)) => return Ended::status(&status, peer),
                },
                outcome = self.inbound.applied() => Wake::Applied(outcome),
                changed = self.inputs.observed.changed() => match changed {
                    Ok(()) => Wake::Observed,
                    Err(_) => return Ended::retry("the engine ended"),
                },
                said = self.network.next() => Wake::Network(said),
                () = &mut beat => Wake::Beat,
                () = changed(&mut self.inputs.disk) => Wake::News,
                () = news_of(&mut self.inputs.health, &self.health) => Wake::News,
                () = sleep_until(resend_at) => Wake::Resend,
                changed = other_facts(&mut self.inputs.facts, &self.facts) => match changed {
                    true => return Ended { why: "the host's facts changed".to_owned(), then: Then::Again },
                    false => return Ended::retry("the agent's host part ended"),
                },
                () = tokio::time::sleep_until(silence) => {
                    return Ended::retry(format!("nothing was heard for {} ms", self.lease.as_millis()));
                }
            };
            let step = match wake {
                Wake::Message(message) => {
                    heard = Instant::now();
                    let (pace, step) = (self.heartbeat, self.message(message));
                    if self.heartbeat != pace {
                        beat.as_mut().reset(beaten + self.heartbeat);
                    }
                    step
                }
                Wake::Applied(outcome) => match self.inbound.after(outcome) {
                    Ok(answer) => self.answer(answer),
                    Err(wrong) => Err(Ended::retry(wrong.to_string())),
                },
                Wake::Observed => self.report(),
                Wake::Network(Said::Status(status)) => self.send(v1::agent_message::Kind::NetworkStatus(status)),
                Wake::Network(Said::Misfit) => {
                    self.answer(Answer::Resync("an update of the network did not fit what is known here".to_owned()))
                }
                Wake::Resend => {
                    tracing::warn!("reports were not acknowledged; sending them again");
                    self.outbound.give_up();
                    self.report()
                }
                Wake::Beat => {
                    beaten = Instant::now();
                    beat.as_mut().reset(beaten + self.heartbeat);
                    self.beat()
                }
                Wake::News => self.beat(),
            };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    /// Says that this agent is there, how its host is when it has looked since it last said so, and what is used when
    /// that was read since.
    fn beat(&mut self) -> Result<(), Ended> {
        self.beats += 1;
        let found = self.inputs.health.borrow_and_update().clone();
        let health = (found != self.health).then(|| found.clone().into());
        self.health = found;
        let disk = self.inputs.disk.borrow_and_update().clone().map(Into::into);
        self.beaten.push_back((self.beats, self.inputs.contacts.now()));
        let usage = self.inputs.usage.news().map(|usage| HostUsage::clone(&usage).into());
        self.send(v1::agent_message::Kind::Heartbeat(v1::Heartbeat { seq: self.beats, disk, health, usage }))
    }

    fn message(&mut self, message: v1::ControlMessage) -> Result<(), Ended> {
        use v1::control_message::Kind;
        match message.kind {
            Some(Kind::Assignment(assignment)) => match self.inbound.take(*assignment) {
                Ok(answer) => self.answer(answer),
                Err(wrong) => {
                    tracing::error!(error = %wrong, "refused an assignment");
                    Err(Ended::retry(wrong.to_string()))
                }
            },
            Some(Kind::ReportsAck(ack)) => {
                self.network.recorded(ack.revision, self.outbound.ended_by(ack.seq));
                crash::after_if(Place::EndRecorded, || !self.outbound.ended_by(ack.seq).is_empty());
                let ended = self.outbound.acknowledge(ack.seq, &self.inputs.observed.borrow());
                let attached = |report: &TaskReport| report.eni.as_ref().is_some_and(|eni| eni.attached);
                let recorded = |report: &Arc<TaskReport>| attached(report) && self.outbound.has(report);
                crash::after_if(Place::InterfaceRecorded, || self.inputs.observed.borrow().values().any(recorded));
                if ended { self.report() } else { Ok(()) }
            }
            Some(Kind::HeartbeatAck(ack)) => {
                self.network.settled(ack.network_settled);
                self.acknowledged(ack.seq);
                if ack.heartbeat_millis > 0 {
                    self.heartbeat = heartbeat(ack.heartbeat_millis);
                }
                Ok(())
            }
            Some(Kind::Network(update)) => self.network.take(*update).map_err(|error| {
                tracing::error!(%error, "an update of the network is not readable");
                Ended::retry(format!("an update of the network is not readable: {error}"))
            }),
            Some(Kind::Exec(order)) => {
                self.execute(*order);
                Ok(())
            }
            Some(Kind::Welcome(_)) => Err(Ended::retry("the control plane sent a second welcome")),
            None => {
                tracing::debug!("ignored a message of an unknown kind");
                Ok(())
            }
        }
    }

    /// The control plane had the heartbeat `seq`, and so all before it.
    fn acknowledged(&mut self, seq: u64) {
        let known = self.beaten.partition_point(|(beat, _)| *beat <= seq);
        if let Some((beat, sent)) = self.beaten.drain(..known).next_back()
            && beat == seq
        {
            self.inputs.contacts.heard(sent);
        }
    }

    /// Hands a command on. One that cannot be is missed where it was asked for.
    fn execute(&self, order: v1::ExecOrder) {
        match ExecOrder::try_from(order) {
            Ok(order) => {
                let id = order.id;
                if self.inputs.exec.try_send(order).is_err() {
                    tracing::warn!(exec = %id, "too many commands are to be executed at once; this one is not");
                }
            }
            Err(error) => tracing::warn!(%error, "an order to execute a command cannot be read"),
        }
    }

    fn answer(&self, answer: Answer) -> Result<(), Ended> {
        match answer {
            Answer::Nothing => Ok(()),
            Answer::Applied(generation) => {
                tracing::debug!(%generation, "saved");
                crash::before(Place::SendApplied);
                let sent = self.send(v1::agent_message::Kind::Applied(v1::Applied { generation: generation.0 }));
                crash::after(Place::SendApplied);
                sent
            }
            Answer::Resync(why) => {
                tracing::warn!(why, "asking the control plane for everything");
                self.send(v1::agent_message::Kind::Resync(v1::Resync { why }))
            }
        }
    }

    fn report(&mut self) -> Result<(), Ended> {
        let reports = {
            let observed = self.inputs.observed.borrow_and_update();
            let reports = self.outbound.next(&observed, Instant::now());
            let figures = &self.inputs.figures;
            let sent = reports.as_ref().map_or(0, |reports| reports.tasks.len());
            figures.reports_sent.fetch_add(sent as u64, Ordering::Relaxed);
            figures.reports_waiting.store(self.outbound.waiting(&observed) as u64, Ordering::Relaxed);
            reports
        };
        match reports {
            Some(reports) => {
                crash::before(Place::SendReports);
                let sent = self.send(v1::agent_message::Kind::Reports(reports));
                crash::after(Place::SendReports);
                sent
            }
            None => Ok(()),
        }
    }

    fn send(&self, kind: v1::agent_message::Kind) -> Result<(), Ended> {
        self.sender.try_send(v1::AgentMessage { kind: Some(kind) }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Ended::retry("the control plane does not read what it is sent"),
            mpsc::error::TrySendError::Closed(_) => Ended::retry("the control plane ended the stream"),
        })
    }
}

/// How often to beat, when a control plane says so.
fn heartbeat(millis: u32) -> Duration {
    Duration::from_millis(millis.into()).clamp(HEARTBEAT.0, HEARTBEAT.1)
}

/// What woke a stream.
enum Wake {
    Message(v1::ControlMessage),
    Applied(Result<longshore_model::Generation, super::ApplyError>),
    Observed,
    Network(Said),
    Beat,
    News,
    Resend,
}

/// Waits for other facts than those that the Hello carried; false when there will be none. Cancel-safe.
async fn other_facts(facts: &mut watch::Receiver<Option<Arc<HostFacts>>>, said: &Arc<HostFacts>) -> bool {
    facts.wait_for(|facts| facts.as_ref().is_some_and(|facts| facts != said)).await.is_ok()
}

/// Waits for a change; for ever when there will be none. Cancel-safe.
async fn changed<T>(values: &mut watch::Receiver<T>) {
    if values.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until the host is otherwise than was said; for ever when nobody looks any more. Cancel-safe.
async fn news_of(health: &mut watch::Receiver<InstanceHealth>, said: &InstanceHealth) {
    if health.wait_for(|found| found.differs_from(said)).await.is_err() {
        std::future::pending().await
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        None => std::future::pending().await,
        Some(when) => tokio::time::sleep_until(when).await,
    }
}
