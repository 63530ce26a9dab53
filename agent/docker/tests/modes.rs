//! Network modes and container fields, seen from inside real containers.

mod support;

use longshore_docker::Docker;
use longshore_model::{
    Device, EnvVar, LogConfig, MountPoint, NetworkMode, TaskSpec, Tmpfs, Ulimit, VolumeSource, VolumeSpec,
};
use longshore_net::{Handle, Namespace, check_loopback_only};
use std::collections::BTreeMap;
use std::time::Duration;
use support::{Engine, config, connect, eventually, task};

/// Creates and starts the task's container; returns its name and process.
async fn run(docker: &Docker, task: &TaskSpec) -> (String, u32) {
    let wanted = config(task, &[]);
    docker.create(&wanted).await.expect("created");
    docker.start(wanted.name()).await.expect("started");
    let running = docker.inspect(wanted.name()).await.expect("the engine answers").expect("it exists");
    (wanted.name().to_owned(), running.pid.expect("it runs"))
}

async fn remove(docker: &Docker, name: &str) {
    docker.stop(name, Duration::ZERO).await.expect("stopped");
    docker.remove(name).await.expect("removed");
}

/// What the task's container prints before it ends.
async fn output(engine: &Engine, docker: &Docker, task: &TaskSpec) -> String {
    let wanted = config(task, &[]);
    docker.create(&wanted).await.expect("created");
    docker.start(wanted.name()).await.expect("started");
    eventually("the container ends", || async {
        let found = docker.inspect(wanted.name()).await.expect("the engine answers").expect("it exists");
        found.exit.filter(|_| !found.state.has_process()).map(|e| assert_eq!(e.code, 0, "{}", wanted.name()))
    })
    .await;
    let text = engine.docker(&["logs", wanted.name()]);
    docker.remove(wanted.name()).await.expect("removed");
    text
}

#[tokio::test]
async fn each_mode_gives_the_network_that_it_promises() {
    let engine = Engine::start(&[]);
    let docker = connect(&engine).await;

    // none, and a container without network in a bridge task: lo alone, and up.
    let none = task(NetworkMode::None, "exec sleep 1000");
    let mut without = task(NetworkMode::Bridge, "exec sleep 1000");
    without.containers[0].disable_networking = true;
    // With names to resolve the engine makes the same network another way, and writes the files.
    let mut with_files = task(NetworkMode::None, "exec sleep 1000");
    with_files.containers[0].extra_hosts = vec!["db:10.0.0.3".into()];
    for task in [&none, &without, &with_files] {
        let (name, pid) = run(&docker, task).await;
        check_loopback_only(pid).await.expect("lo alone");
        remove(&docker, &name).await;
    }
    with_files.containers[0].command = Some(vec!["/bin/cat".into(), "/etc/hosts".into()]);
    assert!(output(&engine, &docker, &with_files).await.contains("10.0.0.3\tdb"));
    let nowhere = task(NetworkMode::None, "nc -w 1 192.0.2.1 9 2>&1 || true");
    assert!(output(&engine, &docker, &nowhere).await.contains("unreachable"), "no route, and no waiting");

    // A hostname is honoured in all three.
    for mode in [NetworkMode::None, NetworkMode::Bridge, NetworkMode::Host] {
        let mut named = task(mode, "hostname");
        named.containers[0].hostname = Some("web-1".into());
        assert_eq!(output(&engine, &docker, &named).await, "web-1", "{mode:?}");
    }

    // bridge: an interface of its own.
    let (name, pid) = run(&docker, &task(NetworkMode::Bridge, "exec sleep 1000")).await;
    let namespace = Namespace::of_process(pid).expect("it runs");
    let links = Handle::in_namespace(&namespace).await.expect("entered").links().await.expect("listed");
    assert!(links.iter().any(|l| l.name == "eth0" && l.up && !l.addresses.is_empty()), "{links:?}");
    remove(&docker, &name).await;

    // host: the engine's own namespace.
    let (name, pid) = run(&docker, &task(NetworkMode::Host, "exec sleep 1000")).await;
    let namespace = |path: String| std::fs::read_link(path).expect("it runs");
    assert_eq!(namespace(format!("/proc/{pid}/ns/net")), namespace(format!("/proc/{}/ns/net", engine.pid())));
    remove(&docker, &name).await;
}

#[tokio::test]
async fn every_field_reaches_the_process() {
    let engine = Engine::start(&[]);
    let docker = connect(&engine).await;
    let script = "echo user=$(id -u):$(id -g); echo pwd=$(pwd); echo env=$GREETING; echo host=$(hostname); \
        echo nofile=$(ulimit -n); cat /etc/hosts /etc/resolv.conf; mount; \
        echo somaxconn=$(cat /proc/sys/net/core/somaxconn); echo caps=$(sed -n 's/CapBnd:.//p' /proc/self/status); \
        touch /written 2>/dev/null && echo root=writable || echo root=readonly; \
        ls /dev/zero2 && echo device=there; cat /host/file; touch /data/x && echo volume=writable; \
        touch /host/y 2>/dev/null || echo bind=readonly; echo first=$(cat /proc/1/comm); echo args=$0";
    let shared = tempfile::tempdir().expect("a directory");
    std::fs::write(shared.path().join("file"), "from-the-host\n").expect("written");

    let mut task = task(NetworkMode::Bridge, "");
    task.volumes = vec![
        VolumeSpec { name: "host".into(), source: VolumeSource::Host { path: shared.path().display().to_string() } },
        VolumeSpec { name: "data".into(), source: VolumeSource::Task },
    ];
    let mount = |volume: &str, path: &str, read_only| MountPoint {
        volume: volume.into(),
        container_path: path.into(),
        read_only,
    };
    let c = &mut task.containers[0];
    c.entry_point = Some(vec!["/bin/sh".into(), "-c".into()]);
    c.command = Some(vec![script.into(), "zeroth".into()]);
    c.environment = vec![EnvVar { name: "GREETING".into(), value: "a=b c".into() }];
    c.working_directory = Some("/bin".into());
    c.hostname = Some("web-1".into());
    c.mount_points = vec![mount("host", "/host", true), mount("data", "/data", false)];
    c.readonly_root = true;
    c.ulimits = vec![Ulimit { name: "nofile".into(), soft: 123, hard: 456 }];
    c.memory_mib = Some(64);
    c.linux.cap_drop = vec!["ALL".into()];
    c.linux.init = true;
    c.linux.shared_memory_mib = Some(5);
    c.linux.tmpfs =
        vec![Tmpfs { container_path: "/scratch".into(), size_mib: 3, mount_options: vec!["noexec".into()] }];
    c.linux.devices =
        vec![Device { host_path: "/dev/zero".into(), container_path: "/dev/zero2".into(), permissions: "r".into() }];
    c.dns_servers = vec!["10.0.0.2".into()];
    c.dns_search = vec!["lab.test".into()];
    c.extra_hosts = vec!["db:10.0.0.3".into()];
    c.sysctls = BTreeMap::from([("net.core.somaxconn".into(), "321".into())]);
    c.log = Some(LogConfig { driver: "json-file".into(), options: BTreeMap::from([("max-size".into(), "1m".into())]) });
    let printed = output(&engine, &docker, &task).await;
    for expected in [
        "user=0:0",
        "pwd=/bin",
        "env=a=b c",
        "host=web-1",
        "nofile=123",
        "10.0.0.3\tdb",
        "nameserver 10.0.0.2",
        "search lab.test",
        "somaxconn=321",
        "caps=0000000000000000",
        "root=readonly",
        "device=there",
        "from-the-host",
        "volume=writable",
        "bind=readonly",
        "args=zeroth",
    ] {
        assert!(printed.contains(expected), "{expected} in:\n{printed}");
    }
    let line = |words: &[&str]| printed.lines().any(|l| words.iter().all(|w| l.contains(w)));
    assert!(line(&["/scratch", "tmpfs", "noexec", "size=3072k"]), "{printed}");
    assert!(line(&["/dev/shm", "size=5120k"]), "{printed}");
    assert!(!line(&["first=sh"]), "an init is the first process: {printed}");

    let c = &mut task.containers[0];
    *c = support::container("echo user=$(id -u):$(id -g); test -t 0 && echo terminal");
    c.user = Some("12:34".into());
    c.pseudo_terminal = true;
    c.interactive = true;
    let printed = output(&engine, &docker, &task).await;
    assert!(printed.contains("user=12:34") && printed.contains("terminal"), "{printed}");
}
