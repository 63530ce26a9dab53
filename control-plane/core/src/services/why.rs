//! Why a service has not the tasks that it should have: in a sentence, and host by host.
//!
//! Made by what decides and places, so it says what events and `failures[]` of RunTask say. Decides nothing.

use crate::commands::{Refusal, Target, plan};
use crate::records::Service;
use crate::services::Looking;
use crate::services::launch::{Fencing, daemon_targets, launch};
use crate::services::lost::Standing;
use crate::services::picture::{picture, rebalance};
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
    let Some(primary) = service.deployments.first() else {
        return Why { sentence: "The service is deleted.".to_owned(), hosts: Vec::new() };
    };
    let targets = || daemon_targets(state, service, &primary.revision);
    let mut seen = picture(state, service, targets, looking);
    seen.picture.rebalance = rebalance(state, service, &seen.picture, fencing, now);
    let decision = decide(&seen.picture, now);
    let target = match &decision.launch {
        Launch::On(hosts) if !hosts.is_empty() => Target::Instances(hosts.clone()),
        Launch::On(_) | Launch::Anywhere(_) => Target::Cluster,
    };
    let wanted = u32::try_from(decision.launch.count()).unwrap_or(u32::MAX);
    let refused = |target, count| -> Result<(usize, Vec<Refusal>), ApiError> {
        let plan = plan(state, &launch(state, service, primary, count, target, fencing)?)?;
        Ok((plan.places.len(), plan.refusals))
    };
    // As the next step of the service would place them.
    let placed = refused(target, wanted);
    let every = || refused(Target::Cluster, wanted.saturating_add(1)).map(|(_, refusals)| refusals).unwrap_or_default();
    match placed {
        Err(error) if wanted > 0 => Why { sentence: words::unplaced(&service.key, &error.message), hosts: Vec::new() },
        Ok((places, hosts)) if places < wanted as usize => {
            Why { sentence: words::unplaced(&service.key, &words::closest(&hosts)), hosts }
        }
        Ok(_) | Err(_) => {
            let hosts = if decision.steady { Vec::new() } else { every() };
            Why { sentence: sentence(service, &decision, &seen.silent), hosts }
        }
    }
}

fn sentence(service: &Service, decision: &Decision, silent: &[Standing]) -> String {
    let key = &service.key;
    let many = silent.iter().find_map(|standing| match standing {
        Standing::Many { silent, of, .. } => Some((*silent, *of)),
        Standing::Here | Standing::Silent(_) | Standing::Lost => None,
    });
    let waits = silent.iter().filter_map(|standing| match standing {
        Standing::Silent(left) => Some(*left),
        Standing::Here | Standing::Many { .. } | Standing::Lost => None,
    });
    let primary = service.deployments.first();
    if let Some((silent, of)) = many {
        return words::held(key, silent, of);
    }
    if let Some(left) = waits.max() {
        return words::waits_for_silent(key, left);
    }
    if decision.stuck {
        return words::stuck(key);
    }
    if decision.pausing {
        return words::failing(key);
    }
    match primary {
        Some(primary) if primary.state == crate::records::RolloutState::Failed => primary.reason.clone(),
        Some(_) if decision.steady => words::steady(key),
        Some(primary) => primary.reason.clone(),
        None => String::new(),
    }
}
