//! When an image is pulled and when the one that is here will do; one pull for each image, however many wait for it,
//! and none waits for another image's: how many layers are downloaded at a time is the engine's to say.
//! The agent's configuration says when, and a container's label `longshore.pull-behavior` for that container. One that
//! is pinned to a digest is pulled only when that image is not here: what a digest names is never outdated.
//!
//! Where an image that is here will do, a short memory of those that were just seen spares a burst of equal tasks the
//! question. It may be wrong for a few seconds after somebody removes an image: the create then says that the image is
//! missing, and [`Keeper::forget`] and another try mend it. Where a pull is asked for each time, what a registry said
//! is not remembered: a tag may have moved since, and nobody would notice. That a registry is away is.
//!
//! Containers that name other credentials for their image's registry want something else: none waits for another one's
//! pull, or takes it for its own. What is here already is for everybody, where no pull is asked for.

use super::drivers::{CredentialsOf, Image, Images, Plenty, Room, TaskCredentials};
use crate::config::PullBehavior;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use longshore_docker::labels::PULL_BEHAVIOR;
use longshore_docker::wanted_image;
use longshore_model::{ContainerSpec, TaskId};
use longshore_plan::Failure;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long an image that was seen counts as being here.
const SEEN_FOR: Duration = Duration::from_secs(10);

/// Most images remembered; the oldest memory goes first. A host seldom has more in use.
const MAX_SEEN: usize = 256;

/// An image's way onto this host, awaited by everybody who wants it. It ends when nobody waits any more.
type Fetch = BoxFuture<'static, Result<Image, Failure>>;

/// Gets images. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    images: Arc<dyn Images>,
    room: Arc<dyn Room>,
    credentials: Arc<dyn TaskCredentials>,
    behavior: PullBehavior,
    state: Arc<Mutex<State>>,
}

/// An image, when it is pulled (one that was seen here is not yet one that was pulled), and the secret with the
/// credentials for its registry.
type Wanted = (String, PullBehavior, Option<String>);

/// Why there is no image.
enum Lack {
    /// There are no credentials to ask for it with: as in ECS, what is here is no way around that.
    Credentials(Failure),
    /// The pull failed.
    Pull(Failure),
}

impl From<Lack> for Failure {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Credentials(failure) | Lack::Pull(failure) => failure,
        }
    }
}

#[derive(Default)]
struct State {
    seen: HashMap<Wanted, (Image, Instant)>,
    fetches: HashMap<Wanted, WeakShared<Fetch>>,
    progress: HashMap<Wanted, String>,
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

/// Whose credentials the registry of a container's image is shown; `None` for the host's own.
#[must_use]
pub fn credentials_of(task: TaskId, container: &ContainerSpec) -> Option<CredentialsOf> {
    let parameter = container.repository_credentials.clone()?;
    Some(CredentialsOf { task, container: container.name.clone(), parameter })
}

/// Somebody who waits for an image, and may give up.
struct Waiter<'a> {
    keeper: &'a Keeper,
    wanted: Wanted,
    fetch: Shared<Fetch>,
}

impl Drop for Waiter<'_> {
    /// With its result, or its last waiter, nothing is said of a fetch any more.
    fn drop(&mut self) {
        if self.fetch.peek().is_none() && self.fetch.strong_count() != Some(1) {
            return;
        }
        let mut state = self.keeper.lock();
        // A fetch that somebody began anew meanwhile stays.
        let there = state.fetches.get(&self.wanted).and_then(WeakShared::upgrade);
        if there.is_none_or(|there: Shared<Fetch>| there.ptr_eq(&self.fetch)) {
            state.fetches.remove(&self.wanted);
            state.progress.remove(&self.wanted);
        }
    }
}

impl Keeper {
    /// A keeper that pulls as `behavior` says.
    #[must_use]
    pub fn new(images: Arc<dyn Images>, credentials: Arc<dyn TaskCredentials>, behavior: PullBehavior) -> Self {
        Self { images, room: Arc::<Plenty>::default(), credentials, behavior, state: Arc::default() }
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

    /// The image of a task's container, pulled if it has to be: the one of its digest when it is pinned to one, else
    /// what its name means now.
    ///
    /// # Errors
    /// As [`Keeper::get`].
    pub async fn image_of(&self, task: TaskId, container: &ContainerSpec) -> Result<Image, Failure> {
        let own = credentials_of(task, container);
        let (reference, behavior, _) = self.wanted(container);
        let image = self.get(&reference, Some(behavior), own).await;
        let Some(digest) = &container.image_digest else { return image };
        match image {
            // Found by its digest, it has it, whatever else it has.
            Ok(image) => Ok(Image { digest: Some(digest.to_string()), ..image }),
            Err(Failure::ImageMissing(text)) => Err(Failure::ImageMissing(format!(
                "{text}; `{}` was resolved to {digest} for the tasks that were started together with this one, and \
                 the registry does not have that image any more: push it again, or start new tasks, for which the tag \
                 is resolved anew",
                container.image
            ))),
            Err(failure) => Err(failure),
        }
    }

    /// The image, pulled if it has to be by `behavior`, or by the agent's when that is absent, with the credentials of
    /// `own` or the host's. Dropping the future gives up; the pull ends with its last waiter.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(
        &self,
        reference: &str,
        behavior: Option<PullBehavior>,
        own: Option<CredentialsOf>,
    ) -> Result<Image, Failure> {
        let secret = own.as_ref().map(|own| own.parameter.clone());
        let wanted = (reference.to_owned(), behavior.unwrap_or(self.behavior), secret);
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
                    let fetch = self.clone().fetch(wanted.clone(), own).boxed().shared();
                    if let Some(weak) = fetch.downgrade() {
                        state.fetches.insert(wanted.clone(), weak);
                    }
                    fetch
                }
            }
        };
        let waiter = Waiter { keeper: self, wanted, fetch };
        waiter.fetch.clone().await
    }

    /// The image turned out not to be here.
    pub fn forget(&self, reference: &str) {
        let mut state = self.lock();
        state.seen.retain(|(seen, ..), _| seen != reference);
        drop(state);
        self.room.lost(reference);
    }

    /// How far the pull of a container's image is, for people; `None` when none goes on.
    #[must_use]
    pub fn progress(&self, container: &ContainerSpec) -> Option<String> {
        self.lock().progress.get(&self.wanted(container)).cloned()
    }

    /// What a container wants. What a digest names is never outdated.
    fn wanted(&self, container: &ContainerSpec) -> Wanted {
        let behavior = match container.image_digest {
            Some(_) => PullBehavior::PreferCached,
            None => behavior_of(container).unwrap_or(self.behavior),
        };
        (wanted_image(container), behavior, container.repository_credentials.clone())
    }

    async fn fetch(self, wanted: Wanted, own: Option<CredentialsOf>) -> Result<Image, Failure> {
        let (reference, behavior, secret) = wanted.clone();
        let own = own.as_ref();
        // What the registry said last may be otherwise by now, also a moment later.
        let (image, lasts) = match behavior {
            PullBehavior::PreferCached => match self.images.find(&reference).await? {
                Some(image) => (image, true),
                None => (self.pull(&wanted, own).await?, true),
            },
            PullBehavior::Once => {
                let pulled_before = self.room.was_pulled(&(reference.clone(), secret));
                let here = if pulled_before { self.images.find(&reference).await? } else { None };
                match here {
                    Some(image) => (image, true),
                    None => (self.pull(&wanted, own).await?, true),
                }
            }
            PullBehavior::Always => (self.pull(&wanted, own).await?, false),
            PullBehavior::Default => match self.pull(&wanted, own).await {
                Ok(image) => (image, false),
                Err(Lack::Credentials(failure)) => return Err(failure),
                Err(Lack::Pull(failure)) => {
                    let here = self.images.find(&reference).await?;
                    tracing::info!(
                        image = reference,
                        why = failure.text(),
                        cached = here.is_some(),
                        "could not pull the image"
                    );
                    // A registry that is away is not asked by each task of a burst.
                    (here.ok_or(failure)?, true)
                }
            },
        };
        if lasts {
            self.remember(wanted, image.clone());
        }
        Ok(image)
    }

    async fn pull(&self, wanted: &Wanted, own: Option<&CredentialsOf>) -> Result<Image, Lack> {
        let reference = wanted.0.as_str();
        let say = |text: String| {
            self.lock().progress.insert(wanted.clone(), text);
        };
        let shown = match own {
            Some(own) => Some(self.credentials.get(own, reference, &say).await.map_err(Lack::Credentials)?),
            None => None,
        };
        say("space is looked for on the disk".to_owned());
        self.room.admit().await.map_err(Lack::Pull)?;
        tracing::info!(image = reference, "pulling");
        say("the engine asks the registry for it".to_owned());
        let image = match self.images.pull(reference, shown.as_ref(), &say).await {
            Ok(image) => image,
            Err(Failure::NoSpace(text)) => return Err(Lack::Pull(self.room.exhausted(text).await)),
            Err(failure) => return Err(Lack::Pull(failure)),
        };
        self.room.pulled(&image.id, (reference.to_owned(), own.map(|own| own.parameter.clone())));
        tracing::info!(image = reference, digest = image.digest, "pulled");
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
