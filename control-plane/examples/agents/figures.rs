//! What processes use, by the kernel's account, and percentiles.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::fmt;
use std::time::{Duration, Instant};

/// A process by its id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(pub(crate) u64);

impl Process {
    pub(crate) fn own() -> Self {
        Self(std::process::id().into())
    }

    /// Resident memory.
    pub(crate) fn rss_mib(self) -> Result<f64> {
        let path = format!("/proc/{}/status", self.0);
        let status = std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let kib: u32 = line.with_context(|| format!("{path} says no VmRSS"))?.trim().parse()?;
        Ok(f64::from(kib) / 1024.0)
    }

    /// Processor time, all threads together.
    fn cpu(self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.0);
        let stat = std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
        let fields: Vec<&str> = stat.rsplit_once(')').context("an odd stat line")?.1.split_whitespace().collect();
        let ticks = |at: usize| -> Result<u64> { Ok(fields.get(at).context("a short stat line")?.parse()?) };
        // The kernel's USER_HZ is 100 on every architecture this runs on.
        Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
    }
}

/// Processor time of a server and of this process from a moment on.
pub(crate) struct Meter {
    server: Process,
    begin: Instant,
    before: (Duration, Duration),
}

/// What was used in a span of time, and the memory at its end.
pub(crate) struct Window {
    /// Shares of a core.
    server: f64,
    own: f64,
    server_mib: f64,
    own_mib: f64,
}

impl Meter {
    pub(crate) fn start(server: Process) -> Result<Self> {
        Ok(Self { server, begin: Instant::now(), before: (server.cpu()?, Process::own().cpu()?) })
    }

    pub(crate) fn stop(self) -> Result<Window> {
        let span = self.begin.elapsed().as_secs_f64();
        let share = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64() / span;
        Ok(Window {
            server: share(self.server.cpu()?, self.before.0),
            own: share(Process::own().cpu()?, self.before.1),
            server_mib: self.server.rss_mib()?,
            own_mib: Process::own().rss_mib()?,
        })
    }
}

impl Window {
    /// Of the next `span`, in which nothing is done here.
    pub(crate) async fn over(server: Process, span: Duration) -> Result<Self> {
        let meter = Meter::start(server)?;
        tokio::time::sleep(span).await;
        meter.stop()
    }

    pub(crate) fn json(&self) -> Value {
        json!({"cpu": self.server, "own_cpu": self.own, "mib": self.server_mib, "own_mib": self.own_mib})
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, own, server_mib, own_mib } = self;
        write!(f, "{server_mib:.0} MiB, {server:.3} cores (the agents: {own_mib:.0} MiB, {own:.3} cores)")
    }
}

/// The value that a share of all is at or below, in milliseconds. `all` is sorted.
pub(crate) fn millis_at(all: &[Duration], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = (all.len().saturating_sub(1) as f64 * share).round() as usize;
    all.get(index).map_or(0.0, |value| value.as_secs_f64() * 1000.0)
}

/// Waits for the end of the standard input: that of whoever started this. A thread of its own reads, which nothing
/// waits for.
pub(crate) async fn stdin_ends() {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
}
