//! Where cgroups are mounted.

use super::DetectError;
use longshore_docker::CgroupVersion;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MOUNTS: &str = "/proc/self/mountinfo";

/// The cgroup file systems of a host, and which version the engine limits by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    version: CgroupVersion,
    /// The mount point that has a controller. In v2 all share one.
    controllers: BTreeMap<String, PathBuf>,
    /// Every mount point, each once: the runtime leaves directories also where nothing is limited.
    roots: Vec<PathBuf>,
}

impl Hierarchies {
    /// Those of this host, as this process sees them.
    ///
    /// # Errors
    /// When the list of mounts cannot be read.
    pub fn of_this_host(version: CgroupVersion) -> Result<Self, DetectError> {
        let text =
            std::fs::read_to_string(MOUNTS).map_err(|source| DetectError::Mounts { path: MOUNTS.into(), source })?;
        let read = |path: &Path| std::fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
        Ok(Self::parse(&text, version, read))
    }

    /// From the text of `mountinfo`; `controllers_of` reads a v2 mount's `cgroup.controllers`.
    pub(super) fn parse(text: &str, version: CgroupVersion, controllers_of: impl Fn(&Path) -> String) -> Self {
        let mut found = Self { version, controllers: BTreeMap::new(), roots: Vec::new() };
        for (point, kind, options) in text.lines().filter_map(mount) {
            let names: Vec<String> = match (kind, version) {
                ("cgroup", CgroupVersion::V1) => options.split(',').map(str::to_owned).collect(),
                ("cgroup2", CgroupVersion::V2) => {
                    controllers_of(&point).split_whitespace().map(str::to_owned).collect()
                }
                ("cgroup" | "cgroup2", _) => Vec::new(),
                _ => continue,
            };
            for name in names {
                found.controllers.entry(name).or_insert_with(|| point.clone());
            }
            if !found.roots.contains(&point) {
                found.roots.push(point);
            }
        }
        found
    }

    pub(super) fn require(&self, controllers: &[&'static str]) -> Result<(), DetectError> {
        match controllers.iter().find(|c| !self.controllers.contains_key(**c)) {
            Some(controller) => Err(DetectError::NoController { controller }),
            None => Ok(()),
        }
    }

    pub(super) const fn version(&self) -> CgroupVersion {
        self.version
    }

    /// The mount point of a controller.
    pub(super) fn of(&self, controller: &str) -> Option<&Path> {
        self.controllers.get(controller).map(PathBuf::as_path)
    }

    pub(super) fn roots(&self) -> &[PathBuf] {
        &self.roots
    }
}

/// Mount point, file system type and super options of a line of `mountinfo` (see proc(5)).
fn mount(line: &str) -> Option<(PathBuf, &str, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let point = left.split(' ').nth(4)?;
    let mut right = right.splitn(3, ' ');
    let (kind, _source, options) = (right.next()?, right.next()?, right.next()?);
    Some((point.into(), kind, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:4 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn v1_finds_joined_controllers_and_knows_every_root() {
        let found = Hierarchies::parse(HYBRID, CgroupVersion::V1, |_| String::new());
        assert_eq!(found.of("cpu"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(found.of("memory"), Some(Path::new("/sys/fs/cgroup/memory")));
        assert_eq!(found.roots().len(), 4);
        assert!(found.require(&["cpu", "memory"]).is_ok());
    }

    #[test]
    fn v2_asks_the_mount_for_its_controllers() {
        let line = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchies::parse(line, CgroupVersion::V2, |_| "cpuset cpu io memory pids\n".to_owned());
        assert_eq!(found.of("cpu"), Some(Path::new("/sys/fs/cgroup")));
        let bare = Hierarchies::parse(line, CgroupVersion::V2, |_| "pids".to_owned());
        assert!(matches!(bare.require(&["cpu"]), Err(DetectError::NoController { controller: "cpu" })));
    }
}
