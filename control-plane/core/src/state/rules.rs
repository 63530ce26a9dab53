//! Rules, webhooks, and the events that targets wait for.

use crate::records::{
    ApiDestination, HookConnection as Connection, HookKey, Outbox, OutboxEvent, Rule, RuleKey, TargetKey,
    TargetProgress,
};
use crate::state::{Due, State, Touched};
use imbl::{OrdMap, OrdSet};
use longshore_model::Region;
use longshore_pattern::Pattern;
use std::sync::Arc;

/// A rule, and its pattern to be asked.
#[derive(Debug)]
pub(crate) struct RuleState {
    pub(crate) record: Arc<Rule>,
    /// Absent when it matches nothing: it is disabled, or has none.
    pattern: Option<Pattern>,
}

impl RuleState {
    /// The pattern, as long as events may match.
    pub(crate) const fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
    }
}

/// What waits for a target.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    pub(crate) progress: Arc<TargetProgress>,
    /// Numbers of events, all above what is done.
    pub(crate) waiting: OrdSet<u64>,
}

#[derive(Debug, Clone)]
struct Entry {
    record: Arc<Outbox>,
    /// How often its events are still waited for.
    open: usize,
}

/// Everything about events that is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    rules: OrdMap<RuleKey, Arc<RuleState>>,
    /// Rules with a pattern to be asked.
    asking: usize,
    connections: OrdMap<HookKey, Arc<Connection>>,
    destinations: OrdMap<HookKey, Arc<ApiDestination>>,
    queues: OrdMap<TargetKey, Queue>,
    outbox: OrdMap<u64, Entry>,
    /// Entries that nobody waits for any more.
    finished: OrdSet<u64>,
    /// Events that wait, counted for each target.
    waiting: usize,
    /// The number of the last event ever.
    last: u64,
}

impl State {
    /// A rule.
    pub(crate) fn rule(&self, key: &RuleKey) -> Option<&Arc<RuleState>> {
        self.rules.rules.get(key)
    }

    /// The rules of a region from the name `first` on, by name.
    pub(crate) fn rules_of<'a>(&'a self, region: &'a Region, first: &str) -> impl Iterator<Item = &'a Arc<RuleState>> {
        let first = RuleKey { region: region.clone(), name: first.into() };
        let from = self.rules.rules.range(first..);
        from.take_while(move |(key, _)| key.region == *region).map(|(_, rule)| rule)
    }

    /// The record of every rule, by region and name.
    pub fn rule_records(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.rules.values().map(|rule| &rule.record)
    }

    /// How far deliveries to a target are, and how many events wait for it; `None` for a target that is not there.
    #[must_use]
    pub fn delivery(&self, target: &TargetKey) -> Option<(&Arc<TargetProgress>, usize)> {
        self.queue(target).map(|queue| (&queue.progress, queue.waiting.len()))
    }

    /// Whether any event might match a rule.
    pub(crate) const fn has_asking_rules(&self) -> bool {
        self.rules.asking > 0
    }

    /// A connection.
    pub(crate) fn connection(&self, key: &HookKey) -> Option<&Arc<Connection>> {
        self.rules.connections.get(key)
    }

    /// The connections of a region, by name.
    pub(crate) fn connections_of<'a>(&'a self, region: &'a Region) -> impl Iterator<Item = &'a Arc<Connection>> {
        self.rules.connections.values().filter(move |connection| connection.key.region == *region)
    }

    /// A webhook.
    pub(crate) fn destination(&self, key: &HookKey) -> Option<&Arc<ApiDestination>> {
        self.rules.destinations.get(key)
    }

    /// The webhooks of a region, by name.
    pub(crate) fn destinations_of<'a>(&'a self, region: &'a Region) -> impl Iterator<Item = &'a Arc<ApiDestination>> {
        self.rules.destinations.values().filter(move |destination| destination.key.region == *region)
    }

    /// What waits for a target; `None` for one that is not there.
    pub(crate) fn queue(&self, target: &TargetKey) -> Option<&Queue> {
        self.rules.queues.get(target)
    }

    /// The targets that something waits for.
    pub(crate) fn waiting_queues(&self) -> impl Iterator<Item = (&TargetKey, &Queue)> {
        self.rules.queues.iter().filter(|(_, queue)| !queue.waiting.is_empty())
    }

    /// How many events wait, counted for each target.
    pub(crate) const fn waiting_events(&self) -> usize {
        self.rules.waiting
    }

    /// The event of a number, while somebody waits for it.
    pub(crate) fn outbox_event(&self, number: u64) -> Option<&OutboxEvent> {
        let (first, entry) = self.rules.outbox.get_prev(&number)?;
        entry.record.events.get(usize::try_from(number - first).ok()?)
    }

    /// The number of the last event that anybody was to get.
    pub(crate) const fn last_event(&self) -> u64 {
        self.rules.last
    }

    /// Entries of the outbox that can be forgotten.
    pub(crate) fn finished_outbox(&self) -> impl Iterator<Item = u64> {
        self.rules.finished.iter().copied()
    }

    pub(super) fn put_rule(&mut self, record: &Arc<Rule>, touched: &mut Touched) {
        let text = record.pattern.as_deref().filter(|_| record.enabled);
        let pattern = text.and_then(|text| {
            let read = Pattern::parse(text);
            let failed = |error| tracing::error!(rule = %record.key.name, %error, "a stored pattern matches nothing");
            read.map_err(failed).ok()
        });
        self.rules.asking += usize::from(pattern.is_some());
        let new = Arc::new(RuleState { record: Arc::clone(record), pattern });
        let old = self.rules.rules.insert(record.key.clone(), new);
        let was_due = old.as_ref().and_then(|old| old.record.next);
        self.rules.asking -= usize::from(old.is_some_and(|old| old.pattern.is_some()));
        self.move_due(was_due, record.next, || Due::Rule(record.key.clone()), touched);
    }

    pub(super) fn forget_rule(&mut self, key: &RuleKey, touched: &mut Touched) {
        let old = self.rules.rules.remove(key);
        self.move_due(old.as_ref().and_then(|old| old.record.next), None, || Due::Rule(key.clone()), touched);
        self.rules.asking -= usize::from(old.is_some_and(|old| old.pattern.is_some()));
    }

    pub(super) fn put_connection(&mut self, connection: &Arc<Connection>) {
        self.rules.connections.insert(connection.key.clone(), Arc::clone(connection));
    }

    pub(super) fn forget_connection(&mut self, key: &HookKey) {
        self.rules.connections.remove(key);
    }

    pub(super) fn put_destination(&mut self, destination: &Arc<ApiDestination>) {
        self.rules.destinations.insert(destination.key.clone(), Arc::clone(destination));
    }

    pub(super) fn forget_destination(&mut self, key: &HookKey) {
        self.rules.destinations.remove(key);
    }

    pub(super) fn put_progress(&mut self, progress: &Arc<TargetProgress>, touched: &mut Touched) {
        touched.deliveries = true;
        self.rules.last = self.rules.last.max(progress.done);
        let Some(queue) = self.rules.queues.get_mut(&progress.target) else {
            let queue = Queue { progress: Arc::clone(progress), waiting: OrdSet::new() };
            self.rules.queues.insert(progress.target.clone(), queue);
            return;
        };
        queue.progress = Arc::clone(progress);
        let mut over = Vec::new();
        while let Some(number) = queue.waiting.get_min().copied().filter(|number| *number <= progress.done) {
            queue.waiting.remove(&number);
            over.push(number);
        }
        over.into_iter().for_each(|number| self.rules.close(number));
    }

    pub(super) fn forget_progress(&mut self, target: &TargetKey) {
        let Some(queue) = self.rules.queues.remove(target) else { return };
        for number in queue.waiting {
            self.rules.close(number);
        }
    }

    pub(super) fn put_outbox(&mut self, record: &Arc<Outbox>, touched: &mut Touched) {
        touched.deliveries = true;
        let mut open = 0;
        for (number, event) in (record.first..).zip(&record.events) {
            self.rules.last = self.rules.last.max(number);
            for target in &event.to {
                let queue = self.rules.queues.get_mut(target).filter(|queue| queue.progress.done < number);
                open += usize::from(queue.is_some_and(|queue| queue.waiting.insert(number).is_none()));
            }
        }
        self.rules.waiting += open;
        self.rules.outbox.insert(record.first, Entry { record: Arc::clone(record), open });
        if open == 0 {
            self.rules.finished.insert(record.first);
        }
    }

    pub(super) fn forget_outbox(&mut self, first: u64) {
        self.rules.outbox.remove(&first);
        self.rules.finished.remove(&first);
    }
}

impl Rules {
    /// A target waits for an event no more.
    fn close(&mut self, number: u64) {
        self.waiting -= 1;
        let Some((first, entry)) = self.outbox.get_prev_mut(&number) else { return };
        entry.open -= 1;
        if entry.open == 0 {
            self.finished.insert(*first);
        }
    }
}
