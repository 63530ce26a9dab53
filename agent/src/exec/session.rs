//! One session: what is asked for, begun, carried on and ended.

use super::Tools;
use super::ending::{self, Process};
use super::pump::{Pump, Pumped, Target};
use super::records::Record;
use crate::crash::{self, Place};
use crate::engine::docker::chain;
use crate::session::exec::{ExecIncoming, ExecStream};
use longshore_docker::{Attachable, DockerError, ExecRequest, ExecState, Streams, container_name};
use longshore_model::{ExecOrder, ExecOutput, ExecWhat, TerminalSize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Longest wait until the last word is heard; a client may not be reading.
const LAST_WORD: Duration = Duration::from_secs(4);
/// How often a terminal's first size is tried to set: the process may not be there yet.
const SIZINGS: u32 = 10;
/// How often the engine is asked which process a command is: it says so in a moment.
const LEARNS: u32 = 60;
/// The exit code of a container's process is known soon after its output ends, unless it is started again.
const EXIT_CODE: Duration = Duration::from_secs(10);
/// Between two looks at a process, the first and the longest.
const LOOKS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// A session.
pub(super) struct Session {
    tools: Arc<Tools>,
    order: ExecOrder,
    stop: CancellationToken,
}

/// A process whose streams are here.
struct Begun {
    streams: Streams,
    target: Target,
    terminal: bool,
    stdin: bool,
    record: Option<Record>,
}

impl Session {
    pub(super) fn new(tools: Arc<Tools>, order: ExecOrder, stop: CancellationToken) -> Self {
        Self { tools, order, stop }
    }

    pub(super) async fn run(self) {
        let ExecOrder { id, task, container, what, .. } = &self.order;
        let stream = match self.stop.run_until_cancelled(self.tools.line.open(*id)).await {
            Some(Ok(stream)) => stream,
            Some(Err(why)) => {
                tracing::warn!(exec = %id, %task, %container, why, "a command is not executed");
                return;
            }
            None => return,
        };
        tracing::info!(exec = %id, %task, %container, what = ?what, "executing a command");
        // Both until the last word is heard: the call ends for both sides when one of them is dropped.
        let ExecStream { output, mut input } = stream;
        let last = self.execute(&output, &mut input).await;
        tracing::info!(exec = %id, %task, %container, how = ?last, "a command ended");
        // A client that is gone hears nothing.
        if let Some(last) = last {
            let said = async {
                if output.send(last).await.is_ok() {
                    // Heard: the other side ends its part.
                    output.closed().await;
                }
            };
            let _ = tokio::time::timeout(LAST_WORD, said).await;
        }
    }

    /// Begins, carries on and ends; answers with the last word to the client, or with nothing when it left.
    async fn execute(&self, output: &mpsc::Sender<ExecOutput>, input: &mut ExecIncoming) -> Option<ExecOutput> {
        let begun = match self.begin().await {
            Ok(begun) => begun,
            Err(why) => return Some(ExecOutput::Failed(why)),
        };
        let Begun { streams, target, terminal, stdin, mut record } = begun;
        let started = ExecOutput::Started { terminal, stdin };
        let pumped = if output.send(started).await.is_err() {
            Pumped::ClientLeft
        } else {
            let pump = Pump { docker: &self.tools.docker, target: &target, stdin, output };
            let exit = Box::pin(self.exit_code(&target));
            let learning = async {
                self.learn_process(record.as_mut()).await;
                std::future::pending().await
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Pumped::Stopping,
                pumped = pump.run(streams, input, exit) => pumped,
                pumped = learning => pumped,
            }
        };
        if let Some(record) = record {
            match &pumped {
                Pumped::Exited(_) => self.tools.records.forget(&record),
                Pumped::ClientLeft | Pumped::Stopping | Pumped::Failed(_) => self.end(&record).await,
            }
        }
        match pumped {
            Pumped::Exited(code) => Some(ExecOutput::Exit(code)),
            Pumped::Failed(why) => Some(ExecOutput::Failed(why)),
            Pumped::Stopping => Some(ExecOutput::Failed("the host's agent is stopping".to_owned())),
            Pumped::ClientLeft => None,
        }
    }

    /// Ends a process, now or as soon as it can be.
    async fn end(&self, record: &Record) {
        if ending::end(&self.tools.docker, record).await {
            self.tools.records.forget(record);
        } else {
            tracing::warn!(exec = %record.session, "whether a command ended cannot be seen now; it is ended later");
            self.tools.records.leave(record);
        }
    }

    /// Writes down which process of the host it is, once the engine says so.
    async fn learn_process(&self, record: Option<&mut Record>) {
        let Some(record) = record else { return };
        let mut wait = LOOKS.0;
        for _ in 0..LEARNS {
            match self.tools.docker.inspect_exec(&record.exec).await {
                Ok(Some(ExecState { running: true, pid: Some(pid), .. })) => {
                    // One that has just begun may not show yet whose it is.
                    record.process = Process::of(pid, &record.container);
                    if record.process.is_some() {
                        if let Err(error) = self.tools.records.remember(record) {
                            tracing::warn!(exec = %record.session, %error,
                                "which process a command is cannot be saved");
                        }
                        return;
                    }
                }
                Ok(Some(ExecState { exit_code: None, .. })) | Err(_) => {}
                Ok(_) => return,
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LOOKS.1);
        }
    }

    async fn begin(&self) -> Result<Begun, String> {
        let ExecOrder { id, task, container, what, stdin, terminal } = &self.order;
        let docker = &self.tools.docker;
        if !self.tools.views.borrow().contains_key(task) {
            return Err(format!("task {task} is not on this host any more"));
        }
        let name = container_name(*task, container);
        let says = |error: DockerError| chain(&error);
        let absent = || format!("the container `{container}` does not run");
        let found = docker.inspect(&name).await.map_err(says)?.filter(|found| found.state.has_process());
        let found = found.ok_or_else(absent)?;
        match what {
            ExecWhat::Command { argv, user } => {
                let request =
                    ExecRequest { argv: argv.clone(), user: user.clone(), stdin: *stdin, terminal: terminal.is_some() };
                let made = crash::around(Place::ExecMade, docker.create_exec(&found.id, request)).await;
                let exec = made.map_err(says)?;
                let record = Record { session: *id, exec: exec.clone(), container: found.id, process: None };
                // Remembered before it runs.
                self.tools.records.remember(&record).map_err(|error| {
                    self.tools.records.leave(&record);
                    format!("the host's agent could not remember the command, and so does not start it: {error}")
                })?;
                let started = crash::around(Place::ExecStart, docker.start_exec(&exec, terminal.is_some())).await;
                let streams = match started {
                    Ok(streams) => streams,
                    Err(error) => {
                        // The engine may have started it all the same.
                        self.end(&record).await;
                        return Err(says(error));
                    }
                };
                let target = Target::Exec(exec);
                if let Some(size) = terminal {
                    self.first_size(&target, *size).await;
                }
                Ok(Begun { streams, target, terminal: terminal.is_some(), stdin: *stdin, record: Some(record) })
            }
            ExecWhat::Attach => {
                let can = docker.attachable(&found.id).await.map_err(says)?.ok_or_else(absent)?;
                let with = Attachable { stdin: can.stdin && *stdin, ..can };
                let streams = docker.attach(&found.id, with).await.map_err(says)?;
                let target = Target::Container(found.id);
                if let Some(size) = terminal.filter(|_| can.terminal) {
                    self.first_size(&target, size).await;
                }
                Ok(Begun { streams, target, terminal: can.terminal, stdin: with.stdin, record: None })
            }
        }
    }

    async fn first_size(&self, target: &Target, size: TerminalSize) {
        let mut wait = LOOKS.0;
        for _ in 0..SIZINGS {
            match target.resize(&self.tools.docker, size).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(error = chain(&error), "a terminal has no size yet"),
            }
            if let Target::Exec(id) = target
                && let Ok(Some(ExecState { running: false, exit_code: Some(_), .. }) | None) =
                    self.tools.docker.inspect_exec(id).await
            {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LOOKS.1);
        }
    }

    /// The exit code, once there is one: after the output has ended.
    async fn exit_code(&self, target: &Target) -> Result<i32, String> {
        let docker = &self.tools.docker;
        let mut wait = LOOKS.0;
        let since = tokio::time::Instant::now();
        loop {
            match target {
                Target::Exec(id) => match docker.inspect_exec(id).await {
                    // A process may have closed its output and go on.
                    Ok(Some(state)) if state.running => {}
                    Ok(Some(state)) => return state.exit_code.ok_or_else(|| "its exit code is not known".to_owned()),
                    Ok(None) => return Err("the container was removed".to_owned()),
                    Err(error) => return Err(chain(&error)),
                },
                Target::Container(id) => match docker.inspect(id).await {
                    Ok(Some(found)) => match found.exit {
                        Some(exit) => return Ok(exit.code),
                        None if since.elapsed() > EXIT_CODE => {
                            return Err(
                                "the container's output ended, and the container runs: it was started again".to_owned()
                            );
                        }
                        None => {}
                    },
                    Ok(None) => return Err("the container was removed".to_owned()),
                    Err(error) => return Err(chain(&error)),
                },
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LOOKS.1);
        }
    }
}
