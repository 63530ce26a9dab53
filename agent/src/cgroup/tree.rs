//! Task cgroups as directories: for an engine whose cgroup driver is `cgroupfs`.
//!
//! `<mount>/<parent>/<task id>`; the engine puts `<container id>` below it. Under v1 the runtime makes the same path in
//! every hierarchy, so a removal visits all of them.

use super::limits::TaskLimits;
use super::{CLASS, CgroupError, Hierarchies, HostTasks};
use crate::crash::{self, Place};
use longshore_docker::CgroupVersion;
use longshore_model::TaskId;
use longshore_net::TaskSockets;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Waits between attempts to remove: the kernel usually needs a few milliseconds after the last exit.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

#[derive(Debug)]
pub(super) struct Tree {
    parent: String,
    hierarchies: Hierarchies,
}

impl Tree {
    pub(super) fn new(parent: &str, hierarchies: Hierarchies) -> Self {
        Self { parent: parent.to_owned(), hierarchies }
    }

    pub(super) fn ensure(&self, task: TaskId, limits: &TaskLimits) -> Result<String, CgroupError> {
        let files = limits.files(self.hierarchies.version());
        let controllers: BTreeSet<&str> = files.iter().map(|(controller, _, _)| *controller).collect();
        for controller in &controllers {
            self.make(controller, task, &controllers)?;
        }
        crash::after(Place::CgroupMade);
        for (controller, file, value) in &files {
            write_checked(&self.directory(controller, task)?.join(file), value)?;
        }
        Ok(format!("/{}/{task}", self.parent))
    }

    /// Makes the directories from the mount down to the task's, with what children need switched on.
    fn make(&self, controller: &str, task: TaskId, controllers: &BTreeSet<&str>) -> Result<(), CgroupError> {
        let root = self.root(controller)?;
        let parent = root.join(&self.parent);
        let directory = parent.join(task.to_string());
        match self.hierarchies.version() {
            CgroupVersion::V1 => {
                make_directory(&parent)?;
                if controller == "memory" {
                    count_children(&parent)?;
                }
                make_directory(&directory)
            }
            CgroupVersion::V2 => {
                switch_on(root, controllers)?;
                make_directory(&parent)?;
                switch_on(&parent, controllers)?;
                make_directory(&directory)?;
                switch_on(&directory, controllers)
            }
        }
    }

    pub(super) fn host_tasks(&self) -> Result<Option<HostTasks>, CgroupError> {
        let sockets = match self.hierarchies.version() {
            CgroupVersion::V1 => {
                let Some(class) = self.hierarchies.of(NET_CLS) else { return Ok(None) };
                let memory = self.root("memory")?.join(&self.parent);
                make_directory(&memory)?;
                // Before the engine makes a container's cgroup in it.
                count_children(&memory)?;
                let directory = class.join(&self.parent);
                make_directory(&directory)?;
                give_class(&directory)?
            }
            CgroupVersion::V2 => {
                let directory = self.root("memory")?.join(&self.parent);
                make_directory(&directory)?;
                match below(&directory) {
                    Some(sockets) => sockets,
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(HostTasks { parent: format!("/{}", self.parent), sockets }))
    }

    pub(super) fn remove(&self, task: TaskId, wait: Duration) -> Result<(), CgroupError> {
        let deadline = Instant::now() + wait;
        let name = task.to_string();
        // Every hierarchy is tried even after one failed; the first error is the one told.
        let mut first = Ok(());
        for root in self.hierarchies.roots() {
            let result = remove_patiently(&root.join(&self.parent).join(&name), wait, deadline);
            first = first.and(result);
        }
        first
    }

    pub(super) fn list(&self) -> Result<Vec<TaskId>, CgroupError> {
        let mut tasks = BTreeSet::new();
        for root in self.hierarchies.roots() {
            tasks.extend(children(&root.join(&self.parent))?.iter().filter_map(|p| task_of(p)));
        }
        Ok(tasks.into_iter().collect())
    }

    fn root(&self, controller: &str) -> Result<&Path, CgroupError> {
        self.hierarchies.of(controller).ok_or_else(|| CgroupError::File {
            verb: "make",
            path: controller.into(),
            source: io::Error::new(ErrorKind::NotFound, "this cgroup controller is not mounted"),
        })
    }

    fn directory(&self, controller: &str, task: TaskId) -> Result<PathBuf, CgroupError> {
        Ok(self.root(controller)?.join(&self.parent).join(task.to_string()))
    }
}

/// The v1 controller that gives sockets a class.
pub(super) const NET_CLS: &str = "net_cls";

/// Sockets of processes below this directory of `net_cls` have our class: what is made in it inherits that.
pub(super) fn give_class(directory: &Path) -> Result<TaskSockets, CgroupError> {
    write_checked(&directory.join("net_cls.classid"), &CLASS.to_string())?;
    Ok(TaskSockets::Class(CLASS))
}

/// A directory of v2, as `nft` names it; it looks nowhere but at the usual place.
pub(super) fn below(directory: &Path) -> Option<TaskSockets> {
    let path = directory.strip_prefix("/sys/fs/cgroup").ok()?;
    Some(TaskSockets::Below(path.to_str()?.to_owned()))
}

fn task_of(path: &Path) -> Option<TaskId> {
    path.file_name()?.to_str()?.parse().ok()
}

pub(super) fn fail(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError::File { verb, path, source }
}

fn make_directory(path: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(fail("make", path)),
    }
}

/// Kernels before 5.11 count a v1 child's memory to its parent only when told so while the parent is empty.
fn count_children(parent: &Path) -> Result<(), CgroupError> {
    let path = parent.join("memory.use_hierarchy");
    match fs::read_to_string(&path) {
        Ok(value) if value.trim() == "0" => fs::write(&path, "1").map_err(fail("write", &path)),
        Ok(_) => Ok(()),
        // Absent on newer kernels.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(fail("read", &path)(error)),
    }
}

/// v2: lets children of `directory` be limited by these controllers.
fn switch_on(directory: &Path, controllers: &BTreeSet<&str>) -> Result<(), CgroupError> {
    let path = directory.join("cgroup.subtree_control");
    let present = fs::read_to_string(&path).unwrap_or_default();
    let missing: Vec<String> = controllers
        .iter()
        .filter(|c| !present.split_whitespace().any(|p| p.trim_start_matches('+') == **c))
        .map(|c| format!("+{c}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    fs::write(&path, missing.join(" ")).map_err(fail("write", &path))
}

/// Writes a limit unless it is there already, and reads it back: the kernel rounds and bounds some in silence.
fn write_checked(path: &Path, value: &str) -> Result<(), CgroupError> {
    let read = || fs::read_to_string(path).map(|text| text.trim().to_owned());
    if read().is_ok_and(|found| found == value) {
        return Ok(());
    }
    fs::write(path, value).map_err(fail("write", path))?;
    let found = read().map_err(fail("read", path))?;
    if found == value {
        Ok(())
    } else {
        Err(CgroupError::Differs { path: path.to_owned(), wanted: value.to_owned(), found })
    }
}

/// Child directories; none when the directory itself is not there.
pub(super) fn children(path: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail("list", path)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail("list", path))?;
        // One that vanishes meanwhile is not an error.
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes a cgroup and what containers left below it, trying again while the kernel says that it is busy.
pub(super) fn remove_patiently(path: &Path, wait: Duration, deadline: Instant) -> Result<(), CgroupError> {
    let mut pause = PAUSES.0;
    loop {
        match remove_tree(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                if Instant::now() >= deadline {
                    return Err(CgroupError::Busy { path: path.to_owned(), pids: processes(path), waited: wait });
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSES.1);
            }
            Err(error) => return Err(fail("remove", path)(error)),
        }
    }
}

/// The files of a cgroup are not removed, only its directories, deepest first.
fn remove_tree(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The processes in a cgroup and below, for an error's text.
fn processes(path: &Path) -> Vec<u32> {
    let own = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<u32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for child in children(path).unwrap_or_default() {
        pids.extend(processes(&child));
    }
    pids.truncate(10);
    pids
}
