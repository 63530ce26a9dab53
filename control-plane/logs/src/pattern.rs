//! Filter patterns, as far as they are terms: `ERROR`, `"two words"`, `-without`, `?this ?that`.
//!
//! All plain terms must be in a message, none of those with `-`, and one of those with `?` if there are any. Case
//! counts. JSON selectors (`{ $.x = 1 }`), columns (`[a, b]`) and regular expressions (`%x%`) are refused.

/// What messages must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pattern {
    all: Vec<String>,
    none: Vec<String>,
    any: Vec<String>,
}

impl Pattern {
    /// Reads a pattern; an empty one lets everything through.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pattern = Self::default();
        let mut rest = text.trim();
        if rest.starts_with(['{', '[', '%']) {
            return Err(
                "only terms are supported (words, \"phrases\", -without, ?either ?or), no JSON selectors, columns or \
                 regular expressions"
                    .to_owned(),
            );
        }
        while !rest.is_empty() {
            let (list, after) = match rest.as_bytes()[0] {
                b'-' if rest.len() > 1 => (&mut pattern.none, &rest[1..]),
                b'?' if rest.len() > 1 => (&mut pattern.any, &rest[1..]),
                _ => (&mut pattern.all, rest),
            };
            let (term, after) = term(after)?;
            // An empty one says nothing, and would be in every message.
            if !term.is_empty() {
                list.push(term);
            }
            rest = after.trim_start();
        }
        Ok(pattern)
    }

    /// Whether a message is let through.
    pub(crate) fn matches(&self, message: &str) -> bool {
        let holds = |term: &String| message.contains(term.as_str());
        self.all.iter().all(holds)
            && !self.none.iter().any(holds)
            && (self.any.is_empty() || self.any.iter().any(holds))
    }
}

/// The term at the beginning, and what follows it. In quotes, `\"` is a quote.
fn term(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut term = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((term, &quoted[at + 1..])),
            '\\' => term.extend(chars.next().map(|(_, c)| c)),
            c => term.push(c),
        }
    }
    Err("a quote is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, message: &str, expected: bool) {
        let parsed = Pattern::parse(pattern).expect("a pattern");
        assert_eq!(parsed.matches(message), expected, "{pattern} on {message}");
    }

    #[test]
    fn terms_are_as_in_cloudwatch() {
        check("", "anything", true);
        check("ERROR", "[ERROR] no", true);
        check("ERROR", "[error] no", false);
        check("ERROR disk", "disk ERROR", true);
        check("ERROR disk", "ERROR", false);
        check("\"disk is full\"", "the disk is full now", true);
        check("\"disk full\"", "the disk is full now", false);
        check("\"a \\\" b\"", "a \" b", true);
        check("ERROR -exit", "ERROR exit", false);
        check("?ERROR ?WARN", "WARN: x", true);
        check("?ERROR ?WARN", "INFO: x", false);
        check("-", "a - b", true);
        check("ERROR - disk", "ERROR disk", true);
        check("- ERROR", "ERROR", true);
        check("ERROR -\"\"", "ERROR", true);
        check("? ?WARN", "INFO: x", false);
        check("\"\" ERROR", "fine", false);
        for bad in ["{ $.a = 1 }", "[a, b]", "%x%", "\"open"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
