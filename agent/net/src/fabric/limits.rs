//! How fast a task may receive and send.
//!
//! Into a task: a token bucket on the fabric's end of its link. Out of it: what comes in through that link goes through
//! another one with a bucket of its own, and comes back; the task cannot reach either. A firewall's limit would drop
//! what a queue only delays, and TCP would crawl.

use super::undo::delete_links;
use super::{Fabric, Inner, lock};
use crate::netlink::route::Link;
use crate::netlink::tc::{self, Bucket};
use crate::netlink::{NetlinkError, Request, Socket, route};
use longshore_model::network::{Bandwidth, EniId};
use nix::errno::Errno;
use std::collections::BTreeMap;

/// Why a task's limits are not in force.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// It has no interface.
    #[error("{eni} has no link to limit")]
    NoLink {
        /// The interface.
        eni: EniId,
    },
    /// The kernel cannot do it.
    #[error("this kernel cannot limit {eni}; load the module `{module}`")]
    Module {
        /// The interface.
        eni: EniId,
        /// What it needs.
        module: &'static str,
    },
    /// The kernel refused.
    #[error("could not limit {eni}")]
    Netlink {
        /// The interface.
        eni: EniId,
        /// Why.
        #[source]
        source: NetlinkError,
    },
}

/// What passes at once after a pause: a hundredth of a second's worth, and never less than a few packets.
fn bucket(bits_per_second: u64, mtu: u16) -> Bucket {
    let rate = (bits_per_second / 8).max(1);
    let packet = u64::from(mtu) + 14;
    let burst = (rate / 100).clamp(4 * packet, 4 << 20);
    // What waits: a twentieth of a second's worth. Less, and TCP does not fill a slow link; more, and it only waits.
    let limit = burst + (rate / 20).clamp(32 * packet, 16 << 20);
    Bucket { rate, burst: to_u32(burst), limit: to_u32(limit) }
}

fn to_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What the kernel says when it has no such queue, action or kind of link.
fn lacks(error: &NetlinkError) -> bool {
    matches!(error.errno(), Some(Errno::EOPNOTSUPP | Errno::ENOENT))
}

impl Fabric {
    /// Makes a task's limits these. The task has its interface; doing it again changes nothing.
    ///
    /// # Errors
    /// When the kernel refuses, or lacks what is needed.
    pub async fn set_limits(&self, eni: EniId, limits: Bandwidth) -> Result<(), LimitError> {
        self.run(move |inner| {
            inner.set_limits(eni, limits)?;
            lock(&inner.wired).limit(eni, limits);
            Ok(())
        })
        .await
    }
}

/// Removes what may not be there.
fn remove(socket: &mut Socket, request: Request) -> Result<(), NetlinkError> {
    match socket.all(&[request]) {
        // A link without a queue of ours has one of the kernel's, which cannot be removed.
        Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::EINVAL)) => Ok(()),
        result => result,
    }
}

/// Whether a link's limits are in force, given all links and the buckets that are there.
pub(super) fn in_force(
    socket: &mut Socket,
    (limits, mtu): (Bandwidth, u16),
    (link, shaper): (&Link, Option<&Link>),
    buckets: &BTreeMap<u32, (u32, Bucket)>,
) -> Result<bool, NetlinkError> {
    let has = |link: u32, bits| buckets.get(&link).is_some_and(|(_, there)| there.is(&bucket(bits, mtu)));
    if limits.ingress_bps.is_some_and(|bits| !has(link.index, bits)) {
        return Ok(false);
    }
    let Some(bits) = limits.egress_bps else { return Ok(true) };
    let Some(shaper) = shaper.filter(|shaper| shaper.up && has(shaper.index, bits)) else { return Ok(false) };
    Ok(tc::redirects(socket, link.index)? == [shaper.index])
}

impl Inner {
    pub(super) fn set_limits(&self, eni: EniId, limits: Bandwidth) -> Result<(), LimitError> {
        let failed = |source| LimitError::Netlink { eni, source };
        let needs = |module: &'static str| {
            move |source: NetlinkError| match lacks(&source) {
                true => LimitError::Module { eni, module },
                false => LimitError::Netlink { eni, source },
            }
        };
        let mtu = self.config.network.mtu;
        let mut socket = lock(&self.fabric_route);
        let link = route::find_link(&mut socket, &self.names().task_link(eni)).map_err(failed)?;
        let link = link.ok_or(LimitError::NoLink { eni })?.index;
        match limits.ingress_bps {
            Some(bits) => tc::set_bucket(&mut socket, link, &bucket(bits, mtu)).map_err(needs("sch_tbf"))?,
            None => remove(&mut socket, tc::del_bucket(link)).map_err(failed)?,
        }
        let name = self.names().shaper(eni);
        let shaper = route::find_link(&mut socket, &name).map_err(failed)?;
        let Some(bits) = limits.egress_bps else {
            remove(&mut socket, tc::del_ingress(link)).map_err(failed)?;
            let indexes: Vec<u32> = shaper.iter().map(|shaper| shaper.index).collect();
            return delete_links(&mut socket, &indexes).map_err(failed);
        };
        let shaper = match shaper {
            Some(shaper) => {
                socket.all(&[route::set_up(shaper.index)]).map_err(failed)?;
                shaper
            }
            None => {
                socket.all(&[route::add_ifb(&name)]).map_err(needs("ifb"))?;
                route::find_link(&mut socket, &name).map_err(failed)?.ok_or(LimitError::NoLink { eni })?
            }
        };
        tc::set_bucket(&mut socket, shaper.index, &bucket(bits, mtu)).map_err(needs("sch_tbf"))?;
        if tc::redirects(&mut socket, link).map_err(failed)? != [shaper.index] {
            remove(&mut socket, tc::del_ingress(link)).map_err(failed)?;
            socket.all(&[tc::add_ingress(link)]).map_err(needs("sch_ingress"))?;
            socket.all(&[tc::redirect(link, shaper.index)]).map_err(needs("act_mirred"))?;
        }
        Ok(())
    }
}
