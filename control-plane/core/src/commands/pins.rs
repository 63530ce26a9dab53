//! Image pins: what the first agent that resolves a tag says holds for all tasks that belong together.

use crate::change::Change;
use crate::command::Tx;
use crate::records::{ImagePins, PinKey, Task};
use crate::state::State;
use longshore_ecs_api::enums::VersionConsistency;
use longshore_model::{ContainerName, ImageDigest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keeps the digests that these tasks' reports tell and that were not known, the first for each container.
pub(crate) fn keep(tx: &mut Tx<'_>, reported: &[Arc<Task>]) {
    let mut changed: BTreeMap<PinKey, ImagePins> = BTreeMap::new();
    for task in reported {
        let Some(key) = task.pins.as_ref().filter(|key| tx.state().are_used(key)) else { continue };
        // What an agent has seen of an image counts once a container was made of it, or when none is to be: somebody
        // may have removed it since, and the tag may mean another one when the agent finds that out.
        for report in task.reported.iter().filter(|report| report.runtime_id.is_some() || task.pull_only) {
            // What an agent says that is no digest is shown as it says it, and nothing is derived from it.
            let Some(digest) = report.image_digest.as_ref().and_then(|text| ImageDigest::new(text).ok()) else {
                continue;
            };
            let known = changed.get(key).or_else(|| tx.state().pins(key).map(|pins| &**pins));
            let is_known = known.is_some_and(|pins| pins.digests.contains_key(&report.name));
            if is_known || !is_consistent(tx.state(), task, &report.name) {
                continue;
            }
            let none_yet = || ImagePins { key: key.clone(), digests: BTreeMap::new(), held: false };
            let new = known.cloned().unwrap_or_else(none_yet);
            changed.entry(key.clone()).or_insert(new).digests.insert(report.name.clone(), digest);
        }
    }
    changed.into_values().for_each(|pins| tx.change(Change::Pins(Arc::new(pins))));
}

/// Whether a container's tag is resolved once for tasks that belong together: not when it says otherwise, and not when
/// its image has a digest of its own.
fn is_consistent(state: &State, task: &Task, name: &ContainerName) -> bool {
    let containers = state.definition(&task.definition).and_then(|d| d.body.container_definitions.as_deref());
    let mut named = containers.into_iter().flatten().filter(|c| c.name.as_deref() == Some(name.as_str()));
    named.any(|c| {
        let disabled = c.version_consistency == Some(VersionConsistency::Disabled);
        !disabled && c.image.as_ref().is_some_and(|image| !image.contains('@'))
    })
}
