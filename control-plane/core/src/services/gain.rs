//! Whether a service gains room by giving up tasks of its own. Where its hosts lack daemons they keep for those what
//! would become free, and the service would only shrink.

use crate::needs::needs;
use crate::records::{Service, ServiceRevision};
use crate::services::launch::{kept, request};
use crate::state::State;
use longshore_model::{InstanceId, Timestamp};
use longshore_rollout::{Phase, Picture, Scheduling, Task};
use longshore_sched::{Request, check_on};
use std::collections::BTreeMap;

/// What the service may give up on one host.
#[derive(Default)]
struct Given<'a> {
    /// What stops already, or is no use to anybody.
    useless: Vec<&'a Task>,
    healthy: Vec<&'a Task>,
}

/// Whether what `picture`'s tasks that are to be replaced would free, as many as the minimum allows, makes no place for
/// one of `revision`, for the only reason that hosts keep it for daemons.
pub(super) fn is_kept_from(
    state: &State,
    service: &Service,
    revision: &ServiceRevision,
    picture: &Picture,
    now: Timestamp,
) -> bool {
    let Scheduling::Replica { desired } = picture.scheduling else { return false };
    let hosts = given_up(picture, now);
    if hosts.is_empty() {
        return false;
    }
    let kept = kept(state, &service.key.cluster);
    if kept.is_empty() {
        return false;
    }
    let claim =
        state.definition(&revision.definition).and_then(|definition| Some(needs(&definition.body, None).ok()?.claim));
    let Some(Ok(plain)) = claim.map(|claim| request(state, service, revision, claim, 1)) else { return false };
    let asked = Request { kept, ..plain.clone() };
    let healthy = picture.tasks.iter().filter(|task| task.is_wanted() && task.is_healthy(picture, now)).count();
    let spare = healthy.saturating_sub(picture.bounds.floor(desired) as usize);
    let mut would_help = false;
    for (id, given) in hosts {
        let Some(host) = state.host(id) else { continue };
        let mut view = host.view.clone();
        for task in given.useless.iter().chain(given.healthy.iter().take(spare)) {
            state.task(task.id).into_iter().for_each(|task| task.release(&mut view.usage));
        }
        if check_on(&view, &asked).is_ok() {
            return false;
        }
        would_help |= check_on(&view, &plain).is_ok();
    }
    would_help
}

/// By host, where any is to be replaced.
fn given_up(picture: &Picture, now: Timestamp) -> BTreeMap<InstanceId, Given<'_>> {
    let mut hosts: BTreeMap<InstanceId, Given<'_>> = BTreeMap::new();
    let goes = |task: &&Task| {
        let is_replaced = task.deployment != Some(0) || task.is_ill(picture, now);
        task.is_wanted() && is_replaced && !task.is_protected(picture, now)
    };
    for task in picture.tasks.iter().filter(goes) {
        let given = hosts.entry(task.host).or_default();
        if task.is_healthy(picture, now) { given.healthy.push(task) } else { given.useless.push(task) }
    }
    // Nobody knows when what stops on a lost host is gone.
    for task in picture.tasks.iter().filter(|task| task.phase == Phase::Stopping { lost: false }) {
        if let Some(given) = hosts.get_mut(&task.host) {
            given.useless.push(task);
        }
    }
    hosts
}
