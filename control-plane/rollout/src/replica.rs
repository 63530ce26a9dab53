//! A desired count of tasks, anywhere.
//!
//! Two sorts of tasks: *good* ones are the PRIMARY deployment's, on hosts that stay, and not ill; all others are
//! *surplus*, to be replaced. Good ones are started up to the desired count as far as the maximum allows. Surplus ones
//! go as soon as what stays is enough: the desired count of healthy tasks while there is room to start first, the
//! minimum once there is none, unless others would have the room that they leave. One that may be healthy for all that is known, on a silent host for example, counts for
//! neither, and goes only when what is known to be healthy is enough without it: all of them may be needed at once.

use crate::decide::{Decision, Launch, Moves, Stop, Why};
use crate::picture::{Phase, Picture, Rollout, Task};
use crate::victims::choose;
use crate::zones::{has_mover, wants_mover};
use longshore_model::Timestamp;
use longshore_model::planted::{Bug, is_planted};

pub(crate) fn decide(picture: &Picture, now: Timestamp, moves: Moves, decision: &mut Decision) {
    let desired = moves.desired as usize;
    let floor = picture.bounds.floor(moves.desired) as usize;
    let ceiling = picture.bounds.ceiling(moves.desired) as usize;
    let wanted: Vec<&Task> = picture.tasks.iter().filter(|task| task.is_wanted()).collect();
    let healthy = |task: &Task| task.is_healthy(picture, now);
    let mut left = wanted.iter().filter(|task| healthy(task)).count();

    // Nobody misses what does not run yet.
    let (surplus, good): (Vec<&Task>, Vec<&Task>) =
        wanted.iter().copied().partition(|task| why_surplus(picture, task, now, moves).is_some());
    let (idle, surplus): (Vec<&Task>, Vec<&Task>) =
        surplus.into_iter().partition(|task| is_pending(task) && !task.is_protected(picture, now));
    stop(picture, now, moves, &idle, decision);

    // Too many: scale-in, and what a rollback leaves over.
    let over = good.len().saturating_sub(desired);
    // One that evens the zones out replaces another once it is healthy.
    let over = if over == 1 && has_mover(picture, &good, now) { 0 } else { over };
    let mut out = choose(picture, &good, over, now);
    // Those that do nothing for the service come first, so that only the last ones count.
    out.retain(|task| {
        let counts = healthy(task);
        let may_go = if task.is_unknown(picture, now) { left >= floor } else { !counts || left > floor };
        left -= usize::from(counts && may_go);
        may_go
    });
    decision.stops.extend(out.iter().map(|task| Stop { task: task.id, why: Why::ScaleIn }));

    // Too few: start as many as there is room for. What stops takes room until it is gone, unless nobody can know
    // when that is.
    let stopping = picture.tasks.iter().filter(|task| is_stopping(task)).count();
    let active = if is_planted(Bug::StoppingTakesNoRoom) { wanted.len() } else { wanted.len() + stopping };
    let complete = matches!(picture.deployments.as_slice(), [only] if only.rollout == Rollout::Completed);
    let at_rest = complete
        && surplus.is_empty()
        && idle.is_empty()
        && stopping == 0
        && good.len() == desired
        && good.iter().all(|task| healthy(task));
    let moves_one = at_rest && wants_mover(picture, &good);
    let want = desired.saturating_sub(good.len()) + usize::from(moves_one && active < ceiling);
    let launch = if moves.may_launch { want.min(ceiling.saturating_sub(active)) } else { 0 };
    decision.launch = Launch::Anywhere(u32::try_from(launch).unwrap_or(u32::MAX));

    if moves.failed {
        // Nothing takes the place of what drains or is ill, or is missing.
        decision.halted = want > 0 || !surplus.is_empty();
        return;
    }
    // Surplus that runs: the ill first, who are no use to anybody.
    let blocked = launch < want && moves.may_launch;
    let makes_room = (blocked || picture.unplaced) && !picture.no_gain;
    let keep = if makes_room { floor } else { desired };
    let loose: Vec<&Task> = surplus.iter().copied().filter(|task| !task.is_protected(picture, now)).collect();
    let (ill, sound): (Vec<&Task>, Vec<&Task>) = loose.into_iter().partition(|task| task.is_ill(picture, now));
    let good_healthy = good.iter().filter(|task| healthy(task)).count();
    // One by one where only their own room is left, all at once when they have been replaced.
    let needs_room = want > 0 && makes_room;
    let one = usize::from(needs_room && stopping == 0);
    let ill_out = if good_healthy >= desired { ill.len() } else { one.min(ill.len()) };
    let out = choose(picture, &ill, ill_out, now);
    stop(picture, now, moves, &out, decision);

    let (unknown, sound): (Vec<&Task>, Vec<&Task>) = sound.into_iter().partition(|task| task.is_unknown(picture, now));
    if left >= keep {
        stop(picture, now, moves, &unknown, decision);
    }
    let (ready, young): (Vec<&Task>, Vec<&Task>) = sound.into_iter().partition(|task| healthy(task));
    // What runs and has not shown yet that it is healthy may well serve somebody: it stays while it may be needed.
    let spare = left.saturating_sub(keep);
    let young_out = (left + young.len()).saturating_sub(keep).min(young.len());
    let out = choose(picture, &young, young_out, now);
    stop(picture, now, moves, &out, decision);
    let out = choose(picture, &ready, spare.min(ready.len()), now);
    stop(picture, now, moves, &out, decision);

    let settling = picture.tasks.iter().any(|task| !task.is_wanted() || !healthy(task) && !task.is_ill(picture, now));
    let nothing = launch == 0 && decision.stops.is_empty();
    let open = want > 0 || !surplus.is_empty();
    let protected = surplus.iter().any(|task| task.is_protected(picture, now));
    decision.stuck = open && nothing && moves.may_launch && !settling && !protected;
}

fn stop(picture: &Picture, now: Timestamp, moves: Moves, tasks: &[&Task], decision: &mut Decision) {
    let why = |task: &Task| why_surplus(picture, task, now, moves).unwrap_or(Why::ScaleIn);
    decision.stops.extend(tasks.iter().map(|task| Stop { task: task.id, why: why(task) }));
}

/// Why a task is to be replaced; `None` for a good one.
fn why_surplus(picture: &Picture, task: &Task, now: Timestamp, moves: Moves) -> Option<Why> {
    let ill = task.is_ill(picture, now).then_some(Why::Ill);
    if task.asked_to_stay(now) && ill.is_some() {
        // For nothing else.
        return ill;
    }
    if task.deployment != Some(0) && !moves.failed {
        return Some(Why::Superseded);
    }
    if task.draining {
        return Some(Why::Draining);
    }
    ill
}

const fn is_stopping(task: &Task) -> bool {
    match task.phase {
        Phase::Stopping { lost } => !lost,
        Phase::Pending | Phase::Running { .. } => false,
    }
}

const fn is_pending(task: &Task) -> bool {
    match task.phase {
        Phase::Pending => true,
        Phase::Running { .. } | Phase::Stopping { .. } => false,
    }
}
