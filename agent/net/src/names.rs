//! The names that the fabric gives to what it makes, and their inverse.
//!
//! Everything in the kernel that belongs to an interface has a name derived from the interface's id, so that whatever
//! exists can be traced to an id without a record, and nothing else is ever touched.

use ipnet::IpNet;
use longshore_model::network::{EniId, GroupId, Lease, Mac};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// The project's short name: what names on a host begin with.
pub const SHORT_NAME: &str = "ls";
/// What routes and neighbours of ours are marked with (`ip route show proto 98`).
pub(crate) const PROTOCOL: u8 = 98;
/// The end of every task's link that is in the fabric. One for all: only its own task ever sees it.
pub(crate) const TASK_GATEWAY_MAC: Mac = Mac([0x02, 0xee, 0, 0, 0, 0xff]);
/// The end of the leg that is in the fabric.
pub(crate) const FABRIC_LEG_MAC: Mac = Mac([0x02, 0xee, 0, 0, 0, 0xfe]);
/// The fabric's end of the leg.
pub(crate) const FABRIC_LEG: &str = "up0";
/// The task's end of its link.
pub(crate) const TASK_LINK: &str = "eth0";
/// The gateway of every task.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 1);
/// Where the metadata service answers.
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);
/// Where the resolver answers.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 3);
/// The IPv6 gateway of every task.
pub(crate) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// EC2's metadata service, which is not there.
pub(crate) const EC2_METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The hardware address of the host's end of the leg, which peers of the fabric do not see.
pub(crate) const fn leg_mac(lease: &Lease) -> Mac {
    let [a, b, c, _] = lease.v4.addr().octets();
    Mac([0x02, 0xce, a, b, c, 1])
}

/// An address as the network of itself alone.
pub(crate) fn host_net(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// The part of an interface's id that fits into the name of a link: its first 14 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EniStem([u8; 14]);

impl EniStem {
    /// The stem as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits, checked when made")
    }

    fn parse(digits: &str) -> Option<Self> {
        let bytes = <[u8; 14]>::try_from(digits.as_bytes()).ok()?;
        bytes.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)).then_some(Self(bytes))
    }
}

impl From<EniId> for EniStem {
    fn from(id: EniId) -> Self {
        let mut stem = [0; 14];
        stem.copy_from_slice(&id.digits().as_bytes()[..14]);
        Self(stem)
    }
}

impl fmt::Display for EniStem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for EniStem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What the names on a host begin with, and where its namespaces are kept. Two fabrics with different names do not
/// meet, as long as their networks do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
    run: PathBuf,
}

impl Default for Names {
    fn default() -> Self {
        Self { prefix: SHORT_NAME.to_owned(), run: PathBuf::from("/run/netns") }
    }
}

impl Names {
    /// Names that begin with `prefix`, and namespaces in the directory `run`. Nothing for a prefix that is not one to
    /// six lower-case letters.
    #[must_use]
    pub fn new(prefix: &str, run: impl Into<PathBuf>) -> Option<Self> {
        let fits = (1..=6).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_lowercase());
        fits.then(|| Self { prefix: prefix.to_owned(), run: run.into() })
    }

    /// The directory of the namespaces.
    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The fabric's namespace.
    #[must_use]
    pub fn fabric_netns(&self) -> PathBuf {
        self.run.join(format!("{}-fab", self.prefix))
    }

    /// A sandbox's namespace.
    #[must_use]
    pub fn sandbox_netns(&self, eni: EniId) -> PathBuf {
        self.netns_of(eni.into())
    }

    pub(crate) fn netns_of(&self, stem: EniStem) -> PathBuf {
        self.run.join(format!("{}-{stem}", self.prefix))
    }

    /// Which interface a file in the directory of namespaces belongs to.
    #[must_use]
    pub fn stem_of_netns(&self, file_name: &str) -> Option<EniStem> {
        EniStem::parse(file_name.strip_prefix(&self.prefix)?.strip_prefix('-')?)
    }

    /// The host's end of the leg.
    #[must_use]
    pub fn leg(&self) -> String {
        format!("{}l0", self.prefix)
    }

    /// The tunnel.
    #[must_use]
    pub fn tunnel(&self) -> String {
        format!("{}vx", self.prefix)
    }

    /// The nftables table in the fabric.
    #[must_use]
    pub fn fabric_table(&self) -> String {
        format!("{}_fab", self.prefix)
    }

    /// The nftables table in the host's namespace.
    #[must_use]
    pub fn host_table(&self) -> String {
        format!("{}_host", self.prefix)
    }

    /// The nftables table in the host's namespace that leads tasks to the metadata endpoint.
    #[must_use]
    pub fn endpoint_table(&self) -> String {
        format!("{}_meta", self.prefix)
    }

    /// The fabric's end of a task's link.
    #[must_use]
    pub fn task_link(&self, eni: impl Into<EniStem>) -> String {
        format!("t{}", eni.into())
    }

    /// The link that shapes what a task sends.
    #[must_use]
    pub fn shaper(&self, eni: impl Into<EniStem>) -> String {
        format!("i{}", eni.into())
    }

    /// Which interface a link in the fabric belongs to.
    #[must_use]
    pub fn stem_of_link(&self, name: &str) -> Option<EniStem> {
        EniStem::parse(name.strip_prefix('t').or_else(|| name.strip_prefix('i'))?)
    }

    /// What a task's link says of itself.
    #[must_use]
    pub fn alias(&self, eni: EniId, address: Ipv4Addr, task: &str) -> String {
        // The kernel takes 255 bytes.
        let task: String = task.chars().filter(char::is_ascii_graphic).take(160).collect();
        format!("{}:{eni}:{address}:{task}", self.prefix)
    }

    /// The interface that a link says it is.
    #[must_use]
    pub fn eni_of_alias(&self, alias: &str) -> Option<EniId> {
        let mut parts = alias.split(':');
        (parts.next()? == self.prefix).then(|| parts.next()?.parse().ok())?
    }
}

/// A group's chain for what comes into its members.
pub(crate) fn chain_in(group: GroupId) -> String {
    format!("in_{}", group.digits())
}

/// A group's chain for what leaves its members.
pub(crate) fn chain_out(group: GroupId) -> String {
    format!("out_{}", group.digits())
}

/// A group's members by IPv4 address.
pub(crate) fn members4(group: GroupId) -> String {
    format!("m4_{}", group.digits())
}

/// A group's members by IPv6 address.
pub(crate) fn members6(group: GroupId) -> String {
    format!("m6_{}", group.digits())
}

/// The group that a chain or a set of members is of.
pub(crate) fn group_of(name: &str) -> Option<GroupId> {
    let digits = ["in_", "out_", "m4_", "m6_"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
    format!("{}{digits}", GroupId::PREFIX).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_are_read_back() {
        let names = Names::default();
        let eni: EniId = "eni-0123456789abcdef0".parse().unwrap();
        let stem = EniStem::from(eni);
        assert_eq!(names.sandbox_netns(eni), Path::new("/run/netns/ls-0123456789abcd"));
        assert_eq!(names.stem_of_netns("ls-0123456789abcd"), Some(stem));
        assert_eq!(names.task_link(eni), "t0123456789abcd");
        for link in [names.task_link(eni), names.shaper(eni)] {
            assert!(link.len() <= 15, "{link}");
            assert_eq!(names.stem_of_link(&link), Some(stem));
        }
        for link in [names.leg(), names.tunnel(), FABRIC_LEG.to_owned(), TASK_LINK.to_owned()] {
            assert!(link.len() <= 15, "{link}");
            assert_eq!(names.stem_of_link(&link), None);
        }
        let alias = names.alias(eni, Ipv4Addr::new(10, 77, 1, 11), &"tä sk".repeat(200));
        assert!(alias.len() < 255 && alias.starts_with("ls:eni-0123456789abcdef0:10.77.1.11:tsk"), "{alias}");
        assert_eq!(names.eni_of_alias(&alias), Some(eni));
    }

    #[test]
    fn names_of_others_are_not_ours() {
        let names = Names::default();
        for file in
            ["ls-fab", "ls-0123456789abcde", "ls-0123456789ABCD", "cni-0123456789abcd", "ls0123456789abcd", "ls-"]
        {
            assert_eq!(names.stem_of_netns(file), None, "{file}");
        }
        for link in ["eth0", "tap0123456789ab", "t0123456789abcg", "x0123456789abcd", "t"] {
            assert_eq!(names.stem_of_link(link), None, "{link}");
        }
        for alias in ["", "ls", "ls:", "xx:eni-0123456789abcdef0:10.0.0.1:t", "ls:eni-1:10.0.0.1:t"] {
            assert_eq!(names.eni_of_alias(alias), None, "{alias}");
        }
        for prefix in ["", "Ls", "longname", "l-", "../"] {
            assert_eq!(Names::new(prefix, "/run/netns"), None, "{prefix}");
        }
        let group = GroupId::random();
        for name in [chain_in(group), chain_out(group), members4(group), members6(group)] {
            assert_eq!(group_of(&name), Some(group), "{name}");
        }
        for name in ["in_", "pin4", "in_x", "pi_0123456789abcdef0", "ingress"] {
            assert_eq!(group_of(name), None, "{name}");
        }
    }
}
