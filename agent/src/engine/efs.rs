//! Volumes of EFS: the NFS export that this host's configuration puts in a file system's place, mounted by the engine.
//!
//! Makes a volume of the engine's driver `local` out of each, which goes with its task like others; what is in the file
//! system stays. Whether a host has something for a file system is an attribute, so tasks are placed where it does.

use super::drivers::Volumes;
use crate::config::EfsServer;
use async_trait::async_trait;
use longshore_model::{DockerVolume, EfsVolume, TaskId, VolumeScope, VolumeSource, VolumeSpec};
use longshore_plan::Failure;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The engine's volumes, with those of EFS among them.
pub struct EfsVolumes {
    inner: Arc<dyn Volumes>,
    /// What stands for each file system.
    servers: BTreeMap<String, EfsServer>,
}

impl EfsVolumes {
    /// `inner`, and what stands for file systems of EFS by their ids.
    #[must_use]
    pub fn new(inner: Arc<dyn Volumes>, servers: BTreeMap<String, EfsServer>) -> Self {
        Self { inner, servers }
    }

    fn mounted(&self, efs: &EfsVolume) -> Result<DockerVolume, Failure> {
        let id = &efs.file_system;
        // It was placed here while something did, or by StartTask.
        let missing = || Failure::Lasting(format!("efs in this host's configuration has nothing for {id}"));
        Ok(mounted(self.servers.get(id).ok_or_else(missing)?, &efs.root_directory))
    }
}

/// The volume of the engine's that is a directory of an export.
fn mounted(server: &EfsServer, directory: &str) -> DockerVolume {
    let EfsServer { server, path, options } = server;
    let path = format!("{}/{}", path.trim_end_matches('/'), directory.trim_matches('/'));
    let device = format!(":/{}", path.trim_matches('/'));
    let options = [("type", "nfs".to_owned()), ("o", format!("addr={server},{options}")), ("device", device)];
    DockerVolume {
        scope: VolumeScope::Task,
        driver: Some("local".to_owned()),
        driver_opts: options.map(|(name, value)| (name.to_owned(), value)).into(),
        labels: BTreeMap::new(),
    }
}

#[async_trait]
impl Volumes for EfsVolumes {
    async fn ensure(&self, task: TaskId, volume: &VolumeSpec) -> Result<(), Failure> {
        match &volume.source {
            VolumeSource::Efs(efs) => {
                let source = VolumeSource::Docker(self.mounted(efs)?);
                self.inner.ensure(task, &VolumeSpec { name: volume.name.clone(), source }).await
            }
            VolumeSource::Host { .. } | VolumeSource::Task | VolumeSource::Docker(_) => {
                self.inner.ensure(task, volume).await
            }
        }
    }

    async fn remove(&self, task: TaskId, volume: &str) -> Result<(), Failure> {
        self.inner.remove(task, volume).await
    }

    async fn list(&self) -> Result<Vec<(TaskId, String)>, Failure> {
        self.inner.list().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_a_file_system_is_one_of_the_export() {
        for (export, directory, device) in [
            ("/", "/", ":/"),
            ("/", "/data/", ":/data"),
            ("/export", "/", ":/export"),
            ("/export/", "/a/b", ":/export/a/b"),
        ] {
            let server = EfsServer { server: "nas".into(), path: export.into(), options: "nfsvers=4.1,hard".into() };
            let volume = mounted(&server, directory);
            let options = ["type", "o", "device"].map(|name| volume.driver_opts[name].as_str());
            assert_eq!(options, ["nfs", "addr=nas,nfsvers=4.1,hard", device], "{export} and {directory}");
        }
    }
}
