//! What the agent port needs from the core, and the core as that.

use longshore_core::{
    AgentHello, ConnectError, Core, CredentialsError, Execs, JoinError, JoinKey, JoinToken, NetworkView,
    ProtectionChange, ProtectionError, Registered, RegistryCredentials, SessionError, SessionId, Unavailable,
};
use longshore_model::{
    AccountId, AssignedTask, ClusterName, ContainerName, DiskStatus, Generation, HostFacts, HostUsage, InstanceHealth,
    InstanceId, NetworkStatus, TaskId, TaskReport, Timestamp,
};
use std::collections::BTreeMap;
use std::future::Future;
use tokio::sync::watch;

/// The core, as agents' sessions use it. The methods' contracts are those of `longshore_core::Core`.
pub trait Fleet: Send + Sync + 'static {
    /// The account that everything belongs to.
    fn account(&self) -> AccountId;

    /// Gives a host its identity and spends one use of its token; the same identity again for the same token and key.
    fn register(
        &self,
        token: JoinToken,
        cluster: Option<ClusterName>,
        facts: HostFacts,
        key: JoinKey,
    ) -> impl Future<Output = Result<Registered, JoinError>> + Send;

    /// Whether an instance is registered: the refusal that its agent hears if it is not, or not any more.
    fn registered(&self, instance: InstanceId) -> Result<(), ConnectError>;

    /// Opens a session; durable when it returns.
    fn connected(
        &self,
        instance: InstanceId,
        session: SessionId,
        hello: AgentHello,
    ) -> impl Future<Output = Result<(), ConnectError>> + Send;

    /// Whether a session is the one that its instance has.
    fn is_current(&self, instance: InstanceId, session: SessionId) -> bool;

    /// Ends a session, unless a newer one has taken over.
    fn disconnected(
        &self,
        instance: InstanceId,
        session: SessionId,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Takes reports; durable when it returns.
    fn reports(
        &self,
        instance: InstanceId,
        session: SessionId,
        reports: Vec<TaskReport>,
    ) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// What an instance should run; `None` when it is not registered (any more).
    fn assignment(&self, instance: InstanceId) -> Option<(Generation, BTreeMap<TaskId, AssignedTask>)>;

    /// Wakes after each change of an instance's assignment; closed when it is deregistered.
    fn watch(&self, instance: InstanceId) -> watch::Receiver<Generation>;

    /// The revision that readers see: at least that of everything that was answered.
    fn revision(&self) -> Generation;

    /// What an instance has to know of the task network; `None` while it has no part of it.
    fn network(&self, instance: InstanceId) -> Option<NetworkView>;

    /// Wakes after each change of that.
    fn watch_network(&self, instance: InstanceId) -> watch::Receiver<Generation>;

    /// Takes what an agent says of its part of the task network.
    fn network_status(
        &self,
        instance: InstanceId,
        session: SessionId,
        status: NetworkStatus,
    ) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// Takes what an agent says of its host's disk.
    fn disk_status(
        &self,
        instance: InstanceId,
        session: SessionId,
        status: DiskStatus,
    ) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// The generation of the task network that every host that counts has in force, or a later one.
    fn network_settled(&self) -> Generation;

    /// An agent with a session said something, whatever it was.
    fn heard(&self, instance: InstanceId);

    /// Takes what an agent says of its host's health.
    fn health(&self, instance: InstanceId, session: SessionId, health: InstanceHealth);

    /// Takes what an agent says its host and tasks use.
    fn usage(&self, instance: InstanceId, session: SessionId, usage: HostUsage);

    /// The sessions of ExecuteCommand.
    fn execs(&self) -> Execs {
        Execs::default()
    }

    /// What the registry of a container's image is to be shown, for the instance that is to run its task.
    fn registry_credentials(
        &self,
        instance: InstanceId,
        task: TaskId,
        container: &ContainerName,
    ) -> Result<RegistryCredentials, CredentialsError>;

    /// Asks for or changes the protection of a task on an instance; answers until when it is protected.
    fn task_protection(
        &self,
        instance: InstanceId,
        task: TaskId,
        change: ProtectionChange,
    ) -> impl Future<Output = Result<Option<Timestamp>, ProtectionError>> + Send;
}

impl Fleet for Core {
    fn account(&self) -> AccountId {
        Self::account(self).clone()
    }

    async fn register(
        &self,
        token: JoinToken,
        cluster: Option<ClusterName>,
        facts: HostFacts,
        key: JoinKey,
    ) -> Result<Registered, JoinError> {
        self.register_instance(&token, cluster, facts, key).await
    }

    fn registered(&self, instance: InstanceId) -> Result<(), ConnectError> {
        self.is_registered(instance)
    }

    async fn connected(&self, instance: InstanceId, session: SessionId, hello: AgentHello) -> Result<(), ConnectError> {
        self.agent_connected(instance, session, hello).await
    }

    fn is_current(&self, instance: InstanceId, session: SessionId) -> bool {
        self.is_current_session(instance, session)
    }

    async fn disconnected(&self, instance: InstanceId, session: SessionId) -> Result<(), Unavailable> {
        self.agent_disconnected(instance, session).await
    }

    async fn reports(
        &self,
        instance: InstanceId,
        session: SessionId,
        reports: Vec<TaskReport>,
    ) -> Result<(), SessionError> {
        self.agent_reports(instance, session, reports).await
    }

    fn assignment(&self, instance: InstanceId) -> Option<(Generation, BTreeMap<TaskId, AssignedTask>)> {
        Self::assignment(self, instance)
    }

    fn watch(&self, instance: InstanceId) -> watch::Receiver<Generation> {
        self.watch_instance(instance)
    }

    fn revision(&self) -> Generation {
        self.snapshot().revision()
    }

    fn network(&self, instance: InstanceId) -> Option<NetworkView> {
        self.network_view(instance)
    }

    fn watch_network(&self, instance: InstanceId) -> watch::Receiver<Generation> {
        Self::watch_network(self, instance)
    }

    async fn network_status(
        &self,
        instance: InstanceId,
        session: SessionId,
        status: NetworkStatus,
    ) -> Result<(), SessionError> {
        Self::network_status(self, instance, session, status).await
    }

    async fn disk_status(
        &self,
        instance: InstanceId,
        session: SessionId,
        status: DiskStatus,
    ) -> Result<(), SessionError> {
        Self::disk_status(self, instance, session, status).await
    }

    fn network_settled(&self) -> Generation {
        Self::network_settled(self)
    }

    fn heard(&self, instance: InstanceId) {
        self.agent_heard(instance);
    }

    fn health(&self, instance: InstanceId, session: SessionId, health: InstanceHealth) {
        self.instance_health(instance, session, health);
    }

    fn usage(&self, instance: InstanceId, session: SessionId, usage: HostUsage) {
        self.instance_usage(instance, session, usage);
    }

    fn execs(&self) -> Execs {
        Self::execs(self).clone()
    }

    fn registry_credentials(
        &self,
        instance: InstanceId,
        task: TaskId,
        container: &ContainerName,
    ) -> Result<RegistryCredentials, CredentialsError> {
        Self::registry_credentials(self, instance, task, container)
    }

    async fn task_protection(
        &self,
        instance: InstanceId,
        task: TaskId,
        change: ProtectionChange,
    ) -> Result<Option<Timestamp>, ProtectionError> {
        Self::task_protection(self, instance, task, change).await
    }
}
