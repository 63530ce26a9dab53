//! A service whose tasks are those of its task sets: clients that make, scale and delete sets, and what has to hold of
//! them.

use crate::control::Answer;
use crate::workload::{self, GOOD};
use crate::world::World;
use longshore_core::State;
use longshore_core::records::{DeploymentController, RolloutState, Service, ServiceTaskSet, Task, TaskSetStatus};
use longshore_ecs_api::Operation;
use longshore_model::{DesiredStatus, TaskStatus};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The service.
const SERVICE: &str = "x";
/// Sets that it has at once, as far as clients make any.
const SETS: usize = 3;
/// Percent of the desired count that a set may have.
const SCALES: [f64; 5] = [0.0, 20.0, 33.3, 50.0, 100.0];

/// Whether a service has task sets.
pub(crate) fn has_sets(service: &Service) -> bool {
    service.controller == DeploymentController::External
}

fn find(world: &World) -> Option<Arc<Service>> {
    let state = world.state()?;
    let (_, found) = state.services().find(|(key, _)| *key.name == *SERVICE)?;
    Some(Arc::clone(&found.record)).filter(|service| service.is_active())
}

fn scale(world: &World) -> Value {
    json!({"value": world.dice.pick(&SCALES).copied().unwrap_or(100.0), "unit": "PERCENT"})
}

async fn ask(world: &World, op: Operation, what: &str, mut request: Value) -> Answer {
    request["cluster"] = json!("default");
    let answer = world.call(op, &request).await;
    workload::told(world, &format!("{what} {request}"), &answer);
    answer
}

/// One thing that a client does.
pub(crate) async fn act(world: &World) {
    let Some(service) = find(world) else { return create(world).await };
    let sets: Vec<&ServiceTaskSet> =
        service.task_sets.iter().filter(|set| set.status != TaskSetStatus::Draining).collect();
    let Some(set) = world.dice.pick(&sets).map(|set| &*set.deployment.id) else { return make(world).await };
    match world.dice.between(0, 11) {
        0..=2 if sets.len() < SETS => make(world).await,
        0..=5 => {
            let request = json!({"service": SERVICE, "taskSet": set, "scale": scale(world)});
            ask(world, Operation::UpdateTaskSet, "scale", request).await;
        }
        6 | 7 => {
            let request = json!({"service": SERVICE, "primaryTaskSet": set});
            ask(world, Operation::UpdateServicePrimaryTaskSet, "primary", request).await;
        }
        8 | 9 => {
            let request = json!({"service": SERVICE, "taskSet": set, "force": world.dice.chance(800)});
            ask(world, Operation::DeleteTaskSet, "delete set", request).await;
        }
        10 => {
            let request = json!({"service": SERVICE, "desiredCount": world.dice.between(0, 6)});
            ask(world, Operation::UpdateService, "update", request).await;
        }
        _ => {
            ask(world, Operation::DeleteService, "delete", json!({"service": SERVICE, "force": true})).await;
        }
    }
}

async fn create(world: &World) {
    let request = json!({"serviceName": SERVICE, "desiredCount": world.dice.between(1, 6),
        "deploymentController": {"type": "EXTERNAL"},
        "deploymentConfiguration": workload::configuration(world, false)});
    ask(world, Operation::CreateService, "create", request).await;
}

async fn make(world: &World) {
    let mut request =
        json!({"service": SERVICE, "taskDefinition": workload::definition(world, false), "scale": scale(world)});
    if world.dice.chance(500) {
        // Asked again with the same one, it is the same set.
        request["clientToken"] = json!(format!("set {}", world.dice.between(0, 9)));
    }
    ask(world, Operation::CreateTaskSet, "make set", request).await;
}

/// Whether the service is as clients leave it.
pub(crate) fn is_left(service: &Service, share: u32) -> bool {
    let configuration = &service.configuration;
    let percents = (configuration.minimum_healthy_percent, configuration.maximum_percent);
    let mut sets = service.task_sets.iter().filter(|set| set.status != TaskSetStatus::Draining);
    let is_half = |set: &ServiceTaskSet| {
        let runs = set.deployment.revision.definition.to_string();
        GOOD.contains(&&*runs) && (set.scale - 50.0).abs() < 1e-6
    };
    let count = sets.clone().count();
    (1..=2).contains(&count)
        && sets.all(is_half)
        && percents == (Some(50), Some(200))
        && service.desired <= share.saturating_sub(1)
}

/// When clients end: two sets of half the desired count each, of tasks that stay.
pub(crate) async fn mend(world: &World, service: &Service, share: u32) -> Result<(), String> {
    // Halves are rounded up.
    let request = json!({"cluster": "default", "service": SERVICE,
        "desiredCount": service.desired.min(share.saturating_sub(1)),
        "deploymentConfiguration": {"minimumHealthyPercent": 50, "maximumPercent": 200}});
    mended(world, Operation::UpdateService, &request).await?;
    let half = json!({"value": 50, "unit": "PERCENT"});
    let mut kept = 0;
    for set in service.task_sets.iter().filter(|set| set.status != TaskSetStatus::Draining) {
        let runs = set.deployment.revision.definition.to_string();
        let mut request = json!({"cluster": "default", "service": SERVICE, "taskSet": &*set.deployment.id});
        if kept < 2 && GOOD.contains(&&*runs) {
            kept += 1;
            request["scale"] = half.clone();
            mended(world, Operation::UpdateTaskSet, &request).await?;
        } else {
            request["force"] = json!(true);
            mended(world, Operation::DeleteTaskSet, &request).await?;
        }
    }
    if kept == 0 {
        let definition = world.dice.pick(&GOOD).copied().unwrap_or(GOOD[0]);
        // A token, so that an answer that is lost makes no second one.
        let request = json!({"cluster": "default", "service": SERVICE, "taskDefinition": definition, "scale": half,
            "clientToken": "the last"});
        mended(world, Operation::CreateTaskSet, &request).await?;
    }
    Ok(())
}

/// What was deleted by a request that nobody heard of any more needs no mending.
async fn mended(world: &World, op: Operation, request: &Value) -> Result<(), String> {
    match world.insist(op, request).await {
        Ok(_) => world.trace.say(format_args!("client: mended {request}")),
        Err(why) if why == "nobody answers" => return Err(why),
        Err(why) => world.trace.say(format_args!("client: not mended {request}: {why}")),
    }
    Ok(())
}

/// How many tasks a set is to have, reckoned apart from the product: its share of the desired count, rounded up.
pub(crate) fn wanted(service: &Service, set: &ServiceTaskSet) -> usize {
    if set.status == TaskSetStatus::Draining || !service.is_active() {
        return 0;
    }
    let per_mille =
        SCALES.iter().position(|scale| (scale - set.scale).abs() < 1e-6).map_or(0, |at| [0, 200, 333, 500, 1000][at]);
    (service.desired as usize * per_mille).div_ceil(1000)
}

/// Whether a task is one of a set.
pub(crate) fn is_of(task: &Task, set: &ServiceTaskSet) -> bool {
    task.started_by.as_deref() == Some(&*set.deployment.id)
}

/// Of one state: one set is the primary one.
pub(crate) fn snapshot(world: &World, state: &State) {
    for (key, service) in state.services() {
        let primary = service.record.task_sets.iter().filter(|set| set.status == TaskSetStatus::Primary).count();
        if primary > 1 {
            world.trace.wrong(format_args!("service {key} has {primary} primary task sets"));
        }
    }
}

/// Between two states that clients saw one after the other: a set that is gone has no tasks, and one that was deleted
/// starts none.
pub(crate) fn step(world: &World, before: &State, now: &State) {
    for (key, was) in before.services().filter(|(_, was)| has_sets(&was.record)) {
        let Some(is) = now.service(key).filter(|is| is.record.created_at == was.record.created_at) else { continue };
        let tasks = now.service_tasks(key);
        for set in &was.record.task_sets {
            let id = &set.deployment.id;
            let gone = !is.record.task_sets.iter().any(|other| other.deployment.id == *id);
            for task in tasks.iter().filter(|task| is_of(task, set)) {
                if gone {
                    world.trace.wrong(format_args!("task {} is left of task set {id}, which is gone", task.id));
                }
                if set.status == TaskSetStatus::Draining && before.task(task.id).is_none() {
                    world.trace.wrong(format_args!("task {} of task set {id} begins after the set's end", task.id));
                }
            }
        }
    }
}

/// What is not as it should be yet.
pub(crate) fn open(state: &State, service: &Service) -> Option<String> {
    let key = &service.key;
    let tasks = state.service_tasks(key);
    let ids: BTreeSet<&str> = service.task_sets.iter().map(|set| &*set.deployment.id).collect();
    if let Some(task) = tasks.iter().find(|task| task.started_by.as_deref().is_none_or(|by| !ids.contains(by))) {
        return Some(format!("task {} of service {key} is of no task set", task.id));
    }
    service.task_sets.iter().find_map(|set| {
        let (id, wanted) = (&set.deployment.id, wanted(service, set));
        let runs = |task: &&Arc<Task>| task.desired == DesiredStatus::Running && task.status == TaskStatus::Running;
        let all = tasks.iter().filter(|task| is_of(task, set)).count();
        let running = tasks.iter().filter(|task| is_of(task, set)).filter(runs).count();
        let steady = set.deployment.state == RolloutState::Completed && set.status != TaskSetStatus::Draining;
        (running != wanted || all != wanted || !steady).then(|| {
            let (state, status) = (set.deployment.state, set.status);
            format!(
                "task set {id} ({status:?}, {state:?}) of service {key} has {running} of {wanted} tasks, {all} in all"
            )
        })
    })
}
