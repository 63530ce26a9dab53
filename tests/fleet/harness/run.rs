//! One run: a fleet is made, troubled, mended, and taken down, and is right all the while.

use crate::control;
use crate::entropy;
use crate::plan::Plan;
use crate::schedules;
use crate::sets;
use crate::troubles;
use crate::workload;
use crate::world::World;
use longshore_core::State;
use longshore_core::records::{InstanceStatus, RolloutState, SchedulingStrategy, Service, Task};
use longshore_model::planted::Bug;
#[cfg(debug_assertions)]
use longshore_model::planted::plant;
use longshore_model::{DesiredStatus, TaskId, TaskStatus};
use longshore_plan::RunState;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest time from the end of all troubles until everything is as it should be.
const CONVERGES: Duration = Duration::from_secs(400);
/// The same until all that schedules and rules fired has its tasks: what found no place waits up to five minutes.
const ALL_DONE: Duration = Duration::from_secs(1000);
/// Longest time for the first hosts to join, and for everything to go at the end.
const PATIENCE: Duration = Duration::from_secs(200);

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The run.
    pub(crate) seed: u64,
    /// A sum over everything that happened, in order.
    pub(crate) sum: u64,
    /// How many things happened.
    pub(crate) lines: u64,
    /// What was wrong; nothing if absent.
    pub(crate) wrong: Option<String>,
    /// The last of what happened.
    pub(crate) trace: Vec<String>,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        let seed = self.seed;
        match &self.wrong {
            None => writeln!(f, "seed {seed}: all is right after {} lines, sum {:016x}", self.lines, self.sum),
            Some(wrong) => {
                writeln!(f, "seed {seed}: {wrong}")?;
                writeln!(
                    f,
                    "again: LONGSHORE_SEED={seed} cargo nextest run -p longshore-fleet -E 'test(=seeds::replay)' \
                     --no-capture"
                )
            }
        }
    }
}

/// What begins the line in which a process tells its run's outcome.
const TOLD: &str = "outcome: ";
/// Which run a process is for: a seed, and the name of a bug that is planted.
const WANTED: &str = "LONGSHORE_RUN";

impl Outcome {
    fn to_json(&self) -> serde_json::Value {
        let Self { seed, sum, lines, wrong, trace } = self;
        serde_json::json!({"seed": seed, "sum": sum, "lines": lines, "wrong": wrong, "trace": trace})
    }

    fn from_json(told: &str) -> Option<Self> {
        let told: serde_json::Value = serde_json::from_str(told).ok()?;
        let line = |line: &serde_json::Value| line.as_str().map(str::to_owned);
        Some(Self {
            seed: told["seed"].as_u64()?,
            sum: told["sum"].as_u64()?,
            lines: told["lines"].as_u64()?,
            wrong: line(&told["wrong"]),
            trace: told["trace"].as_array()?.iter().map(line).collect::<Option<_>>()?,
        })
    }
}

/// Runs a seed, in a process of its own, so that it is the same run whatever ran before: tokio draws the order in which
/// it wakes those that wait for one thing, from a generator that counts the runtimes of its process.
#[must_use]
pub(crate) fn run(seed: u64) -> Outcome {
    run_apart(seed, None)
}

fn run_apart(seed: u64, bug: Option<Bug>) -> Outcome {
    let wanted = bug.map_or_else(|| seed.to_string(), |bug| format!("{seed} {bug:?}"));
    let this = std::env::current_exe().expect("this file");
    let mut process = std::process::Command::new(this);
    process.args(["--exact", "seeds::replay", "--nocapture"]).env(WANTED, wanted);
    let output = process.output().expect("this file runs");
    let told = String::from_utf8_lossy(&output.stdout);
    let told = told.lines().find_map(|line| Outcome::from_json(line.split_once(TOLD)?.1));
    told.unwrap_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        let wrong = Some(format!("its process told no outcome, {}: {said}", output.status));
        Outcome { seed, sum: 0, lines: 0, wrong, trace: Vec::new() }
    })
}

/// Runs what this process is for, if it is for a run, and tells its outcome.
pub(crate) fn run_what_is_wanted() -> bool {
    let Ok(wanted) = std::env::var(WANTED) else { return false };
    let (seed, bug) = wanted.split_once(' ').map_or((wanted.as_str(), None), |(seed, bug)| (seed, Some(bug)));
    let named = |name| Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name).expect("the name of a bug");
    let outcome = run_with(seed.parse().expect("a seed"), false, bug.map(named));
    println!("{TOLD}{}", outcome.to_json());
    true
}

/// Runs a seed in this process, on a thread of its own, and prints all that happens at once.
#[must_use]
pub(crate) fn run_aloud(seed: u64) -> Outcome {
    run_with(seed, true, None)
}

/// The same of a product with a bug in it.
#[must_use]
pub(crate) fn run_planted(seed: u64, bug: Bug) -> Outcome {
    run_apart(seed, Some(bug))
}

fn run_with(seed: u64, echo: bool, bug: Option<Bug>) -> Outcome {
    notice_panics();
    // Whatever is left to chance on this thread follows from the seed: the hash keys of its maps, its generators.
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(16 << 20);
    let run = move || {
        entropy::seed(seed);
        if let Some(bug) = bug {
            plant(bug);
        }
        PANICKED.take();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime without threads or sockets").block_on(Box::pin(simulate(seed, echo)))
    };
    let joined = thread.spawn(run).expect("a thread").join();
    joined.unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default();
        Outcome { seed, sum: 0, lines: 0, wrong: Some(format!("the run panicked: {why}")), trace: Vec::new() }
    })
}

/// A release build has no bugs to plant.
#[cfg(not(debug_assertions))]
fn plant(bug: Bug) {
    panic!("{bug:?} cannot be planted in a release build");
}

thread_local! {
    /// What panicked on this thread, in a task of whoever.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A task that panics ends alone, and tokio tells nobody who does not wait for it.
fn notice_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.with_borrow_mut(|panicked| *panicked = Some(panic.to_string()));
            usual(panic);
        }));
    });
}

async fn simulate(seed: u64, echo: bool) -> Outcome {
    let world = World::new(Plan::of(seed), echo);
    world.trace.say(format_args!("{:?}", world.plan));
    let alarm = async {
        loop {
            world.trace.alarm.notified().await;
            if world.trace.is_wrong().is_some() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = alarm => {}
        result = story(Arc::clone(&world)) => if let Err(why) = result {
            world.trace.wrong(why);
        },
    }
    if let Some(panicked) = PANICKED.take() {
        world.trace.wrong(panicked);
    }
    let wrong = world.trace.is_wrong();
    let (sum, lines, trace) = world.trace.end();
    Outcome { seed, sum, lines, wrong, trace }
}

async fn story(world: Arc<World>) -> Result<(), String> {
    tokio::spawn(Arc::clone(&world).watch());
    tokio::spawn(control::keep_up(Arc::clone(&world)));
    workload::prepare(&world).await?;
    for host in &world.hosts {
        within(PATIENCE, async {
            while !host.join(&world).await {
                tick().await
            }
        })
        .await
        .ok_or("a host does not join")?;
        tokio::spawn(Arc::clone(host).keep_up(Arc::clone(&world)));
    }
    // Only now: what was prepared is not what is looked at.
    world.store.fail(world.plan.store_faults);
    world.store.slow.store(world.plan.store_slow, std::sync::atomic::Ordering::Relaxed);
    let clients = tokio::spawn(workload::run(Arc::clone(&world)));
    tokio::spawn(troubles::run(Arc::clone(&world)));
    tokio::time::sleep(world.plan.length).await;
    // Nobody asks for anything once troubles are over: what they hid from the control plane it finds by itself.
    world.close();
    let left = within(PATIENCE, clients).await.ok_or("a client still waits")?;
    left.map_err(|error| error.to_string())??;
    tokio::time::sleep(world.dice.millis(0, 3000)).await;

    if world.dice.chance(700)
        && let Some(process) = world.control()
    {
        // The last of the troubles: what was seen by then is there after it.
        process.fuse.light(2);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.heal();
    within(PATIENCE, async {
        while world.is_busy() {
            tick().await
        }
    })
    .await
    .ok_or("somebody still waits")?;
    workload::deregister_former(&world).await?;
    settle(&world, services, CONVERGES, "did not become as it should be by itself").await?;
    settle(&world, schedules::open, ALL_DONE, "has not done all that was due").await?;
    schedules::end(&world).await?;
    workload::stop_strays(&world).await?;
    settle(&world, open, CONVERGES, "did not become as it should be").await?;
    world.trace.say("everything is as it should be");
    workload::tear_down(&world).await?;
    settle(&world, open, PATIENCE, "is not gone").await?;
    if let Some(state) = world.state()
        && let Some(id) = workload::live(&state).first()
    {
        return Err(format!("task {id} is left over"));
    }
    world.trace.say("everything is gone");
    Ok(())
}

async fn tick() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

async fn within<T>(limit: Duration, what: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, what).await.ok()
}

/// Waits until nothing is left to be done, and says what is left when that takes too long.
async fn settle(
    world: &World,
    open: impl Fn(&World) -> Vec<String>,
    limit: Duration,
    what: &str,
) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    loop {
        let open = open(world);
        let Some(first) = open.first() else { return Ok(()) };
        if Instant::now() > deadline {
            let more = if open.len() > 1 { format!(" (and {} more)", open.len() - 1) } else { String::new() };
            return Err(format!("the fleet {what} within {} s: {first}{more}", limit.as_secs()));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Services that are not as they should be yet.
fn services(world: &World) -> Vec<String> {
    let (Some(state), Some(_)) = (world.state(), world.control()) else {
        return vec!["the control plane is down".to_owned()];
    };
    state.services().filter_map(|(_, service)| service_open(&state, &service.record)).collect()
}

/// What is not as it should be yet.
fn open(world: &World) -> Vec<String> {
    let (Some(state), Some(_)) = (world.state(), world.control()) else {
        return vec!["the control plane is down".to_owned()];
    };
    let mut open = services(world);
    for id in workload::live(&state) {
        if state.task(id).is_some_and(|task| !task.group.starts_with("service:")) {
            open.push(format!("task {id}, which was stopped, is not over"));
        }
    }
    for host in &world.hosts {
        let Some(found) = host.instance().and_then(|id| state.host(id)) else {
            open.push(format!("{} is not registered", host.name));
            continue;
        };
        if !found.record.is_connected() {
            open.push(format!("{} is not connected", host.name));
        }
        let wanted: BTreeSet<TaskId> = found.live.clone();
        let observed = host.observed().unwrap_or_default();
        let running = observed.values().filter(|report| report.status == TaskStatus::Running);
        let running: BTreeSet<TaskId> = running.map(|report| report.task).collect();
        if wanted != running {
            open.push(format!("{}: {wanted:?} are to run, and its agent observes {running:?}", host.name));
        }
        let engine = host.docker.engine();
        let there: BTreeSet<TaskId> = engine.containers.keys().map(|(task, _)| *task).collect();
        let runs = engine.containers.iter().filter(|(_, c)| c.state == RunState::Running);
        let runs: BTreeSet<TaskId> = runs.map(|((task, _), _)| *task).collect();
        if runs != wanted || there != wanted {
            open.push(format!("{}: {wanted:?} are to run, {runs:?} do, and there are {there:?}", host.name));
        }
        let others = engine.volumes.iter().map(|(task, _)| task).chain(&engine.namespaces).chain(&engine.cgroups);
        if let Some(task) = others.into_iter().find(|task| !wanted.contains(task)) {
            open.push(format!("{}: something of task {task} is left over", host.name));
        }
        let sandboxes = engine.sandboxes.keys().copied().collect();
        open.extend(world.addresses.open(&state, host, &wanted, &sandboxes));
        if host.disk.tasks() != wanted.len() {
            open.push(format!("{}: the ledger has {} tasks of {}", host.name, host.disk.tasks(), wanted.len()));
        }
    }
    open
}

/// Whether a task is on a host that is to be empty.
fn drains(state: &State, task: &Task) -> bool {
    state.host(task.instance).is_some_and(|host| host.record.status == InstanceStatus::Draining)
}

fn service_open(state: &State, service: &Service) -> Option<String> {
    let key = &service.key;
    if service.is_over() {
        return None;
    }
    if !service.is_active() {
        return Some(format!("service {key} is being deleted"));
    }
    let tasks = state.service_tasks(key);
    if let Some(task) = tasks.iter().find(|task| drains(state, task)) {
        return Some(format!("task {} of service {key} is on host {}, which drains", task.id, task.instance));
    }
    if sets::has_sets(service) {
        return sets::open(state, service);
    }
    let wanted = match service.scheduling {
        SchedulingStrategy::Replica => service.desired as usize,
        SchedulingStrategy::Daemon => {
            let hosts = state.cluster(&key.cluster).into_iter().flat_map(|cluster| cluster.hosts.values());
            hosts.filter(|host| host.record.status == InstanceStatus::Active).count()
        }
    };
    let [deployment] = service.deployments.as_slice() else {
        return Some(format!("service {key} has {} deployments", service.deployments.len()));
    };
    let right = |task: &&Arc<Task>| {
        task.desired == DesiredStatus::Running
            && task.status == TaskStatus::Running
            && task.started_by.as_deref() == Some(&*deployment.id)
    };
    let running = tasks.iter().filter(right).count();
    let complete = deployment.state == RolloutState::Completed;
    (running != wanted || tasks.len() != wanted || !complete).then(|| {
        let last = state.service(key).and_then(|s| s.events.back().map(|event| event.message.clone()));
        format!(
            "service {key} has {running} right tasks, {} in all, of {wanted}; its deployment is {:?}; it said last: {}",
            tasks.len(),
            deployment.state,
            last.unwrap_or_default()
        )
    })
}
