//! How a host is, as its agent found it.

use super::{Fault, FieldError, at_most, each, enumeration, repeated, wire_enum};
use crate::v1;
use longshore_model::Timestamp;
use longshore_model::health::{CheckResult, InstanceHealth, MAX_CHECK_CHARS, MAX_CHECK_REASON_CHARS, MAX_CHECKS};

wire_enum!(CheckStatus <=> CheckStatus {
    Ok = Ok, Initializing = Initializing, InsufficientData = InsufficientData, Impaired = Impaired,
});

impl From<CheckResult> for v1::CheckResult {
    fn from(result: CheckResult) -> Self {
        Self {
            check: result.check,
            status: v1::CheckStatus::from(result.status).into(),
            reason: result.reason.map(|reason| reason.chars().take(MAX_CHECK_REASON_CHARS).collect()),
            checked_at: result.checked_at.millis(),
            changed_at: result.changed_at.millis(),
        }
    }
}

impl TryFrom<v1::CheckResult> for CheckResult {
    type Error = FieldError;

    fn try_from(result: v1::CheckResult) -> Result<Self, FieldError> {
        at_most("check", result.check.chars().count(), MAX_CHECK_CHARS)?;
        let letters = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if result.check.is_empty() || !result.check.chars().all(letters) {
            return Err(FieldError::new("check", Fault::Rule("must be capital letters, digits and `_`")));
        }
        at_most("reason", result.reason.as_ref().map_or(0, |reason| reason.chars().count()), MAX_CHECK_REASON_CHARS)?;
        Ok(Self {
            check: result.check,
            status: enumeration::<v1::CheckStatus, _>("status", result.status)?,
            reason: result.reason,
            checked_at: Timestamp::from_millis(result.checked_at),
            changed_at: Timestamp::from_millis(result.changed_at),
        })
    }
}

impl From<InstanceHealth> for v1::InstanceHealth {
    fn from(health: InstanceHealth) -> Self {
        Self { checks: health.checks.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<v1::InstanceHealth> for InstanceHealth {
    type Error = FieldError;

    fn try_from(health: v1::InstanceHealth) -> Result<Self, FieldError> {
        at_most("checks", health.checks.len(), MAX_CHECKS)?;
        let checks: Vec<CheckResult> = each("checks", health.checks)?;
        if let Some(check) = repeated(checks.iter().map(|c| &c.check)) {
            return Err(FieldError::new("checks", Fault::Repeated(check)));
        }
        Ok(Self { checks })
    }
}
