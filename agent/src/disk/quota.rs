//! Looks after how much the containers of each task with an `ephemeralStorage` write, where nothing else limits it.
//!
//! Counts their own file systems, the volumes that live as long as the task, and the output that the engine keeps. One
//! count at a time, on a thread of its own. A task is counted again after thirty times as long as its count took, so
//! each takes at most a thirtieth of one CPU however many files it has; and after each count there is a rest, as long
//! as that or five seconds at least where so much is needed, so all of them together take at most half of one. An
//! engine that does not answer holds up no count. Tasks without a limit cost nothing.
//! Decides nothing: the engine is told, and the plan knows what a task comes to that wrote too much.

use super::MIB;
use super::walk::{self, Root};
use crate::engine::docker::chain;
use crate::engine::{Hint, TaskView, TaskViews};
use longshore_docker::{Docker, volume_name};
use longshore_model::TaskId;
use longshore_plan::Phase;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Shortest time between two counts of one task.
const AGAIN: Duration = Duration::from_secs(5);

/// How many times as long as its count took a task is not counted after it.
const REST: u32 = 30;

/// Longest wait for the engine to say where a task's containers write: what it does not say is counted next time.
const FIND: Duration = Duration::from_secs(2);

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
    /// Ends a count that goes on.
    stop: Arc<AtomicBool>,
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
        Self { views, docker, hints, written, roots: HashMap::new(), due: BTreeMap::new(), stop: Arc::default() }
    }

    /// Counts until `shutdown`: a long-lived task.
    pub async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.count_all()).await;
        self.stop.store(true, Ordering::Relaxed);
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
            let counted = self.count(task, &view).await;
            let took = counted.map_or(Duration::ZERO, |(_, took)| took);
            if let Some((used, _)) = counted {
                self.written.send_if_modified(|all| all.insert(task, used) != Some(used));
                if self.hints.send(Hint::Written { task, mib: used }).await.is_err() {
                    return;
                }
            }
            let rest = took.saturating_mul(REST);
            self.due.insert(task, Instant::now() + AGAIN.max(rest));
            tokio::time::sleep(rest.min(AGAIN.max(took))).await;
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

    /// MiB that a task's containers have written, and how long the count took; nothing when that cannot be told.
    async fn count(&mut self, task: TaskId, view: &TaskView) -> Option<(u64, Duration)> {
        let limit = view.spec.as_ref()?.ephemeral_storage_mib?;
        let mut roots = BTreeSet::new();
        let until = Instant::now() + FIND;
        for id in containers(view) {
            if !self.roots.contains_key(id) {
                match tokio::time::timeout_at(until, self.find(task, view, id)).await {
                    Ok(Ok(found)) => {
                        self.roots.insert(id.to_owned(), found);
                    }
                    Ok(Err(why)) => {
                        tracing::debug!(%task, container = id, why, "where a container writes cannot be told");
                        continue;
                    }
                    Err(_) => continue,
                }
            }
            roots.extend(self.roots.get(id).into_iter().flatten().cloned());
        }
        // As much more than the limit as makes the text that tells of it true.
        let enough = (u64::from(limit) + 1) * MIB;
        let stop = Arc::clone(&self.stop);
        let count = move || {
            let began = std::time::Instant::now();
            (walk::size(&roots, enough, &stop), began.elapsed())
        };
        let (bytes, took) = tokio::task::spawn_blocking(count).await.ok()?;
        Some((bytes.div_ceil(MIB), took))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::view;
    use longshore_model::NetworkMode;

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_does_not_answer_holds_up_no_other_tasks_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("docker.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let docker = Docker::connect(&format!("unix://{}", socket.display())).await.expect("an address");
        let limited = |id: &str| {
            let mut view = view(NetworkMode::Bridge);
            let mut spec = view.spec.as_deref().expect("one").clone();
            spec.ephemeral_storage_mib = Some(1);
            view.spec = Some(Arc::new(spec));
            view.record.containers[0].phase = Phase::Running { id: id.into() };
            Arc::new(view)
        };
        let (new, known) = (limited("new"), limited("known"));
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("made");
        std::fs::write(tree.join("file"), vec![1; 3 << 20]).expect("written");
        let tasks: TaskViews = [&new, &known].map(|view| (view.record.id, Arc::clone(view))).into();
        let (_views, views) = watch::channel(tasks);
        let (hints, mut heard) = mpsc::channel(8);
        let mut quotas = Quotas::new(views, docker, hints, watch::Sender::default());
        quotas.roots.insert("known".to_owned(), [Root::Tree(tree)].into());
        let stop = CancellationToken::new();
        let counting = tokio::spawn(quotas.run(stop.clone()));
        let over = async {
            while let Some(hint) = heard.recv().await {
                if let Hint::Written { task, mib } = hint
                    && task == known.record.id
                {
                    return mib;
                }
            }
            0
        };
        let mib = tokio::time::timeout(Duration::from_secs(60), over).await.expect("it was counted");
        assert!(mib > 1, "{mib}");
        stop.cancel();
        counting.await.expect("no panic");
    }
}
