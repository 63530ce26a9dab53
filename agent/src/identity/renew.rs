//! Renewing the certificate at two thirds of its life: a long-lived task.

use super::dial::{self, DialError};
use super::file::age;
use super::standing::{describe, refusal, refused_dial};
use super::{Credential, CredentialError, Identity, IdentityFile, IdentityFileError, IdentityHandle, new_key, request};
use longshore_model::InstanceId;
use longshore_proto::v1;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// Longest wait for a connection, and then for the answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Longest single sleep, so that a clock that was set is noticed.
const LOOK: Duration = Duration::from_secs(600);
/// Shortest wait after a failure.
const AGAIN: Duration = Duration::from_millis(200);
/// The wait when only a person can help.
const REFUSED: Duration = Duration::from_secs(3600);

/// Why a renewal failed. The certificate in use stays.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the control plane did not renew the certificate: {0}")]
    Failed(String),
    #[error("this host is no member any more: {0}. Tasks keep running; join again with a new token")]
    Refused(String),
    #[error("the control plane did not answer in time")]
    Timeout,
    #[error("the answer of the control plane cannot be used")]
    Answer(#[from] CredentialError),
    #[error("could not make a new key")]
    Key(#[source] rcgen::Error),
    #[error("could not keep the renewed identity")]
    Save(#[from] IdentityFileError),
    #[error("this host has joined anew, as container instance {0}; start the agent anew")]
    Replaced(InstanceId),
}

impl RenewError {
    /// How long until the next try, with so much left of the certificate's life.
    fn wait(&self, left: Duration) -> Duration {
        match self {
            Self::Refused(_) | Self::Replaced(_) => REFUSED,
            Self::Failed(_) | Self::Dial(_) | Self::Timeout | Self::Answer(_) | Self::Key(_) | Self::Save(_) => {
                // Nothing is left by this clock only, which may be wrong.
                if left.is_zero() { LOOK } else { (left / 10).clamp(AGAIN, LOOK) }
            }
        }
    }
}

/// Keeps the certificate fresh. The renewed one is used from the next connection on.
pub struct Renewal {
    file: IdentityFile,
    identity: IdentityHandle,
    control: Option<String>,
}

impl Renewal {
    /// Keeps `identity` and the file it came from fresh.
    #[must_use]
    pub fn new(file: IdentityFile, identity: IdentityHandle) -> Self {
        Self { file, identity, control: None }
    }

    /// Renews at `control` instead of where the host joined.
    #[must_use]
    pub fn at(mut self, control: Option<String>) -> Self {
        self.control = control;
        self
    }

    /// Runs until `shutdown`; tries again for ever, with a logged reason and a wait of a tenth of what is left, or an
    /// hour when the control plane refuses this host.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.keep_fresh()).await;
    }

    async fn keep_fresh(self) {
        // Up to a tenth of the life earlier, so that hosts that joined together do not renew together.
        let share = 2.0 / 3.0 - rand::random_range(0.0..0.1);
        loop {
            let identity = self.identity.current();
            let wait = due(&identity.credential, share, SystemTime::now());
            if !wait.is_zero() {
                tokio::time::sleep(wait.min(LOOK)).await;
                continue;
            }
            if let Err(error) = self.renew(&identity).await {
                let left = identity.expires().duration_since(SystemTime::now()).unwrap_or_default();
                let wait = error.wait(left);
                tracing::warn!(
                    error = %crate::session::chain(&error), left_secs = left.as_secs(),
                    retry_millis = wait.as_millis(), "could not renew this host's certificate"
                );
                tokio::time::sleep(wait).await;
            }
        }
    }

    async fn renew(&self, identity: &Arc<Identity>) -> Result<(), RenewError> {
        // `longshore-agent join` may have put another identity there while this agent runs.
        if let Ok(Some(kept)) = self.file.load()
            && kept.instance != identity.instance
        {
            return Err(RenewError::Replaced(kept.instance));
        }
        let control = self.control.as_deref().unwrap_or(&identity.control);
        let key = new_key().map_err(RenewError::Key)?;
        let csr = request(&key).map_err(RenewError::Key)?;
        let mut client = dial::connect(identity, control, TIMEOUT)
            .await
            .map_err(|error| refused_dial(&error, identity).map_or_else(|| error.into(), RenewError::Refused))?;
        let answer = Box::pin(client.renew(v1::RenewRequest { csr: csr.into() }));
        let answer = tokio::time::timeout(TIMEOUT, answer).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => {
                let refused = refusal(&status, identity).map(RenewError::Refused);
                return Err(refused.unwrap_or_else(|| RenewError::Failed(describe(&status))));
            }
            Err(_) => return Err(RenewError::Timeout),
        };
        let renewed = identity.renewed(Credential::accept(answer.certificate, &key)?);
        self.file.save(&renewed)?;
        tracing::info!(instance = %renewed.instance, "renewed this host's certificate");
        self.identity.replace(renewed);
        Ok(())
    }
}

/// How long until a certificate is to be renewed: at `share` of its life.
fn due(credential: &Credential, share: f64, now: SystemTime) -> Duration {
    let life = credential.expires.duration_since(credential.obtained).unwrap_or_default();
    life.mul_f64(share).saturating_sub(age(credential, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivatePkcs8KeyDer;

    #[test]
    fn a_certificate_is_due_at_its_share_of_life_whatever_the_clock_does() {
        let obtained = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let hour = Duration::from_secs(3600);
        let credential = Credential {
            chain: Vec::new(),
            key: PrivatePkcs8KeyDer::from(Vec::new()),
            authorities: Vec::new(),
            obtained,
            expires: obtained + 3 * hour,
        };
        let due_at = |now| due(&credential, 2.0 / 3.0, now).as_secs().div_ceil(60);
        assert_eq!(due_at(obtained), 120);
        assert_eq!(due_at(obtained + hour), 60);
        assert_eq!(due_at(obtained + 2 * hour), 0);
        assert_eq!(due_at(obtained + 9 * hour), 0);
        // And when it failed.
        let day = Duration::from_secs(86_400);
        assert_eq!(RenewError::Timeout.wait(hour), Duration::from_secs(360));
        assert_eq!(RenewError::Timeout.wait(30 * day), LOOK);
        assert_eq!(RenewError::Timeout.wait(Duration::ZERO), LOOK);
        assert_eq!(RenewError::Refused(String::new()).wait(day), REFUSED);
        // A clock that was set back waits as from the beginning, and no longer.
        assert_eq!(due_at(obtained - hour), 120);
    }
}
