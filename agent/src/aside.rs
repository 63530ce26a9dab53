//! Work that a file system may hold up for ever, on threads of its own.
//!
//! A call to a file system of another machine, or of a disk that fails, may never return, and nothing ends a thread
//! that waits in one. The runtime's threads for work that blocks are few, and everybody's: a few calls that hang would
//! be the end of cgroups, logs and the network's files. So such calls are made here. Each place has one thread at a
//! time, so what hangs costs one thread however often it is tried; whoever comes to one that hangs is told for how
//! long.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

/// What a thread here needs for its calls.
const STACK: usize = 256 << 10;

/// The places. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Aside(Arc<Mutex<HashMap<PathBuf, Lane>>>);

/// One place.
#[derive(Debug, Clone)]
struct Lane {
    turn: Arc<Semaphore>,
    /// Since when there is a thread.
    since: Arc<Mutex<Option<Instant>>>,
}

impl Lane {
    /// For how long what goes on there has been going on.
    fn hangs(&self) -> Option<Duration> {
        locked(&self.since).map(|at| at.elapsed())
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HeldUp {
    /// The place has not answered in time.
    #[error("no answer of the file system at {} for {} s", place.display(), after.as_secs())]
    Late {
        /// The place.
        place: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// Nothing was asked of it: it has not answered what it was asked before.
    #[error("the file system at {} is still hanging: no answer for {} s", place.display(), since.as_secs())]
    Hangs {
        /// The place.
        place: PathBuf,
        /// For how long.
        since: Duration,
    },
    /// There is no thread for it.
    #[error("there is no thread for looking at {}", place.display())]
    Thread {
        /// The place.
        place: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Held while a thread is at a place.
struct There {
    since: Arc<Mutex<Option<Instant>>>,
    _turn: OwnedSemaphorePermit,
}

impl There {
    fn new(lane: &Lane, turn: OwnedSemaphorePermit) -> Self {
        *locked(&lane.since) = Some(Instant::now());
        Self { since: lane.since.clone(), _turn: turn }
    }
}

impl Drop for There {
    fn drop(&mut self) {
        *locked(&self.since) = None;
    }
}

impl Aside {
    /// Does `work` at `place` (a directory of the configuration's: each that was ever named is remembered), once what
    /// goes on there is over. Dropping the future ends the wait and not the work.
    ///
    /// # Errors
    /// When it is not done after `limit`, or something before it is not: at once, when that has taken as long already.
    pub async fn run<T: Send + 'static>(
        &self,
        place: &Path,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HeldUp> {
        if let Some(since) = self.lane(place).hangs().filter(|since| *since >= limit) {
            return Err(HeldUp::Hangs { place: place.to_owned(), since });
        }
        self.run_in_turn(place, limit, work).await
    }

    /// The same for who can wait, and has only a few tries: also for a place that has hung for long there is `limit`.
    ///
    /// # Errors
    /// When it is not done after `limit`, or something before it is not.
    pub async fn run_in_turn<T: Send + 'static>(
        &self,
        place: &Path,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HeldUp> {
        let until = Instant::now() + limit;
        let lane = self.lane(place);
        let place = || place.to_owned();
        let thread = |source| HeldUp::Thread { place: place(), source };
        let turn = match tokio::time::timeout_at(until, lane.turn.clone().acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(closed)) => return Err(thread(io::Error::other(closed))),
            Err(_) => return Err(HeldUp::Hangs { place: place(), since: lane.hangs().unwrap_or_default() }),
        };
        let there = There::new(&lane, turn);
        let (answer, result) = oneshot::channel();
        let visit = move || {
            let found = work();
            drop(there);
            // Nobody may want it any more.
            let _ = answer.send(found);
        };
        std::thread::Builder::new().name("aside".into()).stack_size(STACK).spawn(visit).map_err(thread)?;
        match tokio::time::timeout_at(until, result).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) => Err(thread(io::Error::other("it panicked"))),
            Err(_) => Err(HeldUp::Late { place: place(), after: limit }),
        }
    }

    fn lane(&self, place: &Path) -> Lane {
        let mut lanes = locked(&self.0);
        let new = || Lane { turn: Arc::new(Semaphore::new(1)), since: Arc::default() };
        lanes.entry(place.to_owned()).or_insert_with(new).clone()
    }
}

/// Locks here are held for one look-up and never across an await; a poisoned one holds whole values.
fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Something that hangs: whoever opens it for reading waits until [`Hanging::answer`].
    pub(crate) struct Hanging(PathBuf);

    impl Hanging {
        pub(crate) fn new(in_directory: &Path) -> Self {
            let path = in_directory.join("hanging");
            let _ = std::fs::remove_file(&path);
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
            Self(path)
        }

        /// A thread of `aside` at `place` that waits.
        pub(crate) async fn hold(&self, aside: &Aside, place: &Path) {
            let path = self.0.clone();
            let held = aside.run(place, Duration::from_millis(50), move || std::fs::read(path)).await;
            assert!(matches!(held, Err(HeldUp::Late { .. })), "{held:?}");
        }

        /// Until the thread is gone.
        pub(crate) async fn answer(self, aside: &Aside, place: &Path) {
            std::fs::write(&self.0, "").expect("somebody reads it");
            let gone = async {
                while aside.lane(place).turn.available_permits() == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), gone).await.expect("it ends");
        }
    }

    #[tokio::test]
    async fn what_hangs_costs_one_thread_and_holds_up_no_other_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let (aside, hanging) = (Aside::default(), Hanging::new(dir.path()));
        let (ill, well) = (Path::new("/ill"), Path::new("/well"));
        let second = Duration::from_secs(1);
        hanging.hold(&aside, ill).await;
        // Neither who can wait a while, nor who cannot, gets a thread.
        let asked = Arc::new(Mutex::new(0));
        for limit in [Duration::from_millis(60), Duration::from_millis(1)] {
            let count = asked.clone();
            let held = aside.run(ill, limit, move || *locked(&count) += 1).await.expect_err("it hangs");
            assert!(held.to_string().starts_with("the file system at /ill is still hanging: "), "{held}");
        }
        assert_eq!(aside.run(well, second, || 1).await.expect("it is well"), 1);
        let after = {
            let (aside, count) = (aside.clone(), asked.clone());
            tokio::spawn(async move { aside.run(ill, 60 * second, move || *locked(&count) += 1).await })
        };
        tokio::task::yield_now().await;
        hanging.answer(&aside, ill).await;
        after.await.expect("no panic").expect("it is well again");
        assert_eq!(*locked(&asked), 1);
        let panicked = aside.run(ill, second, || panic!("on purpose")).await;
        assert!(matches!(panicked, Err::<(), _>(HeldUp::Thread { .. })), "{panicked:?}");
        aside.run(ill, second, || ()).await.expect("the next one has a thread");
    }
}
