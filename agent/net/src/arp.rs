//! ARP on the network of the host: who has an address, and that a task's is here now (RFC 5227).
//!
//! The kernel answers for tasks by itself; asking before an address is used, and telling others that it moved, is what
//! it leaves to programs.

use longshore_model::network::Mac;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::socket::{LinkAddr, bind};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Questions before nobody counts as having an address (`PROBE_NUM`).
const PROBES: u32 = 3;

const ETHER_TYPE: u16 = 0x0806;
/// Ethernet, IPv4, and the lengths of their addresses.
const KINDS: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const BROADCAST: Mac = Mac([0xff; 6]);
const NOBODY: Mac = Mac([0; 6]);
/// An Ethernet header and the message.
const LENGTH: usize = 14 + 28;

/// What an ARP message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Message {
    operation: u16,
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
}

impl Message {
    /// The frame, to everybody.
    fn frame(&self, from: Mac) -> [u8; LENGTH] {
        let mut frame = [0; LENGTH];
        let parts: [&[u8]; 9] = [
            &BROADCAST.0,
            &from.0,
            &ETHER_TYPE.to_be_bytes(),
            &KINDS,
            &self.operation.to_be_bytes(),
            &self.sender.0.0,
            &self.sender.1.octets(),
            &self.target.0.0,
            &self.target.1.octets(),
        ];
        let bytes = parts.into_iter().flatten().copied();
        frame.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        frame
    }

    fn parse(frame: &[u8]) -> Option<Self> {
        let body = frame.get(14..LENGTH)?;
        let mac = |at: usize| Some(Mac(body.get(at..at + 6)?.try_into().ok()?));
        let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(body.get(at..at + 4)?).ok()?));
        if frame[12..14] != ETHER_TYPE.to_be_bytes() || body[..6] != KINDS {
            return None;
        }
        let operation = u16::from_be_bytes([body[6], body[7]]);
        Some(Self { operation, sender: (mac(8)?, address(14)?), target: (mac(18)?, address(24)?) })
    }

    /// Who says by this that an address is theirs, or is about to be.
    fn claimant(&self, address: Ipv4Addr) -> Option<Mac> {
        let has = self.sender.1 == address;
        let wants = self.operation == REQUEST && self.sender.1.is_unspecified() && self.target.1 == address;
        (has || wants).then_some(self.sender.0)
    }
}

/// A socket for ARP on one link.
pub(crate) struct Arp {
    socket: Socket,
    mac: Mac,
}

impl Arp {
    /// On a link of the calling thread's namespace.
    pub(crate) fn open(device: &str) -> io::Result<Self> {
        let absent = || io::Error::other("it is no Ethernet link");
        let links = getifaddrs()?.filter(|link| link.interface_name == device);
        let link: LinkAddr =
            links.filter_map(|link| link.address?.as_link_addr().copied()).next().ok_or_else(absent)?;
        let mac = link.addr().filter(|_| link.halen() == 6).map(Mac).ok_or_else(absent)?;
        let protocol = Protocol::from(i32::from(ETHER_TYPE.to_be()));
        let socket = Socket::new(Domain::from(libc::AF_PACKET), Type::from(libc::SOCK_RAW), Some(protocol))?;
        bind(socket.as_raw_fd(), &link)?;
        Ok(Self { socket, mac })
    }

    /// Who else has an address, asked for as long as `patience` in all. `own` is an address of the host on this link:
    /// some only answer to those that have one, and others only to those that have none yet.
    pub(crate) fn holder(&mut self, address: Ipv4Addr, own: Ipv4Addr, patience: Duration) -> io::Result<Option<Mac>> {
        for probe in 0..PROBES {
            let asking = if probe % 2 == 0 { Ipv4Addr::UNSPECIFIED } else { own };
            self.send(&Message { operation: REQUEST, sender: (self.mac, asking), target: (NOBODY, address) })?;
            let deadline = Instant::now() + patience / PROBES;
            while let Some(message) = self.receive(deadline)? {
                if let Some(mac) = message.claimant(address).filter(|mac| *mac != self.mac) {
                    return Ok(Some(mac));
                }
            }
        }
        Ok(None)
    }

    /// Tells everybody that an address is here: as a question, and as an answer for those that heed no other.
    pub(crate) fn announce(&self, address: Ipv4Addr) -> io::Result<()> {
        let sender = (self.mac, address);
        self.send(&Message { operation: REQUEST, sender, target: (NOBODY, address) })?;
        self.send(&Message { operation: REPLY, sender, target: (BROADCAST, address) })
    }

    fn send(&self, message: &Message) -> io::Result<()> {
        self.socket.send(&message.frame(self.mac)).map(drop)
    }

    /// The next message before `deadline`.
    fn receive(&self, deadline: Instant) -> io::Result<Option<Message>> {
        let mut frame = [0; 128];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match (&self.socket).read(&mut frame) {
                Ok(length) => {
                    if let Some(message) = Message::parse(&frame[..length]) {
                        return Ok(Some(message));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    #[test]
    fn messages_are_as_the_rfc_has_them_and_are_read_back() {
        let address = Ipv4Addr::new(192, 168, 50, 146);
        let message = Message { operation: REQUEST, sender: (MINE, Ipv4Addr::UNSPECIFIED), target: (NOBODY, address) };
        let frame = message.frame(MINE);
        assert_eq!(&frame[..14], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6]);
        assert_eq!(&frame[14..28], [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(&frame[28..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 168, 50, 146]);
        assert_eq!(Message::parse(&frame), Some(message));
        for length in 0..LENGTH {
            assert_eq!(Message::parse(&frame[..length]), None, "{length}");
        }
        let mut other = frame;
        other[13] = 0;
        assert_eq!(Message::parse(&other), None);
    }

    #[test]
    fn who_has_an_address_and_who_is_about_to() {
        let (address, elsewhere) = (Ipv4Addr::new(192, 168, 50, 146), Ipv4Addr::new(192, 168, 50, 7));
        let says = |operation, sender, target| {
            Message { operation, sender: (OTHER, sender), target: (NOBODY, target) }.claimant(address)
        };
        assert_eq!(says(REPLY, address, elsewhere), Some(OTHER));
        assert_eq!(says(REQUEST, address, elsewhere), Some(OTHER), "it asks for something else, from there");
        assert_eq!(says(REQUEST, Ipv4Addr::UNSPECIFIED, address), Some(OTHER), "it looks before it takes it");
        assert_eq!(says(REQUEST, elsewhere, address), None, "it looks for whoever has it");
        assert_eq!(says(REPLY, elsewhere, address), None);
    }
}
