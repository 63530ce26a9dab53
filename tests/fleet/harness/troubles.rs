//! Troubles, one after the other, until the run heals.

use crate::host::Host;
use crate::plan::Trouble;
use crate::workload;
use crate::world::World;
use longshore_ecs_api::Operation;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Makes trouble, until it is over.
pub(crate) async fn run(world: Arc<World>) {
    while !world.healing() && !world.plan.troubles.is_empty() {
        tokio::time::sleep(world.dice.millis(100, world.plan.trouble_pace)).await;
        let troubles = world.plan.troubles.clone();
        if let Some(trouble) = world.dice.pick(&troubles).filter(|_| !world.healing()) {
            make(&world, *trouble);
        }
    }
}

fn make(world: &Arc<World>, trouble: Trouble) {
    let Some(host) = somewhere(world, trouble) else { return };
    let brief = world.plan.is_brief(trouble);
    if brief && !host.stands_more(world.trace.at()) {
        return;
    }
    world.trace.say(format_args!("trouble: {trouble:?} at {}", host.name));
    match trouble {
        Trouble::ControlDies => {
            if let Some(process) = world.control() {
                process.fuse.light(u32::try_from(world.dice.between(1, 40)).unwrap_or(1));
            }
        }
        Trouble::AgentDies => {
            let polls = world.dice.between(1, if brief { 8 } else { 25 });
            host.kill_agent(u32::try_from(polls).unwrap_or(1));
        }
        Trouble::Power => {
            if host.has_power() {
                host.lose_power(world);
                later(world, &host, world.dice.millis(500, 20_000), |host| {
                    if !host.has_power() {
                        host.power_on();
                    }
                });
            }
        }
        Trouble::Partition => {
            host.link.set_up(false);
            if world.dice.chance(500) {
                host.link.break_all();
            }
            // What may run once is in doubt only where it is cut off for longer than it runs on.
            let least = if world.plan.fenced && world.dice.chance(500) { 9000 } else { 200 };
            later(world, &host, world.dice.millis(least, 25_000), |host| host.link.set_up(true));
        }
        Trouble::Break => host.link.break_all(),
        Trouble::SlowLine => {
            host.link.delay.store(world.dice.between(200, 3000), Ordering::Relaxed);
            let usual = world.plan.delay;
            later(world, &host, world.dice.millis(1000, 15_000), move |host| {
                host.link.delay.store(usual, Ordering::Relaxed);
            });
        }
        Trouble::EngineRestarts | Trouble::EngineDies => {
            if host.has_power() && host.docker.engine().up {
                host.docker.stop_engine(trouble == Trouble::EngineDies);
                let longest = if brief { 2000 } else { 10_000 };
                later(world, &host, world.dice.millis(100, longest), |host| {
                    if host.has_power() && !host.docker.engine().up {
                        host.docker.start_engine();
                    }
                });
            }
        }
        Trouble::EngineHangs => {
            // Each request takes twice as much longer.
            let (least, most, longest) = if brief { (100, 800, 5000) } else { (500, 8000, 20_000) };
            host.docker.engine().drag = world.dice.millis(least, most);
            later(world, &host, world.dice.millis(1000, longest), |host| host.docker.engine().drag = Duration::ZERO);
        }
        Trouble::Vandal => host.docker.vandalise(),
        Trouble::ClockIsSet => {
            set_clock(world);
        }
        Trouble::Rejoin => {
            let world = Arc::clone(world);
            tokio::spawn(async move { world.client(rejoin(&world, &host)).await });
        }
    }
}

/// Where a trouble is: on any host, and rather where the task is that may run once, when that may be cut off.
fn somewhere(world: &World, trouble: Trouble) -> Option<Arc<Host>> {
    if trouble == Trouble::Partition
        && world.plan.fenced
        && world.dice.chance(500)
        && let Some(host) = workload::host_of_one(world)
    {
        return Some(host);
    }
    world.dice.pick(&world.hosts).cloned()
}

/// Does something after a while, unless the run heals before: healing mends everything.
fn later(world: &Arc<World>, host: &Arc<Host>, after: Duration, what: impl FnOnce(&Host) + Send + 'static) {
    let (world, host) = (Arc::clone(world), Arc::clone(host));
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        if !world.healing() {
            what(&host);
        }
    });
}

/// The control plane's clock is set.
pub(crate) fn set_clock(world: &World) {
    let seconds = match world.dice.between(0, 3) {
        0 => -world.dice.between(1, 60).cast_signed(),
        1 => world.dice.between(1, 30).cast_signed(),
        _ => world.dice.between(30, 400).cast_signed(),
    };
    if world.wall.step(seconds * 1000) {
        world.trace.say(format_args!("the control plane's clock is set by {seconds} s"));
        // What fires now is in the midst of it.
        if let Some(process) = world.control().filter(|_| world.dice.chance(300)) {
            process.fuse.light(u32::try_from(world.dice.between(1, 12)).unwrap_or(1));
        }
    }
}

/// Somebody deregisters a host, and makes it join again.
async fn rejoin(world: &World, host: &Host) {
    let Some(instance) = host.instance() else { return };
    let request = json!({"containerInstance": instance.to_string(), "force": true});
    let answer = world.call(Operation::DeregisterContainerInstance, &request).await;
    world.trace.say(format_args!("{}: deregistered: {answer:.20?}", host.name));
    tokio::time::sleep(world.dice.millis(100, 5000)).await;
    // However the request went: a host that joins anew is another instance.
    for _ in 0..100 {
        if host.join(world).await {
            return host.kill_agent(1);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
