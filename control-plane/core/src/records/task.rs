//! Tasks.

use crate::clock::Tick;
use crate::records::{DefinitionKey, Moment, PinKey, Tags};
use longshore_ecs_api::enums::LaunchType;
use longshore_ecs_api::types::TaskOverride;
use longshore_model::{
    AwsvpcSpec, ClusterKey, ContainerName, ContainerReport, DesiredStatus, EniReport, Fence, GroupId, InstanceId,
    StopCode, TaskId, TaskStatus, Timestamp,
};
use longshore_sched::{Claim, Held, Usage};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Why a task stops or stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// For programs. Absent when an agent stopped a task and did not say why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<StopCode>,
    /// For people.
    pub reason: String,
}

/// What the control plane gave one container of a task. Its definition is in the task definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskContainer {
    /// The id of its ARN, a UUID.
    pub arn_id: uuid::Uuid,
    /// Ids of the host's GPUs that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_ids: Vec<String>,
}

/// A task. Runs at most once; `Stopped` is final.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Its cluster.
    pub cluster: ClusterKey,
    /// The host it was placed on, for ever.
    pub instance: InstanceId,
    /// What it runs.
    pub definition: DefinitionKey,
    /// What the request changed of the definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Box<TaskOverride>>,
    /// `family:NAME` unless the request said otherwise.
    pub group: Arc<str>,
    /// The request's `startedBy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<Arc<str>>,
    /// As requested.
    pub launch_type: LaunchType,
    /// Whether commands may be executed in it: the request's `enableExecuteCommand`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub execute_command: bool,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// What it takes from its host from placement until it is stopped.
    pub claim: Claim,
    /// One for each container of the definition, in its order.
    pub containers: Vec<TaskContainer>,
    /// Which tasks run the same images as it does; absent for one that was started alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pins: Option<PinKey>,
    /// Whether only its images are wanted on the host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pull_only: bool,
    /// When an agent that is cut off stops it, if it must not run twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// The capacity provider that it was placed by, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_provider: Option<Arc<str>>,
    /// What it asks of its interface; absent for network modes without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awsvpc: Option<Box<AwsvpcSpec>>,
    /// Its interface as last reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eni: Option<Box<EniReport>>,
    /// What it should be. Only moves forward.
    pub desired: DesiredStatus,
    /// What it is. Only rises.
    pub status: TaskStatus,
    /// Why it stops, once that is known: the first reason holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// Rises with every change of this record.
    pub version: u64,
    /// The version of the last report taken; 0 before any.
    pub report_version: u64,
    /// Whether any report said more than that it is pending. From then on no agent may start it.
    pub may_have_started: bool,
    /// What it waits for while it does not run yet, or while it stops, as last reported, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Containers as last reported, in the definition's order; empty before any report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reported: Vec<ContainerReport>,
    /// Until when scale-in and deployments of its service leave it alone; what lies in the past counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_until: Option<Timestamp>,
    /// When the request was.
    pub created_at: Timestamp,
    /// The first report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connectivity_at: Option<Timestamp>,
    /// First pull begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_started_at: Option<Timestamp>,
    /// Last pull ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_stopped_at: Option<Timestamp>,
    /// All containers running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the control plane recorded it running, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_at: Option<Timestamp>,
    /// The same by the clock that nobody sets: how long it runs is counted from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_tick: Option<Tick>,
    /// When the control plane heard for the first time that its health checks say that all is well, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_at: Option<Timestamp>,
    /// When it was first to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping_at: Option<Timestamp>,
    /// The first essential container ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_stopped_at: Option<Timestamp>,
    /// Everything over, by the host's clock where the agent said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// When the control plane recorded it stopped, by its own clock: the sweeper counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_at: Option<Timestamp>,
    /// What happened to it, oldest first, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Moment>,
}

impl Task {
    /// Whether it still takes its host's resources and is part of its assignment.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.status < TaskStatus::Stopped
    }

    /// Whether scale-in and deployments of its service leave it alone.
    #[must_use]
    pub fn is_protected(&self, now: Timestamp) -> bool {
        self.protected_until.is_some_and(|until| now < until)
    }

    /// Whose images it runs with, as long as it may have any to get.
    pub(crate) fn live_pins(&self) -> Option<&PinKey> {
        self.pins.as_ref().filter(|_| self.is_live())
    }

    /// Whether a digest that becomes known for a container is news to its agent: the task may still start, and the
    /// agent has not said that it has the image.
    pub(crate) fn awaits_image(&self, container: &ContainerName) -> bool {
        let has = |c: &ContainerReport| c.name == *container && c.image_digest.is_some();
        self.is_live() && !self.may_have_started && !self.reported.iter().any(has)
    }

    /// Ids of the GPUs that its containers were given.
    #[must_use]
    pub fn gpu_ids(&self) -> Vec<String> {
        self.containers.iter().flat_map(|c| c.gpu_ids.iter().cloned()).collect()
    }

    /// The security groups that its host has to know the rules of.
    pub(crate) fn live_groups(&self) -> impl Iterator<Item = GroupId> {
        self.awsvpc.iter().filter(|_| self.is_live()).flat_map(|spec| spec.groups.iter().copied())
    }

    /// The addresses at which it is a member of its groups.
    pub(crate) fn member_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let eni = self.eni.iter().filter(|eni| eni.attached && self.is_live());
        eni.flat_map(|eni| [Some(IpAddr::V4(eni.ipv4)), eni.ipv6.map(IpAddr::V6)]).flatten()
    }

    /// Takes what it holds from `usage`'s host.
    pub(crate) fn take(&self, usage: &mut Usage) {
        usage.take(Held { claim: &self.claim, gpu_ids: &self.gpu_ids(), group: &self.group });
    }

    /// Gives it back.
    pub(crate) fn release(&self, usage: &mut Usage) {
        usage.release(Held { claim: &self.claim, gpu_ids: &self.gpu_ids(), group: &self.group });
    }
}
