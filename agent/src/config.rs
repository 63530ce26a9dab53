//! The agent's configuration: one TOML file, every key of which a flag or an environment variable overrides.
//!
//! Precedence: flags, then `LONGSHORE_AGENT_<KEY>`, then the file, then the defaults below. Unknown keys are
//! refused by name, in the file and in the environment. Everything is checked once, here, at start; the rest of
//! the agent takes small structs made from [`Config`] and never looks at the environment.

mod layer;
mod values;

#[cfg(test)]
mod tests;

pub use layer::Layer;
pub use values::{EfsServer, LocalAddress, LogFormat, PortRange, PullBehavior, Rate, Span};

use longshore_model::{ClusterName, MAX_ATTRIBUTE_CHARS};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the file is unless `--config` says otherwise. It may be missing; one named by `--config` may not.
pub const DEFAULT_FILE: &str = "/etc/longshore/agent.toml";

/// Begins the name of every environment variable that the agent reads.
pub const ENV_PREFIX: &str = "LONGSHORE_AGENT_";

/// The checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Holds the identity and the ledger.
    pub data_dir: PathBuf,
    /// `host:port` of the control plane's agent port; that of the identity when absent.
    pub control: Option<String>,
    /// The cluster to join; the token's own when absent.
    pub cluster: Option<ClusterName>,
    /// The file with the join token, for a host that joins at its first start.
    pub token_file: Option<PathBuf>,
    /// The Docker Engine, `unix:///…`.
    pub docker: String,
    /// MiB of memory that tasks may not be given.
    pub reserved_memory_mib: u32,
    /// TCP host ports that tasks may not be given.
    pub reserved_ports_tcp: BTreeSet<u16>,
    /// UDP host ports that tasks may not be given.
    pub reserved_ports_udp: BTreeSet<u16>,
    /// Where dynamic host ports come from.
    pub dynamic_ports: PortRange,
    /// The operator's own attributes.
    pub attributes: BTreeMap<String, String>,
    /// The availability zone, attribute `ecs.availability-zone`.
    pub zone: Option<String>,
    /// Whether privileged containers may run here.
    pub allow_privileged: bool,
    /// Between SIGTERM and SIGKILL for containers without a `stopTimeout`.
    pub stop_timeout: Duration,
    /// How long a container without a `startTimeout` has from its start to meet what depends on it.
    pub dependency_timeout: Duration,
    /// How long a task waits for room on the host before it fails.
    pub room_timeout: Duration,
    /// When images are pulled.
    pub pull_behavior: PullBehavior,
    /// Longest wait for the first sign of progress of a pull.
    pub pull_begin_timeout: Duration,
    /// Longest wait between signs of progress.
    pub pull_stall_timeout: Duration,
    /// Longest pull.
    pub pull_timeout: Duration,
    /// Percent of the disk in use above which space is made.
    pub disk_clean_above: u8,
    /// Percent of the disk in use until which space is made.
    pub disk_clean_until: u8,
    /// Percent of the disk in use above which nothing new is put there.
    pub disk_refuse_above: u8,
    /// How long a container waits for room on the disk.
    pub disk_wait: Duration,
    /// How long an image must have been unused before it is removed to make space.
    pub image_cleanup_age: Duration,
    /// Whether images may be removed that this agent did not pull.
    pub image_cleanup_untracked: bool,
    /// The file with credentials for registries.
    pub registry_auth_file: Option<PathBuf>,
    /// Directories of the host whose files containers may take variables from.
    pub environment_file_dirs: Vec<PathBuf>,
    /// The file with authorities that web servers with such files may be certified by, besides the system's.
    pub environment_file_ca: Option<PathBuf>,
    /// NFS exports that stand for file systems of EFS, by their ids.
    pub efs: BTreeMap<String, EfsServer>,
    /// The cgroup below which every task has its own.
    pub task_cgroup_parent: String,
    /// Whether this host takes part in the task network (`awsvpc`).
    pub task_network: bool,
    /// The address, or the link with the address, that other hosts send tunnel packets to.
    pub underlay: Option<String>,
    /// How many sandboxes wait for tasks.
    pub warm_sandboxes: u16,
    /// How long stopped containers stay for `docker logs` and `docker inspect`.
    pub cleanup_wait: Duration,
    /// How many requests of metadata each task may make.
    pub metadata_rate: Rate,
    /// Where the host's own programs ask which tasks there are; nowhere when absent.
    pub introspection: Option<SocketAddr>,
    /// Where Prometheus reads metrics; nowhere when absent.
    pub metrics: Option<SocketAddr>,
    /// Which log lines are written, as `tracing` filters say it.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The local status socket.
    pub status_socket: PathBuf,
}

/// Why the configuration cannot be used. Each names the key and where it came from.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("could not read the configuration file {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML, has a key that does not exist, or a value of the wrong type.
    #[error("the configuration file {} is not usable: {message}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong and at which line.
        message: String,
    },
    /// An environment variable with our prefix that no key answers to.
    #[error("unknown environment variable {0}; run `longshore-agent --help` for the list of keys")]
    UnknownVariable(String),
    /// A value that cannot be used.
    #[error("{key}: {message}")]
    Value {
        /// The key, as in the file.
        key: &'static str,
        /// What is wrong with its value and what would be right.
        message: String,
    },
}

impl Config {
    /// Reads the file at `path` (or [`DEFAULT_FILE`], which may be missing), puts `over` on it and checks all.
    ///
    /// # Errors
    /// See [`ConfigError`]; the first fault found, named by its key.
    pub fn load(path: Option<&Path>, over: Layer, env: &[String]) -> Result<Self, ConfigError> {
        layer::refuse_unknown_variables(env)?;
        let file = match path {
            Some(path) => Layer::read(path)?,
            None => match Layer::read(Path::new(DEFAULT_FILE)) {
                Err(ConfigError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    Layer::default()
                }
                other => other?,
            },
        };
        Self::from_layer(over.or(file))
    }

    /// Fills in the defaults and checks every value.
    ///
    /// # Errors
    /// See [`ConfigError::Value`].
    pub fn from_layer(l: Layer) -> Result<Self, ConfigError> {
        let config = Self {
            data_dir: l.data_dir.unwrap_or_else(|| "/var/lib/longshore/agent".into()),
            control: l.control,
            cluster: match l.cluster {
                Some(name) => Some(ClusterName::new(&name).map_err(|e| value("cluster", format!("`{name}` {e}")))?),
                None => None,
            },
            token_file: l.token_file,
            docker: l.docker.unwrap_or_else(|| "unix:///var/run/docker.sock".into()),
            reserved_memory_mib: l.reserved_memory_mib.unwrap_or(0),
            // ECS's own list: ssh, Docker's TCP ports, and the two that agents listen on.
            reserved_ports_tcp: l
                .reserved_ports_tcp
                .map_or_else(|| BTreeSet::from([22, 2375, 2376, 51678, 51679]), BTreeSet::from_iter),
            reserved_ports_udp: l.reserved_ports_udp.map_or_else(BTreeSet::new, BTreeSet::from_iter),
            // Below Linux's default ephemeral range (32768 to 60999), so that outgoing connections do not take them.
            dynamic_ports: l.dynamic_ports.unwrap_or(PortRange { first: 30_000, last: 32_767 }),
            attributes: l.attributes.unwrap_or_default(),
            zone: l.zone,
            allow_privileged: l.allow_privileged.unwrap_or(true),
            stop_timeout: l.stop_timeout.map_or(Duration::from_secs(30), |s| s.0),
            // ECS's agent waits for ever. Longer than a slow migration, and the reason says what is waited for.
            dependency_timeout: l.dependency_timeout.map_or(Duration::from_secs(3600), |s| s.0),
            // Longer than any stop takes; what holds on for longer will not let go by itself.
            room_timeout: l.room_timeout.map_or(Duration::from_secs(600), |s| s.0),
            pull_behavior: l.pull_behavior.unwrap_or(PullBehavior::PreferCached),
            pull_begin_timeout: l.pull_begin_timeout.map_or(Duration::from_secs(300), |s| s.0),
            pull_stall_timeout: l.pull_stall_timeout.map_or(Duration::from_secs(60), |s| s.0),
            pull_timeout: l.pull_timeout.map_or(Duration::from_secs(7200), |s| s.0),
            // Kubernetes' marks for images, with more room below: what is removed is pulled again when it is needed.
            disk_clean_above: l.disk_clean_above.unwrap_or(85),
            disk_clean_until: l.disk_clean_until.unwrap_or(75),
            disk_refuse_above: l.disk_refuse_above.unwrap_or(95),
            disk_wait: l.disk_wait.map_or(Duration::from_secs(600), |s| s.0),
            image_cleanup_age: l.image_cleanup_age.map_or(Duration::from_secs(3600), |s| s.0),
            image_cleanup_untracked: l.image_cleanup_untracked.unwrap_or(false),
            registry_auth_file: l.registry_auth_file,
            environment_file_dirs: l.environment_file_dirs.unwrap_or_default(),
            environment_file_ca: l.environment_file_ca,
            efs: l.efs.unwrap_or_default(),
            task_cgroup_parent: l.task_cgroup_parent.unwrap_or_else(|| "longshore".into()),
            task_network: l.task_network.unwrap_or(true),
            underlay: l.underlay,
            // A burst of a service's first tasks; each is an address, a namespace and some 3 MB, most of it Docker's
            // shim.
            warm_sandboxes: l.warm_sandboxes.unwrap_or(8),
            // ECS keeps them for three hours; ten minutes are enough to look at one that failed, and a host that
            // runs short tasks all day does not collect hundreds of dead containers that every listing carries.
            cleanup_wait: l.cleanup_wait.map_or(Duration::from_secs(600), |s| s.0),
            metadata_rate: l.metadata_rate.unwrap_or(Rate::METADATA),
            // ECS's own, which tools on a host look for.
            introspection: l.introspection.map_or(Some(SocketAddr::from(([127, 0, 0, 1], 51678))), |at| at.0),
            metrics: l.metrics.and_then(|at| at.0),
            log: l.log.unwrap_or_else(|| "info".into()),
            log_format: l.log_format.unwrap_or(LogFormat::Text),
            status_socket: l.status_socket.unwrap_or_else(|| "/run/longshore/agent.sock".into()),
        };
        config.check()?;
        Ok(config)
    }

    fn check_marks(&self) -> Result<(), ConfigError> {
        let (until, above, refuse) = (self.disk_clean_until, self.disk_clean_above, self.disk_refuse_above);
        if until >= above {
            return Err(value("disk_clean_until", format!("{until} must be below disk_clean_above, which is {above}")));
        }
        if above > refuse {
            let message = format!("{above} must not be above disk_refuse_above, which is {refuse}");
            return Err(value("disk_clean_above", message));
        }
        if refuse > 100 {
            return Err(value("disk_refuse_above", format!("{refuse} must be a percentage, at most 100")));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        if !self.docker.starts_with("unix:///") {
            return Err(value(
                "docker",
                format!("`{}` must be a socket like unix:///var/run/docker.sock", self.docker),
            ));
        }
        if let Some(control) = &self.control {
            let port = control.rsplit_once(':').map(|(host, port)| (host.is_empty(), port.parse::<u16>()));
            if !matches!(port, Some((false, Ok(1..)))) {
                return Err(value("control", format!("`{control}` must be host:port, e.g. control.example:7443")));
            }
        }
        if self.stop_timeout < Duration::from_secs(1) {
            return Err(value("stop_timeout", "must be at least 1s".into()));
        }
        for (key, span) in [
            ("dependency_timeout", self.dependency_timeout),
            ("room_timeout", self.room_timeout),
            ("pull_begin_timeout", self.pull_begin_timeout),
            ("pull_stall_timeout", self.pull_stall_timeout),
            ("pull_timeout", self.pull_timeout),
        ] {
            if span.is_zero() {
                return Err(value(key, "must be longer than 0s".into()));
            }
        }
        self.check_marks()?;
        let parent = &self.task_cgroup_parent;
        if parent.is_empty() || !parent.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Err(value(
                "task_cgroup_parent",
                format!("`{parent}` must be one name of letters, digits, `-`, `_` and `.`"),
            ));
        }
        if let Some(underlay) = &self.underlay
            && underlay.parse::<std::net::IpAddr>().is_err()
            && !is_link_name(underlay)
        {
            return Err(value("underlay", format!("`{underlay}` must be an address or the name of a link")));
        }
        if usize::from(self.warm_sandboxes) > MOST_WARM {
            return Err(value("warm_sandboxes", format!("must be at most {MOST_WARM}: a lease has 253 addresses")));
        }
        if let Some(name) = self.attributes.keys().find(|name| !attribute_name_is_valid(name)) {
            let most = MAX_ATTRIBUTE_CHARS;
            return Err(value("attributes", format!("`{name}` must be 1 to {most} letters, digits and `- _ . / \\`")));
        }
        let zone = self.zone.iter().map(|zone| ("zone", "its value".to_owned(), zone));
        let values = self.attributes.iter().map(|(name, text)| ("attributes", format!("the value of `{name}`"), text));
        for (key, what, text) in zone.chain(values) {
            if text.chars().count() > MAX_ATTRIBUTE_CHARS || text.chars().any(char::is_control) {
                let message = format!("{what} must have at most {MAX_ATTRIBUTE_CHARS} characters, none for control");
                return Err(value(key, message));
            }
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log) {
            return Err(value("log", format!("`{}` is not a log filter: {error}", self.log)));
        }
        let paths = [("data_dir", &self.data_dir)].into_iter();
        let paths = paths.chain(self.registry_auth_file.iter().map(|file| ("registry_auth_file", file)));
        for (id, server) in &self.efs {
            server.check(id).map_err(|message| value("efs", message))?;
        }
        let paths = paths.chain(self.environment_file_ca.iter().map(|file| ("environment_file_ca", file)));
        let mut paths = paths.chain(self.environment_file_dirs.iter().map(|dir| ("environment_file_dirs", dir)));
        match paths.find(|(_, path)| !path.is_absolute()) {
            Some((key, path)) => Err(value(key, format!("`{}` must be an absolute path", path.display()))),
            None => Ok(()),
        }
    }
}

/// Most sandboxes that may wait: demand makes them four times as many, and tasks need addresses too.
const MOST_WARM: usize = 32;

/// The kernel's rule for names of links.
fn is_link_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c.is_whitespace())
}

/// ECS's rule for attribute names.
fn attribute_name_is_valid(name: &str) -> bool {
    (1..=MAX_ATTRIBUTE_CHARS).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./\\".contains(c))
}

fn value(key: &'static str, message: String) -> ConfigError {
    ConfigError::Value { key, message }
}
