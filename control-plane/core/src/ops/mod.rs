//! The ECS operations, thin: parse, resolve names, send a command or read the snapshot, show records.
//!
//! One file a subject. Nothing here changes anything: commands do. What this version does not have is answered
//! with `UnsupportedFeatureException`, which clients take as final, never with a fault of the server.

mod activations;
mod attributes;
mod autoscaling;
mod capacity;
pub(crate) mod check;
mod clusters;
mod definitions;
mod deployments;
mod events;
pub(crate) mod exec;
mod instances;
mod names;
pub(crate) mod network;
mod overrides;
mod protection;
pub(crate) mod run;
mod scheduler;
mod secrets;
pub(crate) mod services;
mod settings;
mod tags;
mod task_sets;
mod tasks;

use crate::caller::Caller;
use crate::command::Command;
use crate::handle::Core;
use crate::page::Listing;
use crate::state::State;
use bytes::Bytes;
use longshore_ecs_api::autoscaling::ScalingOperation;
use longshore_ecs_api::events::EventsOperation;
use longshore_ecs_api::requests::RunTaskRequest;
use longshore_ecs_api::scheduler::SchedulerOperation;
use longshore_ecs_api::secrets::SecretsOperation;
use longshore_ecs_api::ssm::SsmOperation;
use longshore_ecs_api::{ApiError, Operation, Request, parse, parse_json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What an operation works with.
pub(crate) struct Ctx<'a> {
    core: &'a Core,
    caller: &'a Caller,
    /// As of the operation's begin; at least as new as every answer given before.
    state: Arc<State>,
}

impl Ctx<'_> {
    async fn submit<C: Command>(&self, command: C) -> Result<C::Reply, C::Error> {
        self.core.submit(command).await
    }

    /// The same with the newest state, to show what a command did.
    fn refreshed(&self) -> Ctx<'_> {
        Ctx { core: self.core, caller: self.caller, state: self.core.snapshot() }
    }

    /// A page of `filters`' listing, 100 long at most.
    fn listing<F: Serialize>(
        &self,
        operation: Operation,
        filters: &F,
        size: Option<i32>,
        token: Option<&str>,
    ) -> Result<Listing<'_>, ApiError> {
        self.listing_of(operation, filters, (size, 100, 100), token)
    }

    fn listing_of<F: Serialize>(
        &self,
        operation: Operation,
        filters: &F,
        sizes: (Option<i32>, usize, usize),
        token: Option<&str>,
    ) -> Result<Listing<'_>, ApiError> {
        let filters = serde_json::to_string(filters).map_err(|e| ApiError::server(e.to_string()))?;
        let what = format!("{} {} {filters}", operation.name(), self.caller.region);
        Listing::new(self.core.inner().page_key(), what, sizes, token)
    }
}

/// An operation that changes something.
async fn write<'a, R: Request>(
    ctx: Ctx<'a>,
    body: &[u8],
    operation: impl AsyncFnOnce(Ctx<'a>, R) -> Result<R::Response, ApiError>,
) -> Result<Bytes, ApiError> {
    let request: R = parse(body)?;
    answer(&Box::pin(operation(ctx, request)).await?)
}

/// An operation that only looks.
fn read<'a, R: Request>(
    ctx: Ctx<'a>,
    body: &[u8],
    operation: impl FnOnce(&Ctx<'a>, R) -> Result<R::Response, ApiError>,
) -> Result<Bytes, ApiError> {
    let request: R = parse(body)?;
    answer(&operation(&ctx, request)?)
}

fn answer<T: Serialize>(response: &T) -> Result<Bytes, ApiError> {
    let body = serde_json::to_vec(response).map_err(|error| ApiError::server(error.to_string()))?;
    Ok(body.into())
}

/// Does an ECS operation.
pub(crate) async fn call(core: &Core, caller: &Caller, op: Operation, body: &[u8]) -> Result<Bytes, ApiError> {
    let ctx = Ctx { core, caller, state: core.snapshot() };
    match op {
        Operation::CreateCluster => write(ctx, body, clusters::create).await,
        Operation::DescribeClusters => read(ctx, body, clusters::describe),
        Operation::ListClusters => read(ctx, body, clusters::list),
        Operation::UpdateCluster => write(ctx, body, clusters::update).await,
        Operation::UpdateClusterSettings => write(ctx, body, clusters::update_settings).await,
        Operation::DeleteCluster => write(ctx, body, clusters::delete).await,

        Operation::RegisterTaskDefinition => write(ctx, body, definitions::register).await,
        Operation::DescribeTaskDefinition => read(ctx, body, definitions::describe),
        Operation::ListTaskDefinitions => read(ctx, body, definitions::list),
        Operation::ListTaskDefinitionFamilies => read(ctx, body, definitions::list_families),
        Operation::DeregisterTaskDefinition => write(ctx, body, definitions::deregister).await,
        Operation::DeleteTaskDefinitions => write(ctx, body, definitions::delete).await,

        Operation::RunTask => write(ctx, body, run::run).await,
        Operation::StartTask => write(ctx, body, run::start).await,
        Operation::StopTask => write(ctx, body, tasks::stop).await,
        Operation::ExecuteCommand => write(ctx, body, exec::execute).await,
        Operation::DescribeTasks => read(ctx, body, tasks::describe),
        Operation::ListTasks => read(ctx, body, tasks::list),

        Operation::DescribeContainerInstances => read(ctx, body, instances::describe),
        Operation::ListContainerInstances => read(ctx, body, instances::list),
        Operation::DeregisterContainerInstance => write(ctx, body, instances::deregister).await,
        Operation::UpdateContainerInstancesState => write(ctx, body, instances::update_state).await,

        Operation::PutAttributes => write(ctx, body, attributes::put).await,
        Operation::DeleteAttributes => write(ctx, body, attributes::delete).await,
        Operation::ListAttributes => read(ctx, body, attributes::list),

        Operation::TagResource => write(ctx, body, tags::tag).await,
        Operation::UntagResource => write(ctx, body, tags::untag).await,
        Operation::ListTagsForResource => read(ctx, body, tags::list),

        Operation::PutAccountSetting => write(ctx, body, settings::put).await,
        Operation::PutAccountSettingDefault => write(ctx, body, settings::put_default).await,
        Operation::DeleteAccountSetting => write(ctx, body, settings::delete).await,
        Operation::ListAccountSettings => read(ctx, body, settings::list),

        Operation::CreateCapacityProvider => write(ctx, body, capacity::create).await,
        Operation::DescribeCapacityProviders => read(ctx, body, capacity::describe),
        Operation::UpdateCapacityProvider => write(ctx, body, capacity::update).await,
        Operation::DeleteCapacityProvider => write(ctx, body, capacity::delete).await,
        Operation::PutClusterCapacityProviders => write(ctx, body, capacity::put).await,

        Operation::CreateService => write(ctx, body, services::create).await,
        Operation::UpdateService => write(ctx, body, services::update).await,
        Operation::DeleteService => write(ctx, body, services::delete).await,
        Operation::DescribeServices => read(ctx, body, services::describe),
        Operation::ListServices => read(ctx, body, services::list),

        Operation::ListServiceDeployments => read(ctx, body, deployments::list),
        Operation::DescribeServiceDeployments => read(ctx, body, deployments::describe),
        Operation::DescribeServiceRevisions => read(ctx, body, deployments::describe_revisions),
        Operation::StopServiceDeployment => write(ctx, body, deployments::stop).await,

        Operation::CreateTaskSet => write(ctx, body, task_sets::create).await,
        Operation::UpdateTaskSet => write(ctx, body, task_sets::update).await,
        Operation::DeleteTaskSet => write(ctx, body, task_sets::delete).await,
        Operation::DescribeTaskSets => read(ctx, body, task_sets::describe),
        Operation::UpdateServicePrimaryTaskSet => write(ctx, body, task_sets::set_primary).await,

        Operation::UpdateTaskProtection => write(ctx, body, protection::update).await,
        Operation::GetTaskProtection => read(ctx, body, protection::get),

        Operation::AssociateGatewayWithCluster
        | Operation::ContinueServiceDeployment
        | Operation::CreateDaemon
        | Operation::CreateExpressGatewayService
        | Operation::CreateGateway
        | Operation::DeleteDaemon
        | Operation::DeleteDaemonTaskDefinition
        | Operation::DeleteExpressGatewayService
        | Operation::DeleteGateway
        | Operation::DescribeDaemon
        | Operation::DescribeDaemonDeployments
        | Operation::DescribeDaemonRevisions
        | Operation::DescribeDaemonTaskDefinition
        | Operation::DescribeExpressGatewayService
        | Operation::DescribeGateway
        | Operation::DescribeGatewayResources
        | Operation::DescribeGatewayRoute
        | Operation::DisassociateGatewayFromCluster
        | Operation::DiscoverPollEndpoint
        | Operation::ListDaemonDeployments
        | Operation::ListDaemonTaskDefinitions
        | Operation::ListDaemons
        | Operation::ListGatewayClusterAssociations
        | Operation::ListGatewayRoutes
        | Operation::ListGateways
        | Operation::ListServicesByNamespace
        | Operation::RegisterContainerInstance
        | Operation::RegisterDaemonTaskDefinition
        | Operation::SubmitAttachmentStateChanges
        | Operation::SubmitContainerStateChange
        | Operation::SubmitTaskStateChange
        | Operation::UpdateContainerAgent
        | Operation::UpdateDaemon
        | Operation::UpdateExpressGatewayService
        | Operation::UpdateGateway => {
            Err(ApiError::unsupported(format!("{} is not supported by this version of Longshore.", op.name())))
        }
    }
}

/// Does an operation of EventBridge.
pub(crate) async fn events(core: &Core, caller: &Caller, op: EventsOperation, body: &[u8]) -> Result<Bytes, ApiError> {
    events::call(core, caller, op, body).await
}

/// Does an operation of Application Auto Scaling.
pub(crate) async fn scaling(
    core: &Core,
    caller: &Caller,
    op: ScalingOperation,
    body: &[u8],
) -> Result<Bytes, ApiError> {
    autoscaling::call(Ctx { core, caller, state: core.snapshot() }, op, body).await
}

/// Runs tasks for the control plane itself, as RunTask does, once for a token.
pub(crate) async fn run_task(core: &Core, caller: &Caller, request: RunTaskRequest) -> Result<run::Ran, ApiError> {
    run::run_again(Ctx { core, caller, state: core.snapshot() }, request).await
}

/// Does an operation of Systems Manager.
pub(crate) async fn ssm(core: &Core, caller: &Caller, op: SsmOperation, body: &[u8]) -> Result<Bytes, ApiError> {
    fn request<R: DeserializeOwned>(body: &[u8]) -> Result<R, ApiError> {
        parse_json(body)
    }
    let ctx = Ctx { core, caller, state: core.snapshot() };
    match op {
        SsmOperation::CreateActivation => answer(&activations::create(ctx, request(body)?).await?),
        SsmOperation::DescribeActivations => answer(&activations::describe(&ctx, request(body)?)?),
        SsmOperation::DeleteActivation => answer(&activations::delete(ctx, request(body)?).await?),
    }
}

/// Does an operation of Secrets Manager.
pub(crate) async fn secrets(
    core: &Core,
    caller: &Caller,
    op: SecretsOperation,
    body: &[u8],
) -> Result<Bytes, ApiError> {
    let ctx = Ctx { core, caller, state: core.snapshot() };
    match op {
        SecretsOperation::CreateSecret => answer(&secrets::create(ctx, parse_json(body)?).await?),
        SecretsOperation::DescribeSecret => answer(&secrets::describe(&ctx, &parse_json(body)?)?),
        SecretsOperation::GetSecretValue => answer(&secrets::get(&ctx, &parse_json(body)?)?),
        SecretsOperation::ListSecrets => answer(&secrets::list(&ctx, parse_json(body)?)?),
        SecretsOperation::PutSecretValue => answer(&secrets::put(ctx, parse_json(body)?).await?),
        SecretsOperation::UpdateSecret => answer(&secrets::update(ctx, parse_json(body)?).await?),
        SecretsOperation::DeleteSecret => answer(&secrets::delete(ctx, parse_json(body)?).await?),
        SecretsOperation::RestoreSecret => answer(&secrets::restore(ctx, parse_json(body)?).await?),
    }
}

/// Does an operation of EventBridge Scheduler.
pub(crate) async fn scheduler(
    core: &Core,
    caller: &Caller,
    op: SchedulerOperation,
    body: &[u8],
) -> Result<Bytes, ApiError> {
    let ctx = Ctx { core, caller, state: core.snapshot() };
    let answered = match op {
        SchedulerOperation::CreateSchedule => scheduler::create(ctx, body).await,
        SchedulerOperation::UpdateSchedule => scheduler::update(ctx, body).await,
        SchedulerOperation::GetSchedule => scheduler::get(&ctx, body),
        SchedulerOperation::DeleteSchedule => scheduler::delete(ctx, body).await,
        SchedulerOperation::ListSchedules => scheduler::list(&ctx, body),
        SchedulerOperation::CreateScheduleGroup => scheduler::create_group(ctx, body).await,
        SchedulerOperation::GetScheduleGroup => scheduler::get_group(&ctx, body),
        SchedulerOperation::DeleteScheduleGroup => scheduler::delete_group(ctx, body).await,
        SchedulerOperation::ListScheduleGroups => scheduler::list_groups(&ctx, body),
        SchedulerOperation::TagResource => scheduler::tag(ctx, body).await,
        SchedulerOperation::UntagResource => scheduler::untag(ctx, body).await,
        SchedulerOperation::ListTagsForResource => scheduler::tags(&ctx, body),
    };
    answered.map_err(scheduler::in_its_words)
}
