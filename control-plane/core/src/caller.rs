//! Who makes a request, as the authentication in front of the core found out.

use longshore_model::{AccountId, Region};
use serde::{Deserialize, Serialize};

/// The identity and the scope of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The region of the signature's scope. Everything that the call names lives in it.
    pub region: Region,
    /// The account of the key's owner.
    pub account: AccountId,
    /// The ARN of the key's owner.
    pub principal_arn: String,
    /// The id of the access key that signed.
    pub access_key_id: String,
    /// The API as the request reached it, `host:port` or a name, under its signature; empty when it did not say.
    pub endpoint: String,
}

/// The owner of an access key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Its account.
    pub account: AccountId,
    /// Its ARN, `arn:aws:iam::ACCOUNT:root` for the root key.
    pub arn: String,
    /// The id that STS shows as `UserId`: the account's id for root.
    pub user_id: String,
}

impl Principal {
    /// The owner of everything in an account.
    #[must_use]
    pub fn root(account: &AccountId) -> Self {
        Self { account: account.clone(), arn: format!("arn:aws:iam::{account}:root"), user_id: account.to_string() }
    }
}
