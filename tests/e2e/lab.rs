//! The lab itself: that hosts are hosts, faults are faults, and nothing stays behind.

use std::time::Duration;

use longshore_tests::lab::cgroup;
use longshore_tests::lab::{Lab, LabConfig, wait_until};

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
