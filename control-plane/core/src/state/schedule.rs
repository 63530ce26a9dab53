//! Schedules in the state, and what is due when.

use crate::records::{
    DEFAULT_GROUP, Firing, FiringKey, RuleKey, Schedule, ScheduleGroup, ScheduleGroupKey, ScheduleKey, ServiceKey, Tags,
};
use crate::state::{State, Touched};
use imbl::{OrdMap, OrdSet};
use longshore_model::{Region, Timestamp};
use std::sync::Arc;

/// Something that is to be done at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Its next firing is to be decided.
    Schedule(ScheduleKey),
    /// It is to be carried out.
    Firing(FiringKey),
    /// It is to be deleted.
    Group(ScheduleGroupKey),
    /// Its schedule is to fire.
    Rule(RuleKey),
    /// One of its scheduled actions is to fire.
    Scaling(ServiceKey),
}

/// Records of schedules, with what is due.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Schedules {
    groups: OrdMap<ScheduleGroupKey, Arc<ScheduleGroup>>,
    schedules: OrdMap<ScheduleKey, Arc<Schedule>>,
    firings: OrdMap<FiringKey, Arc<Firing>>,
    dues: OrdSet<(Timestamp, Due)>,
}

impl State {
    /// A group of schedules. The default group is there without being made.
    #[must_use]
    pub fn schedule_group(&self, key: &ScheduleGroupKey) -> Option<Arc<ScheduleGroup>> {
        let made = self.schedules.groups.get(key).cloned();
        made.or_else(|| (key.name == DEFAULT_GROUP).then(|| self.default_group(&key.region)))
    }

    /// The groups of a region, by name.
    pub fn schedule_groups(&self, region: &Region) -> impl Iterator<Item = Arc<ScheduleGroup>> {
        let first = ScheduleGroupKey { region: region.clone(), name: String::new() };
        let made = self.schedules.groups.range(first..).map(|(_, group)| Arc::clone(group));
        let made = made.take_while(|group| group.key.region == *region).filter(|group| group.key.name != DEFAULT_GROUP);
        let default = ScheduleGroupKey { region: region.clone(), name: DEFAULT_GROUP.to_owned() };
        let mut all: Vec<_> = made.chain(self.schedule_group(&default)).collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all.into_iter()
    }

    fn default_group(&self, region: &Region) -> Arc<ScheduleGroup> {
        let created_at = self.account().map(|account| account.created_at).unwrap_or_default();
        Arc::new(ScheduleGroup {
            key: ScheduleGroupKey { region: region.clone(), name: DEFAULT_GROUP.to_owned() },
            tags: Tags::new(),
            created_at,
            changed_at: created_at,
            deleting_since: None,
            token: None,
        })
    }

    /// A schedule.
    #[must_use]
    pub fn schedule(&self, key: &ScheduleKey) -> Option<&Arc<Schedule>> {
        self.schedules.schedules.get(key)
    }

    /// All schedules from `first` on, by region, group and name.
    pub fn schedules_from(&self, first: &ScheduleKey) -> impl Iterator<Item = &Arc<Schedule>> {
        self.schedules.schedules.range(first.clone()..).map(|(_, schedule)| schedule)
    }

    /// A firing that is not over.
    #[must_use]
    pub fn firing(&self, key: &FiringKey) -> Option<&Arc<Firing>> {
        self.schedules.firings.get(key)
    }

    /// The firings of a schedule that are not over, the oldest first.
    pub fn firings_of(&self, schedule: &ScheduleKey) -> impl Iterator<Item = &Arc<Firing>> {
        let first = FiringKey { schedule: schedule.clone(), at: Timestamp::from_millis(i64::MIN) };
        let all = self.schedules.firings.range(first..);
        all.take_while(move |(key, _)| key.schedule == *schedule).map(|(_, firing)| firing)
    }

    /// What is to be done, the earliest first.
    pub(crate) fn dues(&self) -> impl Iterator<Item = &(Timestamp, Due)> {
        self.schedules.dues.iter()
    }

    pub(super) fn put_schedule_group(&mut self, group: &Arc<ScheduleGroup>, touched: &mut Touched) {
        let old = self.schedules.groups.insert(group.key.clone(), Arc::clone(group));
        let due = |group: &ScheduleGroup| group.deleting_since;
        self.move_due(old.and_then(|old| due(&old)), due(group), || Due::Group(group.key.clone()), touched);
    }

    pub(super) fn forget_schedule_group(&mut self, key: &ScheduleGroupKey, touched: &mut Touched) {
        let old = self.schedules.groups.remove(key);
        self.move_due(old.and_then(|old| old.deleting_since), None, || Due::Group(key.clone()), touched);
    }

    pub(super) fn put_schedule(&mut self, schedule: &Arc<Schedule>, touched: &mut Touched) {
        let old = self.schedules.schedules.insert(schedule.key.clone(), Arc::clone(schedule));
        let due = || Due::Schedule(schedule.key.clone());
        self.move_due(old.and_then(|old| old.next), schedule.next, due, touched);
    }

    pub(super) fn forget_schedule(&mut self, key: &ScheduleKey, touched: &mut Touched) {
        let old = self.schedules.schedules.remove(key);
        self.move_due(old.and_then(|old| old.next), None, || Due::Schedule(key.clone()), touched);
    }

    pub(super) fn put_firing(&mut self, firing: &Arc<Firing>, touched: &mut Touched) {
        let old = self.schedules.firings.insert(firing.key.clone(), Arc::clone(firing));
        let due = || Due::Firing(firing.key.clone());
        self.move_due(old.map(|old| old.next_try), Some(firing.next_try), due, touched);
    }

    pub(super) fn forget_firing(&mut self, key: &FiringKey, touched: &mut Touched) {
        let old = self.schedules.firings.remove(key);
        self.move_due(old.map(|old| old.next_try), None, || Due::Firing(key.clone()), touched);
    }

    /// What was due at a time is due at another one.
    pub(super) fn move_due(
        &mut self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        due: impl Fn() -> Due,
        touched: &mut Touched,
    ) {
        if from == to {
            return;
        }
        if let Some(from) = from {
            self.schedules.dues.remove(&(from, due()));
        }
        if let Some(to) = to {
            self.schedules.dues.insert((to, due()));
        }
        touched.dues = true;
    }
}
