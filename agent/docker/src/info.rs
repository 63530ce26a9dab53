//! What the engine says of itself.

use bollard::models::{SystemInfo, SystemInfoCgroupDriverEnum, SystemInfoCgroupVersionEnum, SystemVersion};

/// Who makes containers' cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    /// The runtime, as directories below the parent.
    Cgroupfs,
    /// systemd, as scopes in a slice.
    Systemd,
    /// Nobody (a rootless engine without delegation): no limits.
    None,
}

/// Which cgroup hierarchy the engine uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One tree per controller.
    V1,
    /// One tree.
    V2,
}

/// The engine's versions and settings, as far as the agent uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version, e.g. `20.10.24`.
    pub version: String,
    /// The newest API that it speaks.
    pub api_version: String,
    /// The oldest API that it speaks.
    pub min_api_version: String,
    /// Who makes cgroups.
    pub cgroup_driver: CgroupDriver,
    /// Which hierarchy.
    pub cgroup_version: CgroupVersion,
    /// Where images and layers are kept, e.g. `overlay2`.
    pub storage_driver: String,
    /// Whether containerd keeps them. Such an engine has no bound for the downloads of all pulls together (before the
    /// release in which it took `max-concurrent-downloads` for that): each pull downloads a few layers at a time.
    pub containerd_images: bool,
    /// The file system below it, as the engine calls it, e.g. `extfs` or `xfs`; empty where it does not say.
    pub backing_file_system: String,
    /// Its data directory.
    pub data_root: String,
    /// Names of the log drivers.
    pub log_drivers: Vec<String>,
    /// Names of the volume drivers.
    pub volume_drivers: Vec<String>,
    /// Names of the OCI runtimes.
    pub runtimes: Vec<String>,
    /// Names of the security options in force: `seccomp`, `apparmor`, `selinux`, `rootless`, …
    pub security_options: Vec<String>,
    /// The machine, as `uname -m` says it.
    pub arch: String,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution's name and version.
    pub operating_system: String,
    /// Whether memory limits work.
    pub memory_limit: bool,
    /// Whether swap limits work.
    pub swap_limit: bool,
    /// Whether CPU quotas work.
    pub cpu_quota: bool,
    /// Whether containers outlive the engine's restart.
    pub live_restore: bool,
}

impl EngineInfo {
    pub(crate) fn from_engine(version: SystemVersion, info: SystemInfo) -> Self {
        let plugins = info.plugins.unwrap_or_default();
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        let driver_status = info.driver_status.unwrap_or_default();
        let of_driver = |wanted: &str| {
            driver_status.iter().find_map(|pair| match pair.as_slice() {
                [name, value] if name == wanted => Some(value.clone()),
                _ => None,
            })
        };
        Self {
            version: version.version.or(info.server_version).unwrap_or_default(),
            api_version: version.api_version.unwrap_or_default(),
            min_api_version: version.min_api_version.unwrap_or_default(),
            cgroup_driver: match info.cgroup_driver {
                Some(SystemInfoCgroupDriverEnum::SYSTEMD) => CgroupDriver::Systemd,
                Some(SystemInfoCgroupDriverEnum::CGROUPFS) => CgroupDriver::Cgroupfs,
                Some(SystemInfoCgroupDriverEnum::NONE | SystemInfoCgroupDriverEnum::EMPTY) | None => CgroupDriver::None,
            },
            cgroup_version: match info.cgroup_version {
                Some(SystemInfoCgroupVersionEnum::_2) => CgroupVersion::V2,
                Some(SystemInfoCgroupVersionEnum::_1 | SystemInfoCgroupVersionEnum::EMPTY) | None => CgroupVersion::V1,
            },
            storage_driver: info.driver.unwrap_or_default(),
            containerd_images: of_driver("driver-type").is_some_and(|kind| kind.starts_with("io.containerd.")),
            backing_file_system: of_driver("Backing Filesystem").unwrap_or_default(),
            data_root: info.docker_root_dir.unwrap_or_default(),
            log_drivers: plugins.log.unwrap_or_default(),
            volume_drivers: plugins.volume.unwrap_or_default(),
            runtimes,
            security_options: info.security_options.unwrap_or_default().iter().filter_map(|o| option_name(o)).collect(),
            arch: info.architecture.unwrap_or_default(),
            kernel: info.kernel_version.unwrap_or_default(),
            operating_system: info.operating_system.unwrap_or_default(),
            memory_limit: info.memory_limit.unwrap_or(false),
            swap_limit: info.swap_limit.unwrap_or(false),
            cpu_quota: info.cpu_cfs_quota.unwrap_or(false),
            live_restore: info.live_restore_enabled.unwrap_or(false),
        }
    }
}

/// `name=seccomp,profile=default` is `seccomp`.
fn option_name(option: &str) -> Option<String> {
    option.split(',').find_map(|part| part.strip_prefix("name=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_containerd_keeps_the_images_is_in_the_drivers_status() {
        let told = |driver: &str, status: &[(&str, &str)]| {
            let status = status.iter().map(|(name, value)| vec![(*name).to_owned(), (*value).to_owned()]).collect();
            let info =
                SystemInfo { driver: Some(driver.to_owned()), driver_status: Some(status), ..SystemInfo::default() };
            let info = EngineInfo::from_engine(SystemVersion::default(), info);
            (info.containerd_images, info.backing_file_system)
        };
        let own = [("Backing Filesystem", "xfs"), ("Supports d_type", "true")];
        assert_eq!(told("overlay2", &own), (false, "xfs".to_owned()));
        assert_eq!(told("overlayfs", &[("driver-type", "io.containerd.snapshotter.v1")]), (true, String::new()));
    }
}
