//! Join tokens: `lsj1.<activation id>.<secret>.<SHA-256 of the authority, hex>`.
//!
//! One text carries everything a new host needs: which activation it spends, the secret that proves it, and
//! the authority that must stand behind the control plane's address. The control plane keeps only the
//! secret's SHA-256, which is enough for 256 random bits.

use crate::seal::random;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Begins every token of this format.
const FORMAT: &str = "lsj1";
/// Activation ids are UUIDs, as SSM's are.
const ACTIVATION_ID_LEN: usize = 36;

/// A join token. `Debug` and errors do not show its secret.
#[derive(Clone)]
pub struct JoinToken {
    /// The activation that it spends.
    pub activation: String,
    /// SHA-256 of the authority that must stand behind the control plane's address.
    pub ca_fingerprint: [u8; 32],
    secret: [u8; 32],
}

/// SHA-256 of a token's secret, all that is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(String);

/// Why a text is not a join token. Never shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not four parts beginning with `lsj1`.
    #[error("not a join token: it must look like lsj1.<activation>.<secret>.<fingerprint>")]
    Form,
    /// A part is not what it should be.
    #[error("not a join token: its {0} is damaged; was it copied whole?")]
    Part(&'static str),
}

impl JoinToken {
    /// A new token for a new activation.
    #[must_use]
    pub fn random(ca_fingerprint: [u8; 32]) -> Self {
        Self { activation: uuid::Uuid::new_v4().to_string(), secret: random(), ca_fingerprint }
    }

    /// The whole token as a text. This is the secret: show it once, to whoever asked for it.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{FORMAT}.{}.{}.{}", self.activation, hex::encode(self.secret), hex::encode(self.ca_fingerprint))
    }

    /// What may be kept of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(hex::encode(digest(&SHA256, &self.secret)))
    }
}

impl TokenHash {
    /// Whether `token` has the secret that this is the hash of, in constant time.
    #[must_use]
    pub fn matches(&self, token: &JoinToken) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), token.hash().0.as_bytes()).is_ok()
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let [FORMAT, activation, secret, fingerprint] = parts.as_slice() else {
            return Err(TokenError::Form);
        };
        let id_char = |c: char| c.is_ascii_hexdigit() || c == '-';
        if activation.len() != ACTIVATION_ID_LEN || !activation.chars().all(id_char) {
            return Err(TokenError::Part("activation id"));
        }
        let bytes = |part, text: &str| {
            let mut bytes = [0u8; 32];
            hex::decode_to_slice(text, &mut bytes).map_err(|_| TokenError::Part(part)).map(|()| bytes)
        };
        Ok(Self {
            activation: (*activation).to_owned(),
            secret: bytes("secret", secret)?,
            ca_fingerprint: bytes("fingerprint", fingerprint)?,
        })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}, …)", self.activation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_proves_itself() {
        let token = JoinToken::random([9; 32]);
        let again: JoinToken = token.reveal().parse().expect("parses");
        assert_eq!(again.reveal(), token.reveal());
        assert!(token.hash().matches(&again));
        assert!(!JoinToken::random([9; 32]).hash().matches(&again));
        assert!(!format!("{token:?}").contains(&hex::encode(token.secret)));
        assert!(token.reveal().len() <= 250, "SSM's limit for an activation code");
    }

    #[test]
    fn others_are_refused() {
        let good = JoinToken::random([9; 32]).reveal();
        for text in ["", "lsj1", "lsj2.a.b.c", "lsj1.a.b.c", &good[..good.len() - 1], &good.replace('.', "é")] {
            assert!(text.parse::<JoinToken>().is_err(), "{text}");
        }
    }
}
