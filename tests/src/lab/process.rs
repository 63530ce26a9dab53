//! A program that the lab started inside a host, killed only by its number together with its start time.

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

pub use nix::sys::signal::Signal;

use super::owner::start_time;
use super::wait::{wait_for, wait_until};

/// A running program of a lab host.
pub struct Process {
    name: String,
    // `nsenter`, which stays outside the pid namespace and waits for the program.
    outer: Child,
    pid: i32,
    start: u64,
}

impl Process {
    /// Starts `command`, which has to be an `nsenter` chain with one child.
    ///
    /// # Errors
    /// When it ends before its program was seen.
    pub fn spawn(name: &str, mut command: Command) -> Result<Self> {
        let mut outer = command.spawn().context("could not run nsenter")?;
        let found = only_child(outer.id());
        let (pid, start) = match found.and_then(|p| Ok((p, start_time(p).context("it ended at once")?))) {
            Ok(found) => found,
            Err(error) => {
                let _ = outer.kill();
                let status = outer.wait()?;
                return Err(error.context(format!("it ended with {status}")));
            }
        };
        Ok(Self { name: name.to_owned(), outer, pid, start })
    }

    /// The program's number, as seen outside the lab.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it still runs.
    #[must_use]
    pub fn lives(&self) -> bool {
        start_time(self.pid) == Some(self.start)
    }

    /// Sends a signal; nothing happens when the program has ended.
    pub fn signal(&self, signal: Signal) {
        kill_checked(self.pid, Some(self.start), signal);
        if signal == Signal::SIGCONT {
            // nsenter stops itself when its child stops.
            kill_checked(self.outer.id().cast_signed(), None, signal);
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it is still there after 20 s.
    pub fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL);
        self.signal(Signal::SIGCONT);
        self.gone(Duration::from_secs(20))
    }

    /// Asks it to end with SIGTERM and waits until it is gone.
    ///
    /// # Errors
    /// When it is still there after `deadline`.
    pub fn terminate(mut self, deadline: Duration) -> Result<()> {
        self.signal(Signal::SIGTERM);
        self.gone(deadline)
    }

    /// Waits until it ends by itself and gives its exit code, if it has one.
    ///
    /// # Errors
    /// When it still runs after `deadline`.
    pub fn wait_exit(&mut self, deadline: Duration) -> Result<Option<i32>> {
        let outer = &mut self.outer;
        wait_for(&format!("the end of {}", self.name), deadline, || Ok(outer.try_wait()?)).map(|status| status.code())
    }

    fn gone(&mut self, deadline: Duration) -> Result<()> {
        let (pid, start) = (self.pid, self.start);
        wait_until(&format!("the end of {}", self.name), deadline, || Ok(start_time(pid) != Some(start)))?;
        let _ = self.outer.wait();
        Ok(())
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn rss_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))
            .with_context(|| format!("{} has ended", self.name))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
        line.trim().trim_end_matches("kB").trim().parse().context("an odd VmRSS")
    }

    /// Processor time used so far, user and system.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn cpu(&self) -> Result<Duration> {
        Self::cpu_of(self.pid).with_context(|| format!("{} has ended", self.name))
    }

    /// The same of any process.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn cpu_of(pid: i32) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
        let fields: Vec<&str> = stat.rsplit_once(')').context("an odd stat line")?.1.split_whitespace().collect();
        let ticks = |at: usize| -> Result<u64> { Ok(fields.get(at).context("a short stat line")?.parse()?) };
        // The kernel's USER_HZ is 100 on every architecture this runs on.
        Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill_checked(self.pid, Some(self.start), Signal::SIGKILL);
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

/// Signals `pid` if it is still the process that started at `start`; `None` for a child that was not waited for.
pub fn kill_checked(pid: i32, start: Option<u64>, signal: Signal) {
    if start.is_none_or(|s| start_time(pid) == Some(s)) {
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), signal);
    }
}

/// The one child of process `parent`, waited for.
///
/// # Errors
/// When `parent` ends first or has none within 10 s.
pub fn only_child(parent: u32) -> Result<i32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let found = wait_for("the child of nsenter or unshare", Duration::from_secs(10), || {
        let Ok(text) = fs::read_to_string(&path) else { return Ok(Some(None)) };
        if start_time(parent.cast_signed()).is_none() {
            return Ok(Some(None));
        }
        Ok(text.split_whitespace().next().map(|pid| Some(pid.parse::<i32>())))
    })?;
    match found {
        Some(pid) => pid.context("an odd process number"),
        None => bail!("process {parent} ended before it had a child"),
    }
}
