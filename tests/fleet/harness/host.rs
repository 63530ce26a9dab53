//! A host: its engine, its disk, its line, and the real agent on them, which dies at any await and is started again.

use crate::clock::Clock;
use crate::docker::Docker;
use crate::drivers::{Disk, Free, Held, Ledger, RELIST, Reach};
use crate::entropy::Dice;
use crate::fabric::{Giving, HostNet, NoFiles, SimKernel};
use crate::mortal::{Fuse, Mortal};
use crate::net::{Link, SimPeer};
use crate::plan::Trouble;
use crate::world::World;
use longshore_agent::config::{PortRange, PullBehavior};
use longshore_agent::contact::{Boot, Contacts, Uptime};
use longshore_agent::engine::drivers::{Drivers, Interfaces, Plenty};
use longshore_agent::engine::{EngineConfig, HINT_QUEUE, Inputs, Outputs, Parts, Reconciler, STATUS_QUEUE, TaskViews};
use longshore_agent::ledger::Loaded;
use longshore_agent::metadata::Keyring;
use longshore_agent::network::{self, Network, Owned, SessionLink, Underlay};
use longshore_agent::ports::Ports;
use longshore_agent::session::{DESIRED_QUEUE, ObservedReports, Session, SessionConfig, SessionInputs, SessionState};
use longshore_core::JoinKey;
use longshore_model::{Attribute, ClusterName, Generation, HostFacts, InstanceHealth, InstanceId, Resources};
use longshore_plan::Policy;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// How long stopped containers stay.
const CLEANUP_WAIT: Duration = Duration::from_secs(5);

/// Capabilities that definitions of the workload ask for.
const CAPABILITIES: [&str; 9] = [
    "com.amazonaws.ecs.capability.docker-remote-api.1.17",
    "com.amazonaws.ecs.capability.docker-remote-api.1.18",
    "com.amazonaws.ecs.capability.docker-remote-api.1.19",
    "com.amazonaws.ecs.capability.docker-remote-api.1.21",
    "com.amazonaws.ecs.capability.docker-remote-api.1.22",
    "com.amazonaws.ecs.capability.docker-remote-api.1.25",
    "ecs.capability.container-restart-policy",
    "ecs.capability.task-cpu-mem-limit",
    "longshore.fence",
];

/// One host of the fleet.
pub(crate) struct Host {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) facts: HostFacts,
    pub(crate) docker: Arc<Docker>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) link: Link,
    pub(crate) dice: Dice,
    /// Its part of the task network.
    pub(crate) net: HostNet,
    pub(crate) net_dice: Dice,
    /// Who it is to the control plane; absent before it joined.
    instance: Mutex<Option<InstanceId>>,
    /// Whether it has power.
    power: watch::Sender<bool>,
    /// The running agent's.
    fuse: Mutex<Fuse>,
    /// What the running agent observes.
    observed: Mutex<Option<watch::Receiver<ObservedReports>>>,
    /// When the control plane heard of it last, as its agents kept it. Gone with the power.
    contact: Arc<Mutex<Option<Uptime>>>,
    /// Until when its agent and its engine are let alone, where they have to work.
    spared: Mutex<Duration>,
}

/// Between two things that hold up the tasks of a host that must not run twice, at least.
const SPARED: Duration = Duration::from_secs(20);

/// A host between two losses of power.
#[derive(Debug)]
struct SimBoot {
    clock: Clock,
    kept: Arc<Mutex<Option<Uptime>>>,
}

impl Boot for SimBoot {
    fn now(&self) -> Uptime {
        self.clock.uptime()
    }

    fn kept(&self) -> Option<Uptime> {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, at: Uptime) -> std::io::Result<()> {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
        Ok(())
    }
}

/// What a host of these sizes says of itself.
pub(crate) fn facts(name: &str, zone: &str, cpu_units: u32, memory_mib: u32) -> HostFacts {
    let attribute =
        |name: &str, value: Option<&str>| Attribute { name: name.to_owned(), value: value.map(str::to_owned) };
    let capabilities = CAPABILITIES.iter().map(|name| attribute(name, None));
    let rest = [("ecs.os-type", "linux"), ("ecs.cpu-architecture", "x86_64"), ("ecs.availability-zone", zone)];
    HostFacts {
        hostname: name.to_owned(),
        resources: Resources { cpu_units, memory_mib, ..Resources::default() },
        attributes: capabilities.chain(rest.map(|(name, value)| attribute(name, Some(value)))).collect(),
        ..HostFacts::default()
    }
}

/// Has the host take part in the task network: its packets arrive at an address of its own.
pub(crate) fn takes_part(facts: &mut HostFacts, index: usize) {
    let capability = Attribute { name: "ecs.capability.task-eni".to_owned(), value: None };
    facts.attributes = facts.attributes.iter().cloned().chain([capability]).collect();
    facts.underlay = Some(underlay(index));
}

fn underlay(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 0, 2, 1)) + u32::try_from(index).unwrap_or(0)))
}

/// The part of an agent that has to do with the network: its task, how its engine asks for interfaces, how its session
/// speaks with it, and what has to be kept while it runs.
type NetworkPart = (Option<AbortHandle>, Arc<dyn Interfaces>, SessionLink, watch::Sender<Underlay>);

impl Host {
    pub(crate) fn new(
        index: usize,
        facts: HostFacts,
        docker: Arc<Docker>,
        disk: Arc<Disk>,
        link: Link,
        [dice, net_dice]: [Dice; 2],
    ) -> Arc<Self> {
        Arc::new(Self {
            index,
            name: facts.hostname.clone(),
            facts,
            docker,
            disk,
            link,
            dice,
            net: HostNet::default(),
            net_dice,
            instance: Mutex::default(),
            power: watch::channel(true).0,
            fuse: Mutex::default(),
            observed: Mutex::default(),
            contact: Arc::default(),
            spared: Mutex::default(),
        })
    }

    /// Who it is.
    pub(crate) fn instance(&self) -> Option<InstanceId> {
        *self.instance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its agent or its engine may be held up, after so much of the run. It is let alone for a while then.
    pub(crate) fn stands_more(&self, at: Duration) -> bool {
        let mut spared = self.spared.lock().unwrap_or_else(PoisonError::into_inner);
        let may = at >= *spared;
        if may {
            *spared = at + SPARED;
        }
        may
    }

    /// The agent dies within so many polls of its main loop.
    pub(crate) fn kill_agent(&self, polls: u32) {
        self.fuse.lock().unwrap_or_else(PoisonError::into_inner).light(polls);
        // A loop that waits is not polled: give it something to look at.
        self.docker.start_hint();
    }

    /// The power goes.
    pub(crate) fn lose_power(&self, world: &World) {
        self.docker.power_off();
        for eni in self.net.power_off() {
            world.addresses.dismissed(self.index, &eni, world.trace.at());
        }
        self.link.silence();
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.power.send_replace(false);
    }

    /// The power comes back.
    pub(crate) fn power_on(&self) {
        self.docker.start_engine();
        self.power.send_replace(true);
    }

    /// Whether it has power.
    pub(crate) fn has_power(&self) -> bool {
        *self.power.borrow()
    }

    /// What the running agent observes.
    pub(crate) fn observed(&self) -> Option<ObservedReports> {
        let observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        observed.as_ref().map(|observed| observed.borrow().clone())
    }

    /// Joins the cluster, as another container instance than before.
    pub(crate) async fn join(&self, world: &World) -> bool {
        let (Some(token), Some(process)) = (world.token().await, world.control()) else { return false };
        let key = JoinKey::of(uuid::Uuid::new_v4().as_bytes());
        let cluster = ClusterName::new("default").ok();
        match process.core.register_instance(&token, cluster, self.facts.clone(), key).await {
            Ok(registered) => {
                world.trace.say(format_args!("{}: joined as {}", self.name, registered.instance));
                // The agent sets the ledger of a former instance aside when it starts.
                self.disk.wipe();
                *self.instance.lock().unwrap_or_else(PoisonError::into_inner) = Some(registered.instance);
                true
            }
            Err(_) => false,
        }
    }

    /// Starts the agent again each time that it ended, as systemd does. Runs for as long as the run.
    pub(crate) async fn keep_up(self: Arc<Self>, world: Arc<World>) {
        let mut power = self.power.subscribe();
        loop {
            // The sender is ours.
            let _ = power.wait_for(|on| *on).await;
            let Some(instance) = self.instance() else {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            world.trace.say(format_args!("{}: the agent starts", self.name));
            let off = async {
                let _ = power.wait_for(|on| !*on).await;
            };
            self.live(&world, instance, off).await;
            self.docker.listen(None);
            world.trace.say(format_args!("{}: the agent is dead", self.name));
            let longest = match (world.healing(), world.plan.is_brief(Trouble::AgentDies)) {
                (true, _) => 300,
                (false, true) => 1000,
                (false, false) => 4000,
            };
            tokio::time::sleep(self.dice.millis(50, longest)).await;
        }
    }

    /// Starts the owner of the host's part of the task network, where it has one.
    fn network(&self, world: &Arc<World>, instance: InstanceId, loaded: &Loaded) -> NetworkPart {
        let (ends, handle, link) = network::link();
        let (underlay, underlay_out) = watch::channel(Underlay::At(underlay(self.index)));
        let reach = Arc::new(Reach(Arc::clone(&self.docker)));
        if !world.plan.network {
            return (None, reach, link, underlay);
        }
        self.net.begin(instance);
        let kernel = SimKernel { world: Arc::clone(world), host: self.index, instance };
        let owner = Network::new(network::Parts {
            settings: network::Settings { enabled: true, warm: 2, idle: 1 },
            ends,
            shelf: Arc::new(kernel.clone()),
            files: Arc::new(NoFiles),
            sandboxes: reach,
            kernel: Arc::new(kernel.clone()),
            clock: Arc::new(world.clock),
            owned: loaded.tasks.iter().map(|task| (task.record.id, Owned::of(&task.record))).collect(),
            underlay: underlay_out,
            events: Arc::clone(&self.docker.engine().sandbox_ends),
        });
        let owner = tokio::spawn(owner.run(CancellationToken::new())).abort_handle();
        (Some(owner), Arc::new(Giving { owner: handle, kernel }), link, underlay)
    }

    /// One life of the agent, until it dies or the power goes.
    async fn live(&self, world: &Arc<World>, instance: InstanceId, off: impl Future<Output = ()>) {
        let (desired, desired_out) = mpsc::channel(DESIRED_QUEUE);
        let (hints, hints_out) = mpsc::channel(HINT_QUEUE);
        let (_status, status_out) = mpsc::channel(STATUS_QUEUE);
        let (saved, saved_out) = watch::channel(Generation::default());
        let (observed, observed_out) = watch::channel(ObservedReports::new());
        let (views, _views) = watch::channel(TaskViews::new());
        let (_facts, facts) = watch::channel(Some(Arc::new(self.facts.clone())));
        self.docker.listen(Some(hints));
        *self.observed.lock().unwrap_or_else(PoisonError::into_inner) = Some(observed_out.clone());
        let reach = Arc::new(Reach(Arc::clone(&self.docker)));
        let boot = SimBoot { clock: world.clock, kept: Arc::clone(&self.contact) };
        let contacts = Arc::new(Contacts::of(Box::new(boot)));
        let loaded = self.disk.load();
        let (owner, interfaces, network, _underlay) = self.network(world, instance, &loaded);
        let drivers = Drivers {
            containers: reach.clone(),
            images: reach.clone(),
            room: Arc::<Plenty>::default(),
            credentials: reach.clone(),
            volumes: reach.clone(),
            cgroups: reach.clone(),
            interfaces,
            namespaces: reach.clone(),
            environment_files: reach,
            store: Arc::new(Ledger(Arc::clone(&self.disk))),
            clock: Arc::new(world.clock),
            contacts: Arc::clone(&contacts),
        };
        let range = PortRange { first: 32_768, last: 32_900 };
        let holder = Box::new(Free(Held(Arc::clone(&self.docker))));
        let reconciler = Reconciler::new(Parts {
            config: EngineConfig {
                policy: Policy { cleanup_wait: CLEANUP_WAIT, ..Policy::default() },
                pull_behavior: PullBehavior::PreferCached,
                limits: Default::default(),
                relist: RELIST,
                keyring: Arc::new(Keyring::new([7; 32])),
            },
            drivers,
            loaded,
            ports: Ports::held_by(holder, range, BTreeSet::new()),
            inputs: Inputs { desired: desired_out, hints: hints_out, status: status_out, facts: facts.clone() },
            outputs: Outputs { saved, observed, views },
        });
        let (exec, _exec) = mpsc::channel(1);
        let inputs = SessionInputs {
            desired,
            saved: saved_out,
            observed: observed_out,
            facts,
            network,
            contacts,
            disk: watch::channel(None).1,
            health: watch::channel(InstanceHealth::default()).1,
            usage: longshore_agent::metadata::usage_line().0,
            figures: Arc::default(),
            exec,
        };
        let peer = SimPeer { world: Arc::clone(world), host: self.index, instance };
        let (state, _state) = watch::channel(SessionState::Starting);
        let session = Session::over(SessionConfig::default(), Arc::new(peer), inputs, state);
        let session = tokio::spawn(session.run(CancellationToken::new()));
        let fuse = Fuse::default();
        *self.fuse.lock().unwrap_or_else(PoisonError::into_inner) = fuse.clone();
        let engine = tokio::spawn(Mortal::new(reconciler.run(CancellationToken::new()), fuse));
        let kill = engine.abort_handle();
        tokio::select! {
            biased;
            () = off => {}
            ended = engine => {
                if let Err(error) = ended
                    && error.is_panic()
                {
                    world.trace.wrong(format_args!("{}: the agent panicked", self.name));
                }
            }
        }
        kill.abort();
        session.abort();
        owner.iter().for_each(AbortHandle::abort);
        *self.observed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
