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

mod calls;
mod client;
mod config;
mod containers;
mod credentials;
mod error;
mod events;
mod exec;
mod hijack;
mod images;
mod info;
pub mod labels;
mod logs;
mod pause;
mod reference;
mod sandbox;
mod sizes;
mod volumes;

pub use calls::Calls;
pub use client::{ConnectError, Docker, Timeouts};
pub use config::{ConfigError, ContainerInput, CreateContainer, NETWORK_FILES, SandboxRef, container_config};
pub use containers::{
    CreateError, CreatedContainer, Exit, InspectedContainer, InspectedMount, ListedContainer, RemoveError, RunState,
    StartError, StopError,
};
pub use credentials::Credentials;
pub use error::{Cause, DockerError, Retry};
pub use events::{Action, ContainerHint, Hint};
pub use exec::{Attachable, ExecRequest, ExecState};
pub use hijack::{Input, Output, Piece, Streams};
pub use images::{ImageInfo, ListedImage, PullError, PullLimits, PullProgress, UNBOUNDED_PULLS, listed_name};
pub use info::{CgroupDriver, CgroupVersion, EngineInfo};
pub use labels::{container_name, volume_labels, volume_name};
pub use logs::{AWSLOGS, LogTarget, LoggedContainer};
pub use pause::{ListedPause, pause_config, pause_name};
pub use reference::{ImageRef, ReferenceError, registry_of, wanted_image};
pub use sandbox::{ImportError, ListedSandbox, SandboxInput, sandbox_config, sandbox_name, tar_of_one};
pub use sizes::WrittenSize;
pub use volumes::{ListedVolume, VolumeError};

/// How many create-and-start chains to keep in flight for a burst.
///
/// Docker Engine 20.10 on two cores, seconds for a burst of bridge containers (`examples/burst.rs`), fastest of the
/// rounds on a busy machine: 50 containers 9.7 with one in flight, 6.4 with 2, 5.8 with 4, **5.0 with 8**, 5.1 with 16,
/// 5.3 with 32; 100 containers 25.9 with 4, **23.1 with 8**, 26.3 with 16, 28.8 with 32. The engine works one start off
/// after the other for a good part of each; beyond 8 only its memory and the time to the first start grow.
pub const BURST_IN_FLIGHT: usize = 8;
