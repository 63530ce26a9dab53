//! Event patterns: which events a rule is for, in the language of EventBridge.
//!
//! A [`Pattern`] is read once and asked often. Pure: no clock, no I/O, and no more work than the event is long, times
//! the pattern. The grammar and its meaning are those of EventBridge's documentation ("Event patterns"); where that is
//! silent, an unknown word is refused rather than guessed.

mod matching;
mod parse;
mod wildcard;

use ipnet::IpNet;
use serde_json::Value;
use wildcard::Wildcard;

/// Bytes of a pattern's text (PutRule).
pub const MAX_TEXT: usize = 4096;

/// Which events are meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    root: Fields,
}

/// Why a text is no pattern. Never quotes more of it than the name of a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is longer than [`MAX_TEXT`].
    #[error("it has more than {MAX_TEXT} bytes")]
    TooLong,
    /// Not JSON.
    #[error("it is not valid JSON (line {line}, column {column})")]
    Json {
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// A part of it breaks the grammar.
    #[error("{}{why}", if path.is_empty() { String::new() } else { format!("`{path}`: ") })]
    Part {
        /// Names of fields, joined by dots; empty for the whole.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// What must hold of the members of an object: all fields, and one alternative of every `$or`.
#[derive(Debug, Clone, PartialEq, Default)]
struct Fields {
    fields: Vec<(String, Node)>,
    any_of: Vec<Vec<Fields>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Fields(Fields),
    /// One of them must hold.
    Tests(Vec<Test>),
}

/// What may be asked of one value.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    Exact(Value),
    Text(TextTest),
    /// None of these values.
    But(Vec<Value>),
    /// None of these.
    ButText(Vec<TextTest>),
    Numeric(Vec<(Comparison, f64)>),
    Exists(bool),
    Cidr(IpNet),
}

#[derive(Debug, Clone, PartialEq)]
enum TextTest {
    Prefix(String),
    /// Lower case.
    PrefixAnyCase(String),
    Suffix(String),
    /// Lower case.
    SuffixAnyCase(String),
    /// Lower case.
    AnyCase(String),
    Wildcard(Wildcard),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When the text is none.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_TEXT {
            return Err(PatternError::TooLong);
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| PatternError::Json { line: error.line(), column: error.column() })?;
        Ok(Self { root: parse::root(&value)? })
    }

    /// Whether `event`, a whole event, is meant.
    #[must_use]
    pub fn matches(&self, event: &Value) -> bool {
        matching::fields(&self.root, Some(event), matching::Absent::IsAbsent)
    }

    /// Whether an event of which `known` is a part may be meant: whatever `known` does not have is taken to be as the
    /// pattern wants it. False says that no such event is meant, true says nothing. A member that `known` has must be
    /// there as a whole.
    #[must_use]
    pub fn may_match(&self, known: &Value) -> bool {
        matching::fields(&self.root, Some(known), matching::Absent::IsUnknown)
    }
}
