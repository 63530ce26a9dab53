//! Texts with `*` for any number of characters; `\*` and `\\` are those characters.

/// What stands between the stars, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wildcard {
    first: String,
    /// After the first star; empty when there is none.
    rest: Vec<String>,
}

impl Wildcard {
    /// Reads one.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = vec![String::new()];
        let mut characters = text.chars();
        let mut after_star = false;
        while let Some(c) = characters.next() {
            let literal = match c {
                '*' if after_star => return Err("consecutive wildcard characters are not allowed".to_owned()),
                '*' => {
                    parts.push(String::new());
                    after_star = true;
                    continue;
                }
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '\\')) => escaped,
                    Some(_) | None => return Err("a backslash must be followed by * or a backslash".to_owned()),
                },
                other => other,
            };
            after_star = false;
            if let Some(part) = parts.last_mut() {
                part.push(literal);
            }
        }
        let first = parts.remove(0);
        Ok(Self { first, rest: parts })
    }

    /// Whether a text is as this says. Takes each part at its first place, which is enough where a star follows.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some((last, between)) = self.rest.split_last() else { return text == self.first };
        let Some(mut left) = text.strip_prefix(self.first.as_str()) else { return false };
        for part in between {
            match left.find(part.as_str()) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        left.ends_with(last.as_str())
    }
}
