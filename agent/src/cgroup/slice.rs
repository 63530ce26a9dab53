//! Task cgroups as systemd slices: for an engine whose cgroup driver is `systemd`.
//!
//! systemd owns those cgroups: what somebody else writes into them it may undo at any reload. So we tell systemd, by
//! a unit file `<parent>-<task id>.slice` in its runtime directory, written before the first container refers to the
//! slice. systemd reads it when the engine starts the first scope in that slice: no D-Bus, no command, no reload, and
//! nothing that a crash of the agent could leave half done. `StopWhenUnneeded` takes the slice down with its last
//! container; removing the task removes the file. See `docs/decisions/0005-task-cgroups.md` for the alternatives.

use super::limits::TaskLimits;
use super::tree::{NET_CLS, below, children, fail, give_class, remove_patiently};
use super::{CgroupError, Hierarchies, HostTasks};
use longshore_docker::CgroupVersion;
use longshore_model::TaskId;
use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Slices {
    parent: String,
    hierarchies: Hierarchies,
    units: PathBuf,
}

/// How long systemd may take to make a slice.
const START: Duration = Duration::from_secs(5);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// Has systemd make a slice, whose cgroup is `directory` then.
fn start(unit: &str, directory: &Path) -> Result<(), CgroupError> {
    let failed = |why: String| CgroupError::Slice { unit: unit.to_owned(), why };
    let run = Command::new("systemctl").args(["--quiet", "--no-block", "start", unit]).stdin(Stdio::null()).output();
    let output = run.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let deadline = Instant::now() + START;
    while !directory.is_dir() {
        if Instant::now() >= deadline {
            return Err(failed(format!("{} is not there after {START:?}", directory.display())));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

impl Slices {
    pub(super) fn new(parent: &str, hierarchies: Hierarchies, units: &Path) -> Self {
        Self { parent: parent.to_owned(), hierarchies, units: units.to_owned() }
    }

    pub(super) fn ensure(&self, task: TaskId, limits: &TaskLimits) -> Result<String, CgroupError> {
        let path = self.unit_file(task);
        let text = limits.slice_unit(task, self.hierarchies.version());
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            return Ok(self.unit(task));
        }
        fs::create_dir_all(&self.units).map_err(fail("make", &self.units))?;
        // Renamed into place: systemd never reads half a file. The name does not end in `.slice` until then.
        let partial = path.with_extension("slice.partial");
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::create(&partial)?;
            file.write_all(text.as_bytes())?;
            fs::rename(&partial, &path)
        };
        write().map_err(fail("write", &path))?;
        Ok(self.unit(task))
    }

    pub(super) fn host_tasks(&self) -> Result<Option<HostTasks>, CgroupError> {
        let unit = format!("{}.slice", self.parent);
        let sockets = match self.hierarchies.version() {
            CgroupVersion::V1 => {
                let Some(class) = self.hierarchies.of(NET_CLS) else { return Ok(None) };
                let directory = self.parent_directory(class);
                fs::create_dir_all(&directory).map_err(fail("make", &directory))?;
                give_class(&directory)?
            }
            CgroupVersion::V2 => {
                let Some(root) = self.hierarchies.of("memory") else { return Ok(None) };
                let directory = self.parent_directory(root);
                if !directory.is_dir() {
                    // It stays until it is stopped, also while it is empty.
                    start(&unit, &directory)?;
                }
                match below(&directory) {
                    Some(sockets) => sockets,
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(HostTasks { parent: unit, sockets }))
    }

    pub(super) fn remove(&self, task: TaskId, wait: Duration) -> Result<(), CgroupError> {
        let path = self.unit_file(task);
        for path in [path.with_extension("slice.partial"), path] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(fail("remove", &path)(error)),
                Ok(()) | Err(_) => {}
            }
        }
        // systemd removes the slice's cgroups with the last scope. What is left after that is left by the runtime.
        let deadline = Instant::now() + wait;
        let mut first = Ok(());
        for root in self.hierarchies.roots() {
            first = first.and(remove_patiently(&self.directory(root, task), wait, deadline));
        }
        first
    }

    pub(super) fn list(&self) -> Result<Vec<TaskId>, CgroupError> {
        let mut tasks = BTreeSet::new();
        let units = match fs::read_dir(&self.units) {
            Ok(entries) => entries.flatten().map(|e| e.path()).collect(),
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(fail("list", &self.units)(error)),
        };
        tasks.extend(units.iter().filter_map(|p| self.task_of(p)));
        for root in self.hierarchies.roots() {
            tasks.extend(children(&self.parent_directory(root))?.iter().filter_map(|p| self.task_of(p)));
        }
        Ok(tasks.into_iter().collect())
    }

    fn unit(&self, task: TaskId) -> String {
        format!("{}-{task}.slice", self.parent)
    }

    fn unit_file(&self, task: TaskId) -> PathBuf {
        self.units.join(self.unit(task))
    }

    fn task_of(&self, path: &Path) -> Option<TaskId> {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_suffix(".partial").unwrap_or(name).strip_suffix(".slice")?;
        name.strip_prefix(&self.parent)?.strip_prefix('-')?.parse().ok()
    }

    /// A dash in a slice's name is a level: `a-b.slice` is `a.slice/a-b.slice`.
    fn parent_directory(&self, root: &Path) -> PathBuf {
        let mut path = root.to_owned();
        let mut name = String::new();
        for part in self.parent.split('-') {
            if !name.is_empty() {
                name.push('-');
            }
            name.push_str(part);
            path.push(format!("{name}.slice"));
        }
        path
    }

    fn directory(&self, root: &Path, task: TaskId) -> PathBuf {
        self.parent_directory(root).join(self.unit(task))
    }
}
