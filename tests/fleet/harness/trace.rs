//! What happened in a run, line by line, and whether it was right.
//!
//! The last lines are kept for people, and all go into a sum: two runs of one seed have the same one.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Lines that a failure shows.
const KEPT: usize = 250;

/// The trace of one run.
pub(crate) struct Trace {
    began: Instant,
    inner: Mutex<Inner>,
    /// Poked when something was wrong.
    pub(crate) alarm: Notify,
    /// Whether every line is printed at once.
    echo: bool,
}

struct Inner {
    lines: VecDeque<String>,
    count: u64,
    sum: DefaultHasher,
    wrong: Option<String>,
}

impl Trace {
    pub(crate) fn new(echo: bool) -> Self {
        let inner = Inner { lines: VecDeque::new(), count: 0, sum: DefaultHasher::new(), wrong: None };
        Self { began: Instant::now(), inner: Mutex::new(inner), alarm: Notify::new(), echo }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the run began.
    pub(crate) fn at(&self) -> Duration {
        self.began.elapsed()
    }

    /// Something happened.
    pub(crate) fn say(&self, what: impl fmt::Display) {
        let at = self.at();
        let line = format!("{:>4}.{:03} {what}", at.as_secs(), at.subsec_millis());
        if self.echo {
            eprintln!("{line}");
        }
        let mut inner = self.inner();
        inner.sum.write(line.as_bytes());
        inner.count += 1;
        if inner.lines.len() == KEPT {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// Something is wrong; the first that is counts.
    pub(crate) fn wrong(&self, what: impl fmt::Display) {
        let what = what.to_string();
        self.say(format_args!("WRONG: {what}"));
        self.inner().wrong.get_or_insert(what);
        self.alarm.notify_one();
    }

    /// What is wrong.
    pub(crate) fn is_wrong(&self) -> Option<String> {
        self.inner().wrong.clone()
    }

    /// The sum over all lines, how many there were, and the last of them.
    pub(crate) fn end(&self) -> (u64, u64, Vec<String>) {
        let inner = self.inner();
        (inner.sum.finish(), inner.count, inner.lines.iter().cloned().collect())
    }
}
