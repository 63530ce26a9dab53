//! Services: what they are to be, their deployments, and what happened to them.

use crate::records::{DefinitionKey, PinKey, Tags};
use longshore_ecs_api::enums::{AvailabilityZoneRebalancing, LaunchType, PropagateTags};
use longshore_ecs_api::types::{
    CapacityProviderStrategyItem, DeploymentConfiguration, NetworkConfiguration, PlacementConstraint, PlacementStrategy,
};
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{ClusterKey, GroupId, InstanceId, Timestamp};
use longshore_rollout::Rollout;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The tag by which a service says that none of its tasks may run twice.
pub const AT_MOST_ONE: &str = "longshore:at-most-one";

/// A service's name in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// Its cluster.
    pub cluster: ClusterKey,
    /// Its name.
    pub name: Arc<str>,
}

/// What the group of a service's tasks begins with. No request may give such a group.
const GROUP: &str = "service:";

impl ServiceKey {
    /// The group of its tasks.
    #[must_use]
    pub fn group(&self) -> Arc<str> {
        format!("{GROUP}{}", self.name).into()
    }

    /// The service whose tasks have this group; `None` for a group of others.
    #[must_use]
    pub fn of_group(cluster: &ClusterKey, group: &str) -> Option<Self> {
        let name = group.strip_prefix(GROUP)?;
        Some(Self { cluster: cluster.clone(), name: name.into() })
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster.name, self.name)
    }
}

/// Whether a service runs. Only moves forward; CreateService under the name of an inactive one begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceStatus {
    /// It runs.
    Active,
    /// It was deleted and its tasks are stopping.
    Draining,
    /// Over; describable for a while.
    Inactive {
        /// When its last task had stopped.
        since: Timestamp,
    },
}

/// How tasks are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchedulingStrategy {
    /// A desired count, anywhere.
    Replica,
    /// One on each host.
    Daemon,
}

/// What a deployment runs: the part of a service whose change needs new tasks, and by what strategy they were placed.
/// Never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRevision {
    /// 19 digits.
    pub id: Arc<str>,
    /// The task definition.
    pub definition: DefinitionKey,
    /// As requested.
    pub launch_type: LaunchType,
    /// Of tasks with network mode `awsvpc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Box<NetworkConfiguration>>,
    /// The service's strategy when it was made, which a rollback restores; `None` of a task set, and in records that
    /// are older than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Vec<CapacityProviderStrategyItem>>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl ServiceRevision {
    /// What names the images that its tasks run: they are resolved once, and are the same when it is brought back.
    #[must_use]
    pub fn pins(&self) -> PinKey {
        PinKey::new(format!("revision/{}", self.id))
    }
}

/// The progress of a deployment, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RolloutState {
    /// Tasks are being started.
    InProgress,
    /// Everything ran once.
    Completed,
    /// The circuit breaker opened.
    Failed,
}

impl From<RolloutState> for Rollout {
    fn from(state: RolloutState) -> Self {
        match state {
            RolloutState::InProgress => Self::InProgress,
            RolloutState::Completed => Self::Completed,
            RolloutState::Failed => Self::Failed,
        }
    }
}

/// A deployment of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceDeployment {
    /// `ecs-svc/` and 19 digits; the `startedBy` of its tasks.
    pub id: Arc<str>,
    /// What it runs.
    pub revision: ServiceRevision,
    /// How far it is.
    pub state: RolloutState,
    /// Why, in ECS's words.
    pub reason: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// All tasks of it that failed (`failedTasks`).
    pub failed_tasks: u32,
    /// Those that the circuit breaker counts.
    pub failures: u32,
    /// Those since one became healthy: what pauses grow with.
    #[serde(default)]
    pub setbacks: u32,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
    /// Whether it brings back what ran before one that failed.
    pub is_rollback: bool,
    /// The service's capacity provider strategy before it, which holds again when it fails and is rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy_before: Option<Vec<CapacityProviderStrategyItem>>,
}

impl ServiceDeployment {
    /// Counts anew: what pauses grow with once a task became healthy, what the circuit breaker counts once it is
    /// forgiven.
    pub(crate) const fn forgive(&mut self, recovered: bool, forgiven: bool) {
        if recovered {
            self.setbacks = 0;
        }
        if forgiven {
            self.failures = 0;
        }
    }
}

/// Who decides what a service's tasks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DeploymentController {
    /// The service: rolling updates.
    #[default]
    Ecs,
    /// Whoever makes and scales task sets.
    External,
}

impl DeploymentController {
    const fn is_ecs(&self) -> bool {
        match self {
            Self::Ecs => true,
            Self::External => false,
        }
    }
}

/// What a task set is to its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskSetStatus {
    /// What the service is taken for.
    Primary,
    /// One beside it.
    Active,
    /// It was deleted and its tasks are stopping.
    Draining,
}

/// Tasks of a service with the EXTERNAL controller that run the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceTaskSet {
    /// What it runs and how its tasks fare, under the set's own id; `Completed` while it is steady.
    pub deployment: ServiceDeployment,
    /// What it is to its service.
    pub status: TaskSetStatus,
    /// Percent of the service's desired count, 0 to 100.
    pub scale: f64,
    /// Since when it has been steady, or not.
    pub stability_at: Timestamp,
    /// What another system calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The token of the request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// Its own.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl ServiceTaskSet {
    /// How many tasks it is to have (`computedDesiredCount`): its share of the desired count, rounded up.
    #[must_use]
    pub fn desired(&self, of: u32) -> u32 {
        match self.status {
            TaskSetStatus::Draining => 0,
            TaskSetStatus::Primary | TaskSetStatus::Active => share(of, self.scale),
        }
    }
}

/// `percent` of `whole`, rounded up. A percentage that no binary fraction is (33.3) must not round a whole number up.
fn share(whole: u32, percent: f64) -> u32 {
    let exact = f64::from(whole) * percent / 100.0;
    let down = is_planted(Bug::SharesAreRoundedDown);
    let exact = if down { (exact + 1e-9).floor() } else { (exact - 1e-9).ceil() }.max(0.0);
    // Between 0 and `whole`: a percentage is 100 at most.
    let count = exact as u32;
    count.min(whole)
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Cluster and name.
    pub key: ServiceKey,
    /// Whether it runs.
    pub status: ServiceStatus,
    /// How tasks are counted.
    pub scheduling: SchedulingStrategy,
    /// Who decides what its tasks run.
    #[serde(default, skip_serializing_if = "DeploymentController::is_ecs")]
    pub controller: DeploymentController,
    /// The desired count; of a DAEMON service 0, since its hosts say how many.
    pub desired: u32,
    /// With its defaults.
    pub configuration: DeploymentConfiguration,
    /// Seconds after its start in which a task's health is not held against it.
    pub grace_secs: u32,
    /// Beside those of the task definition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<PlacementConstraint>,
    /// Empty for ECS's default: spread over zones, then hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strategies: Vec<PlacementStrategy>,
    /// How tasks that it starts are shared out among capacity providers; empty for the whole cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity: Vec<CapacityProviderStrategyItem>,
    /// Where its tasks' tags come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagate_tags: Option<PropagateTags>,
    /// Whether its tasks get tags of cluster and service.
    pub managed_tags: bool,
    /// Whether commands can be executed in its tasks' containers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub execute_command: bool,
    /// Whether it is evened out over zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_rebalancing: Option<AvailabilityZoneRebalancing>,
    /// Its own.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// ARN of who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// What the request that made it asked for, to tell a repetition from another one.
    pub request_hash: String,
    /// Those that count: the newest (PRIMARY) first, then older ones that still have tasks.
    pub deployments: Vec<ServiceDeployment>,
    /// With the EXTERNAL controller, oldest first; such a service has no deployments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub task_sets: Vec<ServiceTaskSet>,
    /// What the last completed deployment ran: what a rollback brings back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<ServiceRevision>,
    /// The number of the next event.
    pub next_event: u64,
}

impl Service {
    /// Whether it runs.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        match self.status {
            ServiceStatus::Active => true,
            ServiceStatus::Draining | ServiceStatus::Inactive { .. } => false,
        }
    }

    /// Whether its tag says that none of its tasks may run twice, so that agents that are cut off stop them.
    #[must_use]
    pub fn at_most_one(&self) -> bool {
        self.tags.get(AT_MOST_ONE).is_some_and(|value| value == "true")
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        match self.status {
            ServiceStatus::Active | ServiceStatus::Draining => false,
            ServiceStatus::Inactive { .. } => true,
        }
    }

    /// What carries its tasks: deployments, or those of its task sets.
    pub(crate) fn all_deployments(&self) -> impl Iterator<Item = &ServiceDeployment> {
        self.deployments.iter().chain(self.task_sets.iter().map(|set| &set.deployment))
    }

    /// The task set with this id.
    pub(crate) fn task_set(&self, id: &str) -> Option<&ServiceTaskSet> {
        self.task_sets.iter().find(|set| *set.deployment.id == *id)
    }

    /// What it is taken to run: its PRIMARY deployment's revision, or its primary task set's.
    pub(crate) fn primary_revision(&self) -> Option<&ServiceRevision> {
        let primary = self.task_sets.iter().find(|set| set.status == TaskSetStatus::Primary);
        let of_set = primary.map(|set| &set.deployment.revision);
        self.deployments.first().map(|primary| &primary.revision).or(of_set)
    }

    /// Whether what it runs, or may run again, is to be in a security group.
    pub(crate) fn names_group(&self, id: GroupId) -> bool {
        let interfaces =
            self.revisions().filter_map(|revision| revision.network.as_ref()?.awsvpc_configuration.as_ref());
        let mut groups = interfaces.flat_map(|interfaces| interfaces.security_groups.iter().flatten());
        groups.any(|group| group.parse() == Ok(id))
    }

    /// The task definitions that it refers to.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = &DefinitionKey> {
        self.revisions().map(|revision| &revision.definition)
    }

    /// What it runs or may run again. One may be there twice.
    pub(crate) fn revisions(&self) -> impl Iterator<Item = &ServiceRevision> {
        let of_deployments = self.all_deployments().map(|deployment| &deployment.revision);
        of_deployments.chain(&self.completed)
    }
}

/// Something that happened to a service, in ECS's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEvent {
    /// Whose.
    pub service: ServiceKey,
    /// Rises with every event of the service, for ever.
    pub number: u64,
    /// Its id.
    pub id: uuid::Uuid,
    /// When.
    pub at: Timestamp,
    /// What.
    pub message: String,
    /// Of a task that found no place, the reason as `failures[].reason` of RunTask has it; of tasks that cannot be
    /// started anywhere, the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What else it is about.
    #[serde(default, skip_serializing_if = "Concerns::is_empty")]
    pub concerns: Concerns,
}

/// What an event of a service is about, beside the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Concerns {
    /// Of a task that found no place, the host that lacks the least.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<InstanceId>,
    /// Of a task that found no place, the capacity providers of the service's strategy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<Arc<str>>,
    /// The task set that it is said of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_set: Option<Arc<str>>,
}

impl Concerns {
    /// Whether it is about the service alone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { hosts, providers, task_set } = self;
        hosts.is_empty() && providers.is_empty() && task_set.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::{ServiceEvent, share};

    #[test]
    fn an_event_without_what_it_concerns_is_read_and_kept_as_it_was() {
        let text = r#"{"service":{"cluster":{"region":"lab","name":"c"},"name":"web"},"number":1,
            "id":"00000000-0000-0000-0000-000000000000","at":1000,"message":"(service web) is there."}"#;
        let event: ServiceEvent = serde_json::from_str(text).expect("an event");
        assert!(event.concerns.is_empty() && event.reason.is_none());
        let kept = serde_json::to_value(&event).expect("JSON");
        assert_eq!(kept, serde_json::from_str::<serde_json::Value>(text).expect("JSON"));
    }

    #[test]
    fn a_share_is_rounded_up_and_no_further() {
        for (whole, percent, expected) in [
            (0, 100.0, 0),
            (1, 0.0, 0),
            (1, 0.1, 1),
            (3, 33.3, 1),
            (3, 34.0, 2),
            (10, 70.0, 7),
            (10, 12.0, 2),
            (100, 7.0, 7),
            (1000, 0.3, 3),
            (5000, 100.0, 5000),
        ] {
            assert_eq!(share(whole, percent), expected, "{percent} % of {whole}");
        }
        for whole in 0..=200_u32 {
            for percent in 0..=100_u32 {
                let exact = (whole * percent).div_ceil(100);
                assert_eq!(share(whole, f64::from(percent)), exact, "{percent} % of {whole}");
            }
        }
    }
}
