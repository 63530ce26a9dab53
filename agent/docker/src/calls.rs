//! How often the engine was asked what, and how long that took.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Calls of one kind so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// How many ended, well or not.
    pub ended: u64,
    /// How many of them the engine refused or did not answer in time.
    pub failed: u64,
    /// How long they took together.
    pub took: Duration,
}

/// Every kind of call: the first word of what it is for, as in `creating container X`.
#[derive(Default)]
pub(crate) struct Book(Mutex<BTreeMap<String, Calls>>);

impl Book {
    pub(crate) fn enter(&self, doing: &str, took: Duration, failed: bool) {
        let kind = doing.split(' ').next().unwrap_or(doing);
        let mut all = self.lock();
        if !all.contains_key(kind) {
            all.insert(kind.to_owned(), Calls::default());
        }
        if let Some(calls) = all.get_mut(kind) {
            calls.ended += 1;
            calls.failed += u64::from(failed);
            calls.took += took;
        }
    }

    pub(crate) fn all(&self) -> BTreeMap<String, Calls> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Calls>> {
        // No code that holds the lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_what_they_are_for() {
        let book = Book::default();
        book.enter("creating container `a`", Duration::from_secs(1), false);
        book.enter("creating container `b`", Duration::from_secs(2), true);
        book.enter("listing", Duration::from_millis(5), false);
        let all = book.all();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["creating", "listing"]);
        assert_eq!(all["creating"], Calls { ended: 2, failed: 1, took: Duration::from_secs(3) });
    }
}
