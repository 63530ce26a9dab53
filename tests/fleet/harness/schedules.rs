//! Clients that make, change and delete schedules of EventBridge Scheduler and rules of EventBridge, all of which run
//! tasks that end by themselves.

use crate::control::{ACCOUNT, Answer};
use crate::firings::{self, VARIABLE, told};
use crate::workload;
use crate::world::World;
use longshore_core::State;
use longshore_ecs_api::events::EventsOperation;
use longshore_ecs_api::scheduler::SchedulerOperation;
use serde_json::{Value, json};

/// Schedules, and rules, that there are at once. What an hour's jump of the clock makes due at once has to get done on
/// the few small hosts of some runs, too.
const NAMES: u64 = 3;
/// So much CPU and memory is too little for that many.
pub(crate) const SMALL: u32 = 1024;

/// One thing that a client does.
pub(crate) async fn act(world: &World) {
    match world.dice.between(0, 9) {
        0..=2 => create(world).await,
        3 => update(world).await,
        4 => {
            let name = name(world, "t");
            let answer = world.call(SchedulerOperation::DeleteSchedule, &json!({"Name": name})).await;
            workload::told(world, &format!("delete schedule {name}"), &answer);
        }
        5..=8 => rule(world).await,
        _ => {
            let name = name(world, "r");
            // In a run where nobody hears of the first, the rule stays and fires for nobody.
            remove(world, &name).await;
        }
    }
}

fn name(world: &World, of: &str) -> String {
    let size: u32 = world.plan.hosts.iter().map(|(cpu, memory)| cpu.min(memory)).sum();
    let names = if size > SMALL { NAMES } else { 1 };
    format!("{of}{}", world.dice.between(0, names - 1))
}

fn overrides(time: &str) -> String {
    let environment = json!([{"name": VARIABLE, "value": time}]);
    json!({"containerOverrides": [{"name": "app", "environment": environment}]}).to_string()
}

fn cluster() -> String {
    format!("arn:aws:ecs:lab:{ACCOUNT}:cluster/default")
}

fn expression(world: &World) -> String {
    match world.dice.between(0, 4) {
        0 | 1 => "rate(1 minute)".to_owned(),
        2 => "cron(* * * * ? *)".to_owned(),
        3 => "cron(*/2 * * * ? *)".to_owned(),
        _ => {
            let at = world.wall.time().after(world.dice.millis(500, 40_000));
            format!("at({})", told(at).trim_end_matches('Z'))
        }
    }
}

fn request(name: &str, expression: &str, enabled: bool, tasks: u64) -> Value {
    json!({
        "Name": name, "ScheduleExpression": expression, "State": if enabled { "ENABLED" } else { "DISABLED" },
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": cluster(), "RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/clock"),
            "EcsParameters": {
                "TaskDefinitionArn": format!("arn:aws:ecs:lab:{ACCOUNT}:task-definition/job"), "TaskCount": tasks,
            },
            "Input": overrides("<aws.scheduler.scheduled-time>"),
        },
    })
}

async fn create(world: &World) {
    let request = request(&name(world, "t"), &expression(world), true, world.dice.between(1, 2));
    let answer = world.call(SchedulerOperation::CreateSchedule, &request).await;
    workload::told(world, &format!("create schedule {} {}", request["Name"], request["ScheduleExpression"]), &answer);
}

/// It is disabled, enabled, or fires otherwise from now on. How many tasks it starts stays.
async fn update(world: &World) {
    let name = name(world, "t");
    let state = world.state();
    let Some(is) = state.as_deref().and_then(|state| firings::schedules(state).find(|is| is.key.name == name)) else {
        return;
    };
    let (enabled, expression) = match world.dice.between(0, 2) {
        0 => (is.settings.enabled, expression(world)),
        _ => (!is.settings.enabled, is.settings.expression.clone()),
    };
    let request = request(&name, &expression, enabled, is.settings.tasks().into());
    let answer = world.call(SchedulerOperation::UpdateSchedule, &request).await;
    workload::told(world, &format!("update schedule {name} {expression} {enabled}"), &answer);
}

async fn rule(world: &World) {
    let name = name(world, "r");
    let expression = world.dice.pick(&["rate(1 minute)", "cron(* * * * ? *)", "rate(2 minutes)"]);
    let request = json!({"Name": name, "ScheduleExpression": expression});
    let answer = world.call(EventsOperation::PutRule, &request).await;
    workload::told(world, &format!("put rule {request}"), &answer);
    if answer == Answer::Unknown {
        return;
    }
    let transformer = json!({"InputPathsMap": {"time": "$.time"}, "InputTemplate": overrides("<time>")});
    let target = json!({
        "Id": "run", "Arn": cluster(), "RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/clock"),
        "InputTransformer": transformer, "EcsParameters": {"TaskDefinitionArn": "job", "TaskCount": 1},
    });
    let answer = world.call(EventsOperation::PutTargets, &json!({"Rule": name, "Targets": [target]})).await;
    workload::told(world, &format!("put the target of rule {name}"), &answer);
}

async fn remove(world: &World, rule: &str) {
    let answer = world.call(EventsOperation::RemoveTargets, &json!({"Rule": rule, "Ids": ["run"]})).await;
    workload::told(world, &format!("remove the target of rule {rule}"), &answer);
    let answer = world.call(EventsOperation::DeleteRule, &json!({"Name": rule})).await;
    workload::told(world, &format!("delete rule {rule}"), &answer);
}

/// What is due and not done, after troubles.
pub(crate) fn open(world: &World) -> Vec<String> {
    match (world.state(), world.control()) {
        (Some(state), Some(_)) => world.firings.open(world, &state),
        _ => vec!["the control plane is down".to_owned()],
    }
}

/// Nothing fires any more.
pub(crate) async fn end(world: &World) -> Result<(), String> {
    let state = world.state().ok_or("nothing was ever seen")?;
    let schedules: Vec<String> = firings::schedules(&state).map(|schedule| schedule.key.name.clone()).collect();
    for name in schedules {
        ended(world.insist(SchedulerOperation::DeleteSchedule, &json!({"Name": name})).await)?;
    }
    for name in rules(&state) {
        ended(world.insist(EventsOperation::RemoveTargets, &json!({"Rule": name, "Ids": ["run"]})).await)?;
        ended(world.insist(EventsOperation::DeleteRule, &json!({"Name": name})).await)?;
    }
    Ok(())
}

fn rules(state: &State) -> Vec<String> {
    state.rule_records().map(|rule| rule.key.name.to_string()).collect()
}

/// Asked again after an answer that was lost, it is gone.
fn ended(answer: Result<Value, String>) -> Result<(), String> {
    match answer {
        Err(why) if !why.starts_with("ResourceNotFoundException") => Err(why),
        Ok(_) | Err(_) => Ok(()),
    }
}
