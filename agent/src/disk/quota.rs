//! Looks after how much the containers of each task with an `ephemeralStorage` write, where nothing else limits it.
//!
//! Counts their own file systems, the volumes that live as long as the task, and the output that the engine keeps. One
//! count at a time, on a thread of its own ([`Aside`]). A task is counted again after thirty times as long as its count
//! took, so each takes at most a thirtieth of one CPU however many files it has; and after each count there is a rest,
//! as long as that or five seconds at least where so much is needed, so all of them together take at most half of one.
//! A count that takes long is made in pieces, and others that are due come in between. An engine that does not answer
//! holds up no count. Tasks without a limit cost nothing.
//! Decides nothing: the engine is told, and the plan knows what a task comes to that wrote too much.

use super::walk::{Root, Walk};
use super::{MIB, Rooms};
use crate::aside::Aside;
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

/// Longest piece of a count.
const PIECE: Duration = Duration::from_secs(10);

/// Longest wait for a piece: a file system that hangs holds one up for ever.
const WAIT: Duration = Duration::from_secs(30);

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
    /// Counts that were left, and how long they took so far.
    left: HashMap<TaskId, (Walk, Duration)>,
    /// Knows the engine's directory, where all of it is.
    rooms: Arc<Rooms>,
    aside: Aside,
    /// See [`PIECE`] and [`FIND`].
    piece: Duration,
    find: Duration,
    /// Ends a count that goes on.
    stop: Arc<AtomicBool>,
}

/// What came of a piece of a count.
struct Piece {
    /// MiB so far.
    used: u64,
    took: Duration,
    /// How long the whole count took, once it is over.
    over_after: Option<Duration>,
}

impl Quotas {
    /// Counts the tasks of `views`; tells of each count by `hints`, and of all by `written`.
    #[must_use]
    pub fn new(
        views: watch::Receiver<TaskViews>,
        docker: Docker,
        hints: mpsc::Sender<Hint>,
        written: watch::Sender<Written>,
        rooms: Arc<Rooms>,
    ) -> Self {
        Self {
            views,
            docker,
            hints,
            written,
            roots: HashMap::new(),
            due: BTreeMap::new(),
            left: HashMap::new(),
            rooms,
            // Its own: who asks how full the disk is does not wait for a count.
            aside: Aside::default(),
            piece: PIECE,
            find: FIND,
            stop: Arc::default(),
        }
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
            // A task that comes meanwhile is due at once.
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(at) => {}
                changed = self.views.changed() => match changed {
                    Ok(()) => continue,
                    // Whoever has the tasks is gone.
                    Err(_) => return,
                },
            }
            let view = self.views.borrow().get(&task).cloned();
            let Some(view) = view else { continue };
            let counted = self.count(task, &view).await;
            let took = counted.as_ref().map_or(Duration::ZERO, |piece| piece.took);
            let whole = counted.as_ref().map_or(Some(Duration::ZERO), |piece| piece.over_after);
            if let Some(Piece { used, .. }) = counted {
                // Of a count that goes on, only what is news.
                let known = self.written.borrow().get(&task).copied();
                let tells = whole.is_some() || known.is_none_or(|known| used > known);
                self.written.send_if_modified(|all| tells && all.insert(task, used) != Some(used));
                if tells && self.hints.send(Hint::Written { task, mib: used }).await.is_err() {
                    return;
                }
            }
            let again = whole.map_or(Duration::ZERO, |whole| AGAIN.max(whole.saturating_mul(REST)));
            self.due.insert(task, Instant::now() + again);
            tokio::time::sleep(took.saturating_mul(REST).min(AGAIN.max(took))).await;
        }
    }

    /// Which tasks there are to count.
    fn follow(&mut self) {
        let views = self.views.borrow_and_update();
        let live = |task: &TaskId| views.get(task).is_some_and(|view| is_counted(view));
        self.due.retain(|task, _| live(task));
        self.left.retain(|task, _| live(task));
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

    /// Counts what a task's containers have written, for a while; nothing when that cannot be told.
    async fn count(&mut self, task: TaskId, view: &TaskView) -> Option<Piece> {
        let limit = view.spec.as_ref()?.ephemeral_storage_mib?;
        let root = self.rooms.root()?.to_owned();
        let (mut walk, before) = match self.left.remove(&task) {
            Some(left) => left,
            // As much more than the limit as makes the text that tells of it true.
            None => (Walk::new(self.roots(task, view).await, (u64::from(limit) + 1) * MIB), Duration::ZERO),
        };
        let (stop, piece) = (Arc::clone(&self.stop), self.piece);
        let count = move || {
            let began = std::time::Instant::now();
            let over = walk.go_on(began + piece, &stop);
            (walk, over, began.elapsed())
        };
        let (walk, over, took) = match self.aside.run(&root, WAIT, count).await {
            Ok(counted) => counted,
            Err(held) => {
                tracing::debug!(%task, why = chain(&held), "what its containers have written cannot be counted");
                return None;
            }
        };
        let (used, total) = (walk.bytes().div_ceil(MIB), before + took);
        if !over {
            self.left.insert(task, (walk, total));
        }
        Some(Piece { used, took, over_after: over.then_some(total) })
    }

    /// Where the containers of a task write, as far as the engine says it in time.
    async fn roots(&mut self, task: TaskId, view: &TaskView) -> BTreeSet<Root> {
        let mut roots = BTreeSet::new();
        let until = Instant::now() + self.find;
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
        roots
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
    use crate::disk::DiskSettings;
    use crate::metadata::tests::view;
    use longshore_model::NetworkMode;
    use longshore_plan::disk::{ImageRule, Marks};

    /// What counts, beside an engine that does not answer.
    struct Bench {
        quotas: Quotas,
        views: watch::Sender<TaskViews>,
        heard: mpsc::Receiver<Hint>,
        told: watch::Receiver<Written>,
        dir: tempfile::TempDir,
        _engine: std::os::unix::net::UnixListener,
    }

    impl Bench {
        async fn new(tasks: &[&Arc<TaskView>]) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let socket = dir.path().join("docker.sock");
            let engine = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
            let docker = Docker::connect(&format!("unix://{}", socket.display())).await.expect("an address");
            let (sender, views) = watch::channel(of(tasks));
            let (hints, heard) = mpsc::channel(8);
            let settings = DiskSettings {
                marks: Marks { clean_above: 100, clean_until: 100, refuse_above: 100 },
                images: ImageRule { min_age: Duration::ZERO, untracked: false },
                wait: Duration::ZERO,
            };
            let rooms = Arc::new(Rooms::new(settings, dir.path()));
            rooms.learn_root(dir.path().to_owned());
            let written = watch::Sender::default();
            let told = written.subscribe();
            let mut quotas = Quotas::new(views, docker, hints, written, rooms);
            quotas.find = Duration::from_millis(20);
            Self { quotas, views: sender, heard, told, dir, _engine: engine }
        }
    }

    fn of(tasks: &[&Arc<TaskView>]) -> TaskViews {
        tasks.iter().map(|view| (view.record.id, Arc::clone(view))).collect()
    }

    /// A task with a limit, whose container has this id.
    fn limited(id: &str) -> Arc<TaskView> {
        let mut view = view(NetworkMode::Bridge);
        let mut spec = view.spec.as_deref().expect("one").clone();
        spec.ephemeral_storage_mib = Some(1);
        view.spec = Some(Arc::new(spec));
        view.record.containers[0].phase = Phase::Running { id: id.into() };
        Arc::new(view)
    }

    /// The other one's count is made in the smallest pieces.
    #[tokio::test]
    async fn an_engine_that_does_not_answer_holds_up_no_other_tasks_count() {
        let (new, known) = (limited("new"), limited("known"));
        let Bench { mut quotas, views: _views, mut heard, told, dir, _engine } = Bench::new(&[&new, &known]).await;
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("made");
        (0..20).for_each(|n| std::fs::write(tree.join(n.to_string()), vec![1; 128 << 10]).expect("written"));
        quotas.piece = Duration::ZERO;
        quotas.roots.insert("known".to_owned(), [Root::Tree(tree)].into());
        let stop = CancellationToken::new();
        let counting = tokio::spawn(quotas.run(stop.clone()));
        let over = async {
            while let Some(hint) = heard.recv().await {
                if let Hint::Written { task, mib } = hint
                    && task == known.record.id
                {
                    assert!(told.borrow().get(&task) >= Some(&mib));
                    if mib > 1 {
                        return mib;
                    }
                }
            }
            0
        };
        let mib = tokio::time::timeout(Duration::from_secs(60), over).await.expect("it was counted");
        assert_eq!(mib, 2, "it ends once that is more than the limit");
        stop.cancel();
        counting.await.expect("no panic");
    }

    /// By the machine's clock, since counts are made on threads of their own: an hour before the other one is due.
    #[tokio::test]
    async fn a_task_that_comes_while_another_ones_count_is_far_ahead_is_counted_at_once() {
        let (early, late) = (limited("early"), limited("late"));
        let Bench { mut quotas, views, mut heard, told: _told, dir: _dir, _engine } = Bench::new(&[&early]).await;
        quotas.due.insert(early.record.id, Instant::now() + Duration::from_secs(3600));
        let counting = tokio::spawn(quotas.run(CancellationToken::new()));
        // On this runtime's one thread: it waits when this goes on.
        tokio::task::yield_now().await;
        assert!(heard.try_recv().is_err(), "nothing is due");
        views.send_replace(of(&[&early, &late]));
        let hint = tokio::time::timeout(Duration::from_secs(60), heard.recv()).await.expect("it was counted");
        assert_eq!(hint, Some(Hint::Written { task: late.record.id, mib: 0 }));
        drop(views);
        tokio::time::timeout(Duration::from_secs(60), counting).await.expect("it ends, too").expect("no panic");
    }
}
