//! The log driver `awslogs`, as the engine sees it: its driver `json-file` with a bound on its files, and labels that
//! say where the agent ships what they hold. The engine's own driver of that name is never used.

use crate::client::Docker;
use crate::containers::{ListedContainer, RunState};
use crate::error::DockerError;
use crate::labels;
use bollard::models::{ContainerCreateBody, HostConfigLogConfig};
use longshore_model::{ContainerSpec, EventStart, LogConfig, TaskSpec};
use std::collections::HashMap;
use std::path::PathBuf;

/// The driver whose output the agent ships.
pub const AWSLOGS: &str = "awslogs";

/// Bytes of output that a host keeps of a container, unless `max-buffer-size` says more.
const RING_BYTES: u64 = 16 << 20;
/// The most that `max-buffer-size` gets.
const MOST_RING_BYTES: u64 = 1 << 30;
/// The files that those bytes are split into: the oldest goes when a new one begins.
const RING_FILES: u64 = 4;

/// Options of the engine's for all drivers.
const MODE: &str = "mode";
const BLOCKING: &str = "blocking";
const MAX_BUFFER_SIZE: &str = "max-buffer-size";

/// Where a container's output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTarget {
    /// The region of the group.
    pub region: String,
    /// The log group.
    pub group: String,
    /// The stream; the container's id in the engine when absent.
    pub stream: Option<String>,
    /// The regular expression of an [`EventStart`]; each line is an event when absent.
    pub begins: Option<String>,
}

/// A container whose output the agent ships.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedContainer {
    /// Its name.
    pub name: String,
    /// The engine's id.
    pub id: String,
    /// What it is doing.
    pub state: RunState,
    /// Where its output goes.
    pub target: LogTarget,
}

impl LogTarget {
    /// The target of a container of `task`; `None` when its output is not shipped.
    #[must_use]
    pub fn of(task: &TaskSpec, container: &ContainerSpec) -> Option<Self> {
        let log = container.log.as_ref().filter(|log| log.driver == AWSLOGS)?;
        let option = |name: &str| log.options.get(name).cloned().unwrap_or_default();
        let prefix = log.options.get("awslogs-stream-prefix").filter(|prefix| !prefix.is_empty());
        let stream = prefix.map(|prefix| format!("{prefix}/{}/{}", container.name, task.id));
        // What cannot be used is refused at the registration.
        let begins = EventStart::of(&log.options).ok().flatten().map(|begins| begins.as_str().to_owned());
        Some(Self { region: option("awslogs-region"), group: option("awslogs-group"), stream, begins })
    }

    /// The labels that say so. All of them are always set, to nothing where there is nothing to say: the engine adds
    /// the image's labels to those that a container is not given.
    pub(crate) fn labels(target: Option<&Self>) -> [(String, String); 4] {
        let value = |of: fn(&Self) -> Option<&String>| target.and_then(of).cloned().unwrap_or_default();
        [
            (labels::LOG_REGION.to_owned(), value(|target| Some(&target.region))),
            (labels::LOG_GROUP.to_owned(), value(|target| Some(&target.group))),
            (labels::LOG_STREAM.to_owned(), value(|target| target.stream.as_ref())),
            (labels::LOG_BEGINS.to_owned(), value(|target| target.begins.as_ref())),
        ]
    }

    /// What the labels of the container `name` say; `None` when its output is not shipped, or when it is not ours: the
    /// labels of any container may be its image's.
    pub(crate) fn from_labels(name: &str, all: &HashMap<String, String>) -> Option<Self> {
        let label = |name: &str| all.get(name).filter(|value| !value.is_empty()).cloned();
        let target = Self {
            region: label(labels::LOG_REGION)?,
            group: label(labels::LOG_GROUP)?,
            stream: label(labels::LOG_STREAM),
            begins: label(labels::LOG_BEGINS),
        };
        labels::name_by(all).filter(|ours| ours == name).map(|_| target)
    }
}

/// The engine's driver for a container.
pub(crate) fn log_config(log: &LogConfig) -> HostConfigLogConfig {
    if log.driver == AWSLOGS {
        return ring(log.options.get(MAX_BUFFER_SIZE).and_then(|size| bytes(size)).unwrap_or(0));
    }
    let options: HashMap<String, String> = log.options.clone().into_iter().collect();
    HostConfigLogConfig { typ: Some(log.driver.clone()), config: (!options.is_empty()).then_some(options) }
}

fn ring(asked: u64) -> HostConfigLogConfig {
    let size = asked.clamp(RING_BYTES, MOST_RING_BYTES) / RING_FILES;
    let options = [
        ("max-size", size.to_string()),
        ("max-file", RING_FILES.to_string()),
        // What is not said here, the engine takes from its own configuration: compressed files would not be readable,
        // and a container that prints faster than its disk takes it would lose lines.
        ("compress", "false".to_owned()),
        (MODE, BLOCKING.to_owned()),
    ];
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(options.map(|(name, value)| (name.to_owned(), value)).into()),
    }
}

/// What is said of a container that was made after such a refusal.
pub(crate) const MAY_LOSE: &str = "the container engine's own log-opts have max-buffer-size: a container that prints \
                                   faster than its output is written loses some of it";

/// What to try after a creation that the engine refused with `message`. An engine whose own configuration has
/// `max-buffer-size` takes no container of the same driver that is to block: there the mode is the engine's, and a
/// container that prints faster than its disk takes it loses lines.
pub(crate) fn refused(body: &ContainerCreateBody, message: &str) -> Option<ContainerCreateBody> {
    let mut body = body.clone();
    let config = body.host_config.as_mut()?.log_config.as_mut()?.config.as_mut()?;
    let ours = message.contains(MAX_BUFFER_SIZE)
        && !config.contains_key(MAX_BUFFER_SIZE)
        && config.get(MODE).is_some_and(|mode| mode == BLOCKING);
    config.remove(MODE);
    ours.then_some(body)
}

/// A size as the engine writes it: `25m`, `512k`, `1g`, or bytes.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn logged(container: ListedContainer) -> Option<LoggedContainer> {
    let ListedContainer { name, id, state, labels, .. } = container;
    let target = LogTarget::from_labels(&name, &labels)?;
    Some(LoggedContainer { name, id, state, target })
}

impl Docker {
    /// Every container whose output the agent ships, in any state. One call; nothing is inspected.
    ///
    /// # Errors
    /// When the engine does not answer: then nothing is known about any container.
    pub async fn logged(&self) -> Result<Vec<LoggedContainer>, DockerError> {
        let all = self.list_labelled(labels::LOG_GROUP).await?;
        Ok(all.into_iter().filter_map(logged).collect())
    }

    /// The newest file with a container's output, as the engine names it, by name or id; `None` when there is no such
    /// container or it never was about to start.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn log_file(&self, name: &str) -> Result<Option<PathBuf>, DockerError> {
        Ok(self.inspect(name).await?.and_then(|found| found.log_file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::Timestamp;
    use std::collections::BTreeMap;

    #[test]
    fn labels_of_an_image_ship_nothing() {
        const NAME: &str = "ls-abababababababababababababababab-main";
        let ours = [(labels::TASK, "ab".repeat(16)), (labels::CONTAINER, "main".to_owned())];
        let ours = ours.map(|(name, value)| (name.to_owned(), value));
        let target = |group: &str, stream: Option<&str>| {
            let stream = stream.map(str::to_owned);
            let begins = stream.as_ref().map(|_| "^x".to_owned());
            LogTarget { region: "r".to_owned(), group: group.to_owned(), stream, begins }
        };
        // The engine takes an image's labels first and the container's over them.
        let found = |name: &str, labels: &[&[(String, String)]]| {
            let image = LogTarget::labels(Some(&target("forged", Some("forged"))));
            logged(ListedContainer {
                name: name.to_owned(),
                id: "id".to_owned(),
                state: RunState::Running,
                health: None,
                labels: image.into_iter().chain(labels.concat()).collect(),
                image_id: String::new(),
                created: Timestamp::from_millis(0),
            })
            .map(|found| found.target)
        };
        for stream in [None, Some("s")] {
            let target = target("g", stream);
            assert_eq!(found(NAME, &[&ours, &LogTarget::labels(Some(&target))]), Some(target));
        }
        assert_eq!(found(NAME, &[&ours, &LogTarget::labels(None)]), None);
        // Somebody else's containers, of such an image.
        assert_eq!(found("other", &[]), None);
        assert_eq!(found("other", &[&ours]), None, "the image has those labels too");
        assert_eq!(found(NAME, &[&ours[..1]]), None);
    }

    #[test]
    fn the_ring_is_bounded_and_as_large_as_asked() {
        let size = |options: &[(&str, &str)]| {
            let options: BTreeMap<String, String> =
                options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let made = log_config(&LogConfig { driver: AWSLOGS.to_owned(), options });
            assert_eq!(made.typ.as_deref(), Some("json-file"));
            let config = made.config.expect("bounds");
            assert_eq!(["max-file", "compress", "mode"].map(|name| config[name].as_str()), ["4", "false", "blocking"]);
            config["max-size"].parse::<u64>().expect("a number") * 4
        };
        assert_eq!(size(&[]), 16 << 20);
        assert_eq!(size(&[("max-buffer-size", "64m")]), 64 << 20);
        assert_eq!(size(&[("max-buffer-size", "100k")]), 16 << 20);
        assert_eq!(size(&[("max-buffer-size", "9999g")]), 1 << 30);
        assert_eq!([bytes("2kb"), bytes("x"), bytes("7"), bytes("")], [Some(2048), None, Some(7), None]);
    }
}
