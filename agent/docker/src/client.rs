//! The connection to the engine: made when first needed, made again after the engine went away, every call under a
//! deadline.

use crate::calls::{Book, Calls};
use crate::error::DockerError;
use crate::images::UNBOUNDED_PULLS;
use crate::info::EngineInfo;
use bollard::{API_DEFAULT_VERSION, ClientVersion};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The oldest Engine API that we work with: Docker Engine 20.10.
const OLDEST_API: (usize, usize) = (1, 41);
const OLDEST_API_TEXT: &str = "1.41";

/// bollard's own limit covers everything until the response's headers, also a stop with a long grace period or a pull;
/// ours (per call, below) are the ones that count, so this one is out of the way.
pub(crate) const BOLLARD_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Why an endpoint cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not `unix:///absolute/path`.
    #[error("the container engine's endpoint `{0}` is not of the form unix:///absolute/path")]
    Endpoint(String),
}

/// Deadlines of calls. The defaults are those of ECS's agent where it has them, since its users know them, except
/// where noted.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// Ping, version and information: 10 s.
    pub quick: Duration,
    /// Listing: 30 s. ECS waits 10 min; a listing that takes longer than this says that the engine hangs.
    pub list: Duration,
    /// Inspecting a container or an image: 30 s.
    pub inspect: Duration,
    /// Creating a container: 4 min.
    pub create: Duration,
    /// Starting a container: 3 min.
    pub start: Duration,
    /// Beyond the grace period of a stop: 2 min. Also the limit of a kill.
    pub stop_extra: Duration,
    /// Removing a container: 5 min.
    pub remove: Duration,
    /// Creating, listing and removing volumes: 5 min.
    pub volume: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            quick: secs(10),
            list: secs(30),
            inspect: secs(30),
            create: secs(240),
            start: secs(180),
            stop_extra: secs(120),
            remove: secs(300),
            volume: secs(300),
        }
    }
}

/// A handle on one container engine. Cloning is cheap; all clones share the connection's state.
#[derive(Clone)]
pub struct Docker {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: String,
    socket: PathBuf,
    timeouts: Timeouts,
    /// Set after the version was negotiated; emptied by [`Docker::forget_connection`].
    client: Mutex<Option<bollard::Docker>>,
    book: Book,
    /// Pulls that the engine works on: those that it has put off are not among them.
    pulls: AtomicUsize,
    /// Whether it downloads whatever it is asked for at once, as it last said.
    unbounded: AtomicBool,
    /// Turns of pulls where it does.
    turns: Semaphore,
}

impl std::fmt::Debug for Docker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Docker").field(&self.inner.endpoint).finish()
    }
}

impl Docker {
    /// A handle on the engine at `endpoint` (`unix:///run/docker.sock`). The engine need not be up: it is contacted,
    /// and the API version negotiated, by the first call.
    ///
    /// # Errors
    /// When `endpoint` is not of that form.
    #[expect(clippy::unused_async, reason = "an endpoint over TLS will have to read its keys")]
    pub async fn connect(endpoint: &str) -> Result<Self, ConnectError> {
        Self::with_timeouts(endpoint, Timeouts::default())
    }

    /// As [`Docker::connect`], with other deadlines.
    ///
    /// # Errors
    /// When `endpoint` is not `unix:///absolute/path`.
    pub fn with_timeouts(endpoint: &str, timeouts: Timeouts) -> Result<Self, ConnectError> {
        let socket = endpoint
            .strip_prefix("unix://")
            .map(Path::new)
            .filter(|p| p.is_absolute())
            .ok_or_else(|| ConnectError::Endpoint(endpoint.to_owned()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                endpoint: endpoint.to_owned(),
                socket: socket.to_owned(),
                timeouts,
                client: Mutex::new(None),
                book: Book::default(),
                pulls: AtomicUsize::new(0),
                unbounded: AtomicBool::new(false),
                turns: Semaphore::new(UNBOUNDED_PULLS),
            }),
        })
    }

    /// The endpoint as given.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.inner.endpoint
    }

    /// The path of the engine's socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.inner.socket
    }

    /// The deadlines in force.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.inner.timeouts
    }

    /// Whether the engine answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), DockerError> {
        let client = self.client().await?;
        self.call("asking whether it is alive", self.timeouts().quick, client.ping()).await.map(drop)
    }

    /// What the engine is: versions, drivers, security.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn info(&self) -> Result<EngineInfo, DockerError> {
        let client = self.client().await?;
        let limit = self.timeouts().quick;
        let version = self.call("asking for its version", limit, client.version()).await?;
        let info = self.call("asking for its settings", limit, client.info()).await?;
        let info = EngineInfo::from_engine(version, info);
        self.learn(&info);
        Ok(info)
    }

    pub(crate) fn learn(&self, info: &EngineInfo) {
        self.inner.unbounded.store(info.containerd_images, Ordering::Relaxed);
    }

    /// Waits for a pull's turn, where the engine itself has no bound for them; `waits` is called if that takes time.
    /// The turn ends when the answer is dropped.
    pub(crate) async fn pull_turn(&self, waits: impl FnOnce()) -> Option<SemaphorePermit<'_>> {
        if !self.inner.unbounded.load(Ordering::Relaxed) {
            return None;
        }
        if let Ok(turn) = self.inner.turns.try_acquire() {
            return Some(turn);
        }
        waits();
        // Closed never.
        self.inner.turns.acquire().await.ok()
    }

    /// The negotiated client, made when there is none.
    pub(crate) async fn client(&self) -> Result<bollard::Docker, DockerError> {
        if let Some(client) = self.slot().as_ref() {
            return Ok(client.clone());
        }
        let doing = "negotiating the API version";
        let path = self.inner.socket.to_string_lossy();
        let plain = bollard::Docker::connect_with_unix(&path, BOLLARD_TIMEOUT.as_secs(), API_DEFAULT_VERSION)
            .map_err(|e| self.sort(doing, e))?;
        let client = self.call(doing, self.timeouts().quick, plain.negotiate_version()).await?;
        let ClientVersion { major_version, minor_version } = client.client_version();
        if (major_version, minor_version) < OLDEST_API {
            let found = format!("{major_version}.{minor_version}");
            return Err(DockerError::TooOld { found, needed: OLDEST_API_TEXT });
        }
        *self.slot() = Some(client.clone());
        Ok(client)
    }

    /// Makes the next call negotiate again: the engine that comes back may be another version.
    pub(crate) fn forget_connection(&self) {
        *self.slot() = None;
    }

    /// Runs one call under its deadline and sorts its error; `doing` completes "while …".
    pub(crate) async fn call<T>(
        &self,
        doing: &str,
        limit: Duration,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, DockerError> {
        let begin = Instant::now();
        let result = match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|e| self.sort(doing, e)),
            Err(_) => Err(DockerError::Timeout { doing: doing.to_owned(), after: limit }),
        };
        self.inner.book.enter(doing, begin.elapsed(), result.is_err());
        result
    }

    /// What the engine was asked so far, by kind of call: `creating`, `starting`, `pulling`, ….
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, Calls> {
        self.inner.book.all()
    }

    pub(crate) fn book(&self) -> &Book {
        &self.inner.book
    }

    pub(crate) fn pulls(&self) -> &AtomicUsize {
        &self.inner.pulls
    }

    pub(crate) fn sort(&self, doing: &str, error: bollard::errors::Error) -> DockerError {
        DockerError::from_bollard(&self.inner.endpoint, doing, error)
    }

    /// The lock guards one assignment and is never held across an await; a poisoned one holds a whole value.
    fn slot(&self) -> std::sync::MutexGuard<'_, Option<bollard::Docker>> {
        self.inner.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_checked() {
        for bad in ["", "tcp://1.2.3.4:2375", "unix://relative.sock", "/run/docker.sock"] {
            assert!(Docker::with_timeouts(bad, Timeouts::default()).is_err(), "{bad}");
        }
        assert!(Docker::with_timeouts("unix:///run/docker.sock", Timeouts::default()).is_ok());
    }

    #[tokio::test]
    async fn an_engine_that_is_down_is_unreachable_and_not_an_error_of_connect() {
        let docker = Docker::connect("unix:///nonexistent/docker.sock").await.expect("the endpoint is well-formed");
        let error = docker.ping().await.expect_err("nobody listens");
        assert!(matches!(error, DockerError::Unreachable { .. }), "{error:?}");
        assert!(error.engine_is_away());
    }
}
