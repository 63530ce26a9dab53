//! What the fabric's table lost of groups and tasks, and how it comes back.

use super::claims::{Claim, Rules};
use super::{FabricError, Inner, Repair, lock};
use crate::names::{chain_in, chain_out, group_of, members4, members6};
use crate::nft::elements::{ENI_IN, ENI_OUT, Element, HAIRPIN4, PIN4, PIN6};
use crate::nft::groups::{profile, script};
use crate::nft::program;
use longshore_model::network::GroupId;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

impl Inner {
    /// Compares what was said with what is there. The caller holds `editing`.
    pub(super) fn restore_rules(&self, done: &mut Vec<Repair>) -> Result<(), FabricError> {
        // Of members there can be thousands: they are compared when there is a reason.
        let mut rewritten = self.touched.swap(false, Ordering::Relaxed);
        let table = self.names().fabric_table();
        let mut rules = lock(&self.rules);
        let chains: BTreeSet<String> =
            rules.nft.chains().map_err(FabricError::Nft)?.into_iter().map(|c| c.name).collect();
        // Those of the base were put right before.
        let tampered = rules.nft.tampered().map_err(FabricError::Nft)?;
        let whole = |chain: &String| chains.contains(chain) && !tampered.contains(chain);
        rules.profiles.retain(|p| whole(&p.into) && whole(&p.out));
        let lost: BTreeSet<GroupId> =
            rules.groups.keys().filter(|id| !whole(&chain_in(**id)) || !whole(&chain_out(**id))).copied().collect();
        // Chains of groups that are closed, and that tasks still lead to, have no rules.
        let opened: BTreeSet<GroupId> = tampered
            .iter()
            .filter(|chain| chains.contains(*chain))
            .filter_map(|chain| group_of(chain))
            .filter(|id| !rules.groups.contains_key(id))
            .collect();
        if !lost.is_empty() || !opened.is_empty() {
            let groups = rules.groups.clone();
            drop(rules);
            let some = groups.iter().filter(|(id, _)| lost.contains(id)).map(|(id, rules)| (*id, rules)).collect();
            let failed = |source| FabricError::Table { table: table.clone(), source };
            program::run(&self.fabric, &script(&table, &some, &opened)).map_err(failed)?;
            done.push(Repair::Groups(lost.len() + opened.len()));
            rewritten = true;
            rules = lock(&self.rules);
            let written = lost.iter().chain(&opened).flat_map(|id| [chain_in(*id), chain_out(*id)]);
            rules.nft.remember(written).map_err(FabricError::Nft)?;
        }
        let sets: BTreeSet<String> = rules.nft.sets().map_err(FabricError::Nft)?.into_iter().collect();
        let lost = |id: &GroupId| !sets.contains(&members4(*id)) || !sets.contains(&members6(*id));
        // A table that lost its chains lost its sets as well, and `nft` made them anew, empty.
        if rewritten || rules.members.keys().any(lost) {
            let members = rules.members.clone();
            let count = rules.set_members(members).map_err(FabricError::Nft)?;
            if count > 0 {
                done.push(Repair::Members(count));
            }
        }
        let mut there: BTreeSet<Element> = BTreeSet::new();
        if !rules.claims.is_empty() {
            for set in [PIN4, PIN6, ENI_OUT, ENI_IN, HAIRPIN4] {
                there.extend(rules.nft.list(set).map_err(FabricError::Nft)?);
            }
        }
        rules.restore_profiles(&chains, done)?;
        let names = self.names();
        let complete = |claim: &Claim| claim.own_elements(names).iter().all(|element| there.contains(element));
        // A claim whose groups were closed meanwhile keeps what it has; there is nothing to lead it to.
        let known = |claim: &Claim| claim.groups.iter().all(|group| rules.groups.contains_key(group));
        let incomplete: Vec<Claim> = rules.claims.values().filter(|c| known(c) && !complete(c)).cloned().collect();
        for claim in incomplete {
            rules.put(names, &claim).map_err(FabricError::Nft)?;
            done.push(Repair::Elements(names.task_link(claim.eni)));
        }
        Ok(())
    }
}

impl Rules {
    /// Writes the chains of sets of groups that tasks have anew, where they are not as we wrote them. `chains` are
    /// those that were there.
    fn restore_profiles(&mut self, chains: &BTreeSet<String>, done: &mut Vec<Repair>) -> Result<(), FabricError> {
        // A group that was closed has its chains as long as tasks lead to them.
        let is_there = |group: &GroupId| self.groups.contains_key(group) || chains.contains(&chain_in(*group));
        let known = |claim: &&Claim| claim.groups.iter().all(is_there);
        let lost = |claim: &&Claim| !self.profiles.contains(&profile(&claim.groups));
        let sets: BTreeSet<BTreeSet<GroupId>> =
            self.claims.values().filter(known).filter(lost).map(|claim| claim.groups.clone()).collect();
        for groups in sets {
            self.ensure_profile(&groups).map_err(FabricError::Nft)?;
            done.push(Repair::Chain(profile(&groups).into));
        }
        Ok(())
    }
}
