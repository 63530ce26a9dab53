//! Arbitrary values of task networking.

use ipnet::{Ipv4Net, Ipv6Net};
use longshore_model::{
    AwsvpcSpec, Bandwidth, EniId, EniReport, Generation, GroupId, GroupRules, InstanceId, Lease, Mac, MemberChanges,
    NetworkChanges, NetworkConfig, NetworkState, NetworkUpdate, Overlay, Peer, Rule, RulePeer, SubnetId, Traffic,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn id<T>(prefix: &'static str) -> impl Strategy<Value = T>
where
    T: std::str::FromStr + std::fmt::Debug,
    T::Err: std::fmt::Debug,
{
    "[0-9a-f]{17}".prop_map(move |digits| format!("{prefix}{digits}").parse().expect("an id"))
}

fn group() -> impl Strategy<Value = GroupId> {
    id(GroupId::PREFIX)
}

pub(super) fn awsvpc() -> impl Strategy<Value = AwsvpcSpec> {
    let bandwidth = (of(any::<u64>()), of(any::<u64>()));
    ("[a-f0-9-]{0,36}", id::<SubnetId>(SubnetId::PREFIX), btree_set(group(), 0..5), bandwidth).prop_map(
        |(attachment_id, subnet, groups, (ingress_bps, egress_bps))| AwsvpcSpec {
            attachment_id,
            subnet,
            groups,
            bandwidth: Bandwidth { ingress_bps, egress_bps },
        },
    )
}

pub(super) fn eni() -> impl Strategy<Value = EniReport> {
    (id::<EniId>(EniId::PREFIX), any::<[u8; 6]>(), any::<Ipv4Addr>(), of(any::<Ipv6Addr>()), any::<bool>())
        .prop_map(|(id, mac, ipv4, ipv6, attached)| EniReport { id, mac: Mac(mac), ipv4, ipv6, attached })
}

fn v4(prefix: u8) -> impl Strategy<Value = Ipv4Net> {
    any::<Ipv4Addr>().prop_map(move |address| Ipv4Net::new(address, prefix).expect("a prefix").trunc())
}

fn v6(prefix: u8) -> impl Strategy<Value = Ipv6Net> {
    any::<Ipv6Addr>().prop_map(move |address| Ipv6Net::new(address, prefix).expect("a prefix").trunc())
}

fn lease() -> impl Strategy<Value = Lease> {
    ((24u8..=28).prop_flat_map(v4), of(v6(64))).prop_map(|(v4, v6)| Lease { v4, v6 })
}

fn instance() -> impl Strategy<Value = InstanceId> {
    any::<[u8; 16]>().prop_map(InstanceId::from_bytes)
}

fn peer() -> impl Strategy<Value = Peer> {
    (instance(), any::<IpAddr>(), vec(lease(), 0..3), any::<bool>())
        .prop_map(|(instance, underlay, leases, connected)| Peer { instance, underlay, leases, connected })
}

fn rule() -> impl Strategy<Value = Rule> {
    let ports = || (any::<u16>(), any::<u16>()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let icmp = || (of(any::<u8>()), of(any::<u8>()));
    let traffic = prop_oneof![
        Just(Traffic::All),
        ports().prop_map(|(from, to)| Traffic::Tcp { from, to }),
        ports().prop_map(|(from, to)| Traffic::Udp { from, to }),
        icmp().prop_map(|(kind, code)| Traffic::Icmp { kind, code }),
        icmp().prop_map(|(kind, code)| Traffic::Icmpv6 { kind, code }),
        // Those above have numbers of their own.
        (59u8..).prop_map(Traffic::Protocol),
    ];
    let peer = prop_oneof![
        (0u8..=32).prop_flat_map(v4).prop_map(RulePeer::V4),
        (0u8..=128).prop_flat_map(v6).prop_map(RulePeer::V6),
        group().prop_map(RulePeer::Group),
    ];
    (traffic, peer).prop_map(|(traffic, peer)| Rule { traffic, peer })
}

fn rules() -> impl Strategy<Value = GroupRules> {
    (btree_set(rule(), 0..4), btree_set(rule(), 0..4)).prop_map(|(ingress, egress)| GroupRules { ingress, egress })
}

fn config() -> impl Strategy<Value = NetworkConfig> {
    let overlay = prop_oneof![
        (1u32..1 << 24, 1u16..).prop_map(|(vni, port)| Overlay::Vxlan { vni, port }),
        Just(Overlay::Routes),
        Just(Overlay::Lan)
    ];
    (v4(16), of(v6(48)), overlay, 576u16.., 24u8..=28).prop_map(|(v4, v6, overlay, mtu, lease_length)| NetworkConfig {
        v4,
        v6,
        overlay,
        mtu,
        lease_length,
    })
}

fn peers() -> impl Strategy<Value = Vec<Peer>> {
    vec(peer(), 0..3)
}

pub(crate) fn network_update() -> impl Strategy<Value = NetworkUpdate> {
    let addresses = || btree_set(any::<IpAddr>(), 0..4);
    let state = (config(), vec(lease(), 0..3), peers(), btree_map(group(), rules(), 0..3));
    let complete = (any::<u64>(), state, btree_map(group(), addresses(), 0..3)).prop_map(
        |(generation, (config, leases, peers, groups), members)| NetworkUpdate::Complete {
            generation: Generation(generation),
            state: NetworkState {
                config,
                leases,
                peers: peers.into_iter().map(|peer| (peer.instance, peer)).collect(),
                groups,
                members,
            },
        },
    );
    let members = (addresses(), addresses()).prop_map(|(added, removed)| MemberChanges { added, removed });
    let what = (of(vec(lease(), 0..3)), peers(), vec(instance(), 0..3), btree_map(group(), rules(), 0..3));
    let groups = (vec(group(), 0..3), btree_map(group(), members, 0..3), vec(group(), 0..3));
    let delta = (0..u64::MAX / 2, 1..u64::MAX / 2, what, groups).prop_map(
        |(base, step, (leases, peers, removed_peers, groups), (removed_groups, members, removed_members))| {
            NetworkUpdate::Delta {
                base: Generation(base),
                generation: Generation(base + step),
                changes: NetworkChanges {
                    leases,
                    peers,
                    removed_peers,
                    groups,
                    removed_groups,
                    members,
                    removed_members,
                },
            }
        },
    );
    prop_oneof![complete, delta]
}
