//! The operations of Secrets Manager that credentials for registries need. Member names begin with a capital letter.

use crate::EpochSeconds;
use crate::sibling::{service_operations, shapes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What `X-Amz-Target` begins with, up to the dot.
pub const TARGET_PREFIX: &str = "secretsmanager";

/// The service's name in a credential scope.
pub const SIGNING_NAME: &str = "secretsmanager";

service_operations! {
    /// An operation of Secrets Manager that this control plane has.
    SecretsOperation {
        /// Makes a secret, with a first value or without.
        CreateSecret,
        /// Deletes a secret, at once or after a time in which it can be restored.
        DeleteSecret,
        /// All of a secret but its value.
        DescribeSecret,
        /// The value.
        GetSecretValue,
        /// Lists secrets.
        ListSecrets,
        /// Gives a secret another value.
        PutSecretValue,
        /// Takes a deletion back.
        RestoreSecret,
        /// Gives a secret another description, another value, or both.
        UpdateSecret,
    }
}

/// A value of a secret. `Debug` does not show it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sensitive(pub String);

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

shapes! {
    rename_all = "PascalCase";
    /// A tag.
    SecretTag { key: String, value: String, }
    /// Asks for a new secret. `SecretBinary` is base64.
    CreateSecretRequest {
        name: String, client_request_token: String, description: String, kms_key_id: String,
        secret_binary: Sensitive, secret_string: Sensitive, tags: Vec<SecretTag>,
        add_replica_regions: Vec<serde_json::Value>, force_overwrite_replica_secret: bool, r#type: String,
        #[serde(rename = "CrossAccountPrimaryARN")] cross_account_primary_arn: String,
    }
    /// Names a secret and, where there is one, the version that was made.
    SecretVersionResponse {
        #[serde(rename = "ARN")] arn: String, name: String, version_id: String, version_stages: Vec<String>,
    }
    /// Asks for a value.
    GetSecretValueRequest { secret_id: String, version_id: String, version_stage: String, }
    /// A value. `SecretBinary` is base64.
    GetSecretValueResponse {
        #[serde(rename = "ARN")] arn: String, name: String, version_id: String, secret_binary: Sensitive,
        secret_string: Sensitive, version_stages: Vec<String>, created_date: EpochSeconds,
    }
    /// Gives a secret another value.
    PutSecretValueRequest {
        secret_id: String, client_request_token: String, secret_binary: Sensitive, secret_string: Sensitive,
        version_stages: Vec<String>, rotation_token: Sensitive,
    }
    /// Changes a secret.
    UpdateSecretRequest {
        secret_id: String, client_request_token: String, description: String, kms_key_id: String,
        secret_binary: Sensitive, secret_string: Sensitive, r#type: String,
    }
    /// Names a secret, for the operations that need no more.
    SecretRequest { secret_id: String, }
    /// Names a secret, for the operations that say no more.
    SecretResponse { #[serde(rename = "ARN")] arn: String, name: String, deletion_date: EpochSeconds, }
    /// Deletes a secret.
    DeleteSecretRequest {
        secret_id: String, recovery_window_in_days: i64, force_delete_without_recovery: bool,
    }
    /// All of a secret but its value.
    DescribeSecretResponse {
        #[serde(rename = "ARN")] arn: String, name: String, description: String, created_date: EpochSeconds,
        last_changed_date: EpochSeconds, deleted_date: EpochSeconds, tags: Vec<SecretTag>,
        version_ids_to_stages: BTreeMap<String, Vec<String>>,
    }
    /// Asks for a page of secrets.
    ListSecretsRequest {
        include_planned_deletion: bool, max_results: i32, next_token: String, filters: Vec<SecretFilter>,
        sort_order: String, sort_by: String,
    }
    /// Any of its values must match.
    SecretFilter { key: String, values: Vec<String>, }
    /// A page of secrets.
    ListSecretsResponse { secret_list: Vec<SecretListEntry>, next_token: String, }
    /// A secret in a list.
    SecretListEntry {
        #[serde(rename = "ARN")] arn: String, name: String, description: String, created_date: EpochSeconds,
        last_changed_date: EpochSeconds, deleted_date: EpochSeconds, tags: Vec<SecretTag>,
        secret_versions_to_stages: BTreeMap<String, Vec<String>>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_spelled_as_on_the_wire_and_values_are_not_shown() {
        let request: CreateSecretRequest = serde_json::from_str(
            r#"{"Name": "a", "SecretString": "hush", "Type": "x", "CrossAccountPrimaryARN": "y"}"#,
        )
        .expect("read");
        assert_eq!(request.secret_string, Some(Sensitive("hush".to_owned())));
        assert_eq!((request.r#type.as_deref(), request.cross_account_primary_arn.as_deref()), (Some("x"), Some("y")));
        assert!(!format!("{request:?}").contains("hush"));
        let response = GetSecretValueResponse {
            arn: Some("arn".to_owned()),
            secret_string: request.secret_string,
            ..GetSecretValueResponse::default()
        };
        let text = serde_json::to_string(&response).expect("written");
        assert_eq!(text, r#"{"ARN":"arn","SecretString":"hush"}"#);
        assert_eq!(SecretsOperation::from_name("CreateSecret"), Some(SecretsOperation::CreateSecret));
        assert_eq!(SecretsOperation::from_name("RotateSecret"), None);
    }
}
