//! The owner against a host in memory: claims, the pool, what a restart finds, addresses that rest, updates.

mod addresses;
mod fake;
mod giving;
mod restarts;
mod updates;

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
        Self::with(host, dir, owned, Settings { enabled: true, warm: 3, idle: 3 })
    }

    fn with(host: &Arc<FakeHost>, dir: &Path, owned: BTreeMap<TaskId, Owned>, settings: Settings) -> Self {
        let (ends, network, link) = link();
        let (underlay, underlay_out) = watch::channel(Underlay::At(HERE));
        let events = Arc::new(Notify::new());
        let owner = Network::new(Parts {
            settings,
            ends,
            shelf: Arc::new(FileShelf::new(dir)),
            files: Arc::new(Files::new(dir)),
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
