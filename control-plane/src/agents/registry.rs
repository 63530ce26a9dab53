//! Credentials for registries, on their way from the core to the agent that pulls. Nothing here keeps or logs a value.

use super::Fleet;
use longshore_core::{CredentialsError, RegistryCredentials};
use longshore_model::{ContainerName, InstanceId, TaskId};
use longshore_proto::v1;
use secrecy::ExposeSecret as _;
use tonic::Status;

/// What the registry of the named container's image is to be shown.
///
/// # Errors
/// `INVALID_ARGUMENT` for what names no task and container, `PERMISSION_DENIED` for a container of a task that
/// `instance` is not to run. A secret that cannot be used is an answer, not an error: trying again does not help.
pub(super) fn credentials<F: Fleet>(
    fleet: &F,
    instance: InstanceId,
    request: &v1::RegistryCredentialsRequest,
) -> Result<v1::RegistryCredentialsResponse, Status> {
    let field =
        |field: &str, error: &dyn std::fmt::Display| Status::invalid_argument(format!("field `{field}` {error}"));
    let task: TaskId = request.task.parse().map_err(|error| field("task", &error))?;
    let container = ContainerName::new(&request.container).map_err(|error| field("container", &error))?;
    match fleet.registry_credentials(instance, task, &container) {
        Ok(RegistryCredentials { parameter, username, password }) => {
            tracing::info!(%instance, %task, %container, secret = parameter, "gave credentials for a registry");
            let password = password.expose_secret().to_owned();
            Ok(v1::RegistryCredentialsResponse { refused: String::new(), username, password })
        }
        Err(error @ CredentialsError::NotAssigned { .. }) => Err(Status::permission_denied(error.to_string())),
        Err(error @ (CredentialsError::None(_) | CredentialsError::Unusable { .. })) => {
            tracing::warn!(%instance, %task, %container, %error, "there are no credentials for a registry");
            Ok(v1::RegistryCredentialsResponse { refused: error.to_string(), ..Default::default() })
        }
    }
}
