//! The conversions between messages and the domain, both ways, and nothing else.
//!
//! From the domain to a message is `From` and cannot fail. From a message to the domain is `TryFrom`, checks
//! everything that the domain's types promise, and names the field at fault. One task that cannot be read
//! does not void an assignment, and one report not a batch: see [`ReadAssignment`] and [`ReadReports`].

mod assignment;
mod exec;
mod health;
mod host;
mod lifecycle;
mod network;
mod report;
mod spec;
#[cfg(test)]
mod tests;
mod usage;
mod volume;

pub use assignment::{ReadAssignment, RefusedTask};
pub use exec::exec_begin;
pub use host::ReadHello;
pub use report::{ReadReports, UnreadableReport, read_reports};

use longshore_model::IdError;

/// A field of a message that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{path}` {fault}")]
pub struct FieldError {
    /// The field's path from the message that was read: `tasks[3].spec.containers[0].name`.
    pub path: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It has to be there.
    #[error("is missing")]
    Missing,
    /// A value of an enumeration that this build does not know; perhaps from a newer peer.
    #[error("has the value {0}, which is not known here")]
    UnknownEnum(i32),
    /// Not the id or name that it should be.
    #[error("{0}")]
    Id(IdError),
    /// A number outside its range.
    #[error("is {value}, and must be from {min} to {max}")]
    Range {
        /// The number.
        value: i64,
        /// The least allowed.
        min: i64,
        /// The greatest allowed.
        max: i64,
    },
    /// More characters or entries than allowed.
    #[error("has {len} characters or entries, and may have {max}")]
    TooLong {
        /// How many it has.
        len: usize,
        /// How many it may have.
        max: usize,
    },
    /// The same name or id twice.
    #[error("repeats `{0}`")]
    Repeated(String),
    /// A name that nothing in the message has.
    #[error("names `{0}`, which is not there")]
    Dangling(String),
    /// Another rule, in words.
    #[error("{0}")]
    Rule(&'static str),
}

impl FieldError {
    pub(crate) fn new(path: impl Into<String>, fault: Fault) -> Self {
        Self { path: path.into(), fault }
    }

    /// The same fault as seen from the message around.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.path = if self.path.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.path) };
        self
    }
}

/// Puts a field's name in front of the path of an error.
pub(crate) trait Within<T> {
    fn within(self, outer: &str) -> Result<T, FieldError>;
    fn within_item(self, list: &str, index: usize) -> Result<T, FieldError>;
}

impl<T> Within<T> for Result<T, FieldError> {
    fn within(self, outer: &str) -> Self {
        self.map_err(|error| error.within(outer))
    }

    fn within_item(self, list: &str, index: usize) -> Self {
        self.map_err(|error| error.within(&format!("{list}[{index}]")))
    }
}

/// Names the field of an id that was refused.
pub(crate) fn id<T>(field: &str, result: Result<T, IdError>) -> Result<T, FieldError> {
    result.map_err(|error| FieldError::new(field, Fault::Id(error)))
}

pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T, FieldError> {
    value.ok_or_else(|| FieldError::new(field, Fault::Missing))
}

/// A port: never 0.
pub(crate) fn port(field: &str, value: u32) -> Result<u16, FieldError> {
    match u16::try_from(value) {
        Ok(port) if port != 0 => Ok(port),
        Ok(_) | Err(_) => {
            Err(FieldError::new(field, Fault::Range { value: value.into(), min: 1, max: u16::MAX.into() }))
        }
    }
}

/// A count of ports of which the first is at most `first`; 0 stands for 1.
pub(crate) fn ports(field: &str, count: u32, first: u16) -> Result<u16, FieldError> {
    let max = u16::MAX - first + 1;
    match u16::try_from(count.max(1)) {
        Ok(count) if count <= max => Ok(count),
        Ok(_) | Err(_) => Err(FieldError::new(field, Fault::Range { value: count.into(), min: 1, max: max.into() })),
    }
}

pub(crate) fn absolute(field: &str, path: String) -> Result<String, FieldError> {
    if path.starts_with('/') && !path.contains('\0') {
        Ok(path)
    } else {
        Err(FieldError::new(field, Fault::Rule("must be an absolute path")))
    }
}

pub(crate) fn at_most(field: &str, len: usize, max: usize) -> Result<(), FieldError> {
    if len <= max { Ok(()) } else { Err(FieldError::new(field, Fault::TooLong { len, max })) }
}

/// Reads every entry of a list, naming the one at fault.
pub(crate) fn each<M, D>(list: &str, items: Vec<M>) -> Result<Vec<D>, FieldError>
where
    D: TryFrom<M, Error = FieldError>,
{
    items.into_iter().enumerate().map(|(i, item)| D::try_from(item).within_item(list, i)).collect()
}

/// The one name that occurs twice, if any does.
pub(crate) fn repeated<'a, T: Ord + ToString + 'a>(names: impl Iterator<Item = &'a T>) -> Option<String> {
    let mut seen = std::collections::BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name)).map(ToString::to_string)
}

/// Converts an enumeration both ways. The message's `Unspecified` is no value of the domain's.
macro_rules! wire_enum {
    ($message:ident <=> $domain:ident { $($m:ident = $d:ident),+ $(,)? }) => {
        impl From<longshore_model::$domain> for $crate::v1::$message {
            fn from(value: longshore_model::$domain) -> Self {
                match value { $(longshore_model::$domain::$d => Self::$m),+ }
            }
        }

        impl TryFrom<$crate::v1::$message> for longshore_model::$domain {
            type Error = $crate::convert::FieldError;
            fn try_from(value: $crate::v1::$message) -> Result<Self, Self::Error> {
                match value {
                    $($crate::v1::$message::$m => Ok(Self::$d),)+
                    $crate::v1::$message::Unspecified => {
                        Err($crate::convert::FieldError::new("", $crate::convert::Fault::Missing))
                    }
                }
            }
        }
    };
}
pub(crate) use wire_enum;

/// Reads an enumeration's number.
pub(crate) fn enumeration<M, D>(field: &str, value: i32) -> Result<D, FieldError>
where
    M: TryFrom<i32>,
    D: TryFrom<M, Error = FieldError>,
{
    let message = M::try_from(value).map_err(|_| FieldError::new(field, Fault::UnknownEnum(value)))?;
    D::try_from(message).within(field)
}
