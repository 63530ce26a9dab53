//! The bounds of a service's desired count, with everything that moves it within them.

use crate::records::{ServiceKey, Tags};
use longshore_ecs_api::autoscaling::{StepScaling, SuspendedState, TargetTracking};
use longshore_model::{AccountId, Timestamp};
use longshore_scaling::Bounds;
use longshore_schedule::{Dialect, Expression, Timing, Zone};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A service whose desired count is kept within bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScalingTarget {
    /// Its service.
    pub key: ServiceKey,
    /// The last part of its ARN.
    pub id: uuid::Uuid,
    /// The least that is asked of the service.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// What is not done.
    #[serde(default)]
    pub suspended: SuspendedState,
    /// The role that the request named. It is kept and means nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Tags. Some of them are alarms of step policies.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// When it was registered first.
    pub created_at: Timestamp,
    /// Policies by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, ScalingPolicy>,
    /// Scheduled actions by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub actions: BTreeMap<String, ScheduledAction>,
    /// What was done, oldest first: the latest [`ScalingTarget::ACTIVITIES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub activities: Vec<ScalingActivity>,
    /// When a policy raised the count last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_out: Option<Timestamp>,
    /// When a policy lowered it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_in: Option<Timestamp>,
    /// What the raise at `last_out` was counted from; absent where an earlier version raised it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_from: Option<u32>,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScalingPolicy {
    /// A part of its ARN; stays when the policy is changed.
    pub id: uuid::Uuid,
    /// What it does.
    pub kind: ScalingKind,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a policy does, as the request said it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ScalingKind {
    /// Keeps a metric at a target.
    Track(TargetTracking),
    /// Moves in steps.
    Steps(StepScaling),
}

/// Sets bounds by the clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduledAction {
    /// A part of its ARN.
    pub id: uuid::Uuid,
    /// The expression as it was sent; it was one that can be read.
    pub schedule: String,
    /// The zone of its local times.
    pub zone: String,
    /// Nothing that recurs fires before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Nothing that recurs fires after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// The new minimum; absent leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// The new maximum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where rates count from.
    pub anchor: Timestamp,
    /// The firing that comes next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScalingActivity {
    /// Its id.
    pub id: uuid::Uuid,
    /// When.
    pub at: Timestamp,
    /// What.
    pub description: String,
    /// Why.
    pub cause: String,
    /// Why it was not done after all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl ScalingTarget {
    /// Activities that are kept.
    pub const ACTIVITIES: usize = 50;

    /// The bounds.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        Bounds { min: self.min, max: self.max }
    }

    /// `service/CLUSTER/NAME`.
    #[must_use]
    pub fn resource_id(&self) -> String {
        format!("service/{}/{}", self.key.cluster.name, self.key.name)
    }

    /// `arn:aws:application-autoscaling:REGION:ACCOUNT:scalable-target/ID`.
    #[must_use]
    pub fn arn(&self, account: &AccountId) -> String {
        format!(
            "arn:aws:application-autoscaling:{}:{account}:scalable-target/{}",
            self.key.cluster.region,
            self.id.simple()
        )
    }

    /// When the next action fires.
    #[must_use]
    pub fn next_action(&self) -> Option<Timestamp> {
        self.actions.values().filter_map(|action| action.next).min()
    }

    /// The same with one more activity.
    #[must_use]
    pub fn and_did(mut self, activity: ScalingActivity) -> Self {
        self.activities.push(activity);
        let over = self.activities.len().saturating_sub(Self::ACTIVITIES);
        self.activities.drain(..over);
        self
    }
}

impl ScheduledAction {
    /// The first firing after `after`; `None` as well for what this version cannot read.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let expression = Expression::parse(&self.schedule, Dialect::Scheduler).ok()?;
        let zone = Zone::named(&self.zone)?;
        Timing { expression, zone, anchor: self.anchor, start: self.start, end: self.end }.next(after)
    }
}
