//! Query parameters as the structures that they are written for: `IpPermissions.1.IpRanges.2.CidrIp`.

use super::Ec2Error;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All parameters of a request, and which of them were looked at.
pub(super) struct Form {
    values: BTreeMap<String, String>,
    used: Mutex<BTreeSet<String>>,
}

impl Form {
    pub(super) fn new(form: Vec<(String, String)>) -> Result<Self, Ec2Error> {
        let mut values = BTreeMap::new();
        for (key, value) in form {
            if values.insert(key, value).is_some() {
                return Err(Ec2Error::new("MalformedQueryString", "The request contains a parameter twice."));
            }
        }
        Ok(Self { values, used: Mutex::default() })
    }

    fn used(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // No code that holds the lock can leave it half changed.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn params(&self) -> Params<'_> {
        Params { form: self, path: String::new() }
    }
}

/// The members of one structure of a request.
pub(super) struct Params<'a> {
    form: &'a Form,
    /// Where they are; empty, or with a dot at its end.
    path: String,
}

impl<'a> Params<'a> {
    /// A member that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        let key = format!("{}{name}", self.path);
        let value = self.form.values.get(&key)?;
        self.form.used().insert(key);
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// A member that must be there.
    pub(super) fn need(&self, name: &str) -> Result<&'a str, Ec2Error> {
        self.text(name).ok_or_else(|| Ec2Error::missing(&self.at(name)))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<i32>, Ec2Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Ec2Error::value(&self.at(name), shown(text), "It must be an integer."))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Ec2Error> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Ec2Error::value(&self.at(name), shown(other), "It must be true or false.")),
        }
    }

    /// A list of texts, in the order of their numbers.
    pub(super) fn texts(&self, name: &str) -> Vec<&'a str> {
        let numbers = self.numbers(name);
        numbers.into_iter().filter_map(|number| self.text(&format!("{name}.{number}"))).collect()
    }

    /// A list of structures.
    pub(super) fn each(&self, name: &str) -> Vec<Self> {
        let numbers = self.numbers(name);
        numbers.into_iter().map(|number| self.inside(&format!("{name}.{number}"))).collect()
    }

    /// A structure; it has no members when it is not there.
    pub(super) fn inside(&self, name: &str) -> Self {
        Self { form: self.form, path: format!("{}{name}.", self.path) }
    }

    /// The path of a member, for errors.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// Looks at parameters that say nothing here.
    pub(super) fn ignore(&self, names: &[&str]) {
        for name in names {
            self.text(name);
        }
    }

    /// That every parameter was looked at. For calling once, before anything is changed.
    pub(super) fn all_known(&self) -> Result<(), Ec2Error> {
        let used = self.form.used();
        match self.form.values.keys().find(|key| !used.contains(*key)) {
            None => Ok(()),
            Some(key) => {
                Err(Ec2Error::new("UnknownParameter", format!("The parameter {} is not recognized", shown(key))))
            }
        }
    }

    /// The numbers that a list has items under, rising.
    fn numbers(&self, name: &str) -> BTreeSet<u32> {
        let prefix = format!("{}{name}.", self.path);
        let items = self.form.values.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        let number = |key: &str| {
            let rest = key.get(prefix.len()..)?;
            let digits = rest.split('.').next().filter(|digits| !digits.starts_with('0'))?;
            digits.parse().ok()
        };
        items.filter_map(|(key, _)| number(key)).collect()
    }
}

/// An id of a resource.
///
/// # Errors
/// `MALFORMED` for what cannot be one; `NOT_FOUND` for one of another length than ours, which EC2 has, too.
pub(super) fn id<T: FromStr>(
    text: &str,
    prefix: &str,
    malformed: &'static str,
    not_found: impl FnOnce() -> Ec2Error,
) -> Result<T, Ec2Error> {
    text.parse()
        .map_err(|_| if is_id(text, prefix) { not_found() } else { Ec2Error::new(malformed, expecting(text, prefix)) })
}

/// Whether it may be an id of EC2's, of today's length or of the earlier one.
pub(crate) fn is_id(text: &str, prefix: &str) -> bool {
    let digits = text.strip_prefix(prefix).unwrap_or_default();
    matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// EC2's words about what cannot be an id.
pub(crate) fn expecting(text: &str, prefix: &str) -> String {
    format!("Invalid id: \"{}\" (expecting \"{prefix}...\")", shown(text))
}

/// As much of what a client sent as may come back to it.
pub(super) fn shown(text: &str) -> &str {
    let end = text.char_indices().nth(128).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_found_by_their_paths_and_what_is_left_is_named() {
        let pairs =
            [("A.10.B", "ten"), ("A.2.B", "two"), ("A.2.C.1", "x"), ("A.02.B", "no"), ("D", ""), ("E", "maybe")];
        let form =
            Form::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()).expect("once each");
        let params = form.params();
        let all = params.each("A");
        assert_eq!(all.iter().map(|a| a.text("B")).collect::<Vec<_>>(), [Some("two"), Some("ten")]);
        assert_eq!(all[0].texts("C"), ["x"]);
        assert_eq!(params.text("D"), None);
        assert_eq!(params.need("D").expect_err("empty").message, "The request must contain the parameter D");
        assert_eq!(params.flag("E").expect_err("no flag").code, "InvalidParameterValue");
        assert_eq!(params.all_known().expect_err("one is left").message, "The parameter A.02.B is not recognized");
        let twice = vec![("A".to_owned(), String::new()), ("A".to_owned(), String::new())];
        assert_eq!(Form::new(twice).err().expect("twice").code, "MalformedQueryString");
    }
}
