//! Who a lab belongs to: the process that made it, told apart from a later one with the same number by its start time.
//!
//! Every name that a lab leaves on the machine carries its owner, so that the janitor can tell a living lab's
//! things from leftovers without any record.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// What every directory and cgroup of a lab begins with.
pub const PREFIX: &str = "longshore-lab-";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The name of one lab: `longshore-lab-<pid namespace>-<pid>-<start time>-<n>`.
///
/// The namespace is in it because labs can be made inside lab hosts, where the same number is another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabName {
    namespace: u64,
    pid: i32,
    start: u64,
    number: u32,
}

impl LabName {
    /// A name that this process has not used.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn new() -> Result<Self> {
        let pid = i32::try_from(std::process::id()).context("this process's id")?;
        let start = start_time(pid).context("could not read this process's start time from /proc")?;
        let namespace = pid_namespace().context("could not read this process's pid namespace from /proc")?;
        Ok(Self { namespace, pid, start, number: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// Reads a name back; `None` for anything that no lab made.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.splitn(4, '-');
        let namespace = parts.next()?.parse().ok()?;
        let pid = parts.next()?.parse().ok()?;
        let start = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        Some(Self { namespace, pid, start, number })
    }

    /// Whether the process that made this lab still runs. One of another pid namespace, which cannot be seen from
    /// here, is taken to live.
    #[must_use]
    pub fn owner_lives(&self) -> bool {
        pid_namespace() != Some(self.namespace) || start_time(self.pid) == Some(self.start)
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}-{}-{}", self.namespace, self.pid, self.start, self.number)
    }
}

/// The number of this process's pid namespace.
fn pid_namespace() -> Option<u64> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

/// When process `pid` started, in clock ticks since boot; `None` when there is no such process or it is a zombie.
#[must_use]
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name is in parentheses and may hold anything, so fields are counted from the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_its_owner_is_alive() {
        let name = LabName::new().unwrap();
        assert_eq!(LabName::parse(&name.to_string()), Some(name.clone()));
        assert!(name.owner_lives());
    }

    #[test]
    fn a_name_of_another_process_with_the_same_number_is_a_leftover() {
        let mut name = LabName::new().unwrap();
        name.start += 1;
        assert!(!name.owner_lives());
        name.namespace += 1;
        assert!(name.owner_lives(), "who cannot be seen from here is not judged");
    }

    #[test]
    fn names_that_no_lab_made_are_not_ours() {
        for foreign in ["longshore-lab-", "longshore-lab-1-x-1-0", "docker", "longshore-lab-1-2-3", "longshore"] {
            assert_eq!(LabName::parse(foreign), None, "{foreign}");
        }
    }
}
