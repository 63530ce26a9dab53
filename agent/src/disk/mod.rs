//! The host's disk: the file system that holds Docker's images and what containers write.
//!
//! Owns: measuring it, making space on it (images that nobody uses and that are old enough), the answer to whether
//! there is room for another image ([`Rooms`]), what the control plane is told of it, and looking after how much each
//! task has written ([`Quotas`]). Which images may go, and what a task that wrote too much comes to, is decided by
//! `longshore_plan::disk`. Never: touches an image that a container or a task needs, or that this agent did not pull
//! unless it is configured to; stops or removes a container (the engine does, on a hint from here).
//!
//! Three marks, in percent of use: above `clean_above` space is made until `clean_until`, first of what is kept of tasks
//! that are over and then of images; above `refuse_above` no image is pulled, and the control plane places nothing here.

mod claims;
mod history;
mod keeper;
mod limits;
mod quota;
mod room;
mod walk;

pub use keeper::{DiskKeeper, DiskLine, Parts};
pub use limits::StorageLimits;
pub use quota::{Quotas, Written};
pub use room::Rooms;

use longshore_plan::disk::{ImageRule, Marks, Space};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The part of the configuration that is about the disk.
#[derive(Debug, Clone, Copy)]
pub struct DiskSettings {
    /// When what is done.
    pub marks: Marks,
    /// Which images may go.
    pub images: ImageRule,
    /// How long a container waits for room.
    pub wait: Duration,
}

const MIB: u64 = 1 << 20;

/// How much of the file system of `path` is used, as `df` counts.
///
/// # Errors
/// When there is no such path.
pub fn measure(path: &Path) -> io::Result<Space> {
    let found = nix::sys::statvfs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
    let (free, used) = (bytes(found.blocks_available()), bytes(found.blocks().saturating_sub(found.blocks_free())));
    Ok(Space { total: used.saturating_add(free), free })
}

/// Whole MiB, as many as a `u32` takes.
pub(crate) fn mib(bytes: u64) -> u32 {
    u32::try_from(bytes / MIB).unwrap_or(u32::MAX)
}
