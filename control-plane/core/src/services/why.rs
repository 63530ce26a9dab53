//! Why a service has not the tasks that it should have: in a sentence, and host by host.
//!
//! Made by what decides and places, so it says what events and `failures[]` of RunTask say. Decides nothing.

use crate::commands::{Refusal, Target, plan};
use crate::records::{RolloutState, Service, ServiceDeployment, ServiceKey};
use crate::services::Looking;
use crate::services::launch::{Basis, Fencing, daemon_targets, launch};
use crate::services::lost::Standing;
use crate::services::picture::{Seen, picture, rebalance, set_picture};
use crate::services::troubles::troubles;
use crate::services::words;
use crate::state::State;
use longshore_ecs_api::ApiError;
use longshore_model::Timestamp;
use longshore_rollout::{Decision, Launch, decide};

/// The explanation.
#[derive(Debug, Default)]
pub(crate) struct Why {
    /// What holds the service up; what it is about when nothing does.
    pub(crate) sentence: String,
    /// Every host that could not take one more of its tasks, and why.
    pub(crate) hosts: Vec<Refusal>,
}

/// Why `service` is as it is.
pub(crate) fn why(state: &State, service: &Service, looking: Looking<'_>, fencing: Fencing, now: Timestamp) -> Why {
    if service.is_over() {
        return Why { sentence: words::DELETED.to_owned(), hosts: Vec::new() };
    }
    let Some(primary) = service.deployments.first() else {
        return why_sets(state, service, looking, fencing, now);
    };
    let targets = || daemon_targets(state, service, &primary.revision);
    let mut seen = picture(state, service, targets, looking);
    seen.picture.rebalance = rebalance(state, service, &seen.picture, fencing, now);
    why_one(state, service, primary, &seen, fencing, now)
}

/// The same of one with the EXTERNAL controller: of each of its task sets.
fn why_sets(state: &State, service: &Service, looking: Looking<'_>, fencing: Fencing, now: Timestamp) -> Why {
    if service.task_sets.is_empty() {
        let left = state.service_tasks(&service.key).len();
        let sentence = match service.is_active() {
            true => words::no_task_set(&service.key),
            false => words::deleting(&service.key, left, 0),
        };
        return Why { sentence, hosts: Vec::new() };
    }
    let mut sentences = Vec::new();
    let mut hosts: Vec<Refusal> = Vec::new();
    for set in &service.task_sets {
        let seen = set_picture(state, service, set, looking);
        let of_set = why_one(state, service, &set.deployment, &seen, fencing, now);
        sentences.push(words::of_task_set(&service.key, &set.deployment.id, &of_set.sentence));
        let is_new = |refusal: &Refusal| !hosts.contains(refusal);
        let new: Vec<Refusal> = of_set.hosts.into_iter().filter(is_new).collect();
        hosts.extend(new);
    }
    Why { sentence: sentences.join("\n"), hosts }
}

/// Why the tasks of a deployment, or of a task set, are as they are.
fn why_one(
    state: &State,
    service: &Service,
    deployment: &ServiceDeployment,
    seen: &Seen,
    fencing: Fencing,
    now: Timestamp,
) -> Why {
    let decision = decide(&seen.picture, now);
    let target = match &decision.launch {
        Launch::On(hosts) if !hosts.is_empty() => Target::Instances(hosts.clone()),
        Launch::On(_) | Launch::Anywhere(_) => Target::Cluster,
    };
    let wanted = u32::try_from(decision.launch.count()).unwrap_or(u32::MAX);
    let basis = Basis { picture: &seen.picture, fencing, now };
    let refused = |target, count| -> Result<(usize, Vec<Refusal>), ApiError> {
        let plan = plan(state, &launch(state, service, deployment, count, target, basis)?)?;
        Ok((plan.places.len(), plan.refusals))
    };
    // As the next step of the service would place them.
    let placed = refused(target, wanted);
    let every = || refused(Target::Cluster, wanted.saturating_add(1)).map(|(_, refusals)| refusals).unwrap_or_default();
    match placed {
        Err(error) if wanted > 0 => {
            Why { sentence: words::unplaceable(&service.key, &service.capacity, &error).message, hosts: Vec::new() }
        }
        Ok((places, hosts)) if places < wanted as usize => {
            Why { sentence: words::refused(&service.key, &service.capacity, &hosts).message, hosts }
        }
        Ok(_) | Err(_) => {
            let hosts = if decision.steady || !seen.picture.active { Vec::new() } else { every() };
            Why { sentence: sentence(&service.key, deployment, &decision, seen), hosts }
        }
    }
}

fn sentence(key: &ServiceKey, deployment: &ServiceDeployment, decision: &Decision, seen: &Seen) -> String {
    let trouble = troubles(key, &seen.picture, decision, deployment).into_iter().next();
    if !seen.picture.active {
        return trouble.unwrap_or_else(|| words::deleting(key, seen.picture.tasks.len(), seen.silent.len()));
    }
    let many = seen.silent.iter().find_map(|standing| match standing {
        Standing::Many { silent, of, .. } => Some((*silent, *of)),
        Standing::Here | Standing::Silent(_) | Standing::Lost => None,
    });
    let waits = seen.silent.iter().filter_map(|standing| match standing {
        Standing::Silent(left) => Some(*left),
        Standing::Here | Standing::Many { .. } | Standing::Lost => None,
    });
    if let Some((silent, of)) = many {
        return words::held(key, silent, of);
    }
    if let Some(left) = waits.max() {
        return words::waits_for_silent(key, left);
    }
    if let Some(trouble) = trouble {
        return trouble;
    }
    if decision.pausing {
        return words::failing(key);
    }
    match deployment.state {
        RolloutState::Failed => deployment.reason.clone(),
        RolloutState::InProgress | RolloutState::Completed if decision.steady => words::steady(key),
        RolloutState::InProgress | RolloutState::Completed => deployment.reason.clone(),
    }
}
