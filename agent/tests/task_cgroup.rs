//! A task's cgroup with real containers in it.

#[path = "../docker/tests/support/mod.rs"]
mod support;

use longshore_agent::cgroup::{Cgroups, TaskLimits};
use longshore_docker::{CgroupDriver, ContainerInput, container_config};
use longshore_model::{ContainerName, NetworkMode, TaskId};
use std::time::Duration;
use support::{Engine, IMAGE, connect, container, eventually, task};

#[tokio::test]
async fn containers_share_their_tasks_limit_and_leave_nothing() {
    let engine = Engine::start(&["--exec-opt", "native.cgroupdriver=cgroupfs"]);
    let docker = connect(&engine).await;
    let info = docker.info().await.expect("the engine answers");
    assert_eq!(info.cgroup_driver, CgroupDriver::Cgroupfs);
    let parent = format!("longshore-test-{}", TaskId::random().short());
    let cgroups =
        Cgroups::detect(&parent, info.cgroup_driver, info.cgroup_version).expect("task cgroups on this machine");

    // 48 MiB each is less than either container's own limit, and together more than the task's.
    let hungry = "dd if=/dev/zero of=/dev/shm/x bs=1M count=48 && exec sleep 1000";
    let mut spec = task(NetworkMode::None, hungry);
    spec.memory_mib = Some(64);
    spec.cpu_units = Some(512);
    spec.containers.push(container(hungry));
    spec.containers[1].name = ContainerName::new("second").expect("a name");
    for container in &mut spec.containers {
        container.image = IMAGE.into();
        container.memory_mib = Some(60);
    }
    let cgroup = cgroups.ensure(spec.id, TaskLimits::of(&spec)).await.expect("made");
    assert!(cgroup.is_some());
    let mut names = Vec::new();
    for container in &spec.containers {
        let input = ContainerInput {
            task: &spec,
            container,
            bindings: &[],
            sandbox: None,
            cgroup_parent: cgroup.as_deref(),
            supervise: "{}",
        };
        let config = container_config(&input).expect("the engine can be told");
        docker.create(&config).await.expect("created");
        docker.start(config.name()).await.expect("started");
        names.push(config.name().to_owned());
    }
    eventually("one of the two is killed for memory", || async {
        for name in &names {
            let found = docker.inspect(name).await.expect("the engine answers").expect("it exists");
            if found.exit.is_some_and(|e| e.oom_killed || e.code == 137) {
                return Some(());
            }
        }
        None
    })
    .await;
    for name in &names {
        docker.stop(name, Duration::ZERO).await.expect("stopped");
        docker.remove(name).await.expect("removed");
    }
    assert_eq!(cgroups.list().await.expect("listed"), [spec.id]);
    cgroups.remove(spec.id).await.expect("removed");
    assert_eq!(cgroups.list().await.expect("listed"), []);
    for root in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = std::fs::remove_dir(root.path().join(&parent));
    }
}
