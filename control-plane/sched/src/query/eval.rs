//! Whether an expression holds for a host.

use super::ast::{Check, Comparison, Literal, Node, Subject, Version};
use crate::host::{Host, Usage};
use std::cmp::Ordering;

impl Node {
    /// Whether it holds for `host` when tasks hold `usage` of it.
    pub(super) fn holds(&self, host: &Host, usage: &Usage) -> bool {
        match self {
            Self::Or(nodes) => nodes.iter().any(|node| node.holds(host, usage)),
            Self::And(nodes) => nodes.iter().all(|node| node.holds(host, usage)),
            Self::Not(node) => !node.holds(host, usage),
            Self::Test(subject, check) => test(subject, check, host, usage),
        }
    }
}

/// A check holds when its positive form holds for any of the subject's values, or, if it is an opposite
/// (`!=`, `!in`, …), for none of them. An absent attribute has no value and an instance many groups.
fn test(subject: &Subject, check: &Check, host: &Host, usage: &Usage) -> bool {
    let positive = match subject {
        Subject::AgentConnected => check.positive(if host.connected { "true" } else { "false" }),
        Subject::AgentVersion => check.positive(&host.offer.agent_version),
        Subject::Ec2InstanceId => check.positive(&host.offer.hostname),
        Subject::RegisteredAt => match check {
            Check::Compare(comparison, Literal::Time { at, .. }) => {
                comparison.positive(host.offer.registered_at.cmp(at))
            }
            Check::Compare(..) | Check::Exists { .. } | Check::In { .. } | Check::Matches { .. } => false,
        },
        Subject::RunningTasksCount => match check {
            Check::Compare(comparison, Literal::Count(count)) => {
                comparison.positive(u64::from(host.running_tasks).cmp(count))
            }
            Check::Compare(..) | Check::Exists { .. } | Check::In { .. } | Check::Matches { .. } => false,
        },
        // A capability, without a value, is compared as the empty text.
        Subject::Attribute { name, hash } => host
            .offer
            .attributes
            .get_hashed(*hash, name)
            .is_some_and(|attribute| check.positive(attribute.value.as_deref().unwrap_or(""))),
        Subject::TaskGroup => usage.groups().any(|(group, _)| check.positive(group)),
    };
    positive != check.is_opposite()
}

impl Check {
    const fn is_opposite(&self) -> bool {
        match self {
            Self::Compare(comparison, _) => comparison.is_opposite(),
            Self::Exists { negated } | Self::In { negated, .. } | Self::Matches { negated, .. } => *negated,
        }
    }

    /// Whether its positive form holds for a value.
    fn positive(&self, value: &str) -> bool {
        match self {
            Self::Compare(comparison, literal) => match comparison {
                Comparison::Equal | Comparison::NotEqual => literal.equals(value),
                Comparison::Greater | Comparison::GreaterEqual | Comparison::Less | Comparison::LessEqual => {
                    literal.order_of(value).is_some_and(|order| comparison.positive(order))
                }
            },
            Self::Exists { .. } => true,
            Self::In { list, .. } => list.iter().any(|literal| literal.equals(value)),
            Self::Matches { pattern, .. } => pattern.regex.is_match(value),
        }
    }
}

impl Comparison {
    const fn is_opposite(self) -> bool {
        match self {
            Self::NotEqual => true,
            Self::Equal | Self::Greater | Self::GreaterEqual | Self::Less | Self::LessEqual => false,
        }
    }

    /// Whether its positive form (`==` for `!=`) allows this order of value and argument.
    const fn positive(self, order: Ordering) -> bool {
        match self {
            Self::Equal | Self::NotEqual => order.is_eq(),
            Self::Greater => order.is_gt(),
            Self::GreaterEqual => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::LessEqual => order.is_le(),
        }
    }
}

impl Literal {
    fn equals(&self, value: &str) -> bool {
        match self {
            // Text even when both are numbers: ECS calls it string equality.
            Self::Text(text) => value == text,
            Self::Flag(_) | Self::Count(_) | Self::Version(_) | Self::Time { .. } => {
                self.order_of(value) == Some(Ordering::Equal)
            }
        }
    }

    /// How `value` stands to this argument; `None` when it is not of the argument's kind.
    fn order_of(&self, value: &str) -> Option<Ordering> {
        match self {
            Self::Text(text) => Some(match (number(value), number(text)) {
                (Some(value), Some(argument)) => value.total_cmp(&argument),
                _ => value.cmp(text),
            }),
            Self::Flag(flag) => value.parse::<bool>().ok().map(|value| value.cmp(flag)),
            Self::Count(count) => value.parse::<u64>().ok().map(|value| value.cmp(count)),
            Self::Version(version) => Version::parse(value).map(|value| value.compare(version)),
            // Compared by `test`, which has the host's time as a number.
            Self::Time { .. } => None,
        }
    }
}

/// A finite number in digits; `parse` alone would also take `nan` and `infinity`.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}
