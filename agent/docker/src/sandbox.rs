//! Sandboxes: containers without a network of the engine's, which hold the network namespace of an awsvpc task while
//! its own containers join it; and the image that they are made from.

use crate::client::Docker;
use crate::config::CreateContainer;
use crate::containers::{ListedContainer, RemoveError, RunState, without_doubles};
use crate::error::DockerError;
use crate::labels;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, RestartPolicy, RestartPolicyNameEnum};
use bollard::query_parameters::CreateImageOptions;
use futures::StreamExt;
use longshore_model::EniId;
use std::net::Ipv4Addr;

/// What a sandbox may have of the host's memory. It is one small static program, but what starts it is counted in its
/// cgroup from the beginning: runc's own process, a few MiB that the kernel may give in huge pages of 2 MiB each. With
/// 6 MiB, the least that the engine takes, it was killed in the middle of a start on cgroup v2.
const MEMORY: i64 = 32 * 1024 * 1024;

/// Processes in a sandbox: itself, and somebody who looks.
const PIDS: i64 = 8;

/// What a sandbox is made from.
#[derive(Debug, Clone, Copy)]
pub struct SandboxInput<'a> {
    /// The interface that it will hold.
    pub eni: EniId,
    /// Its address.
    pub address: Ipv4Addr,
    /// The name that the task's containers have for themselves.
    pub hostname: &'a str,
    /// The image, as [`Docker::import`] named it.
    pub image: &'a str,
    /// Kernel settings of the namespace, `net.…` alone.
    pub sysctls: &'a [(&'a str, &'a str)],
}

/// A sandbox in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSandbox {
    /// The engine's id.
    pub id: String,
    /// Its name: [`sandbox_name`] unless somebody renamed it; empty while it is being removed.
    pub name: String,
    /// The interface that it holds.
    pub eni: EniId,
    /// Its address; absent when the label is not readable.
    pub address: Option<Ipv4Addr>,
    /// The image that it was made from.
    pub image_id: String,
    /// What it does.
    pub state: RunState,
}

/// Why an image was not imported.
#[derive(Debug, thiserror::Error)]
#[error("could not import image `{reference}`")]
pub struct ImportError {
    /// The image.
    pub reference: String,
    /// Why.
    #[source]
    pub source: DockerError,
}

/// A sandbox's name in the engine: `ls-eni-…`. No container of a task has such a name, which has a task's id there.
#[must_use]
pub fn sandbox_name(eni: EniId) -> String {
    format!("ls-{eni}")
}

/// Describes a sandbox to the engine.
#[must_use]
pub fn sandbox_config(input: &SandboxInput<'_>) -> CreateContainer {
    let SandboxInput { eni, address, hostname, image, sysctls } = *input;
    let labels = [(labels::ENI, eni.to_string()), (labels::ADDRESS, address.to_string())];
    let host = HostConfig {
        sysctls: Some(sysctls.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()),
        ..quiet_host_config()
    };
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        hostname: Some(hostname.to_owned()),
        // The engine's own network `none` would make a sandbox of libnetwork's, and takes about twice the time.
        network_disabled: Some(true),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    CreateContainer::new(sandbox_name(eni), body)
}

/// What holds namespaces and does nothing else: no network of the engine's, no rights, no log, hardly any memory.
pub(crate) fn quiet_host_config() -> HostConfig {
    HostConfig {
        network_mode: Some("none".to_owned()),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        auto_remove: Some(false),
        memory: Some(MEMORY),
        pids_limit: Some(PIDS),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        ..HostConfig::default()
    }
}

impl Docker {
    /// Every sandbox, in any state, by its label: also one that somebody renamed, but not what has the label beside the
    /// one of that name, as a container of an image that was committed from it. One call; nothing is inspected.
    ///
    /// # Errors
    /// When the engine does not answer: then nothing is known about any sandbox.
    pub async fn list_sandboxes(&self) -> Result<Vec<ListedSandbox>, DockerError> {
        let all = self.list_labelled(labels::ENI).await?;
        let eni = |c: &ListedContainer| c.labels.get(labels::ENI)?.parse::<EniId>().ok();
        let sandbox = |c: ListedContainer| {
            let eni = eni(&c)?;
            let address = c.labels.get(labels::ADDRESS).and_then(|text| text.parse().ok());
            Some(ListedSandbox { id: c.id, name: c.name, eni, address, image_id: c.image_id, state: c.state })
        };
        Ok(without_doubles(all, |c| eni(c).map(sandbox_name)).into_iter().filter_map(sandbox).collect())
    }

    /// Ends a sandbox and removes it, whatever it does. One that is absent is fine.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    pub async fn remove_sandbox(&self, eni: EniId) -> Result<(), RemoveError> {
        self.remove_with(&sandbox_name(eni), true).await
    }

    /// Makes the image `name:tag` from the files in `tar`, with `entry_point` as the command that it runs.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    pub async fn import(&self, name: &str, tag: &str, tar: Vec<u8>, entry_point: &[&str]) -> Result<(), ImportError> {
        let reference = format!("{name}:{tag}");
        let fail = |source| ImportError { reference: reference.clone(), source };
        let client = self.client().await.map_err(fail)?;
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(name.to_owned()),
            tag: Some(tag.to_owned()),
            // Debug output of plain strings is their JSON.
            changes: vec![format!("ENTRYPOINT {entry_point:?}")],
            ..CreateImageOptions::default()
        };
        let doing = format!("importing image `{reference}`");
        let mut messages =
            std::pin::pin!(client.create_image(Some(options), Some(bollard::body_full(tar.into())), None));
        let read = async {
            while let Some(message) = messages.next().await {
                message?;
            }
            Ok(())
        };
        self.call(&doing, self.timeouts().create, read).await.map_err(fail)
    }
}

/// One regular file, executable by everybody, as a tar archive: what [`Docker::import`] takes.
///
/// # Panics
/// For a name of more than 99 bytes, or a file of 8 GiB.
#[must_use]
pub fn tar_of_one(name: &str, content: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    assert!(name.len() < 100, "the name of the one file fits");
    put(0, name);
    put(100, "0000555");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", content.len()));
    put(136, &format!("{:011o}", 0));
    // The checksum is counted as if it were spaces.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = header.to_vec();
    tar.extend_from_slice(content);
    // The file is padded to whole blocks, and two empty ones end the archive.
    tar.resize(tar.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    tar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_is_nothing_but_a_namespace() {
        let eni: EniId = "eni-0123456789abcdef0".parse().expect("an id");
        let config = sandbox_config(&SandboxInput {
            eni,
            address: Ipv4Addr::new(10, 77, 1, 11),
            hostname: "ip-10-77-1-11",
            image: "longshore/pause:1",
            sysctls: &[("net.ipv4.ip_unprivileged_port_start", "0")],
        });
        assert_eq!((config.name(), config.image()), ("ls-eni-0123456789abcdef0", "longshore/pause:1"));
        let body = config.body();
        assert_eq!((body.network_disabled, body.hostname.as_deref()), (Some(true), Some("ip-10-77-1-11")));
        let labels = body.labels.as_ref().expect("labels");
        assert_eq!(labels["longshore.eni"], "eni-0123456789abcdef0");
        assert_eq!(labels["longshore.address"], "10.77.1.11");
        assert!(!labels.contains_key(labels::TASK), "it would be taken for a container of a task");
        let host = body.host_config.as_ref().expect("there is always one");
        assert_eq!(host.restart_policy.as_ref().and_then(|p| p.name), Some(RestartPolicyNameEnum::NO));
        // 7604 KiB were in use when runc was killed: most of it three huge pages.
        assert!(host.memory >= Some(16 << 20), "the runtime that starts it needs more than {:?}", host.memory);
        assert_eq!(host.sysctls.as_ref().expect("set")["net.ipv4.ip_unprivileged_port_start"], "0");
    }

    #[test]
    fn an_archive_of_one_file_is_whole_blocks_and_sums_up() {
        let tar = tar_of_one("pause", &[7; 700]);
        assert_eq!(tar.len(), 512 + 1024 + 1024);
        let sum: u32 =
            tar[..512].iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
        assert_eq!(&tar[148..154], format!("{sum:06o}").as_bytes());
        assert_eq!((&tar[..5], &tar[124..135]), (&b"pause"[..], &b"00000001274"[..]));
    }
}
