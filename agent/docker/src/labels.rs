//! Names and labels of what we make in the engine. All derive from the task, so each can be traced back without the
//! ledger.

use longshore_model::{ContainerName, TaskId, TaskSpec, VolumeSource, VolumeSpec};
use std::collections::HashMap;

/// The task's id. Its presence says that an object is ours.
pub const TASK: &str = "longshore.task";
/// The container's name in its task.
pub const CONTAINER: &str = "longshore.container";
/// The cluster's name.
pub const CLUSTER: &str = "longshore.cluster";
/// What an agent without its ledger needs to supervise the task; JSON of the engine's, without secrets.
pub const SUPERVISE: &str = "longshore.supervise";
/// The volume's name in its task.
pub const VOLUME: &str = "longshore.volume";
/// The id of the interface that a sandbox holds. Its presence says that a container is a sandbox of ours.
pub const ENI: &str = "longshore.eni";
/// The IPv4 address of that interface.
pub const ADDRESS: &str = "longshore.address";
/// The OCI runtime of a container, one of those that the engine knows. It comes from the task definition's
/// `dockerLabels`; without it a container has the engine's default.
pub const RUNTIME: &str = "longshore.runtime";
/// When the container's image is pulled, in ECS's words. It comes from the task definition's `dockerLabels`; without it
/// the agent's configuration says.
pub const PULL_BEHAVIOR: &str = "longshore.pull-behavior";
/// The task whose namespaces a container holds. Its presence says that the container is a pause container of ours.
pub const PAUSE: &str = "longshore.pause";
/// Those that begin with [`PREFIX`] and come from task definitions.
pub const FROM_DEFINITION: [&str; 2] = [RUNTIME, PULL_BEHAVIOR];
/// What begins like this comes from the task definition's `dockerLabels` too: how a container is started again.
pub const RESTART: &str = "longshore.restart.";
/// The region of the log group that a container's output is shipped to.
pub const LOG_REGION: &str = "longshore.log-region";
/// The log group; empty where the agent does not ship the container's output.
pub const LOG_GROUP: &str = "longshore.log-group";
/// The log stream; when it is empty that is the container's id in the engine.
pub const LOG_STREAM: &str = "longshore.log-stream";
/// A regular expression that lines match which begin an event of the stream; without it each line is one.
pub const LOG_BEGINS: &str = "longshore.log-begins";
/// What starts like this is ours alone; a task definition's `dockerLabels` may not use it, but for [`FROM_DEFINITION`]
/// and [`RESTART`], and those of health probes ([`longshore_model::PROBE_LABELS`]).
pub const PREFIX: &str = "longshore.";

/// The container's name in the engine: `ls-<task id>-<container name>`.
#[must_use]
pub fn container_name(task: TaskId, container: &ContainerName) -> String {
    format!("ls-{task}-{container}")
}

/// The name that a container with these labels was given; `None` when they are not those of a task's container. The
/// engine adds an image's labels to those that a container is given, so the labels of one that we did not make are
/// anybody's; names are nobody's but the host's.
#[must_use]
pub(crate) fn name_by(labels: &HashMap<String, String>) -> Option<String> {
    let task = labels.get(TASK)?.parse().ok()?;
    let container = labels.get(CONTAINER)?.parse().ok()?;
    Some(container_name(task, &container))
}

/// The name in the engine of a volume that lives as long as its task: `ls-<task id>-<volume name>`.
#[must_use]
pub fn volume_name(task: TaskId, volume: &str) -> String {
    format!("ls-{task}-{volume}")
}

/// A volume's name in the engine: one that lives as long as its task has the task's id in it, one that is shared the
/// name that the definition gives it.
#[must_use]
pub fn name_of_volume(task: TaskId, volume: &VolumeSpec) -> String {
    if volume.is_shared() { volume.name.clone() } else { volume_name(task, &volume.name) }
}

/// The labels of a container: ours, and those of ECS's agent that existing tools read.
#[must_use]
pub fn container_labels(task: &TaskSpec, container: &ContainerName, supervise: &str) -> HashMap<String, String> {
    [
        (TASK, task.id.to_string()),
        (CONTAINER, container.to_string()),
        (CLUSTER, task.cluster.to_string()),
        (SUPERVISE, supervise.to_owned()),
        ("com.amazonaws.ecs.task-arn", task.arn.clone()),
        ("com.amazonaws.ecs.container-name", container.to_string()),
        ("com.amazonaws.ecs.task-definition-family", task.family.clone()),
        ("com.amazonaws.ecs.task-definition-version", task.revision.to_string()),
        ("com.amazonaws.ecs.cluster", task.cluster.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The labels of a volume: the definition's and, over them, ours. One that is shared is no task's.
#[must_use]
pub fn volume_labels(task: TaskId, volume: &VolumeSpec) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = match &volume.source {
        VolumeSource::Docker(docker) => docker.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        VolumeSource::Task | VolumeSource::Host { .. } | VolumeSource::Efs(_) => HashMap::new(),
    };
    labels.insert(VOLUME.to_owned(), volume.name.clone());
    if volume.lives_with_task() {
        labels.insert(TASK.to_owned(), task.to_string());
    }
    labels
}
