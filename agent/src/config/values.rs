//! Values that are read alike from the file, the environment and flags.

use longshore_model::is_file_system_id;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// A length of time: a whole number and `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("`{text}` is not a length of time such as 500ms, 30s, 10m or 3h");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
        let number: u64 = text[..digits].parse().map_err(|_| fail())?;
        let millis = match &text[digits..] {
            "ms" => Some(number),
            "s" => number.checked_mul(1000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => None,
        };
        millis.map(|ms| Self(Duration::from_millis(ms))).ok_or_else(fail)
    }
}

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    /// The lowest port; at least 1024.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("`{text}` is not a range of ports such as 30000-32767, from 1024 up");
        let (first, last) = text.split_once('-').ok_or_else(fail)?;
        let (first, last) = (first.trim().parse().map_err(|_| fail())?, last.trim().parse().map_err(|_| fail())?);
        if first < 1024 || last < first {
            return Err(fail());
        }
        Ok(Self { first, last })
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// How often something may be asked for, as ECS writes it: `40,60` is 40 a second, and 60 at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate {
    /// How often a second; at least 1.
    pub per_second: u32,
    /// How often at once; at least 1.
    pub burst: u32,
}

impl Rate {
    /// ECS's own for task metadata.
    pub const METADATA: Self = Self { per_second: 40, burst: 60 };
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("`{text}` is not how often a second and how often at once, such as 40,60");
        let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number > 0);
        let (per_second, burst) = text.split_once(',').ok_or_else(fail)?;
        Ok(Self { per_second: number(per_second).ok_or_else(fail)?, burst: number(burst).ok_or_else(fail)? })
    }
}

impl TryFrom<String> for Rate {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// An address of this host that only its own programs reach, or none (`off`). What answers there asks for no proof of
/// who somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LocalAddress(pub Option<SocketAddr>);

impl FromStr for LocalAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        match text.parse::<SocketAddr>() {
            Ok(at) if at.ip().is_loopback() && at.port() != 0 => Ok(Self(Some(at))),
            Ok(_) | Err(_) => {
                Err(format!("`{text}` is neither `off` nor a loopback address and port like 127.0.0.1:9100"))
            }
        }
    }
}

impl TryFrom<String> for LocalAddress {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// When images are pulled; the names and meanings are those of `ECS_IMAGE_PULL_BEHAVIOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PullBehavior {
    /// Always, and the image that is here when that fails.
    Default,
    /// Always; a failed pull fails the task.
    Always,
    /// Unless an agent of this host has pulled it before, by this name, and it is here.
    Once,
    /// Only what is not here.
    PreferCached,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// An NFS export that stands for a file system of EFS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EfsServer {
    /// The server's name or address.
    pub server: String,
    /// What it exports.
    #[serde(default = "root")]
    pub path: String,
    /// Options of the mount, without the address.
    #[serde(default = "efs_options")]
    pub options: String,
}

fn root() -> String {
    "/".to_owned()
}

/// Those that EFS recommends.
fn efs_options() -> String {
    "nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport".to_owned()
}

impl EfsServer {
    /// What is wrong with it as what stands for `id`.
    pub(super) fn check(&self, id: &str) -> Result<(), String> {
        let plain = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        let address = |option: &str| ["addr=", "clientaddr="].iter().any(|name| option.starts_with(name));
        let why = match self {
            _ if !is_file_system_id(id) => "is no file system's id such as fs-0123456789abcdef0",
            Self { server, .. } if !plain(server) || server.contains([',', '/']) => {
                "server must be a name or an address"
            }
            Self { path, .. } if !path.starts_with('/') || path.contains(char::is_control) => {
                "path must be an absolute path"
            }
            Self { options, .. } if !plain(options) || options.split(',').any(address) => {
                "options must be those of an NFS mount, separated by commas, without the address"
            }
            Self { .. } => return Ok(()),
        };
        Err(format!("`{id}`: {why}"))
    }
}

/// Reads `fs-1=server:/path,fs-2=server:/path`.
pub(super) fn efs(text: &str) -> Result<BTreeMap<String, EfsServer>, String> {
    let one = |part: &str| {
        let (id, export) = part.split_once('=')?;
        let (server, path) = export.split_once(":/")?;
        let server = server.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some((id.trim().to_owned(), EfsServer { server, path: format!("/{path}"), options: efs_options() }))
    };
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts.map(|part| one(part).ok_or_else(|| format!("`{part}` is not fs-ID=SERVER:/PATH"))).collect()
}

/// Reads `name=value,name=value`.
pub(super) fn attributes(text: &str) -> Result<BTreeMap<String, String>, String> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.split_once('=')
                .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                .ok_or_else(|| format!("`{part}` is not name=value"))
        })
        .collect()
}
