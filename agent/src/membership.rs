//! This host as a member of a cluster: what it can offer, its identity, and the session that follows from both.
//!
//! Supervision does not wait for any of this: the engine runs before the host has joined and while the control plane is
//! away. Owns the facts' watch (looked at again each time Docker comes back) and the order: facts, then an identity
//! (from the file, or by joining with a token), then the session and the certificate's renewal.

use crate::aside::Aside;
use crate::cgroup::Cgroups;
use crate::config::Config;
use crate::engine::cgroups::LateCgroups;
use crate::engine::docker::chain;
use crate::host::{self, HostSettings};
use crate::identity::{
    Identity, IdentityFile, IdentityFileError, IdentityHandle, JoinError, JoinOptions, Renewal, Standing, standing,
};
use crate::ledger::Ledger;
use crate::network::Underlay;
use crate::session::{Session, SessionConfig, SessionInputs, SessionState};
use longshore_docker::Docker;
use longshore_model::{ClusterName, HostFacts, InstanceId};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Waits between attempts to look at the host or to join: the first, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Between two looks at where this host is reached.
const NETWORK_AGAIN: Duration = Duration::from_secs(60);

/// The same on a host that lacks something.
const NETWORK_SOON: Duration = Duration::from_secs(10);

/// After an address of this host changed: others often follow.
const NETWORK_SETTLES: Duration = Duration::from_millis(500);

/// Longest wait for a connection and for the answer when joining.
const JOIN_LIMIT: Duration = Duration::from_secs(10);

/// Why this host is no member and will not become one by itself.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The identity file cannot be used.
    #[error("this host's identity cannot be used")]
    Identity(#[from] IdentityFileError),
    /// There is neither an identity nor a token.
    #[error(
        "this host has not joined a cluster: run `longshore-agent join`, or start it with `control` and `token_file` \
         (or LONGSHORE_AGENT_TOKEN) set"
    )]
    NotJoined,
    /// Somebody wants to join and gives no token.
    #[error("joining takes a token: set LONGSHORE_AGENT_TOKEN or `token_file` (`--token-file`)")]
    NoToken,
    /// The host is a member.
    #[error(
        "this host has already joined cluster `{cluster}` as container instance {instance}, and {control} still knows \
         it: just run the agent. To join anew, deregister that instance first (`longshore host deregister`); \
         `longshore-agent join --again` replaces the identity all the same, and leaves the instance behind"
    )]
    Already {
        /// Its cluster.
        cluster: ClusterName,
        /// Its container instance.
        instance: InstanceId,
        /// Who knows it.
        control: String,
    },
    /// The host has an identity, and nobody says whether it is still good.
    #[error(
        "this host has already joined cluster `{cluster}` as container instance {instance}, and {control} could not \
         be asked whether it still knows it: {why}. Try again later; `longshore-agent join --again` replaces the \
         identity all the same"
    )]
    Unasked {
        /// Its cluster.
        cluster: ClusterName,
        /// Its container instance.
        instance: InstanceId,
        /// Who could not be asked.
        control: String,
        /// Why.
        why: String,
    },
    /// The token file cannot be read.
    #[error("could not read token_file {}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is a token and no address.
    #[error("control: must be set to join (host:port of the control plane's agent port)")]
    NoControl,
    /// The control plane refused.
    #[error("could not join")]
    Join(#[from] JoinError),
    /// The host could not be looked at.
    #[error("could not look at this host: {0}")]
    Facts(String),
}

impl MembershipError {
    /// 3 for what a person must change on this host or get (a token, a key of the configuration), 1 for what another
    /// try may mend.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Join(error) => error.exit_code(),
            Self::Identity(_)
            | Self::NotJoined
            | Self::NoToken
            | Self::Already { .. }
            | Self::TokenFile { .. }
            | Self::NoControl => 3,
            Self::Unasked { .. } | Self::Facts(_) => 1,
        }
    }
}

/// A join token. Never shown.
pub struct Token(String);

impl Token {
    /// The token of this start: from the environment (read by `main`, once), else from `token_file`.
    ///
    /// # Errors
    /// When the file is named and cannot be read.
    pub fn find(from_env: Option<String>, config: &Config) -> Result<Option<Self>, MembershipError> {
        if let Some(token) = from_env.filter(|t| !t.trim().is_empty()) {
            return Ok(Some(Self(token)));
        }
        let Some(path) = &config.token_file else { return Ok(None) };
        let text = if path.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin().lock())
        } else {
            std::fs::read_to_string(path)
        };
        text.map(|t| Some(Self(t))).map_err(|source| MembershipError::TokenFile { path: path.clone(), source })
    }
}

/// Where this host's identity is.
#[must_use]
pub fn identity_file(config: &Config) -> IdentityFile {
    IdentityFile(config.data_dir.join("identity.json"))
}

/// Looks at the host once, and tells the engine how cgroups are made here.
///
/// # Errors
/// When Docker or the disk does not answer, or the host cannot be read.
pub async fn look(
    config: &Config,
    docker: &Docker,
    late: &LateCgroups,
    underlay: &Underlay,
    aside: &Aside,
) -> Result<HostFacts, MembershipError> {
    let fail = |e: &(dyn std::error::Error + 'static)| MembershipError::Facts(chain(e));
    let engine = docker.info().await.map_err(|e| fail(&e))?;
    let cgroups = match Cgroups::detect(&config.task_cgroup_parent, engine.cgroup_driver, engine.cgroup_version) {
        Ok(cgroups) => Some(cgroups),
        Err(error) => {
            tracing::warn!(error = chain(&error), "tasks cannot have limits of their own on this host");
            late.tell(Err(chain(&error)));
            late.set(Err(chain(&error)));
            None
        }
    };
    let probed = host::probe(engine, cgroups.as_ref(), aside).await;
    if let Some(cgroups) = cgroups {
        late.tell(match cgroups.host_tasks().await {
            Ok(Some(host_tasks)) => Ok(host_tasks),
            Ok(None) => Err("neither cgroup v2 nor `net_cls` of v1 is mounted".to_owned()),
            Err(error) => Err(chain(&error)),
        });
        // Only now: the engine takes a cgroup of no task, which is what the probe makes, for a leftover.
        late.set(Ok(cgroups));
    }
    let mut probed = probed.map_err(|e| fail(&e))?;
    // Where its tunnels are stays true of a host that can make no new interfaces.
    probed.underlay = underlay.address();
    probed.interfaces = matches!(underlay, Underlay::At(_));
    let settings = HostSettings {
        reserved_memory_mib: config.reserved_memory_mib,
        reserved_ports_tcp: config.reserved_ports_tcp.clone(),
        reserved_ports_udp: config.reserved_ports_udp.clone(),
        attributes: config.attributes.clone(),
        zone: config.zone.clone(),
        allow_privileged: config.allow_privileged,
        environment_files: !config.environment_file_dirs.is_empty(),
        file_systems: config.efs.keys().cloned().collect(),
    };
    Ok(host::facts(&settings, &probed))
}

/// What `longshore-agent check` says beside the configuration: none of it keeps a host from running tasks.
pub async fn warning(config: &Config) -> Option<String> {
    let docker = match Docker::connect(&config.docker).await {
        Ok(docker) => docker,
        Err(error) => return Some(chain(&error)),
    };
    match docker.info().await {
        Ok(engine) => host::warning(&engine).map(str::to_owned),
        Err(error) => Some(format!("how Docker is set up could not be looked at: {}", chain(&error))),
    }
}

/// Whether and where this host takes part in the task network.
async fn task_network(config: &Config) -> Underlay {
    if !config.task_network {
        return Underlay::Absent { why: "task_network is false in this host's configuration".to_owned() };
    }
    let lacking = longshore_net::probe().await.err().map(|error| chain(&error));
    let joined = || identity_file(config).load().ok().flatten().map(|identity| identity.control);
    let control = config.control.clone().or_else(joined);
    let found = host::underlay::find(config.underlay.as_deref(), control.as_deref()).await;
    match (lacking, found.address()) {
        (None, _) => found,
        (Some(why), Some(address)) => Underlay::Unable { address, why },
        (Some(why), None) => Underlay::Absent { why },
    }
}

/// Keeps the facts: a long-lived task. `docker_back` changes each time Docker answers again. A look at a disk waits in
/// `aside`.
pub async fn keep_facts(
    config: Arc<Config>,
    (docker, aside): (Docker, Aside),
    late: Arc<LateCgroups>,
    facts: watch::Sender<Option<Arc<HostFacts>>>,
    underlay: watch::Sender<Underlay>,
    mut docker_back: watch::Receiver<u64>,
    shutdown: CancellationToken,
) {
    let keep = async {
        let mut wait = AGAIN.0;
        loop {
            docker_back.mark_unchanged();
            let network = task_network(&config).await;
            if let (Some(why), true) = (network.obstacle(), *underlay.borrow() != network) {
                tracing::info!(why, "this host takes no part in the task network");
            }
            underlay.send_if_modified(|known| std::mem::replace(known, network.clone()) != network);
            match look(&config, &docker, &late, &network, &aside).await {
                Ok(found) => {
                    wait = AGAIN.0;
                    facts.send_if_modified(|known| {
                        let news = known.as_deref() != Some(&found);
                        if news {
                            *known = Some(Arc::new(found));
                        }
                        news
                    });
                    tokio::select! {
                        // The pump ended, so the agent is ending.
                        back = docker_back.changed() => if back.is_err() { return },
                        () = network_changed(&config, &network) => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), wait_millis = wait.as_millis(), "no facts to register yet");
                    tokio::select! {
                        () = tokio::time::sleep(wait.mul_f64(rand::random_range(0.75..1.0))) => {}
                        _ = docker_back.changed() => {}
                    }
                    wait = (wait * 2).min(AGAIN.1);
                }
            }
        }
    };
    shutdown.run_until_cancelled(keep).await;
}

/// Waits until the host's part in the task network is another one: a link that came up late, an address by DHCP, a
/// program that was installed.
async fn network_changed(config: &Config, known: &Underlay) {
    // Without it, what changes is found out a little later.
    let mut addresses = longshore_net::AddressWatch::here().ok();
    // Something that is missing is something that somebody is putting there.
    let again = if matches!(known, Underlay::Unable { .. }) { NETWORK_SOON } else { NETWORK_AGAIN };
    loop {
        let changed = async {
            match &mut addresses {
                Some(addresses) => addresses.changed().await,
                None => std::future::pending().await,
            }
        };
        // What comes together is looked at once.
        if tokio::time::timeout(again, changed).await.is_ok() {
            tokio::time::sleep(NETWORK_SETTLES).await;
        }
        if task_network(config).await != *known {
            return;
        }
    }
}

/// What being a member takes.
pub struct Membership {
    /// The configuration.
    pub config: Arc<Config>,
    /// A token, for a host that has not joined.
    pub token: Option<Token>,
    /// Where the generations are kept, which are those of one instance.
    pub ledger: Ledger,
    /// What the session reads and feeds.
    pub inputs: SessionInputs,
    /// Where the session stands.
    pub state: watch::Sender<SessionState>,
    /// Who this host is.
    pub identity: watch::Sender<Option<Arc<Identity>>>,
    /// The same for those who make connections of their own.
    pub member: watch::Sender<Option<IdentityHandle>>,
}

impl Membership {
    /// Joins if need be, then keeps the session until `shutdown`: a long-lived task.
    ///
    /// # Errors
    /// When the host is no member and cannot become one without a person. Supervision goes on until the caller ends
    /// it.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), MembershipError> {
        let file = identity_file(&self.config);
        let identity = match file.load()? {
            Some(identity) => identity,
            None => {
                let facts = self.inputs.facts.clone();
                let joining = join_until_done(&self.config, &file, self.token.as_ref(), facts);
                match shutdown.run_until_cancelled(joining).await {
                    Some(joined) => joined?,
                    None => return Ok(()),
                }
            }
        };
        tracing::info!(instance = %identity.instance, cluster = %identity.cluster, control = identity.control,
            "member");
        self.ledger.belongs_to(identity.instance);
        let handle = IdentityHandle::new(identity);
        self.identity.send_replace(Some(handle.current()));
        self.member.send_replace(Some(handle.clone()));
        let config = SessionConfig { control: self.config.control.clone(), ..SessionConfig::default() };
        let renewal = Renewal::new(file, handle.clone()).at(self.config.control.clone());
        let session = Session::new(config, handle, self.inputs, self.state);
        tokio::join!(session.run(shutdown.clone()), renewal.run(shutdown));
        Ok(())
    }
}

/// Joins, trying again for as long as it may pass.
async fn join_until_done(
    config: &Config,
    file: &IdentityFile,
    token: Option<&Token>,
    mut facts: watch::Receiver<Option<Arc<HostFacts>>>,
) -> Result<Identity, MembershipError> {
    let token = token.ok_or(MembershipError::NotJoined)?;
    let control = config.control.clone().ok_or(MembershipError::NoControl)?;
    let mut wait = AGAIN.0;
    loop {
        // An error says that the facts' keeper ended, so the agent is ending, and waiting is right.
        let found = facts.wait_for(Option::is_some).await.ok().and_then(|found| found.as_deref().cloned());
        let Some(found) = found else { return std::future::pending().await };
        let joined = join(config, file, token, control.clone(), found).await;
        match joined {
            Ok(identity) => return Ok(identity),
            Err(error) if error.may_pass() => {
                tracing::warn!(error = chain(&error), wait_millis = wait.as_millis(), "could not join yet");
                tokio::time::sleep(wait.mul_f64(rand::random_range(0.75..1.0))).await;
                wait = (wait * 2).min(AGAIN.1);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn join(
    config: &Config,
    file: &IdentityFile,
    token: &Token,
    control: String,
    facts: HostFacts,
) -> Result<Identity, JoinError> {
    let options = JoinOptions { control, token: token.0.clone(), cluster: config.cluster.clone(), timeout: JOIN_LIMIT };
    crate::identity::join(file, options, facts).await
}

/// Whether `longshore-agent join` may go on: this host has no identity, or the control plane refuses the one it has, or
/// `again` says to replace it all the same.
///
/// # Errors
/// [`MembershipError::Already`] and [`MembershipError::Unasked`]; or the identity cannot be read.
pub async fn may_join(config: &Config, again: bool) -> Result<(), MembershipError> {
    if again {
        return Ok(());
    }
    let Some(identity) = identity_file(config).load()? else { return Ok(()) };
    let control = config.control.as_deref().unwrap_or(&identity.control).to_owned();
    let (cluster, instance) = (identity.cluster.clone(), identity.instance);
    match standing(&identity, &control, JOIN_LIMIT).await {
        Standing::Refused(why) => {
            tracing::info!(%instance, %cluster, why, "the identity of this host is not good any more; joining anew");
            Ok(())
        }
        Standing::Member => Err(MembershipError::Already { cluster, instance, control }),
        Standing::Unknown(why) => Err(MembershipError::Unasked { cluster, instance, control, why }),
    }
}

/// `longshore-agent join`: one attempt, for a person who waits. Replaces an identity that is there; see [`may_join`].
///
/// # Errors
/// What to tell that person.
pub async fn join_once(config: &Config, token: Option<&Token>) -> Result<Identity, MembershipError> {
    let token = token.ok_or(MembershipError::NoToken)?;
    let file = identity_file(config);
    let known = || file.load().ok().flatten().map(|identity| identity.control);
    let control = config.control.clone().or_else(known).ok_or(MembershipError::NoControl)?;
    let docker = Docker::connect(&config.docker).await.map_err(|e| MembershipError::Facts(chain(&e)))?;
    let network = task_network(config).await;
    let facts = look(config, &docker, &LateCgroups::default(), &network, &Aside::default()).await?;
    Ok(join(config, &file, token, control, facts).await?)
}
