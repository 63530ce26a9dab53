//! The files that say what was started in containers for somebody: one each, named for its session, for as long as the
//! process may be there. What a session could not end, and what the agent's predecessor left, is ended from here.

use super::ending::{self, Process};
use crate::crash::{self, Place};
use longshore_docker::Docker;
use longshore_model::ExecId;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Between two tries to end what was left, the first and the longest; the engine may be away.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Tries until it is said again that one could not be ended.
const SAY_AGAIN: u32 = 10;

/// A process that was started, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) session: ExecId,
    /// The engine's id of it.
    pub(super) exec: String,
    /// The engine's id of its container.
    pub(super) container: String,
    /// Which process of the host it is, once that is known: the engine may forget it sooner than the process ends.
    pub(super) process: Option<Process>,
}

impl Record {
    /// `EXEC CONTAINER`, and `PID START` behind it once they are known.
    fn to_line(&self) -> String {
        let process = self.process.map(|process| format!(" {} {}", process.pid, process.start)).unwrap_or_default();
        format!("{} {}{process}\n", self.exec, self.container)
    }

    fn from_line(session: ExecId, line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (exec, container, process) = match words[..] {
            [exec, container] => (exec, container, None),
            [exec, container, pid, start] => {
                (exec, container, Some(Process { pid: pid.parse().ok()?, start: start.parse().ok()? }))
            }
            _ => return None,
        };
        Some(Self { session, exec: exec.to_owned(), container: container.to_owned(), process })
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Records {
    dir: PathBuf,
    /// Those that a session looks after.
    attended: Mutex<BTreeSet<ExecId>>,
    /// A session left one.
    left: Notify,
}

impl Records {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, attended: Mutex::default(), left: Notify::new() }
    }

    /// Writes what a session has started, or now knows of it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn remember(&self, record: &Record) -> io::Result<()> {
        self.attended().insert(record.session);
        crash::before(Place::ExecRecord);
        crash::space_for(Place::ExecRecord)?;
        std::fs::create_dir_all(&self.dir)?;
        // Whole or not at all: a longer text is put in the place of a shorter one.
        let path = self.dir.join(record.session.to_string());
        let new = path.with_extension("new");
        let written = std::fs::write(&new, record.to_line()).and_then(|()| std::fs::rename(&new, &path));
        written.inspect_err(|_| {
            // Half of it takes what a full disk has not.
            let _ = std::fs::remove_file(&new);
        })?;
        crash::after(Place::ExecRecord);
        Ok(())
    }

    /// The process is over.
    pub(super) fn forget(&self, record: &Record) {
        self.remove(&record.session.to_string());
        self.attended().remove(&record.session);
    }

    /// The session is over, and the process may be there: it is ended from here.
    pub(super) fn leave(&self, record: &Record) {
        self.attended().remove(&record.session);
        self.left.notify_one();
    }

    fn remove(&self, name: &str) {
        crash::before(Place::ExecRecordRemoved);
        match std::fs::remove_file(self.dir.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, name, "the file of a command that ended stays"),
        }
        crash::after(Place::ExecRecordRemoved);
    }

    /// Every record that can be read and that no session looks after. What is no record is removed.
    fn unattended(&self) -> Vec<Record> {
        // Before the names: a session says that it looks after one before the file is there.
        let attended = self.attended().clone();
        let names = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let mut found = Vec::new();
        for name in names {
            let session: Option<ExecId> = name.parse().ok();
            if session.is_some_and(|session| attended.contains(&session) || self.attended().contains(&session)) {
                continue;
            }
            let text = std::fs::read_to_string(self.dir.join(&name)).ok();
            let record = session.zip(text).and_then(|(session, text)| Record::from_line(session, &text));
            let half = name.strip_suffix(".new").and_then(|session| session.parse().ok());
            match record {
                Some(record) => found.push(record),
                // About to get its name.
                None if half.is_some_and(|session: ExecId| self.attended().contains(&session)) => {}
                None => self.remove(&name),
            }
        }
        found
    }

    /// Ends what nobody looks after, for as long as the agent runs.
    pub(super) async fn sweep(&self, docker: &Docker) {
        let mut wait = AGAIN.0;
        let mut tries = 0;
        loop {
            let mut open = 0;
            for record in self.unattended() {
                if ending::end(docker, &record).await {
                    tracing::info!(exec = %record.session, "a command that was left in its container is over");
                    self.forget(&record);
                } else {
                    open += 1;
                }
            }
            if open == 0 {
                (wait, tries) = (AGAIN.0, 0);
                self.left.notified().await;
                continue;
            }
            if tries % SAY_AGAIN == 0 {
                tracing::warn!(
                    commands = open,
                    "commands whose clients are gone may still run in their containers: the container engine does not \
                     say which processes they are; asking it again"
                );
            }
            tries += 1;
            // Whoever leaves another one is heard at the next look.
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(AGAIN.1);
        }
    }

    /// The lock is held for one look-up; a poisoned one holds whole values.
    fn attended(&self) -> MutexGuard<'_, BTreeSet<ExecId>> {
        self.attended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A process that is ended whatever becomes of its test.
    struct Ended(Child);

    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn record(process: Option<Process>) -> Record {
        Record { session: ExecId::random(), exec: "e".repeat(64), container: "c".repeat(64), process }
    }

    #[test]
    fn records_are_files_and_what_is_none_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let records = Records::new(dir.path().join("exec"));
        let first = record(None);
        assert!(records.unattended().is_empty());
        records.remember(&first).expect("written");
        std::fs::write(dir.path().join("exec/odd"), "x").expect("written");
        assert!(records.unattended().is_empty(), "its session looks after it");
        assert!(!dir.path().join("exec/odd").exists());
        let known = Record { process: Some(Process { pid: 7, start: 1234 }), ..first.clone() };
        records.remember(&known).expect("written");
        records.leave(&known);
        assert_eq!(records.unattended(), std::slice::from_ref(&known));
        let next = Records::new(dir.path().join("exec"));
        assert_eq!(next.unattended(), std::slice::from_ref(&known), "an agent after this one has it too");
        next.forget(&known);
        assert!(next.unattended().is_empty());
        let old = "e c\n";
        assert_eq!(Record::from_line(first.session, old).expect("a record").process, None);
        assert_eq!(Record::from_line(first.session, "e c 1\n"), None);
    }

    /// Without the engine a process is ended when it is known which one it is, and its record stays when it is not.
    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_ended_yet_is_not_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let docker = Docker::connect("unix:///nonexistent/docker.sock").await.expect("an address");
        let records = Records::new(dir.path().join("exec"));
        let unknown = record(None);
        // As that of a sandbox's runtime, its command line names the container.
        let mut command = Command::new("sh");
        command.args(["-c", "while read -r _; do :; done", &unknown.container]).stdin(Stdio::piped());
        let mut shell = Ended(command.spawn().expect("there is a shell"));
        // A process that has just begun may not have its command line yet.
        let until = std::time::Instant::now() + Duration::from_secs(10);
        let mut process = None;
        while process.is_none() && std::time::Instant::now() < until {
            process = Process::of(shell.0.id(), &unknown.container);
        }
        assert!(process.is_some());
        let known = record(process);
        for record in [&unknown, &known] {
            records.remember(record).expect("written");
            records.leave(record);
        }
        let swept = tokio::time::timeout(Duration::from_secs(600), records.sweep(&docker)).await;
        assert!(swept.is_err(), "it goes on");
        assert_eq!(records.unattended(), [unknown]);
        // By itself it ends well, once nobody writes to it any more.
        assert!(!shell.0.wait().expect("it was waited for").success(), "it was ended");
    }
}
