//! The owner against a host in memory: claims, the pool, what a restart finds, addresses that rest, updates.

mod fake;

use super::handle::link;
use super::*;
use crate::engine::drivers::Interfaces;
use crate::engine::tests::fixtures::spec;
use fake::{FakeHost, fault};
use longshore_model::{
    AwsvpcSpec, Bandwidth, EniId, Generation, GroupId, GroupRules, InstanceId, Lease, Mac, MemberChanges,
    NetworkChanges, NetworkConfig, NetworkHealth, NetworkMode, NetworkState, NetworkStatus, NetworkUpdate, Overlay,
    Peer, SubnetId, TaskId, TaskSpec,
};
use longshore_plan::{Failure, Interface};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 50, 1));

/// An owner on a host.
struct Rig {
    network: NetworkHandle,
    link: SessionLink,
    underlay: watch::Sender<Underlay>,
    events: Arc<Notify>,
    owner: JoinHandle<()>,
}

fn group() -> GroupId {
    "sg-0123456789abcdef0".parse().expect("an id")
}

fn state(leases: &[&str]) -> NetworkState {
    NetworkState {
        config: NetworkConfig {
            v4: "10.77.0.0/16".parse().expect("a range"),
            v6: None,
            overlay: Overlay::Vxlan { vni: 7777, port: 4789 },
            mtu: 1450,
            lease_length: 24,
        },
        leases: leases.iter().map(|net| Lease { v4: net.parse().expect("a net"), v6: None }).collect(),
        peers: BTreeMap::new(),
        groups: [(group(), GroupRules::default())].into(),
        members: BTreeMap::new(),
    }
}

fn complete(generation: u64, leases: &[&str]) -> Heard {
    Heard::Update(NetworkUpdate::Complete { generation: Generation(generation), state: state(leases) })
}

fn task() -> TaskSpec {
    TaskSpec {
        network_mode: NetworkMode::Awsvpc,
        awsvpc: Some(AwsvpcSpec {
            attachment_id: "a".into(),
            subnet: SubnetId::random(),
            groups: [group()].into(),
            bandwidth: Bandwidth::default(),
        }),
        ..spec(&[("c", &[])])
    }
}

impl Rig {
    fn on(host: &Arc<FakeHost>, dir: &Path, owned: BTreeMap<TaskId, Owned>) -> Self {
        Self::with(host, dir, owned, Settings { enabled: true, warm: 3, idle: 3, data_dir: dir.to_owned() })
    }

    fn with(host: &Arc<FakeHost>, dir: &Path, owned: BTreeMap<TaskId, Owned>, settings: Settings) -> Self {
        assert_eq!(settings.data_dir, dir);
        let (ends, network, link) = link();
        let (underlay, underlay_out) = watch::channel(Underlay::At(HERE));
        let events = Arc::new(Notify::new());
        let owner = Network::new(Parts {
            settings,
            ends,
            sandboxes: host.clone(),
            kernel: Arc::new(host.clone()),
            clock: host.clone(),
            owned,
            underlay: underlay_out,
            events: events.clone(),
        });
        let owner = tokio::spawn(owner.run(CancellationToken::new()));
        Self { network, link, underlay, events, owner }
    }

    /// With the network said, and its pool full.
    async fn ready(host: &Arc<FakeHost>, dir: &Path) -> Self {
        let mut rig = Self::on(host, dir, BTreeMap::new());
        rig.hear(complete(5, &["10.77.1.0/24"])).await;
        rig.until_status(|s| s.health == NetworkHealth::Ready && s.applied == Generation(5)).await;
        rig.until_warm(3).await;
        rig
    }

    async fn crash(self) {
        self.owner.abort();
        let _ = self.owner.await;
    }

    async fn hear(&self, heard: Heard) {
        self.link.heard.send(heard).await.expect("the owner runs");
    }

    async fn line(&self) -> status::NetworkLine {
        self.network.status().await.expect("the owner runs")
    }

    async fn until(&self, what: &str, holds: impl Fn(&status::NetworkLine) -> bool) -> status::NetworkLine {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(900);
        loop {
            let line = self.line().await;
            if holds(&line) {
                return line;
            }
            assert!(tokio::time::Instant::now() < deadline, "{what}: {line:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_warm(&self, count: usize) -> status::NetworkLine {
        self.until("the pool fills", |line| line.warm == count).await
    }

    async fn until_status(&mut self, holds: impl Fn(&NetworkStatus) -> bool) -> NetworkStatus {
        let waited = tokio::time::timeout(
            Duration::from_secs(900),
            self.link.status.wait_for(|status| status.as_ref().is_some_and(&holds)),
        );
        waited.await.expect("in time").expect("the owner runs").clone().expect("waited for")
    }

    async fn give(&self, spec: &TaskSpec) -> Interface {
        match self.network.ensure(spec).await {
            Ok(interface) => interface,
            Err(failure) => panic!("{failure:?}: {:#?}", self.line().await),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_is_given_a_warm_sandbox_and_it_goes_with_it() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    assert!(host.state().admitted.is_empty(), "a warm sandbox can neither send nor receive");
    assert_eq!(host.state().most_making, 1, "the pool is filled one by one");
    let mut task = task();
    task.awsvpc.as_mut().expect("awsvpc").bandwidth.egress_bps = Some(1_000_000);
    let made = host.state().made;
    let interface = rig.give(&task).await;
    assert_eq!(host.state().made, made, "nothing is made while a task waits");
    assert_eq!(rig.give(&task).await, interface, "the same again");
    let eni = interface.eni.id;
    {
        let state = host.state();
        assert_eq!(state.admitted.keys().collect::<Vec<_>>(), [&eni]);
        assert_eq!(state.limits.keys().collect::<Vec<_>>(), [&eni]);
        assert_eq!(state.sandboxes[&eni].id, interface.sandbox);
    }
    let hostname = std::fs::read_to_string(Path::new(&interface.files).join("hostname")).expect("written");
    assert_eq!(hostname.trim(), interface.eni.host_name());
    assert_eq!(rig.network.list().await, Ok(vec![task.id]));

    rig.network.release(task.id).await.expect("released");
    assert!(host.state().admitted.is_empty(), "cut off before the task is over");
    rig.network.release(task.id).await.expect("nothing is fine");
    let line = rig.until("all of it is removed", |line| line.interfaces.is_empty()).await;
    assert_eq!(line.resting, 1);
    assert!(!host.state().sandboxes.contains_key(&eni) && !host.state().wired.contains_key(&eni));
    assert!(!Path::new(&interface.files).exists());
    rig.until_warm(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_makes_what_is_missing_and_the_pool_grows_with_demand() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let tasks: Vec<TaskSpec> = (0..12).map(|_| task()).collect();
    let given = futures::future::join_all(tasks.iter().map(|t| rig.network.ensure(t))).await;
    let addresses: BTreeSet<Ipv4Addr> = given.into_iter().map(|g| g.expect("an interface").eni.ipv4).collect();
    assert_eq!(addresses.len(), 12, "no address twice");
    assert_eq!(host.state().most_making, super::pool::MAKES);
    // Three times four.
    rig.until_warm(12).await;
    tokio::time::sleep(Duration::from_secs(570)).await;
    assert_eq!(rig.line().await.warm_target, 12, "such a burst may come again");
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(rig.line().await.warm_target, 3);
    // The demand has passed, and so does what was made for it.
    rig.until_warm(3).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_or_a_fabric_a_task_waits_and_is_told_why() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    host.state().script.insert("open", vec![fault("nft is not installed"); 3]);
    let mut rig = Rig::on(&host, dir.path(), BTreeMap::new());
    let waiting = |result: Result<Interface, Failure>| match result {
        Err(Failure::Away(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(waiting(rig.network.ensure(&task()).await).contains("lease"));
    assert!(rig.link.status.borrow().is_none(), "nothing to say yet");
    rig.hear(complete(5, &["10.77.1.0/24"])).await;
    let status = rig.until_status(|s| s.health != NetworkHealth::Ready).await;
    assert_eq!(status.health, NetworkHealth::Degraded { reason: "nft is not installed".into() });
    assert!(waiting(rig.network.ensure(&task()).await).contains("nft is not installed"));
    // It opens at the fourth try.
    rig.until_status(|s| s.health == NetworkHealth::Ready).await;
    rig.give(&task()).await;
    // A task whose group's rules are not known yet.
    let mut stranger = task();
    let other = GroupId::random();
    stranger.awsvpc.as_mut().expect("awsvpc").groups = [other].into();
    assert!(waiting(rig.network.ensure(&stranger).await).contains(&other.to_string()));
    let claim = rig.network.ensure(&stranger);
    let said = async {
        let changes = NetworkChanges { groups: [(other, GroupRules::default())].into(), ..NetworkChanges::default() };
        let delta = NetworkUpdate::Delta { base: Generation(5), generation: Generation(6), changes };
        rig.hear(Heard::Update(delta)).await;
    };
    tokio::join!(claim, said).0.expect("an interface");
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_is_made_while_the_rules_of_its_task_come() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let settings = Settings { enabled: true, warm: 0, idle: 0, data_dir: dir.path().to_owned() };
    let mut rig = Rig::with(&host, dir.path(), BTreeMap::new(), settings);
    rig.hear(complete(5, &["10.77.1.0/24"])).await;
    rig.until_status(|s| s.health == NetworkHealth::Ready).await;
    let mut stranger = task();
    let other = GroupId::random();
    stranger.awsvpc.as_mut().expect("awsvpc").groups = [other].into();
    let claim = rig.network.ensure(&stranger);
    let said = async {
        rig.until_warm(1).await;
        assert!(host.state().admitted.is_empty(), "it can neither send nor receive");
        let changes = NetworkChanges { groups: [(other, GroupRules::default())].into(), ..NetworkChanges::default() };
        let delta = NetworkUpdate::Delta { base: Generation(5), generation: Generation(6), changes };
        rig.hear(Heard::Update(delta)).await;
    };
    let interface = tokio::join!(claim, said).0.expect("an interface");
    assert_eq!(host.state().made, 1, "the one that was there");
    rig.network.release(stranger.id).await.expect("released");
    rig.until("all of it is removed", |line| line.interfaces.is_empty()).await;

    // Whoever gives up leaves nothing.
    stranger.id = TaskId::random();
    stranger.awsvpc.as_mut().expect("awsvpc").groups = [GroupId::random()].into();
    rig.network.ensure(&stranger).await.expect_err("its rules never come");
    rig.until_warm(0).await;
    assert_eq!(host.state().made, 2);
    assert!(!host.state().sandboxes.contains_key(&interface.eni.id));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_takes_no_part_refuses_for_good() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let settings = Settings { enabled: false, warm: 3, idle: 3, data_dir: dir.path().to_owned() };
    let rig = Rig::with(&host, dir.path(), BTreeMap::new(), settings);
    assert!(matches!(rig.network.ensure(&task()).await, Err(Failure::Lasting(why)) if why.contains("task_network")));
    rig.hear(complete(5, &["10.77.1.0/24"])).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(host.state().opened.is_empty() && rig.link.status.borrow().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_restart_adopts_what_is_claimed_keeps_what_is_warm_and_removes_the_rest() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let (kept, labelled, unknown, returned) = (task(), task(), task(), task());
    let mut interfaces = Vec::new();
    for spec in [&kept, &labelled, &unknown, &returned] {
        interfaces.push(rig.give(spec).await);
    }
    rig.until_warm(4).await;
    rig.crash().await;
    let before = host.state().made;
    {
        let mut state = host.state();
        state.labelled = [(labelled.id, interfaces[1].clone()), (returned.id, interfaces[3].clone())].into();
        // A sandbox of an older agent, and one that ended.
        let spare: Vec<EniId> =
            state.sandboxes.keys().filter(|eni| !interfaces.iter().any(|i| i.eni.id == **eni)).copied().collect();
        state.sandboxes.get_mut(&spare[0]).expect("there").current = false;
        state.sandboxes.get_mut(&spare[1]).expect("there").running = false;
    }
    let owned = BTreeMap::from([
        (kept.id, Owned::Held(interfaces[0].clone())),
        (labelled.id, Owned::Perhaps),
        (returned.id, Owned::Not),
    ]);
    // No control plane: what it said is on the disk.
    let mut rig = Rig::on(&host, dir.path(), owned);
    assert_eq!(rig.give(&kept).await, interfaces[0]);
    assert_eq!(rig.give(&labelled).await, interfaces[1]);
    rig.until_status(|s| s.health == NetworkHealth::Ready && s.applied == Generation(5)).await;
    let line = rig.until("two are left", |line| line.interfaces.len() == 2).await;
    assert_eq!(line.resting, 2, "those that were let through rest");
    rig.until_warm(3).await;
    assert_eq!(host.state().made, before + 1, "two warm ones were good");
    let admitted: BTreeSet<EniId> = host.state().admitted.keys().copied().collect();
    assert_eq!(admitted, interfaces[..2].iter().map(|i| i.eni.id).collect());
    assert_eq!(host.state().sandboxes.len(), 5);
}

/// Its containers ended while there was no agent, so the next one releases it before it has the fabric.
#[tokio::test(start_paused = true)]
async fn what_ends_before_the_fabric_is_taken_over_is_cut_off_too() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let (ends, stays) = (task(), task());
    let (ended, stayed) = (rig.give(&ends).await, rig.give(&stays).await);
    rig.crash().await;
    let owned = [(ends.id, Owned::Held(ended.clone())), (stays.id, Owned::Held(stayed.clone()))].into();
    let rig = Rig::on(&host, dir.path(), owned);
    rig.network.release(ends.id).await.expect("released");
    assert!(host.state().admitted.contains_key(&ended.eni.id), "there was no fabric yet");
    let line = rig.until("one is left", |line| line.ok && line.interfaces.len() == 1).await;
    assert_eq!(line.resting, 1);
    assert_eq!(host.state().admitted.keys().collect::<Vec<_>>(), [&stayed.eni.id]);
    assert!(!host.state().wired.contains_key(&ended.eni.id) && !host.state().sandboxes.contains_key(&ended.eni.id));
}

#[tokio::test(start_paused = true)]
async fn a_lost_fabric_is_made_again_with_its_tasks() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let (good, bad) = (task(), task());
    let (good_eni, bad_eni) = (rig.give(&good).await, rig.give(&bad).await);
    rig.crash().await;
    {
        let mut state = host.state();
        state.wired.clear();
        state.admitted.clear();
        state.sandboxes.get_mut(&bad_eni.eni.id).expect("there").running = false;
    }
    let owned = [(good.id, Owned::Held(good_eni.clone())), (bad.id, Owned::Held(bad_eni.clone()))].into();
    let rig = Rig::on(&host, dir.path(), owned);
    rig.until("it is let through again", |_| host.state().admitted.contains_key(&good_eni.eni.id)).await;
    assert!(host.state().wired.contains_key(&good_eni.eni.id));
    let gone = |_: &status::NetworkLine| !host.state().sandboxes.contains_key(&bad_eni.eni.id);
    rig.until("what cannot be put back ends, and with it its task", gone).await;
    rig.network.release(bad.id).await.expect("released");
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_is_lost_is_made_again_or_its_task_ends() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let mut limited = task();
    limited.awsvpc.as_mut().expect("awsvpc").bandwidth.egress_bps = Some(1_000_000);
    let bad = task();
    let (good_eni, bad_eni) = (rig.give(&limited).await.eni.id, rig.give(&bad).await.eni.id);
    assert_eq!(host.state().named, [(good_eni, limited.id), (bad_eni, bad.id)].into());
    rig.until_warm(3).await;
    let warm: Vec<EniId> =
        host.state().sandboxes.keys().filter(|eni| **eni != good_eni && **eni != bad_eni).copied().collect();
    {
        let mut state = host.state();
        state.limits.clear();
        state.wired.retain(|eni, _| warm[1..].contains(eni));
        state.sandboxes.get_mut(&bad_eni).expect("there").running = false;
    }
    host.stir.notify_one();
    rig.until("it is made again, with its limits", |_| host.state().limits.contains_key(&good_eni)).await;
    assert!(host.state().wired.contains_key(&good_eni) && host.state().sandboxes.contains_key(&good_eni));
    rig.until("the other task's sandbox ends", |_| !host.state().sandboxes.contains_key(&bad_eni)).await;
    rig.until("the warm one goes", |_| !host.state().sandboxes.contains_key(&warm[0])).await;
    rig.until_warm(3).await;
    rig.network.release(bad.id).await.expect("released");
    rig.until("nothing of it is left", |_| !host.state().wired.contains_key(&bad_eni)).await;
    assert!(host.state().wired.contains_key(&good_eni), "once is enough");
    rig.crash().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_rests_until_all_hosts_know() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let spec = task();
    let eni = rig.give(&spec).await.eni;
    rig.network.release(spec.id).await.expect("released");
    rig.until("it is removed", |line| line.interfaces.is_empty()).await;
    rig.hear(Heard::Recorded { revision: 9, what: Recorded::These(vec![eni.id]) }).await;
    rig.hear(Heard::Settled(8)).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(rig.line().await.resting, 1, "a host is behind");
    rig.crash().await;
    let rig = Rig::on(&host, dir.path(), BTreeMap::new());
    assert_eq!(rig.line().await.resting, 1, "kept across restarts");
    rig.hear(Heard::Settled(9)).await;
    rig.until("it is free", |line| line.resting == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_somebody_on_the_hosts_network_has_is_set_aside() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let holder = Mac([2, 0, 0, 0, 0, 7]);
    let first = Ipv4Addr::new(10, 77, 1, 2);
    host.state().holders.insert(first, holder);
    let rig = Rig::ready(&host, dir.path()).await;
    let line = rig.line().await;
    assert_eq!(line.set_aside, ["10.77.1.2 (02:00:00:00:00:07)"]);
    assert!(line.warnings[0].contains("10.77.1.2 is in use on the hosts' network by 02:00:00:00:00:07"), "{line:?}");
    assert_eq!((line.free, host.state().made), (252, 3), "no sandbox was made for it");
    let warm: BTreeSet<Ipv4Addr> = host.state().wired.values().copied().collect();
    assert!(warm.len() == 3 && !warm.contains(&first), "{warm:?}");

    // Somebody takes the addresses of the whole pool while it waits.
    tokio::time::sleep(Duration::from_secs(60)).await;
    host.state().holders.extend(warm.iter().map(|address| (*address, holder)));
    let spec = task();
    let failure = rig.network.ensure(&spec).await.expect_err("somebody has it");
    assert!(matches!(&failure, Failure::Passing(why) if why.contains("in use on the hosts' network")), "{failure:?}");
    let mut tries = 0;
    let given = loop {
        tries += 1;
        match rig.network.ensure(&spec).await {
            Ok(interface) => break interface.eni,
            Err(failure) => assert!(tries < 4, "{failure:?}"),
        }
    };
    assert!(!warm.contains(&given.ipv4) && given.ipv4 != first, "{given:?}");
    let admitted: Vec<Ipv4Addr> = host.state().admitted.values().map(|admission| admission.eni.ipv4).collect();
    assert_eq!(admitted, [given.ipv4], "none of those was let through");
    // They are asked for again after a while.
    host.state().holders.clear();
    tokio::time::sleep(Duration::from_secs(600)).await;
    rig.until("all of them are free", |line| line.set_aside.is_empty()).await;
    rig.until_warm(3).await;
    let line = rig.until("what demand had made is given up", |line| line.free == 252).await;
    assert_eq!(line.warnings.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_lease_is_said_and_a_second_one_helps() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let mut rig = Rig::on(&host, dir.path(), BTreeMap::new());
    // Five addresses for tasks.
    rig.hear(complete(5, &["10.77.1.0/29"])).await;
    let status = rig.until_status(|s| s.health == NetworkHealth::Ready).await;
    assert_eq!(status.free_addresses, 5);
    for n in (0..5u32).rev() {
        rig.give(&task()).await;
        rig.until_status(|s| s.free_addresses == n).await;
    }
    let why = rig.network.ensure(&task()).await;
    assert!(matches!(&why, Err(Failure::Away(why)) if why.contains("all of the host's leases")), "{why:?}");
    let more = vec!["10.77.1.0/29", "10.77.9.0/24"];
    let changes = NetworkChanges { leases: Some(state(&more).leases), ..NetworkChanges::default() };
    rig.hear(Heard::Update(NetworkUpdate::Delta { base: Generation(5), generation: Generation(6), changes })).await;
    assert_eq!(rig.give(&task()).await.eni.ipv4.octets()[2], 9);
    assert!(host.state().calls.contains(&"set_leases"));
}

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

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_ends_in_the_pool_is_replaced() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let dead = *host.state().sandboxes.keys().next().expect("there are some");
    host.state().sandboxes.get_mut(&dead).expect("there").running = false;
    rig.events.notify_one();
    rig.until("it is removed", |_| !host.state().sandboxes.contains_key(&dead)).await;
    rig.until_warm(3).await;
    // An engine that is away delays, and a task is told.
    host.state().engine_away = true;
    let spares: Vec<TaskSpec> = (0..3).map(|_| task()).collect();
    for spec in &spares {
        rig.give(spec).await;
    }
    let why = rig.network.ensure(&task()).await;
    assert!(matches!(&why, Err(Failure::Away(why)) if why.contains("connection refused")), "{why:?}");
    host.state().engine_away = false;
    rig.give(&task()).await;
}

/// Killed at any moment of claims and ends, with or without what was said on the disk: afterwards every sandbox is warm
/// or a task's, none has two lives, and nothing of it is left over.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_leaves_nothing_behind() {
    for after in (0..1_500).step_by(13) {
        let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
        let rig = Rig::on(&host, dir.path(), BTreeMap::new());
        let (stays, ends) = (task(), task());
        let mut given: BTreeMap<TaskId, Interface> = BTreeMap::new();
        let mut over = BTreeSet::new();
        let script = async {
            rig.hear(complete(5, &["10.77.1.0/24"])).await;
            for spec in [&stays, &ends] {
                let interface = loop {
                    match rig.network.ensure(spec).await {
                        Ok(interface) => break interface,
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                };
                given.insert(spec.id, interface);
            }
            rig.network.release(ends.id).await.expect("released");
            over.insert(ends.id);
            std::future::pending::<()>().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(after), script).await;
        rig.crash().await;
        let owned = [stays.id, ends.id].map(|id| match given.get(&id) {
            Some(_) if over.contains(&id) => (id, Owned::Not),
            Some(interface) => (id, Owned::Held(interface.clone())),
            None => (id, Owned::Perhaps),
        });
        let held: BTreeSet<TaskId> = given.keys().filter(|id| !over.contains(id)).copied().collect();
        let mut rig = Rig::on(&host, dir.path(), owned.into());
        rig.hear(complete(5, &["10.77.1.0/24"])).await;
        rig.until_status(|s| s.health == NetworkHealth::Ready).await;
        rig.until_warm(3).await;
        let line = rig.until("nothing is in between", |l| l.interfaces.iter().all(|i| i.stage == "claimed")).await;
        let listed: BTreeSet<TaskId> = rig.network.list().await.expect("listed").into_iter().collect();
        assert_eq!(listed, held, "after {after} ms");
        let state = host.state();
        let sandboxes: BTreeSet<EniId> = state.sandboxes.keys().copied().collect();
        assert_eq!(sandboxes, state.wired.keys().copied().collect(), "after {after} ms: {line:#?}");
        assert_eq!(sandboxes.len(), 3 + held.len(), "after {after} ms: {line:#?}");
        let admitted: BTreeSet<EniId> = state.admitted.keys().copied().collect();
        let theirs = held.iter().map(|id| given[id].eni.id).collect();
        assert_eq!(admitted, theirs, "after {after} ms: {line:#?}");
    }
}

/// A stop in the middle of a claim leaves nothing of it.
#[tokio::test(start_paused = true)]
async fn a_claim_that_is_cut_is_returned_whole() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    for (warm, millis) in [(true, 0), (true, 1), (false, 0), (false, 100), (false, 251)] {
        if !warm {
            // Whoever comes next waits for a sandbox.
            let line = rig.line().await;
            for _ in 0..line.warm {
                rig.give(&task()).await;
            }
        }
        let spec = task();
        let cut = tokio::time::timeout(Duration::from_millis(millis), rig.network.ensure(&spec));
        let _ = cut.await;
        rig.network.release(spec.id).await.expect("released");
        assert!(!rig.network.list().await.expect("listed").contains(&spec.id), "{warm} {millis}");
    }
    rig.until("nothing is in between", |line| line.interfaces.iter().all(|i| i.stage == "claimed")).await;
    let wired = host.state().wired.len();
    let line = rig.line().await;
    assert_eq!(wired, line.warm + line.interfaces.len());
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
async fn another_address_of_this_host_opens_the_fabric_again() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let mut rig = Rig::ready(&host, dir.path()).await;
    let interface = rig.give(&task()).await;
    let there = IpAddr::V4(Ipv4Addr::new(192, 168, 50, 9));
    // No address for now is no other address.
    rig.underlay.send_replace(Underlay::Absent { why: "no route".into() });
    rig.underlay.send_replace(Underlay::At(there));
    rig.until("opened again", |line| line.underlay.as_deref() == Some("192.168.50.9")).await;
    rig.until_status(|s| s.health == NetworkHealth::Ready).await;
    rig.until("with the new one", |_| host.state().opened.last().is_some_and(|s| s.underlay == there)).await;
    assert!(host.state().admitted.contains_key(&interface.eni.id));
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

/// A restart on a host whose underlay is gone, or whose routes are in the way, takes over what is there.
#[tokio::test(start_paused = true)]
async fn a_restart_on_a_host_in_trouble_takes_its_tasks_over() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let kept = task();
    let interface = rig.give(&kept).await;
    rig.crash().await;
    host.state().script.insert("set_peers", vec![fault("no link has the address")]);
    host.state().script.insert("repair", vec![fault("no link has the address"); 2]);
    let mut rig = Rig::on(&host, dir.path(), [(kept.id, Owned::Held(interface.clone()))].into());
    rig.until_status(|s| s.health == NetworkHealth::Degraded { reason: "no link has the address".into() }).await;
    assert!(host.state().admitted.contains_key(&interface.eni.id));
    rig.network.release(kept.id).await.expect("its end is noticed");
    assert!(host.state().admitted.is_empty());
    rig.until_status(|s| s.health == NetworkHealth::Ready).await;
}

/// A task that waits for an address gets the one that another task had, once that has rested.
#[tokio::test(start_paused = true)]
async fn a_full_lease_goes_on_when_an_address_is_free_again() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let mut rig = Rig::on(&host, dir.path(), BTreeMap::new());
    rig.hear(complete(5, &["10.77.1.0/29"])).await;
    rig.until_status(|s| s.health == NetworkHealth::Ready).await;
    let tasks: Vec<TaskSpec> = (0..5).map(|_| task()).collect();
    for spec in &tasks {
        rig.give(spec).await;
    }
    let late = task();
    let why = rig.network.ensure(&late).await;
    assert!(matches!(&why, Err(Failure::Away(why)) if why.contains("in use or rest")), "{why:?}");
    let eni = rig.give(&tasks[0]).await.eni;
    rig.network.release(tasks[0].id).await.expect("released");
    rig.hear(Heard::Recorded { revision: 6, what: Recorded::These(vec![eni.id]) }).await;
    rig.hear(Heard::Settled(6)).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    let given = loop {
        match rig.network.ensure(&late).await {
            Ok(given) => break given,
            Err(failure) => assert!(tokio::time::Instant::now() < deadline, "{failure:?}"),
        }
    };
    assert_eq!(given.eni.ipv4, eni.ipv4, "the one that is free");
}
