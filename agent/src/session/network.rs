//! The session's part of the task network: what the control plane says of it goes to its owner, and what the owner has
//! to say goes out.

use crate::network::{Heard, Recorded, SessionLink};
use longshore_model::{EniId, NetworkUpdate};
use longshore_proto::{FieldError, v1};
use std::collections::BTreeSet;

use super::ObservedReports;

/// What is to be told to the control plane.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// How this host's part is.
    Status(v1::NetworkStatus),
    /// An update did not fit.
    Misfit,
}

/// The network's side of one stream.
pub(super) struct NetworkSide {
    link: SessionLink,
    /// The interfaces that tasks had when the Hello was made.
    attached: BTreeSet<EniId>,
}

impl NetworkSide {
    /// For a stream whose Hello carries `observed`.
    pub(super) fn new(mut link: SessionLink, observed: &ObservedReports) -> Self {
        // Every stream hears it once, and what did not fit before is sent as a whole anyway.
        link.status.mark_changed();
        link.misfits.mark_unchanged();
        let enis = observed.values().filter_map(|report| report.eni.as_ref());
        Self { link, attached: enis.filter(|eni| eni.attached).map(|eni| eni.id).collect() }
    }

    fn hand(&self, heard: Heard) {
        if self.link.heard.try_send(heard).is_err() {
            tracing::warn!("the agent's network part does not keep up with what the control plane says");
        }
    }

    /// All that the Hello said is recorded.
    pub(super) fn welcomed(&mut self, revision: u64) {
        let what = Recorded::AllBut(std::mem::take(&mut self.attached));
        self.hand(Heard::Recorded { revision, what });
    }

    /// The ends of these interfaces are recorded.
    pub(super) fn recorded(&self, revision: u64, ended: Vec<EniId>) {
        self.hand(Heard::Recorded { revision, what: Recorded::These(ended) });
    }

    /// Every host that counts is at this generation.
    pub(super) fn settled(&self, generation: u64) {
        self.hand(Heard::Settled(generation));
    }

    /// Takes an update off the stream.
    pub(super) fn take(&self, message: v1::NetworkUpdate) -> Result<(), FieldError> {
        self.hand(Heard::Update(NetworkUpdate::try_from(message)?));
        Ok(())
    }

    /// Waits for something to say; for ever when there is nothing. Cancel-safe.
    pub(super) async fn next(&mut self) -> Said {
        loop {
            tokio::select! {
                // Until everything is sent anew, no further update fits either: statuses may wait behind that.
                biased;
                changed = self.link.misfits.changed() => match changed {
                    Ok(()) => return Said::Misfit,
                    // The owner has ended, so the agent is ending.
                    Err(_) => std::future::pending().await,
                },
                changed = self.link.status.changed() => {
                    if changed.is_err() {
                        return std::future::pending().await;
                    }
                    if let Some(status) = self.link.status.borrow_and_update().clone() {
                        return Said::Status(status.into());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::link;

    #[tokio::test]
    async fn what_is_heard_is_handed_on_and_what_is_lost_is_no_fault() {
        let (_ends, _handle, link) = link();
        let mut side = NetworkSide::new(link, &ObservedReports::new());
        side.welcomed(3);
        assert!(side.take(v1::NetworkUpdate::default()).is_err(), "not readable");
        for generation in 0..2_000 {
            side.settled(generation);
        }
    }
}
