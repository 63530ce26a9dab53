//! The control plane's configuration: one flat TOML file, overridden by the environment, overridden by flags.
//!
//! Owns: the list of keys ([`KEYS`], from which the shipped example and `--help` are made), their defaults
//! and the checks at start. Never: reads a secret; the root key of a first start is read by `first_start`.

use ipnet::{Ipv4Net, Ipv6Net};
use longshore_core::Losses;
use longshore_model::{AccountId, LEASE_LENGTHS, NetworkConfig, Overlay};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One configuration key, for the shipped example and for checks of it.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The name in the file; `--name-with-hyphens` is the flag.
    pub name: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// The default as TOML, empty when there is none.
    pub default: &'static str,
    /// An example as TOML, for a key without a default.
    pub example: &'static str,
    /// What it does.
    pub doc: &'static [&'static str],
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $key:ident: $ty:ty, $env:literal, default $default:literal,
        example $example:literal;)+) => {
        /// The keys as flags and environment variables.
        #[derive(Debug, Clone, Default, clap::Args)]
        pub struct Flags {
            $($(#[doc = $doc])+ #[arg(long, env = $env, global = true)] pub $key: Option<$ty>,)+
        }

        /// The keys as they stand in the file.
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            $($key: Option<$ty>,)+
        }

        impl Flags {
            /// These flags, and the file's value where a flag is absent.
            fn over(self, file: File) -> Self {
                Self { $($key: self.$key.or(file.$key),)+ }
            }
        }

        /// Every key, in the order of the shipped example.
        pub const KEYS: &[Key] = &[
            $(Key { name: stringify!($key), env: $env, default: $default, example: $example, doc: &[$($doc),+] },)+
        ];
    };
}

keys! {
    /// Directory of everything that must survive: the store, the certificate authority, keys. Made with mode
    /// 0700 at the first start. Back it up; whoever can read it is root here.
    data_dir: PathBuf, "LONGSHORE_CONTROL_DATA_DIR", default "\"/var/lib/longshore/control\"", example "";
    /// Address and port of the ECS API (HTTP, every request signed). Beyond loopback, put TLS in front.
    api_listen: SocketAddr, "LONGSHORE_CONTROL_API_LISTEN", default "\"127.0.0.1:7420\"", example "";
    /// Address and port for agents (gRPC, mutual TLS).
    agent_listen: SocketAddr, "LONGSHORE_CONTROL_AGENT_LISTEN", default "\"0.0.0.0:7421\"", example "";
    /// Where agents reach the agent port, as `host:port`. Named in the certificate and told to operators; agents
    /// join with whatever address they are given.
    advertise: String, "LONGSHORE_CONTROL_ADVERTISE", default "", example "\"control.example.net:7421\"";
    /// The account id, 12 digits. Only heeded at the first start; a random one is made when absent.
    account_id: String, "LONGSHORE_CONTROL_ACCOUNT_ID", default "", example "\"123456789012\"";
    /// File with the root access key to begin with, in the form of an AWS shared credentials file. Only read at
    /// the first start; a random key is made when absent. LONGSHORE_CONTROL_ROOT_ACCESS_KEY_ID and
    /// LONGSHORE_CONTROL_ROOT_SECRET_ACCESS_KEY do the same.
    root_key_file: PathBuf, "LONGSHORE_CONTROL_ROOT_KEY_FILE", default "", example "\"/etc/longshore/root-key\"";
    /// Seconds that a stopped task stays describable.
    stopped_task_retention_secs: u64, "LONGSHORE_CONTROL_STOPPED_TASK_RETENTION_SECS", default "3600", example "";
    /// Seconds that a service's task without health checks must run until it counts as healthy.
    service_healthy_after_secs: u64, "LONGSHORE_CONTROL_SERVICE_HEALTHY_AFTER_SECS", default "40", example "";
    /// Seconds over which the CPU and memory of services are averaged for Application Auto Scaling. Agents say six
    /// times in it what their tasks use.
    scaling_period_secs: u64, "LONGSHORE_CONTROL_SCALING_PERIOD_SECS", default "60", example "";
    /// Milliseconds between an agent's heartbeats.
    heartbeat_millis: u32, "LONGSHORE_CONTROL_HEARTBEAT_MILLIS", default "1000", example "";
    /// Heartbeats that are heard in a second. When more agents are connected than that allows, each beats more rarely,
    /// but three times in a lease.
    heartbeats_per_second: u32, "LONGSHORE_CONTROL_HEARTBEATS_PER_SECOND", default "5000", example "";
    /// Milliseconds of silence after which an agent counts as disconnected; at least three heartbeats.
    lease_millis: u32, "LONGSHORE_CONTROL_LEASE_MILLIS", default "5000", example "";
    /// Milliseconds after the end of its lease that a silent host is waited for until services replace its tasks.
    lost_host_hold_millis: u64, "LONGSHORE_CONTROL_LOST_HOST_HOLD_MILLIS", default "0", example "";
    /// Nothing is replaced while more hosts than one, and more than this share of a cluster's in percent, went silent
    /// at once: then the fault is rather in the network or here. A third is more than 33; 100 replaces always.
    silent_share_percent: u32, "LONGSHORE_CONTROL_SILENT_SHARE_PERCENT", default "33", example "";
    /// Milliseconds that tasks of services with the tag `longshore:at-most-one` have for their stop, when their host is
    /// cut off for longer than the lease and whenever else they are stopped, until they are killed. They are replaced
    /// 5 seconds later.
    fence_grace_millis: u64, "LONGSHORE_CONTROL_FENCE_GRACE_MILLIS", default "10000", example "";
    /// Seconds that an agent's certificate is valid. Agents renew theirs after two thirds of it; a host that is
    /// off for longer than the rest has to join again.
    agent_certificate_secs: u64, "LONGSHORE_CONTROL_AGENT_CERTIFICATE_SECS", default "2592000", example "";
    /// Seconds that the agent port's own certificate is valid. It is renewed while running.
    server_certificate_secs: u64, "LONGSHORE_CONTROL_SERVER_CERTIFICATE_SECS", default "2592000", example "";
    /// Agents connected at once, however many connections each has. Hosts that join have room of their own.
    max_agents: usize, "LONGSHORE_CONTROL_MAX_AGENTS", default "20000", example "";
    /// The addresses of tasks with networkMode awsvpc: one network for all clusters and hosts, of which each host gets
    /// parts (`task_network_lease`). A /8 or smaller, with room for two parts. With `lan`, a range of the hosts' own
    /// network that DHCP does not give and nobody has. This and the other keys that begin with `task_network` may
    /// only change while no host has addresses.
    task_network: Ipv4Net, "LONGSHORE_CONTROL_TASK_NETWORK", default "\"10.77.0.0/16\"", example "";
    /// The length of the prefix of a host's part, 24 to 28: a /24 has 253 addresses for tasks, a /28 has 13. A host
    /// that runs short gets further parts.
    task_network_lease: u8, "LONGSHORE_CONTROL_TASK_NETWORK_LEASE", default "24", example "";
    /// An IPv6 prefix for them, a /48 of fc00::/7. They have no IPv6 addresses when absent. Not with `lan`.
    task_network6: Ipv6Net, "LONGSHORE_CONTROL_TASK_NETWORK6", default "", example "\"fd77:4c53:1::/48\"";
    /// How tasks on different hosts reach each other: `vxlan`, a tunnel between every two hosts; `routes`, host routes
    /// over a network that all hosts are on; or `lan`, the same with tasks at addresses of that network, so that every
    /// machine on it reaches them.
    task_network_overlay: OverlayKind, "LONGSHORE_CONTROL_TASK_NETWORK_OVERLAY", default "\"vxlan\"", example "";
    /// With `vxlan`, the number of the network, 1 to 16777215.
    task_network_vni: u32, "LONGSHORE_CONTROL_TASK_NETWORK_VNI", default "7777", example "";
    /// With `vxlan`, the UDP port.
    task_network_port: u16, "LONGSHORE_CONTROL_TASK_NETWORK_PORT", default "4789", example "";
    /// MTU of tasks' interfaces: that of the hosts' own network, less 50 with `vxlan` (70 over IPv6).
    task_network_mtu: u16, "LONGSHORE_CONTROL_TASK_NETWORK_MTU", default "1450", example "";
    /// Mebibytes that log groups may take in the data directory. When they take more, the oldest events go first.
    log_store_mib: u64, "LONGSHORE_CONTROL_LOG_STORE_MIB", default "4096", example "";
    /// Seconds after which a command that `longshore exec` runs in a container, or an attachment, is ended because
    /// nothing went to or fro.
    exec_idle_secs: u64, "LONGSHORE_CONTROL_EXEC_IDLE_SECS", default "1200", example "";
    /// Whether the log and tasks' histories have the arguments of such commands, which may be secret, and not only the
    /// program, how many arguments it had, and who ran it.
    exec_log_arguments: bool, "LONGSHORE_CONTROL_EXEC_LOG_ARGUMENTS", default "false", example "";
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as
    /// `info,longshore_control::agents=debug`.
    log_level: String, "LONGSHORE_CONTROL_LOG_LEVEL", default "\"info\"", example "";
    /// How log lines look: `text` or `json`.
    log_format: LogFormat, "LONGSHORE_CONTROL_LOG_FORMAT", default "\"text\"", example "";
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How hosts reach each other's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OverlayKind {
    /// A tunnel between every two hosts.
    Vxlan,
    /// Host routes.
    Routes,
    /// Addresses of the hosts' own network.
    Lan,
}

/// The configuration in force, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// See the key `data_dir`.
    pub data_dir: PathBuf,
    /// See the key `api_listen`.
    pub api_listen: SocketAddr,
    /// See the key `agent_listen`.
    pub agent_listen: SocketAddr,
    /// The key `advertise`, taken apart.
    pub advertise: Option<Advertised>,
    /// See the key `account_id`.
    pub account_id: Option<AccountId>,
    /// See the key `root_key_file`.
    pub root_key_file: Option<PathBuf>,
    /// See the key `stopped_task_retention_secs`.
    pub stopped_task_retention: Duration,
    /// See the key `service_healthy_after_secs`.
    pub service_healthy_after: Duration,
    /// See the key `scaling_period_secs`.
    pub scaling_period: Duration,
    /// See the key `heartbeat_millis`.
    pub heartbeat: Duration,
    /// See the key `heartbeats_per_second`.
    pub heartbeats_per_second: u32,
    /// See the key `lease_millis`.
    pub lease: Duration,
    /// The keys `lost_host_hold_millis`, `silent_share_percent` and `fence_grace_millis`.
    pub losses: Losses,
    /// See the key `agent_certificate_secs`.
    pub agent_certificate: Duration,
    /// See the key `server_certificate_secs`.
    pub server_certificate: Duration,
    /// See the key `max_agents`.
    pub max_agents: usize,
    /// The keys that begin with `task_network`.
    pub network: NetworkConfig,
    /// The key `log_store_mib`, in bytes.
    pub log_store_bytes: u64,
    /// See the key `exec_idle_secs`.
    pub exec_idle: Duration,
    /// See the key `exec_log_arguments`.
    pub exec_log_arguments: bool,
    /// See the key `log_level`.
    pub log_level: String,
    /// See the key `log_format`.
    pub log_format: LogFormat,
}

/// A `host:port` that agents can dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// A name or an address, brackets of IPv6 taken off.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why the configuration cannot be used. Each names the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("could not read the configuration file `{path}`", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML, has an unknown key, or a value of the wrong type; the source names it.
    #[error("the configuration file `{path}` is wrong", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value that does not do.
    #[error("the configuration key `{key}` is `{value}`, and {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it has to be.
        why: String,
    },
}

/// Where the configuration is read from when no file is named; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/longshore/control.toml";

impl Config {
    /// Reads `file` ([`DEFAULT_FILE`] where present, when `None`), puts `flags` over it and checks the result.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(file: Option<&Path>, flags: Flags) -> Result<Self, ConfigError> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
        };
        let (path, text) = match file {
            Some(path) => (path, read(path)?),
            None => match read(Path::new(DEFAULT_FILE)) {
                Ok(text) => (Path::new(DEFAULT_FILE), text),
                Err(ConfigError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    (Path::new(DEFAULT_FILE), String::new())
                }
                Err(error) => return Err(error),
            },
        };
        let file: File = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        Self::check(flags.over(file))
    }

    fn check(given: Flags) -> Result<Self, ConfigError> {
        let defaults: File = defaults();
        let keys = given.over(defaults);
        let present = "the table of keys gives a default";
        let heartbeat = keys.heartbeat_millis.expect(present);
        let lease = keys.lease_millis.expect(present);
        in_range("heartbeat_millis", heartbeat.into(), 50, 60_000)?;
        if u64::from(lease) < 3 * u64::from(heartbeat) || lease > 3_600_000 {
            return Err(wrong(
                "lease_millis",
                lease,
                format!("must be from {} (three heartbeats) to 3600000", 3 * heartbeat),
            ));
        }
        let heartbeats_per_second = keys.heartbeats_per_second.expect(present);
        in_range("heartbeats_per_second", heartbeats_per_second.into(), 1, 1_000_000)?;
        let hold = keys.lost_host_hold_millis.expect(present);
        in_range("lost_host_hold_millis", hold, 0, 86_400_000)?;
        let silent_share_percent = keys.silent_share_percent.expect(present);
        in_range("silent_share_percent", silent_share_percent.into(), 1, 100)?;
        let fence_grace = keys.fence_grace_millis.expect(present);
        in_range("fence_grace_millis", fence_grace, 0, 600_000)?;
        let agent_certificate = keys.agent_certificate_secs.expect(present);
        in_range("agent_certificate_secs", agent_certificate, 3, 315_360_000)?;
        let server_certificate = keys.server_certificate_secs.expect(present);
        in_range("server_certificate_secs", server_certificate, 3, 315_360_000)?;
        let retention = keys.stopped_task_retention_secs.expect(present);
        in_range("stopped_task_retention_secs", retention, 1, 31_536_000)?;
        let healthy_after = keys.service_healthy_after_secs.expect(present);
        in_range("service_healthy_after_secs", healthy_after, 0, 3600)?;
        let scaling_period = keys.scaling_period_secs.expect(present);
        in_range("scaling_period_secs", scaling_period, 2, 600)?;
        let max_agents = keys.max_agents.expect(present);
        in_range("max_agents", max_agents as u64, 1, 1_000_000)?;
        let log_store_mib = keys.log_store_mib.expect(present);
        in_range("log_store_mib", log_store_mib, 16, 1 << 30)?;
        let exec_idle = keys.exec_idle_secs.expect(present);
        in_range("exec_idle_secs", exec_idle, 1, 604_800)?;
        let network = task_network(&keys)?;
        let log_level = keys.log_level.expect(present);
        if let Err(error) = log_level.parse::<tracing_subscriber::filter::Targets>() {
            return Err(wrong("log_level", log_level, format!("is not a level or a list of TARGET=LEVEL: {error}")));
        }
        let account_id = match keys.account_id {
            Some(text) => Some(AccountId::new(&text).map_err(|error| wrong("account_id", text, error.to_string()))?),
            None => None,
        };
        let data_dir = keys.data_dir.expect(present);
        if !data_dir.is_absolute() {
            return Err(wrong("data_dir", data_dir.display(), "must be an absolute path".to_owned()));
        }
        Ok(Self {
            data_dir,
            api_listen: keys.api_listen.expect(present),
            agent_listen: keys.agent_listen.expect(present),
            advertise: keys.advertise.map(|text| parse_advertise(&text)).transpose()?,
            account_id,
            root_key_file: keys.root_key_file,
            stopped_task_retention: Duration::from_secs(retention),
            service_healthy_after: Duration::from_secs(healthy_after),
            scaling_period: Duration::from_secs(scaling_period),
            heartbeat: Duration::from_millis(heartbeat.into()),
            heartbeats_per_second,
            lease: Duration::from_millis(lease.into()),
            losses: Losses {
                hold: Duration::from_millis(hold),
                silent_share_percent,
                fence_grace: Duration::from_millis(fence_grace),
            },
            agent_certificate: Duration::from_secs(agent_certificate),
            server_certificate: Duration::from_secs(server_certificate),
            max_agents,
            network,
            log_store_bytes: log_store_mib << 20,
            exec_idle: Duration::from_secs(exec_idle),
            exec_log_arguments: keys.exec_log_arguments.expect(present),
            log_level,
            log_format: keys.log_format.expect(present),
        })
    }
}

/// The task network that the keys describe.
fn task_network(keys: &Flags) -> Result<NetworkConfig, ConfigError> {
    let present = "the table of keys gives a default";
    let v4 = keys.task_network.expect(present);
    if v4.addr() != v4.network() {
        return Err(wrong("task_network", v4, format!("must begin at its first address, {}", v4.trunc())));
    }
    let lease_length = keys.task_network_lease.expect(present);
    in_range(
        "task_network_lease",
        lease_length.into(),
        (*LEASE_LENGTHS.start()).into(),
        (*LEASE_LENGTHS.end()).into(),
    )?;
    // Two parts, so that there is one beside the first, which comes last; and numbers of parts have 16 bits.
    if !(8..lease_length).contains(&v4.prefix_len()) {
        let smallest = lease_length - 1;
        let why =
            format!("must be from a /8 to a /{smallest}: room for two parts of a /{lease_length} (task_network_lease)");
        return Err(wrong("task_network", v4, why));
    }
    if lease_length - v4.prefix_len() > 16 {
        let longest = v4.prefix_len() + 16;
        let why = format!("makes more than 65536 parts of {v4} (task_network); must be at most {longest} with it");
        return Err(wrong("task_network_lease", lease_length, why));
    }
    let unusable = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"];
    let is_unusable = |net: &&&str| {
        let net: Ipv4Net = net.parse().expect("written here");
        net.contains(&v4) || v4.contains(&net)
    };
    if let Some(net) = unusable.iter().find(is_unusable) {
        return Err(wrong("task_network", v4, format!("overlaps {net}, which no host can have")));
    }
    if let Some(v6) = keys.task_network6 {
        let ula: Ipv6Net = "fc00::/7".parse().expect("written here");
        if v6.prefix_len() != 48 || v6.addr() != v6.network() || !ula.contains(&v6) {
            return Err(wrong("task_network6", v6, "must be a /48 of fc00::/7, by its first address".to_owned()));
        }
    }
    let (vni, port) = (keys.task_network_vni.expect(present), keys.task_network_port.expect(present));
    in_range("task_network_vni", vni.into(), 1, (1 << 24) - 1)?;
    in_range("task_network_port", port.into(), 1, u16::MAX.into())?;
    let mtu = keys.task_network_mtu.expect(present);
    // The least that IPv6 works with; with IPv4 alone, what every host must take.
    let least = if keys.task_network6.is_some() { 1280 } else { 576 };
    in_range("task_network_mtu", mtu.into(), least, 65_485)?;
    let overlay = match keys.task_network_overlay.expect(present) {
        OverlayKind::Vxlan => Overlay::Vxlan { vni, port },
        OverlayKind::Routes => Overlay::Routes,
        OverlayKind::Lan => Overlay::Lan,
    };
    if let (Overlay::Lan, Some(v6)) = (overlay, keys.task_network6) {
        let why = "does not go with task_network_overlay \"lan\": addresses of a LAN are given by hand in IPv4 alone; \
                   leave it out, or take \"vxlan\" or \"routes\"";
        return Err(wrong("task_network6", v6, why.to_owned()));
    }
    Ok(NetworkConfig { v4, v6: keys.task_network6, overlay, mtu, lease_length })
}

fn defaults() -> File {
    let text: String = KEYS
        .iter()
        .filter(|key| !key.default.is_empty())
        .map(|key| format!("{} = {}\n", key.name, key.default))
        .collect();
    toml::from_str(&text).expect("the defaults are written in this file and a test reads them")
}

fn wrong(key: &'static str, value: impl ToString, why: String) -> ConfigError {
    ConfigError::Value { key, value: value.to_string(), why }
}

fn in_range(key: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(wrong(key, value, format!("must be from {min} to {max}"))) }
}

fn parse_advertise(text: &str) -> Result<Advertised, ConfigError> {
    let fail = || wrong("advertise", text, "must be host:port, such as control.example.net:7421".to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(fail)?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let port: u16 = port.parse().map_err(|_| fail())?;
    let plain = host.parse::<std::net::IpAddr>().is_ok()
        || (!host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'));
    if port == 0 || !plain {
        return Err(fail());
    }
    Ok(Advertised { host: host.to_owned(), port })
}

/// A configuration file with every key explained and commented out, at its default.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# Configuration of longshore-control. Every key is optional; the value shown is the default, or an\n\
         # example where there is none. The environment overrides this file, flags override both.\n",
    );
    for key in KEYS {
        text.push('\n');
        for line in key.doc {
            text.push_str(&format!("#{line}\n"));
        }
        text.push_str(&format!("# Environment: {}\n", key.env));
        let value = if key.default.is_empty() { key.example } else { key.default };
        text.push_str(&format!("#{} = {value}\n", key.name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, flags: Flags) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("control.toml");
        std::fs::write(&path, text).expect("written");
        Config::load(Some(&path), flags).map_err(|error| chain(&error))
    }

    fn chain(error: &dyn std::error::Error) -> String {
        match error.source() {
            Some(source) => format!("{error}: {}", chain(source)),
            None => error.to_string(),
        }
    }

    #[test]
    fn flags_go_over_the_file_and_the_file_over_defaults() {
        let file = "heartbeat_millis = 2000\nlease_millis = 9000\n";
        let flags = Flags { lease_millis: Some(7000), ..Flags::default() };
        let config = load(file, flags).expect("valid");
        assert_eq!(config.heartbeat, Duration::from_secs(2));
        assert_eq!(config.lease, Duration::from_secs(7));
        assert_eq!(config.api_listen.to_string(), "127.0.0.1:7420");
        assert_eq!(config.network, longshore_core::CoreConfig::default().network);
    }

    #[test]
    fn mistakes_name_the_key() {
        for (text, key) in [
            ("api_listn = \"127.0.0.1:1\"", "api_listn"),
            ("api_listen = \"here\"", "api_listen"),
            ("lease_millis = 100", "lease_millis"),
            ("heartbeat_millis = 1", "heartbeat_millis"),
            ("heartbeats_per_second = 0", "heartbeats_per_second"),
            ("lost_host_hold_millis = 86400001", "lost_host_hold_millis"),
            ("silent_share_percent = 0", "silent_share_percent"),
            ("fence_grace_millis = 600001", "fence_grace_millis"),
            ("account_id = \"12\"", "account_id"),
            ("data_dir = \"relative\"", "data_dir"),
            ("advertise = \"nowhere\"", "advertise"),
            ("advertise = \"a b:1\"", "advertise"),
            ("log_level = \"a=b=c\"", "log_level"),
            ("log_format = \"xml\"", "log_format"),
            ("agent_certificate_secs = 0", "agent_certificate_secs"),
            ("max_agents = -1", "max_agents"),
            ("exec_idle_secs = 0", "exec_idle_secs"),
            ("task_network = \"10.77.0.0\"", "task_network"),
            ("task_network = \"10.77.1.0/16\"", "task_network"),
            ("task_network = \"10.77.0.0/24\"", "task_network"),
            ("task_network = \"10.0.0.0/7\"", "task_network"),
            ("task_network = \"169.254.0.0/20\"", "task_network"),
            ("task_network = \"239.0.0.0/16\"", "task_network"),
            ("task_network = \"192.168.50.128/25\"", "task_network_lease"),
            ("task_network = \"192.168.50.128/27\"\ntask_network_lease = 27", "task_network"),
            ("task_network_lease = 23", "task_network_lease"),
            ("task_network_lease = 29", "task_network_lease"),
            ("task_network = \"10.0.0.0/8\"\ntask_network_lease = 25", "task_network_lease"),
            ("task_network_overlay = \"lan\"\ntask_network6 = \"fd77::/48\"", "task_network6"),
            ("task_network6 = \"fd77::/64\"", "task_network6"),
            ("task_network6 = \"2001:db8::/48\"", "task_network6"),
            ("task_network_overlay = \"ipip\"", "task_network_overlay"),
            ("task_network_vni = 0", "task_network_vni"),
            ("task_network_vni = 16777216", "task_network_vni"),
            ("task_network_port = 0", "task_network_port"),
            ("task_network_mtu = 500", "task_network_mtu"),
            ("task_network6 = \"fd77::/48\"\ntask_network_mtu = 1000", "task_network_mtu"),
        ] {
            let error = load(text, Flags::default()).expect_err(text);
            assert!(error.contains(key), "{text}: {error}");
        }
    }

    #[test]
    fn a_range_of_a_lan_is_cut_into_small_parts() {
        let file = "task_network = \"192.168.50.128/25\"\ntask_network_lease = 28\ntask_network_overlay = \"lan\"\n";
        let network = load(file, Flags::default()).expect("valid").network;
        assert_eq!((network.lease_length, network.overlay), (28, Overlay::Lan));
    }

    #[test]
    fn the_example_reads_as_the_defaults_when_uncommented() {
        let text: String = example()
            .lines()
            .filter(|line| !line.starts_with("# "))
            .map(|line| format!("{}\n", line.trim_start_matches('#')))
            .collect();
        let config = load(&text, Flags::default()).expect("valid");
        for config in [&config, &load("", Flags::default()).expect("valid")] {
            let times = (config.heartbeat, config.lease, config.service_healthy_after);
            assert_eq!(times, (Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(40)));
        }
        assert_eq!(config.advertise, Some(Advertised { host: "control.example.net".to_owned(), port: 7421 }));
        for key in KEYS {
            assert!(text.contains(key.name), "{}", key.name);
        }
    }

    #[test]
    fn advertised_addresses_may_be_ipv6() {
        let config = load("advertise = \"[2001:db8::1]:7421\"", Flags::default()).expect("valid");
        assert_eq!(config.advertise, Some(Advertised { host: "2001:db8::1".to_owned(), port: 7421 }));
    }
}
