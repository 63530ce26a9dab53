//! Cases of which it is known what should come of them.

use super::*;

#[test]
fn zones_are_evened_out_by_starting_first() {
    let mut world = World::new(Some(4), false, None);
    world.rebalances = true;
    world.draining = [1, 3].map(instance).into();
    world.look();
    world.happens(&Event::Wait(1));
    for _ in 0..2 {
        world.step();
        world.happens(&Event::Progress);
        world.happens(&Event::Wait(40));
    }
    world.step();
    assert_eq!(world.zones(), [4, 0]);
    assert_eq!(world.completed, 1);
    // Hosts of the other zone are back: one at a time moves, and never are there fewer than four.
    world.draining.clear();
    for expected in [[3, 1], [2, 2]] {
        world.look();
        let decision = world.step();
        assert_eq!((decision.launch, decision.stops.len()), (Launch::Anywhere(1), 0));
        world.happens(&Event::Progress);
        let decision = world.step();
        assert_eq!((decision.launch.count(), decision.stops.len()), (0, 0), "it is not healthy yet");
        world.happens(&Event::Wait(40));
        let decision = world.step();
        assert_eq!((decision.launch.count(), decision.stops.len()), (0, 1));
        world.happens(&Event::Progress);
        assert_eq!(world.zones(), expected);
    }
    world.look();
    assert!(world.step().steady);
    // Without room to start first it stays as it is.
    world.picture.tasks.iter_mut().for_each(|task| task.zone = zone(0));
    world.happens(&Event::Percent(50, 100));
    let decision = world.step();
    assert!(decision.steady && !decision.stuck, "{decision:?}");
}

#[test]
fn an_update_starts_before_it_stops_where_there_is_room() {
    let mut world = World::new(Some(4), false, None);
    world.calm();
    world.happens(&Event::Deploy);
    let decision = world.step();
    assert_eq!((decision.launch, decision.stops.len()), (Launch::Anywhere(4), 0));
    world.progress();
    assert!(world.step().stops.is_empty(), "the new ones are not healthy yet");
    world.now = world.now.after(HEALTHY_AFTER);
    assert_eq!(world.step().stops.len(), 4);
}

#[test]
fn an_update_without_room_stops_first_and_keeps_the_minimum() {
    let mut world = World::new(Some(4), false, None);
    world.calm();
    world.happens(&Event::Percent(50, 100));
    world.happens(&Event::Deploy);
    let decision = world.step();
    assert_eq!((decision.launch, decision.stops.len()), (Launch::Anywhere(0), 2));
    world.progress();
    assert_eq!(world.step().launch, Launch::Anywhere(2));
}

/// What it does for the service is no reason to keep it any more.
#[test]
fn a_protected_task_that_is_ill_is_replaced() {
    for daemon in [false, true] {
        let mut world = World::new((!daemon).then_some(2), false, None);
        world.calm();
        let until = Some(world.now.after(Duration::from_secs(3600)));
        world.picture.tasks.iter_mut().for_each(|task| task.protected_until = until);
        world.happens(&Event::Deploy);
        world.step();
        world.progress();
        world.now = world.now.after(HEALTHY_AFTER);
        assert!(world.step().stops.is_empty(), "a deployment leaves them alone");
        let at = world.picture.tasks.iter().position(|task| task.protected_until.is_some()).expect("one of them");
        let task = &mut world.picture.tasks[at];
        task.phase = Phase::Running { since: world.now, health: Health::Unhealthy };
        let ill = task.id;
        world.now = world.now.after(world.picture.grace);
        let stops = world.step().stops;
        assert_eq!(stops.iter().map(|stop| (stop.task, stop.why)).collect::<Vec<_>>(), [(ill, Why::Ill)]);
    }
}

#[test]
fn no_room_either_way_is_said() {
    let mut world = World::new(Some(2), false, None);
    world.calm();
    world.happens(&Event::Percent(100, 100));
    world.happens(&Event::Deploy);
    let decision = world.step();
    assert!(decision.stuck && !decision.steady, "{decision:?}");
}

#[test]
fn a_breaker_opens_and_brings_the_last_revision_back_once() {
    let breaker = Breaker { rollback: true, threshold: Threshold::Default, reset_on_healthy: true };
    let mut world = World::new(Some(2), false, Some(breaker));
    world.calm();
    world.deploy(Deployment { can_roll_back: true, ..NEW });
    for round in 0..3 {
        let decision = world.step();
        assert_eq!(decision.verdict, None, "round {round}");
        world.now = decision.wake_at.unwrap_or(world.now);
        world.step();
        let last = world.picture.tasks.len() - 1;
        world.happens(&Event::Fail(last));
    }
    assert_eq!(decide(&world.picture, world.now).verdict, Some(Verdict::Failed { roll_back: true }));
    world.step();
    world.calm();
    assert_eq!(world.completed, 2, "the first one and the rollback");
}

/// A world whose one good host keeps a task healthy while all others fail as soon as they are started.
fn with_one_good_host(breaker: Option<Breaker>) -> World {
    let mut world = World::new(Some(10), false, breaker);
    world.step();
    world.progress();
    world.picture.tasks.truncate(1);
    world.now = world.now.after(HEALTHY_AFTER);
    world.step();
    world
}

fn fail_the_young(world: &mut World) {
    while let Some(nth) = world.picture.tasks.iter().position(|task| task.phase == Phase::Pending) {
        world.happens(&Event::Fail(nth));
    }
}

#[test]
fn what_fails_beside_a_healthy_task_opens_the_breaker() {
    for reset_on_healthy in [true, false] {
        let breaker = Breaker { rollback: false, threshold: Threshold::Default, reset_on_healthy };
        let mut world = with_one_good_host(Some(breaker));
        fail_the_young(&mut world);
        assert_eq!(world.step().verdict, Some(Verdict::Failed { roll_back: false }));
    }
}

#[test]
fn what_fails_beside_a_healthy_task_is_started_ever_more_slowly() {
    let mut world = with_one_good_host(None);
    let mut longest = Duration::ZERO;
    for _ in 0..10 {
        fail_the_young(&mut world);
        let decision = world.step();
        if decision.launch.count() == 0 {
            let until = decision.wake_at.expect("it goes on");
            longest = longest.max(until.since(world.now));
            world.now = until;
            assert_eq!(world.step().launch, Launch::Anywhere(9));
        }
    }
    assert!(longest >= Duration::from_secs(64), "{longest:?}");
    // One that becomes healthy ends it.
    world.progress();
    world.now = world.now.after(HEALTHY_AFTER);
    let decision = world.step();
    assert!(decision.recovered && decision.forgiven, "{decision:?}");
}

#[test]
fn a_breaker_that_never_forgets_slows_nothing_down_that_runs() {
    let breaker = Breaker { rollback: false, threshold: Threshold::Default, reset_on_healthy: false };
    let mut world = World::new(Some(2), false, Some(breaker));
    world.calm();
    // Over the months.
    for _ in 0..20 {
        world.picture.tasks.pop();
        world.failed(Some(0));
        world.now = world.now.after(Duration::from_millis(10));
        assert_eq!(
            world.step().launch,
            Launch::Anywhere(1),
            "after {} failures",
            world.picture.deployments[0].failures
        );
        world.progress();
        world.now = world.now.after(HEALTHY_AFTER);
        world.step();
    }
    assert_eq!(world.picture.deployments[0].failures, 20);
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let mut world = World::new(Some(2), false, None);
    world.step();
    world.progress();
    (0..4).for_each(|_| world.failed(Some(0)));
    world.unhealed = 0;
    world.picture.tasks.pop();
    world.now = Timestamp::from_millis(1_000);
    // What began then is told as what it is now.
    for task in &mut world.picture.tasks {
        task.phase = Phase::Running { since: world.now, health: Health::Unchecked };
    }
    assert_eq!(world.healthy(), 0);
    assert_eq!(world.step().launch, Launch::Anywhere(1));
    world.progress();
    world.now = world.now.after(HEALTHY_AFTER);
    assert_eq!(world.step().verdict, Some(Verdict::Completed));
}

#[test]
fn a_daemon_is_the_last_on_a_draining_host() {
    let mut world = World::new(None, false, None);
    world.look();
    world.calm();
    assert_eq!(world.picture.tasks.len(), 4);
    world.happens(&Event::Drain(2));
    let Scheduling::Daemon { hosts } = &mut world.picture.scheduling else { panic!("a daemon") };
    hosts.iter_mut().for_each(|host| host.busy = true);
    assert!(world.step().stops.is_empty(), "other tasks are there");
    world.look();
    let decision = world.step();
    assert_eq!(decision.stops.iter().map(|stop| stop.why).collect::<Vec<_>>(), [Why::Draining]);
}

/// After a boot of the control plane's machine nobody knows how long tasks have run: any of them may be healthy, so none
/// goes for one that certainly is not.
#[test]
fn what_may_be_healthy_stays_beside_what_is_not_yet() {
    let mut world = World::new(Some(5), false, None);
    for host in [0, 1, 2, 3, 3] {
        world.start(instance(host), zone(host));
    }
    world.happens(&Event::Deploy);
    world.start(instance(1), zone(1));
    world.happens(&Event::Deploy);
    let since = world.now;
    for task in &mut world.picture.tasks {
        task.phase = Phase::Running { since, health: Health::Unchecked };
        task.unproven = task.deployment == Some(2);
    }
    world.happens(&Event::Percent(100, 200));
    let decision = world.step();
    let unproven = |id: &TaskId| world.picture.tasks.iter().any(|task| task.id == *id && task.unproven);
    let stopped: Vec<TaskId> = decision.stops.iter().map(|stop| stop.task).collect();
    assert!(!stopped.iter().any(unproven), "{stopped:?}");
    world.now = since.after(HEALTHY_AFTER);
    assert_eq!(world.step().stops.len(), 1, "five are needed, and six are healthy");
}

/// As ECS scales in: first from the zone that has the most, there from the host that has the most, there the newest.
#[test]
fn scale_in_takes_from_the_fullest_zone_and_there_from_the_fullest_host() {
    // The hosts of tasks in the order of their starts, those of even numbers in one zone; and which of the tasks stay.
    for (hosts, stay) in [
        (&[0_u8, 0, 0, 2, 2, 4][..], &[0_usize, 3, 5][..]),
        // The fullest host is in the other zone, and has its turn once the zones are even.
        (&[1, 1, 1, 0, 2, 4, 6][..], &[0, 1, 3, 4, 5][..]),
    ] {
        let desired = u32::try_from(stay.len()).expect("few");
        let mut world = World::new(Some(desired), false, None);
        for host in hosts {
            world.start(instance(*host), zone(*host));
            world.now = world.now.after(Duration::from_secs(1));
        }
        world.progress();
        world.now = world.now.after(HEALTHY_AFTER);
        let decision = world.step();
        assert!(decision.stops.iter().all(|stop| stop.why == Why::ScaleIn), "{decision:?}");
        let tasks = world.picture.tasks.iter().enumerate();
        let left: Vec<usize> = tasks.filter(|(_, task)| task.is_wanted()).map(|(nth, _)| nth).collect();
        assert_eq!(left, stay, "of {hosts:?}");
    }
}
