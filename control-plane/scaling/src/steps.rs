//! Step scaling.

use crate::alarm::{Alarm, Comparison};
use crate::{Picture, Wish, base, rested};
use longshore_model::Timestamp;
use std::time::Duration;

/// How a step's number is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjustment {
    /// So many tasks more, or fewer.
    Change,
    /// So many percent of the desired count more, or fewer.
    Percent,
    /// Exactly so many tasks.
    Exact,
}

/// What is done for a part of the values of an alarm's metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Where the part begins, from the threshold; absent for no end.
    pub lower: Option<f64>,
    /// Where it ends.
    pub upper: Option<f64>,
    /// The number.
    pub adjustment: i32,
}

/// Moves in steps while an alarm is on.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// When; never while it is absent.
    pub alarm: Option<Alarm>,
    /// How numbers are meant.
    pub adjustment: Adjustment,
    /// What is done: parts that do not overlap.
    pub steps: Vec<Step>,
    /// The fewest tasks by which [`Adjustment::Percent`] moves the count.
    pub least: u32,
    /// How long what a raise added counts towards the next one, and the least time from any change to a lowering.
    pub cooldown: Duration,
}

impl Step {
    /// Whether a distance from the threshold is of this part. The end that is nearer to the threshold belongs to it.
    fn covers(&self, distance: f64, comparison: Comparison) -> bool {
        match comparison {
            Comparison::Above => {
                self.lower.is_none_or(|lower| distance >= lower) && self.upper.is_none_or(|upper| distance < upper)
            }
            Comparison::Below => {
                self.lower.is_none_or(|lower| distance > lower) && self.upper.is_none_or(|upper| distance <= upper)
            }
        }
    }
}

impl Steps {
    /// The count that a step makes of `current`; percents round as AWS has it: away from 0 below one task, else towards
    /// it.
    fn adjusted(&self, current: u32, adjustment: i32) -> u32 {
        let by = match self.adjustment {
            Adjustment::Exact => return adjustment.max(0).unsigned_abs(),
            Adjustment::Change => i64::from(adjustment),
            Adjustment::Percent => {
                let hundredths = i64::from(current) * i64::from(adjustment);
                let whole = if hundredths.abs() < 100 { hundredths.signum() } else { hundredths / 100 };
                let least = i64::from(self.least);
                if adjustment == 0 { 0 } else { i64::from(adjustment.signum()) * whole.abs().max(least) }
            }
        };
        let count = (i64::from(current) + by).max(0);
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

pub(super) fn wish(picture: &Picture<'_>, steps: &Steps, now: Timestamp) -> Wish {
    let Some(alarm) = &steps.alarm else { return Wish::Abstain };
    let Some(used) = alarm.on(picture.periods) else { return Wish::Abstain };
    // What was measured before the last change is answered.
    let began = picture.periods.first().map(|period| period.began);
    let last = picture.last_out.max(picture.last_in);
    if last.is_some_and(|last| began.is_none_or(|began| began < last)) {
        return Wish::Abstain;
    }
    let distance = used - alarm.threshold;
    let Some(step) = steps.steps.iter().find(|step| step.covers(distance, alarm.comparison)) else {
        return Wish::Abstain;
    };
    let than = match alarm.comparison {
        Comparison::Above => "not below",
        Comparison::Below => "not above",
    };
    let why = format!("{} was {used:.1} %, {than} {:.1} %", alarm.metric.name(), alarm.threshold);
    let raised = base(picture, steps.cooldown, now).map(|from| (steps.adjusted(from, step.adjustment), from));
    if let Some((to, from)) = raised.filter(|(to, _)| *to > picture.current) {
        return Wish::Out { to, from, why };
    }
    let count = steps.adjusted(picture.current, step.adjustment);
    if count < picture.current && rested(last, steps.cooldown, now) {
        return Wish::In(count, why);
    }
    Wish::Abstain
}
