//! What goes to and fro between a process and its client.
//!
//! Nothing piles up. Output is read when the one before it was taken; input is bounded by the client, which sends no
//! more than a window that this has not said was taken. So messages are always read, and the end of a client is
//! noticed whatever is held up.

use crate::engine::docker::chain;
use crate::session::exec::ExecIncoming;
use longshore_docker::{Docker, DockerError, Input, Output, Piece, Streams};
use longshore_model::{EXEC_WINDOW, ExecInput, ExecOutput, TerminalSize};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// How a session ended.
#[derive(Debug)]
pub(super) enum Pumped {
    /// The process ended.
    Exited(i32),
    /// The client is gone.
    ClientLeft,
    /// The agent is stopping.
    Stopping,
    /// It cannot go on.
    Failed(String),
}

/// The process.
#[derive(Debug)]
pub(super) enum Target {
    /// A further one in a container, by the engine's id.
    Exec(String),
    /// A container's own, by the container's id.
    Container(String),
}

impl Target {
    /// Gives its terminal a size.
    pub(super) async fn resize(&self, docker: &Docker, size: TerminalSize) -> Result<(), DockerError> {
        match self {
            Self::Exec(id) => docker.resize_exec(id, size.rows, size.columns).await,
            Self::Container(id) => docker.resize_container(id, size.rows, size.columns).await,
        }
    }
}

/// What a pump works with.
pub(super) struct Pump<'a> {
    pub(super) docker: &'a Docker,
    pub(super) target: &'a Target,
    /// Whether input reaches the process.
    pub(super) stdin: bool,
    pub(super) output: &'a mpsc::Sender<ExecOutput>,
}

/// Input on its way to the process.
enum Queued {
    Data(Vec<u8>),
    End,
}

impl Pump<'_> {
    /// Runs until the process has ended (`exit` says how, once its output has), the client is gone, or it cannot go on.
    pub(super) async fn run(
        &self,
        streams: Streams,
        incoming: &mut ExecIncoming,
        exit: impl Future<Output = Result<i32, String>>,
    ) -> Pumped {
        // Bounded by the window, which `hear` holds the client to.
        let (queue, queued) = mpsc::unbounded_channel();
        let pending = AtomicUsize::new(0);
        let Streams { output, input } = streams;
        let said = async {
            match self.say(output).await {
                Some(end) => end,
                None => exit.await.map_or_else(Pumped::Failed, Pumped::Exited),
            }
        };
        tokio::select! {
            biased;
            end = said => end,
            () = self.output.closed() => Pumped::ClientLeft,
            end = self.hear(incoming, queue, &pending) => end,
            () = self.feed(input, queued, &pending) => Pumped::ClientLeft,
        }
    }

    /// Output, until there is no more.
    async fn say(&self, mut output: Output) -> Option<Pumped> {
        loop {
            let said = match output.next().await {
                Ok(Some(Piece::Stdout(bytes))) => ExecOutput::Stdout(bytes),
                Ok(Some(Piece::Stderr(bytes))) => ExecOutput::Stderr(bytes),
                Ok(None) => return None,
                Err(error) => {
                    return Some(Pumped::Failed(format!("lost the container engine's stream of the command: {error}")));
                }
            };
            if self.output.send(said).await.is_err() {
                return Some(Pumped::ClientLeft);
            }
        }
    }

    /// What the client says, until it is gone.
    async fn hear(
        &self,
        incoming: &mut ExecIncoming,
        queue: mpsc::UnboundedSender<Queued>,
        pending: &AtomicUsize,
    ) -> Pumped {
        let mut ended = false;
        loop {
            match incoming.next().await {
                // Neither counts in the window.
                Ok(Some(ExecInput::Data(bytes))) if bytes.is_empty() || ended => {
                    return Pumped::Failed("the client sent input that is empty, or after its end".to_owned());
                }
                Ok(Some(ExecInput::End)) if ended => {
                    return Pumped::Failed("the client ended its input twice".to_owned());
                }
                Ok(Some(ExecInput::Data(bytes))) => {
                    let waiting = pending.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
                    if waiting > EXEC_WINDOW {
                        return Pumped::Failed(format!("the client sent more than {EXEC_WINDOW} bytes ahead"));
                    }
                    // Closed: the process takes no more.
                    let _ = queue.send(Queued::Data(bytes));
                }
                Ok(Some(ExecInput::End)) => {
                    ended = true;
                    let _ = queue.send(Queued::End);
                }
                Ok(Some(ExecInput::Resize(size))) => {
                    if let Err(error) = self.target.resize(self.docker, size).await {
                        tracing::debug!(error = chain(&error), "a terminal keeps its size");
                    }
                }
                Ok(None) => return Pumped::ClientLeft,
                Err(why) => return Pumped::Failed(why),
            }
        }
    }

    /// Input. Never returns before the process ends, unless the client is gone.
    async fn feed(&self, mut input: Input, mut queued: mpsc::UnboundedReceiver<Queued>, pending: &AtomicUsize) {
        while let Some(next) = queued.recv().await {
            let written = match next {
                Queued::Data(bytes) if self.stdin => {
                    let written = input.write(&bytes).await;
                    let count = u32::try_from(bytes.len()).expect("a chunk is shorter than 4 GiB");
                    pending.fetch_sub(bytes.len(), Ordering::Relaxed);
                    if self.output.send(ExecOutput::Taken(count)).await.is_err() {
                        return;
                    }
                    written
                }
                Queued::Data(_) => Ok(()),
                Queued::End if self.stdin => input.end().await,
                Queued::End => Ok(()),
            };
            if written.is_err() {
                // It has closed its input, and may go on.
                break;
            }
        }
        std::future::pending().await
    }
}
