//! Files with variables from web servers: fetched anew for each container, and kept nowhere.
//!
//! A URL may hold a password, and its query a signature: no error and no log has either. The addresses that a name
//! stands for are looked at before anything is sent, and those are connected to: what the host's cloud tells it alone
//! (link-local addresses) is nobody else's. Redirects are not followed, so nothing leads there either.

use super::{MAX_BYTES, parse, refusal};
use crate::session::backoff::Backoff;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use longshore_model::EnvVar;
use longshore_plan::Failure;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

/// How long a file is tried for, as ECS's agent does.
const DEADLINE: Duration = Duration::from_secs(30);
/// Of which one attempt takes at most.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Waits between attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(5));
/// Where distributions keep the certificates that they trust, in one file.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Files of web servers.
#[derive(Debug, Clone)]
pub(super) struct Web {
    /// A file with certificates that count besides the system's.
    pub(super) ca: Option<PathBuf>,
}

/// Why an attempt brought nothing.
#[derive(Debug)]
enum FetchError {
    /// The next one may.
    Passing(String),
    /// None will.
    Lasting(String),
}

/// Whether this is a source that is fetched.
pub(super) fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// A source.
struct Url {
    tls: bool,
    /// As URLs have it: an IPv6 address is in brackets.
    host: String,
    port: u16,
    /// With the query.
    target: String,
    authorization: Option<String>,
    /// What people are shown.
    shown: String,
}

impl Url {
    fn parse(source: &str) -> Option<Self> {
        let uri: Uri = source.parse().ok()?;
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let (authority, path) = (uri.authority()?, uri.path());
        let host = uri.host().filter(|host| !host.is_empty())?.to_owned();
        let given = authority.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        let user = authority.as_str().rsplit_once('@').map(|(user, _)| decoded(user));
        Some(Self {
            tls,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            authorization: user.map(|user| format!("Basic {}", BASE64_STANDARD.encode(user))),
            shown: format!("{}://{host}{given}{path}", if tls { "https" } else { "http" }),
            host,
        })
    }

    /// The host without brackets.
    fn bare(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    fn host_header(&self) -> String {
        if self.port == if self.tls { 443 } else { 80 } {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A text with `%41` for `A`; what is no such thing stays as it is.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut all, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(i) {
        let hex = text.get(i + 1..i + 3).filter(|_| *byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        all.push(hex.unwrap_or(*byte));
        i += if hex.is_some() { 3 } else { 1 };
    }
    all
}

impl Web {
    /// The variables of one.
    pub(super) async fn read(&self, source: &str) -> Result<Vec<EnvVar>, Failure> {
        // What cannot be read as one is not shown: it may hold anything.
        let Some(url) = Url::parse(source) else {
            return Err(Failure::Lasting(refusal("of the task", "its value is not a URL that can be fetched")));
        };
        let fail = |why: &str| Failure::Lasting(refusal(&url.shown, why));
        let bytes = self.fetch(&url).await.map_err(|why| fail(&why))?;
        let text = String::from_utf8(bytes).map_err(|_| fail("it is not UTF-8"))?;
        parse(&text).map_err(|why| fail(&why))
    }

    /// Tries until the deadline.
    async fn fetch(&self, url: &Url) -> Result<Vec<u8>, String> {
        let end = Instant::now() + DEADLINE;
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        for tries in 1.. {
            let limit = (Instant::now() + ATTEMPT).min(end);
            let why = match tokio::time::timeout_at(limit, self.attempt(url)).await {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(FetchError::Lasting(why))) => return Err(why),
                Ok(Err(FetchError::Passing(why))) => why,
                Err(_) => format!("there was no whole answer within {} s", ATTEMPT.as_secs()),
            };
            let wait = backoff.next();
            if Instant::now() + wait >= end {
                return Err(format!("{why} ({tries} attempts within {} s)", DEADLINE.as_secs()));
            }
            tokio::time::sleep(wait).await;
        }
        unreachable!("the loop ends with the deadline")
    }

    async fn attempt(&self, url: &Url) -> Result<Vec<u8>, FetchError> {
        let addresses = resolve(url).await?;
        let mut refused = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) if url.tls => return get(self.secure(url, stream).await?, url).await,
                Ok(stream) => return get(stream, url).await,
                Err(error) => refused = Some(error),
            }
        }
        Err(FetchError::Passing(match refused {
            Some(error) => format!("could not connect: {error}"),
            None => format!("the name {} has no address", url.bare()),
        }))
    }

    async fn secure(&self, url: &Url, stream: TcpStream) -> Result<TlsStream<TcpStream>, FetchError> {
        let lasting = |why: String| FetchError::Lasting(why);
        let name = ServerName::try_from(url.bare().to_owned())
            .map_err(|_| lasting(format!("{} is no name that a certificate can have", url.bare())))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| lasting(format!("TLS does not work on this host: {error}")))?
            .with_root_certificates(self.trusted().await.map_err(lasting)?)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match tls {
                Some(rustls::Error::InvalidCertificate(why)) => lasting(format!(
                    "the server's certificate does not count here: {why}; environment_file_ca in this host's \
                     configuration names a file with more authorities to trust"
                )),
                Some(_) | None => FetchError::Passing(format!("no TLS connection: {error}")),
            }
        })
    }

    /// The system's certificates and the host's own, as they are now.
    async fn trusted(&self) -> Result<RootCertStore, String> {
        let mut store = RootCertStore::empty();
        let system = SYSTEM.iter().map(Path::new).find(|path| path.exists());
        for path in system.into_iter().chain(self.ca.as_deref()) {
            let shown = path.display();
            let pem = tokio::fs::read(path).await.map_err(|error| format!("could not read {shown}: {error}"))?;
            let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
            let (added, _) = store.add_parsable_certificates(certificates);
            if added == 0 {
                return Err(format!("{shown} on this host holds no certificate in PEM form"));
            }
        }
        Ok(store)
    }
}

/// The addresses of the host, none of which may be link-local.
async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, FetchError> {
    let found = tokio::net::lookup_host((url.bare(), url.port)).await;
    let found = found.map_err(|error| FetchError::Passing(format!("could not resolve {}: {error}", url.bare())))?;
    let all: Vec<SocketAddr> = found.collect();
    match all.iter().find(|address| is_of_the_cloud(address.ip())) {
        Some(address) => {
            let ip = address.ip();
            Err(FetchError::Lasting(format!("{ip} is a link-local address, which is not fetched from")))
        }
        None => Ok(all),
    }
}

/// Where a cloud tells a host about itself, with its credentials.
fn is_of_the_cloud(ip: IpAddr) -> bool {
    /// As EC2 has it.
    const METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => {
            let inside = ip.to_ipv4_mapped().or(match ip.segments() {
                // What a network with IPv6 alone reaches IPv4 by.
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
                _ => None,
            });
            ip.is_unicast_link_local() || ip == METADATA6 || inside.is_some_and(|ip| ip.is_link_local())
        }
    }
}

/// GETs the file over a connection.
async fn get(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, url: &Url) -> Result<Vec<u8>, FetchError> {
    let broken = |error: &hyper::Error| {
        // The first text says that it is about a connection, and the next what.
        let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        FetchError::Passing(format!("the connection broke off: {why}"))
    };
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| broken(&error))?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut request = Request::get(&url.target)
        .header(header::HOST, url.host_header())
        .header(header::ACCEPT, "*/*")
        .header(header::USER_AGENT, concat!("longshore-agent/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = &url.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let odd = |_| FetchError::Lasting("it cannot be asked for".to_owned());
    let request = request.body(Empty::<Bytes>::new()).map_err(odd)?;
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = answer.status();
    let why = || format!("the server answered {status}");
    match status {
        StatusCode::OK => {}
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => return Err(FetchError::Passing(why())),
        _ if status.is_server_error() => return Err(FetchError::Passing(why())),
        _ if status.is_redirection() => {
            return Err(FetchError::Lasting(format!("{}, and redirects are not followed", why())));
        }
        _ => return Err(FetchError::Lasting(why())),
    }
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if bytes.len() as u64 > MAX_BYTES {
            return Err(FetchError::Lasting(format!("it is larger than {} KiB", MAX_BYTES >> 10)));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A server that gives these answers, one a connection, and the requests that it got.
    async fn serve(answers: &[&str]) -> (SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut answers: VecDeque<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let server = tokio::spawn(async move {
            let mut requests = Vec::new();
            while let Some(answer) = answers.pop_front() {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.expect("a request"));
                }
                requests.push(String::from_utf8(request).expect("text"));
                // A client that has heard enough goes away.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            requests
        });
        (address, server)
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_file_is_fetched_again_after_what_may_pass_and_without_showing_secrets() {
        let web = Web { ca: None };
        let fine = answer("200 OK", "A=1\n");
        let (at, server) = serve(&[&answer("503 Service Unavailable", ""), "HTTP/1.1 200 OK\r\n", &fine]).await;
        let found = web.read(&format!("http://user:p%40ss@{at}/dir/a.env?sign=x")).await.expect("fetched");
        assert_eq!(found, [EnvVar { name: "A".into(), value: "1".into() }]);
        let requests = server.await.expect("it ended");
        let wanted = format!("Basic {}", BASE64_STANDARD.encode("user:p@ss"));
        assert!(requests[2].starts_with("GET /dir/a.env?sign=x HTTP/1.1\r\n"), "{requests:?}");
        assert!(requests[2].contains(&wanted) && requests[2].contains(&format!("host: {at}\r\n")), "{requests:?}");

        let large = "x".repeat(300 << 10);
        for (answer, why) in [
            (answer("404 Not Found", "secret"), "the server answered 404 Not Found"),
            (answer("204 No Content", ""), "the server answered 204 No Content"),
            ("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n".into(), "redirects are not followed"),
            (answer("200 OK", &large), "it is larger than 256 KiB"),
            (answer("200 OK", "A=\0secret"), "line 1 has the character NUL"),
        ] {
            let (at, _server) = serve(&[&answer]).await;
            let failure = web.read(&format!("http://me:secret@{at}/a.env?t=secret")).await.expect_err("refused");
            let Failure::Lasting(text) = failure else { panic!("{failure:?}") };
            let begins = format!("ResourceInitializationError: environment file http://{at}/a.env: ");
            assert!(text.starts_with(&begins) && text.contains(why) && !text.contains("secret"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_answer_is_given_up_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let began = Instant::now();
        let failure = Web { ca: None }.read(&format!("http://{at}/a.env")).await.expect_err("stalled");
        assert!(failure.text().contains("no whole answer within 10 s (3 attempts within 30 s)"), "{failure:?}");
        assert!(began.elapsed() <= DEADLINE, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn link_local_addresses_are_not_asked() {
        for (host, local) in [
            ("169.254.169.254", true),
            ("[fe80::1]", true),
            ("[::ffff:169.254.169.254]", true),
            ("[64:ff9b::a9fe:a9fe]", true),
            ("[fd00:ec2::254]", true),
            // Other ways to write it, which the resolver knows.
            ("2852039166", true),
            ("0xa9fea9fe", true),
            ("127.0.0.1", false),
            ("[fd00::1]", false),
        ] {
            let url = Url::parse(&format!("http://{host}/a.env")).expect(host);
            let found = resolve(&url).await;
            assert_eq!(matches!(found, Err(FetchError::Lasting(_))), local, "{host}: {found:?}");
        }
        let text = Web { ca: None }.read("http://x:y@[/a.env?secret").await.expect_err("refused");
        assert!(!text.text().contains("secret"), "{text:?}");
    }
}
