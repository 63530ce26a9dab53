//! Rules of EventBridge, where their events go, and the events that are on their way.

use super::schedule::undecided;
use crate::records::{FIRING_AGE, Tags};
use longshore_ecs_api::events::EventTarget;
use longshore_model::{AccountId, Region, Timestamp};
use longshore_schedule::{Dialect, Expression, Timing, Zone};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which rule: a name is taken once in a region. There is one event bus in each, `default`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RuleKey {
    /// The region that it was made in; events of this region alone match.
    pub region: Region,
    /// 1 to 64 letters, digits and characters of `.-_`.
    pub name: Arc<str>,
}

/// A rule: which events, or when, and where to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub key: RuleKey,
    /// Which events, as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// When it fires, as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Whether it matches and fires.
    pub enabled: bool,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Kept and echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// When it was made.
    pub created_at: Timestamp,
    /// When PutRule, EnableRule or DisableRule changed it last.
    pub changed_at: Timestamp,
    /// Where a rate counts from: when the schedule was set.
    #[serde(default)]
    pub anchor: Timestamp,
    /// The latest time that its schedule has fired or missed. No firing is for that time or an earlier one again,
    /// whatever the schedule becomes, unless the clock is set back by more than [`FIRING_AGE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Timestamp>,
    /// The firing of its schedule that is decided next; absent when there is none, or it is not enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Where its events go, by id in the order in which they were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<RuleTarget>,
}

impl Rule {
    /// `arn:aws:events:REGION:ACCOUNT:rule/NAME`.
    #[must_use]
    pub fn arn(&self, account: &AccountId) -> String {
        self.key.arn(account)
    }

    /// The first firing of its schedule after `after` that is not decided yet, if it is enabled. Times are UTC, as all
    /// of a rule's are.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let text = self.schedule.as_deref().filter(|_| self.enabled)?;
        let expression = Expression::parse(text, Dialect::Rules).ok()?;
        let after = undecided(self.decided, after);
        Timing { expression, zone: Zone::UTC, anchor: self.anchor, start: None, end: None }.next(after)
    }

    /// The time that it fired for by a clock that was too far ahead for it to count at `now`.
    #[must_use]
    pub fn fired_ahead(&self, now: Timestamp) -> Option<Timestamp> {
        self.decided.filter(|decided| *decided > now.after(FIRING_AGE))
    }

    /// The target of that id.
    #[must_use]
    pub fn target(&self, id: &str) -> Option<&RuleTarget> {
        self.targets.iter().find(|target| *target.id == *id)
    }

    /// What names its targets.
    pub fn target_keys(&self) -> impl Iterator<Item = TargetKey> {
        self.targets.iter().map(|target| TargetKey { rule: self.key.clone(), id: Arc::clone(&target.id) })
    }
}

impl RuleKey {
    /// `arn:aws:events:REGION:ACCOUNT:rule/NAME`.
    #[must_use]
    pub fn arn(&self, account: &AccountId) -> String {
        format!("arn:aws:events:{}:{account}:rule/{}", self.region, self.name)
    }
}

/// Where a rule's events go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleTarget {
    /// Its id in the rule.
    pub id: Arc<str>,
    /// A cluster (to run a task), a log group or an API destination, of this account and region.
    pub arn: String,
    /// The rest as PutTargets gave it, checked.
    pub body: EventTarget,
}

/// A target of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetKey {
    /// The rule.
    pub rule: RuleKey,
    /// The target's id in it.
    pub id: Arc<str>,
}

/// How far deliveries to a target are. There is one for each target, and events wait for those alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetProgress {
    /// Whose.
    pub target: TargetKey,
    /// The number of the last event that is done with. Only rises.
    pub done: u64,
    /// How often the event after it was tried in vain.
    #[serde(default)]
    pub attempts: u32,
    /// How many tasks of that event are started, when not all found a place yet.
    #[serde(default)]
    pub started: u32,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How many events were given up, ever.
    #[serde(default)]
    pub given_up: u64,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_given_up: Option<GivenUp>,
}

/// An event that was not delivered to a target and will not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// Its id.
    pub event: uuid::Uuid,
    /// When it was given up.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

/// Events of one command that targets wait for. Stored with what they tell of, in one batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    /// The number of the first; the others follow. Numbers only rise.
    pub first: u64,
    /// The events.
    pub events: Vec<OutboxEvent>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxEvent {
    /// Its id.
    pub id: uuid::Uuid,
    /// When it was taken, by the control plane's clock: its age counts from here.
    pub at: Timestamp,
    /// The event, JSON.
    pub body: Arc<str>,
    /// Who is to get it.
    pub to: Vec<TargetKey>,
}
