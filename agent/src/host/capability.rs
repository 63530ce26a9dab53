//! Capabilities: attributes without a value that say what this host can do, named as in ECS. A task definition's
//! `requiresAttributes` must be among them. Pure.

use super::{HostSettings, Probed};
use longshore_docker::{AWSLOGS, CgroupVersion};
use std::collections::BTreeSet;

/// ECS's older prefix.
const OLD: &str = "com.amazonaws.ecs.capability.";
/// ECS's newer prefix.
const NEW: &str = "ecs.capability.";

/// Ours: the label by which a task definition chooses a runtime, followed by its name.
const RUNTIME: &str = longshore_docker::labels::RUNTIME;

/// Ours: variables for containers from files of this host.
const ENVIRONMENT_FILES: &str = "longshore.environment-files";
/// Ours: the same from web servers.
const ENVIRONMENT_URLS: &str = "longshore.environment-urls";
/// Ours: what stands for a file system of EFS, followed by its id.
const FILE_SYSTEM: &str = "longshore.efs";

/// Ours: health probes by the agent.
const HEALTH_PROBES: &str = "longshore.health-probes";

/// Ours: tasks of which only the images are wanted.
const PULL_ONLY: &str = "longshore.pull-only";
/// Tasks that must not run twice are stopped while the control plane is not heard.
const FENCE: &str = "longshore.fence";
/// Ours: limits on swap (`maxSwap`).
const SWAP_LIMIT: &str = "longshore.swap-limit";
/// Ours: a container's own `swappiness`.
const SWAPPINESS: &str = "longshore.swappiness";
/// Ours: events of several lines, where the log driver awslogs is offered.
const MULTILINE: &str = "longshore.awslogs-multiline";

/// What this agent does itself, with any engine that it takes.
const OURS: [&str; 5] = [
    "container-health-check",
    "container-ordering",
    "container-restart-policy",
    "execute-command",
    "private-registry-authentication.secretsmanager",
];

/// The oldest Docker API that ECS names.
const FIRST_API_MINOR: u32 = 17;

/// Everything that was found to work, in order.
pub(super) fn offered(settings: &HostSettings, probed: &Probed) -> BTreeSet<String> {
    let engine = &probed.engine;
    let mut all = BTreeSet::new();
    // The engine answers every request up to its own version; ECS names each.
    if let Some(newest) = engine.api_version.strip_prefix("1.").and_then(|minor| minor.parse().ok()) {
        all.extend((FIRST_API_MINOR..=newest).map(|minor| format!("{OLD}docker-remote-api.1.{minor}")));
    }
    // The engine's own driver `awslogs` is never used: the agent ships what its driver `json-file` keeps.
    let drivers = engine.log_drivers.iter().filter(|driver| *driver != AWSLOGS);
    all.extend(drivers.map(|driver| format!("{OLD}logging-driver.{driver}")));
    if probed.output_readable && engine.log_drivers.iter().any(|driver| driver == "json-file") {
        all.insert(format!("{OLD}logging-driver.{AWSLOGS}"));
        all.insert(MULTILINE.to_owned());
    }
    // No engine lists it, and every engine has it.
    all.insert(format!("{OLD}logging-driver.none"));
    for driver in &engine.volume_drivers {
        // The engine takes a plugin without its tag too.
        let untagged = driver.strip_suffix(":latest").map(|name| format!("{NEW}docker-plugin.{name}"));
        all.extend(untagged);
        all.insert(format!("{NEW}docker-plugin.{}", driver.replace(':', ".")));
    }
    // Every engine that this agent works with can do it.
    all.extend(["container-port-range", "pid-ipc-namespace-sharing"].map(|name| format!("{NEW}{name}")));
    all.extend(engine.runtimes.iter().map(|runtime| format!("{RUNTIME}.{runtime}")));
    if settings.environment_files {
        all.insert(ENVIRONMENT_FILES.to_owned());
    }
    all.insert(ENVIRONMENT_URLS.to_owned());
    all.extend(settings.file_systems.iter().map(|id| format!("{FILE_SYSTEM}.{id}")));
    all.extend(OURS.map(|name| format!("{NEW}{name}")));
    all.extend([HEALTH_PROBES, PULL_ONLY, FENCE].map(str::to_owned));
    // Where the kernel has none, the engine makes a container without them and only warns.
    if engine.memory_limit && engine.swap_limit {
        all.insert(SWAP_LIMIT.to_owned());
    }
    match engine.cgroup_version {
        CgroupVersion::V1 if engine.memory_limit => _ = all.insert(SWAPPINESS.to_owned()),
        // The second version has no such setting.
        CgroupVersion::V1 | CgroupVersion::V2 => {}
    }
    if settings.allow_privileged {
        all.insert(format!("{OLD}privileged-container"));
    }
    for module in ["selinux", "apparmor"] {
        if engine.security_options.iter().any(|option| option == module) {
            all.insert(format!("{OLD}{module}"));
        }
    }
    if probed.task_limits {
        all.insert(format!("{NEW}task-cpu-mem-limit"));
    }
    if probed.interfaces {
        all.insert(format!("{NEW}task-eni"));
    }
    all
}
