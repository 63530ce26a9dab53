//! How a container is looked after.

use super::{Fault, FieldError, enumeration, id, wire_enum};
use crate::v1;
use longshore_model::{Backoff, ContainerName, ContainerSpec, Dependency, HealthCheck, RestartPolicy};

wire_enum!(ContainerCondition <=> ContainerCondition {
    Start = Start,
    Complete = Complete,
    Success = Success,
    Healthy = Healthy,
});

impl From<Dependency> for v1::Dependency {
    fn from(dependency: Dependency) -> Self {
        let condition = v1::ContainerCondition::from(dependency.condition).into();
        Self { container: dependency.container.into(), condition }
    }
}

impl TryFrom<v1::Dependency> for Dependency {
    type Error = FieldError;

    fn try_from(dependency: v1::Dependency) -> Result<Self, FieldError> {
        Ok(Self {
            container: id("container", ContainerName::new(dependency.container))?,
            condition: enumeration::<v1::ContainerCondition, _>("condition", dependency.condition)?,
        })
    }
}

impl From<RestartPolicy> for v1::RestartPolicy {
    fn from(policy: RestartPolicy) -> Self {
        let backoff = |b: Backoff| v1::Backoff { first_secs: b.first_secs, longest_secs: b.longest_secs };
        Self {
            ignored_exit_codes: policy.ignored_exit_codes,
            attempt_period_secs: policy.attempt_period_secs,
            backoff: policy.backoff.map(backoff),
            when_unhealthy: policy.when_unhealthy,
        }
    }
}

impl TryFrom<v1::RestartPolicy> for RestartPolicy {
    type Error = FieldError;

    fn try_from(policy: v1::RestartPolicy) -> Result<Self, FieldError> {
        if policy.backoff.as_ref().is_some_and(|b| b.first_secs == 0 || b.longest_secs < b.first_secs) {
            let rule = "must begin with at least 1 s and not end below that";
            return Err(FieldError::new("backoff", Fault::Rule(rule)));
        }
        let backoff = |b: v1::Backoff| Backoff { first_secs: b.first_secs, longest_secs: b.longest_secs };
        Ok(Self {
            ignored_exit_codes: policy.ignored_exit_codes,
            attempt_period_secs: policy.attempt_period_secs,
            backoff: policy.backoff.map(backoff),
            when_unhealthy: policy.when_unhealthy,
        })
    }
}

/// Whatever a container depends on is there, and none waits for itself over others, be it by dependencies, links or
/// volumes of others: such a task would wait for ever.
pub(super) fn check_order(containers: &[ContainerSpec]) -> Result<(), FieldError> {
    for (i, container) in containers.iter().enumerate() {
        for (j, dependency) in container.lifecycle.depends_on.iter().enumerate() {
            if !containers.iter().any(|other| other.name == dependency.container) {
                let place = format!("containers[{i}].depends_on[{j}].container");
                return Err(FieldError::new(place, Fault::Dangling(dependency.container.to_string())));
            }
        }
    }
    // Takes away what waits for nothing that is left; what stays waits in a circle.
    let mut left: Vec<&ContainerSpec> = containers.iter().collect();
    loop {
        let names: Vec<&ContainerName> = left.iter().map(|&container| &container.name).collect();
        let before = left.len();
        left.retain(|container| waits_for(container).any(|name| names.contains(&name)));
        if left.is_empty() {
            return Ok(());
        }
        if left.len() == before {
            return Err(FieldError::new(
                "containers",
                Fault::Rule("wait for each other in a circle (depends_on, links, volumes_from)"),
            ));
        }
    }
}

fn waits_for(container: &ContainerSpec) -> impl Iterator<Item = &ContainerName> {
    let depends_on = container.lifecycle.depends_on.iter().map(|dependency| &dependency.container);
    let links = container.links.iter().map(|link| &link.container);
    let sources = container.volumes_from.iter().map(|from| &from.container);
    depends_on.chain(links).chain(sources)
}

impl From<HealthCheck> for v1::HealthCheck {
    fn from(check: HealthCheck) -> Self {
        Self {
            command: check.command,
            interval_secs: check.interval_secs,
            timeout_secs: check.timeout_secs,
            retries: check.retries,
            start_period_secs: check.start_period_secs,
        }
    }
}

impl TryFrom<v1::HealthCheck> for HealthCheck {
    type Error = FieldError;

    fn try_from(check: v1::HealthCheck) -> Result<Self, FieldError> {
        let sound = match check.command.first().map(String::as_str) {
            Some("CMD" | "CMD-SHELL") => check.command.len() > 1,
            Some("NONE") => check.command.len() == 1,
            Some(_) | None => false,
        };
        if !sound {
            let rule = "must be CMD or CMD-SHELL and what to run, or NONE alone";
            return Err(FieldError::new("command", Fault::Rule(rule)));
        }
        Ok(Self {
            command: check.command,
            interval_secs: check.interval_secs,
            timeout_secs: check.timeout_secs,
            retries: check.retries,
            start_period_secs: check.start_period_secs,
        })
    }
}
