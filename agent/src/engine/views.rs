//! What others in this process read of tasks: snapshots of the table, published as it changes.

use longshore_model::{ContainerSpec, TaskId, TaskSpec};
use longshore_plan::{Outline, ResourceKind, ResourcePhase, TaskRecord};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A task at one moment.
#[derive(Debug, Clone)]
pub struct TaskView {
    /// What supervision needs of its definition.
    pub outline: Arc<Outline>,
    /// Its definition; absent for a task that was found by its labels, until the control plane sends it.
    pub spec: Option<Arc<TaskSpec>>,
    /// All else.
    pub record: TaskRecord,
    /// What it waits for, for people.
    pub waiting_for: Option<String>,
}

/// Every task that the engine knows. A task is in it before any container of it is started, and from a start of the
/// agent on, whether or not the container engine answers.
pub type TaskViews = BTreeMap<TaskId, Arc<TaskView>>;

impl TaskView {
    /// The definition of a container, by its position.
    #[must_use]
    pub fn container_spec(&self, index: usize) -> Option<&ContainerSpec> {
        self.spec.as_ref()?.containers.get(index)
    }

    /// The address that is the task's own now.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        let resource = self.record.resources.iter().find(|r| r.kind == ResourceKind::Interface)?;
        match resource.phase {
            ResourcePhase::Ready => self.record.interface.as_ref().map(|interface| interface.eni.ipv4),
            ResourcePhase::Wanted | ResourcePhase::Gone => None,
        }
    }
}
