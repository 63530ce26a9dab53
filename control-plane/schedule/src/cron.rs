//! `cron()` in AWS's dialect: minutes, hours, day of the month, month, day of the week, year.
//!
//! Local times only; what a zone makes of them is in `timing`.

use crate::fields::{DAY, HOUR, MINUTE, MONTH, Set, WEEKDAY, YEAR, number};
use jiff::civil::{Date, DateTime};

/// Which local minutes a schedule fires at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: Set,
    hours: Set,
    days: Days,
    months: Set,
    years: Set,
}

/// Which days of a month: one of the two fields for days says so, and the other one is `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Days {
    OfMonth(Vec<MonthDay>),
    OfWeek(Vec<WeekDay>),
}

/// An item of the day of the month.
#[derive(Debug, Clone, PartialEq, Eq)]
enum MonthDay {
    /// `1`, `1-5`, `*`, `*/2`.
    Among(Set),
    /// `L`.
    Last,
    /// `LW`: the last day from Monday to Friday.
    LastWorkday,
    /// `3W`: the day from Monday to Friday that is nearest to the 3rd, in the same month.
    WorkdayNear(u8),
}

/// An item of the day of the week. Days are as in the field: 1 is Sunday.
#[derive(Debug, Clone, PartialEq, Eq)]
enum WeekDay {
    /// `2`, `MON-FRI`, `*`, and `L`, which is Saturday.
    Among(Set),
    /// `6L`: the last one of the month.
    Last(u16),
    /// `SAT#3`: the third one of the month.
    Nth(u16, u8),
}

impl Cron {
    /// Parses the six fields that stand between the parentheses.
    ///
    /// # Errors
    /// What is wrong, naming the field.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text != text.trim() {
            return Err("there must be no blanks beside the parentheses".to_owned());
        }
        let fields: Vec<&str> = text.split(' ').filter(|field| !field.is_empty()).collect();
        let [minutes, hours, day, months, weekday, years] = fields.as_slice() else {
            return Err(format!("it has {} fields and must have six", fields.len()));
        };
        let days = match (*day, *weekday) {
            ("?", "?") => return Err("one of day-of-month and day-of-week must not be `?`".to_owned()),
            (days, "?") => Days::OfMonth(month_days(days)?),
            ("?", days) => Days::OfWeek(week_days(days)?),
            _ => return Err("one of day-of-month and day-of-week must be `?`".to_owned()),
        };
        Ok(Self {
            minutes: MINUTE.list(minutes)?,
            hours: HOUR.list(hours)?,
            days,
            months: MONTH.list(months)?,
            years: YEAR.list(years)?,
        })
    }

    /// The first local minute after `after` that is one of these; `None` when there is none any more.
    pub(crate) fn next(&self, after: DateTime) -> Option<DateTime> {
        let first = after.date();
        let mut year = u16::try_from(first.year()).ok()?;
        let mut month = u16::try_from(first.month()).ok()?;
        loop {
            year = match self.years.first_from(&YEAR, year)? {
                same if same == year => year,
                later => {
                    month = 1;
                    later
                }
            };
            let Some(found) = self.months.first_from(&MONTH, month) else {
                (year, month) = (year + 1, 1);
                continue;
            };
            month = found;
            let start = date(year, month, 1)?;
            for day in 1..=start.days_in_month() {
                let today = start.with().day(day).build().ok()?;
                if today >= first
                    && self.days.has(today)
                    && let Some(found) = self.in_day(today, after)
                {
                    return Some(found);
                }
            }
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
    }

    /// The first of a day that is after `after`.
    fn in_day(&self, day: Date, after: DateTime) -> Option<DateTime> {
        let of = |value: i8| u16::try_from(value).unwrap_or(0);
        let same_day = day == after.date();
        let from = if same_day { of(after.hour()) } else { 0 };
        let mut hour = self.hours.first_from(&HOUR, from)?;
        loop {
            let from = if same_day && hour == of(after.hour()) { of(after.minute()) + 1 } else { 0 };
            if let Some(minute) = self.minutes.first_from(&MINUTE, from) {
                return Some(day.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0));
            }
            hour = self.hours.first_from(&HOUR, hour + 1)?;
        }
    }
}

impl Days {
    fn has(&self, day: Date) -> bool {
        match self {
            Self::OfMonth(items) => items.iter().any(|item| item.has(day)),
            Self::OfWeek(items) => items.iter().any(|item| item.has(day)),
        }
    }
}

impl MonthDay {
    fn has(&self, day: Date) -> bool {
        match self {
            Self::Among(set) => u16::try_from(day.day()).is_ok_and(|number| set.has(&DAY, number)),
            Self::Last => day.day() == day.days_in_month(),
            Self::LastWorkday => day == nearest_workday(day.last_of_month()),
            Self::WorkdayNear(wanted) => {
                let wanted = i8::try_from(*wanted).ok().and_then(|wanted| day.with().day(wanted).build().ok());
                wanted.is_some_and(|wanted| nearest_workday(wanted) == day)
            }
        }
    }
}

impl WeekDay {
    fn has(&self, day: Date) -> bool {
        let number = weekday(day);
        match self {
            Self::Among(set) => set.has(&WEEKDAY, number),
            Self::Last(wanted) => number == *wanted && day.day() > day.days_in_month() - 7,
            Self::Nth(wanted, nth) => number == *wanted && (day.day() - 1) / 7 + 1 == i8::try_from(*nth).unwrap_or(0),
        }
    }
}

/// 1 is Sunday.
fn weekday(day: Date) -> u16 {
    u16::try_from(day.weekday().to_sunday_one_offset()).unwrap_or(0)
}

/// The day from Monday to Friday that is nearest to `day` in its month.
fn nearest_workday(day: Date) -> Date {
    let moved = |by: i8| day.with().day(day.day() + by).build().unwrap_or(day);
    match weekday(day) {
        7 if day.day() == 1 => moved(2),
        7 => moved(-1),
        1 if day.day() == day.days_in_month() => moved(-2),
        1 => moved(1),
        _ => day,
    }
}

fn date(year: u16, month: u16, day: i8) -> Option<Date> {
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, day).ok()
}

fn month_days(text: &str) -> Result<Vec<MonthDay>, String> {
    text.split(',')
        .map(|item| {
            if item.eq_ignore_ascii_case("L") {
                return Ok(MonthDay::Last);
            }
            if item.eq_ignore_ascii_case("LW") {
                return Ok(MonthDay::LastWorkday);
            }
            match item.strip_suffix(['W', 'w']) {
                Some(day) => {
                    let day = number(day).filter(|day| (1..=31).contains(day)).and_then(|day| u8::try_from(day).ok());
                    let day = day.ok_or_else(|| format!("day-of-month: `{item}` is not a day from 1 to 31 and W"))?;
                    Ok(MonthDay::WorkdayNear(day))
                }
                None => DAY.item(item).map(MonthDay::Among),
            }
        })
        .collect()
}

fn week_days(text: &str) -> Result<Vec<WeekDay>, String> {
    if let Some((day, nth)) = text.split_once('#') {
        let nth = number(nth).filter(|nth| (1..=5).contains(nth)).and_then(|nth| u8::try_from(nth).ok());
        let nth = nth.ok_or("day-of-week: after # stands one number from 1 to 5, and there is one # in a field")?;
        return Ok(vec![WeekDay::Nth(WEEKDAY.value(day)?, nth)]);
    }
    text.split(',')
        .map(|item| match item.strip_suffix(['L', 'l']) {
            // By itself it is the last day of the week.
            Some("") => WEEKDAY.item("SAT").map(WeekDay::Among),
            Some(day) => WEEKDAY.value(day).map(WeekDay::Last),
            None => WEEKDAY.item(item).map(WeekDay::Among),
        })
        .collect()
}
