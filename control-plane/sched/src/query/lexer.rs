//! From characters to tokens, one at a time: what a pattern may contain depends on where it stands.

use super::error::QueryError;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A bare word: a subject, an operator, an argument.
    Word(String),
    /// A quoted argument.
    Quoted(String),
    /// `==`, `!=`, `>`, `>=`, `<`, `<=`, `=~`, `!~`.
    Operator(&'static str),
    /// `!` on its own.
    Bang,
    /// `&&`.
    And,
    /// `||`.
    Or,
    Open,
    Close,
    ListOpen,
    ListClose,
    Comma,
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) => write!(f, "`{text}`"),
            Self::Quoted(text) => write!(f, "the quoted text `{text}`"),
            Self::Operator(text) => write!(f, "`{text}`"),
            Self::Bang => f.write_str("`!`"),
            Self::And => f.write_str("`&&`"),
            Self::Or => f.write_str("`||`"),
            Self::Open => f.write_str("`(`"),
            Self::Close => f.write_str("`)`"),
            Self::ListOpen => f.write_str("`[`"),
            Self::ListClose => f.write_str("`]`"),
            Self::Comma => f.write_str("`,`"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// A token and the position of its first character, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) at: usize,
    pub(super) token: Token,
}

/// Whether `c` may stand in a bare word: everything but spaces and what the language uses itself.
pub(super) fn is_word_char(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !"()[],!=<>&|~'\"".contains(c)
}

pub(super) struct Lexer {
    chars: Vec<char>,
    next: usize,
}

impl Lexer {
    pub(super) fn new(text: &str) -> Self {
        Self { chars: text.chars().collect(), next: 0 }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.next).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next += 1;
        }
    }

    /// The next token.
    pub(super) fn token(&mut self) -> Result<Spot, QueryError> {
        self.skip_spaces();
        let at = self.next + 1;
        let Some(c) = self.peek() else { return Ok(Spot { at, token: Token::End }) };
        let second = self.chars.get(self.next + 1).copied();
        let (token, length) = match (c, second) {
            ('=', Some('=')) => (Token::Operator("=="), 2),
            ('=', Some('~')) => (Token::Operator("=~"), 2),
            ('!', Some('=')) => (Token::Operator("!="), 2),
            ('!', Some('~')) => (Token::Operator("!~"), 2),
            ('>', Some('=')) => (Token::Operator(">="), 2),
            ('<', Some('=')) => (Token::Operator("<="), 2),
            ('>', _) => (Token::Operator(">"), 1),
            ('<', _) => (Token::Operator("<"), 1),
            ('&', Some('&')) => (Token::And, 2),
            ('|', Some('|')) => (Token::Or, 2),
            ('!', _) => (Token::Bang, 1),
            ('(', _) => (Token::Open, 1),
            (')', _) => (Token::Close, 1),
            ('[', _) => (Token::ListOpen, 1),
            (']', _) => (Token::ListClose, 1),
            (',', _) => (Token::Comma, 1),
            ('\'' | '"', _) => return self.quoted(c),
            _ if is_word_char(c) => return Ok(self.word()),
            _ => {
                return Err(QueryError::Unexpected {
                    at,
                    expected: "a subject, an operator, an argument or a parenthesis".to_owned(),
                    found: format!("`{}`", c.escape_debug()),
                });
            }
        };
        self.next += length;
        Ok(Spot { at, token })
    }

    /// The argument of `=~` and `!~`: quoted, or everything up to a space or to a parenthesis that it did not
    /// open itself. Patterns use most of the language's own characters.
    pub(super) fn pattern(&mut self) -> Result<Spot, QueryError> {
        self.skip_spaces();
        let at = self.next + 1;
        match self.peek() {
            None => return Ok(Spot { at, token: Token::End }),
            Some(quote @ ('\'' | '"')) => return self.quoted(quote),
            Some(_) => {}
        }
        let start = self.next;
        let mut open = 0_usize;
        while let Some(c) = self.peek() {
            match c {
                _ if c.is_whitespace() => break,
                ')' if open == 0 => break,
                ')' => open -= 1,
                '(' => open += 1,
                // An escaped character, parentheses above all.
                '\\' if self.chars.get(self.next + 1).is_some_and(|c| !c.is_whitespace()) => self.next += 1,
                _ => {}
            }
            self.next += 1;
        }
        if self.next == start {
            return self.token();
        }
        Ok(Spot { at, token: Token::Word(self.chars[start..self.next].iter().collect()) })
    }

    fn word(&mut self) -> Spot {
        let start = self.next;
        while self.peek().is_some_and(is_word_char) {
            self.next += 1;
        }
        Spot { at: start + 1, token: Token::Word(self.chars[start..self.next].iter().collect()) }
    }

    fn quoted(&mut self, quote: char) -> Result<Spot, QueryError> {
        let at = self.next + 1;
        let start = self.next + 1;
        let Some(length) = self.chars[start..].iter().position(|c| *c == quote) else {
            return Err(QueryError::OpenQuote { at });
        };
        self.next = start + length + 1;
        Ok(Spot { at, token: Token::Quoted(self.chars[start..start + length].iter().collect()) })
    }
}
