//! The engine's events, as hints: they say where to look and never what is true.
//!
//! The stream reopens itself for ever, with back-off and `since`, and says [`Hint::Relist`] each time that it is open,
//! since the engine keeps only its last few hundred events and none across its own restart.

use crate::client::Docker;
use crate::error::{DockerError, chain};
use crate::labels;
use crate::logs::LogTarget;
use crate::sandbox::sandbox_name;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use longshore_model::{ContainerName, EniId, TaskId, Timestamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first wait before reopening the stream, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Events worth a look. Not among them: `exec_*`, which every health check emits, and what only we cause.
const ACTIONS: [&str; 8] = ["start", "die", "oom", "destroy", "health_status", "pause", "unpause", "rename"];

/// Why to look at the engine again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Something happened to a container of ours.
    Container(ContainerHint),
    /// The stream is open (again): events may have been missed, list everything.
    Relist,
    /// The engine went away; said once for each outage. The stream keeps trying.
    Down {
        /// Why, on one line.
        error: String,
    },
}

/// Which container, and what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerHint {
    /// The engine's name of it.
    pub name: String,
    /// The interface that it holds, for a sandbox.
    pub eni: Option<EniId>,
    /// Its task, by its label.
    pub task: Option<TaskId>,
    /// Its name in the task, by its label.
    pub container: Option<ContainerName>,
    /// Whether its output is shipped.
    pub logged: bool,
    /// What happened.
    pub action: Action,
}

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was started.
    Start,
    /// Its process ended.
    Die,
    /// The kernel killed a process of it for memory.
    Oom,
    /// It was removed.
    Destroy,
    /// Its health changed.
    Health,
    /// Something else that changes what a listing says.
    Other,
}

impl Docker {
    /// Hints from `since` (the present when absent) on. Never ends; dropping it closes the connection.
    pub fn events(&self, since: Option<Timestamp>) -> impl Stream<Item = Hint> + Send + 'static + use<> {
        let state =
            State { docker: self.clone(), since: since.unwrap_or_else(now), phase: Phase::Opening(Outage::new()) };
        stream::unfold(state, |mut state| async move {
            let hint = state.next().await;
            Some((hint, state))
        })
    }
}

struct State {
    docker: Docker,
    /// The time of the last event seen; asking from it repeats that event, which is harmless.
    since: Timestamp,
    phase: Phase,
}

enum Phase {
    Opening(Outage),
    Open { events: BoxStream<'static, Result<EventMessage, bollard::errors::Error>> },
}

/// How long the engine has been away, for back-off and for saying it only once.
struct Outage {
    attempts: u32,
    said: bool,
}

impl Outage {
    const fn new() -> Self {
        Self { attempts: 0, said: false }
    }
}

impl State {
    /// The next hint. Dropped in the middle (a `select!`), it loses nothing: what was read is in `self` or returned.
    async fn next(&mut self) -> Hint {
        loop {
            match &mut self.phase {
                Phase::Opening(outage) => {
                    if outage.attempts > 0 {
                        tokio::time::sleep(backoff(outage.attempts)).await;
                    }
                    outage.attempts = outage.attempts.saturating_add(1);
                    match open(&self.docker, self.since).await {
                        Ok(events) => {
                            if outage.attempts > 1 {
                                tracing::info!(attempts = outage.attempts, "the container engine answers again");
                            }
                            self.phase = Phase::Open { events };
                            return Hint::Relist;
                        }
                        Err(error) => {
                            let error = chain(&error);
                            if outage.said {
                                tracing::debug!(
                                    attempts = outage.attempts,
                                    error,
                                    "the container engine is still away"
                                );
                                continue;
                            }
                            outage.said = true;
                            tracing::warn!(error, "the container engine is away");
                            return Hint::Down { error };
                        }
                    }
                }
                Phase::Open { events } => match events.next().await {
                    Some(Ok(event)) => {
                        if let Some(at) = event_time(&event) {
                            self.since = self.since.max(at);
                        }
                        if let Some(hint) = hint(event) {
                            return Hint::Container(hint);
                        }
                    }
                    ended => {
                        let error = match ended {
                            Some(Err(error)) => chain(&self.docker.sort("reading its events", error)),
                            Some(Ok(_)) | None => "the container engine closed its event stream".to_owned(),
                        };
                        tracing::warn!(error, "lost the container engine's events");
                        self.docker.forget_connection();
                        self.phase = Phase::Opening(Outage { attempts: 1, said: true });
                        return Hint::Down { error };
                    }
                },
            }
        }
    }
}

/// Opens the stream. bollard sends the request when the stream is first polled and does not show when the answer
/// begins, so a ping before it stands for "it answers", and `since` covers the time between.
async fn open(
    docker: &Docker,
    since: Timestamp,
) -> Result<BoxStream<'static, Result<EventMessage, bollard::errors::Error>>, DockerError> {
    docker.ping().await?;
    let client = docker.client().await?;
    let millis = since.millis();
    let options = EventsOptions {
        since: Some(format!("{}.{:03}000000", millis / 1000, millis % 1000)),
        until: None,
        filters: Some(HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("event".to_owned(), ACTIONS.map(str::to_owned).to_vec()),
        ])),
    };
    Ok(client.events(Some(options)).boxed())
}

fn hint(event: EventMessage) -> Option<ContainerHint> {
    let attributes = event.actor?.attributes?;
    let action = event.action?;
    // The engine can only be asked for events with all of some labels, and ours have one or the other.
    if !attributes.contains_key(labels::TASK) && !attributes.contains_key(labels::ENI) {
        return None;
    }
    let name = attributes.get("name").cloned().unwrap_or_default();
    Some(ContainerHint {
        // A task's container whose image has the label is no sandbox.
        eni: attributes.get(labels::ENI).and_then(|e| e.parse().ok()).filter(|eni| name == sandbox_name(*eni)),
        logged: LogTarget::from_labels(&name, &attributes).is_some(),
        name,
        task: attributes.get(labels::TASK).and_then(|t| t.parse().ok()),
        container: attributes.get(labels::CONTAINER).and_then(|c| c.parse().ok()),
        // `health_status: healthy` carries its value in the action.
        action: match action.split(':').next().unwrap_or_default() {
            "start" => Action::Start,
            "die" => Action::Die,
            "oom" => Action::Oom,
            "destroy" => Action::Destroy,
            "health_status" => Action::Health,
            _ => Action::Other,
        },
    })
}

fn event_time(event: &EventMessage) -> Option<Timestamp> {
    event.time_nano.map(|nanos| Timestamp::from_millis(nanos / 1_000_000))
}

fn now() -> Timestamp {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Doubles from the first wait to the longest, with up to a quarter taken off at random.
fn backoff(attempts: u32) -> Duration {
    let full = BACKOFF.0.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(BACKOFF.1);
    full - full.mul_f64(jitter() * 0.25)
}

/// 0 to 1. Enough to keep agents on one machine apart (labs); not for secrets.
fn jitter() -> f64 {
    static STEP: AtomicU64 = AtomicU64::new(0);
    let nanos = u64::from(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos()));
    let mixed = (nanos ^ u64::from(std::process::id()) ^ STEP.fetch_add(1, Ordering::Relaxed) << 20)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::EventActor;

    #[test]
    fn labels_of_an_image_mislead_nobody() {
        const MAIN: &str = "ls-abababababababababababababababab-main";
        let task = "ab".repeat(16);
        let ours = [("longshore.task", task.as_str()), ("longshore.container", "main")];
        let logs = [("longshore.log-group", "g"), ("longshore.log-region", "r")];
        let eni = ("longshore.eni", "eni-0123456789abcdef0");
        let seen = |name: &str, labels: &[(&str, &str)]| {
            let attributes = [&[("name", name)], labels].concat();
            let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let actor = Some(EventActor { attributes: Some(attributes), ..EventActor::default() });
            let event = EventMessage { action: Some("die".to_owned()), actor, ..EventMessage::default() };
            hint(event).map(|hint| (hint.task.is_some(), hint.eni.is_some(), hint.logged))
        };
        assert_eq!(seen(MAIN, &ours), Some((true, false, false)));
        assert_eq!(seen(MAIN, &[&ours[..], &logs].concat()), Some((true, false, true)));
        assert_eq!(seen("ls-eni-0123456789abcdef0", &[eni]), Some((false, true, false)));
        assert_eq!(seen(MAIN, &[&ours[..], &[eni, ("longshore.log-group", "")]].concat()), Some((true, false, false)));
        assert_eq!(seen("other", &[&ours[..], &logs].concat()), Some((true, false, false)));
        assert_eq!(seen("other", &logs), None);
    }

    #[test]
    fn backoff_grows_to_its_cap_and_never_exceeds_it() {
        for attempt in 1..40 {
            let wait = backoff(attempt);
            assert!(wait <= BACKOFF.1 && wait >= BACKOFF.0.mul_f64(0.75), "{attempt}: {wait:?}");
        }
        assert!(backoff(30) >= BACKOFF.1.mul_f64(0.75));
    }
}
