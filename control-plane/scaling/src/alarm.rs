//! When a step policy acts. In AWS an alarm of CloudWatch says so; here a line of text does.

use crate::{Metric, Period};

/// On which side of the threshold an alarm is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// At it or above it.
    Above,
    /// At it or below it.
    Below,
}

/// What is watched: `CPUUtilization above 70 for 2`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alarm {
    /// The figure.
    pub metric: Metric,
    /// The side.
    pub comparison: Comparison,
    /// Percent.
    pub threshold: f64,
    /// Periods that all have to be on that side; 1 to [`Alarm::MAX_PERIODS`].
    pub periods: usize,
}

/// A text that is no alarm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no alarm: it must be like `CPUUtilization above 70 for 2`, with CPUUtilization or MemoryUtilization, \
     above or below, percent from 0 up, and 1 to {max} periods (1 when left out)",
    max = Alarm::MAX_PERIODS
)]
pub struct AlarmError {
    text: String,
}

impl Alarm {
    /// The most periods that one looks at.
    pub const MAX_PERIODS: usize = 15;

    /// Reads one.
    ///
    /// # Errors
    /// [`AlarmError`], which says what one looks like.
    pub fn parse(text: &str) -> Result<Self, AlarmError> {
        let read = || {
            let words: Vec<&str> = text.split(' ').collect();
            let (metric, comparison, threshold, periods) = match *words.as_slice() {
                [metric, comparison, threshold] => (metric, comparison, threshold, "1"),
                [metric, comparison, threshold, "for", periods] => (metric, comparison, threshold, periods),
                _ => return None,
            };
            let metric = [Metric::Cpu, Metric::Memory].into_iter().find(|known| known.name() == metric)?;
            let comparison = match comparison {
                "above" => Comparison::Above,
                "below" => Comparison::Below,
                _ => return None,
            };
            let threshold = threshold.parse().ok().filter(|t: &f64| t.is_finite() && *t >= 0.0)?;
            let periods = periods.parse().ok().filter(|p| (1..=Self::MAX_PERIODS).contains(p))?;
            Some(Self { metric, comparison, threshold, periods })
        };
        read().ok_or_else(|| AlarmError { text: text.chars().take(128).collect() })
    }

    /// The latest figure, when the alarm is on.
    pub(crate) fn on(&self, periods: &[Period]) -> Option<f64> {
        let breaches = |period: &Period| {
            period.of(self.metric).is_some_and(|used| match self.comparison {
                Comparison::Above => used >= self.threshold,
                Comparison::Below => used <= self.threshold,
            })
        };
        let window = periods.get(..self.periods)?;
        window.iter().all(breaches).then(|| window.first()?.of(self.metric)).flatten()
    }
}
