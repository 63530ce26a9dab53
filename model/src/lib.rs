//! Longshore's domain, pure: ids, ARNs, resources, what an agent is asked to run and what it says of it.
//!
//! No async, no I/O, no protobuf, no HTTP. The control plane and the agent both speak in these types; the
//! protobuf edge (`longshore-proto`) and the ECS edge (`longshore-core`) convert to and from them once.

pub mod arn;
pub mod assignment;
pub mod exec;
pub mod health;
pub mod host;
pub mod id;
pub mod image;
pub mod lifecycle;
pub mod multiline;
pub mod network;
pub mod planted;
pub mod probe;
pub mod report;
pub mod spec;
pub mod state;
pub mod time;
pub mod usage;
pub mod volume;

pub use arn::Arn;
pub use assignment::{AssignedTask, Assignment};
pub use exec::{
    EXEC_CHUNK, EXEC_WINDOW, ExecInput, ExecOrder, ExecOutput, ExecWhat, FRAME_HEADER, FrameError, MAX_EXEC_BYTES,
    MAX_EXEC_WORDS, TerminalSize, frame_header, join_words, program_name, split_words,
};
pub use health::{CheckResult, CheckStatus, InstanceHealth};
pub use host::{
    Attribute, DiskStatus, HostFacts, HostVersions, MAX_ATTRIBUTE_CHARS, MAX_ATTRIBUTES, MAX_DISK_REASON_CHARS,
    MAX_HOST_TEXT_CHARS, Resources,
};
pub use id::{
    AccountId, ClusterKey, ClusterName, ContainerName, ExecId, Generation, IdError, InstanceId, Region, TaskId,
};
pub use image::ImageDigest;
pub use lifecycle::{Backoff, Dependency, HealthCheck, Lifecycle, RestartPolicy};
pub use multiline::{DATETIME_FORMAT, EventStart, MULTILINE_PATTERN, MultilineError};
pub use network::{
    AwsvpcSpec, Bandwidth, EniId, EniReport, GroupId, GroupRules, LEASE_LENGTH, LEASE_LENGTHS, Lease, Mac,
    MemberChanges, NetworkChanges, NetworkConfig, NetworkHealth, NetworkState, NetworkStatus, NetworkUpdate, Overlay,
    Peer, Rule, RuleId, RulePeer, SubnetId, Traffic, VpcId,
};
pub use probe::{PROBE_LABELS, Probe, Question};
pub use report::{ContainerReport, NetworkBinding, StopInfo, TaskReport};
pub use spec::{
    ContainerSpec, Device, EnvVar, Fence, HostPort, IpcMode, Link, LinuxParameters, LogConfig, NetworkMode, PidMode,
    PortMapping, Protocol, TaskSpec, Tmpfs, Ulimit,
};
pub use state::{ContainerCondition, ContainerStatus, DesiredStatus, HealthStatus, StopCode, TaskStatus};
pub use time::Timestamp;
pub use usage::{HostUsage, MAX_TASK_USAGES, TaskUsage};
pub use volume::{
    DockerVolume, EfsVolume, MountPoint, VolumeScope, VolumeSource, VolumeSpec, VolumesFrom, is_file_system_id,
};
