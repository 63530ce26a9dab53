//! What the network owner keeps across restarts: what the control plane last said, and the addresses that rest. Two
//! small files in the data directory, each replaced as a whole.

use super::quarantine::Quarantine;
use longshore_model::{Generation, NetworkState};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What the control plane last said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Said {
    /// The generation of `state`.
    pub(super) generation: Generation,
    /// The network; absent before the first update.
    pub(super) state: Option<NetworkState>,
    /// The address that other hosts send to, for a start without a way to the control plane.
    pub(super) underlay: Option<IpAddr>,
}

/// The two files.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    said: PathBuf,
    resting: PathBuf,
}

impl Shelf {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { said: data_dir.join("network.json"), resting: data_dir.join("addresses.json") }
    }

    /// What was kept. A file that is not readable counts as absent, and is said once: the control plane says everything
    /// again, and an address that rested is one of many.
    pub(super) fn load(&self) -> (Said, Quarantine) {
        (load(&self.said), load(&self.resting))
    }

    pub(super) async fn save_said(&self, said: &Said) -> io::Result<()> {
        save(&self.said, said).await
    }

    pub(super) async fn save_resting(&self, quarantine: &Quarantine) -> io::Result<()> {
        save(&self.resting, quarantine).await
    }
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

async fn save(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let (path, text) = (path.to_owned(), serde_json::to_vec(value).map_err(io::Error::other)?);
    let write = move || {
        let new = path.with_extension("new");
        let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        // The name, too, survives a loss of power.
        std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::{EniId, Timestamp};
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn what_is_kept_is_there_again_and_damage_is_survived() {
        let dir = tempfile::tempdir().expect("a directory");
        let shelf = Shelf::new(dir.path());
        assert_eq!(shelf.load(), (Said::default(), Quarantine::default()));
        let said = Said { generation: Generation(7), underlay: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), state: None };
        let mut quarantine = Quarantine::default();
        quarantine.add(EniId::random(), Ipv4Addr::new(10, 77, 1, 2), Timestamp::from_millis(5));
        shelf.save_said(&said).await.expect("saved");
        shelf.save_resting(&quarantine).await.expect("saved");
        assert_eq!(shelf.load(), (said, quarantine.clone()));
        std::fs::write(dir.path().join("network.json"), "{").expect("written");
        assert_eq!(shelf.load(), (Said::default(), quarantine));
    }
}
