//! `make demo`, as a person runs it, on a machine of its own: a lab host with nothing but Docker.

use std::path::Path;

use longshore_tests::lab::boto::source_dir;
use longshore_tests::lab::{Lab, LabConfig, host};

/// Runs the demonstration inside a host, so that nothing of it is on the machine itself, and gives what it printed.
fn demonstrate(lab: &Lab, hosts: &str) -> String {
    let node = lab.node(0);
    let dir = node.host.dir().join("demo");
    let bin = host::lab_program().unwrap();
    let mut command = node.host.command(Path::new("bash")).unwrap();
    command.arg(source_dir().join("demo/demo.sh"));
    command.env("HOSTS", hosts).env("KEEP", "").env("DIR", &dir).env("BIN", bin.parent().unwrap());
    command.env("DOCKER_HOST", node.docker());
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{}", host::tail(&dir.join("log")));
    for file in ["env", "holder", "ready"] {
        assert!(!dir.join(file).exists(), "{file} stayed");
    }
    text
}

/// A machine without a network: its own lab's has the same addresses.
fn machine() -> Lab {
    let lab = Lab::new(LabConfig { product: false, ..LabConfig::default() }).unwrap();
    lab.node(0).host.run("ip", &["addr", "flush", "dev", "eth0"]).unwrap();
    lab
}

fn assert_told(text: &str) {
    for part in ["aws ecs run-task", "RUNNING", "answers: hello from", "EssentialContainerExited", "seen enough"] {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn a_lab_of_hosts_comes_up_runs_tasks_and_goes() {
    let lab = machine();
    let text = demonstrate(&lab, "2");
    assert_told(&text);
    let visits: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("ends with exit code ")).map(|l| l.1).collect();
    assert_eq!(visits, ["1", "0", "1"], "closed, open, closed: {text}");
    assert!(!lab.node(0).host.run("ip", &["-br", "link"]).unwrap().contains("longshore-lab0"));
    assert!(lab.node(0).engine.containers().unwrap().is_empty());
}

#[test]
fn this_machines_own_docker_can_be_the_one_host() {
    let lab = machine();
    let images = |lab: &Lab| lab.node(0).engine.get("/images/json").unwrap().as_array().unwrap().len();
    let before = images(&lab);
    let text = demonstrate(&lab, "local");
    assert_told(&text);
    let node = lab.node(0);
    assert!(node.engine.containers().unwrap().is_empty(), "the demonstration left containers");
    assert_eq!(images(&lab), before, "the demonstration left an image");
    let groups = longshore_tests::lab::cgroup::below(node.host.group()).unwrap();
    assert!(!groups.iter().any(|g| g.starts_with("longshore-demo")), "{groups:?}");
    let network = node.host.run("sh", &["-c", "nft list tables; ip addr show lo"]).unwrap();
    assert!(!network.contains("ls_meta") && !network.contains("169.254"), "the demonstration left {network}");
}
