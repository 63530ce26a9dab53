//! The cluster query language: expressions that select container instances.
//!
//! `attribute:ecs.instance-type =~ g2.* and not (task:group == database)`. Used by the `memberOf` placement
//! constraint and by the filter of ListContainerInstances. The grammar, in words: tests of the form
//! `subject operator [argument]`, joined by `and`/`&&`, `or`/`||`, `not`/`!` (binding `not`, `and`, `or`, the
//! tightest first) and parentheses around whole expressions.
//!
//! Where AWS's documentation leaves a question open, this is the answer here:
//!
//! - `!=`, `!in` and `!~` are the exact opposites of `==`, `in` and `=~`; so they hold for a host that lacks the
//!   attribute. The ordering operators do not hold for it.
//! - `task:group` holds when it holds for any task of the host, its opposites when it holds for none.
//! - Patterns match the whole value, as Java's `String.matches` does. What the `regex` crate leaves out of
//!   Java's syntax (look-around, back-references) is refused.
//! - `<` and its like compare attributes as numbers when both sides are numbers, otherwise as text; versions
//!   part by part.
//! - Arguments may stand in single or double quotes, and must when they contain spaces or operators.

mod ast;
mod error;
mod eval;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

pub use error::QueryError;

use crate::host::{Host, Usage};
use ast::Node;
use std::fmt;
use std::str::FromStr;

/// The longest expression, in characters (ECS).
pub const MAX_CHARS: usize = 2000;

/// An expression, ready to be evaluated. Prints in one canonical form that parses to the same expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    root: Node,
}

impl Expression {
    /// Parses `text`.
    ///
    /// # Errors
    /// When it is not an expression; the text says where and what was expected.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        Ok(Self { root: parser::parse(text)? })
    }

    /// Whether it selects this host.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        self.root.holds(host, &host.usage)
    }

    /// As [`Expression::matches`], with other tasks on the host than it says.
    pub(crate) fn matches_with(&self, host: &Host, usage: &Usage) -> bool {
        self.root.holds(host, usage)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl FromStr for Expression {
    type Err = QueryError;
    fn from_str(text: &str) -> Result<Self, QueryError> {
        Self::parse(text)
    }
}
