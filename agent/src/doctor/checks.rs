//! The checks of a host.

use super::Finding;
use crate::aside::HeldUp;
use crate::disk::Rooms;
use crate::engine::docker::chain;
use crate::engine::status::{EngineStatus, Health};
use crate::network::{NetworkHandle, Underlay};
use async_trait::async_trait;
use longshore_docker::Docker;
use longshore_model::CheckStatus;
use longshore_model::health::{CONTAINER_RUNTIME, DISK, LEDGER, NETWORK};
use nix::sys::statvfs::statvfs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Longest wait for a sign of life of the container engine; that of ECS's agent.
const PING: Duration = Duration::from_secs(2);

/// Longest wait for an answer of another part of this process, or of a file system.
const ANSWER: Duration = Duration::from_secs(2);

/// With less than this on a disk the engine cannot make containers, nor the agent save what it does.
const LEAST_MIB: u64 = 64;

/// With less than this share of its inodes a file system is as full.
const LEAST_INODES_PER_MILLE: u64 = 5;

/// Makes every check once.
#[async_trait]
pub trait Look: Send + Sync {
    /// What they found, in an order that stays.
    async fn all(&self) -> Vec<Finding>;
}

/// The checks of the real host.
pub struct HostChecks {
    /// The container engine.
    pub docker: Docker,
    /// Asks the reconciler how it is.
    pub engine: mpsc::Sender<oneshot::Sender<EngineStatus>>,
    /// The task network's owner.
    pub network: NetworkHandle,
    /// Whether this host is to take part in the task network.
    pub task_network: bool,
    /// Whether it can.
    pub underlay: watch::Receiver<Underlay>,
    /// A directory of the agent's.
    pub data_dir: PathBuf,
    /// The disk of the engine's directory.
    pub rooms: Arc<Rooms>,
}

#[async_trait]
impl Look for HostChecks {
    async fn all(&self) -> Vec<Finding> {
        let ping = async {
            match tokio::time::timeout(PING, self.docker.ping()).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(chain(&error)),
                Err(_) => Err(format!("it has not answered a ping for {} s", PING.as_secs())),
            }
        };
        let status = async {
            let (question, answer) = oneshot::channel();
            let asked = async {
                self.engine.send(question).await.ok()?;
                answer.await.ok()
            };
            tokio::time::timeout(ANSWER, asked).await.ok().flatten()
        };
        // One that cannot, or is not to, is as well as others.
        let part = self.task_network && matches!(*self.underlay.borrow(), Underlay::At(_));
        let network = async {
            if part { tokio::time::timeout(ANSWER, self.network.status()).await.ok().flatten() } else { None }
        };
        let (ping, status, network, disk) = tokio::join!(ping, status, network, self.disk());
        let mut all =
            vec![runtime(ping, status.as_ref().map(|s| &s.docker)), ledger(status.as_ref().map(|s| &s.ledger))];
        all.push(disk);
        if part {
            all.push(match network {
                // It was not told of the network yet.
                Some(line) if !line.ok && line.generation == 0 => {
                    Finding { check: NETWORK, status: CheckStatus::Initializing, reason: line.why }
                }
                Some(line) => finding(NETWORK, line.ok, line.why),
                None => unknown(NETWORK, "the agent's network part does not answer"),
            });
        }
        all
    }
}

impl HostChecks {
    /// The disk of the agent's directory and that of the engine's. One that hangs is not looked at again before it
    /// answers.
    async fn disk(&self) -> Finding {
        if let Some(why) = self.rooms.short().await {
            return finding(DISK, false, Some(why));
        }
        for place in std::iter::once(self.data_dir.as_path()).chain(self.rooms.root()) {
            let looked_at = place.to_owned();
            match self.rooms.aside().run(place, ANSWER, move || full(&looked_at)).await {
                Ok(None) => {}
                Ok(Some(why)) => return finding(DISK, false, Some(why)),
                Err(held @ (HeldUp::Late { .. } | HeldUp::Hangs { .. })) => {
                    return finding(DISK, false, Some(held.to_string()));
                }
                Err(held @ HeldUp::Thread { .. }) => return unknown(DISK, &chain(&held)),
            }
        }
        finding(DISK, true, None)
    }
}

/// What the engine's listing says counts too: an engine may answer pings while everything else of it hangs.
pub(super) fn runtime(ping: Result<(), String>, listing: Option<&Health>) -> Finding {
    match (ping, listing) {
        (Err(why), _) => finding(CONTAINER_RUNTIME, false, Some(format!("the container engine: {why}"))),
        (Ok(()), Some(Health { ok: false, why })) => {
            let why = why.as_deref().unwrap_or("its containers could not be listed");
            finding(CONTAINER_RUNTIME, false, Some(format!("the container engine answers a ping, and more not: {why}")))
        }
        (Ok(()), Some(Health { ok: true, .. })) => finding(CONTAINER_RUNTIME, true, None),
        (Ok(()), None) => unknown(CONTAINER_RUNTIME, "the agent's engine does not answer"),
    }
}

pub(super) fn ledger(ledger: Option<&Health>) -> Finding {
    match ledger {
        Some(Health { ok, why }) => {
            finding(LEDGER, *ok, why.as_ref().map(|why| format!("the agent's ledger could not be written: {why}")))
        }
        None => unknown(LEDGER, "the agent's engine does not answer"),
    }
}

fn finding(check: &'static str, well: bool, reason: Option<String>) -> Finding {
    let status = if well { CheckStatus::Ok } else { CheckStatus::Impaired };
    Finding { check, status, reason: reason.filter(|_| !well) }
}

fn unknown(check: &'static str, why: &str) -> Finding {
    Finding { check, status: CheckStatus::InsufficientData, reason: Some(why.to_owned()) }
}

/// Why nothing more fits onto the file system of `place`. One that cannot be asked is left to whoever writes to it.
fn full(place: &Path) -> Option<String> {
    let found = statvfs(place).ok()?;
    let free_mib = found.blocks_available().saturating_mul(found.fragment_size()) >> 20;
    if free_mib < LEAST_MIB {
        return Some(format!("{free_mib} MiB are free at {}: make room there", place.display()));
    }
    // File systems that make inodes as they need them say that they have none.
    let (inodes, free) = (found.files(), found.files_available());
    (inodes > 0 && free.saturating_mul(1000) / inodes < LEAST_INODES_PER_MILLE)
        .then(|| format!("{free} inodes are free at {}: remove files there", place.display()))
}
