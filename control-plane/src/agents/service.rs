//! The calls of the protocol. Joining, renewing and logs are answered here; sessions are let in by `front`.

use super::front::{OUTBOUND, SessionFront};
use super::{AgentsConfig, Fleet, exec, logs, protection, refuse, registry};
use crate::pki::{self, Authority};
use futures::StreamExt as _;
use longshore_core::{Execs, JoinKey, JoinToken};
use longshore_logs::Logs;
use longshore_model::{ClusterName, HostFacts, InstanceId};
use longshore_proto::v1;
use longshore_proto::v1::agent_service_server::AgentService;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

pub(super) struct Service<F> {
    fleet: Arc<F>,
    logs: Logs,
    execs: Execs,
    authority: Arc<Authority>,
    config: AgentsConfig,
    front: SessionFront<F>,
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
        let front = SessionFront::new(Arc::clone(&fleet), config.clone(), shutdown.clone());
        Self { fleet, logs, execs, authority, config, front, shutdown }
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
        self.front.open(instance, request.into_inner().boxed()).await.map(Response::new)
    }
}
