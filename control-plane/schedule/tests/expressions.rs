//! Tables of expressions that AWS takes and refuses, and of when they fire.

use longshore_model::Timestamp;
use longshore_schedule::{Dialect, Expression, Timing, Zone};
use std::time::Duration;

const BOTH: [Dialect; 2] = [Dialect::Rules, Dialect::Scheduler];

/// Taken by both services.
const GOOD: &[&str] = &[
    "rate(1 minute)",
    "rate(5 minutes)",
    "rate(1 hour)",
    "rate(24 hours)",
    "rate(1 day)",
    "rate(365 days)",
    "cron(0 12 * * ? *)",
    "cron(5,35 14 * * ? *)",
    "cron(15 10 ? * 6L 2022-2023)",
    "cron(0 10 * * ? *)",
    "cron(15 12 * * ? *)",
    "cron(0 18 ? * MON-FRI *)",
    "cron(0 8 1 * ? *)",
    "cron(0/15 * * * ? *)",
    "cron(*/15 * * * ? *)",
    "cron(0/10 * ? * MON-FRI *)",
    "cron(0/5 8-17 ? * MON-FRI *)",
    "cron(0-59/10 * * * ? *)",
    "cron(30-30 * * * ? *)",
    "cron(0 0 L * ? *)",
    "cron(0 0 LW * ? *)",
    "cron(0 0 3W * ? *)",
    "cron(0 0 1,15,L * ? *)",
    "cron(0 0 ? * L *)",
    "cron(0 0 ? * 6L *)",
    "cron(0 0 ? * FRIL *)",
    "cron(0 0 ? * SAT#3 *)",
    "cron(0 0 ? * 7#5 *)",
    "cron(0 0 ? JAN,MAR-MAY 2-6 *)",
    "cron(0 0 ? jan mon *)",
    "cron(0 20-2 * * ? *)",
    "cron(0 0 ? * FRI-MON *)",
    "cron(0 0 ? NOV-FEB 2 *)",
    "cron(0 0 1 1 ? 1970)",
    "cron(0 0 1 1 ? 2199)",
    "cron(0 0 1 1 ? 2020/4)",
    "cron(59 23 31 12 ? 2025,2027-2030)",
    "cron(0  0  1  1  ?  *)",
];

/// Refused by both.
const BAD: &[&str] = &[
    "",
    "rate",
    "rate()",
    "rate(1)",
    "rate(minute)",
    "rate(-1 minutes)",
    "rate(+1 minute)",
    "rate(0 minutes)",
    "rate(0 minute)",
    "rate(1.5 minutes)",
    "rate(5 seconds)",
    "rate(5 weeks)",
    "rate(5 MINUTES)",
    "rate(5 Minutes)",
    "Rate(5 minutes)",
    "rate( 5 minutes)",
    "rate(5 minutes )",
    "rate(5  minutes)",
    "rate(5minutes)",
    " rate(5 minutes)",
    "rate(5 minutes) ",
    "rate(5 minutes",
    "rate 5 minutes",
    "rate(99999999999 minutes)",
    "cron()",
    "cron(0 12 * * ?)",
    "cron(0 12 * * ? * *)",
    "cron(0 1 * * * *)",
    "cron(0 1 ? * ? *)",
    "cron(0 1 * * *)",
    "cron(71 * * * ? *)",
    "cron(60 * * * ? *)",
    "cron(0 24 * * ? *)",
    "cron(0 0 0 * ? *)",
    "cron(0 0 32 * ? *)",
    "cron(0 0 1 0 ? *)",
    "cron(0 0 1 13 ? *)",
    "cron(0 0 ? * 0 *)",
    "cron(0 0 ? * 8 *)",
    "cron(0 0 1 1 ? 1969)",
    "cron(0 0 1 1 ? 2200)",
    "cron(0 0 1 1 ? 2030-2020)",
    "cron(0 0 1 FOO ? *)",
    "cron(0 0 ? * MONDAY *)",
    "cron(noon * * * ? *)",
    "cron(-1 * * * ? *)",
    "cron(1- * * * ? *)",
    "cron(,1 * * * ? *)",
    "cron(/5 * * * ? *)",
    "cron(0/0 * * * ? *)",
    "cron(0/60 * * * ? *)",
    "cron(0/x * * * ? *)",
    "cron(? * * * ? *)",
    "cron(L * * * ? *)",
    "cron(0 0 L-3 * ? *)",
    "cron(0 0 32W * ? *)",
    "cron(0 0 W * ? *)",
    "cron(0 0 1-5W * ? *)",
    "cron(0 0 1#2 * ? *)",
    "cron(0 0 ? * 6#0 *)",
    "cron(0 0 ? * 6#6 *)",
    "cron(0 0 ? * 2#1,6#3 *)",
    "cron(0 0 ? * 8L *)",
    "cron(0 0 ? * 3W *)",
    "cron( 0 0 1 1 ? *)",
    "cron(0 0 1 1 ? * )",
    "cron(0\t0 1 1 ? *)",
    "cron(0 0 1 1 ? ?)",
    "CRON(0 0 1 1 ? *)",
    "* * * * *",
    "at()",
    "at(2027-05-01)",
    "at(2027-05-01T06:30)",
    "at(2027-05-01T06:30:00Z)",
    "at(2027-05-01T06:30:00+01:00)",
    "at(2027-05-01 06:30:00)",
    "at(2027-13-01T06:30:00)",
    "at(2027-02-30T06:30:00)",
    "at(2027-05-01T24:30:00)",
    "at( 2027-05-01T06:30:00)",
];

#[test]
fn the_table_of_good_and_bad() {
    for text in GOOD {
        for dialect in BOTH {
            assert!(Expression::parse(text, dialect).is_ok(), "{dialect:?} refuses {text}");
        }
    }
    for text in BAD {
        for dialect in BOTH {
            let error = Expression::parse(text, dialect).expect_err(text).to_string();
            let words = match dialect {
                Dialect::Rules => "Parameter ScheduleExpression is not valid.".to_owned(),
                Dialect::Scheduler => format!("Invalid Schedule Expression {text}."),
            };
            assert!(error.starts_with(&words), "{text}: {error}");
        }
    }
    // Where the services differ.
    for text in ["rate(1 minutes)", "rate(10 minute)", "rate(1 hours)", "rate(2 day)", "at(2027-05-01T06:30:00)"] {
        assert!(Expression::parse(text, Dialect::Rules).is_err(), "{text}");
        assert!(Expression::parse(text, Dialect::Scheduler).is_ok(), "{text}");
    }
    let long = format!("cron(0 0 {} * ? *)", vec!["1"; 200].join(","));
    assert!(Expression::parse(&long, Dialect::Scheduler).is_err());
}

#[test]
fn zones_have_their_names() {
    for name in ["UTC", "Etc/UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "GMT"] {
        assert!(Zone::named(name).is_some(), "{name}");
    }
    for name in ["", "Mars/Olympus", "europe/berlin", "Europe/Berlin ", "+01:00", "../etc/passwd", "CEST"] {
        assert!(Zone::named(name).is_none(), "{name}");
    }
}

fn stamp(text: &str) -> Timestamp {
    let stamp: jiff::Timestamp = text.parse().expect("a time");
    Timestamp::from_millis(stamp.as_millisecond())
}

fn timing(text: &str, zone: &str) -> Timing {
    Timing {
        expression: Expression::parse(text, Dialect::Scheduler).expect(text),
        zone: Zone::named(zone).expect(zone),
        anchor: stamp("2026-01-01T00:00:30Z"),
        start: None,
        end: None,
    }
}

/// The firings after `after`, of which as many as are expected are looked at; where none is, there is none.
#[track_caller]
fn check(timing: &Timing, after: &str, expected: &[&str]) {
    let mut at = stamp(after);
    let mut found = Vec::new();
    while found.len() < expected.len().max(1) {
        let Some(next) = timing.next(at) else { break };
        found.push(next.to_string());
        at = next;
    }
    assert_eq!(found, expected, "{timing:?}");
}

#[test]
fn days_of_the_month_and_of_the_week() {
    let cases: &[(&str, &[&str])] = &[
        ("cron(0 0 L * ? *)", &["2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"]),
        // 2026-01-31 and 2026-02-28 are Saturdays.
        ("cron(0 0 LW * ? *)", &["2026-01-30T00:00:00Z", "2026-02-27T00:00:00Z", "2026-03-31T00:00:00Z"]),
        // The 3rd of January is a Saturday; the 1st of February and of March are Sundays.
        ("cron(0 0 3W * ? *)", &["2026-01-02T00:00:00Z", "2026-02-03T00:00:00Z", "2026-03-03T00:00:00Z"]),
        ("cron(0 0 1W * ? *)", &["2026-02-02T00:00:00Z", "2026-03-02T00:00:00Z", "2026-04-01T00:00:00Z"]),
        ("cron(0 0 31W * ? *)", &["2026-01-30T00:00:00Z", "2026-03-31T00:00:00Z", "2026-05-29T00:00:00Z"]),
        ("cron(0 0 ? * 6L *)", &["2026-01-30T00:00:00Z", "2026-02-27T00:00:00Z"]),
        ("cron(0 0 ? * L *)", &["2026-01-03T00:00:00Z", "2026-01-10T00:00:00Z"]),
        ("cron(0 0 ? * SAT#3 *)", &["2026-01-17T00:00:00Z", "2026-02-21T00:00:00Z"]),
        ("cron(0 0 ? * 7#5 *)", &["2026-01-31T00:00:00Z", "2026-05-30T00:00:00Z"]),
        ("cron(0 0 ? * 1 *)", &["2026-01-04T00:00:00Z"]),
        ("cron(0 0 29 2 ? *)", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ("cron(0 22-1 ? * * *)", &["2026-01-01T01:00:00Z", "2026-01-01T22:00:00Z", "2026-01-01T23:00:00Z"]),
        ("cron(50-10/10 3 * * ? *)", &["2026-01-01T03:00:00Z", "2026-01-01T03:10:00Z", "2026-01-01T03:50:00Z"]),
        ("cron(59 23 31 12 ? 2027,2199)", &["2027-12-31T23:59:00Z", "2199-12-31T23:59:00Z"]),
        ("cron(0 0 30 2 ? *)", &[]),
        ("cron(0 0 1 1 ? 2000)", &[]),
    ];
    for (text, expected) in cases {
        check(&timing(text, "UTC"), "2026-01-01T00:00:00Z", expected);
    }
    assert_eq!(timing("cron(0 0 30 2 ? *)", "UTC").next(stamp("2026-01-01T00:00:00Z")), None);
    assert_eq!(timing("cron(* * * * ? *)", "UTC").next(stamp("2199-12-31T23:59:00Z")), None);
    // A minute after is a minute after, whatever the second.
    check(&timing("cron(* * * * ? *)", "UTC"), "2026-01-01T00:00:59.999Z", &["2026-01-01T00:01:00Z"]);
}

#[test]
fn clocks_that_are_changed() {
    // Spring 2026 in Berlin: 02:00 to 02:59 on 29 March do not exist.
    let daily = timing("cron(30 2 * * ? *)", "Europe/Berlin");
    check(&daily, "2026-03-27T12:00:00Z", &["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"]);
    // Autumn: 02:00 to 02:59 on 25 October come twice, and count the first time.
    check(&daily, "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    let often = timing("cron(0/30 * * * ? *)", "Europe/Berlin");
    check(&often, "2026-10-25T00:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"]);
    // Asked from within the second hour.
    check(&often, "2026-10-25T01:15:00Z", &["2026-10-25T02:00:00Z", "2026-10-25T02:30:00Z"]);
    // A whole day that never was.
    check(&timing("cron(0 9 30 12 ? 2011)", "Pacific/Apia"), "2011-12-01T00:00:00Z", &[]);
    check(&timing("at(2026-03-29T02:30:00)", "Europe/Berlin"), "2026-01-01T00:00:00Z", &[]);
    check(&timing("at(2026-10-25T02:30:00)", "Europe/Berlin"), "2026-01-01T00:00:00Z", &["2026-10-25T00:30:00Z"]);
    check(&timing("at(2026-07-01T08:00:00)", "America/New_York"), "2026-01-01T00:00:00Z", &["2026-07-01T12:00:00Z"]);
    assert_eq!(timing("at(2026-07-01T08:00:00)", "UTC").next(stamp("2026-07-01T08:00:00Z")), None);
    // A day of a rate is 24 hours.
    let mut rate = timing("rate(1 day)", "Europe/Berlin");
    rate.anchor = stamp("2026-03-28T12:00:00Z");
    check(&rate, "2026-03-28T12:00:00Z", &["2026-03-29T12:00:00Z", "2026-03-30T12:00:00Z"]);
}

#[test]
fn rates_count_from_where_they_begin() {
    let rate = timing("rate(2 hours)", "UTC");
    // Scheduler fires at once; rules after the first time.
    check(&rate, "2025-12-31T00:00:00Z", &["2026-01-01T00:00:30Z", "2026-01-01T02:00:30Z", "2026-01-01T04:00:30Z"]);
    let rule = Expression::parse("rate(2 hours)", Dialect::Rules).expect("good");
    assert_eq!(rule, Expression::Rate { every: Duration::from_secs(7200), at_once: false });
    check(&Timing { expression: rule, ..rate.clone() }, "2025-12-31T00:00:00Z", &["2026-01-01T02:00:30Z"]);
    check(&rate, "2036-01-01T00:00:00Z", &["2036-01-01T00:00:30Z"]);
    let dated = Timing { start: Some(stamp("2026-02-01T06:00:00Z")), end: Some(stamp("2026-02-01T08:00:00Z")), ..rate };
    check(&dated, "2026-01-01T00:00:00Z", &["2026-02-01T06:00:00Z", "2026-02-01T08:00:00Z"]);
    assert_eq!(dated.next(stamp("2026-02-01T08:00:00Z")), None);
    let cron = Timing { expression: Expression::parse("cron(0 * * * ? *)", Dialect::Rules).expect("good"), ..dated };
    check(&cron, "2026-01-01T00:00:00Z", &["2026-02-01T06:00:00Z", "2026-02-01T07:00:00Z", "2026-02-01T08:00:00Z"]);
    assert_eq!(cron.next(stamp("2026-02-01T08:00:00Z")), None);
    // What fires once heeds neither.
    let once = Timing { expression: timing("at(2026-01-05T00:00:00)", "UTC").expression, ..cron };
    check(&once, "2026-01-01T00:00:00Z", &["2026-01-05T00:00:00Z"]);
}
