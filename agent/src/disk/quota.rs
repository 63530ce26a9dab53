//! Looks after how much the containers of each task with an `ephemeralStorage` write, where nothing else limits it.
//!
//! Counts their own file systems, the volumes that live as long as the task, and the output that the engine keeps. One
//! count at a time, on a thread of its own; between two counts it rests thirty times as long as the first took, so it
//! takes at most a thirtieth of one CPU however many tasks and files there are. Tasks without a limit cost nothing.
//! Decides nothing: the engine is told, and the plan knows what a task comes to that wrote too much.

use super::MIB;
use super::walk::{self, Root};
use crate::engine::docker::chain;
use crate::engine::{Hint, TaskView, TaskViews};
use longshore_docker::{Docker, volume_name};
use longshore_model::TaskId;
use longshore_plan::Phase;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Shortest time between two counts of one task.
const AGAIN: Duration = Duration::from_secs(5);

/// How many times as long as a count took nothing is counted after it.
const REST: u32 = 30;

/// MiB that the containers of each task with a limit have written, as last counted.
pub type Written = BTreeMap<TaskId, u64>;

/// Counts for as long as there are tasks with limits.
pub struct Quotas {
    views: watch::Receiver<TaskViews>,
    docker: Docker,
    hints: mpsc::Sender<Hint>,
    written: watch::Sender<Written>,
    /// Where containers write, by the engine's ids of them.
    roots: HashMap<String, BTreeSet<Root>>,
    due: BTreeMap<TaskId, Instant>,
}

impl Quotas {
    /// Counts the tasks of `views`; tells of each count by `hints`, and of all by `written`.
    #[must_use]
    pub fn new(
        views: watch::Receiver<TaskViews>,
        docker: Docker,
        hints: mpsc::Sender<Hint>,
        written: watch::Sender<Written>,
    ) -> Self {
        Self { views, docker, hints, written, roots: HashMap::new(), due: BTreeMap::new() }
    }

    /// Counts until `shutdown`: a long-lived task.
    pub async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.count_all()).await;
    }

    async fn count_all(&mut self) {
        loop {
            self.follow();
            let next = self.due.iter().min_by_key(|(_, at)| **at).map(|(task, at)| (*task, *at));
            let Some((task, at)) = next else {
                if self.views.changed().await.is_err() {
                    return;
                }
                continue;
            };
            tokio::time::sleep_until(at).await;
            let view = self.views.borrow().get(&task).cloned();
            let Some(view) = view else { continue };
            let began = Instant::now();
            if let Some(used) = self.count(task, &view).await {
                self.written.send_if_modified(|all| all.insert(task, used) != Some(used));
                if self.hints.send(Hint::Written { task, mib: used }).await.is_err() {
                    return;
                }
            }
            let rest = began.elapsed().saturating_mul(REST);
            self.due.insert(task, Instant::now() + AGAIN.max(rest));
            tokio::time::sleep(rest).await;
        }
    }

    /// Which tasks there are to count.
    fn follow(&mut self) {
        let views = self.views.borrow_and_update();
        let live = |task: &TaskId| views.get(task).is_some_and(|view| is_counted(view));
        self.due.retain(|task, _| live(task));
        for (task, _) in views.iter().filter(|(_, view)| is_counted(view)) {
            self.due.entry(*task).or_insert_with(Instant::now);
        }
        let ids: BTreeSet<&str> = views.values().flat_map(|view| containers(view)).collect();
        self.roots.retain(|id, _| ids.contains(id.as_str()));
        self.written.send_if_modified(|all| {
            let before = all.len();
            all.retain(|task, _| live(task));
            all.len() != before
        });
    }

    /// MiB that a task's containers have written; nothing when that cannot be told.
    async fn count(&mut self, task: TaskId, view: &TaskView) -> Option<u64> {
        let limit = view.spec.as_ref()?.ephemeral_storage_mib?;
        let mut roots = BTreeSet::new();
        for id in containers(view) {
            if !self.roots.contains_key(id) {
                match self.find(task, view, id).await {
                    Ok(found) => {
                        self.roots.insert(id.to_owned(), found);
                    }
                    Err(why) => {
                        tracing::debug!(%task, container = id, why, "where a container writes cannot be told");
                        continue;
                    }
                }
            }
            roots.extend(self.roots.get(id).into_iter().flatten().cloned());
        }
        // As much more than the limit as makes the text that tells of it true.
        let enough = (u64::from(limit) + 1) * MIB;
        let counted = tokio::task::spawn_blocking(move || walk::size(&roots, enough)).await;
        counted.ok().map(|bytes| bytes.div_ceil(MIB))
    }

    async fn find(&self, task: TaskId, view: &TaskView, id: &str) -> Result<BTreeSet<Root>, String> {
        let found = self.docker.inspect(id).await.map_err(|error| chain(&error))?.ok_or("it is gone")?;
        let own: BTreeSet<String> = view.outline.volumes.iter().map(|name| volume_name(task, name)).collect();
        let volumes = found.mounts.into_iter().filter(|mount| own.contains(&mount.name));
        let mut roots: BTreeSet<Root> = volumes.map(|mount| Root::Tree(mount.source.into())).collect();
        roots.extend(found.upper_dir.map(Root::Tree));
        // The engine rotates: the newest has the plain name, and older ones have numbers after it.
        let log = found.log_file.as_deref();
        let log = log.and_then(|file| Some((file.parent()?, file.file_name()?.to_string_lossy().into_owned())));
        roots.extend(log.map(|(directory, name)| Root::Files(directory.to_owned(), name)));
        Ok(roots)
    }
}

/// Whether a task has a limit and something of it may still write.
fn is_counted(view: &TaskView) -> bool {
    view.spec.as_ref().is_some_and(|spec| spec.ephemeral_storage_mib.is_some())
        && view.record.ending.is_none()
        && view.record.containers.iter().any(|c| c.phase.is_running())
}

/// The engine's ids of a task's containers, those included that have ended and are still there: what they wrote is too.
fn containers(view: &TaskView) -> impl Iterator<Item = &str> {
    view.record.containers.iter().filter_map(|container| match &container.phase {
        Phase::Stopped(stopped) if !stopped.remains => None,
        phase => phase.id(),
    })
}
