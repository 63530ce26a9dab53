//! Further processes in containers, and attaching to containers' own.

use crate::client::Docker;
use crate::error::DockerError;
use crate::hijack::Streams;
use bollard::exec::{CreateExecOptions, ResizeExecOptions};
use bollard::query_parameters::{InspectContainerOptions, ResizeContainerTTYOptions};

/// Keys that leave a terminal. The engine looks for its own (ctrl-p, ctrl-q) unless it is told others, and holds back
/// what may be their beginning; nobody types these.
const DETACH_KEYS: &str = "ctrl-@,ctrl-_,ctrl-@,ctrl-_,ctrl-@";

/// A process to make in a container. `Debug` shows neither arguments nor user.
pub struct ExecRequest {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The user; the container's when absent.
    pub user: Option<String>,
    /// Whether it has input.
    pub stdin: bool,
    /// Whether it has a terminal.
    pub terminal: bool,
}

impl std::fmt::Debug for ExecRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecRequest")
            .field("program", &longshore_model::program_name(&self.argv))
            .finish_non_exhaustive()
    }
}

/// What the engine knows of such a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecState {
    /// Whether it runs.
    pub running: bool,
    /// How it ended, when it has.
    pub exit_code: Option<i32>,
    /// Its process id on the host, once it was started.
    pub pid: Option<u32>,
}

/// How a container's own process may be attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachable {
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether it has an open input.
    pub stdin: bool,
}

impl Docker {
    /// Makes a process in a container, which does not run yet, and gives its id.
    ///
    /// # Errors
    /// When the engine refuses, as it does when the container does not run, or does not answer.
    pub async fn create_exec(&self, container: &str, request: ExecRequest) -> Result<String, DockerError> {
        let client = self.client().await?;
        let ExecRequest { argv, user, stdin, terminal } = request;
        let options = CreateExecOptions {
            attach_stdin: Some(stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(terminal),
            detach_keys: Some(DETACH_KEYS.to_owned()),
            cmd: Some(argv),
            user,
            ..CreateExecOptions::default()
        };
        let doing = format!("making a process in container `{container}`");
        Ok(self.call(&doing, self.timeouts().start, client.create_exec(container, options)).await?.id)
    }

    /// Starts it. That its program cannot be found, the engine says in the output, with the code 126 or 127, or by a
    /// refusal.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    pub async fn start_exec(&self, id: &str, terminal: bool) -> Result<Streams, DockerError> {
        let body = format!("{{\"Detach\":false,\"Tty\":{terminal}}}");
        let doing = "starting a process in a container";
        self.hijack(doing, &format!("/exec/{id}/start"), &body, terminal, self.timeouts().start).await
    }

    /// What it is doing; `None` when the engine does not know it, or not any more.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn inspect_exec(&self, id: &str) -> Result<Option<ExecState>, DockerError> {
        let client = self.client().await?;
        let doing = "inspecting a process in a container";
        match self.call(doing, self.timeouts().inspect, client.inspect_exec(id)).await {
            Ok(found) => Ok(Some(ExecState {
                running: found.running.unwrap_or(false),
                exit_code: found.exit_code.map(|code| i32::try_from(code).unwrap_or(i32::MAX)),
                pid: found.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0),
            })),
            Err(error) if error.refusal().is_some_and(|(status, _)| status == 404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives its terminal another size.
    ///
    /// # Errors
    /// When it does not run, or the engine does not answer.
    pub async fn resize_exec(&self, id: &str, rows: u16, columns: u16) -> Result<(), DockerError> {
        let client = self.client().await?;
        let call = client.resize_exec(id, ResizeExecOptions { height: rows, width: columns });
        self.call("resizing a terminal", self.timeouts().quick, call).await
    }

    /// How a container may be attached to; `None` when there is none that runs.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn attachable(&self, container: &str) -> Result<Option<Attachable>, DockerError> {
        let client = self.client().await?;
        let doing = format!("inspecting container `{container}`");
        let call = client.inspect_container(container, None::<InspectContainerOptions>);
        match self.call(&doing, self.timeouts().inspect, call).await {
            Ok(found) => {
                let runs = found.state.and_then(|state| state.running).unwrap_or(false);
                let config = found.config.unwrap_or_default();
                let (terminal, stdin) = (config.tty.unwrap_or(false), config.open_stdin.unwrap_or(false));
                Ok(runs.then_some(Attachable { terminal, stdin }))
            }
            Err(error) if error.refusal().is_some_and(|(status, _)| status == 404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Attaches to a container's own process: to what it says from now on and, with `stdin`, to its input.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    pub async fn attach(&self, container: &str, with: Attachable) -> Result<Streams, DockerError> {
        let path = format!(
            "/containers/{container}/attach?stream=1&stdout=1&stderr=1&stdin={}&detachKeys={}",
            u8::from(with.stdin),
            DETACH_KEYS.replace(',', "%2C").replace('@', "%40"),
        );
        let doing = format!("attaching to container `{container}`");
        self.hijack(&doing, &path, "", with.terminal, self.timeouts().start).await
    }

    /// Gives a container's terminal another size.
    ///
    /// # Errors
    /// When it does not run, or the engine does not answer.
    pub async fn resize_container(&self, container: &str, rows: u16, columns: u16) -> Result<(), DockerError> {
        let client = self.client().await?;
        let options = ResizeContainerTTYOptions { h: i32::from(rows), w: i32::from(columns) };
        let call = client.resize_container_tty(container, options);
        self.call("resizing a terminal", self.timeouts().quick, call).await
    }
}
