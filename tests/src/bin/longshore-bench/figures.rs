//! Medians, percentiles, and the lines that are printed.

use std::time::Duration;

use anyhow::{Context, Result};

/// What was measured, sorted.
pub(crate) struct Figures(Vec<Duration>);

impl Figures {
    pub(crate) fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// The value that a share of all is at or below.
    pub(crate) fn at(&self, share: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let index = ((last as f64) * share).round() as usize;
        self.0.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(0.5)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// One row: how many times the median of `other` the median of `ours` is, then both.
pub(crate) fn row(what: &str, ours: &Figures, other_name: &str, other: &Figures) {
    println!(
        "| **{:.2}** | {what} | {} / {} ms | {other_name} | {} / {} ms | {} |",
        ours.median().as_secs_f64() / other.median().as_secs_f64().max(1e-9),
        ours.median().as_millis(),
        ours.at(0.9).as_millis(),
        other.median().as_millis(),
        other.at(0.9).as_millis(),
        ours.count().min(other.count()),
    );
}

/// The head of a table of [`row`]s.
pub(crate) fn head(title: &str) {
    println!("\n### {title}\n");
    println!("| ratio of medians | what | Longshore p50 / p90 | against | its p50 / p90 | runs |");
    println!("|---|---|---|---|---|---|");
}

/// What was carried a second, in each run, sorted.
pub(crate) struct Rates(Vec<f64>);

impl Rates {
    pub(crate) fn new(mut all: Vec<f64>) -> Self {
        all.sort_unstable_by(f64::total_cmp);
        Self(all)
    }

    /// The rate that a share of all runs is at or below.
    fn at(&self, share: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let index = (self.0.len().saturating_sub(1) as f64 * share).round() as usize;
        self.0.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// Median, and what nine of ten runs reached.
    fn text(&self, unit: &str) -> String {
        let number = |rate: f64| if rate < 1000.0 { format!("{rate:.1}") } else { format!("{rate:.0}") };
        format!("{} / {} {unit}", number(self.median()), number(self.at(0.1)))
    }
}

/// One row: how many times the median of `other` the median of `ours` is, then both.
pub(crate) fn rate_row(what: &str, unit: &str, ours: &Rates, other_name: &str, other: &Rates) {
    println!(
        "| **{:.2}** | {what} | {} | {other_name} | {} | {} |",
        ours.median() / other.median().max(1e-9),
        ours.text(unit),
        other.text(unit),
        ours.0.len().min(other.0.len()),
    );
}

/// The head of a table of [`rate_row`]s.
pub(crate) fn rate_head(title: &str) {
    println!("\n### {title}\n");
    println!(
        "| ratio of medians | what | median / nine of ten runs | against | its median / nine of ten runs | runs |"
    );
    println!("|---|---|---|---|---|---|");
}

/// `count` scaled by `BENCH_SCALE`, at least `least`.
pub(crate) fn scaled(count: usize, least: usize) -> usize {
    let scale: f64 = std::env::var("BENCH_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1.0);
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let scaled = (count as f64 * scale).round() as usize;
    scaled.max(least)
}

/// One line about where this ran.
pub(crate) fn machine() -> Result<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model =
        cpu.lines().find_map(|l| l.strip_prefix("model name")).map_or("", |l| l.trim_start_matches([' ', '\t', ':']));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = memory.split_whitespace().nth(1).context("an odd meminfo")?.parse()?;
    let cores = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!(
        "{cores} cores ({model}), {} GiB, Linux {}, load before the run {load}",
        kib.div_ceil(1 << 20),
        kernel.trim()
    ))
}
