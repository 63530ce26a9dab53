//! Tasks with an interface of their own, on hosts that reach each other: addresses, groups, restarts, ends.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_tests::lab::{Agent, Lab, LabConfig, Node, wait_until};
use serde_json::{Value, json};

use super::support::*;

pub(crate) fn ec2(lab: &Lab, op: &str, args: Value) -> Value {
    lab.call("ec2", op, args.clone()).unwrap().unwrap_or_else(|error| panic!("{op} {args}: {error}"))
}

/// A web server that says its task's name on port 80.
pub(super) fn server(lab: &Lab, family: &str) -> String {
    let script = "mkdir -p /tmp/w; hostname >/tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w";
    let mut web = shell("web", script);
    merge(&mut web, json!({"portMappings": [{"containerPort": 80}], "stopTimeout": 1}));
    register(lab, family, json!([web]), json!({"networkMode": "awsvpc"}))
}

pub(crate) fn network(lab: &Lab, groups: &[&str]) -> Value {
    let subnet = ec2(lab, "describe_subnets", json!({}))["Subnets"][0]["SubnetId"].clone();
    json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": groups}}})
}

pub(super) fn spread(lab: &Lab, groups: &[&str]) -> Value {
    let mut args = network(lab, groups);
    merge(&mut args, json!({"placementStrategy": [{"type": "spread", "field": "instanceId"}]}));
    args
}

pub(crate) fn detail(task: &Value, name: &str) -> String {
    let details = task["attachments"][0]["details"].as_array().unwrap();
    let found = details.iter().find(|d| d["name"] == name).unwrap_or_else(|| panic!("no {name} in {task:#}"));
    found["value"].as_str().unwrap().to_owned()
}

pub(crate) fn address(task: &Value) -> String {
    detail(task, "privateIPv4Address")
}

/// The page of the web server at `to`, seen from a container of a task; empty when nothing answers in two seconds.
pub(super) fn page(node: &Node, from: &str, container: &str, to: &str) -> String {
    let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {to} 80 | tail -n 1");
    let name = format!("ls-{}-{container}", id(from));
    node.host.run("docker", &["-H", &node.docker(), "exec", &name, "sh", "-c", &script]).unwrap().trim().to_owned()
}

/// The same from a [`server`]; `None` when nothing answers.
pub(super) fn get(node: &Node, from: &str, to: &str) -> Option<String> {
    Some(page(node, from, "web", to)).filter(|page| !page.is_empty())
}

/// Waits until `from` sees `to`, or does not.
pub(super) fn wait_open(node: &Node, from: &str, to: &str, open: bool) {
    wait_until(&format!("{to} being {}", if open { "open" } else { "closed" }), DEADLINE, || {
        Ok(get(node, from, to).is_some() == open)
    })
    .unwrap();
}

pub(super) fn status(node: &Node) -> Value {
    Agent::status(&node.host).unwrap()["network"].clone()
}

/// Waits until a host has nothing of tasks in its network: sandboxes, links and elements are those of the pool.
pub(crate) fn assert_clean(node: &Node) {
    wait_until(&format!("no interface of a task on {}", node.host.name()), DEADLINE, || {
        let seen = status(node);
        let warm = seen["warm"].as_u64().unwrap_or(u64::MAX);
        let sandboxes = node.engine.containers()?.iter().filter(|c| c.name.starts_with("ls-eni-")).count();
        let links = node.host.run("ip", &["-n", "ls-fab", "-json", "link"])?;
        let links: Vec<Value> = serde_json::from_str(&links)?;
        let ours = |name: &str| name.len() == 15 && name.starts_with('t');
        let tasks = links.iter().filter(|l| l["ifname"].as_str().is_some_and(ours)).count();
        let names = node.host.run("ls", &["/run/netns"])?;
        let spaces = names.split_whitespace().filter(|n| n.starts_with("ls-") && *n != "ls-fab").count();
        let rules =
            node.host.run("nsenter", &["--net=/run/netns/ls-fab", "nft", "list", "map", "inet", "ls_fab", "eni_in"])?;
        let counts = [sandboxes, tasks, spaces].map(|n| n as u64);
        anyhow::ensure!(
            seen["interfaces"].as_array().is_some_and(Vec::is_empty)
                && counts == [warm; 3]
                && !rules.contains("elements"),
            "warm {warm}; sandboxes, links, namespaces {counts:?}; {}; {rules}",
            seen["interfaces"]
        );
        Ok(true)
    })
    .unwrap();
}

#[test]
fn tasks_have_addresses_of_their_own_that_every_host_reaches() {
    let lab = lab(3);
    let web = server(&lab, "web");
    let arns = run(&lab, &web, 3, spread(&lab, &[]));
    let first = task(&lab, &arns[0]);
    assert_eq!(first["attachments"][0]["type"], "ElasticNetworkInterface", "{first:#}");
    let tasks = wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    let mut hosts = BTreeMap::new();
    for task in &tasks {
        let node = node_of(&lab, task);
        hosts.insert(node.host.name().to_owned(), ());
        let seen = container(task, "web");
        assert_eq!(seen["networkInterfaces"][0]["privateIpv4Address"], json!(address(task)));
        assert!(seen["networkBindings"].as_array().is_none_or(Vec::is_empty), "it has its own ports: {seen}");
        assert_eq!(task["attachments"][0]["status"], "ATTACHED");
        // The kernel agrees.
        let eni = detail(task, "networkInterfaceId");
        let namespace = format!("ls-{}", &eni["eni-".len()..][..14]);
        let links = node.host.run("ip", &["-n", &namespace, "-json", "addr", "show", "eth0"]).unwrap();
        let links: Vec<Value> = serde_json::from_str(&links).unwrap();
        assert_eq!(links[0]["address"], json!(detail(task, "macAddress")));
        let addresses = links[0]["addr_info"].as_array().unwrap();
        let local = addresses.iter().find(|a| a["family"] == "inet").unwrap();
        assert_eq!((&local["local"], &local["prefixlen"]), (&json!(address(task)), &json!(32)));
    }
    assert_eq!(hosts.len(), 3, "one on each host");
    let described = ec2(&lab, "describe_network_interfaces", json!({}));
    assert_eq!(described["NetworkInterfaces"].as_array().unwrap().len(), 3);

    // Everybody in the default group reaches everybody, by the name that EC2 would give.
    for from in &tasks {
        for to in &tasks {
            let node = node_of(&lab, from);
            let arn = from["taskArn"].as_str().unwrap();
            wait_open(node, arn, &address(to), true);
            let name = format!("ip-{}", address(to).replace('.', "-"));
            assert_eq!(get(node, arn, &address(to)), Some(name));
        }
    }

    for arn in &arns {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
    }
    for task in wait_tasks(&lab, &arns, "STOPPED", DEADLINE) {
        assert_eq!(task["attachments"][0]["status"], "DELETED", "{task:#}");
    }
    lab.nodes().iter().for_each(assert_clean);
    assert_no_leaks(&lab, &[]);
}

#[test]
fn groups_open_and_close_while_tasks_run() {
    let lab = lab(2);
    let web = server(&lab, "web");
    let made = ec2(&lab, "create_security_group", json!({"GroupName": "shut", "Description": "lets nobody in"}));
    let shut = made["GroupId"].as_str().unwrap();
    let client = run(&lab, &web, 2, spread(&lab, &[]));
    let target = run_one(&lab, &web, network(&lab, &[shut]));
    let clients = wait_tasks(&lab, &client, "RUNNING", DEADLINE);
    let to = address(&running(&lab, &target));
    let default = ec2(&lab, "describe_security_groups", json!({"GroupNames": ["default"]}));
    let default = default["SecurityGroups"][0]["GroupId"].as_str().unwrap();
    let from: Vec<(&Node, &str)> = clients.iter().map(|t| (node_of(&lab, t), t["taskArn"].as_str().unwrap())).collect();
    for (node, arn) in &from {
        assert_eq!(get(node, arn, &to), None, "nobody may");
    }
    let by_range = json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "10.77.0.0/16"}]});
    let by_group =
        json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": default}]});
    for permission in [by_range, by_group] {
        let args = json!({"GroupId": shut, "IpPermissions": [permission]});
        ec2(&lab, "authorize_security_group_ingress", args.clone());
        from.iter().for_each(|(node, arn)| wait_open(node, arn, &to, true));
        ec2(&lab, "revoke_security_group_ingress", args);
        from.iter().for_each(|(node, arn)| wait_open(node, arn, &to, false));
    }
    // In use, so it stays.
    let refused = lab.call("ec2", "delete_security_group", json!({"GroupId": shut})).unwrap().unwrap_err();
    assert_eq!(refused.code, "DependencyViolation", "{refused}");
}

#[test]
fn restarts_of_agent_and_control_plane_change_nothing_for_tasks() {
    let lab = lab(2);
    let web = server(&lab, "web");
    let arns = run(&lab, &web, 4, spread(&lab, &[]));
    let before = wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    for node in lab.nodes() {
        node.agent.kill().unwrap();
    }
    lab.control().kill().unwrap();
    lab.nodes().iter().for_each(|node| node.launch_agent().unwrap());
    // A host that starts without a control plane has its network.
    for node in lab.nodes() {
        wait_until("the interfaces of two tasks", DEADLINE, || {
            let seen = Agent::status(&node.host)?["network"].clone();
            let claimed = seen["interfaces"].as_array().into_iter().flatten().filter(|i| i["stage"] == "claimed");
            Ok(claimed.count() == 2)
        })
        .unwrap();
    }
    let reach = |from: &Value, to: &Value| {
        wait_open(node_of(&lab, from), from["taskArn"].as_str().unwrap(), &address(to), true);
    };
    lab.restart_control().unwrap();
    lab.wait_connected(2, DEADLINE).unwrap();
    let after = wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    let addresses = |tasks: &[Value]| tasks.iter().map(address).collect::<Vec<_>>();
    assert_eq!(addresses(&after), addresses(&before));
    for from in &after {
        after.iter().for_each(|to| reach(from, to));
    }

    // A sandbox that somebody removes ends its task, which says why.
    let victim = &after[0];
    let node = node_of(&lab, victim);
    let eni = detail(victim, "networkInterfaceId");
    node.host.run("docker", &["-H", &node.docker(), "rm", "-f", &format!("ls-{eni}")]).unwrap();
    let ended = stopped(&lab, &arns[0]);
    assert!(ended["stoppedReason"].as_str().unwrap().contains("NetworkInterfaceLostError"), "{ended:#}");
    for arn in &arns[1..] {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
    }
    wait_tasks(&lab, &arns, "STOPPED", DEADLINE);
    lab.nodes().iter().for_each(assert_clean);
    assert_no_leaks(&lab, &[]);
}

#[test]
fn a_host_that_was_cut_off_catches_up_with_the_groups() {
    let lab = lab(2);
    let web = server(&lab, "web");
    let made = ec2(&lab, "create_security_group", json!({"GroupName": "g", "Description": "of a test"}));
    let group = made["GroupId"].as_str().unwrap();
    let arns = run(&lab, &web, 2, spread(&lab, &[group]));
    let tasks = wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    let cut = node_index(&lab, tasks[0]["containerInstanceArn"].as_str().unwrap());
    let (inside, outside) = (&tasks[0], &tasks[1]);
    let arn = |task: &Value| task["taskArn"].as_str().unwrap().to_owned();
    wait_open(node_of(&lab, outside), &arn(outside), &address(inside), false);
    lab.partition(cut).unwrap();
    wait_until("a disconnected host", DEADLINE, || {
        Ok(lab.instances()?.iter().filter(|i| i["agentConnected"] == false).count() == 1)
    })
    .unwrap();
    let everybody = json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]});
    let args = json!({"GroupId": group, "IpPermissions": [everybody]});
    ec2(&lab, "authorize_security_group_ingress", args);
    lab.heal(cut).unwrap();
    lab.wait_connected(2, DEADLINE).unwrap();
    wait_open(node_of(&lab, outside), &arn(outside), &address(inside), true);
    wait_open(node_of(&lab, inside), &arn(inside), &address(outside), true);
}

/// A /23 has room for two hosts.
#[test]
fn a_network_without_room_says_so_and_what_is_given_back_is_used() {
    let control = "task_network = \"10.5.0.0/23\"".to_owned();
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\n".to_owned();
    let lab = Lab::new(LabConfig { hosts: 3, control, agent, ..LabConfig::default() }).unwrap();
    let web = server(&lab, "web");
    let reason = |instance: &Value| instance["statusReason"].as_str().unwrap_or_default().to_owned();
    let mut instances = Vec::new();
    wait_until("two hosts with a network and one without", DEADLINE, || {
        instances = lab.instances()?;
        instances.sort_by_key(|i| reason(i).len());
        let full = "no /24 of 10.5.0.0/23 (task_network) is left for it";
        let reasons: Vec<String> = instances.iter().map(reason).collect();
        anyhow::ensure!(reasons[..2] == ["", ""] && reasons[2].contains(full), "{reasons:?}");
        Ok(true)
    })
    .unwrap();
    let start = |instance: &Value| {
        let mut args = network(&lab, &[]);
        merge(&mut args, json!({"taskDefinition": web, "containerInstances": [instance["containerInstanceArn"]]}));
        lab.ecs("start_task", args).unwrap()
    };
    let (stays, leaves, waits) = (&instances[0], &instances[1], &instances[2]);
    let refused = start(waits);
    let failure = &refused["failures"][0];
    assert_eq!((&failure["reason"], &refused["tasks"]), (&json!("RESOURCE:ENI"), &json!([])), "{refused}");
    assert!(failure["detail"].as_str().unwrap().contains("no /24 of 10.5.0.0/23"), "{refused}");
    let first = strings(&start(stays)["tasks"], "taskArn").remove(0);
    let from = running(&lab, &first);

    let args = json!({"containerInstance": leaves["containerInstanceArn"], "force": true});
    lab.ecs("deregister_container_instance", args).unwrap();
    let mut second = Value::Null;
    wait_until("the third host has what the second gave back", DEADLINE, || {
        second = start(waits);
        anyhow::ensure!(second["failures"] == json!([]), "{second}");
        Ok(true)
    })
    .unwrap();
    let to = running(&lab, &strings(&second["tasks"], "taskArn").remove(0));
    wait_open(node_of(&lab, &from), &first, &address(&to), true);
}

#[test]
fn many_tasks_come_and_go_and_leave_nothing() {
    let lab = lab(2);
    let web = server(&lab, "web");
    for _ in 0..2 {
        let arns = run(&lab, &web, 40, spread(&lab, &[]));
        let tasks = wait_tasks(&lab, &arns, "RUNNING", Duration::from_secs(120));
        let mut addresses: Vec<String> = tasks.iter().map(address).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 40, "an address was given twice");
        let from = &tasks[0];
        for to in &tasks {
            wait_open(node_of(&lab, from), from["taskArn"].as_str().unwrap(), &address(to), true);
        }
        for arn in &arns {
            lab.ecs("stop_task", json!({"task": arn})).unwrap();
        }
        wait_tasks(&lab, &arns, "STOPPED", Duration::from_secs(120));
    }
    lab.nodes().iter().for_each(assert_clean);
    assert_no_leaks(&lab, &[]);
}
