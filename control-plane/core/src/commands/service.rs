//! Services: making, changing and deleting them.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::capacity::gone;
use crate::commands::deployment::{begin, supersede};
use crate::ops::services::{check_rebalancing, configuration, over};
use crate::records::{
    DefinitionKey, DefinitionStatus, DeploymentController, ImagePins, RolloutState, SchedulingStrategy, Service,
    ServiceDeployment, ServiceKey, ServiceRevision, ServiceStatus, Tags,
};
use crate::services::words::{self, End};
use crate::services::{check, check_placement};
use crate::state::State;
use longshore_ecs_api::enums::{AvailabilityZoneRebalancing, PropagateTags};
use longshore_ecs_api::types::{
    CapacityProviderStrategyItem, DeploymentConfiguration, NetworkConfiguration, PlacementConstraint, PlacementStrategy,
};
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{TaskId, Timestamp};
use rand::Rng as _;
use rand::distr::Alphanumeric;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Characters of the id of a service deployment as a resource.
const RESOURCE_ID: usize = 21;

/// Ids of a deployment that will be made.
#[derive(Debug, Clone)]
pub(crate) struct NewDeployment {
    /// `ecs-svc/` and 19 digits.
    pub(crate) id: Arc<str>,
    pub(crate) revision_id: Arc<str>,
    /// The last part of the ARN of the service deployment as a resource.
    pub(crate) resource_id: Arc<str>,
}

impl NewDeployment {
    pub(crate) fn random() -> Self {
        // 19 digits, the first of them not 0.
        let digits = || rand::random_range(1_000_000_000_000_000_000_u64..10_000_000_000_000_000_000);
        let letters = rand::rng().sample_iter(Alphanumeric).take(RESOURCE_ID).map(char::from);
        Self {
            id: format!("ecs-svc/{}", digits()).into(),
            revision_id: digits().to_string().into(),
            resource_id: letters.collect::<String>().into(),
        }
    }
}

/// Makes a service.
pub(crate) struct CreateService {
    /// Everything but its deployment, checked.
    pub(crate) service: Service,
    /// What its first deployment runs; its id and time are those of the command, its strategy is the service's. `None`
    /// with the EXTERNAL controller.
    pub(crate) revision: Option<ServiceRevision>,
    pub(crate) new: NewDeployment,
}

impl Command for CreateService {
    const NAME: &'static str = "CreateService";
    type Reply = Arc<Service>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Service>, ApiError> {
        let Self { service, revision, new } = self;
        let cluster = tx.state().cluster(&service.key.cluster).filter(|cluster| cluster.record.is_active());
        cluster.ok_or_else(ApiError::cluster_not_found)?;
        let mut next_event = 0;
        let mut earlier = Vec::new();
        if let Some(old) = tx.state().service(&service.key).map(Arc::clone) {
            match old.record.status {
                ServiceStatus::Active if old.record.request_hash == service.request_hash => {
                    return Ok(Arc::clone(&old.record));
                }
                ServiceStatus::Active => {
                    return Err(ApiError::invalid("Creation of service was not idempotent."));
                }
                ServiceStatus::Draining => {
                    return Err(ApiError::invalid("Unable to Start a service that is still Draining."));
                }
                ServiceStatus::Inactive { .. } => {
                    next_event = old.record.next_event;
                    earlier.extend(old.deployments.iter().map(|record| record.number));
                    for event in &old.events {
                        tx.change(Change::ForgetServiceEvent(service.key.clone(), event.number));
                    }
                }
            }
        }
        let first = match revision {
            Some(revision) => {
                // A security group may be gone since it was looked at.
                check(tx.state(), &service, &revision)?;
                usable(tx, &revision)?;
                let revision = ServiceRevision { capacity: Some(service.capacity.clone()), ..revision };
                Some(deployment(&new, revision, false, tx.now))
            }
            None => None,
        };
        let before = Service { created_at: tx.now, next_event, ..service };
        let service = Arc::new(Service { deployments: first.iter().cloned().collect(), ..before.clone() });
        tx.change(Change::Service(Arc::clone(&service)));
        if let Some(first) = &first {
            hold(tx, &first.revision);
            begin(tx, &before, &new, first);
        }
        // Those of the service that had the name before.
        earlier.into_iter().for_each(|n| tx.change(Change::ForgetServiceDeployment(service.key.clone(), n)));
        Ok(service)
    }
}

/// What is to be changed of a service; `None` leaves it as it is when its turn comes, not as whoever asks saw it.
#[derive(Default)]
pub(crate) struct ServiceEdit {
    pub(crate) desired: Option<u32>,
    /// As it was given: what it leaves out stays.
    pub(crate) configuration: Option<DeploymentConfiguration>,
    pub(crate) grace_secs: Option<u32>,
    pub(crate) constraints: Option<Vec<PlacementConstraint>>,
    pub(crate) strategies: Option<Vec<PlacementStrategy>>,
    pub(crate) capacity: Option<Vec<CapacityProviderStrategyItem>>,
    pub(crate) propagate_tags: Option<PropagateTags>,
    pub(crate) managed_tags: Option<bool>,
    pub(crate) execute_command: Option<bool>,
    pub(crate) zone_rebalancing: Option<AvailabilityZoneRebalancing>,
    /// What a new deployment would run; none is made when it is what runs already.
    pub(crate) definition: Option<DefinitionKey>,
    /// The same of its tasks' interfaces.
    pub(crate) network: Option<NetworkConfiguration>,
    /// The id of a revision that ran before, to go back to it as it was, with its images and, where `capacity` says
    /// nothing, its strategy; instead of the two above.
    pub(crate) revision: Option<String>,
    /// A new deployment in any case.
    pub(crate) force: bool,
}

impl ServiceEdit {
    /// Whether it changes something that `availabilityZoneRebalancing` depends on.
    fn says_rebalancing(&self, service: &Service) -> bool {
        let percent = self.configuration.as_ref().and_then(|given| given.maximum_percent);
        let percent = percent.is_some() && percent != service.configuration.maximum_percent;
        let strategies = self.strategies.as_ref().is_some_and(|given| *given != service.strategies);
        self.zone_rebalancing.is_some() || strategies || percent
    }
}

/// Changes a service.
pub(crate) struct UpdateService {
    pub(crate) key: ServiceKey,
    pub(crate) edit: ServiceEdit,
    pub(crate) new: NewDeployment,
}

impl Command for UpdateService {
    const NAME: &'static str = "UpdateService";
    type Reply = Arc<Service>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Service>, ApiError> {
        let Self { key, edit, new } = self;
        let before = active(tx.state(), &key)?;
        let says_rebalancing = edit.says_rebalancing(&before);
        let says_capacity = edit.capacity.is_some();
        let mut service = (*before).clone();
        service.desired = edit.desired.unwrap_or(service.desired);
        if let Some(given) = edit.configuration {
            service.configuration = configuration(over(given, &service.configuration), service.scheduling)?;
        } else if is_planted(Bug::UpdatesResetPercents) {
            service.configuration = configuration(DeploymentConfiguration::default(), service.scheduling)?;
        }
        service.grace_secs = edit.grace_secs.unwrap_or(service.grace_secs);
        let places = edit.constraints.is_some() || edit.strategies.is_some();
        service.constraints = edit.constraints.unwrap_or(service.constraints);
        service.strategies = edit.strategies.unwrap_or(service.strategies);
        service.capacity = edit.capacity.unwrap_or(service.capacity);
        service.propagate_tags = edit.propagate_tags.or(service.propagate_tags);
        service.managed_tags = edit.managed_tags.unwrap_or(service.managed_tags);
        service.execute_command = edit.execute_command.unwrap_or(service.execute_command);
        service.zone_rebalancing = edit.zone_rebalancing.or(service.zone_rebalancing);
        if says_rebalancing {
            check_rebalancing(&service)?;
        }
        let current = before.deployments.first().map(|primary| &primary.revision);
        let current = match (current, service.controller) {
            (Some(current), _) => current,
            (None, DeploymentController::Ecs) => return Err(ApiError::server("The service has no deployment.")),
            // What its tasks run is said by its task sets.
            (None, DeploymentController::External) => {
                let service = Arc::new(service);
                tx.change(Change::Service(Arc::clone(&service)));
                return Ok(service);
            }
        };
        let back = edit.revision.map(|id| ran_before(tx.state(), &key, &id)).transpose()?;
        let is_back = back.is_some();
        let wanted = back.unwrap_or_else(|| ServiceRevision {
            definition: edit.definition.unwrap_or_else(|| current.definition.clone()),
            network: edit.network.map(Box::new).or_else(|| current.network.clone()),
            capacity: Some(service.capacity.clone()),
            ..current.clone()
        });
        // What is not asked for stays, whether or not it still could be had: a count can always be set.
        if places {
            check_placement(tx.state(), &service, &wanted)?;
        }
        let is_new = if is_back { wanted.id != current.id } else { !same(current, &wanted) };
        if edit.force || is_new {
            if is_back && !says_capacity {
                place_by(tx.state(), &mut service, wanted.capacity.as_deref());
            }
            check(tx.state(), &service, &wanted)?;
            let without = service.clone();
            let newest = match (is_back, edit.force) {
                // Its definition is taken as the circuit breaker takes it: whether or not others may still use it.
                (true, false) => again(&mut service, &wanted, &new, tx.now),
                (true, true) => deployment(&new, wanted, true, tx.now),
                (false, _) => {
                    usable(tx, &wanted)?;
                    deployment(&new, wanted, false, tx.now)
                }
            };
            // One that somebody asks for is no rollback: its breaker may bring back what ran before.
            let strategy_before = match before.deployments.first() {
                // What a rollback brings back is older than that one, too.
                Some(primary) if primary.state != RolloutState::Completed => primary.strategy_before.clone(),
                Some(_) | None => None,
            };
            let strategy_before = strategy_before.or_else(|| Some(before.capacity.clone()));
            let newest = ServiceDeployment { is_rollback: false, strategy_before, ..newest };
            hold(tx, &newest.revision);
            begin(tx, &without, &new, &newest);
            service.deployments.insert(0, newest);
        }
        let service = Arc::new(service);
        tx.change(Change::Service(Arc::clone(&service)));
        Ok(service)
    }
}

/// Deletes a service: its tasks stop, and it is over once they have.
pub(crate) struct DeleteService {
    pub(crate) key: ServiceKey,
    /// Even while it is scaled above 0.
    pub(crate) force: bool,
}

impl Command for DeleteService {
    const NAME: &'static str = "DeleteService";
    type Reply = Arc<Service>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Service>, ApiError> {
        let found = tx.state().service(&self.key).filter(|service| !service.record.is_over());
        let record = Arc::clone(&found.ok_or_else(not_found)?.record);
        if !record.is_active() {
            return Ok(record);
        }
        let scaled = record.scheduling == SchedulingStrategy::Replica && record.desired > 0;
        if scaled && !self.force {
            return Err(ApiError::invalid("The service cannot be stopped while it is scaled above 0."));
        }
        supersede(tx, &record, words::DELETED);
        let service = Arc::new(Service { status: ServiceStatus::Draining, desired: 0, ..(*record).clone() });
        tx.change(Change::Service(Arc::clone(&service)));
        Ok(service)
    }
}

/// Keeps what a revision's tags stand for.
pub(super) fn hold(tx: &mut Tx<'_>, revision: &ServiceRevision) {
    let key = revision.pins();
    let known = tx.state().pins(&key).map(|pins| (**pins).clone());
    let pins = known.unwrap_or_else(|| ImagePins { key, digests: BTreeMap::new(), held: true });
    tx.change(Change::Pins(Arc::new(ImagePins { held: true, ..pins })));
}

/// Lets what the tags of these revisions stand for go with the last of their tasks, unless they run or may run again.
pub(super) fn let_go<'a>(tx: &mut Tx<'_>, key: &ServiceKey, revisions: impl Iterator<Item = &'a ServiceRevision>) {
    for revision in revisions {
        let kept = tx.state().service(key).is_some_and(|service| service.keeps(&revision.id));
        let held = tx.state().pins(&revision.pins()).filter(|pins| pins.held && !kept).map(Arc::clone);
        if let Some(pins) = held {
            tx.change(Change::Pins(Arc::new(ImagePins { held: false, ..(*pins).clone() })));
        }
    }
}

/// Makes a rollback to `revision` PRIMARY, with the strategy that held before the deployment that failed. Gives the id
/// of its deployment. `end` is how the one before it ended.
pub(super) fn take_back(
    state: &State,
    service: &mut Service,
    revision: &ServiceRevision,
    new: &NewDeployment,
    end: End,
    now: Timestamp,
) -> Arc<str> {
    let mut back = again(service, revision, new, now);
    back.reason = words::brings_back(end, &back.id);
    let id = Arc::clone(&back.id);
    let before = service.deployments.first().and_then(|failed| failed.strategy_before.clone());
    place_by(state, service, before.as_deref());
    service.deployments.insert(0, back);
    id
}

/// Has a service's tasks placed by this strategy, unless the cluster has given up a provider of it, or none is known.
fn place_by(state: &State, service: &mut Service, strategy: Option<&[CapacityProviderStrategyItem]>) {
    if let Some(strategy) = strategy.filter(|strategy| gone(state, &service.key.cluster, strategy).is_none()) {
        service.capacity = strategy.to_vec();
    }
}

/// The deployment that brings a revision back: the one that still has its tasks, taken out of the service, so that they
/// stay, or a new one.
fn again(service: &mut Service, revision: &ServiceRevision, new: &NewDeployment, now: Timestamp) -> ServiceDeployment {
    let old = service.deployments.iter().position(|deployment| deployment.revision.id == revision.id);
    match old.map(|at| service.deployments.remove(at)) {
        Some(old) => ServiceDeployment {
            state: RolloutState::InProgress,
            reason: words::in_progress(&old.id),
            updated_at: now,
            failures: 0,
            setbacks: 0,
            failed_at: None,
            is_rollback: true,
            ..old
        },
        None => deployment(new, revision.clone(), true, now),
    }
}

pub(super) fn deployment(
    new: &NewDeployment,
    revision: ServiceRevision,
    is_rollback: bool,
    now: Timestamp,
) -> ServiceDeployment {
    let revision = match is_rollback {
        true => revision,
        false => ServiceRevision { id: Arc::clone(&new.revision_id), created_at: now, ..revision },
    };
    ServiceDeployment {
        id: Arc::clone(&new.id),
        revision,
        state: RolloutState::InProgress,
        reason: words::in_progress(&new.id),
        created_at: now,
        updated_at: now,
        failed_tasks: 0,
        failures: 0,
        setbacks: 0,
        failed_at: None,
        is_rollback,
        strategy_before: None,
    }
}

/// A revision of a service that ran as a whole once.
///
/// # Errors
/// When the service does not remember one with this id, or its definition is there no more.
pub(crate) fn ran_before(state: &State, key: &ServiceKey, id: &str) -> Result<ServiceRevision, ApiError> {
    let found = state.service(key).and_then(|service| service.proven().find(|revision| *revision.id == *id));
    let found = found.ok_or_else(|| {
        ApiError::invalid(format!(
            "taskDefinition: service {} remembers no service revision {id} that was deployed successfully. \
             ListServiceDeployments with status SUCCESSFUL has those that can be gone back to.",
            key.name
        ))
    })?;
    if state.definition(&found.definition).is_none() {
        return Err(ApiError::invalid(format!(
            "taskDefinition: {} of service revision {id} was deleted; go back to another one, or register it anew.",
            found.definition
        )));
    }
    Ok(found.clone())
}

/// Whether two revisions run the same. Another strategy needs no new tasks.
pub(crate) fn same(a: &ServiceRevision, b: &ServiceRevision) -> bool {
    let ServiceRevision { id: _, definition, launch_type, network, capacity: _, created_at: _ } = a;
    *definition == b.definition && *launch_type == b.launch_type && *network == b.network
}

/// A new deployment needs an active definition; one that runs already keeps what it has.
pub(super) fn usable(tx: &Tx<'_>, revision: &ServiceRevision) -> Result<(), ApiError> {
    match tx.state().definition(&revision.definition).map(|definition| definition.status) {
        Some(DefinitionStatus::Active) => Ok(()),
        Some(DefinitionStatus::Inactive { .. } | DefinitionStatus::DeleteInProgress { .. }) | None => {
            Err(ApiError::client("TaskDefinition is inactive"))
        }
    }
}

/// ECS's words for a service that is not there.
pub(crate) fn not_found() -> ApiError {
    ApiError::new(ErrorCode::ServiceNotFound, "Service not found.")
}

/// An active service.
///
/// # Errors
/// `ServiceNotFoundException` and `ServiceNotActiveException`.
pub(crate) fn active(state: &State, key: &ServiceKey) -> Result<Arc<Service>, ApiError> {
    let service = state.service(key).ok_or_else(not_found)?;
    if !service.record.is_active() {
        return Err(ApiError::new(ErrorCode::ServiceNotActive, "Service was not ACTIVE."));
    }
    Ok(Arc::clone(&service.record))
}

/// A service's own tags, for ones of its tasks.
pub(crate) fn task_tags(service: &Service, definition: &Tags) -> Tags {
    let mut tags = match service.propagate_tags {
        Some(PropagateTags::Service) => service.tags.clone(),
        Some(PropagateTags::TaskDefinition) => definition.clone(),
        Some(PropagateTags::None | PropagateTags::Other(_)) | None => Tags::new(),
    };
    if service.managed_tags {
        tags.insert("aws:ecs:clusterName".to_owned(), service.key.cluster.name.to_string());
        tags.insert("aws:ecs:serviceName".to_owned(), service.key.name.to_string());
    }
    tags
}

/// Ids of tasks, as events name them.
pub(crate) type TaskIds = [TaskId];
