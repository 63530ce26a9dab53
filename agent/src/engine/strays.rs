//! Processes of a container that the container engine has lost track of, found by their cgroup.
//!
//! The one case is an engine that was killed (SIGKILL) between telling containerd to run a container and writing that
//! down: it comes back believing that the container never started, and cannot start it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;

/// Sends SIGKILL to every process whose cgroup is that of the container with this (full, 64 digits) id. Returns how
/// many there were.
///
/// # Errors
/// When the list of processes is unreadable.
pub(super) fn end_processes_of(container: &str) -> io::Result<usize> {
    let mut count = 0;
    for pid in processes()? {
        // A process may end at any moment.
        let Ok(cgroup) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else { continue };
        if cgroup.contains(container) && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
            count += 1;
        }
    }
    Ok(count)
}

fn processes() -> io::Result<Vec<i32>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            all.push(pid);
        }
    }
    Ok(all)
}
