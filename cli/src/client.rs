//! One client of the public API: signs, sends, reads the answer or the error.
//!
//! Owns the wire: JSON 1.1 over HTTP with SigV4, retries of calls that are safe to repeat, and telling the
//! difference between "not reached", "refused" and "answered with nonsense". Never knows an operation's
//! meaning; `api` and the commands do. Speaks blocking HTTP: the command does one thing at a time.

use crate::settings::Settings;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const JSON: &str = "application/x-amz-json-1.1";
/// An answer of more than this is a fault, not an answer. 1,000 described tasks are about 3 MiB.
const LARGEST_ANSWER_BYTES: u64 = 64 << 20;
/// Waits before the second and third try.
const RETRY_WAITS_MS: [u64; 2] = [200, 800];

/// The services of the API that this command speaks to, all at one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Clusters, definitions, tasks, hosts.
    Ecs,
    /// Join tokens, which are SSM activations.
    Ssm,
    /// What containers printed, by the operations of CloudWatch Logs.
    Logs,
    /// Tasks by the clock.
    Scheduler,
    /// Rules and events, by the operations of EventBridge.
    Events,
}

impl Service {
    fn scope(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Ssm => "ssm",
            Self::Logs => "logs",
            Self::Scheduler => "scheduler",
            Self::Events => "events",
        }
    }

    /// What stands before the operation's name where that is in a header.
    fn target(self, operation: &str) -> String {
        match self {
            Self::Ecs => format!("AmazonEC2ContainerServiceV20141113.{operation}"),
            Self::Ssm => format!("AmazonSSM.{operation}"),
            Self::Logs => format!("Logs_20140328.{operation}"),
            Self::Scheduler => format!("AWSScheduler.{operation}"),
            Self::Events => format!("AWSEvents.{operation}"),
        }
    }
}

/// Whether a call may be sent again after a failure that leaves open whether it was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It reads, or carries a client token, or asking twice is asking once.
    Safe,
    /// Twice would be two.
    Never,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No answer came.
    #[error("could not reach the control plane at {endpoint} for {operation}")]
    Unreachable {
        /// The operation.
        operation: String,
        /// Where.
        endpoint: String,
        /// What chose that address.
        chosen_by: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The control plane said no.
    #[error("{operation} was refused: {message} ({code})")]
    Refused {
        /// The operation.
        operation: String,
        /// The HTTP status.
        status: u16,
        /// The error's name, as `ClusterNotFoundException`.
        code: String,
        /// Its text.
        message: String,
        /// How far the control plane's clock is ahead of ours, when it said.
        clock_ahead_secs: Option<i64>,
    },
    /// It answered something that is no ECS answer.
    #[error("the answer of {endpoint} to {operation} (HTTP {status}) is not one of the ECS API")]
    Nonsense {
        /// The operation.
        operation: String,
        /// Who answered.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// What did not parse, if the status was fine.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The request could not be signed.
    #[error("could not sign {operation}")]
    Sign {
        /// The operation.
        operation: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The request could not be written as JSON.
    #[error("could not write {operation} as JSON")]
    Write {
        /// The operation.
        operation: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl CallError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub(crate) fn passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, code, .. } => {
                matches!(status, 429 | 500 | 502 | 503 | 504)
                    || code.starts_with("Throttling")
                    || code.starts_with("TooManyRequests")
            }
            Self::Nonsense { status, .. } => matches!(status, 502..=504),
            Self::Sign { .. } | Self::Write { .. } => false,
        }
    }

    /// The error's name, when the control plane gave one.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Unreachable { .. } | Self::Nonsense { .. } | Self::Sign { .. } | Self::Write { .. } => None,
        }
    }

    /// What a person can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { endpoint, chosen_by, .. } => Some(format!(
                "{endpoint} was chosen by {chosen_by}. Is longshore-control running there \
                 (systemctl status longshore-control)? Another address: --endpoint-url or AWS_ENDPOINT_URL_ECS."
            )),
            Self::Nonsense { .. } => {
                Some("Is that address the control plane's API port, and not the agents' or a proxy's?".to_owned())
            }
            // ECS gives this the same code as every wrong parameter.
            Self::Refused { message, .. } if message.starts_with("No Container Instances were found") => Some(
                "`longshore host join-token create` makes a token with which a machine can join; `longshore host list` \
                 shows those that have."
                    .to_owned(),
            ),
            Self::Refused { code, clock_ahead_secs, .. } => refused_hint(code, *clock_ahead_secs),
            Self::Sign { .. } | Self::Write { .. } => None,
        }
    }
}

/// A skew that the control plane may refuse (it allows 5 minutes).
const SKEW_SECS: i64 = 240;

fn refused_hint(code: &str, clock_ahead_secs: Option<i64>) -> Option<String> {
    let text = match code {
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired" => match clock_ahead_secs {
            Some(ahead) if ahead.abs() > SKEW_SECS => {
                let (secs, way) = (ahead.abs(), if ahead > 0 { "behind" } else { "ahead of" });
                return Some(format!("This machine's clock is {secs} s {way} the control plane's; set it right."));
            }
            Some(_) | None => "Is the secret access key the one of this control plane?",
        },
        "UnrecognizedClientException" | "InvalidClientTokenId" => {
            "This control plane does not know the access key. Its own first key is in `root-credentials` in its data \
             directory; another profile: --profile or AWS_PROFILE."
        }
        "MissingAuthenticationTokenException" => "A proxy on the way may have removed the Authorization header.",
        "AccessDeniedException" => "The access key is known but may not do this.",
        "ClusterNotFoundException" => {
            "`longshore cluster list` shows the clusters of this region; `longshore cluster create NAME` makes one."
        }
        "UnsupportedFeatureException" => {
            "This version of Longshore does not do that yet; docs/ecs-compatibility.md lists what it does."
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// Why there is no client. Exit status 3.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The bundle could not be read.
    #[error("could not read the certificates in {path} (AWS_CA_BUNDLE, `ca_bundle`)")]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It has no certificates that can be read.
    #[error("{path} holds no certificate in PEM form (AWS_CA_BUNDLE, `ca_bundle`)")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// The proxy's address cannot be used. It is not shown, as it may hold a password.
    #[error("{variable} does not hold a proxy's address, as in http://proxy:3128")]
    Proxy {
        /// The variable that named it.
        variable: &'static str,
    },
}

/// How the control plane is reached for a stream.
pub(crate) struct Line<'a> {
    /// Its address, without a trailing slash.
    pub(crate) endpoint: &'a str,
    /// For https: who is trusted, DER.
    pub(crate) trusted: Vec<Vec<u8>>,
    /// The variable that says that a proxy is to be asked.
    pub(crate) proxied_by: Option<&'static str>,
    /// Longest wait for a connection.
    pub(crate) timeout: Duration,
}

/// A request, but for its signature.
struct Ask<'a> {
    service: Service,
    region: &'a str,
    operation: &'a str,
    method: &'a str,
    /// With its query, encoded.
    path: &'a str,
    headers: Vec<(&'static str, &'a str)>,
    /// Absent for methods that have none.
    body: Option<&'a [u8]>,
}

/// The client.
pub(crate) struct Client {
    agent: ureq::Agent,
    endpoint: String,
    endpoint_source: String,
    region: String,
    credentials: Credentials,
    trusted: Vec<ureq::tls::Certificate<'static>>,
    proxied_by: Option<&'static str>,
    timeout: Duration,
    /// The wall clock, for the signature's date.
    now: fn() -> SystemTime,
}

impl Client {
    /// A client that works as `settings` say. Sends nothing yet.
    pub(crate) fn new(settings: &Settings, now: fn() -> SystemTime) -> Result<Self, ClientError> {
        let proxy = settings
            .proxy
            .as_ref()
            .map(|proxy| ureq::Proxy::new(&proxy.url).map_err(|_| ClientError::Proxy { variable: proxy.source }));
        let proxy = proxy.transpose()?;
        let trusted = trusted(settings)?;
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::from(trusted.clone()))
            .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            // Chosen by `settings`; what ureq would choose by itself goes by other rules.
            .proxy(proxy)
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(settings.timeout.min(Duration::from_secs(5))))
            .timeout_recv_response(Some(settings.timeout))
            .timeout_recv_body(Some(settings.timeout))
            .build()
            .new_agent();
        let keys = &settings.keys;
        Ok(Self {
            agent,
            endpoint: settings.endpoint.value.clone(),
            endpoint_source: settings.endpoint.source.clone(),
            region: settings.region.value.clone(),
            trusted,
            proxied_by: settings.proxy.as_ref().map(|proxy| proxy.source),
            timeout: settings.timeout,
            credentials: Credentials::new(&keys.id, &keys.secret, keys.session_token.clone(), None, "longshore"),
            now,
        })
    }

    /// Calls `operation` with `input` and reads its output. Repeats what is safe to repeat up to two times.
    pub(crate) fn call<I: Serialize, O: DeserializeOwned>(
        &self,
        service: Service,
        operation: &str,
        repeat: Repeat,
        input: &I,
    ) -> Result<O, CallError> {
        self.call_in(&self.region, service, operation, repeat, input)
    }

    /// Where streams are opened that are no calls.
    pub(crate) fn line(&self) -> Line<'_> {
        Line {
            endpoint: &self.endpoint,
            trusted: self.trusted.iter().map(|certificate| certificate.der().to_vec()).collect(),
            proxied_by: self.proxied_by,
            timeout: self.timeout,
        }
    }

    /// The same in another region than that of the settings.
    pub(crate) fn call_in<I: Serialize, O: DeserializeOwned>(
        &self,
        region: &str,
        service: Service,
        operation: &str,
        repeat: Repeat,
        input: &I,
    ) -> Result<O, CallError> {
        let body = written(operation, input)?;
        let target = service.target(operation);
        let headers = vec![("content-type", JSON), ("x-amz-target", target.as_str())];
        let ask = Ask { service, region, operation, method: "POST", path: "/", headers, body: Some(&body) };
        self.repeated(&ask, repeat)
    }

    /// Calls an operation that is in the method and the path, the latter with its query and encoded.
    pub(crate) fn rest<I: Serialize, O: DeserializeOwned>(
        &self,
        service: Service,
        operation: &str,
        repeat: Repeat,
        method: &str,
        path: &str,
        input: Option<&I>,
    ) -> Result<O, CallError> {
        let body = input.map(|input| written(operation, input)).transpose()?;
        let headers = body.iter().map(|_| ("content-type", "application/json")).collect();
        let ask = Ask { service, region: &self.region, operation, method, path, headers, body: body.as_deref() };
        self.repeated(&ask, repeat)
    }

    fn repeated<O: DeserializeOwned>(&self, ask: &Ask<'_>, repeat: Repeat) -> Result<O, CallError> {
        let mut waits = RETRY_WAITS_MS.iter();
        loop {
            let error = match self.send(ask) {
                Ok(output) => return Ok(output),
                Err(error) => error,
            };
            let wait = waits.next().filter(|_| repeat == Repeat::Safe && error.passing());
            let Some(wait_ms) = wait else { return Err(error) };
            // Up to a half more, so that many clients of a control plane that restarts do not come back at once.
            let jitter_ms = rand::random_range(0..=wait_ms / 2);
            std::thread::sleep(Duration::from_millis(wait_ms + jitter_ms));
        }
    }

    fn send<O: DeserializeOwned>(&self, ask: &Ask<'_>) -> Result<O, CallError> {
        let Ask { operation, method, path, .. } = *ask;
        let url = format!("{}{path}", self.endpoint);
        let mut request = http::Request::builder().method(method).uri(&url);
        for (name, value) in &ask.headers {
            request = request.header(*name, *value);
        }
        for (name, value) in self.signature(ask, &url)? {
            request = request.header(name, value);
        }
        let built = |error: http::Error| CallError::Sign { operation: operation.to_owned(), source: Box::new(error) };
        let answer = match ask.body {
            Some(body) => self.agent.run(request.body(body).map_err(built)?),
            None => self.agent.run(request.body(()).map_err(built)?),
        };
        let mut answer = answer.map_err(|source| self.unreachable(operation, source))?;
        let status = answer.status().as_u16();
        let clock_ahead_secs = self.clock_ahead(answer.headers());
        let text = answer
            .body_mut()
            .with_config()
            .limit(LARGEST_ANSWER_BYTES)
            .read_to_vec()
            .map_err(|source| self.unreachable(operation, source))?;
        let nonsense = |source| CallError::Nonsense {
            operation: operation.to_owned(),
            endpoint: self.endpoint.clone(),
            status,
            source,
        };
        if status == 200 {
            let text: &[u8] = if text.is_empty() { b"{}" } else { &text };
            return serde_json::from_slice(text).map_err(|source| nonsense(Some(source)));
        }
        let (code, message) = refusal(&text).ok_or_else(|| nonsense(None))?;
        Err(CallError::Refused { operation: operation.to_owned(), status, code, message, clock_ahead_secs })
    }

    /// The headers that sign the request.
    fn signature(&self, ask: &Ask<'_>, url: &str) -> Result<Vec<(String, String)>, CallError> {
        fn fault(operation: &str, source: impl std::error::Error + Send + Sync + 'static) -> CallError {
            CallError::Sign { operation: operation.to_owned(), source: Box::new(source) }
        }
        let Ask { service, region, operation, .. } = *ask;
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service.scope())
            .time((self.now)())
            .settings(SigningSettings::default())
            .build()
            .map_err(|e| fault(operation, e))?
            .into();
        let body = SignableBody::Bytes(ask.body.unwrap_or_default());
        let request = SignableRequest::new(ask.method, url, ask.headers.iter().copied(), body)
            .map_err(|e| fault(operation, e))?;
        let (signed, _) = sign(request, &params).map_err(|e| fault(operation, e))?.into_parts();
        Ok(signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn unreachable(&self, operation: &str, source: ureq::Error) -> CallError {
        CallError::Unreachable {
            operation: operation.to_owned(),
            endpoint: self.endpoint.clone(),
            chosen_by: self.endpoint_source.clone(),
            source: Box::new(source),
        }
    }

    /// The control plane's clock minus ours, in seconds, by the `Date` of its answer.
    fn clock_ahead(&self, headers: &http::HeaderMap) -> Option<i64> {
        let date = headers.get(http::header::DATE)?.to_str().ok()?;
        let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second();
        let ours = jiff::Timestamp::try_from((self.now)()).ok()?.as_second();
        Some(theirs - ours)
    }
}

fn written(operation: &str, input: &impl Serialize) -> Result<Vec<u8>, CallError> {
    serde_json::to_vec(input).map_err(|source| CallError::Write { operation: operation.to_owned(), source })
}

/// A text for a path or a query: every byte that is not unreserved is escaped.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let one = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

/// The certificates to trust for https: the configured bundle, else the system's. None are needed for http.
fn trusted(settings: &Settings) -> Result<Vec<ureq::tls::Certificate<'static>>, ClientError> {
    if !settings.endpoint.value.starts_with("https:") {
        return Ok(Vec::new());
    }
    let path = settings.ca_bundle.clone().unwrap_or_else(|| PathBuf::from("/etc/ssl/certs/ca-certificates.crt"));
    let pem = std::fs::read(&path).map_err(|source| ClientError::Bundle { path: path.clone(), source })?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
            Ok(_) | Err(_) => None,
        })
        .collect();
    if certificates.is_empty() { Err(ClientError::Empty { path }) } else { Ok(certificates) }
}

/// The code and text of an error body, as AWS writes them: `{"__type": "ns#Code:url", "message" or "Message"}`.
pub(crate) fn refusal(body: &[u8]) -> Option<(String, String)> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |key: &str| body.get(key).and_then(serde_json::Value::as_str);
    let kind = text("__type")?;
    let code = kind.rsplit('#').next().and_then(|k| k.split(':').next()).unwrap_or(kind);
    let message = text("message").or_else(|| text("Message")).unwrap_or("no reason was given");
    Some((code.to_owned(), message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_are_read_in_every_form() {
        for body in [
            r#"{"__type":"ClientException","message":"no"}"#,
            r#"{"__type":"com.amazonaws.ecs#ClientException","Message":"no"}"#,
            r#"{"__type":"ClientException:http://internal.amazon.com/","message":"no"}"#,
        ] {
            assert_eq!(refusal(body.as_bytes()), Some(("ClientException".to_owned(), "no".to_owned())));
        }
        assert_eq!(refusal(b"<html>"), None);
        assert_eq!(refusal(br#"{"error":"x"}"#), None);
    }

    #[test]
    fn a_wrong_clock_is_told_from_a_wrong_key() {
        let hint = |ahead| refused_hint("InvalidSignatureException", ahead).expect("a hint");
        assert!(hint(Some(900)).contains("900 s behind"));
        assert!(hint(Some(-900)).contains("900 s ahead of"));
        assert!(hint(Some(3)).contains("secret access key"));
        assert!(hint(None).contains("secret access key"));
    }
}
