//! `Filter.N`: of one filter any value, of several filters all; `*` and `?` stand for others.

use super::Ec2Error;
use super::params::{Params, shown};
use crate::records::Tags;
use serde::Serialize;

/// The filters of a request.
#[derive(Debug, Serialize)]
pub(super) struct Filters(Vec<(String, Vec<String>)>);

impl Filters {
    /// Reads them. `known` are the names that the operation has; `tag:` stands for any tag.
    pub(super) fn read(params: &Params<'_>, known: &[&str]) -> Result<Self, Ec2Error> {
        let mut all = Vec::new();
        for filter in params.each("Filter") {
            let name = filter.need("Name")?;
            let is_known = known.iter().any(|known| match known.strip_suffix(':') {
                Some(_) => name.len() > known.len() && name.starts_with(known),
                None => *known == name,
            });
            if !is_known {
                let text = format!("The filter '{}' is invalid", shown(name));
                return Err(Ec2Error::new("InvalidParameterValue", text));
            }
            let values: Vec<String> = filter.texts("Value").into_iter().map(str::to_owned).collect();
            if values.is_empty() {
                return Err(Ec2Error::missing(&filter.at("Value")));
            }
            all.push((name.to_owned(), values));
        }
        Ok(Self(all))
    }

    /// Whether something is wanted that has these values under a filter's name. Tags have none of their own there.
    pub(super) fn want(&self, tags: Option<&Tags>, values: impl Fn(&str) -> Vec<String>) -> bool {
        self.0.iter().all(|(name, wanted)| {
            let has = match (name.strip_prefix("tag:"), name.as_str()) {
                (Some(key), _) => tags.and_then(|tags| tags.get(key)).cloned().into_iter().collect(),
                (None, "tag-key") => tags.map(|tags| tags.keys().cloned().collect()).unwrap_or_default(),
                (None, name) => values(name),
            };
            wanted.iter().any(|pattern| has.iter().any(|value| fits(pattern, value)))
        })
    }
}

/// Whether `text` is what `pattern` says: `*` is any characters, `?` is one, and `\` takes the next as it is.
fn fits(pattern: &str, text: &str) -> bool {
    enum Part {
        Any,
        One,
        Is(char),
    }
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::Is(chars.next().unwrap_or('\\')),
            c => Part::Is(c),
        });
    }
    let text: Vec<char> = text.chars().collect();
    // The last `*` and the text that it has taken so far: all that ever has to be tried again.
    let (mut at, mut part, mut star) = (0, 0, None);
    while at < text.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                star = Some((part, at));
                part += 1;
            }
            Some(Part::One) => (at, part) = (at + 1, part + 1),
            Some(Part::Is(c)) if *c == text[at] => (at, part) = (at + 1, part + 1),
            Some(Part::Is(_)) | None => match star {
                Some((from, taken)) => {
                    star = Some((from, taken + 1));
                    (at, part) = (taken + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    parts[part..].iter().all(|part| matches!(part, Part::Any))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns() {
        for (pattern, text, is) in [
            ("web", "web", true),
            ("web", "web2", false),
            ("w*", "web", true),
            ("*b", "web", true),
            ("*e*b*", "web", true),
            ("w?b", "web", true),
            ("w?", "web", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("", "", true),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(fits(pattern, text), is, "{pattern} {text}");
        }
    }
}
