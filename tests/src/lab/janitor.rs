//! Removes what labs of dead processes left behind, when the next lab starts.
//!
//! A lab's processes, namespaces, links and mounts go with its owner, by the kernel. What can stay is directories and
//! empty control groups, and, if a lab's init was frozen or itself killed at a bad moment, processes; these are found
//! by the control group that carries the lab's name.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::cgroup;
use super::owner::{LabName, PREFIX};

/// Where labs keep their files. On disk and not in memory, since Docker's layers want a real file system.
pub const LABS_DIR: &str = "/var/tmp/longshore-lab";

/// Removes everything of labs whose owner is gone; gives their names.
///
/// # Errors
/// When something cannot be removed.
pub fn sweep() -> Result<Vec<String>> {
    let mut swept = Vec::new();
    for group in cgroup::names_with(PREFIX)? {
        // A host's group is the lab's name, a dot and the host's name.
        let lab = group.split('.').next().unwrap_or(&group);
        if LabName::parse(lab).is_some_and(|name| !name.owner_lives()) {
            cgroup::remove(&group)?;
            swept.push(group);
        }
    }
    let Ok(entries) = fs::read_dir(LABS_DIR) else { return Ok(swept) };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if LabName::parse(&name).is_some_and(|name| !name.owner_lives()) {
            remove_dir(&entry.path());
            swept.push(name);
        }
    }
    Ok(swept)
}

/// Removes a directory tree as far as it goes; another janitor may be at the same one.
pub fn remove_dir(path: &Path) {
    let _ = fs::remove_dir_all(path);
}
