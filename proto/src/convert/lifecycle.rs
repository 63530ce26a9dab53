//! How a container is looked after.

use super::{Fault, FieldError};
use crate::v1;
use longshore_model::HealthCheck;

impl From<HealthCheck> for v1::HealthCheck {
    fn from(check: HealthCheck) -> Self {
        Self {
            command: check.command,
            interval_secs: check.interval_secs,
            timeout_secs: check.timeout_secs,
            retries: check.retries,
            start_period_secs: check.start_period_secs,
        }
    }
}

impl TryFrom<v1::HealthCheck> for HealthCheck {
    type Error = FieldError;

    fn try_from(check: v1::HealthCheck) -> Result<Self, FieldError> {
        let sound = match check.command.first().map(String::as_str) {
            Some("CMD" | "CMD-SHELL") => check.command.len() > 1,
            Some("NONE") => check.command.len() == 1,
            Some(_) | None => false,
        };
        if !sound {
            let rule = "must be CMD or CMD-SHELL and what to run, or NONE alone";
            return Err(FieldError::new("command", Fault::Rule(rule)));
        }
        Ok(Self {
            command: check.command,
            interval_secs: check.interval_secs,
            timeout_secs: check.timeout_secs,
            retries: check.retries,
            start_period_secs: check.start_period_secs,
        })
    }
}
