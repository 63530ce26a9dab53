//! What the command works with: endpoint, region, keys, default cluster, output, waiting times.
//!
//! One value per setting, chosen in this order, the first that says something:
//!
//! 1. the flag;
//! 2. `LONGSHORE_*` in the environment;
//! 3. `AWS_*` in the environment;
//! 4. the AWS profile, if it was chosen by name with a flag or in the environment;
//! 5. `longshore.toml` (`$LONGSHORE_CONFIG`, else `$XDG_CONFIG_HOME/longshore/config.toml`);
//! 6. the AWS profile otherwise (the one that `longshore.toml` names, or `default`);
//! 7. the built-in default.
//!
//! Keys come from the environment or a profile only; `--profile` puts the profile first, as in the AWS tools.
//! Checked here once, with errors that name the setting and where it came from. Nothing else reads the
//! environment.

use crate::args::GlobalArgs;
use crate::profile::{Keys, Profile, ProfileError, Profiles, expand};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Where the control plane listens when nobody says otherwise.
pub(crate) const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7420";

/// The command's own file, every key optional. `packaging/longshore.toml` explains each.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    endpoint_url: Option<String>,
    region: Option<String>,
    profile: Option<String>,
    cluster: Option<String>,
    output: Option<Output>,
    ca_bundle: Option<String>,
    timeout_secs: Option<u64>,
    wait_secs: Option<u64>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Output {
    /// Tables for people.
    Table,
    /// JSON for programs, in the shapes of the ECS API.
    Json,
}

/// A value, and where it came from, for error texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen<T> {
    /// The value.
    pub(crate) value: T,
    /// For example `--region` or `AWS_REGION`.
    pub(crate) source: String,
}

/// A proxy. Debug does not show the address, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// Its URL.
    pub(crate) url: String,
    /// The variable that named it.
    pub(crate) source: &'static str,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Everything, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Without a trailing slash.
    pub(crate) endpoint: Chosen<String>,
    /// Signed into every request; clusters and ARNs belong to it.
    pub(crate) region: Chosen<String>,
    /// What signs.
    pub(crate) keys: Keys,
    /// The cluster that was chosen, if one was; `default` is meant otherwise.
    pub(crate) cluster: Option<String>,
    /// How results are printed.
    pub(crate) output: Output,
    /// Certificates to trust for https instead of the system's.
    pub(crate) ca_bundle: Option<PathBuf>,
    /// The proxy for the endpoint, and the variable that named it.
    pub(crate) proxy: Option<Proxy>,
    /// How long one request may take until its answer begins.
    pub(crate) timeout: Duration,
    /// How long `--wait` waits.
    pub(crate) wait: Duration,
}

/// Why there are no settings to work with. Exit status 3.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The command's own file could not be read.
    #[error("could not read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The command's own file has a fault.
    #[error("{path} has a fault")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Names the key and the line.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// An AWS file.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A value that cannot be.
    #[error("{source_name} is `{value}`: {why}")]
    Value {
        /// The flag, variable or key.
        source_name: String,
        /// What it said.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Half a key in the environment.
    #[error("{present} is set and {absent} is not; set both or neither")]
    HalfKey {
        /// The variable there is.
        present: &'static str,
        /// The one that lacks.
        absent: &'static str,
    },
    /// No region.
    #[error("no region was chosen; use --region, AWS_REGION, or `region` in {0} or in the AWS profile")]
    NoRegion(String),
    /// No keys.
    #[error(
        "no access key was found in AWS_ACCESS_KEY_ID/AWS_SECRET_ACCESS_KEY or in profile `{profile}`; the control \
         plane wrote its first key to `root-credentials` in its data directory: point AWS_SHARED_CREDENTIALS_FILE at it"
    )]
    NoKeys {
        /// The profile that was looked at.
        profile: String,
    },
}

/// A way to ask for an environment variable; tests give a map.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// Reads the files and chooses.
    pub(crate) fn resolve(flags: &GlobalArgs, env: Env<'_>) -> Result<Self, SettingsError> {
        let env = &|name: &str| env(name).filter(|v| !v.is_empty());
        let home = env("HOME").map(PathBuf::from).unwrap_or_default();
        let path = file_path(env);
        let file = read_file(&path, env("LONGSHORE_CONFIG").is_some())?;
        let file_name = path.display().to_string();
        let profiles = Profiles::load(env)?;

        let named = flags.profile.clone().or_else(|| env("LONGSHORE_PROFILE")).or_else(|| env("AWS_PROFILE"));
        let profile_name = named.clone().or_else(|| file.profile.clone());
        let required = profile_name.is_some();
        let profile = profiles.get(profile_name.as_deref().unwrap_or("default"), required)?;
        let profile_title = format!("profile `{}`", profile_name.as_deref().unwrap_or("default"));

        let pick = |flag: (&str, &Option<String>), variables: &[&str], key: &str, own: &Option<String>, of: Get| {
            let chosen = |value: String, source: &str| Chosen { value, source: source.to_owned() };
            let from_profile = || of(&profile).map(|v| chosen(v.to_owned(), &format!("`{key}` of {profile_title}")));
            flag.1
                .clone()
                .map(|v| chosen(v, flag.0))
                .or_else(|| variables.iter().find_map(|name| env(name).map(|v| chosen(v, name))))
                .or_else(|| named.is_some().then(from_profile).flatten())
                .or_else(|| own.clone().map(|v| chosen(v, &format!("`{key}` in {file_name}"))))
                .or_else(from_profile)
        };

        let ignore = env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let endpoint_variables: &[&str] = if ignore {
            &["LONGSHORE_ENDPOINT_URL"]
        } else {
            &["LONGSHORE_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECS", "AWS_ENDPOINT_URL"]
        };
        let endpoint_of: Get = if ignore { |_| None } else { |p| p.endpoint_url() };
        let endpoint = pick(
            ("--endpoint-url", &flags.endpoint_url),
            endpoint_variables,
            "endpoint_url",
            &file.endpoint_url,
            endpoint_of,
        )
        .unwrap_or_else(|| Chosen { value: DEFAULT_ENDPOINT.to_owned(), source: "the default".to_owned() });
        let region = pick(
            ("--region", &flags.region),
            &["LONGSHORE_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"],
            "region",
            &file.region,
            |p| p.region(),
        )
        .ok_or_else(|| SettingsError::NoRegion(file_name.clone()))?;
        let ca_bundle = pick(
            ("--ca-bundle", &flags.ca_bundle),
            &["LONGSHORE_CA_BUNDLE", "AWS_CA_BUNDLE"],
            "ca_bundle",
            &file.ca_bundle,
            |p| p.ca_bundle(),
        );

        let endpoint = check_endpoint(endpoint)?;
        Ok(Self {
            proxy: proxy(&endpoint.value, env),
            endpoint,
            region: check_region(region)?,
            keys: keys(env, flags.profile.is_some(), &profile)?,
            cluster: flags.cluster.clone().or_else(|| env("LONGSHORE_CLUSTER")).or(file.cluster),
            output: output(flags.json, env, file.output)?,
            ca_bundle: ca_bundle.map(|c| expand(&c.value, &home)),
            timeout: seconds("LONGSHORE_TIMEOUT_SECS", env, "timeout_secs", file.timeout_secs, 30)?,
            wait: match flags.wait_secs {
                Some(0) => return Err(not_seconds("--wait-secs", "0")),
                Some(secs) => Duration::from_secs(secs),
                None => seconds("LONGSHORE_WAIT_SECS", env, "wait_secs", file.wait_secs, 600)?,
            },
        })
    }
}

/// How one setting is read from a profile.
type Get = for<'a> fn(&'a Profile<'a>) -> Option<&'a str>;

fn file_path(env: Env<'_>) -> PathBuf {
    let home = || env("HOME").map(PathBuf::from).unwrap_or_default();
    env("LONGSHORE_CONFIG").map(PathBuf::from).unwrap_or_else(|| {
        env("XDG_CONFIG_HOME").map_or_else(|| home().join(".config"), PathBuf::from).join("longshore/config.toml")
    })
}

/// A file that was asked for by name must exist; the default one need not.
fn read_file(path: &PathBuf, named: bool) -> Result<File, SettingsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text)
            .map_err(|source| SettingsError::Parse { path: path.clone(), source: Box::new(source) }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !named => Ok(File::default()),
        Err(source) => Err(SettingsError::Read { path: path.clone(), source }),
    }
}

fn keys(env: Env<'_>, profile_flag: bool, profile: &Profile<'_>) -> Result<Keys, SettingsError> {
    let of_profile = || profile.keys().map_err(SettingsError::from);
    let found = if profile_flag {
        of_profile()?
    } else {
        match keys_of_environment(env)? {
            Some(keys) => Some(keys),
            None => of_profile()?,
        }
    };
    found.ok_or_else(|| SettingsError::NoKeys { profile: profile.name().to_owned() })
}

fn keys_of_environment(env: Env<'_>) -> Result<Option<Keys>, SettingsError> {
    let (id, secret) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
    match (env(id), env(secret)) {
        (Some(id), Some(secret)) => Ok(Some(Keys { id, secret, session_token: env("AWS_SESSION_TOKEN") })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(SettingsError::HalfKey { present: id, absent: secret }),
        (None, Some(_)) => Err(SettingsError::HalfKey { present: secret, absent: id }),
    }
}

fn check_endpoint(mut endpoint: Chosen<String>) -> Result<Chosen<String>, SettingsError> {
    let fault = |why| SettingsError::Value { source_name: endpoint.source.clone(), value: endpoint.value.clone(), why };
    let uri: http::Uri = endpoint.value.parse().map_err(|_| fault("that is not a URL, as in http://control:7420"))?;
    match (uri.scheme_str(), uri.authority(), uri.path(), uri.query()) {
        (Some("http" | "https"), Some(_), "/" | "", None) => {}
        (Some("http" | "https"), Some(_), _, _) => {
            return Err(fault("the API is at the root; the URL must have no path"));
        }
        (_, _, _, _) => return Err(fault("it must begin with http:// or https:// and name a host")),
    }
    endpoint.value = endpoint.value.trim_end_matches('/').to_owned();
    Ok(endpoint)
}

/// The proxy for `endpoint` (checked before), as the AWS tools choose it: by the scheme, unless `NO_PROXY` names the
/// host. Loopback is never asked of a proxy: it would be another machine's.
fn proxy(endpoint: &str, env: Env<'_>) -> Option<Proxy> {
    let uri: http::Uri = endpoint.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let direct = env("NO_PROXY").or_else(|| env("no_proxy")).is_some_and(|list| exempt(host, &list));
    if loopback || direct {
        return None;
    }
    // HTTP_PROXY in capitals is what a CGI request's `Proxy:` header becomes, but this is no CGI program.
    let variables: [&'static str; 2] =
        if uri.scheme_str() == Some("https") { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    variables.into_iter().find_map(|source| env(source).map(|url| Proxy { url, source }))
}

/// Whether a `NO_PROXY` list names the host: itself, a domain above it, a network around it, or everything.
fn exempt(host: &str, list: &str) -> bool {
    let address: Option<std::net::IpAddr> = host.parse().ok();
    let around = |entry: &str| entry.parse().is_ok_and(|net: ipnet::IpNet| address.is_some_and(|ip| net.contains(&ip)));
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        entry == "*"
            || host == domain
            || around(entry)
            || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    })
}

fn check_region(region: Chosen<String>) -> Result<Chosen<String>, SettingsError> {
    match longshore_model::Region::new(&region.value) {
        Ok(_) => Ok(region),
        Err(_) => Err(SettingsError::Value {
            source_name: region.source,
            value: region.value,
            why: "a region is 1 to 64 letters, digits, hyphens and underscores",
        }),
    }
}

fn output(json: bool, env: Env<'_>, file: Option<Output>) -> Result<Output, SettingsError> {
    if json {
        return Ok(Output::Json);
    }
    match env("LONGSHORE_OUTPUT").as_deref() {
        Some("json") => Ok(Output::Json),
        Some("table") => Ok(Output::Table),
        Some(other) => Err(SettingsError::Value {
            source_name: "LONGSHORE_OUTPUT".to_owned(),
            value: other.to_owned(),
            why: "it must be `table` or `json`",
        }),
        None => Ok(file.unwrap_or(Output::Table)),
    }
}

fn seconds(
    variable: &str,
    env: Env<'_>,
    key: &str,
    file: Option<u64>,
    default_secs: u64,
) -> Result<Duration, SettingsError> {
    let (source, secs) = match env(variable) {
        Some(text) => (variable, text.parse().map_err(|_| not_seconds(variable, &text))?),
        None => (key, file.unwrap_or(default_secs)),
    };
    if secs == 0 { Err(not_seconds(source, "0")) } else { Ok(Duration::from_secs(secs)) }
}

fn not_seconds(source_name: &str, value: &str) -> SettingsError {
    SettingsError::Value {
        source_name: source_name.to_owned(),
        value: value.to_owned(),
        why: "it must be a whole number of seconds above zero",
    }
}

#[cfg(test)]
mod tests;
