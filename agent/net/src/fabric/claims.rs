//! What lets a task send and receive: one transaction of elements in, one out (steps B3 and C2).

use super::{Fabric, Inner, lock};
use crate::names::{Names, chain_in, chain_out};
use crate::netlink::NetlinkError;
use crate::nft::NftError;
use crate::nft::batch::{Change, Expr, Nft};
use crate::nft::elements::{self, Element};
use crate::nft::groups::{MOST_GROUPS, Profile, profile};
use crate::steps::{Cut, Step};
use longshore_model::network::{EniId, GroupId, GroupRules, Mac};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a task is let through as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its interface.
    pub eni: EniId,
    /// Its address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Its hardware address.
    pub mac: Mac,
    /// Its security groups: with none, nothing passes.
    pub groups: BTreeSet<GroupId>,
}

/// Why a task is not let through.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// Its groups' rules were never said.
    #[error("the rules of {groups:?}, groups of {eni}, are not known yet")]
    UnknownGroups {
        /// The interface.
        eni: EniId,
        /// The groups.
        groups: Vec<GroupId>,
    },
    /// It has more groups than a chain has room for in its name.
    #[error("{eni} has {count} groups, and {MOST_GROUPS} is the most")]
    TooManyGroups {
        /// The interface.
        eni: EniId,
        /// How many.
        count: usize,
    },
    /// The kernel refused.
    #[error("could not let {eni} through")]
    Nft {
        /// The interface.
        eni: EniId,
        /// Why.
        #[source]
        source: NftError,
    },
    /// The host does not answer for its address.
    #[error("could not answer for {address}, the address of {eni}, on the host's network")]
    Lan {
        /// The interface.
        eni: EniId,
        /// Its address.
        address: Ipv4Addr,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A test cut it.
    #[error(transparent)]
    Cut(Cut),
}

/// Why a task may still be let through.
#[derive(Debug, thiserror::Error)]
pub enum DismissError {
    /// The kernel refused.
    #[error("could not cut {eni} off")]
    Nft {
        /// The interface.
        eni: EniId,
        /// Why.
        #[source]
        source: NftError,
    },
    /// The host still answers for its address.
    #[error("could not end answering for {address}, the address of {eni}, on the host's network")]
    Lan {
        /// The interface.
        eni: EniId,
        /// Its address.
        address: Ipv4Addr,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A test cut it.
    #[error(transparent)]
    Cut(Cut),
}

/// What the fabric's table holds beside its base, as it was last said and done.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) nft: Nft,
    /// Rules that are in force. A group that is here has its chains and sets.
    pub(super) groups: BTreeMap<GroupId, GroupRules>,
    /// Members, without those that only this host's own tasks add.
    pub(super) members: BTreeMap<GroupId, BTreeSet<IpAddr>>,
    pub(super) claims: BTreeMap<EniId, Claim>,
    /// Chains of sets of groups that are there, as far as we made them.
    pub(super) profiles: BTreeSet<Profile>,
}

impl Claim {
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [Some(IpAddr::V4(self.ipv4)), self.ipv6.map(IpAddr::V6)].into_iter().flatten()
    }

    /// Its elements beside those in sets of members.
    pub(super) fn own_elements(&self, names: &Names) -> Vec<Element> {
        let link = names.task_link(self.eni);
        let profile = profile(&self.groups);
        let mut list: Vec<Element> = self.addresses().map(|ip| elements::pin(&link, self.mac, ip)).collect();
        list.push(elements::eni_out(&link, &profile.out));
        list.push(elements::eni_in(&link, &profile.into));
        list.push(elements::hairpin(self.ipv4));
        list
    }

    fn elements(&self, names: &Names) -> Vec<Element> {
        let mut list = self.own_elements(names);
        for group in &self.groups {
            list.extend(self.addresses().map(|ip| elements::member(*group, ip)));
        }
        list
    }
}

impl Rules {
    pub(super) fn new(nft: Nft) -> Self {
        Self {
            nft,
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
            claims: BTreeMap::new(),
            profiles: BTreeSet::new(),
        }
    }

    /// The chains of a set of groups, written anew: into every group's chain, and what none let through is dropped.
    fn write_profile(groups: &BTreeSet<GroupId>) -> Vec<Change> {
        let profile = profile(groups);
        let mut changes = Vec::new();
        for (chain, of_group) in
            [(profile.into, chain_in as fn(GroupId) -> String), (profile.out, chain_out as fn(GroupId) -> String)]
        {
            changes.push(Change::AddChain(chain.clone()));
            // What a transaction that was cut off left of it.
            changes.push(Change::FlushChain(chain.clone()));
            for group in groups {
                changes.push(Change::AddRule(chain.clone(), vec![Expr::Jump(of_group(*group))]));
            }
            changes.push(Change::AddRule(chain, vec![Expr::Counter, Expr::Drop]));
        }
        changes
    }

    /// Makes the chains of a set of groups unless they are there.
    pub(super) fn ensure_profile(&mut self, groups: &BTreeSet<GroupId>) -> Result<(), NftError> {
        let wanted = profile(groups);
        if !self.profiles.contains(&wanted) {
            self.nft.commit(&Self::write_profile(groups))?;
            for chain in [&wanted.into, &wanted.out] {
                self.nft.remember([chain.clone()])?;
            }
            self.profiles.insert(wanted);
        }
        Ok(())
    }

    /// The addresses of this host's own tasks in a group.
    pub(super) fn own_members(&self, group: GroupId) -> impl Iterator<Item = IpAddr> {
        self.claims.values().filter(move |claim| claim.groups.contains(&group)).flat_map(Claim::addresses)
    }

    /// Replaces whatever is there of a claim.
    pub(super) fn put(&mut self, names: &Names, claim: &Claim) -> Result<(), NftError> {
        let wanted = claim.elements(names);
        let add: Vec<Change> = wanted.iter().cloned().map(Change::Add).collect();
        // Another claim of the same interface, which it is not supposed to have.
        let before = self.claims.get(&claim.eni).filter(|before| *before != claim).map(|before| before.elements(names));
        let stale: Vec<Change> = before.into_iter().flatten().map(Change::Remove).collect();
        match self.nft.commit(&[stale, add.clone()].concat()) {
            // A map has another value under the same key, left by an earlier agent.
            Err(NftError::InUse { .. }) => {
                let stale: Vec<Change> = wanted.into_iter().map(Change::Remove).collect();
                self.nft.commit(&[stale, add].concat())
            }
            // Somebody removed the chains that we made; if it is the table that is gone, this fails as well.
            Err(NftError::Missing { .. }) => {
                self.profiles.remove(&profile(&claim.groups));
                self.ensure_profile(&claim.groups)?;
                self.nft.commit(&add)
            }
            result => result,
        }
    }
}

impl Fabric {
    /// Lets a task through, in one transaction. Doing it again changes nothing.
    ///
    /// # Errors
    /// When its groups are not known, or the kernel refuses; then nothing of it is let through.
    pub async fn admit(&self, claim: &Claim) -> Result<(), AdmitError> {
        let claim = claim.clone();
        self.run(move |inner| inner.admit(claim)).await
    }

    /// Cuts a task off, in one transaction. What the kernel remembers of its connections is removed afterwards, without
    /// waiting. What is not there may be.
    ///
    /// # Errors
    /// When the kernel refuses; then the task may still be let through.
    pub async fn dismiss(&self, claim: &Claim) -> Result<(), DismissError> {
        let claim = claim.clone();
        let addresses = self.run(move |inner| inner.dismiss(&claim)).await?;
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = inner.tracking.forget(&addresses) {
                tracing::warn!(?addresses, %error, "connections of a task that ended are still remembered");
            }
            // The last of it.
            _ = inner.config.steps.reached(Step::Forgotten);
        });
        Ok(())
    }
}

impl Inner {
    fn admit(&self, claim: Claim) -> Result<(), AdmitError> {
        let eni = claim.eni;
        let cut = |step| self.config.steps.reached(step).map_err(AdmitError::Cut);
        let failed = |source| AdmitError::Nft { eni, source };
        if claim.groups.len() > MOST_GROUPS {
            return Err(AdmitError::TooManyGroups { eni, count: claim.groups.len() });
        }
        let mut rules = lock(&self.rules);
        let unknown: Vec<GroupId> = claim.groups.iter().filter(|g| !rules.groups.contains_key(g)).copied().collect();
        if !unknown.is_empty() {
            return Err(AdmitError::UnknownGroups { eni, groups: unknown });
        }
        rules.ensure_profile(&claim.groups).map_err(failed)?;
        cut(Step::ProfileMade)?;
        let address = claim.ipv4;
        self.answer_for(address).map_err(|source| AdmitError::Lan { eni, address, source })?;
        if let Err(error) = rules.put(self.names(), &claim) {
            if let Err(undoing) = self.answer_no_more(address) {
                tracing::warn!(%eni, %address, error = %undoing, "the host still answers for an address; it ends soon");
            }
            return Err(failed(error));
        }
        rules.claims.insert(eni, claim);
        drop(rules);
        self.announce(address);
        cut(Step::Admitted)
    }

    fn dismiss(&self, claim: &Claim) -> Result<BTreeSet<IpAddr>, DismissError> {
        let mut rules = lock(&self.rules);
        let names = self.names();
        let mut gone: BTreeSet<Element> = claim.elements(names).into_iter().collect();
        gone.extend(rules.claims.get(&claim.eni).into_iter().flat_map(|known| known.elements(names)));
        let changes: Vec<Change> = gone.into_iter().map(Change::Remove).collect();
        let (eni, address) = (claim.eni, claim.ipv4);
        rules.nft.commit(&changes).map_err(|source| DismissError::Nft { eni, source })?;
        rules.claims.remove(&claim.eni);
        self.answer_no_more(address).map_err(|source| DismissError::Lan { eni, address, source })?;
        self.config.steps.reached(Step::Dismissed).map_err(DismissError::Cut)?;
        let wanted = profile(&claim.groups);
        if !rules.claims.values().any(|other| profile(&other.groups) == wanted) {
            rules.drop_profile(&wanted);
        }
        Ok(claim.addresses().collect())
    }
}

impl Rules {
    /// Removes the chains of a set of groups, unless something leads to them after all; then a later sweep will.
    pub(super) fn drop_profile(&mut self, gone: &Profile) {
        self.profiles.remove(gone);
        let chains = [gone.into.clone(), gone.out.clone()].map(Change::RemoveChain);
        if let Err(error) = self.nft.commit(&chains) {
            tracing::debug!(?gone, %error, "chains of a set of groups stay for now");
        }
    }
}
