//! Who needs an image by which name at the moment, so that none is removed under somebody who is about to use it: the
//! engine takes no locks between looking for an image and making a container from it.

use longshore_docker::listed_name;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long an image counts as needed after somebody asked for it: by then the task is in the engine's views, or a
/// container is made from it.
const NEEDED_FOR: Duration = Duration::from_secs(30);

/// The claims. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many hold a name, and when the last let go.
    held: HashMap<String, (u32, Instant)>,
    removing: HashSet<String>,
}

impl State {
    fn forget_old(&mut self) {
        self.held.retain(|_, (count, at)| *count > 0 || at.elapsed() < NEEDED_FOR);
    }
}

impl Claims {
    /// Holds `reference` until the answer is dropped. Waits while it is being removed.
    pub(super) async fn hold(&self, reference: &str) -> Hold {
        let name = listed_name(reference);
        loop {
            // Enabled before the look, so that an end of the removal in between is not missed.
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut state = self.lock();
                if !state.removing.contains(&name) {
                    state.forget_old();
                    let (count, _) = state.held.entry(name.clone()).or_insert((0, Instant::now()));
                    *count += 1;
                    return Hold { claims: self.clone(), name };
                }
            }
            freed.await;
        }
    }

    /// Keeps everybody from holding an image of these names until the answer is dropped; nothing when one is needed.
    pub(super) fn remove(&self, names: &[String]) -> Option<Removal> {
        let mut state = self.lock();
        state.forget_old();
        if names.iter().any(|name| state.held.contains_key(name) || state.removing.contains(name)) {
            return None;
        }
        state.removing.extend(names.iter().cloned());
        Some(Removal { claims: self.clone(), names: names.to_vec() })
    }

    /// The lock is held for one look-up and never across an await; a poisoned one holds whole values.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody needs an image.
#[derive(Debug)]
pub(super) struct Hold {
    claims: Claims,
    name: String,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some((count, at)) = self.claims.lock().held.get_mut(&self.name) {
            *count = count.saturating_sub(1);
            *at = Instant::now();
        }
    }
}

/// An image is being removed.
#[derive(Debug)]
pub(super) struct Removal {
    claims: Claims,
    names: Vec<String>,
}

impl Drop for Removal {
    fn drop(&mut self) {
        let mut state = self.claims.lock();
        for name in &self.names {
            state.removing.remove(name);
        }
        drop(state);
        self.claims.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_somebody_needs_is_not_removed_and_what_is_removed_is_waited_for() {
        let claims = Claims::default();
        let names = ["busybox:latest".to_owned(), "busybox@sha256:a".to_owned()];
        let hold = claims.hold("docker.io/library/busybox").await;
        let other = claims.hold("busybox").await;
        assert!(claims.remove(&names).is_none());
        drop(hold);
        drop(other);
        assert!(claims.remove(&names).is_none(), "it may be in use without anybody knowing yet");
        tokio::time::advance(NEEDED_FOR).await;
        let removal = claims.remove(&names).expect("nobody needs it");
        assert!(claims.remove(&names).is_none(), "once at a time");
        let waiting = tokio::spawn({
            let claims = claims.clone();
            async move { drop(claims.hold("busybox@sha256:a").await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(removal);
        waiting.await.expect("it goes on");
    }
}
