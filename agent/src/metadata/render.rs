//! From what is known of a task to the answers. Pure.

use super::details::Seen;
use super::documents::{Container, Health, Limits, Network, Port, Task, Volume};
use super::route::Version;
use crate::engine::TaskView;
use longshore_docker::LogTarget;
use longshore_model::arn::Resource;
use longshore_model::{Arn, NetworkConfig, NetworkMode, TaskStatus, Timestamp};
use longshore_plan::{Phase, Wish};
use std::collections::BTreeMap;

/// A label of ours that is of no use to a task, and long.
const SUPERVISE: &str = "longshore.supervise";
/// Those of ours that are empty where they say nothing begin like this.
const LOGS: &str = "longshore.log-";

/// CPU units of one vCPU.
const UNITS: u32 = 1024;

/// The gateway of every task with an interface of its own.
const GATEWAY: &str = "169.254.170.1/32";

/// What an answer depends on beside the task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) version: Version,
    /// The network of tasks with an interface.
    pub(super) network: Option<&'a NetworkConfig>,
    /// The host's zone.
    pub(super) zone: Option<&'a str>,
}

/// The whole task; `seen` has what the container engine knows of each container, where it answers.
pub(super) fn task(view: &TaskView, seen: &[Option<&Seen>], tags: bool, context: Context<'_>) -> Task {
    let (outline, record) = (&view.outline, &view.record);
    let spec = view.spec.as_deref();
    let v4 = context.version == Version::V4;
    let limits = spec.filter(|spec| spec.cpu_units.is_some() || spec.memory_mib.is_some());
    Task {
        cluster: outline.cluster.clone(),
        task_arn: outline.arn.clone(),
        family: outline.family.clone(),
        revision: outline.revision.to_string(),
        service_name: outline.group.strip_prefix("service:").filter(|_| v4).map(str::to_owned),
        desired_status: desired(view),
        known_status: known(view),
        limits: limits.map(|spec| Limits { cpu: spec.cpu_units.and_then(vcpus), memory: spec.memory_mib }),
        pull_started_at: time(record.times.pull_started_at),
        pull_stopped_at: time(record.times.pull_stopped_at),
        execution_stopped_at: time(record.times.execution_stopped_at),
        availability_zone: context.zone.map(str::to_owned),
        launch_type: spec.map(|spec| spec.launch_type.clone()).filter(|kind| v4 && !kind.is_empty()),
        task_tags: spec.map(|spec| spec.tags.clone()).filter(|all| tags && !all.is_empty()),
        containers: (0..record.containers.len())
            .map(|i| container(view, i, seen.get(i).copied().flatten(), context))
            .collect(),
        fault_injection_enabled: v4.then_some(false),
    }
}

/// One container of a task.
pub(super) fn container(view: &TaskView, index: usize, seen: Option<&Seen>, context: Context<'_>) -> Container {
    let record = &view.record.containers[index];
    let spec = view.container_spec(index);
    let v4 = context.version == Version::V4;
    let (exit_code, finished_at) = match &record.phase {
        Phase::Stopped(stopped) => (stopped.exit_code, Some(stopped.at)),
        Phase::Waiting
        | Phase::Pulled
        | Phase::Created { .. }
        | Phase::Starting { .. }
        | Phase::Discarding { .. }
        | Phase::Running { .. }
        | Phase::Restarting { .. } => (None, None),
    };
    let log = spec.and_then(|spec| spec.log.as_ref()).filter(|_| v4);
    Container {
        docker_id: record.phase.id().unwrap_or_default().to_owned(),
        name: record.name.to_string(),
        docker_name: longshore_docker::container_name(view.record.id, &record.name),
        image: spec.map(|spec| spec.image.clone()).unwrap_or_default(),
        image_id: seen.map(|seen| seen.image_id.clone()).unwrap_or_default(),
        ports: ports(view, index),
        labels: labels(view, index, seen),
        desired_status: desired(view),
        known_status: known_container(&record.phase),
        exit_code,
        limits: Limits {
            cpu: spec.map(|spec| spec.cpu_units.max(2).into()),
            memory: spec.and_then(|spec| spec.memory_mib.or(spec.memory_reservation_mib)),
        },
        created_at: time(seen.and_then(|seen| seen.created_at)),
        started_at: time(record.started_at),
        finished_at: time(finished_at),
        kind: "NORMAL",
        health: record.health.map(|health| Health { status: health.as_str() }),
        volumes: seen.map(|seen| volumes(view, seen)).unwrap_or_default(),
        log_driver: log.map(|log| log.driver.clone()),
        log_options: log.map(|log| log_options(view, index, &log.options)).filter(|options| !options.is_empty()),
        container_arn: container_arn(view, index).filter(|_| v4),
        // As ECS's agent does it: for a container that has a policy.
        restart_count: view.outline.containers[index].restart.as_ref().map(|_| record.restarts.count),
        networks: networks(view, index, seen, context),
    }
}

/// What is wanted of a task.
pub(super) fn desired(view: &TaskView) -> &'static str {
    let stops = match view.record.wish {
        Wish::Unknown | Wish::Run => view.record.ending.is_some(),
        Wish::Stop { .. } | Wish::Forget { .. } => true,
    };
    if stops { "STOPPED" } else { "RUNNING" }
}

/// The words of ECS's agent for a task: those of the API are not the same.
pub(super) fn known(view: &TaskView) -> &'static str {
    let record = &view.record;
    let created = |phase: &Phase| !matches!(phase, Phase::Waiting | Phase::Pulled);
    match record.reached {
        TaskStatus::Stopped | TaskStatus::Deprovisioning => "STOPPED",
        TaskStatus::Running | TaskStatus::Deactivating => "RUNNING",
        TaskStatus::Stopping if record.times.started_at.is_some() => "RUNNING",
        TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating | TaskStatus::Stopping => {
            if record.containers.iter().all(|container| created(&container.phase)) { "CREATED" } else { "NONE" }
        }
    }
}

/// The words of ECS's agent for a container.
pub(super) fn known_container(phase: &Phase) -> &'static str {
    match phase {
        Phase::Waiting => "NONE",
        Phase::Pulled => "PULLED",
        Phase::Created { .. } | Phase::Starting { .. } | Phase::Discarding { .. } => "CREATED",
        // To ECS's agent a container that is started again never stopped.
        Phase::Running { .. } | Phase::Restarting { .. } => "RUNNING",
        Phase::Stopped(_) => "STOPPED",
    }
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// A whole number where it is one: readers in Go take no `1.0` for an integer.
fn vcpus(units: u32) -> Option<serde_json::Number> {
    if units.is_multiple_of(UNITS) {
        return Some((units / UNITS).into());
    }
    serde_json::Number::from_f64(f64::from(units) / f64::from(UNITS))
}

/// So many ports, as far as there are any.
fn range(first: u16, count: u16) -> impl Iterator<Item = u16> {
    (0..count).map_while(move |n| first.checked_add(n))
}

fn ports(view: &TaskView, index: usize) -> Vec<Port> {
    match view.outline.network_mode {
        NetworkMode::Bridge | NetworkMode::Host => view.record.containers[index]
            .ports
            .iter()
            .flat_map(|port| {
                // As in ECS's agent a range is all its ports.
                let hosts = range(port.host_port, port.count);
                range(port.container_port, port.count).zip(hosts).map(|(container_port, host_port)| Port {
                    container_port,
                    protocol: port.protocol.as_str(),
                    host_port,
                    host_ip: Some("0.0.0.0"),
                })
            })
            .collect(),
        // The task has all its ports.
        NetworkMode::Awsvpc => view
            .container_spec(index)
            .iter()
            .flat_map(|spec| &spec.port_mappings)
            .flat_map(|port| {
                range(port.container_port, port.count).map(|number| Port {
                    container_port: number,
                    protocol: port.protocol.as_str(),
                    host_port: number,
                    host_ip: None,
                })
            })
            .collect(),
        NetworkMode::None => Vec::new(),
    }
}

fn labels(view: &TaskView, index: usize, seen: Option<&Seen>) -> BTreeMap<String, String> {
    let mut labels = match (seen, &view.spec) {
        (Some(seen), _) => seen.labels.clone(),
        (None, Some(spec)) => {
            let container = &spec.containers[index];
            let ours = longshore_docker::labels::container_labels(spec, &container.name, "");
            container.docker_labels.clone().into_iter().chain(ours).collect()
        }
        (None, None) => BTreeMap::new(),
    };
    labels.remove(SUPERVISE);
    labels.retain(|name, value| !(name.starts_with(LOGS) && value.is_empty()));
    labels
}

fn volumes(view: &TaskView, seen: &Seen) -> Vec<Volume> {
    // The files that name a task with an interface are the agent's own.
    let own = view.record.interface.as_ref().map(|interface| interface.files.as_str());
    let is_own = |source: &str| own.is_some_and(|files| source.starts_with(files));
    let mounts = seen.mounts.iter().filter(|mount| !is_own(&mount.source));
    mounts
        .map(|mount| Volume {
            docker_name: mount.name.clone(),
            source: mount.source.clone(),
            destination: mount.destination.clone(),
        })
        .collect()
}

/// Log options, and the stream that a container's output goes to where it is shipped: readers make a link of it.
/// Without a prefix it is the container's id, known once that is.
fn log_options(view: &TaskView, index: usize, options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = public_options(options);
    let target = view.spec.as_deref().zip(view.container_spec(index)).and_then(|(task, c)| LogTarget::of(task, c));
    let id = view.record.containers[index].phase.id();
    let stream = target.and_then(|target| target.stream.or_else(|| id.map(str::to_owned)));
    all.extend(stream.map(|stream| ("awslogs-stream".to_owned(), stream)));
    all
}

/// Log options, but for those that are secrets by their names (`splunk-token`).
fn public_options(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let secret = |name: &str| ["token", "secret", "password", "key"].iter().any(|part| name.contains(part));
    options.iter().filter(|(name, _)| !secret(&name.to_lowercase())).map(|(n, v)| (n.clone(), v.clone())).collect()
}

fn container_arn(view: &TaskView, index: usize) -> Option<String> {
    let arn: Arn = view.outline.arn.parse().ok()?;
    let Resource::Task(cluster, task) = arn.resource else { return None };
    let id = view.outline.containers.get(index).map(|c| c.arn_id.clone()).filter(|id| !id.is_empty())?;
    Some(Arn { resource: Resource::Container(cluster, task, id), ..arn }.to_string())
}

fn networks(view: &TaskView, index: usize, seen: Option<&Seen>, context: Context<'_>) -> Vec<Network> {
    let mode = view.outline.network_mode;
    let plain = Network { network_mode: mode.as_str(), ..Network::default() };
    if view.container_spec(index).is_some_and(|spec| spec.disable_networking) {
        return Vec::new();
    }
    let network = match mode {
        NetworkMode::Bridge => {
            let address = seen.and_then(|seen| seen.address);
            Network { ipv4_addresses: address.iter().map(ToString::to_string).collect(), ..plain }
        }
        NetworkMode::Host | NetworkMode::None => plain,
        NetworkMode::Awsvpc => {
            let Some(interface) = &view.record.interface else { return vec![plain] };
            let eni = &interface.eni;
            let addresses = Network {
                ipv4_addresses: vec![eni.ipv4.to_string()],
                ipv6_addresses: eni.ipv6.iter().map(ToString::to_string).collect(),
                ..plain
            };
            if context.version < Version::V4 {
                return vec![addresses];
            }
            let subnet6 = context.network.and_then(|network| network.v6).filter(|_| eni.ipv6.is_some());
            Network {
                attachment_index: Some(0),
                mac_address: Some(eni.mac.to_string()),
                ipv4_subnet: context.network.map(|network| network.v4.to_string()),
                ipv6_subnet: subnet6.map(|subnet| subnet.to_string()),
                private_dns_name: Some(eni.host_name()),
                gateway4: Some(GATEWAY.to_owned()),
                ..addresses
            }
        }
    };
    vec![network]
}

#[cfg(test)]
mod tests;
