//! Which profile counts, and what it says: keys, region, endpoint, certificate bundle.
//!
//! Reads the two shared files of the AWS tools (`AWS_SHARED_CREDENTIALS_FILE`, `AWS_CONFIG_FILE`, else
//! `~/.aws/credentials` and `~/.aws/config`). Understands keys that stand in a file; profiles that need another
//! service to get keys (SSO, assumed roles, a credential process) are refused by name rather than half honoured.

use crate::ini::{Ini, IniError, Section};
use std::path::{Path, PathBuf};

/// Keys to sign with. Debug shows the id only.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The access key's id.
    pub(crate) id: String,
    /// Its secret.
    pub(crate) secret: String,
    /// For temporary keys.
    pub(crate) session_token: Option<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Both files, each absent when the machine has none.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    credentials: Ini,
    credentials_path: PathBuf,
    config: Ini,
    config_path: PathBuf,
}

/// One profile's view of both files.
#[derive(Debug)]
pub(crate) struct Profile<'a> {
    name: String,
    credentials: Option<&'a Section>,
    config: Option<&'a Section>,
    services: Option<&'a Section>,
}

/// Why a profile could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    /// A file exists and could not be read.
    #[error("could not read the AWS configuration file {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not in the AWS format.
    #[error("could not understand the AWS configuration file {path}")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where.
        #[source]
        source: IniError,
    },
    /// The chosen profile stands in neither file.
    #[error("profile `{name}` is in neither {credentials} nor {config}; there are: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The credentials file.
        credentials: PathBuf,
        /// The configuration file.
        config: PathBuf,
        /// What could have been meant.
        known: String,
    },
    /// Half a key.
    #[error(
        "profile `{name}` has an access key id or a secret, but not both: aws_access_key_id, aws_secret_access_key"
    )]
    HalfKey {
        /// The profile.
        name: String,
    },
    /// It would get its keys from elsewhere.
    #[error(
        "profile `{name}` gets its keys by `{key}`, which this command does not do; \
         give it aws_access_key_id and aws_secret_access_key"
    )]
    Indirect {
        /// The profile.
        name: String,
        /// The entry that says so.
        key: &'static str,
    },
}

/// Entries that mean "ask another service for keys".
const INDIRECT: [&str; 5] =
    ["role_arn", "credential_process", "sso_session", "sso_start_url", "web_identity_token_file"];

impl Profiles {
    /// Reads both files; one that does not exist is empty.
    pub(crate) fn load(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ProfileError> {
        let home = env("HOME").map(PathBuf::from).unwrap_or_default();
        let path = |variable: &str, name: &str| {
            env(variable).map_or_else(|| home.join(".aws").join(name), |p| expand(&p, &home))
        };
        let credentials_path = path("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let config_path = path("AWS_CONFIG_FILE", "config");
        Ok(Self { credentials: read(&credentials_path)?, config: read(&config_path)?, credentials_path, config_path })
    }

    /// The profile of that name. `required` is false for `default`, which need not exist.
    pub(crate) fn get(&self, name: &str, required: bool) -> Result<Profile<'_>, ProfileError> {
        let config = self
            .config
            .section(&format!("profile {name}"))
            .or_else(|| (name == "default").then(|| self.config.section("default")).flatten());
        let credentials = self.credentials.section(name);
        if required && config.is_none() && credentials.is_none() {
            return Err(ProfileError::Unknown {
                name: name.to_owned(),
                credentials: self.credentials_path.clone(),
                config: self.config_path.clone(),
                known: self.known(),
            });
        }
        let services =
            config.and_then(|c| c.get("services")).and_then(|s| self.config.section(&format!("services {s}")));
        Ok(Profile { name: name.to_owned(), credentials, config, services })
    }

    fn known(&self) -> String {
        let mut names: Vec<&str> = self.credentials.names().collect();
        names.extend(
            self.config
                .names()
                .filter_map(|n| n.strip_prefix("profile ").or_else(|| (n == "default").then_some("default"))),
        );
        names.sort_unstable();
        names.dedup();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

impl Profile<'_> {
    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// An entry, from the configuration file first, as the AWS tools look.
    fn get(&self, key: &str) -> Option<&str> {
        self.config.and_then(|s| s.get(key)).or_else(|| self.credentials.and_then(|s| s.get(key)))
    }

    /// Its keys, from the credentials file first.
    pub(crate) fn keys(&self) -> Result<Option<Keys>, ProfileError> {
        for section in [self.credentials, self.config].into_iter().flatten() {
            match (section.get("aws_access_key_id"), section.get("aws_secret_access_key")) {
                (Some(id), Some(secret)) => {
                    return Ok(Some(Keys {
                        id: id.to_owned(),
                        secret: secret.to_owned(),
                        session_token: section.get("aws_session_token").map(str::to_owned),
                    }));
                }
                (None, None) => {}
                (Some(_), None) | (None, Some(_)) => return Err(ProfileError::HalfKey { name: self.name.clone() }),
            }
        }
        match INDIRECT.iter().find(|key| self.get(key).is_some()) {
            Some(key) => Err(ProfileError::Indirect { name: self.name.clone(), key }),
            None => Ok(None),
        }
    }

    /// Its region.
    pub(crate) fn region(&self) -> Option<&str> {
        self.get("region")
    }

    /// Its endpoint: the one for ECS in its services section, else its own; none when it says to ignore them.
    pub(crate) fn endpoint_url(&self) -> Option<&str> {
        if self.get("ignore_configured_endpoint_urls").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            return None;
        }
        self.services.and_then(|s| s.get("ecs.endpoint_url")).or_else(|| self.get("endpoint_url"))
    }

    /// The file of certificates to trust for https.
    pub(crate) fn ca_bundle(&self) -> Option<&str> {
        self.get("ca_bundle")
    }
}

fn read(path: &Path) -> Result<Ini, ProfileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ini::parse(&text).map_err(|source| ProfileError::Parse { path: path.to_owned(), source }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Ini::default()),
        Err(source) => Err(ProfileError::Read { path: path.to_owned(), source }),
    }
}

/// `~/x` is under the home directory.
pub(crate) fn expand(path: &str, home: &Path) -> PathBuf {
    path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| home.join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles(credentials: &str, config: &str) -> Profiles {
        Profiles {
            credentials: Ini::parse(credentials).expect("credentials"),
            config: Ini::parse(config).expect("config"),
            ..Profiles::default()
        }
    }

    #[test]
    fn the_services_section_wins_over_the_profile() {
        let p = profiles(
            "[rack]\naws_access_key_id = A\naws_secret_access_key = S\n",
            "[profile rack]\nregion = lab\nendpoint_url = http://general:1\nservices = s\n\
             [services s]\necs =\n  endpoint_url = http://ecs:2\n",
        );
        let rack = p.get("rack", true).expect("there");
        assert_eq!(rack.endpoint_url(), Some("http://ecs:2"));
        assert_eq!(rack.region(), Some("lab"));
        assert_eq!(rack.keys().expect("keys").map(|k| k.id), Some("A".to_owned()));
    }

    #[test]
    fn ignoring_configured_endpoints_is_honoured() {
        let p = profiles("", "[default]\nendpoint_url = http://x\nignore_configured_endpoint_urls = TRUE\n");
        assert_eq!(p.get("default", false).expect("there").endpoint_url(), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let p = profiles("[a]\naws_access_key_id = X\n", "[profile b]\nsso_session = s\n");
        let text = |r: Result<Option<Keys>, ProfileError>| r.expect_err("refused").to_string();
        assert!(text(p.get("a", true).expect("there").keys()).contains("`a`"));
        assert!(text(p.get("b", true).expect("there").keys()).contains("sso_session"));
        assert!(p.get("c", true).expect_err("unknown").to_string().ends_with("there are: a, b"));
        assert!(p.get("default", false).expect("optional").keys().expect("none").is_none());
    }
}
