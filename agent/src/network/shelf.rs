//! What the network owner needs of the host's disk, named for the need. The real ones are in `saved` and `files`; tests
//! and the simulation of a fleet may pass ones in memory. Nothing here decides or retries anything.

use super::files::TaskNames;
use super::quarantine::Quarantine;
use super::saved::{Said, Step};
use async_trait::async_trait;
use longshore_model::{EniId, EniReport};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

/// What is there again after a restart.
#[async_trait]
pub trait Shelf: Send + Sync {
    /// What was kept. What is not readable counts as absent.
    fn load(&self) -> (Said, Quarantine);
    /// Whether the next step is better saved as the whole.
    fn wants_whole(&self) -> bool;
    /// Saves all that the control plane said.
    async fn save_said(&self, said: Said) -> io::Result<()>;
    /// Adds steps to what is kept of it.
    async fn save_steps(&self, steps: Vec<Step>) -> io::Result<()>;
    /// Saves the addresses that rest.
    async fn save_resting(&self, quarantine: &Quarantine) -> io::Result<()>;
}

/// The files that name a task and its resolver, by interface.
#[async_trait]
pub trait InterfaceFiles: Send + Sync {
    /// The directory of an interface.
    fn of(&self, eni: EniId) -> PathBuf;
    /// Writes the files of an interface.
    async fn write(&self, eni: &EniReport, names: TaskNames) -> io::Result<()>;
    /// Removes those of every other interface.
    async fn keep(&self, known: BTreeSet<EniId>) -> io::Result<()>;
    /// Removes those of one; absent is fine.
    async fn remove(&self, eni: EniId) -> io::Result<()>;
}
