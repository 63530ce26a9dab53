//! A kernel and a container engine in memory, with scripted answers; what is in them survives an owner.

use crate::engine::drivers::Clock;
use crate::network::fabric::{Admission, Fabric, Fault, Kernel, Seen, Shape, Wiring};
use crate::network::sandboxes::{Sandbox, Sandboxes};
use async_trait::async_trait;
use longshore_model::{
    Bandwidth, EniId, EniReport, GroupId, GroupRules, InstanceId, Lease, Mac, MemberChanges, Peer, TaskId, Timestamp,
};
use longshore_plan::{Failure, Interface};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Default)]
pub(super) struct State {
    // The container engine.
    pub(super) sandboxes: BTreeMap<EniId, Sandbox>,
    /// The first processes of those that were started again; 1 of others.
    pub(super) pids: BTreeMap<EniId, u32>,
    /// Whose namespace is kept for each interface.
    pub(super) inside: BTreeMap<EniId, u32>,
    /// The engine starts no sandbox again.
    pub(super) stubborn: bool,
    /// Tasks of which a container runs.
    pub(super) live: BTreeSet<TaskId>,
    pub(super) labelled: BTreeMap<TaskId, Interface>,
    pub(super) engine_away: bool,
    pub(super) made: usize,
    pub(super) making: usize,
    pub(super) most_making: usize,
    // The kernel.
    pub(super) opened: Vec<Shape>,
    pub(super) wired: BTreeMap<EniId, Ipv4Addr>,
    /// What is to be there, as the fabric knows.
    pub(super) adopted: BTreeSet<EniId>,
    pub(super) named: BTreeMap<EniId, TaskId>,
    pub(super) admitted: BTreeMap<EniId, Admission>,
    pub(super) limits: BTreeMap<EniId, Bandwidth>,
    pub(super) groups: BTreeMap<GroupId, GroupRules>,
    pub(super) members: BTreeMap<GroupId, BTreeSet<IpAddr>>,
    pub(super) peers: Vec<Peer>,
    pub(super) strays: Vec<String>,
    /// Who else on the hosts' network has an address.
    pub(super) holders: BTreeMap<Ipv4Addr, Mac>,
    /// Hosts that do not answer.
    pub(super) silent: BTreeSet<InstanceId>,
    /// What the next calls of a name answer before anything else.
    pub(super) script: BTreeMap<&'static str, Vec<Fault>>,
    pub(super) calls: Vec<&'static str>,
}

/// The host.
pub(super) struct FakeHost {
    state: Mutex<State>,
    /// Somebody else changes something of the kernel.
    pub(super) stir: tokio::sync::Notify,
    began: Instant,
}

pub(super) fn fault(why: &str) -> Fault {
    Fault { why: why.to_owned(), lasting: false }
}

impl FakeHost {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), stir: tokio::sync::Notify::new(), began: Instant::now() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    fn call(&self, name: &'static str) -> Result<MutexGuard<'_, State>, Fault> {
        let mut state = self.state();
        state.calls.push(name);
        match state.script.get_mut(name).filter(|s| !s.is_empty()).map(|s| s.remove(0)) {
            Some(fault) => Err(fault),
            None => Ok(state),
        }
    }
}

impl Clock for FakeHost {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).after(self.began.elapsed())
    }
}

fn away() -> Failure {
    Failure::Away("connection refused".into())
}

#[async_trait]
impl Sandboxes for FakeHost {
    async fn list(&self) -> Result<BTreeMap<EniId, Sandbox>, Failure> {
        let state = self.state();
        if state.engine_away { Err(away()) } else { Ok(state.sandboxes.clone()) }
    }

    async fn labelled(&self) -> Result<BTreeMap<TaskId, Interface>, Failure> {
        let state = self.state();
        if state.engine_away { Err(away()) } else { Ok(state.labelled.clone()) }
    }

    async fn make(&self, eni: &EniReport) -> Result<(String, u32), Failure> {
        {
            let mut state = self.state();
            state.making += 1;
            state.most_making = state.most_making.max(state.making);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        let mut state = self.state();
        state.making -= 1;
        if state.engine_away {
            return Err(away());
        }
        state.made += 1;
        let id = format!("pause{}", state.made);
        let sandbox = Sandbox { id: id.clone(), address: Some(eni.ipv4), running: true, current: true };
        state.sandboxes.insert(eni.id, sandbox);
        Ok((id, 1))
    }

    async fn none_runs(&self, _: EniId, task: TaskId) -> Result<(), Failure> {
        match self.state().live.contains(&task) {
            true => Err(Failure::Passing("a container of the task runs".into())),
            false => Ok(()),
        }
    }

    async fn start_again(&self, eni: EniId) -> Result<u32, Failure> {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let mut state = self.state();
        if state.engine_away {
            return Err(away());
        }
        if state.stubborn {
            return Err(Failure::Passing("OCI runtime create failed".into()));
        }
        let sandbox = state.sandboxes.get_mut(&eni).ok_or_else(|| Failure::Passing("no such container".into()))?;
        sandbox.running = true;
        let pid = state.pids.entry(eni).or_insert(1);
        *pid += 1;
        Ok(*pid)
    }

    async fn process(&self, eni: EniId) -> Result<Option<u32>, Failure> {
        let state = self.state();
        if state.engine_away {
            return Err(away());
        }
        let pid = state.pids.get(&eni).copied().unwrap_or(1);
        Ok(state.sandboxes.get(&eni).filter(|s| s.running).map(|_| pid))
    }

    async fn remove(&self, eni: EniId) -> Result<(), Failure> {
        let mut state = self.state();
        if state.engine_away {
            return Err(away());
        }
        state.sandboxes.remove(&eni);
        Ok(())
    }
}

#[async_trait]
impl Kernel for Arc<FakeHost> {
    async fn open(&self, shape: &Shape) -> Result<Arc<dyn Fabric>, Fault> {
        self.call("open")?.opened.push(shape.clone());
        Ok(self.clone())
    }

    async fn wiring(&self, eni: EniId, pid: u32) -> Result<Wiring, Fault> {
        let state = self.state();
        Ok(match state.inside.get(&eni) == Some(&pid) {
            true if state.wired.contains_key(&eni) => Wiring::Linked,
            true => Wiring::Unlinked,
            false => Wiring::Elsewhere,
        })
    }
}

#[async_trait]
impl Fabric for FakeHost {
    async fn repair(&self) -> Result<Vec<String>, Fault> {
        self.call("repair").map(|_| Vec::new())
    }

    fn adopt(&self, enis: &[EniReport]) {
        self.state().adopted.extend(enis.iter().map(|eni| eni.id));
    }

    fn lost(&self) -> BTreeMap<EniId, String> {
        let state = self.state();
        let gone = state.adopted.iter().filter(|eni| !state.wired.contains_key(eni));
        gone.map(|eni| (*eni, "its link is gone".to_owned())).collect()
    }

    async fn changed(&self) -> Result<(), Fault> {
        self.stir.notified().await;
        Ok(())
    }

    async fn set_leases(&self, _leases: &[Lease]) -> Result<(), Fault> {
        self.call("set_leases").map(drop)
    }

    async fn holder(&self, address: Ipv4Addr) -> Result<Option<Mac>, Fault> {
        Ok(self.call("holder")?.holders.get(&address).copied())
    }

    async fn wire(&self, eni: &EniReport, pid: u32) -> Result<(), Fault> {
        let mut state = self.call("wire")?;
        state.inside.insert(eni.id, pid);
        let taken = state.wired.iter().any(|(other, address)| *other != eni.id && *address == eni.ipv4);
        assert!(!taken, "{} is wired twice", eni.ipv4);
        state.wired.insert(eni.id, eni.ipv4);
        state.adopted.insert(eni.id);
        Ok(())
    }

    async fn name_task(&self, eni: EniId, task: TaskId) -> Result<(), Fault> {
        self.call("name_task")?.named.insert(eni, task);
        Ok(())
    }

    async fn unwire(&self, eni: EniId) -> Result<(), Fault> {
        let mut state = self.call("unwire")?;
        assert!(!state.admitted.contains_key(&eni), "unwired while it is let through");
        state.wired.remove(&eni);
        state.adopted.remove(&eni);
        Ok(())
    }

    async fn admit(&self, admission: &Admission) -> Result<(), Fault> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut state = self.call("admit")?;
        assert!(state.wired.contains_key(&admission.eni.id), "let through before it is wired");
        if !admission.groups.iter().all(|group| state.groups.contains_key(group)) {
            return Err(fault("groups are not known"));
        }
        state.admitted.insert(admission.eni.id, admission.clone());
        Ok(())
    }

    async fn dismiss(&self, admission: &Admission) -> Result<(), Fault> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.call("dismiss")?.admitted.remove(&admission.eni.id);
        Ok(())
    }

    async fn set_limits(&self, eni: EniId, limits: Bandwidth) -> Result<(), Fault> {
        self.call("set_limits")?.limits.insert(eni, limits);
        Ok(())
    }

    async fn set_groups(&self, groups: &BTreeMap<GroupId, GroupRules>) -> Result<(), Fault> {
        self.call("set_groups")?.groups = groups.clone();
        Ok(())
    }

    async fn set_members(&self, members: &BTreeMap<GroupId, BTreeSet<IpAddr>>) -> Result<(), Fault> {
        self.call("set_members")?.members = members.clone();
        Ok(())
    }

    async fn change_members(&self, changes: &BTreeMap<GroupId, MemberChanges>) -> Result<(), Fault> {
        let mut state = self.call("change_members")?;
        for (group, change) in changes {
            let members = state.members.entry(*group).or_default();
            members.retain(|address| !change.removed.contains(address));
            members.extend(&change.added);
        }
        Ok(())
    }

    async fn set_peers(&self, peers: &[Peer]) -> Result<Vec<(InstanceId, String)>, Fault> {
        self.call("set_peers")?.peers = peers.to_vec();
        Ok(Vec::new())
    }

    async fn reach(&self, peer: &Peer) -> Result<(), Fault> {
        let state = self.call("reach")?;
        if state.silent.contains(&peer.instance) { Err(fault("timed out")) } else { Ok(()) }
    }

    async fn listen(&self) -> Result<TcpListener, Fault> {
        drop(self.call("listen")?);
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| fault(&error.to_string()))
    }

    async fn observe(&self, enis: &BTreeSet<EniId>) -> Result<BTreeMap<EniId, Seen>, Fault> {
        let state = self.call("observe")?;
        let seen =
            |eni: &EniId| Seen { wired: state.wired.contains_key(eni), admitted: state.admitted.contains_key(eni) };
        Ok(enis.iter().map(|eni| (*eni, seen(eni))).collect())
    }

    async fn remove_strays(&self, known: &BTreeSet<EniId>) -> Result<Vec<String>, Fault> {
        let mut state = self.call("remove_strays")?;
        state.adopted.retain(|eni| known.contains(eni));
        let strays: Vec<EniId> = state.wired.keys().filter(|eni| !known.contains(eni)).copied().collect();
        for eni in &strays {
            state.wired.remove(eni);
            state.admitted.remove(eni);
        }
        let said: Vec<String> = strays.iter().map(ToString::to_string).collect();
        state.strays.extend(said.clone());
        Ok(said)
    }
}
