//! The lab itself: that hosts are hosts, faults are faults, and nothing stays behind.

use std::time::Duration;

use longshore_tests::lab::{Lab, LabConfig, wait_for, wait_until};
use longshore_tests::lab::{cgroup, janitor, standing};

fn docker_only(hosts: u8) -> Lab {
    Lab::new(LabConfig { hosts, product: false, ..LabConfig::default() }).unwrap()
}

#[test]
fn hosts_reach_each_other_run_containers_and_leave_nothing() {
    let lab = docker_only(2);
    let name = lab.name();
    let dir = lab.dir().to_path_buf();
    lab.node(0).host.run("busybox", &["ping", "-c1", "-W2", "10.99.0.12"]).unwrap();
    let docker = lab.node(0).docker();
    let out = lab
        .node(0)
        .host
        .run("docker", &["-H", &docker, "run", "-d", "-p", "8080:80", "busybox", "httpd", "-f", "-h", "/etc"])
        .unwrap();
    assert_eq!(lab.node(0).engine.containers().unwrap()[0].id, out.trim());
    wait_until("the published port", Duration::from_secs(10), || {
        Ok(lab.node(1).host.run("busybox", &["wget", "-qO-", "http://10.99.0.11:8080/passwd"]).is_ok())
    })
    .unwrap();
    assert!(lab.node(1).engine.containers().unwrap().is_empty(), "hosts do not share an Engine");

    drop(lab);
    assert!(!dir.exists());
    assert_eq!(cgroup::names_with(&name).unwrap(), Vec::<String>::new());
}

#[test]
fn cuts_and_partitions_are_real_and_end() {
    let lab = docker_only(2);
    let reachable = || lab.node(0).host.run("busybox", &["ping", "-c1", "-W1", "10.99.0.12"]).is_ok();
    let carrier = || lab.node(1).host.run("cat", &["/sys/class/net/eth0/carrier"]).unwrap().trim().to_owned();
    wait_until("the network", Duration::from_secs(10), || Ok(reachable())).unwrap();
    lab.cut(1).unwrap();
    assert!(!reachable());
    assert_eq!(carrier(), "0", "a cut is seen by the host");
    lab.mend(1).unwrap();
    wait_until("the network after the cut", Duration::from_secs(10), || Ok(reachable())).unwrap();
    lab.partition(1).unwrap();
    assert!(!reachable());
    assert_eq!(carrier(), "1", "a partition is not");
    lab.heal(1).unwrap();
    wait_until("the network after the partition", Duration::from_secs(10), || Ok(reachable())).unwrap();
}

#[test]
fn containers_outlive_a_killed_dockerd_with_live_restore() {
    let lab = docker_only(1);
    let node = lab.node(0);
    let docker = node.docker();
    node.host.run("docker", &["-H", &docker, "run", "-d", "--name", "kept", "probe", "sleep"]).unwrap();
    let before = node.engine.inspect("kept").unwrap();
    node.engine.kill().unwrap();
    assert!(node.engine.containers().is_err());
    node.engine.launch(&node.host).unwrap();
    node.engine.wait_ready(&node.host).unwrap();
    let after = node.engine.inspect("kept").unwrap();
    assert_eq!(after["State"]["Running"], true);
    assert_eq!(after["State"]["StartedAt"], before["State"]["StartedAt"]);
}

/// Starts a program that holds a lab of Docker alone, waits until it stands, and gives it with the lab's name.
fn held_lab(dir: &std::path::Path) -> (std::process::Child, String) {
    let program = longshore_tests::lab::host::lab_program().unwrap();
    let child = std::process::Command::new(program).arg("up").arg(dir).arg("docker-1").spawn().unwrap();
    let name = wait_for("a lab in another process", Duration::from_secs(30), || {
        Ok(std::fs::read_to_string(dir.join("ready")).ok().filter(|n| !n.is_empty()))
    });
    (child, name.unwrap())
}

#[test]
fn a_killed_test_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, name) = held_lab(dir.path());
    let host = format!("{name}.h1");
    let before = cgroup::processes(&host).unwrap();
    assert!(before.len() >= 3, "init, dockerd and containerd run: {before:?}");
    child.kill().unwrap();
    child.wait().unwrap();

    wait_until("the end of every process of the lab", Duration::from_secs(10), || {
        Ok(cgroup::processes(&host)?.is_empty())
    })
    .unwrap();
    assert!(cgroup::names_with(&name).unwrap().contains(&host), "empty groups stay for the janitor");
    janitor::sweep().unwrap();
    assert_eq!(cgroup::names_with(&name).unwrap(), Vec::<String>::new());
    assert!(!std::path::Path::new(janitor::LABS_DIR).join(&name).exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&name), "a mount stayed");
}

#[test]
fn a_standing_lab_goes_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, name) = held_lab(dir.path());
    let second = std::process::Command::new(longshore_tests::lab::host::lab_program().unwrap())
        .arg("up")
        .arg(dir.path())
        .arg("docker-1")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&second.stderr).contains("stands already"), "{second:?}");
    assert!(standing::down(dir.path()).unwrap());
    assert!(child.wait().unwrap().success());
    assert_eq!(cgroup::names_with(&name).unwrap(), Vec::<String>::new());
    assert!(!standing::down(dir.path()).unwrap(), "a second time there is nothing to end");
}
