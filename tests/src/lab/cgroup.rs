//! One control group per lab host, in every hierarchy that this machine has mounted.
//!
//! All that a lab host runs lives below it, which gives two things: inside the host (which has a cgroup namespace of
//! its own) it looks like the root, and from outside every process of a lab can be found by the lab's name.
//! Works with v1 hierarchies, v2 alone, and both side by side.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::wait::wait_until;

/// A mounted cgroup hierarchy.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// The two versions of the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A v1 hierarchy, with the mount option that selects it (`cpu,cpuacct`, `name=systemd`).
    V1 {
        /// As it stands in the mount options.
        select: String,
    },
    /// The unified hierarchy.
    V2,
}

/// The hierarchies mounted in this mount namespace.
///
/// # Errors
/// When `/proc/self/mountinfo` cannot be read.
pub fn hierarchies() -> Result<Vec<Hierarchy>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("could not read /proc/self/mountinfo")?;
    Ok(parse(&text))
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (Some(mount), Some(kind)) = (left.split(' ').nth(4), right.split(' ').next()) else { continue };
        let kind = match kind {
            "cgroup2" => Kind::V2,
            "cgroup" => {
                let options = right.split(' ').nth(2).unwrap_or_default();
                let select: Vec<&str> =
                    options.split(',').filter(|o| !matches!(*o, "rw" | "ro" | "xattr" | "clone_children")).collect();
                let select = select.into_iter().filter(|o| !o.starts_with("release_agent")).collect::<Vec<_>>();
                Kind::V1 { select: select.join(",") }
            }
            _ => continue,
        };
        let mount = PathBuf::from(mount);
        // Inside a lab host the machine's own hierarchies are still listed, covered by the host's: the last one counts.
        found.retain(|h| h.mount != mount);
        found.push(Hierarchy { mount, kind });
    }
    found
}

/// Makes the group `name` in every hierarchy.
///
/// # Errors
/// When a directory cannot be made or set up; the text names it.
pub fn create(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let dir = hierarchy.mount.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("could not make control group {}", dir.display()))?;
        match hierarchy.kind {
            Kind::V1 { select } => {
                if select.split(',').any(|c| c == "cpuset") {
                    // A new v1 cpuset is empty and takes no process until it has been given CPUs and memory nodes.
                    for file in ["cpuset.cpus", "cpuset.mems"] {
                        let value = fs::read(hierarchy.mount.join(file)).context("could not read the root cpuset")?;
                        fs::write(dir.join(file), value).with_context(|| format!("could not set {file}"))?;
                    }
                }
            }
            Kind::V2 => {
                enable_controllers(&hierarchy.mount)?;
                let leaf = dir.join(LEAF);
                fs::create_dir_all(&leaf).with_context(|| format!("could not make {}", leaf.display()))?;
            }
        }
    }
    Ok(())
}

/// Where processes live on v2, since a group with controllers for its children has no processes of its own.
const LEAF: &str = "host";

fn enable_controllers(dir: &Path) -> Result<()> {
    let offered = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    let wanted: Vec<String> = offered.split_whitespace().map(|c| format!("+{c}")).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let file = dir.join("cgroup.subtree_control");
    fs::write(&file, wanted.join(" ")).with_context(|| format!("could not write {}", file.display()))
}

/// Moves process `pid` into the group `name`.
///
/// # Errors
/// When a hierarchy refuses it.
pub fn enter(name: &str, pid: u32) -> Result<()> {
    for hierarchy in hierarchies()? {
        let dir = hierarchy.mount.join(name);
        let dir = match hierarchy.kind {
            Kind::V1 { .. } => dir,
            Kind::V2 => dir.join(LEAF),
        };
        let file = dir.join("cgroup.procs");
        fs::write(&file, pid.to_string()).with_context(|| format!("could not write {}", file.display()))?;
    }
    Ok(())
}

/// Moves process `pid` to the very group `name`, so that a cgroup namespace made by it has that group as its root.
/// On v2 it has to leave again with [`settle`] before anything else can live below.
///
/// # Errors
/// When a hierarchy refuses it.
pub fn enter_root(name: &str, pid: u32) -> Result<()> {
    for hierarchy in hierarchies()? {
        let file = hierarchy.mount.join(name).join("cgroup.procs");
        fs::write(&file, pid.to_string()).with_context(|| format!("could not write {}", file.display()))?;
    }
    Ok(())
}

/// On v2: moves what is in the group `name` itself to its leaf, and hands its controllers down. Nothing on v1.
///
/// # Errors
/// When the kernel refuses it.
pub fn settle(name: &str) -> Result<()> {
    for hierarchy in hierarchies()?.into_iter().filter(|h| h.kind == Kind::V2) {
        let dir = hierarchy.mount.join(name);
        for pid in processes_in(&dir) {
            let file = dir.join(LEAF).join("cgroup.procs");
            fs::write(&file, pid.to_string()).with_context(|| format!("could not move process {pid}"))?;
        }
        enable_controllers(&dir)?;
    }
    Ok(())
}

/// Every process in the group `name` or below, in any hierarchy.
///
/// # Errors
/// When the hierarchies cannot be listed.
pub fn processes(name: &str) -> Result<Vec<i32>> {
    let mut all = Vec::new();
    for hierarchy in hierarchies()? {
        walk(&hierarchy.mount.join(name), &mut |dir| all.extend(processes_in(dir)));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// The groups below `name`, as paths relative to it, over all hierarchies.
///
/// # Errors
/// When the hierarchies cannot be listed.
pub fn below(name: &str) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for hierarchy in hierarchies()? {
        let root = hierarchy.mount.join(name);
        walk(&root, &mut |dir| {
            if let Ok(relative) = dir.strip_prefix(&root)
                && !relative.as_os_str().is_empty()
            {
                all.push(relative.to_path_buf());
            }
        });
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// Kills whatever is left in the group `name` and removes it from every hierarchy.
///
/// # Errors
/// When it does not become empty within 10 s.
pub fn remove(name: &str) -> Result<()> {
    wait_until(&format!("an empty control group {name}"), Duration::from_secs(10), || {
        for pid in processes(name)? {
            // Membership of a group that carries the lab's name is the proof that the process is the lab's own.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let mut gone = true;
        for hierarchy in hierarchies()? {
            let root = hierarchy.mount.join(name);
            let mut dirs = Vec::new();
            walk(&root, &mut |dir| {
                // A container that a test left paused dies only once it goes on.
                for (file, state) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
                    let file = dir.join(file);
                    _ = file.exists().then(|| fs::write(file, state));
                }
                dirs.push(dir.to_path_buf());
            });
            dirs.sort_by_key(|d| std::cmp::Reverse(d.components().count()));
            for dir in dirs {
                let _ = fs::remove_dir(dir);
            }
            gone &= !root.exists();
        }
        Ok(gone)
    })
}

/// Removes the group `name` from every hierarchy where nothing is left in it or below.
///
/// # Errors
/// When the hierarchies cannot be listed.
pub fn remove_empty(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let _ = fs::remove_dir(hierarchy.mount.join(name));
    }
    Ok(())
}

/// The names directly under the roots that begin with `prefix`.
///
/// # Errors
/// When the hierarchies cannot be listed.
pub fn names_with(prefix: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for hierarchy in hierarchies()? {
        let Ok(entries) = fs::read_dir(&hierarchy.mount) else { continue };
        names.extend(
            entries.flatten().filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.starts_with(prefix)),
        );
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn processes_in(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|l| l.parse().ok()).collect()
}

fn walk(dir: &Path, each: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    each(dir);
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), each);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_all_kinds_are_found() {
        let text = "\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd
33 30 0:29 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw,nsdelegate
34 30 0:30 / /proc rw - proc proc rw
35 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
";
        let kinds: Vec<Kind> = parse(text).into_iter().map(|h| h.kind).collect();
        assert_eq!(
            kinds,
            [Kind::V1 { select: "name=systemd".into() }, Kind::V2, Kind::V1 { select: "cpu,cpuacct".into() }]
        );
    }
}
