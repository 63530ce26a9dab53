//! What holds a service or a task set up that is neither a place for a task nor a silent host: said by its events and
//! by its explanation alike.

use crate::records::{ServiceDeployment, ServiceKey};
use crate::services::words;
use longshore_rollout::{Decision, Picture};
use std::collections::BTreeSet;

/// Failures after which a service says that it cannot start tasks.
const SAYS_FAILING: u32 = 2;

/// In the service's words, the first of them being what is rather to be looked at. `deployment` is the PRIMARY one, or
/// that of the task set.
pub(super) fn troubles(
    key: &ServiceKey,
    picture: &Picture,
    decision: &Decision,
    deployment: &ServiceDeployment,
) -> Vec<String> {
    let mut says = Vec::new();
    if decision.stuck {
        says.push(words::stuck(key));
    }
    // A host that does not answer says nothing of how its tasks end.
    if !picture.active && !picture.tasks.is_empty() && picture.tasks.iter().all(|task| task.lost) {
        let hosts: BTreeSet<_> = picture.tasks.iter().map(|task| task.host).collect();
        says.push(words::waits_for_hosts(key, &hosts));
    }
    if decision.halted {
        says.push(words::halted(key, &deployment.id));
    }
    if decision.pausing && deployment.setbacks >= SAYS_FAILING {
        says.push(words::failing(key));
    }
    says
}
