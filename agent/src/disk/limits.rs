//! Whether the engine's storage driver can limit what a container writes.

use longshore_docker::EngineInfo;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether it can, as far as is known. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct StorageLimits(Arc<AtomicBool>);

impl StorageLimits {
    /// Whether containers are made with a limit.
    #[must_use]
    pub fn work(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn learn(&self, info: &EngineInfo) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        self.0.store(can(info, &mounts), Ordering::Relaxed);
    }
}

/// `overlay2` can on XFS with project quotas, `btrfs` and `zfs` always; every other driver refuses the option.
fn can(info: &EngineInfo, mounts: &str) -> bool {
    match info.storage_driver.as_str() {
        "btrfs" | "zfs" => true,
        "overlay2" => info.backing_file_system == "xfs" && has_project_quota(mounts, Path::new(&info.data_root)),
        _ => false,
    }
}

/// Of the mount that holds `path`: the one with the longest mount point above it, and of equal ones the last.
fn has_project_quota(mounts: &str, path: &Path) -> bool {
    let above = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let point = words.nth(4)?;
        let options = words.next_back()?;
        path.starts_with(point).then_some((point.len(), options))
    });
    let options = above.max_by_key(|(length, _)| *length).map_or("", |(_, options)| options);
    options.split(',').any(|option| option == "prjquota" || option == "pquota")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_quota_of_the_right_mount_counts() {
        let mounts = "21 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      30 21 8:1 / /var/lib/docker rw,noatime shared:1 - xfs /dev/sda rw,attr2,prjquota\n\
                      31 21 8:2 / /srv rw - xfs /dev/sdb rw,attr2,noquota\n";
        for (path, expected) in [("/var/lib/docker", true), ("/var/lib/docker2", false), ("/srv/docker", false)] {
            assert_eq!(has_project_quota(mounts, Path::new(path)), expected, "{path}");
        }
    }
}
