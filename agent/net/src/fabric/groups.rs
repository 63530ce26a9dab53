//! Security groups: their rules, and who is in them.

use super::claims::Rules;
use super::{Fabric, Inner, lock};
use crate::names::{chain_in, chain_out, group_of, members4, members6};
use crate::nft::batch::Change;
use crate::nft::elements::{self, address4_of, address6_of};
use crate::nft::groups::{is_profile, profile, script};
use crate::nft::{NftError, ProgramError, program};
use longshore_model::network::{GroupId, GroupRules, MemberChanges};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Elements changed in one transaction.
const AT_ONCE: usize = 16_384;

/// Why groups are not as they were said to be.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    /// `nft` did not take the rules; the old ones are in force.
    #[error("could not load the rules of {groups:?}")]
    Rules {
        /// The groups.
        groups: Vec<GroupId>,
        /// Why.
        #[source]
        source: ProgramError,
    },
    /// The kernel refused.
    #[error("could not change groups")]
    Nft(#[source] NftError),
}

impl Fabric {
    /// Makes the groups that this host's tasks may be in these, with these rules. Those whose rules are the same are
    /// not touched; those that are not named let nothing through any more. The others change in one transaction.
    ///
    /// # Errors
    /// When the rules are refused; the old ones stay in force, all of them.
    pub async fn set_groups(&self, groups: &BTreeMap<GroupId, GroupRules>) -> Result<(), GroupsError> {
        let groups = groups.clone();
        self.run(move |inner| inner.set_groups(groups)).await
    }

    /// Makes the members of all groups these; a group that is not named has no members, but for this host's own tasks,
    /// which are members as long as they are admitted.
    ///
    /// # Errors
    /// When the kernel refuses; some groups may have changed.
    pub async fn set_members(&self, members: &BTreeMap<GroupId, BTreeSet<IpAddr>>) -> Result<(), GroupsError> {
        let members = members.clone();
        self.run(move |inner| {
            let _editing = lock(&inner.editing);
            lock(&inner.rules).set_members(members).map(drop).map_err(GroupsError::Nft)
        })
        .await
    }

    /// Adds and removes members, in one transaction unless there are tens of thousands. Tasks of this host are not
    /// removed while they are admitted.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn change_members(&self, changes: &BTreeMap<GroupId, MemberChanges>) -> Result<(), GroupsError> {
        let changes = changes.clone();
        self.run(move |inner| {
            let _editing = lock(&inner.editing);
            lock(&inner.rules).change_members(&changes).map_err(GroupsError::Nft)
        })
        .await
    }
}

impl Inner {
    fn set_groups(&self, groups: BTreeMap<GroupId, GroupRules>) -> Result<(), GroupsError> {
        let _editing = lock(&self.editing);
        let table = self.names().fabric_table();
        let mut rules = lock(&self.rules);
        let chains = rules.nft.chains().map_err(GroupsError::Nft)?;
        let there: BTreeSet<GroupId> = chains.iter().filter_map(|chain| group_of(&chain.name)).collect();
        let closed: BTreeSet<GroupId> = there.into_iter().filter(|id| !groups.contains_key(id)).collect();
        let changed: BTreeMap<GroupId, &GroupRules> =
            groups.iter().filter(|(id, new)| rules.groups.get(id) != Some(new)).map(|(id, new)| (*id, new)).collect();
        // Before the rules are: whoever is admitted meanwhile must not rely on a group that is being closed.
        rules.groups.retain(|id, _| !closed.contains(id));
        // `nft` takes milliseconds, in which tasks can be admitted.
        drop(rules);
        if !changed.is_empty() || !closed.is_empty() {
            program::run(&self.fabric, &script(&table, &changed, &closed))
                .map_err(|source| GroupsError::Rules { groups: changed.keys().copied().collect(), source })?;
        }
        let mut rules = lock(&self.rules);
        let written = changed.keys().chain(&closed).flat_map(|group| [chain_in(*group), chain_out(*group)]);
        rules.nft.remember(written).map_err(GroupsError::Nft)?;
        rules.groups = groups;
        rules.sweep_groups().map_err(GroupsError::Nft)
    }
}

impl Rules {
    /// Makes members these; returns how many elements changed.
    pub(super) fn set_members(&mut self, members: BTreeMap<GroupId, BTreeSet<IpAddr>>) -> Result<usize, NftError> {
        let sets: BTreeSet<String> = self.nft.sets()?.into_iter().collect();
        let there: BTreeSet<GroupId> = sets.iter().filter_map(|name| group_of(name)).collect();
        let all: BTreeSet<GroupId> = members.keys().copied().chain(there).chain(self.groups.keys().copied()).collect();
        let mut changes = Vec::new();
        for group in all {
            let wanted: BTreeSet<IpAddr> =
                members.get(&group).into_iter().flatten().copied().chain(self.own_members(group)).collect();
            let (set4, set6) = (members4(group), members6(group));
            let mut found = BTreeSet::new();
            for (name, add) in [(set4, Change::AddSet4 as fn(String) -> Change), (set6, Change::AddSet6)] {
                if sets.contains(&name) {
                    found.extend(self.nft.list(&name)?.iter().filter_map(|element| address_of(&element.key)));
                } else {
                    changes.push(add(name));
                }
            }
            changes.extend(wanted.difference(&found).map(|ip| Change::Add(elements::member(group, *ip))));
            changes.extend(found.difference(&wanted).map(|ip| Change::Remove(elements::member(group, *ip))));
        }
        for some in changes.chunks(AT_ONCE) {
            self.nft.commit(some)?;
        }
        self.members = members;
        Ok(changes.iter().filter(|change| matches!(change, Change::Add(_) | Change::Remove(_))).count())
    }

    fn change_members(&mut self, changes: &BTreeMap<GroupId, MemberChanges>) -> Result<(), NftError> {
        let mut wanted = Vec::new();
        for (group, change) in changes {
            if !self.members.contains_key(group) {
                if change.added.is_empty() {
                    // Nobody from elsewhere is in it.
                    continue;
                }
                wanted.extend([Change::AddSet4(members4(*group)), Change::AddSet6(members6(*group))]);
            }
            let own: BTreeSet<IpAddr> = self.own_members(*group).collect();
            // What is in both is in, as in the model.
            let removed = change.removed.iter().filter(|ip| !own.contains(ip) && !change.added.contains(ip));
            wanted.extend(removed.map(|ip| Change::Remove(elements::member(*group, *ip))));
            wanted.extend(change.added.iter().map(|ip| Change::Add(elements::member(*group, *ip))));
        }
        for some in wanted.chunks(AT_ONCE) {
            self.nft.commit(some)?;
        }
        for (group, change) in changes {
            if !change.added.is_empty() || self.members.contains_key(group) {
                let members = self.members.entry(*group).or_default();
                for ip in &change.removed {
                    members.remove(ip);
                }
                members.extend(&change.added);
            }
        }
        Ok(())
    }

    /// Removes one thing, unless something uses it; says whether it is gone.
    fn drop_unused(&mut self, change: Change) -> Result<bool, NftError> {
        match self.nft.commit(&[change]) {
            Ok(()) => Ok(true),
            Err(NftError::InUse { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes chains that no task uses; returns their names. Chains of sets of groups first: they lead to the others.
    pub(super) fn sweep_chains(&mut self) -> Result<Vec<String>, NftError> {
        let used: BTreeSet<String> =
            self.claims.values().map(|claim| profile(&claim.groups)).flat_map(|p| [p.into, p.out]).collect();
        let chains = self.nft.chains()?;
        let profiles = chains.iter().map(|c| &c.name).filter(|name| is_profile(name) && !used.contains(*name));
        let groups = chains
            .iter()
            .map(|c| &c.name)
            .filter(|name| group_of(name).is_some_and(|group| !self.groups.contains_key(&group)));
        let candidates: Vec<String> = profiles.chain(groups).cloned().collect();
        let mut gone = Vec::new();
        for name in candidates {
            if self.drop_unused(Change::RemoveChain(name.clone()))? {
                self.profiles.retain(|p| p.into != name && p.out != name);
                gone.push(name);
            }
        }
        Ok(gone)
    }

    /// Removes what belongs to groups that are of no interest any more.
    fn sweep_groups(&mut self) -> Result<(), NftError> {
        self.sweep_chains()?;
        let mut kept: BTreeSet<GroupId> = self.groups.keys().copied().collect();
        kept.extend(self.groups.values().flat_map(GroupRules::references));
        kept.extend(self.claims.values().flat_map(|claim| claim.groups.iter().copied()));
        for name in self.nft.sets()? {
            if let Some(group) = group_of(&name).filter(|group| !kept.contains(group))
                && !self.drop_unused(Change::RemoveSet(name))?
            {
                // Its elements are still there.
                kept.insert(group);
            }
        }
        self.members.retain(|group, _| kept.contains(group));
        Ok(())
    }
}

/// The address that is the key of an element of a set of members.
fn address_of(key: &[u8]) -> Option<IpAddr> {
    if key.len() == 4 { address4_of(key).map(IpAddr::V4) } else { address6_of(key).map(IpAddr::V6) }
}
