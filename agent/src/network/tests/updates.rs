//! What the control plane says of the network, and what the host says of itself.

use super::*;

#[tokio::test(start_paused = true)]
async fn updates_build_on_each_other_or_everything_is_asked_for() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let mut rig = Rig::ready(&host, dir.path()).await;
    let member = |n: u8| IpAddr::V4(Ipv4Addr::new(10, 77, 9, n));
    let delta = |base: u64, add: u8| {
        let change = MemberChanges { added: [member(add)].into(), removed: BTreeSet::new() };
        let changes = NetworkChanges { members: [(group(), change)].into(), ..NetworkChanges::default() };
        let (base, generation) = (Generation(base), Generation(base + 1));
        Heard::Update(NetworkUpdate::Delta { base, generation, changes })
    };
    rig.hear(delta(5, 1)).await;
    rig.hear(delta(6, 2)).await;
    rig.until_status(|s| s.applied == Generation(7)).await;
    assert_eq!(host.state().members[&group()], [member(1), member(2)].into());
    assert!(!rig.link.misfits.has_changed().expect("the owner runs"));
    rig.hear(delta(9, 3)).await;
    rig.link.misfits.changed().await.expect("the owner runs");
    // A host does not go back.
    rig.hear(complete(6, &["10.77.3.0/24"])).await;
    rig.hear(complete(11, &["10.77.1.0/24"])).await;
    rig.until_status(|s| s.applied == Generation(11)).await;
    assert!(host.state().members.is_empty());
    assert_eq!(host.state().opened.len(), 1, "for none of this the fabric is opened again");
    // What fails is said, and done again as a whole.
    host.state().script.insert("change_members", vec![fault("no buffer space")]);
    rig.hear(delta(11, 4)).await;
    let status = rig.until_status(|s| s.health != NetworkHealth::Ready).await;
    assert_eq!(status.applied, Generation(11));
    rig.until_status(|s| s.health == NetworkHealth::Ready && s.applied == Generation(12)).await;
    assert_eq!(host.state().members[&group()], [member(4)].into());
}

/// One member of a large group costs one change of the kernel and one line on the disk.
#[tokio::test(start_paused = true)]
async fn a_change_costs_what_it_changes() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let mut rig = Rig::ready(&host, dir.path()).await;
    let member = |n: u32| IpAddr::V4(Ipv4Addr::from(0x0a4d_1000 + n));
    let mut all = state(&["10.77.1.0/24"]);
    let other = GroupId::random();
    all.members = [(group(), (0..10_000).map(member).collect()), (other, [member(3)].into())].into();
    rig.hear(Heard::Update(NetworkUpdate::Complete { generation: Generation(6), state: all.clone() })).await;
    rig.until_status(|s| s.applied == Generation(6)).await;
    let size = |name: &str| std::fs::metadata(dir.path().join(name)).map_or(0, |data| data.len());
    let whole = size("network.json");
    assert!(whole > 100_000, "{whole}");
    let delta = async |rig: &mut Rig, base: u64, changes: NetworkChanges| {
        host.state().calls.clear();
        let (base, generation) = (Generation(base), Generation(base + 1));
        rig.hear(Heard::Update(NetworkUpdate::Delta { base, generation, changes })).await;
        rig.until_status(|s| s.applied == generation).await;
        let calls = host.state().calls.clone();
        calls.into_iter().filter(|call| call.contains("set_") || call.contains("change")).collect::<Vec<_>>()
    };
    let one = MemberChanges { added: [member(20_000)].into(), removed: [member(7)].into() };
    let members = NetworkChanges { members: [(group(), one)].into(), ..NetworkChanges::default() };
    assert_eq!(delta(&mut rig, 6, members.clone()).await, ["change_members"]);
    assert_eq!(delta(&mut rig, 7, NetworkChanges::default()).await, [""; 0], "a number rose");
    let peers = NetworkChanges { peers: vec![peer(2, true)], ..NetworkChanges::default() };
    assert_eq!(delta(&mut rig, 8, peers.clone()).await, ["set_peers"]);
    let rules = NetworkChanges { groups: [(other, GroupRules::default())].into(), ..NetworkChanges::default() };
    assert_eq!(delta(&mut rig, 9, rules.clone()).await, ["set_groups"]);
    let gone = NetworkChanges { removed_members: vec![other], ..NetworkChanges::default() };
    assert_eq!(delta(&mut rig, 10, gone.clone()).await, ["change_members"]);
    assert_eq!(host.state().members[&other], BTreeSet::new());
    assert_eq!(size("network.json"), whole, "not written again");
    assert!((1..4_000).contains(&size("network.steps")), "{}", size("network.steps"));
    // What was said step by step is known to the next start, which nobody tells anything.
    rig.crash().await;
    host.state().members.clear();
    let mut rig = Rig::on(&host, dir.path(), BTreeMap::new());
    rig.until_status(|s| s.applied == Generation(11)).await;
    for changes in [members, peers, rules, gone] {
        all.apply(changes);
    }
    assert_eq!(host.state().members, all.members);
    assert_eq!(host.state().peers.len(), 1);
    assert_eq!(host.state().groups, all.groups);
}

fn peer(n: u8, connected: bool) -> Peer {
    Peer {
        instance: InstanceId::from_bytes([n; 16]),
        underlay: IpAddr::V4(Ipv4Addr::new(192, 168, 50, n)),
        leases: vec![Lease { v4: format!("10.77.{n}.0/24").parse().expect("a net"), v6: None }],
        connected,
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_reaches_no_other_is_degraded_until_it_does() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let mut rig = Rig::ready(&host, dir.path()).await;
    let peers = [peer(2, true), peer(3, true), peer(4, false)];
    // One that is away is not expected to answer.
    host.state().silent = [peers[0].instance, peers[2].instance].into();
    let changes = NetworkChanges { peers: peers.to_vec(), ..NetworkChanges::default() };
    rig.hear(Heard::Update(NetworkUpdate::Delta { base: Generation(5), generation: Generation(6), changes })).await;
    let line = rig.until("one is not reached", |line| line.peers.iter().any(|p| p.fault.is_some())).await;
    let silent: Vec<&str> = line.peers.iter().filter(|p| p.fault.is_some()).map(|p| p.underlay.as_str()).collect();
    assert_eq!((silent, line.ok), (vec!["192.168.50.2"], true));
    host.state().silent.insert(peers[1].instance);
    let status = rig.until_status(|s| s.health != NetworkHealth::Ready).await;
    let NetworkHealth::Degraded { reason } = status.health else { panic!("seen above") };
    for named in ["192.168.50.2", "192.168.50.3", "timed out"] {
        assert!(reason.contains(named), "{reason}");
    }
    assert!(!reason.contains("192.168.50.4"), "{reason}");
    host.state().silent.remove(&peers[0].instance);
    rig.until_status(|s| s.health == NetworkHealth::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn what_others_change_is_looked_at_soon_and_at_most_once_a_second() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let repairs = || host.state().calls.iter().filter(|call| **call == "repair").count();
    // Past the repair that came with the start.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = repairs();
    host.stir.notify_one();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(repairs(), before + 1, "soon");
    for _ in 0..100 {
        host.stir.notify_one();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let made = repairs() - before - 1;
    assert!((4..=7).contains(&made), "{made} in five seconds");
    // Without any, from time to time.
    let before = repairs();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!((5..=7).contains(&(repairs() - before)));
    rig.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_lacks_something_says_so_before_it_is_asked_and_leaves_tasks_alone() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let mut rig = Rig::on(&host, dir.path(), BTreeMap::new());
    let lacks = Underlay::Unable { address: HERE, why: "the `nft` program is not there".into() };
    rig.underlay.send_replace(lacks.clone());
    let degraded = NetworkHealth::Degraded { reason: "the `nft` program is not there".into() };
    let status = rig.until_status(|_| true).await;
    assert_eq!((status.health, status.free_addresses), (degraded.clone(), 0), "before anything of it was said");
    assert_eq!(rig.line().await.why.as_deref(), Some("the `nft` program is not there"));
    rig.underlay.send_replace(Underlay::At(HERE));
    rig.hear(complete(5, &["10.77.1.0/24"])).await;
    rig.until_status(|s| s.health == NetworkHealth::Ready && s.applied == Generation(5)).await;
    let interface = rig.give(&task()).await;
    let opened = host.state().opened.len();
    rig.underlay.send_replace(lacks);
    rig.until_status(|s| s.health == degraded).await;
    assert!(host.state().admitted.contains_key(&interface.eni.id), "the task goes on");
    rig.underlay.send_replace(Underlay::Absent { why: "underlay: no link `eth0`".into() });
    rig.until_status(|s| s.health == NetworkHealth::Degraded { reason: "underlay: no link `eth0`".into() }).await;
    rig.underlay.send_replace(Underlay::At(HERE));
    rig.until_status(|s| s.health == NetworkHealth::Ready).await;
    assert_eq!(host.state().opened.len(), opened, "nothing was made anew");
    assert!(host.state().admitted.contains_key(&interface.eni.id));
}

/// What a host's links and routes are like is no reason to let through whom groups do not let through any more.
#[tokio::test(start_paused = true)]
async fn groups_change_also_on_a_host_with_something_in_the_way() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let mut rig = Rig::ready(&host, dir.path()).await;
    host.state().script.insert("set_leases", vec![fault("the network overlaps a route"); 3]);
    let mut said = state(&["10.77.1.0/24"]);
    said.groups.insert(GroupId::random(), GroupRules::default());
    rig.hear(Heard::Update(NetworkUpdate::Complete { generation: Generation(6), state: said })).await;
    let overlaps = NetworkHealth::Degraded { reason: "the network overlaps a route".into() };
    rig.until_status(|s| s.health == overlaps).await;
    assert_eq!(host.state().groups.len(), 2, "the new rules are in force");
    rig.until_status(|s| s.health == NetworkHealth::Ready && s.applied == Generation(6)).await;
}
