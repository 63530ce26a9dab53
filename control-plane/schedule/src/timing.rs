//! When a schedule fires next: an expression in a zone, between two dates.

use crate::expression::Expression;
use crate::zone::Zone;
use jiff::civil::DateTime;
use jiff::tz::AmbiguousOffset;
use longshore_model::Timestamp;

/// Everything that says when something fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// When.
    pub expression: Expression,
    /// What the local times of `cron()` and `at()` mean.
    pub zone: Zone,
    /// Where `rate()` counts from, unless there is a `start`.
    pub anchor: Timestamp,
    /// Nothing that recurs fires before.
    pub start: Option<Timestamp>,
    /// Nothing that recurs fires after.
    pub end: Option<Timestamp>,
}

impl Timing {
    /// The first firing after `after`; `None` when there is none any more.
    ///
    /// A local time that the clocks skip does not fire. One that they show twice fires the first time.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        // As AWS has it, the dates are for what recurs.
        let before_start = self.start.map(|start| start.moved(-1));
        match &self.expression {
            Expression::At(local) => instant(&self.zone, *local).filter(|at| *at > after),
            Expression::Rate { every, at_once } => {
                let every = i64::try_from(every.as_millis()).ok().filter(|every| *every > 0)?;
                let first = match self.start {
                    Some(start) => start,
                    None if *at_once => self.anchor,
                    None => self.anchor.moved(every),
                };
                let since = after.millis().saturating_sub(first.millis());
                // Counted from the first, so that nothing adds up.
                let steps = if since < 0 { 0 } else { since / every + 1 };
                let at = first.millis().checked_add(steps.checked_mul(every)?)?;
                self.until_end(Timestamp::from_millis(at))
            }
            Expression::Cron(cron) => {
                let after = before_start.map_or(after, |start| start.max(after));
                let stamp = jiff::Timestamp::from_millisecond(after.millis()).ok()?;
                let mut local: DateTime = self.zone.0.to_datetime(stamp);
                loop {
                    local = cron.next(local)?;
                    // Within the second of two equal hours, the local times that come next were there before.
                    match instant(&self.zone, local) {
                        Some(at) if at > after => return self.until_end(at),
                        Some(_) | None => {}
                    }
                }
            }
        }
    }

    fn until_end(&self, at: Timestamp) -> Option<Timestamp> {
        self.end.is_none_or(|end| at <= end).then_some(at)
    }
}

/// The moment at which clocks of the zone show a local time first; `None` when they skip it.
fn instant(zone: &Zone, local: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.0.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => None,
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            ambiguous.earlier().ok().map(|at| Timestamp::from_millis(at.as_millisecond()))
        }
    }
}
