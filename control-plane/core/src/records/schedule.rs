//! Schedules of EventBridge Scheduler, their groups, and firings that are decided and not carried out yet.

use crate::records::Tags;
use longshore_ecs_api::scheduler::Target;
use longshore_model::{AccountId, Region, TaskId, Timestamp};
use longshore_schedule::{Dialect, Expression, Timing, Zone};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The group of schedules that name none. It is there without being made.
pub const DEFAULT_GROUP: &str = "default";
/// The zone of expressions that come without one.
pub const DEFAULT_ZONE: &str = "UTC";
/// How old a firing may get where nothing else is said, and how far a clock is set back at most without having been
/// wrong: what fired for a time further ahead than this was fired by a clock that nobody believes any more.
pub const FIRING_AGE: Duration = Duration::from_secs(24 * 3600);

/// Which group of schedules: a name is taken once in a region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScheduleGroupKey {
    /// Its region.
    pub region: Region,
    /// 1 to 64 letters, digits and characters of `-_.`.
    pub name: String,
}

/// A group of schedules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleGroup {
    /// Its name.
    pub key: ScheduleGroupKey,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub changed_at: Timestamp,
    /// Since when its deletion goes on: its schedules go first, some at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting_since: Option<Timestamp>,
    /// The client token of the request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Which schedule: a name is taken once in a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScheduleKey {
    /// Its region.
    pub region: Region,
    /// Its group's name.
    pub group: String,
    /// As a group's.
    pub name: String,
}

/// What a request says of a schedule: an update says all of it anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleSettings {
    /// The expression as it was sent; it was one that can be read.
    pub expression: String,
    /// The name of the zone that local times of the expression are in.
    pub zone: String,
    /// As [`Timing::start`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// As [`Timing::end`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// The width of the flexible window; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_minutes: Option<u32>,
    /// Whether it fires.
    pub enabled: bool,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What a firing does.
    pub target: Box<Target>,
    /// Whether it is deleted when its last firing is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_when_over: bool,
}

/// How a firing ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FiringOutcome {
    /// All its tasks were started; these are those of the last try.
    Started(Vec<TaskId>),
    /// It was given up.
    Failed(String),
    /// The control plane was not there, or its clock was wrong, until it was too old. Later ones may be among it that
    /// nobody counted.
    Missed,
}

/// The firing that ended last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFiring {
    /// The time that it was for.
    pub at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub outcome: FiringOutcome,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub key: ScheduleKey,
    /// Tells it from others that had or will have its name.
    pub id: uuid::Uuid,
    /// What the request said.
    pub settings: ScheduleSettings,
    /// The client token of the request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its settings were changed last.
    pub changed_at: Timestamp,
    /// Where rates count from: when the expression or its start was set.
    pub anchor: Timestamp,
    /// The latest time that it has fired or missed. No firing is for that time or an earlier one again, whatever the
    /// settings become, unless the clock is set back by more than [`FIRING_AGE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Timestamp>,
    /// The firing that is decided next; all before it are. Absent when there is none any more, or it is not enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// What came of the firing that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastFiring>,
}

impl ScheduleSettings {
    /// When it fires; `None` for an expression or a zone that this version cannot read.
    #[must_use]
    pub fn timing(&self, anchor: Timestamp) -> Option<Timing> {
        let expression = Expression::parse(&self.expression, Dialect::Scheduler).ok()?;
        Some(Timing { expression, zone: Zone::named(&self.zone)?, anchor, start: self.start, end: self.end })
    }

    /// Whether both fire at the same times.
    #[must_use]
    pub fn fires_as(&self, other: &Self) -> bool {
        let when = |s: &Self| (s.expression.clone(), s.zone.clone(), s.start, s.end, s.enabled);
        when(self) == when(other)
    }

    /// How old a firing may get.
    #[must_use]
    pub fn max_age(&self) -> Duration {
        let policy = self.target.retry_policy.as_ref();
        let secs = policy.and_then(|policy| policy.maximum_event_age_in_seconds);
        Duration::from_secs(secs.and_then(|secs| u64::try_from(secs).ok()).unwrap_or(FIRING_AGE.as_secs()))
    }

    /// How often a firing is tried again.
    #[must_use]
    pub fn max_retries(&self) -> u32 {
        let retries = self.target.retry_policy.as_ref().and_then(|policy| policy.maximum_retry_attempts);
        retries.and_then(|retries| u32::try_from(retries).ok()).unwrap_or(185)
    }

    /// The width of the flexible window, zero when there is none.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs(u64::from(self.window_minutes.unwrap_or(0)) * 60)
    }

    /// How many tasks a firing starts.
    #[must_use]
    pub fn tasks(&self) -> u32 {
        let count = self.target.ecs_parameters.as_ref().and_then(|ecs| ecs.task_count);
        count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
    }
}

impl Schedule {
    /// `arn:aws:scheduler:REGION:ACCOUNT:schedule/GROUP/NAME`.
    #[must_use]
    pub fn arn(&self, account: &AccountId) -> String {
        let ScheduleKey { region, group, name } = &self.key;
        format!("arn:aws:scheduler:{region}:{account}:schedule/{group}/{name}")
    }

    /// The first firing after `after` that is not decided yet, if it is enabled.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let settings = &self.settings;
        let after = undecided(self.decided, after);
        settings.enabled.then(|| settings.timing(self.anchor)).flatten()?.next(after)
    }

    /// The time that it fired for by a clock that was too far ahead for it to count at `now`.
    #[must_use]
    pub fn fired_ahead(&self, now: Timestamp) -> Option<Timestamp> {
        self.decided.filter(|decided| *decided > now.after(FIRING_AGE))
    }
}

/// After which moment to look for the next firing, when those up to `decided` have fired: one reading of a clock that
/// is far ahead must not silence a schedule until then.
pub(super) fn undecided(decided: Option<Timestamp>, after: Timestamp) -> Timestamp {
    let believed = decided.filter(|decided| *decided <= after.after(FIRING_AGE));
    believed.map_or(after, |decided| decided.max(after))
}

impl ScheduleGroupKey {
    /// `arn:aws:scheduler:REGION:ACCOUNT:schedule-group/NAME`.
    #[must_use]
    pub fn arn(&self, account: &AccountId) -> String {
        format!("arn:aws:scheduler:{}:{account}:schedule-group/{}", self.region, self.name)
    }
}

impl ScheduleKey {
    /// Its group.
    #[must_use]
    pub fn group_key(&self) -> ScheduleGroupKey {
        ScheduleGroupKey { region: self.region.clone(), name: self.group.clone() }
    }
}

impl std::fmt::Display for ScheduleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.group, self.name)
    }
}

/// Which firing: a schedule fires once for a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FiringKey {
    /// Of which schedule.
    pub schedule: ScheduleKey,
    /// The time that it is for.
    pub at: Timestamp,
}

/// A firing that happened and whose tasks are not all started. It is there until they are, or until it is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// Which.
    pub key: FiringKey,
    /// [`Schedule::id`]: the firing of a schedule that is gone starts nothing.
    pub id: uuid::Uuid,
    /// When it was to be carried out: its time, or a later one in the flexible window.
    pub due: Timestamp,
    /// When it is tried, or tried again.
    pub next_try: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// How many of its tasks are started.
    pub started: u32,
    /// Why the last try did not start all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
