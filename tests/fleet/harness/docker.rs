//! A host's container engine: containers that start, run, exit and hang, behind an engine that is slow, hangs and
//! restarts. What it was asked for goes on when the agent that asked has died.

use crate::clock::Clock;
use crate::entropy::Dice;
use crate::runs::Runs;
use crate::trace::Trace;
use longshore_agent::engine::Hint;
use longshore_agent::engine::drivers::CreateRequest;
use longshore_agent::network::sandboxes::Sandbox;
use longshore_model::{ContainerName, EniId, TaskId, Timestamp};
use longshore_plan::{Creation, Failure, Halt, Interface, ResolvedPort, RunState, Supervise};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// How long the driver waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) type Key = (TaskId, ContainerName);

/// A container as the engine has it.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) state: RunState,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) exit_code: i32,
    pub(crate) label: String,
    pub(crate) ports: Vec<ResolvedPort>,
    pub(crate) memory_mib: u32,
    pub(crate) interface: Option<Interface>,
    image: String,
    /// Rises with each start, so that an exit is of the run that it belongs to.
    run: u32,
    restarts: bool,
    /// Starts, stops, looks and removals of one container exclude each other.
    gate: Arc<tokio::sync::Mutex<()>>,
}

/// What survives the agent.
#[derive(Default)]
pub(crate) struct Engine {
    pub(crate) up: bool,
    /// Rises with each start of the engine: what was asked of an earlier one is gone.
    epoch: u64,
    /// What every request takes longer at present.
    pub(crate) drag: Duration,
    pub(crate) containers: BTreeMap<Key, Container>,
    pub(crate) volumes: BTreeSet<(TaskId, String)>,
    pub(crate) namespaces: BTreeSet<TaskId>,
    pub(crate) cgroups: BTreeSet<TaskId>,
    pub(crate) sandboxes: BTreeMap<EniId, Sandbox>,
    /// How often each was started again.
    pub(crate) sandbox_starts: BTreeMap<EniId, u32>,
    /// When those that are gone went, by the run's time: their links went with them.
    pub(crate) sandboxes_gone: BTreeMap<EniId, Duration>,
    made: u32,
    /// The running agent's ear.
    hints: Option<mpsc::Sender<Hint>>,
    /// Poked when a sandbox ends.
    pub(crate) sandbox_ends: Arc<Notify>,
    /// Events of a thousand that get lost.
    pub(crate) deaf: u32,
}

/// One host's engine.
pub(crate) struct Docker {
    pub(crate) host: String,
    memory_mib: u32,
    dice: Dice,
    pub(crate) clock: Clock,
    pub(crate) trace: Arc<Trace>,
    runs: Arc<Runs>,
    engine: Mutex<Engine>,
}

impl Engine {
    /// The first process of a sandbox: another one each time that it was started.
    pub(crate) fn sandbox_pid(&self, eni: EniId) -> u32 {
        1 + self.sandbox_starts.get(&eni).copied().unwrap_or_default()
    }
}

impl Docker {
    pub(crate) fn new(
        host: &str,
        memory_mib: u32,
        dice: Dice,
        clock: Clock,
        trace: Arc<Trace>,
        runs: Arc<Runs>,
    ) -> Arc<Self> {
        let engine = Mutex::new(Engine { up: true, ..Engine::default() });
        Arc::new(Self { host: host.to_owned(), memory_mib, dice, clock, trace, runs, engine })
    }

    pub(crate) fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause(&self) -> Duration {
        let drag = self.engine().drag;
        drag + if self.dice.chance(20) { self.dice.millis(200, 2000) } else { self.dice.millis(1, 40) }
    }

    /// Events go to `hints` from here on.
    pub(crate) fn listen(&self, hints: Option<mpsc::Sender<Hint>>) {
        self.engine().hints = hints;
    }

    /// Asks the engine, which does it in its own time whether or not the asker lives to hear of it.
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        gate: Option<Key>,
        act: impl FnOnce(&Self, &mut Engine) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (epoch, lock) = {
            let engine = self.engine();
            if !engine.up {
                return Err(Failure::Away("connection refused".into()));
            }
            let lock = gate.and_then(|key| engine.containers.get(&key).map(|c| Arc::clone(&c.gate)));
            (engine.epoch, lock)
        };
        let (answer, answered) = oneshot::channel();
        let me = Arc::clone(self);
        tokio::spawn(async move {
            let _held = match &lock {
                Some(lock) => Some(lock.lock().await),
                None => None,
            };
            tokio::time::sleep(me.pause()).await;
            let result = {
                let mut engine = me.engine();
                if !engine.up || engine.epoch != epoch {
                    return;
                }
                act(&me, &mut engine)
            };
            tokio::time::sleep(me.pause()).await;
            if me.engine().epoch == epoch {
                let _ = answer.send(result);
            }
        });
        match tokio::time::timeout(TIMEOUT, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Failure::Unknown("the connection broke".into())),
            Err(_) => Err(Failure::TimedOut("no answer in time".into())),
        }
    }

    pub(crate) fn make(&self, engine: &mut Engine, request: &CreateRequest) -> Result<Creation, Failure> {
        let spec = &request.spec.containers[request.index];
        let key = (request.spec.id, spec.name.clone());
        if engine.containers.contains_key(&key) {
            return Err(Failure::NameTaken("taken".into()));
        }
        engine.made += 1;
        let id = format!("{}-{}", self.host, engine.made);
        let made = Container {
            id: id.clone(),
            state: RunState::Created,
            started_at: None,
            finished_at: None,
            exit_code: 0,
            ports: Supervise::from_label(&request.supervise).map(|label| label.ports).unwrap_or_default(),
            label: request.supervise.clone(),
            interface: request.interface.clone(),
            memory_mib: spec.memory_mib.or(spec.memory_reservation_mib).unwrap_or(0),
            image: spec.image.clone(),
            run: 0,
            restarts: spec.lifecycle.restart.is_some(),
            gate: Arc::default(),
        };
        self.trace.say(format_args!("{}: created {}/{} as {id}", self.host, key.0, key.1));
        engine.containers.insert(key, made);
        Ok(Creation { id, warnings: Vec::new() })
    }

    /// The container's process begins.
    pub(crate) fn begin(self: &Arc<Self>, engine: &mut Engine, key: &Key) -> Result<(), Failure> {
        let Some(container) = engine.containers.get(key) else {
            return Err(Failure::Unknown("no such container".into()));
        };
        if container.state == RunState::Running {
            return Ok(());
        }
        if container.image.starts_with("broken") {
            return Err(Failure::Lasting("exec format error".into()));
        }
        let joins = container.interface.as_ref().map(|interface| interface.eni.id);
        if joins.is_some_and(|eni| !engine.sandboxes.get(&eni).is_some_and(|sandbox| sandbox.running)) {
            return Err(Failure::Lasting("cannot join the network of a container that does not run".into()));
        }
        let running = || engine.containers.iter().filter(|(_, c)| c.state == RunState::Running);
        let mut ports = container.ports.iter().flat_map(ResolvedPort::keys);
        if let Some(taken) = ports.find(|p| running().any(|(_, c)| c.ports.iter().any(|r| r.keys().any(|k| k == *p)))) {
            return Err(Failure::PortTaken(format!("port {taken} is already allocated")));
        }
        let used: u32 = running().map(|(_, c)| c.memory_mib).sum();
        if used + container.memory_mib > self.memory_mib {
            let held: Vec<String> = running().map(|((task, _), c)| format!("{task}: {} MiB", c.memory_mib)).collect();
            self.trace.wrong(format_args!(
                "{}: {} MiB of memory for {} on top of {used} of {}: {held:?}",
                self.host, container.memory_mib, key.0, self.memory_mib
            ));
        }
        self.runs.begin(&self.trace, &self.host, key, &container.id, container.restarts);
        let now = self.clock.time();
        let Some(container) = engine.containers.get_mut(key) else { return Ok(()) };
        container.state = RunState::Running;
        container.started_at = Some(now);
        container.run += 1;
        self.trace.say(format_args!("{}: started {}/{} ({})", self.host, key.0, key.1, container.image));
        let lasts = match container.image.split(':').next() {
            Some("job") => Some((self.dice.millis(500, 15_000), 0)),
            Some("crash") => Some((self.dice.millis(50, 3_000), 1)),
            Some(_) | None => None,
        };
        if let Some((after, code)) = lasts {
            let (me, key, run) = (Arc::clone(self), key.clone(), container.run);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                me.ended(&mut me.engine(), &key, Some(run), code);
            });
        }
        Ok(())
    }

    /// The container's process is over, if it runs and this is its `run`.
    fn ended(self: &Arc<Self>, engine: &mut Engine, key: &Key, run: Option<u32>, code: i32) {
        let Some(container) = engine.containers.get_mut(key) else { return };
        if container.state != RunState::Running || run.is_some_and(|run| run != container.run) {
            return;
        }
        container.state = RunState::Ended;
        self.runs.end(key);
        container.finished_at = Some(self.clock.time());
        container.exit_code = code;
        self.trace.say(format_args!("{}: {}/{} ended with {code}", self.host, key.0, key.1));
        if engine.up && !self.dice.chance(engine.deaf) {
            let hint = Hint::Container { task: key.0, container: key.1.clone() };
            self.tell(engine, hint);
        }
    }

    fn tell(&self, engine: &Engine, hint: Hint) {
        let Some(hints) = engine.hints.clone() else { return };
        let after = self.dice.millis(1, 50);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = hints.try_send(hint);
        });
    }

    /// A stop: the polite signal, and the other one when it is not heeded in time.
    pub(crate) async fn halt(self: &Arc<Self>, key: &Key, halt: Halt) -> Result<(), Failure> {
        let (epoch, gate, stubborn) = {
            let engine = self.engine();
            if !engine.up {
                return Err(Failure::Away("connection refused".into()));
            }
            let Some(container) = engine.containers.get(key) else { return Ok(()) };
            (engine.epoch, Arc::clone(&container.gate), container.image.starts_with("stubborn"))
        };
        let heeds = if stubborn { Duration::from_secs(3600) } else { self.dice.millis(10, 1500) };
        let (after, code) = match halt {
            Halt::Kill => (Duration::ZERO, 137),
            Halt::Polite(grace) if heeds > grace => (grace, 137),
            Halt::Polite(_) => (heeds, 143),
        };
        let (answer, answered) = oneshot::channel();
        let (me, key) = (Arc::clone(self), key.clone());
        tokio::spawn(async move {
            let _held = gate.lock().await;
            tokio::time::sleep(me.pause() + after).await;
            {
                let mut engine = me.engine();
                if !engine.up || engine.epoch != epoch {
                    return;
                }
                me.ended(&mut engine, &key, None, code);
            }
            tokio::time::sleep(me.pause()).await;
            if me.engine().epoch == epoch {
                let _ = answer.send(());
            }
        });
        match tokio::time::timeout(TIMEOUT + after, answered).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Failure::Unknown("the connection broke".into())),
            Err(_) => Err(Failure::TimedOut("no answer in time".into())),
        }
    }

    /// The engine ends; its containers go on or, with `kill`, do not.
    pub(crate) fn stop_engine(self: &Arc<Self>, kill: bool) {
        let mut engine = self.engine();
        self.trace.say(format_args!(
            "{}: the engine ends{}",
            self.host,
            if kill { " with its containers" } else { "" }
        ));
        engine.up = false;
        engine.epoch += 1;
        engine.drag = Duration::ZERO;
        // What was in the middle of something is not any more.
        engine.containers.values_mut().for_each(|c| c.gate = Arc::default());
        self.tell(&engine, Hint::Down { why: "the stream of events ended".to_owned() });
        if kill {
            self.kill_all(&mut engine);
        }
    }

    fn kill_all(self: &Arc<Self>, engine: &mut Engine) {
        let running: Vec<Key> =
            engine.containers.iter().filter(|(_, c)| c.state == RunState::Running).map(|(k, _)| k.clone()).collect();
        running.iter().for_each(|key| self.ended(engine, key, None, 137));
        engine.sandboxes.values_mut().for_each(|sandbox| sandbox.running = false);
        engine.sandbox_ends.notify_one();
    }

    /// The engine answers again.
    pub(crate) fn start_engine(&self) {
        let mut engine = self.engine();
        self.trace.say(format_args!("{}: the engine answers", self.host));
        engine.up = true;
        self.tell(&engine, Hint::Relist);
    }

    /// Makes the agent look.
    pub(crate) fn start_hint(&self) {
        self.tell(&self.engine(), Hint::Relist);
    }

    /// The power goes.
    pub(crate) fn power_off(self: &Arc<Self>) {
        let mut engine = self.engine();
        engine.up = false;
        engine.epoch += 1;
        engine.hints = None;
        engine.drag = Duration::ZERO;
        engine.containers.values_mut().for_each(|c| c.gate = Arc::default());
        engine.namespaces.clear();
        engine.cgroups.clear();
        self.kill_all(&mut engine);
    }

    /// Somebody removes a container by hand.
    pub(crate) fn vandalise(self: &Arc<Self>) {
        let mut engine = self.engine();
        let keys: Vec<Key> = engine.containers.keys().cloned().collect();
        let Some(key) = self.dice.pick(&keys).filter(|_| engine.up) else { return };
        self.trace.say(format_args!("{}: somebody removes {}/{}", self.host, key.0, key.1));
        self.ended(&mut engine, key, None, 137);
        engine.containers.remove(key);
        let hint = Hint::Container { task: key.0, container: key.1.clone() };
        self.tell(&engine, hint);
    }
}
