//! What the fabric's table lost of groups and tasks, and how it comes back.

use super::claims::Claim;
use super::{FabricError, Inner, Repair, lock};
use crate::names::{chain_in, chain_out, members4, members6};
use crate::nft::elements::{ENI_IN, ENI_OUT, Element, HAIRPIN4, PIN4, PIN6};
use crate::nft::groups::script;
use crate::nft::program;
use longshore_model::network::{GroupId, GroupRules};
use std::collections::{BTreeMap, BTreeSet};

impl Inner {
    /// Compares what was said with what is there. The caller holds `editing`.
    pub(super) fn restore_rules(&self, done: &mut Vec<Repair>) -> Result<(), FabricError> {
        let mut rewritten = false;
        let table = self.names().fabric_table();
        let mut rules = lock(&self.rules);
        let chains: BTreeSet<String> =
            rules.nft.chains().map_err(FabricError::Nft)?.into_iter().map(|c| c.name).collect();
        rules.profiles.retain(|p| chains.contains(&p.into) && chains.contains(&p.out));
        let lost = |id: &GroupId| !chains.contains(&chain_in(*id)) || !chains.contains(&chain_out(*id));
        if rules.groups.keys().any(lost) {
            let groups = rules.groups.clone();
            drop(rules);
            let all: BTreeMap<GroupId, &GroupRules> = groups.iter().map(|(id, rules)| (*id, rules)).collect();
            let failed = |source| FabricError::Table { table: table.clone(), source };
            program::run(&self.fabric, &script(&table, &all, &BTreeSet::new())).map_err(failed)?;
            done.push(Repair::Groups(groups.len()));
            rewritten = true;
            rules = lock(&self.rules);
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
        let names = self.names();
        let complete = |claim: &Claim| claim.own_elements(names).iter().all(|element| there.contains(element));
        // A claim whose groups were closed meanwhile keeps what it has; there is nothing to lead it to.
        let known = |claim: &Claim| claim.groups.iter().all(|group| rules.groups.contains_key(group));
        let incomplete: Vec<Claim> = rules.claims.values().filter(|c| known(c) && !complete(c)).cloned().collect();
        for claim in incomplete {
            rules.ensure_profile(&claim.groups).map_err(FabricError::Nft)?;
            rules.put(names, &claim).map_err(FabricError::Nft)?;
            done.push(Repair::Elements(names.task_link(claim.eni)));
        }
        Ok(())
    }
}
