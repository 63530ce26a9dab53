//! Host pools: which hosts a capacity provider has, and how tasks are shared out among several. Pure.
//!
//! A host belongs to the pool that its attribute [`ATTRIBUTE`] names. To placement that is an attribute that the tasks
//! of a pool require, so a pool that cannot take them explains itself like everything else.

use crate::commands::Launch;
use crate::state::HostState;
use longshore_ecs_api::types::CapacityProviderStrategyItem;
use longshore_model::Attribute;
use longshore_sched::Request;
use std::borrow::Cow;
use std::sync::Arc;

/// The attribute of a host that names its pool: put by an operator, or in the agent's configuration.
pub(crate) const ATTRIBUTE: &str = "longshore.capacity-provider";

/// One item of a strategy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool {
    /// The provider's name.
    pub(crate) name: Arc<str>,
    /// Its share of the tasks beyond the base.
    pub(crate) weight: u32,
    /// So many of the tasks come first; only one pool has any.
    pub(crate) base: u32,
    /// The tasks that it has already and that those to come are shared out beside: none but those that are to stay.
    pub(crate) there: u32,
}

/// The pools of a strategy that was checked, without any task yet.
pub(crate) fn pools(items: &[CapacityProviderStrategyItem]) -> Vec<Pool> {
    let unsigned = |given: Option<i32>| given.and_then(|n| u32::try_from(n).ok());
    let alone = items.len() == 1;
    let pool = |item: &CapacityProviderStrategyItem| {
        Some(Pool {
            name: item.capacity_provider.as_deref()?.into(),
            weight: unsigned(item.weight).unwrap_or(u32::from(alone)),
            base: unsigned(item.base).unwrap_or(0),
            there: 0,
        })
    };
    items.iter().filter_map(pool).collect()
}

/// The pool that a host is in.
pub(crate) fn pool_of(host: &HostState) -> Option<&str> {
    host.view.offer.attributes.get(ATTRIBUTE).and_then(|attribute| attribute.value.as_deref())
}

/// What is asked of placement: the launch's request, or one for each pool that gets any of its tasks.
pub(crate) fn requests(launch: &Launch) -> Vec<Cow<'_, Request>> {
    if launch.pools.is_empty() {
        return vec![Cow::Borrowed(&launch.request)];
    }
    let shares = shares(&launch.pools, launch.request.count);
    let with_tasks = launch.pools.iter().zip(shares).filter(|(_, count)| *count > 0);
    let request = |(pool, count): (&Pool, u32)| {
        let mut request = launch.request.clone();
        request.count = count;
        request.required.push(Attribute { name: ATTRIBUTE.to_owned(), value: Some(pool.name.to_string()) });
        Cow::Owned(request)
    };
    with_tasks.map(request).collect()
}

/// How many of `count` tasks each pool gets beside those that it has: the base first, then so that what each has beyond
/// its base is as its weight.
fn shares(pools: &[Pool], count: u32) -> Vec<u32> {
    let mut given = vec![0_u32; pools.len()];
    for _ in 0..count {
        let has = |i: usize| u64::from(pools[i].there) + u64::from(given[i]);
        let short_of_base = (0..pools.len()).find(|i| has(*i) < u64::from(pools[*i].base));
        let beyond = |i: usize| has(i).saturating_sub(u64::from(pools[i].base)) + 1;
        let by_weight = || {
            let weighted = (0..pools.len()).filter(|i| pools[*i].weight > 0);
            // What each would have for a unit of its weight; the first of equal ones.
            weighted.min_by(|a, b| {
                let (a_share, b_share) =
                    (beyond(*a) * u64::from(pools[*b].weight), beyond(*b) * u64::from(pools[*a].weight));
                a_share.cmp(&b_share).then(a.cmp(b))
            })
        };
        match short_of_base.or_else(by_weight) {
            Some(i) => given[i] += 1,
            None => break,
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(weight: u32, base: u32) -> Pool {
        Pool { name: "p".into(), weight, base, there: 0 }
    }

    fn with(pools: &[Pool], there: &[u32]) -> Vec<Pool> {
        pools.iter().zip(there).map(|(pool, there)| Pool { there: *there, ..pool.clone() }).collect()
    }

    #[test]
    fn the_base_comes_first_and_the_rest_by_weight() {
        for (pools, there, count, expected) in [
            (vec![pool(1, 0), pool(1, 0)], vec![0, 0], 4, vec![2, 2]),
            (vec![pool(1, 0), pool(3, 0)], vec![0, 0], 8, vec![2, 6]),
            (vec![pool(1, 2), pool(4, 0)], vec![0, 0], 7, vec![3, 4]),
            (vec![pool(0, 2), pool(1, 0)], vec![0, 0], 5, vec![2, 3]),
            (vec![pool(1, 0), pool(1, 0)], vec![3, 0], 3, vec![0, 3]),
            (vec![pool(1, 2), pool(1, 0)], vec![1, 4], 2, vec![2, 0]),
            (vec![pool(0, 1), pool(0, 0)], vec![0, 0], 3, vec![1, 0]),
        ] {
            assert_eq!(shares(&with(&pools, &there), count), expected, "{pools:?} {there:?} {count}");
        }
    }

    proptest! {
        #[test]
        fn every_task_has_a_pool_and_shares_follow_weights(
            weights in proptest::collection::vec(0_u32..6, 1..5),
            base in 0_u32..5,
            count in 0_u32..60,
        ) {
            let mut pools: Vec<Pool> = weights.iter().map(|weight| pool(*weight, 0)).collect();
            pools[0].base = base;
            let given = shares(&pools, count);
            let sum: u32 = weights.iter().sum();
            let all = given.iter().sum::<u32>();
            prop_assert_eq!(all, if sum > 0 { count } else { count.min(base) });
            let beyond = u64::from(count.saturating_sub(base));
            for (i, weight) in weights.iter().enumerate().filter(|_| sum > 0) {
                let exact = beyond * u64::from(*weight);
                let has = u64::from(given[i].saturating_sub(pools[i].base)) * u64::from(sum);
                prop_assert!(has.abs_diff(exact) <= u64::from(sum) * pools.len() as u64, "{:?} {:?}", pools, given);
            }
            // One by one is the same as all at once.
            let mut there = vec![0; pools.len()];
            for _ in 0..count {
                let one = shares(&with(&pools, &there), 1);
                there.iter_mut().zip(one).for_each(|(has, more)| *has += more);
            }
            prop_assert_eq!(there, given);
        }
    }
}
