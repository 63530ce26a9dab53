//! The ids by which containers are known to the endpoint: a keyed hash, so that nobody can guess one and nobody has to
//! remember them.

use crate::crash::{self, Place};
use crate::engine::{TaskView, TaskViews};
use crate::identity::write_private;
use aws_lc_rs::{constant_time, hmac};
use longshore_model::{ContainerName, TaskId};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of the key.
const KEY: usize = 32;

/// Bytes of the hash that an id carries: as many as cannot be guessed.
const TAG: usize = 16;

/// The file in the data directory.
const FILE: &str = "metadata.key";

/// The host's key for the ids of containers. `Debug` does not show it.
pub struct Keyring(hmac::Key);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[error("could not {verb} the key of the metadata endpoint, {}", path.display())]
pub struct KeyringError {
    verb: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Keyring {
    /// With this key.
    #[must_use]
    pub fn new(key: [u8; KEY]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    /// With the key in the data directory, which is made at the first start (mode 0600). A file that is no key is
    /// replaced: the ids of containers that run are unknown from then on, and the log says so.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(data_dir: &Path) -> Result<Self, KeyringError> {
        let path = data_dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => match <[u8; KEY]>::try_from(bytes) {
                Ok(key) => return Ok(Self::new(key)),
                Err(_) => {
                    let path = path.display();
                    tracing::error!(%path, "no key; another is made, and what runs cannot ask for its metadata");
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(KeyringError { verb: "read", path, source }),
        }
        let key: [u8; KEY] = rand::random();
        crash::before(Place::MetadataKey);
        let written = crash::space_for(Place::MetadataKey).and_then(|()| write_private(&path, &key));
        crash::after(Place::MetadataKey);
        match written {
            Ok(()) => Ok(Self::new(key)),
            Err(source) => Err(KeyringError { verb: "write", path, source }),
        }
    }

    fn tag(&self, task: TaskId, container: &ContainerName) -> [u8; TAG] {
        // A container's name has no slash, so no two pairs are the same text.
        let tag = hmac::sign(&self.0, format!("{task}/{container}").as_bytes());
        let mut short = [0; TAG];
        short.copy_from_slice(&tag.as_ref()[..TAG]);
        short
    }

    /// The id of a container: `<task id>-<32 hexadecimal digits>`. Whoever has it may ask what the container may.
    #[must_use]
    pub fn id(&self, task: TaskId, container: &ContainerName) -> String {
        format!("{task}-{}", hex::encode(self.tag(task, container)))
    }

    /// The task and the position of the container that has this id.
    #[must_use]
    pub(super) fn find(&self, id: &str, views: &TaskViews) -> Option<(Arc<TaskView>, usize)> {
        let (task, tag) = id.split_once('-')?;
        let view = views.get(&task.parse::<TaskId>().ok()?)?;
        let tag = hex::decode(tag).ok()?;
        let is = |name: &ContainerName| {
            constant_time::verify_slices_are_equal(&self.tag(view.record.id, name), &tag).is_ok()
        };
        let index = view.record.containers.iter().position(|container| is(&container.name))?;
        Some((view.clone(), index))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::view;
    use longshore_model::NetworkMode;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_id_is_known_again_and_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let keyring = Keyring::open(dir.path()).expect("made");
        let mode = std::fs::metadata(dir.path().join(FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (one, other) = (view(NetworkMode::Bridge), view(NetworkMode::Bridge));
        let names: Vec<ContainerName> = one.record.containers.iter().map(|c| c.name.clone()).collect();
        let (task, stranger) = (one.record.id, other.record.id);
        let views: TaskViews = [one, other].map(|view| (view.record.id, Arc::new(view))).into();

        let again = Keyring::open(dir.path()).expect("read");
        for (i, name) in names.iter().enumerate() {
            let found = again.find(&keyring.id(task, name), &views).expect("known");
            assert_eq!((found.0.record.id, found.1), (task, i));
        }
        let id = keyring.id(task, &names[0]);
        let tag = id.split_once('-').expect("two parts").1;
        let forged = [
            format!("{stranger}-{tag}"),
            format!("{task}-{}", &tag[..31]),
            format!("{task}-{}", "0".repeat(32)),
            format!("{task}-"),
            format!("{task}"),
            format!("{id}0"),
            String::new(),
        ];
        for id in forged {
            assert!(keyring.find(&id, &views).is_none(), "{id}");
        }
        assert!(Keyring::new([1; KEY]).find(&id, &views).is_none(), "another host's key");
        assert_eq!(format!("{keyring:?}"), "Keyring(…)");
    }

    #[test]
    fn what_is_no_key_is_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(FILE), "short").expect("written");
        let name = ContainerName::new("main").expect("a name");
        let task = TaskId::random();
        let id = Keyring::open(dir.path()).expect("made").id(task, &name);
        assert_eq!(Keyring::open(dir.path()).expect("read").id(task, &name), id);
    }
}
