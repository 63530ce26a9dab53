//! Ending processes that were started in containers. The engine has no call for it.
//!
//! A process is asked as a terminal that hangs up would ask it, with its children; what is left of them after a while
//! is killed. They are told by handles of the kernel's, so that a process id that was given again hits nobody, and only
//! a process that is its container's is touched. The engine is asked only while it is not known which process it is:
//! one that was killed and started again has forgotten what goes on in its containers.

use super::records::Record;
use crate::crash::{self, Place};
use crate::engine::docker::chain;
use longshore_docker::{Docker, ExecState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long processes may take to end by themselves, and then to be gone.
const GRACE: Duration = Duration::from_secs(2);
const GONE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long a process that the engine has not started yet may be waited for: whoever asked did not hear the answer.
const STARTS: Duration = Duration::from_secs(10);

/// A process of the host, which is told from another one of the same id by when it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// As `/proc/PID/stat` says it.
    pub(super) start: u64,
}

impl Process {
    /// The process that has this id now, if it is the container's.
    pub(super) fn of(pid: u32, container: &str) -> Option<Self> {
        let start = stat(pid)?.1;
        is_of(pid, container).then_some(Self { pid, start })
    }

    /// A handle on it, while it is there.
    fn handle(self, container: &str) -> Option<OwnedFd> {
        let handle = handle(self.pid)?;
        // The handle is on the one that is meant if that is still so.
        (Self::of(self.pid, container) == Some(self)).then_some(handle)
    }
}

/// What the engine says of a process that it made.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It is this one.
    Runs(Process),
    /// It is over, or never was.
    Over,
    /// Nothing.
    Unknown,
}

/// Asks the engine.
async fn find(docker: &Docker, record: &Record) -> Found {
    let mut since = None;
    loop {
        match docker.inspect_exec(&record.exec).await {
            Ok(Some(ExecState { running: true, pid: Some(pid), .. })) => {
                if let Some(found) = told(pid, &record.container) {
                    return found;
                }
            }
            // It is starting, or its start was asked for and is yet to come.
            Ok(Some(ExecState { exit_code: None, .. })) => {}
            Ok(Some(_) | None) => return Found::Over,
            Err(error) => {
                tracing::debug!(exec = %record.session, error = chain(&error), "could not see whether a command ended");
                return Found::Unknown;
            }
        }
        if since.get_or_insert_with(Instant::now).elapsed() > STARTS {
            return Found::Over;
        }
        tokio::time::sleep(LOOK * 10).await;
    }
}

/// What a process is that the engine says runs as `pid`. Nothing while one lives that is not the container's: it may
/// have just begun, and not have come into its container's control group yet.
fn told(pid: u32, container: &str) -> Option<Found> {
    match Process::of(pid, container) {
        Some(process) => Some(Found::Runs(process)),
        None => stat(pid).is_none().then_some(Found::Over),
    }
}

/// Ends a process and its children; false when it is not known which one it is, and the engine did not say.
pub(super) async fn end(docker: &Docker, record: &Record) -> bool {
    let process = match record.process {
        Some(process) => process,
        None => match find(docker, record).await {
            Found::Runs(process) => process,
            Found::Over => return true,
            Found::Unknown => return false,
        },
    };
    let Some(main) = process.handle(&record.container) else { return true };
    let pid = process.pid;
    let mut family = BTreeMap::from([(pid, main)]);
    family.extend(children_of(pid).await);
    crash::before(Place::ExecEnd);
    family.values().for_each(|process| {
        tell(process, Signal::HUP);
        tell(process, Signal::CONT);
    });
    if !gone(&family, GRACE).await {
        // Some may be new.
        family.extend(children_of(pid).await);
        family.values().for_each(|process| tell(process, Signal::KILL));
        if !gone(&family, GONE).await {
            tracing::error!(exec = %record.session, pid, "a command in a container cannot be killed");
        }
    }
    crash::after(Place::ExecEnd);
    true
}

/// Waits until all have ended.
async fn gone(family: &BTreeMap<u32, OwnedFd>, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    while family.values().any(lives) {
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// A handle can be read once its process has ended.
fn lives(process: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)), Ok(0))
}

/// An error says that it has ended.
fn tell(process: &OwnedFd, signal: Signal) {
    let _ = pidfd_send_signal(process, signal);
}

fn handle(pid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()
}

/// Whether a process belongs to a container: by its control group, or, where a sandbox's runtime stands for it, by its
/// command line.
fn is_of(pid: u32, container: &str) -> bool {
    let has = |file: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(container)
    };
    has("cgroup") || has("cmdline")
}

/// The same as [`children`]. It reads as many files as there are processes on the host: not on a thread that carries
/// the session.
async fn children_of(pid: u32) -> BTreeMap<u32, OwnedFd> {
    tokio::task::spawn_blocking(move || children(pid)).await.unwrap_or_default()
}

/// Handles on the children of a process, theirs, and so on.
fn children(root: u32) -> BTreeMap<u32, OwnedFd> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        parents.extend(pid.and_then(|pid| Some((pid, parent(pid)?))));
    }
    let mut found = BTreeSet::from([root]);
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found.remove(&root);
    // The one that the handle is on is still the child that was seen.
    let held = found.iter().filter_map(|pid| Some((*pid, handle(*pid)?)));
    held.filter(|(pid, _)| parent(*pid) == parents.get(pid).copied()).collect()
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid).map(|(parent, _)| parent)
}

/// A process's parent, and when it was started.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name is in parentheses and may hold anything. Behind it are the third field and those after it.
    let (_, rest) = stat.rsplit_once(')')?;
    let field = |n: usize| rest.split_whitespace().nth(n - 3);
    Some((field(4)?.parse().ok()?, field(22)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_has_just_begun_is_not_over() {
        let id = "5f2c".repeat(16);
        // It becomes the container's later, as one does that the engine starts.
        let mut shell = Command::new("sh")
            .args(["-c", "read container; exec sh -c 'read end' \"$container\""])
            .stdin(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        assert_eq!(told(shell.id(), &id), None);
        io::Write::write_all(shell.stdin.as_mut().expect("piped"), format!("{id}\n").as_bytes()).expect("written");
        let until = Instant::now() + Duration::from_secs(60);
        let found = loop {
            if let Some(found) = told(shell.id(), &id) {
                break found;
            }
            assert!(Instant::now() < until, "it does not become the container's");
        };
        assert!(matches!(found, Found::Runs(Process { pid, .. }) if pid == shell.id()), "{found:?}");
        drop(shell.stdin.take());
        shell.wait().expect("it was ours");
        assert_eq!(told(shell.id(), &id), Some(Found::Over));
    }

    #[tokio::test]
    async fn a_family_is_found_told_and_waited_for() {
        let script = "sh -c 'trap \"\" HUP; echo ready; sleep 1000' & wait";
        let mut shell =
            Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("there is a shell");
        let mut ready = [0; 6];
        io::Read::read_exact(shell.stdout.as_mut().expect("piped"), &mut ready).expect("it says so");
        let mut family = BTreeMap::from([(shell.id(), handle(shell.id()).expect("it runs"))]);
        // The inner shell and, once it has been started, its sleep.
        let until = Instant::now() + Duration::from_secs(10);
        while family.len() < 3 && Instant::now() < until {
            family.extend(children(shell.id()));
            tokio::time::sleep(LOOK).await;
        }
        assert_eq!(family.len(), 3);
        family.values().for_each(|process| tell(process, Signal::HUP));
        assert!(!gone(&family, Duration::from_millis(200)).await, "one does not listen");
        family.values().for_each(|process| tell(process, Signal::KILL));
        assert!(gone(&family, Duration::from_secs(10)).await);
        shell.wait().expect("it was ours");
    }
}
