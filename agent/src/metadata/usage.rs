//! What the host and its tasks use, read again and again for the control plane while that asks for it.
//!
//! Of a container one file of its control groups is read, two more when it did something, and nothing is asked of the
//! engine, but once for the process of a container that is new. CPU is the difference of two readings.

use super::front::Front;
use super::stats::{Brief, Which};
use longshore_model::{HostUsage, MAX_TASK_USAGES, TaskId, TaskUsage};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

/// Nobody asks more often than that, whatever they say.
const SHORTEST: Duration = Duration::from_millis(200);

/// CPU units of a core.
const CORE: u128 = 1024;

/// The session's end: how often it wants figures, and the latest.
#[derive(Debug, Clone)]
pub struct UsageLine {
    every: Arc<watch::Sender<Duration>>,
    latest: watch::Receiver<Option<Arc<HostUsage>>>,
}

/// The reader's end.
#[derive(Debug)]
pub struct UsageAsked {
    every: watch::Receiver<Duration>,
    latest: watch::Sender<Option<Arc<HostUsage>>>,
}

/// Both ends.
#[must_use]
pub fn usage_line() -> (UsageLine, UsageAsked) {
    let (every, asked) = watch::channel(Duration::ZERO);
    let (read, latest) = watch::channel(None);
    (UsageLine { every: Arc::new(every), latest }, UsageAsked { every: asked, latest: read })
}

impl UsageLine {
    /// Wants figures so often; zero for never.
    pub(crate) fn ask(&self, every: Duration) {
        let asked = if every.is_zero() { every } else { every.max(SHORTEST) };
        self.every.send_if_modified(|current| std::mem::replace(current, asked) != asked);
    }

    /// The latest figures, once each.
    pub(crate) fn news(&mut self) -> Option<Arc<HostUsage>> {
        if !self.latest.has_changed().unwrap_or(false) {
            return None;
        }
        self.latest.borrow_and_update().clone()
    }
}

/// What was read of a container last.
struct Read {
    pid: u32,
    brief: Brief,
    at: Instant,
}

/// Reads for as long as somebody asks.
pub(super) async fn read(front: Arc<Front>, asked: UsageAsked) {
    let UsageAsked { mut every, latest } = asked;
    let mut known: HashMap<String, Read> = HashMap::new();
    let mut host: Option<(u64, Instant)> = None;
    loop {
        let Ok(interval) = every.wait_for(|every| !every.is_zero()).await.map(|every| *every) else {
            // There is no session any more.
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = every.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return std::future::pending().await,
                },
                _ = ticks.tick() => {
                    let found = look(&front, &mut known, &mut host).await;
                    latest.send_replace(Some(Arc::new(found)));
                }
            }
        }
    }
}

/// One reading of everything.
async fn look(front: &Front, known: &mut HashMap<String, Read>, host: &mut Option<(u64, Instant)>) -> HostUsage {
    let containers = front.processes().await;
    let (tasks, which): (Vec<TaskId>, Vec<Which>) = containers.into_iter().unzip();
    let mut before = |which: &Which| known.remove(&which.id).filter(|before| before.pid == which.pid);
    let before: Vec<Option<Read>> = which.iter().map(&mut before).collect();
    let asked =
        which.iter().zip(&before).map(|(which, before)| (which.clone(), before.as_ref().map(|b| b.brief.clone())));
    let (briefs, busy_nanos, memory) = front.briefs(asked.collect()).await;
    let now = Instant::now();
    let mut used: BTreeMap<TaskId, (u32, u64)> = BTreeMap::new();
    let mut after = HashMap::with_capacity(which.len());
    for (((task, which), brief), before) in tasks.into_iter().zip(which).zip(briefs).zip(before) {
        let Some(brief) = brief else { continue };
        if let Some(before) = before {
            let (cpu, memory) = used.entry(task).or_default();
            *cpu = cpu.saturating_add(units(brief.cpu_nanos.saturating_sub(before.brief.cpu_nanos), now - before.at));
            *memory = memory.saturating_add(brief.memory_bytes / 1024);
        }
        after.insert(which.id, Read { pid: which.pid, brief, at: now });
    }
    *known = after;
    let cpu_units = host.map_or(0, |(before, at)| units(busy_nanos.saturating_sub(before), now - at));
    *host = Some((busy_nanos, now));
    let tasks = used.into_iter().take(MAX_TASK_USAGES);
    HostUsage {
        cpu_units,
        memory_mib: u32::try_from(memory / (1024 * 1024)).unwrap_or(u32::MAX),
        tasks: tasks.map(|(task, (cpu_units, memory_kib))| TaskUsage { task, cpu_units, memory_kib }).collect(),
    }
}

/// Time of the processor within a time, as units.
fn units(nanos: u64, within: Duration) -> u32 {
    let within = within.as_nanos().max(1);
    u32::try_from(u128::from(nanos) * CORE / within).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_the_processor_is_units() {
        assert_eq!(units(1_000_000_000, Duration::from_secs(1)), 1024);
        assert_eq!(units(250_000_000, Duration::from_secs(1)), 256);
        assert_eq!(units(5_000_000_000, Duration::from_secs(10)), 512);
        assert_eq!(units(1, Duration::ZERO), 1024);
    }

    #[test]
    fn figures_are_told_once() {
        let (mut line, asked) = usage_line();
        line.ask(Duration::from_millis(1));
        assert_eq!(*asked.every.borrow(), SHORTEST);
        line.ask(Duration::ZERO);
        assert_eq!(*asked.every.borrow(), Duration::ZERO);
        assert_eq!(line.news(), None);
        asked.latest.send_replace(Some(Arc::default()));
        assert_eq!(line.news(), Some(Arc::default()));
        assert_eq!(line.news(), None);
        drop(asked);
        assert_eq!(line.news(), None);
    }
}
