//! Secrets of the small Secrets Manager. Values are sealed; see [`seal`](crate::seal).

use crate::records::Tags;
use longshore_model::{AccountId, Region, Timestamp};
use serde::{Deserialize, Serialize};

/// Which secret: a name is taken once in a region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretKey {
    /// The region that it was made in.
    pub region: Region,
    /// 1 to 512 of the characters that Secrets Manager allows, `/` among them.
    pub name: String,
}

/// A secret with the values that somebody may still ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name.
    pub key: SecretKey,
    /// The six characters that end its ARN: a later secret of the same name has others.
    pub suffix: String,
    /// Free text.
    pub description: Option<String>,
    /// Tags.
    pub tags: Tags,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub changed_at: Timestamp,
    /// When it is gone for good, once its deletion was asked for. Until then it can be restored.
    pub deletes_at: Option<Timestamp>,
    /// The value with the stage `AWSCURRENT`.
    pub current: Option<SecretVersion>,
    /// The value with the stage `AWSPREVIOUS`.
    pub previous: Option<SecretVersion>,
    /// Versions without a value any more, the oldest first: so that a request that comes late once more is known.
    pub retired: Vec<RetiredVersion>,
}

/// One value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// The `ClientRequestToken` of the request that brought it.
    pub id: String,
    /// When it came.
    pub created_at: Timestamp,
    /// Whether it is bytes (the sealed text is their base64) or text.
    pub binary: bool,
    /// The value, sealed.
    pub sealed: String,
    /// Tells whether another value is the same, to whoever has the sealing key.
    pub digest: String,
}

/// What is remembered of a value that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredVersion {
    /// As [`SecretVersion::id`].
    pub id: String,
    /// As [`SecretVersion::digest`].
    pub digest: String,
}

impl Secret {
    /// `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX`.
    #[must_use]
    pub fn arn(&self, account: &AccountId) -> String {
        let Self { key: SecretKey { region, name }, suffix, .. } = self;
        format!("arn:aws:secretsmanager:{region}:{account}:secret:{name}-{suffix}")
    }

    /// Whether it is there at all at `now`, to be used or to be restored.
    #[must_use]
    pub fn exists(&self, now: Timestamp) -> bool {
        self.deletes_at.is_none_or(|at| at > now)
    }

    /// The digest of the value that came with this id, as far as that is remembered.
    #[must_use]
    pub fn digest_of(&self, version: &str) -> Option<&str> {
        let live = self.current.iter().chain(&self.previous).map(|v| (&v.id, &v.digest));
        let mut all = live.chain(self.retired.iter().map(|v| (&v.id, &v.digest)));
        all.find(|(id, _)| *id == version).map(|(_, digest)| digest.as_str())
    }
}
