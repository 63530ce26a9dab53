//! What only the container engine knows of a container, asked for when somebody wants it and kept for a while.

use async_trait::async_trait;
use longshore_docker::Docker;
use longshore_model::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long an answer is good. Nearly all of it never changes.
const GOOD: Duration = Duration::from_secs(60);

/// How soon the engine is asked again although there is an answer.
const APART: Duration = Duration::from_secs(1);

/// Longest wait for the engine, which does not answer while it starts the container. After it, whoever asked is told
/// what is known without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Questions to the engine at once.
const AT_ONCE: usize = 4;

/// Something mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The name of a volume; empty for a path of the host.
    pub name: String,
    /// The path on the host.
    pub source: String,
    /// The path in the container.
    pub destination: String,
}

/// A container as the engine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The id of its image, `sha256:…`.
    pub image_id: String,
    /// All labels, the image's among them.
    pub labels: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// Its first process, while it runs.
    pub pid: Option<u32>,
    /// Its address on the engine's bridge.
    pub address: Option<Ipv4Addr>,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
}

/// Looks at containers.
#[async_trait]
pub trait Look: Send + Sync {
    /// One container by the engine's id; nothing when there is none.
    ///
    /// # Errors
    /// When the engine does not answer, with the whole chain of causes.
    async fn look(&self, id: &str) -> Result<Option<Seen>, String>;
}

#[async_trait]
impl Look for Docker {
    async fn look(&self, id: &str) -> Result<Option<Seen>, String> {
        let found = self.inspect(id).await.map_err(|error| crate::engine::docker::chain(&error))?;
        Ok(found.map(|container| Seen {
            image_id: container.image_id,
            labels: container.labels.into_iter().collect(),
            created_at: container.created_at,
            pid: container.pid,
            address: container.address,
            mounts: container
                .mounts
                .into_iter()
                .map(|m| Mount { name: m.name, source: m.source, destination: m.destination })
                .collect(),
        }))
    }
}

type Known = HashMap<String, (Arc<Seen>, Instant)>;

/// What was seen of containers.
pub(super) struct Details {
    containers: Arc<dyn Look>,
    known: Mutex<Known>,
    places: Semaphore,
}

impl Details {
    pub(super) fn new(containers: Arc<dyn Look>) -> Self {
        Self { containers, known: Mutex::default(), places: Semaphore::new(AT_ONCE) }
    }

    /// The lock is held for one look-up and never across an await; a poisoned one holds whole values.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is of a container, not older than `age`.
    fn at_most(&self, id: &str, age: Duration) -> Option<Arc<Seen>> {
        self.known().get(id).filter(|(_, at)| at.elapsed() <= age).map(|(seen, _)| seen.clone())
    }

    /// A container as the engine has it; what was known before when that does not answer. One that `runs` is asked for
    /// again when it did not at the last look.
    pub(super) async fn of(&self, id: &str, runs: bool) -> Option<Arc<Seen>> {
        let fits = |seen: &Arc<Seen>| !runs || seen.pid.is_some();
        match self.at_most(id, GOOD).filter(fits) {
            Some(seen) => Some(seen),
            None => self.again(id).await,
        }
    }

    /// The same, asked for anew unless that was just done.
    pub(super) async fn again(&self, id: &str) -> Option<Arc<Seen>> {
        let asked = tokio::time::timeout(PATIENCE, async {
            let _place = self.places.acquire().await;
            // Somebody else may have asked meanwhile.
            if let Some(seen) = self.at_most(id, APART) {
                return Ok(Some(seen));
            }
            let seen = self.containers.look(id).await?.map(Arc::new);
            if let Some(seen) = &seen {
                self.known().insert(id.to_owned(), (seen.clone(), Instant::now()));
            }
            Ok::<Option<Arc<Seen>>, String>(seen)
        });
        match asked.await {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => {
                tracing::debug!(container = id, error, "the container engine says nothing of a container");
                self.at_most(id, Duration::MAX)
            }
            Err(_) => self.at_most(id, Duration::MAX),
        }
    }

    /// Whether there are many more than so many.
    pub(super) fn has_many(&self, than: usize) -> bool {
        self.known().len() > 16 + 2 * than
    }

    /// Forgets every other container.
    pub(super) fn keep(&self, ids: &BTreeSet<String>) {
        self.known().retain(|id, _| ids.contains(id));
    }

    /// What is known of a container, however old it is.
    pub(super) fn known_of(&self, id: &str) -> Option<Arc<Seen>> {
        self.at_most(id, Duration::MAX)
    }

    /// The process that a container had at the last look.
    pub(super) fn process_of(&self, id: &str) -> Option<u32> {
        self.known_of(id)?.pid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::{FakeEngine, seen};
    use std::sync::atomic::Ordering;

    #[tokio::test(start_paused = true)]
    async fn the_engine_is_asked_once_in_a_while() {
        let engine = Arc::new(FakeEngine::default());
        let details = Details::new(engine.clone());
        assert_eq!(details.of("a", true).await, None);
        let stopped = Seen { pid: None, ..seen(None) };
        engine.set("a", Some(stopped.clone()));
        assert_eq!(details.of("a", false).await.as_deref(), Some(&stopped));
        engine.set("a", Some(seen(None)));
        assert_eq!(details.of("a", false).await.as_deref(), Some(&stopped), "it is good for a while");
        tokio::time::advance(APART * 2).await;
        assert_eq!(details.of("a", true).await.as_deref(), Some(&seen(None)), "and not for one that was started since");
        let asked = engine.asked.load(Ordering::Relaxed);
        for _ in 0..100 {
            details.of("a", true).await;
        }
        assert_eq!(engine.asked.load(Ordering::Relaxed), asked);
        tokio::time::advance(GOOD * 2).await;
        details.of("a", true).await;
        assert_eq!(engine.asked.load(Ordering::Relaxed), asked + 1);

        // An engine that does not answer takes nothing away and holds nobody up for long.
        engine.away.store(true, Ordering::Relaxed);
        tokio::time::advance(GOOD * 2).await;
        let before = Instant::now();
        assert_eq!(details.of("a", true).await.as_deref(), Some(&seen(None)));
        assert!(before.elapsed() <= PATIENCE, "{:?}", before.elapsed());
        assert_eq!(details.of("b", true).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn containers_that_are_gone_are_forgotten() {
        let engine = Arc::new(FakeEngine::default());
        let details = Details::new(engine.clone());
        for i in 0..40 {
            engine.set(&i.to_string(), Some(seen(None)));
            details.of(&i.to_string(), true).await;
        }
        assert!(details.has_many(3) && !details.has_many(20));
        details.keep(&["3".to_owned()].into());
        assert_eq!(details.known().len(), 1);
    }
}
