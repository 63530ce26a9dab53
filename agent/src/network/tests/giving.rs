//! Interfaces are given to tasks, from the pool or made for them, and returned.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_task_is_given_a_warm_sandbox_and_it_goes_with_it() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    assert!(host.state().admitted.is_empty(), "a warm sandbox can neither send nor receive");
    assert_eq!(host.state().most_making, 1, "the pool is filled one by one");
    let mut task = task();
    task.awsvpc.as_mut().expect("awsvpc").bandwidth.egress_bps = Some(1_000_000);
    let made = host.state().made;
    let interface = rig.give(&task).await;
    assert_eq!(host.state().made, made, "nothing is made while a task waits");
    assert_eq!(rig.give(&task).await, interface, "the same again");
    let eni = interface.eni.id;
    {
        let state = host.state();
        assert_eq!(state.admitted.keys().collect::<Vec<_>>(), [&eni]);
        assert_eq!(state.limits.keys().collect::<Vec<_>>(), [&eni]);
        assert_eq!(state.sandboxes[&eni].id, interface.sandbox);
    }
    let hostname = std::fs::read_to_string(Path::new(&interface.files).join("hostname")).expect("written");
    assert_eq!(hostname.trim(), interface.eni.host_name());
    assert_eq!(rig.network.list().await, Ok(vec![task.id]));

    rig.network.release(task.id).await.expect("released");
    assert!(host.state().admitted.is_empty(), "cut off before the task is over");
    rig.network.release(task.id).await.expect("nothing is fine");
    let line = rig.until("all of it is removed", |line| line.interfaces.is_empty()).await;
    assert_eq!(line.resting, 1);
    assert!(!host.state().sandboxes.contains_key(&eni) && !host.state().wired.contains_key(&eni));
    assert!(!Path::new(&interface.files).exists());
    rig.until_warm(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_makes_what_is_missing_and_the_pool_grows_with_demand() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let tasks: Vec<TaskSpec> = (0..12).map(|_| task()).collect();
    let given = futures::future::join_all(tasks.iter().map(|t| rig.network.ensure(t))).await;
    let addresses: BTreeSet<Ipv4Addr> = given.into_iter().map(|g| g.expect("an interface").eni.ipv4).collect();
    assert_eq!(addresses.len(), 12, "no address twice");
    assert_eq!(host.state().most_making, super::pool::MAKES);
    // Three times four.
    rig.until_warm(12).await;
    tokio::time::sleep(Duration::from_secs(570)).await;
    assert_eq!(rig.line().await.warm_target, 12, "such a burst may come again");
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(rig.line().await.warm_target, 3);
    // The demand has passed, and so does what was made for it.
    rig.until_warm(3).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_or_a_fabric_a_task_waits_and_is_told_why() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    host.state().script.insert("open", vec![fault("nft is not installed"); 3]);
    let mut rig = Rig::on(&host, dir.path(), BTreeMap::new());
    let waiting = |result: Result<Interface, Failure>| match result {
        Err(Failure::Away(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(waiting(rig.network.ensure(&task()).await).contains("lease"));
    assert!(rig.link.status.borrow().is_none(), "nothing to say yet");
    rig.hear(complete(5, &["10.77.1.0/24"])).await;
    let status = rig.until_status(|s| s.health != NetworkHealth::Ready).await;
    assert_eq!(status.health, NetworkHealth::Degraded { reason: "nft is not installed".into() });
    assert!(waiting(rig.network.ensure(&task()).await).contains("nft is not installed"));
    // It opens at the fourth try.
    rig.until_status(|s| s.health == NetworkHealth::Ready).await;
    rig.give(&task()).await;
    // A task whose group's rules are not known yet.
    let mut stranger = task();
    let other = GroupId::random();
    stranger.awsvpc.as_mut().expect("awsvpc").groups = [other].into();
    assert!(waiting(rig.network.ensure(&stranger).await).contains(&other.to_string()));
    let claim = rig.network.ensure(&stranger);
    let said = async {
        let changes = NetworkChanges { groups: [(other, GroupRules::default())].into(), ..NetworkChanges::default() };
        let delta = NetworkUpdate::Delta { base: Generation(5), generation: Generation(6), changes };
        rig.hear(Heard::Update(delta)).await;
    };
    tokio::join!(claim, said).0.expect("an interface");
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_is_made_while_the_rules_of_its_task_come() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let settings = Settings { enabled: true, warm: 0, idle: 0 };
    let mut rig = Rig::with(&host, dir.path(), BTreeMap::new(), settings);
    rig.hear(complete(5, &["10.77.1.0/24"])).await;
    rig.until_status(|s| s.health == NetworkHealth::Ready).await;
    let mut stranger = task();
    let other = GroupId::random();
    stranger.awsvpc.as_mut().expect("awsvpc").groups = [other].into();
    let claim = rig.network.ensure(&stranger);
    let said = async {
        rig.until_warm(1).await;
        assert!(host.state().admitted.is_empty(), "it can neither send nor receive");
        let changes = NetworkChanges { groups: [(other, GroupRules::default())].into(), ..NetworkChanges::default() };
        let delta = NetworkUpdate::Delta { base: Generation(5), generation: Generation(6), changes };
        rig.hear(Heard::Update(delta)).await;
    };
    let interface = tokio::join!(claim, said).0.expect("an interface");
    assert_eq!(host.state().made, 1, "the one that was there");
    rig.network.release(stranger.id).await.expect("released");
    rig.until("all of it is removed", |line| line.interfaces.is_empty()).await;

    // Whoever gives up leaves nothing.
    stranger.id = TaskId::random();
    stranger.awsvpc.as_mut().expect("awsvpc").groups = [GroupId::random()].into();
    rig.network.ensure(&stranger).await.expect_err("its rules never come");
    rig.until_warm(0).await;
    assert_eq!(host.state().made, 2);
    assert!(!host.state().sandboxes.contains_key(&interface.eni.id));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_takes_no_part_refuses_for_good() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let settings = Settings { enabled: false, warm: 3, idle: 3 };
    let rig = Rig::with(&host, dir.path(), BTreeMap::new(), settings);
    assert!(matches!(rig.network.ensure(&task()).await, Err(Failure::Lasting(why)) if why.contains("task_network")));
    rig.hear(complete(5, &["10.77.1.0/24"])).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(host.state().opened.is_empty() && rig.link.status.borrow().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_ends_in_the_pool_is_replaced() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let dead = *host.state().sandboxes.keys().next().expect("there are some");
    host.state().sandboxes.get_mut(&dead).expect("there").running = false;
    rig.events.notify_one();
    rig.until("it is removed", |_| !host.state().sandboxes.contains_key(&dead)).await;
    rig.until_warm(3).await;
    // An engine that is away delays, and a task is told.
    host.state().engine_away = true;
    let spares: Vec<TaskSpec> = (0..3).map(|_| task()).collect();
    for spec in &spares {
        rig.give(spec).await;
    }
    let why = rig.network.ensure(&task()).await;
    assert!(matches!(&why, Err(Failure::Away(why)) if why.contains("connection refused")), "{why:?}");
    host.state().engine_away = false;
    rig.give(&task()).await;
}

/// A stop in the middle of a claim leaves nothing of it.
#[tokio::test(start_paused = true)]
async fn a_claim_that_is_cut_is_returned_whole() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    for (warm, millis) in [(true, 0), (true, 1), (false, 0), (false, 100), (false, 251)] {
        if !warm {
            // Whoever comes next waits for a sandbox.
            let line = rig.line().await;
            for _ in 0..line.warm {
                rig.give(&task()).await;
            }
        }
        let spec = task();
        let cut = tokio::time::timeout(Duration::from_millis(millis), rig.network.ensure(&spec));
        let _ = cut.await;
        rig.network.release(spec.id).await.expect("released");
        assert!(!rig.network.list().await.expect("listed").contains(&spec.id), "{warm} {millis}");
    }
    rig.until("nothing is in between", |line| line.interfaces.iter().all(|i| i.stage == "claimed")).await;
    let wired = host.state().wired.len();
    let line = rig.line().await;
    assert_eq!(wired, line.warm + line.interfaces.len());
}
