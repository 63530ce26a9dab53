//! The local status socket: what the agent is doing and why, as one JSON document for each connection.
//!
//! Owns the socket (mode 0600: what runs on a host is root's business) and the document's outer shape. Decides
//! nothing; the engine and the session are asked each time.

use crate::disk::DiskLine;
use crate::engine::status::EngineStatus;
use crate::identity::Identity;
use crate::metadata::MetadataLine;
use crate::network::NetworkHandle;
use crate::network::status::NetworkLine;
use crate::session::SessionState;
use longshore_model::InstanceHealth;
use serde::Serialize;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Answers at once; more wait in the socket's backlog.
const MAX_ANSWERS: usize = 4;

/// Longest time for one answer: a reader that does not read must not hold a place for ever.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The whole document. It grows by new keys only.
#[derive(Debug, Serialize)]
struct Document {
    agent: AgentLine,
    identity: Option<IdentityLine>,
    session: SessionState,
    #[serde(flatten)]
    engine: EngineStatus,
    network: Option<NetworkLine>,
    metadata: MetadataLine,
    /// Absent until it was measured.
    disk: Option<DiskLine>,
    health: InstanceHealth,
}

#[derive(Debug, Serialize)]
struct AgentLine {
    version: &'static str,
    pid: u32,
}

#[derive(Debug, Serialize)]
struct IdentityLine {
    instance: String,
    cluster: String,
    control: String,
}

/// Why there is no status socket.
#[derive(Debug, thiserror::Error)]
#[error("could not {verb} the status socket {}", path.display())]
pub struct StatusError {
    verb: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Serves the status.
pub struct StatusServer {
    /// The engine's side.
    pub engine: mpsc::Sender<oneshot::Sender<EngineStatus>>,
    /// The session's.
    pub session: watch::Receiver<SessionState>,
    /// The network's.
    pub network: NetworkHandle,
    /// The metadata endpoint's.
    pub metadata: watch::Receiver<MetadataLine>,
    /// The disk's.
    pub disk: watch::Receiver<Option<DiskLine>>,
    /// Who this host is, once it has joined.
    pub identity: watch::Receiver<Option<Arc<Identity>>>,
    /// The doctor's.
    pub health: watch::Receiver<InstanceHealth>,
}

/// Makes the socket. One that an earlier agent left is replaced.
///
/// # Errors
/// When the directory cannot be made or the socket not be bound.
pub fn bind(path: &Path) -> Result<UnixListener, StatusError> {
    let fail = |verb| move |source| StatusError { verb, path: path.into(), source };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(fail("make the directory of"))?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail("replace")(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(fail("bind"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(fail("protect"))?;
    Ok(listener)
}

impl StatusServer {
    /// Answers until `shutdown`: a long-lived task.
    pub async fn run(self, listener: UnixListener, shutdown: CancellationToken) {
        let server = Arc::new(self);
        let places = Arc::new(Semaphore::new(MAX_ANSWERS));
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                accepted = accept(&listener, &places) => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let server = server.clone();
                    tokio::spawn(async move {
                        let _place = place;
                        match tokio::time::timeout(ANSWER_LIMIT, server.answer(stream)).await {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => tracing::debug!(%error, "a status reader went away"),
                            Err(_) => tracing::debug!("a status reader did not read"),
                        }
                    });
                }
                Err(error) => {
                    // Out of descriptors, for example: without a wait this would spin.
                    tracing::warn!(%error, "could not accept a status connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn answer(&self, mut stream: UnixStream) -> io::Result<()> {
        let (question, answer) = oneshot::channel();
        let gone = || io::Error::other("the engine has ended");
        self.engine.send(question).await.map_err(|_| gone())?;
        let engine = answer.await.map_err(|_| gone())?;
        let network = self.network.status().await;
        let identity = self.identity.borrow().as_ref().map(|i| IdentityLine {
            instance: i.instance.to_string(),
            cluster: i.cluster.to_string(),
            control: i.control.clone(),
        });
        let document = Document {
            agent: AgentLine { version: env!("CARGO_PKG_VERSION"), pid: std::process::id() },
            identity,
            session: self.session.borrow().clone(),
            engine,
            network,
            metadata: self.metadata.borrow().clone(),
            disk: self.disk.borrow().clone(),
            health: self.health.borrow().clone(),
        };
        let mut text = serde_json::to_vec(&document).map_err(io::Error::other)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
        stream.shutdown().await
    }
}

async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}
