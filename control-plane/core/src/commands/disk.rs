//! What agents say of their hosts' disks.

use crate::agent::{SessionError, SessionId};
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::session::in_session;
use longshore_model::{DiskStatus, InstanceId};
use std::sync::Arc;

/// Takes what an agent says of its host's disk.
pub(crate) struct TakeDiskStatus {
    pub(crate) instance: InstanceId,
    pub(crate) session: SessionId,
    pub(crate) status: DiskStatus,
}

impl Command for TakeDiskStatus {
    const NAME: &'static str = "TakeDiskStatus";
    type Reply = ();
    type Error = SessionError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), SessionError> {
        let Self { instance, session, status } = self;
        in_session(tx.state(), instance, session)?;
        tx.change(Change::DiskStatus(instance, Arc::new(status)));
        Ok(())
    }
}
