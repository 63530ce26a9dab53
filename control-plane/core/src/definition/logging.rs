//! Where a container's output goes.

use super::checks::{at, given, mistake};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::LogDriver;
use longshore_ecs_api::types::ContainerDefinition;

pub(super) fn check(container: &ContainerDefinition, index: usize) -> Result<(), ApiError> {
    let Some(log) = &container.log_configuration else {
        return Ok(());
    };
    let option = |name: &str| log.options.as_ref().and_then(|options| given(options.get(name)));
    match &log.log_driver {
        None => Err(mistake(format!("{} should not be null or empty.", at(index, "logConfiguration.logDriver")))),
        Some(LogDriver::Other(_)) => Err(mistake(format!(
            "{} must be one of [{}].",
            at(index, "logConfiguration.logDriver"),
            LogDriver::ALL.iter().map(LogDriver::as_str).collect::<Vec<_>>().join(", ")
        ))),
        Some(LogDriver::Awslogs) => {
            let absent: Vec<&str> =
                ["awslogs-region", "awslogs-group"].into_iter().filter(|name| option(name).is_none()).collect();
            if absent.is_empty() {
                return Ok(());
            }
            Err(mistake(format!("Log driver awslogs requires options: {}", absent.join(", "))))
        }
        Some(
            LogDriver::JsonFile
            | LogDriver::Syslog
            | LogDriver::Journald
            | LogDriver::Gelf
            | LogDriver::Fluentd
            | LogDriver::Splunk
            | LogDriver::Awsfirelens,
        ) => Ok(()),
    }
}
