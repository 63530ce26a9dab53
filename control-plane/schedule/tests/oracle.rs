//! Random cron expressions in zones with all kinds of clock changes, against an oracle that knows nothing of calendars:
//! it walks every minute, looks at what a clock on the wall shows, and counts what it shows for the first time.

use jiff::civil::DateTime;
use jiff::{Timestamp as Instant, ToSpan, tz::TimeZone};
use longshore_model::Timestamp;
use longshore_schedule::{Dialect, Expression, Timing, Zone};
use proptest::prelude::*;
use std::collections::HashSet;

/// Items of a field as they were chosen, not as they were parsed.
#[derive(Debug, Clone)]
enum Item {
    Every(i64),
    One(i64),
    Range(i64, i64, i64),
}

#[derive(Debug, Clone)]
enum Day {
    Month(Vec<Item>),
    Last,
    LastWorkday,
    Near(i64),
    Week(Vec<Item>),
    WeekLast(i64),
    Nth(i64, i64),
}

fn item(min: i64, max: i64) -> impl Strategy<Value = Item> {
    prop_oneof![
        (1..max.min(20)).prop_map(Item::Every),
        (min..=max).prop_map(Item::One),
        (min..=max, min..=max, 1..6i64).prop_map(|(from, to, step)| Item::Range(from, to, step)),
    ]
}

fn items(min: i64, max: i64) -> impl Strategy<Value = Vec<Item>> {
    prop::collection::vec(item(min, max), 1..3)
}

fn day() -> impl Strategy<Value = Day> {
    prop_oneof![
        3 => items(1, 31).prop_map(Day::Month),
        1 => Just(Day::Last),
        1 => Just(Day::LastWorkday),
        2 => (1..=31i64).prop_map(Day::Near),
        3 => items(1, 7).prop_map(Day::Week),
        1 => (1..=7i64).prop_map(Day::WeekLast),
        1 => (1..=7i64, 1..=5i64).prop_map(|(day, nth)| Day::Nth(day, nth)),
    ]
}

fn text(items: &[Item]) -> String {
    let one = |item: &Item| match item {
        Item::Every(step) => format!("*/{step}"),
        Item::One(value) => value.to_string(),
        Item::Range(from, to, step) => format!("{from}-{to}/{step}"),
    };
    items.iter().map(one).collect::<Vec<_>>().join(",")
}

/// Walks over the values as a finger over a dial.
fn shows(items: &[Item], min: i64, max: i64, value: i64) -> bool {
    items.iter().any(|item| match item {
        Item::One(only) => value == *only,
        Item::Every(step) => (value - min) % step == 0,
        Item::Range(from, to, step) => {
            let (mut at, mut steps) = (*from, 0);
            loop {
                if at == value && steps % step == 0 {
                    return true;
                }
                if at == *to {
                    return false;
                }
                at = if at == max { min } else { at + 1 };
                steps += 1;
            }
        }
    })
}

fn day_shows(day: &Day, local: DateTime) -> bool {
    let date = local.date();
    let number = i64::from(date.day());
    let last = i64::from(date.last_of_month().day());
    // 1 is Sunday.
    let weekday =
        |day: i64| i64::from(date.with().day(day as i8).build().expect("a day").weekday().to_sunday_one_offset());
    let works = |day: &i64| (2..=6).contains(&weekday(*day));
    let nearest = |wanted: i64| (1..=last).filter(works).min_by_key(|day| (day - wanted).abs());
    match day {
        Day::Month(items) => shows(items, 1, 31, number),
        Day::Last => number == last,
        Day::LastWorkday => (1..=last).rev().find(works) == Some(number),
        Day::Near(wanted) => *wanted <= last && nearest(*wanted) == Some(number),
        Day::Week(items) => shows(items, 1, 7, weekday(number)),
        Day::WeekLast(wanted) => (1..=last).rev().find(|day| weekday(*day) == *wanted) == Some(number),
        Day::Nth(wanted, nth) => {
            let mut all = (1..=last).filter(|day| weekday(*day) == *wanted);
            all.nth(*nth as usize - 1) == Some(number)
        }
    }
}

/// Beginnings of stretches in which clocks are changed, and of ordinary ones.
const PLACES: &[(&str, &str)] = &[
    ("UTC", "2028-02-26T00:00:00Z"),
    ("Europe/Berlin", "2026-03-26T00:00:00Z"),
    ("Europe/Berlin", "2026-10-22T00:00:00Z"),
    ("America/New_York", "2026-03-06T00:00:00Z"),
    ("America/New_York", "2026-10-30T00:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-02T00:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-01T00:00:00Z"),
    ("America/Santiago", "2026-09-03T00:00:00Z"),
    ("Africa/Cairo", "2026-04-21T00:00:00Z"),
    ("Pacific/Apia", "2011-12-28T00:00:00Z"),
    ("Asia/Kathmandu", "2026-12-29T00:00:00Z"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_next_firing_is_what_the_clock_on_the_wall_shows(
        place in 0..PLACES.len(),
        minutes in items(0, 59),
        hours in items(0, 23),
        day in day(),
        months in prop_oneof![3 => Just(vec![Item::Every(1)]), 1 => items(1, 12)],
        asked in prop::collection::vec(0..6 * 86_400_000i64, 12),
    ) {
        let (zone, begin) = PLACES[place];
        let begin: Instant = begin.parse().expect("a time");
        let (of_month, of_week) = match &day {
            Day::Month(items) => (text(items), "?".to_owned()),
            Day::Last => ("L".to_owned(), "?".to_owned()),
            Day::LastWorkday => ("LW".to_owned(), "?".to_owned()),
            Day::Near(wanted) => (format!("{wanted}W"), "?".to_owned()),
            Day::Week(items) => ("?".to_owned(), text(items)),
            Day::WeekLast(wanted) => ("?".to_owned(), format!("{wanted}L")),
            Day::Nth(wanted, nth) => ("?".to_owned(), format!("{wanted}#{nth}")),
        };
        let expression = format!("cron({} {} {of_month} {} {of_week} *)", text(&minutes), text(&hours), text(&months));
        let timing = Timing {
            expression: Expression::parse(&expression, Dialect::Rules).expect("good"),
            zone: Zone::named(zone).expect("known"),
            anchor: Timestamp::from_millis(0),
            start: None,
            end: None,
        };
        // Every minute of eight days, and of two before them, so that what was shown before is known.
        let tz: TimeZone = jiff::tz::db().get(zone).expect("known");
        let mut seen = HashSet::new();
        let mut firings = Vec::new();
        for minute in -2 * 1440..8 * 1440i64 {
            let at = begin.checked_add(minute.minutes()).expect("in range");
            let local = tz.to_datetime(at);
            let fires = seen.insert(local)
                && shows(&minutes, 0, 59, local.minute().into())
                && shows(&hours, 0, 23, local.hour().into())
                && shows(&months, 1, 12, local.month().into())
                && day_shows(&day, local);
            if fires {
                firings.push(at.as_millisecond());
            }
        }
        let end = begin.as_millisecond() + 8 * 86_400_000;
        for after in asked.into_iter().map(|offset| begin.as_millisecond() + offset) {
            let expected = firings.iter().copied().find(|at| *at > after);
            let found = timing.next(Timestamp::from_millis(after)).map(|at| at.millis()).filter(|at| *at < end);
            prop_assert_eq!(found, expected, "{} in {} after {}", expression, zone, Timestamp::from_millis(after));
        }
    }
}
