//! Values of secrets on their way into a record and out of it: sealed, and bound to where they belong.

use crate::records::{Secret, SecretKey, SecretVersion};
use crate::seal::{SealingKey, UnsealError};
use aws_lc_rs::hmac;
use longshore_model::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

/// A value: a text, or bytes as base64. `Debug` does not show it.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) binary: bool,
    pub(crate) text: SecretString,
}

impl Value {
    /// The version that this value makes of the secret `key`. It opens as that one's alone.
    pub(crate) fn seal(&self, sealing: &SealingKey, key: &SecretKey, id: String) -> SecretVersion {
        let digest = hmac::Key::new(hmac::HMAC_SHA256, &sealing.derive("values of secrets"));
        let mut context = hmac::Context::with_key(&digest);
        for part in [owner(key, &id).as_bytes(), if self.binary { b"binary" } else { b"text" }] {
            context.update(part);
            context.update(&[0]);
        }
        context.update(self.text.expose_secret().as_bytes());
        SecretVersion {
            binary: self.binary,
            sealed: sealing.seal(&owner(key, &id), &self.text),
            digest: hex::encode(context.sign()),
            // The command knows when it is.
            created_at: Timestamp::from_millis(0),
            id,
        }
    }
}

/// The value of a version of `secret`.
///
/// # Errors
/// When it does not open; the log says so, with the secret's name.
pub(crate) fn reveal(
    sealing: &SealingKey,
    secret: &Secret,
    version: &SecretVersion,
) -> Result<SecretString, UnsealError> {
    sealing.unseal(&owner(&secret.key, &version.id), &version.sealed).inspect_err(|error| {
        tracing::error!(secret = secret.key.name, version = version.id, %error, "a secret cannot be opened");
    })
}

/// No name and no region holds what separates them.
fn owner(key: &SecretKey, version: &str) -> String {
    format!("secret {} {} {version}", key.region, key.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::Region;

    #[test]
    fn a_value_opens_where_it_belongs_and_shows_nothing_elsewhere() {
        let sealing = SealingKey::from_bytes(&[7; 32]);
        let key = |name: &str| SecretKey { region: Region::new("lab").expect("a region"), name: name.to_owned() };
        let value = |text: &str| Value { binary: false, text: text.to_owned().into() };
        let version = value("hush").seal(&sealing, &key("a"), "v".to_owned());
        let secret = |name: &str| Secret {
            key: key(name),
            suffix: "AbCdEf".to_owned(),
            description: None,
            tags: crate::records::Tags::new(),
            created_at: Timestamp::from_millis(0),
            changed_at: Timestamp::from_millis(0),
            deletes_at: None,
            current: Some(version.clone()),
            previous: None,
            retired: Vec::new(),
        };
        assert_eq!(reveal(&sealing, &secret("a"), &version).expect("opens").expose_secret(), "hush");
        assert!(reveal(&sealing, &secret("b"), &version).is_err(), "another secret's");
        let record = String::from_utf8(crate::records::encode(&secret("a"))).expect("JSON");
        assert!(!record.contains("hush"), "{record}");
        assert_eq!(value("hush").seal(&sealing, &key("a"), "v".to_owned()).digest, version.digest);
        for other in [
            value("Hush").seal(&sealing, &key("a"), "v".to_owned()),
            value("hush").seal(&sealing, &key("b"), "v".to_owned()),
            value("hush").seal(&sealing, &key("a"), "w".to_owned()),
            Value { binary: true, ..value("hush") }.seal(&sealing, &key("a"), "v".to_owned()),
        ] {
            assert_ne!(other.digest, version.digest);
        }
    }
}
