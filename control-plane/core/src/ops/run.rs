//! RunTask and StartTask.

use crate::caller::Caller;
use crate::capacity::{self, Pool};
use crate::commands::{Launch, Launched, NewTask, PlaceError, PlaceTasks, Refusal, Target, plan, repeated};
use crate::definition::attributes::{TASK_LIMITS, for_environment_files};
use crate::handle::Core;
use crate::needs::{Needs, needs};
use crate::ops::capacity::strategy as of_request;
use crate::ops::instances::arn as instance_arn;
use crate::ops::{Ctx, check, exec, network, overrides};
use crate::records::{ClientTokenKey, Definition, DefinitionStatus, PinKey, Tags};
use crate::services::kept;
use crate::show;
use crate::state::State;
use aws_lc_rs::digest::{SHA256, digest};
use longshore_ecs_api::enums::{Compatibility, LaunchType, PropagateTags};
use longshore_ecs_api::requests::{RunTaskRequest, StartTaskRequest};
use longshore_ecs_api::responses::{RunTaskResponse, StartTaskResponse};
use longshore_ecs_api::types::{
    Failure, NetworkConfiguration, PlacementConstraint, PlacementStrategy, Tag, Task, TaskOverride,
};
use longshore_ecs_api::{ApiError, Operation};
use longshore_model::{Attribute, ClusterKey};
use longshore_sched::{Claim, Constraint, Request, Strategy};
use std::collections::BTreeMap;
use std::sync::Arc;

/// ECS's limits.
const MAX_COUNT: i32 = 10;
const MAX_CONSTRAINTS: usize = 10;
const MAX_STRATEGIES: usize = 5;
const MAX_STARTED_BY: usize = 128;
const MAX_GROUP: usize = 255;
const MAX_TOKEN: usize = 64;

/// Ours: the tag by which a request asks for the images of its tasks alone, and the capability of agents that know it.
/// An agent that did not would run the task.
const PULL_ONLY: &str = "longshore.pull-only";

pub(crate) async fn run(ctx: Ctx<'_>, request: RunTaskRequest) -> Result<RunTaskResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let token = token(&cluster, &request)?;
    if let Some((key, hash)) = &token
        && let Some(earlier) = repeated(&ctx.state, key, hash)?
    {
        let (tasks, failures) = shown(&ctx, &cluster, earlier);
        return Ok(RunTaskResponse { tasks, failures });
    }
    let launched = launch(&ctx, wanted(&ctx, request, cluster.clone(), token)?).await?;
    let (tasks, failures) = shown(&ctx, &cluster, launched);
    Ok(RunTaskResponse { tasks, failures })
}

/// What became of a request of RunTask that the control plane makes itself.
pub(crate) struct Ran {
    /// Tasks that it made, whether or not they are still remembered.
    pub(crate) made: usize,
    /// Why hosts did not take one, if one found no place.
    pub(crate) refusals: Vec<Refusal>,
}

/// As [`run`]. A token that was used says what it was used for, whatever the request is by now.
pub(crate) async fn run_again(ctx: Ctx<'_>, request: RunTaskRequest) -> Result<Ran, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let token = token(&cluster, &request)?;
    if let Some(used) = token.as_ref().and_then(|(key, _)| ctx.state.client_token(key)) {
        return Ok(Ran { made: used.tasks.len(), refusals: Vec::new() });
    }
    let Launched { tasks: _, made, refusals } = launch(&ctx, wanted(&ctx, request, cluster, token)?).await?;
    Ok(Ran { made, refusals })
}

/// The tasks that a schedule's request of RunTask asks for, everything decided but where.
///
/// # Errors
/// As RunTask's, of the request alone: what placement says is not among it.
pub(crate) fn prepared(
    core: &Core,
    caller: &Caller,
    state: Arc<State>,
    request: RunTaskRequest,
    started_by: Arc<str>,
) -> Result<Launch, ApiError> {
    let ctx = Ctx { core, caller, state };
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    // The names of schedules have more characters than requests may use here.
    Ok(Launch { started_by: Some(started_by), ..prepare(&ctx, wanted(&ctx, request, cluster, None)?)? })
}

fn wanted(
    ctx: &Ctx<'_>,
    request: RunTaskRequest,
    cluster: ClusterKey,
    token: Option<(ClientTokenKey, String)>,
) -> Result<Common, ApiError> {
    let count = request.count.unwrap_or(1);
    if !(1..=MAX_COUNT).contains(&count) {
        return Err(ApiError::invalid(format!("count must be between 1 and {MAX_COUNT}.")));
    }
    let pools = {
        let record = &ctx.cluster(request.cluster.as_deref())?.record;
        let given = request.capacity_provider_strategy;
        capacity::pools(&of_request(ctx, record, given, request.launch_type.is_some())?)
    };
    if request.platform_version.is_some_and(|version| !version.is_empty()) {
        return Err(ApiError::invalid("The platform version must be null when specifying an EC2 launch type."));
    }
    let launch_type = request.launch_type.unwrap_or(LaunchType::Ec2);
    let constraints = request.placement_constraints.unwrap_or_default();
    let strategies = request.placement_strategy.unwrap_or_default();
    Ok(Common {
        cluster,
        count: count.unsigned_abs(),
        definition: request.task_definition.unwrap_or_default(),
        launch_type,
        overrides: request.overrides,
        group: request.group,
        started_by: request.started_by,
        tags: request.tags,
        propagate_tags: request.propagate_tags,
        managed_tags: request.enable_ecs_managed_tags.unwrap_or(false),
        execute_command: request.enable_execute_command.unwrap_or(false),
        network_configuration: request.network_configuration,
        volume_configurations: request.volume_configurations.is_some_and(|list| !list.is_empty()),
        constraints,
        strategies,
        target: Target::Cluster,
        pools,
        token,
    })
}

pub(crate) async fn start(ctx: Ctx<'_>, request: StartTaskRequest) -> Result<StartTaskResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let names =
        check::some(request.container_instances, "containerInstances", "Container Instances cannot be empty.", 10)?;
    let mut instances = Vec::new();
    let mut foreign = Vec::new();
    for name in names {
        match ctx.instance_id(&cluster, &name)? {
            Some(id) if instances.contains(&id) => {
                return Err(ApiError::invalid(format!("containerInstances names {id} twice.")));
            }
            Some(id) => instances.push(id),
            None => foreign.push(Failure { arn: Some(name), reason: Some("MISSING".to_owned()), detail: None }),
        }
    }
    let common = Common {
        cluster: cluster.clone(),
        count: u32::try_from(instances.len()).unwrap_or(u32::MAX),
        definition: request.task_definition.unwrap_or_default(),
        launch_type: LaunchType::Ec2,
        overrides: request.overrides,
        group: request.group,
        started_by: request.started_by,
        tags: request.tags,
        propagate_tags: request.propagate_tags,
        managed_tags: request.enable_ecs_managed_tags.unwrap_or(false),
        execute_command: request.enable_execute_command.unwrap_or(false),
        network_configuration: request.network_configuration,
        volume_configurations: request.volume_configurations.is_some_and(|list| !list.is_empty()),
        constraints: Vec::new(),
        strategies: Vec::new(),
        target: Target::Instances(instances),
        pools: Vec::new(),
        token: None,
    };
    let launched = launch(&ctx, common).await?;
    let (tasks, failures) = shown(&ctx, &cluster, launched);
    let failures = failures.into_iter().flatten().chain(foreign).collect();
    Ok(StartTaskResponse { tasks, failures: Some(failures) })
}

/// What both operations have in common.
struct Common {
    cluster: ClusterKey,
    count: u32,
    definition: String,
    launch_type: LaunchType,
    overrides: Option<TaskOverride>,
    group: Option<String>,
    started_by: Option<String>,
    tags: Option<Vec<Tag>>,
    propagate_tags: Option<PropagateTags>,
    managed_tags: bool,
    execute_command: bool,
    network_configuration: Option<NetworkConfiguration>,
    volume_configurations: bool,
    constraints: Vec<PlacementConstraint>,
    strategies: Vec<PlacementStrategy>,
    target: Target,
    pools: Vec<Pool>,
    token: Option<(ClientTokenKey, String)>,
}

/// Plans over the snapshot and commits; a plan that was outdated by then is made again by the owner task.
async fn launch(ctx: &Ctx<'_>, common: Common) -> Result<Launched, ApiError> {
    let launch = Arc::new(prepare(ctx, common)?);
    let first = plan(&ctx.state, &launch)?;
    if first.places.is_empty() {
        return Ok(Launched { tasks: Vec::new(), made: 0, refusals: first.refusals });
    }
    let command = PlaceTasks { launch: Arc::clone(&launch), plan: Some(first) };
    match ctx.submit(command).await {
        Ok(launched) => return Ok(launched),
        Err(PlaceError::Api(error)) => return Err(error),
        Err(PlaceError::Outdated) => tracing::debug!(cluster = %launch.cluster, "placing again: the plan was outdated"),
    }
    ctx.submit(PlaceTasks { launch, plan: None }).await.map_err(|error| match error {
        PlaceError::Api(error) => error,
        // A plan over the very state that it is committed to always holds.
        PlaceError::Outdated => ApiError::server("The placement did not hold; try again."),
    })
}

/// Everything about the tasks but where they go.
fn prepare(ctx: &Ctx<'_>, common: Common) -> Result<Launch, ApiError> {
    let name = ctx.definition_name(&common.definition)?;
    let definition = ctx.definition(&name).ok_or_else(|| ApiError::client("TaskDefinition not found."))?;
    match definition.status {
        DefinitionStatus::Active => {}
        DefinitionStatus::Inactive { .. } | DefinitionStatus::DeleteInProgress { .. } => {
            return Err(ApiError::client("TaskDefinition is inactive"));
        }
    }
    check_launch_type(&common.launch_type, definition)?;
    check_options(&common)?;
    let mut tags = check::tags(common.tags)?;
    let pull_only = pull_only(&tags)?;
    let interfaces = match pull_only {
        // Nothing of it will have a network.
        true => None,
        false => network::interfaces(&ctx.state, &common.cluster, definition, common.network_configuration)?,
    };
    let overrides = overrides::checked(common.overrides, &definition.body)?;
    let mut needs = needs(&definition.body, overrides.as_deref())?;
    let group = group(common.group, &definition.key.family)?;
    let started_by = started_by(common.started_by)?;
    let mut required: Vec<Attribute> = definition
        .body
        .requires_attributes
        .iter()
        .flatten()
        .filter_map(|attribute| Some(Attribute { name: attribute.name.clone()?, value: attribute.value.clone() }))
        .collect();
    // What only the overrides ask for.
    let limited = |cpu: &Option<String>, memory: &Option<String>| cpu.is_some() || memory.is_some();
    let limits = overrides.as_ref().is_some_and(|o| limited(&o.cpu, &o.memory))
        && !limited(&definition.body.cpu, &definition.body.memory);
    required.extend(limits.then(|| Attribute { name: TASK_LIMITS.to_owned(), value: None }));
    let containers = overrides.iter().flat_map(|o| o.container_overrides.iter().flatten());
    for name in containers.flat_map(|over| for_environment_files(over.environment_files.as_ref())) {
        if required.iter().all(|attribute| attribute.name != name) {
            required.push(Attribute { name: name.to_owned(), value: None });
        }
    }
    required.extend(common.execute_command.then(|| Attribute { name: exec::CAPABILITY.to_owned(), value: None }));
    if pull_only {
        // It takes nothing of its host, and asks nothing but that its agent does not run it.
        required = vec![Attribute { name: PULL_ONLY.to_owned(), value: None }];
        needs = Needs { claim: Claim::default(), gpus: vec![0; needs.gpus.len()] };
    }
    let constraints = match &common.target {
        Target::Cluster => constraints(common.constraints, definition)?,
        // Whoever names the instances has chosen.
        Target::Instances(_) => Vec::new(),
    };
    let kept = match &common.target {
        Target::Cluster => kept(&ctx.state, &common.cluster),
        Target::Instances(_) => Arc::default(),
    };
    let containers = definition.body.container_definitions.as_ref().map_or(0, Vec::len);
    match common.propagate_tags {
        None | Some(PropagateTags::None) => {}
        Some(PropagateTags::TaskDefinition) => {
            for (key, value) in &definition.tags {
                tags.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        Some(PropagateTags::Service) => {
            return Err(ApiError::invalid("propagateTags: SERVICE is only for tasks of a service."));
        }
        Some(PropagateTags::Other(other)) => {
            return Err(ApiError::invalid(format!("propagateTags: `{other}` is none of TASK_DEFINITION, NONE.")));
        }
    }
    add_managed_tags(&mut tags, common.managed_tags, &common.cluster);
    let ids: Vec<NewTask> = (0..common.count).map(|_| NewTask::random(containers)).collect();
    // Tasks of one call run the same images; of one by itself nobody else asks.
    let pins = ids.first().filter(|_| ids.len() > 1).map(|first| PinKey::new(format!("run/{}", first.id)));
    Ok(Launch {
        cluster: common.cluster,
        definition: definition.key.clone(),
        overrides,
        started_by,
        launch_type: common.launch_type,
        execute_command: common.execute_command,
        tags,
        ids,
        pins,
        pull_only,
        fence: None,
        pools: common.pools,
        interfaces,
        gpus: needs.gpus,
        request: Request {
            count: common.count,
            claim: needs.claim,
            required,
            constraints,
            strategies: strategies(common.strategies)?,
            group,
            leaving: BTreeMap::new(),
            kept,
            seed: rand::random(),
        },
        target: common.target,
        token: common.token,
    })
}

/// Whether the request's tags say that only the images of the tasks are wanted on their hosts.
fn pull_only(tags: &Tags) -> Result<bool, ApiError> {
    match tags.get(PULL_ONLY).map(String::as_str) {
        None => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            let text = format!("tags: `{PULL_ONLY}` must be `true` or be left out, and is `{other}`.");
            Err(ApiError::invalid(text))
        }
    }
}

fn add_managed_tags(tags: &mut Tags, enabled: bool, cluster: &ClusterKey) {
    if enabled {
        tags.insert("aws:ecs:clusterName".to_owned(), cluster.name.to_string());
    }
}

/// A host takes tasks of EC2 and EXTERNAL alike; what a definition is good for was computed when it was registered.
pub(crate) fn check_launch_type(launch_type: &LaunchType, definition: &Definition) -> Result<(), ApiError> {
    let needed = match launch_type {
        LaunchType::Ec2 => Compatibility::Ec2,
        LaunchType::External => Compatibility::External,
        LaunchType::Fargate => Compatibility::Fargate,
        LaunchType::ManagedInstances => {
            return Err(ApiError::unsupported(
                "launchType MANAGED_INSTANCES is not supported by this version of Longshore.",
            ));
        }
        LaunchType::Other(_) => {
            return Err(ApiError::invalid("launch type should be one of [EC2,FARGATE,EXTERNAL]"));
        }
    };
    let offered = definition.body.requires_compatibilities.as_ref().filter(|list| !list.is_empty());
    let fits = match (&needed, offered) {
        (_, Some(list)) => list.contains(&needed),
        (Compatibility::Fargate, None) => {
            definition.body.compatibilities.as_ref().is_some_and(|list| list.contains(&needed))
        }
        (Compatibility::Ec2 | Compatibility::External, None) => true,
        (Compatibility::ManagedInstances | Compatibility::Other(_), None) => false,
    };
    if !fits {
        let text = format!("Task definition does not support launch_type {launch_type}.");
        return Err(ApiError::invalid(text));
    }
    match launch_type {
        LaunchType::Fargate => {
            Err(ApiError::unsupported("launchType FARGATE is not supported yet by this version of Longshore."))
        }
        LaunchType::Ec2 | LaunchType::External | LaunchType::ManagedInstances | LaunchType::Other(_) => Ok(()),
    }
}

fn check_options(common: &Common) -> Result<(), ApiError> {
    if common.volume_configurations {
        return Err(ApiError::client("volumeConfigurations is not supported yet by this version of Longshore."));
    }
    Ok(())
}

fn group(given: Option<String>, family: &str) -> Result<String, ApiError> {
    let Some(group) = given.filter(|group| !group.is_empty()) else { return Ok(format!("family:{family}")) };
    if group.chars().count() > MAX_GROUP || group.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!(
            "group must have at most {MAX_GROUP} characters, and none that control."
        )));
    }
    // Tasks of a service are told by it.
    if group.starts_with("service:") {
        return Err(ApiError::invalid("Invalid namespace for group."));
    }
    Ok(group)
}

fn started_by(given: Option<String>) -> Result<Option<Arc<str>>, ApiError> {
    let Some(by) = given.filter(|by| !by.is_empty()) else { return Ok(None) };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '_');
    if by.len() > MAX_STARTED_BY || !by.chars().all(allowed) {
        return Err(ApiError::invalid(format!(
            "startedBy must have at most {MAX_STARTED_BY} letters, digits or characters of - _ /."
        )));
    }
    Ok(Some(by.into()))
}

/// The request's and the definition's.
pub(crate) fn constraints(
    given: Vec<PlacementConstraint>,
    definition: &Definition,
) -> Result<Vec<Constraint>, ApiError> {
    let own = definition.body.placement_constraints.iter().flatten();
    let own = own.map(|c| (c.r#type.as_ref().map(ToString::to_string), c.expression.clone()));
    let given = given.into_iter().map(|c| (c.r#type.map(|kind| kind.to_string()), c.expression));
    let all: Vec<_> = own.chain(given).collect();
    if all.len() > MAX_CONSTRAINTS {
        return Err(ApiError::invalid(format!(
            "placementConstraints: there can be {MAX_CONSTRAINTS} together with those of the task definition."
        )));
    }
    all.iter()
        .map(|(kind, expression)| {
            Constraint::parse(kind.as_deref().unwrap_or_default(), expression.as_deref())
                .map_err(|error| ApiError::invalid(format!("placementConstraints.{error}")))
        })
        .collect()
}

pub(crate) fn strategies(given: Vec<PlacementStrategy>) -> Result<Vec<Strategy>, ApiError> {
    if given.len() > MAX_STRATEGIES {
        return Err(ApiError::invalid(format!("placementStrategy can have at most {MAX_STRATEGIES} items.")));
    }
    given
        .iter()
        .map(|strategy| {
            let kind = strategy.r#type.as_ref().map(ToString::to_string).unwrap_or_default();
            Strategy::parse(&kind, strategy.field.as_deref())
                .map_err(|error| ApiError::invalid(format!("placementStrategy.{error}")))
        })
        .collect()
}

/// The client's token and what tells its request from others: its JSON without the token.
fn token(cluster: &ClusterKey, request: &RunTaskRequest) -> Result<Option<(ClientTokenKey, String)>, ApiError> {
    let Some(token) = request.client_token.clone().filter(|token| !token.is_empty()) else { return Ok(None) };
    if token.len() > MAX_TOKEN || !token.bytes().all(|b| (33..=126).contains(&b)) {
        return Err(ApiError::invalid(format!(
            "clientToken must have at most {MAX_TOKEN} printable characters and no blanks."
        )));
    }
    let request = RunTaskRequest { client_token: None, ..request.clone() };
    let json = serde_json::to_vec(&request).map_err(|error| ApiError::server(error.to_string()))?;
    let operation = Operation::RunTask.name().to_owned();
    let key = ClientTokenKey { cluster: cluster.clone(), operation, token };
    Ok(Some((key, hex::encode(digest(&SHA256, &json)))))
}

/// Tasks and failures as the API shows them.
fn shown(ctx: &Ctx<'_>, cluster: &ClusterKey, launched: Launched) -> (Option<Vec<Task>>, Option<Vec<Failure>>) {
    let ctx = ctx.refreshed();
    let tasks = launched.tasks.iter().map(|task| show::task(ctx.core.account(), &ctx.state, task, show::With::TAGS));
    let failures = launched.refusals.into_iter().map(|refusal| failure(&ctx, cluster, refusal));
    (Some(tasks.collect()), Some(failures.collect()))
}

/// A host that takes no task, as `failures[]` shows it.
pub(crate) fn failure(ctx: &Ctx<'_>, cluster: &ClusterKey, refusal: Refusal) -> Failure {
    let Refusal { instance, reason, detail, .. } = refusal;
    Failure { arn: Some(instance_arn(ctx, cluster, instance)), reason: Some(reason), detail }
}
