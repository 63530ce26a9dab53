//! The order of a task's containers: one starts after what it depends on has come far enough, and stops before it.
//!
//! Conditions are those of ECS's `dependsOn`; what can never be met, or is not met in time, ends the container that
//! waits, in the words of ECS's agent. A container's image is pulled and it is created while it waits.

use crate::observe::Ended;
use crate::pass::{Pass, View};
use crate::reasons;
use crate::record::{Phase, Stopped, Wish};
use crate::step::{Lane, Step};
use crate::task::Task;
use longshore_model::{ContainerCondition, Dependency, HealthStatus, Timestamp};
use std::time::Duration;

/// The exit code of a container that did not start for what it depends on (ECS's agent: "we have to report an error and
/// 143 seems the most appropriate").
const EXIT_CODE: i32 = 143;

/// How a container stands to one that it depends on.
enum Standing {
    /// It may go on.
    Met,
    /// It waits.
    Waits {
        /// For what, for people.
        for_what: String,
        /// When it is given up; absent while the time has not begun.
        until: Option<Timestamp>,
    },
    /// What the other does is being looked at.
    Looking,
    /// It waits for nothing: why, in ECS's words.
    Hopeless(String),
}

impl Task {
    fn position(&self, dependency: &Dependency) -> Option<usize> {
        self.record.containers.iter().position(|c| c.name == dependency.container)
    }

    /// Whether container `i` is certain not to run and not to begin to.
    pub(crate) fn is_unstarted(&self, i: usize) -> bool {
        let live = &self.live.containers[i];
        match &self.record.containers[i].phase {
            // Found by a listing: it is looked at before it is called over.
            Phase::Waiting | Phase::Pulled => !live.look && self.record.may_start,
            Phase::Created { .. } => !live.look,
            Phase::Starting { .. } => live.startable && !live.look,
            // It ran, and is not to any more once the task ends.
            Phase::Restarting { .. } => live.startable && !live.look && self.record.ending.is_some(),
            Phase::Discarding { .. } => true,
            Phase::Running { .. } | Phase::Stopped(_) => false,
        }
    }

    /// Whether a step for container `i` goes on that has to end first. A pull changes nothing that would have to be
    /// undone; the pass gives it up.
    pub(crate) fn is_engaged(&self, i: usize) -> bool {
        self.live.in_flight.get(&Lane::Container(i)).is_some_and(|step| !matches!(step, Step::Pull(_)))
    }

    /// Whether container `i` may be started for all that it depends on; says what it waits for.
    pub(crate) fn may_begin(&self, i: usize, view: &View<'_>, pass: &mut Pass) -> bool {
        let mut may = true;
        for dependency in &self.outline.containers[i].depends_on {
            match self.standing(i, dependency, view) {
                Standing::Met => {}
                // The other one is still on its way itself, and says what it waits for.
                Standing::Waits { for_what, until: None } => {
                    may = false;
                    pass.going_on(Some(&self.record.containers[i].name), &for_what);
                }
                Standing::Waits { for_what, until: Some(at) } => {
                    may = false;
                    pass.wait(Some(&self.record.containers[i].name), format!("{for_what}; given up at {at}"));
                    pass.wake(at);
                }
                Standing::Looking => {
                    may = false;
                    let what = format!("a look at container `{}`", dependency.container);
                    pass.going_on(Some(&self.record.containers[i].name), &what);
                }
                // Ended before this is asked, but for one that is still engaged.
                Standing::Hopeless(_) => may = false,
            }
        }
        may
    }

    /// Ends what waits for something that will not come. Says whether it ended any.
    pub(crate) fn end_hopeless(&mut self, view: &View<'_>) -> bool {
        let mut any = false;
        if self.record.ending.is_some() || self.record.wish != Wish::Run {
            return any;
        }
        // One that ends may take the hope of others.
        while let Some((i, why)) = (0..self.record.containers.len()).find_map(|i| Some((i, self.hopeless(i, view)?))) {
            let reason = Some(reasons::named("CannotStartContainerError", &why));
            self.end(i, Ended { exit_code: Some(EXIT_CODE), reason, ..Ended::at(view.now) });
            any = true;
        }
        any
    }

    fn hopeless(&self, i: usize, view: &View<'_>) -> Option<String> {
        if !self.is_unstarted(i) || self.is_engaged(i) {
            return None;
        }
        self.outline.containers[i].depends_on.iter().find_map(|dependency| match self.standing(i, dependency, view) {
            Standing::Hopeless(why) => Some(why),
            Standing::Met | Standing::Waits { .. } | Standing::Looking => None,
        })
    }

    /// Whether everything that depends on container `i` is over, so that it may be stopped.
    pub(crate) fn may_end(&self, i: usize, pass: &mut Pass) -> bool {
        let mut may = true;
        let name = &self.record.containers[i].name;
        for (outline, record) in self.outline.containers.iter().zip(&self.record.containers) {
            // ECS makes dependencies of links and volumesFrom.
            let needs = outline.after.contains(name) || outline.depends_on.iter().any(|d| d.container == *name);
            if !record.phase.is_stopped() && needs {
                may = false;
                pass.going_on(Some(name), &format!("the stop of container `{}`, which depends on it", record.name));
            }
        }
        may
    }

    fn standing(&self, i: usize, dependency: &Dependency, view: &View<'_>) -> Standing {
        let name = &dependency.container;
        // Names are checked where a task comes in.
        let Some(j) = self.position(dependency) else {
            return Standing::Hopeless(self.unmet(i, dependency, "there is no such container"));
        };
        let container = &self.record.containers[j];
        if self.live.containers[j].look
            || matches!(self.live.in_flight.get(&Lane::Container(j)), Some(Step::Inspect(_)))
        {
            return Standing::Looking;
        }
        if let Some(stopped) = container.phase.stopped() {
            return match Self::never_met(dependency, stopped) {
                None => Standing::Met,
                Some(why) => Standing::Hopeless(self.unmet(i, dependency, &why)),
            };
        }
        let for_what = match dependency.condition {
            ContainerCondition::Start if container.started_at.is_some() => return Standing::Met,
            ContainerCondition::Start => format!("container `{name}` to start"),
            ContainerCondition::Complete => format!("container `{name}` to end"),
            ContainerCondition::Success => format!("container `{name}` to end with exit code 0"),
            ContainerCondition::Healthy => match container.health {
                Some(HealthStatus::Healthy) if container.phase.is_running() => return Standing::Met,
                Some(HealthStatus::Unhealthy) => format!("container `{name}` to be healthy; it is unhealthy now"),
                Some(HealthStatus::Healthy | HealthStatus::Unknown) | None => {
                    format!("container `{name}` to be healthy")
                }
            },
        };
        // A container has its time from its own start; before that, what it waits for itself has limits.
        let timed = match dependency.condition {
            ContainerCondition::Start => None,
            ContainerCondition::Complete | ContainerCondition::Success | ContainerCondition::Healthy => {
                container.started_at.map(|at| at.moved(container.moved_millis))
            }
        };
        let until = timed.map(|started| started.after(self.start_timeout(j, view)));
        if until.is_some_and(|at| at <= view.now) {
            return Standing::Hopeless(self.timed_out(i, j, view, &for_what));
        }
        Standing::Waits { for_what, until }
    }

    /// Why the end of what `dependency` names does not meet its condition; `None` when it does.
    fn never_met(dependency: &Dependency, stopped: &Stopped) -> Option<String> {
        if !stopped.ran {
            return Some("it never ran".to_owned());
        }
        match (dependency.condition, stopped.exit_code) {
            (ContainerCondition::Start, _)
            | (ContainerCondition::Complete, Some(_))
            | (ContainerCondition::Success, Some(0)) => None,
            (ContainerCondition::Success, Some(code)) => Some(format!("it ended with exit code {code}")),
            (ContainerCondition::Complete | ContainerCondition::Success, None) => {
                Some("it ended, and its exit code is not known".to_owned())
            }
            (ContainerCondition::Healthy, _) => Some("it ended".to_owned()),
        }
    }

    fn start_timeout(&self, j: usize, view: &View<'_>) -> Duration {
        let own = self.outline.containers[j].start_timeout_secs;
        own.map_or(view.policy.dependency_timeout, |secs| Duration::from_secs(secs.into()))
    }

    fn unmet(&self, i: usize, dependency: &Dependency, why: &str) -> String {
        format!(
            "dependency graph: failed to resolve the container ordering dependency [{}] for target [{}] with condition \
             {}: {why}",
            dependency.container, self.record.containers[i].name, dependency.condition
        )
    }

    fn timed_out(&self, i: usize, j: usize, view: &View<'_>, waited_for: &str) -> String {
        let limit = match self.outline.containers[j].start_timeout_secs {
            Some(_) => "the startTimeout of",
            None => "the agent's dependency_timeout, as no startTimeout is set for",
        };
        let (target, dependency) = (&self.record.containers[i].name, &self.record.containers[j].name);
        format!(
            "dependency graph: container ordering dependency [{dependency}] for target [{target}] has timed out after \
             {} s ({limit} `{dependency}`): it waited for {waited_for}",
            self.start_timeout(j, view).as_secs()
        )
    }
}
