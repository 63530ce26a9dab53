//! Credentials for registries: a file in the form of Docker's `config.json` that only its owner can read.
//!
//! Read anew for each pull, so that new credentials need no restart. Nothing of it is kept, logged or quoted.

use crate::identity::file::{Unread, private_text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_docker::{Credentials, registry_of};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names that Docker Hub has in such a file.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Where credentials come from; nowhere when there is no file.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    file: Option<PathBuf>,
}

/// Why credentials could not be read. Quotes nothing of the file.
#[derive(Debug, thiserror::Error)]
#[error("the registry credentials in {}: {why}", path.display())]
pub struct RegistryError {
    path: PathBuf,
    why: String,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    /// `user:password`, in base64.
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Registries {
    /// Credentials of `file`.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// What the registry of an image is shown, when the file has something for it.
    ///
    /// # Errors
    /// When the file cannot be read or understood, or others than its owner may read it.
    pub fn credentials(&self, image: &str) -> Result<Option<Credentials>, RegistryError> {
        let Some(path) = &self.file else { return Ok(None) };
        let fail = |why: String| RegistryError { path: path.clone(), why };
        let file = read(path).map_err(fail)?;
        let wanted = registry_of(image);
        let same = |name: &str| {
            let host = host(name);
            host == wanted || (HUB.contains(&host) && HUB.contains(&wanted))
        };
        let Some((name, entry)) = file.auths.into_iter().find(|(name, _)| same(name)) else { return Ok(None) };
        credentials(entry, wanted).map(Some).ok_or_else(|| {
            fail(format!(
                "the entry `{name}` has neither auth (user:password in base64), username and password, nor \
                          identitytoken"
            ))
        })
    }

    /// Reads the file once, to say at start what is wrong with it.
    ///
    /// # Errors
    /// As [`Registries::credentials`].
    pub fn check(&self) -> Result<(), RegistryError> {
        let Some(path) = &self.file else { return Ok(()) };
        read(path).map(drop).map_err(|why| RegistryError { path: path.clone(), why })
    }
}

fn read(path: &Path) -> Result<File, String> {
    let text = match private_text(path) {
        Ok(Some(text)) => text,
        Ok(None) => return Err("there is no such file".to_owned()),
        Err(Unread::Exposed(mode)) => return Err(format!("others can read it (mode {mode:o}); chmod 600 it")),
        Err(Unread::Io(error)) => return Err(format!("it cannot be read: {error}")),
    };
    // serde's own words could quote a password: only the place is told.
    serde_json::from_str(&text).map_err(|error| {
        format!("it is not like Docker's config.json, at line {}, column {}", error.line(), error.column())
    })
}

/// `https://host:port/v1/` and `host:port` are the same registry.
fn host(name: &str) -> &str {
    let bare = name.split_once("://").map_or(name, |(_, rest)| rest);
    bare.split('/').next().unwrap_or(bare)
}

fn credentials(entry: Entry, registry: &str) -> Option<Credentials> {
    let Entry { auth, username, password, identitytoken } = entry;
    let decoded = || {
        let bytes = STANDARD.decode(auth.as_ref()?.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
    };
    let registry = registry.to_owned();
    if let Some(token) = identitytoken.filter(|token| !token.is_empty()) {
        return Some(Credentials { registry, username: None, password: None, identity_token: Some(token) });
    }
    let (username, password) = username.zip(password).or_else(decoded)?;
    Some(Credentials { registry, username: Some(username), password: Some(password), identity_token: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, Registries) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("auth.json");
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        (dir, Registries::new(Some(path)))
    }

    #[test]
    fn each_registry_is_shown_its_own() {
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnNlY3JldA=="},
            "reg.lab:5000": {"username": "u", "password": "p:q"},
            "ghcr.io": {"identitytoken": "t"},
            "odd.lab": {"auth": "!"}
        }, "credsStore": "x"}"#;
        let (_dir, registries) = file(text, 0o600);
        let shown = |image: &str| {
            let found = registries.credentials(image).expect("readable")?;
            Some((found.username.unwrap_or_default(), found.password.or(found.identity_token).unwrap_or_default()))
        };
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(shown("busybox:1"), pair("hub", "secret"));
        assert_eq!(shown("docker.io/library/busybox"), pair("hub", "secret"));
        assert_eq!(shown("reg.lab:5000/team/app@sha256:00"), pair("u", "p:q"));
        assert_eq!(shown("ghcr.io/team/app"), pair("", "t"));
        assert_eq!(shown("reg.lab:5001/app"), None);
        assert_eq!(shown("team/app"), pair("hub", "secret"), "the first part is no host");
        let error = registries.credentials("odd.lab/app").expect_err("no credentials").to_string();
        assert!(error.contains("the entry `odd.lab` has neither"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_used_says_so_and_quotes_nothing() {
        for (text, mode, why) in [
            (r#"{"auths": {}}"#, 0o644, "others can read it (mode 644); chmod 600 it"),
            (r#"{"auths": {"a": "secret"}}"#, 0o600, "it is not like Docker's config.json, at line 1"),
        ] {
            let (_dir, registries) = file(text, mode);
            let error = registries.check().expect_err("refused").to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
            assert_eq!(registries.credentials("a/b").expect_err("refused").to_string(), error);
        }
        let missing = Registries::new(Some("/nonexistent/auth.json".into()));
        assert!(missing.check().expect_err("none").to_string().contains("there is no such file"));
        assert!(Registries::default().credentials("a").expect("no file").is_none());
    }
}
