//! What scales services: as requests change it, and what it does.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::{NewDeployment, ServiceEdit, UpdateService};
use crate::records::{
    ScalingActivity, ScalingPolicy, ScalingTarget, ScheduledAction, SchedulingStrategy, Service, ServiceKey, Tags,
};
use longshore_ecs_api::autoscaling::SuspendedState;
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::Timestamp;
use longshore_scaling::Decision;
use std::sync::Arc;

/// Policies of a target (Application Auto Scaling), and scheduled actions.
const MAX_POLICIES: usize = 50;
const MAX_ACTIONS: usize = 200;
/// Tags of a target.
const MAX_TAGS: usize = 50;
/// What a day has: firings of the same action that were missed longer ago are not counted one by one.
const DAY_MILLIS: i64 = 86_400_000;

/// A change of what scales a service.
pub(crate) enum ScalingEdit {
    /// Registers it, or changes what is given.
    Register {
        /// For its ARN, where it is new.
        id: uuid::Uuid,
        min: Option<u32>,
        max: Option<u32>,
        suspended: Option<SuspendedState>,
        role_arn: Option<String>,
        tags: Tags,
        /// For the activity and the step of a service whose count is not within the bounds.
        activity: uuid::Uuid,
        new: NewDeployment,
    },
    /// A policy with its name; its time is the transaction's.
    PutPolicy(String, ScalingPolicy),
    DeletePolicy(String),
    /// An action with its name. What it leaves out of one that is there stays.
    PutAction(String, Box<ActionEdit>),
    DeleteAction(String),
    Tags {
        put: Tags,
        remove: Vec<String>,
    },
    /// Ends all of it.
    Deregister,
}

/// What is said of a scheduled action. Each part can be read by itself; what is left out of one that is there stays,
/// but for the times.
pub(crate) struct ActionEdit {
    /// For its ARN, where it is new.
    pub(crate) id: uuid::Uuid,
    pub(crate) schedule: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) start: Option<Timestamp>,
    pub(crate) end: Option<Timestamp>,
    /// The new minimum and maximum, of which each can be left as the target has it.
    pub(crate) bounds: Option<(Option<u32>, Option<u32>)>,
}

impl ActionEdit {
    fn over(self, old: Option<&ScheduledAction>, now: Timestamp) -> Result<ScheduledAction, ApiError> {
        let Self { id, schedule, zone, start, end, bounds } = self;
        let schedule = schedule.or_else(|| old.map(|old| old.schedule.clone()));
        let (min, max) = bounds.or(old.map(|old| (old.min, old.max))).unwrap_or_default();
        if min.is_none() && max.is_none() {
            return Err(invalid("ScalableTargetAction must have a MinCapacity or a MaxCapacity."));
        }
        let mut action = ScheduledAction {
            id: old.map_or(id, |old| old.id),
            schedule: schedule.ok_or_else(|| invalid("Schedule is required for a new scheduled action."))?,
            zone: zone.or_else(|| old.map(|old| old.zone.clone())).unwrap_or_else(|| "UTC".to_owned()),
            start,
            end,
            min,
            max,
            created_at: old.map_or(now, |old| old.created_at),
            anchor: now,
            next: None,
        };
        action.next = action.next_after(now);
        Ok(action)
    }
}

/// Changes what scales a service. Gives it as it is then, or was.
pub(crate) struct EditScaling {
    pub(crate) key: ServiceKey,
    pub(crate) edit: ScalingEdit,
}

impl Command for EditScaling {
    const NAME: &'static str = "EditScaling";
    type Reply = Arc<ScalingTarget>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<ScalingTarget>, ApiError> {
        let Self { key, edit } = self;
        let known = tx.state().scaling_target(&key).map(Arc::clone);
        let mut target = match (&known, &edit) {
            (Some(known), _) => (**known).clone(),
            (None, ScalingEdit::Register { id, min: Some(min), max: Some(max), .. }) => {
                new_target(&key, *id, *min, *max, tx)
            }
            (None, ScalingEdit::Register { .. }) => {
                return Err(invalid("MinCapacity and MaxCapacity are required for a new scalable target."));
            }
            (None, _) => return Err(no_target("registered", &key)),
        };
        match edit {
            ScalingEdit::Register { id: _, min, max, suspended, role_arn, tags, activity, new } => {
                registrable(tx, &key)?;
                target.min = min.unwrap_or(target.min);
                target.max = max.unwrap_or(target.max);
                if target.min > target.max {
                    return Err(invalid("Minimum capacity cannot be greater than maximum capacity."));
                }
                if let Some(given) = suspended {
                    let old = target.suspended;
                    target.suspended = SuspendedState {
                        dynamic_scaling_in_suspended: given
                            .dynamic_scaling_in_suspended
                            .or(old.dynamic_scaling_in_suspended),
                        dynamic_scaling_out_suspended: given
                            .dynamic_scaling_out_suspended
                            .or(old.dynamic_scaling_out_suspended),
                        scheduled_scaling_suspended: given
                            .scheduled_scaling_suspended
                            .or(old.scheduled_scaling_suspended),
                    };
                }
                target.role_arn = role_arn.or(target.role_arn);
                target.tags.extend(tags);
                if let Some((to, of)) = to_be_within(tx, &target) {
                    set(tx, &key, to, new)?;
                    target = target.and_did(did(activity, tx, to, format!("{of} capacity was set to {to}")));
                }
            }
            ScalingEdit::PutPolicy(name, policy) => {
                let old = target.policies.get(&name).map(|old| (old.id, old.created_at));
                let (id, created_at) = old.unwrap_or((policy.id, tx.now));
                target.policies.insert(name, ScalingPolicy { id, created_at, ..policy });
                if target.policies.len() > MAX_POLICIES {
                    return Err(limit(format!("a scalable target can have {MAX_POLICIES} scaling policies.")));
                }
            }
            ScalingEdit::DeletePolicy(name) => {
                if target.policies.remove(&name).is_none() {
                    return Err(no_object(&format!("No scaling policy found for {}, policy name: {name}", of(&key))));
                }
            }
            ScalingEdit::PutAction(name, action) => {
                let action = action.over(target.actions.get(&name), tx.now)?;
                target.actions.insert(name, action);
                if target.actions.len() > MAX_ACTIONS {
                    return Err(limit(format!("a scalable target can have {MAX_ACTIONS} scheduled actions.")));
                }
            }
            ScalingEdit::DeleteAction(name) => {
                if target.actions.remove(&name).is_none() {
                    let text = format!("No scheduled action found for {}, scheduled action name: {name}", of(&key));
                    return Err(no_object(&text));
                }
            }
            ScalingEdit::Tags { put, remove } => {
                remove.iter().for_each(|key| drop(target.tags.remove(key)));
                target.tags.extend(put);
            }
            ScalingEdit::Deregister => {
                tx.change(Change::ForgetScaling(key));
                return Ok(Arc::new(target));
            }
        }
        if target.tags.len() > MAX_TAGS {
            return Err(invalid(&format!("Tags: a scalable target can have {MAX_TAGS} tags.")));
        }
        let target = Arc::new(target);
        if known.as_ref() != Some(&target) {
            tx.change(Change::Scaling(Arc::clone(&target)));
        }
        Ok(target)
    }
}

fn new_target(key: &ServiceKey, id: uuid::Uuid, min: u32, max: u32, tx: &Tx<'_>) -> ScalingTarget {
    ScalingTarget {
        key: key.clone(),
        id,
        min,
        max,
        suspended: SuspendedState::default(),
        role_arn: None,
        tags: Tags::new(),
        created_at: tx.now,
        policies: Default::default(),
        actions: Default::default(),
        activities: Vec::new(),
        last_out: None,
        last_in: None,
        raised_from: None,
    }
}

/// A service that can be scaled.
fn registrable(tx: &Tx<'_>, key: &ServiceKey) -> Result<(), ApiError> {
    let service = tx.state().service(key).map(|service| Arc::clone(&service.record)).filter(|s| s.is_active());
    let name = format!("service/{}/{}", key.cluster.name, key.name);
    let service = service.ok_or_else(|| invalid(&format!("ECS service doesn't exist: {name}")))?;
    match service.scheduling {
        SchedulingStrategy::Replica => Ok(()),
        SchedulingStrategy::Daemon => Err(invalid(&format!("ECS service doesn't have a desired count: {name}"))),
    }
}

/// What became of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scaled {
    /// It holds.
    Done,
    /// What it rested on is not so any more.
    Outdated,
}

/// Carries out what a policy wants: the desired count, as UpdateService sets it, and what there is to remember of it.
pub(crate) struct ScaleService {
    /// What was decided by.
    pub(crate) target: Arc<ScalingTarget>,
    /// The desired count then.
    pub(crate) from: u32,
    pub(crate) decision: Decision,
    pub(crate) activity: uuid::Uuid,
    pub(crate) new: NewDeployment,
}

impl Command for ScaleService {
    const NAME: &'static str = "ScaleService";
    type Reply = Scaled;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Scaled, ApiError> {
        let Self { target, from, decision, activity, new } = self;
        let key = &target.key;
        let same = tx.state().scaling_target(key).is_some_and(|now| Arc::ptr_eq(now, &target) || **now == *target);
        if !same || desired(tx, key) != Some(from) {
            return Ok(Scaled::Outdated);
        }
        let Decision { desired: to, policy, why, raised_from } = decision;
        set(tx, key, to, new)?;
        let mut after = (*target).clone();
        if to > from {
            (after.last_out, after.raised_from) = (Some(tx.now), raised_from);
        } else {
            after.last_in = Some(tx.now);
        }
        let cause = format!("policy {policy}: {why}");
        let after = after.and_did(did(activity, tx, to, cause));
        tx.change(Change::Scaling(Arc::new(after)));
        Ok(Scaled::Done)
    }
}

/// An action that fired.
#[derive(Debug)]
pub(crate) struct FiredAction {
    pub(crate) name: String,
    pub(crate) at: longshore_model::Timestamp,
    /// The count that the service is brought to, when the bounds ask for another one.
    pub(crate) to: Option<u32>,
    /// Why it could not be brought to it.
    pub(crate) failure: Option<String>,
    /// Scheduled scaling is suspended, so nothing was done.
    pub(crate) suspended: bool,
}

/// Fires the action of a service that is due first: its bounds hold from then on, and the count is brought within them.
pub(crate) struct FireScaling {
    pub(crate) key: ServiceKey,
    pub(crate) activities: [uuid::Uuid; 2],
    pub(crate) new: NewDeployment,
}

impl Command for FireScaling {
    const NAME: &'static str = "FireScaling";
    type Reply = Option<FiredAction>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Option<FiredAction>, ApiError> {
        let Self { key, activities: [first, second], new } = self;
        let Some(target) = tx.state().scaling_target(&key).map(|target| (**target).clone()) else { return Ok(None) };
        let next = target.actions.iter().filter_map(|(name, action)| Some((action.next?, name.clone()))).min();
        let Some((at, name)) = next.filter(|(at, _)| *at <= tx.now) else { return Ok(None) };
        let mut after = target;
        let Some(action) = after.actions.get_mut(&name) else { return Ok(None) };
        let missed = |at| action.next_after(at).filter(|next| *next <= tx.now);
        if missed(at).is_some() {
            // Of its firings that nobody was there for, the last one counts, in its place among those of others.
            let mut last = missed(at.max(tx.now.moved(-DAY_MILLIS))).unwrap_or(at);
            while let Some(next) = missed(last) {
                last = next;
            }
            action.next = Some(last);
            tx.change(Change::Scaling(Arc::new(after)));
            return Ok(None);
        }
        action.next = action.next_after(at);
        let (min, max) = (action.min, action.max);
        let mut fired = FiredAction { name, at, to: None, failure: None, suspended: false };
        if after.suspended.scheduled_scaling_suspended == Some(true) {
            tx.change(Change::Scaling(Arc::new(after)));
            return Ok(Some(FiredAction { suspended: true, ..fired }));
        }
        // What is given wins over what is not.
        after.min = min.unwrap_or_else(|| after.min.min(max.unwrap_or(u32::MAX)));
        after.max = max.unwrap_or_else(|| after.max.max(after.min));
        let cause = format!("scheduled action name {} was triggered", fired.name);
        let words = format!("Setting min capacity to {} and max capacity to {}", after.min, after.max);
        after = after.and_did(ScalingActivity { id: first, at: tx.now, description: words, cause, failure: None });
        if let Some((to, of)) = to_be_within(tx, &after) {
            let mut activity = did(second, tx, to, format!("{of} capacity was set to {to}"));
            match set(tx, &key, to, new) {
                Ok(()) => fired.to = Some(to),
                // It has fired all the same: tried for ever it would hold up the service's other actions.
                Err(error) => {
                    activity.failure = Some(error.message.clone());
                    fired.failure = Some(error.message);
                }
            }
            after = after.and_did(activity);
        }
        tx.change(Change::Scaling(Arc::new(after)));
        Ok(Some(fired))
    }
}

/// The count that brings a service within its bounds, and which of them it is, when it is not.
fn to_be_within(tx: &Tx<'_>, target: &ScalingTarget) -> Option<(u32, &'static str)> {
    let from = desired(tx, &target.key)?;
    let to = target.bounds().nearest(from);
    (to != from).then_some((to, if to > from { "minimum" } else { "maximum" }))
}

fn did(id: uuid::Uuid, tx: &Tx<'_>, to: u32, cause: String) -> ScalingActivity {
    ScalingActivity { id, at: tx.now, description: format!("Setting desired count to {to}."), cause, failure: None }
}

/// The desired count of a service that is there.
fn desired(tx: &Tx<'_>, key: &ServiceKey) -> Option<u32> {
    let active = |service: &&Arc<Service>| service.is_active();
    tx.state().service(key).map(|service| &service.record).filter(active).map(|service| service.desired)
}

fn set(tx: &mut Tx<'_>, key: &ServiceKey, to: u32, new: NewDeployment) -> Result<(), ApiError> {
    let edit = ServiceEdit { desired: Some(to), ..ServiceEdit::default() };
    UpdateService { key: key.clone(), edit, new }.apply(tx).map(drop)
}

fn of(key: &ServiceKey) -> String {
    let ServiceKey { cluster, name } = key;
    format!(
        "service namespace: ecs, resource ID: service/{}/{name}, scalable dimension: ecs:service:DesiredCount",
        cluster.name
    )
}

/// Application Auto Scaling's words for a target that is not there.
pub(crate) fn no_target(verb: &str, key: &ServiceKey) -> ApiError {
    no_object(&format!("No scalable target {verb} for {}", of(key)))
}

fn no_object(text: &str) -> ApiError {
    ApiError::new(ErrorCode::ObjectNotFound, text)
}

fn invalid(text: &str) -> ApiError {
    ApiError::new(ErrorCode::Validation, text)
}

fn limit(text: String) -> ApiError {
    ApiError::new(ErrorCode::LimitExceeded, text)
}
