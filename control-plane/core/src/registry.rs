//! Credentials for registries, as the agent of a task's host asks for them when it pulls.

use crate::handle::{Core, registered};
use crate::secret_name::SecretName;
use crate::secret_value::reveal;
use longshore_model::{ContainerName, DesiredStatus, InstanceId, TaskId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

/// What a registry is to be shown. `Debug` does not show the password.
#[derive(Debug)]
pub struct RegistryCredentials {
    /// The secret that they are from, as the task definition names it.
    pub parameter: String,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: SecretString,
}

/// Why there are none. Quotes nothing of a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// No such container of a task that this instance is to run.
    #[error("task {task} with a container `{container}` is not to run on this container instance")]
    NotAssigned {
        /// The task that was named.
        task: TaskId,
        /// The container that was named.
        container: ContainerName,
    },
    /// The container's definition names no secret.
    #[error("container `{0}` has no repositoryCredentials")]
    None(ContainerName),
    /// The secret cannot be used, until somebody changes it.
    #[error("repositoryCredentials.credentialsParameter `{parameter}`: {why}")]
    Unusable {
        /// The secret, as the definition names it.
        parameter: String,
        /// Why, for people.
        why: String,
    },
}

/// What the secret has to hold. Other members are nobody's business.
#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

impl Core {
    /// The credentials that the definition of a task's container names, by the secret's current value. Only for the
    /// instance that is to run the task.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub fn registry_credentials(
        &self,
        instance: InstanceId,
        task: TaskId,
        container: &ContainerName,
    ) -> Result<RegistryCredentials, CredentialsError> {
        let state = self.snapshot();
        let not_assigned = || CredentialsError::NotAssigned { task, container: container.clone() };
        registered(&state, instance).ok_or_else(not_assigned)?;
        let task = state.task(task).filter(|task| task.instance == instance).ok_or_else(not_assigned)?;
        if !task.is_live() || task.desired != DesiredStatus::Running {
            return Err(not_assigned());
        }
        let definition = state.definition(&task.definition).ok_or_else(not_assigned)?;
        let mut containers = definition.body.container_definitions.iter().flatten();
        let found = containers.find(|c| c.name.as_deref() == Some(container.as_str())).ok_or_else(not_assigned)?;
        let parameter = found.repository_credentials.as_ref().and_then(|r| r.credentials_parameter.clone());
        let parameter = parameter.ok_or_else(|| CredentialsError::None(container.clone()))?;
        let unusable = |why: String| CredentialsError::Unusable { parameter: parameter.clone(), why };
        let now = self.inner().clock.now();
        let name = SecretName::parse(&parameter);
        let secret = name.and_then(|name| name.find(&state, self.account(), &task.cluster.region, now));
        let secret = secret.ok_or_else(|| {
            unusable(format!("Secrets Manager can't find the specified secret in {}", task.cluster.region))
        })?;
        if secret.deletes_at.is_some() {
            return Err(unusable("the secret is marked for deletion".to_owned()));
        }
        let current = secret.current.as_ref().ok_or_else(|| unusable("the secret has no value yet".to_owned()))?;
        if current.binary {
            return Err(unusable("the secret holds SecretBinary; SecretString is needed".to_owned()));
        }
        let value = reveal(&self.inner().sealing_key, secret, current);
        let value = value.map_err(|_| unusable("the control plane cannot open it; its log says why".to_owned()))?;
        // serde's own words could quote the value.
        let login = serde_json::from_str(value.expose_secret()).ok();
        let login = login.filter(|login: &Login| !login.username.is_empty() && !login.password.is_empty());
        let Login { username, password } = login.ok_or_else(|| {
            unusable("the secret is not {\"username\": \"…\", \"password\": \"…\"} with texts in both".to_owned())
        })?;
        Ok(RegistryCredentials { parameter, username, password: password.into() })
    }
}
