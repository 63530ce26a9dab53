//! The product's own programs in the lab: one control plane, one agent a host, with their configuration files.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::host::{Host, START_DEADLINE, program};
use super::net;
use super::process::{Process, Signal};
use super::wait::wait_until;

/// The port of the ECS API on the control plane's machine.
pub const API_PORT: u16 = 7420;
/// The port for agents.
pub const AGENT_PORT: u16 = 7421;
/// The account that every lab has.
pub const ACCOUNT: &str = "111122223333";
/// The region that clients of the lab use.
pub const REGION: &str = "eu-lab-1";

/// The root access key, given to the control plane at its first start.
#[derive(Clone)]
pub struct RootKey {
    /// The public part.
    pub id: String,
    /// The secret part.
    pub secret: String,
}

impl RootKey {
    /// A random key.
    #[must_use]
    pub fn random() -> Self {
        let id: [u8; 8] = rand::random();
        let secret: [u8; 20] = rand::random();
        Self { id: format!("AKIA{}", hex::encode_upper(id)), secret: hex::encode(secret) }
    }
}

/// The control plane of a lab.
pub struct Control {
    /// Lines added to its configuration file.
    extra: String,
    key: RootKey,
    process: Mutex<Option<Process>>,
}

impl Control {
    /// Writes its configuration, starts it on `host` and waits until its API answers.
    ///
    /// # Errors
    /// When it does not come up within a minute; the text has the end of its log.
    pub fn start(host: &Host, key: RootKey, extra: &str) -> Result<Self> {
        let control = Self { extra: extra.to_owned(), key, process: Mutex::new(None) };
        control.launch(host)?;
        control.wait_ready(host)?;
        Ok(control)
    }

    /// The root access key.
    #[must_use]
    pub fn key(&self) -> &RootKey {
        &self.key
    }

    /// Starts it again, without waiting for it.
    ///
    /// # Errors
    /// When it ends at once.
    pub fn launch(&self, host: &Host) -> Result<()> {
        self.launch_as(host, &program("longshore-control")?)
    }

    /// Starts another file as the control plane, without waiting for it.
    ///
    /// # Errors
    /// When it ends at once.
    pub fn launch_as(&self, host: &Host, program: &Path) -> Result<()> {
        let dir = host.dir();
        let file = dir.join("control.toml");
        let text = format!(
            "data_dir = \"{}\"\napi_listen = \"{address}:{API_PORT}\"\nagent_listen = \"{address}:{AGENT_PORT}\"\n\
             advertise = \"{address}:{AGENT_PORT}\"\naccount_id = \"{ACCOUNT}\"\n{}\n",
            dir.join("control").display(),
            self.extra,
            address = net::CONTROL,
        );
        fs::write(&file, text)?;
        let process = host.start("control", program, |command| {
            command.arg("--config").arg(&file);
            command.env("LONGSHORE_CONTROL_ROOT_ACCESS_KEY_ID", &self.key.id);
            command.env("LONGSHORE_CONTROL_ROOT_SECRET_ACCESS_KEY", &self.key.secret);
            command.env("RUST_BACKTRACE", "1");
        })?;
        lock(&self.process).replace(process);
        Ok(())
    }

    /// Waits until the API port takes connections.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub fn wait_ready(&self, host: &Host) -> Result<()> {
        wait_until("the control plane's API", START_DEADLINE, || {
            ensure!(lock(&self.process).as_ref().is_some_and(Process::lives), "it ended: {}", host.log_tail("control"));
            let port = host.in_network(|| Ok(TcpStream::connect((net::CONTROL, API_PORT)).is_ok()))?;
            let agents = host.in_network(|| Ok(TcpStream::connect((net::CONTROL, AGENT_PORT)).is_ok()))?;
            Ok(port && agents)
        })
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When it does not die.
    pub fn kill(&self) -> Result<()> {
        let process = lock(&self.process).take();
        process.map_or(Ok(()), Process::kill)
    }

    /// Stops it as an operator would.
    ///
    /// # Errors
    /// When it does not end within 20 s.
    pub fn terminate(&self) -> Result<()> {
        let process = lock(&self.process).take();
        process.map_or(Ok(()), |p| p.terminate(Duration::from_secs(20)))
    }

    /// Stops it where it is (SIGSTOP); [`Self::thaw`] lets it go on.
    pub fn freeze(&self) {
        if let Some(process) = lock(&self.process).as_ref() {
            process.signal(Signal::SIGSTOP);
        }
    }

    /// Ends a [`Self::freeze`].
    pub fn thaw(&self) {
        if let Some(process) = lock(&self.process).as_ref() {
            process.signal(Signal::SIGCONT);
        }
    }

    /// Looks at the running process, for measurements.
    ///
    /// # Errors
    /// When it does not run, or with the error of `look`.
    pub fn process<T>(&self, look: impl FnOnce(&Process) -> Result<T>) -> Result<T> {
        look(lock(&self.process).as_ref().context("the control plane is not running")?)
    }
}

/// The agent of one lab host.
pub struct Agent {
    extra: String,
    process: Mutex<Option<Process>>,
}

impl Agent {
    /// An agent that was not started yet; `extra` is added to its configuration file.
    #[must_use]
    pub fn new(extra: &str) -> Self {
        Self { extra: extra.to_owned(), process: Mutex::new(None) }
    }

    /// Writes the join token where the agent looks for it at its first start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_token(host: &Host, token: &str) -> Result<()> {
        let path = host.dir().join("token");
        fs::write(&path, token)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    /// Writes the configuration file and gives its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_config(&self, host: &Host, docker: &str) -> Result<PathBuf> {
        let dir = host.dir();
        let file = dir.join("agent.toml");
        // `extra` comes first, so that it may end with a table of its own only when nothing follows.
        let text = format!(
            "data_dir = \"{data}\"\ncontrol = \"{control}:{AGENT_PORT}\"\ntoken_file = \"{token}\"\n\
             docker = \"{docker}\"\nstatus_socket = \"{status}\"\n{extra}\n",
            data = dir.join("agent").display(),
            control = net::CONTROL,
            token = dir.join("token").display(),
            status = dir.join("status.sock").display(),
            extra = self.extra,
        );
        fs::write(&file, text)?;
        Ok(file)
    }

    /// Starts the agent, without waiting for it.
    ///
    /// # Errors
    /// When it ends at once.
    pub fn launch(&self, host: &Host, docker: &str) -> Result<()> {
        self.launch_as(host, docker, &program("longshore-agent")?, &[])
    }

    /// Starts another file as the agent, with more variables in its environment, without waiting for it.
    ///
    /// # Errors
    /// When it ends at once.
    pub fn launch_as(&self, host: &Host, docker: &str, program: &Path, variables: &[(&str, &str)]) -> Result<()> {
        let file = self.write_config(host, docker)?;
        let process = host.start("agent", program, |command| {
            command.arg("--config").arg(&file);
            command.env("RUST_BACKTRACE", "1").envs(variables.iter().copied());
        })?;
        lock(&self.process).replace(process);
        Ok(())
    }

    /// Whether the process runs.
    #[must_use]
    pub fn lives(&self) -> bool {
        lock(&self.process).as_ref().is_some_and(Process::lives)
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When it does not die.
    pub fn kill(&self) -> Result<()> {
        let process = lock(&self.process).take();
        process.map_or(Ok(()), Process::kill)
    }

    /// Stops it as an operator would.
    ///
    /// # Errors
    /// When it does not end within 20 s.
    pub fn terminate(&self) -> Result<()> {
        let process = lock(&self.process).take();
        process.map_or(Ok(()), |p| p.terminate(Duration::from_secs(20)))
    }

    /// Stops it where it is (SIGSTOP); [`Self::thaw`] lets it go on.
    pub fn freeze(&self) {
        if let Some(process) = lock(&self.process).as_ref() {
            process.signal(Signal::SIGSTOP);
        }
    }

    /// Ends a [`Self::freeze`].
    pub fn thaw(&self) {
        if let Some(process) = lock(&self.process).as_ref() {
            process.signal(Signal::SIGCONT);
        }
    }

    /// Waits until it ends by itself; its exit code if it has one.
    ///
    /// # Errors
    /// When it still runs after `deadline`.
    pub fn wait_exit(&self, deadline: Duration) -> Result<Option<i32>> {
        let mut process = lock(&self.process).take().context("the agent is not running")?;
        process.wait_exit(deadline)
    }

    /// Looks at the running process, for measurements.
    ///
    /// # Errors
    /// When it does not run, or with the error of `look`.
    pub fn process<T>(&self, look: impl FnOnce(&Process) -> Result<T>) -> Result<T> {
        look(lock(&self.process).as_ref().context("the agent is not running")?)
    }

    /// What the agent says of itself on its status socket.
    ///
    /// # Errors
    /// When the socket is not there or does not answer with JSON.
    pub fn status(host: &Host) -> Result<Value> {
        let mut stream = UnixStream::connect(host.dir().join("status.sock")).context("no status socket")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        serde_json::from_str(&text).with_context(|| format!("an odd status: {text}"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
