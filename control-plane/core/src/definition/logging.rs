//! Where a container's output goes.

use super::checks::{at, given, mistake};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::LogDriver;
use longshore_ecs_api::types::ContainerDefinition;
use longshore_model::{DATETIME_FORMAT, EventStart, MULTILINE_PATTERN, Region};
use std::collections::HashMap;

/// Options of `awslogs` that are honoured.
const AWSLOGS: [&str; 8] = [
    "awslogs-group",
    "awslogs-region",
    "awslogs-stream-prefix",
    "awslogs-create-group",
    DATETIME_FORMAT,
    MULTILINE_PATTERN,
    "mode",
    "max-buffer-size",
];

/// Which keeps no output. Every engine has it, the user guide names it, and the service model does not.
const NONE: &str = "none";

/// Whether a container's log options make events of several lines.
pub(super) fn joins_lines(container: &ContainerDefinition) -> bool {
    let log = container.log_configuration.iter().filter(|log| log.log_driver == Some(LogDriver::Awslogs));
    let given = |(name, value): (&String, &String)| {
        [DATETIME_FORMAT, MULTILINE_PATTERN].contains(&name.as_str()) && !value.is_empty()
    };
    log.flat_map(|log| log.options.iter().flatten()).any(given)
}

pub(super) fn check(container: &ContainerDefinition, index: usize) -> Result<(), ApiError> {
    let Some(log) = &container.log_configuration else {
        return Ok(());
    };
    let option = |name: &str| log.options.as_ref().and_then(|options| given(options.get(name)));
    match &log.log_driver {
        None => Err(mistake(format!("{} should not be null or empty.", at(index, "logConfiguration.logDriver")))),
        Some(LogDriver::Other(name)) if name == NONE => Ok(()),
        Some(LogDriver::Other(_)) => Err(mistake(format!(
            "{} must be one of [{}].",
            at(index, "logConfiguration.logDriver"),
            LogDriver::ALL.iter().map(LogDriver::as_str).chain([NONE]).collect::<Vec<_>>().join(", ")
        ))),
        Some(LogDriver::Awslogs) => {
            let absent: Vec<&str> =
                ["awslogs-region", "awslogs-group"].into_iter().filter(|name| option(name).is_none()).collect();
            if !absent.is_empty() {
                return Err(mistake(format!("Log driver awslogs requires options: {}", absent.join(", "))));
            }
            let options = log.options.iter().flatten();
            awslogs(options.map(|(name, value)| (name.as_str(), value.as_str())).collect(), index)
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

/// The options of `awslogs`: what agents do not honour is refused by its name.
fn awslogs(options: HashMap<&str, &str>, index: usize) -> Result<(), ApiError> {
    let field = |name: &str| at(index, &format!("logConfiguration.options.{name}"));
    let mut names: Vec<&&str> = options.keys().collect();
    names.sort();
    if let Some(name) = names.into_iter().find(|name| !AWSLOGS.contains(*name)) {
        return Err(mistake(format!(
            "{} is not supported yet by this version of Longshore; remove it to register the task definition.",
            field(name)
        )));
    }
    let wrong = |name: &str, rule: &str| Err(mistake(format!("{} {rule}.", field(name))));
    let option = |name: &str| options.get(name).copied().filter(|value| !value.is_empty());
    if option("awslogs-region").is_some_and(|region| Region::new(region).is_err()) {
        return wrong("awslogs-region", "must be the name of a region, such as eu-west-1");
    }
    let is_group = |c: u8| c.is_ascii_alphanumeric() || b"._-/#".contains(&c);
    if option("awslogs-group").is_some_and(|group| group.len() > 512 || !group.bytes().all(is_group)) {
        return wrong(
            "awslogs-group",
            "must have at most 512 letters, digits and the characters `.`, `_`, `-`, `/`, `#`",
        );
    }
    // The stream's name has the container's name and the task's id besides.
    let is_stream = |c: char| c != ':' && c != '*' && !c.is_control();
    if option("awslogs-stream-prefix").is_some_and(|p| p.chars().count() > 200 || !p.chars().all(is_stream)) {
        return wrong("awslogs-stream-prefix", "must have at most 200 characters, none of them `:` or `*`");
    }
    if option("awslogs-create-group").is_some_and(|value| !["true", "false"].contains(&value)) {
        return wrong("awslogs-create-group", "must be true or false");
    }
    let lines = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    if let Err(error) = EventStart::of(&lines) {
        return Err(mistake(format!("{}.", field(&error.to_string()))));
    }
    if option("mode").is_some_and(|mode| !["blocking", "non-blocking"].contains(&mode)) {
        return wrong("mode", "must be blocking or non-blocking");
    }
    if option("max-buffer-size").is_some_and(|size| !is_size(size)) {
        return wrong("max-buffer-size", "must be a number of bytes with an optional k, m or g, such as 25m");
    }
    Ok(())
}

/// A size as Docker writes it.
fn is_size(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let digits = text.strip_suffix(['k', 'm', 'g']).unwrap_or(text);
    (1..=12).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}
