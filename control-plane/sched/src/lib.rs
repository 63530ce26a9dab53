//! Placement: which host a task goes to, and why every other host was passed over. Pure.
//!
//! It owns the rules: what fits, which constraints hold, in which order strategies choose, the cluster query
//! language. It has no I/O, keeps nothing between calls, and never decides that a task should run. The ECS
//! operations in `longshore-core` call it over a snapshot and check the answer again when they commit.
//!
//! - [`place`] chooses hosts for the tasks of one request, each choice seen by the next.
//! - [`check_on`] answers for one given host (StartTask, and the check at commit).
//! - [`explain`] gives the reason for every host that would be passed over.
//! - [`Usage`] is the bookkeeping that the caller keeps for each host, with the same arithmetic.
//! - [`query::Expression`] is the cluster query language, for `memberOf` and for list filters.

mod attributes;
mod claim;
mod host;
mod kept;
mod place;
pub mod query;
mod reason;
mod request;

pub use attributes::Attributes;
pub use claim::Claim;
pub use host::{Disk, Held, Host, HostStatus, Offer, Usage};
pub use place::{Outcome, PassedOver, Placed, check_on, explain, fits, place, place_by_draw};
pub use query::{Expression, QueryError};
pub use reason::{PortHolder, Reason, Shortage};
pub use request::{Constraint, Kept, Packed, Request, RequestError, SpreadOver, Strategy};
