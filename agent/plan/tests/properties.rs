//! Random tasks against a model of a host: failing and cut steps, exits and removals behind the agent's back, an engine
//! that goes silent, crashes at any point with any prefix of the saved records, lost ledgers.
//!
//! Checked all the time: no container runs twice, a start is durable before it is asked for, no host port is used twice,
//! a port is given only after its former holder stopped, no task has two interfaces, statuses only rise. Checked at the end, once nothing fails any
//! more: everything converges, and what should be gone left nothing.

mod host;

use host::{Cut, Op, World};
use longshore_model::HealthStatus;
use proptest::prelude::*;
use proptest::sample::select;

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let task = 0..3usize;
    let container = 0..3usize;
    let op = prop_oneof![
        12 => task.clone().prop_map(Op::Pass),
        12 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Op::Finish { which, how }),
        4 => Just(Op::Flush),
        3 => Just(Op::List),
        3 => (0..20_000i64).prop_map(Op::Advance),
        2 => (task.clone(), container.clone(), 0..3i32).prop_map(|(t, c, code)| Op::Exit(t, c, code)),
        1 => (task.clone(), container.clone()).prop_map(|(t, c)| Op::RemoveBehind(t, c)),
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

/// The plainest way, as a guard against a model in which nothing ever happens.
#[test]
fn an_undisturbed_task_runs_and_leaves_nothing() {
    let mut world = World::new(host::plain_shapes());
    for t in 0..3 {
        world.apply(Op::Assign(t));
    }
    world.converge();
    for t in 0..3 {
        assert_eq!(world.reported(t), Some(longshore_model::TaskStatus::Running), "task {t}");
    }
    for t in 0..3 {
        world.apply(Op::Stop(t));
    }
    world.converge();
    for t in 0..3 {
        assert_eq!(world.reported(t), Some(longshore_model::TaskStatus::Stopped), "task {t}");
        world.apply(Op::Unassign(t));
    }
    world.converge();
    world.check_converged();
    assert!(world.is_empty());
}
