//! What happened to a task beside its life: somebody executed a command in it.

use crate::agent::Unavailable;
use crate::change::Change;
use crate::command::{Command, Tx};
use longshore_model::{ContainerName, TaskId};
use std::sync::Arc;

/// Adds a line to a task's history. One that is gone is left alone.
pub(crate) struct Note {
    pub(crate) task: TaskId,
    pub(crate) container: ContainerName,
    pub(crate) what: String,
}

impl Command for Note {
    const NAME: &'static str = "Note";
    type Reply = ();
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Unavailable> {
        let Some(task) = tx.state().task(self.task) else { return Ok(()) };
        let mut task = (**task).clone();
        task.remember(tx.now, vec![(Some(self.container), self.what)]);
        tx.change(Change::Task(Arc::new(task)));
        Ok(())
    }
}
