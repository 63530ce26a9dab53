//! The control groups of a container, found by its first process, and their files.

use super::parse::{self, Cpu, Memory, Pids, Sample};
use longshore_model::Timestamp;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where a controller is mounted, and of which part of its hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mounted {
    root: String,
    point: PathBuf,
}

/// Reads what containers use.
#[derive(Debug, Default)]
pub(in crate::metadata) struct Reader {
    /// Version 1, by controller.
    controllers: BTreeMap<String, Mounted>,
    /// Version 2.
    unified: Option<Mounted>,
}

/// How long the memory of a container that uses no processor is taken to be what it was. By itself it changes nothing of
/// it; the kernel may take some away.
const SAME_MEMORY: Duration = Duration::from_secs(60);

/// The least that says what a container uses.
#[derive(Debug, Clone)]
pub(in crate::metadata) struct Brief {
    /// Time of the processor so far.
    pub(in crate::metadata) cpu_nanos: u64,
    /// Memory now, without files that were not used lately.
    pub(in crate::metadata) memory_bytes: u64,
    /// When the memory was read.
    memory_at: Instant,
    /// Its directories, which have its id in their names: they are there as long as it runs.
    groups: Arc<Groups>,
}

/// Why there are no figures of a container.
#[derive(Debug, thiserror::Error)]
pub(in crate::metadata) enum ReadError {
    /// Its process is gone, or is another one by now.
    #[error("process {pid} is not container `{id}`")]
    Gone {
        /// The engine's id of it.
        id: String,
        /// The process.
        pid: u32,
    },
    /// A file of the kernel is not there.
    #[error("could not read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A container's directories.
#[derive(Debug, PartialEq, Eq)]
enum Groups {
    V1 { cpuacct: PathBuf, cpu: PathBuf, memory: PathBuf, pids: Option<PathBuf>, blkio: Option<PathBuf> },
    V2(PathBuf),
}

impl Groups {
    /// Time of the processor that the container has used so far.
    fn cpu_nanos(&self) -> Result<u64, ReadError> {
        match self {
            Self::V1 { cpuacct, .. } => number(&cpuacct.join("cpuacct.usage")),
            Self::V2(group) => {
                let stat = parse::pairs(&read(&group.join("cpu.stat"))?);
                Ok(stat.get("usage_usec").copied().unwrap_or_default().saturating_mul(1000))
            }
        }
    }

    /// Its memory without files that were not used lately.
    fn memory_bytes(&self) -> Result<u64, ReadError> {
        let (usage, memory) = match self {
            Self::V1 { memory, .. } => (number(&memory.join("memory.usage_in_bytes"))?, memory),
            Self::V2(group) => (number(&group.join("memory.current"))?, group),
        };
        let stats = parse::pairs(&maybe(&memory.join("memory.stat")));
        let idle = stats.get("total_inactive_file").or_else(|| stats.get("inactive_file")).copied();
        Ok(usage.saturating_sub(idle.unwrap_or_default()))
    }
}

/// Of a file that holds one.
fn number(path: &Path) -> Result<u64, ReadError> {
    read(path).map(|text| parse::number(&text).unwrap_or_default())
}

fn read(path: &Path) -> Result<String, ReadError> {
    std::fs::read_to_string(path).map_err(|source| ReadError::File { path: path.to_owned(), source })
}

/// Of a file that some kernels do not have.
fn maybe(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

impl Reader {
    /// For this host.
    ///
    /// # Errors
    /// When the list of mounts cannot be read.
    pub(in crate::metadata) fn of_this_host() -> Result<Self, ReadError> {
        Ok(Self::parse(&read(Path::new("/proc/self/mountinfo"))?))
    }

    /// From the text of `mountinfo`, see proc(5).
    fn parse(text: &str) -> Self {
        let mut reader = Self::default();
        for line in text.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let mut left = left.split(' ').skip(3);
            let (Some(root), Some(point)) = (left.next(), left.next()) else { continue };
            let mounted = Mounted { root: root.to_owned(), point: point.into() };
            let mut right = right.splitn(3, ' ');
            match (right.next(), right.nth(1)) {
                (Some("cgroup2"), _) => _ = reader.unified.get_or_insert(mounted),
                (Some("cgroup"), Some(options)) => {
                    for name in options.split(',') {
                        reader.controllers.entry(name.to_owned()).or_insert_with(|| mounted.clone());
                    }
                }
                _ => {}
            }
        }
        reader
    }

    /// The directories of a process, from its `/proc/PID/cgroup`.
    fn groups(&self, text: &str) -> Option<Groups> {
        let mut paths = BTreeMap::new();
        let mut unified = None;
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            if controllers.is_empty() {
                unified = self.unified.as_ref().map(|mounted| mounted.resolve(path));
            }
            for name in controllers.split(',') {
                if let Some(mounted) = self.controllers.get(name) {
                    paths.insert(name, mounted.resolve(path));
                }
            }
        }
        let mut take = |name: &str| paths.remove(name);
        match (take("cpuacct"), take("cpu"), take("memory")) {
            (Some(cpuacct), Some(cpu), Some(memory)) => {
                Some(Groups::V1 { cpuacct, cpu, memory, pids: take("pids"), blkio: take("blkio") })
            }
            _ => unified.map(Groups::V2),
        }
    }

    /// The least of what a container has used so far. With what was read before, the files of one that did nothing since
    /// are left alone but for the one that says so: most containers of a full host are quiet.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(in crate::metadata) fn brief(&self, id: &str, pid: u32, before: Option<&Brief>) -> Result<Brief, ReadError> {
        let groups = match before {
            Some(before) => Arc::clone(&before.groups),
            None => {
                let gone = || ReadError::Gone { id: id.to_owned(), pid };
                let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|_| gone())?;
                Arc::new(self.groups(&text).filter(|_| text.contains(id)).ok_or_else(gone)?)
            }
        };
        let cpu_nanos = groups.cpu_nanos()?;
        let (memory_bytes, memory_at) = match before {
            Some(before) if before.cpu_nanos == cpu_nanos && before.memory_at.elapsed() < SAME_MEMORY => {
                (before.memory_bytes, before.memory_at)
            }
            Some(_) | None => (groups.memory_bytes()?, Instant::now()),
        };
        Ok(Brief { cpu_nanos, memory_bytes, memory_at, groups })
    }

    /// What a container has used so far.
    ///
    /// # Errors
    /// When it does not run any more, or the kernel has no such files.
    pub(in crate::metadata) fn read(&self, id: &str, pid: u32) -> Result<Sample, ReadError> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let gone = || ReadError::Gone { id: id.to_owned(), pid };
        let text = std::fs::read_to_string(process.join("cgroup")).map_err(|_| gone())?;
        // The number may be another process's by now.
        if !text.contains(id) {
            return Err(gone());
        }
        let groups = self.groups(&text).ok_or_else(gone)?;
        let mut sample = match &groups {
            Groups::V1 { .. } => read_v1(&groups)?,
            Groups::V2(group) => read_v2(group)?,
        };
        (sample.cpu.system, sample.cpu.online) = parse::host(&read(Path::new("/proc/stat"))?);
        let all = parse::host_memory(&read(Path::new("/proc/meminfo"))?);
        if sample.memory.limit == 0 || sample.memory.limit > all {
            sample.memory.limit = all;
        }
        sample.networks = parse::links(&maybe(&process.join("net/dev")));
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        sample.at = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Ok(sample)
    }
}

impl Mounted {
    fn resolve(&self, path: &str) -> PathBuf {
        let inside = path.strip_prefix(self.root.trim_end_matches('/')).unwrap_or(path);
        self.point.join(inside.trim_start_matches('/'))
    }
}

fn read_v1(groups: &Groups) -> Result<Sample, ReadError> {
    let Groups::V1 { cpuacct, cpu, memory, pids, blkio } = groups else { return Ok(Sample::default()) };
    let (user, kernel) = parse::ticks(&maybe(&cpuacct.join("cpuacct.stat")));
    let each = maybe(&cpuacct.join("cpuacct.usage_percpu"));
    let throttling = parse::pairs(&maybe(&cpu.join("cpu.stat")));
    let throttling = |name: &str| throttling.get(name).copied().unwrap_or_default();
    let io = |name: &str| blkio.as_ref().map(|group| parse::blkio(&maybe(&group.join(name)))).unwrap_or_default();
    Ok(Sample {
        cpu: Cpu {
            total: parse::number(&read(&cpuacct.join("cpuacct.usage"))?).unwrap_or_default(),
            user,
            kernel,
            each: each.split_whitespace().filter_map(parse::number).collect(),
            periods: throttling("nr_periods"),
            throttled_periods: throttling("nr_throttled"),
            throttled: throttling("throttled_time"),
            ..Cpu::default()
        },
        memory: Memory {
            usage: parse::number(&read(&memory.join("memory.usage_in_bytes"))?).unwrap_or_default(),
            most: parse::number(&maybe(&memory.join("memory.max_usage_in_bytes"))),
            failures: parse::number(&maybe(&memory.join("memory.failcnt"))),
            limit: parse::number(&maybe(&memory.join("memory.limit_in_bytes"))).unwrap_or_default(),
            stats: parse::pairs(&maybe(&memory.join("memory.stat"))),
        },
        pids: pids.as_ref().map(|group| read_pids(group)).unwrap_or_default(),
        io_bytes: io("blkio.throttle.io_service_bytes_recursive"),
        io_operations: io("blkio.throttle.io_serviced_recursive"),
        ..Sample::default()
    })
}

fn read_v2(group: &Path) -> Result<Sample, ReadError> {
    let cpu = parse::pairs(&read(&group.join("cpu.stat"))?);
    let nanos = |name: &str| cpu.get(name).copied().unwrap_or_default().saturating_mul(1000);
    let count = |name: &str| cpu.get(name).copied().unwrap_or_default();
    let (io_bytes, io_operations) = parse::io_stat(&maybe(&group.join("io.stat")));
    Ok(Sample {
        cpu: Cpu {
            total: nanos("usage_usec"),
            user: nanos("user_usec"),
            kernel: nanos("system_usec"),
            periods: count("nr_periods"),
            throttled_periods: count("nr_throttled"),
            throttled: nanos("throttled_usec"),
            ..Cpu::default()
        },
        memory: Memory {
            usage: parse::number(&read(&group.join("memory.current"))?).unwrap_or_default(),
            most: parse::number(&maybe(&group.join("memory.peak"))),
            failures: None,
            limit: parse::number(&maybe(&group.join("memory.max"))).unwrap_or_default(),
            stats: parse::pairs(&maybe(&group.join("memory.stat"))),
        },
        pids: read_pids(group),
        io_bytes,
        io_operations,
        ..Sample::default()
    })
}

fn read_pids(group: &Path) -> Pids {
    Pids {
        current: parse::number(&maybe(&group.join("pids.current"))).unwrap_or_default(),
        limit: parse::number(&maybe(&group.join("pids.max"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const V1: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:4 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /lab/h1 /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn a_processs_groups_are_found_under_both_versions() {
        let reader = Reader::parse(V1);
        let text = "9:pids:/docker/abc\n4:memory:/lab/h1/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/docker/abc\n";
        let cpu = PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/docker/abc");
        let expected = Groups::V1 {
            cpuacct: cpu.clone(),
            cpu,
            memory: "/sys/fs/cgroup/memory/docker/abc".into(),
            pids: Some("/sys/fs/cgroup/pids/docker/abc".into()),
            blkio: None,
        };
        assert_eq!(reader.groups(text), Some(expected));
        let v2 = Reader::parse("30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
        let scope = "/system.slice/docker-abc.scope";
        assert_eq!(v2.groups(&format!("0::{scope}\n")), Some(Groups::V2(format!("/sys/fs/cgroup{scope}").into())));
        assert_eq!(Reader::default().groups("0::/x\n"), None);
    }

    #[test]
    fn version_2_is_read_from_its_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let stat = "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 7\nnr_throttled 1\nthrottled_usec 9\n";
        let files = [
            ("cpu.stat", stat),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 1024\nfile 2048\n"),
            ("pids.current", "2\n"),
            ("pids.max", "max\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
        ];
        assert!(read_v2(dir.path()).is_err(), "without the files there are no figures");
        for (name, text) in files {
            fs::write(dir.path().join(name), text).expect("written");
        }
        let sample = read_v2(dir.path()).expect("read");
        assert_eq!((sample.cpu.total, sample.cpu.kernel, sample.cpu.throttled), (5000, 2000, 9000));
        assert_eq!((sample.memory.usage, sample.memory.stats["file"], sample.memory.most), (4096, 2048, None));
        assert_eq!(sample.pids, Pids { current: 2, limit: None });
        assert_eq!((sample.io_bytes.len(), sample.io_operations[1].value), (2, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_does_nothing_is_read_briefly() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |cpu: u64, memory: u64| {
            fs::write(dir.path().join("cpu.stat"), format!("usage_usec {cpu}\n")).expect("written");
            fs::write(dir.path().join("memory.current"), format!("{memory}\n")).expect("written");
            fs::write(dir.path().join("memory.stat"), "anon 1\ninactive_file 96\n").expect("written");
        };
        let groups = Arc::new(Groups::V2(dir.path().to_owned()));
        let mut last = Brief { cpu_nanos: 0, memory_bytes: 0, memory_at: Instant::now(), groups };
        let mut look = || {
            last = Reader::default().brief("abc", 0, Some(&last))?;
            Ok::<_, ReadError>((last.cpu_nanos, last.memory_bytes))
        };
        write(5, 4096);
        assert_eq!(look().expect("read"), (5000, 4000));
        write(5, 8192);
        assert_eq!(look().expect("read"), (5000, 4000), "it did nothing");
        write(6, 8192);
        assert_eq!(look().expect("read"), (6000, 8096));
        write(6, 96);
        tokio::time::advance(SAME_MEMORY).await;
        assert_eq!(look().expect("read"), (6000, 0), "the kernel took some away");
        drop(dir);
        assert!(matches!(look(), Err(ReadError::File { .. })));
        let gone = Reader::default().brief("no container", std::process::id(), None);
        assert!(matches!(gone, Err(ReadError::Gone { .. })), "{gone:?}");
    }

    #[test]
    fn version_1_is_read_from_its_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = [
            ("cpuacct.usage", "5000\n"),
            ("cpuacct.usage_percpu", "2000 3000 \n"),
            ("cpuacct.stat", "user 1\nsystem 2\n"),
            ("cpu.stat", "nr_periods 7\nnr_throttled 1\nthrottled_time 9\n"),
            ("memory.usage_in_bytes", "4096\n"),
            ("memory.max_usage_in_bytes", "8192\n"),
            ("memory.limit_in_bytes", "16384\n"),
            ("memory.stat", "cache 1\nrss 2\n"),
            ("blkio.throttle.io_service_bytes_recursive", "8:0 Read 1\nTotal 1\n"),
        ];
        for (name, text) in files {
            fs::write(dir.path().join(name), text).expect("written");
        }
        let group = || dir.path().to_owned();
        let groups = Groups::V1 { cpuacct: group(), cpu: group(), memory: group(), pids: None, blkio: Some(group()) };
        let sample = read_v1(&groups).expect("read");
        assert_eq!((sample.cpu.total, sample.cpu.each, sample.cpu.throttled), (5000, vec![2000, 3000], 9));
        assert_eq!((sample.memory.most, sample.memory.limit, sample.memory.failures), (Some(8192), 16_384, None));
        assert_eq!(sample.io_bytes.len(), 1);
    }

    #[test]
    fn this_process_is_no_container() {
        let reader = Reader::of_this_host().expect("a list of mounts");
        let error = reader.read("0123456789abcdef", std::process::id()).expect_err("no container");
        assert!(matches!(error, ReadError::Gone { .. }), "{error}");
    }
}
