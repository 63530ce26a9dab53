//! Who follows which instance's generation. Wake-ups carry a number and nothing else; readers look at the snapshot.

use longshore_model::{Generation, InstanceId};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// The watched instances.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<HashMap<InstanceId, watch::Sender<Generation>>>);

impl Watchers {
    /// A receiver of an instance's generation. `current` is asked for while no publication can pass: what is
    /// published after it, the receiver hears of. `None` makes a receiver that is closed.
    pub(crate) fn watch(
        &self,
        instance: InstanceId,
        current: impl FnOnce() -> Option<Generation>,
    ) -> watch::Receiver<Generation> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match current() {
            None => watch::channel(Generation::default()).1,
            Some(generation) => watched.entry(instance).or_insert_with(|| watch::channel(generation).0).subscribe(),
        }
    }

    /// Tells watchers of `instances` where they are now; `None` closes. For calling after the state that
    /// `generation` reads is published.
    pub(crate) fn wake(
        &self,
        instances: impl IntoIterator<Item = InstanceId>,
        generation: impl Fn(InstanceId) -> Option<Generation>,
    ) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in instances {
            let Some(sender) = watched.get(&id) else { continue };
            match generation(id) {
                Some(new) if sender.receiver_count() > 0 => {
                    sender.send_if_modified(|seen| {
                        let newer = new > *seen;
                        *seen = new.max(*seen);
                        newer
                    });
                }
                // Nobody listens any more, or there is nothing to listen to.
                Some(_) | None => {
                    watched.remove(&id);
                }
            }
        }
    }
}
