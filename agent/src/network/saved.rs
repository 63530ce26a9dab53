//! What the network owner keeps across restarts: what the control plane last said, and the addresses that rest. Small
//! files in the data directory.
//!
//! What the control plane said is kept whole in `network.json` and, from then on, as one line for each step in
//! `network.steps`, so that a step costs what it changes and not what there is. Once the steps are as long as the
//! whole, the whole is written anew.

use super::quarantine::Quarantine;
use super::shelf::Shelf;
use crate::crash::{self, Place};
use async_trait::async_trait;
use longshore_model::{Generation, NetworkChanges, NetworkState};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Steps may be at least this long before the whole is written anew, in bytes.
const STEPS: u64 = 64 << 10;

/// What the control plane last said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The generation of `state`.
    pub(super) generation: Generation,
    /// The network; absent before the first update.
    pub(super) state: Option<NetworkState>,
    /// The address that other hosts send to, for a start without a way to the control plane.
    pub(super) underlay: Option<IpAddr>,
}

/// A change that the control plane said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it builds on.
    pub(super) base: Generation,
    /// What it leads to.
    pub(super) generation: Generation,
    /// What changed.
    pub(super) changes: NetworkChanges,
}

impl Said {
    /// What was said is this further on. A step that does not build on it changes nothing.
    pub fn follow(&mut self, step: Step) {
        if let Some(state) = &mut self.state
            && step.base == self.generation
        {
            state.apply(step.changes);
            self.generation = step.generation;
        }
    }
}

/// `network.json`, and the random number, never 0, by which its steps know it.
#[derive(Default, Serialize, Deserialize)]
struct Whole {
    name: u64,
    said: Said,
}

/// A line of `network.steps`. Those of another whole count for nothing.
#[derive(Serialize, Deserialize)]
struct Line {
    of: u64,
    step: Step,
}

/// What is in the files.
#[derive(Debug, Default)]
struct Kept {
    /// The whole that steps are added to; absent when none can be.
    whole: Option<u64>,
    /// Bytes of the whole, and of the steps since.
    bytes: (u64, u64),
}

/// The files.
#[derive(Debug, Clone)]
pub struct FileShelf {
    said: PathBuf,
    steps: PathBuf,
    resting: PathBuf,
    kept: Arc<Mutex<Kept>>,
}

impl FileShelf {
    /// Those in the agent's data directory.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        let path = |name| data_dir.join(name);
        let (said, steps, resting) = (path("network.json"), path("network.steps"), path("addresses.json"));
        Self { said, steps, resting, kept: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // No code that holds the lock can leave it wrong: without a whole, everything is written anew.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Shelf for FileShelf {
    /// What was kept. A file that is not readable counts as absent, and is said once: the control plane says everything
    /// again, and an address that rested is one of many. Steps count up to the first that is not whole.
    fn load(&self) -> (Said, Quarantine) {
        let Whole { name, mut said } = load(&self.said);
        let read = std::fs::read(&self.steps);
        let absent = read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let mut sound = name != 0 && (read.is_ok() || absent);
        let text = read.unwrap_or_default();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            match (serde_json::from_slice::<Line>(line), &said.state) {
                (Ok(Line { of, step }), Some(_))
                    if of == name && step.base == said.generation && line.ends_with(b"\n") =>
                {
                    said.follow(step);
                }
                (Ok(_) | Err(_), _) => {
                    sound = false;
                    break;
                }
            }
        }
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |data| data.len());
        *self.lock() = Kept { whole: sound.then_some(name), bytes: (size(&self.said), size(&self.steps)) };
        (said, load(&self.resting))
    }

    /// Whether the next step is better saved as the whole: the steps have become long, or nothing can be added to them.
    fn wants_whole(&self) -> bool {
        let kept = self.lock();
        let (whole, steps) = kept.bytes;
        kept.whole.is_none() || steps > whole.max(STEPS)
    }

    /// Saves all of it.
    async fn save_said(&self, said: Said) -> io::Result<()> {
        let shelf = self.clone();
        let write = move || {
            let name = rand::random_range(1..=u64::MAX);
            let text = serde_json::to_vec(&Whole { name, said }).map_err(io::Error::other)?;
            let mut kept = shelf.lock();
            kept.whole = None;
            crash::before(Place::NetworkFile);
            crash::space_for(Place::NetworkFile)?;
            replace(&shelf.said, &text)?;
            crash::after(Place::NetworkFile);
            *kept = Kept { whole: Some(name), bytes: (text.len() as u64, 0) };
            drop(kept);
            // Those of an older whole are passed over as long as they are there.
            match std::fs::remove_file(&shelf.steps) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    shelf.lock().whole = None;
                    Err(error)
                }
                Ok(()) | Err(_) => {
                    crash::after(Place::NetworkStepsRemoved);
                    Ok(())
                }
            }
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }

    /// Adds steps to what is kept.
    async fn save_steps(&self, steps: Vec<Step>) -> io::Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let shelf = self.clone();
        let write = move || {
            let mut kept = shelf.lock();
            // Put back when all went well: what is half written ends the steps.
            let of = kept.whole.take().ok_or_else(|| io::Error::other("there is nothing to add steps to"))?;
            let mut text = Vec::new();
            for step in steps {
                serde_json::to_writer(&mut text, &Line { of, step }).map_err(io::Error::other)?;
                text.push(b'\n');
            }
            crash::before(Place::NetworkSteps);
            crash::space_for(Place::NetworkSteps)?;
            let mut file = File::options().append(true).create(true).mode(0o600).open(&shelf.steps)?;
            file.write_all(&text)?;
            file.sync_data()?;
            if kept.bytes.1 == 0 {
                sync_directory(&shelf.steps)?;
            }
            crash::after(Place::NetworkSteps);
            kept.whole = Some(of);
            kept.bytes.1 += text.len() as u64;
            Ok(())
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }

    async fn save_resting(&self, quarantine: &Quarantine) -> io::Result<()> {
        let (path, text) = (self.resting.clone(), serde_json::to_vec(quarantine).map_err(io::Error::other)?);
        let write = move || {
            crash::before(Place::RestingFile);
            let replaced = crash::space_for(Place::RestingFile).and_then(|()| replace(&path, &text));
            crash::after(Place::RestingFile);
            replaced
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }
}

/// Forgets what the control plane of a former container instance said: this host has joined anew, maybe another one.
/// Addresses that rest go on resting until the new one has recorded that they ended. For a time at which no owner runs.
///
/// # Errors
/// When a file can be neither removed nor written. Doing it again goes on.
pub fn leave(data_dir: &Path) -> io::Result<()> {
    let shelf = FileShelf::new(data_dir);
    crash::before(Place::NetworkLeft);
    for path in [&shelf.said, &shelf.steps] {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let mut quarantine: Quarantine = load(&shelf.resting);
    if quarantine.len() > 0 {
        quarantine.forget_records();
        replace(&shelf.resting, &serde_json::to_vec(&quarantine).map_err(io::Error::other)?)?;
    }
    sync_directory(&shelf.said)?;
    crash::after(Place::NetworkLeft);
    Ok(())
}

fn load<T: DeserializeOwned + Default>(path: &Path) -> T {
    let read = std::fs::read(path).and_then(|text| serde_json::from_slice(&text).map_err(io::Error::other));
    match read {
        Ok(value) => value,
        Err(error) if error.kind() == io::ErrorKind::NotFound => T::default(),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "not readable; going on without it");
            T::default()
        }
    }
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    if let Err(error) = write() {
        // Half of it takes what a full disk has not.
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    sync_directory(path)
}

/// The name, too, survives a loss of power.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::{EniId, GroupId, MemberChanges, NetworkConfig, Overlay, Timestamp};
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::Ipv4Addr;

    fn said(generation: u64) -> Said {
        let config = NetworkConfig {
            lease_length: 24,
            v4: "10.77.0.0/16".parse().expect("a range"),
            v6: None,
            overlay: Overlay::Vxlan { vni: 7777, port: 4789 },
            mtu: 1450,
        };
        let (peers, groups) = (BTreeMap::new(), BTreeMap::new());
        let state = NetworkState { config, leases: Vec::new(), peers, groups, members: BTreeMap::new() };
        let underlay = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Said { generation: Generation(generation), underlay, state: Some(state) }
    }

    fn step(base: u64, address: u32) -> Step {
        let group: GroupId = "sg-0123456789abcdef0".parse().expect("an id");
        let added = BTreeSet::from([IpAddr::V4(Ipv4Addr::from(address))]);
        let members = [(group, MemberChanges { added, removed: BTreeSet::new() })].into();
        let changes = NetworkChanges { members, ..NetworkChanges::default() };
        Step { base: Generation(base), generation: Generation(base + 1), changes }
    }

    fn with(mut said: Said, steps: &[Step]) -> Said {
        for step in steps {
            said.state.as_mut().expect("there").apply(step.changes.clone());
            said.generation = step.generation;
        }
        said
    }

    #[tokio::test]
    async fn what_is_kept_is_there_again_and_damage_is_survived() {
        let dir = tempfile::tempdir().expect("a directory");
        let shelf = FileShelf::new(dir.path());
        assert_eq!(shelf.load(), (Said::default(), Quarantine::default()));
        let mut quarantine = Quarantine::default();
        quarantine.add(EniId::random(), Ipv4Addr::new(10, 77, 1, 2), Timestamp::from_millis(5));
        shelf.save_said(said(7)).await.expect("saved");
        shelf.save_resting(&quarantine).await.expect("saved");
        assert_eq!(shelf.load(), (said(7), quarantine.clone()));
        std::fs::write(dir.path().join("network.json"), "{").expect("written");
        assert_eq!(shelf.load(), (Said::default(), quarantine));
        assert!(shelf.wants_whole());
    }

    #[tokio::test]
    async fn steps_are_there_again_up_to_the_first_that_is_cut() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("network.steps");
        let shelf = FileShelf::new(dir.path());
        assert!(shelf.wants_whole() && shelf.save_steps(vec![step(1, 1)]).await.is_err(), "nothing to build on");
        shelf.save_said(said(7)).await.expect("saved");
        let steps = [step(7, 1), step(8, 2), step(9, 3)];
        shelf.save_steps(steps[..2].to_vec()).await.expect("saved");
        shelf.save_steps(steps[2..].to_vec()).await.expect("saved");
        let again = FileShelf::new(dir.path());
        assert_eq!(again.load().0, with(said(7), &steps));
        assert!(!again.wants_whole());
        let text = std::fs::read(&file).expect("read");
        let last = text.iter().rev().skip(1).position(|byte| *byte == b'\n').expect("three lines");
        // Cut anywhere in the last line: the first two count, and the next is saved as the whole.
        for keep in text.len() - last..text.len() {
            std::fs::write(&file, &text[..keep]).expect("written");
            let again = FileShelf::new(dir.path());
            assert_eq!(again.load().0, with(said(7), &steps[..2]), "{keep} of {} bytes", text.len());
            assert!(again.wants_whole(), "{keep} of {} bytes", text.len());
        }
        // Steps of an older whole that were not removed any more.
        shelf.save_said(said(7)).await.expect("saved");
        assert!(!file.exists());
        std::fs::write(&file, &text).expect("written");
        let again = FileShelf::new(dir.path());
        assert_eq!(again.load().0, said(7));
        assert!(again.wants_whole());
    }

    #[tokio::test]
    async fn a_host_that_joined_anew_knows_nothing_and_its_addresses_rest_on() {
        let dir = tempfile::tempdir().expect("a directory");
        leave(dir.path()).expect("nothing is fine");
        let shelf = FileShelf::new(dir.path());
        let (eni, now) = (EniId::random(), Timestamp::from_millis(1_000_000));
        let mut quarantine = Quarantine::default();
        quarantine.add(eni, Ipv4Addr::new(10, 77, 1, 2), now);
        let waits = quarantine.clone();
        assert!(quarantine.record(&super::super::Recorded::These(vec![eni]), 900, now));
        shelf.save_said(said(7)).await.expect("saved");
        shelf.save_steps(vec![step(7, 1)]).await.expect("saved");
        shelf.save_resting(&quarantine).await.expect("saved");
        leave(dir.path()).expect("left");
        assert_eq!(FileShelf::new(dir.path()).load(), (Said::default(), waits));
    }

    #[tokio::test]
    async fn long_steps_are_a_reason_to_save_the_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let shelf = FileShelf::new(dir.path());
        shelf.save_said(said(0)).await.expect("saved");
        let mut at = 0;
        while !shelf.wants_whole() {
            let steps: Vec<Step> = (at..at + 50).map(|n| step(n, 9)).collect();
            shelf.save_steps(steps).await.expect("saved");
            at += 50;
            assert!(at < 10_000, "never");
        }
        let size = std::fs::metadata(dir.path().join("network.steps")).expect("there").len();
        assert!((STEPS..2 * STEPS).contains(&size), "{size}");
    }
}
