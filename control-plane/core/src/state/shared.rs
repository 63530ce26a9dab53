//! What many records have in common, kept once.

use imbl::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Values and how many users each has. The hosts of a fleet have the same few lists of attributes, and each list is
/// larger than all else that is known of its host.
#[derive(Debug)]
pub(super) struct Shared<T: ?Sized + Hash + Eq>(HashMap<Arc<T>, u32>);

impl<T: ?Sized + Hash + Eq> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ?Sized + Hash + Eq> Default for Shared<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: ?Sized + Hash + Eq> Shared<T> {
    /// One more user of this value: the copy that all its users have.
    pub(super) fn keep(&mut self, value: &Arc<T>) -> Arc<T> {
        let kept = self.0.get_key_value(value).map_or_else(|| Arc::clone(value), |(kept, _)| Arc::clone(kept));
        *self.0.entry(Arc::clone(&kept)).or_insert(0) += 1;
        kept
    }

    /// One user less.
    pub(super) fn release(&mut self, value: &Arc<T>) {
        if let Some(users) = self.0.get_mut(value) {
            *users -= 1;
            if *users == 0 {
                self.0.remove(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Shared;
    use std::sync::Arc;

    #[test]
    fn equal_values_are_one_until_nobody_has_them() {
        let mut shared = Shared::<str>::default();
        let (first, second) = (Arc::<str>::from("zone-a"), Arc::<str>::from("zone-a"));
        let kept = shared.keep(&first);
        assert!(Arc::ptr_eq(&kept, &first));
        assert!(Arc::ptr_eq(&shared.keep(&second), &first));
        shared.release(&kept);
        assert!(Arc::ptr_eq(&shared.keep(&second), &first), "it still has a user");
        shared.release(&second);
        shared.release(&second);
        assert!(shared.0.is_empty());
        assert!(Arc::ptr_eq(&shared.keep(&second), &second));
    }
}
