//! Placing tasks: RunTask and StartTask.
//!
//! The plan is made over a snapshot, outside the owner task. At commit it is checked again against the state as it
//! is by then: every host must still take its task, and where the request prefers some hosts to others, the hosts
//! chosen must be as the plan saw them. A plan that is outdated is refused and made again, this time by the owner
//! task itself, where nothing can change meanwhile; so a second plan always holds.

use crate::agent::Unavailable;
use crate::capacity::{self, Pool};
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::network::lease_ahead;
use crate::records::{ClientToken, ClientTokenKey, DefinitionKey, DefinitionStatus, PinKey, Tags, Task, TaskContainer};
use crate::state::{CAPABILITY, HostState, State};
use longshore_ecs_api::enums::LaunchType;
use longshore_ecs_api::types::TaskOverride;
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{
    AwsvpcSpec, Bandwidth, ClusterKey, DesiredStatus, Fence, GroupId, InstanceId, NetworkHealth, SubnetId, TaskId,
    TaskStatus, Timestamp,
};
use longshore_sched::{HostStatus, Placed, Reason, Request, Strategy, check_on, place, place_by_draw};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// ECS's words for a cluster without container instances.
pub(crate) const NO_INSTANCES: &str = "No Container Instances were found in your cluster.";

/// How long a client token is remembered.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Tasks to be placed, everything decided but where.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) cluster: ClusterKey,
    pub(crate) definition: DefinitionKey,
    pub(crate) overrides: Option<Box<TaskOverride>>,
    pub(crate) started_by: Option<Arc<str>>,
    pub(crate) launch_type: LaunchType,
    pub(crate) execute_command: bool,
    pub(crate) tags: Tags,
    /// As many as the request's count.
    pub(crate) ids: Vec<NewTask>,
    /// Whose images they run with: their own, when they are several, or those of a deployment.
    pub(crate) pins: Option<PinKey>,
    /// Whether only their images are wanted on the hosts.
    pub(crate) pull_only: bool,
    /// When agents that are cut off stop them, if they must not run twice.
    pub(crate) fence: Option<Fence>,
    /// The host pools that they are shared out among, each RunTask by itself (ECS) and a service's beside those that
    /// are to stay; empty for the whole cluster.
    pub(crate) pools: Vec<Pool>,
    /// What each asks of its interface, when it has one.
    pub(crate) interfaces: Option<Interfaces>,
    /// GPUs of each container, in the definition's order.
    pub(crate) gpus: Vec<u32>,
    /// What is asked of a host.
    pub(crate) request: Request,
    pub(crate) target: Target,
    /// The client's token and the request's hash.
    pub(crate) token: Option<(ClientTokenKey, String)>,
}

/// The ids that a task will have.
#[derive(Debug, Clone)]
pub(crate) struct NewTask {
    pub(crate) id: TaskId,
    /// Of its containers' ARNs, in the definition's order.
    pub(crate) containers: Vec<uuid::Uuid>,
    /// Of the attachment of its interface.
    pub(crate) attachment: uuid::Uuid,
}

impl NewTask {
    /// New ids for a task of that many containers.
    pub(crate) fn random(containers: usize) -> Self {
        let uuid = || uuid::Uuid::new_v4();
        Self { id: TaskId::random(), containers: (0..containers).map(|_| uuid()).collect(), attachment: uuid() }
    }
}

/// What tasks of mode `awsvpc` ask of their interfaces.
#[derive(Debug, Clone)]
pub(crate) struct Interfaces {
    pub(crate) subnet: SubnetId,
    pub(crate) groups: BTreeSet<GroupId>,
    pub(crate) bandwidth: Bandwidth,
}

/// Which hosts may be chosen.
#[derive(Debug)]
pub(crate) enum Target {
    /// Any of the cluster.
    Cluster,
    /// One task on each of these.
    Instances(Vec<InstanceId>),
}

/// A host that did not take a task, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) instance: InstanceId,
    pub(crate) reason: String,
    pub(crate) detail: Option<String>,
    /// How near it is to taking the task; see [`Reason::rank`].
    pub(crate) rank: u8,
    /// The same in a sentence whose subject is the host.
    pub(crate) sentence: String,
}

impl Refusal {
    fn missing(instance: InstanceId) -> Self {
        let reason = "MISSING".to_owned();
        let sentence = "is not in the cluster".to_owned();
        Self { instance, reason, detail: None, rank: 0, sentence }
    }
}

/// Where tasks go.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Hosts with their epochs at the time, one for each task that has a place.
    pub(crate) places: Vec<(InstanceId, u64)>,
    pub(crate) refusals: Vec<Refusal>,
}

impl Plan {
    /// Of a host that several pools passed over, the reason of the pool that it is in.
    fn keep_nearest(&mut self) {
        self.refusals.sort_by_key(|refusal| (refusal.instance, std::cmp::Reverse(refusal.rank)));
        self.refusals.dedup_by_key(|refusal| refusal.instance);
    }
}

/// Chooses hosts over one state. Pure: the request's seed decides what is left to chance.
///
/// # Errors
/// When the cluster cannot take tasks at all.
pub(crate) fn plan(state: &State, launch: &Launch) -> Result<Plan, ApiError> {
    let cluster = state.cluster(&launch.cluster).filter(|cluster| cluster.record.is_active());
    let cluster = cluster.ok_or_else(ApiError::cluster_not_found)?;
    let host = |id: &InstanceId| cluster.hosts.get(id);
    match &launch.target {
        Target::Cluster => {
            if cluster.registered() == 0 {
                return Err(ApiError::invalid(NO_INSTANCES));
            }
            let mut plan = Plan::default();
            for request in capacity::requests(launch) {
                let draw = |nth| cluster.member(nth).map(|host| &host.view);
                if let Some(placed) = place_by_draw(cluster.registered() as usize, draw, &request) {
                    plan.places.extend(placed.iter().filter_map(|p| Some((p.instance, host(&p.instance)?.epoch))));
                    continue;
                }
                // Of a host's record nothing is read, which would be fetched for each.
                let hosts = cluster.hosts.values().map(|host| &host.view);
                let outcome = place(hosts.filter(|host| host.status != HostStatus::Inactive), &request);
                plan.places.extend(outcome.placed.iter().filter_map(|p| Some((p.instance, host(&p.instance)?.epoch))));
                let refusals = outcome.passed_over.iter().map(|passed| refusal(state, passed.instance, &passed.reason));
                plan.refusals.extend(refusals);
            }
            plan.keep_nearest();
            Ok(plan)
        }
        Target::Instances(instances) => {
            let mut plan = Plan::default();
            for id in instances {
                match host(id).map(|host| (host, check_on(&host.view, &launch.request))) {
                    None => plan.refusals.push(Refusal::missing(*id)),
                    Some((host, Ok(_))) => plan.places.push((*id, host.epoch)),
                    Some((_, Err(reason))) => plan.refusals.push(refusal(state, *id, &reason)),
                }
            }
            Ok(plan)
        }
    }
}

fn refusal(state: &State, instance: InstanceId, reason: &Reason) -> Refusal {
    // Why a host has no interfaces to give is not in the numbers that placement looks at.
    let health = match reason {
        Reason::Interface(_) => state.host(instance).and_then(|host| state.network_health(host)),
        Reason::Attribute { required, .. } if required.name == CAPABILITY => {
            state.host(instance).and_then(|host| state.network_health(host))
        }
        Reason::Status(_)
        | Reason::Disconnected
        | Reason::Attribute { .. }
        | Reason::MemberOf { .. }
        | Reason::DistinctInstance { .. }
        | Reason::Cpu(_)
        | Reason::Memory(_)
        | Reason::DiskShort(_)
        | Reason::Disk(_)
        | Reason::Port { .. }
        | Reason::Gpu(_) => None,
    };
    let detail = match health {
        Some(NetworkHealth::Degraded { reason }) => reason,
        Some(NetworkHealth::Ready) | None => reason.to_string(),
    };
    let sentence = reason.sentence(&detail);
    Refusal { instance, reason: reason.text().to_owned(), rank: reason.rank(), detail: Some(detail), sentence }
}

/// ECS's words for a security group that does not exist.
pub(crate) fn no_group(id: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(format!(
        "Error retrieving security group information for [{id}]: The security group '{id}' does not exist (ErrorCode: \
         InvalidGroup.NotFound)"
    ))
}

/// A security group of `groups` that does not exist (any more), if there is one.
pub(crate) fn unknown_group(state: &State, cluster: &ClusterKey, groups: &BTreeSet<GroupId>) -> Option<GroupId> {
    let known = |id: GroupId| state.security_group(id).is_some_and(|group| group.is_seen_from(&cluster.region));
    groups.iter().copied().find(|id| !known(*id))
}

/// Places tasks as planned, or plans first when there is no plan.
pub(crate) struct PlaceTasks {
    pub(crate) launch: Arc<Launch>,
    pub(crate) plan: Option<Plan>,
}

/// What became of a launch.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) tasks: Vec<Arc<Task>>,
    /// How many there were, also when some are forgotten by now.
    pub(crate) made: usize,
    pub(crate) refusals: Vec<Refusal>,
}

/// Why tasks were not placed.
#[derive(Debug)]
pub(crate) enum PlaceError {
    /// The plan was made on a state that has changed where it matters.
    Outdated,
    /// The client's fault, or not durable.
    Api(ApiError),
}

impl From<Unavailable> for PlaceError {
    fn from(why: Unavailable) -> Self {
        Self::Api(why.into())
    }
}

impl From<ApiError> for PlaceError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl Command for PlaceTasks {
    const NAME: &'static str = "PlaceTasks";
    type Reply = Launched;
    type Error = PlaceError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Launched, PlaceError> {
        let Self { launch, plan: planned } = self;
        if let Some((key, hash)) = &launch.token
            && let Some(earlier) = repeated(tx.state(), key, hash)?
        {
            return Ok(earlier);
        }
        let definition = tx.state().definition(&launch.definition).map(|d| d.status);
        match definition {
            Some(DefinitionStatus::Active) => {}
            Some(DefinitionStatus::Inactive { .. } | DefinitionStatus::DeleteInProgress { .. }) | None => {
                return Err(ApiError::client("TaskDefinition is inactive").into());
            }
        }
        if let Some(asked) = &launch.interfaces
            && let Some(id) = unknown_group(tx.state(), &launch.cluster, &asked.groups)
        {
            return Err(no_group(id).into());
        }
        let plan = match planned {
            Some(made_before) => made_before,
            None => plan(tx.state(), &launch)?,
        };
        let tasks = settle(tx, &launch, &plan)?;
        if let Some((key, request_hash)) = launch.token.clone().filter(|_| !tasks.is_empty()) {
            tx.change(Change::ClientToken(Arc::new(ClientToken {
                key,
                request_hash,
                tasks: tasks.iter().map(|task| task.id).collect(),
                expires_at: tx.now.after(TOKEN_LIFETIME),
            })));
        }
        Ok(Launched { made: tasks.len(), tasks, refusals: plan.refusals })
    }
}

/// Makes the tasks of a launch where a plan puts them.
///
/// # Errors
/// [`PlaceError::Outdated`] when a host does not take its task, or the plan would be another one by now.
pub(crate) fn settle(tx: &mut Tx<'_>, launch: &Launch, plan: &Plan) -> Result<Vec<Arc<Task>>, PlaceError> {
    if !is_current(tx.state(), launch, plan) && !is_planted(Bug::StalePlacement) {
        return Err(PlaceError::Outdated);
    }
    let mut tasks = Vec::new();
    for ((instance, _), new) in plan.places.iter().zip(&launch.ids) {
        // The state has the tasks before this one, so tasks of one launch count for each other.
        let host = tx.state().host(*instance).ok_or(PlaceError::Outdated)?;
        let placed = match check_on(&host.view, &launch.request) {
            Err(_) if is_planted(Bug::StalePlacement) => Placed { instance: *instance, gpu_ids: Vec::new() },
            checked => checked.map_err(|_| PlaceError::Outdated)?,
        };
        let provider = if launch.pools.is_empty() { None } else { capacity::pool_of(host).map(Arc::from) };
        let task = Arc::new(Task { capacity_provider: provider, ..task(launch, new, &placed, tx.now) });
        tx.change(Change::Task(Arc::clone(&task)));
        tasks.push(task);
    }
    if launch.interfaces.is_some() {
        let hosts: BTreeSet<InstanceId> = tasks.iter().map(|task| task.instance).collect();
        hosts.into_iter().for_each(|instance| lease_ahead(tx, instance));
    }
    Ok(tasks)
}

/// What the same request made before, if its token was used.
///
/// # Errors
/// When the token was used for another request.
pub(crate) fn repeated(state: &State, key: &ClientTokenKey, hash: &str) -> Result<Option<Launched>, ApiError> {
    let Some(token) = state.client_token(key) else { return Ok(None) };
    let tasks: Vec<Arc<Task>> = token.tasks.iter().filter_map(|id| state.task(*id).cloned()).collect();
    if token.request_hash == hash {
        return Ok(Some(Launched { tasks, made: token.tasks.len(), refusals: Vec::new() }));
    }
    let ids: Vec<String> = token.tasks.iter().map(ToString::to_string).collect();
    let text = "The client token was used for another request, which differs from this one.";
    Err(ApiError::new(ErrorCode::Conflict, text).with("resourceIds", ids))
}

/// Whether nothing has changed that the plan's choice rested on. That each host still takes its task is checked
/// apart from this.
fn is_current(state: &State, launch: &Launch, plan: &Plan) -> bool {
    let prefers = launch.request.strategies.iter().any(|strategy| match strategy {
        Strategy::Random => false,
        Strategy::Spread(_) | Strategy::BinPack(_) => true,
    });
    let same = |(id, epoch): &(InstanceId, u64)| {
        let host: Option<&Arc<HostState>> = state.host(*id);
        host.is_some_and(|host| host.epoch == *epoch || !prefers)
    };
    let active = state.cluster(&launch.cluster).is_some_and(|cluster| cluster.record.is_active());
    active && plan.places.iter().all(same)
}

fn task(launch: &Launch, new: &NewTask, placed: &Placed, now: Timestamp) -> Task {
    let mut gpus = placed.gpu_ids.iter().cloned();
    let containers = new.containers.iter().zip(&launch.gpus).map(|(arn_id, count)| TaskContainer {
        arn_id: *arn_id,
        gpu_ids: gpus.by_ref().take(*count as usize).collect(),
    });
    let awsvpc = launch.interfaces.as_ref().map(|asked| {
        Box::new(AwsvpcSpec {
            attachment_id: new.attachment.to_string(),
            subnet: asked.subnet,
            groups: asked.groups.clone(),
            bandwidth: asked.bandwidth,
        })
    });
    // ECS tells so whoever waits for an interface.
    let status = if awsvpc.is_some() { TaskStatus::Provisioning } else { TaskStatus::Pending };
    let mut task = Task {
        id: new.id,
        cluster: launch.cluster.clone(),
        instance: placed.instance,
        definition: launch.definition.clone(),
        overrides: launch.overrides.clone(),
        group: launch.request.group.as_str().into(),
        started_by: launch.started_by.clone(),
        launch_type: launch.launch_type.clone(),
        execute_command: launch.execute_command,
        tags: launch.tags.clone(),
        claim: launch.request.claim.clone(),
        containers: containers.collect(),
        pins: launch.pins.clone(),
        pull_only: launch.pull_only,
        fence: launch.fence,
        capacity_provider: None,
        awsvpc,
        eni: None,
        desired: DesiredStatus::Running,
        status,
        stop: None,
        version: 1,
        report_version: 0,
        may_have_started: false,
        waiting_for: None,
        reported: Vec::new(),
        protected_until: None,
        created_at: now,
        connectivity_at: None,
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        running_at: None,
        running_tick: None,
        healthy_at: None,
        stopping_at: None,
        execution_stopped_at: None,
        stopped_at: None,
        over_at: None,
        history: Vec::new(),
    };
    task.note(None, now);
    task
}
