//! Schedules and their groups, as requests change them. What fires is in [`firing`](super::firing).

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::{DEFAULT_GROUP, Schedule, ScheduleGroup, ScheduleGroupKey, ScheduleKey, ScheduleSettings, Tags};
use longshore_ecs_api::{ApiError, ErrorCode};
use std::sync::Arc;

/// Schedules that one step of a group's deletion takes away.
const AT_ONCE: usize = 64;
/// Tags of a group (Scheduler).
const MAX_TAGS: usize = 50;

/// Keeps a new schedule; its times are the transaction's. The same request once more is answered as before.
pub(crate) struct CreateSchedule(pub(crate) Schedule);

impl Command for CreateSchedule {
    const NAME: &'static str = "CreateSchedule";
    type Reply = Arc<Schedule>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Schedule>, ApiError> {
        let mut schedule = self.0;
        open_group(tx, &schedule.key.group_key())?;
        if let Some(old) = tx.state().schedule(&schedule.key) {
            let again = old.token.is_some() && old.token == schedule.token && old.settings == schedule.settings;
            return if again { Ok(Arc::clone(old)) } else { Err(exists("Schedule", &schedule.key.name)) };
        }
        (schedule.created_at, schedule.changed_at, schedule.anchor) = (tx.now, tx.now, tx.now);
        // What fires where it begins fires now.
        schedule.next = schedule.next_after(tx.now.moved(-1));
        let schedule = Arc::new(schedule);
        tx.change(Change::Schedule(Arc::clone(&schedule)));
        Ok(schedule)
    }
}

/// Gives a schedule other settings. Firings that happened are carried out by the new ones.
pub(crate) struct UpdateSchedule {
    pub(crate) key: ScheduleKey,
    pub(crate) settings: ScheduleSettings,
}

impl Command for UpdateSchedule {
    const NAME: &'static str = "UpdateSchedule";
    type Reply = Arc<Schedule>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Schedule>, ApiError> {
        open_group(tx, &self.key.group_key())?;
        let old = tx.state().schedule(&self.key).ok_or_else(|| no_schedule(&self.key.name))?;
        let mut schedule = Schedule { settings: self.settings, changed_at: tx.now, ..(**old).clone() };
        if !schedule.settings.fires_as(&old.settings) {
            let counts = |settings: &ScheduleSettings| (settings.expression.clone(), settings.start);
            let after = if counts(&schedule.settings) == counts(&old.settings) {
                tx.now
            } else {
                schedule.anchor = tx.now;
                tx.now.moved(-1)
            };
            schedule.next = schedule.next_after(after);
            if let (Some(ahead), Some(next)) = (schedule.fired_ahead(tx.now), schedule.next) {
                tracing::warn!(schedule = %schedule.key, region = %schedule.key.region, %ahead, %next,
                    "a schedule fired for a time far ahead, by a clock that was wrong; that does not count any more");
            }
        }
        let schedule = Arc::new(schedule);
        tx.change(Change::Schedule(Arc::clone(&schedule)));
        Ok(schedule)
    }
}

/// Ends a schedule. Of its firings, what was not started is not.
pub(crate) struct DeleteSchedule(pub(crate) ScheduleKey);

impl Command for DeleteSchedule {
    const NAME: &'static str = "DeleteSchedule";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        group(tx, &self.0.group_key())?;
        if tx.state().schedule(&self.0).is_none() {
            return Err(no_schedule(&self.0.name));
        }
        tx.change(Change::ForgetSchedule(self.0));
        Ok(())
    }
}

/// Makes a group; its times are the transaction's.
pub(crate) struct CreateScheduleGroup(pub(crate) ScheduleGroup);

impl Command for CreateScheduleGroup {
    const NAME: &'static str = "CreateScheduleGroup";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let group = ScheduleGroup { created_at: tx.now, changed_at: tx.now, ..self.0 };
        if let Some(old) = tx.state().schedule_group(&group.key) {
            let same = old.token.is_some() && old.token == group.token && old.tags == group.tags;
            let again = same && old.deleting_since.is_none();
            return if again { Ok(()) } else { Err(exists("Schedule group", &group.key.name)) };
        }
        tx.change(Change::ScheduleGroup(Arc::new(group)));
        Ok(())
    }
}

/// Begins the deletion of a group. From then on nothing in it fires.
pub(crate) struct DeleteScheduleGroup(pub(crate) ScheduleGroupKey);

impl Command for DeleteScheduleGroup {
    const NAME: &'static str = "DeleteScheduleGroup";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let group = group(tx, &self.0)?;
        if group.key.name == DEFAULT_GROUP {
            return Err(ApiError::new(ErrorCode::Validation, "The default schedule group can not be deleted."));
        }
        if group.deleting_since.is_none() {
            let deleting = ScheduleGroup { deleting_since: Some(tx.now), changed_at: tx.now, ..(*group).clone() };
            tx.change(Change::ScheduleGroup(Arc::new(deleting)));
        }
        Ok(())
    }
}

/// Goes on with the deletion of a group: some of its schedules, and the group when none are left.
pub(crate) struct EmptyScheduleGroup(pub(crate) ScheduleGroupKey);

impl Command for EmptyScheduleGroup {
    const NAME: &'static str = "EmptyScheduleGroup";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let Self(key) = self;
        if tx.state().schedule_group(&key).is_none_or(|group| group.deleting_since.is_none()) {
            return Ok(());
        }
        let first = ScheduleKey { region: key.region.clone(), group: key.name.clone(), name: String::new() };
        let of_group = tx.state().schedules_from(&first).take_while(|schedule| schedule.key.group_key() == key);
        let some: Vec<ScheduleKey> = of_group.take(AT_ONCE).map(|schedule| schedule.key.clone()).collect();
        let all = some.len() < AT_ONCE;
        some.into_iter().for_each(|key| tx.change(Change::ForgetSchedule(key)));
        if all {
            tx.change(Change::ForgetScheduleGroup(key));
        }
        Ok(())
    }
}

/// Gives a group tags and takes some.
pub(crate) struct TagScheduleGroup {
    pub(crate) key: ScheduleGroupKey,
    pub(crate) put: Tags,
    pub(crate) remove: Vec<String>,
}

impl Command for TagScheduleGroup {
    const NAME: &'static str = "TagScheduleGroup";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let mut group = (*open_group(tx, &self.key)?).clone();
        let before = group.tags.clone();
        self.remove.iter().for_each(|key| drop(group.tags.remove(key)));
        group.tags.extend(self.put);
        if group.tags.len() > MAX_TAGS {
            return Err(ApiError::new(ErrorCode::Validation, format!("Tags: a group can have {MAX_TAGS} tags.")));
        }
        if group.tags != before {
            group.changed_at = tx.now;
            tx.change(Change::ScheduleGroup(Arc::new(group)));
        }
        Ok(())
    }
}

fn group(tx: &Tx<'_>, key: &ScheduleGroupKey) -> Result<Arc<ScheduleGroup>, ApiError> {
    tx.state().schedule_group(key).ok_or_else(|| no_group(&key.name))
}

/// A group in which something may be made.
fn open_group(tx: &Tx<'_>, key: &ScheduleGroupKey) -> Result<Arc<ScheduleGroup>, ApiError> {
    let group = group(tx, key)?;
    if group.deleting_since.is_some() {
        let text = format!("Schedule group {} is being deleted.", key.name);
        return Err(ApiError::new(ErrorCode::Conflict, text));
    }
    Ok(group)
}

/// Scheduler's words for a schedule that is not there.
pub(crate) fn no_schedule(name: &str) -> ApiError {
    ApiError::new(ErrorCode::ResourceNotFound, format!("Schedule {name} does not exist."))
}

/// The same for a group.
pub(crate) fn no_group(name: &str) -> ApiError {
    ApiError::new(ErrorCode::ResourceNotFound, format!("Schedule group {name} does not exist."))
}

fn exists(what: &str, name: &str) -> ApiError {
    ApiError::new(ErrorCode::Conflict, format!("{what} {name} already exists."))
}
