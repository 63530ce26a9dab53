//! The fabric over `longshore-net`: types and errors are turned into the owner's, and nothing else happens here.

use super::fabric::{Admission, Fabric, Fault, Kernel, Seen, Shape, Wiring};
use crate::crash::{self, Place};
use crate::engine::docker::chain;
use async_trait::async_trait;
use longshore_model::{
    Bandwidth, EniId, EniReport, GroupId, GroupRules, InstanceId, Lease, Mac, MemberChanges, Peer, TaskId,
};
use longshore_net::{
    Claim, EniStem, FabricConfig, FabricLink, Handle, LimitError, Names, Namespace, Step, Steps, Underlay, Wire,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The bridge behind which Docker's own containers are.
pub(crate) const DOCKER_BRIDGE: &str = "docker0";

/// How long another host has to answer, for small packets and for large ones.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long whoever has an address on the hosts' network has to say so: three questions. RFC 5227 waits for seconds,
/// as one may on a link that just came up; here it is a link in use, and every task would wait.
const HOLDERS: Duration = Duration::from_millis(450);

/// The kernel of this host.
#[derive(Debug, Clone, Default)]
pub struct HostKernel {
    /// What the fabric's parts are called.
    pub names: Names,
    /// The file of the host's network namespace; this process's own when absent.
    pub host: Option<PathBuf>,
}

/// The kernel layer's steps, as [`crash`] calls them.
fn step_done(step: Step) -> ControlFlow<()> {
    crash::after(match step {
        Step::Pinned => Place::Pinned,
        Step::Linked => Place::Linked,
        Step::SandboxSet => Place::SandboxSet,
        Step::FabricSet => Place::FabricSet,
        Step::ProfileMade => Place::ProfileMade,
        Step::Admitted => Place::Admitted,
        Step::Dismissed => Place::Dismissed,
        Step::Forgotten => Place::ConnectionsForgotten,
        Step::Unpinned => Place::Unpinned,
        Step::ShaperGone => Place::Unwired,
    });
    ControlFlow::Continue(())
}

fn fault(error: &(dyn std::error::Error + 'static)) -> Fault {
    Fault { why: chain(error), lasting: false }
}

#[async_trait]
impl Kernel for HostKernel {
    async fn open(&self, shape: &Shape) -> Result<Arc<dyn Fabric>, Fault> {
        let Shape { network, leases, underlay } = shape;
        // While no link has the address, a fabric that is there goes on without.
        let device = self.device_of(*underlay).await?.unwrap_or_default();
        let config = FabricConfig {
            underlay: Some(Underlay { address: *underlay, device }),
            bridges: vec![DOCKER_BRIDGE.to_owned()],
            names: self.names.clone(),
            host: self.host.clone(),
            steps: Steps::told(step_done),
            ..FabricConfig::new(*network, leases.clone())
        };
        let opened = crash::around(Place::FabricOpen, longshore_net::Fabric::open(config)).await;
        let fabric = opened.map_err(|e| fault(&e))?;
        let changes = Mutex::new(fabric.changes().map_err(|e| fault(&e))?);
        Ok(Arc::new(HostFabric { fabric, changes }))
    }

    async fn wiring(&self, eni: EniId, pid: u32) -> Result<Wiring, Fault> {
        // Without a file nothing is kept.
        let Ok(kept) = Namespace::open(self.names.sandbox_netns(eni)) else { return Ok(Wiring::Elsewhere) };
        let its = Namespace::of_process(pid).map_err(|e| fault(&e))?;
        if !kept.is(&its).map_err(|e| fault(&e))? {
            return Ok(Wiring::Elsewhere);
        }
        // It is kept before it has its link.
        let handle = Handle::in_namespace(&its).await.map_err(|e| fault(&e))?;
        let links = handle.links().await.map_err(|e| fault(&e))?;
        let linked = links.iter().any(|link| !link.loopback && link.up);
        Ok(if linked { Wiring::Linked } else { Wiring::Unlinked })
    }
}

impl HostKernel {
    /// The link that has an address.
    async fn device_of(&self, address: IpAddr) -> Result<Option<String>, Fault> {
        let handle = match &self.host {
            Some(host) => {
                let namespace = Namespace::open(host).map_err(|e| fault(&e))?;
                Handle::in_namespace(&namespace).await
            }
            None => Handle::here(),
        };
        let handle = handle.map_err(|e| fault(&e))?;
        let links = handle.links().await.map_err(|e| fault(&e))?;
        // On a LAN of tasks the leg has it as well.
        let leg = self.names.leg();
        let has =
            |link: &&longshore_net::Link| link.name != leg && link.addresses.iter().any(|net| net.addr() == address);
        Ok(links.iter().find(has).map(|link| link.name.clone()))
    }
}

/// The fabric of this host.
struct HostFabric {
    fabric: longshore_net::Fabric,
    /// What others change of it.
    changes: Mutex<longshore_net::Changes>,
}

fn claim(admission: &Admission) -> Claim {
    let Admission { eni, groups } = admission;
    Claim { eni: eni.id, ipv4: eni.ipv4, ipv6: eni.ipv6, mac: eni.mac, groups: groups.clone() }
}

/// A sandbox is nobody's yet when it is wired.
fn wire(eni: &EniReport) -> Wire {
    let EniReport { id, mac, ipv4, ipv6, attached: _ } = eni.clone();
    Wire { eni: id, ipv4, ipv6, mac, task: String::new() }
}

#[async_trait]
impl Fabric for HostFabric {
    async fn repair(&self) -> Result<Vec<String>, Fault> {
        let repaired = crash::around(Place::FabricRepair, self.fabric.repair()).await;
        let repairs = repaired.map_err(|e| fault(&e))?;
        Ok(repairs.iter().map(ToString::to_string).collect())
    }

    fn adopt(&self, enis: &[EniReport]) {
        self.fabric.adopt(enis.iter().map(wire).collect());
    }

    fn lost(&self) -> BTreeMap<EniId, String> {
        self.fabric.lost()
    }

    async fn changed(&self) -> Result<(), Fault> {
        self.changes.lock().await.next().await.map_err(|e| fault(&e))
    }

    async fn set_leases(&self, leases: &[Lease]) -> Result<(), Fault> {
        crash::around(Place::SetLeases, self.fabric.set_leases(leases)).await.map(drop).map_err(|e| fault(&e))
    }

    async fn holder(&self, address: Ipv4Addr) -> Result<Option<Mac>, Fault> {
        self.fabric.holder(address, HOLDERS).await.map_err(|e| fault(&e))
    }

    async fn wire(&self, eni: &EniReport, pid: u32) -> Result<(), Fault> {
        let pause = Namespace::of_process(pid).map_err(|e| fault(&e))?;
        self.fabric.wire(&wire(eni), &pause).await.map(drop).map_err(|e| fault(&e))
    }

    async fn name_task(&self, eni: EniId, task: TaskId) -> Result<(), Fault> {
        let name = task.to_string();
        crash::around(Place::NameTask, self.fabric.name_task(eni, &name)).await.map_err(|e| fault(&e))
    }

    async fn unwire(&self, eni: EniId) -> Result<(), Fault> {
        self.fabric.unwire(eni).await.map_err(|e| fault(&e))
    }

    async fn admit(&self, admission: &Admission) -> Result<(), Fault> {
        self.fabric.admit(&claim(admission)).await.map_err(|e| fault(&e))
    }

    async fn dismiss(&self, admission: &Admission) -> Result<(), Fault> {
        self.fabric.dismiss(&claim(admission)).await.map_err(|e| fault(&e))
    }

    async fn set_limits(&self, eni: EniId, limits: Bandwidth) -> Result<(), Fault> {
        let set = crash::around(Place::SetLimits, self.fabric.set_limits(eni, limits)).await;
        set.map_err(|error| {
            let lasting = match &error {
                LimitError::Module { .. } => true,
                LimitError::NoLink { .. } | LimitError::Netlink { .. } => false,
            };
            Fault { lasting, ..fault(&error) }
        })
    }

    async fn set_groups(&self, groups: &BTreeMap<GroupId, GroupRules>) -> Result<(), Fault> {
        crash::around(Place::SetGroups, self.fabric.set_groups(groups)).await.map_err(|e| fault(&e))
    }

    async fn set_members(&self, members: &BTreeMap<GroupId, BTreeSet<IpAddr>>) -> Result<(), Fault> {
        crash::around(Place::SetMembers, self.fabric.set_members(members)).await.map_err(|e| fault(&e))
    }

    async fn change_members(&self, changes: &BTreeMap<GroupId, MemberChanges>) -> Result<(), Fault> {
        crash::around(Place::SetMembers, self.fabric.change_members(changes)).await.map_err(|e| fault(&e))
    }

    async fn set_peers(&self, peers: &[Peer]) -> Result<Vec<(InstanceId, String)>, Fault> {
        let set = crash::around(Place::SetPeers, self.fabric.set_peers(peers)).await;
        let report = set.map_err(|e| fault(&e))?;
        Ok(report.refused.into_iter().map(|refused| (refused.instance, refused.reason)).collect())
    }

    async fn reach(&self, peer: &Peer) -> Result<(), Fault> {
        let Some(lease) = peer.leases.first() else { return Ok(()) };
        self.fabric.check_peer(lease, PATIENCE).await.map(drop).map_err(|e| fault(&e))
    }

    async fn listen(&self) -> Result<TcpListener, Fault> {
        self.fabric.listen().await.map_err(|e| fault(&e))
    }

    async fn observe(&self, enis: &BTreeSet<EniId>) -> Result<BTreeMap<EniId, Seen>, Fault> {
        let observed = self.fabric.observe().await.map_err(|e| fault(&e))?;
        let seen = |eni: &EniId| {
            let stem = EniStem::from(*eni);
            let its = |links: &Vec<FabricLink>| links.iter().any(|link| link.eni == Some(*eni));
            let wired = observed.sandboxes.contains(&stem) && observed.links.get(&stem).is_some_and(its);
            (*eni, Seen { wired, admitted: observed.elements.contains_key(&stem) })
        };
        Ok(enis.iter().map(seen).collect())
    }

    async fn remove_strays(&self, known: &BTreeSet<EniId>) -> Result<Vec<String>, Fault> {
        let removed = crash::around(Place::KernelStrays, self.fabric.remove_strays(known)).await;
        let strays = removed.map_err(|e| fault(&e))?;
        Ok(strays.iter().map(|stray| format!("{stray:?}")).collect())
    }
}
