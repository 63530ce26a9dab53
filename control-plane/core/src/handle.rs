//! The handle that everybody outside holds: the ECS operations, and what the sessions with agents say and hear.

use crate::agent::{AgentHello, ConnectError, JoinError, JoinKey, Registered, SessionError, SessionId, Unavailable};
use crate::applied::Applied;
use crate::caller::{Caller, Principal};
use crate::clock::{Clock, SystemClock};
use crate::command::{Call, Command, Waiting};
use crate::commands::{Connect, Disconnect, Join, Note, Report, TakeDiskStatus, TakeNetworkStatus};
use crate::config::{CoreConfig, FirstStart};
use crate::ec2::{self, Ec2Error, Ec2Operation};
use crate::events::feed::Feed;
use crate::exec::{ExecConfig, ExecSession, Execs};
use crate::health::Health;
use crate::open::{self, OpenError, Opened};
use crate::ops;
use crate::owner::{OwnerTask, QUEUE};
use crate::page::PageKey;
use crate::render::render;
use crate::seal::SealingKey;
use crate::services::lost::Silences;
use crate::services::{Decider, Hearing, Wakes};
use crate::state::{HostState, NetworkView, State, Touched};
use crate::token::JoinToken;
use crate::usage::Usages;
use crate::watchers::Watchers;
use arc_swap::ArcSwap;
use bytes::Bytes;
use longshore_ecs_api::autoscaling::ScalingOperation;
use longshore_ecs_api::events::EventsOperation;
use longshore_ecs_api::scheduler::SchedulerOperation;
use longshore_ecs_api::secrets::SecretsOperation;
use longshore_ecs_api::ssm::SsmOperation;
use longshore_ecs_api::{ApiError, Operation};
use longshore_model::{
    AccountId, AssignedTask, ClusterName, DiskStatus, Generation, HostFacts, HostUsage, InstanceHealth, InstanceId,
    NetworkStatus, TaskId, TaskReport,
};
use longshore_store::Store;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Reports in one command at most, so that any store takes its changes as one batch.
const REPORTS: usize = 64;

/// The control plane's core. Cheap to clone; every clone is the same core.
#[derive(Clone)]
pub struct Core {
    inner: Arc<Inner>,
}

/// What the handles and the owner task share. Only the owner task publishes.
pub(crate) struct Inner {
    pub(crate) config: CoreConfig,
    pub(crate) account: AccountId,
    pub(crate) clock: Arc<dyn Clock>,
    /// Names this run of the control plane: sessions of other runs are not ours.
    pub(crate) process: uuid::Uuid,
    pub(crate) state: ArcSwap<State>,
    watchers: Watchers,
    network_watchers: Watchers,
    /// Services that wait for their controller.
    pub(crate) service_wakes: Wakes,
    /// Pokes whoever waits for what is due next.
    pub(crate) due_wakes: Notify,
    applied: Applied,
    /// Events for followers.
    pub(crate) feed: Feed,
    /// Says that there may be something to deliver.
    pub(crate) deliveries: tokio::sync::Notify,
    pub(crate) health: Health,
    /// What hosts and tasks use.
    pub(crate) usage: Usages,
    /// When agents were heard last.
    pub(crate) hearing: Hearing,
    /// Since when hosts are silent.
    pub(crate) silences: Silences,
    pub(crate) execs: Execs,
    queue: mpsc::Sender<Box<dyn Waiting>>,
    pub(crate) sealing_key: SealingKey,
    page_key: PageKey,
}

impl Inner {
    /// What decisions over services rest on beside the state.
    pub(crate) fn decider(&self) -> Decider<'_> {
        let Self { config, silences, hearing, clock, .. } = self;
        Decider { config, silences, hearing, now: clock.now(), ticks: clock.ticks(), boot: clock.boot() }
    }
}

/// The root access key, which `main` writes to a file that only root can read. `Debug` does not show its secret.
#[derive(Debug)]
pub struct RootCredentials {
    /// The access key's id.
    pub access_key_id: String,
    /// Its secret.
    pub secret: SecretString,
}

impl Core {
    /// Reads everything from `store`; on the very first start makes the account and its root access key.
    ///
    /// Nothing that changes anything is answered until the returned task runs.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        config: CoreConfig,
        store: Arc<dyn Store>,
        sealing_key: SealingKey,
        first: FirstStart,
    ) -> Result<(Self, OwnerTask), OpenError> {
        Self::open_with_clock(config, store, sealing_key, first, Arc::new(SystemClock)).await
    }

    /// As [`open`](Self::open), told the time by `clock`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_with_clock(
        config: CoreConfig,
        store: Arc<dyn Store>,
        sealing_key: SealingKey,
        first: FirstStart,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, OwnerTask), OpenError> {
        let process = uuid::Uuid::new_v4();
        let ticks = clock.ticks();
        let opened = open::open(&*store, &sealing_key, first, config.network, clock.now(), process);
        let Opened { state, account, writer } = Box::pin(opened).await?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let inner = Arc::new(Inner {
            config,
            account,
            clock,
            process,
            state: ArcSwap::from_pointee(state),
            watchers: Watchers::default(),
            network_watchers: Watchers::default(),
            service_wakes: Wakes::default(),
            due_wakes: Notify::new(),
            applied: Applied::default(),
            feed: Feed::default(),
            deliveries: tokio::sync::Notify::new(),
            health: Health::default(),
            hearing: Hearing::new(ticks),
            silences: Silences::default(),
            usage: Usages::default(),
            execs: Execs::default(),
            queue: sender,
            page_key: PageKey::new(&sealing_key),
            sealing_key,
        });
        let owner = OwnerTask { inner: Arc::clone(&inner), store, queue, writer };
        Ok((Self { inner }, owner))
    }

    /// The state as of the last durable change. Never shows what a crash would forget.
    #[must_use]
    pub fn snapshot(&self) -> Arc<State> {
        self.inner.state.load_full()
    }

    /// The account that everything belongs to.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        &self.inner.account
    }

    /// The owner and the secret of an access key; `None` for one that does not exist.
    ///
    /// Opened anew for each call, which takes about a microsecond: secrets do not stay in memory in the clear.
    #[must_use]
    pub fn access_key(&self, id: &str) -> Option<(Principal, SecretString)> {
        let state = self.inner.state.load();
        let key = state.access_key(id)?;
        match self.inner.sealing_key.unseal(&key.id, &key.sealed_secret) {
            Ok(secret) => Some((key.principal.clone(), secret)),
            Err(error) => {
                tracing::error!(access_key = %key.id, %error, "an access key cannot be used");
                None
            }
        }
    }

    /// The root access key, for the credentials file that `main` keeps. The oldest, should there be several.
    #[must_use]
    pub fn root_credentials(&self) -> Option<RootCredentials> {
        let state = self.snapshot();
        let root = Principal::root(&self.inner.account);
        let key = state.access_keys().filter(|key| key.principal == root).min_by_key(|key| key.created_at)?;
        let (_, secret) = self.access_key(&key.id)?;
        Some(RootCredentials { access_key_id: key.id.clone(), secret })
    }

    /// Does an ECS operation. Answers with the body of the response; what it changed is durable by then.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn call(&self, caller: &Caller, op: Operation, body: Bytes) -> Result<Bytes, ApiError> {
        ops::call(self, caller, op, &body).await
    }

    /// Does an operation of Systems Manager: join tokens.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn ssm(&self, caller: &Caller, op: SsmOperation, body: Bytes) -> Result<Bytes, ApiError> {
        ops::ssm(self, caller, op, &body).await
    }

    /// Does an operation of Secrets Manager.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn secrets(&self, caller: &Caller, op: SecretsOperation, body: Bytes) -> Result<Bytes, ApiError> {
        ops::secrets(self, caller, op, &body).await
    }

    /// Does an operation of EventBridge Scheduler, of all its members as one JSON object.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn scheduler(&self, caller: &Caller, op: SchedulerOperation, body: Bytes) -> Result<Bytes, ApiError> {
        ops::scheduler(self, caller, op, &body).await
    }

    /// Does an operation of EventBridge: rules, targets, webhooks, events.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn events(&self, caller: &Caller, op: EventsOperation, body: Bytes) -> Result<Bytes, ApiError> {
        ops::events(self, caller, op, &body).await
    }

    /// Does an operation of Application Auto Scaling.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn scaling(&self, caller: &Caller, op: ScalingOperation, body: Bytes) -> Result<Bytes, ApiError> {
        ops::scaling(self, caller, op, &body).await
    }

    /// Does an operation of EC2, of the parameters of a form. Answers with XML; what it changed is durable by then.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn ec2(
        &self,
        caller: &Caller,
        op: Ec2Operation,
        form: Vec<(String, String)>,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        ec2::call(self, caller, op, form, request_id).await
    }

    /// The sessions of ExecuteCommand.
    #[must_use]
    pub fn execs(&self) -> &Execs {
        &self.inner.execs
    }

    /// How they behave.
    #[must_use]
    pub fn exec_config(&self) -> &ExecConfig {
        &self.inner.config.exec
    }

    /// Adds to the history of a session's task what happened, for people; durable when it returns.
    ///
    /// # Errors
    /// When it could not be made durable. A task that is gone has no history, which is no error.
    pub async fn note_exec(&self, session: &ExecSession, what: String) -> Result<(), Unavailable> {
        self.submit(Note { task: session.task, container: session.container.clone(), what }).await
    }

    /// Gives a host its identity and spends one use of its token, both or neither. `cluster` is where the host
    /// asks to be; absent it is the token's, or `default`, which is made if need be.
    ///
    /// A host that asks again for the same cluster with the same token and `key`, while the token lives and the
    /// instance is registered, gets what it got before, and nothing is spent.
    ///
    /// # Errors
    /// See [`JoinError`]; nothing was changed.
    pub async fn register_instance(
        &self,
        token: &JoinToken,
        cluster: Option<ClusterName>,
        facts: HostFacts,
        key: JoinKey,
    ) -> Result<Registered, JoinError> {
        let account = self.inner.account.clone();
        let instance = InstanceId::random();
        self.submit(Join { account, token: token.clone(), cluster, facts, key, instance }).await
    }

    /// Whether an instance is registered, by the latest snapshot.
    ///
    /// # Errors
    /// What its agent is told when it is not: [`ConnectError::Unknown`] or [`ConnectError::Deregistered`].
    pub fn is_registered(&self, instance: InstanceId) -> Result<(), ConnectError> {
        match self.inner.state.load().host(instance) {
            Some(host) if host.record.status.is_registered() => Ok(()),
            Some(_) => Err(ConnectError::Deregistered(instance)),
            None => Err(ConnectError::Unknown(instance)),
        }
    }

    /// Opens an agent's session and takes over from an older one. Facts and observed tasks are durable when it
    /// returns.
    ///
    /// # Errors
    /// See [`ConnectError`]; the session is not open then. What was already taken of the observed tasks stays.
    pub async fn agent_connected(
        &self,
        instance: InstanceId,
        session: SessionId,
        mut hello: AgentHello,
    ) -> Result<(), ConnectError> {
        let enis = hello.observed.iter().filter_map(|report| report.eni.as_ref());
        let attached = enis.filter(|eni| eni.attached).map(|eni| eni.id).collect();
        let rest = hello.observed.split_off(hello.observed.len().min(REPORTS));
        let process = self.inner.process;
        let healthy_after = self.inner.config.healthy_after;
        self.submit(Connect { instance, session, process, hello, attached, healthy_after }).await?;
        let error = match self.report(instance, session, rest, true).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // Nobody will speak in this session. Should this fail too, the next session takes its place.
        self.agent_disconnected(instance, session).await.unwrap_or_else(|error| {
            tracing::warn!(%instance, %error, "could not record the end of a session that did not begin");
        });
        Err(match error {
            SessionError::Superseded { .. } => {
                ConnectError::Unavailable(Unavailable("a newer session of the agent took over".to_owned()))
            }
            SessionError::Deregistered(id) => ConnectError::Deregistered(id),
            SessionError::Unavailable(why) => ConnectError::Unavailable(why),
        })
    }

    /// Whether `session` is the one that the instance has, by the latest snapshot.
    #[must_use]
    pub fn is_current_session(&self, instance: InstanceId, session: SessionId) -> bool {
        self.inner.state.load().host(instance).is_some_and(|host| host.record.has_session(session))
    }

    /// Ends an agent's session. Says nothing when a newer one has taken over: then there is nothing to end.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn agent_disconnected(&self, instance: InstanceId, session: SessionId) -> Result<(), Unavailable> {
        self.submit(Disconnect { instance, session }).await?;
        let state = self.inner.state.load();
        if !state.host(instance).is_some_and(|host| host.record.is_connected()) {
            self.inner.health.forget(instance);
            self.inner.usage.forget(instance);
            self.inner.hearing.forget(instance);
        }
        Ok(())
    }

    /// An agent with a session said something: it is not silent. Nothing is made durable.
    pub fn agent_heard(&self, instance: InstanceId) {
        self.inner.hearing.hear(instance, self.inner.clock.ticks());
    }

    /// Takes what an instance's agent says of the host's health. Nothing is made durable: it is said again.
    pub fn instance_health(&self, instance: InstanceId, session: SessionId, health: InstanceHealth) {
        if self.is_current_session(instance, session) {
            self.inner.health.set(instance, health);
        }
    }

    /// Takes what an instance's agent says that its host and tasks use. Nothing is made durable: it is said again.
    pub fn instance_usage(&self, instance: InstanceId, session: SessionId, usage: HostUsage) {
        let state = self.inner.state.load();
        if state.host(instance).is_some_and(|host| host.record.has_session(session)) {
            let (now, period) = (self.inner.clock.now(), self.inner.config.scaling_period);
            self.inner.usage.take(&state, instance, usage, now, period);
        }
    }

    /// Takes an agent's reports; durable when it returns. Reports of tasks that are unknown, another host's,
    /// over, or older than what is known change nothing and are no error.
    ///
    /// # Errors
    /// See [`SessionError`]. The first of many reports may have been taken; saying them again does no harm.
    pub async fn agent_reports(
        &self,
        instance: InstanceId,
        session: SessionId,
        reports: Vec<TaskReport>,
    ) -> Result<(), SessionError> {
        self.report(instance, session, reports, false).await
    }

    async fn report(
        &self,
        instance: InstanceId,
        session: SessionId,
        mut reports: Vec<TaskReport>,
        first: bool,
    ) -> Result<(), SessionError> {
        while !reports.is_empty() {
            let rest = reports.split_off(reports.len().min(REPORTS));
            let healthy_after = self.inner.config.healthy_after;
            self.submit(Report { instance, session, reports, first, healthy_after }).await?;
            reports = rest;
        }
        Ok(())
    }

    /// What an instance should run, with the generation at which that is true, from the latest snapshot. `None`
    /// when it is unknown or deregistered.
    #[must_use]
    pub fn assignment(&self, instance: InstanceId) -> Option<(Generation, BTreeMap<TaskId, AssignedTask>)> {
        let state = self.inner.state.load();
        let host = registered(&state, instance)?;
        let assigned = |id: &TaskId| {
            let task = state.task(*id)?;
            let definition = state.definition(&task.definition)?;
            let mut spec = render(&self.inner.account, task, definition);
            state.pin(task, &mut spec);
            let assigned = AssignedTask {
                spec: Arc::new(spec),
                desired: task.desired,
                may_start: !task.may_have_started,
                stop_reason: task.stop.as_ref().map(|stop| stop.reason.clone()).unwrap_or_default(),
            };
            Some((*id, assigned))
        };
        Some((host.generation, host.live.iter().filter_map(assigned).collect()))
    }

    /// Follows an instance's generation: poked after every change of its assignment, once readers can see it.
    /// Closed (`changed` answers an error) when the instance is deregistered or unknown.
    #[must_use]
    pub fn watch_instance(&self, instance: InstanceId) -> watch::Receiver<Generation> {
        self.inner.watchers.watch(instance, || {
            let state = self.inner.state.load();
            registered(&state, instance).map(|host| host.generation)
        })
    }

    /// What an instance has to know of the task network, from the latest snapshot. `None` while it has no part of it,
    /// or its agent takes none.
    #[must_use]
    pub fn network_view(&self, instance: InstanceId) -> Option<NetworkView> {
        self.inner.state.load().network_view(instance)
    }

    /// Follows the generation of [`network_view`](Self::network_view), as [`watch_instance`](Self::watch_instance)
    /// does the assignment's.
    #[must_use]
    pub fn watch_network(&self, instance: InstanceId) -> watch::Receiver<Generation> {
        self.inner.network_watchers.watch(instance, || {
            let state = self.inner.state.load();
            registered(&state, instance).map(|host| state.network_generation(host))
        })
    }

    /// Takes what an agent says of its part of the task network. When it returns, placement heeds it.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn network_status(
        &self,
        instance: InstanceId,
        session: SessionId,
        status: NetworkStatus,
    ) -> Result<(), SessionError> {
        let state = self.snapshot();
        let host = registered(&state, instance).ok_or(SessionError::Deregistered(instance))?;
        if !host.record.has_session(session) {
            return Err(SessionError::Superseded { instance, session });
        }
        self.inner.applied.set(instance, status.applied);
        let known = host.network_status.as_deref();
        let few = state.few_addresses();
        let gist = |status| TakeNetworkStatus::gist(status, few);
        if status.free_addresses >= few && known.map(gist) == Some(gist(&status)) {
            return Ok(());
        }
        self.submit(TakeNetworkStatus { instance, session, status }).await
    }

    /// Takes what an agent says of its host's disk. When it returns, placement heeds it. The same as last time costs
    /// nothing.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn disk_status(
        &self,
        instance: InstanceId,
        session: SessionId,
        status: DiskStatus,
    ) -> Result<(), SessionError> {
        let state = self.snapshot();
        let host = registered(&state, instance).ok_or(SessionError::Deregistered(instance))?;
        if !host.record.has_session(session) {
            return Err(SessionError::Superseded { instance, session });
        }
        if host.view.disk.as_ref().is_some_and(|known| **known.status() == status) {
            return Ok(());
        }
        self.submit(TakeDiskStatus { instance, session, status }).await
    }

    /// The generation of the task network that every host that counts has in force, or a later one: those with a part
    /// of it that are connected, or were lost in the last ten minutes.
    #[must_use]
    pub fn network_settled(&self) -> Generation {
        let Inner { applied, silences, clock, state, .. } = &*self.inner;
        applied.settled(&state.load(), silences, clock.ticks())
    }

    /// Hands a command to the owner task and waits until what it did is durable.
    pub(crate) async fn submit<C: Command>(&self, command: C) -> Result<C::Reply, C::Error> {
        let (reply, answer) = oneshot::channel();
        let over = || C::Error::from(Unavailable("it is shutting down".to_owned()));
        // Waits for room when the queue is full: the caller's own connection is the limit then.
        self.inner.queue.send(Box::new(Call { command, reply })).await.map_err(|_| over())?;
        answer.await.unwrap_or_else(|_| Err(over()))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

pub(crate) fn registered(state: &State, instance: InstanceId) -> Option<&Arc<HostState>> {
    state.host(instance).filter(|host| host.record.status.is_registered())
}

impl Inner {
    /// Makes `state` what readers see, and wakes who follows a touched instance.
    pub(crate) fn publish(&self, state: State, touched: &Touched) {
        let state = Arc::new(state);
        self.silences.follow(&state, &touched.hosts, self.clock.ticks());
        self.state.store(Arc::clone(&state));
        self.service_wakes.wake(touched);
        if touched.dues {
            self.due_wakes.notify_one();
        }
        if touched.deliveries {
            self.deliveries.notify_one();
        }
        let assignments = touched.assignments.iter().copied();
        self.watchers.wake(assignments.clone(), |id| registered(&state, id).map(|host| host.generation));
        let everybody = touched.all_networks.then(|| state.leased_hosts().map(|host| host.id()));
        let networks = everybody.into_iter().flatten().chain(touched.networks.iter().copied());
        // The watchers of a deregistered instance are among the first.
        let networks = networks.chain(assignments.filter(|id| registered(&state, *id).is_none()));
        self.network_watchers.wake(networks, |id| registered(&state, id).map(|host| state.network_generation(host)));
    }

    /// The key that page tokens are made with.
    pub(crate) const fn page_key(&self) -> &PageKey {
        &self.page_key
    }
}
