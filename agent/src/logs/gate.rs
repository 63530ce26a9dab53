//! What holds the removal of a container back until its output is shipped, for as long as that may take.

use crate::engine::drivers::{Containers, CreateRequest, Listed};
use async_trait::async_trait;
use longshore_docker::{LogTarget, container_name};
use longshore_model::{ContainerName, EniId, TaskId};
use longshore_plan::{Creation, Failure, Halt, Inspected};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The longest that anything waits for what is not shipped: a removal, and what is kept of a container that is gone.
pub(super) const LONGEST: Duration = Duration::from_secs(600);

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
    /// Counts what is created and started, so that it is known what a listing cannot have seen.
    count: u64,
    /// Those whose output is shipped, and where `count` stood when they were created; 0 for what a listing found.
    logged: HashMap<String, u64>,
    /// Those of which something is not shipped.
    open: HashMap<String, Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// When its removal was asked for first.
    asked: Option<Instant>,
    /// Where `count` stood when it was started last.
    started: u64,
}

/// What had been created and started when a listing began.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mark(u64);

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

    /// To be taken before a listing begins.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.known().count)
    }

    /// The containers whose output is shipped, as the listing that began at `mark` found them. Of others nothing is
    /// known any more, but of those that it cannot have seen.
    pub(super) fn listed(&self, names: impl Iterator<Item = String>, mark: Mark) {
        let names: HashSet<String> = names.collect();
        let mut known = self.known();
        known.logged.retain(|name, created| *created > mark.0 || names.contains(name));
        known.open.retain(|name, open| open.started > mark.0 || names.contains(name));
        for name in names {
            known.logged.entry(name).or_default();
        }
        known.listed = true;
    }

    /// Something of a container is not shipped, or may be printed yet.
    pub(super) fn open(&self, name: &str) {
        self.known().open.entry(name.to_owned()).or_default();
    }

    /// Everything of a container is shipped, as far as the listing that began at `mark` knows of it: one that was
    /// started since stays open.
    pub(super) fn close(&self, name: &str, mark: Mark) {
        let mut known = self.known();
        if known.open.get(name).is_some_and(|open| open.started <= mark.0) {
            known.open.remove(name);
        }
    }

    fn created(&self, name: &str) {
        let mut known = self.known();
        known.count += 1;
        let count = known.count;
        known.logged.insert(name.to_owned(), count);
    }

    /// A container is about to print.
    pub(super) fn starts(&self, name: &str) {
        let mut known = self.known();
        if known.logged.contains_key(name) {
            known.count += 1;
            let count = known.count;
            known.open.entry(name.to_owned()).or_default().started = count;
        }
    }

    /// Whether nothing is lost with a container, or it was waited for long enough.
    pub(super) fn may_remove(&self, name: &str, now: Instant) -> Result<(), String> {
        let mut known = self.known();
        if !known.listed {
            return Err("it is not known yet whether its output was shipped".to_owned());
        }
        let Some(open) = known.open.get_mut(name) else { return Ok(()) };
        if now.duration_since(*open.asked.get_or_insert(now)) < LONGEST {
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

    async fn sandboxes(&self) -> Result<BTreeMap<EniId, bool>, Failure> {
        self.inner.sandboxes().await
    }

    async fn inspect(&self, task: TaskId, container: &ContainerName) -> Result<Option<Inspected>, Failure> {
        self.inner.inspect(task, container).await
    }

    async fn create(&self, request: &CreateRequest) -> Result<Creation, Failure> {
        let container = &request.spec.containers[request.index];
        let logged = LogTarget::of(&request.spec, container).map(|_| container_name(request.spec.id, &container.name));
        logged.iter().for_each(|name| self.gate.created(name));
        let created = self.inner.create(request).await;
        // Again: a listing that began meanwhile may not have seen it.
        logged.iter().for_each(|name| self.gate.created(name));
        created
    }

    async fn start(&self, task: TaskId, container: &ContainerName) -> Result<(), Failure> {
        let name = container_name(task, container);
        self.gate.starts(&name);
        let started = self.inner.start(task, container).await;
        match started {
            // Again: a listing that began meanwhile may have seen it as it was before.
            Ok(()) => self.gate.starts(&name),
            // No event tells of a start that failed; a look says that there is nothing to ship.
            Err(_) => self.gate.look.notify_one(),
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

    fn listed(gate: &Gate, names: &[&str]) {
        gate.listed(names.iter().map(|name| (*name).to_owned()), gate.mark());
    }

    #[test]
    fn a_removal_waits_for_what_is_open_and_not_for_ever() {
        let gate = Gate::new(Arc::default());
        let now = Instant::now();
        assert!(gate.may_remove("ls-a", now).is_err(), "nothing was listed yet");
        listed(&gate, &["ls-a"]);
        assert_eq!(gate.may_remove("ls-a", now), Ok(()), "it never began");
        gate.starts("ls-a");
        gate.starts("ls-other");
        assert!(gate.may_remove("ls-a", now).is_err());
        assert_eq!(gate.may_remove("ls-other", now), Ok(()), "its output is nobody's business");
        assert!(gate.may_remove("ls-a", now + LONGEST / 2).is_err());
        assert_eq!(gate.may_remove("ls-a", now + LONGEST), Ok(()));
        gate.starts("ls-a");
        gate.close("ls-a", gate.mark());
        assert_eq!(gate.may_remove("ls-a", now), Ok(()));
    }

    #[test]
    fn a_listing_says_nothing_of_what_came_after_its_beginning() {
        let gate = Gate::new(Arc::default());
        let now = Instant::now();
        listed(&gate, &["ls-a"]);
        let mark = gate.mark();
        gate.created("ls-b");
        gate.starts("ls-a");
        gate.starts("ls-b");
        gate.close("ls-a", mark);
        gate.listed(std::iter::empty(), mark);
        assert!(gate.may_remove("ls-a", now).is_err() && gate.may_remove("ls-b", now).is_err());
        gate.close("ls-a", gate.mark());
        assert_eq!(gate.may_remove("ls-a", now), Ok(()));
        // Somebody else removed both: nothing of them is kept.
        listed(&gate, &[]);
        let known = gate.known();
        assert!(known.logged.is_empty() && known.open.is_empty(), "{known:?}");
    }
}
