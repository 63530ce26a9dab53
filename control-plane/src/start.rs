//! Start-up and the end: everything that makes a control plane, in order, and its parts' lives together.
//!
//! Owns the data directory's layout and the root credentials of a first start. One file shows the whole machine:
//!
//! ```text
//! data_dir/lock               held while running, so that two processes never share a directory
//! data_dir/authority.pem      the certificate authority (pki)
//! data_dir/sealing.key        what secrets in the store are sealed with
//! data_dir/store.db         the store
//! data_dir/logs             log groups: what containers printed
//! data_dir/root-credentials   the root access key, an AWS shared credentials file
//! ```
//!
//! If one part ends, the others are ended too and the process with them; systemd brings it back.

use crate::agents::{self, AgentsConfig};
use crate::config::Config;
use crate::courier::Outside;
use crate::files::{self, FileError};
use crate::http;
use crate::pki::{Authority, PkiError, ServerCertificate};
use longshore_core::{
    Autoscaler, Controller, Core, CoreConfig, Dispatcher, ExecConfig, FirstStart, OpenError, OwnerError,
    ScheduleEngine, SealingKey,
};
use longshore_logs::{LogError, Logs};
use longshore_store::{EmbeddedStore, OpenError as StoreError};
use secrecy::{ExposeSecret as _, SecretString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The name of the store's file.
const STORE_FILE: &str = "store.db";
/// The name of the file with the root access key.
pub const CREDENTIALS_FILE: &str = "root-credentials";
const SEALING_FILE: &str = "sealing.key";
/// The name of the directory of log groups.
const LOGS_DIR: &str = "logs";
const LOCK_FILE: &str = "lock";

/// How often agents say within a period of scaling what is used.
const READINGS: u32 = 3;

/// Parts that never end by themselves.
const CONTROLLER: &str = "controller of services";
const SCHEDULES: &str = "engine of schedules";
const DISPATCHER: &str = "dispatcher of events";
const SCALING: &str = "scaling of services";
const SWEEP: &str = "sweep of the log store";

/// The environment variables with a root access key for the first start. Never flags: others see those.
pub const ROOT_KEY_ENV: (&str, &str) =
    ("LONGSHORE_CONTROL_ROOT_ACCESS_KEY_ID", "LONGSHORE_CONTROL_ROOT_SECRET_ACCESS_KEY");

/// Why the control plane did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file of the data directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody else has the data directory.
    #[error("another longshore-control runs with the data directory `{dir}`; stop it first", dir = dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The sealing key's file is not what this wrote.
    #[error("`{path}` is not a sealing key (64 hexadecimal digits); restore it from a backup: without it the secrets \
             in the store cannot be read", path = path.display())]
    SealingKey {
        /// The file.
        path: PathBuf,
    },
    /// The root key for the first start cannot be used.
    #[error("the root access key for the first start ({from}) cannot be used: {why}")]
    RootKey {
        /// Where it was read.
        from: String,
        /// What is wrong, without the key.
        why: &'static str,
    },
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The store.
    #[error("could not open the store `{path}`", path = path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
    /// The log groups.
    #[error("could not open the log groups in `{path}`", path = path.display())]
    Logs {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: LogError,
    },
    /// The core.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A port.
    #[error("could not listen on {address} (configuration key `{key}`)")]
    Listen {
        /// The key that names the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The owner of the state gave up.
    #[error("the control plane's state can no longer be changed")]
    Owner(#[source] OwnerError),
    /// The agent port gave up.
    #[error(transparent)]
    Agents(#[from] agents::ServeError),
    /// A part ended that never ends by itself.
    #[error("the {0} ended; this is a bug, and the log above may say more")]
    Ended(&'static str),
}

/// Where a started control plane is reached.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The ECS API.
    pub api: SocketAddr,
    /// Agents.
    pub agents: SocketAddr,
}

/// Runs a control plane until `shutdown`; calls `ready` once it serves.
///
/// # Errors
/// See [`StartError`].
pub async fn run(config: Config, shutdown: CancellationToken, ready: impl FnOnce(Addresses)) -> Result<(), StartError> {
    files::make_private_dir(&config.data_dir)?;
    let _lock = lock(&config.data_dir)?;
    let authority = Arc::new(Authority::open(&config.data_dir)?);
    let sealing_key = sealing_key(&config.data_dir)?;
    let store = open_store(&config.data_dir).await?;
    let path = config.data_dir.join(LOGS_DIR);
    let logs = Logs::open(&path, config.log_store_bytes).await;
    let logs = logs.map_err(|source| StartError::Logs { path, source })?;
    let first = FirstStart {
        account_id: config.account_id.clone(),
        root_access_key: root_key(config.root_key_file.as_deref(), |name| std::env::var(name).ok())?,
    };
    let core_config = CoreConfig {
        stopped_task_retention: config.stopped_task_retention,
        lease: config.lease,
        losses: config.losses,
        healthy_after: config.service_healthy_after,
        scaling_period: config.scaling_period,
        ca_fingerprint: authority.fingerprint(),
        network: config.network,
        exec: ExecConfig { idle: config.exec_idle, log_arguments: config.exec_log_arguments },
        ..CoreConfig::default()
    };
    let (core, owner) = Core::open(core_config, Arc::clone(&store) as _, sealing_key, first).await?;
    let api = listen("api_listen", config.api_listen).await?;
    let agent_port = listen("agent_listen", config.agent_listen).await?;
    let addresses = Addresses {
        api: local_address("api_listen", &api, config.api_listen)?,
        agents: local_address("agent_listen", &agent_port, config.agent_listen)?,
    };
    write_credentials(&config, &core, addresses)?;

    let mut names: Vec<String> = config.advertise.iter().map(|advertised| advertised.host.clone()).collect();
    if !addresses.agents.ip().is_unspecified() {
        names.push(addresses.agents.ip().to_string());
    }
    let certificate = Arc::new(ServerCertificate::new(Arc::clone(&authority), names, config.server_certificate)?);
    let agents_config = AgentsConfig {
        heartbeat: config.heartbeat,
        heartbeats_per_second: config.heartbeats_per_second,
        lease: config.lease,
        usage: config.scaling_period / READINGS,
        agent_certificate: config.agent_certificate,
        max_agents: config.max_agents,
        ..AgentsConfig::default()
    };

    // The fronts end first; the owner of the state last, so that what they still ask is answered.
    let fronts = shutdown.child_token();
    let state = CancellationToken::new();
    let mut owner = tokio::spawn(owner.run(state.clone().cancelled_owned()));
    let fleet = Arc::new(core.clone());
    let services = http::Services { core: core.clone(), logs: logs.clone() };
    let mut controller = tokio::spawn(Controller::new(core.clone()).run(fronts.clone().cancelled_owned()));
    let mut autoscaler = tokio::spawn(Autoscaler::new(core.clone()).run(fronts.clone().cancelled_owned()));
    let mut schedules = tokio::spawn(ScheduleEngine::new(core.clone()).run(fronts.clone().cancelled_owned()));
    let courier = Outside::new(logs.clone(), core.account().clone());
    let mut dispatcher = tokio::spawn(Dispatcher::new(core.clone(), courier).run(fronts.clone().cancelled_owned()));
    let mut sweep = tokio::spawn(fronts.clone().run_until_cancelled_owned(logs.clone().sweep()));
    let mut http = tokio::spawn(http::serve(api, services, http::Limits::default(), fronts.clone().cancelled_owned()));
    let mut agents =
        tokio::spawn(agents::serve(agent_port, fleet, logs, authority, certificate, agents_config, fronts.clone()));
    tracing::info!(
        account = %core.account(), api = %addresses.api, agents = %addresses.agents,
        version = env!("CARGO_PKG_VERSION"), "the control plane serves"
    );
    ready(addresses);

    let failed = tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        ended = &mut owner => Some(match ended {
            Ok(Err(error)) => StartError::Owner(error),
            Ok(Ok(())) | Err(_) => StartError::Ended("owner of the state"),
        }),
        ended = &mut http => Some(match ended {
            Ok(()) | Err(_) => StartError::Ended("HTTP front"),
        }),
        ended = &mut agents => Some(match ended {
            Ok(Err(error)) => StartError::Agents(error),
            Ok(Ok(())) | Err(_) => StartError::Ended("agent port"),
        }),
        // Nobody would look after services, schedules and rules any more, and nothing else would tell.
        _ = &mut controller => Some(StartError::Ended(CONTROLLER)),
        _ = &mut schedules => Some(StartError::Ended(SCHEDULES)),
        _ = &mut dispatcher => Some(StartError::Ended(DISPATCHER)),
        _ = &mut autoscaler => Some(StartError::Ended(SCALING)),
        _ = &mut sweep => Some(StartError::Ended(SWEEP)),
    };
    tracing::info!("the control plane ends");
    fronts.cancel();
    let parts = [
        ("HTTP front", finish(&mut http).await),
        ("agent port", finish(&mut agents).await),
        (SWEEP, finish(&mut sweep).await),
        (CONTROLLER, finish(&mut controller).await),
        (SCHEDULES, finish(&mut schedules).await),
        (DISPATCHER, finish(&mut dispatcher).await),
        (SCALING, finish(&mut autoscaler).await),
    ];
    for (part, _) in parts.iter().filter(|(_, ended_well)| !ended_well) {
        tracing::error!(part, "a part ended in a panic");
    }
    state.cancel();
    let owner_ended = if owner.is_finished() { None } else { Some((&mut owner).await) };
    store.close().await;
    match (failed, owner_ended) {
        (Some(failed), _) => Err(failed),
        (None, Some(Ok(Err(error)))) => Err(StartError::Owner(error)),
        (None, Some(Err(_))) => Err(StartError::Ended("owner of the state")),
        (None, Some(Ok(Ok(()))) | None) => Ok(()),
    }
}

/// Waits for a part that was asked to end, or has ended; false when it panicked just now.
async fn finish<T>(task: &mut tokio::task::JoinHandle<T>) -> bool {
    task.is_finished() || task.await.is_ok()
}

async fn open_store(data_dir: &Path) -> Result<Arc<EmbeddedStore>, StartError> {
    let path = data_dir.join(STORE_FILE);
    EmbeddedStore::open(&path)
        .await
        .map(Arc::new)
        .map_err(|source| StartError::Store { path, source: Box::new(source) })
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { key, address, source })
}

fn local_address(key: &'static str, listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen { key, address, source })
}

/// Holds the data directory for as long as the file lives.
fn lock(data_dir: &Path) -> Result<std::fs::File, StartError> {
    let path = data_dir.join(LOCK_FILE);
    let failed = |source| FileError::Io { verb: "lock", path: path.clone(), source };
    let file = std::fs::File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::Locked { dir: data_dir.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source).into()),
    }
}

fn sealing_key(data_dir: &Path) -> Result<SealingKey, StartError> {
    let path = data_dir.join(SEALING_FILE);
    let mut key = zeroize::Zeroizing::new([0u8; 32]);
    match files::read_private(&path)? {
        Some(text) => {
            let text = zeroize::Zeroizing::new(text);
            hex::decode_to_slice(text.trim(), &mut key[..]).map_err(|_| StartError::SealingKey { path })?;
        }
        None => {
            aws_lc_rs::rand::fill(&mut key[..]).expect("the operating system gives random bytes");
            files::write_private(&path, format!("{}\n", hex::encode(&key[..])).as_bytes())?;
        }
    }
    Ok(SealingKey::from_bytes(&key))
}

/// The root key that the operator gives for the first start: from the environment, or else from a file.
fn root_key(
    file: Option<&Path>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<(String, SecretString)>, StartError> {
    let (id_name, secret_name) = ROOT_KEY_ENV;
    let from_env = format!("{id_name} and {secret_name}");
    match (env(id_name), env(secret_name)) {
        (Some(id), Some(secret)) => return Ok(Some((id, secret.into()))),
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => {
            return Err(StartError::RootKey { from: from_env, why: "one of the two is missing" });
        }
    }
    let Some(path) = file else { return Ok(None) };
    let from = path.display().to_string();
    let wrong = |why| StartError::RootKey { from: from.clone(), why };
    let text = files::read_private(path)?.ok_or_else(|| wrong("the file does not exist"))?;
    let text = zeroize::Zeroizing::new(text);
    let value = |name: &str| {
        text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == name).map(|(_, v)| v.trim())
    };
    match (value("aws_access_key_id"), value("aws_secret_access_key")) {
        (Some(id), Some(secret)) => Ok(Some((id.to_owned(), secret.to_owned().into()))),
        (None, _) => Err(wrong("it has no line `aws_access_key_id = …`")),
        (Some(_), None) => Err(wrong("it has no line `aws_secret_access_key = …`")),
    }
}

/// Writes the root access key where only root can read it, unless it is there. A start that was cut between the
/// store and the file writes it the next time.
fn write_credentials(config: &Config, core: &Core, addresses: Addresses) -> Result<(), StartError> {
    let path = config.data_dir.join(CREDENTIALS_FILE);
    if path.exists() {
        return Ok(());
    }
    let Some(root) = core.root_credentials() else { return Ok(()) };
    let text = zeroize::Zeroizing::new(format!(
        "# The root access key of account {}. Whoever has it can do everything.\n\
         # AWS_SHARED_CREDENTIALS_FILE={} AWS_ENDPOINT_URL=http://{} AWS_DEFAULT_REGION=local aws ecs list-clusters\n\
         [default]\n\
         aws_access_key_id = {}\n\
         aws_secret_access_key = {}\n",
        core.account(),
        path.display(),
        addresses.api,
        root.access_key_id,
        root.secret.expose_secret(),
    ));
    files::write_private(&path, text.as_bytes())?;
    tracing::info!(path = %path.display(), account = %core.account(), "the root access key is in this file");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_has_one_user() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = lock(dir.path()).expect("free");
        assert!(matches!(lock(dir.path()), Err(StartError::Locked { .. })));
        drop(held);
        lock(dir.path()).expect("free again");
    }

    #[test]
    fn a_damaged_sealing_key_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        sealing_key(dir.path()).expect("made");
        sealing_key(dir.path()).expect("read");
        let path = dir.path().join(SEALING_FILE);
        files::write_private(&path, b"short\n").expect("written");
        assert!(matches!(sealing_key(dir.path()), Err(StartError::SealingKey { .. })));
        assert_eq!(std::fs::read(&path).expect("there"), b"short\n");
    }

    #[test]
    fn the_first_root_key_comes_from_the_environment_or_a_private_file() {
        let none = |_: &str| None;
        assert!(root_key(None, none).expect("nothing is given").is_none());
        let both = |name: &str| Some(if name.contains("SECRET") { "s" } else { "AKIA" }.to_owned());
        let (id, secret) = root_key(None, both).expect("both").expect("given");
        assert_eq!((id.as_str(), secret.expose_secret()), ("AKIA", "s"));
        let half = |name: &str| name.contains("SECRET").then(|| "s".to_owned());
        assert!(matches!(root_key(None, half), Err(StartError::RootKey { .. })));

        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        assert!(matches!(root_key(Some(&path), none), Err(StartError::RootKey { .. })));
        files::write_private(&path, b"[default]\naws_access_key_id=AKIB\naws_secret_access_key = a=b\n")
            .expect("written");
        let (id, secret) = root_key(Some(&path), none).expect("read").expect("given");
        assert_eq!((id.as_str(), secret.expose_secret()), ("AKIB", "a=b"));
        files::write_private(&path, b"aws_access_key_id=AKIB\n").expect("written");
        assert!(matches!(root_key(Some(&path), none), Err(StartError::RootKey { .. })));
    }
}
