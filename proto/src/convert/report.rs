//! What an agent says of its tasks.

use super::{Fault, FieldError, Within, at_most, each, enumeration, id, port, ports, repeated, wire_enum};
use crate::v1;
use longshore_model::{
    ContainerName, ContainerReport, EniReport, NetworkBinding, Protocol, StopInfo, TaskId, TaskReport, Timestamp,
};
use std::collections::BTreeSet;

/// Characters of a reason. A longer one is cut when it is sent, and refused when it arrives.
const MAX_REASON: usize = 1024;
/// Characters of an engine's id or of an image's digest (ECS's agent: 255).
const MAX_TEXT: usize = 255;
/// Containers of a task. ECS allows 10; the engine's own helpers come on top.
const MAX_CONTAINERS: usize = 64;
/// Ports of a container. ECS allows 100 mappings; each may be bound on two addresses.
const MAX_BINDINGS: usize = 1000;
/// Warnings of a container. Those beyond are left out when they are sent, and refused when they arrive.
const MAX_WARNINGS: usize = 16;
/// Reports in one message.
const MAX_REPORTS: usize = 10_000;
/// The last millisecond of the year 9999: beyond it no client can show the time.
const MAX_MILLIS: i64 = 253_402_300_799_999;

wire_enum!(TaskStatus <=> TaskStatus {
    Provisioning = Provisioning,
    Pending = Pending,
    Activating = Activating,
    Running = Running,
    Deactivating = Deactivating,
    Stopping = Stopping,
    Deprovisioning = Deprovisioning,
    Stopped = Stopped,
});
wire_enum!(ContainerStatus <=> ContainerStatus { Pending = Pending, Running = Running, Stopped = Stopped });
wire_enum!(HealthStatus <=> HealthStatus { Healthy = Healthy, Unhealthy = Unhealthy, Unknown = Unknown });
wire_enum!(StopCode <=> StopCode {
    TaskFailedToStart = TaskFailedToStart,
    EssentialContainerExited = EssentialContainerExited,
    UserInitiated = UserInitiated,
    ServiceSchedulerInitiated = ServiceSchedulerInitiated,
    SpotInterruption = SpotInterruption,
    TerminationNotice = TerminationNotice,
    InfrastructureHealth = InfrastructureHealth,
});

/// A list of reports, read: what is good, and what is not.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadReports {
    /// The reports that can be read, at most one a task.
    pub reports: Vec<TaskReport>,
    /// Those that cannot. For the log: what they say is not known until their tasks are reported otherwise.
    pub unreadable: Vec<UnreadableReport>,
}

/// A report that cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub struct UnreadableReport {
    /// Of which task, where that much can be read.
    pub task: Option<TaskId>,
    /// The field at fault.
    pub error: FieldError,
}

/// Reads a list of reports, at most one a task. One that cannot be read does not void the rest, nor does a second one
/// of a task.
///
/// # Errors
/// When there are more than any agent sends. The path of this, and of what is wrong with a report, begins with `field`.
pub fn read_reports(field: &str, reports: Vec<v1::TaskReport>) -> Result<ReadReports, FieldError> {
    at_most(field, reports.len(), MAX_REPORTS)?;
    let mut read = ReadReports { reports: Vec::with_capacity(reports.len()), unreadable: Vec::new() };
    let mut seen = BTreeSet::new();
    for (i, report) in reports.into_iter().enumerate() {
        let task: Option<TaskId> = report.task.parse().ok();
        let error = match TaskReport::try_from(report).within_item(field, i) {
            Ok(report) if seen.insert(report.task) => {
                read.reports.push(report);
                continue;
            }
            Ok(report) => FieldError::new(format!("{field}[{i}].task"), Fault::Repeated(report.task.to_string())),
            Err(error) => error,
        };
        read.unreadable.push(UnreadableReport { task, error });
    }
    Ok(read)
}

/// The first [`MAX_REASON`] characters.
fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(MAX_REASON) {
        text.truncate(at);
    }
    text
}

impl From<TaskReport> for v1::TaskReport {
    fn from(report: TaskReport) -> Self {
        let millis = |time: Option<Timestamp>| time.map(Timestamp::millis);
        Self {
            task: report.task.to_string(),
            version: report.version,
            status: v1::TaskStatus::from(report.status).into(),
            stop: report.stop.map(Into::into),
            waiting_for: report.waiting_for.map(cut),
            pull_started_at: millis(report.pull_started_at),
            pull_stopped_at: millis(report.pull_stopped_at),
            started_at: millis(report.started_at),
            stopping_at: millis(report.stopping_at),
            execution_stopped_at: millis(report.execution_stopped_at),
            stopped_at: millis(report.stopped_at),
            containers: report.containers.into_iter().map(Into::into).collect(),
            eni: report.eni.map(Into::into),
        }
    }
}

impl TryFrom<v1::TaskReport> for TaskReport {
    type Error = FieldError;

    fn try_from(report: v1::TaskReport) -> Result<Self, FieldError> {
        at_most("containers", report.containers.len(), MAX_CONTAINERS)?;
        let containers: Vec<ContainerReport> = each("containers", report.containers)?;
        if let Some(name) = repeated(containers.iter().map(|container| &container.name)) {
            return Err(FieldError::new("containers", Fault::Repeated(name)));
        }
        Ok(Self {
            task: id("task", report.task.parse())?,
            version: report.version,
            status: enumeration::<v1::TaskStatus, _>("status", report.status)?,
            stop: report.stop.map(StopInfo::try_from).transpose().within("stop")?,
            waiting_for: text("waiting_for", report.waiting_for, MAX_REASON)?,
            pull_started_at: time("pull_started_at", report.pull_started_at)?,
            pull_stopped_at: time("pull_stopped_at", report.pull_stopped_at)?,
            started_at: time("started_at", report.started_at)?,
            stopping_at: time("stopping_at", report.stopping_at)?,
            execution_stopped_at: time("execution_stopped_at", report.execution_stopped_at)?,
            stopped_at: time("stopped_at", report.stopped_at)?,
            containers,
            eni: report.eni.map(EniReport::try_from).transpose().within("eni")?,
        })
    }
}

impl From<StopInfo> for v1::StopInfo {
    fn from(stop: StopInfo) -> Self {
        let code = stop.code.map_or(v1::StopCode::Unspecified, v1::StopCode::from);
        Self { code: code.into(), reason: cut(stop.reason) }
    }
}

impl TryFrom<v1::StopInfo> for StopInfo {
    type Error = FieldError;

    fn try_from(stop: v1::StopInfo) -> Result<Self, FieldError> {
        let code = match stop.code {
            code if code == v1::StopCode::Unspecified as i32 => None,
            code => Some(enumeration::<v1::StopCode, _>("code", code)?),
        };
        at_most("reason", stop.reason.chars().count(), MAX_REASON)?;
        Ok(Self { code, reason: stop.reason })
    }
}

impl From<ContainerReport> for v1::ContainerReport {
    fn from(container: ContainerReport) -> Self {
        Self {
            name: container.name.into(),
            status: v1::ContainerStatus::from(container.status).into(),
            runtime_id: container.runtime_id,
            image_digest: container.image_digest,
            exit_code: container.exit_code,
            reason: container.reason.map(cut),
            bindings: container.bindings.into_iter().map(Into::into).collect(),
            health: v1::HealthStatus::from(container.health).into(),
            has_check: container.has_check,
            restart_count: container.restart_count,
            warnings: container.warnings.into_iter().take(MAX_WARNINGS).map(cut).collect(),
        }
    }
}

impl TryFrom<v1::ContainerReport> for ContainerReport {
    type Error = FieldError;

    fn try_from(container: v1::ContainerReport) -> Result<Self, FieldError> {
        at_most("bindings", container.bindings.len(), MAX_BINDINGS)?;
        at_most("warnings", container.warnings.len(), MAX_WARNINGS)?;
        for (i, warning) in container.warnings.iter().enumerate() {
            at_most(&format!("warnings[{i}]"), warning.chars().count(), MAX_REASON)?;
        }
        Ok(Self {
            name: id("name", ContainerName::new(container.name))?,
            status: enumeration::<v1::ContainerStatus, _>("status", container.status)?,
            runtime_id: text("runtime_id", container.runtime_id, MAX_TEXT)?,
            image_digest: text("image_digest", container.image_digest, MAX_TEXT)?,
            exit_code: container.exit_code,
            reason: text("reason", container.reason, MAX_REASON)?,
            bindings: each("bindings", container.bindings)?,
            health: enumeration::<v1::HealthStatus, _>("health", container.health)?,
            has_check: container.has_check,
            restart_count: container.restart_count,
            warnings: container.warnings,
        })
    }
}

impl From<NetworkBinding> for v1::NetworkBinding {
    fn from(binding: NetworkBinding) -> Self {
        Self {
            bind_ip: binding.bind_ip,
            container_port: binding.container_port.into(),
            host_port: binding.host_port.into(),
            protocol: v1::Protocol::from(binding.protocol).into(),
            count: binding.count.into(),
        }
    }
}

impl TryFrom<v1::NetworkBinding> for NetworkBinding {
    type Error = FieldError;

    fn try_from(binding: v1::NetworkBinding) -> Result<Self, FieldError> {
        if binding.bind_ip.parse::<std::net::IpAddr>().is_err() {
            return Err(FieldError::new("bind_ip", Fault::Rule("is not an address")));
        }
        let container_port = port("container_port", binding.container_port)?;
        let host_port = port("host_port", binding.host_port)?;
        Ok(Self {
            bind_ip: binding.bind_ip,
            container_port,
            host_port,
            count: ports("count", binding.count, container_port.max(host_port))?,
            protocol: enumeration::<v1::Protocol, Protocol>("protocol", binding.protocol)?,
        })
    }
}

fn text(field: &str, value: Option<String>, max: usize) -> Result<Option<String>, FieldError> {
    if let Some(value) = &value {
        at_most(field, value.chars().count(), max)?;
    }
    Ok(value)
}

fn time(field: &str, millis: Option<i64>) -> Result<Option<Timestamp>, FieldError> {
    match millis {
        Some(value) if !(0..=MAX_MILLIS).contains(&value) => {
            Err(FieldError::new(field, Fault::Range { value, min: 0, max: MAX_MILLIS }))
        }
        millis => Ok(millis.map(Timestamp::from_millis)),
    }
}
