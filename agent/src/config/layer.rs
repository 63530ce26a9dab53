//! One source of configuration: the file, or the command line with the environment.

use super::{ConfigError, ENV_PREFIX, EfsServer, LocalAddress, LogFormat, PortRange, PullBehavior, Rate, Span};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every key, each of which a source may leave out. The same struct is the file's format and the flags, so no key
/// can exist in one and not in the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
#[command(next_help_heading = "Configuration keys (each also a key of the file)")]
pub struct Layer {
    /// Directory of the identity and the ledger, mode 0700 [default: /var/lib/longshore/agent]
    #[arg(long, env = "LONGSHORE_AGENT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The control plane's agent port [default: the one that was joined]
    #[arg(long, env = "LONGSHORE_AGENT_CONTROL", value_name = "HOST:PORT")]
    pub control: Option<String>,
    /// Cluster to join [default: the join token's]
    #[arg(long, env = "LONGSHORE_AGENT_CLUSTER", value_name = "NAME")]
    pub cluster: Option<String>,
    /// File with the join token; a host without an identity joins with it at its first start
    #[arg(long, env = "LONGSHORE_AGENT_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Docker Engine's socket [default: unix:///var/run/docker.sock]
    #[arg(long, env = "LONGSHORE_AGENT_DOCKER", value_name = "URL")]
    pub docker: Option<String>,
    /// MiB of memory that tasks may not be given [default: 0]
    #[arg(long, env = "LONGSHORE_AGENT_RESERVED_MEMORY_MIB", value_name = "MIB")]
    pub reserved_memory_mib: Option<u32>,
    /// TCP host ports that tasks may not be given [default: 22,2375,2376,51678,51679]
    #[arg(long, env = "LONGSHORE_AGENT_RESERVED_PORTS_TCP", value_name = "PORTS", value_delimiter = ',')]
    pub reserved_ports_tcp: Option<Vec<u16>>,
    /// UDP host ports that tasks may not be given [default: none]
    #[arg(long, env = "LONGSHORE_AGENT_RESERVED_PORTS_UDP", value_name = "PORTS", value_delimiter = ',')]
    pub reserved_ports_udp: Option<Vec<u16>>,
    /// Range of dynamic host ports [default: 30000-32767]
    #[arg(long, env = "LONGSHORE_AGENT_DYNAMIC_PORTS", value_name = "FIRST-LAST")]
    pub dynamic_ports: Option<PortRange>,
    /// Attributes of this host, for placement constraints: name=value,name=value
    #[arg(long, env = "LONGSHORE_AGENT_ATTRIBUTES", value_name = "ATTRIBUTES",
        value_parser = super::values::attributes)]
    pub attributes: Option<BTreeMap<String, String>>,
    /// Availability zone, attribute `ecs.availability-zone`
    #[arg(long, env = "LONGSHORE_AGENT_ZONE", value_name = "ZONE")]
    pub zone: Option<String>,
    /// Whether privileged containers may run here [default: true]
    #[arg(long, env = "LONGSHORE_AGENT_ALLOW_PRIVILEGED", value_name = "BOOL")]
    pub allow_privileged: Option<bool>,
    /// Between SIGTERM and SIGKILL for containers without a stopTimeout [default: 30s]
    #[arg(long, env = "LONGSHORE_AGENT_STOP_TIMEOUT", value_name = "SPAN")]
    pub stop_timeout: Option<Span>,
    /// From a container's start until what depends on it is given up, without a startTimeout [default: 1h]
    #[arg(long, env = "LONGSHORE_AGENT_DEPENDENCY_TIMEOUT", value_name = "SPAN")]
    pub dependency_timeout: Option<Span>,
    /// How long a task waits for memory, GPUs and host ports that others on the host still have [default: 10m]
    #[arg(long, env = "LONGSHORE_AGENT_ROOM_TIMEOUT", value_name = "SPAN")]
    pub room_timeout: Option<Span>,
    /// When images are pulled: prefer-cached, once, default or always [default: prefer-cached]
    #[arg(long, env = "LONGSHORE_AGENT_PULL_BEHAVIOR", value_name = "WHEN")]
    pub pull_behavior: Option<PullBehavior>,
    /// Longest wait for the first sign of progress of a pull [default: 5m]
    #[arg(long, env = "LONGSHORE_AGENT_PULL_BEGIN_TIMEOUT", value_name = "SPAN")]
    pub pull_begin_timeout: Option<Span>,
    /// Longest wait between two signs of progress of a pull [default: 1m]
    #[arg(long, env = "LONGSHORE_AGENT_PULL_STALL_TIMEOUT", value_name = "SPAN")]
    pub pull_stall_timeout: Option<Span>,
    /// Longest pull [default: 2h]
    #[arg(long, env = "LONGSHORE_AGENT_PULL_TIMEOUT", value_name = "SPAN")]
    pub pull_timeout: Option<Span>,
    /// Percent of the disk in use above which unused images are removed [default: 85]
    #[arg(long, env = "LONGSHORE_AGENT_DISK_CLEAN_ABOVE", value_name = "PERCENT")]
    pub disk_clean_above: Option<u8>,
    /// Percent of the disk in use until which unused images are removed [default: 75]
    #[arg(long, env = "LONGSHORE_AGENT_DISK_CLEAN_UNTIL", value_name = "PERCENT")]
    pub disk_clean_until: Option<u8>,
    /// Percent of the disk in use above which nothing is pulled or placed here [default: 95]
    #[arg(long, env = "LONGSHORE_AGENT_DISK_REFUSE_ABOVE", value_name = "PERCENT")]
    pub disk_refuse_above: Option<u8>,
    /// How long a container waits for room on the disk [default: 10m]
    #[arg(long, env = "LONGSHORE_AGENT_DISK_WAIT", value_name = "SPAN")]
    pub disk_wait: Option<Span>,
    /// How long an image must have been unused before it is removed [default: 1h]
    #[arg(long, env = "LONGSHORE_AGENT_IMAGE_CLEANUP_AGE", value_name = "SPAN")]
    pub image_cleanup_age: Option<Span>,
    /// Whether images may be removed that this agent did not pull [default: false]
    #[arg(long, env = "LONGSHORE_AGENT_IMAGE_CLEANUP_UNTRACKED", value_name = "BOOL")]
    pub image_cleanup_untracked: Option<bool>,
    /// File with credentials for registries, like Docker's config.json, mode 0600 [default: none]
    #[arg(long, env = "LONGSHORE_AGENT_REGISTRY_AUTH_FILE", value_name = "FILE")]
    pub registry_auth_file: Option<PathBuf>,
    /// Directories whose files containers may take variables from (environmentFiles) [default: none]
    #[arg(long, env = "LONGSHORE_AGENT_ENVIRONMENT_FILE_DIRS", value_name = "DIRS", value_delimiter = ',')]
    pub environment_file_dirs: Option<Vec<PathBuf>>,
    /// File with authorities that web servers with such files may be certified by, besides the system's, as PEM
    /// [default: none]
    #[arg(long, env = "LONGSHORE_AGENT_ENVIRONMENT_FILE_CA", value_name = "FILE")]
    pub environment_file_ca: Option<PathBuf>,
    /// NFS exports that stand for file systems of EFS: fs-ID=SERVER:/PATH,fs-ID=SERVER:/PATH [default: none]
    #[arg(long, env = "LONGSHORE_AGENT_EFS", value_name = "EXPORTS", value_parser = super::values::efs)]
    pub efs: Option<BTreeMap<String, EfsServer>>,
    /// Cgroup below which every task has its own [default: longshore]
    #[arg(long, env = "LONGSHORE_AGENT_TASK_CGROUP_PARENT", value_name = "NAME")]
    pub task_cgroup_parent: Option<String>,
    /// Whether this host takes part in the task network of awsvpc tasks [default: true]
    #[arg(long, env = "LONGSHORE_AGENT_TASK_NETWORK", value_name = "BOOL")]
    pub task_network: Option<bool>,
    /// Address, or link with the address, that other hosts send tunnel packets to [default: the one from which this
    /// host reaches the control plane, unless that is on this host]
    #[arg(long, env = "LONGSHORE_AGENT_UNDERLAY", value_name = "ADDRESS|LINK")]
    pub underlay: Option<String>,
    /// Sandboxes that wait for awsvpc tasks, so that they start at once [default: 8]
    #[arg(long, env = "LONGSHORE_AGENT_WARM_SANDBOXES", value_name = "COUNT")]
    pub warm_sandboxes: Option<u16>,
    /// How long stopped containers stay for `docker logs` [default: 10m]
    #[arg(long, env = "LONGSHORE_AGENT_CLEANUP_WAIT", value_name = "SPAN")]
    pub cleanup_wait: Option<Span>,
    /// Requests of metadata that each task may make, a second and at once after a pause [default: 40,60]
    #[arg(long, env = "LONGSHORE_AGENT_METADATA_RATE", value_name = "RATE,BURST")]
    pub metadata_rate: Option<Rate>,
    /// Loopback address at which programs of this host ask which tasks there are, or off [default: 127.0.0.1:51678]
    #[arg(long, env = "LONGSHORE_AGENT_INTROSPECTION", value_name = "ADDRESS:PORT|off")]
    pub introspection: Option<LocalAddress>,
    /// Loopback address of metrics for Prometheus, or off [default: off]
    #[arg(long, env = "LONGSHORE_AGENT_METRICS", value_name = "ADDRESS:PORT|off")]
    pub metrics: Option<LocalAddress>,
    /// Log filter, e.g. info or longshore_agent=debug,info [default: info]
    #[arg(long, env = "LONGSHORE_AGENT_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Log lines as text or json [default: text]
    #[arg(long, env = "LONGSHORE_AGENT_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Local status socket, mode 0600 [default: /run/longshore/agent.sock]
    #[arg(long, env = "LONGSHORE_AGENT_STATUS_SOCKET", value_name = "PATH")]
    pub status_socket: Option<PathBuf>,
}

impl Layer {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is not a table of these keys.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        toml::from_str(&text)
            .map_err(|e| ConfigError::File { path: path.into(), message: e.to_string().trim_end().to_owned() })
    }

    /// This layer over `below`: a key that is set here wins.
    #[must_use]
    pub fn or(self, below: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(below.data_dir),
            control: self.control.or(below.control),
            cluster: self.cluster.or(below.cluster),
            token_file: self.token_file.or(below.token_file),
            docker: self.docker.or(below.docker),
            reserved_memory_mib: self.reserved_memory_mib.or(below.reserved_memory_mib),
            reserved_ports_tcp: self.reserved_ports_tcp.or(below.reserved_ports_tcp),
            reserved_ports_udp: self.reserved_ports_udp.or(below.reserved_ports_udp),
            dynamic_ports: self.dynamic_ports.or(below.dynamic_ports),
            attributes: self.attributes.or(below.attributes),
            zone: self.zone.or(below.zone),
            allow_privileged: self.allow_privileged.or(below.allow_privileged),
            stop_timeout: self.stop_timeout.or(below.stop_timeout),
            dependency_timeout: self.dependency_timeout.or(below.dependency_timeout),
            room_timeout: self.room_timeout.or(below.room_timeout),
            pull_behavior: self.pull_behavior.or(below.pull_behavior),
            pull_begin_timeout: self.pull_begin_timeout.or(below.pull_begin_timeout),
            pull_stall_timeout: self.pull_stall_timeout.or(below.pull_stall_timeout),
            pull_timeout: self.pull_timeout.or(below.pull_timeout),
            disk_clean_above: self.disk_clean_above.or(below.disk_clean_above),
            disk_clean_until: self.disk_clean_until.or(below.disk_clean_until),
            disk_refuse_above: self.disk_refuse_above.or(below.disk_refuse_above),
            disk_wait: self.disk_wait.or(below.disk_wait),
            image_cleanup_age: self.image_cleanup_age.or(below.image_cleanup_age),
            image_cleanup_untracked: self.image_cleanup_untracked.or(below.image_cleanup_untracked),
            registry_auth_file: self.registry_auth_file.or(below.registry_auth_file),
            environment_file_dirs: self.environment_file_dirs.or(below.environment_file_dirs),
            environment_file_ca: self.environment_file_ca.or(below.environment_file_ca),
            efs: self.efs.or(below.efs),
            task_cgroup_parent: self.task_cgroup_parent.or(below.task_cgroup_parent),
            task_network: self.task_network.or(below.task_network),
            underlay: self.underlay.or(below.underlay),
            warm_sandboxes: self.warm_sandboxes.or(below.warm_sandboxes),
            cleanup_wait: self.cleanup_wait.or(below.cleanup_wait),
            metadata_rate: self.metadata_rate.or(below.metadata_rate),
            introspection: self.introspection.or(below.introspection),
            metrics: self.metrics.or(below.metrics),
            log: self.log.or(below.log),
            log_format: self.log_format.or(below.log_format),
            status_socket: self.status_socket.or(below.status_socket),
        }
    }
}

/// Variables with our prefix that are no key: `CONFIG` names the file, `TOKEN` carries a join token.
const OTHER_VARIABLES: [&str; 2] = ["CONFIG", "TOKEN"];

/// Refuses a misspelt variable, which would otherwise silently do nothing.
pub(super) fn refuse_unknown_variables(names: &[String]) -> Result<(), ConfigError> {
    let command = <Layer as clap::Args>::augment_args(clap::Command::new("agent"));
    let known = |name: &str| command.get_arguments().any(|a| a.get_env().is_some_and(|env| env == name));
    match names
        .iter()
        .find(|name| name.strip_prefix(ENV_PREFIX).is_some_and(|rest| !OTHER_VARIABLES.contains(&rest)) && !known(name))
    {
        Some(name) => Err(ConfigError::UnknownVariable(name.clone())),
        None => Ok(()),
    }
}
