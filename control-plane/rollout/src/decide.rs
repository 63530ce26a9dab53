//! What a decision says, and the part of it that both scheduling strategies share.

use crate::daemon;
use crate::failures::delay;
use crate::picture::{Deployment, Health, Phase, Picture, Rollout, Scheduling};
use crate::replica;
use longshore_model::{InstanceId, TaskId, Timestamp};

/// What a service does next. To be carried out as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// Tasks of the PRIMARY deployment to start.
    pub launch: Launch,
    /// Tasks to stop, in this order.
    pub stops: Vec<Stop>,
    /// What became of the PRIMARY deployment, when that is new.
    pub verdict: Option<Verdict>,
    /// Whether the PRIMARY deployment's pauses begin anew, since one of its tasks became healthy after the last
    /// failure. To be carried out before [`stops`](Self::stops), of which some are failures.
    pub recovered: bool,
    /// Whether its breaker forgets the failures for the same reason.
    pub forgiven: bool,
    /// Older deployments, as indexes into [`Picture::deployments`], whose tasks are all gone or on their way out.
    pub gone: Vec<usize>,
    /// Whether everything is as it should be and nothing is on its way.
    pub steady: bool,
    /// Whether something should change and the minimum and maximum percent leave no room for it.
    pub stuck: bool,
    /// Whether something should change that takes a start, and the PRIMARY deployment has failed: nothing comes of it
    /// before somebody deploys again.
    pub halted: bool,
    /// Whether a pause after failures holds starts up.
    pub pausing: bool,
    /// When time alone may change the answer.
    pub wake_at: Option<Timestamp>,
}

/// Tasks to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// So many, wherever placement puts them.
    Anywhere(u32),
    /// One on each of these hosts.
    On(Vec<InstanceId>),
}

impl Default for Launch {
    fn default() -> Self {
        Self::Anywhere(0)
    }
}

impl Launch {
    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Anywhere(count) => *count as usize,
            Self::On(hosts) => hosts.len(),
        }
    }
}

/// A task to stop, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// Which.
    pub task: TaskId,
    /// Why.
    pub why: Why,
}

/// Why a service stops a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// There are more than the desired count.
    ScaleIn,
    /// A newer deployment takes its place.
    Superseded,
    /// Its host is draining.
    Draining,
    /// Its health checks fail.
    Ill,
    /// Its host is lost. What the host does with it when it comes back is to stop it.
    Lost,
    /// Its host should have none any more, or has two.
    Misplaced,
    /// The service is being deleted.
    Deleted,
}

/// What became of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything runs and is healthy, and nothing older is left.
    Completed,
    /// Its circuit breaker opened.
    Failed {
        /// Whether the last completed revision is to come back.
        roll_back: bool,
    },
}

/// What the service does next. The same picture and time give the same answer.
#[must_use]
pub fn decide(picture: &Picture, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    if !picture.active {
        let wanted = picture.tasks.iter().filter(|task| task.is_wanted() || task.lost && !is_asked(task));
        decision.stops = wanted.map(|task| Stop { task: task.id, why: Why::Deleted }).collect();
        decision.steady = picture.tasks.is_empty();
        return decision;
    }
    let lost = picture.tasks.iter().filter(|task| task.lost && !is_asked(task));
    decision.stops = lost.map(|task| Stop { task: task.id, why: Why::Lost }).collect();
    let desired = match &picture.scheduling {
        Scheduling::Replica { desired } => *desired,
        Scheduling::Daemon { hosts } => u32::try_from(hosts.len()).unwrap_or(u32::MAX),
    };
    let primary = picture.deployments.first();
    // What has been healthy all along says nothing of those that fail beside it. A failure in the future was before the
    // clock was set back.
    let failed_at = primary.and_then(|primary| primary.failed_at).filter(|at| *at <= now);
    let own = picture.tasks.iter().filter(|task| task.deployment == Some(0));
    let healed = own.filter_map(|task| task.became_healthy(picture, now)).max();
    let healed = healed.is_some_and(|at| failed_at.is_none_or(|failed| at > failed));
    let count = |of: fn(&Deployment) -> u32| primary.map_or(0, of);
    decision.recovered = healed && count(|primary| primary.setbacks) > 0;
    let forgets = picture.breaker.is_none_or(|breaker| breaker.reset_on_healthy);
    decision.forgiven = healed && forgets && count(|primary| primary.failures) > 0;
    let setbacks = if decision.recovered { 0 } else { count(|primary| primary.setbacks) };
    let failures = if decision.forgiven { 0 } else { count(|primary| primary.failures) };
    let in_progress = primary.is_some_and(|primary| primary.rollout == Rollout::InProgress);
    let broken = picture.breaker.filter(|breaker| in_progress && failures >= breaker.threshold.of(desired));
    if let Some(breaker) = broken {
        let roll_back = breaker.rollback && primary.is_some_and(|primary| primary.can_roll_back);
        decision.verdict = Some(Verdict::Failed { roll_back });
        // What comes next is decided over the picture without it.
        return decision;
    }
    let failed = primary.is_none_or(|primary| primary.rollout == Rollout::Failed);
    let not_before = failed_at.map(|at| at.after(delay(setbacks, desired)));
    let pause = not_before.filter(|until| setbacks > 0 && now < *until);
    let may_launch = !failed && pause.is_none();
    let moves = Moves { may_launch, failed, desired };
    match &picture.scheduling {
        Scheduling::Replica { .. } => replica::decide(picture, now, moves, &mut decision),
        Scheduling::Daemon { hosts } => daemon::decide(picture, hosts, now, moves, &mut decision),
    }
    decision.pausing = pause.is_some() && !failed;
    decision.gone = (1..picture.deployments.len())
        .filter(|index| picture.tasks.iter().all(|task| task.deployment != Some(*index) || !task.is_wanted()))
        .filter(|_| !failed)
        .collect();
    finish(picture, now, desired, in_progress, &mut decision);
    let times = picture.tasks.iter().filter_map(|task| turning_point(picture, task, now)).chain(pause);
    decision.wake_at = times.min();
    decision
}

/// Whether it was asked to stop, or stops by itself.
const fn is_asked(task: &crate::picture::Task) -> bool {
    match task.phase {
        Phase::Stopping { .. } => true,
        Phase::Pending | Phase::Running { .. } => false,
    }
}

/// What both strategies are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moves {
    /// Whether tasks may be started now.
    pub(crate) may_launch: bool,
    /// Whether the PRIMARY deployment failed: nothing is started or replaced for it.
    pub(crate) failed: bool,
    /// The number of tasks that there should be.
    pub(crate) desired: u32,
}

/// Whether the service is steady, and its deployment complete.
fn finish(picture: &Picture, now: Timestamp, desired: u32, in_progress: bool, decision: &mut Decision) {
    let quiet = decision.launch.count() == 0 && decision.stops.is_empty();
    let others = picture.tasks.iter().filter(|task| task.is_wanted());
    let own = |task: &&crate::picture::Task| task.deployment == Some(0);
    let (mine, rest) = (others.clone().filter(own).count(), others.clone().filter(|task| !own(task)).count());
    let running = others.filter(own).all(|task| match task.phase {
        Phase::Running { .. } => true,
        Phase::Pending | Phase::Stopping { .. } => false,
    });
    decision.steady = quiet && rest == 0 && running && mine == desired as usize && !decision.stuck && !decision.halted;
    let healthy =
        || picture.tasks.iter().filter(own).filter(|task| task.is_wanted()).all(|t| t.is_healthy(picture, now));
    if decision.steady && in_progress && healthy() {
        decision.verdict = Some(Verdict::Completed);
    }
}

/// When time alone changes what a task counts as.
fn turning_point(picture: &Picture, task: &crate::picture::Task, now: Timestamp) -> Option<Timestamp> {
    let of_phase = match task.phase {
        Phase::Running { since, health: Health::Unchecked } => Some(since.after(picture.healthy_after)),
        Phase::Running { since, health: Health::Unhealthy } => Some(since.after(picture.grace)),
        Phase::Running { health: Health::Unknown | Health::Healthy, .. } | Phase::Pending | Phase::Stopping { .. } => {
            None
        }
    };
    [of_phase, task.protected_until].into_iter().flatten().filter(|at| *at > now).min()
}
