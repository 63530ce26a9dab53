//! The loop: measures the disk, makes space, and publishes what is known.

use super::quota::Written;
use super::room::{Attempt, Rooms};
use super::{DiskSettings, MIB, StorageLimits, mib};
use crate::crash::{self, Place};
use crate::engine::docker::chain;
use crate::engine::drivers::{Clock, SystemClock};
use crate::engine::{Hint, TaskView, TaskViews};
use crate::ledger::Ledger;
use longshore_docker::{Docker, ListedImage, WrittenSize, listed_name, wanted_image};
use longshore_model::{DiskStatus, TaskId};
use longshore_plan::Phase;
use longshore_plan::disk::{Candidate, Choice, Remains, Space, choose, choose_remains, promised};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two measurements, each a system call on a thread of its own.
const TICK: Duration = Duration::from_secs(5);

/// Between two looks at which images are in use, for their history.
const LOOK: Duration = Duration::from_secs(60);

/// After an attempt that could remove nothing, until the next that nobody asked for; and how long it counts what
/// containers had written, and that something is being removed.
const NOTHING_TO_REMOVE: Duration = Duration::from_secs(30);

/// Longest wait for what containers have written.
const SIZES: Duration = Duration::from_secs(10);

/// How many times as long as the answer took that is not asked for again.
const SIZES_REST: u32 = 30;

/// Longest wait for the history's file.
const SAVE: Duration = Duration::from_secs(10);

/// Most images removed in one attempt: a removal keeps the engine's disk busy, and tasks start meanwhile.
const MOST_REMOVED: usize = 20;

/// How many are named that have most of a disk which is full.
const HOLDERS: usize = 3;

/// Waits for Docker's first answer: the first, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// A change of the free space is worth telling from this part of the whole on, but not below and always above so many
/// MiB.
const WORTH: (u32, u32, u32) = (100, 16, 1024);

/// What the loop is made of.
pub struct Parts {
    /// The room that it makes.
    pub rooms: Arc<Rooms>,
    /// The engine whose disk it is.
    pub docker: Docker,
    /// Tells whether its storage driver limits what containers write.
    pub limits: StorageLimits,
    /// Which images tasks need.
    pub views: watch::Receiver<TaskViews>,
    /// How much tasks with limits have written.
    pub written: watch::Receiver<Written>,
    /// The ledger, which the host's tasks cannot do without.
    pub ledger: Ledger,
    /// Tells the engine when space is short.
    pub hints: mpsc::Sender<Hint>,
    /// What the control plane is told.
    pub status: watch::Sender<Option<DiskStatus>>,
    /// What people on the host are told.
    pub line: watch::Sender<Option<DiskLine>>,
}

/// The disk at one moment, for the status socket.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DiskLine {
    /// The directory whose file system it is.
    pub path: String,
    /// MiB that can be used.
    pub total_mib: u64,
    /// MiB that are free.
    pub free_mib: u64,
    /// Of the free ones, MiB that tasks have reserved and not written yet.
    pub promised_mib: u64,
    /// How much is used, in percent.
    pub used_percent: f64,
    /// Whether space is being made.
    pub cleaning: bool,
    /// Why nothing new is placed here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub short: Option<String>,
    /// Images on the host.
    pub images: usize,
    /// Images removed since the agent began, and MiB that were free after it that were not before.
    pub removed: (u64, u64),
}

/// Keeps the disk.
pub struct DiskKeeper {
    parts: Parts,
    settings: DiskSettings,
    /// Whether use went above the high mark and has not come down to the low one since.
    pressed: bool,
    next_attempt: Instant,
    next_look: Instant,
    answered: u64,
    removed: (u64, u64),
    /// What containers had written when that was last asked for, and when it is again.
    sizes: Vec<WrittenSize>,
    sizes_again: Instant,
    /// The tasks of which what is kept is being removed, since when.
    going: BTreeMap<TaskId, Instant>,
    /// What was said last of something that goes wrong, so that it is said once.
    fault: Option<String>,
    /// Whether the disk could not be looked at last time.
    unseen: bool,
    history_fault: bool,
}

impl DiskKeeper {
    /// A keeper that has not looked yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            settings: parts.rooms.settings,
            parts,
            pressed: false,
            next_attempt: Instant::now(),
            next_look: Instant::now(),
            answered: 0,
            removed: (0, 0),
            sizes: Vec::new(),
            sizes_again: Instant::now(),
            going: BTreeMap::new(),
            fault: None,
            unseen: false,
            history_fault: false,
        }
    }

    /// Runs until `shutdown`: a long-lived task.
    pub async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(Box::pin(self.keep())).await;
    }

    async fn keep(&mut self) {
        // Which tasks there are is known before anything is removed.
        if self.parts.views.changed().await.is_err() {
            return;
        }
        // A full disk and an engine that does not come up go together: the ledger is looked after meanwhile.
        let look_after = async {
            loop {
                self.parts.ledger.look_after();
                tokio::time::sleep(TICK).await;
            }
        };
        tokio::select! {
            () = find_root(&self.parts) => {}
            () = look_after => {}
        }
        let mut asked = self.parts.rooms.asked.subscribe();
        let mut ledger = self.parts.ledger.fault();
        loop {
            self.parts.ledger.look_after();
            let fault = ledger.borrow_and_update().clone();
            let wanted = *asked.borrow_and_update();
            self.once(wanted, fault).await;
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                changed = asked.changed() => if changed.is_err() { return },
                changed = ledger.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn once(&mut self, asked: u64, ledger: Option<String>) {
        let Some((_, space)) = self.parts.rooms.space().await else {
            let why = "the file system of the engine's data directory cannot be looked at, or does not answer";
            if !std::mem::replace(&mut self.unseen, true) {
                tracing::warn!(why, "the disk; nothing is cleaned up");
            }
            self.tell(0, 1, Some(ledger.map_or_else(|| why.to_owned(), |why| nothing_new(&why))));
            return self.answer(asked, true);
        };
        if std::mem::take(&mut self.unseen) {
            tracing::info!("the disk can be looked at again");
        }
        let marks = self.settings.marks;
        let pressed = space.is_above(if self.pressed { marks.clean_until } else { marks.clean_above });
        if pressed != self.pressed {
            let used = percent(space);
            if pressed {
                tracing::warn!(used, until = marks.clean_until, "the disk is filling up; making space");
            } else {
                tracing::info!(used, "the disk has space again");
            }
            self.pressed = pressed;
            self.fault = None;
        }
        let wanted = asked > self.answered;
        if !pressed && !wanted && !self.going.is_empty() && !self.going.values().any(is_going) {
            // What did not go by now may be looked at again.
            self.going.clear();
            self.hint(Hint::RemainsGo(BTreeSet::new())).await;
        }
        if wanted || (pressed && Instant::now() >= self.next_attempt) {
            let hopeful = self.make_space(wanted).await;
            self.answer(asked, hopeful);
        } else if Instant::now() >= self.next_look {
            // Its errors are said where something depends on them.
            let _ = self.look().await;
        }
        self.publish(ledger).await;
        let saved = match self.parts.rooms.save_history(SAVE).await {
            Ok(saved) => saved.map_err(|error| chain(&error)),
            Err(held) => Err(chain(&held)),
        };
        if let Err(error) = &saved
            && !self.history_fault
        {
            tracing::warn!(error, "the history of images cannot be written yet");
        }
        self.history_fault = saved.is_err();
    }

    /// Whoever asked for space up to this may look again.
    fn answer(&mut self, asked: u64, hopeful: bool) {
        self.answered = asked;
        self.parts.rooms.over.send_replace(Attempt { number: asked, hopeful });
    }

    fn say_fault(&mut self, why: &str) {
        if self.fault.as_deref() != Some(why) {
            tracing::warn!(why, "the disk");
            self.fault = Some(why.to_owned());
        }
    }

    async fn hint(&self, hint: Hint) {
        // The engine may be gone, at the end.
        let _ = self.parts.hints.send(hint).await;
    }

    /// Which images there are, and which of them may go.
    async fn look(&mut self) -> Result<(Vec<ListedImage>, Choice), String> {
        self.next_look = Instant::now() + LOOK;
        let now = SystemClock.now();
        let images = self.parts.docker.images().await.map_err(|error| chain(&error))?;
        let of_containers = self.parts.docker.images_in_use().await.map_err(|error| chain(&error))?;
        let of_tasks = needed(&self.parts.views.borrow());
        let by_task = |image: &ListedImage| image.names.iter().any(|name| of_tasks.contains(name));
        let used = images.iter().filter(|image| of_containers.contains(&image.id) || by_task(image));
        let used = used.map(|image| image.id.clone()).collect();
        let history = &self.parts.rooms.history;
        history.seen(images.iter().map(|image| image.id.as_str()), &used, now);
        let candidates: Vec<Candidate> = images
            .iter()
            .filter_map(|image| {
                let known = history.of(&image.id)?;
                Some(Candidate {
                    id: image.id.clone(),
                    size: image.size,
                    last_used: known.last_used,
                    in_use: used.contains(&image.id),
                    pulled_here: known.pulled_here,
                })
            })
            .collect();
        let choice = choose(&candidates, self.settings.images, now, now.after(self.settings.wait));
        Ok((images, choice))
    }

    /// One attempt: has as much removed of what is kept of tasks that are over as it takes, and images where that is not
    /// enough, until use is below the low mark; or one of them when somebody `wanted` more space than there is although
    /// use is below it. Says whether waiting is worth while.
    async fn make_space(&mut self, wanted: bool) -> bool {
        let (images, choice) = match self.look().await {
            Ok(found) => found,
            Err(why) => {
                self.say_fault(&format!("the engine does not say which images there are: {why}"));
                self.next_attempt = Instant::now() + NOTHING_TO_REMOVE;
                return true;
            }
        };
        self.look_at_sizes().await;
        self.parts.rooms.learn_holders(holders(&images, &self.sizes, &self.parts.written.borrow()));
        // What is kept of tasks that are over goes by the engine's hand.
        let kept = remains(&self.parts.views.borrow(), &self.sizes);
        let space = self.parts.rooms.space().await.map(|(_, space)| space);
        let beyond = space.map_or(0, |space| space.beyond(self.settings.marks.clean_until));
        let lacks = beyond.max(u64::from(wanted));
        let covered = self.have_removed(&kept, lacks).await;
        let remains = kept.iter().any(|remains| self.going.get(&remains.task).is_some_and(is_going));
        let mut hopeful = choice.more_by_then || remains;
        // Where Docker finds no space though there is some, it is not known how much is enough.
        if covered && self.pressed {
            self.next_attempt = Instant::now() + TICK;
            return true;
        }
        let mut removed = 0;
        for id in &choice.order {
            let Some((_, before)) = self.parts.rooms.space().await else { break };
            let enough = !before.is_above(self.settings.marks.clean_until);
            if removed == MOST_REMOVED || (enough && (!wanted || removed > 0)) {
                hopeful |= !enough;
                break;
            }
            let Some(image) = images.iter().find(|image| image.id == *id) else { continue };
            // A task may have come to need it since the look.
            let of_tasks = needed(&self.parts.views.borrow());
            let claim = self.parts.rooms.claims.remove(&image.names);
            let Some(_claim) = claim.filter(|_| !image.names.iter().any(|name| of_tasks.contains(name))) else {
                continue;
            };
            match crash::around(Place::ImageRemoved, self.parts.docker.remove_image(image)).await {
                Ok(true) => {
                    let after = self.parts.rooms.space().await.map_or(before.free, |(_, space)| space.free);
                    let (mib, freed_mib) = (image.size / MIB, after.saturating_sub(before.free) / MIB);
                    let names = image.names.join(" ");
                    tracing::info!(image = names, id, mib, freed_mib, "removed an image that nothing uses");
                    self.removed = (self.removed.0 + 1, self.removed.1 + freed_mib);
                    removed += 1;
                }
                Ok(false) => tracing::debug!(id, "an image is in use after all"),
                Err(error) => {
                    tracing::warn!(id, error = chain(&error), "could not remove an image");
                    break;
                }
            }
        }
        self.next_attempt = Instant::now() + if removed > 0 || remains { TICK } else { NOTHING_TO_REMOVE };
        if removed == 0 && self.pressed && !hopeful {
            let why = "it is fuller than it should be, and there is no image that may be removed";
            self.say_fault(why);
        }
        hopeful || removed > 0
    }

    /// What containers have written, unless that was asked for a moment ago: the engine walks through all of it.
    async fn look_at_sizes(&mut self) {
        if Instant::now() < self.sizes_again {
            return;
        }
        let began = Instant::now();
        let sizes = tokio::time::timeout(SIZES, self.parts.docker.sizes()).await;
        // An engine that takes so long may go on with it.
        let rest = if matches!(sizes, Ok(Ok(_))) { began.elapsed() * SIZES_REST } else { SIZES * SIZES_REST };
        self.sizes_again = Instant::now() + rest.max(NOTHING_TO_REMOVE);
        // Until then what was known last counts.
        match sizes {
            Ok(Ok(sizes)) => self.sizes = sizes,
            Ok(Err(error)) => tracing::debug!(error = chain(&error), "it is not known what containers wrote"),
            Err(_) => tracing::debug!("the engine takes long to say what containers wrote"),
        }
    }

    /// Has as much of what is `kept` removed as makes so many bytes. Says whether that is enough, as far as it is
    /// going. While something does not go, as what has output that is not shipped, it is not.
    async fn have_removed(&mut self, kept: &[Remains], lacks: u64) -> bool {
        self.going.retain(|task, _| kept.iter().any(|remains| remains.task == *task));
        let stuck = self.going.values().any(|at| !is_going(at));
        let coming = kept.iter().filter(|remains| self.going.get(&remains.task).is_some_and(is_going));
        let coming: u64 = coming.map(|remains| remains.size).sum();
        let others = kept.iter().filter(|remains| !self.going.contains_key(&remains.task));
        let others: Vec<Remains> = others.cloned().collect();
        let (mut go, made) = choose_remains(&others, lacks.saturating_sub(coming), SystemClock.now());
        if self.sizes.is_empty() {
            // It is not known how much one makes.
            go = go.into_iter().take(1).collect();
        }
        self.going.extend(go.into_iter().map(|task| (task, Instant::now())));
        if !self.going.is_empty() {
            self.hint(Hint::RemainsGo(self.going.keys().copied().collect())).await;
        }
        !stuck && lacks > 0 && coming.saturating_add(made) >= lacks
    }

    async fn publish(&self, ledger: Option<String>) {
        let Some((path, space)) = self.parts.rooms.space().await else { return };
        let promised_mib = {
            let (views, written) = (self.parts.views.borrow(), self.parts.written.borrow());
            promised(views.iter().filter_map(|(task, view)| {
                let limit = view.spec.as_ref()?.ephemeral_storage_mib?;
                let over = view.record.all_stopped();
                (!over).then(|| (u64::from(limit), written.get(task).copied().unwrap_or(0)))
            }))
        };
        let short = self.parts.rooms.short_of(path, space);
        let short = ledger.map(|why| nothing_new(&why)).or(short);
        let line = DiskLine {
            path: path.display().to_string(),
            total_mib: space.total / MIB,
            free_mib: space.free / MIB,
            promised_mib,
            used_percent: percent(space),
            cleaning: self.pressed,
            short: short.clone(),
            images: self.parts.rooms.history.len(),
            removed: self.removed,
        };
        self.parts.line.send_if_modified(|known| known.replace(line.clone()).as_ref() != Some(&line));
        let free_mib = mib(space.free).saturating_sub(u32::try_from(promised_mib).unwrap_or(u32::MAX));
        self.tell(free_mib, (mib(space.total) / WORTH.0).clamp(WORTH.1, WORTH.2), short);
    }

    /// Has the control plane told, if it is worth telling: a change of the free space is from `worth` on.
    fn tell(&self, free_mib: u32, worth: u32, short: Option<String>) {
        self.parts.status.send_if_modified(|known| {
            let same = known.as_ref().is_some_and(|k| k.short == short && k.free_mib.abs_diff(free_mib) < worth);
            if !same {
                *known = Some(DiskStatus { free_mib, short });
            }
            !same
        });
    }
}

/// Asks the engine for its directory, until it answers.
async fn find_root(parts: &Parts) {
    let mut wait = AGAIN.0;
    loop {
        match parts.docker.info().await {
            Ok(info) => {
                parts.limits.learn(&info);
                return parts.rooms.learn_root(info.data_root.into());
            }
            Err(error) => tracing::debug!(error = chain(&error), "the engine's disk is not known yet"),
        }
        tokio::time::sleep(wait.mul_f64(rand::random_range(0.75..1.0))).await;
        wait = (wait * 2).min(AGAIN.1);
    }
}

/// Whether what is being removed since then may go yet.
fn is_going(since: &Instant) -> bool {
    since.elapsed() < NOTHING_TO_REMOVE
}

fn nothing_new(why: &str) -> String {
    format!("nothing new is started: {why}")
}

fn percent(space: Space) -> f64 {
    space.used_per_mille() as f64 / 10.0
}

/// The names of the images of tasks that are not over.
fn needed(views: &TaskViews) -> BTreeSet<String> {
    let of = |view: &Arc<TaskView>| {
        let containers = view.spec.iter().flat_map(|spec| &spec.containers).zip(&view.record.containers);
        let live = containers.filter(|(_, record)| !record.phase.is_stopped());
        // Of one that is pinned to a digest, the tag may mean another image by now.
        live.map(|(spec, _)| listed_name(&wanted_image(spec))).collect::<Vec<_>>()
    };
    views.values().flat_map(of).collect()
}

/// What is kept of tasks that are over. That of a task which runs goes with it.
fn remains(views: &TaskViews, sizes: &[WrittenSize]) -> Vec<Remains> {
    let kept = |phase: &Phase| phase.stopped().is_some_and(|stopped| stopped.remains);
    let over = views.values().filter(|view| view.record.all_stopped());
    let of = |view: &Arc<TaskView>| {
        let task = view.record.id;
        let since = view.record.times.stopped_at.map(|at| at.moved(view.record.times.moved_millis));
        let size = sizes.iter().filter(|c| c.task == Some(task)).map(|c| c.size).sum();
        Remains { task, size, since: since.unwrap_or_else(|| SystemClock.now()) }
    };
    over.filter(|view| view.record.containers.iter().any(|c| kept(&c.phase))).map(of).collect()
}

/// Who has most of the disk, for people; nothing when nobody has a MiB.
fn holders(images: &[ListedImage], sizes: &[WrittenSize], written: &Written) -> String {
    let mut held: BTreeMap<String, u64> = BTreeMap::new();
    for image in images {
        let name = image.names.first().unwrap_or(&image.id);
        held.insert(format!("image `{name}`"), image.size);
    }
    for container in sizes {
        let who = match container.task {
            Some(task) => format!("task {task}"),
            None => format!("container `{}`", container.name),
        };
        *held.entry(who).or_default() += container.size;
    }
    // What is counted of tasks with limits has their volumes and output in it.
    for (task, mib) in written {
        let all = held.entry(format!("task {task}")).or_default();
        *all = (*all).max(mib * MIB);
    }
    let mut held: Vec<(String, u64)> = held.into_iter().filter(|(_, size)| *size >= MIB).collect();
    held.sort_by_key(|(_, size)| Reverse(*size));
    let most: Vec<String> =
        held.iter().take(HOLDERS).map(|(who, size)| format!("{who} ({} MiB)", size / MIB)).collect();
    if most.is_empty() {
        String::new()
    } else {
        format!("; most of what Docker has there is held by {}", most.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::view;
    use longshore_model::{NetworkMode, Timestamp};
    use longshore_plan::disk::{ImageRule, Marks};
    use longshore_plan::{ResourcePhase, Stopped};
    use std::path::Path;

    fn stopped() -> Phase {
        let at = Timestamp::from_millis(1_700_000_002_000);
        Phase::Stopped(Stopped {
            id: Some("id".into()),
            ran: true,
            exit_code: Some(0),
            reason: None,
            at,
            remains: true,
        })
    }

    fn views(view: TaskView) -> TaskViews {
        [(view.record.id, Arc::new(view))].into_iter().collect()
    }

    /// One without an engine, whose hints and words are heard.
    async fn keeper(dir: &Path) -> (DiskKeeper, mpsc::Receiver<Hint>, watch::Receiver<Option<DiskStatus>>) {
        let marks = Marks { clean_above: 100, clean_until: 100, refuse_above: 100 };
        let images = ImageRule { min_age: Duration::ZERO, untracked: false };
        let settings = DiskSettings { marks, images, wait: Duration::ZERO };
        let (status, told) = watch::channel(None);
        let (hints, hinted) = mpsc::channel(1);
        let parts = Parts {
            rooms: Arc::new(Rooms::new(settings, dir)),
            docker: Docker::connect("unix:///nonexistent/docker.sock").await.expect("an address"),
            limits: StorageLimits::default(),
            views: watch::channel(TaskViews::new()).1,
            written: watch::channel(Written::new()).1,
            ledger: Ledger::open(dir, None, || Ok(())).expect("opened").0,
            hints,
            status,
            line: watch::Sender::default(),
        };
        (DiskKeeper::new(parts), hinted, told)
    }

    /// Output that is not shipped keeps a container, however much its disk lacks.
    #[tokio::test(start_paused = true)]
    async fn what_does_not_go_does_not_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut keeper, mut hinted, _told) = keeper(dir.path()).await;
        let of = |n: u8, mib: u64| {
            let since = Timestamp::from_millis(1_700_000_000_000);
            Remains { task: TaskId::from_bytes([n; 16]), size: mib * MIB, since }
        };
        let both = [of(1, 10), of(2, 5)];
        keeper.sizes = vec![written(None, "other", 1)];
        // What is kept, how much is lacking, whether that is enough, and whose goes; half of the time later.
        let cases: [(&[Remains], u64, bool, &[u8]); 6] = [
            (&both, 8, true, &[1]),
            (&both, 8, true, &[1]),
            (&both, 8, false, &[1, 2]),
            (&both[1..], 4, true, &[2]),
            (&both[1..], 4, false, &[2]),
            (&[], 4, false, &[]),
        ];
        for (step, (kept, lacks, enough, expected)) in cases.into_iter().enumerate() {
            assert_eq!(keeper.have_removed(kept, lacks * MIB).await, enough, "step {step}");
            let expected: BTreeSet<TaskId> = expected.iter().map(|n| TaskId::from_bytes([*n; 16])).collect();
            let expected = (!expected.is_empty()).then_some(Hint::RemainsGo(expected));
            assert_eq!(hinted.try_recv().ok(), expected, "step {step}");
            tokio::time::advance(NOTHING_TO_REMOVE / 2).await;
        }
    }

    #[tokio::test]
    async fn a_disk_that_cannot_be_looked_at_is_told_with_its_reason() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut keeper, _hinted, told) = keeper(dir.path()).await;
        let rooms = keeper.parts.rooms.clone();
        let told = || told.borrow().clone().expect("told");
        keeper.once(0, None).await;
        let DiskStatus { free_mib, short } = told();
        assert!(free_mib == 0 && short.is_some_and(|why| why.contains("does not answer")) && keeper.unseen);
        keeper.once(0, Some("the ledger".to_owned())).await;
        assert_eq!(told().short.as_deref(), Some("nothing new is started: the ledger"));
        rooms.learn_root(dir.path().to_owned());
        keeper.once(0, None).await;
        assert!(told().free_mib > 0 && told().short.is_none() && !keeper.unseen, "the next time is said again");
    }

    fn written(task: Option<TaskId>, name: &str, mib: u64) -> WrittenSize {
        WrittenSize { task, name: name.to_owned(), size: mib * MIB }
    }

    #[test]
    fn what_a_task_that_runs_has_left_goes_with_it() {
        let mut view = view(NetworkMode::Bridge);
        let id = view.record.id;
        let sizes = [written(Some(id), "a", 2), written(Some(id), "b", 3), written(None, "c", 4)];
        view.record.containers[1].phase = stopped();
        assert_eq!(remains(&views(view.clone()), &sizes), [], "its first container runs");
        view.record.containers[0].phase = stopped();
        view.record.resources.iter_mut().for_each(|resource| resource.phase = ResourcePhase::Gone);
        let since = Timestamp::from_millis(1_700_000_002_000);
        view.record.times.stopped_at = Some(since);
        assert_eq!(remains(&views(view.clone()), &sizes), [Remains { task: id, size: 5 * MIB, since }]);
        assert_eq!(remains(&views(view), &[])[0].size, 0, "nobody says how large it is");
    }

    #[test]
    fn who_has_most_of_the_disk_is_said_and_once() {
        let task = view(NetworkMode::Bridge).record.id;
        let image =
            |name: &str, mib: u64| ListedImage { id: "sha256:a".into(), names: vec![name.into()], size: mib * MIB };
        let images = [image("app:1", 50), image("small:1", 1)];
        let sizes = [written(Some(task), "ls-a", 30), written(Some(task), "ls-b", 30), written(None, "db", 7)];
        let said = holders(&images, &sizes, &[(task, 10)].into());
        let expected = format!("task {task} (60 MiB), image `app:1` (50 MiB), container `db` (7 MiB)");
        assert_eq!(said, format!("; most of what Docker has there is held by {expected}"));
        let said = holders(&[], &[written(Some(task), "ls-a", 1)], &[(task, 99)].into());
        assert!(said.ends_with(&format!("held by task {task} (99 MiB)")), "{said}");
        assert_eq!(holders(&[], &[written(None, "db", 0)], &Written::new()), "");
    }

    #[test]
    fn a_task_needs_the_image_that_it_is_pinned_to_whatever_its_tag_means_now() {
        let mut view = view(NetworkMode::Bridge);
        let digest = format!("sha256:{}", "5".repeat(64));
        let mut spec = view.spec.as_deref().expect("one").clone();
        spec.containers[0].image = "registry.example/shop:3".into();
        spec.containers[1].image = "other:1".into();
        spec.containers[0].image_digest = Some(digest.parse().expect("a digest"));
        view.spec = Some(Arc::new(spec));
        let expected = [format!("registry.example/shop@{digest}"), "other:1".to_owned()];
        assert_eq!(needed(&views(view)), expected.into());
    }
}
