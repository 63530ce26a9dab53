//! The host: what becomes of steps, and of what runs.

use super::{Box_, IGNORED, Key, World};
use longshore_model::{Bandwidth, ContainerName, EniReport, HealthStatus, HostPort, Mac, NetworkMode, TaskId};
use longshore_plan::{
    Creation, Failure, Inspected, Interface, Made, Outcome, Phase, PortKey, ResolvedPort, ResourceKind, RunState,
    Sighting, Step, Task,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl World {
    /// What the host makes of a step. `how` decides whether it fails, and how.
    pub(super) fn carry_out(&mut self, id: TaskId, step: &Step, how: u8) -> Outcome {
        let text = || "because".to_owned();
        let failure = if !self.up {
            self.answering = false;
            Some(Failure::Away(text()))
        } else {
            match how {
                0..=15 => Some(Failure::Passing(text())),
                16..=23 => Some(Failure::Unknown(text())),
                24..=29 => Some(Failure::TimedOut(text())),
                30..=31 => Some(Failure::Lasting(text())),
                32..=33 if matches!(step, Step::Start(_)) => Some(Failure::Confused(text())),
                32..=35 if matches!(step, Step::Ensure(_) | Step::Pull(_) | Step::Create(_)) => {
                    Some(Failure::NoSpace(text()))
                }
                34..=37 if matches!(step, Step::Start(_)) => {
                    if let Step::Start(i) = step {
                        self.lose(id, *i);
                    }
                    Some(Failure::Away(text()))
                }
                _ => None,
            }
        };
        // What was lost on the way or took too long may have happened all the same.
        let happens = match &failure {
            None => true,
            Some(Failure::Unknown(_) | Failure::TimedOut(_) | Failure::Confused(_)) => how.is_multiple_of(2),
            Some(_) => false,
        };
        let outcome = if happens { self.really(id, step) } else { None };
        let Some(failure) = failure else { return outcome.expect("it was carried out") };
        match step {
            Step::Ensure(_) => Outcome::Ensured(Err(failure)),
            Step::Release(_) => Outcome::Released(Err(failure)),
            Step::Pull(_) => Outcome::Pulled(Err(failure)),
            Step::Create(_) => Outcome::Created(Err(failure)),
            Step::Start(_) => Outcome::Started(Err(failure)),
            Step::Inspect(_) => Outcome::Inspected(Err(failure)),
            Step::Stop(_, _) | Step::StopUnhealthy(_, _) => Outcome::Halted(Err(failure)),
            Step::Remove { .. } => Outcome::Removed(Err(failure)),
        }
    }

    pub(super) fn really(&mut self, id: TaskId, step: &Step) -> Option<Outcome> {
        Some(match step {
            Step::Ensure(ResourceKind::Ports) => Outcome::Ensured(self.give_ports(id).map(Made::Ports)),
            Step::Ensure(ResourceKind::Cgroup) => {
                self.cgroups.insert(id);
                Outcome::Ensured(Ok(Made::Plain))
            }
            Step::Ensure(ResourceKind::Interface) => Outcome::Ensured(Ok(Made::Interface(self.give_interface(id)))),
            Step::Ensure(ResourceKind::Volume(_)) => {
                self.volumes.insert(id);
                Outcome::Ensured(Ok(Made::Plain))
            }
            Step::Ensure(ResourceKind::Namespaces) => {
                self.namespaces.insert(id);
                Outcome::Ensured(Ok(Made::Plain))
            }
            Step::Ensure(ResourceKind::SharedVolume(_)) => Outcome::Ensured(Ok(Made::Plain)),
            Step::Release(kind) => {
                match kind {
                    ResourceKind::Ports => {}
                    ResourceKind::Cgroup => _ = self.cgroups.remove(&id),
                    ResourceKind::Interface => self.take_interfaces(|task| *task == id),
                    ResourceKind::Namespaces => _ = self.namespaces.remove(&id),
                    ResourceKind::Volume(_) => _ = self.volumes.remove(&id),
                    ResourceKind::SharedVolume(_) => {}
                }
                Outcome::Released(Ok(()))
            }
            Step::Pull(_) => Outcome::Pulled(Ok(Some("sha256:x".into()))),
            Step::Create(i) => Outcome::Created(self.create(id, *i)),
            Step::Start(i) => Outcome::Started(self.start(id, *i)),
            // What is being made is in listings, and not yet to be inspected.
            Step::Inspect(i) if self.boxes.get_mut(&(id, *i)).is_some_and(|b| std::mem::take(&mut b.half_made)) => {
                Outcome::Inspected(Ok(None))
            }
            Step::Inspect(i) => Outcome::Inspected(Ok(self.boxes.get_mut(&(id, *i)).map(|b| Inspected {
                id: {
                    b.renamed = false;
                    b.id.clone()
                },
                ours: true,
                state: b.state,
                started_at: b.started_at,
                finished_at: None,
                before_boot: b.with_host,
                exit_code: b.started_at.map(|_| b.exit_code),
                health: b.health,
                oom_killed: false,
                error: None,
                image_digest: None,
                ports: b.label.ports.clone(),
                interface: b.label.interface.clone().map(Box::new),
            }))),
            Step::Stop(i, halt) | Step::StopUnhealthy(i, halt) => {
                self.halts.push((id, *halt));
                if let Some(b) = self.boxes.get_mut(&(id, *i))
                    && b.state == RunState::Running
                {
                    b.state = RunState::Ended;
                    b.exit_code = 143;
                    if matches!(step, Step::StopUnhealthy(_, _)) {
                        // It ends as if by itself, and well.
                        b.exit_code = IGNORED;
                        self.bounced.insert((id, *i));
                    }
                    *self.ends.entry((id, *i)).or_default() += 1;
                    self.log.push((id, '-', *i));
                }
                Outcome::Halted(Ok(()))
            }
            Step::Remove { container: i, .. } => {
                let running = self.boxes.get(&(id, *i)).is_some_and(|b| b.state == RunState::Running);
                if running {
                    return Some(Outcome::Removed(Err(Failure::Passing("it runs".into()))));
                }
                if self.end_lost(id, *i) {
                    return Some(Outcome::Removed(Err(Failure::Lasting("it ran".into()))));
                }
                self.boxes.remove(&(id, *i));
                Outcome::Removed(Ok(()))
            }
        })
    }

    pub(super) fn give_ports(&mut self, id: TaskId) -> Result<Vec<(ContainerName, Vec<ResolvedPort>)>, Failure> {
        let Some(task) = self.tasks.get(&id) else { return Ok(Vec::new()) };
        let (claims, foreign) = (&mut self.claims, &self.foreign);
        task.resolve_ports(|mapping| match mapping.host_port {
            HostPort::Fixed(port) => {
                let key = PortKey { protocol: mapping.protocol, port };
                claims.claim(key, id).map(|()| port).map_err(|_| Failure::Passing("held".into()))
            }
            HostPort::Dynamic => (30_000..30_012)
                .find(|port| {
                    let key = PortKey { protocol: mapping.protocol, port: *port };
                    // A foreign program with an even port hides from the look, and is found at the start.
                    let seen = foreign.contains(port) && port % 2 == 1;
                    !seen && claims.holder(key).is_none() && claims.claim(key, id).is_ok()
                })
                .ok_or_else(|| Failure::Passing("none is free".into())),
        })
    }

    /// As the agent's network does it: a task that has one is given it again.
    pub(super) fn give_interface(&mut self, id: TaskId) -> Box<Interface> {
        let had = self.interfaces.iter().find(|(_, task)| **task == id).map(|(eni, _)| *eni);
        let eni = had.unwrap_or_else(|| {
            self.ids += 1;
            format!("eni-{:017x}", self.ids).parse().expect("an id")
        });
        self.interfaces.insert(eni, id);
        if had.is_none() {
            self.sandboxes.insert(eni);
        }
        let ipv4 = std::net::Ipv4Addr::LOCALHOST;
        Box::new(Interface {
            eni: EniReport { id: eni, mac: Mac::of_task(ipv4), ipv4, ipv6: None, attached: true },
            sandbox: format!("sandbox of {eni}"),
            files: String::new(),
            groups: BTreeSet::new(),
            bandwidth: Bandwidth::default(),
        })
    }

    pub(super) fn take_interfaces(&mut self, of: impl Fn(&TaskId) -> bool) {
        let (interfaces, sandboxes) = (&mut self.interfaces, &mut self.sandboxes);
        interfaces.retain(|eni, task| {
            let kept = !of(task);
            if !kept {
                sandboxes.remove(eni);
            }
            kept
        });
    }

    pub(super) fn create(&mut self, id: TaskId, i: usize) -> Result<Creation, Failure> {
        if self.boxes.contains_key(&(id, i)) {
            return Err(Failure::NameTaken("taken".into()));
        }
        let task = self.tasks.get(&id).expect("a step of a task that is there");
        let label = task.supervise(i);
        let wanted = task.outline.containers[i].ports.len();
        assert_eq!(label.ports.len(), wanted, "created without its ports");
        assert!(!task.outline.limited || self.cgroups.contains(&id), "created before its cgroup");
        let eni = label.interface.as_ref().map(|interface| interface.eni.id);
        let awsvpc = task.outline.network_mode == NetworkMode::Awsvpc;
        assert_eq!(eni.is_some(), awsvpc, "created without its interface");
        if let Some(eni) = eni
            && !self.sandboxes.contains(&eni)
        {
            return Err(Failure::Lasting("no such container to join".into()));
        }
        assert!(task.outline.volumes.is_empty() || self.volumes.contains(&id), "created before its volume");
        assert!(!task.outline.namespaces || self.namespaces.contains(&id), "created before its namespaces");
        for name in &task.outline.containers[i].after {
            let before = task.record.containers.iter().position(|c| c.name == *name).expect("ours");
            let phase = &task.record.containers[before].phase;
            let begun = self.runs.contains_key(&(id, before)) || phase.is_running() || phase.is_stopped();
            assert!(begun, "created before {name}, which is {phase:?}");
        }
        self.ids += 1;
        let made = Box_ {
            id: format!("id{}", self.ids),
            state: RunState::Created,
            started_at: None,
            exit_code: 0,
            health: None,
            ports: label.ports.clone(),
            label,
            with_host: false,
            lost: false,
            half_made: false,
            renamed: false,
        };
        let creation = Creation { id: made.id.clone(), warnings: Vec::new() };
        self.boxes.insert((id, i), made);
        Ok(creation)
    }

    pub(super) fn start(&mut self, id: TaskId, i: usize) -> Result<(), Failure> {
        // At most once rests on this.
        let durable = self.durable.get(&id).map(|r| &r.containers[i].phase);
        assert!(
            matches!(durable, Some(Phase::Starting { .. } | Phase::Restarting { asked: true, .. } | Phase::Stopped(_))),
            "a start before its record was durable: {durable:?}"
        );
        // Two starts are never in the same moment.
        self.now = self.now.after(Duration::from_millis(1));
        let now = self.now;
        let Some(b) = self.boxes.get(&(id, i)) else { return Err(Failure::Unknown("no such container".into())) };
        if b.state == RunState::Running {
            return Ok(());
        }
        if let Some(interface) = &b.label.interface
            && !self.sandboxes.contains(&interface.eni.id)
        {
            // As the agent does it: what is started again has its sandbox again, unless others of the task run.
            let task = &self.tasks[&id];
            let again = matches!(task.record.containers[i].phase, Phase::Restarting { .. }) || task.live.sandbox_asleep;
            let live = self.boxes.iter().any(|((of, _), b)| *of == id && b.state == RunState::Running);
            if !again || live || !self.interfaces.contains_key(&interface.eni.id) {
                return Err(Failure::Passing("cannot join a container that does not run".into()));
            }
            self.sandboxes.insert(interface.eni.id);
        }
        let b = &self.boxes[&(id, i)];
        for port in &b.ports {
            let taken = self.foreign.contains(&port.host_port);
            let ours = |(key, other): (&Key, &Box_)| {
                *key != (id, i)
                    && other.state == RunState::Running
                    && other.ports.iter().any(|p| p.host_port == port.host_port)
            };
            if taken || self.boxes.iter().any(ours) {
                return Err(Failure::PortTaken("taken".into()));
            }
        }
        if self.boxes[&(id, i)].lost {
            // The engine asks for its ports first, and has them since the start that was lost.
            return match self.boxes[&(id, i)].ports.is_empty() {
                true => {
                    self.end_lost(id, i);
                    Err(Failure::Lasting("it ran".into()))
                }
                false => Err(Failure::PortTaken("by itself".into())),
            };
        }
        let linked = &self.tasks[&id].outline.containers[i].links;
        for (j, other) in self.tasks[&id].record.containers.iter().enumerate() {
            let runs = self.boxes.get(&(id, j)).is_some_and(|b| b.state == RunState::Running);
            if linked.contains(&other.name) && !runs {
                return Err(Failure::Passing("cannot link to a container that does not run".into()));
            }
        }
        let b = self.boxes.get_mut(&(id, i)).expect("seen above");
        (b.state, b.with_host) = (RunState::Running, false);
        b.started_at = Some(now);
        b.health = b.health.map(|_| HealthStatus::Unknown);
        *self.runs.entry((id, i)).or_default() += 1;
        self.bounced.remove(&(id, i));
        self.log.push((id, '+', i));
        Ok(())
    }

    /// A start that the engine did not live to hear of.
    pub(super) fn lose(&mut self, id: TaskId, i: usize) {
        let first = self.boxes.get(&(id, i)).is_some_and(|b| b.state == RunState::Created);
        if first
            && self.start(id, i).is_ok()
            && let Some(b) = self.boxes.get_mut(&(id, i))
        {
            b.state = RunState::Created;
            b.started_at = None;
            b.lost = true;
        }
    }

    /// Ends what the engine lost. Says whether there was any.
    pub(super) fn end_lost(&mut self, id: TaskId, i: usize) -> bool {
        self.boxes.get_mut(&(id, i)).is_some_and(|b| std::mem::take(&mut b.lost))
    }

    pub(super) fn list(&mut self) {
        if !self.up {
            self.answering = false;
            return;
        }
        let as_of = self.seq;
        let by_id: BTreeSet<TaskId> = self.boxes.keys().map(|(id, _)| *id).collect();
        for id in by_id {
            if !self.tasks.contains_key(&id) {
                self.recover(id);
            }
        }
        for (id, task) in &mut self.tasks {
            let seen = sightings(&self.boxes, *id, task);
            task.sight(&seen, as_of);
            self.room.sync(task);
            let sandboxes = self.interfaces.keys().map(|eni| (*eni, self.sandboxes.contains(eni))).collect();
            task.sight_sandboxes(&sandboxes, &seen, as_of, self.now);
        }
        self.answering = true;
        // Start-up removes what belongs to no task, once it is known which tasks have containers.
        if std::mem::take(&mut self.leftovers) {
            let known: BTreeSet<TaskId> = self.tasks.keys().copied().collect();
            self.volumes.retain(|id| known.contains(id));
            self.cgroups.retain(|id| known.contains(id));
            self.namespaces.retain(|id| known.contains(id));
            self.take_interfaces(|id| !known.contains(id));
        }
    }
}

/// What a listing has of a task.
pub(super) fn sightings(boxes: &BTreeMap<Key, Box_>, id: TaskId, task: &Task) -> BTreeMap<ContainerName, Sighting> {
    let its = boxes.iter().filter(|((t, _), _)| *t == id);
    let sighting = |b: &Box_| Sighting { id: b.id.clone(), state: b.state, health: b.health, renamed: b.renamed };
    its.map(|((_, i), b)| (task.record.containers[*i].name.clone(), sighting(b))).collect()
}
