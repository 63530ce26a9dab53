//! The truth of a Longshore: records, commands, the owner task and the operations of ECS and its siblings.
//!
//! ```text
//! ops: parse, resolve -> command -> owner task: apply to a working copy -> commit (store) -> publish -> answer
//!                                     ^ agents' reports enter as commands too            \-> watchers of instances
//! ```
//!
//! [`Core`] is the handle that the API front and the sessions with agents hold; [`OwnerTask`] is the one task that
//! changes anything. Nothing is answered before it is durable, and no reader sees what a crash would forget. This
//! crate opens no socket and no file: requests come as bytes, agents' words as `longshore_model` types, and
//! durability is behind `longshore_store::Store`.

pub mod agent;
mod applied;
mod bandwidth;
mod caller;
mod capacity;
mod change;
mod clock;
mod command;
mod commands;
mod config;
pub mod definition;
pub mod ec2;
mod events;
mod exec;
mod handle;
mod health;
mod keys;
mod needs;
mod open;
mod ops;
mod owner;
mod page;
mod protection;
pub mod records;
mod registry;
mod render;
mod scaler;
mod schedules;
mod seal;
mod secret_name;
mod secret_value;
mod services;
mod show;
mod state;
mod target;
mod token;
mod usage;
mod watchers;

pub use agent::{AgentHello, ConnectError, JoinError, JoinKey, Registered, SessionError, SessionId, Unavailable};
pub use caller::{Caller, Principal};
pub use clock::{Clock, SystemClock, Tick};
pub use config::{CoreConfig, FirstStart, Losses};
pub use ec2::{Ec2Error, Ec2Operation};
pub use events::{Courier, Dispatcher, LogGroup, Undelivered, WebhookRequest};
pub use exec::{
    AgentEnd, Claimed, ClientEnd, ExecConfig, ExecError, ExecSession, ExecStart, Execs, SESSIONS_OF_INSTANCE,
};
pub use handle::{Core, RootCredentials};
pub use open::OpenError;
pub use owner::{OwnerError, OwnerTask};
pub use protection::{ProtectionChange, ProtectionError};
pub use registry::{CredentialsError, RegistryCredentials};
pub use render::render;
pub use scaler::Autoscaler;
pub use schedules::ScheduleEngine;
pub use seal::{SealingKey, UnsealError};
pub use services::Controller;
pub use state::{ClusterState, Family, HostState, NetworkView, ServiceState, State, TaskCounts};
pub use token::{JoinToken, TokenError, TokenHash};
