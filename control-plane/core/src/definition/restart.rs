//! Restart policies: ECS's `restartPolicy`, and two labels by which a container asks for more than it has.

use super::checks::{at, at_most, mistake, range};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::types::ContainerDefinition;
use longshore_model::{Backoff, RestartPolicy};

/// `FIRST-LONGEST`, seconds to wait before a restart.
const BACKOFF: &str = "longshore.restart.backoff";
/// `true` or `false`: whether an unhealthy container is restarted.
const UNHEALTHY: &str = "longshore.restart.unhealthy";
/// Seconds that a wait of a back-off may be long.
const WAITS: std::ops::RangeInclusive<u32> = 1..=3600;
/// ECS's default of `restartAttemptPeriod`, in seconds.
const PERIOD: i32 = 300;

/// Whether a label is one of these two.
pub(super) fn is_label(key: &str) -> bool {
    matches!(key, BACKOFF | UNHEALTHY)
}

pub(super) fn check(container: &ContainerDefinition, index: usize) -> Result<(), ApiError> {
    if let Some(policy) = &container.restart_policy {
        let field = |name: &str| at(index, &format!("restartPolicy.{name}"));
        if policy.enabled.is_none() {
            return Err(mistake(format!("{} should not be null.", field("enabled"))));
        }
        at_most(policy.ignored_exit_codes.as_ref(), 50, || field("ignoredExitCodes"))?;
        range(policy.restart_attempt_period, 60..=1800, || field("restartAttemptPeriod"))?;
    }
    for (key, value) in container.docker_labels.iter().flatten().filter(|(key, _)| is_label(key)) {
        let field = at(index, &format!("dockerLabels.{key}"));
        if policy(container).is_none() {
            return Err(mistake(format!("{field} needs a restartPolicy that is enabled.")));
        }
        if key == BACKOFF && backoff(value).is_none() {
            let (least, most) = (*WAITS.start(), *WAITS.end());
            return Err(mistake(format!(
                "{field} must be the first and the longest wait in seconds, from {least} to {most}, like 1-300."
            )));
        }
        if key == UNHEALTHY && !matches!(value.as_str(), "true" | "false") {
            return Err(mistake(format!("{field} must be true or false.")));
        }
    }
    Ok(())
}

fn backoff(text: &str) -> Option<Backoff> {
    let (first, longest) = text.split_once('-')?;
    let secs = |text: &str| text.parse::<u32>().ok().filter(|secs| WAITS.contains(secs));
    let backoff = Backoff { first_secs: secs(first)?, longest_secs: secs(longest)? };
    (backoff.first_secs <= backoff.longest_secs).then_some(backoff)
}

/// The policy of a container that has one and has it switched on.
pub(crate) fn policy(container: &ContainerDefinition) -> Option<RestartPolicy> {
    let policy = container.restart_policy.as_ref().filter(|policy| policy.enabled == Some(true))?;
    let label = |key: &str| container.docker_labels.as_ref().and_then(|labels| labels.get(key));
    Some(RestartPolicy {
        ignored_exit_codes: policy.ignored_exit_codes.clone().unwrap_or_default(),
        attempt_period_secs: policy.restart_attempt_period.unwrap_or(PERIOD).unsigned_abs(),
        backoff: label(BACKOFF).and_then(|text| backoff(text)),
        when_unhealthy: label(UNHEALTHY).is_some_and(|text| text == "true"),
    })
}
