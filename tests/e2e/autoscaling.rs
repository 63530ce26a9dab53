//! Application Auto Scaling through boto3's `application-autoscaling`, the `aws` command and `longshore top`: a service
//! whose tasks burn real CPU is scaled out and in, by a target and by a step, and a scheduled action moves its bounds.
//! Beside it is one whose tasks fill their memory.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use longshore_tests::lab::{ApiError, Lab, LabConfig, wait_for, wait_until};
use serde_json::{Value, json};

use super::command::{longshore, ok};
use super::exec::play;
use super::support::*;

fn scaling(lab: &Lab, op: &str, more: Value) -> Result<Value, ApiError> {
    let mut args = json!({"ServiceNamespace": "ecs"});
    merge(&mut args, more);
    lab.call("application-autoscaling", op, args).unwrap()
}

fn about(more: Value) -> Value {
    about_service("burn", more)
}

fn about_service(name: &str, more: Value) -> Value {
    let resource = format!("service/default/{name}");
    let mut args = json!({"ResourceId": resource, "ScalableDimension": "ecs:service:DesiredCount"});
    merge(&mut args, more);
    args
}

/// A policy that keeps the average of `metric`, `CPU` or `Memory`, at a target.
fn tracking(name: &str, metric: &str, target: f64) -> Value {
    let predefined = json!({"PredefinedMetricType": format!("ECSServiceAverage{metric}Utilization")});
    json!({"PolicyName": name, "PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": {
        "TargetValue": target, "ScaleOutCooldown": 6, "ScaleInCooldown": 1,
        "PredefinedMetricSpecification": predefined}})
}

fn desired(lab: &Lab, service: &str) -> Result<i64> {
    let shown = lab.ecs("describe_services", json!({"services": [service]}))?;
    Ok(shown["services"][0]["desiredCount"].as_i64().unwrap_or(-1))
}

/// A container with this script and so much CPU and memory, which sees whether the switch is on.
fn switched(script: &str, cpu: u32, memory: u32) -> Value {
    json!([{"name": "main", "image": "busybox", "memory": memory, "cpu": cpu, "stopTimeout": 1,
        "command": ["sh", "-c", script],
        "mountPoints": [{"sourceVolume": "switch", "containerPath": "/switch", "readOnly": true}]}])
}

/// A service whose tasks have 10 MiB in their shared memory while the switch is on, of 24 that they reserve, and next
/// to nothing without; with a target that two of them cannot meet, and no more of them than that.
fn one_fills_its_memory(lab: &Lab, volumes: &Value) -> Value {
    let script = "while :; do if [ ! -e /switch/on ]; then rm -f /dev/shm/x; elif [ ! -e /dev/shm/x ]; then \
                  dd if=/dev/zero of=/dev/shm/x bs=1M count=10; fi; sleep 0.5; done";
    let fill = register(lab, "fill", switched(script, 51, 24), volumes.clone());
    lab.ecs("create_service", json!({"serviceName": "fill", "taskDefinition": fill, "desiredCount": 1})).unwrap();
    let bounds = about_service("fill", json!({"MinCapacity": 1, "MaxCapacity": 2}));
    let target = scaling(lab, "register_scalable_target", bounds).unwrap();
    scaling(lab, "put_scaling_policy", about_service("fill", tracking("full", "Memory", 30.0))).unwrap();
    target["ScalableTargetARN"].clone()
}

/// A load that crosses the bounds of alarms, which are tags of the targets, scales each quiet service out by a step:
/// one by its CPU, one by its memory.
fn steps_follow_their_alarms(lab: &Lab, switch: &Path, [burn, fill]: [&Value; 2]) {
    let services = [("burn", burn, "CPUUtilization", 60), ("fill", fill, "MemoryUtilization", 30)];
    for (service, target, metric, bound) in services {
        let policy = json!({"PolicyName": "busy", "PolicyType": "StepScaling", "StepScalingPolicyConfiguration": {
            "AdjustmentType": "ChangeInCapacity", "Cooldown": 300,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}]}});
        scaling(lab, "put_scaling_policy", about_service(service, policy)).unwrap();
        let alarm = format!("{metric} above {bound}");
        let tags = json!({"ResourceARN": target, "Tags": {"longshore:alarm:busy": alarm}});
        lab.call("application-autoscaling", "tag_resource", tags).unwrap().unwrap();
        let shown = scaling(lab, "describe_scaling_policies", about_service(service, json!({}))).unwrap();
        assert_eq!(shown["ScalingPolicies"][0]["Alarms"][0]["AlarmName"], alarm, "{shown}");
    }
    fs::write(switch.join("on"), "").unwrap();
    for (service, _, metric, bound) in services {
        wait_until("a step is taken", Duration::from_secs(40), || Ok(desired(lab, service)? == 2)).unwrap();
        let did = scaling(lab, "describe_scaling_activities", about_service(service, json!({}))).unwrap();
        let cause = did["ScalingActivities"][0]["Cause"].as_str().unwrap();
        let (begins, ends) = (format!("policy busy: {metric} was"), format!("not below {bound}.0 %"));
        assert!(cause.contains(&begins) && cause.ends_with(&ends), "{cause}");
    }
}

#[test]
fn services_follow_the_cpu_and_memory_of_their_tasks_and_the_clock() {
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"1s\"\n".to_owned();
    let control = "service_healthy_after_secs = 0\nscaling_period_secs = 2\n".to_owned();
    let lab = networked(LabConfig { agent, control, ..LabConfig::default() });
    let switch = lab.nodes()[0].host.dir().join("burn");
    fs::create_dir_all(&switch).unwrap();
    fs::write(switch.join("on"), "").unwrap();
    // A tenth of a core is reserved; about twice as much is burnt while the file is there, and next to nothing without.
    let script = "while :; do if [ -e /switch/on ]; then i=0; while [ $i -lt 8000 ]; do i=$((i+1)); done; sleep 0.05; \
                  else sleep 0.5; fi; done";
    let volumes = json!({"volumes": [{"name": "switch", "host": {"sourcePath": switch}}]});
    let burn = register(&lab, "burn", switched(script, 102, 16), volumes.clone());

    // What cannot be is refused in the service's words.
    let register_args = about(json!({"MinCapacity": 1, "MaxCapacity": 3}));
    let error = scaling(&lab, "register_scalable_target", register_args.clone()).unwrap_err();
    assert_eq!(error.code, "ValidationException");
    assert!(error.message.contains("ECS service doesn't exist: service/default/burn"), "{error}");
    lab.ecs("create_service", json!({"serviceName": "burn", "taskDefinition": burn, "desiredCount": 1})).unwrap();
    let policy = about(tracking("half", "CPU", 20.0));
    let error = scaling(&lab, "put_scaling_policy", policy.clone()).unwrap_err();
    assert_eq!(error.code, "ObjectNotFoundException", "{error}");
    let wrong = about(json!({"MinCapacity": 4, "MaxCapacity": 3}));
    assert_eq!(scaling(&lab, "register_scalable_target", wrong).unwrap_err().code, "ValidationException");

    let made = scaling(&lab, "register_scalable_target", register_args).unwrap();
    assert!(made["ScalableTargetARN"].as_str().unwrap().contains(":scalable-target/"), "{made}");
    let fill = one_fills_its_memory(&lab, &volumes);
    lab.wait_ecs("services_stable", json!({"services": ["burn"]})).unwrap();
    let put = scaling(&lab, "put_scaling_policy", policy).unwrap();
    assert!(put["PolicyARN"].as_str().unwrap().ends_with(":policyName/half"), "{put}");

    let wait_desired = |service: &str, count: i64| {
        let what = format!("service {service} is scaled to {count}");
        wait_until(&what, Duration::from_secs(40), || Ok(desired(&lab, service)? == count)).unwrap();
    };
    wait_desired("burn", 3);
    wait_desired("fill", 2);
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
    // At a terminal again and again, each time on a screen that is cleared, until ctrl-c ends it as a signal does.
    let clear = "\u{1b}[H\u{1b}[J";
    play(
        &lab,
        &["top", "--every", "1"],
        json!([
            ["size", 24, 200],
            ["expect", clear],
            ["expect", "service:burn"],
            ["expect", clear],
            ["expect", "service:burn"],
            ["send", "\u{3}"],
            ["end", -2]
        ]),
    );

    // In, once it is quiet.
    fs::remove_file(switch.join("on")).unwrap();
    wait_desired("burn", 1);
    wait_desired("fill", 1);
    let did = scaling(&lab, "describe_scaling_activities", about(json!({}))).unwrap();
    let did = did["ScalingActivities"].as_array().unwrap();
    assert!(did[0]["Cause"].as_str().unwrap().contains("policy half: CPUUtilization was"), "{did:?}");
    assert!(did.iter().all(|one| one["StatusCode"] == "Successful"), "{did:?}");
    let did = scaling(&lab, "describe_scaling_activities", about_service("fill", json!({}))).unwrap();
    let did = did["ScalingActivities"].as_array().unwrap();
    assert!(did[0]["Cause"].as_str().unwrap().contains("policy full: MemoryUtilization was"), "{did:?}");

    scaling(&lab, "delete_scaling_policy", about(json!({"PolicyName": "half"}))).unwrap();
    scaling(&lab, "delete_scaling_policy", about_service("fill", json!({"PolicyName": "full"}))).unwrap();
    steps_follow_their_alarms(&lab, &switch, [&made["ScalableTargetARN"], &fill]);
    scaling(&lab, "deregister_scalable_target", about_service("fill", json!({}))).unwrap();

    // The clock moves the bounds, and the count with them.
    let action = |schedule: &str| {
        about(json!({"ScheduledActionName": "night", "Schedule": schedule,
            "ScalableTargetAction": {"MinCapacity": 3, "MaxCapacity": 3}}))
    };
    assert_eq!(scaling(&lab, "put_scheduled_action", action("at(soon)")).unwrap_err().code, "ValidationException");
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 6;
    let out = std::process::Command::new("date").args(["-u", "-d", &format!("@{soon}"), "+%Y-%m-%dT%H:%M:%S"]).output();
    let at = format!("at({})", String::from_utf8(out.unwrap().stdout).unwrap().trim());
    scaling(&lab, "put_scheduled_action", action(&at)).unwrap();
    wait_until("the action has fired", Duration::from_secs(24), || Ok(desired(&lab, "burn")? == 3)).unwrap();
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
