//! What the network owner needs of the kernel, named for the need. The real one is in `kernel`; tests pass one in
//! memory. Nothing here decides or retries anything.

use async_trait::async_trait;
use longshore_model::{
    Bandwidth, EniId, EniReport, GroupId, GroupRules, InstanceId, Lease, Mac, MemberChanges, NetworkConfig, Peer,
    TaskId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;

/// What a fabric is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The same on all hosts.
    pub network: NetworkConfig,
    /// The host's own leases, the oldest first; at least one.
    pub leases: Vec<Lease>,
    /// The address that other hosts send to.
    pub underlay: IpAddr,
}

/// What the kernel did not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Fault {
    /// The whole chain of causes on one line, for people.
    pub why: String,
    /// Whether it would be the same again: the host lacks something, or somebody else has a name.
    pub lasting: bool,
}

/// What is in the kernel of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its namespace and its link are there, and both sides of the link were set up.
    pub wired: bool,
    /// The firewall knows it.
    pub admitted: bool,
}

/// An interface and its security groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The interface.
    pub eni: EniReport,
    /// The groups.
    pub groups: BTreeSet<GroupId>,
}

/// What a sandbox's process has of its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// It is not in the namespace that is kept for the interface.
    Elsewhere,
    /// It is in that namespace, which has no link that is up.
    Unlinked,
    /// It is in that namespace, which has a link that is up.
    Linked,
}

/// Makes fabrics.
#[async_trait]
pub trait Kernel: Send + Sync {
    /// Makes this host's fabric, or takes over the one that is there.
    async fn open(&self, shape: &Shape) -> Result<Arc<dyn Fabric>, Fault>;
    /// What a process has of an interface. With or without a fabric.
    async fn wiring(&self, eni: EniId, pid: u32) -> Result<Wiring, Fault>;
}

/// The fabric of this host. Every call may be repeated; what is not there need not be removed.
#[async_trait]
pub trait Fabric: Send + Sync {
    /// Puts back what somebody else removed; says what.
    async fn repair(&self) -> Result<Vec<String>, Fault>;
    /// These interfaces are there: what they lose is put back. Those that `wire` made are known to be.
    fn adopt(&self, enis: &[EniReport]);
    /// Interfaces that the last repair could not put back from what is left of them, and why.
    fn lost(&self) -> BTreeMap<EniId, String>;
    /// Waits until somebody else changed something that a repair puts back, or may have.
    async fn changed(&self) -> Result<(), Fault>;
    /// Changes the host's leases.
    async fn set_leases(&self, leases: &[Lease]) -> Result<(), Fault>;
    /// Who else on the hosts' own network has an address, where tasks have addresses of it; nobody elsewhere.
    async fn holder(&self, address: Ipv4Addr) -> Result<Option<Mac>, Fault>;
    /// Gives the sandbox whose first process is `pid` its interface, which can neither send nor receive.
    async fn wire(&self, eni: &EniReport, pid: u32) -> Result<(), Fault>;
    /// Writes, for people, whose interface it is.
    async fn name_task(&self, eni: EniId, task: TaskId) -> Result<(), Fault>;
    /// Takes a sandbox's interface away.
    async fn unwire(&self, eni: EniId) -> Result<(), Fault>;
    /// Lets an interface send and receive what its groups say.
    async fn admit(&self, admission: &Admission) -> Result<(), Fault>;
    /// Cuts it off.
    async fn dismiss(&self, admission: &Admission) -> Result<(), Fault>;
    /// Limits it.
    async fn set_limits(&self, eni: EniId, limits: Bandwidth) -> Result<(), Fault>;
    /// Makes these the groups with their rules.
    async fn set_groups(&self, groups: &BTreeMap<GroupId, GroupRules>) -> Result<(), Fault>;
    /// Makes these the members of all groups; admitted interfaces of this host are members anyhow.
    async fn set_members(&self, members: &BTreeMap<GroupId, BTreeSet<IpAddr>>) -> Result<(), Fault>;
    /// Changes members.
    async fn change_members(&self, changes: &BTreeMap<GroupId, MemberChanges>) -> Result<(), Fault>;
    /// Makes these the other hosts; says which are left out, and why.
    async fn set_peers(&self, peers: &[Peer]) -> Result<Vec<(InstanceId, String)>, Fault>;
    /// Whether packets of every size pass to another host and back, by TCP and by UDP.
    async fn reach(&self, peer: &Peer) -> Result<(), Fault>;
    /// The socket at which tasks with an interface ask about themselves.
    async fn listen(&self) -> Result<TcpListener, Fault>;
    /// What is there of these interfaces.
    async fn observe(&self, enis: &BTreeSet<EniId>) -> Result<BTreeMap<EniId, Seen>, Fault>;
    /// Removes what belongs to none of these interfaces; says what.
    async fn remove_strays(&self, known: &BTreeSet<EniId>) -> Result<Vec<String>, Fault>;
}
