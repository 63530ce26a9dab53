//! The truth of a Longshore: records, commands, the owner task and the ECS operations.
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
mod caller;
mod config;
pub mod definition;
mod handle;
pub mod records;
mod seal;
mod state;
mod token;

pub use agent::{AgentHello, ConnectError, JoinError, Registered, SessionError, SessionId, Unavailable};
pub use caller::{Caller, Principal};
pub use config::{CoreConfig, FirstStart};
pub use handle::{Core, OpenError, OwnerError, OwnerTask, RootCredentials};
pub use seal::{SealingKey, UnsealError};
pub use state::State;
pub use token::{JoinToken, TokenError, TokenHash};
