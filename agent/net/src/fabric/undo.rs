//! Links that go: many at once.

use crate::netlink::{NetlinkError, Request, Socket, route};
use nix::errno::Errno;

/// A group of links that nothing else on the host uses; only links on their way out are in it, for a moment.
const DOOMED: u32 = 0x6c73_00ff;

/// Deletes links; those that are gone meanwhile may be. The kernel waits once for all of them, not once for each.
pub(super) fn delete_links(socket: &mut Socket, indexes: &[u32]) -> Result<(), NetlinkError> {
    let mark: Vec<Request> = indexes.iter().map(|index| route::set_group(*index, DOOMED)).collect();
    let mut marked = false;
    for result in socket.try_all(&mark)? {
        match result {
            Ok(()) => marked = true,
            Err(refusal) if refusal.errno == Errno::ENODEV => {}
            Err(refusal) => return Err(NetlinkError::Refused(refusal)),
        }
    }
    if !marked {
        return Ok(());
    }
    match socket.all(&[route::del_group(DOOMED)]) {
        Err(NetlinkError::Refused(refusal)) if refusal.errno == Errno::ENODEV => Ok(()),
        result => result,
    }
}
