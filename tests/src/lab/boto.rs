//! The API as real clients see it: boto3 in a Python of its own, and the `aws` command.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::host::Host;
use super::product::{REGION, RootKey};

/// An error that the API answered with, as boto3 understood it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code} ({status}): {message}")]
pub struct ApiError {
    /// The error code; for failures that are no answer of the API, the name of botocore's exception.
    pub code: String,
    /// Its text.
    pub message: String,
    /// The HTTP status, 0 when there was no answer.
    pub status: u16,
    /// The error's further members.
    pub body: Value,
}

/// A running Python with boto3.
pub struct Boto {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Boto {
    /// Starts one in the network of `host`, or in the machine's own when there is none.
    ///
    /// # Errors
    /// When the Python environment is missing.
    pub fn start(host: Option<&Host>, key: &RootKey, endpoint: &str) -> Result<Self> {
        let python = venv()?.join("bin/python");
        let mut command = host.map_or_else(|| Command::new(&python), |h| h.net_command(&python));
        command.arg(source_dir().join("boto/bridge.py"));
        client_environment(&mut command, key, endpoint);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("could not start Python")?;
        let input = child.stdin.take().context("Python without input")?;
        let output = BufReader::new(child.stdout.take().context("Python without output")?);
        Ok(Self { child, input, output })
    }

    /// Asks the bridge; see `tests/boto/bridge.py` for requests.
    ///
    /// # Errors
    /// The outer error when the bridge itself broke, the inner one when the API or botocore refused.
    pub fn ask(&mut self, request: &Value) -> Result<Result<Value, ApiError>> {
        writeln!(self.input, "{request}").context("the boto3 bridge is gone")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let mut answer: Value = serde_json::from_str(&line).context("the boto3 bridge broke off")?;
        if let Some(error) = answer.get("error") {
            let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
            let status = error["status"].as_u64().and_then(|s| u16::try_from(s).ok()).unwrap_or_default();
            return Ok(Err(ApiError {
                code: text("code"),
                message: text("message"),
                status,
                body: error["body"].clone(),
            }));
        }
        Ok(Ok(answer["ok"].take()))
    }

    /// Calls one operation of `service`, named as boto3 names it (`run_task`).
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn call(&mut self, service: &str, op: &str, args: Value) -> Result<Result<Value, ApiError>> {
        self.ask(&json!({"kind": "call", "service": service, "op": op, "args": args}))
    }
}

impl Drop for Boto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the real `aws` command in the network of `host`.
///
/// # Errors
/// When it is not installed.
pub fn aws(host: &Host, key: &RootKey, endpoint: &str, args: &[&str]) -> Result<Output> {
    let mut command = host.net_command(&venv()?.join("bin/aws"));
    client_environment(&mut command, key, endpoint);
    command.args(args).stdin(Stdio::null()).output().context("could not run aws")
}

/// Version 2 of the `aws` command, as Debian has it.
const AWS2: &str = "/usr/bin/aws";

/// The `aws` command of version 2 in the network of `host`, for the caller to run.
///
/// # Errors
/// When it is not installed.
pub fn aws2(host: &Host, key: &RootKey, endpoint: &str, args: &[&str]) -> Result<Command> {
    ensure!(Path::new(AWS2).exists(), "{AWS2} is not there; run `tests/setup.sh test`");
    let mut command = host.net_command(Path::new(AWS2));
    client_environment(&mut command, key, endpoint);
    // This version does not know AWS_ENDPOINT_URL.
    command.args(["--endpoint-url", endpoint]).args(args).stdin(Stdio::null());
    Ok(command)
}

/// Sets what AWS clients read, and keeps the caller's own AWS settings away from them.
pub(super) fn client_environment(command: &mut Command, key: &RootKey, endpoint: &str) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") || name.to_string_lossy().to_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command
        .env("LAB_ENDPOINT", endpoint)
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", &key.id)
        .env("AWS_SECRET_ACCESS_KEY", &key.secret)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_PAGER", "");
}

/// The Python environment that `make setup` makes.
///
/// # Errors
/// When it is not there.
pub fn venv() -> Result<PathBuf> {
    let dir = match std::env::var_os("LONGSHORE_LAB_VENV") {
        Some(dir) => PathBuf::from(dir),
        None => source_dir().join("../target/lab/venv"),
    };
    ensure!(dir.join("bin/aws").exists(), "{} has no boto3 and aws; run `make setup`", dir.display());
    Ok(dir)
}

/// Where this crate's own files are.
#[must_use]
pub fn source_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
