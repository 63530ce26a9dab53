//! Where a host answers to its tasks (the metadata endpoint, [`METADATA`]), in both of its namespaces.
//!
//! Tasks with an interface of their own reach a socket inside the fabric, where nothing else is. Containers on the
//! host's bridge and processes on its own network reach the address on the host's `lo`; there port 80 is whoever's, so
//! a table of ours leads them to another one, before Docker's rules could lead them to a container that publishes 80.
//! The same table keeps neighbours of the host away from that address, and containers on its bridges and tasks on its
//! own network away from every other link-local one: clouds hand out the host's own keys there.

use super::base::{Settled, ensure_table};
use super::{Fabric, FabricError, Repair, blocking, lock};
use crate::names::{METADATA, Names, host_net};
use crate::namespace::{Namespace, NamespaceError};
use crate::netlink::{Family, NetlinkError, Socket};
use crate::nft::batch::Nft;
use crate::nft::program;
use crate::nft::program::ProgramError;
use crate::nft::ruleset::{self, HostSockets};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Type};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 256;

/// The port at which tasks ask.
const HTTP: u16 = 80;

/// Why there is no socket for tasks.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The namespace is out of reach.
    #[error("could not listen on {address} for tasks")]
    Namespace {
        /// The address.
        address: SocketAddrV4,
        /// Why.
        #[source]
        source: NamespaceError,
    },
    /// The kernel refused: somebody has the port, for example.
    #[error("could not listen on {address} for tasks; does another program have the port?")]
    Socket {
        /// The address.
        address: SocketAddrV4,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where cgroups are mounted, as `nft` takes it.
const CGROUPS: &str = "/sys/fs/cgroup";

/// How the sockets of tasks that use the host's own network are told from the host's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TaskSockets {
    /// Nobody knows yet: what an earlier agent has written stays.
    #[default]
    Unknown,
    /// They are not.
    Untold,
    /// By a cgroup (v2) that all of those tasks are below: its path from `/sys/fs/cgroup` on.
    Below(String),
    /// By their class (`net_cls.classid`, v1).
    Class(u32),
}

/// What the host's side is made of.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// The port that the agent has there.
    pub port: u16,
    /// Links of the host behind which containers are.
    pub bridges: Vec<String>,
    /// What things are called.
    pub names: Names,
    /// The file of the host's network namespace; the one of the calling thread when absent.
    pub host: Option<PathBuf>,
}

/// The address in the host's namespace, and its table. A cheap handle.
#[derive(Debug, Clone)]
pub struct HostEndpoint {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: EndpointConfig,
    host: Namespace,
    route: Mutex<Socket>,
    nft: Mutex<Nft>,
    /// The rules about tasks' sockets that could not be loaded here, and why.
    refused: Mutex<Option<(HostSockets, String)>>,
}

impl HostEndpoint {
    /// Opens what is needed for it. Nothing is made before [`HostEndpoint::repair`].
    ///
    /// # Errors
    /// When the namespace is out of reach, or `nft` or nftables are missing.
    pub async fn open(config: EndpointConfig) -> Result<Self, FabricError> {
        let host = match &config.host {
            Some(path) => Namespace::open(path),
            None => Namespace::of_this_thread(),
        };
        let host = host.map_err(FabricError::Namespace)?;
        blocking(move || {
            program::check().map_err(FabricError::Program)?;
            let open = || -> Result<(Socket, Socket), NetlinkError> {
                Ok((Socket::open(Family::Route)?, Socket::open(Family::Netfilter)?))
            };
            let opened = host.visit(open).map_err(FabricError::Namespace)?;
            let (route, nft) = opened.map_err(FabricError::netlink("open sockets"))?;
            let nft = Nft::new(nft, config.names.endpoint_table());
            let (route, nft, refused) = (Mutex::new(route), Mutex::new(nft), Mutex::new(None));
            let inner = Inner { config, host, route, nft, refused };
            Ok(Self { inner: Arc::new(inner) })
        })
        .await
    }

    /// Puts back what is missing, and says what: nothing the second time. Of `tasks` it keeps away what is there by now:
    /// a cgroup that is not has no process.
    ///
    /// # Errors
    /// When something cannot be put back.
    pub async fn repair(&self, tasks: TaskSockets) -> Result<Vec<Repair>, FabricError> {
        let inner = self.inner.clone();
        blocking(move || inner.ensure(&tasks)).await
    }

    /// Why tasks on the host's own network reach what the host reaches although their sockets could be told; `None` when
    /// they do not, as far as [`HostEndpoint::repair`] has tried.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        lock(&self.inner.refused).as_ref().map(|(_, why)| why.clone())
    }

    /// The socket that the table leads tasks to. It may be opened before the address is there.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn listen(&self) -> Result<TcpListener, ListenError> {
        listen(&self.inner.host, SocketAddrV4::new(METADATA, self.inner.config.port)).await
    }
}

impl Inner {
    fn ensure(&self, tasks: &TaskSockets) -> Result<Vec<Repair>, FabricError> {
        let mut done = Vec::new();
        let EndpointConfig { port, bridges, names, .. } = &self.config;
        let name = names.endpoint_table();
        let load = |sockets: Option<&HostSockets>| {
            let table = ruleset::endpoint(names, bridges, *port, sockets);
            ensure_table(&self.host, &mut lock(&self.nft), &table, &name, "")
        };
        // Whom it keeps away comes before what it keeps them from.
        let sockets = told(tasks);
        let was_refused = |sockets: &HostSockets| lock(&self.refused).as_ref().is_some_and(|(was, _)| was == sockets);
        let loaded = match sockets.filter(|sockets| !was_refused(sockets)) {
            None if *tasks == TaskSockets::Unknown && lock(&self.nft).exists().map_err(FabricError::Nft)? => false,
            None => load(None)?,
            Some(sockets) => match load(Some(&sockets)) {
                // An old kernel, for example. Everything else goes on.
                Err(FabricError::Table { source: source @ ProgramError::Refused { .. }, .. }) => {
                    *lock(&self.refused) = Some((sockets, source.to_string()));
                    load(None)?
                }
                result => {
                    let loaded = result?;
                    *lock(&self.refused) = None;
                    loaded
                }
            },
        };
        if loaded {
            done.push(Repair::Table(name));
        }
        let mut socket = lock(&self.route);
        let mut host = Settled { socket: &mut socket, done: &mut done, place: "host's namespace" };
        let gone = || FabricError::netlink("find `lo`")(NetlinkError::Garbled("it is not there".into()));
        let lo = host.find("lo")?.ok_or_else(gone)?;
        host.raise(&lo)?;
        host.addresses(&lo, &[host_net(METADATA.into())], true)?;
        Ok(done)
    }
}

fn told(tasks: &TaskSockets) -> Option<HostSockets> {
    match tasks {
        TaskSockets::Unknown | TaskSockets::Untold => None,
        TaskSockets::Below(path) => {
            let directory = std::fs::metadata(Path::new(CGROUPS).join(path)).ok()?;
            Some(HostSockets::below(path, directory.ino()))
        }
        TaskSockets::Class(class) => Some(HostSockets::of_class(*class)),
    }
}

impl Fabric {
    /// The socket at which tasks with an interface of their own ask. It stays good as long as the fabric's namespace.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn listen(&self) -> Result<TcpListener, ListenError> {
        listen(self.namespace(), SocketAddrV4::new(METADATA, HTTP)).await
    }
}

async fn listen(at: &Namespace, address: SocketAddrV4) -> Result<TcpListener, ListenError> {
    let open = move || -> io::Result<TcpListener> {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        // Somebody may take the address away for a moment; the socket is none the worse for it.
        setsockopt(&socket, sockopt::IpFreebind, &true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::V4(address).into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let opened = at.run(open).await.map_err(|source| ListenError::Namespace { address, source })?;
    opened.map_err(|source| ListenError::Socket { address, source })
}
