//! Whether and when a firing that did not start its tasks is tried again. Pure.

use crate::commands::Refusal;
use crate::records::{Firing, Schedule, ScheduleSettings};
use longshore_model::Timestamp;
use longshore_schedule::place_in_window;
use std::time::Duration;

/// Before the second try.
const FIRST: Duration = Duration::from_secs(1);
/// Between two tries at most: hosts may have come meanwhile.
const LONGEST: Duration = Duration::from_secs(300);

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is tried again then.
    Again(Timestamp),
    /// It is over.
    GiveUp,
}

/// What follows from a try at `now` of `firing`, which had failed as often as it says before.
pub(crate) fn after_failure(firing: &Firing, settings: &ScheduleSettings, now: Timestamp, for_good: bool) -> Verdict {
    if for_good || firing.tries >= settings.max_retries() {
        return Verdict::GiveUp;
    }
    let wait = FIRST.saturating_mul(1 << firing.tries.min(16)).min(LONGEST);
    // Up to a half less, so that the many that failed together do not come again together: those of one schedule, too,
    // of which nearly all would find what is free taken by the first few each time.
    let seed = [firing.id.as_bytes().as_slice(), &firing.key.at.millis().to_le_bytes()].concat();
    let again = place_in_window(&seed, now.after(wait / 2), wait / 2).max(now.after(FIRST));
    if again > firing.due.after(settings.max_age()) { Verdict::GiveUp } else { Verdict::Again(again) }
}

/// Whether the clock was set back since a firing was decided, so that it would wait for longer than it has to: one that
/// failed for longer than any pause is, one that was not tried yet for a time that had come when it was decided. Where
/// in a flexible window that one was to be is then as good as any other moment.
pub(crate) fn waits_too_long(firing: &Firing, now: Timestamp) -> bool {
    match firing.tries {
        0 => firing.key.at > now,
        _ => firing.next_try > now.after(LONGEST),
    }
}

impl Schedule {
    /// Whether a firing that is remembered is to be carried out for this schedule.
    pub(crate) fn carries_out(&self, firing: &Firing) -> bool {
        self.id == firing.id && self.settings.enabled
    }
}

/// Why so many tasks have no place, for people.
pub(crate) fn unplaced(tasks: usize, refusals: &[Refusal]) -> String {
    let tasks = if tasks == 1 { "a task found".to_owned() } else { format!("{tasks} tasks found") };
    let shown = refusals.iter().take(3).map(|Refusal { instance, reason, detail, .. }| {
        let detail = detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        format!("container instance {instance}: {reason}{detail}")
    });
    let shown: Vec<String> = shown.collect();
    let more = refusals.len().saturating_sub(shown.len());
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    // A request that is repeated says what became of it, and not why.
    let why = if shown.is_empty() { String::new() } else { format!(": {}{more}", shown.join("; ")) };
    format!("{tasks} no place{why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{FiringKey, ScheduleKey};
    use longshore_ecs_api::scheduler::{RetryPolicy, Target};
    use longshore_model::Region;

    fn settings(retries: Option<i64>, age: Option<i64>) -> ScheduleSettings {
        let policy = RetryPolicy { maximum_event_age_in_seconds: age, maximum_retry_attempts: retries };
        ScheduleSettings {
            expression: "rate(1 day)".to_owned(),
            zone: "UTC".to_owned(),
            start: None,
            end: None,
            window_minutes: None,
            enabled: true,
            description: None,
            target: Box::new(Target { retry_policy: Some(policy), ..Target::default() }),
            delete_when_over: false,
        }
    }

    fn firing(at: Timestamp) -> Firing {
        let schedule =
            ScheduleKey { region: Region::new("lab").expect("a region"), group: "g".into(), name: "n".into() };
        Firing {
            key: FiringKey { schedule, at },
            id: uuid::Uuid::from_u128(7),
            due: at,
            next_try: at,
            tries: 0,
            started: 0,
            problem: None,
        }
    }

    /// How often a firing that always fails is tried, and how long that goes on.
    fn life(settings: &ScheduleSettings) -> (u32, Duration) {
        let begin = Timestamp::from_millis(1_700_000_000_000);
        let mut firing = firing(begin);
        loop {
            match after_failure(&firing, settings, firing.next_try, false) {
                Verdict::GiveUp => return (firing.tries + 1, firing.next_try.since(begin)),
                Verdict::Again(next) => {
                    let wait = next.since(firing.next_try);
                    assert!(wait >= FIRST && wait <= LONGEST, "{wait:?}");
                    (firing.tries, firing.next_try) = (firing.tries + 1, next);
                }
            }
        }
    }

    #[test]
    fn tries_end_by_number_or_by_age() {
        assert_eq!(life(&settings(Some(0), None)), (1, Duration::ZERO));
        assert_eq!(life(&settings(Some(3), None)).0, 4);
        let (tries, lasted) = life(&settings(None, Some(60)));
        assert!(lasted <= Duration::from_secs(60) && (4..10).contains(&tries), "{tries} {lasted:?}");
        let (tries, lasted) = life(&settings(None, None));
        assert_eq!(tries, 186);
        assert!(lasted < Duration::from_secs(24 * 3600), "{lasted:?}");
    }

    #[test]
    fn firings_of_one_schedule_that_failed_together_do_not_come_again_together() {
        let begin = Timestamp::from_millis(1_700_000_000_000);
        let now = begin.after(Duration::from_secs(3600));
        let again = |minute: u64| {
            let firing = Firing { tries: 12, ..firing(begin.after(Duration::from_secs(60 * minute))) };
            after_failure(&firing, &settings(None, None), now, false)
        };
        let mut at_once = std::collections::BTreeMap::new();
        for minute in 0..60 {
            let Verdict::Again(at) = again(minute) else { panic!("{minute} is given up") };
            *at_once.entry(at).or_insert(0) += 1;
        }
        // Of 60 in 150 s.
        assert!(at_once.len() > 30 && at_once.values().all(|count| *count <= 6), "{at_once:?}");
    }
}
