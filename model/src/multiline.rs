//! Events of several lines: where one begins, by the options of the log driver `awslogs` that say so.
//!
//! One set of rules for the registration, which refuses what cannot be used, and for the agent, which joins lines.

use regex::bytes::{Regex, RegexBuilder};
use std::collections::BTreeMap;

/// The option with a regular expression: a line that matches begins an event.
pub const MULTILINE_PATTERN: &str = "awslogs-multiline-pattern";
/// The option with a regular expression in which `%` and a letter stand for a part of a date, as in `strftime`.
pub const DATETIME_FORMAT: &str = "awslogs-datetime-format";

/// Bytes that a compiled expression may take.
const MAX_COMPILED: usize = 1 << 20;

/// Parts of dates and times, as Docker's driver reads them.
const PARTS: [(char, &str); 19] = [
    ('a', "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"),
    ('A', "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"),
    ('w', "[0-6]"),
    ('d', "(?:0[1-9]|[12][0-9]|3[01])"),
    ('b', "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"),
    ('B', "(?:January|February|March|April|May|June|July|August|September|October|November|December)"),
    ('m', "(?:0[1-9]|1[0-2])"),
    ('Y', "[0-9]{4}"),
    ('y', "[0-9]{2}"),
    ('H', "(?:[01][0-9]|2[0-3])"),
    ('I', "(?:0[0-9]|1[0-2])"),
    ('p', "[AP]M"),
    ('M', "[0-5][0-9]"),
    ('S', "[0-5][0-9]"),
    ('L', "\\.[0-9]{3}"),
    ('f', "[0-9]{6}"),
    ('z', "[+-][0-9]{4}"),
    ('Z', "[A-Z]{1,4}T"),
    ('j', "(?:00[1-9]|0[1-9][0-9]|[12][0-9][0-9]|3[0-5][0-9]|36[0-6])"),
];

/// Why options say nothing about where events begin. Names the option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MultilineError {
    /// Both options are there.
    #[error("{DATETIME_FORMAT} and {MULTILINE_PATTERN} cannot be given at the same time")]
    Both,
    /// A `%` that stands for nothing.
    #[error("{DATETIME_FORMAT}: `%{0}` is no part of a date that is known")]
    Part(String),
    /// No regular expression.
    #[error("{option}: {why}")]
    Pattern {
        /// The option.
        option: &'static str,
        /// One line for people.
        why: String,
    },
}

/// Tells whether a line begins an event.
#[derive(Debug, Clone)]
pub struct EventStart(Regex);

impl EventStart {
    /// What a container's log options say; `None` when each line is an event. An option without a value is none.
    ///
    /// # Errors
    /// When the options cannot be used.
    pub fn of(options: &BTreeMap<String, String>) -> Result<Option<Self>, MultilineError> {
        let option = |name: &str| options.get(name).map(String::as_str).filter(|value| !value.is_empty());
        match (option(MULTILINE_PATTERN), option(DATETIME_FORMAT)) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(MultilineError::Both),
            (Some(pattern), None) => Self::compile(MULTILINE_PATTERN, pattern).map(Some),
            (None, Some(format)) => Self::compile(DATETIME_FORMAT, &expression(format)?).map(Some),
        }
    }

    /// One whose text [`Self::as_str`] gave.
    ///
    /// # Errors
    /// When it is no such text.
    pub fn parse(text: &str) -> Result<Self, MultilineError> {
        Self::compile(MULTILINE_PATTERN, text)
    }

    fn compile(option: &'static str, pattern: &str) -> Result<Self, MultilineError> {
        let compiled = RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build();
        compiled.map(Self).map_err(|error| MultilineError::Pattern { option, why: one_line(&error) })
    }

    /// The regular expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether an event begins with this line.
    #[must_use]
    pub fn begins(&self, line: &str) -> bool {
        self.0.is_match(line.as_bytes())
    }
}

/// The regular expression that a format of dates stands for. What is no part of a date is one already.
fn expression(format: &str) -> Result<String, MultilineError> {
    let mut all = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            all.push(c);
            continue;
        }
        let part = chars.next();
        let known = PARTS.iter().find(|(name, _)| Some(*name) == part);
        let (_, part) = known.ok_or_else(|| MultilineError::Part(part.iter().collect()))?;
        all.push_str(part);
    }
    Ok(all)
}

/// The last line of the error's text says what is wrong; those before it draw where.
fn one_line(error: &regex::Error) -> String {
    match error {
        regex::Error::Syntax(text) => {
            let last = text.lines().last().unwrap_or_default();
            format!("not a regular expression: {}", last.strip_prefix("error: ").unwrap_or(last))
        }
        regex::Error::CompiledTooBig(_) => "the regular expression is too large".to_owned(),
        other => format!("not a regular expression: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[(&str, &str)]) -> Result<Option<EventStart>, MultilineError> {
        EventStart::of(&options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn formats_of_dates_match_as_dockers_do() {
        for (format, begins, goes_on) in [
            (r"\[%b %d, %Y %H:%M:%S\]", "[May 01, 2017 19:00:01] hello", "[May 1, 2017] hello"),
            ("%Y-%m-%dT%H:%M:%S%L%z", "at 2026-12-31T23:59:59.123+0100", "at 2026-13-31T23:59:59.123+0100"),
            ("^%A %B %j %p %y", "Sunday March 366 PM 26", "Sunday March 367 PM 26"),
            ("%a %w %I %f %Z", "Mon 0 12 123456 UTC", "Mon 7 12 123456 UTC"),
        ] {
            let start = of(&[(DATETIME_FORMAT, format)]).expect(format).expect("one");
            assert!(start.begins(begins) && !start.begins(goes_on), "{format}");
            assert_eq!(EventStart::parse(start.as_str()).expect("the same").as_str(), start.as_str());
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        assert!(of(&[]).expect("nothing").is_none());
        assert!(of(&[(MULTILINE_PATTERN, ""), (DATETIME_FORMAT, "")]).expect("nothing").is_none());
        for (options, text) in [
            (&[(MULTILINE_PATTERN, "a"), (DATETIME_FORMAT, "%Y")][..], "cannot be given at the same time"),
            (&[(DATETIME_FORMAT, "%Y%Q")], "awslogs-datetime-format: `%Q` is no part of a date"),
            (&[(DATETIME_FORMAT, "100%")], "`%` is no part of a date"),
            (&[(DATETIME_FORMAT, "[%b")], "awslogs-datetime-format: not a regular expression: "),
            (&[(MULTILINE_PATTERN, "(a")], "awslogs-multiline-pattern: not a regular expression: unclosed group"),
            (&[(MULTILINE_PATTERN, r"(a)\1")], "backreferences are not supported"),
            (&[(MULTILINE_PATTERN, "(?:a{999}){999}")], "too large"),
        ] {
            let error = of(options).expect_err("refused").to_string();
            assert!(error.contains(text) && !error.contains('\n'), "{error}");
        }
    }
}
