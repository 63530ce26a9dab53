//! What this host has and can: the facts that it registers with.
//!
//! [`probe`] looks (kernel, memory, engine, cgroups, GPUs); [`facts`] is pure and turns what was seen and what the
//! configuration says into [`HostFacts`]. Nothing is claimed that was not found: a capability is offered because the
//! engine lists it or because a trial worked. Decides nothing about tasks and keeps nothing; the agent calls it at
//! start and again when the container engine comes back, possibly as another version.

mod capability;
mod gpu;
pub mod underlay;

use crate::aside::{Aside, HeldUp};
use crate::cgroup::Cgroups;
use longshore_docker::EngineInfo;
use longshore_model::{Attribute, HostFacts, HostVersions, Resources};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, System};

/// CPU units of one core (ECS).
const UNITS_PER_CORE: u32 = 1024;

/// Longest wait for the file system of the engine's directory.
const LOOK: Duration = Duration::from_secs(5);

/// The part of the configuration that goes into the facts.
#[derive(Debug, Clone, Default)]
pub struct HostSettings {
    /// MiB of memory that tasks may not be given.
    pub reserved_memory_mib: u32,
    /// TCP host ports that tasks may not be given.
    pub reserved_ports_tcp: BTreeSet<u16>,
    /// UDP host ports that tasks may not be given.
    pub reserved_ports_udp: BTreeSet<u16>,
    /// The operator's own attributes.
    pub attributes: BTreeMap<String, String>,
    /// The availability zone.
    pub zone: Option<String>,
    /// Whether privileged containers may run here.
    pub allow_privileged: bool,
    /// Whether containers may take variables from files of this host.
    pub environment_files: bool,
    /// The file systems of EFS that an NFS export stands for here, by their ids.
    pub file_systems: BTreeSet<String>,
}

/// What was found on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// Its own name.
    pub hostname: String,
    /// Logical CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The kernel's release.
    pub kernel: String,
    /// Ids of the GPUs, as NVIDIA's driver names them.
    pub gpu_ids: Vec<String>,
    /// The container engine.
    pub engine: EngineInfo,
    /// Whether tasks can be limited as a whole.
    pub task_limits: bool,
    /// Where other hosts' tunnel packets reach it, when tasks can have interfaces of their own here.
    pub underlay: Option<IpAddr>,
    /// Whether tasks can be given interfaces here.
    pub interfaces: bool,
    /// MiB of the file system of the engine's data directory that can be used; 0 when that cannot be told.
    pub disk_mib: u32,
    /// Whether the files in which the engine keeps containers' output can be read.
    pub output_readable: bool,
}

/// Why a host could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// `/proc` cannot be read.
    #[error("could not read this host's {what}")]
    System {
        /// What of it.
        what: &'static str,
        /// Why.
        #[source]
        source: sysinfo::Error,
    },
    /// The file system of the engine's directory does not answer: what it has may be told later.
    #[error("could not look at the disk of the engine's directory")]
    Disk(#[from] HeldUp),
}

/// That containers end with the engine, and what to do about it.
const NO_LIVE_RESTORE: &str = "Docker's live-restore is off, so every container of this host ends when Docker is \
                               stopped, restarted or upgraded; put {\"live-restore\": true} into \
                               /etc/docker/daemon.json and run `systemctl reload docker`";

/// What an operator should change about the engine, on a host that is fit all the same.
#[must_use]
pub fn warning(engine: &EngineInfo) -> Option<&'static str> {
    (!engine.live_restore).then_some(NO_LIVE_RESTORE)
}

/// Looks at the host, but for [`Probed::underlay`] and [`Probed::interfaces`]. `cgroups` is absent where task cgroups
/// cannot be used at all; otherwise a trial decides. What may hang is done by `aside`.
///
/// # Errors
/// When `/proc` cannot be read, or the disk does not answer.
pub async fn probe(engine: EngineInfo, cgroups: Option<&Cgroups>, aside: &Aside) -> Result<Probed, ProbeError> {
    if let Some(why) = warning(&engine) {
        tracing::warn!(why, "the container engine could be set up better for tasks");
    }
    let failed = |what| move |source| ProbeError::System { what, source };
    let mut system = System::new().map_err(failed("CPUs and memory"))?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    system.refresh_cpu_list(CpuRefreshKind::nothing());
    let task_limits = match cgroups {
        Some(cgroups) => match cgroups.probe().await {
            Ok(()) => true,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "task-level CPU and memory limits do not work here; not offering them");
                false
            }
        },
        None => false,
    };
    let root = PathBuf::from(&engine.data_root);
    let containers = root.join("containers");
    let look = {
        let (root, containers) = (root.clone(), containers.clone());
        move || (std::fs::read_dir(containers).is_ok(), crate::disk::measure(&root))
    };
    // A disk that is slow once, as after a boot, is none that is not there: the host would have none until it is asked
    // again.
    let (output_readable, disk) = aside.run(&root, LOOK, look).await?;
    if !output_readable {
        tracing::warn!(
            directory = %containers.display(),
            "containers' output cannot be read here; not offering the log driver awslogs");
    }
    let disk_mib = match disk {
        Ok(space) => crate::disk::mib(space.total),
        Err(error) => {
            let path = &engine.data_root;
            tracing::warn!(path, %error, "the disk cannot be looked at here; offering none");
            0
        }
    };
    Ok(Probed {
        disk_mib,
        hostname: System::host_name().map_err(failed("name"))?,
        cpus: u32::try_from(system.cpus().len()).unwrap_or(u32::MAX),
        memory_mib: u32::try_from(system.total_memory() >> 20).unwrap_or(u32::MAX),
        kernel: System::kernel_version().map_err(failed("kernel version"))?,
        gpu_ids: gpu::ids(),
        engine,
        task_limits,
        underlay: None,
        interfaces: false,
        output_readable,
    })
}

/// The facts to register. Built-in attributes win over configured ones of the same name.
#[must_use]
pub fn facts(settings: &HostSettings, probed: &Probed) -> HostFacts {
    let mut attributes: BTreeMap<String, Option<String>> =
        settings.attributes.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
    let mut add = |name: &str, value: &str| attributes.insert(name.to_owned(), Some(value.to_owned()));
    add("ecs.os-type", "linux");
    add("ecs.os-family", "LINUX");
    add("ecs.cpu-architecture", architecture());
    if let Some(zone) = &settings.zone {
        add("ecs.availability-zone", zone);
    }
    add("longshore.kernel-version", &probed.kernel);
    attributes.extend(capability::offered(settings, probed).into_iter().map(|name| (name, None)));
    HostFacts {
        hostname: probed.hostname.clone(),
        resources: Resources {
            cpu_units: probed.cpus.saturating_mul(UNITS_PER_CORE),
            memory_mib: probed.memory_mib.saturating_sub(settings.reserved_memory_mib),
            reserved_tcp: settings.reserved_ports_tcp.clone(),
            reserved_udp: settings.reserved_ports_udp.clone(),
            gpu_ids: probed.gpu_ids.clone(),
            disk_mib: probed.disk_mib,
        },
        attributes: attributes.into_iter().map(|(name, value)| Attribute { name, value }).collect(),
        underlay: probed.underlay,
        versions: HostVersions {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            agent_hash: option_env!("LONGSHORE_REVISION").unwrap_or_default().to_owned(),
            docker: probed.engine.version.clone(),
        },
    }
}

/// ECS's name of the machine's architecture.
const fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }
}

#[cfg(test)]
mod tests;
