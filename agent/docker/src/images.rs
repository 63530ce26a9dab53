//! Images: whether one is here, and pulls that show their progress and give up when they stall.

use crate::client::Docker;
use crate::credentials::Credentials;
use crate::error::{DockerError, Retry, go_duration};
use crate::reference::{ImageRef, ReferenceError};
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::{CreateImageOptions, ListImagesOptions, RemoveImageOptions};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// An image on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// The engine's id (`sha256:…` of its configuration).
    pub id: String,
    /// `repository@sha256:…` for each repository that it was pulled from or pushed to; empty for one built here.
    pub repo_digests: Vec<String>,
}

impl ImageInfo {
    /// The digest (`sha256:…`) under which the repository of `reference` knows the image; the one that `reference`
    /// itself has, if it has one and the repository knows the image by it. `None` when the repository does not know the
    /// image: it was built or loaded here, or comes from another one, whose digests would be good for nothing in this.
    #[must_use]
    pub fn digest(&self, reference: &str) -> Option<&str> {
        let wanted = ImageRef::parse(reference).ok()?;
        let entries = self.repo_digests.iter().filter_map(|entry| entry.split_once('@'));
        let digests = entries.filter(|(name, _)| familiar(name) == familiar(wanted.name())).map(|(_, digest)| digest);
        let mut digests = digests.collect::<Vec<_>>();
        // One image can have several: the registry was given it in several forms.
        digests.sort_by_key(|digest| *digest != wanted.tag_or_digest());
        digests.first().copied()
    }
}

/// An image in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedImage {
    /// The engine's id.
    pub id: String,
    /// The names by which it goes, tags and digests; none for one whose last name went to another image.
    pub names: Vec<String>,
    /// Its size in bytes, layers that others share included.
    pub size: u64,
}

/// A reference as the engine lists it: with its tag, without the default registry. What is no reference is as it is.
#[must_use]
pub fn listed_name(reference: &str) -> String {
    ImageRef::parse(reference).map_or_else(|_| reference.to_owned(), |parsed| familiar(&parsed.to_string()).to_owned())
}

/// A name without the default registry, as the engine shows it.
fn familiar(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// How long a pull may take. The defaults are those of ECS's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullLimits {
    /// Until the first sign of life: 5 min.
    pub begin: Duration,
    /// Without progress: 1 min. What the engine has put off for other pulls that move does not stall.
    pub stall: Duration,
    /// Altogether: 2 h. What it waits for other pulls does not count.
    pub total: Duration,
}

impl Default for PullLimits {
    fn default() -> Self {
        Self { begin: Duration::from_secs(300), stall: Duration::from_secs(60), total: Duration::from_secs(7200) }
    }
}

/// How far a pull is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PullProgress {
    /// Layers known so far.
    pub layers: usize,
    /// Layers that are here.
    pub layers_done: usize,
    /// Bytes downloaded of the layers whose size is known.
    pub bytes: u64,
    /// Their size.
    pub bytes_total: u64,
    /// Whether all that is left of it waits for other pulls: the engine has put it off, or, where no layer is known,
    /// it is not asked for yet.
    pub queued: bool,
}

/// Pulls at once of an engine that downloads as much as it is asked for ([`EngineInfo::containerd_images`]). More than
/// a few, so that some which are slow hold up no other registry's.
///
/// [`EngineInfo::containerd_images`]: crate::EngineInfo::containerd_images
pub const UNBOUNDED_PULLS: usize = 8;

/// Between two looks at whether the engine works on other pulls.
const LOOK: Duration = Duration::from_secs(5);

/// Why an image was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Not an image reference.
    #[error("could not pull `{image}`")]
    Reference {
        /// The image.
        image: String,
        /// Why not.
        #[source]
        source: ReferenceError,
    },
    /// The registry has no such repository, tag or digest.
    #[error("could not pull `{image}`: {message}")]
    NotFound {
        /// The image.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// The registry wants other credentials, or hides from us whether it exists.
    #[error("could not pull `{image}`: {message}")]
    Auth {
        /// The image.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// The registry cannot be reached, or its answer broke off.
    #[error("could not pull `{image}`: {message}")]
    Unreachable {
        /// The image.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// Nothing moved for too long.
    #[error("could not pull `{image}`: no progress for {}", go_duration(*after))]
    Stalled {
        /// The image.
        image: String,
        /// How long.
        after: Duration,
    },
    /// Not done in time, or not begun in time.
    #[error("could not pull `{image}`: not {} within {}", if *begun { "done" } else { "begun" }, go_duration(*after))]
    Timeout {
        /// The image.
        image: String,
        /// Whether there was any sign of life.
        begun: bool,
        /// The limit.
        after: Duration,
    },
    /// No room on this host.
    #[error("could not pull `{image}`: {message}")]
    Disk {
        /// The image.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// Anything else that the engine said.
    #[error("could not pull `{image}`: {message}")]
    Other {
        /// The image.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// The engine itself is away.
    #[error("could not pull `{image}`")]
    Engine {
        /// The image.
        image: String,
        /// Why.
        #[source]
        source: DockerError,
    },
}

impl PullError {
    /// Whether and how to try again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Reference { .. } | Self::NotFound { .. } | Self::Auth { .. } | Self::Disk { .. } => Retry::Never,
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Timeout { .. } | Self::Other { .. } => Retry::Later,
            // A pull that is cut off leaves only whole layers.
            Self::Engine { .. } => Retry::Later,
        }
    }

    /// As ECS words a container's reason.
    #[must_use]
    pub fn ecs_reason(&self) -> String {
        const NAME: &str = "CannotPullContainerError";
        match self {
            Self::Reference { source, .. } => format!("{NAME}: {source}"),
            Self::Auth { message, .. }
            | Self::NotFound { message, .. }
            | Self::Unreachable { message, .. }
            | Self::Disk { message, .. }
            | Self::Other { message, .. } => format!("{NAME}: Error response from daemon: {message}"),
            Self::Stalled { after, .. } => {
                format!(
                    "{NAME}: inactivity time exceeded timeout while pulling image (no progress for {})",
                    go_duration(*after)
                )
            }
            Self::Timeout { begun: false, after, .. } => {
                format!(
                    "DockerTimeoutError: Could not transition to pulled; the pull did not begin within {}",
                    go_duration(*after)
                )
            }
            Self::Timeout { begun: true, after, .. } => {
                format!(
                    "DockerTimeoutError: Could not transition to pulled; timed out after waiting {}",
                    go_duration(*after)
                )
            }
            Self::Engine { source, .. } => source.ecs_reason(NAME, "pulled"),
        }
    }
}

impl Docker {
    /// The image on this host, by reference or id; `None` when it is not here.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, DockerError> {
        let client = self.client().await?;
        let doing = format!("looking for image `{reference}`");
        match self.call(&doing, self.timeouts().inspect, client.inspect_image(reference)).await {
            Ok(found) => Ok(Some(ImageInfo::from(found))),
            Err(error) => match error.refusal() {
                // 400: not a reference at all, so not here either; a pull will say what is wrong with it.
                Some((404 | 400, _)) => Ok(None),
                Some(_) | None => Err(error),
            },
        }
    }

    /// All images but those that are only layers of others.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn images(&self) -> Result<Vec<ListedImage>, DockerError> {
        let client = self.client().await?;
        let call = client.list_images(Some(ListImagesOptions::default()));
        let listed = self.call("listing images", self.timeouts().list, call).await?;
        let named = |name: &String| !name.contains("<none>");
        Ok(listed
            .into_iter()
            .map(|image| ListedImage {
                names: image.repo_tags.into_iter().chain(image.repo_digests).filter(named).collect(),
                size: u64::try_from(image.size).unwrap_or(0),
                id: image.id,
            })
            .collect())
    }

    /// Removes an image with all its names, and those of its layers that nothing else needs. False when the engine
    /// keeps it because a container is made from it. One that is absent is fine.
    ///
    /// # Errors
    /// When the engine refuses for another reason, or does not answer.
    pub async fn remove_image(&self, image: &ListedImage) -> Result<bool, DockerError> {
        let client = self.client().await?;
        // By its names, each of which is removed alone: by its id, one with several would have to be forced, and that
        // would not spare one that a container was just made from.
        let by_id = std::slice::from_ref(&image.id);
        let names = if image.names.is_empty() { by_id } else { image.names.as_slice() };
        for name in names {
            let doing = format!("removing image `{name}`");
            let call = client.remove_image(name, None::<RemoveImageOptions>, None);
            if let Err(error) = self.call(&doing, self.timeouts().remove, call).await {
                match error.refusal() {
                    // The last tag takes the digest with it.
                    Some((404, _)) => {}
                    Some((409, _)) => return Ok(false),
                    Some(_) | None => return Err(error),
                }
            }
        }
        Ok(true)
    }

    /// Pulls an image and returns what is then here. `credentials` are shown to its registry, `progress` is called at
    /// each change. Dropping the future ends the pull in the engine too, as do the limits.
    ///
    /// # Errors
    /// See [`PullError`]. Whatever the error, no half image is left.
    pub async fn pull(
        &self,
        reference: &str,
        credentials: Option<&Credentials>,
        limits: PullLimits,
        mut progress: impl FnMut(&PullProgress) + Send,
    ) -> Result<ImageInfo, PullError> {
        let image = || reference.to_owned();
        let parsed = ImageRef::parse(reference).map_err(|source| PullError::Reference { image: image(), source })?;
        let engine = |source| PullError::Engine { image: image(), source };
        let client = self.client().await.map_err(engine)?;
        let options = CreateImageOptions {
            from_image: Some(parsed.name().to_owned()),
            tag: Some(parsed.tag_or_digest().to_owned()),
            ..CreateImageOptions::default()
        };
        let _turn = self.pull_turn(|| progress(&PullProgress { queued: true, ..PullProgress::default() })).await;
        let stream = client.create_image(Some(options), None, credentials.map(Credentials::for_engine));
        let watched = self.watch(reference, limits, stream, progress);
        let begin = Instant::now();
        let pulled = watched.await;
        self.book().enter("pulling", begin.elapsed(), pulled.is_err());
        pulled?;
        self.image(reference).await.map_err(engine)?.ok_or_else(|| PullError::Other {
            image: image(),
            message: "the pull ended well and the image is not there; was it removed meanwhile?".to_owned(),
        })
    }

    /// Reads a pull's messages to their end.
    async fn watch(
        &self,
        reference: &str,
        limits: PullLimits,
        stream: impl futures::Stream<Item = Result<CreateImageInfo, bollard::errors::Error>>,
        mut progress: impl FnMut(&PullProgress),
    ) -> Result<(), PullError> {
        let image = || reference.to_owned();
        let mut stream = std::pin::pin!(stream);
        let mut meter = Meter::default();
        let mut deadline = Instant::now() + limits.begin;
        let mut begun = false;
        let mut active = Active::new(self.pulls());
        let mut working = Working::new(limits.total);
        // Since when there is nothing that it could wait for, while it is queued.
        let mut alone_since = None;
        loop {
            let total = working.until();
            if total.is_some_and(|total| Instant::now() >= total) {
                return Err(PullError::Timeout { image: image(), begun: true, after: limits.total });
            }
            let wake = total.map_or(deadline, |total| deadline.min(total));
            let message = match tokio::time::timeout_at(wake, stream.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => {
                    return Err(classify(reference, self.sort(&format!("pulling image `{reference}`"), error)));
                }
                Err(_) if Instant::now() < deadline => continue,
                // It has its turn when the others are over, which their own limits see to. From then on it has as long
                // as any other to move.
                Err(_) if meter.is_queued() => {
                    let now = Instant::now();
                    alone_since = if active.others() { None } else { alone_since.or(Some(now)) };
                    let stalls = alone_since.map(|since| since + limits.stall);
                    if stalls.is_some_and(|at| now >= at) {
                        return Err(PullError::Stalled { image: image(), after: limits.stall });
                    }
                    deadline = stalls.map_or(now + LOOK, |at| at.min(now + LOOK));
                    continue;
                }
                Err(_) if begun => return Err(PullError::Stalled { image: image(), after: limits.stall }),
                Err(_) => return Err(PullError::Timeout { image: image(), begun: false, after: limits.begin }),
            };
            if meter.take(&message) {
                begun = true;
                let (now, queued) = (Instant::now(), meter.is_queued());
                active.set(!queued);
                working.set(!queued);
                alone_since = (queued && !active.others()).then_some(now);
                deadline = now + if queued { limits.stall.min(LOOK) } else { limits.stall };
                progress(&meter.progress());
            }
        }
    }
}

/// How long a pull has been worked on, of the time that it has.
struct Working {
    left: Duration,
    since: Option<Instant>,
}

impl Working {
    fn new(limit: Duration) -> Self {
        Self { left: limit, since: Some(Instant::now()) }
    }

    fn set(&mut self, working: bool) {
        match (self.since, working) {
            (Some(since), false) => {
                self.left = self.left.saturating_sub(since.elapsed());
                self.since = None;
            }
            (None, true) => self.since = Some(Instant::now()),
            (Some(_), true) | (None, false) => {}
        }
    }

    /// When its time is over; absent while it is not worked on.
    fn until(&self) -> Option<Instant> {
        self.since.map(|since| since + self.left)
    }
}

/// A pull's part of the count of those that the engine works on.
struct Active<'a> {
    all: &'a AtomicUsize,
    counted: bool,
}

impl<'a> Active<'a> {
    fn new(all: &'a AtomicUsize) -> Self {
        let mut new = Self { all, counted: false };
        new.set(true);
        new
    }

    fn set(&mut self, active: bool) {
        match (self.counted, active) {
            (false, true) => _ = self.all.fetch_add(1, Ordering::Relaxed),
            (true, false) => _ = self.all.fetch_sub(1, Ordering::Relaxed),
            (false, false) | (true, true) => {}
        }
        self.counted = active;
    }

    /// Whether the engine works on another pull.
    fn others(&self) -> bool {
        self.all.load(Ordering::Relaxed) > usize::from(self.counted)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Counts what a pull's messages say.
#[derive(Default)]
struct Meter {
    layers: BTreeMap<String, Layer>,
    last_status: String,
}

#[derive(Default, PartialEq, Eq, Clone)]
struct Layer {
    status: String,
    current: u64,
    downloaded: u64,
    size: u64,
    done: bool,
}

impl Meter {
    /// Whether the message shows that something moved. The countdown of a layer that is tried again does not.
    fn take(&mut self, message: &CreateImageInfo) -> bool {
        let status = message.status.clone().unwrap_or_default();
        if status.starts_with("Retrying in") {
            return false;
        }
        let Some(id) = message.id.clone().filter(|_| !status.starts_with("Pulling from")) else {
            return std::mem::replace(&mut self.last_status, status.clone()) != status;
        };
        let layer = self.layers.entry(id).or_default();
        let before = layer.clone();
        let detail = message.progress_detail.as_ref();
        let number = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
        layer.current = detail.and_then(|d| number(d.current)).unwrap_or(0);
        if let Some(total) = detail.and_then(|d| number(d.total)) {
            layer.size = layer.size.max(total);
        }
        match status.as_str() {
            "Downloading" => layer.downloaded = layer.downloaded.max(layer.current),
            "Download complete" | "Extracting" => layer.downloaded = layer.size,
            "Pull complete" | "Already exists" => {
                layer.downloaded = layer.size;
                layer.done = true;
            }
            _ => {}
        }
        layer.status = status;
        *layer != before
    }

    /// Whether the engine has put off all that is left. It downloads so many layers at a time, of all pulls together
    /// (its `max-concurrent-downloads`, three), and says that the others wait.
    fn is_queued(&self) -> bool {
        let left = || self.layers.values().filter(|layer| !layer.done).map(|layer| layer.status.as_str());
        left().any(|status| status == "Waiting")
            && left().all(|status| matches!(status, "Waiting" | "Download complete"))
    }

    fn progress(&self) -> PullProgress {
        let layers = || self.layers.values();
        PullProgress {
            layers: layers().count(),
            layers_done: layers().filter(|l| l.done).count(),
            bytes: layers().map(|l| l.downloaded).sum(),
            bytes_total: layers().map(|l| l.size).sum(),
            queued: self.is_queued(),
        }
    }
}

/// The engine has no error codes for a registry's answers either; these are its words in 20.10 to 29.
fn classify(reference: &str, source: DockerError) -> PullError {
    let image = reference.to_owned();
    let Some((status, message)) = source.refusal() else {
        return PullError::Engine { image, source };
    };
    let text = message.to_ascii_lowercase();
    let message = message.to_owned();
    let any = |words: &[&str]| words.iter().any(|w| text.contains(w));
    if any(&["no space left on device", "disk quota exceeded"]) {
        PullError::Disk { image, message }
    } else if any(&[
        "unauthorized",
        "authentication required",
        "no basic auth",
        "access denied",
        "denied:",
        "forbidden",
    ]) {
        PullError::Auth { image, message }
    } else if any(&["manifest unknown", "not found", "does not exist", "name unknown", "no matching manifest"]) {
        PullError::NotFound { image, message }
    } else if any(&[
        "connection refused",
        "connection reset",
        "no such host",
        "i/o timeout",
        "timeout exceeded",
        "tls handshake",
        "network is unreachable",
        "no route to host",
        "server misbehaving",
        "request canceled",
        "x509",
        "http response to https client",
        "bad gateway",
        "service unavailable",
    ]) || text.ends_with("eof")
    {
        PullError::Unreachable { image, message }
    } else if status == 404 {
        PullError::NotFound { image, message }
    } else {
        PullError::Other { image, message }
    }
}

impl From<ImageInspect> for ImageInfo {
    fn from(image: ImageInspect) -> Self {
        Self { id: image.id.unwrap_or_default(), repo_digests: image.repo_digests.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests;
