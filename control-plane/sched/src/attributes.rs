//! A host's attributes, quick to look up: placement asks every host of a cluster for the same few names.

use longshore_model::Attribute;

/// Attributes by name, each name once.
///
/// Sorted by a hash of the name, and the hashes stand apart from the names: a look-up compares a few numbers
/// that lie together, and one name. What a call over 10,000 hosts takes is memory being waited for, so each hash
/// has that of the value beside it. Attributes change rarely; making this may cost more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// The hashes of name and value.
    hashes: Vec<(u64, u64)>,
    /// In the same order.
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
        let first = self.hashes.partition_point(|(name, _)| *name < hash);
        let same = self.hashes[first..].iter().take_while(|(name, _)| *name == hash).count();
        self.entries[first..first + same].iter().find(|entry| entry.name == name)
    }

    /// A number for the value under a name, the same for the same value; `None` without the attribute or its
    /// value. Two values may share a number, once in a very long while: for counting, not for deciding.
    /// `guess` is where to look first, and is left where it was found.
    pub(crate) fn value_number(&self, hash: u64, guess: &mut usize) -> Option<u64> {
        let number = match self.hashes.get(*guess) {
            Some((name, number)) if *name == hash => *number,
            Some(_) | None => {
                *guess = self.hashes.binary_search_by_key(&hash, |(name, _)| *name).ok()?;
                self.hashes[*guess].1
            }
        };
        (number != NO_VALUE).then_some(number)
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
        let number = |attribute: &Attribute| attribute.value.as_deref().map_or(NO_VALUE, hash);
        let hashes = all.iter().map(|(name, attribute)| (*name, number(attribute))).collect();
        Self { hashes, entries: all.into_iter().map(|(_, attribute)| attribute).collect() }
    }
}

/// Stands for the absence of a value among the hashes of values.
const NO_VALUE: u64 = 0;

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
