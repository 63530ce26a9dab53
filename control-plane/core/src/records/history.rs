//! What happened to a task, for people: the answer to "what did it do, and when".

use super::Task;
use longshore_model::{ContainerName, ContainerReport, DesiredStatus, HealthStatus, Timestamp};
use serde::{Deserialize, Serialize};

/// Entries of a task. Beyond it the middle goes: how it began and what it did last is what people ask for.
const MOST: usize = 60;
/// Entries of the beginning that stay.
const FIRST: usize = 20;
/// Characters of an entry.
const LONGEST: usize = 256;

/// Something that happened to a task or to one of its containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// When the control plane heard of it, by its own clock.
    pub at: Timestamp,
    /// The container that it happened to; absent for the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerName>,
    /// What happened, for people.
    pub what: String,
}

impl Task {
    /// Adds to the history what makes this task another than `before`; its placement when there is none.
    pub(crate) fn note(&mut self, before: Option<&Self>, now: Timestamp) {
        let mut happened: Vec<(Option<ContainerName>, String)> = Vec::new();
        let Some(before) = before else {
            return self.remember(now, vec![(None, format!("{}: placed on {}", self.status, self.instance))]);
        };
        for report in &self.reported {
            let old = before.reported.iter().find(|old| old.name == report.name);
            happened.extend(changes(old, report).into_iter().map(|what| (Some(report.name.clone()), what)));
        }
        if let Some(what) = self.waiting_for.as_ref().filter(|_| self.waiting_for != before.waiting_for) {
            happened.push((None, format!("waits for {what}")));
        }
        let why = self.stop.as_ref().map(|stop| stop.reason.as_str()).filter(|why| !why.is_empty());
        let because = |why: Option<&str>| why.map(|why| format!(": {why}")).unwrap_or_default();
        if (before.desired, self.desired) == (DesiredStatus::Running, DesiredStatus::Stopped) {
            happened.push((None, format!("is to stop{}", because(why))));
        }
        if self.status != before.status {
            happened.push((None, self.status.to_string()));
        }
        self.remember(now, happened);
    }

    /// Adds what happened, each to a container or to the task, and cuts what is too long.
    pub(crate) fn remember(&mut self, at: Timestamp, happened: Vec<(Option<ContainerName>, String)>) {
        for (container, what) in happened {
            let what = what.chars().take(LONGEST).collect();
            self.history.push(Moment { at, container, what });
        }
        trim(&mut self.history);
    }
}

/// Takes the middle out of what is too long.
fn trim<T>(all: &mut Vec<T>) {
    let over = all.len().saturating_sub(MOST);
    if over > 0 {
        all.drain(FIRST..FIRST + over);
    }
}

/// What `new` says of a container that `old` did not.
fn changes(old: Option<&ContainerReport>, new: &ContainerReport) -> Vec<String> {
    let mut changes = Vec::new();
    let because = new.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    if old.is_none_or(|old| old.status != new.status) {
        let code = new.exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
        changes.push(format!("{}{code}{because}", new.status));
    }
    if new.restart_count > old.map_or(0, |old| old.restart_count) {
        changes.push(format!("restart {}{because}", new.restart_count));
    }
    let known = old.map_or(&[][..], |old| &old.warnings);
    let warnings = new.warnings.iter().filter(|warning| !known.contains(warning));
    changes.extend(warnings.map(|warning| format!("the container engine warns: {warning}")));
    let health = old.map_or(HealthStatus::Unknown, |old| old.health);
    if new.health != health {
        changes.push(format!("health {} (was {health})", new.health));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_goes_first() {
        let mut all: Vec<u64> = Vec::new();
        for n in 0..100 {
            all.push(n);
            trim(&mut all);
        }
        let expected: Vec<u64> = (0..20).chain(60..100).collect();
        assert_eq!(all, expected);
    }
}
