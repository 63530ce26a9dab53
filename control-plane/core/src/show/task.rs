//! Tasks.

use crate::commands::REASON_MAX;
use crate::needs::container_override;
use crate::records::{Connection, Moment, Task, TaskContainer};
use crate::show::{arn_in, tags, time};
use crate::state::State;
use longshore_ecs_api::enums::{
    Connectivity, HealthStatus as ApiHealth, ManagedAgentName, TaskStopCode, TransportProtocol,
};
use longshore_ecs_api::types::{
    self, Attachment, Attribute, Container, ContainerDefinition, ContainerOverride, EphemeralStorage, KeyValuePair,
    ManagedAgent, NetworkBinding, NetworkInterface, TaskOverride,
};
use longshore_model::arn::Resource;
use longshore_model::{AccountId, Arn, ContainerReport, ContainerStatus, HealthStatus, Protocol, TaskStatus};

/// Attributes of its host that a task shows.
const ARCHITECTURE: &str = "ecs.cpu-architecture";
const ZONE: &str = "ecs.availability-zone";

/// What is shown of a task beside what always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct With {
    pub(crate) tags: bool,
    /// What happened to it, as an attachment of a type that ECS does not have.
    pub(crate) history: bool,
}

impl With {
    pub(crate) const TAGS: Self = Self { tags: true, history: false };
}

/// The type of the attachment with what happened to a task.
const HISTORY: &str = "longshore.history";

/// A task.
pub(crate) fn task(account: &AccountId, state: &State, task: &Task, with: With) -> types::Task {
    let cluster = &task.cluster;
    let arn = |resource| Some(arn_in(account, cluster, resource));
    let host = state.host(task.instance);
    let attribute = |name| host.and_then(|h| h.view.offer.attributes.get(name)).and_then(|a| a.value.clone());
    let definition = Arn {
        region: task.definition.region.clone(),
        account: account.clone(),
        resource: Resource::TaskDefinition(task.definition.family.to_string(), task.definition.revision),
    };
    let body = state.definition(&task.definition).map(|d| &*d.body);
    let defined = body.and_then(|b| b.container_definitions.as_deref()).unwrap_or(&[]);
    let connected = host.filter(|h| h.record.is_connected());
    let connected_since = connected.map(|h| match h.record.connection {
        Connection::Connected { since, .. } | Connection::Disconnected { since } => since,
    });
    types::Task {
        task_arn: arn(Resource::Task(cluster.name.clone(), task.id)),
        cluster_arn: arn(Resource::Cluster(cluster.name.clone())),
        task_definition_arn: Some(definition.to_string()),
        container_instance_arn: arn(Resource::ContainerInstance(cluster.name.clone(), task.instance)),
        attachments: Some(attachment(task).into_iter().chain(with.history.then(|| history(task))).collect()),
        attributes: Some(
            attribute(ARCHITECTURE)
                .map(|value| Attribute {
                    name: Some(ARCHITECTURE.to_owned()),
                    value: Some(value),
                    target_id: None,
                    target_type: None,
                })
                .into_iter()
                .collect(),
        ),
        availability_zone: attribute(ZONE),
        connectivity: Some(if connected.is_some() { Connectivity::Connected } else { Connectivity::Disconnected }),
        // When the task was last connected: with the agent's session, and not before its first word of it.
        connectivity_at: task.connectivity_at.map(|at| time(connected_since.map_or(at, |since| since.max(at)))),
        containers: Some(
            defined.iter().zip(&task.containers).map(|(c, given)| container(account, task, c, given)).collect(),
        ),
        cpu: Some(task.claim.cpu_units.to_string()),
        memory: Some(task.claim.memory_mib.to_string()),
        created_at: Some(time(task.created_at)),
        desired_status: Some(task.desired.as_str().to_owned()),
        last_status: Some(task.status.as_str().to_owned()),
        enable_execute_command: Some(task.execute_command),
        group: Some(task.group.to_string()),
        health_status: Some(health(task, defined)),
        inference_accelerators: Some(Vec::new()),
        launch_type: Some(task.launch_type.clone()),
        overrides: Some(overrides(task, defined)),
        started_by: task.started_by.as_ref().map(ToString::to_string),
        stop_code: task.stop.as_ref().and_then(|s| s.code).map(|code| TaskStopCode::from(code.as_str())),
        stopped_reason: task.stop.as_ref().map(|stop| stop.reason.clone()),
        pull_started_at: task.pull_started_at.map(time),
        pull_stopped_at: task.pull_stopped_at.map(time),
        started_at: task.started_at.map(time),
        stopping_at: task.stopping_at.map(time),
        execution_stopped_at: task.execution_stopped_at.map(time),
        stopped_at: task.stopped_at.map(time),
        tags: Some(if with.tags { tags(&task.tags) } else { Vec::new() }),
        version: Some(i64::try_from(task.version).unwrap_or(i64::MAX)),
        capacity_provider_name: task.capacity_provider.as_ref().map(ToString::to_string),
        ephemeral_storage: (task.claim.disk_mib > 0).then(|| EphemeralStorage {
            size_in_gi_b: Some(i32::try_from(task.claim.disk_mib / 1024).unwrap_or(i32::MAX)),
        }),
        fargate_ephemeral_storage: None,
        platform_family: None,
        platform_version: None,
        trusted_execution_summary: None,
    }
}

fn container(account: &AccountId, task: &Task, c: &ContainerDefinition, given: &TaskContainer) -> Container {
    let reported = report(task, c);
    let over = container_override(task.overrides.as_deref(), c);
    let status = match (task.is_live(), reported) {
        (false, _) => ContainerStatus::Stopped,
        (true, Some(report)) => report.status,
        (true, None) => ContainerStatus::Pending,
    };
    let cluster = &task.cluster;
    let arn = |resource| Some(arn_in(account, cluster, resource));
    let number = |n: Option<i32>| n.map(|n| n.to_string());
    Container {
        container_arn: arn(Resource::Container(cluster.name.clone(), task.id, given.arn_id.to_string())),
        task_arn: arn(Resource::Task(cluster.name.clone(), task.id)),
        name: c.name.clone(),
        image: c.image.clone(),
        image_digest: reported.and_then(|r| r.image_digest.clone()),
        runtime_id: reported.and_then(|r| r.runtime_id.clone()),
        last_status: Some(status.as_str().to_owned()),
        exit_code: reported.and_then(|r| r.exit_code),
        reason: reported
            .and_then(|r| r.reason.clone())
            .or_else(|| waiting(task, status))
            .or_else(|| reported.and_then(warned)),
        network_bindings: Some(reported.map(bindings).unwrap_or_default()),
        network_interfaces: Some(network_interface(task).into_iter().collect()),
        health_status: Some(api_health(container_health(reported))),
        cpu: number(over.and_then(|o| o.cpu).or(c.cpu).or(Some(0))),
        memory: number(over.and_then(|o| o.memory).or(c.memory)),
        memory_reservation: number(over.and_then(|o| o.memory_reservation).or(c.memory_reservation)),
        gpu_ids: Some(given.gpu_ids.clone()).filter(|ids| !ids.is_empty()),
        gpu_sharing_strategy: None,
        managed_agents: task.execute_command.then(|| vec![managed_agent(task, status)]),
        neuron_device_ids: None,
    }
}

/// What executes commands in a container. ECS has one in each; here it is the host's agent, which is there as long as
/// the container runs.
fn managed_agent(task: &Task, status: ContainerStatus) -> ManagedAgent {
    ManagedAgent {
        name: Some(ManagedAgentName::ExecuteCommandAgent),
        last_status: Some(status.as_str().to_owned()),
        last_started_at: task.started_at.map(time).filter(|_| status == ContainerStatus::Running),
        reason: None,
    }
}

/// What a container that is not started yet waits for, or one whose task does not get on with its stop. ECS has no
/// field for it, and shows reasons here.
fn waiting(task: &Task, status: ContainerStatus) -> Option<String> {
    let stops = task.status > TaskStatus::Running;
    let what = task.waiting_for.as_ref().filter(|_| stops || status == ContainerStatus::Pending)?;
    Some("Waiting for ".chars().chain(what.chars()).take(REASON_MAX).collect())
}

/// What the engine left out of what the container's definition asks for. ECS has no field for it either.
fn warned(report: &ContainerReport) -> Option<String> {
    let all = report.warnings.join("; ");
    (!all.is_empty()).then(|| "The container engine warns: ".chars().chain(all.chars()).take(REASON_MAX).collect())
}

/// The interface of a task that asks for one.
fn attachment(task: &Task) -> Option<Attachment> {
    let spec = task.awsvpc.as_deref()?;
    let eni = task.eni.as_deref();
    let status = match (task.is_live(), eni) {
        (false, _) => "DELETED",
        (true, Some(eni)) if eni.attached => "ATTACHED",
        (true, Some(_)) => "DETACHED",
        // No word yet of the agent that will make it.
        (true, None) if task.report_version == 0 => "PRECREATED",
        (true, None) => "ATTACHING",
    };
    let known = eni.map(|eni| {
        [
            ("networkInterfaceId", eni.id.to_string()),
            ("macAddress", eni.mac.to_string()),
            ("privateDnsName", eni.host_name()),
            ("privateIPv4Address", eni.ipv4.to_string()),
        ]
    });
    let ipv6 = eni.and_then(|eni| eni.ipv6).map(|address| ("ipv6Address", address.to_string()));
    let details = [("subnetId", spec.subnet.to_string())].into_iter().chain(known.into_iter().flatten()).chain(ipv6);
    let detail = |(name, value): (&str, String)| KeyValuePair { name: Some(name.to_owned()), value: Some(value) };
    Some(Attachment {
        id: Some(spec.attachment_id.clone()),
        r#type: Some("ElasticNetworkInterface".to_owned()),
        status: Some(status.to_owned()),
        details: Some(details.map(detail).collect()),
    })
}

/// What happened to a task: for each moment its time (RFC 3339) and what it was, with the container's name before it
/// where it was one's.
fn history(task: &Task) -> Attachment {
    let detail = |moment: &Moment| {
        let container = moment.container.as_ref().map(|name| format!("container `{name}`: ")).unwrap_or_default();
        let what = format!("{container}{}", moment.what);
        KeyValuePair { name: Some(moment.at.to_string()), value: Some(what) }
    };
    Attachment {
        id: Some(task.id.to_string()),
        r#type: Some(HISTORY.to_owned()),
        status: Some("ATTACHED".to_owned()),
        details: Some(task.history.iter().map(detail).collect()),
    }
}

/// A container shares its task's interface.
fn network_interface(task: &Task) -> Option<NetworkInterface> {
    let (spec, eni) = (task.awsvpc.as_deref()?, task.eni.as_deref()?);
    Some(NetworkInterface {
        attachment_id: Some(spec.attachment_id.clone()),
        private_ipv4_address: Some(eni.ipv4.to_string()),
        ipv6_address: eni.ipv6.map(|address| address.to_string()),
    })
}

fn report<'a>(task: &'a Task, c: &ContainerDefinition) -> Option<&'a ContainerReport> {
    task.reported.iter().find(|report| Some(report.name.as_str()) == c.name.as_deref())
}

fn bindings(report: &ContainerReport) -> Vec<NetworkBinding> {
    let binding = |b: &longshore_model::NetworkBinding| {
        let single = b.count == 1;
        let range = |first: u16| (!single).then(|| format!("{first}-{}", first.saturating_add(b.count - 1)));
        NetworkBinding {
            bind_ip: Some(b.bind_ip.clone()),
            container_port: single.then(|| b.container_port.into()),
            host_port: single.then(|| b.host_port.into()),
            protocol: Some(match b.protocol {
                Protocol::Tcp => TransportProtocol::Tcp,
                Protocol::Udp => TransportProtocol::Udp,
            }),
            container_port_range: range(b.container_port),
            host_port_range: range(b.host_port),
        }
    };
    report.bindings.iter().map(binding).collect()
}

/// What ECS shows of the overrides: an entry for each container, whether or not it has some.
fn overrides(task: &Task, defined: &[ContainerDefinition]) -> TaskOverride {
    let given = task.overrides.as_deref();
    let entry = |c: &ContainerDefinition| {
        let own = container_override(given, c).cloned();
        own.unwrap_or_else(|| ContainerOverride { name: c.name.clone(), ..ContainerOverride::default() })
    };
    TaskOverride {
        container_overrides: Some(defined.iter().map(entry).collect()),
        inference_accelerator_overrides: Some(Vec::new()),
        ..given.cloned().unwrap_or_default()
    }
}

/// Whether the container has a health check: its definition's, else that of its image, which only the agent knows.
fn has_check(c: &ContainerDefinition, reported: Option<&ContainerReport>) -> bool {
    match c.health_check.as_ref().and_then(|check| check.command.as_ref()?.first()) {
        Some(kind) => kind != "NONE",
        None => reported.is_some_and(|report| report.has_check),
    }
}

fn container_health(reported: Option<&ContainerReport>) -> HealthStatus {
    reported.map_or(HealthStatus::Unknown, |report| report.health)
}

/// Healthy when all essential containers with a check are, unhealthy when one is not, else unknown.
fn health(task: &Task, defined: &[ContainerDefinition]) -> ApiHealth {
    api_health(match health_of(task, defined) {
        TaskHealth::Unhealthy => HealthStatus::Unhealthy,
        TaskHealth::Unknown | TaskHealth::Unchecked => HealthStatus::Unknown,
        TaskHealth::Healthy => HealthStatus::Healthy,
    })
}

/// What the checks of a task's essential containers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskHealth {
    /// There are none.
    Unchecked,
    /// One has not answered yet.
    Unknown,
    /// All are well.
    Healthy,
    /// One is not.
    Unhealthy,
}

/// The health of a task, by its definition and its last report.
pub(crate) fn task_health(state: &State, task: &Task) -> TaskHealth {
    let body = state.definition(&task.definition).map(|d| &*d.body);
    health_of(task, body.and_then(|b| b.container_definitions.as_deref()).unwrap_or(&[]))
}

fn health_of(task: &Task, defined: &[ContainerDefinition]) -> TaskHealth {
    let essential = defined.iter().filter(|c| c.essential.unwrap_or(true)).map(|c| (c, report(task, c)));
    let checked = essential.filter(|(c, reported)| has_check(c, *reported));
    let all: Vec<HealthStatus> = checked.map(|(_, reported)| container_health(reported)).collect();
    if all.is_empty() {
        TaskHealth::Unchecked
    } else if all.contains(&HealthStatus::Unhealthy) {
        TaskHealth::Unhealthy
    } else if all.contains(&HealthStatus::Unknown) {
        TaskHealth::Unknown
    } else {
        TaskHealth::Healthy
    }
}

fn api_health(health: HealthStatus) -> ApiHealth {
    match health {
        HealthStatus::Healthy => ApiHealth::Healthy,
        HealthStatus::Unhealthy => ApiHealth::Unhealthy,
        HealthStatus::Unknown => ApiHealth::Unknown,
    }
}
