//! A control plane's agent port on loopback, and peers that say whatever a test wants.

use super::super::{AgentsConfig, ServeError, serve};
use super::fleet::{DEADLINE, FakeFleet};
use crate::pki::{Authority, ServerCertificate};
use longshore_model::InstanceId;
use longshore_proto::v1::agent_service_client::AgentServiceClient;
use longshore_proto::{MAX_MESSAGE, SERVER_NAME, v1};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// An agent port.
pub(super) struct Port {
    pub(super) fleet: Arc<FakeFleet>,
    pub(super) authority: Arc<Authority>,
    pub(super) address: SocketAddr,
    pub(super) shutdown: CancellationToken,
    pub(super) serving: JoinHandle<Result<(), ServeError>>,
    _dir: tempfile::TempDir,
}

/// A client certificate and its key.
pub(super) type Credential = (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>);

/// A key and a request for its certificate.
pub(super) fn request() -> (PrivatePkcs8KeyDer<'static>, Vec<u8>) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let csr = CertificateParams::default().serialize_request(&key).expect("a request").der().to_vec();
    (PrivatePkcs8KeyDer::from(key.serialize_der()), csr)
}

/// Leases and time-outs that no slow machine runs into.
pub(super) fn patient() -> AgentsConfig {
    AgentsConfig { lease: Duration::from_secs(60), apply_timeout: Duration::from_secs(60), ..AgentsConfig::default() }
}

impl Port {
    pub(super) async fn start(config: AgentsConfig) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Arc::new(Authority::open(dir.path()).expect("an authority"));
        let hour = Duration::from_secs(3600);
        let certificate = ServerCertificate::new(Arc::clone(&authority), Vec::new(), hour).expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let fleet = Arc::new(FakeFleet::default());
        let logs = longshore_logs::Logs::open(&dir.path().join("logs"), 1 << 24).await.expect("a log store");
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(
            listener,
            Arc::clone(&fleet),
            logs,
            Arc::clone(&authority),
            Arc::new(certificate),
            config,
            shutdown.clone(),
        ));
        Self { fleet, authority, address, shutdown, serving, _dir: dir }
    }

    /// A certificate for an instance, as joining gives it.
    pub(super) fn credential(&self, instance: InstanceId, lifetime: Duration) -> Credential {
        let (key, csr) = request();
        (self.authority.certify_agent(&csr, instance, lifetime).expect("certified"), key)
    }

    pub(super) async fn dial(&self, credential: Option<Credential>) -> AgentServiceClient<Channel> {
        self.try_dial(credential).await.expect("a connection")
    }

    pub(super) async fn try_dial(
        &self,
        credential: Option<Credential>,
    ) -> Result<AgentServiceClient<Channel>, Box<dyn std::error::Error>> {
        let client = AgentServiceClient::new(self.channel(credential).await?);
        Ok(client.max_encoding_message_size(MAX_MESSAGE).max_decoding_message_size(MAX_MESSAGE))
    }

    pub(super) async fn channel(&self, credential: Option<Credential>) -> Result<Channel, Box<dyn std::error::Error>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.certificate().clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut tls = match credential {
            Some((certificate, key)) => tls.with_client_auth_cert(vec![certificate], PrivateKeyDer::from(key))?,
            None => tls.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        let stream =
            tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from(SERVER_NAME)?, stream).await?;
        let stream = std::sync::Mutex::new(Some(stream));
        let connector = tower::service_fn(move |_: tonic::transport::Uri| {
            let stream = stream.lock().expect("not poisoned").take().map(hyper_util::rt::TokioIo::new);
            std::future::ready(stream.ok_or_else(|| std::io::Error::other("one connection a client")))
        });
        Ok(Endpoint::try_from(format!("http://{SERVER_NAME}"))?.connect_with_connector(connector).await?)
    }

    /// A session of `instance` that has not said anything yet.
    pub(super) async fn line(&self, instance: InstanceId) -> Line {
        let credential = self.credential(instance, Duration::from_secs(3600));
        let client = self.dial(Some(credential)).await;
        let (sender, messages) = mpsc::channel(64);
        Line { sender, state: LineState::Waiting(client, messages) }
    }

    /// A session of `instance` that was welcomed and has its first assignment.
    pub(super) async fn session(&self, instance: InstanceId) -> (Line, v1::Welcome, v1::Assignment) {
        let mut line = self.line(instance).await;
        line.say(v1::agent_message::Kind::Hello(hello())).await;
        let welcome = line.welcome().await;
        let assignment = line.assignment().await;
        (line, welcome, assignment)
    }
}

pub(super) fn hello() -> v1::Hello {
    v1::Hello {
        min_version: 1,
        max_version: 1,
        facts: Some(v1::HostFacts::default()),
        boot_id: "test".to_owned(),
        ..Default::default()
    }
}

/// One session's two directions.
pub(super) struct Line {
    sender: mpsc::Sender<v1::AgentMessage>,
    state: LineState,
}

enum LineState {
    Waiting(AgentServiceClient<Channel>, mpsc::Receiver<v1::AgentMessage>),
    Open(Streaming<v1::ControlMessage>),
    Ended,
}

impl Line {
    pub(super) async fn say(&self, kind: v1::agent_message::Kind) {
        self.sender.send(v1::AgentMessage { kind: Some(kind) }).await.expect("the stream is open");
    }

    /// Says something if the other side still listens.
    pub(super) async fn try_say(&self, kind: Option<v1::agent_message::Kind>) {
        let _ = self.sender.send(v1::AgentMessage { kind }).await;
    }

    /// Beats without listening; false once the other side has ended the stream.
    pub(super) async fn beat(&self, seq: u64) -> bool {
        let kind = Some(v1::agent_message::Kind::Heartbeat(v1::Heartbeat { seq, ..v1::Heartbeat::default() }));
        self.sender.send(v1::AgentMessage { kind }).await.is_ok()
    }

    pub(super) async fn applied(&self, generation: u64) {
        self.say(v1::agent_message::Kind::Applied(v1::Applied { generation })).await;
    }

    /// The next message, or how the stream ended.
    pub(super) async fn hear(&mut self) -> Result<v1::control_message::Kind, Option<Status>> {
        let heard = async {
            self.state = match std::mem::replace(&mut self.state, LineState::Ended) {
                LineState::Waiting(mut client, messages) => {
                    let opened = client.session(ReceiverStream::new(messages)).await.map_err(Some)?;
                    LineState::Open(opened.into_inner())
                }
                other @ (LineState::Open(..) | LineState::Ended) => other,
            };
            let LineState::Open(stream) = &mut self.state else { return Err(None) };
            match stream.message().await {
                Ok(Some(message)) => Ok(message.kind.expect("this control plane sends no unknown kinds")),
                Ok(None) => Err(None),
                Err(status) => Err(Some(status)),
            }
        };
        tokio::time::timeout(DEADLINE, heard).await.expect("a message in time")
    }

    pub(super) async fn welcome(&mut self) -> v1::Welcome {
        match self.hear().await.expect("a message") {
            v1::control_message::Kind::Welcome(welcome) => *welcome,
            other => panic!("not a welcome: {other:?}"),
        }
    }

    pub(super) async fn assignment(&mut self) -> v1::Assignment {
        match self.hear().await.expect("a message") {
            v1::control_message::Kind::Assignment(assignment) => *assignment,
            other => panic!("not an assignment: {other:?}"),
        }
    }

    /// How the stream ends, whatever comes before.
    pub(super) async fn end(&mut self) -> Status {
        loop {
            match self.hear().await {
                Ok(_) => {}
                Err(Some(status)) => return status,
                Err(None) => panic!("the stream ended without a status"),
            }
        }
    }

    /// Answers heartbeats in both directions until nothing else can be on its way: what came before the answer to
    /// this heartbeat.
    pub(super) async fn quiet(&mut self, seq: u64) -> Vec<v1::control_message::Kind> {
        self.say(v1::agent_message::Kind::Heartbeat(v1::Heartbeat { seq, ..v1::Heartbeat::default() })).await;
        let mut before = Vec::new();
        loop {
            match self.hear().await.expect("a message") {
                v1::control_message::Kind::HeartbeatAck(ack) if ack.seq == seq => return before,
                other => before.push(other),
            }
        }
    }
}
