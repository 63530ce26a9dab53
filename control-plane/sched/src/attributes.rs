//! A host's attributes, quick to look up: placement asks every host of a cluster for the same few names.

use longshore_model::Attribute;

/// Attributes by name, each name once.
///
/// Sorted by a hash of the name, and the hashes stand apart from the names: a look-up compares a few numbers
/// in one cache line and one name. Attributes change rarely, so making one may cost more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    hashes: Vec<u64>,
    entries: Vec<Attribute>,
}

impl Attributes {
    /// The attribute of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.get_hashed(hash(name), name)
    }

    /// As [`Attributes::get`] for a caller that asks many hosts for one name.
    pub(crate) fn get_hashed(&self, hash: u64, name: &str) -> Option<&Attribute> {
        let first = self.hashes.partition_point(|h| *h < hash);
        let same = self.hashes[first..].iter().take_while(|h| **h == hash).count();
        self.entries[first..first + same].iter().find(|entry| entry.name == name)
    }

    /// All of them, in no order that means anything.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Attribute> {
        self.entries.iter()
    }
}

/// Of two attributes with one name the later one stays, as when an attribute is put again.
impl FromIterator<Attribute> for Attributes {
    fn from_iter<I: IntoIterator<Item = Attribute>>(attributes: I) -> Self {
        let mut all: Vec<(u64, Attribute)> = attributes.into_iter().map(|a| (hash(&a.name), a)).collect();
        // Reversed before the stable sort: the later of two with one name comes first and is kept.
        all.reverse();
        all.sort_by(|(a_hash, a), (b_hash, b)| (a_hash, &a.name).cmp(&(b_hash, &b.name)));
        all.dedup_by(|(_, later), (_, kept)| later.name == kept.name);
        let (hashes, entries) = all.into_iter().unzip();
        Self { hashes, entries }
    }
}

/// FNV-1a. Names that collide on purpose only make one host's look-ups slower.
pub(crate) fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(name: &str, value: Option<&str>) -> Attribute {
        Attribute { name: name.to_owned(), value: value.map(str::to_owned) }
    }

    #[test]
    fn every_name_is_found_and_the_later_of_two_counts() {
        let all: Attributes = (0..500)
            .map(|n| attribute(&format!("name-{n}"), Some("old")))
            .chain((0..500).map(|n| attribute(&format!("name-{n}"), Some(&n.to_string()))))
            .collect();
        assert_eq!(all.iter().len(), 500);
        for n in 0..500 {
            let found = all.get(&format!("name-{n}")).and_then(|a| a.value.clone());
            assert_eq!(found, Some(n.to_string()));
        }
        assert_eq!(all.get("name-500"), None);
    }
}
