//! Checks of what a network mode promises.

use crate::handle::{Handle, NetError};
use crate::namespace::{Namespace, NamespaceError};

/// Why a container's network is not `lo` alone.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// Its namespace is out of reach; most likely the process ended.
    #[error("could not look at the network of process {pid}")]
    Namespace {
        /// A process of the container.
        pid: u32,
        /// Why.
        #[source]
        source: NamespaceError,
    },
    /// The kernel refused.
    #[error("could not look at the network of process {pid}")]
    Links {
        /// A process of the container.
        pid: u32,
        /// Why.
        #[source]
        source: NetError,
    },
    /// It has more than `lo`.
    #[error("process {pid} has the links {names:?}; only `lo` was expected")]
    Others {
        /// A process of the container.
        pid: u32,
        /// What it has beside `lo`.
        names: Vec<String>,
    },
    /// `lo` is missing or switched off.
    #[error("`lo` of process {pid} is missing or down")]
    Down {
        /// A process of the container.
        pid: u32,
    },
}

/// Checks that a process sees `lo`, switched on, and no other link: network mode `none`.
///
/// # Errors
/// When it sees something else, or ended.
pub async fn check_loopback_only(pid: u32) -> Result<(), LoopbackError> {
    let namespace = Namespace::of_process(pid).map_err(|source| LoopbackError::Namespace { pid, source })?;
    let links = |source| LoopbackError::Links { pid, source };
    let found = Handle::in_namespace(&namespace).await.map_err(links)?.links().await.map_err(links)?;
    let names: Vec<String> = found.iter().filter(|l| !l.loopback).map(|l| l.name.clone()).collect();
    if !names.is_empty() {
        return Err(LoopbackError::Others { pid, names });
    }
    if found.iter().any(|l| l.loopback && l.up) { Ok(()) } else { Err(LoopbackError::Down { pid }) }
}
