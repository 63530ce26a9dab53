//! What an agent should run.

use super::{Fault, FieldError, Within, enumeration, id, required, wire_enum};
use crate::v1;
use longshore_model::{AssignedTask, Assignment, DesiredStatus, Generation, TaskId};
use std::collections::BTreeSet;
use std::sync::Arc;

wire_enum!(Desired <=> DesiredStatus { Running = Running, Stopped = Stopped });

/// An assignment, read: what is good, and what is not.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadAssignment {
    /// The assignment without what is refused.
    pub assignment: Assignment,
    /// Tasks of it that cannot be read, though their ids can. They count as present.
    pub refused: Vec<RefusedTask>,
    /// Entries that do not even have a readable id; no agent can know such a task. For the log.
    pub unreadable: Vec<FieldError>,
}

/// A task that cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub struct RefusedTask {
    /// Which one.
    pub task: TaskId,
    /// What it should be, where that much can be read.
    pub desired: Option<DesiredStatus>,
    /// Why it should stop, when it should; for people.
    pub stop_reason: String,
    /// The field at fault.
    pub error: FieldError,
}

impl From<Assignment> for v1::Assignment {
    fn from(assignment: Assignment) -> Self {
        let messages = |tasks: Vec<AssignedTask>| tasks.into_iter().map(Into::into).collect();
        match assignment {
            Assignment::Complete { generation, tasks } => Self {
                generation: generation.0,
                complete: true,
                base_generation: 0,
                tasks: messages(tasks),
                removed: Vec::new(),
            },
            Assignment::Delta { base, generation, tasks, removed } => Self {
                generation: generation.0,
                complete: false,
                base_generation: base.0,
                tasks: messages(tasks),
                removed: removed.iter().map(ToString::to_string).collect(),
            },
        }
    }
}

impl TryFrom<v1::Assignment> for ReadAssignment {
    type Error = FieldError;

    fn try_from(message: v1::Assignment) -> Result<Self, FieldError> {
        if !message.complete && message.generation <= message.base_generation {
            let rule = "must be above the delta's base_generation";
            return Err(FieldError::new("generation", Fault::Rule(rule)));
        }
        if message.complete && !message.removed.is_empty() {
            return Err(FieldError::new("removed", Fault::Rule("must be empty in a complete assignment")));
        }
        let (mut tasks, mut refused, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for (i, task) in message.tasks.into_iter().enumerate() {
            let place = format!("tasks[{i}]");
            let text = task.spec.as_ref().map_or("", |spec| spec.id.as_str());
            let task_id: TaskId = match id("spec.id", text.parse()) {
                Ok(task_id) => task_id,
                Err(error) => {
                    unreadable.push(error.within(&place));
                    continue;
                }
            };
            if !seen.insert(task_id) {
                unreadable.push(FieldError::new(format!("{place}.spec.id"), Fault::Repeated(task_id.to_string())));
                continue;
            }
            let desired = enumeration::<v1::Desired, _>("desired", task.desired).ok();
            let stop_reason = task.stop_reason.clone();
            match AssignedTask::try_from(task).within(&place) {
                Ok(task) => tasks.push(task),
                Err(error) => refused.push(RefusedTask { task: task_id, desired, stop_reason, error }),
            }
        }
        let mut removed = Vec::new();
        for (i, text) in message.removed.iter().enumerate() {
            match id("", text.parse::<TaskId>()).within_item("removed", i) {
                Ok(task) if seen.insert(task) => removed.push(task),
                Ok(task) => {
                    unreadable.push(FieldError::new(format!("removed[{i}]"), Fault::Repeated(task.to_string())));
                }
                Err(error) => unreadable.push(error),
            }
        }
        let generation = Generation(message.generation);
        let assignment = if message.complete {
            Assignment::Complete { generation, tasks }
        } else {
            Assignment::Delta { base: Generation(message.base_generation), generation, tasks, removed }
        };
        Ok(Self { assignment, refused, unreadable })
    }
}

impl From<AssignedTask> for v1::AssignedTask {
    fn from(task: AssignedTask) -> Self {
        Self {
            spec: Some(v1::TaskSpec::from(Arc::unwrap_or_clone(task.spec))),
            desired: v1::Desired::from(task.desired).into(),
            may_start: task.may_start,
            stop_reason: task.stop_reason,
        }
    }
}

impl TryFrom<v1::AssignedTask> for AssignedTask {
    type Error = FieldError;

    fn try_from(task: v1::AssignedTask) -> Result<Self, FieldError> {
        Ok(Self {
            spec: Arc::new(required("spec", task.spec)?.try_into().within("spec")?),
            desired: enumeration::<v1::Desired, _>("desired", task.desired)?,
            may_start: task.may_start,
            stop_reason: task.stop_reason,
        })
    }
}
