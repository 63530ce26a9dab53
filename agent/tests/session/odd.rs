//! Control planes that are older, newer, or wrong.

use crate::control::{Control, DEADLINE, patient};
use crate::host::{Host, joined, quick};
use longshore_agent::identity::IdentityHandle;
use longshore_agent::session::{SessionConfig, SessionState};
use longshore_control::pki::{ServerCertificate, server_tls};
use longshore_model::{Generation, TaskId};
use longshore_proto::v1;
use longshore_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// One stream of an agent, in the test's hands.
struct Stream {
    heard: Streaming<v1::AgentMessage>,
    say: mpsc::Sender<Result<v1::ControlMessage, Status>>,
}

impl Stream {
    async fn hear(&mut self) -> v1::agent_message::Kind {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.heard.message()).await.expect("in time");
            match message.expect("a stream").expect("a message").kind.expect("a kind") {
                v1::agent_message::Kind::Heartbeat(beat) => {
                    let ack = v1::HeartbeatAck { seq: beat.seq, ..v1::HeartbeatAck::default() };
                    self.say(v1::control_message::Kind::HeartbeatAck(ack)).await;
                }
                other => return other,
            }
        }
    }

    /// The next heartbeat, unanswered.
    async fn beat(&mut self) -> v1::Heartbeat {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.heard.message()).await.expect("in time");
            let kind = message.expect("a stream").expect("a message").kind.expect("a kind");
            if let v1::agent_message::Kind::Heartbeat(beat) = kind {
                return beat;
            }
        }
    }

    /// Waits for the agent to end the stream.
    async fn ended(&mut self) {
        while let Ok(Some(_)) = tokio::time::timeout(DEADLINE, self.heard.message()).await.expect("in time") {}
    }

    async fn say(&self, kind: v1::control_message::Kind) {
        // The agent may have ended the stream; the test finds out by what it waits for.
        let _ = self.say.send(Ok(v1::ControlMessage { kind: Some(kind) })).await;
    }

    async fn welcome(&mut self) -> v1::Hello {
        let v1::agent_message::Kind::Hello(hello) = self.hear().await else { panic!("no hello") };
        let welcome = v1::Welcome { version: 1, heartbeat_millis: 100, lease_millis: 20_000, ..Default::default() };
        self.say(v1::control_message::Kind::Welcome(Box::new(welcome))).await;
        hello
    }

    async fn assign(&self, assignment: v1::Assignment) {
        self.say(v1::control_message::Kind::Assignment(Box::new(assignment))).await;
    }
}

/// An agent port whose every stream is handed to the test.
struct Odd(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl AgentService for Odd {
    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn renew(&self, _: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn put_logs(&self, _: Request<v1::LogBatch>) -> Result<Response<v1::LogAck>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type ExecStream = ReceiverStream<Result<v1::ExecToAgent, Status>>;

    async fn exec(&self, _: Request<Streaming<v1::ExecFromAgent>>) -> Result<Response<Self::ExecStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn registry_credentials(
        &self,
        _: Request<v1::RegistryCredentialsRequest>,
    ) -> Result<Response<v1::RegistryCredentialsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn task_protection(
        &self,
        _: Request<v1::TaskProtectionRequest>,
    ) -> Result<Response<v1::TaskProtectionResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type SessionStream = ReceiverStream<Result<v1::ControlMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (say, messages) = mpsc::channel(16);
        let stream = Stream { heard: request.into_inner(), say };
        self.0.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

/// An odd control plane with the authority of `control`, and a host that was sent to it.
async fn odd(generation: u64) -> (mpsc::Receiver<Stream>, Host, Control, tempfile::TempDir) {
    let control = Control::start(patient()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let identity = joined(&control, dir.path()).await.expect("joined");
    let (streams_in, streams) = mpsc::channel(1);
    let address = serve(&control, Odd(streams_in)).await;
    let config =
        SessionConfig { control: Some(address.to_string()), report_resend: Duration::from_millis(200), ..quick() };
    let host = Host::start_at(IdentityHandle::new(identity), config, Generation(generation));
    (streams, host, control, dir)
}

async fn serve(control: &Control, odd: Odd) -> SocketAddr {
    let hour = Duration::from_secs(3600);
    let certificate = ServerCertificate::new(Arc::clone(&control.authority), Vec::new(), hour).expect("made");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server_tls(&Arc::new(certificate)).expect("TLS")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let incoming = TcpListenerStream::new(listener).then(move |stream| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(stream?).await }
    });
    tokio::spawn(async move {
        let served = tonic::transport::Server::builder().serve_with_incoming(AgentServiceServer::new(odd), incoming);
        served.await.expect("serves");
    });
    address
}

async fn next(streams: &mut mpsc::Receiver<Stream>) -> Stream {
    tokio::time::timeout(DEADLINE, streams.recv()).await.expect("in time").expect("a stream")
}

fn complete(generation: u64) -> v1::Assignment {
    v1::Assignment { generation, complete: true, ..v1::Assignment::default() }
}

#[tokio::test]
async fn an_older_generation_is_refused_and_a_gap_asks_for_everything() {
    let (mut streams, host, _control, _dir) = odd(7).await;
    let mut stream = next(&mut streams).await;
    assert_eq!(stream.welcome().await.applied_generation, 7);
    stream.assign(complete(8)).await;
    assert_eq!(stream.hear().await, v1::agent_message::Kind::Applied(v1::Applied { generation: 8 }));
    stream.assign(v1::Assignment { generation: 11, base_generation: 10, ..Default::default() }).await;
    assert!(matches!(stream.hear().await, v1::agent_message::Kind::Resync(_)));
    stream.assign(complete(3)).await;
    stream.ended().await;
    // It comes back, still at what it had saved.
    assert_eq!(next(&mut streams).await.welcome().await.applied_generation, 8);
    assert_eq!(*host.saved.borrow(), Generation(8));
}

#[tokio::test]
async fn one_task_that_cannot_be_read_is_refused_alone() {
    let (mut streams, mut host, _control, _dir) = odd(0).await;
    let mut stream = next(&mut streams).await;
    stream.welcome().await;
    let container =
        v1::ContainerSpec { name: "c".to_owned(), image: "i".to_owned(), essential: true, ..Default::default() };
    let good = v1::TaskSpec {
        id: TaskId::random().to_string(),
        cluster: "c".to_owned(),
        network_mode: v1::NetworkMode::Host.into(),
        containers: vec![container],
        ..Default::default()
    };
    // As a newer control plane might send it.
    let newer = v1::TaskSpec { id: TaskId::random().to_string(), network_mode: 40, ..good.clone() };
    let assigned =
        |spec: &v1::TaskSpec| v1::AssignedTask { spec: Some(spec.clone()), desired: 1, ..Default::default() };
    stream.assign(v1::Assignment { tasks: vec![assigned(&newer), assigned(&good)], ..complete(1) }).await;
    host.told(&good.id, |task| task.is_some()).await;
    let desired = host.desired.lock().expect("not poisoned");
    assert_eq!(desired.refused.len(), 1);
    assert_eq!(desired.refused[0].task.to_string(), newer.id);
    assert!(desired.refused[0].why.contains("tasks[0].spec.network_mode"), "{}", desired.refused[0].why);
}

#[tokio::test]
async fn reports_are_sent_until_they_are_acknowledged() {
    let (mut streams, host, _control, _dir) = odd(0).await;
    let mut stream = next(&mut streams).await;
    stream.welcome().await;
    let task = TaskId::random().to_string();
    host.report(&task, 1, longshore_model::TaskStatus::Pending);
    let mut seqs = Vec::new();
    for _ in 0..3 {
        let v1::agent_message::Kind::Reports(reports) = stream.hear().await else { panic!("no reports") };
        assert_eq!(reports.tasks[0].task, task);
        seqs.push(reports.seq);
    }
    assert!(seqs.is_sorted() && seqs[0] < seqs[2], "{seqs:?}");
    let last = seqs[2];
    stream.say(v1::control_message::Kind::ReportsAck(v1::ReportsAck { seq: last, revision: 0 })).await;
    host.report(&task, 2, longshore_model::TaskStatus::Running);
    loop {
        let v1::agent_message::Kind::Reports(reports) = stream.hear().await else { panic!("no reports") };
        if reports.tasks[0].version == 2 {
            break;
        }
        // One more repetition may have been on its way.
        stream.say(v1::control_message::Kind::ReportsAck(v1::ReportsAck { seq: reports.seq, revision: 0 })).await;
    }
}

#[tokio::test]
async fn a_control_plane_that_speaks_wrongly_is_left_and_tried_again() {
    let (mut streams, mut host, _control, _dir) = odd(0).await;
    let welcome = |version| v1::Welcome { version, heartbeat_millis: 100, lease_millis: 20_000, ..Default::default() };
    for kind in [
        v1::control_message::Kind::Welcome(Box::new(welcome(2))),
        v1::control_message::Kind::Welcome(Box::new(welcome(0))),
        v1::control_message::Kind::HeartbeatAck(v1::HeartbeatAck { seq: 1, ..v1::HeartbeatAck::default() }),
    ] {
        let mut stream = next(&mut streams).await;
        stream.hear().await;
        stream.say(kind).await;
        stream.ended().await;
    }
    // A clean close is a reason to come back, too.
    let mut stream = next(&mut streams).await;
    stream.welcome().await;
    host.connected().await;
    drop(stream);
    let mut stream = next(&mut streams).await;
    stream.welcome().await;
    // Kinds that a newer one may have are passed over.
    stream.say.send(Ok(v1::ControlMessage { kind: None })).await.expect("open");
    stream.assign(complete(1)).await;
    assert_eq!(stream.hear().await, v1::agent_message::Kind::Applied(v1::Applied { generation: 1 }));
    stream.say(v1::control_message::Kind::Welcome(Box::new(welcome(1)))).await;
    stream.ended().await;
}

#[tokio::test]
async fn dials_that_time_out_are_made_less_and_less_often() {
    let mut control = Control::start(patient()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let identity = joined(&control, dir.path()).await.expect("joined");
    control.stop().await;
    // Takes connections and says nothing. From here on only the agent waits for anything, so time may fly.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    tokio::time::pause();
    let config =
        SessionConfig { control: Some(address), connect_timeout: Duration::from_secs(20), ..Default::default() };
    let mut host = Host::start(IdentityHandle::new(identity), config);
    let mut waits = Vec::new();
    while waits.len() < 8 {
        host.state.changed().await.expect("the session lives");
        if let SessionState::Waiting { millis, .. } = &*host.state.borrow_and_update() {
            waits.push(*millis);
        }
    }
    // 200 ms seven times doubled is above the cap of 15 s; at random half of it comes off.
    assert!(waits[0] <= 200 && waits[7] >= 7500, "{waits:?}");
}

#[tokio::test]
async fn the_pace_of_heartbeats_follows_the_control_plane() {
    let (mut streams, _host, _control, _dir) = odd(0).await;
    let mut stream = next(&mut streams).await;
    stream.hear().await;
    // Nobody waits for a beat of this pace.
    let welcome = v1::Welcome { version: 1, heartbeat_millis: 60_000, lease_millis: 300_000, ..Default::default() };
    stream.say(v1::control_message::Kind::Welcome(Box::new(welcome))).await;
    for seq in 1..=3 {
        let beat = stream.beat().await;
        assert_eq!(beat.seq, seq);
        let heartbeat_millis = if seq == 1 { 50 } else { 0 };
        let ack = v1::HeartbeatAck { seq, heartbeat_millis, ..Default::default() };
        stream.say(v1::control_message::Kind::HeartbeatAck(ack)).await;
    }
}

#[tokio::test]
async fn a_silent_control_plane_is_given_up_within_the_lease() {
    let (mut streams, mut host, _control, _dir) = odd(0).await;
    let mut stream = next(&mut streams).await;
    stream.hear().await;
    let welcome = v1::Welcome { version: 1, heartbeat_millis: 50, lease_millis: 300, ..Default::default() };
    stream.say(v1::control_message::Kind::Welcome(Box::new(welcome))).await;
    host.connected().await;
    let waiting = host.until("given up", |state| matches!(state, SessionState::Waiting { .. })).await;
    assert!(format!("{waiting:?}").contains("nothing was heard"), "{waiting:?}");
}
