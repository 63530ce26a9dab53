//! Small definitions.

use longshore_model::{
    ClusterName, ContainerName, ContainerSpec, HostPort, NetworkMode, PortMapping, Protocol, TaskId, TaskSpec,
};

/// A port mapping.
pub(crate) fn port(container_port: u16, host_port: HostPort, protocol: Protocol) -> PortMapping {
    PortMapping { container_port, host_port, protocol, count: 1 }
}

/// A container.
pub(crate) fn container(name: &str, ports: &[PortMapping]) -> ContainerSpec {
    let name = ContainerName::new(name).expect("a name");
    ContainerSpec { port_mappings: ports.to_vec(), ..ContainerSpec::new(name, "busybox") }
}

/// A bridge task of essential containers with these ports.
pub(crate) fn spec(containers: &[(&str, &[PortMapping])]) -> TaskSpec {
    let containers = containers.iter().map(|(name, ports)| container(name, ports)).collect();
    let cluster = ClusterName::new("default").expect("a name");
    TaskSpec {
        arn: "arn:aws:ecs:lab:123456789012:task/default/x".into(),
        ..TaskSpec::new(TaskId::random(), cluster, "web", NetworkMode::Bridge, containers)
    }
}
