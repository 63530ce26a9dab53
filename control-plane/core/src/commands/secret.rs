//! Secrets. Values come here sealed.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::{RetiredVersion, Secret, SecretKey, SecretVersion};
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::Timestamp;
use std::sync::Arc;

/// Versions without a value that a secret remembers.
const MAX_RETIRED: usize = 32;

/// Keeps a new secret. The same request once more is answered as before.
pub(crate) struct CreateSecret(pub(crate) Secret);

impl Command for CreateSecret {
    const NAME: &'static str = "CreateSecret";
    type Reply = Arc<Secret>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Secret>, ApiError> {
        let secret = Secret { created_at: tx.now, changed_at: tx.now, ..self.0 };
        let old = tx.state().secret(&secret.key).filter(|old| old.exists(tx.now)).cloned();
        let Some(old) = old else {
            let secret = Arc::new(secret);
            tx.change(Change::Secret(Arc::clone(&secret)));
            return Ok(secret);
        };
        if old.deletes_at.is_some() {
            return Err(invalid_request(
                "You can't create this secret because a secret with this name is already scheduled for deletion.",
            ));
        }
        let again = |version: &SecretVersion| old.digest_of(&version.id) == Some(version.digest.as_str());
        if secret.current.as_ref().is_some_and(again) {
            return Ok(old);
        }
        let text = format!("The operation failed because the secret {} already exists.", secret.key.name);
        Err(ApiError::new(ErrorCode::ResourceExists, text))
    }
}

/// A secret as somebody found it: another one of the same name that came since is not meant.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) key: SecretKey,
    pub(crate) suffix: String,
}

impl Found {
    fn of(&self, tx: &Tx<'_>) -> Result<Secret, ApiError> {
        let secret = tx.state().secret(&self.key);
        let secret = secret.filter(|secret| secret.suffix == self.suffix && secret.exists(tx.now));
        secret.map(|secret| (**secret).clone()).ok_or_else(not_found)
    }
}

/// Gives a secret another value, another description, or both.
pub(crate) struct UpdateSecret {
    pub(crate) secret: Found,
    pub(crate) version: Option<SecretVersion>,
    pub(crate) description: Option<String>,
}

impl Command for UpdateSecret {
    const NAME: &'static str = "UpdateSecret";
    type Reply = Arc<Secret>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Secret>, ApiError> {
        let mut secret = self.secret.of(tx)?;
        let before = secret.clone();
        if secret.deletes_at.is_some() {
            return Err(marked());
        }
        if let Some(version) = self.version {
            put(&mut secret, SecretVersion { created_at: tx.now, ..version })?;
        }
        if self.description.is_some() {
            secret.description = self.description.filter(|text| !text.is_empty());
        }
        if secret == before {
            return Ok(Arc::new(before));
        }
        secret.changed_at = tx.now;
        let secret = Arc::new(secret);
        tx.change(Change::Secret(Arc::clone(&secret)));
        Ok(secret)
    }
}

/// Makes a version the current one. The same one once more changes nothing, whatever came since.
fn put(secret: &mut Secret, version: SecretVersion) -> Result<(), ApiError> {
    match secret.digest_of(&version.id) {
        Some(digest) if digest == version.digest => return Ok(()),
        Some(_) => {
            return Err(ApiError::new(
                ErrorCode::ResourceExists,
                format!("You can't give the version {} another value; use another ClientRequestToken.", version.id),
            ));
        }
        None => {}
    }
    if let Some(SecretVersion { id, digest, .. }) = secret.previous.take() {
        secret.retired.push(RetiredVersion { id, digest });
        let surplus = secret.retired.len().saturating_sub(MAX_RETIRED);
        secret.retired.drain(..surplus);
    }
    secret.previous = secret.current.replace(version);
    Ok(())
}

/// Ends a secret: at a time until which it can be restored, or at once. Answers with that time.
pub(crate) struct DeleteSecret {
    pub(crate) secret: Found,
    pub(crate) at: Option<Timestamp>,
}

impl Command for DeleteSecret {
    const NAME: &'static str = "DeleteSecret";
    type Reply = Timestamp;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Timestamp, ApiError> {
        let secret = self.secret.of(tx)?;
        let Some(at) = self.at else {
            tx.change(Change::ForgetSecret(secret.key));
            return Ok(tx.now);
        };
        if secret.deletes_at.is_some() {
            return Err(invalid_request(
                "You can't perform this operation on the secret because it was already scheduled for deletion.",
            ));
        }
        tx.change(Change::Secret(Arc::new(Secret { deletes_at: Some(at), ..secret })));
        Ok(at)
    }
}

/// Takes a deletion back.
pub(crate) struct RestoreSecret(pub(crate) Found);

impl Command for RestoreSecret {
    const NAME: &'static str = "RestoreSecret";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let secret = self.0.of(tx)?;
        if secret.deletes_at.is_some() {
            tx.change(Change::Secret(Arc::new(Secret { deletes_at: None, ..secret })));
        }
        Ok(())
    }
}

/// Secrets Manager's words for a secret that is not there.
pub(crate) fn not_found() -> ApiError {
    ApiError::new(ErrorCode::ResourceNotFound, "Secrets Manager can't find the specified secret.")
}

/// The same for one whose deletion was asked for.
pub(crate) fn marked() -> ApiError {
    invalid_request("You can't perform this operation on the secret because it was marked for deletion.")
}

pub(crate) fn invalid_request(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, text)
}
