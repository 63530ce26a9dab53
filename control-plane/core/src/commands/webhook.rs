//! Webhooks and connections. Secrets come here sealed.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::rule::limit;
use crate::records::{ApiDestination, HookConnection, HookKey};
use longshore_ecs_api::{ApiError, ErrorCode};
use std::sync::Arc;

/// EventBridge's limit of each kind.
const MAX_HOOKS: usize = 3000;

/// Makes a connection, or changes one.
pub(crate) struct PutConnection {
    pub(crate) connection: HookConnection,
    /// Whether it must be new.
    pub(crate) create: bool,
}

impl Command for PutConnection {
    const NAME: &'static str = "PutConnection";
    type Reply = Arc<HookConnection>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<HookConnection>, ApiError> {
        let Self { mut connection, create } = self;
        let old = tx.state().connection(&connection.key);
        if create {
            if old.is_some() {
                return Err(exists("Connection", &connection.key));
            }
            if tx.state().connections_of(&connection.key.region).count() >= MAX_HOOKS {
                return Err(limit());
            }
            connection.created_at = tx.now;
        } else if old.is_none_or(|old| old.id != connection.id) {
            return Err(no_hook("Connection", &connection.key.name));
        }
        connection.changed_at = tx.now;
        let connection = Arc::new(connection);
        tx.change(Change::Connection(Arc::clone(&connection)));
        Ok(connection)
    }
}

/// Deletes a connection that no webhook has.
pub(crate) struct DeleteConnection(pub(crate) HookKey);

impl Command for DeleteConnection {
    const NAME: &'static str = "DeleteConnection";
    type Reply = Arc<HookConnection>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<HookConnection>, ApiError> {
        let old = tx.state().connection(&self.0).map(Arc::clone);
        let old = old.ok_or_else(|| no_hook("Connection", &self.0.name))?;
        let user = tx.state().destinations_of(&self.0.region).find(|destination| destination.connection == self.0);
        if let Some(user) = user {
            return Err(ApiError::new(
                ErrorCode::Validation,
                format!("The connection is in use by the API destination {}; delete that first.", user.key.name),
            ));
        }
        tx.change(Change::ForgetConnection(self.0));
        Ok(old)
    }
}

/// Makes a webhook, or changes one.
pub(crate) struct PutDestination {
    pub(crate) destination: ApiDestination,
    /// Whether it must be new.
    pub(crate) create: bool,
}

impl Command for PutDestination {
    const NAME: &'static str = "PutDestination";
    type Reply = Arc<ApiDestination>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<ApiDestination>, ApiError> {
        let Self { mut destination, create } = self;
        if tx.state().connection(&destination.connection).is_none() {
            return Err(no_hook("Connection", &destination.connection.name));
        }
        let old = tx.state().destination(&destination.key);
        if create {
            if old.is_some() {
                return Err(exists("An api-destination", &destination.key));
            }
            if tx.state().destinations_of(&destination.key.region).count() >= MAX_HOOKS {
                return Err(limit());
            }
            destination.created_at = tx.now;
        } else if old.is_none_or(|old| old.id != destination.id) {
            return Err(no_hook("An api-destination", &destination.key.name));
        }
        destination.changed_at = tx.now;
        let destination = Arc::new(destination);
        tx.change(Change::Destination(Arc::clone(&destination)));
        Ok(destination)
    }
}

/// Deletes a webhook. Events for targets that still name it are given up.
pub(crate) struct DeleteDestination(pub(crate) HookKey);

impl Command for DeleteDestination {
    const NAME: &'static str = "DeleteDestination";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        if tx.state().destination(&self.0).is_none() {
            return Err(no_hook("An api-destination", &self.0.name));
        }
        tx.change(Change::ForgetDestination(self.0));
        Ok(())
    }
}

/// EventBridge's words for one that is not there.
pub(crate) fn no_hook(kind: &str, name: &str) -> ApiError {
    ApiError::new(ErrorCode::ResourceNotFound, format!("{kind} '{name}' does not exist."))
}

fn exists(kind: &str, key: &HookKey) -> ApiError {
    ApiError::new(ErrorCode::ResourceAlreadyExists, format!("{kind} '{}' already exists.", key.name))
}
