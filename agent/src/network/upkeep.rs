//! What others change of the fabric, and how it comes back: heard of as it happens, and looked for from time to time.

use super::apply::{Lane, SharedFabric};
use super::fabric::Fault;
use super::handle::Inside;
use super::owner::{Done, Network};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Between two looks at the kernel, in which what somebody else removed is put back.
pub(super) const REPAIR: Duration = Duration::from_secs(10);

/// After a change by somebody else: what comes together is put back together.
const SETTLES: Duration = Duration::from_millis(100);

/// Between two looks at the kernel at least, whatever others change.
const APART: Duration = Duration::from_secs(1);

impl Network {
    /// Takes a fabric over, and looks at it whenever somebody else changed something of it.
    pub(super) fn adopt_fabric(&mut self, fabric: SharedFabric) {
        let (stirred, watched) = (self.stirred.clone(), fabric.clone());
        self.watcher = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                match watched.changed().await {
                    Ok(()) => stirred.notify_one(),
                    Err(fault) => {
                        let every_secs = REPAIR.as_secs();
                        tracing::warn!(error = %fault, every_secs, "what others change is not heard, only looked for");
                        return;
                    }
                }
                tokio::time::sleep(SETTLES).await;
            }
        })));
        if let Some(state) = &self.said.state {
            self.ends.inside.send_replace(Some(Inside { fabric: fabric.clone(), network: state.config }));
        }
        self.fabric = Some(fabric);
    }

    /// Somebody else changed something.
    pub(super) fn repair_soon(&mut self) {
        let soon = (Instant::now() + SETTLES).max(self.repaired_at + APART);
        self.next_repair = self.next_repair.min(soon);
    }

    pub(super) fn repair(&mut self) {
        let Some(fabric) = self.fabric.clone() else { return };
        self.lane = Lane::Busy;
        self.jobs.spawn(async move { Done::Repaired(fabric.repair().await) });
    }

    pub(super) fn repaired(&mut self, result: Result<Vec<String>, Fault>) {
        self.lane = Lane::Idle;
        self.take_lost();
        match result {
            Ok(repairs) => {
                self.repair_fault = None;
                for what in repairs {
                    tracing::warn!(what, "put back what somebody else removed from the task network");
                }
            }
            Err(Fault { why, .. }) => {
                if self.repair_fault.as_ref() != Some(&why) {
                    tracing::error!(why, "what is missing of the task network cannot be put back");
                }
                self.repair_fault = Some(why);
            }
        }
    }
}
