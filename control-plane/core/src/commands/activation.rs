//! Activations: what join tokens are spent from.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::{Activation, ActivationKey};
use longshore_ecs_api::{ApiError, ErrorCode};
use std::sync::Arc;

/// Keeps a new activation.
pub(crate) struct CreateActivation(pub(crate) Activation);

impl Command for CreateActivation {
    const NAME: &'static str = "CreateActivation";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        tx.change(Change::Activation(Arc::new(Activation { created_at: tx.now, ..self.0 })));
        Ok(())
    }
}

/// Ends an activation: no host joins with it any more. Hosts that have joined stay.
pub(crate) struct DeleteActivation(pub(crate) ActivationKey);

impl Command for DeleteActivation {
    const NAME: &'static str = "DeleteActivation";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let known = tx.state().activation(&self.0.id).is_some_and(|a| a.key() == self.0);
        if !known {
            return Err(ApiError::new(ErrorCode::Validation, "There is no activation with this id."));
        }
        tx.change(Change::ForgetActivation(self.0));
        Ok(())
    }
}
