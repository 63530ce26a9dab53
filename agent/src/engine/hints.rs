//! Docker's events on their way to the reconciler. A hint says where to look and never what is true.

use futures::StreamExt;
use longshore_docker::Docker;
use longshore_model::{ContainerName, EniId, TaskId};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A reason to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Something happened to a container that it does not do by our hand alone: it ended, was removed, or its health
    /// changed.
    Container {
        /// Its task.
        task: TaskId,
        /// Its name in the task.
        container: ContainerName,
    },
    /// Something happened to the sandbox of an interface.
    Sandbox {
        /// The interface.
        eni: EniId,
    },
    /// Events may have been missed: list everything.
    Relist,
    /// The host's disk needs the space of what is kept of these tasks, as far as they are over. Until the next hint.
    RemainsGo(BTreeSet<TaskId>),
    /// The containers of a task were found to have written so much.
    Written {
        /// The task.
        task: TaskId,
        /// In MiB.
        mib: u64,
    },
    /// Docker does not answer.
    Down {
        /// Why, for people.
        why: String,
    },
}

/// Carries Docker's events to the engine until `shutdown`: a long-lived task.
/// `back` changes each time Docker answers again.
/// `sandboxes` is told when something happened to a sandbox, `logs` when to a container whose output is shipped.
pub async fn pump(
    docker: Docker,
    hints: mpsc::Sender<Hint>,
    back: watch::Sender<u64>,
    sandboxes: Arc<Notify>,
    logs: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut events = std::pin::pin!(docker.events(None));
    loop {
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            event = events.next() => event,
        };
        let logged = match &event {
            Some(longshore_docker::Hint::Relist) => true,
            Some(longshore_docker::Hint::Container(event)) => event.logged,
            Some(longshore_docker::Hint::Down { .. }) | None => false,
        };
        if logged {
            logs.notify_one();
        }
        let hint = match event {
            Some(longshore_docker::Hint::Relist) => {
                back.send_modify(|times| *times += 1);
                Some(Hint::Relist)
            }
            Some(longshore_docker::Hint::Down { error }) => Some(Hint::Down { why: error }),
            Some(longshore_docker::Hint::Container(event)) => container(event),
            // The stream never ends by itself; without it the slow listing would be all that is left.
            None => return,
        };
        if matches!(hint, Some(Hint::Sandbox { .. } | Hint::Relist)) {
            sandboxes.notify_one();
        }
        if let Some(hint) = hint
            && hints.send(hint).await.is_err()
        {
            return;
        }
    }
}

fn container(event: longshore_docker::ContainerHint) -> Option<Hint> {
    use longshore_docker::Action;
    match event.action {
        Action::Die | Action::Oom | Action::Destroy | Action::Health | Action::Other => match event.eni {
            Some(eni) => Some(Hint::Sandbox { eni }),
            None => Some(Hint::Container { task: event.task?, container: event.container? }),
        },
        // Starts are ours, and one that is not is found by the next listing.
        Action::Start => None,
    }
}
