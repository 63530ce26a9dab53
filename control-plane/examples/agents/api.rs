//! A client of the API: one kept connection, requests signed with the root access key.

use anyhow::{Context as _, Result, bail, ensure};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use longshore_control::start::CREDENTIALS_FILE;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;

/// The region of everything here.
const REGION: &str = "bench";
/// The longest that an answer may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection.
pub(crate) struct Api {
    host: String,
    credentials: Credentials,
    sender: SendRequest<Full<Bytes>>,
}

impl Api {
    /// Connects, with the root access key that the control plane keeps in its data directory.
    pub(crate) async fn connect(port: u16, dir: &Path) -> Result<Self> {
        let path = dir.join(CREDENTIALS_FILE);
        let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
            line.map(|value| value.trim().to_owned()).with_context(|| format!("{} has no {name}", path.display()))
        };
        let credentials = Credentials::new(
            value("aws_access_key_id")?,
            value("aws_secret_access_key")?,
            None,
            None,
            "the control plane's data directory",
        );
        Self::with(port, credentials).await
    }

    /// Another connection, with the same key.
    pub(crate) async fn another(&self, port: u16) -> Result<Self> {
        Self::with(port, self.credentials.clone()).await
    }

    async fn with(port: u16, credentials: Credentials) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.context("could not connect to the API")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { host: format!("127.0.0.1:{port}"), credentials, sender })
    }

    /// Calls an operation, named as in the header `X-Amz-Target`.
    pub(crate) async fn call(&mut self, target: &str, body: &Value) -> Result<Value> {
        let request = self.signed(target, body.to_string())?;
        let answered = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        let answered = tokio::time::timeout(LIMIT, answered).await.with_context(|| format!("no answer to {target}"))?;
        let (status, body) = answered.with_context(|| format!("{target} was not answered"))?;
        ensure!(status.is_success(), "{target} was refused with {status}: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }

    fn signed(&self, target: &str, body: String) -> Result<Request<Full<Bytes>>> {
        let service = match target.split_once('.') {
            Some(("AmazonSSM", _)) => "ssm",
            Some(("AmazonEC2ContainerServiceV20141113", _)) => "ecs",
            Some(_) | None => bail!("{target} is no operation"),
        };
        let request = Request::post("/").header("host", &self.host);
        let mut request = request
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            .body(Bytes::from(body))?;
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let uri = format!("http://{}/", self.host);
        let signable = SignableRequest::new("POST", uri, headers, SignableBody::Bytes(request.body()))?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        Ok(request.map(Full::new))
    }
}
