//! Application Auto Scaling through boto3's `application-autoscaling`, the `aws` command and `longshore top`: a service
//! whose tasks burn real CPU is scaled out and in, by a target and by a step, and a scheduled action moves its bounds.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use longshore_tests::lab::{ApiError, Lab, LabConfig, wait_for, wait_until};
use serde_json::{Value, json};

use super::command::{longshore, ok};
use super::support::*;

fn scaling(lab: &Lab, op: &str, more: Value) -> Result<Value, ApiError> {
    let mut args = json!({"ServiceNamespace": "ecs"});
    merge(&mut args, more);
    lab.call("application-autoscaling", op, args).unwrap()
}

fn about(more: Value) -> Value {
    let mut args = json!({"ResourceId": "service/default/burn", "ScalableDimension": "ecs:service:DesiredCount"});
    merge(&mut args, more);
    args
}

fn desired(lab: &Lab) -> Result<i64> {
    let shown = lab.ecs("describe_services", json!({"services": ["burn"]}))?;
    Ok(shown["services"][0]["desiredCount"].as_i64().unwrap_or(-1))
}

/// A load that crosses the bound of an alarm, which is a tag of the target, scales the quiet service out by a step.
fn a_step_follows_its_alarm(lab: &Lab, switch: &Path, target: &Value) {
    let policy = about(json!({"PolicyName": "busy", "PolicyType": "StepScaling", "StepScalingPolicyConfiguration": {
        "AdjustmentType": "ChangeInCapacity", "Cooldown": 300,
        "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}]}}));
    scaling(lab, "put_scaling_policy", policy).unwrap();
    let alarm = "CPUUtilization above 60";
    let tags = json!({"ResourceARN": target, "Tags": {"longshore:alarm:busy": alarm}});
    lab.call("application-autoscaling", "tag_resource", tags).unwrap().unwrap();
    let shown = scaling(lab, "describe_scaling_policies", about(json!({}))).unwrap();
    assert_eq!(shown["ScalingPolicies"][0]["Alarms"][0]["AlarmName"], alarm, "{shown}");
    fs::write(switch.join("on"), "").unwrap();
    wait_until("a step is taken", Duration::from_secs(40), || Ok(desired(lab)? == 2)).unwrap();
    let did = scaling(lab, "describe_scaling_activities", about(json!({}))).unwrap();
    let cause = did["ScalingActivities"][0]["Cause"].as_str().unwrap();
    assert!(cause.contains("policy busy: CPUUtilization was") && cause.ends_with("not below 60.0 %"), "{cause}");
}

#[test]
fn a_service_follows_the_cpu_of_its_tasks_and_the_clock() {
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"1s\"\n".to_owned();
    let control = "service_healthy_after_secs = 0\nscaling_period_secs = 2\n".to_owned();
    let lab = networked(LabConfig { agent, control, ..LabConfig::default() });
    let switch = lab.nodes()[0].host.dir().join("burn");
    fs::create_dir_all(&switch).unwrap();
    fs::write(switch.join("on"), "").unwrap();
    // A tenth of a core is reserved; about twice as much is burnt while the file is there, and next to nothing without.
    let script = "while :; do if [ -e /switch/on ]; then i=0; while [ $i -lt 8000 ]; do i=$((i+1)); done; sleep 0.05; \
                  else sleep 0.5; fi; done";
    let container = json!([{"name": "main", "image": "busybox", "memory": 16, "cpu": 102, "stopTimeout": 1,
        "command": ["sh", "-c", script],
        "mountPoints": [{"sourceVolume": "switch", "containerPath": "/switch", "readOnly": true}]}]);
    let volumes = json!({"volumes": [{"name": "switch", "host": {"sourcePath": switch}}]});
    let burn = register(&lab, "burn", container, volumes);

    // What cannot be is refused in the service's words.
    let register_args = about(json!({"MinCapacity": 1, "MaxCapacity": 3}));
    let error = scaling(&lab, "register_scalable_target", register_args.clone()).unwrap_err();
    assert_eq!(error.code, "ValidationException");
    assert!(error.message.contains("ECS service doesn't exist: service/default/burn"), "{error}");
    lab.ecs("create_service", json!({"serviceName": "burn", "taskDefinition": burn, "desiredCount": 1})).unwrap();
    let policy = |target: f64| {
        about(json!({"PolicyName": "half", "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": {
                "TargetValue": target, "ScaleOutCooldown": 6, "ScaleInCooldown": 1,
                "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}}}))
    };
    let error = scaling(&lab, "put_scaling_policy", policy(20.0)).unwrap_err();
    assert_eq!(error.code, "ObjectNotFoundException", "{error}");
    let wrong = about(json!({"MinCapacity": 4, "MaxCapacity": 3}));
    assert_eq!(scaling(&lab, "register_scalable_target", wrong).unwrap_err().code, "ValidationException");

    let made = scaling(&lab, "register_scalable_target", register_args).unwrap();
    assert!(made["ScalableTargetARN"].as_str().unwrap().contains(":scalable-target/"), "{made}");
    lab.wait_ecs("services_stable", json!({"services": ["burn"]})).unwrap();
    let put = scaling(&lab, "put_scaling_policy", policy(20.0)).unwrap();
    assert!(put["PolicyARN"].as_str().unwrap().ends_with(":policyName/half"), "{put}");

    wait_until("the service is scaled out", Duration::from_secs(40), || Ok(desired(&lab)? == 3)).unwrap();
    // Everybody can see why.
    let top = wait_for("figures of three tasks", Duration::from_secs(20), || {
        let text = ok(&longshore(&lab, &["top"]));
        let with_figures = text.lines().filter(|line| line.contains("service:burn") && line.ends_with("MiB")).count();
        Ok((with_figures == 3).then_some(text))
    })
    .unwrap();
    assert!(top.contains("CPU%") && top.contains("burn:1"), "{top}");
    let looked: Value = serde_json::from_str(&ok(&longshore(&lab, &["top", "--once", "--json"]))).unwrap();
    assert_eq!(looked["containerInstances"][0]["attachments"][0]["type"], "longshore.usage", "{looked}");

    // In, once it is quiet.
    fs::remove_file(switch.join("on")).unwrap();
    wait_until("the service is scaled in", Duration::from_secs(40), || Ok(desired(&lab)? == 1)).unwrap();
    let did = scaling(&lab, "describe_scaling_activities", about(json!({}))).unwrap();
    let did = did["ScalingActivities"].as_array().unwrap();
    assert!(did[0]["Cause"].as_str().unwrap().contains("policy half: CPUUtilization was"), "{did:?}");
    assert!(did.iter().all(|one| one["StatusCode"] == "Successful"), "{did:?}");

    scaling(&lab, "delete_scaling_policy", about(json!({"PolicyName": "half"}))).unwrap();
    a_step_follows_its_alarm(&lab, &switch, &made["ScalableTargetARN"]);

    // The clock moves the bounds, and the count with them.
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 2;
    let out = std::process::Command::new("date").args(["-u", "-d", &format!("@{soon}"), "+%Y-%m-%dT%H:%M:%S"]).output();
    let at = format!("at({})", String::from_utf8(out.unwrap().stdout).unwrap().trim());
    let action = |schedule: &str| {
        about(json!({"ScheduledActionName": "night", "Schedule": schedule,
            "ScalableTargetAction": {"MinCapacity": 3, "MaxCapacity": 3}}))
    };
    assert_eq!(scaling(&lab, "put_scheduled_action", action("at(soon)")).unwrap_err().code, "ValidationException");
    scaling(&lab, "put_scheduled_action", action(&at)).unwrap();
    wait_until("the action has fired", Duration::from_secs(20), || Ok(desired(&lab)? == 3)).unwrap();
    let aws =
        ["application-autoscaling", "describe-scalable-targets", "--service-namespace", "ecs", "--output", "json"];
    let shown: Value = serde_json::from_str(&ok(&lab.aws(&aws).unwrap())).unwrap();
    let target = &shown["ScalableTargets"][0];
    assert_eq!((target["MinCapacity"].as_i64(), target["MaxCapacity"].as_i64()), (Some(3), Some(3)), "{shown}");
    scaling(&lab, "delete_scheduled_action", about(json!({"ScheduledActionName": "night"}))).unwrap();
    scaling(&lab, "delete_scaling_policy", about(json!({"PolicyName": "busy"}))).unwrap();
    scaling(&lab, "deregister_scalable_target", about(json!({}))).unwrap();
    let none = scaling(&lab, "deregister_scalable_target", about(json!({}))).unwrap_err();
    assert_eq!(none.code, "ObjectNotFoundException", "{none}");
}
