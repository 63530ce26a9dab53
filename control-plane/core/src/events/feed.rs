//! The latest events, for whoever follows. Nothing is kept while nobody does, nor over a restart.

use super::Told;
use longshore_model::Region;
use longshore_pattern::Pattern;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Events that are kept: those of a few seconds at the rate that a full control plane has.
const KEPT: usize = 8192;
/// Events in one answer.
const PAGE: usize = 256;
/// How long a follower may be silent and still counts as one.
const PATIENCE: Duration = Duration::from_secs(60);

/// Recent events, numbered from 1.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    followed: AtomicBool,
    ring: Mutex<Ring>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Told>,
    /// The number of the last.
    last: u64,
    until: Option<Instant>,
}

/// What a follower gets.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) events: Vec<Told>,
    /// The number of the last event that was looked at.
    pub(crate) last: u64,
    /// Whether events after the asked number are gone.
    pub(crate) missed: bool,
}

impl Feed {
    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody follows. What was kept is let go when nobody does any more.
    pub(crate) fn is_followed(&self) -> bool {
        if !self.followed.load(Ordering::Acquire) {
            return false;
        }
        let mut ring = self.ring();
        if ring.until.is_some_and(|until| until > Instant::now()) {
            return true;
        }
        // A follower that comes back later must see that there is a gap.
        ring.last += 1;
        ring.events = VecDeque::new();
        self.followed.store(false, Ordering::Release);
        false
    }

    /// Adds what is durable now.
    pub(crate) fn push(&self, told: impl Iterator<Item = Told>) {
        let mut told = told.peekable();
        if told.peek().is_none() {
            return;
        }
        let mut ring = self.ring();
        for event in told {
            ring.last += 1;
            ring.events.push_back(event);
        }
        let over = ring.events.len().saturating_sub(KEPT);
        ring.events.drain(..over);
        drop(ring);
        self.news.notify_waiters();
    }

    /// The number of the last event. From now on events are kept.
    pub(crate) fn begin(&self) -> u64 {
        let mut ring = self.ring();
        ring.until = Some(Instant::now() + PATIENCE);
        self.followed.store(true, Ordering::Release);
        ring.last
    }

    /// Events of a region after a number that match; waits up to `wait` for the first.
    pub(crate) async fn after(&self, number: u64, region: &Region, pattern: Option<&Pattern>, wait: Duration) -> Page {
        let deadline = Instant::now() + wait;
        let mut from = number;
        let mut missed = false;
        loop {
            let news = self.news.notified();
            self.begin();
            let page = self.page(from, region, pattern);
            missed |= page.missed;
            let over = Instant::now() >= deadline;
            if !page.events.is_empty() || missed || over {
                return Page { missed, ..page };
            }
            from = page.last;
            let _ = tokio::time::timeout_at(deadline, news).await;
        }
    }

    fn page(&self, number: u64, region: &Region, pattern: Option<&Pattern>) -> Page {
        let (candidates, first, missed) = {
            let ring = self.ring();
            let first = ring.last + 1 - ring.events.len() as u64;
            let skip = usize::try_from((number + 1).saturating_sub(first)).unwrap_or(usize::MAX);
            let missed = number + 1 < first || number > ring.last;
            let candidates: Vec<Told> = ring.events.iter().skip(skip).take(PAGE).cloned().collect();
            (candidates, first.max(number + 1).min(ring.last + 1), missed)
        };
        let last = first + candidates.len() as u64 - 1;
        let asked = |told: &Told| told.region == *region && pattern.is_none_or(|pattern| pattern.matches(&told.body));
        Page { events: candidates.into_iter().filter(asked).collect(), last, missed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn told(n: u64) -> Told {
        Told { region: Region::new("lab").expect("a region"), body: Arc::new(json!({"n": n})) }
    }

    fn numbers(page: &Page) -> Vec<u64> {
        page.events.iter().filter_map(|told| told.body["n"].as_u64()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn followers_get_every_event_once_and_are_told_of_gaps() {
        let region = Region::new("lab").expect("a region");
        let feed = Feed::default();
        assert!(!feed.is_followed());
        let start = feed.begin();
        assert!(feed.is_followed());
        feed.push((0..3).map(told));
        let page = feed.after(start, &region, None, Duration::from_secs(5)).await;
        assert_eq!((numbers(&page), page.missed), (vec![0, 1, 2], false));
        let odd = Pattern::parse(r#"{"n": [{"anything-but": [4]}]}"#).expect("a pattern");
        feed.push([told(4), told(5)].into_iter());
        let page = feed.after(page.last, &region, Some(&odd), Duration::from_secs(5)).await;
        assert_eq!(numbers(&page), [5]);
        let (none, ()) = tokio::join!(feed.after(page.last, &region, None, Duration::from_secs(5)), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            feed.push(std::iter::once(told(6)));
        });
        assert_eq!(numbers(&none), [6]);
        let page = feed.after(none.last, &region, None, Duration::from_secs(5)).await;
        assert_eq!((numbers(&page), page.missed), (vec![], false), "the wait is over");
        let other = Region::new("other").expect("a region");
        assert!(numbers(&feed.after(start, &other, None, Duration::ZERO).await).is_empty());

        feed.push((0..KEPT as u64 + 10).map(told));
        let gone = feed.after(none.last, &region, None, Duration::ZERO).await;
        assert_eq!((gone.missed, gone.events.len()), (true, PAGE));
        tokio::time::sleep(PATIENCE * 2).await;
        assert!(!feed.is_followed(), "nobody asked for long");
        assert!(feed.after(gone.last, &region, None, Duration::ZERO).await.missed);
        assert!(feed.after(u64::MAX - 1, &region, None, Duration::ZERO).await.missed, "a number of another time");
    }
}
