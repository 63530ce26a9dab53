//! What the kernel remembers of connections (ctnetlink), and how it forgets those of an address.

use super::lock;
use crate::netlink::attr::{self, Attrs};
use crate::netlink::{NetlinkError, Request, Socket};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Mutex;

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;

/// Sockets in both namespaces: the host's remembers what of a task it translated.
#[derive(Debug)]
pub(super) struct Tracking {
    sockets: [Mutex<Socket>; 2],
    /// Addresses to forget at the next reading of the list, which can be long: those who come while it is read share
    /// the next. When the kernel refuses, they stay for a later one.
    waiting: Mutex<BTreeSet<IpAddr>>,
}

fn header(family: u8) -> Vec<u8> {
    vec![family, 0, 0, 0]
}

/// Whether one of a connection's four addresses is among these.
fn concerns(attrs: &[u8], addresses: &BTreeSet<IpAddr>) -> bool {
    [TUPLE_ORIG, TUPLE_REPLY].into_iter().filter_map(|tuple| attr::find(attr::find(attrs, tuple)?, TUPLE_IP)).any(
        |ips| {
            attr::attributes(ips).any(|(_, bytes)| {
                let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
                v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).is_ok_and(|ip| addresses.contains(&ip))
            })
        },
    )
}

/// What removes the connection, and no other that took its place.
fn removal(family: u8, attrs: &[u8]) -> Option<Request> {
    let nested = 1 << 15;
    let mut body = Attrs::after(&header(family)).put(TUPLE_ORIG | nested, attr::find(attrs, TUPLE_ORIG)?);
    for kind in [ID, ZONE] {
        if let Some(value) = attr::find(attrs, kind) {
            body = body.put(kind, value);
        }
    }
    Some(Request { kind: DELETE, flags: 0, body: body.into_bytes() })
}

fn forget(socket: &mut Socket, family: u8, addresses: &BTreeSet<IpAddr>) -> Result<(), NetlinkError> {
    let replies = socket.dump(&Request { kind: GET, flags: 0, body: header(family) })?;
    let attrs = |body: &[u8]| body.get(4..).unwrap_or_default().to_vec();
    let removals: Vec<Request> = replies
        .iter()
        .map(|reply| attrs(&reply.body))
        .filter(|attrs| concerns(attrs, addresses))
        .filter_map(|attrs| removal(family, &attrs))
        .collect();
    for result in socket.try_all(&removals)? {
        match result {
            Err(refusal) if refusal.errno != Errno::ENOENT => return Err(NetlinkError::Refused(refusal)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

impl Tracking {
    pub(super) fn new(host: Socket, fabric: Socket) -> Self {
        Self { sockets: [Mutex::new(host), Mutex::new(fabric)], waiting: Mutex::default() }
    }

    /// Forgets all connections of these addresses. Those that the kernel refuses to forget wait for [`Self::settle`].
    pub(super) fn forget(&self, addresses: &BTreeSet<IpAddr>) -> Result<(), NetlinkError> {
        lock(&self.waiting).extend(addresses);
        self.settle()
    }

    /// Forgets what could not be forgotten before. Without such it asks for nothing.
    pub(super) fn settle(&self) -> Result<(), NetlinkError> {
        if lock(&self.waiting).is_empty() {
            return Ok(());
        }
        let [host, fabric] = &self.sockets;
        let (mut host, mut fabric) = (lock(host), lock(fabric));
        let addresses = std::mem::take(&mut *lock(&self.waiting));
        let result = [
            (NFPROTO_IPV4, addresses.iter().any(IpAddr::is_ipv4)),
            (NFPROTO_IPV6, addresses.iter().any(IpAddr::is_ipv6)),
        ]
        .into_iter()
        .filter(|(_, any)| *any)
        .try_for_each(|(family, _)| {
            forget(&mut fabric, family, &addresses)?;
            forget(&mut host, family, &addresses)
        });
        if result.is_err() {
            lock(&self.waiting).extend(addresses);
        }
        result
    }
}
