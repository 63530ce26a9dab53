//! What a task is made of.

use super::{Fault, FieldError, Within, absolute, each, enumeration, id, lifecycle, port, ports, repeated, wire_enum};
use crate::v1;
use longshore_model::{
    AwsvpcSpec, ClusterName, ContainerName, ContainerSpec, Device, EnvVar, Fence, HealthCheck, HostPort, Lifecycle,
    Link, LinuxParameters, LogConfig, NetworkMode, PortMapping, RestartPolicy, TaskSpec, Tmpfs, Ulimit, VolumeSpec,
};

wire_enum!(NetworkMode <=> NetworkMode { Bridge = Bridge, Host = Host, None = None, Awsvpc = Awsvpc });
wire_enum!(Protocol <=> Protocol { Tcp = Tcp, Udp = Udp });
wire_enum!(PidMode <=> PidMode { Host = Host, Task = Task });
wire_enum!(IpcMode <=> IpcMode { Host = Host, Task = Task, None = None });

impl From<TaskSpec> for v1::TaskSpec {
    fn from(spec: TaskSpec) -> Self {
        Self {
            id: spec.id.to_string(),
            arn: spec.arn,
            cluster: spec.cluster.into(),
            family: spec.family,
            revision: spec.revision,
            group: spec.group,
            network_mode: v1::NetworkMode::from(spec.network_mode).into(),
            cpu_units: spec.cpu_units,
            memory_mib: spec.memory_mib,
            containers: spec.containers.into_iter().map(Into::into).collect(),
            volumes: spec.volumes.into_iter().map(Into::into).collect(),
            awsvpc: spec.awsvpc.map(Into::into),
            pid_mode: spec.pid_mode.map_or(v1::PidMode::Unspecified, v1::PidMode::from).into(),
            ipc_mode: spec.ipc_mode.map_or(v1::IpcMode::Unspecified, v1::IpcMode::from).into(),
            tags: spec.tags.into_iter().collect(),
            launch_type: spec.launch_type,
            pull_only: spec.pull_only,
            ephemeral_storage_mib: spec.ephemeral_storage_mib,
            fence: spec.fence.map(Into::into),
        }
    }
}

impl From<Fence> for v1::Fence {
    fn from(fence: Fence) -> Self {
        Self { after_millis: fence.after_millis, grace_millis: fence.grace_millis }
    }
}

impl TryFrom<v1::Fence> for Fence {
    type Error = FieldError;

    fn try_from(fence: v1::Fence) -> Result<Self, FieldError> {
        if fence.after_millis == 0 {
            return Err(FieldError::new("after_millis", Fault::Rule("must not be 0")));
        }
        Ok(Self { after_millis: fence.after_millis, grace_millis: fence.grace_millis })
    }
}

impl TryFrom<v1::TaskSpec> for TaskSpec {
    type Error = FieldError;

    fn try_from(spec: v1::TaskSpec) -> Result<Self, FieldError> {
        let containers: Vec<ContainerSpec> = each("containers", spec.containers)?;
        let volumes: Vec<VolumeSpec> = each("volumes", spec.volumes)?;
        if let Some(name) = repeated(containers.iter().map(|container| &container.name)) {
            return Err(FieldError::new("containers", Fault::Repeated(name)));
        }
        if let Some(name) = repeated(volumes.iter().map(|volume| &volume.name)) {
            return Err(FieldError::new("volumes", Fault::Repeated(name)));
        }
        if !containers.iter().any(|container| container.essential) {
            return Err(FieldError::new("containers", Fault::Rule("must have at least one that is essential")));
        }
        for (i, container) in containers.iter().enumerate() {
            refers(container, &containers, &volumes).within(&format!("containers[{i}]"))?;
        }
        lifecycle::check_order(&containers)?;
        let network_mode = enumeration::<v1::NetworkMode, _>("network_mode", spec.network_mode)?;
        let awsvpc = spec.awsvpc.map(AwsvpcSpec::try_from).transpose().within("awsvpc")?;
        if awsvpc.is_some() != (network_mode == NetworkMode::Awsvpc) {
            let rule = "must be there in network mode awsvpc, and only there";
            return Err(FieldError::new("awsvpc", Fault::Rule(rule)));
        }
        Ok(Self {
            id: id("id", spec.id.parse())?,
            arn: spec.arn,
            cluster: id("cluster", ClusterName::new(spec.cluster))?,
            family: spec.family,
            revision: spec.revision,
            group: spec.group,
            network_mode,
            awsvpc,
            pid_mode: unless_zero("pid_mode", spec.pid_mode, enumeration::<v1::PidMode, _>)?,
            ipc_mode: unless_zero("ipc_mode", spec.ipc_mode, enumeration::<v1::IpcMode, _>)?,
            cpu_units: spec.cpu_units,
            memory_mib: spec.memory_mib,
            containers,
            volumes,
            pull_only: spec.pull_only,
            launch_type: spec.launch_type,
            ephemeral_storage_mib: spec.ephemeral_storage_mib,
            fence: spec.fence.map(Fence::try_from).transpose().within("fence")?,
            tags: spec.tags.into_iter().collect(),
        })
    }
}

/// What a container names of its task is there.
fn refers(container: &ContainerSpec, all: &[ContainerSpec], volumes: &[VolumeSpec]) -> Result<(), FieldError> {
    let dangling = |field: &str, i: usize, part: &str, name: &str| {
        Err(FieldError::new(format!("{field}[{i}].{part}"), Fault::Dangling(name.to_owned())))
    };
    for (i, mount) in container.mount_points.iter().enumerate() {
        if !volumes.iter().any(|volume| volume.name == mount.volume) {
            return dangling("mount_points", i, "volume", &mount.volume);
        }
    }
    let other = |name: &ContainerName| *name != container.name && all.iter().any(|c| c.name == *name);
    for (i, from) in container.volumes_from.iter().enumerate() {
        if !other(&from.container) {
            return dangling("volumes_from", i, "container", from.container.as_str());
        }
    }
    for (i, link) in container.links.iter().enumerate() {
        if !other(&link.container) {
            return dangling("links", i, "container", link.container.as_str());
        }
    }
    Ok(())
}

/// An enumeration whose first value says that nothing is said.
fn unless_zero<T>(
    field: &str,
    value: i32,
    read: impl FnOnce(&str, i32) -> Result<T, FieldError>,
) -> Result<Option<T>, FieldError> {
    if value == 0 { Ok(None) } else { read(field, value).map(Some) }
}

impl From<ContainerSpec> for v1::ContainerSpec {
    fn from(container: ContainerSpec) -> Self {
        let list = |items: Option<Vec<String>>| items.map(|items| v1::StringList { items });
        Self {
            name: container.name.into(),
            arn_id: container.arn_id,
            image: container.image,
            image_digest: container.image_digest.map(Into::into),
            essential: container.essential,
            cpu_units: container.cpu_units,
            memory_mib: container.memory_mib,
            memory_reservation_mib: container.memory_reservation_mib,
            entry_point: list(container.entry_point),
            command: list(container.command),
            working_directory: container.working_directory,
            user: container.user,
            hostname: container.hostname,
            environment: container.environment.into_iter().map(Into::into).collect(),
            port_mappings: container.port_mappings.into_iter().map(Into::into).collect(),
            mount_points: container.mount_points.into_iter().map(Into::into).collect(),
            readonly_root: container.readonly_root,
            privileged: container.privileged,
            interactive: container.interactive,
            pseudo_terminal: container.pseudo_terminal,
            disable_networking: container.disable_networking,
            ulimits: container.ulimits.into_iter().map(Into::into).collect(),
            linux: (container.linux != LinuxParameters::default()).then(|| container.linux.into()),
            docker_labels: container.docker_labels,
            dns_servers: container.dns_servers,
            dns_search: container.dns_search,
            extra_hosts: container.extra_hosts,
            security_options: container.security_options,
            sysctls: container.sysctls,
            log: container.log.map(Into::into),
            stop_timeout_secs: container.stop_timeout_secs,
            gpu_ids: container.gpu_ids,
            volumes_from: container.volumes_from.into_iter().map(Into::into).collect(),
            links: container.links.into_iter().map(Into::into).collect(),
            environment_files: container.environment_files,
            repository_credentials: container.repository_credentials.unwrap_or_default(),
            health_check: container.lifecycle.health_check.map(Into::into),
            depends_on: container.lifecycle.depends_on.into_iter().map(Into::into).collect(),
            start_timeout_secs: container.lifecycle.start_timeout_secs,
            restart: container.lifecycle.restart.map(Into::into),
        }
    }
}

impl TryFrom<v1::ContainerSpec> for ContainerSpec {
    type Error = FieldError;

    fn try_from(container: v1::ContainerSpec) -> Result<Self, FieldError> {
        let list = |items: Option<v1::StringList>| items.map(|list| list.items);
        if container.image.is_empty() {
            return Err(FieldError::new("image", Fault::Missing));
        }
        Ok(Self {
            name: id("name", ContainerName::new(container.name))?,
            arn_id: container.arn_id,
            image: container.image,
            image_digest: container.image_digest.map(|text| id("image_digest", text.parse())).transpose()?,
            repository_credentials: Some(container.repository_credentials).filter(|secret| !secret.is_empty()),
            essential: container.essential,
            cpu_units: container.cpu_units,
            memory_mib: container.memory_mib,
            memory_reservation_mib: container.memory_reservation_mib,
            entry_point: list(container.entry_point),
            command: list(container.command),
            working_directory: container.working_directory,
            user: container.user,
            hostname: container.hostname,
            environment: each("environment", container.environment)?,
            environment_files: container.environment_files,
            port_mappings: each("port_mappings", container.port_mappings)?,
            mount_points: each("mount_points", container.mount_points)?,
            volumes_from: each("volumes_from", container.volumes_from)?,
            readonly_root: container.readonly_root,
            privileged: container.privileged,
            interactive: container.interactive,
            pseudo_terminal: container.pseudo_terminal,
            disable_networking: container.disable_networking,
            ulimits: each("ulimits", container.ulimits)?,
            linux: match container.linux {
                Some(linux) => linux.try_into().within("linux")?,
                None => LinuxParameters::default(),
            },
            docker_labels: container.docker_labels,
            dns_servers: container.dns_servers,
            dns_search: container.dns_search,
            extra_hosts: container.extra_hosts,
            links: each("links", container.links)?,
            security_options: container.security_options,
            sysctls: container.sysctls,
            log: container.log.map(LogConfig::try_from).transpose().within("log")?,
            stop_timeout_secs: container.stop_timeout_secs,
            gpu_ids: container.gpu_ids,
            lifecycle: Lifecycle {
                health_check: container.health_check.map(HealthCheck::try_from).transpose().within("health_check")?,
                depends_on: each("depends_on", container.depends_on)?,
                start_timeout_secs: container.start_timeout_secs,
                restart: container.restart.map(RestartPolicy::try_from).transpose().within("restart")?,
            },
        })
    }
}

impl From<EnvVar> for v1::EnvVar {
    fn from(variable: EnvVar) -> Self {
        Self { name: variable.name, value: variable.value }
    }
}

impl TryFrom<v1::EnvVar> for EnvVar {
    type Error = FieldError;

    fn try_from(variable: v1::EnvVar) -> Result<Self, FieldError> {
        if variable.name.is_empty() {
            return Err(FieldError::new("name", Fault::Missing));
        }
        if variable.name.contains(['=', '\0']) {
            return Err(FieldError::new("name", Fault::Rule("may not contain `=` or NUL")));
        }
        if variable.value.contains('\0') {
            return Err(FieldError::new("value", Fault::Rule("may not contain NUL")));
        }
        Ok(Self { name: variable.name, value: variable.value })
    }
}

impl From<PortMapping> for v1::PortMapping {
    fn from(mapping: PortMapping) -> Self {
        let host_port = match mapping.host_port {
            HostPort::Fixed(port) => port.into(),
            HostPort::Dynamic => 0,
        };
        let protocol = v1::Protocol::from(mapping.protocol).into();
        let count = mapping.count.into();
        Self { container_port: mapping.container_port.into(), host_port, protocol, count }
    }
}

impl TryFrom<v1::PortMapping> for PortMapping {
    type Error = FieldError;

    fn try_from(mapping: v1::PortMapping) -> Result<Self, FieldError> {
        let container_port = port("container_port", mapping.container_port)?;
        let host_port = match mapping.host_port {
            0 => HostPort::Dynamic,
            fixed => HostPort::Fixed(port("host_port", fixed)?),
        };
        let last = match host_port {
            HostPort::Fixed(port) => port.max(container_port),
            HostPort::Dynamic => container_port,
        };
        Ok(Self {
            container_port,
            host_port,
            protocol: enumeration::<v1::Protocol, _>("protocol", mapping.protocol)?,
            count: ports("count", mapping.count, last)?,
        })
    }
}

impl From<Link> for v1::Link {
    fn from(link: Link) -> Self {
        Self { container: link.container.into(), alias: link.alias }
    }
}

impl TryFrom<v1::Link> for Link {
    type Error = FieldError;

    fn try_from(link: v1::Link) -> Result<Self, FieldError> {
        if link.alias.is_empty() {
            return Err(FieldError::new("alias", Fault::Missing));
        }
        Ok(Self { container: id("container", ContainerName::new(link.container))?, alias: link.alias })
    }
}

impl From<Ulimit> for v1::Ulimit {
    fn from(limit: Ulimit) -> Self {
        Self { name: limit.name, soft: limit.soft, hard: limit.hard }
    }
}

impl TryFrom<v1::Ulimit> for Ulimit {
    type Error = FieldError;

    fn try_from(limit: v1::Ulimit) -> Result<Self, FieldError> {
        for (field, value) in [("soft", limit.soft), ("hard", limit.hard)] {
            if value < -1 {
                return Err(FieldError::new(field, Fault::Range { value, min: -1, max: i64::MAX }));
            }
        }
        Ok(Self { name: limit.name, soft: limit.soft, hard: limit.hard })
    }
}

impl From<LinuxParameters> for v1::LinuxParameters {
    fn from(linux: LinuxParameters) -> Self {
        Self {
            cap_add: linux.cap_add,
            cap_drop: linux.cap_drop,
            devices: linux.devices.into_iter().map(Into::into).collect(),
            tmpfs: linux.tmpfs.into_iter().map(Into::into).collect(),
            init: linux.init,
            shared_memory_mib: linux.shared_memory_mib,
            max_swap_mib: linux.max_swap_mib,
            swappiness: linux.swappiness.map(u32::from),
        }
    }
}

impl TryFrom<v1::LinuxParameters> for LinuxParameters {
    type Error = FieldError;

    fn try_from(linux: v1::LinuxParameters) -> Result<Self, FieldError> {
        let swappiness = match linux.swappiness {
            None => None,
            Some(value) => match u8::try_from(value) {
                Ok(value) if value <= 100 => Some(value),
                Ok(_) | Err(_) => {
                    return Err(FieldError::new("swappiness", Fault::Range { value: value.into(), min: 0, max: 100 }));
                }
            },
        };
        Ok(Self {
            cap_add: linux.cap_add,
            cap_drop: linux.cap_drop,
            devices: each("devices", linux.devices)?,
            tmpfs: each("tmpfs", linux.tmpfs)?,
            init: linux.init,
            shared_memory_mib: linux.shared_memory_mib,
            max_swap_mib: linux.max_swap_mib,
            swappiness,
        })
    }
}

impl From<Device> for v1::Device {
    fn from(device: Device) -> Self {
        Self { host_path: device.host_path, container_path: device.container_path, permissions: device.permissions }
    }
}

impl TryFrom<v1::Device> for Device {
    type Error = FieldError;

    fn try_from(device: v1::Device) -> Result<Self, FieldError> {
        if !device.permissions.chars().all(|c| "rwm".contains(c)) {
            return Err(FieldError::new("permissions", Fault::Rule("may have r, w and m only")));
        }
        Ok(Self {
            host_path: absolute("host_path", device.host_path)?,
            container_path: absolute("container_path", device.container_path)?,
            permissions: device.permissions,
        })
    }
}

impl From<Tmpfs> for v1::Tmpfs {
    fn from(tmpfs: Tmpfs) -> Self {
        Self { container_path: tmpfs.container_path, size_mib: tmpfs.size_mib, mount_options: tmpfs.mount_options }
    }
}

impl TryFrom<v1::Tmpfs> for Tmpfs {
    type Error = FieldError;

    fn try_from(tmpfs: v1::Tmpfs) -> Result<Self, FieldError> {
        Ok(Self {
            container_path: absolute("container_path", tmpfs.container_path)?,
            size_mib: tmpfs.size_mib,
            mount_options: tmpfs.mount_options,
        })
    }
}

impl From<LogConfig> for v1::LogConfig {
    fn from(log: LogConfig) -> Self {
        Self { driver: log.driver, options: log.options }
    }
}

impl TryFrom<v1::LogConfig> for LogConfig {
    type Error = FieldError;

    fn try_from(log: v1::LogConfig) -> Result<Self, FieldError> {
        if log.driver.is_empty() {
            return Err(FieldError::new("driver", Fault::Missing));
        }
        Ok(Self { driver: log.driver, options: log.options })
    }
}
