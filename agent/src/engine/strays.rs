//! Processes of a container that the container engine has lost track of.
//!
//! The one case is an engine that was killed (SIGKILL) between telling containerd to run a container and writing that
//! down: it comes back believing that the container never started, cannot start it, and leaves its processes and its
//! shim behind when it is removed. They are found by the container's id, in the cgroup of a process and in the
//! arguments of the shim.

use super::docker::plain;
use longshore_docker::{Docker, RunState};
use longshore_plan::Failure;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;

/// What was found of a container, and ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Strays {
    /// Processes that may have run the container's command.
    pub ran: usize,
    /// Processes of the runtime's that were still to become the command.
    pub waiting: usize,
    /// Shims.
    pub shims: usize,
}

/// What a process is to the container.
#[derive(Debug, PartialEq, Eq)]
enum Kin {
    Ran,
    Waiting,
    Shim,
    None,
}

/// Ends what Docker, killed in the middle of a start, has lost of a container that it believes never started. Nobody
/// could stop that later. A container of which nothing ran its command may be made again.
pub(super) async fn end_of(docker: &Docker, name: &str) -> Result<Strays, Failure> {
    let found = docker.inspect(name).await.map_err(|e| plain(&e))?;
    let Some(container) = found.filter(|c| c.started_at.is_none() && c.state == RunState::Created) else {
        return Ok(Strays::default());
    };
    let strays = end(&container.id)
        .map_err(|e| Failure::Passing(format!("could not look for processes of container `{name}`: {e}")))?;
    if strays != Strays::default() {
        tracing::warn!(container = name, id = container.id, ?strays, "ended what Docker had lost track of");
    }
    Ok(strays)
}

/// The same before a container is removed, since afterwards nobody knows its id. Docker hears of their end while it
/// removes the container and would put it back into its listing for good: so where anything was found, the removal
/// waits for the next try.
///
/// # Errors
/// A lasting one when its command had begun, which must not begin again; a passing one when anything else was found;
/// what a failed call is when Docker does not answer.
pub(crate) async fn end_before_removal(docker: &Docker, name: &str) -> Result<(), Failure> {
    let strays = end_of(docker, name).await?;
    if strays.ran > 0 {
        return Err(Failure::Lasting("its command had begun in a start that Docker lost, and was ended".to_owned()));
    }
    match strays == Strays::default() {
        true => Ok(()),
        false => Err(Failure::Passing("what Docker had lost track of was ended; the removal comes next".to_owned())),
    }
}

/// Sends SIGKILL to every process of the container with this (full, 64 digits) id, and to its shim, which containerd
/// takes as the end of the container. Only for a container that the engine says does not run.
///
/// # Errors
/// When the list of processes is unreadable.
fn end(container: &str) -> io::Result<Strays> {
    let mut found = Strays::default();
    let mut shims = Vec::new();
    for pid in processes()? {
        // A process may end at any moment.
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        match kin(container, &read("cgroup"), &read("comm"), &read("cmdline")) {
            Kin::Ran => found.ran += usize::from(end_process(pid)),
            Kin::Waiting => found.waiting += usize::from(end_process(pid)),
            Kin::Shim => shims.push(pid),
            Kin::None => {}
        }
    }
    // After its container, so that it cannot leave a process to nobody.
    found.shims = shims.into_iter().filter(|pid| end_process(*pid)).count();
    Ok(found)
}

fn end_process(pid: i32) -> bool {
    kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()
}

fn kin(container: &str, cgroup: &[u8], comm: &[u8], cmdline: &[u8]) -> Kin {
    let holds = |text: &[u8]| text.windows(container.len()).any(|w| w == container.as_bytes());
    if holds(cgroup) {
        // runc's own process, which becomes the command at the start: `runc:[2:INIT]`.
        return if comm.starts_with(b"runc:[") { Kin::Waiting } else { Kin::Ran };
    }
    let mut arguments = cmdline.split(|b| *b == 0);
    let shim = arguments.next().is_some_and(|program| {
        let name = program.rsplit(|b| *b == b'/').next().unwrap_or(program);
        name.starts_with(b"containerd-shim")
    });
    let arguments: Vec<&[u8]> = arguments.collect();
    let of_it = |pair: &[&[u8]]| pair[0] == b"-id" && pair[1] == container.as_bytes();
    if shim && arguments.windows(2).any(of_it) { Kin::Shim } else { Kin::None }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_a_container_are_told_from_others() {
        let id = "ab".repeat(32);
        let cgroup = format!("4:memory:/longshore/5e4335af7f5b4d3dbc5256265986fdb3/{id}\n0::/\n");
        let shim = format!("/usr/bin/containerd-shim-runc-v2\0-namespace\0moby\0-id\0{id}\0-address\0/x\0");
        let check =
            |cgroup: &str, comm: &str, cmdline: &str| kin(&id, cgroup.as_bytes(), comm.as_bytes(), cmdline.as_bytes());
        assert_eq!(check(&cgroup, "nginx\n", "nginx\0"), Kin::Ran);
        assert_eq!(check(&cgroup, "runc:[2:INIT]\n", "runc\0init\0"), Kin::Waiting);
        assert_eq!(check("0::/system.slice/docker.service\n", "containerd-shim\n", &shim), Kin::Shim);
        assert_eq!(check("0::/x\n", "grep\n", &format!("grep\0-id\0{id}\0")), Kin::None, "only a shim is a shim");
        assert_eq!(check("0::/x\n", "containerd-shim\n", &shim.replace("abab", "baba")), Kin::None, "another's");
        assert_eq!(check("", "", ""), Kin::None, "it ended while it was looked at");
    }

    #[test]
    fn a_container_without_strays_has_none() {
        assert_eq!(end(&"0".repeat(64)).expect("readable"), Strays::default());
    }
}
