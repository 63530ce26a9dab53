//! Decisions over random loads and policies, and the cases that the documentation names.

use longshore_model::Timestamp;
use longshore_scaling::{
    Adjustment, Alarm, Bounds, IN_PERIODS, Metric, Period, Picture, Policy, Rule, Step, Steps, Tracking, decide,
};
use proptest::prelude::*;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(60);

fn tracking(target: f64, out_secs: u64, in_secs: u64) -> Tracking {
    Tracking {
        metric: Metric::Cpu,
        target,
        out_cooldown: Duration::from_secs(out_secs),
        in_cooldown: Duration::from_secs(in_secs),
        no_in: false,
    }
}

fn policy(rule: Rule) -> [Policy<'static>; 1] {
    [Policy { name: "p", rule }]
}

fn steps(alarm: &str, adjustment: Adjustment, steps: &[(Option<f64>, Option<f64>, i32)], cooldown: u64) -> Steps {
    Steps {
        alarm: Some(Alarm::parse(alarm).expect("an alarm")),
        adjustment,
        steps: steps.iter().map(|&(lower, upper, adjustment)| Step { lower, upper, adjustment }).collect(),
        least: 0,
        cooldown: Duration::from_secs(cooldown),
    }
}

/// A service whose tasks share a load, over time.
struct World<'a> {
    policies: &'a [Policy<'a>],
    bounds: Bounds,
    count: u32,
    periods: Vec<Period>,
    now: Timestamp,
    last_out: Option<Timestamp>,
    last_in: Option<Timestamp>,
    raised_from: Option<u32>,
    /// Every change: when, from and to, and what a raise was counted from.
    changes: Vec<(Timestamp, u32, u32, Option<u32>)>,
}

impl<'a> World<'a> {
    fn new(policies: &'a [Policy<'a>], bounds: Bounds, count: u32) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let (last_out, last_in, raised_from) = (None, None, None);
        Self { policies, bounds, count, periods: vec![], now, last_out, last_in, raised_from, changes: vec![] }
    }

    /// A period with that load, in percent of a task, and the decision after it.
    fn period(&mut self, load: f64) {
        let used = (self.count > 0).then(|| load / f64::from(self.count));
        self.periods.insert(0, Period { began: self.now, cpu: used, memory: used, tasks: f64::from(self.count) });
        self.periods.truncate(15);
        self.now = self.now.after(PERIOD);
        let picture = Picture {
            current: self.count,
            bounds: self.bounds,
            periods: &self.periods,
            policies: self.policies,
            last_out: self.last_out,
            last_in: self.last_in,
            raised_from: self.raised_from,
            may_out: true,
            may_in: true,
        };
        let Some(decision) = decide(&picture, self.now) else { return };
        assert_ne!(decision.desired, self.count, "a decision changes something");
        assert!(!decision.why.is_empty() && decision.policy == "p");
        self.changes.push((self.now, self.count, decision.desired, decision.raised_from));
        if decision.desired > self.count {
            (self.last_out, self.raised_from) = (Some(self.now), decision.raised_from);
        } else {
            self.last_in = Some(self.now);
        }
        self.count = decision.desired;
    }
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let metric = prop_oneof![Just(Metric::Cpu), Just(Metric::Memory)];
    let track = (metric, 1.0..150.0_f64, 0..400_u64, 0..400_u64, any::<bool>()).prop_map(
        |(metric, target, out, inn, no_in)| Rule::Track(Tracking { metric, no_in, ..tracking(target, out, inn) }),
    );
    let adjustment = prop_oneof![Just(Adjustment::Change), Just(Adjustment::Percent), Just(Adjustment::Exact)];
    let above = any::<bool>();
    let step = (above, 1.0..150.0_f64, adjustment, -300..300_i32, 0..400_u64, 0..5_u32).prop_map(
        |(above, threshold, adjustment, by, cooldown, least)| {
            let alarm = format!("CPUUtilization {} {threshold}", if above { "above" } else { "below" });
            Rule::Steps(Steps { least, ..steps(&alarm, adjustment, &[(None, None, by)], cooldown) })
        },
    );
    prop_oneof![track, step]
}

proptest! {
    #[test]
    fn bounds_and_cool_downs_are_kept(
        rules in prop::collection::vec(any_rule(), 1..4),
        loads in prop::collection::vec(0.0..5000.0_f64, 1..60),
        (min, span, at) in (0..20_u32, 0..50_u32, 0..100_u32),
    ) {
        let bounds = Bounds { min, max: min + span };
        let policies: Vec<_> = rules.into_iter().map(|rule| Policy { name: "p", rule }).collect();
        // The shortest of all: which policy acted is not looked at here.
        let cooldown = |out: bool| policies.iter().map(|policy| match &policy.rule {
            Rule::Track(tracking) if out => tracking.out_cooldown,
            Rule::Track(tracking) => tracking.in_cooldown,
            Rule::Steps(steps) => steps.cooldown,
        }).min().unwrap_or_default();
        let mut world = World::new(&policies, bounds, at);
        loads.iter().for_each(|load| world.period(*load));
        let mut last: Option<(Timestamp, Option<u32>)> = None;
        for (when, from, to, base) in world.changes {
            prop_assert!((bounds.min..=bounds.max).contains(&to), "{to} is outside {bounds:?}");
            prop_assert!(base.is_some() == (to > from) && base.is_none_or(|base| base <= from), "{base:?} of {from}");
            // What is done within the cool-down of the last change is a raise: after one, it goes by the same count.
            if let Some((_, before)) = last.filter(|(last, base)| when < last.after(cooldown(base.is_some()))) {
                prop_assert!(to > from, "lowered within a cool-down");
                prop_assert!(before.is_none() || base <= before, "what was added is not counted: {base:?} {before:?}");
            }
            last = Some((when, base));
        }
    }

    #[test]
    fn a_steady_load_settles_and_nothing_flaps(
        load in 0.0..3000.0_f64, target in 5.0..100.0_f64, start in 1..60_u32,
            wavers in prop_oneof![Just(0.0), 0.01..0.04_f64],
        signs in prop::collection::vec(any::<bool>(), 80),
    ) {
        let policies = policy(Rule::Track(tracking(target, 60, 60)));
        let bounds = Bounds { min: 1, max: 1000 };
        let mut world = World::new(&policies, bounds, start);
        for (n, up) in signs.iter().enumerate() {
            world.period(load * if *up { 1.0 + wavers } else { 1.0 - wavers });
            if n == 30 {
                world.changes.clear();
            }
        }
        // Enough periods below the average in a row may come late, and then fewer do for good.
        prop_assert!(world.changes.iter().all(|(_, from, to, _)| to < from), "it came back: {:?}", world.changes);
        prop_assert!(wavers > 0.0 || world.changes.is_empty(), "it moved on: {:?}", world.changes);
        let used = load / f64::from(world.count);
        prop_assert!(used <= target * 1.05, "{used} at a target of {target}");
        prop_assert!(world.count == 1 || load / f64::from(world.count - 1) > target * 0.84, "too many: {}",
            world.count);
    }

    #[test]
    fn a_growing_load_is_followed_and_never_lowers(slope in 1.0..40.0_f64, target in 20.0..90.0_f64) {
        let policies = policy(Rule::Track(tracking(target, 0, 300)));
        let mut world = World::new(&policies, Bounds { min: 1, max: 10_000 }, 1);
        for n in 0..60 {
            world.period(slope * f64::from(n));
        }
        prop_assert!(world.changes.iter().all(|(_, from, to, _)| to > from));
        let used = slope * 59.0 / f64::from(world.count);
        prop_assert!(used <= target, "{used}");
    }
}

#[test]
fn a_target_is_tracked() {
    let policies = policy(Rule::Track(tracking(50.0, 120, 60)));
    let mut world = World::new(&policies, Bounds { min: 1, max: 10 }, 2);
    world.period(200.0);
    assert_eq!(world.count, 4, "2 tasks at 100 % are 4 at 50 %");
    world.period(300.0);
    assert_eq!(world.count, 4, "the cool-down lasts");
    world.period(300.0);
    assert_eq!(world.count, 6);
    for _ in 0..IN_PERIODS - 1 {
        world.period(40.0);
        assert_eq!(world.count, 6, "not all of the last periods are below");
    }
    world.period(40.0);
    assert_eq!(world.count, 1, "40 % fit one task at 45 %");
    world.period(0.0);
    assert_eq!(world.count, 1);
}

#[test]
fn what_a_cool_down_added_counts_and_more_is_added_all_the_same() {
    let bounds = Bounds { min: 1, max: 100 };
    let policies = policy(Rule::Track(tracking(50.0, 600, 60)));
    let mut world = World::new(&policies, bounds, 2);
    for (load, expected) in [(200.0, 4), (400.0, 4), (1000.0, 10), (1000.0, 10)] {
        world.period(load);
        assert_eq!(world.count, expected, "at {load} %");
    }
    // Nothing is remembered of a raise by an earlier version.
    world.raised_from = None;
    world.period(9000.0);
    assert_eq!(world.count, 10);

    let parts = [(Some(0.0), Some(20.0), 2), (Some(20.0), None, 3)];
    let policies = policy(Rule::Steps(steps("CPUUtilization above 60", Adjustment::Change, &parts, 600)));
    let mut world = World::new(&policies, bounds, 10);
    for (used, expected) in [(70.0, 12), (70.0, 12), (90.0, 13)] {
        world.period(used * f64::from(world.count));
        assert_eq!(world.count, expected, "at {used} %");
    }
    // The cool-down began anew.
    for _ in 0..9 {
        world.period(90.0 * 13.0);
        assert_eq!(world.count, 13);
    }
    world.period(90.0 * 13.0);
    assert_eq!(world.count, 16);
}

#[test]
fn a_raise_ends_the_cool_down_of_a_lowering() {
    let policies = policy(Rule::Track(tracking(50.0, 0, 3600)));
    let mut world = World::new(&policies, Bounds { min: 1, max: 100 }, 10);
    for _ in 0..IN_PERIODS {
        world.period(100.0);
    }
    assert_eq!(world.count, 3);
    for _ in 0..IN_PERIODS {
        world.period(10.0);
    }
    assert_eq!(world.count, 3, "the cool-down lasts");
    world.period(300.0);
    assert_eq!(world.count, 6);
    for _ in 0..IN_PERIODS {
        assert_eq!(world.count, 6);
        world.period(100.0);
    }
    assert_eq!(world.count, 3);
}

#[test]
fn counts_outside_the_bounds_are_brought_in_only_by_a_policy() {
    let policies = policy(Rule::Track(tracking(50.0, 0, 0)));
    let mut world = World::new(&policies, Bounds { min: 4, max: 6 }, 0);
    world.period(0.0);
    assert_eq!(world.count, 0, "a service that somebody stopped stays so");
    world.count = 1;
    world.period(60.0);
    assert_eq!(world.count, 4, "what would be 2 is the minimum");
    world.count = 20;
    world.period(2000.0);
    assert_eq!(world.count, 20, "more load lowers nothing");
    for _ in 0..IN_PERIODS {
        world.period(10.0);
    }
    assert_eq!(world.count, 4, "and little brings it in");
}

#[test]
fn a_policy_that_only_raises_holds_nothing_up() {
    let only_out = Tracking { no_in: true, ..tracking(50.0, 0, 0) };
    let both = [
        Policy { name: "p", rule: Rule::Track(only_out.clone()) },
        Policy { name: "p", rule: Rule::Track(tracking(80.0, 0, 0)) },
    ];
    let mut world = World::new(&both, Bounds { min: 1, max: 10 }, 5);
    for _ in 0..IN_PERIODS {
        world.period(10.0);
    }
    assert_eq!(world.count, 1);
    let alone = policy(Rule::Track(only_out));
    let mut world = World::new(&alone, Bounds { min: 1, max: 10 }, 5);
    for _ in 0..10 {
        world.period(10.0);
    }
    assert_eq!(world.count, 5);
}

#[test]
fn steps_go_by_the_distance_from_the_threshold() {
    let check = |rule: Steps, count: u32, used: f64, expected: u32| {
        let policies = policy(Rule::Steps(rule));
        let mut world = World::new(&policies, Bounds { min: 0, max: 100 }, count);
        world.period(used * f64::from(count));
        assert_eq!(world.count, expected, "{count} at {used} %");
    };
    let out = |adjustment| {
        let parts = [(Some(0.0), Some(10.0), 10), (Some(10.0), Some(20.0), 20), (Some(20.0), None, 30)];
        steps("CPUUtilization above 60", adjustment, &parts, 0)
    };
    for (used, expected) in [(59.0, 10), (60.0, 20), (69.9, 20), (70.0, 30), (90.0, 40)] {
        check(out(Adjustment::Change), 10, used, expected);
    }
    for (count, used, expected) in [(10, 60.0, 11), (4, 60.0, 5), (19, 60.0, 20), (10, 95.0, 13)] {
        check(out(Adjustment::Percent), count, used, expected);
    }
    check(Steps { least: 4, ..out(Adjustment::Percent) }, 10, 60.0, 14);
    check(out(Adjustment::Exact), 50, 60.0, 10);
    let less = steps(
        "MemoryUtilization below 40",
        Adjustment::Change,
        &[(Some(-10.0), Some(0.0), -1), (None, Some(-10.0), -3)],
        0,
    );
    for (used, expected) in [(41.0, 10), (40.0, 9), (30.1, 9), (30.0, 7), (0.0, 7)] {
        check(less.clone(), 10, used, expected);
    }
    let lasting = steps("CPUUtilization above 60 for 3", Adjustment::Change, &[(Some(0.0), None, 1)], 120);
    let policies = policy(Rule::Steps(lasting));
    let mut world = World::new(&policies, Bounds { min: 0, max: 100 }, 10);
    let counts: Vec<u32> = (0..6)
        .map(|_| {
            world.period(800.0);
            world.count
        })
        .collect();
    assert_eq!(counts, [10, 10, 11, 11, 12, 12], "three periods, and then the cool-down");
}

#[test]
fn a_clock_that_was_set_back_holds_nothing_up() {
    let above = steps("CPUUtilization above 60", Adjustment::Change, &[(Some(0.0), None, 1)], 120);
    for rule in [Rule::Steps(above), Rule::Track(tracking(50.0, 120, 120))] {
        let policies = policy(rule);
        let mut world = World::new(&policies, Bounds { min: 1, max: 100 }, 4);
        world.period(400.0);
        let before = world.count;
        assert!(before > 4, "{policies:?}");
        // The figures of before say nothing any more.
        world.now = world.now.moved(-3_600_000);
        world.periods.clear();
        world.period(f64::from(before) * 90.0);
        assert!(world.count > before, "{policies:?}");
    }
}

#[test]
fn alarms_are_read() {
    let good = Alarm::parse("MemoryUtilization below 20.5").expect("good");
    assert_eq!((good.metric, good.periods), (Metric::Memory, 1));
    for bad in [
        "",
        "CPUUtilization",
        "CPUUtilization above",
        "CPUUtilization above x",
        "CPUUtilization above -1",
        "CPUUtilization over 5",
        "Cpu above 5",
        "CPUUtilization above 5 for 0",
        "CPUUtilization above 5 for 16",
        "CPUUtilization above 5 in 2",
        "CPUUtilization above NaN",
        "CPUUtilization  above 5",
    ] {
        assert!(Alarm::parse(bad).is_err_and(|error| error.to_string().contains("CPUUtilization above 70")), "{bad}");
    }
}
