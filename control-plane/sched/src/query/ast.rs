//! The tree of an expression, and its canonical text.

use super::lexer::is_word_char;
use longshore_model::Timestamp;
use regex::Regex;
use std::fmt;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// At least two.
    Or(Vec<Node>),
    /// At least two.
    And(Vec<Node>),
    Not(Box<Node>),
    Test(Subject, Check),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    AgentConnected,
    AgentVersion,
    Attribute { name: String, hash: u64 },
    Ec2InstanceId,
    RegisteredAt,
    RunningTasksCount,
    TaskGroup,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Check {
    Compare(Comparison, Literal),
    Exists { negated: bool },
    In { list: Vec<Literal>, negated: bool },
    Matches { pattern: Pattern, negated: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

/// An argument, of the kind that its subject has.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Flag(bool),
    Count(u64),
    Version(Version),
    Time { at: Timestamp, text: String },
}

/// A version, compared number by number; what is not a number in it is ignored, missing numbers are 0.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) text: String,
    parts: Vec<u64>,
}

/// A regular expression over the whole value.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub(super) text: String,
    pub(super) regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Version {
    /// `None` when the text does not begin with a number. A leading `v` is skipped, and so is what follows the
    /// numbers: `v1.14.5-rc1` is 1.14.5.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let numbers = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let end = numbers.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(numbers.len());
        let mut parts = Vec::new();
        for part in numbers[..end].split('.') {
            match part.parse() {
                Ok(part) => parts.push(part),
                Err(_) if part.is_empty() && !parts.is_empty() => {}
                Err(_) => return None,
            }
        }
        while parts.last() == Some(&0) {
            parts.pop();
        }
        Some(Self { text: text.to_owned(), parts })
    }

    pub(super) fn compare(&self, other: &Self) -> std::cmp::Ordering {
        self.parts.cmp(&other.parts)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Or(nodes) => join(f, nodes, " or "),
            Self::And(nodes) => join(f, nodes, " and "),
            Self::Not(node) => {
                f.write_str("not ")?;
                node.fmt_part(f)
            }
            Self::Test(subject, check) => write!(f, "{subject} {check}"),
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, nodes: &[Node], with: &str) -> fmt::Result {
    for (n, node) in nodes.iter().enumerate() {
        if n > 0 {
            f.write_str(with)?;
        }
        node.fmt_part(f)?;
    }
    Ok(())
}

impl Node {
    /// As a part of a larger expression: whatever could be read otherwise there stands in parentheses.
    fn fmt_part(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Or(_) | Self::And(_) => write!(f, "({self})"),
            Self::Not(_) | Self::Test(..) => write!(f, "{self}"),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgentConnected => f.write_str("agentConnected"),
            Self::AgentVersion => f.write_str("agentVersion"),
            Self::Attribute { name, .. } => write!(f, "attribute:{name}"),
            Self::Ec2InstanceId => f.write_str("ec2InstanceId"),
            Self::RegisteredAt => f.write_str("registeredAt"),
            Self::RunningTasksCount => f.write_str("runningTasksCount"),
            Self::TaskGroup => f.write_str("task:group"),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare(comparison, literal) => write!(f, "{} {literal}", comparison.as_str()),
            Self::Exists { negated: false } => f.write_str("exists"),
            Self::Exists { negated: true } => f.write_str("!exists"),
            Self::In { list, negated } => {
                f.write_str(if *negated { "!in [" } else { "in [" })?;
                for (n, literal) in list.iter().enumerate() {
                    if n > 0 {
                        f.write_str(", ")?;
                    }
                    literal.fmt(f)?;
                }
                f.write_str("]")
            }
            Self::Matches { pattern, negated } => {
                f.write_str(if *negated { "!~ " } else { "=~ " })?;
                pattern.fmt(f)
            }
        }
    }
}

impl Comparison {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Less => "<",
            Self::LessEqual => "<=",
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Time { text, .. } | Self::Version(Version { text, .. }) => {
                if !text.is_empty() && text.chars().all(is_word_char) { f.write_str(text) } else { quoted(f, text) }
            }
            Self::Flag(flag) => flag.fmt(f),
            Self::Count(count) => count.fmt(f),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.contains('\'') && self.text.contains('"') {
            // Can only have been written bare, and is read bare again.
            f.write_str(&self.text)
        } else {
            quoted(f, &self.text)
        }
    }
}

/// A text that was read holds at most one kind of quote: inside quotes the other kind may stand, and outside
/// none may.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') { '"' } else { '\'' };
    write!(f, "{quote}{text}{quote}")
}
