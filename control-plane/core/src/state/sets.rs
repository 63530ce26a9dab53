//! What tasks are listed by, and what the sweeper looks at.

use crate::records::{ClientTokenKey, SecretKey, ServiceKey, Task};
use longshore_model::{ClusterKey, InstanceId, TaskId};
use std::sync::Arc;

/// A set of tasks that a client can list. A task is in one of each kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TaskSet {
    /// Of a cluster.
    Cluster(ClusterKey),
    /// On an instance.
    Instance(InstanceId),
    /// Of a family, in a cluster.
    Family(ClusterKey, Arc<str>),
    /// With a group, in a cluster.
    Group(ClusterKey, Arc<str>),
    /// With a `startedBy`, in a cluster.
    StartedBy(ClusterKey, Arc<str>),
}

impl TaskSet {
    /// The sets that a task is in.
    pub(crate) fn of(task: &Task) -> impl Iterator<Item = Self> {
        let cluster = || task.cluster.clone();
        let started_by = task.started_by.as_ref().map(|by| Self::StartedBy(cluster(), Arc::clone(by)));
        [
            Self::Cluster(cluster()),
            Self::Instance(task.instance),
            Self::Family(cluster(), Arc::clone(&task.definition.family)),
            Self::Group(cluster(), Arc::clone(&task.group)),
        ]
        .into_iter()
        .chain(started_by)
    }

    /// Whether a task is in it.
    pub(crate) fn contains(&self, task: &Task) -> bool {
        match self {
            Self::Cluster(cluster) => task.cluster == *cluster,
            Self::Instance(instance) => task.instance == *instance,
            Self::Family(cluster, family) => task.cluster == *cluster && task.definition.family == *family,
            Self::Group(cluster, group) => task.cluster == *cluster && task.group == *group,
            Self::StartedBy(cluster, by) => task.cluster == *cluster && task.started_by.as_ref() == Some(by),
        }
    }
}

/// Something that is over and is remembered for a while.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Grave {
    /// Recorded stopped at that time.
    Task(TaskId),
    /// Deregistered at that time.
    Instance(InstanceId),
    /// Deleted at that time.
    Cluster(ClusterKey),
    /// Its last task stopped at that time.
    Service(ServiceKey),
    /// To be forgotten at that time.
    ClientToken(ClientTokenKey),
    /// To be deleted for good at that time.
    Secret(SecretKey),
}
