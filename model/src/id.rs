//! Names and ids, each its own type, checked when made.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a text is not the id it should be. The message names what was wrong, never what it was for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than allowed.
    #[error("must be at most {max} characters, and is {len}")]
    TooLong {
        /// Characters allowed.
        max: usize,
        /// Characters given.
        len: usize,
    },
    /// A character that is not allowed stands in it.
    #[error("contains `{0}`; letters, digits, `-` and `_` are allowed")]
    Character(char),
    /// Not 32 hexadecimal digits.
    #[error("must be 32 lower-case hexadecimal digits")]
    NotHex32,
    /// Not 12 decimal digits.
    #[error("must be 12 decimal digits")]
    NotAccount,
    /// Not a prefix and 17 hexadecimal digits.
    #[error("must be `{prefix}` and 17 lower-case hexadecimal digits")]
    NotVpcId {
        /// The prefix.
        prefix: &'static str,
    },
    /// Not an image's digest.
    #[error("must be `sha256:` and 64 lower-case hexadecimal digits, or `sha512:` and 128")]
    NotDigest,
    /// Not a hardware address.
    #[error("must be six pairs of hexadecimal digits, separated by `:`")]
    NotMac,
}

/// ECS's rule for names: 1 to 255 letters, digits, hyphens and underscores.
fn check_name(text: &str, max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    let len = text.chars().count();
    if len > max {
        return Err(IdError::TooLong { max, len });
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_')) {
        Some(c) => Err(IdError::Character(c)),
        None => Ok(()),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks `text` and takes it.
            ///
            /// # Errors
            /// When the text breaks the rule in this type's description.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                let check: fn(&str) -> Result<(), IdError> = $check;
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                Self::new(s)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(s: String) -> Result<Self, IdError> {
                Self::new(s)
            }
        }

        impl From<$name> for String {
            fn from(v: $name) -> String {
                v.0.to_string()
            }
        }
    };
}

text_id!(
    /// A cluster's name: 1 to 255 letters, digits, hyphens and underscores (ECS CreateCluster).
    ClusterName,
    |t| check_name(t, 255)
);
text_id!(
    /// A container's name in its task definition: 1 to 255 letters, digits, hyphens and underscores.
    ContainerName,
    |t| check_name(t, 255)
);
text_id!(
    /// An AWS-style region, as it stands in a request's credential scope: 1 to 64 letters, digits, hyphens and
    /// underscores.
    Region,
    |t| check_name(t, 64)
);
text_id!(
    /// An account: 12 decimal digits.
    AccountId,
    |t| if t.len() == 12 && t.bytes().all(|b| b.is_ascii_digit()) { Ok(()) } else { Err(IdError::NotAccount) }
);

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// A new random id (122 random bits).
            #[must_use]
            pub fn random() -> Self {
                Self(*uuid::Uuid::new_v4().as_bytes())
            }

            /// From its 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The first eight digits, for names that must be short and for people.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                if s.len() != 32 || !s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                    return Err(IdError::NotHex32);
                }
                let mut bytes = [0u8; 16];
                for (i, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&s[2 * i..2 * i + 2], 16).map_err(|_| IdError::NotHex32)?;
                }
                Ok(Self(bytes))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(s: String) -> Result<Self, IdError> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(v: $name) -> String {
                v.to_string()
            }
        }
    };
}

hex_id!(
    /// A task: 32 lower-case hexadecimal digits. Runs at most once; what replaces it has a new id.
    TaskId
);
hex_id!(
    /// A container instance (a host that joined a cluster): 32 lower-case hexadecimal digits.
    InstanceId
);
hex_id!(
    /// One run of a command in a container, or one attachment to it: 32 lower-case hexadecimal digits.
    ExecId
);

/// The number of a change to what an agent should run. Never falls for one control plane; 0 is "nothing yet".
///
/// It is the revision of the control plane's store at which the assignment was true, so it is the same
/// order for every agent and survives the control plane's restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A cluster's identity: as on AWS, the same name in two regions is two clusters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterKey {
    /// The region of the request that made it.
    pub region: Region,
    /// Its name.
    pub name: ClusterName,
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_ecs_rule() {
        assert!(ClusterName::new("prod-1_a").is_ok());
        assert_eq!(ClusterName::new(""), Err(IdError::Empty));
        assert_eq!(ClusterName::new("a b"), Err(IdError::Character(' ')));
        assert_eq!(ClusterName::new("x".repeat(256)), Err(IdError::TooLong { max: 255, len: 256 }));
        assert!(AccountId::new("123456789012").is_ok());
        assert_eq!(AccountId::new("12345678901a"), Err(IdError::NotAccount));
    }

    #[test]
    fn hex_ids_round_trip_and_refuse_others() {
        let id = TaskId::random();
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("é".repeat(16).parse::<TaskId>(), Err(IdError::NotHex32));
        assert_eq!("A".repeat(32).parse::<TaskId>(), Err(IdError::NotHex32));
    }
}
