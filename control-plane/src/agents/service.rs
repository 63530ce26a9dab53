//! The calls of the protocol. Joining, renewing and logs are answered here; a session is let in here and then
//! runs as a task of its own (`stream`).

use super::delta::Sent;
use super::network::NetworkLine;
use super::presence::{Parting, Presence};
use super::sessions::Sessions;
use super::stream::{Session, SessionParts, readable};
use super::{AgentsConfig, Fleet, exec, logs, protection, refuse, registry};
use crate::pki::{self, Authority};
use longshore_core::{AgentHello, Execs, JoinKey, JoinToken, SessionId};
use longshore_logs::Logs;
use longshore_model::{ClusterName, Generation, HostFacts, InstanceId};
use longshore_proto::v1::agent_service_server::AgentService;
use longshore_proto::{MAX_VERSION, MIN_VERSION, ReadHello, common_version, v1};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// Messages to an agent that wait to be sent. At most one assignment, one network update, one acknowledgement of
/// reports and one of each heartbeat are under way; an agent that lets more pile up does not read.
const OUTBOUND: usize = 16;

pub(super) struct Service<F> {
    fleet: Arc<F>,
    logs: Logs,
    execs: Execs,
    authority: Arc<Authority>,
    config: AgentsConfig,
    sessions: Sessions,
    shutdown: CancellationToken,
}

impl<F: Fleet> Service<F> {
    pub(super) fn new(
        fleet: Arc<F>,
        logs: Logs,
        authority: Arc<Authority>,
        config: AgentsConfig,
        shutdown: CancellationToken,
    ) -> Self {
        let execs = fleet.execs();
        Self { fleet, logs, execs, authority, config, sessions: Sessions::default(), shutdown }
    }

    fn certify(&self, csr: &[u8], instance: InstanceId) -> Result<v1::Certificate, Status> {
        let authority = self.authority.certificate().to_vec();
        match self.authority.certify_agent(csr, instance, self.config.agent_certificate) {
            Ok(certificate) => {
                let chain = vec![certificate.to_vec().into(), authority.clone().into()];
                Ok(v1::Certificate { chain, authorities: vec![authority.into()] })
            }
            Err(error) => Err(refuse::request(&error)),
        }
    }

    /// Waits for the Hello and settles the version.
    async fn greet(
        &self,
        instance: InstanceId,
        session: SessionId,
        inbound: &mut Streaming<v1::AgentMessage>,
    ) -> Result<(u32, AgentHello), Status> {
        let first = tokio::time::timeout(self.config.hello_timeout, inbound.message());
        let first = first
            .await
            .map_err(|_| Status::deadline_exceeded("the stream's Hello did not come in time"))?
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

/// The instance of the client certificate that a call was made with.
fn caller<T>(request: &Request<T>) -> Result<InstanceId, Status> {
    let certificates = request.peer_certs();
    let Some(certificate) = certificates.as_ref().and_then(|chain| chain.first()) else {
        return Err(Status::unauthenticated("this call needs the client certificate that joining gives"));
    };
    pki::instance_of(certificate).map_err(|error| Status::unauthenticated(error.to_string()))
}

#[tonic::async_trait]
impl<F: Fleet> AgentService for Service<F> {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let peer = request.remote_addr();
        let request = request.into_inner();
        let token: JoinToken = request.token.parse().map_err(refuse::token)?;
        let cluster = match request.cluster.as_str() {
            "" => None,
            name => Some(
                ClusterName::new(name).map_err(|error| Status::invalid_argument(format!("field `cluster` {error}")))?,
            ),
        };
        let facts = request.facts.ok_or_else(|| Status::invalid_argument("field `facts` is missing"))?;
        let facts = HostFacts::try_from(facts)
            .map_err(|error| Status::invalid_argument(format!("in field `facts`: {error}")))?;
        // Before the token is spent: a request that cannot be certified must not cost a use of it.
        let key = pki::requested_key(&request.csr).map_err(|error| refuse::request(&error))?;
        self.certify(&request.csr, InstanceId::from_bytes([0; 16]))?;
        let activation = token.activation.clone();
        let hostname = facts.hostname.clone();
        let registered = match self.fleet.register(token, cluster, facts, JoinKey::of(&key)).await {
            Ok(registered) => registered,
            Err(error) => {
                tracing::warn!(?peer, activation, hostname, %error, "a host was refused");
                return Err(refuse::join(&error));
            }
        };
        let instance = registered.instance;
        let (cluster, repeated) = (&registered.cluster, registered.repeated);
        tracing::info!(?peer, activation, hostname, %instance, %cluster, repeated, "a host joined");
        Ok(Response::new(v1::JoinResponse {
            instance_id: instance.to_string(),
            cluster: registered.cluster.name.to_string(),
            region: registered.cluster.region.to_string(),
            account_id: self.fleet.account().to_string(),
            instance_arn: registered.arn,
            certificate: Some(self.certify(&request.csr, instance)?),
        }))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let instance = caller(&request)?;
        self.fleet.registered(instance).map_err(|error| refuse::connect(&error))?;
        let certificate = self.certify(&request.into_inner().csr, instance)?;
        tracing::info!(%instance, "renewed an agent's certificate");
        Ok(Response::new(v1::RenewResponse { certificate: Some(certificate) }))
    }

    async fn put_logs(&self, request: Request<v1::LogBatch>) -> Result<Response<v1::LogAck>, Status> {
        let instance = caller(&request)?;
        self.fleet.registered(instance).map_err(|error| refuse::connect(&error))?;
        logs::put(&self.logs, instance, request.into_inner()).await.map(Response::new)
    }

    type ExecStream = ReceiverStream<Result<v1::ExecToAgent, Status>>;

    async fn exec(&self, request: Request<Streaming<v1::ExecFromAgent>>) -> Result<Response<Self::ExecStream>, Status> {
        let instance = caller(&request)?;
        self.fleet.registered(instance).map_err(|error| refuse::connect(&error))?;
        let mut inbound = request.into_inner();
        let end = exec::begin(&self.execs, instance, &mut inbound, self.config.hello_timeout).await?;
        let (outbound, responses) = mpsc::channel(OUTBOUND);
        tokio::spawn(exec::carry(end, inbound, outbound, self.shutdown.clone()));
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn registry_credentials(
        &self,
        request: Request<v1::RegistryCredentialsRequest>,
    ) -> Result<Response<v1::RegistryCredentialsResponse>, Status> {
        let instance = caller(&request)?;
        self.fleet.registered(instance).map_err(|error| refuse::connect(&error))?;
        registry::credentials(&*self.fleet, instance, &request.into_inner()).map(Response::new)
    }

    async fn task_protection(
        &self,
        request: Request<v1::TaskProtectionRequest>,
    ) -> Result<Response<v1::TaskProtectionResponse>, Status> {
        let instance = caller(&request)?;
        self.fleet.registered(instance).map_err(|error| refuse::connect(&error))?;
        protection::protection(&*self.fleet, instance, &request.into_inner()).await.map(Response::new)
    }

    type SessionStream = ReceiverStream<Result<v1::ControlMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let instance = caller(&request)?;
        let session = SessionId::random();
        let mut inbound = request.into_inner();
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
            heartbeat_millis: millis(self.config.heartbeat),
            lease_millis: millis(self.config.lease),
            control_plane_version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: self.fleet.revision().0,
        };
        tokio::spawn(stream.run(welcome, assignment));
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}
