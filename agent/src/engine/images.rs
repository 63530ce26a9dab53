//! When an image is pulled and when the one that is here will do; one pull for each image, however many wait for it.
//! The agent's configuration says when, and a container's label `longshore.pull-behavior` for that container.
//!
//! A short memory of images that were just seen spares a burst of equal tasks the question. It may be wrong for a few
//! seconds after somebody removes an image: the create then says that the image is missing, and [`Keeper::forget`] and
//! another try mend it.

use super::drivers::{Image, Images, Plenty, Room};
use crate::config::PullBehavior;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use longshore_docker::labels::PULL_BEHAVIOR;
use longshore_model::ContainerSpec;
use longshore_plan::Failure;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long an image that was seen counts as being here.
const SEEN_FOR: Duration = Duration::from_secs(10);

/// Most images remembered; the oldest memory goes first. A host seldom has more in use.
const MAX_SEEN: usize = 256;

/// Most pulls at once, each with several layers in the engine.
const MAX_PULLS: usize = 4;

/// An image's way onto this host, awaited by everybody who wants it. It ends when nobody waits any more.
type Fetch = BoxFuture<'static, Result<Image, Failure>>;

/// Gets images. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    images: Arc<dyn Images>,
    room: Arc<dyn Room>,
    behavior: PullBehavior,
    state: Arc<Mutex<State>>,
    pulls: Arc<Semaphore>,
}

/// An image, and when it is pulled: one that was seen here is not yet one that was pulled.
type Wanted = (String, PullBehavior);

#[derive(Default)]
struct State {
    seen: HashMap<Wanted, (Image, Instant)>,
    fetches: HashMap<Wanted, WeakShared<Fetch>>,
    /// What [`PullBehavior::Once`] need not pull again.
    pulled: std::collections::HashSet<String>,
    progress: HashMap<String, String>,
}

/// When a container's image is pulled, if its definition says so. Registration knows the names.
#[must_use]
pub fn behavior_of(container: &ContainerSpec) -> Option<PullBehavior> {
    match container.docker_labels.get(PULL_BEHAVIOR)?.as_str() {
        "default" => Some(PullBehavior::Default),
        "always" => Some(PullBehavior::Always),
        "once" => Some(PullBehavior::Once),
        "prefer-cached" => Some(PullBehavior::PreferCached),
        _ => None,
    }
}

impl Keeper {
    /// A keeper that pulls as `behavior` says.
    #[must_use]
    pub fn new(images: Arc<dyn Images>, behavior: PullBehavior) -> Self {
        let pulls = Arc::new(Semaphore::new(MAX_PULLS));
        Self { images, room: Arc::new(Plenty), behavior, state: Arc::default(), pulls }
    }

    /// The same on the disk that `room` looks after.
    #[must_use]
    pub fn on(self, room: Arc<dyn Room>) -> Self {
        Self { room, ..self }
    }

    /// The engine found no space on that disk.
    pub async fn exhausted(&self, text: String) -> Failure {
        self.room.exhausted(text).await
    }

    /// The image, pulled if it has to be by `behavior`, or by the agent's when that is absent. Dropping the future
    /// gives up; the pull ends with its last waiter.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self, reference: &str, behavior: Option<PullBehavior>) -> Result<Image, Failure> {
        let wanted = (reference.to_owned(), behavior.unwrap_or(self.behavior));
        let _hold = self.room.hold(reference).await;
        let fetch = {
            let mut state = self.lock();
            match state.seen.get(&wanted) {
                Some((image, at)) if at.elapsed() < SEEN_FOR => return Ok(image.clone()),
                Some(_) | None => {}
            }
            match state.fetches.get(&wanted).and_then(WeakShared::upgrade) {
                Some(fetch) => fetch,
                None => {
                    let fetch = self.clone().fetch(wanted.clone()).boxed().shared();
                    if let Some(weak) = fetch.downgrade() {
                        state.fetches.insert(wanted.clone(), weak);
                    }
                    fetch
                }
            }
        };
        let result = fetch.clone().await;
        let mut state = self.lock();
        state.progress.remove(reference);
        // A fetch that somebody began anew meanwhile stays.
        if state.fetches.get(&wanted).and_then(WeakShared::upgrade).is_none_or(|f: Shared<Fetch>| f.ptr_eq(&fetch)) {
            state.fetches.remove(&wanted);
        }
        result
    }

    /// The image turned out not to be here.
    pub fn forget(&self, reference: &str) {
        let mut state = self.lock();
        state.seen.retain(|(seen, _), _| seen != reference);
        state.pulled.remove(reference);
    }

    /// How far the pull of an image is, for people; `None` when none goes on.
    #[must_use]
    pub fn progress(&self, reference: &str) -> Option<String> {
        self.lock().progress.get(reference).cloned()
    }

    async fn fetch(self, wanted: Wanted) -> Result<Image, Failure> {
        let (reference, behavior) = wanted.clone();
        let image = match behavior {
            PullBehavior::PreferCached => match self.images.find(&reference).await? {
                Some(image) => image,
                None => self.pull(&reference).await?,
            },
            PullBehavior::Once => {
                let pulled_before = self.lock().pulled.contains(&reference);
                let here = if pulled_before { self.images.find(&reference).await? } else { None };
                match here {
                    Some(image) => image,
                    None => self.pull(&reference).await?,
                }
            }
            PullBehavior::Always => self.pull(&reference).await?,
            PullBehavior::Default => match self.pull(&reference).await {
                Ok(image) => image,
                Err(failure) => {
                    let here = self.images.find(&reference).await?;
                    tracing::info!(
                        image = reference,
                        why = failure.text(),
                        cached = here.is_some(),
                        "could not pull the image"
                    );
                    here.ok_or(failure)?
                }
            },
        };
        self.remember(wanted, image.clone());
        Ok(image)
    }

    async fn pull(&self, reference: &str) -> Result<Image, Failure> {
        // Never closed; without a permit, as well as with one, the pull is right.
        let _slot = self.pulls.acquire().await;
        self.room.admit().await?;
        tracing::info!(image = reference, "pulling");
        let say = |text: String| {
            self.lock().progress.insert(reference.to_owned(), text);
        };
        let image = match self.images.pull(reference, &say).await {
            Ok(image) => image,
            Err(Failure::NoSpace(text)) => return Err(self.room.exhausted(text).await),
            Err(failure) => return Err(failure),
        };
        self.room.pulled(&image.id);
        tracing::info!(image = reference, digest = image.digest, "pulled");
        self.lock().pulled.insert(reference.to_owned());
        Ok(image)
    }

    fn remember(&self, wanted: Wanted, image: Image) {
        let mut state = self.lock();
        if state.seen.len() >= MAX_SEEN
            && let Some(oldest) = state.seen.iter().min_by_key(|(_, (_, at))| *at).map(|(name, _)| name.clone())
        {
            state.seen.remove(&oldest);
        }
        state.seen.insert(wanted, (image, Instant::now()));
    }

    /// The lock is held for one look-up and never across an await; a poisoned one holds whole values.
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
