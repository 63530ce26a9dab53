//! What the agents of a fleet saw, and when. All of one process, so that one clock measures both ends.

use anyhow::{Result, bail, ensure};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Where agents say what happened to them.
pub(crate) struct Board {
    welcomed: AtomicUsize,
    /// Tasks of which the control plane has made durable that they run, or that they are over.
    running: AtomicUsize,
    stopped: AtomicUsize,
    /// When an agent had a task's assignment, by the task's id, and when it had that it should stop.
    assigned: Mutex<HashMap<String, Instant>>,
    ended: Mutex<HashMap<String, Instant>>,
    /// When an agent asked a bare server for one.
    asked: Mutex<HashMap<String, Instant>>,
    /// Why the first session failed for good, and how many did.
    failed: Mutex<(usize, Option<String>)>,
    /// Sessions that were lost without a task and begun again, as an agent does.
    lost: AtomicUsize,
    /// What an agent was told last of how often to beat, milliseconds.
    pace: AtomicU32,
    /// Wakes each agent, which then asks for a task.
    nudges: Vec<Notify>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    pub(crate) fn new(agents: usize) -> Self {
        Self {
            welcomed: AtomicUsize::new(0),
            pace: AtomicU32::new(0),
            running: AtomicUsize::new(0),
            stopped: AtomicUsize::new(0),
            assigned: Mutex::default(),
            ended: Mutex::default(),
            asked: Mutex::default(),
            failed: Mutex::default(),
            lost: AtomicUsize::new(0),
            nudges: (0..agents).map(|_| Notify::new()).collect(),
        }
    }

    pub(crate) fn set_pace(&self, millis: u32) {
        self.pace.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn pace(&self) -> u32 {
        self.pace.load(Ordering::Relaxed)
    }

    pub(crate) fn welcome(&self) {
        self.welcomed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn welcomed(&self) -> usize {
        self.welcomed.load(Ordering::Relaxed)
    }

    pub(crate) fn run(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.stopped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stopped(&self) -> usize {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(crate) fn assigned(&self, task: &str, at: Instant) {
        lock(&self.assigned).insert(task.to_owned(), at);
    }

    pub(crate) fn ended(&self, task: &str, at: Instant) {
        lock(&self.ended).insert(task.to_owned(), at);
    }

    pub(crate) fn asked(&self, task: &str) {
        lock(&self.asked).insert(task.to_owned(), Instant::now());
    }

    /// When what was asked for since the last time was asked, by task.
    pub(crate) fn take_asked(&self) -> HashMap<String, Instant> {
        std::mem::take(&mut lock(&self.asked))
    }

    /// When assignments came since the last time, by task.
    pub(crate) fn take_assigned(&self) -> HashMap<String, Instant> {
        std::mem::take(&mut lock(&self.assigned))
    }

    /// The same of stops.
    pub(crate) fn take_ended(&self) -> HashMap<String, Instant> {
        std::mem::take(&mut lock(&self.ended))
    }

    pub(crate) fn nudge(&self, agent: usize) -> &Notify {
        &self.nudges[agent % self.nudges.len()]
    }

    /// A session was lost, and its agent begins another one.
    pub(crate) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    /// A session failed for good.
    pub(crate) fn fail(&self, error: &anyhow::Error) {
        let mut failed = lock(&self.failed);
        failed.0 += 1;
        failed.1.get_or_insert_with(|| format!("{error:#}"));
    }

    /// An error if any session failed.
    pub(crate) fn all_are_well(&self) -> Result<()> {
        let failed = lock(&self.failed);
        let why = failed.1.as_deref().unwrap_or_default();
        ensure!(failed.0 == 0, "{} sessions failed, the first because: {why}", failed.0);
        Ok(())
    }

    /// Waits until `met`.
    pub(crate) async fn wait(&self, what: &str, limit: Duration, met: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !met(self) {
            self.all_are_well()?;
            if Instant::now() > deadline {
                let (welcomed, running, stopped) = (self.welcomed(), self.running(), self.stopped());
                bail!("not in {limit:?}: {what} ({welcomed} welcomed, {running} ran, {stopped} stopped)");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
