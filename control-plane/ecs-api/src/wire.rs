//! What the generated code is made with: the macros behind enums, operations and error codes, points in time, and
//! the stand-in for values that must not be shown.

use serde::{Deserialize, Serialize};

/// A string enum that keeps texts it does not know in `Other`, so that a round trip loses nothing.
macro_rules! wire_enum {
    ($name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($variant,)*
            /// A text that the model does not have.
            Other(String),
        }

        impl $name {
            /// Every value of the model, in its order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The text on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|text| Self::from(text.as_str()))
            }
        }
    };
}
pub(crate) use wire_enum;

/// The operations, and which request and response each has.
macro_rules! operations {
    ($($name:ident($request:path) -> $response:path { $($field:ident = $wire:literal),* $(,)? })*) => {
        /// An operation of the ECS API, whether or not this control plane has it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation {
            $($name,)*
        }

        impl Operation {
            /// Every operation of the model, by name.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name, as in `X-Amz-Target` after the dot.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The operation of that name; `None` when the model has none.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)*
                    _ => None,
                }
            }
        }

        $(impl crate::Request for $request {
            const OPERATION: Operation = Operation::$name;
            const REQUIRED: &'static [&'static str] = &[$($wire),*];
            type Response = $response;

            fn missing(&self) -> Option<&'static str> {
                $(if self.$field.is_none() {
                    return Some($wire);
                })*
                None
            }
        })*
    };
}
pub(crate) use operations;

/// The codes of errors, each with its HTTP status.
macro_rules! error_codes {
    ($($variant:ident = $text:literal, $status:literal;)*) => {
        /// What went wrong, as a client's `except` or `catch` names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $($variant,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The text in `__type`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The HTTP status that it goes with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The code of that text.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use error_codes;

/// A point in time as ECS's JSON carries it: seconds since the epoch, a number with a fraction.
///
/// An integer is accepted as well. Milliseconds survive the way there and back.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EpochSeconds(pub f64);

impl EpochSeconds {
    /// From milliseconds since the epoch.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis as f64 / 1000.0)
    }

    /// Milliseconds since the epoch, rounded; the nearest end of the range when it lies outside.
    #[must_use]
    pub fn millis(self) -> i64 {
        (self.0 * 1000.0).round() as i64
    }
}

/// Shown by `Debug` in place of a value that may be a secret: only whether there is one.
pub(crate) struct Hidden(pub(crate) bool);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0 { "Some(…)" } else { "None" })
    }
}
