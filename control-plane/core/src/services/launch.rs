//! What a service's tasks ask of a host: its revision as placement sees it.

use crate::capacity::{self, Pool};
use crate::commands::{Launch, NewTask, Target, task_tags};
use crate::needs::needs;
use crate::ops::{exec, network, run};
use crate::records::{SchedulingStrategy, Service, ServiceDeployment, ServiceRevision, Task};
use crate::state::{HostState, State, keeps_room};
use longshore_ecs_api::ApiError;
use longshore_model::{Attribute, ClusterKey, DesiredStatus, Fence, InstanceId, TaskId, Timestamp};
use longshore_rollout::{Picture, Task as TaskPicture};
use longshore_sched::{HostStatus, Kept, Reason, Request, SpreadOver, Strategy, check_on};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The capability of agents that stop tasks when they are cut off. Another would let them run.
const FENCE: &str = "longshore.fence";

/// The zone of a host.
const ZONE: &str = "ecs.availability-zone";

/// When agents that are cut off stop tasks that must not run twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fencing {
    /// The lease that agents have.
    pub(crate) lease: Duration,
    /// How long their stop may take.
    pub(crate) grace: Duration,
}

impl Fencing {
    fn fence(self) -> Fence {
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Fence { after_millis: millis(self.lease).max(1), grace_millis: millis(self.grace) }
    }
}

/// What a launch rests on beside the state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Basis<'a> {
    /// The picture that the launch was decided over, in which the deployment is the first one.
    pub(crate) picture: &'a Picture,
    /// When agents that are cut off stop its tasks, if those must not run twice.
    pub(crate) fencing: Fencing,
    /// The wall clock.
    pub(crate) now: Timestamp,
}

impl<'a> Basis<'a> {
    /// Those of the deployment's tasks that are to stay for all that is known.
    fn staying(self) -> impl Iterator<Item = &'a TaskPicture> {
        let stays = |task: &&TaskPicture| task.deployment == Some(0) && task.is_wanted() && !task.draining;
        self.picture.tasks.iter().filter(stays)
    }
}

/// Tasks of `deployment` to be placed: `count`, or one on each host of `target`.
///
/// # Errors
/// When the service cannot have tasks any more, for instance since a security group of it is gone.
pub(crate) fn launch(
    state: &State,
    service: &Service,
    deployment: &ServiceDeployment,
    count: u32,
    target: Target,
    basis: Basis<'_>,
) -> Result<Launch, ApiError> {
    let revision = &deployment.revision;
    let definition = state.definition(&revision.definition);
    let definition = definition.ok_or_else(|| ApiError::client("TaskDefinition not found."))?;
    let interfaces =
        network::interfaces(state, &service.key.cluster, definition, revision.network.as_deref().cloned())?;
    let needs = needs(&definition.body, None)?;
    let mut request = request(state, service, revision, needs.claim, count)?;
    request.leaving = leaving(state, service, basis);
    request.kept = match service.scheduling {
        SchedulingStrategy::Replica => kept(state, &service.key.cluster),
        SchedulingStrategy::Daemon => Arc::default(),
    };
    let containers = definition.body.container_definitions.as_ref().map_or(0, Vec::len);
    Ok(Launch {
        cluster: service.key.cluster.clone(),
        definition: definition.key.clone(),
        overrides: None,
        started_by: Some(Arc::clone(&deployment.id)),
        launch_type: revision.launch_type.clone(),
        execute_command: service.execute_command,
        tags: task_tags(service, &definition.tags),
        pins: Some(revision.pins()),
        pull_only: false,
        fence: service.at_most_one().then(|| basis.fencing.fence()),
        pools: pools(state, service, basis),
        ids: (0..count).map(|_| NewTask::random(containers)).collect(),
        interfaces,
        gpus: needs.gpus,
        request,
        target,
        token: None,
    })
}

/// What hosts of a cluster that lack tasks of DAEMON services keep free for them.
pub(crate) fn kept(state: &State, cluster: &ClusterKey) -> Arc<[Kept]> {
    let kept = state.daemons_of(cluster).filter_map(|service| {
        let definition = state.definition(keeps_room(service)?)?;
        let claim = needs(&definition.body, None).ok()?.claim;
        let revision = &service.deployments.first()?.revision;
        let Request { claim, required, constraints, group, .. } = request(state, service, revision, claim, 1).ok()?;
        Some(Kept { group, claim, required, constraints })
    });
    kept.collect()
}

/// Tasks of the service that those to be placed are spread without regard to, by host: what they take the place of,
/// since otherwise an update puts everything where its forerunner was not, and other task sets, each of which is even
/// by itself.
fn leaving(state: &State, service: &Service, basis: Basis<'_>) -> BTreeMap<InstanceId, u32> {
    let staying: BTreeSet<TaskId> = basis.staying().map(|task| task.id).collect();
    let mut leaving = BTreeMap::new();
    for task in state.service_tasks(&service.key) {
        if !staying.contains(&task.id) {
            *leaving.entry(task.instance).or_default() += 1;
        }
    }
    leaving
}

/// The pools of the service with the tasks that they keep. What is to be replaced fills no base: who takes its place
/// would go elsewhere, and nothing would ever bring it back.
fn pools(state: &State, service: &Service, basis: Basis<'_>) -> Vec<Pool> {
    let mut pools = capacity::pools(&service.capacity);
    if pools.is_empty() {
        return pools;
    }
    let kept = basis.staying().filter(|task| !task.is_ill(basis.picture, basis.now));
    let placed_by = |id| state.task(id).and_then(|task| task.capacity_provider.clone());
    let kept: Vec<Arc<str>> = kept.filter_map(|task| placed_by(task.id)).collect();
    for pool in &mut pools {
        let there = kept.iter().filter(|name| **name == pool.name).count();
        pool.there = u32::try_from(there).unwrap_or(u32::MAX);
    }
    pools
}

pub(super) fn request(
    state: &State,
    service: &Service,
    revision: &ServiceRevision,
    claim: longshore_sched::Claim,
    count: u32,
) -> Result<Request, ApiError> {
    let definition = state.definition(&revision.definition);
    let definition = definition.ok_or_else(|| ApiError::client("TaskDefinition not found."))?;
    let required = definition.body.requires_attributes.iter().flatten();
    let required = required.filter_map(|a| Some(Attribute { name: a.name.clone()?, value: a.value.clone() }));
    let exec = service.execute_command.then(|| Attribute { name: exec::CAPABILITY.to_owned(), value: None });
    let fence = service.at_most_one().then(|| Attribute { name: FENCE.to_owned(), value: None });
    let required = required.chain(exec).chain(fence);
    let mut strategies = run::strategies(service.strategies.clone())?;
    if strategies.is_empty() {
        // ECS: over zones, and there over hosts.
        strategies.push(Strategy::Spread(SpreadOver::Attribute(ZONE.to_owned())));
        strategies.push(Strategy::Spread(SpreadOver::Instance));
    }
    Ok(Request {
        count,
        claim,
        required: required.collect(),
        constraints: run::constraints(service.constraints.clone(), definition)?,
        strategies,
        group: service.key.group().to_string(),
        leaving: BTreeMap::new(),
        kept: Arc::default(),
        seed: rand::random(),
    })
}

/// Whether a service could have tasks: everything that [`launch`] would refuse, apart from the state of its hosts.
///
/// # Errors
/// What the client is told.
pub(crate) fn check(state: &State, service: &Service, revision: &ServiceRevision) -> Result<(), ApiError> {
    let definition = state.definition(&revision.definition);
    let definition = definition.ok_or_else(|| ApiError::client("TaskDefinition not found."))?;
    network::interfaces(state, &service.key.cluster, definition, revision.network.as_deref().cloned())?;
    let needs = needs(&definition.body, None)?;
    request(state, service, revision, needs.claim, 0).map(drop)
}

/// Whether a service's constraints and strategies can be used: what [`check`] would refuse of them.
///
/// # Errors
/// What the client is told.
pub(crate) fn check_placement(state: &State, service: &Service, revision: &ServiceRevision) -> Result<(), ApiError> {
    request(state, service, revision, longshore_sched::Claim::default(), 0).map(drop)
}

/// The registered hosts that a DAEMON service's tasks belong on: those that have what its definition requires and that
/// its constraints select, whether or not there is room.
pub(super) fn daemon_targets(state: &State, service: &Service, revision: &ServiceRevision) -> Vec<Arc<HostState>> {
    let Some(cluster) = state.cluster(&service.key.cluster) else { return Vec::new() };
    let claim = longshore_sched::Claim::default();
    let Ok(request) = request(state, service, revision, claim, 1) else { return Vec::new() };
    let group = service.key.group();
    let has_one = |host: &HostState| {
        let wanted = |task: &Arc<Task>| task.desired == DesiredStatus::Running && task.group == group;
        host.live.iter().any(|id| state.task(*id).is_some_and(wanted))
    };
    let belongs = |host: &&Arc<HostState>| {
        match check_on(&host.view, &request) {
            Ok(_) => true,
            // It gets none while nobody can tell it; one that it has stays counted until it is given up.
            Err(Reason::Disconnected) => has_one(host),
            Err(Reason::Attribute { .. } | Reason::MemberOf { .. }) => false,
            Err(
                Reason::Status(_)
                | Reason::DistinctInstance { .. }
                | Reason::Cpu(_)
                | Reason::Memory(_)
                | Reason::Port { .. }
                | Reason::Gpu(_)
                | Reason::DiskShort(_)
                | Reason::Disk(_)
                | Reason::Interface(_),
            ) => true,
        }
    };
    cluster.hosts.values().filter(|host| host.record.status.is_registered()).filter(belongs).cloned().collect()
}

/// How many tasks a DAEMON service is to have.
pub(crate) fn daemon_count(state: &State, service: &Service) -> u32 {
    let Some(primary) = service.deployments.first() else { return 0 };
    let group = service.key.group();
    let counts =
        |host: &&Arc<HostState>| host.view.status == HostStatus::Active || host.view.usage.group_count(&group) > 0;
    let count = daemon_targets(state, service, &primary.revision).iter().filter(counts).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
