//! Elements of the fabric's sets and maps, as the kernel has them: keys and values are fields padded to four bytes.

use crate::names::{members4, members6};
use longshore_model::network::{GroupId, Mac};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which link may send from which addresses.
pub(crate) const PIN4: &str = "pin4";
/// The same for IPv6.
pub(crate) const PIN6: &str = "pin6";
/// What is done with what a link's task sends.
pub(crate) const ENI_OUT: &str = "eni_out";
/// What is done with what goes to a link's task.
pub(crate) const ENI_IN: &str = "eni_in";
/// Tasks that may reach themselves through a service.
pub(crate) const HAIRPIN4: &str = "hairpin4";
/// The other hosts' tunnels.
pub(crate) const VTEP4: &str = "vtep4";
/// The same for IPv6.
pub(crate) const VTEP6: &str = "vtep6";

const IFNAMSIZ: usize = 16;

/// An element of a set or, with a chain to go to, of a map of verdicts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    pub(crate) set: String,
    pub(crate) key: Vec<u8>,
    pub(crate) goto: Option<String>,
}

fn name_field(name: &str) -> Vec<u8> {
    let mut field = name.as_bytes().to_vec();
    field.resize(IFNAMSIZ, 0);
    field
}

/// The name of a link in the first field of a key.
pub(crate) fn link_of(key: &[u8]) -> Option<&str> {
    let field = key.get(..IFNAMSIZ)?;
    let end = field.iter().position(|b| *b == 0).unwrap_or(IFNAMSIZ);
    std::str::from_utf8(&field[..end]).ok()
}

/// The address in the last field of a key of `pin4`, or the only one of a set of addresses.
pub(crate) fn address4_of(key: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*key.last_chunk::<4>()?))
}

/// The same of `pin6`.
pub(crate) fn address6_of(key: &[u8]) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(*key.last_chunk::<16>()?))
}

fn pin_key(link: &str, mac: Mac, address: &[u8]) -> Vec<u8> {
    let mut key = name_field(link);
    key.extend(mac.0);
    key.extend([0; 2]);
    key.extend(address);
    key
}

pub(crate) fn pin(link: &str, mac: Mac, address: IpAddr) -> Element {
    match address {
        IpAddr::V4(ip) => Element { set: PIN4.into(), key: pin_key(link, mac, &ip.octets()), goto: None },
        IpAddr::V6(ip) => Element { set: PIN6.into(), key: pin_key(link, mac, &ip.octets()), goto: None },
    }
}

pub(crate) fn eni_out(link: &str, chain: &str) -> Element {
    Element { set: ENI_OUT.into(), key: name_field(link), goto: Some(chain.into()) }
}

pub(crate) fn eni_in(link: &str, chain: &str) -> Element {
    Element { set: ENI_IN.into(), key: name_field(link), goto: Some(chain.into()) }
}

pub(crate) fn hairpin(address: Ipv4Addr) -> Element {
    Element { set: HAIRPIN4.into(), key: [address.octets(), address.octets()].concat(), goto: None }
}

fn address(set4: String, set6: String, address: IpAddr) -> Element {
    match address {
        IpAddr::V4(ip) => Element { set: set4, key: ip.octets().to_vec(), goto: None },
        IpAddr::V6(ip) => Element { set: set6, key: ip.octets().to_vec(), goto: None },
    }
}

pub(crate) fn member(group: GroupId, ip: IpAddr) -> Element {
    address(members4(group), members6(group), ip)
}

pub(crate) fn vtep(ip: IpAddr) -> Element {
    address(VTEP4.into(), VTEP6.into(), ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_kernel_looks() {
        let ip = Ipv4Addr::new(10, 77, 1, 11);
        let pin4 = pin("t0123456789abcd", Mac::of_task(ip), ip.into());
        assert_eq!(pin4.key.len(), 28);
        assert_eq!(&pin4.key[..16], b"t0123456789abcd\0");
        assert_eq!(&pin4.key[16..], [2, 10, 10, 77, 1, 11, 0, 0, 10, 77, 1, 11]);
        assert_eq!(link_of(&pin4.key), Some("t0123456789abcd"));
        assert_eq!(address4_of(&pin4.key), Some(ip));
        let ip6: Ipv6Addr = "fd77::1".parse().unwrap();
        let pin6 = pin("t0", Mac::of_task(ip), ip6.into());
        assert_eq!((pin6.key.len(), address6_of(&pin6.key)), (40, Some(ip6)));
        assert_eq!(link_of(&eni_in("t0", "x").key), Some("t0"));
        assert_eq!(hairpin(ip).key, [10, 77, 1, 11, 10, 77, 1, 11]);
    }
}
