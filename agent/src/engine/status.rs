//! What the engine says of itself: each task, what is being done for it, and what it waits for and why.

use super::reconciler::{Answers, Reconciler};
use longshore_model::Timestamp;
use longshore_plan::{Phase, Wish};
use serde::Serialize;
use std::time::Duration;

/// A listing takes a hundredth of it with hundreds of containers.
const SLOW: Duration = Duration::from_secs(5);

/// The engine at one moment. The format is for people and tests, and grows by new keys only.
#[derive(Debug, Clone, Serialize)]
pub struct EngineStatus {
    /// The generation that is applied.
    pub generation: u64,
    /// Whether Docker answers.
    pub docker: Health,
    /// Whether the ledger can be written.
    pub ledger: Health,
    /// Host ports that tasks have.
    pub ports_claimed: usize,
    /// Of these, ports that a socket of the agent's keeps free for a container to come.
    pub ports_held: usize,
    /// MiB of memory that tasks on the host have, of those that it offers.
    pub memory_held_mib: u64,
    /// Tasks that wait for room on the host.
    pub waiting_for_room: usize,
    /// Every task.
    pub tasks: Vec<TaskLine>,
}

/// Well, or why not.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// Whether it works.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// One task.
#[derive(Debug, Clone, Serialize)]
pub struct TaskLine {
    /// Its id.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// Its definition.
    pub definition: String,
    /// What the control plane wants of it: `unknown`, `run`, `stop` or `forget`.
    pub wish: &'static str,
    /// What it is.
    pub status: &'static str,
    /// Why it stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// What it waits for.
    pub waiting: Vec<String>,
    /// When it is looked at next, if nothing happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Timestamp>,
    /// Its containers.
    pub containers: Vec<ContainerLine>,
}

/// One container.
#[derive(Debug, Clone, Serialize)]
pub struct ContainerLine {
    /// Its name.
    pub name: String,
    /// How far it is: `waiting`, `pulled`, `created`, `starting`, `discarding`, `running`,
    /// `restarting` or `stopped`.
    pub phase: &'static str,
    /// Docker's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_id: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How often its restart policy started it again.
    #[serde(skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// Its host ports, as `host->container/protocol`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// How far its pull is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<String>,
}

impl Reconciler {
    pub(super) fn status(&self) -> EngineStatus {
        let waits = self.listing_since.elapsed();
        let docker = match &self.answers {
            Answers::Yes if self.listing && waits > SLOW => Health {
                ok: false,
                why: Some(format!("a list of containers is waited for, {} s now", waits.as_secs())),
            },
            Answers::Yes => Health { ok: true, why: None },
            Answers::No { why, .. } => Health { ok: false, why: Some(why.clone()) },
        };
        EngineStatus {
            generation: self.generation.0,
            docker,
            ledger: Health { ok: self.ledger_fault.is_none(), why: self.ledger_fault.clone() },
            ports_claimed: self.ports.claims().len(),
            ports_held: self.ports.held(),
            memory_held_mib: self.room.held_mib(),
            waiting_for_room: self.room.waiting(),
            tasks: self
                .tasks
                .values()
                .map(|entry| {
                    let task = &entry.task;
                    TaskLine {
                        id: task.record.id.to_string(),
                        arn: task.outline.arn.clone(),
                        definition: format!("{}:{}", task.outline.family, task.outline.revision),
                        wish: match &task.record.wish {
                            Wish::Unknown => "unknown",
                            Wish::Run => "run",
                            Wish::Stop { .. } => "stop",
                            Wish::Forget { .. } => "forget",
                        },
                        status: task.record.reached.as_str(),
                        stop_reason: task.record.ending.as_ref().map(|e| e.reason.clone()),
                        waiting: entry
                            .waiting
                            .iter()
                            .map(|w| match &w.container {
                                Some(name) => format!("{name}: {}", w.for_what),
                                None => w.for_what.clone(),
                            })
                            .collect(),
                        wake_at: entry.wake_at,
                        containers: (0..task.record.containers.len()).map(|i| self.container_line(task, i)).collect(),
                    }
                })
                .collect(),
        }
    }

    fn container_line(&self, task: &longshore_plan::Task, i: usize) -> ContainerLine {
        let c = &task.record.containers[i];
        let (phase, exit_code) = match &c.phase {
            Phase::Waiting => ("waiting", None),
            Phase::Pulled => ("pulled", None),
            Phase::Created { .. } => ("created", None),
            Phase::Starting { .. } => ("starting", None),
            Phase::Discarding { .. } => ("discarding", None),
            Phase::Running { .. } => ("running", None),
            Phase::Restarting { ended, .. } => ("restarting", ended.exit_code),
            Phase::Stopped(stopped) => ("stopped", stopped.exit_code),
        };
        ContainerLine {
            name: c.name.to_string(),
            phase,
            runtime_id: c.phase.id().map(str::to_owned),
            exit_code,
            restarts: c.restarts.count,
            ports: c.ports.iter().map(|p| format!("{}->{}/{}", p.host_port, p.container_port, p.protocol)).collect(),
            pull: self.pull_progress(task, i),
        }
    }
}

/// By reference, as serde asks.
const fn is_zero(count: &u32) -> bool {
    *count == 0
}
