//! The fabric: the network namespace of a host in which `awsvpc` tasks, their security groups and the tunnels to other
//! hosts live.
//!
//! ```text
//! host namespace                     fabric namespace
//! eth0  <--- UDP ---- lsvx           the tunnel: its packets come and go in the host's namespace
//! lsl0  ====== leg ====== up0        what the host and the world see of all tasks
//!                         t<id> ==== eth0 in a sandbox, one for each task
//! ```
//!
//! [`Fabric`] is what the agent's network driver holds. It carries out and decides nothing: which tasks there are, what
//! addresses and groups they have, and who the other hosts are is said to it. What it makes is named after interfaces
//! ([`Names`]), so that a new agent finds what an old one left ([`Fabric::observe`], [`Fabric::remove_strays`]). All
//! of its work waits for the kernel and is done on threads that may; entering a namespace happens on a thread made for
//! it. Operations run to their end when their caller goes away.

mod base;
mod check;
mod claims;
mod docker_user;
mod endpoint;
mod error;
mod groups;
mod lan;
mod limits;
mod mend;
mod observe;
mod peers;
mod probe;
mod restore;
mod sandbox;
mod survey;
mod tracking;
mod undo;
mod watch;
mod wired;

pub use check::CheckError;
pub(crate) use check::{PORT as CHECK_PORT, check_address};
pub use claims::{AdmitError, Claim, DismissError};
pub use endpoint::{EndpointConfig, HostEndpoint, ListenError, TaskSockets};
pub use error::{FabricError, Repair};
pub use groups::GroupsError;
pub use lan::LanError;
pub use limits::LimitError;
pub use observe::{Elements, FabricLink, ObserveError, Observed, Stray};
pub use peers::{PeersError, PeersReport, RefusedPeer};
pub use probe::probe;
pub use sandbox::{UnwireError, Wire, WireError, Wired};
pub use watch::{AddressWatch, Changes};

use crate::names::Names;
use crate::namespace::Namespace;
use crate::netlink::{Family, NetlinkError, Socket};
use crate::nft::batch::Nft;
use crate::steps::Steps;
use claims::Rules;
use ipnet::Ipv4Net;
use longshore_model::network::{Lease, NetworkConfig, Peer};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Wirings at a time. Each holds a thread, and the kernel does most of it one after the other anyhow.
const WIRES_AT_ONCE: usize = 64;

/// Where a host's tunnel packets come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// The host's address that others send to.
    pub address: IpAddr,
    /// The link that has it, as far as is known. When it does not (any more), another one that has it is taken.
    pub device: String,
}

/// What a fabric is made of.
#[derive(Debug, Clone)]
pub struct FabricConfig {
    /// The same on all hosts.
    pub network: NetworkConfig,
    /// The host's own leases, the oldest first; at least one.
    pub leases: Vec<Lease>,
    /// The way to other hosts, when there are any.
    pub underlay: Option<Underlay>,
    /// Links of the host behind which containers are: tasks do not reach what is there, and it does not reach what is
    /// for tasks only.
    pub bridges: Vec<String>,
    /// The range of the addresses of services, when there are any.
    pub services: Option<Ipv4Net>,
    /// What things are called.
    pub names: Names,
    /// The file of the host's network namespace; the one of the calling thread when absent.
    pub host: Option<PathBuf>,
    /// Where operations are cut, in tests.
    pub steps: Steps,
}

impl FabricConfig {
    /// A fabric of this network on a host by itself, with these leases.
    #[must_use]
    pub fn new(network: NetworkConfig, leases: Vec<Lease>) -> Self {
        Self {
            network,
            leases,
            underlay: None,
            bridges: Vec::new(),
            services: None,
            names: Names::default(),
            host: None,
            steps: Steps::default(),
        }
    }
}

/// The fabric of this host. A cheap handle; clones are the same fabric.
#[derive(Debug, Clone)]
pub struct Fabric {
    inner: Arc<Inner>,
}

/// What is wanted of the kernel beside the base, to be put back when it is lost.
#[derive(Debug, Default)]
struct Wanted {
    leases: Vec<Lease>,
    /// Absent until they are said: a fabric that is taken over keeps its tunnels meanwhile.
    peers: Option<Vec<Peer>>,
    /// The underlay's link, as it was found last.
    device: String,
}

#[derive(Debug)]
struct Inner {
    config: FabricConfig,
    host: Namespace,
    fabric: Namespace,
    wanted: Mutex<Wanted>,
    /// Held while the base, the rules of groups or peers are changed, which are several transactions. Taken before any
    /// of the following, which are taken in this order and for one transaction at a time.
    editing: Mutex<()>,
    rules: Mutex<Rules>,
    host_nft: Mutex<Nft>,
    host_route: Mutex<Socket>,
    fabric_route: Mutex<Socket>,
    tracking: tracking::Tracking,
    /// The interfaces that are to be there. Taken last, for a moment.
    wired: Arc<Mutex<wired::Interfaces>>,
    /// Held while the interface of one sandbox is put right, and while one is forgotten. Taken after `editing`.
    mending: Mutex<()>,
    /// Somebody else changed something in the fabric's table since it was looked at last.
    touched: Arc<AtomicBool>,
    wires: Semaphore,
}

/// What a mutex guards is whole after every statement here, also when a thread panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what waits for the kernel.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: whoever waits is dropped before it could hear of it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The sockets into a namespace.
struct Sockets {
    route: Socket,
    nft: Socket,
    tracking: Socket,
}

fn sockets(namespace: &Namespace) -> Result<Sockets, FabricError> {
    let open = || -> Result<Sockets, NetlinkError> {
        Ok(Sockets {
            route: Socket::open(Family::Route)?,
            nft: Socket::open(Family::Netfilter)?,
            tracking: Socket::open(Family::Netfilter)?,
        })
    };
    let opened = namespace.visit(open).map_err(FabricError::Namespace)?;
    opened.map_err(|error| match error.errno() {
        Some(nix::errno::Errno::EPROTONOSUPPORT) => FabricError::NoNftables,
        _ => FabricError::netlink("open sockets")(error),
    })
}

impl Fabric {
    /// Makes the fabric, or takes over what is there. Nothing is made when something is in the way. What is there is
    /// taken over all the same: its tasks go on, and [`Fabric::repair`] says what is wrong.
    ///
    /// # Errors
    /// When this host cannot have the fabric, with what an operator can do about it.
    pub async fn open(config: FabricConfig) -> Result<Self, FabricError> {
        let host = match &config.host {
            Some(path) => Namespace::open(path),
            None => Namespace::of_this_thread(),
        };
        let host = host.map_err(FabricError::Namespace)?;
        blocking(move || {
            let (inner, found) = Inner::open(config, host)?;
            match inner.ensure() {
                // The next repair says it again.
                Err(error) if found => tracing::warn!(%error, "taking over a network that is not as it should be"),
                result => drop(result?),
            }
            Ok(Self { inner: Arc::new(inner) })
        })
        .await
    }

    /// Looks at all of the base, at peers, at what guards tasks and at their interfaces, and puts back what is missing.
    /// Of sandboxes it looks into a few ([`Fabric::adopt`]). Returns what it did: nothing the second time. What became
    /// of interfaces that it could not put back, [`Fabric::lost`] says.
    ///
    /// # Errors
    /// When something cannot be put back. What was put back before stays.
    pub async fn repair(&self) -> Result<Vec<Repair>, FabricError> {
        self.run(Inner::ensure).await
    }

    /// Changes the host's own leases, the oldest first.
    ///
    /// # Errors
    /// As [`Fabric::repair`].
    pub async fn set_leases(&self, leases: &[Lease]) -> Result<Vec<Repair>, FabricError> {
        let leases = leases.to_vec();
        self.run(move |inner| {
            base::check_leases(&inner.config.network, &leases)?;
            lock(&inner.wanted).leases = leases;
            inner.ensure()
        })
        .await
    }

    /// The names of what this fabric makes.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.inner.config.names
    }

    /// The fabric's namespace, for sockets that answer to tasks: open them in [`Namespace::run`].
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.inner.fabric
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> T {
        let inner = self.inner.clone();
        blocking(move || work(&inner)).await
    }
}

impl Inner {
    /// Also says whether it was there before.
    fn open(config: FabricConfig, host: Namespace) -> Result<(Self, bool), FabricError> {
        base::check_leases(&config.network, &config.leases)?;
        crate::nft::program::check().map_err(FabricError::Program)?;
        let mut of_host = sockets(&host)?;
        let file = config.names.fabric_netns();
        let pinned = crate::pin::pinned(&file);
        let found = pinned.is_some();
        if !found {
            survey::check_range(&mut of_host.route, &config)?;
            survey::survey(&mut of_host.route, &config)?;
        }
        crate::pin::prepare(config.names.run()).map_err(FabricError::Pin)?;
        let fabric = pinned.map_or_else(|| crate::pin::pin_new(&file), Ok).map_err(FabricError::Pin)?;
        let of_fabric = sockets(&fabric)?;
        let device = config.underlay.as_ref().map(|underlay| underlay.device.clone()).unwrap_or_default();
        let wanted = Wanted { leases: config.leases.clone(), peers: None, device };
        let inner = Self {
            rules: Mutex::new(Rules::new(Nft::new(of_fabric.nft, config.names.fabric_table()))),
            host_nft: Mutex::new(Nft::new(of_host.nft, config.names.host_table())),
            host_route: Mutex::new(of_host.route),
            fabric_route: Mutex::new(of_fabric.route),
            tracking: tracking::Tracking::new(of_host.tracking, of_fabric.tracking),
            wired: Arc::default(),
            mending: Mutex::new(()),
            touched: Arc::default(),
            wires: Semaphore::new(WIRES_AT_ONCE),
            wanted: Mutex::new(wanted),
            editing: Mutex::new(()),
            config,
            host,
            fabric,
        };
        Ok((inner, found))
    }

    fn names(&self) -> &Names {
        &self.config.names
    }
}
