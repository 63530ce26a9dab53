//! The agent's Docker driver: the only code that knows bollard or speaks the Engine API.
//!
//! It owns the translation between [`longshore_model`] and the engine: what a container of a task looks like to
//! Docker ([`container_config`], pure), the calls that create, start, stop and remove one ([`Docker`]), and what
//! the engine says back, with every failure classified ([`DockerError`] and one error per operation).
//!
//! It decides nothing: no retries (except to reopen the event stream), no policy, no memory of what it did. Every
//! call has a deadline and every error says whether the engine may have acted ([`Retry`]). The agent's `engine`
//! talks to it through an adapter of its own.
//!
//! # How many calls at once
//! See [`BURST_IN_FLIGHT`].

mod client;
mod config;
mod containers;
mod error;
mod events;
mod images;
mod info;
pub mod labels;
mod reference;
mod volumes;

pub use client::{ConnectError, Docker, Timeouts};
pub use config::{ConfigError, ContainerInput, CreateContainer, container_config};
pub use containers::{
    CreateError, Exit, InspectedContainer, ListedContainer, RemoveError, RunState, StartError, StopError,
};
pub use error::{Cause, DockerError, Retry};
pub use events::{Action, ContainerHint, Hint};
pub use images::{ImageInfo, PullError, PullLimits, PullProgress};
pub use info::{CgroupDriver, CgroupVersion, EngineInfo};
pub use labels::{container_name, volume_labels, volume_name};
pub use reference::{ImageRef, ReferenceError};
pub use volumes::{ListedVolume, VolumeError};

/// How many create-and-start chains to keep in flight for a burst.
pub const BURST_IN_FLIGHT: usize = 8;
