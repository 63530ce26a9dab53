//! Containers with another OCI runtime than the engine's own: gVisor's, which runs them on a kernel of its own.

use longshore_tests::lab::{Lab, LabConfig, wait_until};
use serde_json::{Value, json};

use super::awsvpc::{address, assert_clean, ec2, get, network, wait_open};
use super::netlife::start_on;
use super::support::*;

/// gVisor with the host's network stack, which is that of the namespace that it is started in. `ptrace` is the platform
/// that works everywhere.
const RUNSC: [&str; 3] = ["runsc", "--network=host", "--platform=ptrace"];

/// A web server in a runtime.
fn server_in(lab: &Lab, family: &str, runtime: Option<&str>) -> String {
    let script = "mkdir -p /tmp/w; hostname >/tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w";
    let mut web = shell("web", script);
    merge(&mut web, json!({"memory": 64, "portMappings": [{"containerPort": 80}], "stopTimeout": 1}));
    if let Some(runtime) = runtime {
        merge(&mut web, json!({"dockerLabels": {"longshore.runtime": runtime}}));
    }
    register(lab, family, json!([web]), json!({"networkMode": "awsvpc"}))
}

#[test]
fn a_container_in_gvisor_has_the_tasks_interface_and_its_groups() {
    let runtimes = vec![("runsc".to_owned(), RUNSC.map(str::to_owned).to_vec())];
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"2s\"".to_owned();
    let lab = networked(LabConfig { hosts: 2, runtimes, agent, ..LabConfig::default() });
    let (plain, sealed) = (server_in(&lab, "plain", None), server_in(&lab, "sealed", Some("runsc")));
    let instances = strings(&json!(lab.instances().unwrap()), "containerInstanceArn");
    let plain = running(&lab, &start_on(&lab, &plain, &instances[0], &[]));
    let sealed = running(&lab, &start_on(&lab, &sealed, &instances[1], &[]));
    let (plain_arn, sealed_arn) = (plain["taskArn"].as_str().unwrap(), sealed["taskArn"].as_str().unwrap());
    let (near, far) = (node_of(&lab, &sealed), node_of(&lab, &plain));

    // It runs in gVisor, whose kernel has another version; its sandbox does not.
    let seen = inspect(near, sealed_arn, "web");
    assert_eq!(seen["HostConfig"]["Runtime"], "runsc");
    let name = format!("ls-{}-web", id(sealed_arn));
    let kernel = near.host.run("docker", &["-H", &near.docker(), "exec", &name, "dmesg"]).unwrap();
    assert!(kernel.contains("gVisor"), "{kernel}");
    let mode = seen["HostConfig"]["NetworkMode"].as_str().unwrap();
    let sandbox = near.engine.inspect(mode.strip_prefix("container:").unwrap()).unwrap();
    assert_eq!(sandbox["HostConfig"]["Runtime"], "runc");

    // Both ways, by name and across hosts.
    wait_open(near, sealed_arn, &address(&plain), true);
    wait_open(far, plain_arn, &address(&sealed), true);
    let own = |task: &Value| Some(format!("ip-{}", address(task).replace('.', "-")));
    // gVisor takes its time on a busy machine.
    wait_until("each other's pages", DEADLINE, || {
        let pages = (get(near, sealed_arn, &address(&plain)), get(far, plain_arn, &address(&sealed)));
        anyhow::ensure!(pages == (own(&plain), own(&sealed)), "{pages:?}");
        Ok(true)
    })
    .unwrap();

    // A group closes it and opens it again, in both directions.
    let group = ec2(&lab, "describe_security_groups", json!({"GroupNames": ["default"]}))["SecurityGroups"][0].clone();
    let group_id = group["GroupId"].as_str().unwrap();
    let rules =
        ec2(&lab, "describe_security_group_rules", json!({"Filters": [{"Name": "group-id", "Values": [group_id]}]}));
    let ingress = rules["SecurityGroupRules"].as_array().unwrap().iter().find(|r| r["IsEgress"] == false).unwrap();
    let ids = json!({"GroupId": group_id, "SecurityGroupRuleIds": [ingress["SecurityGroupRuleId"]]});
    ec2(&lab, "revoke_security_group_ingress", ids);
    wait_open(near, sealed_arn, &address(&plain), false);
    wait_open(far, plain_arn, &address(&sealed), false);
    let members = json!([{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group_id}]}]);
    ec2(&lab, "authorize_security_group_ingress", json!({"GroupId": group_id, "IpPermissions": members}));
    wait_open(near, sealed_arn, &address(&plain), true);
    wait_open(far, plain_arn, &address(&sealed), true);

    // A runtime that no host has is no host's: the task is refused, with the attribute that is missing.
    let nowhere = server_in(&lab, "nowhere", Some("kata"));
    let mut args = json!({"taskDefinition": nowhere});
    merge(&mut args, network(&lab, &[]));
    let refused = lab.ecs("run_task", args).unwrap();
    assert_eq!(refused["tasks"], json!([]), "{refused}");
    let failures = refused["failures"].as_array().unwrap();
    assert!(!failures.is_empty() && failures.iter().all(|f| f["reason"] == "ATTRIBUTE"), "{refused}");
    assert!(failures[0].to_string().contains("longshore.runtime.kata"), "{refused}");

    for arn in [plain_arn, sealed_arn] {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
        stopped(&lab, arn);
    }
    lab.nodes().iter().for_each(assert_clean);
    assert_no_leaks(&lab, &[]);
}
