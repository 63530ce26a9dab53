//! A schedule's target as the request of RunTask that a firing makes. Pure.

use crate::target;
use aws_lc_rs::digest::{SHA256, digest};
use longshore_ecs_api::requests::RunTaskRequest;
use longshore_ecs_api::scheduler::Target;
use longshore_ecs_api::types::TaskOverride;
use longshore_ecs_api::{ApiError, parse_json};
use longshore_model::Timestamp;

/// What stands for the words that Scheduler fills in.
pub(crate) struct Names<'a> {
    /// `<aws.scheduler.schedule-arn>`
    pub(crate) schedule_arn: &'a str,
    /// `<aws.scheduler.scheduled-time>`
    pub(crate) scheduled_time: Timestamp,
    /// `<aws.scheduler.attempt-number>`
    pub(crate) attempt: u32,
}

impl Names<'_> {
    /// `<aws.scheduler.execution-id>`: 16 hexadecimal digits, the same for each try of one firing.
    fn execution_id(&self) -> String {
        let text = format!("{} {}", self.schedule_arn, self.scheduled_time.millis());
        hex::encode(&digest(&SHA256, text.as_bytes()).as_ref()[..8])
    }

    /// `input` with the words filled in. None of them needs an escape in JSON.
    fn fill_in(&self, input: &str) -> String {
        // Scheduler writes times without a fraction.
        let time = Timestamp::from_millis(self.scheduled_time.millis().div_euclid(1000) * 1000).to_string();
        input
            .replace("<aws.scheduler.schedule-arn>", self.schedule_arn)
            .replace("<aws.scheduler.scheduled-time>", &time)
            .replace("<aws.scheduler.execution-id>", &self.execution_id())
            .replace("<aws.scheduler.attempt-number>", &self.attempt.to_string())
    }
}

/// The request for `count` tasks.
///
/// # Errors
/// `SerializationException` when the input is not what RunTask takes as overrides.
pub(crate) fn run_task(target: &Target, count: u32, names: &Names<'_>) -> Result<RunTaskRequest, ApiError> {
    let overrides = target.input.as_deref().filter(|input| !input.trim().is_empty());
    let overrides: Option<TaskOverride> =
        overrides.map(|input| parse_json(names.fill_in(input).as_bytes())).transpose()?;
    let ecs = target.ecs_parameters.clone().unwrap_or_default();
    Ok(target::run_task(target.arn.clone(), ecs, i32::try_from(count).ok(), overrides))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_filled_in_and_what_is_no_override_is_refused() {
        let names = Names {
            schedule_arn: "arn:aws:scheduler:lab:1:schedule/default/x",
            scheduled_time: Timestamp::from_millis(1_774_596_600_500),
            attempt: 2,
        };
        let input = r#"{"containerOverrides": [{"name": "app", "command": ["<aws.scheduler.scheduled-time>",
            "<aws.scheduler.attempt-number>", "<aws.scheduler.execution-id>", "<aws.scheduler.schedule-arn>"]}]}"#;
        let target = Target { input: Some(input.to_owned()), ..Target::default() };
        let request = run_task(&target, 2, &names).expect("good");
        let command = request.overrides.and_then(|o| o.container_overrides).expect("overrides")[0].command.clone();
        let command = command.expect("a command");
        assert_eq!((command[0].as_str(), command[1].as_str()), ("2026-03-27T07:30:00Z", "2"));
        assert!(command[2].len() == 16 && command[3].ends_with("/default/x"), "{command:?}");
        for input in ["[]", "{", r#"{"containerOverrides": 1}"#] {
            let target = Target { input: Some(input.to_owned()), ..Target::default() };
            assert!(run_task(&target, 1, &names).is_err(), "{input}");
        }
    }
}
