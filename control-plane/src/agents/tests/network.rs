//! What a session tells its agent of the task network, and hears of it.

use super::peer::{Line, Port, hello, patient};
use crate::agents::AgentsConfig;
use longshore_core::CoreConfig;
use longshore_model::{
    GroupId, GroupRules, InstanceId, Lease, NetworkChanges, NetworkHealth, NetworkState, NetworkUpdate, Peer, Rule,
    RulePeer, Traffic,
};
use longshore_proto::v1;
use longshore_proto::v1::agent_message::Kind as Say;
use longshore_proto::v1::control_message::Kind as Hear;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::Code;

fn network() -> NetworkState {
    NetworkState {
        config: CoreConfig::default().network,
        leases: vec![lease(1)],
        peers: BTreeMap::new(),
        groups: BTreeMap::new(),
        members: BTreeMap::new(),
    }
}

fn lease(n: u8) -> Lease {
    Lease { v4: format!("10.77.{n}.0/24").parse().expect("a network"), v6: None }
}

/// The same with another host, and with a group that lets its members in.
fn grown(mut state: NetworkState, n: u8) -> NetworkState {
    let instance = InstanceId::from_bytes([n; 16]);
    let underlay = format!("192.0.2.{n}").parse().expect("an address");
    state.peers.insert(instance, Peer { instance, underlay, leases: vec![lease(n)], connected: true });
    let group: GroupId = format!("sg-{n:017x}").parse().expect("an id");
    let rule = Rule { traffic: Traffic::All, peer: RulePeer::Group(group) };
    state.groups.insert(group, GroupRules { ingress: [rule].into(), egress: [].into() });
    state.members.insert(group, [format!("10.77.{n}.9").parse().expect("an address")].into());
    state
}

fn status(applied_generation: u64) -> Say {
    Say::NetworkStatus(v1::NetworkStatus { degraded: None, applied_generation, free_addresses: 200 })
}

impl Line {
    async fn update(&mut self) -> NetworkUpdate {
        match self.hear().await.expect("a message") {
            Hear::Network(update) => NetworkUpdate::try_from(*update).expect("it can be read"),
            other => panic!("not a network update: {other:?}"),
        }
    }
}

/// Takes an update in as an agent does.
fn take(held: &mut Option<(u64, NetworkState)>, update: NetworkUpdate) {
    *held = Some(match update {
        NetworkUpdate::Complete { generation, state } => (generation.0, state),
        NetworkUpdate::Delta { base, generation, changes } => {
            let (at, mut state) = held.take().expect("the first is complete");
            assert_eq!(base.0, at, "a delta builds on what was sent before");
            state.apply(changes);
            (generation.0, state)
        }
    });
}

#[tokio::test]
async fn agents_without_a_part_of_the_network_hear_nothing_of_it() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    port.fleet.change(|state| state.settled = 900);
    let mut line = port.line(instance).await;
    line.say(Say::Hello(hello())).await;
    assert_eq!(line.welcome().await.revision, 77);
    line.assignment().await;
    assert_eq!(line.quiet(1).await, []);
    line.say(Say::Heartbeat(v1::Heartbeat { seq: 2, ..v1::Heartbeat::default() })).await;
    let ack = v1::HeartbeatAck { seq: 2, ..v1::HeartbeatAck::default() };
    assert_eq!(line.hear().await.expect("a message"), Hear::HeartbeatAck(ack));
    // It is given a part.
    port.fleet.connect_network(instance, network());
    assert!(matches!(line.update().await, NetworkUpdate::Complete { state, .. } if state == network()));
    line.say(Say::Heartbeat(v1::Heartbeat { seq: 3, ..v1::Heartbeat::default() })).await;
    let ack = v1::HeartbeatAck { seq: 3, network_settled: 900, ..v1::HeartbeatAck::default() };
    assert_eq!(line.hear().await.expect("a message"), Hear::HeartbeatAck(ack));
}

#[tokio::test]
async fn updates_leave_at_once_and_gather_while_one_is_in_flight() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    port.fleet.connect_network(instance, network());
    let (mut line, ..) = port.session(instance).await;
    let mut held = None;
    take(&mut held, line.update().await);
    line.say(status(11)).await;
    port.fleet.connect_network(instance, grown(network(), 2));
    take(&mut held, line.update().await);
    assert_eq!(held, Some((21, grown(network(), 2))));
    // In flight: nothing more is sent, whatever changes, and whatever an older state is said to be in force.
    port.fleet.connect_network(instance, grown(grown(network(), 2), 3));
    port.fleet.connect_network(instance, grown(network(), 3));
    line.say(status(11)).await;
    assert_eq!(line.quiet(1).await, []);
    line.say(status(21)).await;
    take(&mut held, line.update().await);
    assert_eq!(held, Some((41, grown(network(), 3))));
    line.say(status(41)).await;
    // Nothing but the number changed: without it the host would count as behind.
    port.fleet.connect_network(instance, grown(network(), 3));
    match line.update().await {
        NetworkUpdate::Delta { base, generation, changes } => {
            assert_eq!((base.0, generation.0, changes), (41, 51, NetworkChanges::default()));
        }
        complete @ NetworkUpdate::Complete { .. } => panic!("nothing changed: {complete:?}"),
    }
    line.say(status(51)).await;
    assert_eq!(line.quiet(2).await, []);
    port.fleet
        .wait("the statuses", |state| {
            state.instances[&instance].statuses.last().is_some_and(|status| status.applied.0 == 51)
        })
        .await;
}

#[tokio::test]
async fn everything_is_sent_again_to_an_agent_that_lost_it_or_does_not_answer() {
    let port = Port::start(AgentsConfig { apply_timeout: Duration::from_millis(300), ..patient() }).await;
    let instance = port.fleet.add_instance();
    port.fleet.connect_network(instance, network());
    let (mut line, _, assignment) = port.session(instance).await;
    line.applied(assignment.generation).await;
    // No answer: the same again.
    for _ in 0..2 {
        assert!(matches!(line.update().await, NetworkUpdate::Complete { state, .. } if state == network()));
    }
    line.say(status(11)).await;
    // It begins anew.
    line.say(status(0)).await;
    assert!(matches!(line.update().await, NetworkUpdate::Complete { .. }));
    line.say(status(11)).await;
    // It cannot use the changes.
    port.fleet.connect_network(instance, grown(network(), 2));
    let mut changes = line.update().await;
    while matches!(changes, NetworkUpdate::Complete { .. }) {
        // One more repetition may have left before our answer came.
        line.say(status(11)).await;
        changes = line.update().await;
    }
    line.say(status(0)).await;
    assert!(matches!(line.update().await, NetworkUpdate::Complete { state, .. } if state == grown(network(), 2)));
    // It says that it cannot use them.
    line.say(status(21)).await;
    line.say(Say::Resync(v1::Resync { why: "an update did not fit".to_owned() })).await;
    assert!(line.assignment().await.complete);
    assert!(matches!(line.update().await, NetworkUpdate::Complete { state, .. } if state == grown(network(), 2)));
    // What it was never sent is of another control plane, and counts for nothing.
    line.say(status(999)).await;
    line.say(status(21)).await;
    let current = |state: &super::fleet::State| {
        state.instances[&instance].statuses.last().is_some_and(|status| status.applied.0 == 21)
    };
    port.fleet.wait("the last status", current).await;
    let state = port.fleet.lock();
    assert!(state.instances[&instance].statuses.iter().all(|status| status.applied.0 <= 21));
}

#[tokio::test]
async fn a_status_that_cannot_be_read_ends_the_session_with_the_field() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let (mut line, ..) = port.session(instance).await;
    let degraded = Some("x".repeat(1025));
    line.say(Say::NetworkStatus(v1::NetworkStatus { degraded, ..v1::NetworkStatus::default() })).await;
    let end = line.end().await;
    assert_eq!(end.code(), Code::InvalidArgument);
    assert!(end.message().contains("network_status") && end.message().contains("degraded"), "{end}");
    assert!(port.fleet.lock().instances[&instance].statuses.is_empty());
}

#[tokio::test]
async fn what_an_agent_says_of_its_network_reaches_the_core() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let (mut line, ..) = port.session(instance).await;
    let degraded = Some("no VXLAN".to_owned());
    line.say(Say::NetworkStatus(v1::NetworkStatus { degraded, applied_generation: 5, free_addresses: 3 })).await;
    port.fleet.wait("the status", |state| !state.instances[&instance].statuses.is_empty()).await;
    {
        let state = port.fleet.lock();
        let status = &state.instances[&instance].statuses[0];
        assert_eq!(status.health, NetworkHealth::Degraded { reason: "no VXLAN".to_owned() });
        assert_eq!((status.applied.0, status.free_addresses), (0, 3), "it was sent nothing yet");
    }
    // A session that is over says nothing any more.
    port.fleet.change(|state| state.instances.get_mut(&instance).expect("registered").session = None);
    line.say(status(0)).await;
    assert_eq!(line.end().await.code(), Code::Aborted);
}
