//! Small definitions.

use longshore_model::{
    ClusterName, ContainerName, ContainerSpec, HostPort, Lifecycle, LinuxParameters, NetworkMode, PortMapping,
    Protocol, TaskId, TaskSpec,
};
use std::collections::BTreeMap;

/// A port mapping.
pub(crate) fn port(container_port: u16, host_port: HostPort, protocol: Protocol) -> PortMapping {
    PortMapping { container_port, host_port, protocol, count: 1 }
}

/// A container.
pub(crate) fn container(name: &str, ports: &[PortMapping]) -> ContainerSpec {
    ContainerSpec {
        name: ContainerName::new(name).expect("a name"),
        arn_id: String::new(),
        image: "busybox".into(),
        image_digest: None,
        repository_credentials: None,
        essential: true,
        cpu_units: 0,
        memory_mib: None,
        memory_reservation_mib: None,
        entry_point: None,
        command: None,
        working_directory: None,
        user: None,
        hostname: None,
        environment: Vec::new(),
        environment_files: Vec::new(),
        port_mappings: ports.to_vec(),
        mount_points: Vec::new(),
        volumes_from: Vec::new(),
        readonly_root: false,
        privileged: false,
        interactive: false,
        pseudo_terminal: false,
        disable_networking: false,
        ulimits: Vec::new(),
        linux: LinuxParameters::default(),
        docker_labels: BTreeMap::new(),
        dns_servers: Vec::new(),
        dns_search: Vec::new(),
        extra_hosts: Vec::new(),
        links: Vec::new(),
        security_options: Vec::new(),
        sysctls: BTreeMap::new(),
        log: None,
        stop_timeout_secs: None,
        gpu_ids: Vec::new(),
        lifecycle: Lifecycle::default(),
    }
}

/// A bridge task of essential containers with these ports.
pub(crate) fn spec(containers: &[(&str, &[PortMapping])]) -> TaskSpec {
    TaskSpec {
        id: TaskId::random(),
        arn: "arn:aws:ecs:lab:123456789012:task/default/x".into(),
        cluster: ClusterName::new("default").expect("a name"),
        family: "web".into(),
        revision: 1,
        group: "family:web".into(),
        network_mode: NetworkMode::Bridge,
        awsvpc: None,
        pid_mode: None,
        ipc_mode: None,
        cpu_units: None,
        memory_mib: None,
        containers: containers.iter().map(|(name, ports)| container(name, ports)).collect(),
        volumes: Vec::new(),
        pull_only: false,
        ephemeral_storage_mib: None,
        fence: None,
        launch_type: String::new(),
        tags: BTreeMap::new(),
    }
}
