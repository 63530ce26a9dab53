//! Packets of tasks as the whole product sends, refuses and drops them: control plane, agents, engine and kernel.
//!
//! Sockets of these tests live in the namespaces of tasks, hosts and strangers; what a task's own processes see is the
//! same. Each module is a lab or two with several checks.

mod groups;
mod guards;
mod limits;
pub(crate) mod probe;
mod tunnel;
mod wiring;

use std::net::Ipv4Addr;

use anyhow::Result;
use longshore_tests::lab::{Host, Lab, Node};
use serde_json::{Value, json};

use super::awsvpc::{address, detail, ec2, network};
use super::support::*;

/// Where packets are sent from or to: the network of a host, or a namespace on one.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    host: &'a Host,
    netns: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// A host's own network.
    pub(crate) fn host(host: &'a Host) -> Self {
        Self { host, netns: None }
    }

    /// A namespace on it.
    pub(crate) fn named(host: &'a Host, netns: &'a str) -> Self {
        Self { host, netns: Some(netns) }
    }

    /// Runs `work` on a thread in that network; sockets made there stay in it.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match self.netns {
            Some(name) => self.host.in_namespace(name, work),
            None => self.host.in_network(work),
        }
    }

    /// Runs a shell line in that network and gives what it printed.
    pub(crate) fn try_sh(&self, line: &str) -> Result<String> {
        match self.netns {
            Some(name) => self.host.run("nsenter", &[&format!("--net=/run/netns/{name}"), "--", "sh", "-c", line]),
            None => self.host.run("sh", &["-c", line]),
        }
    }

    pub(crate) fn sh(&self, line: &str) -> String {
        self.try_sh(line).unwrap()
    }

    /// What a command answers as JSON.
    pub(crate) fn json(&self, line: &str) -> Value {
        let text = self.sh(line);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
    }

    /// Whether one echo is answered within `seconds`; `options` are more of ping's.
    fn pings(&self, options: &str, to: Ipv4Addr, seconds: u32) -> bool {
        !self
            .sh(&format!("ping -q -c 1 -W {seconds} {options} {to} >/dev/null 2>&1 && echo answered || true"))
            .is_empty()
    }

    /// The packets that the counters of a chain have seen.
    fn counted(&self, table: &str, chain: &str) -> u64 {
        let listed = self.json(&format!("nft -j list chain inet {table} {chain}"));
        let rules = listed["nftables"].as_array().unwrap().iter().filter_map(|item| item["rule"]["expr"].as_array());
        rules.flatten().filter_map(|expr| expr["counter"]["packets"].as_u64()).sum()
    }
}

/// A running task with its interface, as the API describes it.
pub(crate) struct Wired<'a> {
    pub(crate) node: &'a Node,
    pub(crate) arn: String,
    pub(crate) eni: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: String,
    netns: String,
}

impl<'a> Wired<'a> {
    /// Of a task as DescribeTasks answers.
    pub(crate) fn of(lab: &'a Lab, task: &Value) -> Self {
        let eni = detail(task, "networkInterfaceId");
        Self {
            node: node_of(lab, task),
            arn: task["taskArn"].as_str().unwrap().to_owned(),
            address: address(task).parse().unwrap(),
            mac: detail(task, "macAddress"),
            netns: format!("ls-{}", stem(&eni)),
            eni,
        }
    }

    /// Its network.
    pub(crate) fn place(&self) -> Place<'_> {
        Place::named(&self.node.host, &self.netns)
    }

    /// The fabric of its host.
    fn fabric(&self) -> Place<'_> {
        fabric(self.node)
    }

    /// The fabric's end of its link.
    fn link(&self) -> String {
        format!("t{}", stem(&self.eni))
    }
}

fn stem(eni: &str) -> &str {
    &eni["eni-".len()..][..14]
}

/// The fabric of a host.
pub(crate) fn fabric(node: &Node) -> Place<'_> {
    Place::named(&node.host, "ls-fab")
}

/// The definition of a task that does nothing: what is sent in its network comes from the test.
pub(crate) fn still(lab: &Lab, family: &str, tags: Value) -> String {
    let more = json!({"networkMode": "awsvpc", "tags": tags});
    register(lab, family, json!([sleeper()]), more)
}

/// Starts a task on the host number `index`, in these groups; its ARN.
pub(crate) fn start_on(lab: &Lab, index: usize, definition: &str, groups: &[&str]) -> String {
    let instances = lab.instances().unwrap();
    let found = strings(&json!(instances), "containerInstanceArn");
    let instance = found.iter().find(|arn| node_index(lab, arn) == index).expect("every host is an instance");
    let mut args = json!({"taskDefinition": definition, "containerInstances": [instance]});
    merge(&mut args, network(lab, groups));
    let answer = lab.ecs("start_task", args).unwrap();
    assert_eq!(answer["failures"], json!([]), "{answer}");
    answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
}

/// Waits until tasks run, and gives them in this order.
pub(crate) fn wired<'a>(lab: &'a Lab, arns: &[String]) -> Vec<Wired<'a>> {
    let tasks = wait_tasks(lab, arns, "RUNNING", DEADLINE);
    let of = |arn: &String| tasks.iter().find(|t| t["taskArn"] == json!(arn)).expect("it was asked for");
    arns.iter().map(|arn| Wired::of(lab, of(arn))).collect()
}

/// Makes a security group; a new one lets nobody in and everything out.
pub(crate) fn make_group(lab: &Lab, name: &str) -> String {
    let made = ec2(lab, "create_security_group", json!({"GroupName": name, "Description": "of a test"}));
    made["GroupId"].as_str().unwrap().to_owned()
}

/// The group of tasks that name none.
pub(crate) fn default_group(lab: &Lab) -> String {
    let found = ec2(lab, "describe_security_groups", json!({"GroupNames": ["default"]}));
    found["SecurityGroups"][0]["GroupId"].as_str().unwrap().to_owned()
}

/// Adds or takes a rule: `authorize` or `revoke`, `ingress` or `egress`.
pub(crate) fn change_rule(lab: &Lab, verb: &str, way: &str, group: &str, permission: &Value) {
    let args = json!({"GroupId": group, "IpPermissions": [permission]});
    ec2(lab, &format!("{verb}_security_group_{way}"), args);
}

/// A permission as EC2 writes it.
pub(crate) fn permission(protocol: &str, from: i32, to: i32, peer: &str) -> Value {
    let mut made = json!({"IpProtocol": protocol, "FromPort": from, "ToPort": to});
    if protocol == "-1" {
        made = json!({"IpProtocol": protocol});
    }
    let peer = if peer.starts_with("sg-") {
        json!({"UserIdGroupPairs": [{"GroupId": peer}]})
    } else {
        json!({"IpRanges": [{"CidrIp": peer}]})
    };
    merge(&mut made, peer);
    made
}
