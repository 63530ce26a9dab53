//! Everything that can be done to the state. One file a subject; each command is pure.

mod activation;
mod attributes;
mod capacity;
mod cluster;
mod definition;
mod deployment;
mod disk;
mod firing;
mod group;
mod instance;
mod network;
mod note;
mod outbox;
mod pins;
mod place;
mod protect;
mod report;
mod rule;
mod scaling;
mod schedule;
mod secret;
mod service;
mod service_event;
mod service_failure;
mod service_step;
mod session;
mod setting;
mod stop;
mod sweep;
mod tag;
mod task_set;
mod webhook;

pub(crate) use activation::{CreateActivation, DeleteActivation};
pub(crate) use attributes::{AttributeChange, ChangeAttributes};
pub(crate) use capacity::{
    BUILT_IN, CreateCapacityProvider, DeleteCapacityProvider, PutClusterCapacityProviders, UpdateCapacityProvider,
    exist, unknown,
};
pub(crate) use cluster::{ClusterUpdate, CreateCluster, DeleteCluster, UpdateCluster};
pub(crate) use definition::{DeleteDefinitions, DeregisterDefinition, RegisterDefinition};
pub(crate) use deployment::{StopServiceDeployment, StopType, figures, no_deployment, status_of};
pub(crate) use disk::TakeDiskStatus;
pub(crate) use firing::{
    DecideFiring, Decided, DropFiring, EndFiring, FailFiring, FireRule, Fired, StartFiring, Tried,
};
pub(crate) use group::{
    ChangeNetworkTags, ChangeRules, CreateGroup, DeleteGroup, NetworkTagged, NewRule, RuleChange, RuleEdit, TagsOff,
};
pub(crate) use instance::{DeregisterInstance, Join, SetInstancesStatus};
pub(crate) use network::TakeNetworkStatus;
pub(crate) use note::Note;
pub(crate) use outbox::{Outcome, PublishEvents, Settle, enqueue};
pub(crate) use place::{
    Interfaces, Launch, Launched, NO_INSTANCES, NewTask, PlaceError, PlaceTasks, Plan, Refusal, Target, no_group, plan,
    repeated, unknown_group,
};
pub(crate) use protect::{NotProtected, ProtectTasks, protectable};
pub(crate) use report::{REASON_MAX, Report};
pub(crate) use rule::{DeleteRule, PutRule, PutTargets, RemoveTargets, SetRuleState, TagRule, new_rule, no_rule};
pub(crate) use scaling::{
    ActionEdit, EditScaling, FireScaling, FiredAction, ScaleService, Scaled, ScalingEdit,
    no_target as no_scaling_target,
};
pub(crate) use schedule::{
    CreateSchedule, CreateScheduleGroup, DeleteSchedule, DeleteScheduleGroup, EmptyScheduleGroup, TagScheduleGroup,
    UpdateSchedule, no_group as no_schedule_group, no_schedule,
};
pub(crate) use secret::{
    CreateSecret, DeleteSecret, Found, RestoreSecret, UpdateSecret, invalid_request, marked, not_found,
};
pub(crate) use service::{
    CreateService, DeleteService, NewDeployment, ServiceEdit, TaskIds, UpdateService, active as active_service,
    not_found as service_not_found, ran_before, same as same_revision, task_tags,
};
pub(crate) use service_event::is_news;
pub(crate) use service_step::{Moves, StepError, StepService, Stepped};
pub(crate) use session::{Connect, Disconnect, ExpireSessions};
pub(crate) use setting::{DeleteSetting, PutSetting};
pub(crate) use stop::StopTask;
pub(crate) use sweep::Sweep;
pub(crate) use tag::{ChangeTags, Tagged};
pub(crate) use task_set::{CreateTaskSet, EditTaskSet, StepTaskSet, TaskSetEdit, no_task_set, not_external};
pub(crate) use webhook::{DeleteConnection, DeleteDestination, PutConnection, PutDestination, no_hook};
