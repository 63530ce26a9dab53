use super::*;
use proptest::prelude::*;
use std::net::IpAddr;

fn texts(rules: &[(Traffic, RulePeer)]) -> Vec<String> {
    let rules = rules.iter().map(|(traffic, peer)| Rule { traffic: *traffic, peer: *peer }).collect();
    lines(&rules, Way::In)
}

fn check(traffic: Traffic, peer: RulePeer, expected: &[&str]) {
    assert_eq!(texts(&[(traffic, peer)]), expected, "{traffic:?} {peer:?}");
}

fn v4(net: &str) -> RulePeer {
    RulePeer::V4(net.parse().unwrap())
}

fn v6(net: &str) -> RulePeer {
    RulePeer::V6(net.parse().unwrap())
}

const fn tcp(from: u16, to: u16) -> Traffic {
    Traffic::Tcp { from, to }
}

const fn udp(from: u16, to: u16) -> Traffic {
    Traffic::Udp { from, to }
}

#[test]
fn a_rule_is_written_for_the_families_it_applies_to() {
    let (all4, some4, all6, some6) = (v4("0.0.0.0/0"), v4("10.1.2.3/8"), v6("::/0"), v6("fd77::/48"));
    let group = RulePeer::Group("sg-0123456789abcdef0".parse().unwrap());
    check(Traffic::All, all4, &["meta nfproto ipv4 accept"]);
    check(Traffic::All, some4, &["ip saddr 10.0.0.0/8 accept"]);
    check(tcp(80, 80), some4, &["ip saddr 10.0.0.0/8 tcp dport 80 accept"]);
    check(udp(1, 9), some6, &["ip6 saddr fd77::/48 udp dport 1-9 accept"]);
    check(tcp(0, 65535), all6, &["meta nfproto ipv6 meta l4proto tcp accept"]);
    check(tcp(9, 1), all4, &[]);
    check(tcp(9, 1), group, &[]);
    check(
        Traffic::Protocol(47),
        group,
        &[
            "ip saddr @m4_0123456789abcdef0 meta l4proto 47 accept",
            "ip6 saddr @m6_0123456789abcdef0 meta l4proto 47 accept",
        ],
    );
    let ping = Traffic::Icmp { kind: Some(8), code: Some(0) };
    check(ping, some4, &["ip saddr 10.0.0.0/8 icmp type 8 icmp code 0 accept"]);
    check(ping, all6, &[]);
    check(ping, group, &["ip saddr @m4_0123456789abcdef0 icmp type 8 icmp code 0 accept"]);
    let ping6 = Traffic::Icmpv6 { kind: Some(128), code: None };
    check(ping6, all6, &["meta nfproto ipv6 icmpv6 type 128 accept"]);
    check(ping6, all4, &[]);
    let all_ping6 = Traffic::Icmpv6 { kind: None, code: None };
    check(all_ping6, some6, &["ip6 saddr fd77::/48 meta l4proto ipv6-icmp accept"]);
}

#[test]
fn rules_that_can_share_a_line_do() {
    let group = RulePeer::Group("sg-0123456789abcdef0".parse().unwrap());
    assert_eq!(
        texts(&[(tcp(80, 80), group), (tcp(443, 443), group), (tcp(81, 90), group), (udp(53, 53), group)]),
        [
            "ip saddr @m4_0123456789abcdef0 tcp dport { 80-90, 443 } accept",
            "ip saddr @m4_0123456789abcdef0 udp dport 53 accept",
            "ip6 saddr @m6_0123456789abcdef0 tcp dport { 80-90, 443 } accept",
            "ip6 saddr @m6_0123456789abcdef0 udp dport 53 accept",
        ]
    );
    // What everything is open to needs nothing else; a network inside another needs only what that has not.
    assert_eq!(
        texts(&[
            (Traffic::All, v4("10.0.0.0/8")),
            (Traffic::All, v4("10.9.0.0/16")),
            (tcp(1, 9), v4("10.1.0.0/16")),
            (tcp(80, 90), v4("192.168.0.0/16")),
            (tcp(85, 95), v4("192.168.7.0/24")),
            (Traffic::Protocol(47), v4("192.168.7.0/24")),
            (Traffic::Protocol(47), v4("172.16.0.0/12")),
        ]),
        [
            "ip saddr 10.0.0.0/8 accept",
            "ip saddr 192.168.0.0/16 tcp dport 80-90 accept",
            "ip saddr 192.168.7.0/24 tcp dport 91-95 accept",
            "ip saddr { 172.16.0.0/12, 192.168.7.0/24 } meta l4proto 47 accept",
        ]
    );
    assert_eq!(
        texts(&[
            (tcp(1, 1), v4("10.1.0.0/16")),
            (tcp(2, 2), v4("10.2.0.0/16")),
            (tcp(3, 5), v4("10.0.0.0/8")),
            (udp(3, 3), v4("10.2.0.0/16")),
            (tcp(4, 4), v4("10.2.0.0/16")),
        ]),
        ["ip saddr . meta l4proto . th dport { 10.0.0.0/8 . tcp . 3-5, 10.1.0.0/16 . tcp . 1, 10.2.0.0/16 . tcp . 2, \
          10.2.0.0/16 . udp . 3 } accept"]
    );
    assert_eq!(
        lines(&[Rule { traffic: tcp(1, 1), peer: v4("10.1.0.0/16") }].into(), Way::Out),
        ["ip daddr 10.1.0.0/16 tcp dport 1 accept"]
    );
}

/// A packet, as far as rules see it: the first of a connection.
#[derive(Debug, Clone, Copy)]
struct Packet {
    address: IpAddr,
    /// Whether the address is a member of the group of that number.
    member: [bool; 2],
    /// One port, one type and code, or a protocol.
    traffic: Traffic,
}

fn group(number: usize) -> GroupId {
    ["sg-00000000000000000", "sg-00000000000000001"][number].parse().unwrap()
}

/// What the model says.
fn wanted(rules: &BTreeSet<Rule>, packet: Packet) -> bool {
    rules.iter().any(|rule| {
        let from = match rule.peer {
            RulePeer::V4(net) => IpNet::V4(net).contains(&packet.address),
            RulePeer::V6(net) => IpNet::V6(net).contains(&packet.address),
            RulePeer::Group(of) => (0..2).any(|n| packet.member[n] && group(n) == of),
        };
        let same = |wanted: Option<u8>, found: Option<u8>| wanted.is_none() || wanted == found;
        let what = match (rule.traffic, packet.traffic) {
            (Traffic::All, _) => true,
            (Traffic::Tcp { from, to }, Traffic::Tcp { from: port, .. })
            | (Traffic::Udp { from, to }, Traffic::Udp { from: port, .. }) => (from..=to).contains(&port),
            (Traffic::Icmp { kind, code }, Traffic::Icmp { kind: k, code: c })
            | (Traffic::Icmpv6 { kind, code }, Traffic::Icmpv6 { kind: k, code: c }) => {
                kind.is_none() || (same(kind, k) && same(code, c))
            }
            (Traffic::Protocol(wanted), Traffic::Protocol(found)) => wanted == found,
            _ => false,
        };
        from && what && applies(packet.traffic, packet.address.is_ipv4())
    })
}

/// What the lines say.
fn found(lines: &[Line], packet: Packet) -> bool {
    let transport = match packet.traffic {
        Traffic::Tcp { from, .. } => Some((Transport::Tcp, from)),
        Traffic::Udp { from, .. } => Some((Transport::Udp, from)),
        _ => None,
    };
    let lets = |what: &What| match what {
        What::All => true,
        What::Ports(of, ports) => transport
            .is_some_and(|(t, port)| t == *of && ports.0.iter().any(|(from, to)| (*from..=*to).contains(&port))),
        What::Other(traffic) => {
            let rule = Rule { traffic: *traffic, peer: RulePeer::Group(group(0)) };
            wanted(&[rule].into(), Packet { member: [true, false], ..packet })
        }
    };
    lines.iter().any(|line| match line {
        Line::Nets(nets, what) => nets.iter().any(|net| net.contains(&packet.address)) && lets(what),
        Line::Members { group: of, v4, what } => {
            *v4 == packet.address.is_ipv4() && (0..2).any(|n| packet.member[n] && group(n) == *of) && lets(what)
        }
        Line::Together(elements) => elements.iter().any(|(net, of, (from, to))| {
            net.contains(&packet.address)
                && transport.is_some_and(|(t, port)| t == *of && (*from..=*to).contains(&port))
        }),
    })
}

/// Few different ones, so that they meet.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 =
        (0..4u8, prop_oneof![Just(0), Just(127), Just(128), Just(255)]).prop_map(|(b, c)| IpAddr::from([10, b, c, 1]));
    let v6 = (0..4u16, 0..2u16).prop_map(|(b, c)| IpAddr::from([0xfd77, b, c, 0, 0, 0, 0, 1]));
    prop_oneof![3 => v4, 1 => v6]
}

fn peer() -> impl Strategy<Value = RulePeer> {
    let net = (address(), prop_oneof![Just(0u8), Just(7), Just(8), Just(14), Just(16), Just(17), Just(24), Just(32)])
        .prop_map(|(address, length)| match address {
            IpAddr::V4(ip) => RulePeer::V4(ipnet::Ipv4Net::new(ip, length).unwrap()),
            IpAddr::V6(ip) => RulePeer::V6(ipnet::Ipv6Net::new(ip, length * 2).unwrap()),
        });
    prop_oneof![4 => net, 1 => (0..2usize).prop_map(|n| RulePeer::Group(group(n)))]
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![0..12u16, (u16::MAX - 3)..=u16::MAX]
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let few = || proptest::option::of(0..3u8);
    prop_oneof![
        1 => Just(Traffic::All),
        8 => (port(), port()).prop_map(|(from, to)| tcp(from, to)),
        4 => (port(), port()).prop_map(|(from, to)| udp(from, to)),
        1 => (few(), few()).prop_map(|(kind, code)| Traffic::Icmp { kind, code }),
        1 => (few(), few()).prop_map(|(kind, code)| Traffic::Icmpv6 { kind, code }),
        1 => (47..50u8).prop_map(Traffic::Protocol),
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    let traffic = prop_oneof![
        6 => port().prop_map(|port| tcp(port, port)),
        3 => port().prop_map(|port| udp(port, port)),
        1 => (0..3u8, 0..3u8).prop_map(|(k, c)| Traffic::Icmp { kind: Some(k), code: Some(c) }),
        1 => (0..3u8, 0..3u8).prop_map(|(k, c)| Traffic::Icmpv6 { kind: Some(k), code: Some(c) }),
        1 => (47..50u8).prop_map(Traffic::Protocol),
    ];
    (address(), any::<[bool; 2]>(), traffic)
        .prop_map(|(address, member, traffic)| Packet { address, member, traffic })
        .prop_filter("of its family", |packet| applies(packet.traffic, packet.address.is_ipv4()))
}

/// Whether two elements overlap in all parts, which the kernel refuses.
fn overlap(a: &(IpNet, Transport, (u16, u16)), b: &(IpNet, Transport, (u16, u16))) -> bool {
    (a.0.contains(&b.0) || b.0.contains(&a.0)) && a.1 == b.1 && a.2.0 <= b.2.1 && b.2.0 <= a.2.1
}

proptest! {
    #[test]
    fn lines_let_through_what_rules_say(
        rules in proptest::collection::btree_set(
            (traffic(), peer()).prop_map(|(traffic, peer)| Rule { traffic, peer }), 0..14),
        packets in proptest::collection::vec(packet(), 60),
    ) {
        let lines = compiled(&rules);
        for packet in packets {
            prop_assert_eq!(found(&lines, packet), wanted(&rules, packet), "{:?} by {:?}", packet, lines);
        }
        for line in &lines {
            match line {
                Line::Together(all) => {
                    for (n, a) in all.iter().enumerate() {
                        prop_assert!(!all[n + 1..].iter().any(|b| overlap(a, b)), "{:?}", all);
                    }
                }
                Line::Nets(nets, _) => {
                    for (n, a) in nets.iter().enumerate() {
                        prop_assert!(!nets[n + 1..].iter().any(|b| a.contains(b) || b.contains(a)), "{:?}", nets);
                    }
                }
                Line::Members { .. } => {}
            }
        }
    }
}
