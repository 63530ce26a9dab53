//! Sealing secrets at rest: AES-256-GCM under a key that lies in a file beside the store, not in it.
//!
//! Owns the format of a sealed text. Never writes a secret anywhere itself.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret, SecretString};

/// Begins every sealed text, so that another algorithm can follow later.
const FORMAT: &str = "s1:";

/// The key that seals this control plane's secrets. `Debug` does not show it.
pub struct SealingKey {
    aead: LessSafeKey,
    /// Makes keys for other purposes.
    derive: hmac::Key,
}

/// Why a sealed text cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// Not written by this version.
    #[error("the sealed secret of `{0}` has an unknown format; was it written by a newer version?")]
    Format(String),
    /// Wrong key, or damaged.
    #[error("the sealed secret of `{0}` does not open; the sealing key is not the one it was sealed with")]
    Key(String),
}

impl SealingKey {
    /// Takes 32 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes are the length of an AES-256 key");
        Self { aead: LessSafeKey::new(key), derive: hmac::Key::new(hmac::HMAC_SHA256, bytes) }
    }

    /// A key for another purpose, which does not tell this one.
    pub(crate) fn derive(&self, purpose: &str) -> Vec<u8> {
        hmac::sign(&self.derive, purpose.as_bytes()).as_ref().to_vec()
    }

    /// Seals `secret`, bound to `owner`: under another owner's name it does not open.
    pub(crate) fn seal(&self, owner: &str, secret: &SecretString) -> String {
        let nonce: [u8; NONCE_LEN] = random();
        let mut data = secret.expose_secret().as_bytes().to_vec();
        self.aead
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(owner.as_bytes()), &mut data)
            .expect("secrets are far below the cipher's size limit");
        let mut sealed = nonce.to_vec();
        sealed.append(&mut data);
        format!("{FORMAT}{}", STANDARD_NO_PAD.encode(sealed))
    }

    /// Opens what [`seal`](Self::seal) made for `owner`.
    pub(crate) fn unseal(&self, owner: &str, sealed: &str) -> Result<SecretString, UnsealError> {
        let format = || UnsealError::Format(owner.to_owned());
        let key = || UnsealError::Key(owner.to_owned());
        let text = sealed.strip_prefix(FORMAT).ok_or_else(format)?;
        let mut bytes = STANDARD_NO_PAD.decode(text).map_err(|_| format())?;
        if bytes.len() < NONCE_LEN {
            return Err(format());
        }
        let mut data = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| format())?;
        let plain = self.aead.open_in_place(nonce, Aad::from(owner.as_bytes()), &mut data).map_err(|_| key())?;
        let secret = String::from_utf8(plain.to_vec()).map_err(|_| key())?;
        Ok(SecretString::from(secret))
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    OsRng.try_fill_bytes(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_its_key_and_owner() {
        let key = SealingKey::from_bytes(&[7; 32]);
        let sealed = key.seal("AKIA1", &SecretString::from("secret".to_owned()));
        assert!(!sealed.contains("secret"));
        assert_eq!(key.unseal("AKIA1", &sealed).expect("opens").expose_secret(), "secret");
        assert!(matches!(key.unseal("AKIA2", &sealed), Err(UnsealError::Key(_))));
        let other = SealingKey::from_bytes(&[8; 32]);
        assert!(matches!(other.unseal("AKIA1", &sealed), Err(UnsealError::Key(_))));
        assert!(matches!(key.unseal("AKIA1", "x"), Err(UnsealError::Format(_))));
        assert!(matches!(key.unseal("AKIA1", "s1:AAAA"), Err(UnsealError::Format(_))));
    }
}
