use super::*;
use std::fs;

const LIMITS: TaskLimits = TaskLimits { cpu_units: Some(512), memory_mib: Some(64), cpu_shares: 512, pids: None };

#[test]
fn parents_are_names() {
    for good in ["longshore", "longshore-lab-h1", "a_b.c"] {
        assert!(parent_is_valid(good), "{good}");
    }
    for bad in ["", "a/b", "..", "-a", "a-", "a--b", "a b"] {
        assert!(!parent_is_valid(bad), "{bad}");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
}

/// A v2 hierarchy of plain files: what is written stays, nothing is enforced.
fn fake_v2(root: &Path) -> Hierarchies {
    let mounts = format!("30 23 0:26 / {} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n", root.display());
    Hierarchies::parse(&mounts, CgroupVersion::V2, |_| "cpuset cpu io memory pids".to_owned())
}

#[tokio::test]
async fn v2_switches_controllers_on_from_the_top_and_writes_each_limit() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let units = tempfile::tempdir().expect("a temporary directory");
    let cgroups = Cgroups::with_hierarchies("longshore", CgroupDriver::Cgroupfs, fake_v2(root.path()), units.path())
        .expect("all controllers are there");
    let task = TaskId::random();
    let limits = TaskLimits { pids: Some(100), ..LIMITS };
    let parent = cgroups.ensure(task, limits).await.expect("made");
    assert_eq!(parent, Some(format!("/longshore/{task}")));
    let own = root.path().join(format!("longshore/{task}"));
    for directory in [root.path(), &root.path().join("longshore"), &own] {
        assert_eq!(read(&directory.join("cgroup.subtree_control")), "+cpu +memory +pids", "{}", directory.display());
    }
    for (file, value) in
        [("cpu.max", "50000 100000"), ("cpu.weight", "20"), ("memory.max", "67108864"), ("pids.max", "100")]
    {
        assert_eq!(read(&own.join(file)), value, "{file}");
    }
    assert_eq!(cgroups.list().await.expect("listed"), [task]);
    assert_eq!(cgroups.ensure(task, limits).await.expect("a second time changes nothing"), parent);
}

#[tokio::test]
async fn a_limit_that_does_not_stick_is_an_error() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let cgroups = Cgroups::with_hierarchies("longshore", CgroupDriver::Cgroupfs, fake_v2(root.path()), root.path())
        .expect("fine");
    let task = TaskId::random();
    let own = root.path().join(format!("longshore/{task}"));
    fs::create_dir_all(&own).expect("made");
    // What is written to a device that forgets cannot be read back.
    std::os::unix::fs::symlink("/dev/null", own.join("memory.max")).expect("linked");
    let error = cgroups.ensure(task, LIMITS).await.expect_err("memory.max reads back empty");
    assert!(matches!(&error, CgroupError::Differs { path, .. } if path.ends_with("memory.max")), "{error:?}");
    assert!(error.ecs_reason().starts_with("ResourceInitializationError: "), "{}", error.ecs_reason());
}

#[tokio::test]
async fn systemd_is_told_by_a_unit_file() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let units = tempfile::tempdir().expect("a temporary directory");
    let path = units.path().join("system");
    let cgroups =
        Cgroups::with_hierarchies("ls-lab", CgroupDriver::Systemd, fake_v2(root.path()), &path).expect("fine");
    let (task, orphan) = (TaskId::from_bytes([1; 16]), TaskId::from_bytes([2; 16]));
    let unit = format!("ls-lab-{task}.slice");
    assert_eq!(cgroups.ensure(task, LIMITS).await.expect("written"), Some(unit.clone()));
    let text = read(&path.join(&unit));
    assert!(text.contains("CPUQuota=50.00%") && text.contains("MemoryMax=67108864"), "{text}");

    // Cgroups that systemd made and nobody has a file for are found too; other files are not ours.
    fs::create_dir_all(root.path().join(format!("ls.slice/ls-lab.slice/ls-lab-{orphan}.slice"))).expect("made");
    fs::write(path.join("cron.service"), "").expect("written");
    assert_eq!(cgroups.list().await.expect("listed"), [task, orphan]);
    for id in [task, orphan, orphan] {
        cgroups.remove(id).await.expect("removed");
    }
    assert_eq!(cgroups.list().await.expect("listed"), []);
    assert!(path.join("cron.service").exists());
}

#[tokio::test]
async fn a_task_without_limits_needs_no_cgroup() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let cgroups = Cgroups::with_hierarchies("longshore", CgroupDriver::Cgroupfs, fake_v2(root.path()), root.path())
        .expect("fine");
    let none = TaskLimits { cpu_units: None, memory_mib: None, cpu_shares: 2, pids: None };
    assert_eq!(cgroups.ensure(TaskId::random(), none).await.expect("nothing to do"), None);
    assert_eq!(fs::read_dir(root.path()).expect("there").count(), 0);
}

#[test]
fn an_engine_without_cgroups_and_a_host_without_controllers_are_refused() {
    let root = Path::new("/nonexistent");
    let refused = |driver, hierarchies, parent| Cgroups::with_hierarchies(parent, driver, hierarchies, root).err();
    assert!(matches!(refused(CgroupDriver::None, fake_v2(root), "x"), Some(DetectError::EngineHasNone)));
    assert!(matches!(refused(CgroupDriver::Cgroupfs, fake_v2(root), "a/b"), Some(DetectError::Parent(_))));
    let bare = Hierarchies::parse("", CgroupVersion::V1, |_| String::new());
    assert!(matches!(refused(CgroupDriver::Cgroupfs, bare, "x"), Some(DetectError::NoController { .. })));
}

/// The kernel's own hierarchies under a parent of this test's own.
fn real() -> (Cgroups, Hierarchies, String) {
    let parent = format!("longshore-test-{}", TaskId::random().short());
    for version in [CgroupVersion::V1, CgroupVersion::V2] {
        let Ok(hierarchies) = Hierarchies::of_this_host(version) else { continue };
        let units = Path::new("/nonexistent");
        if let Ok(cgroups) = Cgroups::with_hierarchies(&parent, CgroupDriver::Cgroupfs, hierarchies.clone(), units) {
            let writable = hierarchies.of("memory").is_some_and(|m| fs::create_dir(m.join(&parent)).is_ok());
            if writable {
                return (cgroups, hierarchies, parent);
            }
        }
    }
    panic!("no cgroup hierarchy with cpu and memory that this test may write: run it as root");
}

/// Removes the test's parent directories, whatever became of the test.
struct Cleanup(Vec<PathBuf>);

impl Cleanup {
    fn of(hierarchies: &Hierarchies, parent: &str) -> Self {
        Self(hierarchies.roots().iter().map(|root| root.join(parent)).collect())
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_dir(path);
        }
    }
}

#[tokio::test]
async fn the_kernel_keeps_the_limits_and_gives_the_cgroup_back() {
    let (cgroups, hierarchies, parent) = real();
    let _cleanup = Cleanup::of(&hierarchies, &parent);
    cgroups.probe().await.expect("limits work here");
    assert_eq!(cgroups.list().await.expect("listed"), [], "a probe leaves nothing");

    let task = TaskId::random();
    assert_eq!(cgroups.ensure(task, LIMITS).await.expect("made"), Some(format!("/{parent}/{task}")));
    cgroups.ensure(task, LIMITS).await.expect("a second time changes nothing");
    let file = |controller: &str, name: &str| {
        read(&hierarchies.of(controller).expect("mounted").join(&parent).join(task.to_string()).join(name))
    };
    let (quota, memory) = match hierarchies.version() {
        CgroupVersion::V1 => (file("cpu", "cpu.cfs_quota_us"), file("memory", "memory.limit_in_bytes")),
        CgroupVersion::V2 => (file("cpu", "cpu.max"), file("memory", "memory.max")),
    };
    assert!(quota == "50000" || quota == "50000 100000", "{quota}");
    assert_eq!(memory, "67108864");
    assert_eq!(cgroups.list().await.expect("listed"), [task]);
    cgroups.remove(task).await.expect("removed");
    cgroups.remove(task).await.expect("nothing to remove is fine");
    assert_eq!(cgroups.list().await.expect("listed"), []);
}

#[tokio::test]
async fn a_removal_waits_for_the_last_process() {
    let (cgroups, hierarchies, parent) = real();
    let _cleanup = Cleanup::of(&hierarchies, &parent);
    let task = TaskId::random();
    cgroups.ensure(task, LIMITS).await.expect("made");
    // As the engine does: the process lives in a child of the task's cgroup.
    let inner = hierarchies.of("memory").expect("mounted").join(&parent).join(task.to_string()).join("container");
    fs::create_dir(&inner).expect("made");
    let mut process = std::process::Command::new("sleep").arg("1000").spawn().expect("started");
    fs::write(inner.join("cgroup.procs"), process.id().to_string()).expect("moved");

    let Backend::Tree(tree) = &*cgroups.backend else { panic!("made so above") };
    let error = tree.remove(task, Duration::from_millis(50)).expect_err("somebody is in it");
    assert!(matches!(&error, CgroupError::Busy { pids, .. } if pids == &[process.id()]), "{error:?}");

    let removal = tokio::spawn({
        let cgroups = cgroups.clone();
        async move { cgroups.remove(task).await }
    });
    process.kill().expect("killed");
    process.wait().expect("reaped");
    removal.await.expect("no panic").expect("removed once the process was gone");
    assert_eq!(cgroups.list().await.expect("listed"), []);
}
