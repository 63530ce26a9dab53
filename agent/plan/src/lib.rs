//! The agent's decisions, pure: from what a task should be, what the ledger knows of it, what was seen of its
//! containers and the time, to the steps that bring it nearer, and to what is reported of it.
//!
//! Owns: the phases of a task and its containers ([`TaskRecord`]), which of them may follow which, the order of
//! steps, retries, and ECS's words for what went wrong. Never: does anything. There is no I/O, no clock and no
//! async here; the agent's `engine` feeds it and carries its [`Step`]s out.
//!
//! # How a task moves
//! Everything that becomes known enters through a method of [`Task`]: [`Task::assign`] (the control plane's wish),
//! [`Task::sight`] (a listing of containers), [`Task::hint`] (an event) and [`Task::finish`] (a step's outcome).
//! [`Task::pass`] then decides. Between passes nothing is remembered but the record, which is durable, and
//! [`Live`](task::Live), which a restart may lose.
//!
//! # At most once
//! A container's start is asked for only when the record says [`Phase::Starting`] *durably*
//! ([`Step::needs_saved`]). So after a crash: a container whose record is before `Starting` never ran, whatever
//! became of it; one that is `Starting` and still there unstarted never ran either, provided that it was looked at
//! with an inspection, which waits for a start in progress; one that is `Starting` and gone may have run and is
//! reported stopped. Nothing leads from `Stopped` back, and from `Running` only to [`Phase::Restarting`]: a restart
//! policy starts the same container again, as often as its record says.
//!
//! # Room
//! Before anything is made for a task it has its place among the tasks on the host ([`room`]): memory, GPUs and fixed
//! ports that no other has. Whoever feeds the table keeps [`Room`] in line with each task after each pass
//! ([`Room::sync`]), before another task is passed over.
//!
//! # What is added later
//! Something that a task needs beside its containers is a [`ResourceKind`] with the same small life as the others;
//! what a container waits for before it is created is listed in one function, `needs`; for what other containers it
//! waits before it is started is in `order`.

mod clock;
mod company;
pub mod disk;
mod fence;
mod images;
pub mod interface;
pub mod names;
pub mod observe;
mod order;
pub mod outcome;
pub mod outline;
mod pass;
pub mod policy;
pub mod ports;
pub mod reasons;
pub mod record;
mod report;
mod restart;
pub mod room;
mod settle;
pub mod step;
pub mod task;

pub use fence::Contact;
pub use interface::Interface;
pub use observe::{Inspected, RunState, Sighting};
pub use outcome::{Creation, Failure, Made, Outcome, Stage};
pub use outline::{Outline, OutlineContainer, Supervise};
pub use pass::{EngineView, Pass, View, Waiting};
pub use policy::Policy;
pub use ports::{PortClaims, PortKey, ResolvedPort};
pub use record::{
    ContainerRecord, Ending, Phase, ResourceKind, ResourcePhase, ResourceRecord, Restarts, Stopped, TaskRecord, Times,
    Wish,
};
pub use room::{Demand, Place, Room};
pub use step::{Halt, Lane, Step};
pub use task::Task;
