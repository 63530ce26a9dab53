//! The three forms of expressions, and how the two services that take them differ.

use crate::cron::Cron;
use jiff::civil::DateTime;
use std::time::Duration;

/// Whose expressions they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Rules of EventBridge: no `at()`, and a rate's unit agrees with its number.
    Rules,
    /// EventBridge Scheduler.
    Scheduler,
}

/// When something fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Again and again after the same time.
    Rate {
        /// Between two firings. A day is 24 hours, whatever the clocks do.
        every: Duration,
        /// Whether the first firing is where the count begins (Scheduler), and not one such time after it (rules).
        at_once: bool,
    },
    /// At local times that look so.
    Cron(Cron),
    /// Once, at this local time.
    At(DateTime),
}

/// A text that is no schedule expression.
///
/// The text of the error begins with the service's own words, and ends with what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// To somebody who made a rule.
    #[error("Parameter ScheduleExpression is not valid. {why}.")]
    Rules {
        /// What is wrong.
        why: String,
    },
    /// To somebody who made a schedule.
    #[error("Invalid Schedule Expression {text}. {why}.")]
    Scheduler {
        /// The expression.
        text: String,
        /// What is wrong.
        why: String,
    },
}

/// The longest expression (EventBridge).
const MAX_LENGTH: usize = 256;

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    /// [`ExpressionError`], whose text goes to whoever sent the expression.
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, ExpressionError> {
        form(text, dialect).map_err(|why| match dialect {
            Dialect::Rules => ExpressionError::Rules { why },
            Dialect::Scheduler => ExpressionError::Scheduler { text: text.chars().take(MAX_LENGTH).collect(), why },
        })
    }

    /// Whether it fires once at most.
    #[must_use]
    pub const fn is_one_time(&self) -> bool {
        match self {
            Self::Rate { .. } | Self::Cron(_) => false,
            Self::At(_) => true,
        }
    }
}

fn form(text: &str, dialect: Dialect) -> Result<Expression, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("It has more than {MAX_LENGTH} characters"));
    }
    let parts = text.split_once('(').and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?)));
    match (parts, dialect) {
        (Some(("rate", inner)), _) => rate(inner, dialect),
        (Some(("cron", inner)), _) => {
            Cron::parse(inner).map(Expression::Cron).map_err(|why| format!("In cron(): {why}"))
        }
        (Some(("at", inner)), Dialect::Scheduler) => at(inner),
        (_, Dialect::Scheduler) => Err("It must be rate(…), cron(…) or at(…)".to_owned()),
        (_, Dialect::Rules) => Err("It must be rate(…) or cron(…)".to_owned()),
    }
}

fn rate(inner: &str, dialect: Dialect) -> Result<Expression, String> {
    let wrong = "A rate is a number and a unit with one blank between: minute(s), hour(s) or day(s)";
    let (number, unit) = inner.split_once(' ').ok_or(wrong)?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number: u32 = digits.then(|| number.parse().ok()).flatten().ok_or(wrong)?;
    let (one, singular) = match unit {
        "minute" => (60, true),
        "minutes" => (60, false),
        "hour" => (3600, true),
        "hours" => (3600, false),
        "day" => (24 * 3600, true),
        "days" => (24 * 3600, false),
        _ => return Err(wrong.to_owned()),
    };
    if number == 0 {
        return Err("The number of a rate is 1 or more".to_owned());
    }
    let at_once = match dialect {
        Dialect::Scheduler => true,
        Dialect::Rules if singular == (number == 1) => false,
        Dialect::Rules => return Err("The unit of a rate is singular for 1 and plural for more".to_owned()),
    };
    Ok(Expression::Rate { every: Duration::from_secs(u64::from(number) * one), at_once })
}

fn at(inner: &str) -> Result<Expression, String> {
    // The parser alone would take more forms.
    let form = inner.len() == 19
        && inner.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    let time = form.then(|| inner.parse::<DateTime>().ok()).flatten();
    time.map(Expression::At).ok_or_else(|| "at() holds a time as in 2027-05-01T06:30:00, without a zone".to_owned())
}
