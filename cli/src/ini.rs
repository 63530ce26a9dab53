//! The AWS tools' shared configuration files (`~/.aws/config`, `~/.aws/credentials`), read as those tools do.
//!
//! Owns the grammar: `[section]`, `key = value`, lines that begin with `#` or `;`, and one level of nesting
//! (a key with an empty value followed by indented `key = value` lines, as `[services …]` sections use).
//! Never decides which profile or value counts; `profile` does.

use std::collections::BTreeMap;

/// A parsed file: section name to its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ini {
    sections: BTreeMap<String, Section>,
}

/// One section's entries. Nested entries are kept under `outer.inner`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Section {
    entries: BTreeMap<String, String>,
}

impl std::fmt::Debug for Section {
    /// Keys only: a value may be a secret key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

/// Why a text is not such a file. Never carries a value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IniError {
    /// A line that is neither a section, nor an entry, nor a comment.
    #[error("line {line} is neither `[section]` nor `key = value`")]
    Line {
        /// Counted from one.
        line: usize,
    },
    /// An entry before any section.
    #[error("line {line} stands before the first `[section]`")]
    Homeless {
        /// Counted from one.
        line: usize,
    },
}

impl Ini {
    /// Parses a file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, IniError> {
        let mut ini = Self::default();
        let mut section: Option<String> = None;
        let mut outer: Option<String> = None;
        for (number, raw) in text.lines().enumerate() {
            let line = number + 1;
            let trimmed = raw.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') || trimmed.starts_with(';') {
                continue;
            }
            if let Some(name) = trimmed.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
                let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
                ini.sections.entry(name.clone()).or_default();
                (section, outer) = (Some(name), None);
                continue;
            }
            let name = section.as_ref().ok_or(IniError::Homeless { line })?;
            let indented = raw.starts_with([' ', '\t']);
            let Some((key, value)) = trimmed.split_once('=') else {
                // The continuation of a long value: nothing that this command reads is written so.
                if indented {
                    continue;
                }
                return Err(IniError::Line { line });
            };
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().to_owned());
            let entries = &mut ini.sections.entry(name.clone()).or_default().entries;
            match (&outer, indented) {
                (Some(o), true) => {
                    entries.insert(format!("{o}.{key}"), value);
                }
                (_, _) => {
                    outer = value.is_empty().then(|| key.clone());
                    entries.insert(key, value);
                }
            }
        }
        Ok(ini)
    }

    /// The section of that name, with runs of blanks in the name taken as one.
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.get(name)
    }

    /// All section names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }
}

impl Section {
    /// An entry's value; an empty one counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(String::as_str).filter(|v| !v.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_aws_tools_write() {
        let ini = Ini::parse(
            "# mine\n[default]\nregion = lab\n\n[profile rack]\nservices= rack\nEndpoint_URL =http://a:1\n\
             [services rack]\necs =\n  endpoint_url = http://b:2\nssm=\n\tendpoint_url=http://c:3\nother = x\n",
        )
        .expect("parses");
        assert_eq!(ini.section("default").and_then(|s| s.get("region")), Some("lab"));
        assert_eq!(ini.section("profile rack").and_then(|s| s.get("endpoint_url")), Some("http://a:1"));
        let services = ini.section("services rack").expect("there");
        assert_eq!(services.get("ecs.endpoint_url"), Some("http://b:2"));
        assert_eq!(services.get("ssm.endpoint_url"), Some("http://c:3"));
        assert_eq!(services.get("other"), Some("x"));
        assert_eq!(services.get("ecs"), None);
    }

    #[test]
    fn names_the_line_and_never_the_value() {
        let error = Ini::parse("[a]\nsecret-without-equals\n").expect_err("refused");
        assert_eq!(error, IniError::Line { line: 2 });
        assert!(!error.to_string().contains("secret"));
        assert_eq!(Ini::parse("a = b\n"), Err(IniError::Homeless { line: 1 }));
    }

    #[test]
    fn debug_shows_no_values() {
        let ini = Ini::parse("[a]\naws_secret_access_key = hunter2\n").expect("parses");
        assert!(!format!("{ini:?}").contains("hunter2"));
    }
}
