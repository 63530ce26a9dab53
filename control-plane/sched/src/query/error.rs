//! What is wrong with an expression, and where.

/// Why a text is no expression. Positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It is longer than [`super::MAX_CHARS`].
    #[error("the expression has {chars} characters, and at most {max} are allowed")]
    TooLong {
        /// How many it has.
        chars: usize,
        /// How many it may have.
        max: usize,
    },
    /// Something else was expected.
    #[error("at character {at}: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        at: usize,
        /// What could have stood there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A quoted argument does not end.
    #[error("at character {at}: the quote is not closed")]
    OpenQuote {
        /// Where it begins.
        at: usize,
    },
    /// The subject does not go with this operator.
    #[error("at character {at}: `{subject}` cannot be used with `{operator}`; it takes {takes}")]
    Operator {
        /// Where the operator is.
        at: usize,
        /// The subject.
        subject: String,
        /// The operator.
        operator: String,
        /// The operators that it takes.
        takes: &'static str,
    },
    /// The argument is not of the subject's kind.
    #[error("at character {at}: `{argument}` is not {wanted}, as `{subject}` needs")]
    Argument {
        /// Where the argument is.
        at: usize,
        /// The subject.
        subject: String,
        /// The argument.
        argument: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The pattern does not compile.
    #[error("at character {at}: the pattern `{pattern}` is not usable: {why}")]
    Pattern {
        /// Where it is.
        at: usize,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// Parentheses and negations are nested too deep.
    #[error("at character {at}: nested more than {max} deep")]
    TooDeep {
        /// Where the limit was reached.
        at: usize,
        /// The limit.
        max: usize,
    },
}
