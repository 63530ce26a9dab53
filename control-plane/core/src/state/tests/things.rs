//! What random sequences are made of: names, hosts, definitions, reports.

use longshore_ecs_api::enums::{NetworkMode, ResourceType, TransportProtocol};
use longshore_ecs_api::types::{ContainerDefinition, PortMapping, ResourceRequirement, TaskDefinition};
use longshore_model::{
    ClusterKey, ClusterName, ContainerName, ContainerReport, ContainerStatus, HealthStatus, HostFacts, Region,
    Resources, TaskId, TaskReport, TaskStatus,
};

pub(super) fn pick<T: Clone>(all: &[T], n: u8) -> Option<T> {
    (!all.is_empty()).then(|| all[usize::from(n) % all.len()].clone())
}

pub(super) fn region() -> Region {
    Region::new("lab").expect("a name")
}

pub(super) fn cluster(n: u8) -> ClusterKey {
    let name = if n == 0 { "default".to_owned() } else { format!("c{n}") };
    ClusterKey { region: region(), name: ClusterName::new(name).expect("a name") }
}

pub(super) fn facts(cpu_units: u32, gpus: u8) -> HostFacts {
    let gpu_ids = (0..gpus).map(|n| format!("gpu-{n}")).collect();
    HostFacts {
        resources: Resources { cpu_units, memory_mib: 1000, gpu_ids, ..Resources::default() },
        ..HostFacts::default()
    }
}

/// Small and large, with fixed ports of either protocol, with a GPU, with an interface.
pub(super) fn definition(kind: u8) -> TaskDefinition {
    let port = |host_port, protocol| PortMapping {
        container_port: Some(80),
        host_port: Some(host_port),
        protocol: Some(protocol),
        ..PortMapping::default()
    };
    let gpu = ResourceRequirement {
        r#type: Some(ResourceType::Gpu),
        value: Some("1".to_owned()),
        ..ResourceRequirement::default()
    };
    let app = ContainerDefinition {
        name: Some("app".to_owned()),
        image: Some("busybox".to_owned()),
        cpu: Some(if kind == 1 { 900 } else { 100 }),
        memory: Some(50),
        port_mappings: match kind {
            2 => Some(vec![port(8080, TransportProtocol::Tcp)]),
            3 => Some(vec![port(8080, TransportProtocol::Udp), port(53, TransportProtocol::Udp)]),
            _ => None,
        },
        resource_requirements: (kind == 4).then(|| vec![gpu]),
        ..ContainerDefinition::default()
    };
    TaskDefinition {
        container_definitions: Some(vec![app]),
        network_mode: Some(if kind == 5 { NetworkMode::Awsvpc } else { NetworkMode::Bridge }),
        ..TaskDefinition::default()
    }
}

pub(super) fn report(task: TaskId, version: u64, status: TaskStatus) -> TaskReport {
    TaskReport {
        containers: vec![ContainerReport {
            name: ContainerName::new("app").expect("a name"),
            status: ContainerStatus::Pending,
            runtime_id: None,
            image_digest: None,
            exit_code: None,
            reason: None,
            bindings: Vec::new(),
            health: HealthStatus::Unknown,
            has_check: false,
            restart_count: 0,
            warnings: Vec::new(),
        }],
        ..TaskReport::new(task, version, status)
    }
}
