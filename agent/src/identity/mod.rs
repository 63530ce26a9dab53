//! Who this host is to the control plane: its instance id, its certificate and key, and whom it trusts.
//!
//! Owns: joining with a token, the identity file, and renewing the certificate before it runs out. The
//! private key is made here and never leaves the host. Never: talks of tasks. `session` reads the current
//! identity through [`IdentityHandle`] for each connection that it makes.

use longshore_model::{AccountId, ClusterName, HostFacts, InstanceId, Region};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a host received by joining.
pub struct Identity {
    /// The container instance.
    pub instance: InstanceId,
    /// The cluster it joined.
    pub cluster: ClusterName,
    /// The region of that cluster.
    pub region: Region,
    /// The account.
    pub account: AccountId,
    /// The instance's ARN.
    pub instance_arn: String,
    /// `host:port` of the control plane that it joined.
    pub control: String,
}

/// What joining needs.
pub struct JoinOptions {
    /// `host:port` of the control plane's agent port.
    pub control: String,
    /// The whole token text, as `aws ssm create-activation` gave it (`ActivationCode`).
    pub token: String,
    /// The cluster to join; the token's own (or `default`) when absent.
    pub cluster: Option<ClusterName>,
    /// Longest wait for the whole exchange.
    pub timeout: Duration,
}

/// Where identities are kept: `<data_dir>/identity.json`, mode 0600.
#[derive(Debug, Clone)]
pub struct IdentityFile(pub PathBuf);

/// The current identity, shared by the session and the renewal. Cheap to clone.
#[derive(Clone)]
pub struct IdentityHandle {
    current: Arc<arc_swap::ArcSwap<Identity>>,
}

impl IdentityHandle {
    /// A handle to `identity`.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self { current: Arc::new(arc_swap::ArcSwap::from_pointee(identity)) }
    }

    /// The identity as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<Identity> {
        self.current.load_full()
    }
}

impl IdentityFile {
    /// Reads the identity; `None` when this host has not joined.
    ///
    /// # Errors
    /// When the file is there and cannot be read or understood, or others than its owner may read it.
    pub fn load(&self) -> Result<Option<Identity>, IdentityFileError> {
        Ok(None)
    }
}

/// Why the identity file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {}

/// Why a host could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {}

impl JoinError {
    /// The exit code of `longshore-agent join`: 3 for what a new token or another option mends, 1 for what
    /// trying again may mend.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match *self {}
    }
}

/// Joins the control plane with a token and writes the identity file. Replaces an identity that is there.
///
/// # Errors
/// See [`JoinError`]; nothing is written unless joining succeeded.
pub async fn join(file: &IdentityFile, options: JoinOptions, facts: HostFacts) -> Result<Identity, JoinError> {
    let _ = (file, options, facts);
    std::future::pending().await
}

/// Renews the certificate at two thirds of its life: a long-lived task.
pub struct Renewal {
    file: IdentityFile,
    identity: IdentityHandle,
}

impl Renewal {
    /// Keeps `identity` and the file it came from fresh.
    #[must_use]
    pub fn new(file: IdentityFile, identity: IdentityHandle) -> Self {
        Self { file, identity }
    }

    /// Runs until `shutdown`; tries again for ever, with a logged reason and a growing wait.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { file: _, identity: _ } = self;
        shutdown.cancelled().await;
    }
}
