//! The two tables as they are before any task: chains with their rules, empty sets and maps.
//!
//! Each table has a marker, a chain named by a hash of all the text. A table whose marker or number of rules is another
//! gets its chains anew in one transaction, in which elements and the chains of groups stay.

use super::batch::ChainInfo;
use super::elements::{ENI_IN, ENI_OUT, HAIRPIN4, PIN4, PIN6, VTEP4, VTEP6};
use crate::fabric::{CHECK_PORT, check_address};
use crate::names::{FABRIC_LEG, GATEWAY, METADATA, Names, RESOLVER};
use ipnet::Ipv4Net;
use longshore_model::network::{Lease, NetworkConfig, Overlay};
use std::fmt::Write;
use std::net::Ipv4Addr;

const MARKER: &str = "v_";
/// The addresses at which a host answers to its tasks.
const SERVICE_RANGE: &str = "169.254.170.0/24";
/// Where clouds answer to the host itself.
const LINK_LOCAL: &str = "169.254.0.0/16";
/// Where EC2 answers to the host itself by IPv6. It is no link-local address: those are not forwarded.
const CLOUD6: &str = "fd00:ec2::254";

/// What the tables depend on.
pub(crate) struct Facts<'a> {
    pub(crate) names: &'a Names,
    pub(crate) network: &'a NetworkConfig,
    pub(crate) leases: &'a [Lease],
    /// The address of the host on the leg.
    pub(crate) leg: Ipv4Addr,
    /// The underlay's device, when there are other hosts.
    pub(crate) underlay: Option<&'a str>,
    pub(crate) bridges: &'a [String],
    pub(crate) services: Option<Ipv4Net>,
}

struct Chain {
    name: &'static str,
    /// Type, hook, priority, policy.
    hook: &'static str,
    rules: Vec<String>,
}

/// A table as it is to be.
pub(crate) struct Table {
    name: String,
    sets: Vec<String>,
    chains: Vec<Chain>,
}

/// `{ "a", "b" }`, an anonymous set.
fn set_of<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("{{ {} }}", items.join(", "))
}

fn quoted(names: &[&str]) -> String {
    set_of(names.iter().map(|name| format!("\"{name}\"")))
}

impl Facts<'_> {
    /// The port of the tunnel, when there is one.
    fn tunnel_port(&self) -> Option<u16> {
        match (self.network.overlay, self.underlay) {
            (Overlay::Vxlan { port, .. }, Some(_)) => Some(port),
            (Overlay::Vxlan { .. }, None) | (Overlay::Routes | Overlay::Lan, _) => None,
        }
    }

    /// The device on which other hosts' tasks are seen as they are, when there is one.
    fn routed(&self) -> Option<&str> {
        match self.network.overlay {
            Overlay::Routes | Overlay::Lan => self.underlay,
            Overlay::Vxlan { .. } => None,
        }
    }

    /// For each family in use: its word, the whole range, our part of it, and the address of the leg.
    fn families(&self) -> Vec<(&'static str, String, String, String)> {
        let mut families = Vec::new();
        if let Some(first) = self.leases.first() {
            let ours = set_of(self.leases.iter().map(|lease| lease.v4));
            families.push(("ip", self.network.v4.to_string(), ours, self.leg.to_string()));
            if let (Some(range), Some(leg)) = (self.network.v6, first.v6_of(first.leg())) {
                let ours = set_of(self.leases.iter().filter_map(|lease| lease.v6));
                families.push(("ip6", range.to_string(), ours, leg.to_string()));
            }
        }
        families
    }
}

/// The table of the fabric.
pub(crate) fn fabric(facts: &Facts<'_>) -> Table {
    let (names, up) = (facts.names, FABRIC_LEG);
    let tunnel = facts.tunnel_port().map(|_| names.tunnel());
    let families = facts.families();

    // Before connections are tracked: a spoofed packet leaves no trace.
    let mut pin = vec!["iifname \"lo\" accept".to_owned()];
    for (ip, range, ours, leg) in &families {
        if let Some(tunnel) = &tunnel {
            pin.push(format!("iifname \"{tunnel}\" {ip} saddr {range} {ip} saddr != {ours} accept"));
        }
        pin.push(format!("iifname \"{up}\" {ip} saddr {leg} accept"));
        pin.push(format!("iifname \"{up}\" {ip} saddr != {range} accept"));
        if facts.routed().is_some() {
            pin.push(format!("iifname \"{up}\" {ip} saddr {range} {ip} saddr != {ours} accept"));
        }
    }
    pin.push(format!("iifname . ether saddr . ip saddr @{PIN4} accept"));
    pin.push(format!("iifname . ether saddr . ip6 saddr @{PIN6} accept"));
    pin.push("counter".into());

    let mut no_backend = Vec::new();
    if let Some(services) = facts.services {
        no_backend.push(format!("ip daddr {services} counter reject with icmpx type port-unreachable"));
    }
    no_backend.push(format!("ip daddr {LINK_LOCAL} counter drop"));
    no_backend.push(format!("ip6 daddr {CLOUD6} counter drop"));

    let egress = vec![
        "ct state established,related accept".into(),
        format!("iifname vmap @{ENI_OUT}"),
        // Without an element it is no task yet, or none any more.
        "iifname \"t*\" counter drop".into(),
    ];

    let mut ingress = vec![
        "ct state vmap { established : accept, related : accept, invalid : drop }".into(),
        format!("oifname vmap @{ENI_IN}"),
        "oifname \"t*\" counter drop".into(),
    ];
    if let Some(tunnel) = &tunnel {
        // Another host's tasks reach ours and, at most, this host; it is no way to anywhere else.
        for (ip, _, _, leg) in &families {
            ingress.push(format!("iifname \"{tunnel}\" oifname \"{up}\" {ip} daddr {leg} accept"));
        }
        ingress.push(format!("iifname \"{tunnel}\" counter drop"));
        ingress.push(format!("oifname {} accept", quoted(&[tunnel, up])));
    } else {
        ingress.push(format!("oifname \"{up}\" accept"));
    }

    let outside: Vec<&str> = tunnel.as_deref().into_iter().chain([up]).collect();
    let mut local_in = vec![
        "ct state established,related accept".into(),
        "iifname \"lo\" accept".into(),
        "icmp type echo-request limit rate 50/second accept".into(),
        "icmpv6 type echo-request limit rate 50/second accept".into(),
    ];
    if let Some(first) = facts.leases.first()
        && (tunnel.is_some() || facts.routed().is_some())
    {
        // Other hosts try the way to here by being refused.
        let (device, range) = (tunnel.as_deref().unwrap_or(up), facts.network.v4);
        let to = check_address(facts.network.overlay, first);
        local_in.push(format!(
            "iifname \"{device}\" ip saddr {range} ip daddr {to} meta l4proto {{ tcp, udp }} th dport {CHECK_PORT} \
             limit rate 200/second reject with icmpx type port-unreachable"
        ));
    }
    local_in.extend([
        format!("iifname {} counter drop", quoted(&outside)),
        format!("ip daddr {METADATA} tcp dport 80 accept"),
        format!("ip daddr {RESOLVER} meta l4proto {{ tcp, udp }} th dport 53 accept"),
        "counter".into(),
    ]);

    Table {
        name: names.fabric_table(),
        sets: vec![
            format!("set {PIN4} {{ type ifname . ether_addr . ipv4_addr; }}"),
            format!("set {PIN6} {{ type ifname . ether_addr . ipv6_addr; }}"),
            format!("map {ENI_OUT} {{ type ifname : verdict; }}"),
            format!("map {ENI_IN} {{ type ifname : verdict; }}"),
            "map vip4 { type ipv4_addr . inet_proto . inet_service : verdict; }".into(),
            format!("set {HAIRPIN4} {{ type ipv4_addr . ipv4_addr; }}"),
        ],
        chains: vec![
            Chain { name: "pin", hook: "type filter hook prerouting priority raw; policy drop;", rules: pin },
            Chain {
                name: "dispatch",
                hook: "type nat hook prerouting priority dstnat; policy accept;",
                rules: vec!["ip daddr . meta l4proto . th dport vmap @vip4".into()],
            },
            Chain {
                name: "no_backend",
                hook: "type filter hook forward priority filter - 20; policy accept;",
                rules: no_backend,
            },
            Chain {
                name: "egress",
                hook: "type filter hook forward priority filter - 10; policy accept;",
                rules: egress,
            },
            Chain { name: "ingress", hook: "type filter hook forward priority filter; policy drop;", rules: ingress },
            Chain { name: "local_in", hook: "type filter hook input priority filter; policy drop;", rules: local_in },
            Chain {
                name: "loop_fix",
                hook: "type nat hook postrouting priority srcnat; policy accept;",
                rules: vec![format!("ct status dnat ip saddr . ip daddr @{HAIRPIN4} snat ip to {GATEWAY}")],
            },
        ],
    }
}

/// The table of the host's namespace.
pub(crate) fn host(facts: &Facts<'_>) -> Table {
    let leg = facts.names.leg();
    let bridges: Vec<&str> = facts.bridges.iter().map(String::as_str).collect();
    let families = facts.families();

    let mut underlay = Vec::new();
    let mut sets = Vec::new();
    if let Some(port) = facts.tunnel_port() {
        if !bridges.is_empty() {
            underlay.push(format!("iifname {} udp dport {port} counter drop", quoted(&bridges)));
        }
        underlay.push(format!("udp dport {port} ip saddr != @{VTEP4} counter drop"));
        underlay.push(format!("udp dport {port} ip6 saddr != @{VTEP6} counter drop"));
        sets.push(format!("set {VTEP4} {{ type ipv4_addr; }}"));
        sets.push(format!("set {VTEP6} {{ type ipv6_addr; }}"));
    }

    // What says it comes from a task, or wants what is only for tasks, from where no task is.
    let services: Vec<&str> = ["lo"].into_iter().chain(bridges.iter().copied()).collect();
    let mut guard = vec![format!("ip daddr {SERVICE_RANGE} iifname != {} counter drop", quoted(&services))];
    let inside: Vec<&str> = ["lo", leg.as_str()].into_iter().chain(facts.routed()).collect();
    for (ip, range, ours, _) in &families {
        guard.push(format!("{ip} saddr {range} iifname != {} counter drop", quoted(&inside)));
        if let Some(device) = facts.routed() {
            guard.push(format!("{ip} saddr {ours} iifname \"{device}\" counter drop"));
        }
    }

    let tasks_to_host = vec![
        format!("iifname \"{leg}\" ct state established,related accept"),
        format!("iifname \"{leg}\" icmp type echo-request accept"),
        format!("iifname \"{leg}\" icmpv6 type echo-request accept"),
        format!("iifname \"{leg}\" counter drop"),
    ];

    let mut forward = vec![
        "ct state established,related accept".into(),
        format!("iifname \"{leg}\" ip daddr {LINK_LOCAL} counter drop"),
        format!("iifname \"{leg}\" ip6 daddr {CLOUD6} counter drop"),
    ];
    if !bridges.is_empty() {
        let bridges = quoted(&bridges);
        forward.push(format!("iifname {bridges} ip daddr {LINK_LOCAL} counter drop"));
        forward.push(format!("iifname {bridges} ip6 daddr {CLOUD6} counter drop"));
        forward.push(format!("iifname \"{leg}\" oifname {bridges} counter drop"));
    }

    // On the LAN that tasks' addresses are of, everybody knows the way back.
    let known: Vec<&str> = match facts.network.overlay {
        Overlay::Lan => [leg.as_str()].into_iter().chain(facts.underlay).collect(),
        Overlay::Vxlan { .. } | Overlay::Routes => vec![leg.as_str()],
    };
    let out_nat = families
        .iter()
        .map(|(ip, range, ..)| {
            format!("oifname != {} {ip} saddr {range} {ip} daddr != {range} masquerade", quoted(&known))
        })
        .collect();

    Table {
        name: facts.names.host_table(),
        sets,
        chains: vec![
            Chain { name: "underlay", hook: "type filter hook input priority raw; policy accept;", rules: underlay },
            Chain { name: "guard", hook: "type filter hook prerouting priority raw; policy accept;", rules: guard },
            Chain {
                name: "tasks_to_host",
                hook: "type filter hook input priority filter - 5; policy accept;",
                rules: tasks_to_host,
            },
            Chain { name: "leg", hook: "type filter hook forward priority filter - 5; policy accept;", rules: forward },
            Chain {
                name: "out_nat",
                hook: "type nat hook postrouting priority srcnat - 5; policy accept;",
                rules: out_nat,
            },
        ],
    }
}

/// How nftables tells the sockets of tasks in mode `host`, which no link does; a comment that differs when the cgroup is
/// another one of the same name, which the rule would not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostSockets {
    told: String,
    comment: String,
}

impl HostSockets {
    /// Sockets of processes below this cgroup (v2), from the root of the hierarchy on; `inode` is its directory's.
    pub(crate) fn below(path: &str, inode: u64) -> Self {
        let level = path.split('/').count();
        Self {
            told: format!("socket cgroupv2 level {level} \"{path}\""),
            comment: format!(" comment \"cgroup {inode}\""),
        }
    }

    /// Sockets of this class (v1, `net_cls`).
    pub(crate) fn of_class(class: u32) -> Self {
        Self { told: format!("meta cgroup {class}"), comment: String::new() }
    }

    /// What keeps them from what clouds have at link-local addresses, refused at once where that can be said. A resolver
    /// may be there, and theirs is the host's.
    fn rules(&self) -> Vec<String> {
        let Self { told, comment } = self;
        let resolver = format!("{told} ip daddr {LINK_LOCAL} meta l4proto {{ tcp, udp }} th dport 53 accept{comment}");
        let to = [format!("ip daddr {LINK_LOCAL} ip daddr != {METADATA}"), format!("ip6 daddr {CLOUD6}")];
        let rules = to.into_iter().flat_map(|to| {
            [
                format!("{told} {to} meta l4proto tcp counter reject with tcp reset{comment}"),
                format!("{told} {to} counter drop{comment}"),
            ]
        });
        [resolver].into_iter().chain(rules).collect()
    }
}

/// The table of the host's namespace for the metadata endpoint, which answers on `port`. It is there also on hosts that
/// have no fabric.
pub(crate) fn endpoint(names: &Names, bridges: &[String], port: u16, sockets: Option<&HostSockets>) -> Table {
    let bridges: Vec<&str> = bridges.iter().map(String::as_str).collect();
    let inside: Vec<&str> = ["lo"].into_iter().chain(bridges.iter().copied()).collect();
    let ask = format!("ip daddr {METADATA} tcp dport 80 dnat ip to {METADATA}:{port}");
    let guard = vec![format!("ip daddr {SERVICE_RANGE} iifname != {} counter drop", quoted(&inside))];
    let (mut asked, mut link_local) = (Vec::new(), Vec::new());
    if !bridges.is_empty() {
        asked.push(format!("iifname {} {ask}", quoted(&bridges)));
        link_local.push(format!("iifname {} ip daddr {LINK_LOCAL} counter drop", quoted(&bridges)));
        link_local.push(format!("iifname {} ip6 daddr {CLOUD6} counter drop", quoted(&bridges)));
    }
    Table {
        name: names.endpoint_table(),
        sets: Vec::new(),
        chains: vec![
            Chain { name: "guard", hook: "type filter hook prerouting priority raw; policy accept;", rules: guard },
            Chain {
                name: "ask",
                // Before Docker's rules: they would lead port 80 of any address of the host to whoever publishes it.
                hook: "type nat hook prerouting priority dstnat - 10; policy accept;",
                rules: asked,
            },
            Chain { name: "ask_here", hook: "type nat hook output priority -110; policy accept;", rules: vec![ask] },
            Chain {
                name: "link_local",
                hook: "type filter hook forward priority filter - 5; policy accept;",
                rules: link_local,
            },
            Chain {
                name: "host_tasks",
                hook: "type filter hook output priority filter - 5; policy accept;",
                rules: sockets.map(HostSockets::rules).unwrap_or_default(),
            },
        ],
    }
}

impl Table {
    /// The name of the marker: a hash (FNV-1a) of the text, which only has to tell versions apart.
    fn marker(&self) -> String {
        let chain = |chain: &Chain| format!("{} {}\n{}\n", chain.name, chain.hook, chain.rules.join("\n"));
        let text = self.sets.iter().cloned().chain(self.chains.iter().map(chain)).collect::<String>();
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        format!("{MARKER}{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
    }

    /// The names of its chains.
    pub(crate) fn chain_names(&self) -> impl Iterator<Item = &'static str> {
        self.chains.iter().map(|chain| chain.name)
    }

    /// Whether the chains that are there are these, with as many rules.
    pub(crate) fn is(&self, chains: &[ChainInfo]) -> bool {
        let uses = |name: &str| chains.iter().find(|chain| chain.name == name).map(|chain| chain.uses as usize);
        uses(&self.marker()).is_some() && self.chains.iter().all(|chain| uses(chain.name) == Some(chain.rules.len()))
    }

    /// What makes the table so, whatever it was: elements and chains of groups stay.
    pub(crate) fn script(&self, chains: &[ChainInfo]) -> String {
        let mut script = String::new();
        let name = &self.name;
        // Declared first, so that there is something to flush.
        let mut declared = format!("table inet {name} {{\n");
        for set in &self.sets {
            let _ = writeln!(declared, "\t{set}");
        }
        for chain in &self.chains {
            let _ = writeln!(declared, "\tchain {} {{ {} }}", chain.name, chain.hook);
        }
        let marker = self.marker();
        let _ = writeln!(declared, "\tchain {marker} {{ }}\n}}");
        script.push_str(&declared);
        for chain in &self.chains {
            let _ = writeln!(script, "flush chain inet {name} {}", chain.name);
        }
        for old in chains.iter().filter(|chain| chain.name.starts_with(MARKER) && chain.name != marker) {
            let _ = writeln!(script, "delete chain inet {name} {}", old.name);
        }
        let _ = writeln!(script, "table inet {name} {{");
        for chain in &self.chains {
            let _ = writeln!(script, "\tchain {} {{", chain.name);
            for rule in &chain.rules {
                let _ = writeln!(script, "\t\t{rule}");
            }
            script.push_str("\t}\n");
        }
        script.push_str("}\n");
        script
    }

    /// The same, from nothing: for a table that an incompatible version left.
    pub(crate) fn script_anew(&self) -> String {
        // Adding first, since deleting what is not there would be refused.
        format!("add table inet {0}\ndelete table inet {0}\n{1}", self.name, self.script(&[]))
    }
}
