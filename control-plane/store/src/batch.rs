//! What a commit is made of. Pure data; checked by the implementations.

use crate::Revision;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fmt;
use std::ops::Bound;

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 4096;

/// What a guard expects of its key before the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It does not exist.
    Absent,
    /// It exists, whatever its value.
    Present,
    /// It exists and was last written at this revision.
    Version(Revision),
}

impl Expect {
    /// Whether a key last modified at `actual` (`None`: absent) is as expected.
    #[must_use]
    pub fn holds(self, actual: Option<Revision>) -> bool {
        match self {
            Self::Absent => actual.is_none(),
            Self::Present => actual.is_some(),
            Self::Version(revision) => actual == Some(revision),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Present => f.write_str("present"),
            Self::Version(revision) => write!(f, "at revision {revision}"),
        }
    }
}

/// What happens to a key.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// It has this value now.
    Put(Bytes),
    /// It is gone.
    Delete,
}

/// Values may hold secrets: only their length is shown.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(value) => write!(f, "put {} bytes", value.len()),
            Self::Delete => f.write_str("delete"),
        }
    }
}

/// Changes that happen together or not at all.
///
/// A key stands in a batch at most once (etcd refuses anything else): a second write of the same key
/// replaces the first, so several commands can be folded into one batch in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    guards: BTreeMap<Bytes, Expect>,
    writes: BTreeMap<Bytes, Write>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    #[must_use]
    pub fn put(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.write(key, Write::Put(value.into()));
        self
    }

    /// Removes `key`; removing an absent key is no error.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Bytes>) -> Self {
        self.write(key, Write::Delete);
        self
    }

    /// Demands `expect` of `key`, or the whole batch is refused.
    #[must_use]
    pub fn expect(mut self, key: impl Into<Bytes>, expect: Expect) -> Self {
        self.guard(key, expect);
        self
    }

    /// As [`Batch::put`] and [`Batch::delete`], in place.
    pub fn write(&mut self, key: impl Into<Bytes>, write: Write) {
        self.writes.insert(key.into(), write);
    }

    /// As [`Batch::expect`], in place. The first guard of a key stays: guards speak of the state before the
    /// batch, and what a later part of the same batch expects is already decided by its earlier parts.
    pub fn guard(&mut self, key: impl Into<Bytes>, expect: Expect) {
        match self.guards.entry(key.into()) {
            Slot::Vacant(slot) => {
                slot.insert(expect);
            }
            Slot::Occupied(_) => {}
        }
    }

    /// The guards, in key order.
    pub fn guards(&self) -> impl ExactSizeIterator<Item = (&Bytes, Expect)> {
        self.guards.iter().map(|(key, expect)| (key, *expect))
    }

    /// The writes, in key order.
    pub fn writes(&self) -> impl ExactSizeIterator<Item = (&Bytes, &Write)> {
        self.writes.iter()
    }

    /// Whether nothing is guarded and nothing written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.guards.is_empty() && self.writes.is_empty()
    }

    /// How many operations it counts for [`Limits::ops`]: guards and writes.
    #[must_use]
    pub fn ops(&self) -> usize {
        self.guards.len() + self.writes.len()
    }

    /// How many bytes of keys and values it counts for [`Limits::bytes`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        let guards: usize = self.guards.keys().map(Bytes::len).sum();
        let writes: usize = self
            .writes
            .iter()
            .map(|(key, write)| {
                key.len()
                    + match write {
                        Write::Put(value) => value.len(),
                        Write::Delete => 0,
                    }
            })
            .sum();
        guards + writes
    }

    /// The longest key, for the check against [`MAX_KEY_BYTES`], and whether a key is empty.
    pub(crate) fn bad_key(&self) -> Option<&Bytes> {
        self.guards.keys().chain(self.writes.keys()).find(|key| key.is_empty() || key.len() > MAX_KEY_BYTES)
    }
}

/// How large one batch may be. The embedded store is generous; etcd's defaults are 128 operations and 1.5 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Guards and writes together.
    pub ops: usize,
    /// Bytes of keys and values together.
    pub bytes: usize,
}

/// Keys from a first one up to an end that is not included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    start: Bytes,
    /// `None`: to the last key.
    end: Option<Bytes>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub const fn all() -> Self {
        Self { start: Bytes::new(), end: None }
    }

    /// The keys from `start` up to `end`, `end` not included; empty when `end` is not after `start`.
    #[must_use]
    pub fn between(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        let start = start.into();
        let end = end.into().max(start.clone());
        Self { start, end: Some(end) }
    }

    /// The keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = after_prefix(&start);
        Self { start, end }
    }

    /// The part of this range that begins at `key`.
    #[must_use]
    pub fn starting_at(&self, key: impl Into<Bytes>) -> Self {
        Self { start: key.into().max(self.start.clone()), end: self.end.clone() }
    }

    /// The bounds, for ordered maps.
    #[must_use]
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = match &self.end {
            Some(end) => Bound::Excluded(&end[..]),
            None => Bound::Unbounded,
        };
        (Bound::Included(&self.start[..]), end)
    }

    /// The first key and the end, not included; `None` is no end.
    #[must_use]
    pub fn ends(&self) -> (&Bytes, Option<&Bytes>) {
        (&self.start, self.end.as_ref())
    }
}

/// The first key after all that begin with `prefix`; `None` when there is none (empty, or only 0xff).
fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|b| *b != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_write_replaces_an_earlier_one_and_the_first_guard_stays() {
        let batch = Batch::new().put("a", "1").expect("a", Expect::Absent).delete("a").expect("a", Expect::Present);
        assert_eq!(batch.writes().collect::<Vec<_>>(), [(&Bytes::from("a"), &Write::Delete)]);
        assert_eq!(batch.guards().collect::<Vec<_>>(), [(&Bytes::from("a"), Expect::Absent)]);
        assert_eq!((batch.ops(), batch.bytes()), (2, 2));
    }

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        let end = |p: &'static [u8]| KeyRange::prefix(p).ends().1.cloned();
        assert_eq!(end(b"a/"), Some(Bytes::from("a0")));
        assert_eq!(end(b"a\xff\xff"), Some(Bytes::from("b")));
        assert_eq!(end(b"\xff"), None);
        assert_eq!(end(b""), None);
    }

    #[test]
    fn a_range_with_its_end_first_is_empty() {
        let range = KeyRange::between("b", "a");
        assert_eq!(range.bounds(), (Bound::Included(&b"b"[..]), Bound::Excluded(&b"b"[..])));
    }
}
