//! A fleet in memory, scripted by the test.

use super::super::Fleet;
use longshore_core::{
    AgentHello, ConnectError, CredentialsError, JoinError, JoinKey, JoinToken, NetworkView, ProtectionChange,
    ProtectionError, Registered, RegistryCredentials, SessionError, SessionId, Unavailable,
};
use longshore_model::{
    AccountId, AssignedTask, ClusterKey, ClusterName, ContainerName, ContainerSpec, DesiredStatus, DiskStatus,
    Generation, HostFacts, HostUsage, InstanceHealth, InstanceId, NetworkMode, NetworkState, NetworkStatus, Region,
    TaskId, TaskReport, TaskSpec, Timestamp,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How long a test waits for what must come.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct FakeFleet {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
pub(super) struct State {
    /// What joining with an activation answers; an activation that is not here is unknown.
    pub(super) tokens: HashMap<String, Token>,
    pub(super) instances: HashMap<InstanceId, Instance>,
    /// What was answered to which activation and key.
    joined: HashMap<(String, JoinKey), Registered>,
    /// Nothing can be saved.
    pub(super) unavailable: bool,
    /// Reports are not saved while this is set.
    pub(super) stalled: bool,
    /// Instances that are not there were deregistered long ago and are forgotten; otherwise it was just now.
    pub(super) swept: bool,
    /// Sessions are opened and nobody hears of it while this is set.
    pub(super) hellos_stalled: bool,
    /// The password that every container's registry wants; its secret is missing when absent.
    pub(super) registry_password: Option<String>,
    /// Until when tasks are protected; a task cannot be protected while it is absent.
    pub(super) protected_until: Option<Timestamp>,
    /// What heartbeats are answered with.
    pub(super) settled: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Token {
    Uses(u32),
    Expired,
    OtherCluster,
}

pub(super) struct Instance {
    generation: watch::Sender<Generation>,
    tasks: BTreeMap<TaskId, AssignedTask>,
    pub(super) session: Option<SessionId>,
    pub(super) hellos: Vec<AgentHello>,
    pub(super) reports: Vec<TaskReport>,
    pub(super) network: watch::Sender<Generation>,
    pub(super) network_state: Option<NetworkState>,
    pub(super) statuses: Vec<NetworkStatus>,
    pub(super) health: Vec<InstanceHealth>,
    pub(super) usage: Vec<HostUsage>,
    /// How often its agent was heard.
    pub(super) heard: u32,
}

impl State {
    /// What the agent of an instance hears that is not there.
    fn refusal(&self, id: InstanceId) -> ConnectError {
        if self.swept { ConnectError::Unknown(id) } else { ConnectError::Deregistered(id) }
    }

    /// Gives an instance a task without waking its session.
    pub(super) fn put(&mut self, id: InstanceId, task: AssignedTask) {
        self.instances.get_mut(&id).expect("registered").tasks.insert(task.spec.id, task);
    }
}

pub(super) fn task(id: TaskId, desired: DesiredStatus) -> AssignedTask {
    let name = ContainerName::new("main").expect("a name");
    let cluster = ClusterName::new("c").expect("a name");
    let containers = vec![ContainerSpec::new(name, "busybox")];
    let spec = TaskSpec {
        arn: format!("arn:aws:ecs:lab:123456789012:task/c/{id}"),
        ..TaskSpec::new(id, cluster, "f", NetworkMode::None, containers)
    };
    AssignedTask { spec: Arc::new(spec), desired, may_start: true, stop_reason: String::new() }
}

impl FakeFleet {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    /// Changes the state and wakes whoever waits for one.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_waiters();
        result
    }

    /// Waits until the state is as wanted.
    pub(super) async fn wait(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        let seen = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if wanted(&self.lock()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(DEADLINE, seen).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"));
    }

    /// A registered instance, without joining.
    pub(super) fn add_instance(&self) -> InstanceId {
        let id = InstanceId::random();
        let instance = Instance {
            generation: watch::channel(Generation(1)).0,
            tasks: BTreeMap::new(),
            session: None,
            hellos: Vec::new(),
            reports: Vec::new(),
            network: watch::channel(Generation(1)).0,
            network_state: None,
            statuses: Vec::new(),
            health: Vec::new(),
            usage: Vec::new(),
            heard: 0,
        };
        self.change(|state| state.instances.insert(id, instance));
        id
    }

    /// Changes what an instance has to know of the network and wakes its session.
    pub(super) fn connect_network(&self, id: InstanceId, network: NetworkState) {
        self.change(|state| {
            let instance = state.instances.get_mut(&id).expect("registered");
            instance.network_state = Some(network);
            instance.network.send_modify(|generation| generation.0 += 10);
        });
    }

    /// Changes what an instance should run and wakes its session.
    pub(super) fn assign(&self, id: InstanceId, task_id: TaskId, desired: Option<DesiredStatus>) {
        self.change(|state| {
            let instance = state.instances.get_mut(&id).expect("registered");
            match desired {
                Some(desired) => drop(instance.tasks.insert(task_id, task(task_id, desired))),
                None => drop(instance.tasks.remove(&task_id)),
            }
            instance.generation.send_modify(|generation| generation.0 += 10);
        });
    }
}

fn unavailable() -> Unavailable {
    Unavailable("the disk is full".to_owned())
}

impl Fleet for FakeFleet {
    fn account(&self) -> AccountId {
        AccountId::new("123456789012").expect("an account")
    }

    async fn register(
        &self,
        token: JoinToken,
        cluster: Option<ClusterName>,
        _: HostFacts,
        key: JoinKey,
    ) -> Result<Registered, JoinError> {
        let before = self.lock().joined.get(&(token.activation.clone(), key.clone())).cloned();
        if let Some(before) = before {
            return Ok(Registered { repeated: true, ..before });
        }
        let known = self.lock().tokens.get(&token.activation).copied();
        match known {
            None => return Err(JoinError::UnknownToken),
            Some(Token::Uses(0)) => return Err(JoinError::Spent(1)),
            Some(Token::Uses(uses)) => {
                self.change(|state| state.tokens.insert(token.activation.clone(), Token::Uses(uses - 1)));
            }
            Some(Token::Expired) => return Err(JoinError::Expired(longshore_model::Timestamp::from_millis(0))),
            Some(Token::OtherCluster) => {
                let asked = cluster.map(String::from).unwrap_or_default();
                return Err(JoinError::OtherCluster { bound: "prod".to_owned(), asked });
            }
        }
        let name = cluster.unwrap_or(ClusterName::new("default").expect("a name"));
        let cluster = ClusterKey { region: Region::new("lab").expect("a region"), name };
        let instance = self.add_instance();
        let arn = format!("arn:aws:ecs:lab:123456789012:container-instance/{}/{instance}", cluster.name);
        let registered = Registered { instance, cluster, arn, repeated: false };
        self.change(|state| state.joined.insert((token.activation, key), registered.clone()));
        Ok(registered)
    }

    fn registered(&self, id: InstanceId) -> Result<(), ConnectError> {
        let state = self.lock();
        if state.instances.contains_key(&id) { Ok(()) } else { Err(state.refusal(id)) }
    }

    async fn connected(&self, id: InstanceId, session: SessionId, hello: AgentHello) -> Result<(), ConnectError> {
        self.change(|state| -> Result<(), ConnectError> {
            if state.unavailable {
                return Err(unavailable().into());
            }
            let refusal = state.refusal(id);
            let instance = state.instances.get_mut(&id).ok_or(refusal)?;
            if hello.applied > Generation(1_000_000) {
                let revision = *instance.generation.borrow();
                return Err(ConnectError::Ahead { applied: hello.applied, revision });
            }
            instance.session = Some(session);
            instance.hellos.push(hello);
            Ok(())
        })?;
        self.wait("a session may open", |state| !state.hellos_stalled).await;
        Ok(())
    }

    fn is_current(&self, id: InstanceId, session: SessionId) -> bool {
        self.lock().instances.get(&id).is_some_and(|instance| instance.session == Some(session))
    }

    async fn disconnected(&self, id: InstanceId, session: SessionId) -> Result<(), Unavailable> {
        self.change(|state| {
            if let Some(instance) = state.instances.get_mut(&id)
                && instance.session == Some(session)
            {
                instance.session = None;
            }
        });
        Ok(())
    }

    async fn reports(&self, id: InstanceId, session: SessionId, reports: Vec<TaskReport>) -> Result<(), SessionError> {
        self.wait("reports may be saved", |state| !state.stalled).await;
        self.change(|state| {
            if state.unavailable {
                return Err(unavailable().into());
            }
            let instance = state.instances.get_mut(&id).ok_or(SessionError::Deregistered(id))?;
            if instance.session != Some(session) {
                return Err(SessionError::Superseded { instance: id, session });
            }
            instance.reports.extend(reports);
            Ok(())
        })
    }

    fn assignment(&self, id: InstanceId) -> Option<(Generation, BTreeMap<TaskId, AssignedTask>)> {
        let state = self.lock();
        let instance = state.instances.get(&id)?;
        let generation = *instance.generation.borrow();
        Some((generation, instance.tasks.clone()))
    }

    fn watch(&self, id: InstanceId) -> watch::Receiver<Generation> {
        match self.lock().instances.get(&id) {
            Some(instance) => instance.generation.subscribe(),
            None => watch::channel(Generation(0)).1,
        }
    }

    fn revision(&self) -> Generation {
        Generation(77)
    }

    fn network(&self, id: InstanceId) -> Option<NetworkView> {
        let state = self.lock();
        let instance = state.instances.get(&id)?;
        let generation = *instance.network.borrow();
        Some(NetworkView::new(id, generation, instance.network_state.as_ref()?))
    }

    fn watch_network(&self, id: InstanceId) -> watch::Receiver<Generation> {
        match self.lock().instances.get(&id) {
            Some(instance) => instance.network.subscribe(),
            None => watch::channel(Generation(0)).1,
        }
    }

    async fn disk_status(&self, _: InstanceId, _: SessionId, _: DiskStatus) -> Result<(), SessionError> {
        Ok(())
    }

    async fn network_status(
        &self,
        id: InstanceId,
        session: SessionId,
        status: NetworkStatus,
    ) -> Result<(), SessionError> {
        self.change(|state| {
            let instance = state.instances.get_mut(&id).ok_or(SessionError::Deregistered(id))?;
            if instance.session != Some(session) {
                return Err(SessionError::Superseded { instance: id, session });
            }
            instance.statuses.push(status);
            Ok(())
        })
    }

    fn network_settled(&self) -> Generation {
        Generation(self.lock().settled)
    }

    fn heard(&self, id: InstanceId) {
        self.change(|state| {
            if let Some(instance) = state.instances.get_mut(&id) {
                instance.heard += 1;
            }
        });
    }

    fn usage(&self, id: InstanceId, _: SessionId, usage: HostUsage) {
        self.change(|state| state.instances.get_mut(&id).expect("registered").usage.push(usage));
    }

    fn health(&self, id: InstanceId, _: SessionId, health: InstanceHealth) {
        self.change(|state| state.instances.get_mut(&id).expect("registered").health.push(health));
    }

    fn registry_credentials(
        &self,
        instance: InstanceId,
        task: TaskId,
        container: &ContainerName,
    ) -> Result<RegistryCredentials, CredentialsError> {
        let state = self.lock();
        if !state.instances.get(&instance).is_some_and(|instance| instance.tasks.contains_key(&task)) {
            return Err(CredentialsError::NotAssigned { task, container: container.clone() });
        }
        let parameter = "team/registry".to_owned();
        match &state.registry_password {
            Some(password) => {
                Ok(RegistryCredentials { parameter, username: "puller".to_owned(), password: password.clone().into() })
            }
            None => Err(CredentialsError::Unusable { parameter, why: "there is no such secret".to_owned() }),
        }
    }

    async fn task_protection(
        &self,
        instance: InstanceId,
        task: TaskId,
        change: ProtectionChange,
    ) -> Result<Option<Timestamp>, ProtectionError> {
        let state = self.lock();
        if state.unavailable {
            return Err(ProtectionError::Unavailable(Unavailable("the disk is full".to_owned())));
        }
        if !state.instances.get(&instance).is_some_and(|instance| instance.tasks.contains_key(&task)) {
            return Err(ProtectionError::NotAssigned(task));
        }
        match change {
            ProtectionChange::Release => Ok(None),
            ProtectionChange::Protect(Some(0)) => Err(ProtectionError::Minutes("not so few".to_owned())),
            ProtectionChange::None | ProtectionChange::Protect(_) => match state.protected_until {
                Some(until) => Ok(Some(until)),
                None => Err(ProtectionError::Refused { reason: "TASK_NOT_VALID", detail: "it is no service's" }),
            },
        }
    }
}
