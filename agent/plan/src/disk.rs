//! What is decided about the host's disk: when it is short, which images go, and when a task has written too much.

use crate::reasons;
use crate::record::Ending;
use crate::task::Task;
use longshore_model::{StopCode, TaskId, Timestamp};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

/// How much of a file system is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can be used: those that are, and those that are free for everybody.
    pub total: u64,
    /// Bytes that are free for everybody.
    pub free: u64,
}

impl Space {
    /// How many of a thousand parts are used, rounded up.
    #[must_use]
    pub const fn used_per_mille(self) -> u64 {
        if self.total == 0 {
            return 0;
        }
        // Of a file system of 16 EiB a thousand times its bytes would be too many to count.
        let unit = self.total / 1000 + 1;
        if self.total < u64::MAX / 1000 {
            ((self.total - self.free) * 1000).div_ceil(self.total)
        } else {
            (self.total - self.free).div_ceil(unit)
        }
    }

    /// Bytes that are used beyond `percent` of it.
    #[must_use]
    pub const fn beyond(self, percent: u8) -> u64 {
        // In hundredths first: a total of 16 EiB times a percentage would be too much to count.
        let fine = self.total / 100 * percent as u64 + self.total % 100 * percent as u64 / 100;
        (self.total - self.free).saturating_sub(fine)
    }

    /// Whether more than `percent` of it is used.
    #[must_use]
    pub const fn is_above(self, percent: u8) -> bool {
        self.used_per_mille() > percent as u64 * 10
    }
}

/// At how many percent of use what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Above it, space is made.
    pub clean_above: u8,
    /// Until so much is used.
    pub clean_until: u8,
    /// Above it, nothing new is taken.
    pub refuse_above: u8,
}

/// An image that may go or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The engine's id.
    pub id: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last used.
    pub last_used: Timestamp,
    /// Whether a container is made from it, or a task of this host needs it.
    pub in_use: bool,
    /// Whether this agent pulled it.
    pub pulled_here: bool,
}

/// Which images may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageRule {
    /// How long one must have been unused.
    pub min_age: Duration,
    /// Whether those may go that this agent did not pull.
    pub untracked: bool,
}

/// What may be removed, the first to go first, and whether any other will be old enough before `until`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Ids of images.
    pub order: Vec<String>,
    /// Whether waiting until then makes some more removable.
    pub more_by_then: bool,
}

/// Chooses among `images`: unused ones that are old enough, those first that were unused longest, weighted by size: ten
/// minutes of a large image count as much as an hour of one a sixth as large.
#[must_use]
pub fn choose(images: &[Candidate], rule: ImageRule, now: Timestamp, until: Timestamp) -> Choice {
    let may_go = |image: &&Candidate| !image.in_use && (image.pulled_here || rule.untracked);
    let old = |image: &Candidate, at: Timestamp| at.since(image.last_used) >= rule.min_age;
    let mut order: Vec<&Candidate> = images.iter().filter(may_go).filter(|image| old(image, now)).collect();
    let weight = |image: &Candidate| now.since(image.last_used).as_secs_f64() * image.size as f64;
    order.sort_by(|a, b| {
        weight(b).total_cmp(&weight(a)).then_with(|| (Reverse(a.size), &a.id).cmp(&(Reverse(b.size), &b.id)))
    });
    let more_by_then = images.iter().filter(may_go).any(|image| !old(image, now) && old(image, until));
    Choice { order: order.into_iter().map(|image| image.id.clone()).collect(), more_by_then }
}

/// Containers of a task that is over, which are kept to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    /// The task.
    pub task: TaskId,
    /// Bytes that they have written, as far as that is known.
    pub size: u64,
    /// When the task was over.
    pub since: Timestamp,
}

/// Chooses what goes of the `remains` to have `needed` bytes more: by size and age as images do, and no more than it
/// takes. All of it where that is not enough. Says also how many bytes that will make.
#[must_use]
pub fn choose_remains(remains: &[Remains], needed: u64, now: Timestamp) -> (BTreeSet<TaskId>, u64) {
    let mut order: Vec<&Remains> = remains.iter().collect();
    let weight = |r: &Remains| now.since(r.since).as_secs_f64() * r.size as f64;
    order.sort_by(|a, b| {
        weight(b)
            .total_cmp(&weight(a))
            .then_with(|| (Reverse(a.size), a.since, a.task).cmp(&(Reverse(b.size), b.since, b.task)))
    });
    let mut made = 0_u64;
    let mut go = BTreeSet::new();
    for remains in order {
        if made >= needed {
            break;
        }
        go.insert(remains.task);
        made = made.saturating_add(remains.size);
    }
    (go, made)
}

/// What is promised of a host's free space: what its tasks have reserved and not written yet.
#[must_use]
pub fn promised(tasks: impl Iterator<Item = (u64, u64)>) -> u64 {
    tasks.map(|(limit, used)| limit.saturating_sub(used)).fold(0, u64::saturating_add)
}

impl Task {
    /// Its containers were found to have written `used_mib` in all. More than its limit ends it; says whether it does.
    pub fn written(&mut self, used_mib: u64, now: Timestamp) -> bool {
        let limit = self.spec.as_ref().and_then(|spec| spec.ephemeral_storage_mib);
        let Some(limit) = limit.filter(|limit| used_mib > u64::from(*limit)) else { return false };
        if self.record.ending.is_some() {
            return false;
        }
        let ran = self.record.containers.iter().any(|c| c.started_at.is_some());
        let code = if ran { StopCode::EssentialContainerExited } else { StopCode::TaskFailedToStart };
        let reason = reasons::clip(reasons::over_storage(used_mib, limit));
        self.record.ending = Some(Ending { code: Some(code), reason, at: now });
        self.settle(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn use_is_rounded_up_and_never_too_large_to_count() {
        let of = |total, free| Space { total, free }.used_per_mille();
        assert_eq!([of(0, 0), of(1000, 1000), of(1000, 999), of(100_000, 50_001), of(10, 0)], [0, 0, 1, 500, 1000]);
        assert!(of(u64::MAX, 0) >= 999 && of(u64::MAX, u64::MAX) == 0);
        let space = Space { total: 100 * GIB, free: 15 * GIB };
        assert!(!space.is_above(85) && space.is_above(84));
    }

    #[test]
    fn what_is_beyond_a_mark_is_what_has_to_go() {
        let space = |total, free| Space { total, free };
        assert_eq!([space(1000, 300).beyond(50), space(1000, 500).beyond(50), space(0, 0).beyond(50)], [200, 0, 0]);
        assert_eq!([space(250, 0).beyond(33), space(250, 0).beyond(100)], [168, 0]);
        assert!(space(u64::MAX, 0).beyond(50) > u64::MAX / 2 - 100);
    }

    #[test]
    fn of_what_is_kept_goes_what_is_large_and_old_and_no_more_than_it_takes() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let task = |n: u8| TaskId::from_bytes([n; 16]);
        let kept =
            |n: u8, mib: u64, mins: i64| Remains { task: task(n), size: mib << 20, since: now.moved(-mins * 60_000) };
        let all = [kept(1, 10, 60), kept(2, 100, 10), kept(3, 1, 5), kept(4, 0, 500), kept(5, 100, 1)];
        // By size times age: 2 (1000), 1 (600), 5 (100), 3 (5), 4 (0).
        let cases: [(u64, &[u8]); 7] = [
            (0, &[]),
            (1, &[2]),
            (100, &[2]),
            (101, &[2, 1]),
            (111, &[2, 1, 5]),
            (211, &[2, 1, 5, 3]),
            (212, &[2, 1, 5, 3, 4]),
        ];
        for (mib, expected) in cases {
            let (go, made) = choose_remains(&all, mib << 20, now);
            assert_eq!(go, expected.iter().map(|n| task(*n)).collect(), "{mib} MiB");
            let sum: u64 = all.iter().filter(|r| go.contains(&r.task)).map(|r| r.size).sum();
            assert_eq!(made, sum, "{mib} MiB");
        }
        assert_eq!(choose_remains(&[], 5, now), (BTreeSet::new(), 0));
    }

    fn image(id: &str, size: u64, unused_mins: i64) -> Candidate {
        let last_used = Timestamp::from_millis(NOW - unused_mins * 60_000);
        Candidate { id: id.to_owned(), size, last_used, in_use: false, pulled_here: true }
    }

    const NOW: i64 = 1_000_000_000;

    fn choice(images: &[Candidate], untracked: bool) -> Choice {
        let now = Timestamp::from_millis(NOW);
        let rule = ImageRule { min_age: Duration::from_secs(3600), untracked };
        choose(images, rule, now, now.after(Duration::from_secs(600)))
    }

    #[test]
    fn the_large_and_long_unused_go_first_and_others_stay() {
        let used = Candidate { in_use: true, ..image("used", GIB, 600) };
        let foreign = Candidate { pulled_here: false, ..image("foreign", GIB, 600) };
        let all =
            [image("small", GIB / 10, 120), image("large", GIB, 100), image("old", GIB / 10, 6000), used, foreign];
        assert_eq!(
            choice(&all, false),
            Choice { order: vec!["old".into(), "large".into(), "small".into()], more_by_then: false }
        );
        assert_eq!(choice(&all, true).order.len(), 4);
        assert_eq!(choice(&[image("young", GIB, 51)], false), Choice { order: vec![], more_by_then: true });
        assert_eq!(choice(&[image("younger", GIB, 49)], false), Choice::default());
    }

    fn candidate() -> impl Strategy<Value = Candidate> {
        (0..50u32, 0..10 * GIB, -10..500i64, any::<bool>(), any::<bool>()).prop_map(
            |(n, size, mins, in_use, pulled_here)| Candidate {
                in_use,
                pulled_here,
                ..image(&n.to_string(), size, mins)
            },
        )
    }

    proptest! {
        #[test]
        fn nothing_goes_that_is_used_or_young_or_somebody_elses(
            images in proptest::collection::vec(candidate(), 0..20), untracked: bool,
        ) {
            let chosen = choice(&images, untracked);
            for image in &images {
                let may = !image.in_use && (image.pulled_here || untracked)
                    && Timestamp::from_millis(NOW).since(image.last_used) >= Duration::from_secs(3600);
                let same = |other: &Candidate| other.id == image.id;
                if images.iter().filter(|other| same(other)).count() == 1 {
                    prop_assert_eq!(chosen.order.contains(&image.id), may);
                }
            }
        }

        #[test]
        fn no_more_is_promised_than_was_reserved(tasks in proptest::collection::vec((0..GIB, 0..GIB), 0..9)) {
            let all = promised(tasks.iter().copied());
            prop_assert!(all <= tasks.iter().map(|(limit, _)| limit).sum::<u64>());
        }
    }
}
