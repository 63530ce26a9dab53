//! Task sets.

use crate::records::{RolloutState, Service, ServiceTaskSet, TaskSetStatus};
use crate::show::deployment::{cluster_arn, part_arn, service_arn};
use crate::show::service::{definition, task_numbers};
use crate::show::{count, tags, time};
use crate::state::State;
use longshore_ecs_api::enums::{ScaleUnit, StabilityStatus};
use longshore_ecs_api::types;
use longshore_model::AccountId;
use longshore_model::arn::ServicePart;

/// A task set, with its tags if they are wanted.
pub(crate) fn task_set(
    account: &AccountId,
    state: &State,
    service: &Service,
    set: &ServiceTaskSet,
    with_tags: bool,
) -> types::TaskSet {
    let deployment = &set.deployment;
    let desired = set.desired(service.desired);
    let tasks = task_numbers(state, service, deployment, false);
    let is_steady = deployment.state == RolloutState::Completed && tasks.running == desired && tasks.pending == 0;
    types::TaskSet {
        id: Some(deployment.id.to_string()),
        task_set_arn: Some(part_arn(account, &service.key, ServicePart::TaskSet, &deployment.id)),
        service_arn: Some(service_arn(account, &service.key)),
        cluster_arn: Some(cluster_arn(account, &service.key)),
        external_id: set.external_id.clone(),
        status: Some(
            match set.status {
                TaskSetStatus::Primary => "PRIMARY",
                TaskSetStatus::Active => "ACTIVE",
                TaskSetStatus::Draining => "DRAINING",
            }
            .to_owned(),
        ),
        task_definition: Some(definition(account, &deployment.revision)),
        computed_desired_count: count(desired),
        running_count: count(tasks.running),
        pending_count: count(tasks.pending),
        created_at: Some(time(deployment.created_at)),
        updated_at: Some(time(deployment.updated_at)),
        launch_type: Some(deployment.revision.launch_type.clone()),
        network_configuration: deployment.revision.network.as_deref().cloned(),
        load_balancers: Some(Vec::new()),
        service_registries: Some(Vec::new()),
        scale: Some(types::Scale { value: Some(set.scale), unit: Some(ScaleUnit::Percent) }),
        stability_status: Some(if is_steady { StabilityStatus::SteadyState } else { StabilityStatus::Stabilizing }),
        stability_status_at: Some(time(set.stability_at)),
        tags: with_tags.then(|| tags(&set.tags)),
        ..types::TaskSet::default()
    }
}
