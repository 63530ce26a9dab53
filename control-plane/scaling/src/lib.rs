//! What a service's desired count becomes by its scaling policies.
//!
//! Pure: no I/O, no clock. Whoever asks brings the figures of the last periods, the policies, the bounds, what was done
//! last, and the time. The answer is a new count with the reason for it, or nothing.
//!
//! What is steered by is *demand*: the average use of a task times the tasks that were there, in percent of one task's
//! reservation. It stays the same when tasks come and go, so a count that follows from it does not chase itself.

mod alarm;
mod steps;
mod track;

pub use alarm::{Alarm, AlarmError, Comparison};
pub use steps::{Adjustment, Step, Steps};
pub use track::{IN_PERIODS, IN_SHARE, Tracking};

use longshore_model::Timestamp;
use std::time::Duration;

/// What is measured of a service's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Of the CPU that a task reserves.
    Cpu,
    /// Of the memory that a task reserves.
    Memory,
}

impl Metric {
    /// As CloudWatch calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPUUtilization",
            Self::Memory => "MemoryUtilization",
        }
    }
}

/// The figures of a service in one period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Period {
    /// When it began.
    pub began: Timestamp,
    /// The average task's CPU, in percent of what it reserves; absent when no task reserves any.
    pub cpu: Option<f64>,
    /// The same of memory.
    pub memory: Option<f64>,
    /// Tasks that were there, those of a part of the period as that part.
    pub tasks: f64,
}

impl Period {
    fn of(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Cpu => self.cpu,
            Metric::Memory => self.memory,
        }
    }
}

/// What a policy does.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Keeps a metric at a target.
    Track(Tracking),
    /// Moves in steps while an alarm is on.
    Steps(Steps),
}

/// A policy with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy<'a> {
    /// Its name, for the reason.
    pub name: &'a str,
    /// What it does.
    pub rule: Rule,
}

/// Between what a desired count may be. `min` is not above `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The least.
    pub min: u32,
    /// The most.
    pub max: u32,
}

impl Bounds {
    /// The count of the bounds that is nearest.
    #[must_use]
    pub fn nearest(self, count: u32) -> u32 {
        count.min(self.max).max(self.min)
    }
}

/// Everything that a decision rests on.
#[derive(Debug, Clone)]
pub struct Picture<'a> {
    /// The desired count.
    pub current: u32,
    /// What it may be.
    pub bounds: Bounds,
    /// Whole periods that follow each other, the latest first; a period that is missing ends them.
    pub periods: &'a [Period],
    /// The policies.
    pub policies: &'a [Policy<'a>],
    /// When policies last raised the count.
    pub last_out: Option<Timestamp>,
    /// When policies last lowered it.
    pub last_in: Option<Timestamp>,
    /// What the last raise was counted from: [`Decision::raised_from`].
    pub raised_from: Option<u32>,
    /// Whether policies may raise it.
    pub may_out: bool,
    /// Whether policies may lower it.
    pub may_in: bool,
}

/// A new desired count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The count: within the bounds, and another than the current one.
    pub desired: u32,
    /// The policy that asked for it.
    pub policy: String,
    /// Why, for people.
    pub why: String,
    /// What a raise was counted from: the count from before the first of those within a cool-down. Absent for a
    /// lowering.
    pub raised_from: Option<u32>,
}

/// What one policy wants.
#[derive(Debug, Clone, PartialEq)]
enum Wish {
    /// At least so many, counted from so many.
    Out { to: u32, from: u32, why: String },
    /// As few as that.
    In(u32, String),
    /// As many as there are.
    Stay,
    /// It does not count: it has nothing to say about fewer tasks, or no figures to say more with.
    Abstain,
}

/// What the desired count becomes, if it is to change.
///
/// - The policy that asks for the most raises it. Otherwise it is lowered to the most that a policy asks for, once
///   every policy that tracks a target, and may lower the count, agrees.
/// - Within the cool-down after a raise, what was added counts: a policy goes by the count from before, and raises it
///   when that asks for more than there is, which begins the cool-down anew.
/// - Nothing is lowered within the cool-down after the last change. A raise does not wait for the cool-down of a
///   lowering, and ends it.
/// - A change in the future was made before the clock was set back: it counts as one that was long ago.
/// - A count that somebody set below the bounds is left until a policy would raise it, and is then at least their
///   minimum; one above them until a policy would lower it. So ECS has it, but for a registration of the target.
#[must_use]
pub fn decide(picture: &Picture<'_>, now: Timestamp) -> Option<Decision> {
    let past = |at: Option<Timestamp>| at.filter(|at| *at <= now);
    let last_out = past(picture.last_out);
    let last_in = past(picture.last_in).filter(|at| last_out.is_none_or(|out| out <= *at));
    let picture = &Picture { last_out, last_in, ..picture.clone() };
    let Picture { current, bounds, .. } = *picture;
    let wishes: Vec<(&Policy<'_>, Wish)> = picture.policies.iter().map(|p| (p, wish(picture, p, now))).collect();
    let decision = |desired: u32, policy: &Policy<'_>, why: &str, raised_from: Option<u32>| Decision {
        desired,
        policy: policy.name.to_owned(),
        why: why.to_owned(),
        raised_from,
    };
    let raised = wishes.iter().filter_map(|(policy, wish)| match wish {
        Wish::Out { to, from, why } => Some((bounds.nearest(*to), *policy, why, *from)),
        Wish::In(..) | Wish::Stay | Wish::Abstain => None,
    });
    if let Some((count, policy, why, from)) = raised.max_by_key(|(count, ..)| *count) {
        return (picture.may_out && count > current).then(|| decision(count, policy, why, Some(from)));
    }
    let held = wishes.iter().any(|(policy, wish)| matches!(policy.rule, Rule::Track(_)) && *wish == Wish::Stay);
    let lowered = wishes.iter().filter_map(|(policy, wish)| match wish {
        Wish::In(count, why) => match policy.rule {
            Rule::Track(_) if held => None,
            Rule::Track(_) | Rule::Steps(_) => Some((bounds.nearest(*count), *policy, why)),
        },
        Wish::Out { .. } | Wish::Stay | Wish::Abstain => None,
    });
    let (count, policy, why) = lowered.max_by_key(|(count, ..)| *count)?;
    (picture.may_in && count < current).then(|| decision(count, policy, why, None))
}

fn wish(picture: &Picture<'_>, policy: &Policy<'_>, now: Timestamp) -> Wish {
    match &policy.rule {
        Rule::Track(tracking) => track::wish(picture, tracking, now),
        Rule::Steps(steps) => steps::wish(picture, steps, now),
    }
}

/// The count that a raise is counted from: the current one, but within a cool-down the one from before it. Absent when
/// nobody remembers that one: then nothing is raised.
fn base(picture: &Picture<'_>, cooldown: Duration, now: Timestamp) -> Option<u32> {
    if rested(picture.last_out, cooldown, now) {
        return Some(picture.current);
    }
    picture.raised_from.map(|from| from.min(picture.current))
}

/// Whether a change at `last` is so long ago.
fn rested(last: Option<Timestamp>, cooldown: Duration, now: Timestamp) -> bool {
    last.is_none_or(|last| now >= last.after(cooldown))
}
