//! Target tracking.

use crate::{Metric, Period, Picture, Wish, base, rested};
use longshore_model::Timestamp;
use std::time::Duration;

/// Periods that all have to ask for fewer tasks before there are fewer.
pub const IN_PERIODS: usize = 5;

/// A count is lowered to what would have the metric at this share of its target at most. What is between that and the
/// target changes nothing, so that a load which wavers a little does not move the count.
pub const IN_SHARE: f64 = 0.9;

/// Keeps a metric at a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracking {
    /// What is kept.
    pub metric: Metric,
    /// Where, in percent; above 0.
    pub target: f64,
    /// How long what a raise added counts towards the next one.
    pub out_cooldown: Duration,
    /// The least time between a change and a lowering after it.
    pub in_cooldown: Duration,
    /// Whether it never lowers the count.
    pub no_in: bool,
}

/// The count that has a demand at a target.
fn count_for(demand: f64, target: f64) -> u32 {
    // What rounding left over is no task. A cast saturates.
    (demand / target - 1e-9).ceil().max(0.0) as u32
}

pub(super) fn wish(picture: &Picture<'_>, tracking: &Tracking, now: Timestamp) -> Wish {
    let Tracking { metric, target, out_cooldown, in_cooldown, no_in } = *tracking;
    let demand = |period: &Period| period.of(metric).map(|used| used * period.tasks);
    let latest = picture.periods.first().and_then(|period| Some((period.of(metric)?, demand(period)?)));
    // Without figures nobody knows whether fewer would do.
    let Some((used, wanted)) = latest else { return if no_in { Wish::Abstain } else { Wish::Stay } };
    if used > target {
        let Some(from) = base(picture, out_cooldown, now) else { return Wish::Stay };
        // What was added within a cool-down is taken to bear nothing yet.
        let wanted = if from < picture.current { wanted.min(used * f64::from(from)) } else { wanted };
        let to = count_for(wanted, target);
        if to > picture.current {
            return Wish::Out { to, from, why: said(metric, used, "above", target) };
        }
        return Wish::Stay;
    }
    if no_in {
        return Wish::Abstain;
    }
    let share = target * IN_SHARE;
    let window = picture.periods.get(..IN_PERIODS).unwrap_or_default();
    let demands: Option<Vec<f64>> = window.iter().map(demand).collect();
    let most = demands.unwrap_or_default().into_iter().reduce(f64::max);
    let Some(most) = most else { return Wish::Stay };
    // What uses nothing can say nothing later on: the last task stays.
    let count = count_for(most, share).max(1);
    let rested = rested(picture.last_in, in_cooldown, now) && rested(picture.last_out, out_cooldown, now);
    if count < picture.current && rested {
        return Wish::In(count, said(metric, used, "below", share));
    }
    Wish::Stay
}

fn said(metric: Metric, used: f64, than: &str, bound: f64) -> String {
    format!("{} was {used:.1} %, {than} {bound:.1} %", metric.name())
}
