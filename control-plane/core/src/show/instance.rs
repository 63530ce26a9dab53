//! Container instances.

use crate::capacity::pool_of;
use crate::records::Connection;
use crate::show::{arn_in, count, tags, time};
use crate::state::{HostState, State};
use longshore_ecs_api::enums::{ContainerInstanceField, InstanceHealthCheckState, InstanceHealthCheckType};
use longshore_ecs_api::types::{
    Attribute, ContainerInstance, ContainerInstanceHealthStatus, InstanceHealthCheckResult, Resource as ApiResource,
    VersionInfo,
};
use longshore_model::arn::Resource;
use longshore_model::health::CONTAINER_RUNTIME;
use longshore_model::{AccountId, CheckResult, CheckStatus, InstanceHealth, NetworkHealth};
use std::collections::BTreeSet;

/// What of an instance is shown beside what always is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct InstanceShow {
    pub(crate) tags: bool,
    pub(crate) health: bool,
}

impl InstanceShow {
    /// As the operations answer that change an instance.
    pub(crate) const CHANGED: Self = Self { tags: true, health: false };

    /// What `include` asks for.
    pub(crate) fn new(include: &[ContainerInstanceField]) -> Self {
        let mut show = Self::default();
        for field in include {
            match field {
                ContainerInstanceField::Tags => show.tags = true,
                ContainerInstanceField::ContainerInstanceHealth => show.health = true,
                ContainerInstanceField::Other(_) => {}
            }
        }
        show
    }
}

/// A container instance; `known` is what its agent said last.
pub(crate) fn instance(
    account: &AccountId,
    state: &State,
    host: &HostState,
    show: InstanceShow,
    known: Option<&InstanceHealth>,
) -> ContainerInstance {
    let record = &*host.record;
    let versions = &record.facts.versions;
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    ContainerInstance {
        container_instance_arn: Some(arn_in(
            account,
            &record.cluster,
            Resource::ContainerInstance(record.cluster.name.clone(), record.id),
        )),
        ec2_instance_id: text(&record.facts.hostname),
        version: Some(i64::try_from(record.version).unwrap_or(i64::MAX)),
        version_info: Some(VersionInfo {
            agent_version: text(&versions.agent),
            agent_hash: text(&versions.agent_hash),
            // As ECS's agent words it.
            docker_version: text(&versions.docker).map(|version| format!("DockerVersion: {version}")),
        }),
        registered_resources: Some(registered(host)),
        remaining_resources: Some(remaining(host)),
        status: Some(record.status.as_str().to_owned()),
        agent_connected: Some(record.is_connected()),
        running_tasks_count: count(host.view.running_tasks),
        pending_tasks_count: count(host.view.pending_tasks),
        attributes: Some(attributes(host)),
        registered_at: Some(time(record.registered_at)),
        attachments: Some(Vec::new()),
        tags: Some(if show.tags { tags(&record.tags) } else { Vec::new() }),
        health_status: show.health.then(|| health(host, known)),
        agent_update_status: None,
        capacity_provider_name: provider(state, host),
        gpu_devices: None,
        status_reason: status_reason(state, host),
    }
}

/// Why it should be given no task for its disk, and why it cannot give tasks interfaces, when it should. ECS has no
/// other place for it.
fn status_reason(state: &State, host: &HostState) -> Option<String> {
    if !host.record.status.is_registered() {
        return None;
    }
    let disk = host.view.disk.as_ref().and_then(|disk| disk.status().short.clone());
    let network = match state.network_health(host) {
        None | Some(NetworkHealth::Ready) => None,
        Some(NetworkHealth::Degraded { reason }) => Some(format!("Task networking is not available: {reason}")),
    };
    let all: Vec<String> = disk.into_iter().chain(network).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// The capacity provider that it is in, if its cluster uses it.
fn provider(state: &State, host: &HostState) -> Option<String> {
    let name = pool_of(host)?;
    let cluster = state.cluster(&host.record.cluster)?;
    cluster.record.capacity_providers.iter().find(|provider| *provider == name).cloned()
}

/// An instance's attributes, by name.
pub(crate) fn attributes(host: &HostState) -> Vec<Attribute> {
    let mut all: Vec<Attribute> = host
        .record
        .attributes()
        .map(|(name, value)| Attribute {
            name: Some(name.to_owned()),
            value: value.map(str::to_owned),
            target_id: None,
            target_type: None,
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn registered(host: &HostState) -> Vec<ApiResource> {
    let offer = &host.view.offer;
    let ports = |ports: &BTreeSet<u16>| ports.iter().map(u16::to_string).collect();
    let mut all = vec![
        integer("CPU", u64::from(offer.cpu_units)),
        integer("MEMORY", u64::from(offer.memory_mib)),
        set("PORTS", ports(&offer.reserved_tcp)),
        set("PORTS_UDP", ports(&offer.reserved_udp)),
    ];
    // ECS has no such resource; its clients read the list by names.
    if offer.disk_mib > 0 {
        all.push(integer("DISK", offer.disk_mib.into()));
    }
    if !offer.gpu_ids.is_empty() {
        all.push(set("GPU", offer.gpu_ids.clone()));
    }
    all
}

/// CPU, memory, disk and GPUs that are free; ports that are not, as ECS has it.
fn remaining(host: &HostState) -> Vec<ApiResource> {
    let (offer, usage) = (&host.view.offer, &host.view.usage);
    let ports = |reserved: &BTreeSet<u16>, used: &[u16]| {
        let all: BTreeSet<u16> = reserved.iter().chain(used).copied().collect();
        all.iter().map(u16::to_string).collect()
    };
    let mut all = vec![
        integer("CPU", host.view.free_cpu_units()),
        integer("MEMORY", host.view.free_memory_mib()),
        set("PORTS", ports(&offer.reserved_tcp, usage.tcp())),
        set("PORTS_UDP", ports(&offer.reserved_udp, usage.udp())),
    ];
    if offer.disk_mib > 0 {
        all.push(integer("DISK", host.view.free_disk_mib()));
    }
    if !offer.gpu_ids.is_empty() {
        let free = offer.gpu_ids.iter().filter(|id| !usage.gpu_ids().contains(id));
        all.push(set("GPU", free.cloned().collect()));
    }
    all
}

fn integer(name: &str, value: u64) -> ApiResource {
    ApiResource {
        name: Some(name.to_owned()),
        r#type: Some("INTEGER".to_owned()),
        integer_value: Some(i32::try_from(value).unwrap_or(i32::MAX)),
        double_value: Some(0.0),
        long_value: Some(0),
        string_set_value: None,
    }
}

fn set(name: &str, value: Vec<String>) -> ApiResource {
    ApiResource {
        name: Some(name.to_owned()),
        r#type: Some("STRINGSET".to_owned()),
        integer_value: Some(0),
        double_value: Some(0.0),
        long_value: Some(0),
        string_set_value: Some(value),
    }
}

/// A host's health: whether its agent is there, and what that found, which holds while it is.
fn health(host: &HostState, known: Option<&InstanceHealth>) -> ContainerInstanceHealthStatus {
    let (connectivity, since, reason) = match host.record.connection {
        Connection::Connected { since, .. } => (CheckStatus::Ok, since, None),
        Connection::Disconnected { since } => {
            (CheckStatus::Impaired, since, Some(format!("its agent has not been heard since {since}")))
        }
    };
    let own = CheckResult {
        check: InstanceHealthCheckType::AgentConnectivity.as_str().to_owned(),
        status: connectivity,
        reason: reason.clone(),
        checked_at: since,
        changed_at: since,
    };
    let nothing = |status| CheckResult {
        check: CONTAINER_RUNTIME.to_owned(),
        status,
        reason: reason.clone().or_else(|| Some("its agent has not said anything of it yet".to_owned())),
        checked_at: since,
        changed_at: since,
    };
    let mut checks = vec![own];
    match (connectivity, known) {
        (CheckStatus::Ok, Some(known)) => checks.extend(known.checks.iter().cloned()),
        (CheckStatus::Ok, None) => checks.push(nothing(CheckStatus::Initializing)),
        (CheckStatus::Initializing | CheckStatus::InsufficientData | CheckStatus::Impaired, _) => {
            checks.push(nothing(CheckStatus::InsufficientData));
        }
    }
    let overall = checks.iter().map(|check| check.status).max();
    let details = checks.into_iter().map(|check| InstanceHealthCheckResult {
        r#type: Some(InstanceHealthCheckType::from(check.check.as_str())),
        status: Some(api_status(check.status)),
        status_reason: check.reason,
        last_updated: Some(time(check.checked_at)),
        last_status_change: Some(time(check.changed_at)),
    });
    ContainerInstanceHealthStatus { overall_status: overall.map(api_status), details: Some(details.collect()) }
}

const fn api_status(status: CheckStatus) -> InstanceHealthCheckState {
    match status {
        CheckStatus::Ok => InstanceHealthCheckState::Ok,
        CheckStatus::Initializing => InstanceHealthCheckState::Initializing,
        CheckStatus::InsufficientData => InstanceHealthCheckState::InsufficientData,
        CheckStatus::Impaired => InstanceHealthCheckState::Impaired,
    }
}
