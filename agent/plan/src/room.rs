//! Whether a task has room beside those that are on the host: memory, GPUs and fixed host ports.
//!
//! The control plane gives nothing away before it has recorded the end of whoever had it. It may not know of everybody,
//! though: a host that was deregistered by force and has joined anew, one that returned after its tasks were replaced,
//! or one whose ledger was rebuilt, may still have tasks that are being stopped. So the agent looks for itself, and a
//! task that finds no room waits and says for what and who has it.
//!
//! # Whose turn it is
//! Whatever fits starts, whoever else waits: one slow stop holds nobody up that does not need what it has. So that a
//! large task is not passed by small ones for ever, one that has waited for [`Policy::patience`] has a claim: a younger
//! task starts only if the older one would fit beside it as well, as far as what is free now goes. Waits end:
//! [`Policy::room_timeout`] later the task fails and says what it waited for.

use crate::outline::Outline;
use crate::pass::{Pass, View};
use crate::policy::Policy;
use crate::ports::{PortClaims, PortKey, keys};
use crate::reasons;
use crate::record::{Ending, Phase, Wish};
use crate::step::Step;
use crate::task::Task;
use longshore_model::{HostPort, StopCode, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Whether a task has its place on the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Nothing of it is made before there is room. Left when there is.
    Wanted,
    /// It has what it needs, until all of its containers have stopped for good. Also that of every task that began
    /// before agents looked for themselves.
    #[default]
    Given,
}

/// What a task needs and no two can have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// MiB of memory: the task's, or the sum of its containers' reservations, as placement counts it.
    pub memory_mib: u64,
    /// Ids of GPUs.
    pub gpus: BTreeSet<String>,
    /// Fixed host ports.
    pub ports: BTreeSet<PortKey>,
}

impl Demand {
    /// Whether it is nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.memory_mib == 0 && self.gpus.is_empty() && self.ports.is_empty()
    }
}

/// A task that is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holding {
    demand: Demand,
    stopping_since: Option<Timestamp>,
}

/// One that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiter {
    demand: Demand,
    since: Timestamp,
}

/// Who asks, and what for.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Which task.
    pub task: TaskId,
    /// When this agent first heard of it: the order in which tasks are served.
    pub accepted_at: Timestamp,
    /// What it needs.
    pub demand: &'a Demand,
}

/// The host as tasks share it. Its content follows from the tasks alone: see [`Room::sync`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room {
    /// MiB that tasks may be given; absent until that is known.
    offered_mib: Option<u64>,
    held: BTreeMap<TaskId, Holding>,
    waiting: BTreeMap<(Timestamp, TaskId), Waiter>,
}

/// Why there is no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// There will not be: it needs more than the host has.
    TooLarge {
        /// What it needs.
        needed_mib: u64,
        /// What the host offers to tasks.
        offered_mib: u64,
    },
    /// It is not known yet how much memory the host offers.
    Unknown,
    /// Others have it.
    Held {
        /// For people: what, of how much, and who has it.
        what: String,
    },
    /// What is free is enough, and is kept for one that has waited for long.
    Behind {
        /// Which task.
        task: TaskId,
        /// Since when it has waited.
        since: Timestamp,
    },
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { needed_mib, offered_mib } => {
                write!(f, "the task needs {needed_mib} MiB of memory, and this host offers {offered_mib} MiB to tasks")
            }
            Self::Unknown => f.write_str("a look at how much memory this host has"),
            Self::Held { what } => f.write_str(what),
            Self::Behind { task, since } => {
                write!(f, "its turn: what is free is kept for task {task}, which has waited since {since}")
            }
        }
    }
}

impl Room {
    /// Says how much memory tasks may be given; says whether that is news.
    pub fn offer(&mut self, memory_mib: Option<u64>) -> bool {
        std::mem::replace(&mut self.offered_mib, memory_mib) != memory_mib
    }

    /// The memory that tasks on the host have, in MiB.
    #[must_use]
    pub fn held_mib(&self) -> u64 {
        self.held.values().map(|h| h.demand.memory_mib).sum()
    }

    /// How many tasks wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Since when a task that is on the host has been stopping.
    #[must_use]
    pub fn stopping_since(&self, task: TaskId) -> Option<Timestamp> {
        self.held.get(&task)?.stopping_since
    }

    /// The task with when it began to stop, for people.
    pub(crate) fn name(&self, task: TaskId) -> String {
        match self.stopping_since(task) {
            Some(since) => format!("task {task} (stopping since {since})"),
            None => format!("task {task}"),
        }
    }

    /// Enters a task that is on the host, in place of what was known of it; says whether others should ask again.
    pub fn hold(&mut self, task: TaskId, demand: Demand, stopping_since: Option<Timestamp>) -> bool {
        let waited = self.waiting.len();
        self.waiting.retain(|(_, id), _| *id != task);
        let holding = Holding { demand, stopping_since };
        let changed = self.held.get(&task).is_some_and(|before| *before != holding);
        self.held.insert(task, holding);
        changed || self.waiting.len() != waited
    }

    /// Enters a task that has waited since then; says whether others should ask again.
    pub fn wait(&mut self, asking: &Asking<'_>, since: Timestamp) -> bool {
        let freed = self.held.remove(&asking.task).is_some();
        let waiter = Waiter { demand: asking.demand.clone(), since };
        self.waiting.insert((asking.accepted_at, asking.task), waiter);
        freed
    }

    /// The task has and wants nothing; says whether others should ask again.
    pub fn leave(&mut self, task: TaskId) -> bool {
        let waited = self.waiting.len();
        self.waiting.retain(|(_, id), _| *id != task);
        self.held.remove(&task).is_some() || self.waiting.len() != waited
    }

    /// Brings what is known of a task in line with it; says whether others should ask again.
    pub fn sync(&mut self, task: &Task) -> bool {
        let record = &task.record;
        if task.occupies() {
            let demand = task.outline.demand();
            return self.hold(record.id, demand, record.ending.as_ref().map(|e| e.at));
        }
        match task.live.waits_since {
            Some(since) if task.wants_place() => {
                let demand = task.outline.demand();
                self.wait(&Asking { task: record.id, accepted_at: record.accepted_at, demand: &demand }, since)
            }
            Some(_) | None => self.leave(record.id),
        }
    }

    /// Whether there is room for a task now, and its turn.
    ///
    /// # Errors
    /// What is missing.
    pub fn ask(&self, asking: &Asking<'_>, claims: &PortClaims, policy: &Policy, now: Timestamp) -> Result<(), Lack> {
        let Asking { task, accepted_at, demand } = *asking;
        let mut missing = Vec::new();
        for port in &demand.ports {
            let holder = claims.holder(*port).filter(|holder| *holder != task);
            if let Some(holder) = holder.or_else(|| self.holder(task, |d| d.ports.contains(port))) {
                missing.push(reasons::port_held(*port, &self.name(holder)));
                break;
            }
        }
        for gpu in &demand.gpus {
            if let Some(holder) = self.holder(task, |d| d.gpus.contains(gpu)) {
                missing.push(format!("GPU {gpu}, which {} still has", self.name(holder)));
                break;
            }
        }
        let mut free = u64::MAX;
        if demand.memory_mib > 0 {
            let offered_mib = self.offered_mib.ok_or(Lack::Unknown)?;
            if demand.memory_mib > offered_mib {
                return Err(Lack::TooLarge { needed_mib: demand.memory_mib, offered_mib });
            }
            free = offered_mib.saturating_sub(self.held_mib());
            if demand.memory_mib > free {
                missing.push(self.memory_held(demand.memory_mib, free));
            }
        }
        if !missing.is_empty() {
            return Err(Lack::Held { what: missing.join("; ") });
        }
        for ((_, older), waiter) in self.waiting.range(..(accepted_at, task)) {
            if now.since(waiter.since) < policy.patience {
                continue;
            }
            free = free.saturating_sub(waiter.demand.memory_mib);
            let shares = !waiter.demand.ports.is_disjoint(&demand.ports)
                || !waiter.demand.gpus.is_disjoint(&demand.gpus)
                || (demand.memory_mib > free && waiter.demand.memory_mib > 0);
            if shares {
                return Err(Lack::Behind { task: *older, since: waiter.since });
            }
        }
        Ok(())
    }

    fn holder(&self, but: TaskId, has: impl Fn(&Demand) -> bool) -> Option<TaskId> {
        self.held.iter().find(|(id, h)| **id != but && has(&h.demand)).map(|(id, _)| *id)
    }

    /// Those that stop come first: they are who is waited for.
    fn memory_held(&self, needed_mib: u64, free_mib: u64) -> String {
        const NAMED: usize = 3;
        let mut holders: Vec<_> = self.held.iter().filter(|(_, h)| h.demand.memory_mib > 0).collect();
        holders.sort_by_key(|(_, h)| (h.stopping_since.is_none(), std::cmp::Reverse(h.demand.memory_mib)));
        let mut text = format!("{needed_mib} MiB of memory ({free_mib} MiB are free), held by ");
        for (n, (id, holding)) in holders.iter().take(NAMED).enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            // A `String` takes everything.
            let _ = write!(text, "{comma}{} with {} MiB", self.name(**id), holding.demand.memory_mib);
        }
        if holders.len() > NAMED {
            let _ = write!(text, " and {} more", holders.len() - NAMED);
        }
        text
    }
}

impl Outline {
    /// What a task needs of the host and no other can have.
    #[must_use]
    pub fn demand(&self) -> Demand {
        let fixed = self.containers.iter().flat_map(|c| &c.ports).filter_map(|p| match p.host_port {
            HostPort::Fixed(port) => Some(keys(p.protocol, port, p.count)),
            HostPort::Dynamic => None,
        });
        Demand {
            memory_mib: self.memory_mib,
            gpus: self.gpus.iter().cloned().collect(),
            ports: fixed.flatten().collect(),
        }
    }
}

impl Task {
    /// Whether what it needs is not free for others: it has its place, or a container that may run, until all is over.
    #[must_use]
    pub fn occupies(&self) -> bool {
        let record = &self.record;
        let over = record.ending.is_some() && record.all_stopped();
        let made = record.containers.iter().any(|c| match &c.phase {
            Phase::Created { .. }
            | Phase::Starting { .. }
            | Phase::Discarding { .. }
            | Phase::Running { .. }
            | Phase::Restarting { .. } => true,
            Phase::Waiting | Phase::Pulled | Phase::Stopped(_) => false,
        });
        let placed = record.place == Place::Given && record.ending.is_none();
        // Or somebody started again what was over.
        let back = self.live.containers.iter().any(|live| live.rogue)
            || self.live.in_flight.values().any(|step| matches!(step, Step::Stop(_, _) | Step::StopUnhealthy(_, _)));
        (!over && (made || placed)) || back
    }

    fn wants_place(&self) -> bool {
        let record = &self.record;
        record.place == Place::Wanted && record.ending.is_none() && record.wish == Wish::Run && record.may_start
    }

    /// Whether it has its place, for which it asks if it has none. One that waits for too long fails.
    pub(crate) fn take_place(&mut self, view: &View<'_>, pass: &mut Pass) -> bool {
        if self.record.place == Place::Given {
            return true;
        }
        // One that was made before a crash that the record did not survive has what it needs; a look tells.
        if self.live.containers.iter().any(|c| c.look) {
            return false;
        }
        let demand = self.outline.demand();
        let asking = Asking { task: self.record.id, accepted_at: self.record.accepted_at, demand: &demand };
        let lack = match (self.occupies(), view.room.ask(&asking, view.claims, view.policy, view.now)) {
            (true, _) | (_, Ok(())) => {
                self.record.place = Place::Given;
                self.live.waits_since = None;
                return true;
            }
            (false, Err(lack)) => lack,
        };
        let since = *self.live.waits_since.get_or_insert(view.now);
        let waited = view.now.since(since);
        let why = match &lack {
            Lack::TooLarge { .. } => Some(lack.to_string()),
            Lack::Unknown | Lack::Held { .. } | Lack::Behind { .. } => (waited >= view.policy.room_timeout)
                .then(|| format!("waited for {} s for {lack}", view.policy.room_timeout.as_secs())),
        };
        match why {
            Some(why) => {
                self.record.ending = Some(Ending {
                    code: Some(StopCode::TaskFailedToStart),
                    reason: reasons::resource("room on the host", &why),
                    at: view.now,
                });
                self.settle(view.now);
            }
            None => {
                pass.wait(None, lack.to_string());
                pass.wake(since.after(view.policy.room_timeout));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
