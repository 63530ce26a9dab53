//! Ending processes that were started in containers. The engine has no call for it.
//!
//! A process is asked as a terminal that hangs up would ask it, with its children; what is left of them after a while
//! is killed. They are told by handles of the kernel's, so that a process id that was given again hits nobody, and only a
//! process that is its container's is touched.

use crate::engine::docker::chain;
use longshore_docker::Docker;
use longshore_model::ExecId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// How long processes may take to end by themselves, and then to be gone.
const GRACE: Duration = Duration::from_secs(2);
const GONE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Between two tries to end what the agent's predecessor left; the engine may be away.
const AGAIN: Duration = Duration::from_secs(5);
const TRIES: u32 = 60;

/// A process that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) session: ExecId,
    /// The engine's id of it.
    pub(super) exec: String,
    /// The engine's id of its container.
    pub(super) container: String,
}

/// The files that say what was started: one each, named for its session.
#[derive(Debug)]
pub(super) struct Records {
    dir: PathBuf,
}

impl Records {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// # Errors
    /// When the file cannot be written.
    pub(super) fn remember(&self, record: &Record) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        std::fs::write(self.dir.join(record.session.to_string()), format!("{} {}\n", record.exec, record.container))
    }

    pub(super) fn forget(&self, record: &Record) {
        self.remove(&record.session.to_string());
    }

    fn remove(&self, name: &str) {
        match std::fs::remove_file(self.dir.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, name, "the file of a command that ended stays"),
        }
    }

    /// Every record that can be read. What is no record is removed.
    fn all(&self) -> Vec<Record> {
        let names = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let read = |name: &String| {
            let text = std::fs::read_to_string(self.dir.join(name)).ok()?;
            let (exec, container) = text.trim().split_once(' ')?;
            Some(Record { session: name.parse().ok()?, exec: exec.to_owned(), container: container.to_owned() })
        };
        names
            .iter()
            .filter_map(|name| {
                read(name).or_else(|| {
                    self.remove(name);
                    None
                })
            })
            .collect()
    }

    /// Ends what an agent before this one left.
    pub(super) async fn sweep(&self, docker: &Docker) {
        for record in self.all() {
            for _ in 0..TRIES {
                if end(docker, &record).await {
                    break;
                }
                tokio::time::sleep(AGAIN).await;
            }
            tracing::info!(exec = %record.session, "a command that outlived the agent was ended");
            self.forget(&record);
        }
    }
}

/// Ends a process and its children; false when the engine did not say whether there is one.
pub(super) async fn end(docker: &Docker, record: &Record) -> bool {
    let pid = match docker.inspect_exec(&record.exec).await {
        Ok(Some(state)) if state.running => state.pid,
        Ok(_) => return true,
        Err(error) => {
            tracing::warn!(exec = %record.session, error = chain(&error), "could not see whether a command ended");
            return false;
        }
    };
    let Some(pid) = pid.filter(|pid| is_of(*pid, &record.container)) else { return true };
    let Some(main) = handle(pid) else { return true };
    // The handle is on the process that the engine means if that is still so.
    match docker.inspect_exec(&record.exec).await {
        Ok(Some(state)) if state.running && state.pid == Some(pid) => {}
        Ok(_) | Err(_) => return true,
    }
    let mut family = BTreeMap::from([(pid, main)]);
    family.extend(children(pid));
    family.values().for_each(|process| {
        tell(process, Signal::HUP);
        tell(process, Signal::CONT);
    });
    if !gone(&family, GRACE).await {
        // Some may be new.
        family.extend(children(pid));
        family.values().for_each(|process| tell(process, Signal::KILL));
        if !gone(&family, GONE).await {
            tracing::error!(exec = %record.session, pid, "a command in a container cannot be killed");
        }
    }
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
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name is in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn records_are_files_and_what_is_none_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let records = Records::new(dir.path().join("exec"));
        let record = Record { session: ExecId::random(), exec: "e".repeat(64), container: "c".repeat(64) };
        assert!(records.all().is_empty());
        records.remember(&record).expect("written");
        std::fs::write(dir.path().join("exec/odd"), "x").expect("written");
        assert_eq!(records.all(), std::slice::from_ref(&record));
        assert!(!dir.path().join("exec/odd").exists());
        records.forget(&record);
        assert!(records.all().is_empty());
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
