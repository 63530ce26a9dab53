//! Rules and their targets.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::outbox::forget_finished;
use crate::records::{Rule, RuleKey, RuleTarget, Tags, TargetKey, TargetProgress};
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::Timestamp;
use std::sync::Arc;

/// EventBridge's limits.
const MAX_RULES: usize = 300;
const MAX_TARGETS: usize = 5;
const MAX_TAGS: usize = 50;

/// Makes a rule, or replaces all of one but its targets and tags.
pub(crate) struct PutRule {
    /// Without targets; its times are those of the command.
    pub(crate) rule: Rule,
}

impl Command for PutRule {
    const NAME: &'static str = "PutRule";
    type Reply = Arc<Rule>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Rule>, ApiError> {
        let now = tx.now;
        let old = tx.state().rule(&self.rule.key).map(|rule| Arc::clone(&rule.record));
        let mut rule = match &old {
            Some(old) => Rule {
                targets: old.targets.clone(),
                tags: old.tags.clone(),
                created_at: old.created_at,
                changed_at: now,
                anchor: old.anchor,
                decided: old.decided,
                next: old.next,
                ..self.rule
            },
            None if tx.state().rules_of(&self.rule.key.region, "").count() >= MAX_RULES => return Err(limit()),
            None => Rule { created_at: now, changed_at: now, ..self.rule },
        };
        // Who says the same once more moves nothing.
        let same_schedule = old.as_ref().is_some_and(|old| old.schedule == rule.schedule);
        if !same_schedule {
            rule.anchor = now;
        }
        if !same_schedule || old.is_some_and(|old| old.enabled != rule.enabled) {
            schedule_anew(&mut rule, now);
        }
        let rule = Arc::new(rule);
        tx.change(Change::Rule(Arc::clone(&rule)));
        Ok(rule)
    }
}

/// Lets a rule match and fire, or lets it not.
pub(crate) struct SetRuleState {
    pub(crate) key: RuleKey,
    pub(crate) enabled: bool,
}

impl Command for SetRuleState {
    const NAME: &'static str = "SetRuleState";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let old = found(tx, &self.key)?;
        if old.enabled != self.enabled {
            let mut rule = Rule { enabled: self.enabled, changed_at: tx.now, ..(*old).clone() };
            schedule_anew(&mut rule, tx.now);
            tx.change(Change::Rule(Arc::new(rule)));
        }
        Ok(())
    }
}

/// Sets when a rule that was changed fires next.
fn schedule_anew(rule: &mut Rule, now: Timestamp) {
    rule.next = rule.next_after(now);
    if let (Some(ahead), Some(next)) = (rule.fired_ahead(now), rule.next) {
        tracing::warn!(rule = %rule.key.name, region = %rule.key.region, %ahead, %next,
            "a rule fired for a time far ahead, by a clock that was wrong; that does not count any more");
    }
}

/// Deletes a rule without targets. One that is not there is no error.
pub(crate) struct DeleteRule {
    pub(crate) key: RuleKey,
}

impl Command for DeleteRule {
    const NAME: &'static str = "DeleteRule";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let Some(rule) = tx.state().rule(&self.key) else { return Ok(()) };
        if !rule.record.targets.is_empty() {
            return Err(ApiError::new(ErrorCode::Validation, "Rule can't be deleted since it has targets."));
        }
        tx.change(Change::ForgetRule(self.key));
        Ok(())
    }
}

/// Adds targets, or replaces those of the same ids. What waits for a replaced one goes to its successor.
pub(crate) struct PutTargets {
    pub(crate) key: RuleKey,
    pub(crate) targets: Vec<RuleTarget>,
}

impl Command for PutTargets {
    const NAME: &'static str = "PutTargets";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let mut rule = (*found(tx, &self.key)?).clone();
        for target in self.targets {
            match rule.targets.iter_mut().find(|old| old.id == target.id) {
                Some(old) => *old = target,
                None => rule.targets.push(target),
            }
        }
        if rule.targets.len() > MAX_TARGETS {
            return Err(limit());
        }
        for key in rule.target_keys().collect::<Vec<_>>() {
            // Events from now on; the next attempt of a replaced one is at once.
            let old = tx.state().queue(&key).map(|queue| Arc::clone(&queue.progress));
            let progress = match old {
                Some(old) => TargetProgress { attempts: 0, next_at: None, last_error: None, ..(*old).clone() },
                None => TargetProgress {
                    target: key,
                    done: tx.state().last_event(),
                    attempts: 0,
                    started: 0,
                    next_at: None,
                    last_error: None,
                    given_up: 0,
                    last_given_up: None,
                },
            };
            tx.change(Change::Progress(Arc::new(progress)));
        }
        tx.change(Change::Rule(Arc::new(rule)));
        Ok(())
    }
}

/// Takes targets from a rule, with what waits for them. Answers with the ids that there are not.
pub(crate) struct RemoveTargets {
    pub(crate) key: RuleKey,
    pub(crate) ids: Vec<String>,
}

impl Command for RemoveTargets {
    const NAME: &'static str = "RemoveTargets";
    type Reply = Vec<String>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Vec<String>, ApiError> {
        let mut rule = (*found(tx, &self.key)?).clone();
        let mut missing = Vec::new();
        for id in self.ids {
            let before = rule.targets.len();
            rule.targets.retain(|target| *target.id != *id);
            if rule.targets.len() == before {
                missing.push(id);
                continue;
            }
            tx.change(Change::ForgetProgress(TargetKey { rule: self.key.clone(), id: id.into() }));
        }
        tx.change(Change::Rule(Arc::new(rule)));
        forget_finished(tx);
        Ok(missing)
    }
}

/// Sets tags of a rule and takes others from it.
pub(crate) struct TagRule {
    pub(crate) key: RuleKey,
    pub(crate) set: Tags,
    pub(crate) take: Vec<String>,
}

impl Command for TagRule {
    const NAME: &'static str = "TagRule";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let old = found(tx, &self.key)?;
        let mut tags = old.tags.clone();
        tags.extend(self.set);
        tags.retain(|key, _| !self.take.contains(key));
        if tags.len() > MAX_TAGS {
            return Err(limit());
        }
        if tags != old.tags {
            tx.change(Change::Rule(Arc::new(Rule { tags, ..(*old).clone() })));
        }
        Ok(())
    }
}

fn found(tx: &Tx<'_>, key: &RuleKey) -> Result<Arc<Rule>, ApiError> {
    tx.state().rule(key).map(|rule| Arc::clone(&rule.record)).ok_or_else(|| no_rule(&key.name))
}

/// EventBridge's words for a rule that is not there.
pub(crate) fn no_rule(name: &str) -> ApiError {
    ApiError::new(ErrorCode::ResourceNotFound, format!("Rule {name} does not exist on EventBus default."))
}

/// The same for more than there may be.
pub(crate) fn limit() -> ApiError {
    ApiError::new(ErrorCode::LimitExceeded, "The requested resource exceeds the maximum number allowed.")
}

/// A rule that was never changed.
pub(crate) fn new_rule(key: RuleKey) -> Rule {
    let at = Timestamp::from_millis(0);
    Rule {
        key,
        pattern: None,
        schedule: None,
        enabled: true,
        description: None,
        role_arn: None,
        tags: Tags::new(),
        created_at: at,
        changed_at: at,
        anchor: at,
        decided: None,
        next: None,
        targets: Vec::new(),
    }
}
