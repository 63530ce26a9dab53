//! The task network: who gets which part of it, what hosts are told, and tasks with interfaces.

mod services;

use crate::world::{Agent, FaultyStore, TestClock, World, caller, facts, report, task_id, with_attribute};
use longshore_core::{CoreConfig, Ec2Operation, OpenError};
use longshore_ecs_api::Operation as Op;
use longshore_model::{
    EniId, EniReport, Generation, GroupId, HostFacts, InstanceId, Lease, Mac, NetworkConfig, NetworkHealth,
    NetworkState, NetworkStatus, Overlay, TaskId, TaskReport, TaskStatus,
};
use longshore_store::MemoryStore;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// A host that can take part, at 192.0.2.N.
fn networked(n: u8) -> HostFacts {
    let underlay = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)));
    with_attribute(HostFacts { underlay, ..facts(4096, 8192) }, "ecs.capability.task-eni", None)
}

async fn world_with(range: &str) -> World {
    let clock = Arc::new(TestClock::default());
    World::with(FaultyStore::new(MemoryStore::new()), clock, config(range)).await
}

fn config(range: &str) -> CoreConfig {
    let mut config = CoreConfig::default();
    config.network.v4 = range.parse().unwrap();
    config
}

impl World {
    fn leases(&self, id: InstanceId) -> Vec<Lease> {
        let state = self.core.snapshot();
        state.host(id).map(|host| state.leases(host)).unwrap_or_default()
    }

    /// Why a host gives tasks no interfaces.
    fn degraded(&self, id: InstanceId) -> String {
        let state = self.core.snapshot();
        match state.network_health(state.host(id).unwrap()) {
            Some(NetworkHealth::Degraded { reason }) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn network(&self, id: InstanceId) -> (Generation, NetworkState) {
        let view = self.core.network_view(id).expect("it has a part of the network");
        (view.generation, view.state())
    }

    /// A host whose part of the network works.
    async fn ready_host(&self, n: u8) -> Agent {
        self.ok(Op::CreateCluster, json!({})).await;
        let agent = self.host("default", networked(n)).await;
        self.ready(&agent, 200).await;
        agent
    }

    /// The host has everything in force that it was told, and that many addresses.
    async fn ready(&self, agent: &Agent, free_addresses: u32) {
        let applied = self.network(agent.instance).0;
        self.status(agent, NetworkStatus { health: NetworkHealth::Ready, applied, free_addresses }).await;
    }

    async fn status(&self, agent: &Agent, status: NetworkStatus) {
        self.core.network_status(agent.instance, agent.session, status).await.unwrap();
    }

    async fn ec2(&self, op: Ec2Operation, params: &[(&str, &str)]) -> Result<String, String> {
        let form = params.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.core.ec2(&caller("lab"), op, form, "id").await.map_err(|error| error.to_string())
    }

    fn subnet(&self) -> String {
        self.core.snapshot().network().unwrap().subnet.to_string()
    }

    fn default_group(&self) -> GroupId {
        self.core.snapshot().network().unwrap().default_group
    }

    async fn group(&self, name: &str) -> GroupId {
        let params = [("GroupName", name), ("GroupDescription", "x")];
        let answer = self.ec2(Ec2Operation::CreateSecurityGroup, &params).await.unwrap();
        element(&answer, "groupId").parse().unwrap()
    }

    /// Lets members of `from` into `group`.
    async fn allow(&self, group: GroupId, from: GroupId) {
        let (group, from) = (group.to_string(), from.to_string());
        let params = [
            ("GroupId", group.as_str()),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "5432"),
            ("IpPermissions.1.ToPort", "5432"),
            ("IpPermissions.1.Groups.1.GroupId", &from),
        ];
        self.ec2(Ec2Operation::AuthorizeSecurityGroupIngress, &params).await.unwrap();
    }

    async fn awsvpc_definition(&self, family: &str) {
        let container =
            json!({"name": "app", "image": "busybox", "memory": 64, "portMappings": [{"containerPort": 80}]});
        let request = json!({"family": family, "networkMode": "awsvpc", "containerDefinitions": [container]});
        self.ok(Op::RegisterTaskDefinition, request).await;
    }

    fn run_request(&self, groups: &[GroupId]) -> Value {
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        let awsvpc = json!({"subnets": [self.subnet()], "securityGroups": groups});
        json!({"taskDefinition": "web", "networkConfiguration": {"awsvpcConfiguration": awsvpc}})
    }

    /// Starts a task on a host.
    async fn start_on(&self, agent: &Agent, groups: &[GroupId]) -> TaskId {
        let mut request = self.run_request(groups);
        request["containerInstances"] = json!([agent.arn]);
        let answer = self.ok(Op::StartTask, request).await;
        assert_eq!(answer["failures"], json!([]), "{answer}");
        task_id(&answer["tasks"][0])
    }
}

fn element(xml: &str, name: &str) -> String {
    let from = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name}: {xml}")).1;
    from.split_once('<').unwrap().0.to_owned()
}

/// A report of a task that has an address.
fn with_address(task: TaskId, version: u64, status: TaskStatus, address: Ipv4Addr, attached: bool) -> TaskReport {
    let id: EniId = format!("eni-{}", &task.to_string()[..17]).parse().unwrap();
    let eni = EniReport { id, mac: Mac::of_task(address), ipv4: address, ipv6: None, attached };
    TaskReport { eni: Some(eni), ..report(task, version, status) }
}

fn nets(leases: &[Lease]) -> Vec<String> {
    leases.iter().map(|lease| lease.v4.to_string()).collect()
}

#[tokio::test]
async fn hosts_get_a_part_of_the_network_and_keep_it() {
    let world = World::new().await;
    world.ok(Op::CreateCluster, json!({})).await;
    let plain = world.host("default", facts(1024, 1024)).await;
    assert!(world.core.network_view(plain.instance).is_none(), "it takes no part");
    let mut one = world.host("default", networked(1)).await;
    let two = world.host("default", networked(2)).await;
    assert_eq!(nets(&world.leases(one.instance)), ["10.77.1.0/24"]);
    assert_eq!(nets(&world.leases(two.instance)), ["10.77.2.0/24"]);
    let (_, state) = world.network(one.instance);
    assert_eq!(state.leases, world.leases(one.instance));
    assert_eq!(state.peers.len(), 1);
    let peer = &state.peers[&two.instance];
    assert_eq!((peer.underlay.to_string(), peer.connected), ("192.0.2.2".to_owned(), true));
    assert_eq!(peer.leases, world.leases(two.instance));

    // A peer that is lost is told, and keeps what it has; so it does over a restart of everything.
    let (before, _) = world.network(one.instance);
    let mut changes = world.core.watch_network(one.instance);
    two.disconnect().await;
    changes.changed().await.unwrap();
    let (after, state) = world.network(one.instance);
    assert!(after > before && *changes.borrow() == after);
    assert!(!state.peers[&two.instance].connected);
    one.connect(Vec::new()).await;
    assert_eq!(nets(&world.leases(one.instance)), ["10.77.1.0/24"]);
    let world = world.reopen().await;
    assert_eq!(nets(&world.leases(one.instance)), ["10.77.1.0/24"]);
    assert_eq!(nets(&world.leases(two.instance)), ["10.77.2.0/24"]);

    // A host that is deregistered gives its part back, and those that come get others, also after a restart.
    world.ok(Op::DeregisterContainerInstance, json!({"containerInstance": two.arn})).await;
    assert_eq!(world.leases(two.instance), []);
    assert!(world.network(one.instance).1.peers.is_empty());
    let three = world.host("default", networked(3)).await;
    assert_eq!(nets(&world.leases(three.instance)), ["10.77.3.0/24"]);
    world.ok(Op::DeregisterContainerInstance, json!({"containerInstance": three.arn})).await;
    let world = world.reopen().await;
    let four = world.host("default", networked(4)).await;
    assert_eq!(nets(&world.leases(four.instance)), ["10.77.4.0/24"]);
}

#[tokio::test]
async fn a_part_that_was_given_back_comes_after_all_others() {
    let world = world_with("10.5.0.0/22").await;
    world.ok(Op::CreateCluster, json!({})).await;
    let one = world.host("default", networked(1)).await;
    assert_eq!(nets(&world.leases(one.instance)), ["10.5.1.0/24"]);
    let mut given = Vec::new();
    for number in 2..8 {
        let host = world.host("default", networked(number)).await;
        given.extend(nets(&world.leases(host.instance)));
        world.ok(Op::DeregisterContainerInstance, json!({"containerInstance": host.arn})).await;
    }
    assert_eq!(given, ["10.5.2.0/24", "10.5.3.0/24", "10.5.0.0/24", "10.5.2.0/24", "10.5.3.0/24", "10.5.0.0/24"]);
}

#[tokio::test]
async fn two_hosts_at_one_address_and_more_hosts_than_the_network_has_room_for() {
    let world = world_with("10.5.0.0/23").await;
    world.ok(Op::CreateCluster, json!({})).await;
    let first = world.host("default", networked(1)).await;
    assert_eq!(nets(&world.leases(first.instance)), ["10.5.1.0/24"]);
    let same = world.host("default", networked(1)).await;
    assert_eq!(world.leases(same.instance), []);
    let reason = world.degraded(same.instance);
    assert!(reason.contains(&first.instance.to_string()) && reason.contains("192.0.2.1"), "{reason}");
    let shown = world.ok(Op::DescribeContainerInstances, json!({"containerInstances": [same.arn]})).await;
    assert!(shown["containerInstances"][0]["statusReason"].as_str().unwrap().contains(&reason), "{shown}");

    let second = world.host("default", networked(2)).await;
    assert_eq!(nets(&world.leases(second.instance)), ["10.5.0.0/24"], "the first range comes last");
    let third = world.host("default", networked(3)).await;
    let reason = world.degraded(third.instance);
    assert!(reason.contains("no /24 of 10.5.0.0/23"), "{reason}");
    world.awsvpc_definition("web").await;
    let mut request = world.run_request(&[]);
    request["containerInstances"] = json!([third.arn]);
    let answer = world.ok(Op::StartTask, request).await;
    let failure = &answer["failures"][0];
    assert_eq!((&failure["arn"], &failure["reason"]), (&json!(third.arn), &json!("RESOURCE:ENI")), "{answer}");
    assert!(failure["detail"].as_str().unwrap().contains(&reason), "{answer}");
    assert!(world.core.network_view(third.instance).is_none());
    // What is given back goes to one that waits, at once.
    let mut changes = world.core.watch_network(third.instance);
    world.ok(Op::DeregisterContainerInstance, json!({"containerInstance": second.arn})).await;
    changes.changed().await.unwrap();
    assert_eq!(nets(&world.leases(third.instance)), ["10.5.0.0/24"]);
    world.ok(Op::DeregisterContainerInstance, json!({"containerInstance": first.arn})).await;
    assert_eq!(nets(&world.leases(same.instance)), ["10.5.1.0/24"]);
    assert_eq!(world.network(third.instance).1.peers[&same.instance].underlay.to_string(), "192.0.2.1");
}

#[tokio::test]
async fn parts_may_be_small() {
    let mut config = config("192.168.50.128/25");
    config.network = NetworkConfig { lease_length: 28, overlay: Overlay::Lan, ..config.network };
    let world = World::with(FaultyStore::new(MemoryStore::new()), Arc::new(TestClock::default()), config).await;
    let agent = world.ready_host(1).await;
    let second = world.host("default", networked(2)).await;
    assert_eq!(nets(&world.leases(agent.instance)), ["192.168.50.144/28"]);
    assert_eq!(nets(&world.leases(second.instance)), ["192.168.50.160/28"]);
    let (_, state) = world.network(agent.instance);
    assert_eq!((state.config.lease_length, state.config.overlay), (28, Overlay::Lan));
    let subnets = world.ec2(Ec2Operation::DescribeSubnets, &[]).await.unwrap();
    assert_eq!(element(&subnets, "availableIpAddressCount"), (8 * 13).to_string(), "eight parts of 13 addresses");
    world.ready(&agent, 4).await;
    assert_eq!(world.leases(agent.instance).len(), 1, "enough");
    world.ready(&agent, 3).await;
    assert_eq!(nets(&world.leases(agent.instance)), ["192.168.50.144/28", "192.168.50.176/28"]);
    for number in 3..=7 {
        world.host("default", networked(number)).await;
    }
    let last = world.host("default", networked(8)).await;
    let reason = world.degraded(last.instance);
    assert!(reason.contains("no /28 of 192.168.50.128/25"), "{reason}");
}

#[tokio::test]
async fn a_host_that_runs_out_of_addresses_gets_more() {
    let world = World::new().await;
    let agent = world.ready_host(1).await;
    let status = |applied, free_addresses| NetworkStatus { health: NetworkHealth::Ready, applied, free_addresses };
    let before = world.network(agent.instance).0;
    world.ready(&agent, 32).await;
    assert_eq!(world.leases(agent.instance).len(), 1, "enough");
    world.status(&agent, status(before, 31)).await;
    assert_eq!(nets(&world.leases(agent.instance)), ["10.77.1.0/24", "10.77.2.0/24"]);
    // The same said again, before it has heard of the second.
    world.status(&agent, status(before, 5)).await;
    assert_eq!(world.leases(agent.instance).len(), 2);
    world.ready(&agent, 5).await;
    assert_eq!(world.leases(agent.instance).len(), 3);
    assert_eq!(world.network(agent.instance).1.leases, world.leases(agent.instance), "the oldest first");
}

#[tokio::test]
async fn a_host_gets_more_addresses_before_placement_has_none_left() {
    let world = World::new().await;
    let agent = world.ready_host(1).await;
    let container = json!({"name": "app", "image": "busybox", "memory": 6});
    let request = json!({"family": "web", "networkMode": "awsvpc", "containerDefinitions": [container]});
    world.ok(Op::RegisterTaskDefinition, request).await;
    let mut request = world.run_request(&[]);
    request["count"] = json!(10);
    // The agent has not begun to start any, and says nothing.
    for tasks in (10..=300).step_by(10) {
        let answer = world.ok(Op::RunTask, request.clone()).await;
        assert_eq!(answer["failures"], json!([]), "{tasks}: {answer}");
        // 253 addresses, of which 31 are few.
        assert_eq!(world.leases(agent.instance).len(), if tasks > 253 - 31 { 2 } else { 1 }, "{tasks}");
    }
}

#[tokio::test]
async fn a_network_that_is_configured_otherwise_is_refused_once_it_is_used() {
    let store = FaultyStore::new(MemoryStore::new());
    let clock = Arc::new(TestClock::default());
    let world = World::with(Arc::clone(&store), Arc::clone(&clock), config("10.1.0.0/16")).await;
    let subnet = world.subnet();
    world.stop().await.unwrap();
    // Nobody has addresses of it yet.
    let world = World::with(Arc::clone(&store), Arc::clone(&clock), config("10.2.0.0/16")).await;
    assert_eq!(world.subnet(), subnet, "it is the same network");
    world.ok(Op::CreateCluster, json!({})).await;
    let agent = world.host("default", networked(1)).await;
    assert_eq!(nets(&world.leases(agent.instance)), ["10.2.1.0/24"]);
    world.stop().await.unwrap();
    let mut mtu = config("10.2.0.0/16");
    mtu.network.mtu = 1400;
    let mut lease = config("10.2.0.0/16");
    lease.network.lease_length = 26;
    for (config, key, values) in [
        (config("10.3.0.0/16"), "task_network", ("10.2.0.0/16", "10.3.0.0/16")),
        (mtu, "task_network_mtu", ("1450", "1400")),
        (lease, "task_network_lease", ("24", "26")),
    ] {
        match World::open(Arc::clone(&store), Arc::clone(&clock), config).await.err() {
            Some(OpenError::OtherNetwork { key: named, stored, configured }) => {
                assert_eq!((named, (stored.as_str(), configured.as_str())), (key, values));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn groups_let_ipv6_out_once_the_network_has_it_unless_they_were_edited() {
    let store = FaultyStore::new(MemoryStore::new());
    let clock = Arc::new(TestClock::default());
    let world = World::with(Arc::clone(&store), Arc::clone(&clock), config("10.1.0.0/16")).await;
    let (made, edited) = (world.group("made").await.to_string(), world.group("edited").await.to_string());
    let params = [
        ("GroupId", edited.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "443"),
        ("IpPermissions.1.ToPort", "443"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "192.0.2.0/24"),
    ];
    world.ec2(Ec2Operation::AuthorizeSecurityGroupEgress, &params).await.unwrap();
    world.stop().await.unwrap();
    let mut dual = config("10.1.0.0/16");
    dual.network.v6 = Some("fd77::/48".parse().unwrap());
    // The second start finds nothing more to do.
    for _ in 0..2 {
        let world = World::with(Arc::clone(&store), Arc::clone(&clock), dual.clone()).await;
        let new = world.group(&format!("new-{}", world.core.snapshot().security_groups().count())).await.to_string();
        let default = world.default_group().to_string();
        for (group, expected) in [(&default, 1), (&made, 1), (&new, 1), (&edited, 0)] {
            let found = world.ec2(Ec2Operation::DescribeSecurityGroups, &[("GroupId.1", group)]).await.unwrap();
            assert_eq!(found.matches("<cidrIpv6>::/0</cidrIpv6>").count(), expected, "{group}: {found}");
        }
        world.stop().await.unwrap();
    }
}

#[tokio::test]
async fn interfaces_are_asked_for_as_in_ecs() {
    let world = World::new().await;
    let agent = world.ready_host(1).await;
    world.awsvpc_definition("web").await;
    world.definition("plain", json!({})).await;
    let subnet = world.subnet();
    let with = |patch: Value| {
        let mut awsvpc = json!({"subnets": [subnet]});
        awsvpc.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        json!({"taskDefinition": "web", "networkConfiguration": {"awsvpcConfiguration": awsvpc}})
    };
    let groups: Vec<String> = (0..6).map(|_| GroupId::random().to_string()).collect();
    let own = world.default_group().to_string();
    for (request, expected) in [
        (
            json!({"taskDefinition": "web"}),
            "InvalidParameterException: Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        ),
        (json!({"taskDefinition": "web", "networkConfiguration": {}}), "Network Configuration must be provided"),
        (
            json!({"taskDefinition": "plain", "networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet]}}}),
            "InvalidParameterException: Network Configuration is not valid for the given networkMode of this task \
             definition.",
        ),
        (with(json!({"subnets": []})), "InvalidParameterException: subnets can not be empty."),
        (
            with(json!({"subnets": ["subnet-00000000000000000"]})),
            "The subnet ID 'subnet-00000000000000000' does not exist",
        ),
        (with(json!({"subnets": vec!["a"; 17]})), "subnets can have at most 16 items."),
        (with(json!({"subnets": [subnet, subnet]})), "stands twice"),
        (with(json!({"subnets": ["<b>"]})), "subnets: an id has"),
        (
            with(json!({"securityGroups": [groups[0]]})),
            &format!(
                "InvalidParameterException: Error retrieving security group information for [{0}]: The security \
                      group '{0}' does not exist",
                groups[0]
            ),
        ),
        (
            with(json!({"securityGroups": ["web"]})),
            "InvalidParameterException: Error retrieving security group information for [web]: Invalid id: \"web\" \
             (expecting \"sg-...\") (ErrorCode: InvalidGroupId.Malformed)",
        ),
        (with(json!({"securityGroups": ["sg-12345678"]})), "The security group 'sg-12345678' does not exist"),
        (with(json!({"subnets": ["subnet-0"]})), "(ErrorCode: InvalidSubnetId.Malformed)"),
        (with(json!({"subnets": [subnet, "subnet-00000000000000000"]})), "(ErrorCode: InvalidSubnetID.NotFound)"),
        (with(json!({"securityGroups": groups})), "securityGroups can have at most 5 items."),
        (with(json!({"securityGroups": [own, own]})), "stands twice"),
        (
            with(json!({"assignPublicIp": "ENABLED"})),
            "InvalidParameterException: Assign public IP is not supported for this launch type.",
        ),
        (with(json!({"assignPublicIp": "MAYBE"})), "assignPublicIp"),
    ] {
        for op in [Op::RunTask, Op::StartTask] {
            let mut request = request.clone();
            if op == Op::StartTask {
                request["containerInstances"] = json!([agent.arn]);
            }
            let error = world.err(op, request).await;
            assert!(error.contains(expected), "{error}\nexpected {expected}");
        }
    }
    assert_eq!(agent.assigned().len(), 0);
    // The default group, in every region.
    let task = world.run(with(json!({"assignPublicIp": "DISABLED"}))).await;
    let spec = agent.assigned()[&task_id(&task)].spec.awsvpc.clone().unwrap();
    assert_eq!((spec.subnet.to_string(), spec.groups), (subnet, BTreeSet::from([world.default_group()])));
}

#[tokio::test]
async fn a_definition_for_ec2_and_fargate_runs_with_ec2() {
    let world = World::new().await;
    let agent = world.ready_host(1).await;
    let definition = json!({
        "family": "web", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "requiresCompatibilities": ["EC2", "FARGATE"],
        "containerDefinitions": [{"name": "app", "image": "busybox"}],
    });
    world.ok(Op::RegisterTaskDefinition, definition).await;
    let with = |launch_type: &str| {
        let mut request = world.run_request(&[]);
        request["launchType"] = json!(launch_type);
        request
    };
    for (launch_type, expected) in [
        ("FARGATE", "launchType FARGATE is not supported yet"),
        ("EXTERNAL", "Task definition does not support launch_type EXTERNAL."),
    ] {
        let error = world.err(Op::RunTask, with(launch_type)).await;
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(agent.assigned().len(), 0);
    let task = world.run(with("EC2")).await;
    assert_eq!(task["launchType"], "EC2");
    assert_eq!(agent.assigned().len(), 1);
}

#[tokio::test]
async fn limits_come_from_tags_that_are_checked() {
    let world = World::new().await;
    let agent = world.ready_host(1).await;
    let container = json!({"name": "app", "image": "busybox", "memory": 64});
    let register = |mode: &str, key: &str, value: &str| {
        let tags = json!([{"key": key, "value": value}]);
        json!({"family": "web", "networkMode": mode, "containerDefinitions": [container], "tags": tags})
    };
    for (mode, key, value) in [
        ("awsvpc", "longshore:bandwidth-in", "fast"),
        ("awsvpc", "longshore:bandwidth-out", "1tbit"),
        ("bridge", "longshore:bandwidth-out", "1gbit"),
    ] {
        let error = world.err(Op::RegisterTaskDefinition, register(mode, key, value)).await;
        assert!(error.starts_with("ClientException: ") && error.contains(key), "{error}");
    }
    let made = world.ok(Op::RegisterTaskDefinition, register("awsvpc", "longshore:bandwidth-in", "100mbit")).await;
    let arn = &made["taskDefinition"]["taskDefinitionArn"];
    let tag = |value: &str| json!({"resourceArn": arn, "tags": [{"key": "longshore:bandwidth-out", "value": value}]});
    assert!(world.err(Op::TagResource, tag("x")).await.contains("longshore:bandwidth-out"));
    world.ok(Op::TagResource, tag("1gbit")).await;
    let task = world.run(world.run_request(&[])).await;
    let limits = agent.assigned()[&task_id(&task)].spec.awsvpc.clone().unwrap().bandwidth;
    assert_eq!((limits.ingress_bps, limits.egress_bps), (Some(100_000_000), Some(1_000_000_000)));
}

#[tokio::test]
async fn only_hosts_whose_network_works_are_given_tasks_with_interfaces() {
    let world = World::new().await;
    world.ok(Op::CreateCluster, json!({})).await;
    world.awsvpc_definition("web").await;
    let failure = async |reason: &str, detail: &str| {
        let answer = world.ok(Op::RunTask, world.run_request(&[])).await;
        assert_eq!(answer["tasks"], json!([]), "{answer}");
        let failure = &answer["failures"][0];
        assert_eq!(failure["reason"], reason, "{answer}");
        assert!(failure["detail"].as_str().unwrap().contains(detail), "{answer}");
    };
    let plain = world.host("default", facts(1024, 1024)).await;
    failure("ATTRIBUTE", "ecs.capability.task-eni").await;
    // It would take part, and says what it lacks.
    let health = NetworkHealth::Degraded { reason: "install the package `nftables`".to_owned() };
    world.status(&plain, NetworkStatus { health, applied: Generation(0), free_addresses: 0 }).await;
    failure("ATTRIBUTE", "install the package `nftables`").await;
    let shown = world.ok(Op::DescribeContainerInstances, json!({"containerInstances": [plain.arn]})).await;
    let reason = shown["containerInstances"][0]["statusReason"].as_str().unwrap();
    assert_eq!(reason, "Task networking is not available: install the package `nftables`");
    world.ok(Op::DeregisterContainerInstance, json!({"containerInstance": plain.arn})).await;
    let agent = world.host("default", networked(1)).await;
    failure("RESOURCE:ENI", "has not said yet").await;
    let applied = world.network(agent.instance).0;
    let health = NetworkHealth::Degraded { reason: "no VXLAN in this kernel".to_owned() };
    world.status(&agent, NetworkStatus { health, applied, free_addresses: 200 }).await;
    failure("RESOURCE:ENI", "no VXLAN in this kernel").await;
    let shown = world.ok(Op::DescribeContainerInstances, json!({"containerInstances": [agent.arn]})).await;
    let reason = shown["containerInstances"][0]["statusReason"].as_str().unwrap();
    assert_eq!(reason, "Task networking is not available: no VXLAN in this kernel");
    world.ready(&agent, 0).await;
    failure("RESOURCE:ENI", "none of its addresses is free").await;
    world.ready(&agent, 200).await;
    let shown = world.ok(Op::DescribeContainerInstances, json!({"containerInstances": [agent.arn]})).await;
    assert_eq!(shown["containerInstances"][0].get("statusReason"), None);
    // Ports of interfaces are not the host's: any number of tasks have port 80.
    let mut request = world.run_request(&[]);
    request["count"] = json!(2);
    let answer = world.ok(Op::RunTask, request).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 2);
    let shown = world.ok(Op::DescribeContainerInstances, json!({"containerInstances": [agent.arn]})).await;
    let ports = &shown["containerInstances"][0]["remainingResources"][2];
    assert_eq!(ports["stringSetValue"], json!(["22", "2375"]));
}

#[tokio::test]
async fn a_task_shows_its_interface_from_placement_to_its_end() {
    let world = World::new().await;
    let mut agent = world.ready_host(1).await;
    world.awsvpc_definition("web").await;
    let placed = world.run(world.run_request(&[])).await;
    let id = task_id(&placed);
    assert_eq!(placed["lastStatus"], "PROVISIONING");
    let attachment = &placed["attachments"][0];
    assert_eq!((&attachment["type"], &attachment["status"]), (&json!("ElasticNetworkInterface"), &json!("PRECREATED")));
    assert_eq!(attachment["details"], json!([{"name": "subnetId", "value": world.subnet()}]));
    assert_eq!(placed["containers"][0]["networkInterfaces"], json!([]));
    agent.is(id, TaskStatus::Pending).await;
    assert_eq!(world.task(id).await["attachments"][0]["status"], "ATTACHING");

    let address = Ipv4Addr::new(10, 77, 1, 11);
    agent.say(vec![with_address(id, 2, TaskStatus::Running, address, true)]).await;
    let shown = world.task(id).await;
    let attachment = &shown["attachments"][0];
    assert_eq!(attachment["status"], "ATTACHED");
    let eni = format!("eni-{}", &id.to_string()[..17]);
    let expected = json!([
        {"name": "subnetId", "value": world.subnet()},
        {"name": "networkInterfaceId", "value": eni},
        {"name": "macAddress", "value": "02:0a:0a:4d:01:0b"},
        {"name": "privateDnsName", "value": "ip-10-77-1-11"},
        {"name": "privateIPv4Address", "value": "10.77.1.11"},
    ]);
    assert_eq!(attachment["details"], expected);
    let own = json!([{"attachmentId": attachment["id"], "privateIpv4Address": "10.77.1.11"}]);
    assert_eq!(shown["containers"][0]["networkInterfaces"], own);
    let interfaces =
        world.ec2(Ec2Operation::DescribeNetworkInterfaces, &[("NetworkInterfaceId.1", &eni)]).await.unwrap();
    assert_eq!(element(&interfaces, "privateIpAddress"), "10.77.1.11");

    agent.say(vec![with_address(id, 3, TaskStatus::Deprovisioning, address, false)]).await;
    assert_eq!(world.task(id).await["attachments"][0]["status"], "DETACHED");
    let gone = world.ec2(Ec2Operation::DescribeNetworkInterfaces, &[("NetworkInterfaceId.1", &eni)]).await.unwrap_err();
    assert!(gone.starts_with("InvalidNetworkInterfaceID.NotFound"), "{gone}");
    agent.say(vec![report(id, 4, TaskStatus::Stopped)]).await;
    let shown = world.task(id).await;
    assert_eq!((&shown["lastStatus"], &shown["attachments"][0]["status"]), (&json!("STOPPED"), &json!("DELETED")));
    assert_eq!(shown["attachments"][0]["details"], expected, "what is known stays known");
}

#[tokio::test]
async fn hosts_learn_the_members_that_their_groups_refer_to_and_no_others() {
    let world = World::new().await;
    let (one, two) = (world.ready_host(1).await, world.ready_host(2).await);
    let idle = world.ready_host(3).await;
    world.awsvpc_definition("web").await;
    let (web, db) = (world.group("web").await, world.group("db").await);
    world.allow(db, web).await;
    let before = world.network(idle.instance).0;
    let client = world.start_on(&one, &[web]).await;
    let server = world.start_on(&two, &[db]).await;
    let (placed, state) = world.network(two.instance);
    assert_eq!(state.groups.keys().copied().collect::<Vec<_>>(), [db]);
    assert_eq!(state.members, [(web, BTreeSet::new())].into(), "nobody is in it yet, and that is told");
    assert_eq!(world.network(one.instance).1.groups.len(), 1);

    let mut changes = world.core.watch_network(two.instance);
    one.say(vec![with_address(client, 1, TaskStatus::Running, Ipv4Addr::new(10, 77, 1, 5), true)]).await;
    changes.changed().await.unwrap();
    let (known, state) = world.network(two.instance);
    assert!(known > placed);
    assert_eq!(state.members[&web], BTreeSet::from(["10.77.1.5".parse().unwrap()]));
    // An address that is not the host's own makes nobody a member.
    two.say(vec![with_address(server, 1, TaskStatus::Running, Ipv4Addr::new(10, 77, 1, 6), true)]).await;
    assert_eq!(world.task(server).await["attachments"][0]["status"], "ATTACHING");
    assert_eq!(world.network(two.instance).0, known, "what nobody refers to is told to nobody");

    // A change of rules reaches the hosts that have the group.
    world.allow(db, world.default_group()).await;
    let (_, state) = world.network(two.instance);
    assert_eq!(state.groups[&db].ingress.len(), 2);
    assert_eq!(state.members.len(), 2);
    // Used, by a task or by a rule.
    for group in [web, db] {
        let refused = world.ec2(Ec2Operation::DeleteSecurityGroup, &[("GroupId", &group.to_string())]).await;
        assert!(refused.unwrap_err().starts_with("DependencyViolation"), "{group}");
    }
    one.say(vec![with_address(client, 2, TaskStatus::Stopping, Ipv4Addr::new(10, 77, 1, 5), false)]).await;
    assert_eq!(world.network(two.instance).1.members[&web], BTreeSet::new());
    two.say(vec![report(server, 2, TaskStatus::Stopped)]).await;
    assert!(world.network(two.instance).1.groups.is_empty());
    world.ec2(Ec2Operation::DeleteSecurityGroup, &[("GroupId", &db.to_string())]).await.unwrap();
    assert_eq!(world.network(idle.instance).0, before, "a host without tasks heard of none of it");
}

#[tokio::test]
async fn an_interface_that_a_hello_does_not_have_is_over() {
    let world = World::new().await;
    let (mut one, two) = (world.ready_host(1).await, world.ready_host(2).await);
    world.awsvpc_definition("web").await;
    let own = world.default_group();
    let (kept, lost) = (world.start_on(&one, &[]).await, world.start_on(&one, &[]).await);
    world.start_on(&two, &[]).await;
    let (first, second) = (Ipv4Addr::new(10, 77, 1, 5), Ipv4Addr::new(10, 77, 1, 6));
    one.say(vec![
        with_address(kept, 1, TaskStatus::Running, first, true),
        with_address(lost, 1, TaskStatus::Running, second, true),
    ])
    .await;
    assert_eq!(world.network(two.instance).1.members[&own], BTreeSet::from([first.into(), second.into()]));
    // Its task may be forgotten with it.
    one.connect(vec![with_address(kept, 1, TaskStatus::Running, first, true)]).await;
    assert_eq!(world.network(two.instance).1.members[&own], BTreeSet::from([first.into()]));
    assert_eq!(world.task(lost).await["attachments"][0]["status"], "DETACHED");
    assert_eq!(world.task(kept).await["attachments"][0]["status"], "ATTACHED");
}

#[tokio::test]
async fn a_network_is_settled_when_every_host_that_counts_has_what_concerns_it() {
    let world = World::new().await;
    let settled = async |what: &str, wanted: &dyn Fn(Generation) -> bool| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !wanted(world.core.network_settled()) {
            assert!(tokio::time::Instant::now() < deadline, "{what}: {}", world.core.network_settled());
            // An answer holds for a moment, by the clock that nobody sets.
            world.clock.advance(Duration::from_millis(20));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let revision = || world.core.snapshot().revision();
    let (one, two) = (world.ready_host(1).await, world.ready_host(2).await);
    world.ready(&one, 200).await;
    world.ready(&two, 200).await;
    settled("both have everything", &|settled| settled == revision()).await;
    // Changes that concern no host's network do not hold it back.
    world.cluster("other").await;
    settled("nothing of the network changed", &|settled| settled == revision()).await;

    world.awsvpc_definition("web").await;
    let task = world.start_on(&one, &[]).await;
    one.say(vec![with_address(task, 1, TaskStatus::Running, Ipv4Addr::new(10, 77, 1, 5), true)]).await;
    world.start_on(&two, &[]).await;
    one.say(vec![with_address(task, 2, TaskStatus::Stopping, Ipv4Addr::new(10, 77, 1, 5), false)]).await;
    let ended = revision();
    settled("the end is not known everywhere", &|settled| settled < ended).await;
    world.ready(&one, 200).await;
    settled("one of two", &|settled| settled < ended).await;
    world.ready(&two, 200).await;
    settled("both", &|settled| settled >= ended).await;

    // A host that is away holds it back, for a while.
    two.disconnect().await;
    let ended = revision();
    world.ready(&one, 200).await;
    world.start_on(&one, &[]).await;
    world.ready(&one, 200).await;
    settled("the lost one has not heard of its own end", &|settled| settled < ended).await;
    // How long that is, no clock says that can be set.
    let hour = Duration::from_secs(3600);
    world.clock.set_ahead(hour);
    world.clock.advance(Duration::from_secs(590));
    assert!(world.core.network_settled() < ended, "it was lost just now");
    world.clock.set_back(2 * hour);
    world.clock.advance(Duration::from_secs(11));
    settled("it is gone", &|settled| settled >= ended).await;
}
