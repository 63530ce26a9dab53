//! A tiny ECS endpoint in this process: verifies each request's signature from the bytes on the wire, and
//! answers what the test scripted.
//!
//! The verification is written from AWS's description of Signature Version 4, not with the library that the
//! command signs with, so that both would have to be wrong in the same way.

use aws_lc_rs::{digest, hmac};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

pub(crate) const KEY_ID: &str = "AKIDEXAMPLE0000000001";
pub(crate) const SECRET: &str = "not/a+real+secret0000000000000000000000";
pub(crate) const REGION: &str = "lab";

/// A request that arrived and was signed right.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) target: String,
    pub(crate) body: Value,
    pub(crate) headers: HashMap<String, String>,
}

/// Status and body of an answer.
pub(crate) type Answer = (u16, Value);

pub(crate) fn ok(body: Value) -> Answer {
    (200, body)
}

pub(crate) fn refused(code: &str, message: &str) -> Answer {
    (400, json!({"__type": code, "message": message}))
}

/// The endpoint, and a home directory for the command.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) home: tempfile::TempDir,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Endpoint {
    /// Answers each call by operation name and body.
    pub(crate) fn new(answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(None, answer)
    }

    /// The same behind TLS, with a certificate for 127.0.0.1 that only `ca.pem` in the home directory vouches for.
    pub(crate) fn with_tls(answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key)
                .expect("a server");
        let endpoint = Self::start(Some(Arc::new(config)), answer);
        std::fs::write(endpoint.home.path().join("ca.pem"), made.cert.pem()).expect("written");
        endpoint
    }

    fn start(
        tls: Option<Arc<rustls::ServerConfig>>,
        answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&calls), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer, tls) = (Arc::clone(&seen), Arc::clone(&answer), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &seen, &*answer),
                    Some(tls) => {
                        let connection = rustls::ServerConnection::new(tls).expect("a connection");
                        serve(rustls::StreamOwned::new(connection, stream), &seen, &*answer);
                    }
                });
            }
        });
        Self { url, home: tempfile::tempdir().expect("a directory"), calls }
    }

    /// What has arrived, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no panic while held").clone()
    }

    /// The operations that have arrived, in order.
    pub(crate) fn operations(&self) -> Vec<String> {
        self.calls().iter().map(|c| c.target.rsplit('.').next().unwrap_or_default().to_owned()).collect()
    }

    /// The command with these arguments, keys in the environment and nothing else from outside.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("TZ", "UTC")
            .env("AWS_ENDPOINT_URL_ECS", &self.url)
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET);
        command
    }

    /// Runs the command.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the command starts"))
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            status: output.status.code().expect("an exit status"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// It must have ended so; otherwise everything is shown.
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

fn serve(stream: impl Read + Write, seen: &Mutex<Vec<Call>>, answer: &dyn Fn(&str, &Value) -> Answer) {
    let mut reader = BufReader::new(stream);
    while let Some((call, verdict)) = read(&mut reader) {
        let (status, body) = match verdict {
            Ok(()) => {
                let operation = call.target.rsplit('.').next().unwrap_or_default().to_owned();
                let answer = answer(&operation, &call.body);
                seen.lock().expect("no panic while held").push(call);
                answer
            }
            Err(why) => refused("InvalidSignatureException", &why),
        };
        let body = body.to_string();
        let reply = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let writer = reader.get_mut();
        if writer.write_all(reply.as_bytes()).and_then(|()| writer.flush()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<impl Read>) -> Option<(Call, Result<(), String>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let request_line = line.trim_end().to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let verdict = verify(&request_line, &headers, &body);
    let target = headers.get("x-amz-target").cloned().unwrap_or_default();
    Some((Call { target, body: serde_json::from_slice(&body).unwrap_or_default(), headers }, verdict))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn verify(request_line: &str, headers: &HashMap<String, String>, body: &[u8]) -> Result<(), String> {
    let header = |name: &str| headers.get(name).ok_or(format!("no header {name}"));
    let [method, path, _] = request_line.split(' ').collect::<Vec<_>>()[..] else {
        return Err("bad request line".to_owned());
    };
    let authorization =
        header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("another algorithm".to_owned())?;
    let parts: HashMap<&str, &str> = authorization.split(", ").filter_map(|p| p.split_once('=')).collect();
    let part = |name: &str| parts.get(name).copied().ok_or(format!("no {name}"));
    let credential: Vec<&str> = part("Credential")?.split('/').collect();
    let [id, date, region, service, "aws4_request"] = credential[..] else {
        return Err("bad credential".to_owned());
    };
    let expected = match header("x-amz-target")?.split_once('.') {
        Some(("AmazonSSM", _)) => "ssm",
        Some(("Logs_20140328", _)) => "logs",
        Some(_) | None => "ecs",
    };
    if (id, region, service) != (KEY_ID, REGION, expected) {
        return Err(format!("scope is {id}/{region}/{service}"));
    }
    let stamp = header("x-amz-date")?;
    if !stamp.starts_with(date) {
        return Err("date of the scope is another".to_owned());
    }
    let signed = part("SignedHeaders")?;
    for name in ["host", "x-amz-date", "x-amz-target", "content-type"] {
        if !signed.split(';').any(|s| s == name) {
            return Err(format!("{name} is not signed"));
        }
    }
    let mut canonical = format!("{method}\n{path}\n\n");
    for name in signed.split(';') {
        canonical.push_str(&format!("{name}:{}\n", header(name)?));
    }
    canonical.push_str(&format!("\n{signed}\n{}", sha256(body)));
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for text in [date, region, service, "aws4_request"] {
        key = mac(&key, text);
    }
    if hex(&mac(&key, &to_sign)) == part("Signature")? {
        Ok(())
    } else {
        Err("The request signature we calculated does not match the signature you provided.".to_owned())
    }
}
