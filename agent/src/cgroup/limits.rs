//! What a task may use, as the files of either cgroup version say it. Pure.

use longshore_docker::CgroupVersion;
use longshore_model::{TaskId, TaskSpec};

/// The controllers that limits need; `pids` only when a limit of it is configured.
pub(super) const CONTROLLERS: [&str; 2] = ["cpu", "memory"];

/// The length of a CPU accounting period, as in ECS: 100 ms.
const PERIOD_MICROS: u64 = 100_000;

/// The kernel takes no smaller quota than 1 ms.
const MIN_QUOTA_MICROS: u64 = 1_000;

/// What all containers of a task together may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskLimits {
    /// CPU units (1024 a core): a hard limit.
    pub cpu_units: Option<u32>,
    /// Memory in MiB: a hard limit.
    pub memory_mib: Option<u32>,
    /// The weight against other tasks; counts only when the CPUs are busy.
    pub cpu_shares: u32,
    /// The most processes and threads.
    pub pids: Option<u32>,
}

impl TaskLimits {
    /// The limits of a task. Its weight is its CPU units or, as in ECS, the sum of its containers' (2 at least each).
    #[must_use]
    pub fn of(task: &TaskSpec) -> Self {
        let sum = task.containers.iter().map(|c| c.cpu_units.max(2)).fold(0, u32::saturating_add);
        let cpu_units = task.cpu_units.filter(|units| *units > 0);
        Self { cpu_units, memory_mib: task.memory_mib, cpu_shares: cpu_units.unwrap_or(sum), pids: None }
    }

    /// Whether there is nothing to limit, and so no cgroup needed.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.cpu_units.is_none() && self.memory_mib.is_none() && self.pids.is_none()
    }

    /// The CPU time in microseconds per period.
    fn quota_micros(&self) -> Option<u64> {
        self.cpu_units.map(|units| (u64::from(units) * PERIOD_MICROS / 1024).max(MIN_QUOTA_MICROS))
    }

    /// The kernel's own bounds for v1's shares.
    fn shares(&self) -> u64 {
        u64::from(self.cpu_shares).clamp(2, 262_144)
    }

    /// v2's weight, by the same formula as runc, so that tasks and containers weigh alike.
    fn weight(&self) -> u64 {
        1 + (self.shares() - 2) * 9_999 / 262_142
    }

    fn memory_bytes(&self) -> Option<u64> {
        self.memory_mib.map(|mib| u64::from(mib) << 20)
    }

    /// Controller, file and value of each limit, in the order of writing.
    pub(super) fn files(&self, version: CgroupVersion) -> Vec<(&'static str, &'static str, String)> {
        let mut files = Vec::new();
        match version {
            CgroupVersion::V1 => {
                files.push(("cpu", "cpu.shares", self.shares().to_string()));
                if let Some(quota) = self.quota_micros() {
                    files.push(("cpu", "cpu.cfs_period_us", PERIOD_MICROS.to_string()));
                    files.push(("cpu", "cpu.cfs_quota_us", quota.to_string()));
                }
                if let Some(bytes) = self.memory_bytes() {
                    files.push(("memory", "memory.limit_in_bytes", bytes.to_string()));
                }
            }
            CgroupVersion::V2 => {
                files.push(("cpu", "cpu.weight", self.weight().to_string()));
                if let Some(quota) = self.quota_micros() {
                    files.push(("cpu", "cpu.max", format!("{quota} {PERIOD_MICROS}")));
                }
                if let Some(bytes) = self.memory_bytes() {
                    files.push(("memory", "memory.max", bytes.to_string()));
                }
            }
        }
        if let Some(pids) = self.pids {
            files.push(("pids", "pids.max", pids.to_string()));
        }
        files
    }

    /// The text of a slice unit with these limits. systemd translates all but the weight for either cgroup version; its
    /// translation of the weight differs from runc's, so each version gets its own.
    pub(super) fn slice_unit(&self, task: TaskId, version: CgroupVersion) -> String {
        let weight = match version {
            CgroupVersion::V1 => format!("CPUShares={}", self.shares()),
            CgroupVersion::V2 => format!("CPUWeight={}", self.weight()),
        };
        let mut text = format!(
            "# Made by longshore-agent for one task, and removed with it.\n\
             [Unit]\nDescription=Longshore task {task}\n\
             # Goes with the last container, and comes back with the next.\n\
             StopWhenUnneeded=yes\n\
             [Slice]\nCPUAccounting=yes\nMemoryAccounting=yes\n{weight}\n"
        );
        if let Some(quota) = self.quota_micros() {
            // A percentage of one CPU, to the hundredth.
            let hundredths = quota * 10_000 / PERIOD_MICROS;
            text.push_str(&format!(
                "CPUQuota={}.{:02}%\nCPUQuotaPeriodSec=100ms\n",
                hundredths / 100,
                hundredths % 100
            ));
        }
        if let Some(bytes) = self.memory_bytes() {
            text.push_str(&format!("MemoryMax={bytes}\n"));
        }
        if let Some(pids) = self.pids {
            text.push_str(&format!("TasksMax={pids}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: TaskLimits = TaskLimits { cpu_units: None, memory_mib: None, cpu_shares: 2, pids: None };

    fn value(limits: TaskLimits, version: CgroupVersion, file: &str) -> Option<String> {
        limits.files(version).into_iter().find(|(_, name, _)| *name == file).map(|(_, _, value)| value)
    }

    #[test]
    fn units_become_quotas() {
        for (units, quota) in [(1, 1_000), (256, 25_000), (1024, 100_000), (1536, 150_000), (10_240, 1_000_000)] {
            let limits = TaskLimits { cpu_units: Some(units), cpu_shares: units, ..NONE };
            assert_eq!(value(limits, CgroupVersion::V1, "cpu.cfs_quota_us"), Some(quota.to_string()), "{units}");
            assert_eq!(value(limits, CgroupVersion::V2, "cpu.max"), Some(format!("{quota} 100000")), "{units}");
        }
    }

    #[test]
    fn weights_stay_within_the_kernels_bounds() {
        for (shares, v1, v2) in [(0, "2", "1"), (2, "2", "1"), (1024, "1024", "39"), (u32::MAX, "262144", "10000")] {
            let limits = TaskLimits { cpu_shares: shares, memory_mib: Some(1), ..NONE };
            assert_eq!(value(limits, CgroupVersion::V1, "cpu.shares").as_deref(), Some(v1));
            assert_eq!(value(limits, CgroupVersion::V2, "cpu.weight").as_deref(), Some(v2));
        }
    }

    #[test]
    fn what_is_not_limited_is_not_written() {
        for version in [CgroupVersion::V1, CgroupVersion::V2] {
            let limits = TaskLimits { memory_mib: Some(64), ..NONE };
            let names: Vec<_> = limits.files(version).into_iter().map(|(_, name, _)| name).collect();
            assert_eq!(names.len(), 2, "{names:?}: the weight and the memory");
        }
        assert!(NONE.is_none());
    }

    #[test]
    fn a_slice_says_the_same() {
        let limits = TaskLimits { cpu_units: Some(256), memory_mib: Some(64), cpu_shares: 256, pids: Some(50) };
        let text = limits.slice_unit(TaskId::from_bytes([1; 16]), CgroupVersion::V2);
        let old = limits.slice_unit(TaskId::from_bytes([1; 16]), CgroupVersion::V1);
        assert!(old.lines().any(|l| l == "CPUShares=256"), "{old}");
        for line in ["CPUQuota=25.00%", "MemoryMax=67108864", "TasksMax=50", "CPUWeight=10", "StopWhenUnneeded=yes"] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
