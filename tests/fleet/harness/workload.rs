//! Clients: they make, change and delete services, run and stop tasks, and drain hosts, through the API's operations.

use crate::control::Answer;
use crate::host::Host;
use crate::plan::Trouble;
use crate::schedules;
use crate::sets;
use crate::troubles;
use crate::world::World;
use longshore_core::Ec2Operation;
use longshore_core::State;
use longshore_core::records::{InstanceStatus, RolloutState, SchedulingStrategy, Service, Task};
use longshore_ecs_api::Operation;
use longshore_model::{DesiredStatus, TaskId};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The service of which no two tasks may run at once.
const ONE: &str = "one";

/// Services that there are at once, besides.
const SERVICES: u64 = 4;

/// CPU units and MiB that a task of those that stay asks for at most.
const LARGE: u32 = 80;
/// The family of those that ask for that much.
const TWO: &str = "web:2";

/// Families whose tasks run, and stay.
pub(crate) const GOOD: [&str; 5] = ["web:1", "web:2", "dyn:1", "vol:1", "stubborn:1"];
/// Those that do not, or not for long, or need a port of their own.
const OTHERS: [&str; 7] = ["fixed:1", "big:1", "job:1", "crash:1", "missing:1", "broken:1", "again:1"];

/// Families whose tasks have an interface of their own, in runs with a task network; the last does not stay.
pub(crate) const WIRED: [&str; 3] = ["net:1", "net:2", "netjob:1"];
/// Services that run them.
const WIRED_SERVICES: u64 = 2;
/// The security groups that they are in; members of the first may reach those of both.
static GROUPS: [&str; 2] = ["front", "back"];

/// The definitions that everything runs.
fn definitions() -> Vec<Value> {
    let one = |family: &str, image: &str, more: Value| {
        let mut container = json!({"name": "app", "image": image, "memory": 64, "cpu": 64, "stopTimeout": 8});
        if let (Some(all), Some(more)) = (container.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        json!({"family": family, "networkMode": "bridge", "containerDefinitions": [container]})
    };
    let mut volume = one("vol", "web:v", json!({"mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}]}));
    volume["volumes"] = json!([{"name": "data"}]);
    let mut two = one("web", "web:2", json!({}));
    let side = json!({"name": "side", "image": "web:side", "memory": 16, "cpu": 16, "essential": false});
    if let Some(containers) = two["containerDefinitions"].as_array_mut() {
        containers.push(side);
    }
    let wired = |family: &str, image: &str| {
        let mut wired = one(family, image, json!({"portMappings": [{"containerPort": 80}]}));
        wired["networkMode"] = json!("awsvpc");
        wired
    };
    vec![
        wired("net", "web:n"),
        wired("net", "stubborn:n"),
        wired("netjob", "job:n"),
        one("web", "web:1", json!({})),
        two,
        one("dyn", "web:d", json!({"portMappings": [{"containerPort": 80}]})),
        volume,
        one("stubborn", "stubborn:1", json!({})),
        one("fixed", "web:f", json!({"portMappings": [{"containerPort": 80, "hostPort": 8080}]})),
        one("big", "web:b", json!({"memory": 384, "cpu": 256})),
        one("job", "job:1", json!({})),
        one("crash", "crash:1", json!({})),
        one("missing", "missing:1", json!({})),
        one("broken", "broken:1", json!({})),
        one("again", "crash:2", json!({"restartPolicy": {"enabled": true, "restartAttemptPeriod": 60}})),
    ]
}

/// Makes the cluster and its definitions.
pub(crate) async fn prepare(world: &World) -> Result<(), String> {
    world.insist(Operation::CreateCluster, &json!({"clusterName": "default"})).await?;
    for definition in definitions() {
        world.insist(Operation::RegisterTaskDefinition, &definition).await?;
    }
    if world.plan.network {
        groups(world).await?;
    }
    Ok(())
}

/// Makes the security groups.
async fn groups(world: &World) -> Result<(), String> {
    let mut ids = Vec::new();
    for name in GROUPS {
        let params = [("GroupName", name), ("GroupDescription", "of the fleet")];
        world.ec2(Ec2Operation::CreateSecurityGroup, &params).await?;
        ids.push(group(world, name).ok_or("a security group was made and is not there")?);
    }
    for id in &ids {
        let params = [
            ("GroupId", id.as_str()),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "80"),
            ("IpPermissions.1.ToPort", "80"),
            ("IpPermissions.1.Groups.1.GroupId", &ids[0]),
        ];
        world.ec2(Ec2Operation::AuthorizeSecurityGroupIngress, &params).await?;
    }
    Ok(())
}

fn group(world: &World, name: &str) -> Option<String> {
    let state = world.control()?.core.snapshot();
    let found = state.security_groups().find(|group| group.name == name)?.id.to_string();
    Some(found)
}

/// Where tasks with interfaces are, and in which groups.
fn interfaces(world: &World) -> Value {
    let groups = world.dice.pick(&[&GROUPS[..1], &GROUPS[1..], &GROUPS[..]]).copied().unwrap_or(&GROUPS);
    let groups: Vec<String> = groups.iter().filter_map(|name| group(world, name)).collect();
    let subnet = world.state().and_then(|state| Some(state.network()?.subnet.to_string()));
    json!({"awsvpcConfiguration": {"subnets": [subnet.unwrap_or_default()], "securityGroups": groups}})
}

/// Whether the tasks of a service have interfaces of their own.
fn is_wired(service: &str) -> bool {
    service.starts_with('n')
}

/// Clients at work, until they are to end. Their last requests leave what can be as it should, and it is for the
/// control plane alone then to make it so.
pub(crate) async fn run(world: Arc<World>) -> Result<(), String> {
    if world.plan.fenced {
        fenced(&world).await;
    }
    while !world.closing() {
        tokio::time::sleep(world.dice.millis(50, world.plan.pace)).await;
        if !world.closing() {
            act(&world).await;
        }
    }
    leave(&world).await
}

async fn act(world: &World) {
    if world.plan.schedules && world.dice.chance(250) {
        return schedules::act(world).await;
    }
    if world.plan.fenced && world.dice.chance(150) {
        return fenced(world).await;
    }
    if world.plan.sets && world.dice.chance(250) {
        return sets::act(world).await;
    }
    if world.plan.troubles.contains(&Trouble::ClockIsSet) && world.dice.chance(200) {
        return renew(world).await;
    }
    match world.dice.between(0, 20) {
        0..=3 => create(world).await,
        4..=10 => update(world).await,
        11 => delete(world).await,
        12..=14 => run_task(world).await,
        15..=16 => stop_task(world).await,
        17..=18 => drain(world).await,
        19 | 20 if world.dice.chance(850) => protect(world).await,
        _ => look(world).await,
    }
}

fn service(world: &World) -> String {
    if world.plan.network && world.dice.chance(400) {
        return format!("n{}", world.dice.between(0, WIRED_SERVICES - 1));
    }
    format!("s{}", world.dice.between(0, SERVICES - 1))
}

pub(crate) fn definition(world: &World, wired: bool) -> &'static str {
    if wired {
        return world.dice.pick(&WIRED).copied().unwrap_or(WIRED[0]);
    }
    let of: &[&str] = if world.dice.chance(700) { &GOOD } else { &OTHERS };
    world.dice.pick(of).copied().unwrap_or(GOOD[0])
}

/// How a service may change. What leaves no room at all is refused.
pub(crate) fn configuration(world: &World, daemon: bool) -> Value {
    let pick = |of: &[u32]| world.dice.pick(of).copied().unwrap_or(100);
    let breaker = json!({"enable": world.dice.chance(500), "rollback": world.dice.chance(600)});
    let (minimum, maximum) = match daemon {
        true => (pick(&[0, 50]), 100),
        // At 100 what comes takes the place of what goes, so some of it has to go.
        false => match pick(&[100, 125, 150, 200]) {
            100 => (pick(&[0, 50]), 100),
            maximum => (pick(&[0, 50, 60, 100]), maximum),
        },
    };
    json!({"minimumHealthyPercent": minimum, "maximumPercent": maximum, "deploymentCircuitBreaker": breaker})
}

/// Says what was asked and answered.
pub(crate) fn told(world: &World, what: &str, answer: &Answer) {
    match answer {
        Answer::Done(_) => world.trace.say(format_args!("client: {what}: done")),
        Answer::Refused(why) => world.trace.say(format_args!("client: {what}: {why}")),
        Answer::Unknown => world.trace.say(format_args!("client: {what}: no answer")),
    }
}

async fn create(world: &World) {
    let name = service(world);
    let daemon = world.dice.chance(250);
    let mut request = json!({"serviceName": name, "taskDefinition": definition(world, is_wired(&name)),
        "schedulingStrategy": if daemon { "DAEMON" } else { "REPLICA" },
        "deploymentConfiguration": configuration(world, daemon)});
    if !daemon {
        request["desiredCount"] = json!(world.dice.between(0, 6));
    }
    if is_wired(&name) {
        request["networkConfiguration"] = interfaces(world);
    }
    let answer = world.call(Operation::CreateService, &request).await;
    told(world, &format!("create {request}"), &answer);
}

async fn update(world: &World) {
    let name = service(world);
    let mut request = json!({"service": name});
    let described = world.state().and_then(|state| {
        let (_, found) = state.services().find(|(key, _)| *key.name == *name)?;
        Some(is_daemon(&found.record))
    });
    let daemon = described.unwrap_or(false);
    match world.dice.between(0, 4) {
        0 | 1 if !daemon => request["desiredCount"] = json!(world.dice.between(0, 7)),
        2 => request["forceNewDeployment"] = json!(true),
        3 => request["deploymentConfiguration"] = configuration(world, daemon),
        _ => {
            request["taskDefinition"] = json!(definition(world, is_wired(&name)));
            if is_wired(&name) && world.dice.chance(300) {
                request["networkConfiguration"] = interfaces(world);
            }
        }
    }
    let answer = world.call(Operation::UpdateService, &request).await;
    told(world, &format!("update {request}"), &answer);
}

/// One of the services is deployed anew as it is, and then the clock is set: what has just started is no older for that.
async fn renew(world: &World) {
    let names = world.state().into_iter().flat_map(|state| {
        state.services().filter(|(_, s)| s.record.is_active()).map(|(key, _)| Arc::clone(&key.name)).collect::<Vec<_>>()
    });
    let names: Vec<Arc<str>> = names.collect();
    let Some(name) = world.dice.pick(&names) else { return };
    let answer = world.call(Operation::UpdateService, &json!({"service": name, "forceNewDeployment": true})).await;
    told(world, &format!("renew {name}"), &answer);
    tokio::time::sleep(world.dice.millis(100, 4000)).await;
    if !world.healing() {
        troubles::set_clock(world);
    }
}

/// The service of which one task may run at most is made or changed. It goes at the end of a run alone: what is deleted
/// may run on a host that does not hear of it, beside another service of that name.
async fn fenced(world: &World) {
    // Those that do not end at once are what a fence is for.
    let stubborn = world.dice.chance(500).then_some("stubborn:1");
    let definition = stubborn.or_else(|| world.dice.pick(&GOOD).copied()).unwrap_or(GOOD[0]);
    let there = world.state().is_some_and(|state| state.services().any(|(key, _)| *key.name == *ONE));
    let (op, mut request) = match there {
        true => (Operation::UpdateService, json!({"service": ONE})),
        false => (
            Operation::CreateService,
            json!({"serviceName": ONE, "taskDefinition": definition, "desiredCount": 1,
            "tags": [{"key": "longshore:at-most-one", "value": "true"}],
            "deploymentConfiguration": {"minimumHealthyPercent": 0, "maximumPercent": 100}}),
        ),
    };
    if there {
        match world.dice.between(0, 9) {
            0 => request["desiredCount"] = json!(0),
            1..=5 => request["desiredCount"] = json!(1),
            6 | 7 => request["forceNewDeployment"] = json!(true),
            _ => request["taskDefinition"] = json!(definition),
        }
    }
    let answer = world.call(op, &request).await;
    told(world, &format!("one task at most {request}"), &answer);
}

/// The host of the task that may run once.
pub(crate) fn host_of_one(world: &World) -> Option<Arc<Host>> {
    let state = world.state()?;
    let (key, _) = state.services().find(|(key, _)| *key.name == *ONE)?;
    let task = state.service_tasks(key).into_iter().find(|task| task.desired == DesiredStatus::Running)?;
    world.hosts.iter().find(|host| host.instance() == Some(task.instance)).cloned()
}

async fn delete(world: &World) {
    let request = json!({"service": service(world), "force": true});
    let answer = world.call(Operation::DeleteService, &request).await;
    told(world, &format!("delete {request}"), &answer);
}

async fn run_task(world: &World) {
    let wired = world.plan.network && world.dice.chance(300);
    let mut request = json!({"taskDefinition": definition(world, wired), "count": world.dice.between(1, 3)});
    if wired {
        request["networkConfiguration"] = interfaces(world);
    }
    let answer = world.call(Operation::RunTask, &request).await;
    told(world, &format!("run {request}"), &answer);
}

async fn stop_task(world: &World) {
    let live: Vec<TaskId> = world.state().map(|state| live(&state)).unwrap_or_default();
    let Some(task) = world.dice.pick(&live).copied() else { return };
    let answer = world.call(Operation::StopTask, &json!({"task": task.to_string(), "reason": "enough"})).await;
    told(world, &format!("stop {task}"), &answer);
}

/// Every task that is not stopped.
pub(crate) fn live(state: &longshore_core::State) -> Vec<TaskId> {
    state.clusters().flat_map(|cluster| cluster.hosts.values()).flat_map(|host| host.live.iter().copied()).collect()
}

async fn drain(world: &World) {
    let Some(instance) = world.dice.pick(&world.hosts).and_then(|host| host.instance()) else { return };
    let status = if world.dice.chance(400) { "DRAINING" } else { "ACTIVE" };
    let request = json!({"containerInstances": [instance.to_string()], "status": status});
    let answer = world.call(Operation::UpdateContainerInstancesState, &request).await;
    told(world, &format!("{status} {instance}"), &answer);
}

/// One task of a service is protected for a minute, or not any more. Then its service changes, at times.
async fn protect(world: &World) {
    let Some(state) = world.state() else { return };
    let of_services = |id: &TaskId| state.task(*id).is_some_and(|task| task.group.starts_with("service:"));
    let tasks: Vec<TaskId> = live(&state).into_iter().filter(of_services).collect();
    let Some(task) = world.dice.pick(&tasks) else { return };
    let protects = world.dice.chance(800);
    let mut request = json!({"cluster": "default", "tasks": [task.to_string()], "protectionEnabled": protects});
    if request["protectionEnabled"] == true {
        request["expiresInMinutes"] = json!(1);
    }
    let answer = world.call(Operation::UpdateTaskProtection, &request).await;
    told(world, &format!("protect {request}"), &answer);
    // What it is spared from comes before its time is over: less is wanted of its service, or all anew.
    let name = state.task(*task).and_then(|task| Some(task.group.strip_prefix("service:")?.to_owned()));
    if let Some(name) = name.filter(|name| protects && *name != *ONE && world.dice.chance(700)) {
        let mut change = json!({"service": name});
        match world.dice.chance(500) {
            true => change["desiredCount"] = json!(world.dice.between(0, 1)),
            false => change["forceNewDeployment"] = json!(true),
        }
        let answer = world.call(Operation::UpdateService, &change).await;
        told(world, &format!("update {change}"), &answer);
    }
}

/// What clients read is what was published.
async fn look(world: &World) {
    let answer = world.call(Operation::DescribeServices, &json!({"services": [service(world)]})).await;
    if let Answer::Done(answer) = answer {
        let service = &answer["services"][0];
        let shown = (&service["serviceName"], &service["runningCount"], &service["pendingCount"]);
        world.trace.say(format_args!("client: {} has {} running and {} pending", shown.0, shown.1, shown.2));
    }
}

/// Rounds in which clients come to an end, at most: what was asked for before and done late is mended in the next.
const ROUNDS: usize = 20;

/// The end of clients' work, while there are still troubles: every service becomes one that can be as it should, every
/// host takes tasks again but one in some runs, which is to be empty, and nothing else runs.
async fn leave(world: &World) -> Result<(), String> {
    for host in &world.hosts {
        let Some(id) = host.instance() else { continue };
        let status = if world.plan.drained == Some(host.index) { "DRAINING" } else { "ACTIVE" };
        let request = json!({"containerInstances": [id.to_string()], "status": status});
        match world.insist(Operation::UpdateContainerInstancesState, &request).await {
            // What joined anew meanwhile takes tasks.
            Ok(_) => {}
            Err(why) if why == "nobody answers" => return Err(why),
            Err(why) => world.trace.say(format_args!("client: {id} not made {status}: {why}")),
        }
    }
    for _ in 0..ROUNDS {
        let state = world.state().ok_or("nothing was ever seen")?;
        let all: Vec<_> = state.services().map(|(_, s)| Arc::clone(&s.record)).filter(|s| s.is_active()).collect();
        let daemons = u32::try_from(all.iter().filter(|service| is_daemon(service)).count()).unwrap_or(0);
        let replicas = u32::try_from(all.len()).unwrap_or(0) - daemons;
        // Twice of everything has to have room for a while.
        let room = |(cpu, memory): &(u32, u32)| (cpu.min(memory) / LARGE).saturating_sub(daemons);
        let hosts = world.plan.hosts.iter().enumerate().filter(|(index, _)| world.plan.drained != Some(*index));
        let share = hosts.map(|(_, host)| room(host)).sum::<u32>() / (2 * replicas.max(1));
        let open: Vec<_> = all.iter().filter(|service| !is_left(service, share)).collect();
        let stay = |id: &TaskId| state.task(*id).is_some_and(|task| task.protected_until.is_some());
        for task in live(&state).into_iter().filter(stay) {
            let request = json!({"cluster": "default", "tasks": [task.to_string()], "protectionEnabled": false});
            match world.insist(Operation::UpdateTaskProtection, &request).await {
                Ok(_) => {}
                Err(why) if why == "nobody answers" => return Err(why),
                Err(why) => world.trace.say(format_args!("client: {task} stays protected: {why}")),
            }
        }
        if open.is_empty() {
            let crowd = crowd(&state);
            if crowd.is_empty() {
                return stop_strays(world).await;
            }
            for task in crowd {
                stop(world, task, "others need the room").await?;
            }
        }
        for service in open {
            if sets::has_sets(service) {
                sets::mend(world, service, share).await?;
            } else {
                mend(world, service, share).await?;
            }
        }
    }
    Err("clients do not come to an end".to_owned())
}

fn is_daemon(service: &Service) -> bool {
    service.scheduling == SchedulingStrategy::Daemon
}

/// The families that a service is left with. Daemons take what any of them took: a host that is full otherwise keeps no
/// more for them.
fn good(service: &Service) -> Vec<&'static str> {
    let all = if is_wired(&service.key.name) { &WIRED[..2] } else { &GOOD };
    all.iter().copied().filter(|family| !is_daemon(service) || *family != TWO).collect()
}

/// The minimum and maximum percent that it is left with.
fn left_percents(service: &Service) -> (i32, i32) {
    match service.scheduling {
        SchedulingStrategy::Replica if *service.key.name == *ONE => (0, 100),
        SchedulingStrategy::Replica => (50, 200),
        // Of a daemon on one host, half is one, and no task of it could ever be replaced.
        SchedulingStrategy::Daemon => (0, 100),
    }
}

/// What operators end so that everything else has room: large tasks of services that run others by now, which may be all
/// that a minimum needs and leave no room for those, and one of each host that is too full for the daemons that it lacks.
/// The room is the daemons' then.
fn crowd(state: &State) -> Vec<TaskId> {
    let daemons: Vec<_> = state.services().map(|(_, s)| &s.record).filter(|s| s.is_active() && is_daemon(s)).collect();
    let mut crowd = Vec::new();
    for host in state.clusters().flat_map(|cluster| cluster.hosts.values()) {
        let tasks: Vec<_> = host.live.iter().filter_map(|id| state.task(*id)).collect();
        let stays = |task: &&&Arc<Task>| task.desired == DesiredStatus::Running;
        let is_daemons = |task: &Task| daemons.iter().any(|daemon| daemon.key.group() == task.group);
        let others: Vec<_> = tasks.iter().filter(stays).filter(|task| !is_daemons(task)).collect();
        let large = others.iter().filter(|task| task.claim.memory_mib > LARGE).map(|task| task.id);
        crowd.extend(large);
        // A host that drains gets none any more.
        let gets = host.record.status == InstanceStatus::Active;
        let is_lacking = |daemon: &&&Arc<Service>| tasks.iter().all(|task| daemon.key.group() != task.group);
        let lacks = daemons.iter().filter(is_lacking).filter(|_| gets).count();
        let claims = tasks.iter().filter(|task| stays(task) || is_daemons(task)).map(|task| &task.claim);
        let (cpu, memory) = claims.fold((0, 0), |(cpu, memory), c| (cpu + c.cpu_units, memory + c.memory_mib));
        let need = LARGE * u32::try_from(lacks).unwrap_or(u32::MAX);
        let offer = &host.record.facts.resources;
        if lacks > 0 && (cpu + need > offer.cpu_units || memory + need > offer.memory_mib) {
            crowd.extend(others.iter().filter(|task| task.claim.memory_mib <= LARGE).map(|task| task.id).next());
        }
    }
    crowd
}

/// Whether a service is as clients leave it: nothing keeps it from becoming as it should be.
fn is_left(service: &Service, share: u32) -> bool {
    if sets::has_sets(service) {
        return sets::is_left(service, share);
    }
    let (least, most) = left_percents(service);
    let configuration = &service.configuration;
    let breaker = configuration.deployment_circuit_breaker.as_ref();
    let runs_good = service.deployments.first().is_some_and(|primary| {
        good(service).contains(&&*primary.revision.definition.to_string()) && primary.state != RolloutState::Failed
    });
    runs_good
        && (configuration.minimum_healthy_percent, configuration.maximum_percent) == (Some(least), Some(most))
        && breaker.is_none_or(|breaker| breaker.enable != Some(true))
        && (is_daemon(service) || service.desired <= share)
}

async fn mend(world: &World, service: &Service, share: u32) -> Result<(), String> {
    let (least, most) = left_percents(service);
    let mut request = json!({"service": &*service.key.name, "taskDefinition": world.dice.pick(&good(service)),
        "deploymentConfiguration": {"minimumHealthyPercent": least, "maximumPercent": most,
            "deploymentCircuitBreaker": {"enable": false, "rollback": false}}});
    if !is_daemon(service) {
        request["desiredCount"] = json!(service.desired.min(share));
    }
    // What has failed goes on with another deployment alone.
    let now = world.state().and_then(|state| Some(Arc::clone(&state.service(&service.key)?.record)));
    if now.is_some_and(|now| now.deployments.iter().any(|deployment| deployment.state == RolloutState::Failed)) {
        request["forceNewDeployment"] = json!(true);
    }
    match world.insist(Operation::UpdateService, &request).await {
        Ok(_) => world.trace.say(format_args!("client: mended {request}")),
        Err(why) if why == "nobody answers" => return Err(why),
        // It was deleted by a request that nobody heard of any more.
        Err(why) => world.trace.say(format_args!("client: not mended {request}: {why}")),
    }
    Ok(())
}

/// Once troubles are over: what hosts were before they joined anew is deregistered, if nobody was told yet that it is.
pub(crate) async fn deregister_former(world: &World) -> Result<(), String> {
    let state = world.state().ok_or("nothing was ever seen")?;
    let ours: Vec<_> = world.hosts.iter().filter_map(|host| host.instance()).collect();
    let registered = state.clusters().flat_map(|cluster| cluster.hosts.values());
    for host in registered.filter(|host| host.record.status.is_registered() && !ours.contains(&host.id())) {
        let request = json!({"containerInstance": host.id().to_string(), "force": true});
        match world.insist(Operation::DeregisterContainerInstance, &request).await {
            Ok(_) => {}
            // Asked again after an answer that was lost.
            Err(why) if why.contains("The referenced container instance was not found.") => {}
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

/// Stops what belongs to no service.
pub(crate) async fn stop_strays(world: &World) -> Result<(), String> {
    let state = world.state().ok_or("nothing was ever seen")?;
    for id in live(&state) {
        if state.task(id).is_some_and(|task| !task.group.starts_with("service:")) {
            stop(world, id, "the end").await?;
        }
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    Ok(())
}

async fn stop(world: &World, id: TaskId, reason: &str) -> Result<(), String> {
    match world.insist(Operation::StopTask, &json!({"task": id.to_string(), "reason": reason})).await {
        Ok(_) => world.trace.say(format_args!("client: {id} stopped: {reason}")),
        Err(why) if why == "nobody answers" => return Err(why),
        Err(why) => world.trace.say(format_args!("client: {id} not stopped: {why}")),
    }
    Ok(())
}

/// At the end: everything goes.
pub(crate) async fn tear_down(world: &World) -> Result<(), String> {
    let state = world.state().ok_or("nothing was ever seen")?;
    for (key, service) in state.services() {
        if service.record.is_active() {
            let request = json!({"service": &*key.name, "force": true});
            match world.insist(Operation::DeleteService, &request).await {
                Ok(_) => {}
                // Asked again after an answer that was lost.
                Err(why) if why.starts_with("ServiceNotFoundException") => {}
                Err(why) => return Err(why),
            }
        }
    }
    stop_strays(world).await
}
