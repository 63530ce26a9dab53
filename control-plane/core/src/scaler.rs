//! The task that looks at services' policies at the end of each period. What it decides by is `longshore_scaling`.

use crate::commands::{EditScaling, NewDeployment, ScaleService, Scaled, ScalingEdit};
use crate::handle::Core;
use crate::records::{ScalingKind, ScalingTarget};
use crate::state::State;
use crate::usage::floor;
use longshore_ecs_api::autoscaling::{StepScaling, TargetTracking};
use longshore_model::Timestamp;
use longshore_scaling::{Adjustment, Alarm, Metric, Picture, Policy, Rule, Step, Steps, Tracking, decide};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The longest sleep: the wall clock may be set.
const LONGEST: Duration = Duration::from_secs(30);
/// What the two clocks may differ by when a time is awaited.
const TICK: Duration = Duration::from_millis(10);

/// A cool-down that is not given (Application Auto Scaling, for services).
const COOLDOWN: Duration = Duration::from_secs(300);

/// The tag of a target with the alarm of a step policy: this and the policy's name.
pub(crate) const ALARM_TAG: &str = "longshore:alarm:";

/// Scales services. Run it beside the owner task.
#[must_use]
pub struct Autoscaler {
    core: Core,
}

impl Autoscaler {
    /// One for the services in `core`.
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    /// Runs until `shutdown` completes.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        let period = self.core.inner().config.scaling_period;
        let mut looked = floor(self.core.inner().clock.now(), period);
        loop {
            let now = self.core.inner().clock.now();
            let began = floor(now, period);
            if began != looked {
                looked = began;
                self.look(now, period).await;
            }
            let sleep = began.after(period).since(self.core.inner().clock.now()) + TICK;
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(sleep.min(LONGEST)) => {}
            }
        }
    }

    async fn look(&self, now: Timestamp, period: Duration) {
        let state = self.core.snapshot();
        let targets: Vec<Arc<ScalingTarget>> = state.scaling_targets().cloned().collect();
        self.core.inner().usage.keep(|key| state.scaling_target(key).is_some());
        for target in targets {
            self.scale(&state, target, now, period).await;
        }
    }

    /// Looks at one service.
    async fn scale(&self, state: &State, target: Arc<ScalingTarget>, now: Timestamp, period: Duration) {
        let key = &target.key;
        let Some(service) = state.service(key).map(|service| &service.record).filter(|service| service.is_active())
        else {
            tracing::info!(service = %key, cluster = %key.cluster, "a service is gone; it is not scaled any more");
            let edit = EditScaling { key: key.clone(), edit: ScalingEdit::Deregister };
            // The next look does it otherwise.
            drop(self.core.submit(edit).await);
            return;
        };
        if target.policies.is_empty() {
            return;
        }
        let policies = policies(&target);
        let periods = self.core.inner().usage.periods(key, now, period);
        let picture = Picture {
            current: service.desired,
            bounds: target.bounds(),
            periods: &periods,
            policies: &policies,
            last_out: target.last_out,
            last_in: target.last_in,
            raised_from: target.raised_from,
            may_out: target.suspended.dynamic_scaling_out_suspended != Some(true),
            may_in: target.suspended.dynamic_scaling_in_suspended != Some(true),
        };
        let Some(decision) = decide(&picture, now) else { return };
        let (from, to, policy, why) =
            (service.desired, decision.desired, decision.policy.clone(), decision.why.clone());
        let scale = ScaleService {
            target: Arc::clone(&target),
            from,
            decision,
            activity: uuid::Uuid::new_v4(),
            new: NewDeployment::random(),
        };
        match self.core.submit(scale).await {
            Ok(Scaled::Done) => {
                tracing::info!(service = %key, cluster = %key.cluster, from, to, policy, why, "a service is scaled");
            }
            // The next period decides anew.
            Ok(Scaled::Outdated) => {}
            Err(error) => {
                tracing::warn!(service = %key, cluster = %key.cluster, from, to, policy, %error,
                    "a service could not be scaled; the next period tries again");
            }
        }
    }
}

/// A target's policies, by name.
fn policies(target: &ScalingTarget) -> Vec<Policy<'_>> {
    let rule = |name: &str, kind: &ScalingKind| match kind {
        ScalingKind::Track(tracking) => track(tracking).map(Rule::Track),
        ScalingKind::Steps(scaling) => Some(Rule::Steps(steps(scaling, alarm(target, name)))),
    };
    target.policies.iter().filter_map(|(name, policy)| Some(Policy { name, rule: rule(name, &policy.kind)? })).collect()
}

/// The alarm of a step policy, as a tag of its target says.
pub(crate) fn alarm(target: &ScalingTarget, policy: &str) -> Option<Alarm> {
    Alarm::parse(target.tags.get(&format!("{ALARM_TAG}{policy}"))?).ok()
}

fn seconds(given: Option<i32>) -> Duration {
    given.and_then(|secs| u64::try_from(secs).ok()).map_or(COOLDOWN, Duration::from_secs)
}

/// The metric of a name of Application Auto Scaling.
pub(crate) fn metric(name: &str) -> Option<Metric> {
    match name {
        "ECSServiceAverageCPUUtilization" => Some(Metric::Cpu),
        "ECSServiceAverageMemoryUtilization" => Some(Metric::Memory),
        _ => None,
    }
}

fn track(tracking: &TargetTracking) -> Option<Tracking> {
    Some(Tracking {
        metric: metric(tracking.predefined_metric_specification.as_ref()?.predefined_metric_type.as_deref()?)?,
        target: tracking.target_value?,
        out_cooldown: seconds(tracking.scale_out_cooldown),
        in_cooldown: seconds(tracking.scale_in_cooldown),
        no_in: tracking.disable_scale_in == Some(true),
    })
}

/// How numbers of a step policy are meant.
pub(crate) fn adjustment(name: &str) -> Option<Adjustment> {
    match name {
        "ChangeInCapacity" => Some(Adjustment::Change),
        "PercentChangeInCapacity" => Some(Adjustment::Percent),
        "ExactCapacity" => Some(Adjustment::Exact),
        _ => None,
    }
}

fn steps(scaling: &StepScaling, alarm: Option<Alarm>) -> Steps {
    let step = |step: &longshore_ecs_api::autoscaling::StepAdjustment| Step {
        lower: step.metric_interval_lower_bound,
        upper: step.metric_interval_upper_bound,
        adjustment: step.scaling_adjustment.unwrap_or(0),
    };
    Steps {
        alarm,
        adjustment: scaling.adjustment_type.as_deref().and_then(adjustment).unwrap_or(Adjustment::Change),
        steps: scaling.step_adjustments.iter().flatten().map(step).collect(),
        least: scaling.min_adjustment_magnitude.and_then(|least| u32::try_from(least).ok()).unwrap_or(0),
        cooldown: seconds(scaling.cooldown),
    }
}
