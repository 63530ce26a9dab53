//! What agents say of their hosts' disks.

use crate::agent::{SessionError, SessionId};
use crate::change::Change;
use crate::command::{Command, Tx};
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
        let host = tx.state().host(instance).filter(|host| host.record.status.is_registered());
        let host = host.ok_or(SessionError::Deregistered(instance))?;
        if !host.record.has_session(session) {
            return Err(SessionError::Superseded { instance, session });
        }
        tx.change(Change::DiskStatus(instance, Arc::new(status)));
        Ok(())
    }
}
