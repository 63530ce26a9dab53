//! Queueing: a token bucket on a link, and the redirection of what comes in through a link to another one.
//!
//! netlink-packet-route has no token bucket, so these messages are put together here, as `tc` does.

use super::attr::{self, Attrs};
use super::{NetlinkError, Request, Socket};
use nix::errno::Errno;
use std::collections::BTreeMap;

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;

const TC_H_ROOT: u32 = 0xffff_ffff;
const TC_H_INGRESS: u32 = 0xffff_fff1;
/// The handle that the ingress queue always has.
const INGRESS_HANDLE: u32 = 0xffff_0000;
/// Ours, `5:` and `6:`: of a link's two, one is in use.
const BUCKET_HANDLES: [u32; 2] = [0x0005_0000, 0x0006_0000];

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;

const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TC_LINKLAYER_ETHERNET: u8 = 1;

const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TC_U32_TERMINAL: u8 = 1;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
const TC_ACT_STOLEN: u32 = 4;
const TCA_EGRESS_REDIR: u32 = 1;
const ETH_P_ALL: u16 = 3;

/// A token bucket: how much passes, and how much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// In bytes a second.
    pub(crate) rate: u64,
    /// Bytes that pass at once after a pause.
    pub(crate) burst: u32,
    /// Bytes that wait before more is dropped.
    pub(crate) limit: u32,
}

impl Bucket {
    /// Whether two are the same, as far as the kernel tells.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.rate, self.limit) == (other.rate, other.limit)
    }
}

/// `struct tcmsg`.
fn header(link: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for word in [link, handle, parent, info] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

/// The token buckets on what links send, with their handles, by link.
pub(crate) fn buckets(socket: &mut Socket) -> Result<BTreeMap<u32, (u32, Bucket)>, NetlinkError> {
    let replies = socket.dump(&Request { kind: RTM_GETQDISC, flags: 0, body: header(0, 0, 0, 0) })?;
    let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let bucket = |body: &[u8]| {
        let (of, handle, parent) = (word(body, 4)?, word(body, 8)?, word(body, 12)?);
        let attrs = body.get(20..)?;
        (parent == TC_H_ROOT && attr::text(attr::find(attrs, TCA_KIND)?) == "tbf").then_some(())?;
        let options = attr::find(attrs, TCA_OPTIONS)?;
        let parms = attr::find(options, TCA_TBF_PARMS)?;
        let wide = attr::find(options, TCA_TBF_RATE64).and_then(|b| Some(u64::from_ne_bytes(b.try_into().ok()?)));
        let rate = wide.or_else(|| word(parms, 8).map(u64::from))?;
        // The burst is told in units of the kernel's clock.
        Some((of, (handle, Bucket { rate, burst: 0, limit: word(parms, 24)? })))
    };
    Ok(replies.iter().filter_map(|reply| bucket(&reply.body)).collect())
}

/// Puts a token bucket on what a link sends, unless it is there.
///
/// One of another size takes the place of the old one at once, with what waits in it: a packet that waits and is larger
/// than a new, smaller burst would never leave, and hold up all that come after it.
pub(crate) fn set_bucket(socket: &mut Socket, link: u32, bucket: &Bucket) -> Result<(), NetlinkError> {
    let [one, other] = BUCKET_HANDLES;
    let handle = match buckets(socket)?.get(&link) {
        Some((_, there)) if there.is(bucket) => return Ok(()),
        Some((handle, _)) if *handle == one => other,
        Some(_) | None => one,
    };
    socket.all(&[add_bucket(link, handle, bucket)])
}

fn add_bucket(link: u32, handle: u32, bucket: &Bucket) -> Request {
    // struct tc_tbf_qopt: two rates of 12 bytes, limit, buffer, mtu. The kernel makes the other numbers of the burst.
    let slow = u32::try_from(bucket.rate).unwrap_or(u32::MAX);
    let mut parms = vec![0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
    parms.extend(slow.to_ne_bytes());
    parms.extend([0; 12]);
    parms.extend(bucket.limit.to_ne_bytes());
    parms.extend([0; 8]);
    let options =
        Attrs::new().put(TCA_TBF_PARMS, &parms).u32(TCA_TBF_BURST, bucket.burst).u64(TCA_TBF_RATE64, bucket.rate);
    let body = Attrs::after(&header(link, handle, TC_H_ROOT, 0)).string(TCA_KIND, "tbf").nest(TCA_OPTIONS, options);
    Request { kind: RTM_NEWQDISC, flags: NLM_F_CREATE | NLM_F_REPLACE, body: body.into_bytes() }
}

/// Takes the token bucket away.
pub(crate) fn del_bucket(link: u32) -> Request {
    Request { kind: RTM_DELQDISC, flags: 0, body: header(link, 0, TC_H_ROOT, 0) }
}

/// Makes a place where what comes in through a link can be redirected.
pub(crate) fn add_ingress(link: u32) -> Request {
    let body = Attrs::after(&header(link, INGRESS_HANDLE, TC_H_INGRESS, 0)).string(TCA_KIND, "ingress");
    Request { kind: RTM_NEWQDISC, flags: NLM_F_CREATE, body: body.into_bytes() }
}

/// Takes it away, with the redirection.
pub(crate) fn del_ingress(link: u32) -> Request {
    Request { kind: RTM_DELQDISC, flags: 0, body: header(link, INGRESS_HANDLE, TC_H_INGRESS, 0) }
}

/// Sends all that comes in through a link out of another one.
pub(crate) fn redirect(from: u32, to: u32) -> Request {
    // struct tc_u32_sel with one key that matches everything: flags, offshift, nkeys, offsets, a mask, the key.
    let mut everything = vec![TC_U32_TERMINAL, 0, 1, 0];
    everything.extend([0; 12 + 16]);
    // struct tc_mirred: index, capab, action, refcnt, bindcnt, eaction, ifindex.
    let mirred: Vec<u8> =
        [0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, to].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let action =
        Attrs::new().string(TCA_ACT_KIND, "mirred").nest(TCA_ACT_OPTIONS, Attrs::new().put(TCA_MIRRED_PARMS, &mirred));
    let options = Attrs::new().put(TCA_U32_SEL, &everything).nest(TCA_U32_ACT, Attrs::new().nest(1, action));
    let info = (1 << 16) | u32::from(ETH_P_ALL.to_be());
    let body = Attrs::after(&header(from, 0, INGRESS_HANDLE, info)).string(TCA_KIND, "u32").nest(TCA_OPTIONS, options);
    Request { kind: RTM_NEWTFILTER, flags: NLM_F_CREATE, body: body.into_bytes() }
}

/// Where what comes in through a link is sent, by the numbers of links.
pub(crate) fn redirects(socket: &mut Socket, link: u32) -> Result<Vec<u32>, NetlinkError> {
    let body = header(link, 0, INGRESS_HANDLE, 0);
    let replies = match socket.dump(&Request { kind: RTM_GETTFILTER, flags: 0, body }) {
        // There is no such place.
        Err(error) if error.errno() == Some(Errno::EINVAL) => return Ok(Vec::new()),
        replies => replies?,
    };
    let target = |body: &[u8]| {
        let options = attr::find(body.get(20..)?, TCA_OPTIONS)?;
        let action = attr::find(attr::find(options, TCA_U32_ACT)?, 1)?;
        let parms = attr::find(attr::find(action, TCA_ACT_OPTIONS)?, TCA_MIRRED_PARMS)?;
        Some(u32::from_ne_bytes(parms.get(24..28)?.try_into().ok()?))
    };
    Ok(replies.iter().filter_map(|reply| target(&reply.body)).collect())
}
