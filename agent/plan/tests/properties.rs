//! Random tasks against a model of a host: failing and cut steps, exits and removals behind the agent's back, an engine
//! that goes silent, saves that fail, crashes at any point with any prefix of the saved records, lost ledgers.
//!
//! Checked all the time: no container runs twice but by its restart policy, a start is durable before it is asked for,
//! no host port, no GPU and no more memory than there is are given twice, a port is given only after its former holder
//! stopped, no task has two interfaces, statuses only rise, times of a report are in the order of a task's life, no
//! container starts before what it depends on has come so far, none stops before what depends
//! on it. Checked at the end, once nothing fails any more: everything converges, and what should be gone left nothing.

mod host;

use host::{Cut, IGNORED, Op, Part, Shape, World};
use longshore_model::{Backoff, ContainerCondition, HealthStatus, RestartPolicy, TaskStatus};
use proptest::prelude::*;
use proptest::sample::select;

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let task = 0..3usize;
    let container = 0..3usize;
    let op = prop_oneof![
        12 => task.clone().prop_map(Op::Pass),
        12 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Op::Finish { which, how }),
        4 => Just(Op::Flush),
        1 => Just(Op::SaveFails),
        3 => Just(Op::List),
        3 => (0..20_000i64).prop_map(Op::Advance),
        1 => (-4_000_000..4_000_000i64).prop_map(Op::ClockMoved),
        1 => (-4_000_000..4_000_000i64, any::<u8>())
            .prop_map(|(millis, keep)| Op::ClockMovedAway(millis, Cut { keep, lose_ledger: false })),
        2 => (task.clone(), container.clone(), 0..3i32).prop_map(|(t, c, code)| Op::Exit(t, c, code)),
        1 => (task.clone(), container.clone()).prop_map(|(t, c)| Op::RemoveBehind(t, c)),
        1 => (task.clone(), container.clone()).prop_map(|(t, c)| Op::RenameBehind(t, c)),
        1 => any::<bool>().prop_map(Op::DiskShort),
        1 => (task.clone(), container.clone()).prop_map(|(t, c)| Op::RestartBehind(t, c)),
        2 => (task.clone(), container, select(HealthStatus::ALL)).prop_map(|(t, c, health)| Op::Health(t, c, health)),
        1 => task.clone().prop_map(Op::EndSandbox),
        2 => task.clone().prop_map(Op::Assign),
        2 => task.clone().prop_map(Op::Stop),
        1 => task.prop_map(Op::Unassign),
        1 => (0..12u16).prop_map(Op::ForeignPort),
        1 => Just(Op::EngineDown),
        2 => Just(Op::EngineUp),
        2 => any::<u8>().prop_map(|keep| Op::Crash(Cut { keep, lose_ledger: false })),
        1 => any::<u8>().prop_map(|keep| Op::Crash(Cut { keep, lose_ledger: true })),
        1 => (0..3i32, any::<u8>()).prop_map(|(code, keep)| Op::ShutDown(code, Cut { keep, lose_ledger: false })),
        1 => Just(Op::CutOff),
        2 => Just(Op::Hear),
    ];
    proptest::collection::vec(op, 0..120)
}

proptest! {
    // PROPTEST_CASES raises the number for a longer search.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(800),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_nothing_runs_twice_and_all_converges(shapes in host::shapes(), ops in ops()) {
        let mut world = World::new(shapes);
        for op in ops {
            world.apply(op);
            world.check();
        }
        world.converge();
        world.check_converged();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// A host that is cut off runs none of the tasks that must not run twice once their time is over, whatever happens
    /// there before and after, and starts none until it hears the control plane again.
    #[test]
    fn what_must_not_run_twice_does_not_outlive_the_contact(
        shapes in host::shapes(),
        before in ops(),
        after in ops(),
        boots: bool,
    ) {
        let mut world = World::new(shapes);
        for op in before {
            world.apply(op);
        }
        world.apply(Op::CutOff);
        world.apply(Op::Advance(i64::from(host::FENCE.after_millis)));
        if boots {
            world.forget_contact();
        }
        world.go_on();
        prop_assert_eq!(world.fenced_running(), 0);
        for op in after {
            match op {
                Op::Hear | Op::RestartBehind(..) => {}
                op => world.apply(op),
            }
            prop_assert_eq!(world.fenced_running(), 0);
        }
        world.converge();
        world.check_converged();
    }
}

#[test]
fn a_task_with_a_fence_ends_within_its_grace_and_says_why() {
    let mut shapes = host::plain_shapes();
    shapes[2] = Shape { fenced: true, ..shapes[2].clone() };
    let mut world = World::new(shapes);
    for t in 0..3 {
        world.apply(Op::Assign(t));
    }
    world.settle();
    world.apply(Op::CutOff);
    // A clock that is set ends nothing and keeps nothing alive.
    world.apply(Op::ClockMoved(3_600_000));
    world.apply(Op::Advance(9_000));
    world.settle();
    assert_eq!(world.log(2), "+0", "it is within its time");
    world.apply(Op::ClockMoved(-7_200_000));
    world.apply(Op::Crash(Cut { keep: 255, lose_ledger: false }));
    world.apply(Op::Advance(1_000));
    world.settle();
    assert_eq!((world.log(2).as_str(), world.reported(2)), ("+0 -0", Some(TaskStatus::Stopped)));
    assert_eq!(world.halts(2), [Some(4_000)], "SIGKILL comes when the fence says so");
    assert!(world.ending(2).starts_with("The host was cut off from the control plane for 10 s"), "{}", world.ending(2));
    for t in 0..2 {
        assert_eq!(world.reported(t), Some(TaskStatus::Running), "task {t} may run twice");
    }
}

/// The plainest way, as a guard against a model in which nothing ever happens.
#[test]
fn an_undisturbed_task_runs_and_leaves_nothing() {
    let mut world = World::new(host::plain_shapes());
    for t in 0..3 {
        world.apply(Op::Assign(t));
    }
    world.converge();
    for t in 0..3 {
        assert_eq!(world.reported(t), Some(TaskStatus::Running), "task {t}");
    }
    for t in 0..3 {
        world.apply(Op::Stop(t));
    }
    world.converge();
    for t in 0..3 {
        assert_eq!(world.reported(t), Some(TaskStatus::Stopped), "task {t}");
        world.apply(Op::Unassign(t));
    }
    world.converge();
    world.check_converged();
    assert!(world.is_empty());
}

fn ordered(containers: Vec<Part>) -> World {
    let mut shapes = host::plain_shapes();
    shapes[0] = Shape { containers, awsvpc: false, joined: false, ..shapes[0].clone() };
    let mut world = World::new(shapes);
    world.apply(Op::Assign(0));
    world
}

fn after(essential: bool, on: &[(usize, ContainerCondition)]) -> Part {
    Part { essential, after: on.to_vec(), ..Part::default() }
}

/// 1 waits for the health of 0, 2 for the good end of 1 and the start of 0.
#[test]
fn containers_start_after_and_stop_before_what_they_depend_on() {
    use ContainerCondition::{Healthy, Start, Success};
    let mut world =
        ordered(vec![after(true, &[]), after(false, &[(0, Healthy)]), after(true, &[(1, Success), (0, Start)])]);
    world.settle();
    assert_eq!(world.log(0), "+0");
    world.apply(Op::Health(0, 0, HealthStatus::Unhealthy));
    world.settle();
    assert_eq!(world.log(0), "+0");
    world.apply(Op::Health(0, 0, HealthStatus::Healthy));
    world.settle();
    assert_eq!(world.log(0), "+0 +1");
    world.apply(Op::Exit(0, 1, 0));
    world.settle();
    assert_eq!(world.log(0), "+0 +1 +2");
    assert_eq!(world.reported(0), Some(TaskStatus::Running));
    world.apply(Op::Stop(0));
    world.settle();
    assert_eq!(world.log(0), "+0 +1 +2 -2 -0");
}

#[test]
fn a_container_that_was_renamed_while_nobody_looked_gets_its_name_back() {
    let mut world = ordered(vec![after(true, &[])]);
    world.settle();
    world.apply(Op::RenameBehind(0, 0));
    assert!(world.is_renamed(0, 0));
    world.settle();
    assert!(!world.is_renamed(0, 0));
}

#[test]
fn what_can_never_be_met_ends_what_waits_for_it() {
    use ContainerCondition::{Complete, Start, Success};
    let chain = || vec![after(false, &[]), after(false, &[(0, Success)]), after(true, &[(1, Start)])];
    let mut world = ordered(chain());
    world.settle();
    world.apply(Op::Exit(0, 0, 7));
    world.settle();
    assert_eq!(world.log(0), "+0");
    assert_eq!(world.reported(0), Some(TaskStatus::Stopped));
    let (code, reason) = world.reason(0, 1);
    assert_eq!(code, Some(143));
    let lead = "CannotStartContainerError: dependency graph: failed to resolve the container ordering dependency [c0] \
                for target [c1]";
    assert!(reason.starts_with(lead) && reason.ends_with("it ended with exit code 7"), "{reason}");
    let (code, reason) = world.reason(0, 2);
    assert!(code == Some(143) && reason.ends_with("with condition START: it never ran"), "{reason}");

    // In time or never; the time is that of the one that is waited for.
    let mut world = ordered(vec![after(true, &[]), after(false, &[(0, Complete)])]);
    world.settle();
    world.apply(Op::Advance(31_000));
    world.settle();
    assert_eq!(world.reported(0), Some(TaskStatus::Running), "it is not essential");
    let (code, reason) = world.reason(0, 1);
    assert!(code == Some(143) && reason.contains("[c0] for target [c1] has timed out after 30 s"), "{reason}");
}

fn restarted(backoff: Option<Backoff>) -> World {
    let restart =
        RestartPolicy { ignored_exit_codes: vec![IGNORED], attempt_period_secs: 60, backoff, when_unhealthy: true };
    let mut world = ordered(vec![Part { restart: Some(restart), ..after(true, &[]) }]);
    world.settle();
    world
}

#[test]
fn a_policy_of_ecs_restarts_what_ran_long_enough() {
    let mut world = restarted(None);
    world.apply(Op::Advance(60_000));
    world.apply(Op::Exit(0, 0, 1));
    world.settle();
    assert_eq!(world.log(0), "+0 +0");
    assert_eq!(world.restarts(0, 0), (1, "Restarts: 1; it last ended with exit code 1".to_owned()));
    assert_eq!(world.reported(0), Some(TaskStatus::Running));

    // The count survives the agent, and an end while it was away is seen.
    world.apply(Op::Advance(60_000));
    world.apply(Op::Crash(Cut { keep: 255, lose_ledger: false }));
    world.apply(Op::Exit(0, 0, 0));
    world.settle();
    assert_eq!((world.log(0).as_str(), world.restarts(0, 0).0), ("+0 +0 +0", 2));

    // Unhealthy, but too soon; then not.
    world.apply(Op::Health(0, 0, HealthStatus::Unhealthy));
    world.settle();
    assert_eq!(world.log(0), "+0 +0 +0");
    world.apply(Op::Advance(60_000));
    world.settle();
    assert_eq!((world.log(0).as_str(), world.restarts(0, 0).0), ("+0 +0 +0 -0 +0", 3));

    // Too soon.
    world.apply(Op::Exit(0, 0, 1));
    world.settle();
    assert_eq!(world.reported(0), Some(TaskStatus::Stopped));
    let (code, reason) = world.reason(0, 0);
    let why = "not restarted: it ran for 0 s, and its restartAttemptPeriod is 60 s";
    assert_eq!((code, reason.as_str()), (Some(1), why));

    let mut world = restarted(None);
    world.apply(Op::Advance(60_000));
    world.apply(Op::Exit(0, 0, 2));
    world.settle();
    assert_eq!(world.reason(0, 0), (Some(2), "not restarted: exit code 2 is one of its ignoredExitCodes".to_owned()));
}

/// What a container says at its stop by an orderly shutdown is its good end, after which it is not started again. Where
/// the power was cut, the code is the engine's.
#[test]
fn what_ends_with_the_host_is_started_again_whatever_its_code() {
    for (backoff, keep) in [(true, 255), (true, 254), (false, 255), (false, 254)] {
        let backoff = backoff.then_some(Backoff { first_secs: 1, longest_secs: 5 });
        let mut world = restarted(backoff);
        world.apply(Op::ShutDown(IGNORED, Cut { keep, lose_ledger: false }));
        world.settle();
        world.apply(Op::Advance(1_000));
        world.settle();
        assert_eq!((world.log(0).as_str(), world.restarts(0, 0).0), ("+0 +0", 1), "{backoff:?} {keep}");
        world.apply(Op::Exit(0, 0, IGNORED));
        world.settle();
        assert_eq!(world.reported(0), Some(TaskStatus::Stopped), "by itself it is over");
    }
}

/// The engine refuses restarts for a while: another program has the container's port.
fn refused(backoff: Option<Backoff>) -> World {
    let restart = RestartPolicy { ignored_exit_codes: vec![], attempt_period_secs: 60, backoff, when_unhealthy: false };
    let port = Some(longshore_model::HostPort::Dynamic);
    let mut world = ordered(vec![Part { port, restart: Some(restart), ..after(true, &[]) }]);
    world.settle();
    world.apply(Op::Advance(60_000));
    world.apply(Op::Exit(0, 0, 1));
    world.apply(Op::ForeignPort(0));
    world.settle();
    world
}

#[test]
fn a_refused_restart_comes_as_soon_as_the_engine_takes_it() {
    let mut world = refused(None);
    for waited in [1, 2, 4] {
        let (count, reason) = world.restarts(0, 0);
        assert_eq!((world.log(0).as_str(), count), ("+0", 0), "{waited}: {reason}");
        assert!(reason.contains("(not started: CannotStartContainerError: taken); restart 1 at "), "{reason}");
        assert!(reason.contains("; it could not be started "), "{reason}");
        world.apply(Op::Advance(waited * 1_000));
        world.settle();
    }
    world.apply(Op::Crash(Cut { keep: 255, lose_ledger: false }));
    world.apply(Op::ForeignPort(0));
    world.apply(Op::Advance(8_000));
    world.settle();
    assert_eq!(world.log(0), "+0 +0");
    assert_eq!(world.restarts(0, 0), (1, "Restarts: 1; it last ended with exit code 1".to_owned()));
    assert_eq!(world.reported(0), Some(TaskStatus::Running));
}

#[test]
fn refused_restarts_are_given_up_only_without_a_backoff() {
    let mut world = refused(None);
    for wait in [1, 2, 4, 8, 16, 32, 60, 60, 60, 60] {
        assert_eq!(world.reported(0), Some(TaskStatus::Running), "before {wait} s more");
        world.apply(Op::Advance(wait * 1_000));
        world.settle();
    }
    assert_eq!(world.reported(0), Some(TaskStatus::Stopped));
    assert_eq!(world.reason(0, 0), (Some(1), "CannotStartContainerError: taken".to_owned()));

    let mut world = refused(Some(Backoff { first_secs: 1, longest_secs: 20 }));
    for _ in 0..60 {
        world.apply(Op::Advance(20_000));
        world.settle();
    }
    assert_eq!(world.reported(0), Some(TaskStatus::Running));
    world.apply(Op::ForeignPort(0));
    world.apply(Op::Advance(20_000));
    world.settle();
    assert_eq!((world.log(0).as_str(), world.restarts(0, 0).0), ("+0 +0", 1));
}

/// As after a reboot: the sandbox has ended, and so have the containers.
#[test]
fn a_sandbox_is_started_again_with_what_restarts_and_else_ends_its_task() {
    let restart = RestartPolicy {
        ignored_exit_codes: vec![],
        attempt_period_secs: 0,
        backoff: Some(Backoff { first_secs: 1, longest_secs: 5 }),
        when_unhealthy: false,
    };
    // Whether its container restarts, whether that has ended as well, and whether the task goes on.
    for (restarts, ended, goes_on) in [(true, true, true), (false, true, false), (true, false, false)] {
        let part = Part { restart: restarts.then(|| restart.clone()), ..after(true, &[]) };
        let mut shapes = host::plain_shapes();
        shapes[0] = Shape { containers: vec![part], joined: false, ..shapes[0].clone() };
        let mut world = World::new(shapes);
        world.apply(Op::Assign(0));
        world.settle();
        assert_eq!(world.reported(0), Some(TaskStatus::Running));
        world.apply(Op::EndSandbox(0));
        if ended {
            world.apply(Op::Exit(0, 0, 255));
        }
        for wait in [1_000, 60_000] {
            world.settle();
            world.apply(Op::Advance(wait));
        }
        world.settle();
        let status = if goes_on { TaskStatus::Running } else { TaskStatus::Stopped };
        assert_eq!(world.reported(0), Some(status), "{restarts} {ended}: {:?}", world.restarts(0, 0));
        assert_eq!(world.has_interface(0), goes_on, "{restarts} {ended}");
    }
}

/// Its exit code is one after which it would not be started again by itself.
#[test]
fn what_is_stopped_for_its_health_is_started_again_though_the_agent_ended_in_between() {
    let mut world = restarted(Some(Backoff { first_secs: 1, longest_secs: 5 }));
    world.apply(Op::Health(0, 0, HealthStatus::Unhealthy));
    for op in [Op::Pass(0), Op::Finish { which: 0, how: 255 }, Op::Pass(0), Op::Flush] {
        world.apply(op);
    }
    assert_eq!(world.log(0), "+0", "its stop is asked for and has not begun");
    // It comes through; its outcome is not heard.
    world.apply(Op::Crash(Cut { keep: 255, lose_ledger: false }));
    assert_eq!(world.log(0), "+0 -0");
    world.settle();
    world.apply(Op::Advance(1_000));
    world.settle();
    assert_eq!((world.log(0).as_str(), world.restarts(0, 0).0), ("+0 -0 +0", 1));
}

/// A container that runs, is unhealthy, and whose stop for that waits for its record.
fn stopping_for_health() -> World {
    let mut world = restarted(Some(Backoff { first_secs: 1, longest_secs: 5 }));
    world.apply(Op::Health(0, 0, HealthStatus::Unhealthy));
    for op in [Op::Pass(0), Op::Finish { which: 0, how: 255 }, Op::Pass(0)] {
        world.apply(op);
    }
    world
}

#[test]
fn a_task_is_stopped_while_a_stop_for_its_health_waits_for_the_disk() {
    let mut world = stopping_for_health();
    for op in [Op::Stop(0), Op::Pass(0), Op::Finish { which: 0, how: 255 }] {
        world.apply(op);
    }
    assert_eq!(world.log(0), "+0 -0", "nothing was saved meanwhile");
    world.settle();
    assert_eq!(world.halts(0), [Some(30_000)], "the other one is not carried out any more");
    assert_eq!(world.reported(0), Some(TaskStatus::Stopped));
    assert_eq!(world.reason(0, 0), (Some(143), String::new()), "its health has no part in it");
}

#[test]
fn a_start_that_waited_for_the_disk_is_not_carried_out_once_its_task_ends() {
    let mut world = ordered(vec![after(true, &[])]);
    // Its image, its creation, and its start, which waits.
    for _ in 0..2 {
        world.apply(Op::Pass(0));
        world.apply(Op::Finish { which: 0, how: 255 });
    }
    world.apply(Op::Pass(0));
    world.apply(Op::Stop(0));
    world.settle();
    assert_eq!((world.log(0).as_str(), world.reported(0)), ("", Some(TaskStatus::Stopped)));

    // Nor does what runs wait for the end of one that was about to start after it.
    let mut world = ordered(vec![after(true, &[]), after(true, &[(0, ContainerCondition::Healthy)])]);
    world.settle();
    world.apply(Op::Health(0, 0, HealthStatus::Healthy));
    for op in [Op::Pass(0), Op::Finish { which: 0, how: 255 }, Op::Pass(0), Op::Stop(0), Op::Pass(0)] {
        world.apply(op);
    }
    world.apply(Op::Finish { which: 0, how: 255 });
    assert_eq!(world.log(0), "+0 -0", "nothing was saved meanwhile");
    world.settle();
    assert_eq!((world.log(0).as_str(), world.reported(0)), ("+0 -0", Some(TaskStatus::Stopped)));
}

#[test]
fn saves_that_fail_make_no_stop_less_polite_and_hold_none_up() {
    let mut world = stopping_for_health();
    for _ in 0..4 {
        world.apply(Op::SaveFails);
        world.apply(Op::Advance(10_000));
        world.apply(Op::Pass(0));
    }
    world.apply(Op::SaveFails);
    world.apply(Op::Stop(0));
    for op in [Op::Pass(0), Op::Finish { which: 0, how: 255 }] {
        world.apply(op);
    }
    assert_eq!((world.log(0).as_str(), world.halts(0)), ("+0 -0", vec![Some(30_000)]));

    let mut world = stopping_for_health();
    world.apply(Op::SaveFails);
    world.apply(Op::Exit(0, 0, IGNORED));
    world.settle();
    let why = "not restarted: exit code 2 is one of its ignoredExitCodes";
    assert_eq!(world.reason(0, 0), (Some(IGNORED), why.to_owned()), "nobody stopped it");
}

#[test]
fn a_container_that_somebody_started_after_it_was_stopped_for_its_health_ends_by_itself() {
    let mut world = stopping_for_health();
    world.apply(Op::Flush);
    // The stop comes through, its answer does not.
    world.apply(Op::Finish { which: 0, how: 16 });
    assert_eq!(world.log(0), "+0 -0");
    world.apply(Op::Advance(10));
    world.apply(Op::RestartBehind(0, 0));
    world.apply(Op::Health(0, 0, HealthStatus::Unknown));
    world.settle();
    assert_eq!(world.log(0), "+0 -0", "it runs, as far as anybody saw");
    world.apply(Op::Exit(0, 0, IGNORED));
    world.settle();
    assert_eq!(world.reported(0), Some(TaskStatus::Stopped), "{:?}", world.restarts(0, 0));
}

/// Whatever holds the return of an interface up, its task is over when its containers are.
#[test]
fn a_ledger_that_cannot_be_written_keeps_no_task_from_its_end() {
    let mut world = World::new(host::plain_shapes());
    world.apply(Op::Assign(0));
    world.settle();
    world.apply(Op::Exit(0, 0, 1));
    for _ in 0..9 {
        for op in [Op::Pass(0), Op::Finish { which: 0, how: 255 }, Op::SaveFails, Op::Advance(6_000)] {
            world.apply(op);
        }
    }
    assert_eq!(world.reported(0), Some(TaskStatus::Stopped));
    assert!(world.has_interface(0), "it is returned once the end is durable");
    world.settle();
    assert!(!world.has_interface(0));
    world.converge();
    world.check_converged();
}

/// An hour either way is no time that passed.
#[test]
fn a_clock_that_is_moved_ends_no_wait_and_makes_none_longer() {
    use ContainerCondition::Complete;
    const HOUR: i64 = 3_600_000;
    for moved in [HOUR, -HOUR] {
        // What waits for another container.
        let mut world = ordered(vec![after(true, &[]), after(false, &[(0, Complete)])]);
        world.settle();
        world.apply(Op::Advance(20_000));
        world.apply(Op::ClockMoved(moved));
        world.settle();
        assert_eq!(world.reason(0, 1), (None, String::new()), "{moved}: it goes on waiting");
        world.apply(Op::Advance(11_000));
        world.settle();
        assert!(world.reason(0, 1).1.contains("has timed out after 30 s"), "{moved}: {:?}", world.reason(0, 1));

        // A period that is over counts, and one that is not does not.
        for (millis, starts) in [(61_000, 2), (50_000, 1)] {
            let mut world = restarted(None);
            world.apply(Op::Advance(millis));
            world.apply(Op::ClockMoved(moved));
            world.apply(Op::Exit(0, 0, 1));
            world.settle();
            assert_eq!(world.log(0).matches('+').count(), starts, "{moved}: after {millis} ms");
        }

        // A restart comes when it would have.
        let mut world = restarted(Some(Backoff { first_secs: 4, longest_secs: 8 }));
        world.apply(Op::Exit(0, 0, 1));
        world.settle();
        world.apply(Op::Advance(3_000));
        world.apply(Op::ClockMoved(moved));
        world.settle();
        assert_eq!(world.log(0), "+0", "{moved}");
        world.apply(Op::Advance(1_000));
        world.settle();
        assert_eq!(world.log(0), "+0 +0", "{moved}");
        assert!(world.times_are_in_order(0), "{moved}");
    }
}

#[test]
fn a_backoff_restarts_later_each_time_and_says_that_it_is_a_crash_loop() {
    let mut world = restarted(Some(Backoff { first_secs: 1, longest_secs: 5 }));
    for (n, wait) in [1, 2, 4, 5, 5].into_iter().enumerate() {
        world.apply(Op::Exit(0, 0, 1));
        world.settle();
        let runs = |world: &World| world.log(0).matches('+').count();
        assert_eq!(runs(&world), n + 1, "it waits first");
        assert!(world.restarts(0, 0).1.starts_with("Ended with exit code 1 at "), "{:?}", world.restarts(0, 0));
        world.apply(Op::Advance(wait * 1000 - 500));
        world.settle();
        assert_eq!(runs(&world), n + 1, "{wait} s");
        world.apply(Op::Advance(500));
        world.settle();
        assert_eq!(runs(&world), n + 2, "{wait} s");
    }
    let (count, reason) = world.restarts(0, 0);
    assert_eq!(count, 5);
    assert!(reason.contains("; crash loop: it ended 5 times in a row"), "{reason}");
    assert_eq!(world.reported(0), Some(TaskStatus::Running));

    // One that waits is not started any more once the task is to stop.
    world.apply(Op::Exit(0, 0, 1));
    world.settle();
    world.apply(Op::Stop(0));
    world.settle();
    assert_eq!(world.reported(0), Some(TaskStatus::Stopped));
    let why = "The task was stopped before the container was started again";
    assert_eq!(world.reason(0, 0), (Some(1), why.to_owned()));
}
