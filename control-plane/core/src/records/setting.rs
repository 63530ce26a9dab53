//! Account settings: kept and echoed.

use longshore_model::Region;
use serde::{Deserialize, Serialize};

/// Which setting of whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SettingKey {
    /// The request's region.
    pub region: Region,
    /// The setting's name, one of ECS's.
    pub name: String,
    /// Whose it is; the account's default when absent.
    pub principal_arn: Option<String>,
}

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Which.
    pub key: SettingKey,
    /// Its value.
    pub value: String,
}
