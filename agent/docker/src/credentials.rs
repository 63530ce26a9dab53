//! What a registry is shown with a pull.

use std::fmt;

/// Credentials for one registry: a user and a password, or a token instead of them. `Debug` shows only the registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The registry, as image references name it.
    pub registry: String,
    /// The user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A token that stands for both.
    pub identity_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Credentials {
    /// As the engine takes them, in a header of the pull.
    pub(crate) fn for_engine(&self) -> bollard::auth::DockerCredentials {
        bollard::auth::DockerCredentials {
            username: self.username.clone(),
            password: self.password.clone(),
            serveraddress: Some(self.registry.clone()),
            identitytoken: self.identity_token.clone(),
            ..bollard::auth::DockerCredentials::default()
        }
    }
}
