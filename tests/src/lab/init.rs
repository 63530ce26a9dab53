//! The first process of a lab host: sets up what a machine has, then reaps orphans until its lab goes away.
//!
//! It runs as `longshore-lab init` inside new network, mount, pid, uts, ipc and cgroup namespaces. It is the only
//! process that has to die for the whole host to vanish: the kernel kills all the others, and with them go links,
//! rules and mounts, none of which are pinned anywhere. It ends when its standard input ends, and that is held open
//! by the process that made the lab, so a lab dies with its test even when the test is killed.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::cgroup::{Hierarchy, Kind, hierarchies};

/// What init says on standard output when the host can be used.
pub const READY: &str = "ready";

/// Runs as pid 1 of a lab host named `hostname`; returns only by an error.
///
/// # Errors
/// When the host cannot be set up; nothing of it remains then.
pub fn run(hostname: &str) -> Result<()> {
    ensure!(std::process::id() == 1, "init has to be the first process of a pid namespace; the lab starts it");
    nix::unistd::sethostname(hostname).context("could not set the host name")?;
    // Blocked before there is a second thread, so that the wait below sees every one of them.
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block().context("could not block SIGCHLD")?;
    let groups = hierarchies()?;
    mount_on("proc", "/proc", "proc", None)?;
    // The kernel's view of network devices, which belongs to a network namespace, and hides the groups below it.
    mount_on("sysfs", "/sys", "sysfs", None)?;
    mount_groups(&groups)?;
    // Docker's and iptables' locks and sockets are per host.
    mount_on("tmpfs", "/run", "tmpfs", Some("mode=755"))?;
    mount_on("tmpfs", "/dev/shm", "tmpfs", Some("mode=1777"))?;
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("could not run `ip`")?;
    ensure!(status.success(), "could not raise the loopback link");
    let mut out = std::io::stdout();
    writeln!(out, "{READY}").and_then(|()| out.flush()).context("could not tell the lab")?;

    std::thread::spawn(|| {
        let mut sink = [0u8; 64];
        while std::io::stdin().read(&mut sink).is_ok_and(|n| n > 0) {}
        std::process::exit(0);
    });
    loop {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive) {}
        let _ = children.wait();
    }
}

fn mount_groups(groups: &[Hierarchy]) -> Result<()> {
    let base = Path::new("/sys/fs/cgroup");
    if let [Hierarchy { kind: Kind::V2, .. }] = groups {
        return mount_on("cgroup2", "/sys/fs/cgroup", "cgroup2", None);
    }
    mount_on("tmpfs", "/sys/fs/cgroup", "tmpfs", Some("mode=755"))?;
    for group in groups {
        let name = group.mount.file_name().context("a hierarchy mounted at /")?;
        let target = base.join(name);
        fs::create_dir_all(&target).with_context(|| format!("could not make {}", target.display()))?;
        let target = target.to_str().context("a mount point that is not text")?;
        match &group.kind {
            Kind::V2 => mount_on("cgroup2", target, "cgroup2", None)?,
            Kind::V1 { select } if select.starts_with("name=") => {
                mount_on("cgroup", target, "cgroup", Some(&format!("none,{select}")))?;
            }
            Kind::V1 { select } => {
                mount_on("cgroup", target, "cgroup", Some(select))?;
                for alias in select.split(',').filter(|a| Path::new(a) != Path::new(name)) {
                    let _ = std::os::unix::fs::symlink(name, base.join(alias));
                }
            }
        }
    }
    Ok(())
}

fn mount_on(source: &str, target: &str, kind: &str, options: Option<&str>) -> Result<()> {
    mount(Some(source), target, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("could not mount {kind} on {target}"))
}
