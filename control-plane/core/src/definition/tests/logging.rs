//! Where logs go.

use super::{app, refused, stored};
use serde_json::{Value, json};

/// A patch with one more option of the log driver awslogs.
fn awslogs(option: &str, value: &str) -> Value {
    let mut options = json!({"awslogs-region": "lab-1", "awslogs-group": "/ecs/app"});
    options[option] = value.into();
    app(json!({"logConfiguration": {"logDriver": "awslogs", "options": options}}))
}

#[test]
fn the_options_of_awslogs_are_kept_and_ask_for_a_host_that_ships_logs() {
    let options = json!({
        "awslogs-region": "lab-1", "awslogs-group": "/ecs/app", "awslogs-stream-prefix": "web",
        "awslogs-create-group": "true", "awslogs-multiline-pattern": "^\\d", "mode": "non-blocking",
        "max-buffer-size": "25m",
    });
    let asked = app(json!({"logConfiguration": {"logDriver": "awslogs", "options": options}}));
    let definition = stored(&asked);
    assert_eq!(definition["containerDefinitions"][0]["logConfiguration"]["options"], options);
    let attributes = definition["requiresAttributes"].as_array().expect("a list");
    let asks = |list: &[Value], wanted: &str| list.iter().any(|attribute| attribute["name"] == wanted);
    for wanted in ["com.amazonaws.ecs.capability.logging-driver.awslogs", "longshore.awslogs-multiline"] {
        assert!(asks(attributes, wanted), "{attributes:?}");
    }
    let plain = stored(&awslogs("awslogs-multiline-pattern", ""));
    let attributes = plain["requiresAttributes"].as_array().expect("a list");
    assert!(!asks(attributes, "longshore.awslogs-multiline"), "an option without a value is none: {attributes:?}");
}

#[test]
fn log_drivers_and_their_options() {
    refused(&[
        (
            app(json!({"logConfiguration": {"logDriver": "paper"}})),
            "containerDefinitions[0].logConfiguration.logDriver must be one of [json-file, syslog, journald, gelf, \
             fluentd, awslogs, splunk, awsfirelens, none].",
        ),
        (
            app(json!({"logConfiguration": {"logDriver": "awslogs"}})),
            "Log driver awslogs requires options: awslogs-region, awslogs-group",
        ),
        (
            awslogs("awslogs-region", "Not A Region"),
            "containerDefinitions[0].logConfiguration.options.awslogs-region must be the name of a region, such as \
             eu-west-1.",
        ),
        (
            awslogs("awslogs-group", "a b"),
            "containerDefinitions[0].logConfiguration.options.awslogs-group must have at most 512 letters, digits and \
             the characters `.`, `_`, `-`, `/`, `#`.",
        ),
        (
            awslogs("awslogs-stream-prefix", "a:b"),
            "containerDefinitions[0].logConfiguration.options.awslogs-stream-prefix must have at most 200 characters, \
             none of them `:` or `*`.",
        ),
        (
            awslogs("awslogs-create-group", "yes"),
            "containerDefinitions[0].logConfiguration.options.awslogs-create-group must be true or false.",
        ),
        (
            awslogs("mode", "slow"),
            "containerDefinitions[0].logConfiguration.options.mode must be blocking or non-blocking.",
        ),
        (
            awslogs("max-buffer-size", "much"),
            "containerDefinitions[0].logConfiguration.options.max-buffer-size must be a number of bytes with an \
             optional k, m or g, such as 25m.",
        ),
        (
            awslogs("awslogs-multiline-pattern", "(a"),
            "containerDefinitions[0].logConfiguration.options.awslogs-multiline-pattern: not a regular expression: \
             unclosed group.",
        ),
        (
            awslogs("awslogs-datetime-format", "%Q"),
            "containerDefinitions[0].logConfiguration.options.awslogs-datetime-format: `%Q` is no part of a date that \
             is known.",
        ),
        (
            app(json!({"logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-region": "r-1", "awslogs-group": "g", "awslogs-datetime-format": "%Y",
                "awslogs-multiline-pattern": "^x"}}})),
            "containerDefinitions[0].logConfiguration.options.awslogs-datetime-format and awslogs-multiline-pattern \
             cannot be given at the same time.",
        ),
    ]);
}
