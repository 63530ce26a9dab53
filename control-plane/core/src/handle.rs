//! The handle that everybody outside holds: the ECS operations, and what the sessions with agents say and hear.

use crate::agent::{AgentHello, ConnectError, JoinError, Registered, SessionError, SessionId};
use crate::caller::{Caller, Principal};
use crate::config::{CoreConfig, FirstStart};
use crate::seal::SealingKey;
use crate::state::State;
use crate::token::JoinToken;
use bytes::Bytes;
use longshore_ecs_api::ssm::SsmOperation;
use longshore_ecs_api::{ApiError, Operation};
use longshore_model::{AccountId, AssignedTask, ClusterName, Generation, HostFacts, InstanceId, TaskId, TaskReport};
use longshore_store::Store;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::watch;

/// The control plane's core. Cheap to clone; every clone is the same core.
#[derive(Clone)]
pub struct Core {
    inner: Arc<Inner>,
}

struct Inner {
    account: AccountId,
    state: arc_swap::ArcSwap<State>,
}

/// The one task that changes the state. Run it, or nothing that changes anything is ever answered.
#[must_use]
pub struct OwnerTask {
    core: Core,
}

impl OwnerTask {
    /// Runs until `shutdown` completes, then answers what is queued and returns.
    ///
    /// # Errors
    /// When the store's contents are no longer known; the process must end and start again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), OwnerError> {
        let _ = &self.core;
        shutdown.await;
        Ok(())
    }
}

/// Why the owner task ended by itself. The process must end with it; the next start reads the truth.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The store did not say whether it took a batch, or refused this process for good.
    #[error("the store's contents are no longer known to this process")]
    Store(#[source] longshore_store::CommitError),
}

/// Why the core does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store cannot be read.
    #[error("could not read the store")]
    Read(#[from] longshore_store::ReadError),
    /// The first records could not be written.
    #[error("could not write the first records to the store")]
    Write(#[from] longshore_store::CommitError),
    /// A record cannot be used.
    #[error(transparent)]
    Record(#[from] crate::records::RecordError),
    /// The store belongs to another account.
    #[error("the store belongs to account {stored}, and the configuration says {configured}")]
    OtherAccount {
        /// In the store.
        stored: AccountId,
        /// In the configuration.
        configured: AccountId,
    },
    /// The sealing key does not open the store's secrets.
    #[error("could not open the secrets in the store")]
    Unseal(#[from] crate::seal::UnsealError),
    /// The root access key given for the first start cannot be used.
    #[error("the root access key given for the first start is not usable: {0}")]
    RootKey(String),
}

/// What the first start made; `main` writes it to a file that only root can read. Never logged.
pub struct RootCredentials {
    /// The access key's id.
    pub access_key_id: String,
    /// Its secret.
    pub secret: SecretString,
}

impl Core {
    /// Reads everything from `store`; on the very first start makes the account and its root access key.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        _config: CoreConfig,
        _store: Arc<dyn Store>,
        _sealing_key: SealingKey,
        _first: FirstStart,
    ) -> Result<(Self, OwnerTask), OpenError> {
        Err(OpenError::RootKey("not built yet".into()))
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

    /// The owner and the secret of an access key.
    #[must_use]
    pub fn access_key(&self, _id: &str) -> Option<(Principal, SecretString)> {
        None
    }

    /// The root access key, for the credentials file that `main` keeps.
    #[must_use]
    pub fn root_credentials(&self) -> Option<RootCredentials> {
        None
    }

    /// Does an ECS operation. Answers with the body of the response; what it changed is durable by then.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn call(&self, _caller: &Caller, op: Operation, _body: Bytes) -> Result<Bytes, ApiError> {
        Err(ApiError::unsupported(op.name()))
    }

    /// Does an operation of Systems Manager: join tokens.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn ssm(&self, _caller: &Caller, op: SsmOperation, _body: Bytes) -> Result<Bytes, ApiError> {
        Err(ApiError::unsupported(op.name()))
    }

    /// Gives a host its identity and spends one use of its token, both or neither. `cluster` is where the host
    /// asks to be; absent it is the token's, or `default`, which is made if need be.
    ///
    /// # Errors
    /// See [`JoinError`]; nothing was changed.
    pub async fn register_instance(
        &self,
        _token: &JoinToken,
        _cluster: Option<ClusterName>,
        _facts: HostFacts,
    ) -> Result<Registered, JoinError> {
        Err(JoinError::UnknownToken)
    }

    /// Opens an agent's session and takes over from an older one. Facts and observed tasks are durable when it
    /// returns.
    ///
    /// # Errors
    /// See [`ConnectError`]; nothing was changed.
    pub async fn agent_connected(
        &self,
        instance: InstanceId,
        _session: SessionId,
        _hello: AgentHello,
    ) -> Result<(), ConnectError> {
        Err(ConnectError::Unknown(instance))
    }

    /// Ends an agent's session. Says nothing when a newer one has taken over: then there is nothing to end.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn agent_disconnected(
        &self,
        _instance: InstanceId,
        _session: SessionId,
    ) -> Result<(), crate::agent::Unavailable> {
        Ok(())
    }

    /// Takes an agent's reports; durable when it returns. Reports of tasks that are unknown, another host's,
    /// over, or older than what is known change nothing and are no error.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn agent_reports(
        &self,
        instance: InstanceId,
        _session: SessionId,
        _reports: Vec<TaskReport>,
    ) -> Result<(), SessionError> {
        Err(SessionError::Deregistered(instance))
    }

    /// What an instance should run, with the generation at which that is true, from the latest snapshot. `None`
    /// when it is unknown or deregistered.
    #[must_use]
    pub fn assignment(&self, _instance: InstanceId) -> Option<(Generation, BTreeMap<TaskId, AssignedTask>)> {
        None
    }

    /// Follows an instance's generation: poked after every change of its assignment, once readers can see it.
    /// Closed (`changed` answers an error) when the instance is deregistered or unknown.
    #[must_use]
    pub fn watch_instance(&self, _instance: InstanceId) -> watch::Receiver<Generation> {
        watch::channel(Generation(0)).1
    }
}
