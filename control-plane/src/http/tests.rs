//! The front over real connections: a raw client that can misbehave, signing with our verifier's counterpart from AWS,
//! against a backend with scripted answers.

use super::{Backend, Limits, serve};
use crate::auth::Keys;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use longshore_core::{Caller, Ec2Error, Ec2Operation, Principal};
use longshore_ecs_api::autoscaling::ScalingOperation;
use longshore_ecs_api::events::EventsOperation;
use longshore_ecs_api::logs::LogsOperation;
use longshore_ecs_api::scheduler::SchedulerOperation;
use longshore_ecs_api::secrets::SecretsOperation;
use longshore_ecs_api::ssm::SsmOperation;
use longshore_ecs_api::{ApiError, Operation};
use longshore_model::AccountId;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "secret";
const ECS: &str = "AmazonEC2ContainerServiceV20141113";

/// Echoes what it is asked; some operations misbehave, and RunTask takes until it is let go.
#[derive(Default)]
struct Echo {
    begun: Arc<Notify>,
    let_go: Arc<Notify>,
}

impl Keys for Echo {
    fn access_key(&self, id: &str) -> Option<(Principal, SecretString)> {
        let account = AccountId::new("123456789012").expect("an account");
        (id == KEY).then(|| (Principal::root(&account), SecretString::from(SECRET)))
    }
}

fn echo(operation: &str, caller: &Caller, body: &Bytes) -> Bytes {
    let body = String::from_utf8_lossy(body);
    json!({"operation": operation, "region": caller.region.as_str(), "body": body}).to_string().into()
}

impl Backend for Echo {
    async fn ecs(&self, caller: &Caller, operation: Operation, body: Bytes) -> Result<Bytes, ApiError> {
        match operation {
            Operation::CreateService => Err(ApiError::unsupported("not yet")),
            Operation::DeleteCluster => Err(ApiError::cluster_not_found()),
            Operation::StopTask => panic!("a bug"),
            Operation::RunTask => {
                self.begun.notify_one();
                self.let_go.notified().await;
                Ok(echo(operation.name(), caller, &body))
            }
            other => Ok(echo(other.name(), caller, &body)),
        }
    }

    async fn ssm(&self, caller: &Caller, operation: SsmOperation, body: Bytes) -> Result<Bytes, ApiError> {
        Ok(echo(operation.name(), caller, &body))
    }

    async fn logs(&self, caller: &Caller, operation: LogsOperation, body: Bytes) -> Result<Bytes, ApiError> {
        Ok(echo(operation.name(), caller, &body))
    }

    async fn secrets(&self, caller: &Caller, operation: SecretsOperation, body: Bytes) -> Result<Bytes, ApiError> {
        Ok(echo(operation.name(), caller, &body))
    }

    async fn scheduler(&self, caller: &Caller, operation: SchedulerOperation, body: Bytes) -> Result<Bytes, ApiError> {
        match operation {
            SchedulerOperation::GetSchedule => {
                Err(ApiError::new(longshore_ecs_api::ErrorCode::ResourceNotFound, "Schedule a does not exist."))
            }
            other => Ok(echo(other.name(), caller, &body)),
        }
    }

    async fn events(&self, caller: &Caller, operation: EventsOperation, body: Bytes) -> Result<Bytes, ApiError> {
        Ok(echo(operation.name(), caller, &body))
    }

    async fn scaling(&self, caller: &Caller, operation: ScalingOperation, body: Bytes) -> Result<Bytes, ApiError> {
        Ok(echo(operation.name(), caller, &body))
    }

    async fn ec2(
        &self,
        _: &Caller,
        operation: Ec2Operation,
        form: Vec<(String, String)>,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        Ok(format!("{} {} {request_id}", operation.name(), form.len()))
    }
}

struct Server {
    at: SocketAddr,
    begun: Arc<Notify>,
    let_go: Arc<Notify>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn start(limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let backend = Echo::default();
    let (begun, let_go) = (Arc::clone(&backend.begun), Arc::clone(&backend.let_go));
    let ended = tokio::spawn(serve(listener, backend, limits, async { drop(stopped.await) }));
    Server { at, begun, let_go, stop, ended }
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn error(&self) -> (u16, String) {
        let body = self.json();
        let code = body["__type"].as_str().expect("a code").to_owned();
        assert_eq!(self.header("x-amzn-errortype"), Some(code.as_str()));
        (self.status, code)
    }
}

/// Sends bytes as they are and reads one answer.
async fn raw(at: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(at).await.expect("connects");
    stream.write_all(bytes).await.expect("sends");
    read(&mut stream).await
}

async fn read(stream: &mut TcpStream) -> Answer {
    let mut got = Vec::new();
    let head_end = loop {
        if let Some(end) = got.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        let read = within(stream.read_buf(&mut got)).await.expect("reads");
        assert!(read > 0, "closed before an answer: {:?}", String::from_utf8_lossy(&got));
    };
    let head = String::from_utf8(got[..head_end].to_vec()).expect("text");
    let mut answer = Answer { status: head[9..12].parse().expect("a status"), head, body: String::new() };
    let length: usize = answer.header("content-length").expect("an exact length").parse().expect("a number");
    while got.len() < head_end + length {
        assert!(within(stream.read_buf(&mut got)).await.expect("reads") > 0, "closed within the body");
    }
    answer.body = String::from_utf8(got[head_end..head_end + length].to_vec()).expect("text");
    answer
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// A request: where to, as what, and who signs.
struct Ask<'a> {
    method: &'a str,
    path: &'a str,
    target: Option<&'a str>,
    service: &'a str,
    content_type: &'a str,
    body: &'a [u8],
    secret: &'a str,
    /// The body that is signed, when it is another one.
    signed_body: Option<&'a [u8]>,
}

impl<'a> Ask<'a> {
    fn ecs(target: &'a str, body: &'a [u8]) -> Self {
        let content_type = "application/x-amz-json-1.1";
        let (method, path) = ("POST", "/");
        let service = "ecs";
        Self { method, path, target: Some(target), service, content_type, body, secret: SECRET, signed_body: None }
    }

    fn sts(body: &'a [u8]) -> Self {
        let content_type = "application/x-www-form-urlencoded; charset=utf-8";
        Self { target: None, service: "sts", content_type, ..Self::ecs("", body) }
    }

    fn bytes(&self, at: SocketAddr) -> Vec<u8> {
        let host = at.to_string();
        let mut headers = vec![("host", host.as_str()), ("content-type", self.content_type)];
        headers.extend(self.target.map(|target| ("x-amz-target", target)));
        let credentials = Credentials::new(KEY, self.secret, None, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&credentials)
            .region("eu-north-1")
            .name(self.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .expect("all set")
            .into();
        let body = SignableBody::Bytes(self.signed_body.unwrap_or(self.body));
        let uri = format!("http://{host}{}", self.path);
        let signable = SignableRequest::new(self.method, &uri, headers.iter().copied(), body).expect("signable");
        let (instructions, _) = sign(signable, &params).expect("signed").into_parts();
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in headers.into_iter().chain(instructions.headers()) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        [text.as_bytes(), self.body].concat()
    }

    async fn send(&self, at: SocketAddr) -> Answer {
        raw(at, &self.bytes(at)).await
    }
}

fn target(operation: &str) -> String {
    format!("{ECS}.{operation}")
}

#[tokio::test]
async fn operations_reach_the_backend() {
    let server = start(Limits::default()).await;
    let answer = Ask::ecs(&target("ListClusters"), b"{\"a\":1}").send(server.at).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"operation": "ListClusters", "region": "eu-north-1", "body": "{\"a\":1}"}));
    assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.1"));
    assert!(answer.header("date").is_some_and(|date| date.ends_with("GMT")));
    assert_eq!(answer.header("x-amzn-requestid").map(str::len), Some(36));

    let ssm = Ask { service: "ssm", ..Ask::ecs("AmazonSSM.CreateActivation", b"{}") }.send(server.at).await;
    assert_eq!(ssm.json()["operation"], "CreateActivation");
}

#[tokio::test]
async fn rest_has_the_operation_in_the_method_and_the_path() {
    let server = start(Limits::default()).await;
    let ask = |method, path, body| Ask { method, path, target: None, service: "scheduler", ..Ask::ecs("", body) };
    let made = ask("POST", "/schedules/a", b"{\"State\":\"ENABLED\"}").send(server.at).await;
    assert_eq!((made.status, made.header("content-type")), (200, Some("application/json")), "{made:?}");
    assert_eq!(made.json()["body"], "{\"Name\":\"a\",\"State\":\"ENABLED\"}");
    let arn = "/tags/arn%3Aaws%3Ascheduler%3Alab%3A1%3Aschedule-group%2Fg?TagKeys=a&TagKeys=b%20c";
    let untagged = ask("DELETE", arn, b"").send(server.at).await;
    assert_eq!(untagged.json()["operation"], "UntagResource", "{untagged:?}");
    for (ask, status, code) in [
        (ask("GET", "/schedules/a", b""), 404, "ResourceNotFoundException"),
        (ask("PATCH", "/schedules/a", b""), 404, "UnknownOperationException"),
        (ask("POST", "/schedules/a", b"x"), 400, "SerializationException"),
        (ask("GET", "/schedules?MaxResults=many", b""), 400, "ValidationException"),
        (Ask { service: "ecs", ..ask("GET", "/schedules", b"") }, 403, "InvalidSignatureException"),
        (Ask { secret: "other", ..ask("GET", "/schedules", b"") }, 403, "InvalidSignatureException"),
    ] {
        let answer = ask.send(server.at).await;
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, Some(code)), "{answer:?}");
        assert!(answer.json()["Message"].is_string(), "{answer:?}");
    }
}

#[tokio::test]
async fn errors_of_the_backend_go_through() {
    let server = start(Limits::default()).await;
    for (operation, expected) in [
        ("CreateService", (400, "UnsupportedFeatureException")),
        ("DeleteCluster", (400, "ClusterNotFoundException")),
        ("StopTask", (500, "ServerException")),
        ("Nonsense", (400, "UnknownOperationException")),
        ("", (400, "UnknownOperationException")),
    ] {
        let answer = Ask::ecs(&target(operation), b"{}").send(server.at).await;
        assert_eq!(answer.error(), (expected.0, expected.1.to_owned()), "{operation}");
        assert_eq!(answer.header("x-amzn-requestid").map(str::len), Some(36));
    }
    let other = Ask::ecs("Route53AutoNaming_v20170314.ListServices", b"{}").send(server.at).await;
    assert_eq!(other.error(), (400, "UnknownOperationException".into()));
    let after_a_panic = Ask::ecs(&target("ListClusters"), b"{}").send(server.at).await;
    assert_eq!(after_a_panic.status, 200);
}

#[tokio::test]
async fn nobody_unknown_gets_in() {
    let server = start(Limits::default()).await;
    let list = target("ListClusters");
    let host = server.at;
    for (request, expected) in [
        (
            format!("POST / HTTP/1.1\r\nhost: {host}\r\nx-amz-target: {list}\r\ncontent-length: 2\r\n\r\n{{}}")
                .into_bytes(),
            "MissingAuthenticationTokenException",
        ),
        (format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes(), "MissingAuthenticationTokenException"),
        (format!("GET /health HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes(), "MissingAuthenticationTokenException"),
        (
            format!("POST / HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer x\r\ncontent-length: 0\r\n\r\n")
                .into_bytes(),
            "IncompleteSignatureException",
        ),
        (Ask { secret: "other", ..Ask::ecs(&list, b"{}") }.bytes(host), "InvalidSignatureException"),
        (Ask { signed_body: Some(b"{ }"), ..Ask::ecs(&list, b"{}") }.bytes(host), "InvalidSignatureException"),
        (Ask { service: "sts", ..Ask::ecs(&list, b"{}") }.bytes(host), "InvalidSignatureException"),
        (Ask { service: "ssm", ..Ask::ecs(&list, b"{}") }.bytes(host), "InvalidSignatureException"),
        (Ask::ecs("AmazonSSM.CreateActivation", b"{}").bytes(host), "InvalidSignatureException"),
        (
            String::from_utf8(Ask::ecs(&list, b"{}").bytes(host)).expect("text").replace(KEY, "AKIDOTHER").into_bytes(),
            "UnrecognizedClientException",
        ),
    ] {
        let answer = raw(host, &request).await;
        assert_eq!(answer.error(), (400, expected.to_owned()), "{}", String::from_utf8_lossy(&request));
        assert!(!answer.body.contains(SECRET));
    }
}

#[tokio::test]
async fn sts_says_who_one_is() {
    let server = start(Limits::default()).await;
    let form = b"Action=GetCallerIdentity&Version=2011-06-15";
    let answer = Ask::sts(form).send(server.at).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/xml")));
    assert!(answer.body.contains("<Account>123456789012</Account>"), "{answer:?}");
    assert!(answer.body.contains("<Arn>arn:aws:iam::123456789012:root</Arn>"), "{answer:?}");
    for (ask, status, code) in [
        (Ask { secret: "other", ..Ask::sts(form) }, 403, "SignatureDoesNotMatch"),
        (Ask { service: "ecs", ..Ask::sts(form) }, 403, "SignatureDoesNotMatch"),
        (Ask { service: "elasticloadbalancing", ..Ask::sts(form) }, 400, "UnknownOperation"),
        (Ask::sts(b"Action=AssumeRole"), 400, "InvalidAction"),
        (Ask::sts(b""), 400, "MissingAction"),
    ] {
        let answer = ask.send(server.at).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains(&format!("<Code>{code}</Code>")), "{answer:?}");
    }
    let unsigned = format!(
        "POST / HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n{}",
        server.at,
        form.len(),
        String::from_utf8_lossy(form)
    );
    let answer = raw(server.at, unsigned.as_bytes()).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("<Code>MissingAuthenticationToken</Code>"), "{answer:?}");
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let server = start(Limits { body_bytes: 1000, ..Limits::default() }).await;
    let list = target("ListClusters");
    let fits = Ask::ecs(&list, &[b' '; 1000]).send(server.at).await;
    assert_eq!(fits.status, 200);
    let announced = Ask::ecs(&list, &[b' '; 1001]).send(server.at).await;
    assert_eq!(announced.error(), (413, "RequestEntityTooLargeException".into()));
    assert_eq!(announced.header("connection"), Some("close"));
    // Larger than socket buffers, and from nobody: the answer arrives although the body was never wanted.
    let unsigned = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n{}", " ".repeat(3_000_000));
    assert_eq!(raw(server.at, unsigned.as_bytes()).await.error().1, "MissingAuthenticationTokenException");
    // Without a length in advance.
    let chunked = String::from_utf8(Ask::ecs(&list, b"").bytes(server.at)).expect("text");
    let chunked = chunked.replace("content-length: 0\r\n\r\n", "transfer-encoding: chunked\r\n\r\n");
    let chunked = format!("{chunked}400\r\n{}\r\n400\r\n{}\r\n0\r\n\r\n", " ".repeat(1024), " ".repeat(1024));
    assert_eq!(raw(server.at, chunked.as_bytes()).await.error(), (413, "RequestEntityTooLargeException".into()));
}

#[tokio::test]
async fn a_batch_of_log_events_may_be_larger_than_other_bodies() {
    let server = start(Limits { body_bytes: 1000, log_body_bytes: 2000, ..Limits::default() }).await;
    let body = vec![b' '; 2000];
    for (operation, expected) in [("PutLogEvents", 200), ("GetLogEvents", 413)] {
        let target = format!("Logs_20140328.{operation}");
        let ask = Ask { service: "logs", ..Ask::ecs(&target, &body) };
        assert_eq!(ask.send(server.at).await.status, expected, "{operation}");
    }
    let target = "Logs_20140328.PutLogEvents";
    let larger = Ask { service: "logs", ..Ask::ecs(target, &[b' '; 2001]) }.send(server.at).await;
    assert_eq!(larger.error(), (413, "RequestEntityTooLargeException".into()));
    // What CloudWatch takes at most, with every byte escaped, fits into the default.
    let message = "\u{1}".repeat((1 << 20) / 10_000 - 26);
    let event = json!({"timestamp": 1_800_000_000_000_i64, "message": message});
    let largest = json!({"logGroupName": "g".repeat(512), "logStreamName": "s".repeat(512), "logEvents": [event]});
    let fixed = largest.to_string().len() - event.to_string().len();
    assert!(fixed + (event.to_string().len() + 1) * 10_000 <= Limits::default().log_body_bytes);
}

#[tokio::test]
async fn slow_clients_do_not_stay() {
    let limits = Limits {
        head_timeout: Duration::from_millis(100),
        body_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start(limits).await;
    let whole = Ask::ecs(&target("ListClusters"), b"{\"a\":1}").bytes(server.at);
    let answer = raw(server.at, &whole[..whole.len() - 2]).await;
    assert_eq!(answer.error(), (408, "RequestTimeoutException".into()));
    let mut stream = TcpStream::connect(server.at).await.expect("connects");
    stream.write_all(b"POST / HTTP/1.1\r\nhost:").await.expect("sends");
    let mut rest = Vec::new();
    // Closed by the other side; what it says before is its own affair.
    let _ = within(stream.read_to_end(&mut rest)).await;
    let mut idle = TcpStream::connect(server.at).await.expect("connects");
    let _ = within(idle.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn connections_are_kept_and_limited() {
    let server = start(Limits { connections: 1, ..Limits::default() }).await;
    let request = Ask::ecs(&target("ListClusters"), b"{}").bytes(server.at);
    let mut first = TcpStream::connect(server.at).await.expect("connects");
    for _ in 0..3 {
        first.write_all(&request).await.expect("sends");
        assert_eq!(read(&mut first).await.status, 200);
    }
    let mut second = TcpStream::connect(server.at).await.expect("waits in the queue");
    second.write_all(&request).await.expect("sends");
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), second.peek(&mut byte)).await;
    assert!(early.is_err(), "answered beyond the limit");
    drop(first);
    assert_eq!(read(&mut second).await.status, 200);
}

#[tokio::test]
async fn rubbish_is_answered_or_closed() {
    let server = start(Limits::default()).await;
    for rubbish in [&b"\x16\x03\x01\x02\x00"[..], b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"\0\0\0\0\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.at).await.expect("connects");
        stream.write_all(rubbish).await.expect("sends");
        stream.shutdown().await.expect("ends");
        let mut rest = Vec::new();
        let _ = within(stream.read_to_end(&mut rest)).await;
    }
    assert_eq!(Ask::ecs(&target("ListClusters"), b"{}").send(server.at).await.status, 200);
}

#[tokio::test]
async fn a_stop_waits_for_what_is_under_way() {
    let server = start(Limits::default()).await;
    let request = Ask::ecs(&target("RunTask"), b"{}").bytes(server.at);
    let mut busy = TcpStream::connect(server.at).await.expect("connects");
    let _idle = TcpStream::connect(server.at).await.expect("connects");
    let list = Ask::ecs(&target("ListClusters"), b"{}").bytes(server.at);
    // An answer on the same connection shows that the server has it.
    busy.write_all(&list).await.expect("sends");
    assert_eq!(read(&mut busy).await.status, 200);
    busy.write_all(&request).await.expect("sends");
    within(server.begun.notified()).await;
    server.stop.send(()).expect("it runs");
    within(async {
        // Refused once the listener is gone, which is the first thing that a stop does.
        while TcpStream::connect(server.at).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.let_go.notify_one();
    assert_eq!(read(&mut busy).await.json()["operation"], "RunTask");
    within(server.ended).await.expect("ends");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let server = start(Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() }).await;
    let mut stuck = TcpStream::connect(server.at).await.expect("connects");
    stuck.write_all(&Ask::ecs(&target("RunTask"), b"{}").bytes(server.at)).await.expect("sends");
    within(server.begun.notified()).await;
    server.stop.send(()).expect("it runs");
    within(server.ended).await.expect("ends");
    let mut rest = Vec::new();
    let _ = within(stuck.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "it was never let go");
}
