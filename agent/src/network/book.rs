//! Which address is given next. Pure.

use longshore_model::Lease;
use std::net::Ipv4Addr;

/// Gives addresses of the host's leases in turn, each as long after its last use as possible (next-fit).
#[derive(Debug, Default)]
pub(super) struct Book {
    last: Option<Ipv4Addr>,
}

impl Book {
    /// The next address of `leases` that is not `taken`; none when all are.
    pub(super) fn give(&mut self, leases: &[Lease], taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let all: Vec<Ipv4Addr> = leases.iter().flat_map(Lease::task_addresses).collect();
        let after = self.last.and_then(|last| all.iter().position(|a| *a == last)).map_or(0, |at| at + 1);
        let (before, rest) = all.split_at(after.min(all.len()));
        let found = rest.iter().chain(before).copied().find(|address| !taken(*address))?;
        self.last = Some(found);
        Some(found)
    }
}

/// How many addresses the leases have for tasks.
pub(super) fn capacity(leases: &[Lease]) -> usize {
    leases.iter().map(|lease| lease.task_addresses().count()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, VecDeque};

    fn lease(n: u8) -> Lease {
        Lease { v4: format!("10.77.{n}.0/24").parse().expect("a /24"), v6: None }
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice_and_none_is_passed_over(
            steps in proptest::collection::vec(any::<(bool, u8)>(), 0..900)
        ) {
            let leases = [lease(1), lease(7)];
            let mut book = Book::default();
            let mut taken = BTreeSet::new();
            for (give, which) in steps {
                if give {
                    match book.give(&leases, |a| taken.contains(&a)) {
                        Some(address) => {
                            prop_assert!(leases.iter().any(|l| l.v4.contains(&address)));
                            prop_assert!(leases.iter().all(|l| address != l.tunnel() && address != l.leg()));
                            prop_assert!(taken.insert(address), "{} was given twice", address);
                        }
                        None => prop_assert_eq!(taken.len(), capacity(&leases)),
                    }
                } else if let Some(address) = taken.iter().nth(usize::from(which) % taken.len().max(1)).copied() {
                    taken.remove(&address);
                }
            }
        }
    }

    #[test]
    fn an_address_comes_back_as_late_as_possible() {
        let leases = [lease(1)];
        let mut book = Book::default();
        let mut taken = VecDeque::new();
        let mut seen = Vec::new();
        for _ in 0..600 {
            if taken.len() == 10 {
                taken.pop_front();
            }
            let address = book.give(&leases, |a| taken.contains(&a)).expect("there are enough");
            taken.push_back(address);
            seen.push(address);
        }
        assert_eq!(seen[0], Ipv4Addr::new(10, 77, 1, 2));
        assert_eq!(seen[253], seen[0], "after all the others");
        assert_eq!(book.give(&[], |_| false), None);
    }
}
