//! From tokens to a tree, by recursive descent. Kinds of arguments are checked here, so evaluating cannot fail.

use super::MAX_CHARS;
use super::ast::{Check, Comparison, Literal, Node, Pattern, Subject, Version};
use super::error::QueryError;
use super::lexer::{Lexer, Spot, Token};
use longshore_model::Timestamp;
use regex::RegexBuilder;

/// How deep parentheses and negations may be nested; bounds the stack that parsing and evaluating take.
const MAX_DEPTH: usize = 64;

/// How large a compiled pattern may be, in bytes: ample for real ones, and it ends `(a{1000}){1000}`.
const MAX_PATTERN_BYTES: usize = 256 * 1024;

const SUBJECTS: &str = "a subject (agentConnected, agentVersion, attribute:NAME, ec2InstanceId, registeredAt, \
                        runningTasksCount, task:group), `not` or `(`";
const OPERATORS: &str = "an operator (==, !=, >, >=, <, <=, exists, !exists, in, !in, =~, !~)";

pub(super) fn parse(text: &str) -> Result<Node, QueryError> {
    let chars = text.chars().count();
    if chars > MAX_CHARS {
        return Err(QueryError::TooLong { chars, max: MAX_CHARS });
    }
    let mut lexer = Lexer::new(text);
    let spot = lexer.token()?;
    let mut parser = Parser { lexer, spot, depth: 0 };
    let node = parser.or()?;
    match parser.spot.token {
        Token::End => Ok(node),
        _ => Err(parser.unexpected("`and`, `or` or the end")),
    }
}

struct Parser {
    lexer: Lexer,
    /// The token to look at next.
    spot: Spot,
    depth: usize,
}

impl Parser {
    fn advance(&mut self) -> Result<Spot, QueryError> {
        let next = self.lexer.token()?;
        Ok(std::mem::replace(&mut self.spot, next))
    }

    fn unexpected(&self, expected: &str) -> QueryError {
        QueryError::Unexpected { at: self.spot.at, expected: expected.to_owned(), found: self.spot.token.to_string() }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(&self.spot.token, Token::Word(text) if text.eq_ignore_ascii_case(word))
    }

    fn or(&mut self) -> Result<Node, QueryError> {
        let first = self.and()?;
        let mut nodes = vec![first];
        while self.spot.token == Token::Or || self.is_word("or") {
            self.advance()?;
            nodes.push(self.and()?);
        }
        Ok(joined(nodes, Node::Or))
    }

    fn and(&mut self) -> Result<Node, QueryError> {
        let first = self.not()?;
        let mut nodes = vec![first];
        while self.spot.token == Token::And || self.is_word("and") {
            self.advance()?;
            nodes.push(self.not()?);
        }
        Ok(joined(nodes, Node::And))
    }

    fn not(&mut self) -> Result<Node, QueryError> {
        if self.spot.token == Token::Bang || self.is_word("not") {
            self.enter()?;
            self.advance()?;
            let node = self.not()?;
            self.depth -= 1;
            return Ok(Node::Not(Box::new(node)));
        }
        if self.spot.token == Token::Open {
            self.enter()?;
            self.advance()?;
            let node = self.or()?;
            if self.spot.token != Token::Close {
                return Err(self.unexpected("`and`, `or` or `)`"));
            }
            self.advance()?;
            self.depth -= 1;
            return Ok(node);
        }
        self.test()
    }

    fn enter(&mut self) -> Result<(), QueryError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(QueryError::TooDeep { at: self.spot.at, max: MAX_DEPTH });
        }
        Ok(())
    }

    fn test(&mut self) -> Result<Node, QueryError> {
        let subject = self.subject()?;
        let check = match self.operator(&subject)? {
            Operator::Compare(comparison) => {
                self.advance()?;
                Check::Compare(comparison, self.literal(&subject, "an argument")?)
            }
            Operator::Exists { negated } => {
                self.advance()?;
                Check::Exists { negated }
            }
            Operator::In { negated } => {
                self.advance()?;
                Check::In { list: self.list(&subject)?, negated }
            }
            Operator::Matches { negated } => {
                // Not `advance`: a pattern is read by other rules than a token.
                self.spot = self.lexer.pattern()?;
                Check::Matches { pattern: self.pattern()?, negated }
            }
        };
        Ok(Node::Test(subject, check))
    }

    fn subject(&mut self) -> Result<Subject, QueryError> {
        let Token::Word(word) = &self.spot.token else { return Err(self.unexpected(SUBJECTS)) };
        let subject = match word.as_str() {
            "agentConnected" => Subject::AgentConnected,
            "agentVersion" => Subject::AgentVersion,
            "ec2InstanceId" => Subject::Ec2InstanceId,
            "registeredAt" => Subject::RegisteredAt,
            "runningTasksCount" => Subject::RunningTasksCount,
            "task:group" => Subject::TaskGroup,
            other => match other.strip_prefix("attribute:") {
                Some(name) if !name.is_empty() => {
                    Subject::Attribute { hash: crate::attributes::hash(name), name: name.to_owned() }
                }
                Some(_) | None => return Err(self.unexpected(SUBJECTS)),
            },
        };
        self.advance()?;
        Ok(subject)
    }

    /// The operator after a subject, if the subject takes it. It stays the current token.
    fn operator(&mut self, subject: &Subject) -> Result<Operator, QueryError> {
        let at = self.spot.at;
        let operator = match &self.spot.token {
            Token::Operator(symbol) => by_symbol(symbol),
            Token::Word(word) => by_word(word),
            Token::Bang => {
                self.advance()?;
                match &self.spot.token {
                    Token::Word(word) if word.eq_ignore_ascii_case("exists") => {
                        Some(Operator::Exists { negated: true })
                    }
                    Token::Word(word) if word.eq_ignore_ascii_case("in") => Some(Operator::In { negated: true }),
                    _ => return Err(self.unexpected("`in` or `exists` after `!`")),
                }
            }
            Token::Quoted(_)
            | Token::And
            | Token::Or
            | Token::Open
            | Token::Close
            | Token::ListOpen
            | Token::ListClose
            | Token::Comma
            | Token::End => None,
        };
        let Some(operator) = operator else { return Err(self.unexpected(OPERATORS)) };
        let (fits, takes) = match subject {
            Subject::Attribute { .. } => (true, OPERATORS),
            Subject::TaskGroup => (!operator.is_ordering(), "==, !=, exists, !exists, in, !in, =~, !~"),
            Subject::AgentConnected | Subject::Ec2InstanceId => {
                (!operator.is_ordering() && !operator.is_exists(), "==, !=, in, !in, =~, !~")
            }
            Subject::AgentVersion | Subject::RegisteredAt | Subject::RunningTasksCount => {
                (matches!(operator, Operator::Compare(_)), "==, !=, >, >=, <, <=")
            }
        };
        if fits {
            Ok(operator)
        } else {
            Err(QueryError::Operator { at, subject: subject.to_string(), operator: operator.name(), takes })
        }
    }

    /// The argument of a comparison, or one of a list.
    fn literal(&mut self, subject: &Subject, expected: &str) -> Result<Literal, QueryError> {
        let at = self.spot.at;
        let text = match &self.spot.token {
            Token::Word(text) | Token::Quoted(text) => text.clone(),
            Token::Operator(_)
            | Token::Bang
            | Token::And
            | Token::Or
            | Token::Open
            | Token::Close
            | Token::ListOpen
            | Token::ListClose
            | Token::Comma
            | Token::End => return Err(self.unexpected(expected)),
        };
        let (literal, wanted) = match subject {
            Subject::Attribute { .. } | Subject::Ec2InstanceId | Subject::TaskGroup => {
                (Some(Literal::Text(text.clone())), "a text")
            }
            Subject::AgentConnected => {
                let flag = match text.to_ascii_lowercase().as_str() {
                    "true" => Some(true),
                    "false" => Some(false),
                    _ => None,
                };
                (flag.map(Literal::Flag), "`true` or `false`")
            }
            Subject::AgentVersion => (Version::parse(&text).map(Literal::Version), "a version such as 1.14.5"),
            Subject::RegisteredAt => (
                time(&text).map(|at| Literal::Time { at, text: text.clone() }),
                "a date such as 2018-06-18 or 2018-06-18T22:28:28Z",
            ),
            Subject::RunningTasksCount => (text.parse().ok().map(Literal::Count), "a whole number"),
        };
        let Some(literal) = literal else {
            return Err(QueryError::Argument { at, subject: subject.to_string(), argument: text, wanted });
        };
        self.advance()?;
        Ok(literal)
    }

    /// `[a, b]`. An empty list is refused: it selects nothing, so it is a mistake.
    fn list(&mut self, subject: &Subject) -> Result<Vec<Literal>, QueryError> {
        if self.spot.token != Token::ListOpen {
            return Err(self.unexpected("`[` and a list of arguments"));
        }
        self.advance()?;
        let mut list = vec![self.literal(subject, "an argument of the list")?];
        while self.spot.token == Token::Comma {
            self.advance()?;
            list.push(self.literal(subject, "an argument of the list")?);
        }
        if self.spot.token != Token::ListClose {
            return Err(self.unexpected("`,` or `]`"));
        }
        self.advance()?;
        Ok(list)
    }

    fn pattern(&mut self) -> Result<Pattern, QueryError> {
        let at = self.spot.at;
        let text = match &self.spot.token {
            Token::Word(text) | Token::Quoted(text) => text.clone(),
            Token::Operator(_)
            | Token::Bang
            | Token::And
            | Token::Or
            | Token::Open
            | Token::Close
            | Token::ListOpen
            | Token::ListClose
            | Token::Comma
            | Token::End => return Err(self.unexpected("a pattern")),
        };
        let compile = |pattern: &str| {
            RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES).build()
        };
        // Alone first: `a)(b` would be a pattern only between the parentheses below.
        let regex = match compile(&text).and_then(|_| compile(&format!(r"\A(?:{text})\z"))) {
            Ok(regex) => regex,
            Err(error) => return Err(QueryError::Pattern { at, pattern: text, why: reason(&error) }),
        };
        self.advance()?;
        Ok(Pattern { text, regex })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Compare(Comparison),
    Exists { negated: bool },
    In { negated: bool },
    Matches { negated: bool },
}

impl Operator {
    const fn is_ordering(self) -> bool {
        match self {
            Self::Compare(comparison) => match comparison {
                Comparison::Equal | Comparison::NotEqual => false,
                Comparison::Greater | Comparison::GreaterEqual | Comparison::Less | Comparison::LessEqual => true,
            },
            Self::Exists { .. } | Self::In { .. } | Self::Matches { .. } => false,
        }
    }

    const fn is_exists(self) -> bool {
        matches!(self, Self::Exists { .. })
    }

    fn name(self) -> String {
        match self {
            Self::Compare(comparison) => comparison.as_str(),
            Self::Exists { negated: false } => "exists",
            Self::Exists { negated: true } => "!exists",
            Self::In { negated: false } => "in",
            Self::In { negated: true } => "!in",
            Self::Matches { negated: false } => "=~",
            Self::Matches { negated: true } => "!~",
        }
        .to_owned()
    }
}

fn by_symbol(symbol: &str) -> Option<Operator> {
    Some(match symbol {
        "==" => Operator::Compare(Comparison::Equal),
        "!=" => Operator::Compare(Comparison::NotEqual),
        ">" => Operator::Compare(Comparison::Greater),
        ">=" => Operator::Compare(Comparison::GreaterEqual),
        "<" => Operator::Compare(Comparison::Less),
        "<=" => Operator::Compare(Comparison::LessEqual),
        "=~" => Operator::Matches { negated: false },
        "!~" => Operator::Matches { negated: true },
        _ => return None,
    })
}

fn by_word(word: &str) -> Option<Operator> {
    Some(match word.to_ascii_lowercase().as_str() {
        "equals" => Operator::Compare(Comparison::Equal),
        "not_equals" => Operator::Compare(Comparison::NotEqual),
        "greater_than" => Operator::Compare(Comparison::Greater),
        "greater_than_equal" => Operator::Compare(Comparison::GreaterEqual),
        "less_than" => Operator::Compare(Comparison::Less),
        "less_than_equal" => Operator::Compare(Comparison::LessEqual),
        "exists" => Operator::Exists { negated: false },
        "not_exists" => Operator::Exists { negated: true },
        "in" => Operator::In { negated: false },
        "not_in" => Operator::In { negated: true },
        "matches" => Operator::Matches { negated: false },
        "not_matches" => Operator::Matches { negated: true },
        _ => return None,
    })
}

/// The four forms that ECS documents; without a zone it is UTC.
fn time(text: &str) -> Option<Timestamp> {
    let instant = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })?;
    Some(Timestamp::from_millis(instant.as_millisecond()))
}

/// The last line of the error: the lines before it draw the pattern again.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or(&text);
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// One node is itself; more are joined.
fn joined(mut nodes: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    match nodes.pop() {
        Some(only) if nodes.is_empty() => only,
        last => {
            nodes.extend(last);
            join(nodes)
        }
    }
}
