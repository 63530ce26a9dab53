//! One field of a cron expression: a set of numbers written as lists, ranges and steps.

/// What a field may hold.
pub(crate) struct Field {
    /// For error texts.
    pub(crate) name: &'static str,
    pub(crate) min: u16,
    pub(crate) max: u16,
    /// Names of the values, the first one for `min`.
    pub(crate) names: &'static [&'static str],
    /// Whether a range may go over the end, as `20-2` for the hours of a night.
    pub(crate) wraps: bool,
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

pub(crate) const MINUTE: Field = Field { name: "minutes", min: 0, max: 59, names: &[], wraps: true };
pub(crate) const HOUR: Field = Field { name: "hours", min: 0, max: 23, names: &[], wraps: true };
pub(crate) const DAY: Field = Field { name: "day-of-month", min: 1, max: 31, names: &[], wraps: true };
pub(crate) const MONTH: Field = Field { name: "month", min: 1, max: 12, names: &MONTHS, wraps: true };
/// 1 is Sunday.
pub(crate) const WEEKDAY: Field = Field { name: "day-of-week", min: 1, max: 7, names: &WEEKDAYS, wraps: true };
pub(crate) const YEAR: Field = Field { name: "year", min: 1970, max: 2199, names: &[], wraps: false };

/// A set of values of a field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Set([u64; 4]);

impl Set {
    pub(crate) fn has(&self, field: &Field, value: u16) -> bool {
        (field.min..=field.max).contains(&value) && {
            let at = usize::from(value - field.min);
            self.0[at / 64] >> (at % 64) & 1 == 1
        }
    }

    fn insert(&mut self, field: &Field, value: u16) {
        let at = usize::from(value - field.min);
        self.0[at / 64] |= 1 << (at % 64);
    }

    /// The first value of the set that is `from` or more.
    pub(crate) fn first_from(&self, field: &Field, from: u16) -> Option<u16> {
        (from.max(field.min)..=field.max).find(|value| self.has(field, *value))
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }
}

impl Field {
    /// A list of `*`, `*/n`, `a`, `a/n`, `a-b` and `a-b/n`.
    pub(crate) fn list(&self, text: &str) -> Result<Set, String> {
        let mut set = Set::default();
        for item in text.split(',') {
            set.add(self.item(item)?);
        }
        Ok(set)
    }

    /// One item of such a list.
    pub(crate) fn item(&self, item: &str) -> Result<Set, String> {
        let (range, step) = match item.split_once('/') {
            None => (item, None),
            Some((range, step)) => (range, Some(self.step(step)?)),
        };
        let (from, to) = match range.split_once('-') {
            None if range == "*" => (self.min, self.max),
            None => {
                let from = self.value(range)?;
                (from, if step.is_some() { self.max } else { from })
            }
            Some((from, to)) => (self.value(from)?, self.value(to)?),
        };
        let step = usize::from(step.unwrap_or(1));
        let mut set = Set::default();
        if from <= to {
            (from..=to).step_by(step).for_each(|value| set.insert(self, value));
        } else if self.wraps {
            let around = (from..=self.max).chain(self.min..=to);
            around.step_by(step).for_each(|value| set.insert(self, value));
        } else {
            return Err(format!("{}: the range {range} ends before it begins", self.name));
        }
        Ok(set)
    }

    /// One value, by number or by name.
    pub(crate) fn value(&self, text: &str) -> Result<u16, String> {
        let named = self.names.iter().zip(self.min..).find(|(name, _)| name.eq_ignore_ascii_case(text));
        let value = named.map(|(_, value)| value).or_else(|| number(text));
        let allowed = |value: &u16| (self.min..=self.max).contains(value);
        value.filter(allowed).ok_or_else(|| {
            let Self { name, min, max, .. } = self;
            format!("{name}: `{text}` is not a value from {min} to {max}")
        })
    }

    fn step(&self, text: &str) -> Result<u16, String> {
        let step = number(text).filter(|step| (1..=self.max).contains(step));
        step.ok_or_else(|| format!("{}: the step `{text}` is not a number from 1 to {}", self.name, self.max))
    }
}

/// A number of at most four digits, and nothing but digits.
pub(crate) fn number(text: &str) -> Option<u16> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
