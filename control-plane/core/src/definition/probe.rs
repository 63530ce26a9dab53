//! Health probes by the agent, asked for by labels.

use super::checks::{at, mistake};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::types::ContainerDefinition;
use longshore_model::Probe;

pub(super) fn check(container: &ContainerDefinition, index: usize) -> Result<(), ApiError> {
    let Some(labels) = &container.docker_labels else { return Ok(()) };
    let labels = labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let probe = Probe::of(&labels).map_err(|why| mistake(at(index, &format!("dockerLabels.{why}"))))?;
    let command = container.health_check.as_ref().and_then(|check| check.command.as_ref()?.first());
    match (probe, command) {
        (Some(_), Some(kind)) if kind != "NONE" => {
            let field = at(index, "healthCheck");
            Err(mistake(format!("{field} must not be there beside a probe by labels (longshore.health.http or .tcp).")))
        }
        (Some(_), _) if container.disable_networking == Some(true) => {
            let field = at(index, "dockerLabels");
            Err(mistake(format!("{field}: a container with disableNetworking cannot be probed (longshore.health).")))
        }
        (_, _) => Ok(()),
    }
}

/// The probe of a container whose labels were checked.
pub(super) fn of(container: &ContainerDefinition) -> Option<Probe> {
    let labels = container.docker_labels.as_ref()?;
    Probe::of(&labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect()).ok().flatten()
}
