//! A host's part of the task network: what its kernel has, its sandboxes and its files, for the agent's real owner of
//! it.
//!
//! The kernel loses all of it with the power. What the owner keeps on the disk survives everything.

use crate::addresses::Asked;
use crate::docker::{Container, Docker, Engine, Key};
use crate::drivers::Reach;
use crate::host::Host;
use crate::world::World;
use async_trait::async_trait;
use longshore_agent::engine::drivers::Interfaces;
use longshore_agent::network::fabric::{Admission, Fabric, Fault, Kernel, Seen, Shape, Wiring};
use longshore_agent::network::sandboxes::{Sandbox, Sandboxes};
use longshore_agent::network::shelf::{InterfaceFiles, Shelf};
use longshore_agent::network::{Quarantine, Said, Step, TaskNames};
use longshore_model::{
    Bandwidth, EniId, EniReport, GroupId, GroupRules, InstanceId, Lease, Mac, MemberChanges, Peer, TaskId, TaskSpec,
};
use longshore_plan::{Failure, Interface, RunState, Supervise};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a host's kernel has of the task network.
#[derive(Default)]
pub(crate) struct Wires {
    pub(crate) wired: BTreeMap<EniId, Ipv4Addr>,
    /// Whose namespace is kept for each.
    pub(crate) inside: BTreeMap<EniId, u32>,
    /// Interfaces that are let through, and which container instance the host was when it first let them.
    pub(crate) admitted: BTreeMap<EniId, (Admission, InstanceId)>,
    groups: BTreeSet<GroupId>,
    pub(crate) members: BTreeMap<GroupId, BTreeSet<IpAddr>>,
    /// Which container instance the host was when it was told them.
    pub(crate) told: Option<InstanceId>,
}

/// The network's part of a host.
#[derive(Default)]
pub(crate) struct HostNet {
    wires: Mutex<Wires>,
    kept: Mutex<Kept>,
}

/// What the owner keeps on the disk.
#[derive(Default)]
struct Kept {
    said: Said,
    resting: Quarantine,
    /// The container instance that it is of.
    instance: Option<InstanceId>,
}

impl HostNet {
    pub(crate) fn wires(&self) -> MutexGuard<'_, Wires> {
        lock(&self.wires)
    }

    /// The power goes. Returns the interfaces that were let through.
    pub(crate) fn power_off(&self) -> Vec<EniReport> {
        let had = std::mem::take(&mut *self.wires());
        had.admitted.into_values().map(|(admission, _)| admission.eni).collect()
    }

    /// An agent starts. What a former container instance was told counts no more; addresses that rest go on resting.
    pub(crate) fn begin(&self, instance: InstanceId) {
        let mut kept = lock(&self.kept);
        if kept.instance.replace(instance).is_some_and(|before| before != instance) {
            kept.said = Said::default();
            kept.resting.forget_records();
        }
    }
}

/// The host as the owner of its network reaches it, for one life of the agent.
#[derive(Clone)]
pub(crate) struct SimKernel {
    pub(crate) world: Arc<World>,
    pub(crate) host: usize,
    pub(crate) instance: InstanceId,
}

impl SimKernel {
    fn host(&self) -> &Host {
        &self.world.hosts[self.host]
    }

    async fn pause(&self) {
        tokio::time::sleep(self.host().net_dice.millis(0, 3)).await;
    }

    fn asked(&self) -> Asked<'_> {
        Asked { world: &self.world, host: self.host(), instance: self.instance }
    }
}

#[async_trait]
impl Kernel for SimKernel {
    async fn open(&self, _: &Shape) -> Result<Arc<dyn Fabric>, Fault> {
        self.pause().await;
        Ok(Arc::new(SimFabric { kernel: self.clone(), adopted: Mutex::default() }))
    }

    async fn wiring(&self, eni: EniId, pid: u32) -> Result<Wiring, Fault> {
        self.pause().await;
        // A link and the namespace that is kept go together here.
        let is_inside = self.host().net.wires().inside.get(&eni) == Some(&pid);
        Ok(if is_inside { Wiring::Linked } else { Wiring::Elsewhere })
    }
}

struct SimFabric {
    kernel: SimKernel,
    /// What is to be there.
    adopted: Mutex<BTreeSet<EniId>>,
}

impl SimFabric {
    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.kernel.host().net.wires()
    }

    /// A link goes, if it is not gone with its sandbox, and with it whatever let its packets through.
    fn cut(&self, eni: EniId) {
        let admitted = {
            let mut wires = self.wires();
            wires.wired.remove(&eni);
            wires.inside.remove(&eni);
            wires.admitted.remove(&eni)
        };
        let Some((admission, _)) = admitted else { return };
        let gone = self.kernel.host().docker.engine().sandboxes_gone.get(&eni).copied();
        let SimKernel { world, host, .. } = &self.kernel;
        world.addresses.dismissed(*host, &admission.eni, gone.unwrap_or_else(|| world.trace.at()));
    }
}

#[async_trait]
impl Fabric for SimFabric {
    async fn repair(&self) -> Result<Vec<String>, Fault> {
        self.kernel.pause().await;
        Ok(Vec::new())
    }

    fn adopt(&self, enis: &[EniReport]) {
        lock(&self.adopted).extend(enis.iter().map(|eni| eni.id));
    }

    fn lost(&self) -> BTreeMap<EniId, String> {
        let wires = self.wires();
        let adopted = lock(&self.adopted);
        let gone = adopted.iter().filter(|eni| !wires.wired.contains_key(eni));
        gone.map(|eni| (*eni, "its link is gone".to_owned())).collect()
    }

    async fn changed(&self) -> Result<(), Fault> {
        std::future::pending().await
    }

    async fn set_leases(&self, _: &[Lease]) -> Result<(), Fault> {
        self.kernel.pause().await;
        Ok(())
    }

    async fn holder(&self, _: Ipv4Addr) -> Result<Option<Mac>, Fault> {
        Ok(None)
    }

    async fn wire(&self, eni: &EniReport, pid: u32) -> Result<(), Fault> {
        self.kernel.pause().await;
        let mut wires = self.wires();
        wires.inside.insert(eni.id, pid);
        if let Some((other, _)) = wires.wired.iter().find(|(id, address)| **id != eni.id && **address == eni.ipv4) {
            let (trace, host) = (&self.kernel.world.trace, &self.kernel.host().name);
            trace.wrong(format_args!("{host}: {} is given to {} and is {other}'s", eni.ipv4, eni.id));
        }
        wires.wired.insert(eni.id, eni.ipv4);
        lock(&self.adopted).insert(eni.id);
        Ok(())
    }

    async fn name_task(&self, _: EniId, _: TaskId) -> Result<(), Fault> {
        Ok(())
    }

    async fn unwire(&self, eni: EniId) -> Result<(), Fault> {
        self.kernel.pause().await;
        lock(&self.adopted).remove(&eni);
        self.cut(eni);
        Ok(())
    }

    async fn admit(&self, admission: &Admission) -> Result<(), Fault> {
        self.kernel.pause().await;
        let Admission { eni, groups } = admission;
        let news = {
            let mut wires = self.wires();
            if !wires.wired.contains_key(&eni.id) {
                return Err(Fault { why: format!("{} has no link", eni.id), lasting: false });
            }
            if !groups.is_subset(&wires.groups) {
                return Err(Fault { why: "groups are not known".to_owned(), lasting: false });
            }
            let by = wires.admitted.get(&eni.id).map(|(_, by)| *by);
            wires.admitted.insert(eni.id, (admission.clone(), by.unwrap_or(self.kernel.instance)));
            by.is_none()
        };
        if news {
            self.kernel.world.addresses.admitted(&self.kernel.asked(), admission);
        }
        Ok(())
    }

    async fn dismiss(&self, admission: &Admission) -> Result<(), Fault> {
        self.kernel.pause().await;
        if self.wires().admitted.remove(&admission.eni.id).is_some() {
            let SimKernel { world, host, .. } = &self.kernel;
            world.addresses.dismissed(*host, &admission.eni, world.trace.at());
        }
        Ok(())
    }

    async fn set_limits(&self, _: EniId, _: Bandwidth) -> Result<(), Fault> {
        Ok(())
    }

    async fn set_groups(&self, groups: &BTreeMap<GroupId, GroupRules>) -> Result<(), Fault> {
        self.kernel.pause().await;
        self.wires().groups = groups.keys().copied().collect();
        Ok(())
    }

    async fn set_members(&self, members: &BTreeMap<GroupId, BTreeSet<IpAddr>>) -> Result<(), Fault> {
        self.kernel.pause().await;
        let mut wires = self.wires();
        wires.members = members.clone();
        wires.told = Some(self.kernel.instance);
        Ok(())
    }

    async fn change_members(&self, changes: &BTreeMap<GroupId, MemberChanges>) -> Result<(), Fault> {
        self.kernel.pause().await;
        let mut wires = self.wires();
        for (group, change) in changes {
            let members = wires.members.entry(*group).or_default();
            members.retain(|address| !change.removed.contains(address));
            members.extend(&change.added);
        }
        Ok(())
    }

    async fn set_peers(&self, _: &[Peer]) -> Result<Vec<(InstanceId, String)>, Fault> {
        self.kernel.pause().await;
        Ok(Vec::new())
    }

    async fn reach(&self, _: &Peer) -> Result<(), Fault> {
        Ok(())
    }

    async fn listen(&self) -> Result<TcpListener, Fault> {
        Err(Fault { why: "there are no sockets".to_owned(), lasting: true })
    }

    async fn observe(&self, enis: &BTreeSet<EniId>) -> Result<BTreeMap<EniId, Seen>, Fault> {
        self.kernel.pause().await;
        let wires = self.wires();
        let seen =
            |eni: &EniId| Seen { wired: wires.wired.contains_key(eni), admitted: wires.admitted.contains_key(eni) };
        Ok(enis.iter().map(|eni| (*eni, seen(eni))).collect())
    }

    async fn remove_strays(&self, known: &BTreeSet<EniId>) -> Result<Vec<String>, Fault> {
        self.kernel.pause().await;
        let strays: Vec<EniId> = self.wires().wired.keys().filter(|eni| !known.contains(eni)).copied().collect();
        strays.iter().for_each(|eni| self.cut(*eni));
        Ok(strays.iter().map(ToString::to_string).collect())
    }
}

#[async_trait]
impl Sandboxes for Reach {
    async fn list(&self) -> Result<BTreeMap<EniId, Sandbox>, Failure> {
        self.0.ask(None, |_, engine| Ok(engine.sandboxes.clone())).await
    }

    async fn labelled(&self) -> Result<BTreeMap<TaskId, Interface>, Failure> {
        let look = |_: &Docker, engine: &mut Engine| {
            let of = |label: &str| Supervise::from_label(label).ok().and_then(|label| label.interface);
            Ok(engine.containers.iter().filter_map(|((task, _), c)| Some((*task, of(&c.label)?))).collect())
        };
        self.0.ask(None, look).await
    }

    async fn make(&self, eni: &EniReport) -> Result<(String, u32), Failure> {
        let (id, address) = (eni.id, eni.ipv4);
        let make = move |docker: &Docker, engine: &mut Engine| {
            let sandbox = format!("{}-{id}", docker.host);
            let made = Sandbox { id: sandbox.clone(), address: Some(address), running: true, current: true };
            engine.sandboxes.insert(id, made);
            Ok((sandbox, 1))
        };
        self.0.ask(None, make).await
    }

    async fn none_runs(&self, _: EniId, task: TaskId) -> Result<(), Failure> {
        let look = move |_: &Docker, engine: &mut Engine| {
            let live = |((of, _), c): (&Key, &Container)| *of == task && c.state == RunState::Running;
            match engine.containers.iter().any(live) {
                true => Err(Failure::Passing("a container of the task runs".into())),
                false => Ok(()),
            }
        };
        self.0.ask(None, look).await
    }

    async fn start_again(&self, eni: EniId) -> Result<u32, Failure> {
        let start = move |_: &Docker, engine: &mut Engine| {
            let sandbox = engine.sandboxes.get_mut(&eni).ok_or_else(|| Failure::Passing("no such container".into()))?;
            if !std::mem::replace(&mut sandbox.running, true) {
                *engine.sandbox_starts.entry(eni).or_default() += 1;
            }
            Ok(engine.sandbox_pid(eni))
        };
        self.0.ask(None, start).await
    }

    async fn process(&self, eni: EniId) -> Result<Option<u32>, Failure> {
        let look = move |_: &Docker, engine: &mut Engine| {
            let pid = engine.sandbox_pid(eni);
            Ok(engine.sandboxes.get(&eni).filter(|sandbox| sandbox.running).map(|_| pid))
        };
        self.0.ask(None, look).await
    }

    async fn remove(&self, eni: EniId) -> Result<(), Failure> {
        let remove = move |docker: &Docker, engine: &mut Engine| {
            if engine.sandboxes.remove(&eni).is_some() {
                engine.sandboxes_gone.insert(eni, docker.trace.at());
            }
            Ok(())
        };
        self.0.ask(None, remove).await
    }
}

/// The owner's files on the host's disk.
#[async_trait]
impl Shelf for SimKernel {
    fn load(&self) -> (Said, Quarantine) {
        let kept = lock(&self.host().net.kept);
        (kept.said.clone(), kept.resting.clone())
    }

    fn wants_whole(&self) -> bool {
        false
    }

    async fn save_said(&self, said: Said) -> io::Result<()> {
        self.pause().await;
        lock(&self.host().net.kept).said = said;
        Ok(())
    }

    async fn save_steps(&self, steps: Vec<Step>) -> io::Result<()> {
        self.pause().await;
        let mut kept = lock(&self.host().net.kept);
        steps.into_iter().for_each(|step| kept.said.follow(step));
        Ok(())
    }

    async fn save_resting(&self, quarantine: &Quarantine) -> io::Result<()> {
        self.pause().await;
        lock(&self.host().net.kept).resting = quarantine.clone();
        Ok(())
    }
}

/// Nobody reads the files of interfaces.
pub(crate) struct NoFiles;

#[async_trait]
impl InterfaceFiles for NoFiles {
    fn of(&self, eni: EniId) -> PathBuf {
        PathBuf::from(format!("/interfaces/{eni}"))
    }

    async fn write(&self, _: &EniReport, _: TaskNames) -> io::Result<()> {
        Ok(())
    }

    async fn keep(&self, _: BTreeSet<EniId>) -> io::Result<()> {
        Ok(())
    }

    async fn remove(&self, _: EniId) -> io::Result<()> {
        Ok(())
    }
}

/// The owner, as the agent's engine asks it; what it gives is noted.
pub(crate) struct Giving<I> {
    pub(crate) owner: I,
    pub(crate) kernel: SimKernel,
}

#[async_trait]
impl<I: Interfaces> Interfaces for Giving<I> {
    async fn ensure(&self, spec: &TaskSpec) -> Result<Interface, Failure> {
        let interface = self.owner.ensure(spec).await?;
        self.kernel.world.addresses.given(&self.kernel.asked(), spec.id, &interface.eni);
        Ok(interface)
    }

    async fn ensure_again(&self, spec: &TaskSpec) -> Result<(), Failure> {
        self.owner.ensure_again(spec).await
    }

    async fn release(&self, task: TaskId) -> Result<(), Failure> {
        self.owner.release(task).await
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        self.owner.list().await
    }
}
