//! Listings: the truth about containers, compared with the table; and what no task of the table owns.

use super::drivers::{Drivers, Listed, by_task};
use super::reconciler::{Answers, Entry, Listing, Reconciler};
use crate::crash::{self, Place};
use longshore_model::{ContainerName, TaskId};
use longshore_plan::outline::SuperviseError;
use longshore_plan::{Failure, Sighting, Supervise, Task};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Waits between listings that fail: the first, and the longest.
const LIST_AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How long after the stream of events was opened a second listing comes. Docker 20.10 tells of an end before its
/// listings show it, by the time that it takes to take the container's network and mounts away: what it told just before
/// the stream was open is in neither.
const LIST_ONCE_MORE: Duration = Duration::from_secs(2);

/// How long from one look for leftovers to the next. What an engine that hung was asked for by an agent that is dead,
/// or that gave it up, may be made long after it was looked for.
const SEARCH_AGAIN: Duration = Duration::from_secs(120);

impl Reconciler {
    /// Asks for a listing; if one is on its way, for another after it.
    pub(super) fn list_now(&mut self) {
        self.next_list = Instant::now() + self.config.relist;
        if std::mem::replace(&mut self.listing, true) {
            self.list_again = true;
        } else {
            self.spawn_listing();
        }
    }

    /// The stream of events is open, anew or for the first time.
    pub(super) fn events_begin(&mut self) {
        self.list_now();
        self.next_list = Instant::now() + LIST_ONCE_MORE;
    }

    /// A listing came, or did not.
    pub(super) fn listed(&mut self, as_of: u64, listed: Result<Listing, Failure>) {
        self.listing = false;
        if std::mem::take(&mut self.list_again) {
            // When the next one comes was said by whoever asked for this one.
            self.listing = true;
            self.spawn_listing();
        }
        let Listing { containers, sandboxes } = match listed {
            Ok(listing) => listing,
            Err(failure) => return self.not_listed(failure.text()),
        };
        let mut seen = by_task(containers);
        self.forgotten_at.retain(|_, at| *at > as_of);
        let known = |id: &TaskId| self.tasks.contains_key(id) || self.forgotten_at.contains_key(id);
        let unknown: Vec<TaskId> = seen.keys().filter(|id| !known(id)).copied().collect();
        for id in &unknown {
            self.recover(*id, &seen[id], as_of);
        }
        let now = self.now();
        for (id, entry) in &mut self.tasks {
            let sightings: BTreeMap<ContainerName, Sighting> =
                seen.remove(id).unwrap_or_default().into_iter().map(|l| (l.container, l.sighting)).collect();
            let mut news = entry.task.sight(&sightings, as_of);
            if let Some(sandboxes) = &sandboxes {
                news |= entry.task.sight_sandboxes(sandboxes, &sightings, as_of, now);
            }
            if news {
                // Before any task is passed over: what is there is not free.
                self.room.sync(&entry.task);
                self.dirty.insert(*id);
            }
        }
        if self.answers != Answers::Yes {
            tracing::info!("Docker answers");
            self.answers = Answers::Yes;
            self.dirty.extend(self.tasks.keys().copied());
        }
        // Whoever has containers that are left alone keeps the rest as well.
        self.left_alone = unknown.into_iter().filter(|id| !self.tasks.contains_key(id)).collect();
        let due = self.searched_at.is_none_or(|at| at.elapsed() >= SEARCH_AGAIN);
        if !self.searching && (due || !self.leftovers_gone) {
            self.leftovers_gone = true;
            self.searching = true;
            self.searched_at = Some(Instant::now());
            self.spawn_search();
        }
    }

    fn not_listed(&mut self, why: &str) {
        self.silent(why);
        let Answers::No { failures, .. } = &mut self.answers else { return };
        *failures = failures.saturating_add(1);
        let (first, longest) = LIST_AGAIN;
        let full = first.saturating_mul(1 << (*failures - 1).min(10)).min(longest);
        let wait = full.mul_f64(rand::random_range(0.75..1.0));
        tracing::debug!(error = why, wait_millis = wait.as_millis(), "no listing; trying again");
        self.next_list = self.next_list.min(Instant::now() + wait);
    }

    /// A task that has containers and that nobody remembers.
    fn recover(&mut self, id: TaskId, containers: &[Listed], as_of: u64) {
        let now = self.now();
        let read = |l: &Listed| -> Option<Result<Supervise, SuperviseError>> {
            l.supervise.as_deref().map(Supervise::from_label)
        };
        let Some(label) = containers.iter().find_map(|l| read(l)?.ok()) else {
            let why = containers.iter().find_map(|l| read(l)?.err()).map(|e| super::docker::chain(&e));
            let why = why.unwrap_or_else(|| "it has no label longshore.supervise".to_owned());
            tracing::error!(task = %id, why, "containers of an unknown task cannot be supervised; left alone");
            return;
        };
        if label.task.id != id {
            tracing::error!(task = %id, "the label longshore.supervise is another task's; containers left alone");
            return;
        }
        tracing::warn!(task = %id, containers = containers.len(), "task found by its labels");
        let mut task = Task::recovered(label.task, now);
        for listed in containers {
            if let Some(Ok(label)) = read(listed) {
                task.recover_made(&label, &listed.container);
            }
        }
        // What is there has not ended because nobody asks for it: it is looked at, which waits for a start that goes
        // on, then stopped, and has its room until then.
        let sightings = containers.iter().map(|l| (l.container.clone(), l.sighting.clone())).collect();
        task.sight(&sightings, as_of);
        if self.complete_seen {
            // Whoever decides has spoken, and did not name it.
            task.unassign(now);
        }
        self.ports.sync(&task);
        self.room.sync(&task);
        self.tasks.insert(id, Entry::new(task));
        self.dirty.insert(id);
    }

    /// The host was searched. What it has of tasks that nobody knows now, rather than when the search began, goes; a
    /// task that is assigned meanwhile waits for the end of that.
    pub(super) fn searched(&mut self, found: Leftovers) {
        let Leftovers { mut of, failed } = found;
        of.retain(|(task, _)| !self.tasks.contains_key(task) && !self.left_alone.contains(task));
        if of.is_empty() {
            return self.cleared(&failed.map_or(Ok(()), Err));
        }
        self.clearing = of.iter().map(|(task, _)| *task).collect();
        self.spawn_clearing(Leftovers { of, failed });
    }

    /// What was left over is gone, or not all of it.
    pub(super) fn cleared(&mut self, result: &Result<(), Failure>) {
        self.searching = false;
        self.dirty.extend(std::mem::take(&mut self.clearing));
        match result {
            Ok(()) => self.leftovers_fault = None,
            Err(failure) => {
                // The next listing tries again. Said once for each cause.
                if matches!(failure, Failure::Away(_)) {
                    tracing::debug!(error = failure.text(), "leftovers of earlier tasks cannot be looked for yet");
                } else if self.leftovers_fault.as_deref() != Some(failure.text()) {
                    let why = failure.text();
                    tracing::warn!(error = why, "leftovers of earlier tasks are not all removed yet; trying again");
                    self.leftovers_fault = Some(why.to_owned());
                }
                self.leftovers_gone = false;
            }
        }
    }
}

/// What the host has of tasks.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    of: Vec<(TaskId, Leftover)>,
    /// Why not all of it could be listed.
    failed: Option<Failure>,
}

#[derive(Debug, Clone)]
enum Leftover {
    Volume(String),
    Namespaces,
    Cgroup,
    Interface,
}

impl Leftovers {
    /// Lists volumes, namespaces, cgroups and interfaces of tasks. A crash may have come between their making and the
    /// save.
    pub(super) async fn search(drivers: &Drivers) -> Self {
        let mut found = Self::default();
        let volumes = drivers.volumes.list().await;
        found.add(volumes.map(|all| all.into_iter().map(|(task, name)| (task, Leftover::Volume(name))).collect()));
        let each = |kind: Leftover| move |all: Vec<TaskId>| all.into_iter().map(|t| (t, kind.clone())).collect();
        found.add(drivers.namespaces.list().await.map(each(Leftover::Namespaces)));
        found.add(drivers.cgroups.list().await.map(each(Leftover::Cgroup)));
        found.add(drivers.interfaces.list().await.map(each(Leftover::Interface)));
        found
    }

    fn add(&mut self, listed: Result<Vec<(TaskId, Leftover)>, Failure>) {
        match listed {
            Ok(all) => self.of.extend(all),
            Err(failure) => self.failed = Some(failure),
        }
    }

    /// Removes all of it, in the order of the listing.
    ///
    /// # Errors
    /// One of the failures, when all was tried.
    pub(super) async fn remove(self, drivers: &Drivers) -> Result<(), Failure> {
        let Self { of, failed } = self;
        let mut result = failed.map_or(Ok(()), Err);
        for (task, leftover) in of {
            tracing::info!(%task, ?leftover, "removing what a task that is gone left behind");
            crash::before(Place::Leftovers);
            let removed = match leftover {
                Leftover::Volume(name) => drivers.volumes.remove(task, &name).await,
                Leftover::Namespaces => drivers.namespaces.release(task).await,
                Leftover::Cgroup => drivers.cgroups.remove(task).await,
                Leftover::Interface => drivers.interfaces.release(task).await,
            };
            crash::after(Place::Leftovers);
            result = removed.and(result);
        }
        result
    }
}
