//! What is there of tasks, and the removal of what belongs to none.

use super::lan::ProxyError;
use super::undo::delete_links;
use super::{Fabric, Inner, lock};
use crate::names::{EniStem, group_of};
use crate::netlink::{NetlinkError, route};
use crate::nft::NftError;
use crate::nft::batch::Change;
use crate::nft::elements::{self, ENI_IN, ENI_OUT, Element, PIN4, PIN6, address4_of, address6_of, link_of};
use crate::pin::{self, PinError};
use longshore_model::network::EniId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A link of a task in the fabric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FabricLink {
    /// Its name.
    pub name: String,
    /// Its interface, when its wiring got that far.
    pub eni: Option<EniId>,
}

/// What lets a task through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elements {
    /// Addresses that it may send from.
    pub ipv4: BTreeSet<Ipv4Addr>,
    /// The same for IPv6.
    pub ipv6: BTreeSet<Ipv6Addr>,
    /// Whether its groups let something in.
    pub receives: bool,
    /// Whether its groups let something out.
    pub sends: bool,
}

/// What is there of tasks, by interface as far as names tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Namespaces of sandboxes.
    pub sandboxes: BTreeSet<EniStem>,
    /// Links in the fabric: of tasks, and those that shape them.
    pub links: BTreeMap<EniStem, Vec<FabricLink>>,
    /// Elements of the firewall.
    pub elements: BTreeMap<EniStem, Elements>,
}

/// Something that belonged to no task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stray {
    /// Elements of the firewall.
    Elements(EniStem),
    /// The namespace of a sandbox.
    Sandbox(EniStem),
    /// A link in the fabric.
    Link(String),
    /// A chain of the firewall.
    Chain(String),
    /// An address that the host answered for on its network.
    Proxy(Ipv4Addr),
}

/// Why it is not known what is there, or why something that belongs to no task is still there.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// Files of namespaces.
    #[error("could not look through the namespaces of sandboxes")]
    Pin(#[source] PinError),
    /// Links.
    #[error("could not look through the links of tasks")]
    Links(#[source] NetlinkError),
    /// The firewall.
    #[error("could not look through the firewall's elements")]
    Nft(#[source] NftError),
    /// What the host answers for on its network.
    #[error("could not look through the addresses that the host answers for")]
    Proxies(#[source] NetlinkError),
}

impl Fabric {
    /// What is there of tasks.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub async fn observe(&self) -> Result<Observed, ObserveError> {
        self.run(Inner::observe).await
    }

    /// Removes what belongs to none of these interfaces, which are all that there are or that are being made: elements
    /// first, so that nothing passes, then namespaces, then links. Names that are not ours are not touched. Returns
    /// what was removed: nothing the second time.
    ///
    /// # Errors
    /// When something could not be removed; doing it again goes on.
    pub async fn remove_strays(&self, known: &BTreeSet<EniId>) -> Result<Vec<Stray>, ObserveError> {
        let known = known.clone();
        self.run(move |inner| inner.remove_strays(&known)).await
    }
}

impl Inner {
    /// The interface of an element, when its link is a task's.
    fn stem_of(&self, element: &Element) -> Option<EniStem> {
        self.names().stem_of_link(link_of(&element.key)?)
    }

    fn sandboxes(&self) -> Result<BTreeSet<EniStem>, ObserveError> {
        let names = pin::names(self.names().run()).map_err(ObserveError::Pin)?;
        Ok(names.iter().filter_map(|name| self.names().stem_of_netns(name)).collect())
    }

    fn observe(&self) -> Result<Observed, ObserveError> {
        let mut observed = Observed { sandboxes: self.sandboxes()?, ..Observed::default() };
        for link in route::links(&mut lock(&self.fabric_route)).map_err(ObserveError::Links)? {
            if let Some(stem) = self.names().stem_of_link(&link.name) {
                let eni = link.alias.as_deref().and_then(|alias| self.names().eni_of_alias(alias));
                observed.links.entry(stem).or_default().push(FabricLink { name: link.name, eni });
            }
        }
        let mut rules = lock(&self.rules);
        for set in [PIN4, PIN6, ENI_IN, ENI_OUT] {
            for element in rules.nft.list(set).map_err(ObserveError::Nft)? {
                let Some(stem) = self.stem_of(&element) else { continue };
                let of_task = observed.elements.entry(stem).or_default();
                match set {
                    PIN4 => of_task.ipv4.extend(address4_of(&element.key)),
                    PIN6 => of_task.ipv6.extend(address6_of(&element.key)),
                    ENI_IN => of_task.receives = true,
                    _ => of_task.sends = true,
                }
            }
        }
        Ok(observed)
    }

    fn remove_strays(&self, known: &BTreeSet<EniId>) -> Result<Vec<Stray>, ObserveError> {
        let stems: BTreeSet<EniStem> = known.iter().map(|eni| EniStem::from(*eni)).collect();
        self.forget_all_but(known);
        let mut gone = self.remove_stray_elements(known, &stems)?;
        let proxies = self.sweep_proxies().map_err(|error| match error {
            ProxyError::Nft(error) => ObserveError::Nft(error),
            ProxyError::Netlink(error) => ObserveError::Proxies(error),
        })?;
        gone.extend(proxies.into_iter().map(Stray::Proxy));
        for stem in self.sandboxes()?.difference(&stems) {
            pin::unpin(&self.names().netns_of(*stem)).map_err(ObserveError::Pin)?;
            gone.push(Stray::Sandbox(*stem));
        }
        let mut fabric = lock(&self.fabric_route);
        let links = route::links(&mut fabric).map_err(ObserveError::Links)?;
        let stray = |name: &str| self.names().stem_of_link(name).is_some_and(|stem| !stems.contains(&stem));
        let strays: Vec<_> = links.into_iter().filter(|link| stray(&link.name)).collect();
        let indexes: Vec<u32> = strays.iter().map(|link| link.index).collect();
        delete_links(&mut fabric, &indexes).map_err(ObserveError::Links)?;
        gone.extend(strays.into_iter().map(|link| Stray::Link(link.name)));
        drop(fabric);
        // What a transaction made for a task that was then not admitted.
        let chains = lock(&self.rules).sweep_chains().map_err(ObserveError::Nft)?;
        gone.extend(chains.into_iter().map(Stray::Chain));
        Ok(gone)
    }

    fn remove_stray_elements(
        &self,
        known: &BTreeSet<EniId>,
        stems: &BTreeSet<EniStem>,
    ) -> Result<Vec<Stray>, ObserveError> {
        let leases = lock(&self.wanted).leases.clone();
        let mut rules = lock(&self.rules);
        rules.claims.retain(|eni, _| known.contains(eni));
        let mut strays: BTreeSet<EniStem> = BTreeSet::new();
        let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
        let mut taken: BTreeSet<IpAddr> = rules.claims.values().flat_map(super::Claim::addresses).collect();
        let mut removals = Vec::new();
        for set in [PIN4, PIN6, ENI_IN, ENI_OUT] {
            for element in rules.nft.list(set).map_err(ObserveError::Nft)? {
                let Some(stem) = self.stem_of(&element) else { continue };
                let known = stems.contains(&stem);
                let of = if known { &mut taken } else { &mut addresses };
                match set {
                    PIN4 => of.extend(address4_of(&element.key).map(IpAddr::V4)),
                    PIN6 => of.extend(address6_of(&element.key).map(IpAddr::V6)),
                    _ => {}
                }
                if known {
                    continue;
                }
                strays.insert(stem);
                removals.push(Change::Remove(element));
            }
        }
        // Somebody else may have the address by now.
        addresses.retain(|ip| !taken.contains(ip));
        if !addresses.is_empty() {
            for name in rules.nft.sets().map_err(ObserveError::Nft)? {
                let Some(group) = group_of(&name) else { continue };
                removals.extend(addresses.iter().map(|ip| Change::Remove(elements::member(group, *ip))));
            }
            let v4 = addresses.iter().filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None });
            removals.extend(v4.map(|ip| Change::Remove(elements::hairpin(ip))));
        }
        rules.nft.commit(&removals).map_err(ObserveError::Nft)?;
        drop(rules);
        // Also of addresses that nobody has: an agent may have ended between a task's last element and its connections.
        for lease in &leases {
            let both = |ip| [Some(IpAddr::V4(ip)), lease.v6_of(ip).map(IpAddr::V6)];
            let all = lease.task_addresses().flat_map(both).flatten();
            addresses.extend(all.filter(|ip| !taken.contains(ip)));
        }
        if let Err(error) = self.tracking.forget(&addresses) {
            tracing::warn!(%error, "connections of tasks that ended are still remembered");
        }
        Ok(strays.into_iter().map(Stray::Elements).collect())
    }
}
