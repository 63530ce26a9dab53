//! Image digests: what names an image whatever becomes of its tags.

use crate::id::IdError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The digest of an image's manifest (or of its list of manifests, for an image of several architectures), as its
/// registry knows it: `sha256:` and 64 lower-case hexadecimal digits, or `sha512:` and 128.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageDigest(Arc<str>);

impl ImageDigest {
    /// Checks `text` and takes it.
    ///
    /// # Errors
    /// When it is no digest.
    pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
        let text = text.as_ref();
        let digits = match text.split_once(':') {
            Some(("sha256", digits)) if digits.len() == 64 => digits,
            Some(("sha512", digits)) if digits.len() == 128 => digits,
            Some(_) | None => return Err(IdError::NotDigest),
        };
        if digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::NotDigest)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageDigest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl TryFrom<String> for ImageDigest {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl From<ImageDigest> for String {
    fn from(digest: ImageDigest) -> Self {
        digest.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_told_from_other_texts() {
        for good in [format!("sha256:{}", "0a".repeat(32)), format!("sha512:{}", "f".repeat(128))] {
            assert_eq!(ImageDigest::new(&good).expect("a digest").to_string(), good);
        }
        let short = format!("sha256:{}", "0".repeat(63));
        let upper = format!("sha256:{}", "A".repeat(64));
        let other = format!("md5:{}", "0".repeat(64));
        for bad in ["", "sha256:", "latest", &short, &upper, &other, &"0".repeat(64)] {
            assert_eq!(ImageDigest::new(bad), Err(IdError::NotDigest), "{bad}");
        }
    }
}
