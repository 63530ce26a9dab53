//! Brings events out of this process: to webhooks over HTTP, and to log groups.
//!
//! It owns connections to strangers, one for each request, and what their answers mean. When and how often something is
//! tried is the core's. Nothing of a request but its address is ever logged: the rest may be secret.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use longshore_core::{Courier, LogGroup, Undelivered, WebhookRequest};
use longshore_ecs_api::logs::{InputLogEvent, LogStreamRequest, LogsOperation, PutLogEventsRequest};
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_logs::{Logs, MAX_MESSAGE_BYTES, Scope};
use longshore_model::{AccountId, Timestamp};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where distributions keep the certificates that they trust, and what names another file (as OpenSSL has it).
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
const BUNDLE_ENV: &str = "SSL_CERT_FILE";

/// The courier of this control plane.
#[derive(Clone)]
pub struct Outside {
    logs: Logs,
    account: AccountId,
}

impl Outside {
    /// A courier that writes to `logs`.
    #[must_use]
    pub const fn new(logs: Logs, account: AccountId) -> Self {
        Self { logs, account }
    }
}

impl Courier for Outside {
    async fn post(&self, request: WebhookRequest) -> Result<(), Undelivered> {
        let (uri, request) = translated(request).map_err(Undelivered::Final)?;
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Undelivered::Passing(format!("could not {what} {host}:{port}: {error}"))
        };
        let stream = TcpStream::connect((host, port)).await.map_err(|error| failed("connect to", &error))?;
        if !secure {
            return exchange(stream, request).await;
        }
        let config = tokio::task::spawn_blocking(tls).await.map_err(|error| failed("reach", &error))?;
        let connector = TlsConnector::from(config.map_err(Undelivered::Passing)?);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| Undelivered::Final(error.to_string()))?;
        let stream = connector.connect(name, stream).await.map_err(|error| failed("open TLS to", &error))?;
        exchange(stream, request).await
    }

    async fn log(&self, to: LogGroup, events: Vec<(Timestamp, String)>) -> Result<(), Undelivered> {
        let mut latest = i64::MIN;
        let events = events.into_iter().map(|(at, mut message)| {
            // A batch must be in the order of its times, whatever was done to the clock.
            latest = latest.max(at.millis());
            let end = (0..=MAX_MESSAGE_BYTES.min(message.len())).rev().find(|at| message.is_char_boundary(*at));
            message.truncate(end.unwrap_or_default());
            InputLogEvent { timestamp: Some(latest), message: Some(message) }
        });
        let put = PutLogEventsRequest {
            log_group_name: Some(to.group.clone()),
            log_stream_name: Some(to.stream.clone()),
            log_events: Some(events.collect()),
            ..PutLogEventsRequest::default()
        };
        let scope = Scope { region: to.region, account: self.account.clone() };
        match self.call(&scope, LogsOperation::PutLogEvents, &put).await {
            Err(error) if error.code == ErrorCode::ResourceNotFound => {}
            other => return other.map_err(refused),
        }
        let stream = LogStreamRequest { log_group_name: Some(to.group), log_stream_name: Some(to.stream) };
        match self.call(&scope, LogsOperation::CreateLogStream, &stream).await {
            Err(error) if error.code != ErrorCode::ResourceAlreadyExists => return Err(refused(error)),
            Ok(()) | Err(_) => {}
        }
        self.call(&scope, LogsOperation::PutLogEvents, &put).await.map_err(refused)
    }
}

impl Outside {
    async fn call<R: Serialize + Sync>(&self, scope: &Scope, op: LogsOperation, request: &R) -> Result<(), ApiError> {
        let body = serde_json::to_vec(request).map_err(|error| ApiError::server(error.to_string()))?;
        self.logs.call(scope.clone(), op, body.into()).await.map(drop)
    }
}

fn refused(error: ApiError) -> Undelivered {
    match error.status() {
        500.. => Undelivered::Passing(error.message),
        _ => Undelivered::Final(error.message),
    }
}

/// The request as it is sent, and the address that it goes to.
fn translated(request: WebhookRequest) -> Result<(Uri, Request<Full<Bytes>>), String> {
    let wrong = |what: &str| format!("{what} of the webhook cannot be used");
    let uri: Uri = request.url.parse().map_err(|_| wrong("the address"))?;
    let authority = uri.authority().map(ToString::to_string).ok_or_else(|| wrong("the address"))?;
    let path = if uri.path().is_empty() { "/" } else { uri.path() };
    let query = request.query.expose_secret();
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| wrong("the method"))?;
    let mut built = Request::builder().method(method).uri(target).header(header::HOST, authority);
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("a header"))?;
        let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| wrong("a header"))?;
        value.set_sensitive(true);
        built = built.header(name, value);
    }
    let built = built.body(Full::new(Bytes::from(request.body))).map_err(|_| wrong("the request"))?;
    Ok((uri, built))
}

/// Sends a request over a connection of its own, and reads the head of the answer.
async fn exchange<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(), Undelivered> {
    let failed = |error: hyper::Error| Undelivered::Passing(format!("the webhook did not answer: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let answer = sender.send_request(request);
    tokio::pin!(connection, answer);
    let response = tokio::select! {
        // The connection does the work of the request, and may end with its answer.
        response = &mut answer => response,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    };
    let status = response.map_err(failed)?.status();
    match status.as_u16() {
        200..=299 => Ok(()),
        // What EventBridge tries again.
        401 | 407 | 409 | 425 | 429 | 500.. => Err(Undelivered::Passing(format!("the webhook answered {status}"))),
        _ => Err(Undelivered::Final(format!("the webhook answered {status}"))),
    }
}

/// Whom to trust: the machine's own certificates. Read for each request, which is little beside its handshake, so that
/// they may change.
fn tls() -> Result<Arc<ClientConfig>, String> {
    let named = std::env::var_os(BUNDLE_ENV).map(PathBuf::from);
    let all = named.into_iter().chain(BUNDLES.iter().map(PathBuf::from));
    let bundle = all.into_iter().find(|path| path.exists());
    let bundle =
        bundle.ok_or_else(|| format!("no file of trusted certificates was found; {BUNDLE_ENV} can name one"))?;
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(&bundle);
    let read = read.map_err(|error| format!("could not read the certificates in {}: {error}", bundle.display()))?;
    roots.add_parsable_certificates(read.filter_map(Result::ok));
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
