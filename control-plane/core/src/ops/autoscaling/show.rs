//! How what scales services is shown.

use crate::records::{ScalingActivity, ScalingKind, ScalingPolicy, ScalingTarget, ScheduledAction};
use crate::scaler::{ALARM_TAG, alarm};
use longshore_ecs_api::EpochSeconds;
use longshore_ecs_api::autoscaling::{Action, Activity, Alarm, Policy, ScalableTarget, SuspendedState, TargetAction};
use longshore_model::{AccountId, Timestamp};

const NAMESPACE: &str = "ecs";
const DIMENSION: &str = "ecs:service:DesiredCount";

fn time(at: Timestamp) -> EpochSeconds {
    EpochSeconds::from_millis(at.millis())
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub(super) fn target(account: &AccountId, target: &ScalingTarget) -> ScalableTarget {
    let linked = "ecs.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_ECSService";
    let role = || format!("arn:aws:iam::{account}:role/aws-service-role/{linked}");
    let SuspendedState {
        dynamic_scaling_in_suspended: less,
        dynamic_scaling_out_suspended: more,
        scheduled_scaling_suspended: scheduled,
    } = target.suspended;
    ScalableTarget {
        service_namespace: text(NAMESPACE),
        resource_id: Some(target.resource_id()),
        scalable_dimension: text(DIMENSION),
        min_capacity: Some(target.min),
        max_capacity: Some(target.max),
        role_arn: Some(target.role_arn.clone().unwrap_or_else(role)),
        creation_time: Some(time(target.created_at)),
        suspended_state: Some(SuspendedState {
            dynamic_scaling_in_suspended: Some(less.unwrap_or(false)),
            dynamic_scaling_out_suspended: Some(more.unwrap_or(false)),
            scheduled_scaling_suspended: Some(scheduled.unwrap_or(false)),
        }),
        scalable_target_arn: Some(target.arn(account)),
    }
}

pub(super) fn policy(account: &AccountId, target: &ScalingTarget, name: &str, policy: &ScalingPolicy) -> Policy {
    let region = &target.key.cluster.region;
    let (kind, tracking, steps) = match &policy.kind {
        ScalingKind::Track(tracking) => ("TargetTrackingScaling", Some(tracking.clone()), None),
        ScalingKind::Steps(steps) => ("StepScaling", None, Some(steps.clone())),
    };
    let resource = target.resource_id();
    let id = policy.id;
    // There is no CloudWatch: the alarm of a step policy is a tag of its target, and is shown as that.
    let alarms = steps.as_ref().and_then(|_| alarm(target, name)).and_then(|_| {
        let value = target.tags.get(&format!("{ALARM_TAG}{name}"))?.clone();
        Some(Alarm {
            alarm_arn: Some(format!("arn:aws:cloudwatch:{region}:{account}:alarm:{value}")),
            alarm_name: Some(value),
        })
    });
    Policy {
        policy_arn: Some(format!(
            "arn:aws:autoscaling:{region}:{account}:scalingPolicy:{id}:resource/ecs/{resource}:policyName/{name}"
        )),
        policy_name: text(name),
        service_namespace: text(NAMESPACE),
        resource_id: Some(resource),
        scalable_dimension: text(DIMENSION),
        policy_type: text(kind),
        target_tracking_scaling_policy_configuration: tracking,
        step_scaling_policy_configuration: steps,
        predictive_scaling_policy_configuration: None,
        alarms: Some(alarms.into_iter().collect()),
        creation_time: Some(time(policy.created_at)),
    }
}

pub(super) fn action(account: &AccountId, target: &ScalingTarget, name: &str, action: &ScheduledAction) -> Action {
    let (region, resource, id) = (&target.key.cluster.region, target.resource_id(), action.id);
    let count = |bound: Option<u32>| bound.and_then(|bound| i32::try_from(bound).ok());
    Action {
        scheduled_action_name: text(name),
        scheduled_action_arn: Some(format!(
            "arn:aws:autoscaling:{region}:{account}:scheduledAction:{id}:resource/ecs/{resource}:\
             scheduledActionName/{name}"
        )),
        service_namespace: text(NAMESPACE),
        schedule: text(&action.schedule),
        timezone: text(&action.zone),
        resource_id: Some(resource),
        scalable_dimension: text(DIMENSION),
        start_time: action.start.map(time),
        end_time: action.end.map(time),
        scalable_target_action: Some(TargetAction { min_capacity: count(action.min), max_capacity: count(action.max) }),
        creation_time: Some(time(action.created_at)),
    }
}

pub(super) fn activity(target: &ScalingTarget, did: &ScalingActivity) -> Activity {
    let ScalingActivity { id, at, description, cause, failure } = did;
    let done = || format!("Successfully {}. Change successfully fulfilled by ecs.", lowered(description));
    Activity {
        activity_id: Some(id.to_string()),
        service_namespace: text(NAMESPACE),
        resource_id: Some(target.resource_id()),
        scalable_dimension: text(DIMENSION),
        description: text(description),
        cause: text(cause),
        start_time: Some(time(*at)),
        end_time: Some(time(*at)),
        status_code: text(if failure.is_some() { "Failed" } else { "Successful" }),
        status_message: Some(
            failure.as_ref().map_or_else(done, |why| format!("Failed to {}. {why}", lowered(description))),
        ),
    }
}

/// `Setting desired count to 3.` as `set desired count to 3`.
fn lowered(description: &str) -> String {
    description.trim_end_matches('.').replacen("Setting", "set", 1)
}
