//! Sandboxes and the containers that join them, on a real engine.

mod support;

use longshore_docker::tar_of_one;
use longshore_docker::{
    ContainerInput, RunState, SandboxInput, SandboxRef, container_config, sandbox_config, sandbox_name,
};
use longshore_model::{EniId, NetworkMode};
use longshore_net::check_loopback_only;
use std::net::Ipv4Addr;
use std::time::Duration;
use support::{Engine, connect, eventually, task};

const UNPRIVILEGED_PORTS: (&str, &str) = ("net.ipv4.ip_unprivileged_port_start", "0");

#[tokio::test]
async fn containers_share_the_sandbox_and_get_its_names() {
    let engine = Engine::start(&[]);
    let docker = connect(&engine).await;
    // An image of one static program, as the agent's own; here it is busybox under the name `sleep`.
    let found = std::process::Command::new("sh").args(["-c", "command -v busybox"]).output().expect("sh runs");
    let program = std::fs::read(String::from_utf8_lossy(&found.stdout).trim()).expect("busybox");
    let tar = tar_of_one("sleep", &program);
    docker.import("longshore-test/sandbox", "1", tar.clone(), &["/sleep", "1000"]).await.expect("imported");
    let image = "longshore-test/sandbox:1";
    assert!(docker.image(image).await.expect("the engine answers").is_some());
    docker.import("longshore-test/sandbox", "1", tar, &["/sleep", "1000"]).await.expect("a second time does no harm");

    let eni = EniId::random();
    let address = Ipv4Addr::new(10, 77, 1, 11);
    let sandbox = sandbox_config(&SandboxInput {
        eni,
        address,
        hostname: "ip-10-77-1-11",
        image,
        sysctls: &[UNPRIVILEGED_PORTS],
    });
    let id = docker.create(&sandbox).await.expect("created").id;
    let listed = docker.list_sandboxes().await.expect("listed");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].eni, listed[0].address, listed[0].state), (eni, Some(address), RunState::Created));
    docker.start(&id).await.expect("started");
    let running = docker.inspect(&sandbox_name(eni)).await.expect("answered").expect("there");
    let pid = running.pid.expect("it runs");
    check_loopback_only(pid).await.expect("nothing but lo");
    assert!(docker.list().await.expect("listed").is_empty(), "a sandbox is no container of a task");

    let files = engine.directory().join("files");
    std::fs::create_dir(&files).expect("made");
    for (name, text) in [("resolv.conf", "nameserver 192.0.2.53\n"), ("hosts", "10.77.1.11 me\n"), ("hostname", "me\n")]
    {
        std::fs::write(files.join(name), text).expect("written");
    }
    let files = files.display().to_string();
    let script = "cat /etc/resolv.conf /etc/hosts /etc/hostname; echo name=$(hostname); \
        echo ports=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start) max=$(cat /proc/sys/net/core/somaxconn); \
        exec sleep 1000";
    let mut task = task(NetworkMode::Awsvpc, script);
    let container = &mut task.containers[0];
    // What the engine refuses for a container that joins another must not reach it.
    container.hostname = Some("x".into());
    container.dns_servers = vec!["10.0.0.2".into()];
    container.extra_hosts = vec!["db:10.0.0.3".into()];
    container.sysctls = [("net.core.somaxconn".into(), "321".into())].into();
    let member = container_config(&ContainerInput {
        task: &task,
        container: &task.containers[0],
        bindings: &[],
        sandbox: Some(SandboxRef { id: &id, files: &files }),
        cgroup_parent: None,
        supervise: "{}",
    })
    .expect("the engine can be told");
    docker.create(&member).await.expect("created");
    docker.start(member.name()).await.expect("started");
    let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).expect("it runs");
    let joined = docker.inspect(member.name()).await.expect("answered").expect("there").pid.expect("it runs");
    assert_eq!(namespace(joined), namespace(pid));
    let printed = eventually("it has printed everything", || async {
        Some(engine.docker(&["logs", member.name()])).filter(|text| text.contains("ports="))
    })
    .await;
    for expected in ["nameserver 192.0.2.53", "10.77.1.11 me", "name=ip-10-77-1-11", "ports=0 max=321"] {
        assert!(printed.contains(expected), "{expected} in:\n{printed}");
    }

    // A member outlives its sandbox, and the sandbox goes whatever it does.
    docker.remove_sandbox(eni).await.expect("removed");
    docker.remove_sandbox(eni).await.expect("absent is fine");
    assert!(docker.list_sandboxes().await.expect("listed").is_empty());
    let left = docker.inspect(member.name()).await.expect("answered").expect("there");
    assert_eq!(left.state, RunState::Running);
    docker.stop(member.name(), Duration::ZERO).await.expect("stopped");
    docker.remove(member.name()).await.expect("removed");
}
