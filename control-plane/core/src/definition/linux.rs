//! What is particular to Linux: capabilities, devices, in-memory file systems, limits and kernel parameters.

use super::checks::{absolute, at, duplicate, given, mistake, range};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{DeviceCgroupPermission, IpcMode, NetworkMode, UlimitName};
use longshore_ecs_api::types::{ContainerDefinition, LinuxParameters, TaskDefinition};

/// What `capabilities` may name (ECS API reference, KernelCapabilities).
const CAPABILITIES: &[&str] = &[
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];

/// Mount options of a tmpfs (ECS API reference, Tmpfs), up to an equals sign.
const TMPFS_OPTIONS: &[&str] = &[
    "defaults",
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "remount",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "bind",
    "rbind",
    "unbindable",
    "runbindable",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
    "nr_blocks",
    "mpol",
];

/// Kernel parameters of the IPC namespace that may be set (ECS API reference, SystemControl).
const IPC_CONTROLS: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn check(
    container: &ContainerDefinition,
    index: usize,
    definition: &TaskDefinition,
    mode: &NetworkMode,
) -> Result<(), ApiError> {
    if let Some(linux) = &container.linux_parameters {
        parameters(linux, container, index)?;
        if let (Some(_), Some(mode @ (IpcMode::Host | IpcMode::None))) =
            (linux.shared_memory_size, &definition.ipc_mode)
        {
            // Its `/dev/shm` is the host's, or none.
            return Err(mistake(format!(
                "{} cannot be set when ipcMode={}.",
                at(index, "linuxParameters.sharedMemorySize"),
                mode.as_str()
            )));
        }
    }
    ulimits(container, index)?;
    system_controls(container, index, definition, mode)
}

fn parameters(linux: &LinuxParameters, container: &ContainerDefinition, index: usize) -> Result<(), ApiError> {
    let field = |name: &str| at(index, &format!("linuxParameters.{name}"));
    if let Some(capabilities) = &linux.capabilities {
        for (which, list) in [("add", &capabilities.add), ("drop", &capabilities.drop)] {
            for name in list.iter().flatten() {
                if !CAPABILITIES.contains(&name.as_str()) {
                    return Err(mistake(format!(
                        "{}: '{name}' is not a capability; write it like NET_ADMIN.",
                        field(&format!("capabilities.{which}"))
                    )));
                }
            }
        }
    }
    for (i, device) in linux.devices.iter().flatten().enumerate() {
        let field = |name: &str| field(&format!("devices[{i}].{name}"));
        absolute(device.host_path.as_ref(), || field("hostPath"))?;
        if given(device.container_path.as_ref()).is_some() {
            absolute(device.container_path.as_ref(), || field("containerPath"))?;
        }
        if device.permissions.iter().flatten().any(|p| matches!(p, DeviceCgroupPermission::Other(_))) {
            return Err(mistake(format!("{} must be of read, write and mknod.", field("permissions"))));
        }
    }
    for (i, tmpfs) in linux.tmpfs.iter().flatten().enumerate() {
        let field = |name: &str| field(&format!("tmpfs[{i}].{name}"));
        absolute(tmpfs.container_path.as_ref(), || field("containerPath"))?;
        if tmpfs.size.is_none() {
            return Err(mistake(format!("{} should not be null.", field("size"))));
        }
        range(tmpfs.size, 1..=i32::MAX, || field("size"))?;
        for option in tmpfs.mount_options.iter().flatten() {
            let name = option.split('=').next().unwrap_or_default();
            if !TMPFS_OPTIONS.contains(&name) || option.contains(',') {
                return Err(mistake(format!(
                    "{}: '{option}' is not a mount option of a tmpfs.",
                    field("mountOptions")
                )));
            }
        }
    }
    if let Some(twice) = duplicate(linux.tmpfs.iter().flatten().filter_map(|t| t.container_path.as_deref())) {
        return Err(mistake(format!("{}: '{twice}' is there more than once.", field("tmpfs"))));
    }
    range(linux.shared_memory_size, 1..=i32::MAX, || field("sharedMemorySize"))?;
    range(linux.max_swap, 0..=i32::MAX, || field("maxSwap"))?;
    range(linux.swappiness, 0..=100, || field("swappiness"))?;
    if linux.max_swap.is_some() && container.memory.is_none() {
        return Err(mistake(format!(
            "{}: the engine limits swap only together with memory, so the container needs 'memory' too.",
            field("maxSwap")
        )));
    }
    Ok(())
}

fn ulimits(container: &ContainerDefinition, index: usize) -> Result<(), ApiError> {
    let ulimits = container.ulimits.as_deref().unwrap_or_default();
    for (i, ulimit) in ulimits.iter().enumerate() {
        let field = |name: &str| at(index, &format!("ulimits[{i}].{name}"));
        match &ulimit.name {
            None | Some(UlimitName::Other(_)) => {
                return Err(mistake(format!(
                    "{} must be one of [{}].",
                    field("name"),
                    UlimitName::ALL.iter().map(UlimitName::as_str).collect::<Vec<_>>().join(", ")
                )));
            }
            Some(_) => {}
        }
        let (Some(soft), Some(hard)) = (ulimit.soft_limit, ulimit.hard_limit) else {
            return Err(mistake(format!("{}: softLimit and hardLimit are both required.", field("name"))));
        };
        range(Some(soft), -1..=i32::MAX, || field("softLimit"))?;
        range(Some(hard), -1..=i32::MAX, || field("hardLimit"))?;
        let above = |limit: i32| if limit == -1 { i64::MAX } else { i64::from(limit) };
        if above(soft) > above(hard) {
            return Err(mistake(format!("{} must not be greater than hardLimit.", field("softLimit"))));
        }
    }
    match duplicate(ulimits.iter().filter_map(|u| u.name.as_ref())) {
        Some(name) => Err(mistake(format!("{}: '{name}' is there more than once.", at(index, "ulimits")))),
        None => Ok(()),
    }
}

fn system_controls(
    container: &ContainerDefinition,
    index: usize,
    definition: &TaskDefinition,
    mode: &NetworkMode,
) -> Result<(), ApiError> {
    let controls = container.system_controls.as_deref().unwrap_or_default();
    for (i, control) in controls.iter().enumerate() {
        let field = |name: &str| at(index, &format!("systemControls[{i}].{name}"));
        let Some(namespace) = given(control.namespace.as_ref()) else {
            return Err(mistake(format!("{} should not be null or empty.", field("namespace"))));
        };
        if given(control.value.as_ref()).is_none() {
            return Err(mistake(format!("{} should not be null or empty.", field("value"))));
        }
        let plain = namespace.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/'));
        let network = namespace.starts_with("net.") && plain;
        let ipc = IPC_CONTROLS.contains(&namespace) || (namespace.starts_with("fs.mqueue.") && plain);
        if !network && !ipc {
            return Err(mistake(format!(
                "{}: '{namespace}' is not a kernel parameter that a container may set.",
                field("namespace")
            )));
        }
        if network && *mode == NetworkMode::Host {
            return Err(mistake(format!("{}: '{namespace}' cannot be set when networkMode=host.", field("namespace"))));
        }
        if ipc && definition.ipc_mode == Some(IpcMode::Host) {
            return Err(mistake(format!("{}: '{namespace}' cannot be set when ipcMode=host.", field("namespace"))));
        }
    }
    match duplicate(controls.iter().filter_map(|c| c.namespace.as_deref())) {
        Some(name) => Err(mistake(format!("{}: '{name}' is there more than once.", at(index, "systemControls")))),
        None => Ok(()),
    }
}
