//! A server of tonic that does nothing else: the same certificates, the same messages, an answer to each, no session
//! behind it.

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use longshore_control::pki::{Authority, ServerCertificate, server_tls};
use longshore_proto::v1;
use longshore_proto::v1::agent_message::Kind;
use longshore_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use longshore_proto::v1::control_message::Kind as Answer;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// Serves until it is killed, with so many milliseconds between heartbeats; says its port first.
pub(crate) async fn serve(dir: &Path, pace: u32) -> Result<()> {
    let authority = Arc::new(Authority::open(dir)?);
    let certificate = ServerCertificate::new(authority, Vec::new(), Duration::from_secs(86_400))?;
    let acceptor = TlsAcceptor::from(Arc::new(server_tls(&Arc::new(certificate))?));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?.port());
    let (ready, incoming) = mpsc::channel::<io::Result<TlsStream<TcpStream>>>(16);
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let (acceptor, ready) = (acceptor.clone(), ready.clone());
            tokio::spawn(async move {
                if stream.set_nodelay(true).is_ok()
                    && let Ok(stream) = acceptor.accept(stream).await
                {
                    let _ = ready.send(Ok(stream)).await;
                }
            });
        }
    });
    let (service, incoming) = (AgentServiceServer::new(Echo { pace }), ReceiverStream::new(incoming));
    let served = Server::builder().serve_with_incoming_shutdown(service, incoming, std::future::pending()).await;
    served.context("the bare server failed")
}

/// The port that a server that was just started says.
pub(crate) async fn port_of(server: &mut tokio::process::Child) -> Result<u16> {
    let mut line = String::new();
    BufReader::new(server.stdout.take().context("no output")?).read_line(&mut line).await?;
    line.trim().parse().with_context(|| format!("no port: {line}"))
}

struct Echo {
    pace: u32,
}

/// What there is to say to a message.
fn answer(message: v1::AgentMessage, pace: u32) -> Option<v1::ControlMessage> {
    let kind = match message.kind? {
        Kind::Hello(_) => Answer::Welcome(Box::new(v1::Welcome {
            version: longshore_proto::MAX_VERSION,
            heartbeat_millis: pace,
            lease_millis: 5000,
            usage_millis: 20_000,
            ..v1::Welcome::default()
        })),
        Kind::Heartbeat(beat) => {
            Answer::HeartbeatAck(v1::HeartbeatAck { seq: beat.seq, ..v1::HeartbeatAck::default() })
        }
        Kind::Reports(reports) => Answer::ReportsAck(v1::ReportsAck { seq: reports.seq, revision: 0 }),
        // An agent that asks for a task of this name.
        Kind::Resync(ask) => {
            let spec = v1::TaskSpec { id: ask.why, ..v1::TaskSpec::default() };
            let desired = v1::Desired::Running.into();
            let task = v1::AssignedTask { spec: Some(spec), desired, may_start: true, stop_reason: String::new() };
            Answer::Assignment(Box::new(v1::Assignment { tasks: vec![task], ..v1::Assignment::default() }))
        }
        Kind::Applied(_) | Kind::NetworkStatus(_) => return None,
    };
    Some(v1::ControlMessage { kind: Some(kind) })
}

fn unused<T>() -> Result<T, Status> {
    Err(Status::unimplemented("this server only answers sessions"))
}

#[tonic::async_trait]
impl AgentService for Echo {
    type SessionStream = BoxStream<'static, Result<v1::ControlMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let pace = self.pace;
        let said = request.into_inner();
        let answers = said.filter_map(move |message| async move { message.map(|m| answer(m, pace)).transpose() });
        Ok(Response::new(answers.boxed()))
    }

    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        unused()
    }

    async fn renew(&self, _: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        unused()
    }

    async fn put_logs(&self, _: Request<v1::LogBatch>) -> Result<Response<v1::LogAck>, Status> {
        unused()
    }

    async fn registry_credentials(
        &self,
        _: Request<v1::RegistryCredentialsRequest>,
    ) -> Result<Response<v1::RegistryCredentialsResponse>, Status> {
        unused()
    }

    async fn task_protection(
        &self,
        _: Request<v1::TaskProtectionRequest>,
    ) -> Result<Response<v1::TaskProtectionResponse>, Status> {
        unused()
    }

    type ExecStream = BoxStream<'static, Result<v1::ExecToAgent, Status>>;

    async fn exec(&self, _: Request<Streaming<v1::ExecFromAgent>>) -> Result<Response<Self::ExecStream>, Status> {
        unused()
    }
}
