//! Account settings.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::{Setting, SettingKey};
use longshore_ecs_api::ApiError;
use std::sync::Arc;

/// Sets one.
pub(crate) struct PutSetting(pub(crate) Setting);

impl Command for PutSetting {
    const NAME: &'static str = "PutAccountSetting";
    type Reply = Arc<Setting>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Setting>, ApiError> {
        let setting = Arc::new(self.0);
        tx.change(Change::Setting(Arc::clone(&setting)));
        Ok(setting)
    }
}

/// Takes one back; the default holds again. Answers what it was.
pub(crate) struct DeleteSetting(pub(crate) SettingKey);

impl Command for DeleteSetting {
    const NAME: &'static str = "DeleteAccountSetting";
    type Reply = Option<Arc<Setting>>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Option<Arc<Setting>>, ApiError> {
        let was = tx.state().setting(&self.0).cloned();
        if was.is_some() {
            tx.change(Change::ForgetSetting(self.0));
        }
        Ok(was)
    }
}
