//! The whole machine: every channel and every long-lived task of the agent is made here.
//!
//! ```text
//! Docker events -> pump -> hints ----------------\
//! session/inbound -> desired (bounded) -> [ledger] -> reconciler -> Docker, cgroups, ports
//! session/outbound <- observed (watch) <-------------/     ^          |
//! doctor -> health (watch) -> session/outbound, status socket
//! status socket -> questions (bounded) ---------------------          | interfaces (bounded)
//! metadata endpoint <- views of tasks (watch) <- reconciler          |
//! session <-> heard (bounded), status (watch) ----> network <---------/ -> Docker, kernel
//! disk <- views; disk -> hints, room (asked before a pull), session (heartbeats); quotas <- views, -> hints
//! session/inbound -> orders (bounded) -> exec -> Docker; its output and input are calls of their own
//! Docker's files -> logs -> control plane; its gate holds removals back until what they would lose is shipped
//! ```
//!
//! Supervision begins before anything else is known: the ledger is read, and the reconciler lists what runs. Joining,
//! the session and the facts come beside it. If a task of these ends by itself, the agent drains and exits, and systemd
//! brings it back; containers never stop with the agent.

use crate::config::Config;
use crate::contact::Contacts;
use crate::disk::{self, DiskKeeper, DiskSettings, Quotas, Rooms, StorageLimits, Written};
use crate::doctor::{Doctor, HostChecks};
use crate::engine::cgroups::LateCgroups;
use crate::engine::docker::DockerDriver;
use crate::engine::drivers::{Drivers, SystemClock};
use crate::engine::efs::EfsVolumes;
use crate::engine::environment::Sources;
use crate::engine::execute::Limits;
use crate::engine::namespaces::DockerNamespaces;
use crate::engine::registries::Registries;
use crate::engine::{self, EngineConfig, HINT_QUEUE, Inputs, Outputs, Parts, Reconciler, STATUS_QUEUE, TaskViews};
use crate::exec::{self, Executor};
use crate::ledger::Ledger;
use crate::logs::{Collector, Gate, Shipped, source::DockerSource};
use crate::membership::{self, Membership, MembershipError, Token};
use crate::metadata::{self, Keyring, Metadata, Metered};
use crate::network::kernel::HostKernel;
use crate::network::sandboxes::DockerSandboxes;
use crate::network::{self, Network, Owned, Underlay};
use crate::ports::{self, Ports};
use crate::probes::{Prober, Verdicts};
use crate::session::exec::ExecLine;
use crate::session::logs::ControlPlane;
use crate::session::protection::TaskProtection;
use crate::session::registry::RegistryCredentials;
use crate::session::{DESIRED_QUEUE, ObservedReports, SessionFigures, SessionInputs, SessionState};
use crate::status::{self, StatusServer};
use anyhow::Context;
use longshore_docker::{Docker, PullLimits};
use longshore_model::{Generation, Protocol};
use longshore_plan::disk::{ImageRule, Marks};
use longshore_plan::{Policy, PortKey};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Between two listings of Docker's containers when nothing happens.
const RELIST: Duration = Duration::from_secs(15);

/// Warm sandboxes on a host that has had no task with an interface lately: each costs it a process of the engine's.
const IDLE_SANDBOXES: usize = 2;

/// Longest wait for the tasks to end when the agent is stopped.
const DRAIN: Duration = Duration::from_secs(10);

/// A long-lived task that ended, and what it said.
type Ended = (&'static str, Result<(), MembershipError>);

/// Runs the agent until `shutdown`.
///
/// # Errors
/// When it cannot begin (the ledger, the status socket), when the host is no member and cannot become one, or when a
/// part of it ended by itself. A [`MembershipError`] can be downcast to.
pub async fn run(config: Config, token: Option<Token>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let identity = membership::identity_file(&config).load().map_err(MembershipError::from)?;
    let instance = identity.map(|identity| identity.instance);
    let (ledger, loaded) = Ledger::open(&config.data_dir, instance, || network::leave(&config.data_dir))
        .context("the agent cannot begin without its ledger")?;
    if let Some((aside, why)) = &loaded.set_aside {
        tracing::error!(why, set_aside = %aside.display(), "a ledger counts no more; tasks are found by labels");
    }
    let keyring = Arc::new(Keyring::open(&config.data_dir)?);
    ports::keep_outgoing_connections_out(config.dynamic_ports);
    let docker = Docker::connect(&config.docker).await?;
    let late_cgroups = Arc::new(LateCgroups::default());
    let (network_ends, interfaces, network_link) = network::link();
    let registries = Registries::new(config.registry_auth_file.clone());
    if let Err(error) = registries.check() {
        tracing::error!(%error, "pulls will fail until it is mended");
    }
    let verdicts = Verdicts::default();
    let storage_limits = StorageLimits::default();
    let driver = DockerDriver::new(docker.clone(), pull_limits(&config), registries, verdicts.clone());
    let driver = Arc::new(driver.limiting(storage_limits.clone()));
    let rooms = Arc::new(Rooms::new(disk_settings(&config), &config.data_dir));
    let (member, member_out) = watch::channel(None);
    let log_events = Arc::new(Notify::new());
    let gate = Gate::new(log_events.clone());
    let contacts = Arc::new(Contacts::beside(&config.status_socket));
    let drivers = Drivers {
        contacts: contacts.clone(),
        containers: Arc::new(Shipped::new(driver.clone(), gate.clone())),
        images: driver.clone(),
        room: rooms.clone(),
        credentials: Arc::new(RegistryCredentials::new(
            config.control.clone(),
            member_out.clone(),
            config.pull_timeout,
        )),
        volumes: Arc::new(EfsVolumes::new(driver, config.efs.clone())),
        cgroups: late_cgroups.clone(),
        interfaces: Arc::new(interfaces.clone()),
        namespaces: Arc::new(DockerNamespaces::new(docker.clone())),
        environment_files: Arc::new(Sources::new(
            config.environment_file_dirs.clone(),
            config.environment_file_ca.clone(),
        )),
        store: Arc::new(ledger.clone()),
        clock: Arc::new(SystemClock),
    };

    let (desired_in, desired) = mpsc::channel(DESIRED_QUEUE);
    let (hints_in, hints) = mpsc::channel(HINT_QUEUE);
    let (status_in, status) = mpsc::channel(STATUS_QUEUE);
    let (saved, saved_out) = watch::channel(Generation::default());
    let (observed, observed_out) = watch::channel(ObservedReports::new());
    let (views, views_out) = watch::channel(TaskViews::new());
    let (facts, facts_out) = watch::channel(None);
    let (docker_back, docker_back_out) = watch::channel(0);
    let (session_state, session_state_out) = watch::channel(SessionState::Starting);
    let (identity, identity_out) = watch::channel(None);

    let (disk_status, disk_status_out) = watch::channel(None);
    let (disk_line, disk_line_out) = watch::channel(None);
    let (written, written_out) = watch::channel(Written::new());
    let (exec_in, exec_orders) = mpsc::channel(exec::ORDER_QUEUE);
    let (underlay, underlay_out) = watch::channel(Underlay::Unknown);
    let sandbox_events = Arc::new(Notify::new());

    let checks = HostChecks {
        docker: docker.clone(),
        engine: status_in.clone(),
        network: interfaces.clone(),
        task_network: config.task_network,
        underlay: underlay_out.clone(),
        data_dir: config.data_dir.clone(),
        rooms: Arc::clone(&rooms),
    };
    let figures = Arc::new(SessionFigures::default());
    let writes = ledger.writes();
    let (doctor, health) = Doctor::new(Box::new(checks), Arc::new(SystemClock));
    let network = Network::new(network::Parts {
        settings: network::Settings {
            enabled: config.task_network,
            warm: config.warm_sandboxes.into(),
            idle: IDLE_SANDBOXES,
        },
        ends: network_ends,
        shelf: Arc::new(network::FileShelf::new(&config.data_dir)),
        files: Arc::new(network::Files::new(&config.data_dir)),
        sandboxes: Arc::new(DockerSandboxes::new(docker.clone())),
        kernel: Arc::new(HostKernel::default()),
        clock: Arc::new(SystemClock),
        owned: loaded.tasks.iter().map(|task| (task.record.id, Owned::of(&task.record))).collect(),
        underlay: underlay_out,
        events: sandbox_events.clone(),
    });
    let reconciler = Reconciler::new(Parts {
        config: engine_config(&config, keyring.clone()),
        drivers,
        loaded,
        ports: Ports::new(config.dynamic_ports, reserved(&config)),
        inputs: Inputs { desired, hints, status, facts: facts_out.clone() },
        outputs: Outputs { saved, observed, views },
    });
    let quotas = Quotas::new(views_out.clone(), docker.clone(), hints_in.clone(), written, rooms.clone());
    let aside = rooms.aside().clone();
    let disk = DiskKeeper::new(disk::Parts {
        rooms,
        docker: docker.clone(),
        limits: storage_limits,
        views: views_out.clone(),
        written: written_out,
        ledger: ledger.clone(),
        hints: hints_in.clone(),
        status: disk_status,
        line: disk_line,
    });
    let (usage, usage_asked) = metadata::usage_line();
    let membership = Membership {
        config: config.clone(),
        token,
        ledger,
        inputs: SessionInputs {
            desired: desired_in,
            saved: saved_out,
            observed: observed_out,
            facts: facts_out,
            network: network_link,
            disk: disk_status_out,
            health: health.clone(),
            usage,
            figures: figures.clone(),
            exec: exec_in,
            contacts,
        },
        state: session_state,
        identity,
        member,
    };
    let source = Arc::new(DockerSource(docker.clone()));
    let executor = Executor::new(
        exec_orders,
        ExecLine::new(config.control.clone(), member_out.clone()),
        docker.clone(),
        config.data_dir.join("exec"),
        views_out.clone(),
    );
    let protector = Arc::new(TaskProtection::new(config.control.clone(), member_out.clone()));
    let collector = Collector::new(source, Box::new(ControlPlane::new(config.control.clone(), member_out)), gate);
    let prober = Prober::new(views_out.clone(), Arc::new(docker.clone()), hints_in.clone(), verdicts);
    let endpoint = metadata::Parts {
        views: views_out,
        keyring,
        containers: Arc::new(docker.clone()),
        inside: interfaces.inside(),
        zone: config.zone.clone(),
        protector,
        rate: config.metadata_rate,
    };
    let (metadata, metadata_line) = Metadata::new(
        endpoint,
        metadata::Local {
            introspection: config.introspection,
            metrics: config.metrics,
            identity: identity_out.clone(),
            metered: Metered {
                engine: status_in.clone(),
                session: session_state_out.clone(),
                figures,
                writes,
                docker: docker.clone(),
                health: health.clone(),
            },
            usage: usage_asked,
        },
        late_cgroups.sockets(),
    );
    let listener = status::bind(&config.status_socket)?;
    let server = StatusServer {
        engine: status_in,
        session: session_state_out,
        network: interfaces,
        metadata: metadata_line,
        disk: disk_line_out,
        identity: identity_out,
        health,
    };

    // Commands in containers end first, while all else goes on: a host whose heartbeats stop for as long as that takes
    // would lose its tasks. The engine stops last: what it still has to save is worth more than the rest's good end.
    let (commands_over, engine_shutdown) = (CancellationToken::new(), CancellationToken::new());
    let mut parts: JoinSet<Ended> = JoinSet::new();
    let stop = || commands_over.clone();
    let mut engine = tokio::spawn(reconciler.run(engine_shutdown.clone()));
    spawn(
        &mut parts,
        "events",
        engine::pump(docker.clone(), hints_in, docker_back, sandbox_events, log_events, stop()),
    );
    spawn(&mut parts, "logs", collector.run(stop()));
    spawn(&mut parts, "probes", prober.run(stop()));
    spawn(&mut parts, "disk", disk.run(stop()));
    spawn(&mut parts, "quotas", quotas.run(stop()));
    spawn(&mut parts, "doctor", doctor.run(stop()));
    let (over, stop_commands) = (commands_over.clone().drop_guard(), shutdown.clone());
    spawn(&mut parts, "exec", async move {
        executor.run(stop_commands).await;
        drop(over);
    });
    spawn(&mut parts, "network", network.run(stop()));
    spawn(&mut parts, "metadata", metadata.run(stop()));
    let keep_facts =
        membership::keep_facts(config.clone(), (docker, aside), late_cgroups, facts, underlay, docker_back_out, stop());
    spawn(&mut parts, "facts", keep_facts);
    spawn(&mut parts, "status", server.run(listener, stop()));
    let member = membership.run(stop());
    parts.spawn(async move { ("membership", member.await) });

    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        ended = parts.join_next() => ended,
        _ = &mut engine => Some(Ok(("reconciler", Ok(())))),
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    shutdown.cancel();
    commands_over.cancelled().await;
    engine_shutdown.cancel();
    let drained = tokio::time::timeout(DRAIN, async {
        while parts.join_next().await.is_some() {}
        if !engine.is_finished() {
            let _ = engine.await;
        }
    });
    if drained.await.is_err() {
        tracing::warn!("parts of the agent did not end in time; exiting all the same");
    }
    verdict(ended)
}

fn spawn(parts: &mut JoinSet<Ended>, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
    parts.spawn(async move {
        part.await;
        (name, Ok(()))
    });
}

/// Whether the end was asked for.
fn verdict(ended: Option<Result<Ended, JoinError>>) -> anyhow::Result<()> {
    match ended {
        None => Ok(()),
        Some(Ok((_, Err(error)))) => Err(error.into()),
        Some(Ok((name, Ok(())))) => anyhow::bail!("the agent's `{name}` ended by itself; restarting mends it"),
        Some(Err(error)) => Err(error).context("a part of the agent failed; restarting mends it"),
    }
}

fn engine_config(config: &Config, keyring: Arc<Keyring>) -> EngineConfig {
    EngineConfig {
        policy: Policy {
            stop_timeout: config.stop_timeout,
            cleanup_wait: config.cleanup_wait,
            allow_privileged: config.allow_privileged,
            dependency_timeout: config.dependency_timeout,
            space_wait: config.disk_wait,
            room_timeout: config.room_timeout,
            ..Policy::default()
        },
        pull_behavior: config.pull_behavior,
        limits: Limits::default(),
        relist: RELIST,
        keyring,
    }
}

fn disk_settings(config: &Config) -> DiskSettings {
    DiskSettings {
        marks: Marks {
            clean_above: config.disk_clean_above,
            clean_until: config.disk_clean_until,
            refuse_above: config.disk_refuse_above,
        },
        images: ImageRule { min_age: config.image_cleanup_age, untracked: config.image_cleanup_untracked },
        wait: config.disk_wait,
    }
}

fn pull_limits(config: &Config) -> PullLimits {
    PullLimits { begin: config.pull_begin_timeout, stall: config.pull_stall_timeout, total: config.pull_timeout }
}

fn reserved(config: &Config) -> BTreeSet<PortKey> {
    let tcp = config.reserved_ports_tcp.iter().map(|port| PortKey { protocol: Protocol::Tcp, port: *port });
    let udp = config.reserved_ports_udp.iter().map(|port| PortKey { protocol: Protocol::Udp, port: *port });
    tcp.chain(udp).collect()
}
