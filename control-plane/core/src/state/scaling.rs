//! Bounds of services in the state.

use crate::records::{ScalingTarget, ServiceKey};
use crate::state::{Due, State, Touched};
use imbl::OrdMap;
use std::sync::Arc;

/// Targets by service.
pub(super) type Targets = OrdMap<ServiceKey, Arc<ScalingTarget>>;

impl State {
    /// What scales a service.
    #[must_use]
    pub fn scaling_target(&self, key: &ServiceKey) -> Option<&Arc<ScalingTarget>> {
        self.scaling.get(key)
    }

    /// All that scales services, by cluster and name.
    pub fn scaling_targets(&self) -> impl Iterator<Item = &Arc<ScalingTarget>> {
        self.scaling.values()
    }

    pub(super) fn put_scaling(&mut self, target: &Arc<ScalingTarget>, touched: &mut Touched) {
        let old = self.scaling.insert(target.key.clone(), Arc::clone(target));
        let before = old.and_then(|old| old.next_action());
        self.move_due(before, target.next_action(), || Due::Scaling(target.key.clone()), touched);
    }

    pub(super) fn forget_scaling(&mut self, key: &ServiceKey, touched: &mut Touched) {
        let before = self.scaling.remove(key).and_then(|old| old.next_action());
        self.move_due(before, None, || Due::Scaling(key.clone()), touched);
    }
}
