//! Access keys: what operators sign requests with.

use crate::caller::Principal;
use longshore_model::Timestamp;
use serde::{Deserialize, Serialize};

/// An access key. Its secret is sealed; see [`seal`](crate::seal).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA` and 16 capitals or digits.
    pub id: String,
    /// Whom it speaks for.
    pub principal: Principal,
    /// The secret, sealed.
    pub sealed_secret: String,
    /// When it was made.
    pub created_at: Timestamp,
}
