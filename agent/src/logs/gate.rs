//! What holds the removal of a container back until its output is shipped, for as long as that may take.

use crate::engine::drivers::{Containers, CreateRequest, Listed};
use async_trait::async_trait;
use longshore_docker::{LogTarget, container_name};
use longshore_model::{ContainerName, EniId, TaskId};
use longshore_plan::{Failure, Halt, Inspected};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The longest that a removal waits for what is not shipped.
const LONGEST: Duration = Duration::from_secs(600);

/// What is known of containers' output, by the containers' names. Clones are the same.
#[derive(Debug, Clone)]
pub struct Gate {
    known: Arc<Mutex<Known>>,
    /// Tells the collector to look at the containers.
    look: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether the containers that were there before this process are among them.
    listed: bool,
    /// Those whose output is shipped.
    logged: HashSet<String>,
    /// Those of which something is not shipped, and when their removal was asked for first.
    open: HashMap<String, Option<Instant>>,
}

impl Gate {
    /// Knows nothing yet. `look` makes the collector look.
    #[must_use]
    pub fn new(look: Arc<Notify>) -> Self {
        Self { known: Arc::default(), look }
    }

    /// The lock is held for one look-up and never across an await; a poisoned one holds whole values.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when somebody should look at the containers.
    pub(super) async fn look(&self) {
        self.look.notified().await;
    }

    /// The containers whose output is shipped, as a listing found them.
    pub(super) fn listed(&self, names: impl Iterator<Item = String>) {
        let mut known = self.known();
        known.logged.extend(names);
        known.listed = true;
    }

    /// Something of a container is not shipped, or may be printed yet.
    pub(super) fn open(&self, name: &str) {
        self.known().open.entry(name.to_owned()).or_default();
    }

    /// Everything of a container is shipped.
    pub(super) fn close(&self, name: &str) {
        self.known().open.remove(name);
    }

    fn created(&self, name: String) {
        self.known().logged.insert(name);
    }

    /// A container is about to print.
    fn starts(&self, name: &str) {
        let mut known = self.known();
        if known.logged.contains(name) {
            known.open.entry(name.to_owned()).or_default();
        }
    }

    /// Whether nothing is lost with a container, or it was waited for long enough.
    fn may_remove(&self, name: &str, now: Instant) -> Result<(), String> {
        let mut known = self.known();
        if !known.listed {
            return Err("it is not known yet whether its output was shipped".to_owned());
        }
        let Some(asked) = known.open.get_mut(name) else { return Ok(()) };
        if now.duration_since(*asked.get_or_insert(now)) < LONGEST {
            return Err("its output is not all shipped to the control plane yet".to_owned());
        }
        tracing::error!(container = name, "removing a container before all its output was shipped; the rest is lost");
        known.open.remove(name);
        Ok(())
    }

    fn removed(&self, name: &str) {
        let mut known = self.known();
        known.logged.remove(name);
        known.open.remove(name);
    }
}

/// The engine's containers, with the gate before their removal.
pub struct Shipped {
    inner: Arc<dyn Containers>,
    gate: Gate,
}

impl Shipped {
    /// `inner` behind `gate`.
    #[must_use]
    pub fn new(inner: Arc<dyn Containers>, gate: Gate) -> Self {
        Self { inner, gate }
    }
}

#[async_trait]
impl Containers for Shipped {
    async fn list(&self) -> Result<Vec<Listed>, Failure> {
        self.inner.list().await
    }

    async fn running_sandboxes(&self) -> Result<BTreeSet<EniId>, Failure> {
        self.inner.running_sandboxes().await
    }

    async fn inspect(&self, task: TaskId, container: &ContainerName) -> Result<Option<Inspected>, Failure> {
        self.inner.inspect(task, container).await
    }

    async fn create(&self, request: &CreateRequest) -> Result<String, Failure> {
        let container = &request.spec.containers[request.index];
        if LogTarget::of(&request.spec, container).is_some() {
            self.gate.created(container_name(request.spec.id, &container.name));
        }
        self.inner.create(request).await
    }

    async fn start(&self, task: TaskId, container: &ContainerName) -> Result<(), Failure> {
        self.gate.starts(&container_name(task, container));
        let started = self.inner.start(task, container).await;
        if started.is_err() {
            // No event tells of a start that failed; a look says that there is nothing to ship.
            self.gate.look.notify_one();
        }
        started
    }

    async fn stop(&self, task: TaskId, container: &ContainerName, halt: Halt) -> Result<(), Failure> {
        self.inner.stop(task, container, halt).await
    }

    async fn remove(&self, task: TaskId, container: &ContainerName) -> Result<(), Failure> {
        let name = container_name(task, container);
        self.gate.may_remove(&name, Instant::now()).map_err(Failure::Passing)?;
        self.inner.remove(task, container).await?;
        self.gate.removed(&name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_waits_for_what_is_open_and_not_for_ever() {
        let gate = Gate::new(Arc::default());
        let now = Instant::now();
        assert!(gate.may_remove("ls-a", now).is_err(), "nothing was listed yet");
        gate.listed(["ls-a".to_owned()].into_iter());
        assert_eq!(gate.may_remove("ls-a", now), Ok(()), "it never began");
        gate.starts("ls-a");
        gate.starts("ls-other");
        assert!(gate.may_remove("ls-a", now).is_err());
        assert_eq!(gate.may_remove("ls-other", now), Ok(()), "its output is nobody's business");
        assert!(gate.may_remove("ls-a", now + LONGEST / 2).is_err());
        assert_eq!(gate.may_remove("ls-a", now + LONGEST), Ok(()));
        gate.starts("ls-a");
        gate.close("ls-a");
        assert_eq!(gate.may_remove("ls-a", now), Ok(()));
    }
}
