//! How a secret is named: by its name, or by its ARN with or without the six characters at its end. Pure.

use crate::records::{Secret, SecretKey};
use crate::state::State;
use longshore_model::{AccountId, Region, Timestamp};
use std::sync::Arc;

/// Characters of a name.
pub(crate) const MAX_NAME: usize = 512;
/// Random characters at the end of an ARN.
pub(crate) const SUFFIX: usize = 6;

/// The name of a secret as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretName<'a> {
    /// Only the name.
    Short(&'a str),
    /// An ARN: region, account, and what follows `secret:`.
    Arn(Region, AccountId, &'a str),
}

impl<'a> SecretName<'a> {
    /// Reads `text`; `None` when it can name no secret.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if !text.starts_with("arn:") {
            return is_name(text).then_some(Self::Short(text));
        }
        let parts: Vec<&str> = text.splitn(7, ':').collect();
        let ["arn", partition, "secretsmanager", region, account, "secret", rest] = parts.as_slice() else {
            return None;
        };
        let room = MAX_NAME + 1 + SUFFIX;
        let sound = partition.starts_with("aws") && rest.len() <= room && rest.bytes().all(is_name_byte);
        if !sound || rest.is_empty() {
            return None;
        }
        Some(Self::Arn(Region::new(region).ok()?, AccountId::new(account).ok()?, rest))
    }

    /// The secret of that name, short names being of `region`. One that is marked for deletion counts, one that is
    /// deleted does not.
    pub(crate) fn find<'s>(
        &self,
        state: &'s State,
        account: &AccountId,
        region: &Region,
        now: Timestamp,
    ) -> Option<&'s Arc<Secret>> {
        let named = |region: &Region, name: &str| {
            let key = SecretKey { region: region.clone(), name: name.to_owned() };
            state.secret(&key).filter(|secret| secret.exists(now))
        };
        match self {
            Self::Short(name) => named(region, name),
            Self::Arn(_, other, _) if other != account => None,
            Self::Arn(region, _, rest) => {
                let whole = rest.rsplit_once('-').filter(|(_, suffix)| suffix.len() == SUFFIX);
                let whole = whole.and_then(|(name, suffix)| named(region, name).filter(|s| s.suffix == suffix));
                whole.or_else(|| named(region, rest))
            }
        }
    }
}

/// Whether a secret may have that name.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/_+=.@!-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_arns_are_told_from_what_names_no_secret() {
        let arn = |rest: &str| format!("arn:aws:secretsmanager:lab:123456789012:secret:{rest}");
        for text in ["a", "team/registry", "a+b=c.d@e!-_", &arn("team/registry-AbCdEf"), &arn("x")] {
            assert!(SecretName::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "a b",
            "a:b",
            &"a".repeat(513),
            &arn(""),
            &arn("name-AbCdEf:username::"),
            "arn:aws:ssm:lab:123456789012:parameter/x",
            "arn:aws:secretsmanager:lab:123:secret:x",
            "arn:aws:secretsmanager:No Region:123456789012:secret:x",
        ] {
            assert!(SecretName::parse(text).is_none(), "{text}");
        }
    }
}
