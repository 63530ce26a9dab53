//! Lets agents' sessions in, whatever carries their messages: the agent port hands over what comes in by gRPC.
//!
//! Owns: waiting for the Hello, settling the version, and which stream of an instance is its newest. A session that was
//! let in runs as a task of its own (`stream`).

use super::delta::Sent;
use super::network::NetworkLine;
use super::pace::Pace;
use super::presence::{Parting, Presence};
use super::sessions::Sessions;
use super::stream::{Session, SessionParts, readable};
use super::{AgentsConfig, Fleet, refuse};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use longshore_core::{AgentHello, Execs, SessionId};
use longshore_model::{Generation, InstanceId};
use longshore_proto::{MAX_VERSION, MIN_VERSION, ReadHello, common_version, v1};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Messages to an agent that wait to be sent. At most one assignment, one network update, one acknowledgement of
/// reports and one of each heartbeat are under way; an agent that lets more pile up does not read.
pub(super) const OUTBOUND: usize = 16;

/// What an agent says, in order. It ends with the connection.
pub type AgentMessages = BoxStream<'static, Result<v1::AgentMessage, Status>>;

/// What an agent is told, in order. It ends with the session; an error says why.
pub type ControlMessages = ReceiverStream<Result<v1::ControlMessage, Status>>;

/// Where sessions begin.
pub struct SessionFront<F> {
    fleet: Arc<F>,
    execs: Execs,
    config: AgentsConfig,
    sessions: Sessions,
    shutdown: CancellationToken,
}

impl<F: Fleet> SessionFront<F> {
    /// A front that knows of no session yet. `shutdown` ends all that it lets in, without a word to the core.
    pub fn new(fleet: Arc<F>, config: AgentsConfig, shutdown: CancellationToken) -> Self {
        let execs = fleet.execs();
        Self { fleet, execs, config, sessions: Sessions::default(), shutdown }
    }

    /// Lets a session of `instance` in, who was authenticated by the caller: waits for its Hello, opens it in the core,
    /// ends the older one, and serves it in a task of its own.
    ///
    /// # Errors
    /// What the agent is told when its session is refused.
    pub async fn open(&self, instance: InstanceId, mut inbound: AgentMessages) -> Result<ControlMessages, Status> {
        let session = SessionId::random();
        // Subscribed before the assignment is read, so that no change falls between the two.
        let changes = self.fleet.watch(instance);
        let network_changes = self.fleet.watch_network(instance);
        let admitted = async {
            let (version, hello) = self.greet(instance, session, &mut inbound).await?;
            let applied = hello.applied;
            let (presence, superseded) = self.admit(instance, session, hello).await?;
            Ok((version, applied, presence, superseded))
        };
        let admitted: Result<(u32, Generation, Presence<F>, CancellationToken), Status> = admitted.await;
        let (version, applied, mut presence, superseded) = admitted.inspect_err(|status| {
            tracing::warn!(%instance, %session, code = ?status.code(), why = status.message(), "a session was refused");
        })?;
        let Some(current) = self.fleet.assignment(instance) else {
            presence.settle();
            return Err(refuse::connect(&longshore_core::ConnectError::Deregistered(instance)));
        };
        let (sent, assignment) = Sent::complete(current, applied);
        let (outbound, responses) = mpsc::channel(OUTBOUND);
        let pace = Pace::new(&self.config, self.sessions.clone());
        let heartbeat_millis = pace.told();
        let stream = Session::new(SessionParts {
            fleet: Arc::clone(&self.fleet),
            instance,
            session,
            inbound,
            outbound,
            changes,
            presence,
            superseded,
            shutdown: self.shutdown.clone(),
            lease: self.config.lease,
            pace,
            apply_timeout: self.config.apply_timeout,
            sent,
            execs: self.execs.line(instance),
            network: NetworkLine::new(
                Arc::clone(&self.fleet),
                instance,
                session,
                network_changes,
                self.config.apply_timeout,
            ),
        });
        let millis = |time: std::time::Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let welcome = v1::Welcome {
            version,
            heartbeat_millis,
            lease_millis: millis(self.config.lease),
            control_plane_version: env!("CARGO_PKG_VERSION").to_owned(),
            usage_millis: millis(self.config.usage),
            revision: self.fleet.revision().0,
        };
        tokio::spawn(stream.run(welcome, assignment));
        Ok(ReceiverStream::new(responses))
    }

    /// Waits for the Hello and settles the version.
    async fn greet(
        &self,
        instance: InstanceId,
        session: SessionId,
        inbound: &mut AgentMessages,
    ) -> Result<(u32, AgentHello), Status> {
        let first = tokio::time::timeout(self.config.hello_timeout, inbound.next());
        let first = first
            .await
            .map_err(|_| Status::deadline_exceeded("the stream's Hello did not come in time"))?
            .transpose()
            .map_err(refuse::unreadable)?;
        let hello = match first.and_then(|message| message.kind) {
            Some(v1::agent_message::Kind::Hello(hello)) => hello,
            Some(_) | None => {
                return Err(Status::invalid_argument("field `kind`: the first message of a session must be a hello"));
            }
        };
        let theirs = hello.min_version..=hello.max_version;
        let Some(version) = common_version(MIN_VERSION..=MAX_VERSION, theirs.clone()) else {
            return Err(Status::failed_precondition(format!(
                "the agent speaks versions {} to {} of the protocol and this control plane {MIN_VERSION} to \
                 {MAX_VERSION}; upgrade the older of the two",
                theirs.start(),
                theirs.end()
            )));
        };
        let hello = ReadHello::try_from(hello).map_err(|error| refuse::field(&error))?;
        let applied = hello.applied;
        let observed = readable(instance, hello.observed);
        tracing::info!(
            %instance, %session, boot = hello.boot_id, version, generation = %applied,
            observed = observed.len(), agent = hello.facts.versions.agent, "an agent connects"
        );
        Ok((version, AgentHello { facts: hello.facts, applied, observed }))
    }

    /// Opens the session in the core and ends the older stream of the instance, if there is one. Nothing of that
    /// happens for a Hello that is refused.
    async fn admit(
        &self,
        instance: InstanceId,
        session: SessionId,
        hello: AgentHello,
    ) -> Result<(Presence<F>, CancellationToken), Status> {
        let mut presence = Presence::new(Parting {
            fleet: Arc::clone(&self.fleet),
            sessions: self.sessions.clone(),
            instance,
            session,
            lease: self.config.lease,
            shutdown: self.shutdown.clone(),
            superseded: None,
        });
        self.fleet.connected(instance, session, hello).await.map_err(|error| refuse::connect(&error))?;
        match presence.claim() {
            Some(superseded) => Ok((presence, superseded)),
            None => Err(refuse::superseded()),
        }
    }
}
