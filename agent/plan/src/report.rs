//! What the control plane is told of a task.

use crate::pass::Waiting;
use crate::ports::ResolvedPort;
use crate::record::{ContainerRecord, Phase, Times};
use crate::task::Task;
use longshore_model::{
    ContainerReport, ContainerStatus, HealthStatus, NetworkBinding, StopInfo, TaskReport, TaskStatus, Timestamp,
};

impl Task {
    /// Its report. `version` is the record's; whoever publishes it raises that first.
    #[must_use]
    pub fn report(&self, waiting: &[Waiting]) -> TaskReport {
        let record = &self.record;
        let Times { pull_started_at, pull_stopped_at, started_at, execution_stopped_at, stopped_at, .. } = record.times;
        // By a clock that was turned back in between, or by that of the engine, one thing may seem to be before another
        // that it followed.
        let mut latest = None;
        let mut follow = |at: Option<Timestamp>| {
            let at = at.map(|at| latest.map_or(at, |latest| at.max(latest)));
            latest = at.or(latest);
            at
        };
        let [pull_started_at, pull_stopped_at, started_at] =
            [pull_started_at, pull_stopped_at, started_at].map(&mut follow);
        let stopping_at = record.ending.as_ref().map(|e| latest_of(e.at, started_at));
        let execution_stopped_at = follow(execution_stopped_at);
        let stopped_at = follow(stopped_at).map(|at| latest_of(at, stopping_at));
        TaskReport {
            task: record.id,
            version: record.version,
            status: record.reached,
            stop: record.ending.as_ref().map(|e| StopInfo { code: e.code, reason: e.reason.clone() }),
            waiting_for: match record.reached {
                TaskStatus::Stopped => None,
                TaskStatus::Provisioning
                | TaskStatus::Pending
                | TaskStatus::Activating
                | TaskStatus::Running
                | TaskStatus::Deactivating
                | TaskStatus::Stopping
                | TaskStatus::Deprovisioning => waiting.iter().find(|w| !w.going_on).map(|w| match &w.container {
                    Some(name) => format!("container `{name}`: {}", w.for_what),
                    None => w.for_what.clone(),
                }),
            },
            pull_started_at,
            pull_stopped_at,
            started_at,
            stopping_at,
            execution_stopped_at,
            stopped_at,
            containers: record.containers.iter().map(container).collect(),
            eni: self.eni(),
        }
    }
}

fn latest_of(at: Timestamp, other: Option<Timestamp>) -> Timestamp {
    other.map_or(at, |other| at.max(other))
}

fn container(c: &ContainerRecord) -> ContainerReport {
    let (status, exit_code, reason, ran) = match &c.phase {
        Phase::Waiting | Phase::Pulled | Phase::Created { .. } | Phase::Starting { .. } | Phase::Discarding { .. } => {
            (ContainerStatus::Pending, None, None, false)
        }
        Phase::Running { .. } | Phase::Restarting { .. } => (ContainerStatus::Running, None, c.restart_reason(), true),
        Phase::Stopped(s) => (ContainerStatus::Stopped, s.exit_code, s.reason.clone(), s.ran),
    };
    ContainerReport {
        name: c.name.clone(),
        status,
        runtime_id: c.phase.id().map(str::to_owned),
        image_digest: c.image_digest.clone(),
        exit_code,
        reason,
        bindings: if ran { c.ports.iter().map(binding).collect() } else { Vec::new() },
        health: c.health.unwrap_or(HealthStatus::Unknown),
        has_check: c.health.is_some(),
        restart_count: c.restarts.count,
        warnings: c.warnings.clone(),
    }
}

fn binding(port: &ResolvedPort) -> NetworkBinding {
    NetworkBinding {
        bind_ip: "0.0.0.0".to_owned(),
        container_port: port.container_port,
        host_port: port.host_port,
        protocol: port.protocol,
        count: port.count,
    }
}
