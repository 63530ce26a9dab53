//! Commands that somebody executes in containers, and attachments to containers.
//!
//! Owns sessions: from the order that the control plane sends over the one between what Docker gives and a call of the
//! control plane's, to the end, after which nothing of a command is left. It decides nothing: whether a command may be
//! executed, the control plane said. Keeps a file for each process that it starts, until that is over: one that cannot
//! be ended at once, or that outlives the agent, is ended as soon as it can be, by this agent or the next.
//!
//! ```text
//! order -> session (dial, make, start) -> pump (what goes to and fro) -> ending (the process and its children)
//! records (what was left) -> ending
//! ```

mod ending;
mod pump;
mod records;
mod session;

use crate::engine::TaskViews;
use crate::session::exec::ExecLine;
use longshore_docker::Docker;
use longshore_model::ExecOrder;
use records::Records;
use session::Session;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Orders that wait to be begun: as many as the control plane has for a host.
pub const ORDER_QUEUE: usize = 16;
/// Sessions at once. The control plane asks for no more, and old ones may still be ending.
const SESSIONS: usize = 24;
/// Longest wait, when the agent stops, for commands to end.
const DRAIN: Duration = Duration::from_secs(8);

/// A long-lived task that executes orders.
pub struct Executor {
    orders: mpsc::Receiver<ExecOrder>,
    tools: Arc<Tools>,
}

/// What sessions work with.
struct Tools {
    line: ExecLine,
    docker: Docker,
    records: Records,
    views: watch::Receiver<TaskViews>,
}

impl Executor {
    /// Executes `orders` with `docker`; remembers in `dir` what it started.
    pub(crate) fn new(
        orders: mpsc::Receiver<ExecOrder>,
        line: ExecLine,
        docker: Docker,
        dir: PathBuf,
        views: watch::Receiver<TaskViews>,
    ) -> Self {
        Self { orders, tools: Arc::new(Tools { line, docker, records: Records::new(dir), views }) }
    }

    /// Runs until `shutdown`, and then until what it started is ended.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut sessions = JoinSet::new();
        let tools = Arc::clone(&self.tools);
        let sweep = shutdown.clone();
        sessions.spawn(async move {
            sweep.run_until_cancelled(tools.records.sweep(&tools.docker)).await;
        });
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = sessions.join_next() => {}
                order = self.orders.recv() => {
                    // The session ended for good, so the agent is ending.
                    let Some(order) = order else { break };
                    if sessions.len() >= SESSIONS {
                        tracing::warn!(exec = %order.id, "too many commands are executed at once; this one is not");
                        continue;
                    }
                    sessions.spawn(Session::new(Arc::clone(&self.tools), order, shutdown.clone()).run());
                }
            }
        }
        shutdown.cancelled().await;
        let ended = tokio::time::timeout(DRAIN, async { while sessions.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::warn!(commands = sessions.len(), "commands in containers did not end in time");
        }
    }
}
