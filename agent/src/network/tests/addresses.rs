//! Which addresses tasks get, and when one is free again.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_address_rests_until_all_hosts_know() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let spec = task();
    let eni = rig.give(&spec).await.eni;
    rig.network.release(spec.id).await.expect("released");
    rig.until("it is removed", |line| line.interfaces.is_empty()).await;
    rig.hear(Heard::Recorded { revision: 9, what: Recorded::These(vec![eni.id]) }).await;
    rig.hear(Heard::Settled(8)).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(rig.line().await.resting, 1, "a host is behind");
    rig.crash().await;
    let rig = Rig::on(&host, dir.path(), BTreeMap::new());
    assert_eq!(rig.line().await.resting, 1, "kept across restarts");
    rig.hear(Heard::Settled(9)).await;
    rig.until("it is free", |line| line.resting == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_somebody_on_the_hosts_network_has_is_set_aside() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let holder = Mac([2, 0, 0, 0, 0, 7]);
    let first = Ipv4Addr::new(10, 77, 1, 2);
    host.state().holders.insert(first, holder);
    let rig = Rig::ready(&host, dir.path()).await;
    let line = rig.line().await;
    assert_eq!(line.set_aside, ["10.77.1.2 (02:00:00:00:00:07)"]);
    assert!(line.warnings[0].contains("10.77.1.2 is in use on the hosts' network by 02:00:00:00:00:07"), "{line:?}");
    assert_eq!((line.free, host.state().made), (252, 3), "no sandbox was made for it");
    let warm: BTreeSet<Ipv4Addr> = host.state().wired.values().copied().collect();
    assert!(warm.len() == 3 && !warm.contains(&first), "{warm:?}");

    // Somebody takes the addresses of the whole pool while it waits.
    tokio::time::sleep(Duration::from_secs(60)).await;
    host.state().holders.extend(warm.iter().map(|address| (*address, holder)));
    let spec = task();
    let failure = rig.network.ensure(&spec).await.expect_err("somebody has it");
    assert!(matches!(&failure, Failure::Passing(why) if why.contains("in use on the hosts' network")), "{failure:?}");
    let mut tries = 0;
    let given = loop {
        tries += 1;
        match rig.network.ensure(&spec).await {
            Ok(interface) => break interface.eni,
            Err(failure) => assert!(tries < 4, "{failure:?}"),
        }
    };
    assert!(!warm.contains(&given.ipv4) && given.ipv4 != first, "{given:?}");
    let admitted: Vec<Ipv4Addr> = host.state().admitted.values().map(|admission| admission.eni.ipv4).collect();
    assert_eq!(admitted, [given.ipv4], "none of those was let through");
    // They are asked for again after a while.
    host.state().holders.clear();
    tokio::time::sleep(Duration::from_secs(600)).await;
    rig.until("all of them are free", |line| line.set_aside.is_empty()).await;
    rig.until_warm(3).await;
    let line = rig.until("what demand had made is given up", |line| line.free == 252).await;
    assert_eq!(line.warnings.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_lease_is_said_and_a_second_one_helps() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let mut rig = Rig::on(&host, dir.path(), BTreeMap::new());
    // Five addresses for tasks.
    rig.hear(complete(5, &["10.77.1.0/29"])).await;
    let status = rig.until_status(|s| s.health == NetworkHealth::Ready).await;
    assert_eq!(status.free_addresses, 5);
    for n in (0..5u32).rev() {
        rig.give(&task()).await;
        rig.until_status(|s| s.free_addresses == n).await;
    }
    let why = rig.network.ensure(&task()).await;
    assert!(matches!(&why, Err(Failure::Away(why)) if why.contains("all of the host's leases")), "{why:?}");
    let more = vec!["10.77.1.0/29", "10.77.9.0/24"];
    let changes = NetworkChanges { leases: Some(state(&more).leases), ..NetworkChanges::default() };
    rig.hear(Heard::Update(NetworkUpdate::Delta { base: Generation(5), generation: Generation(6), changes })).await;
    assert_eq!(rig.give(&task()).await.eni.ipv4.octets()[2], 9);
    assert!(host.state().calls.contains(&"set_leases"));
}

/// A task that waits for an address gets the one that another task had, once that has rested.
#[tokio::test(start_paused = true)]
async fn a_full_lease_goes_on_when_an_address_is_free_again() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let mut rig = Rig::on(&host, dir.path(), BTreeMap::new());
    rig.hear(complete(5, &["10.77.1.0/29"])).await;
    rig.until_status(|s| s.health == NetworkHealth::Ready).await;
    let tasks: Vec<TaskSpec> = (0..5).map(|_| task()).collect();
    for spec in &tasks {
        rig.give(spec).await;
    }
    let late = task();
    let why = rig.network.ensure(&late).await;
    assert!(matches!(&why, Err(Failure::Away(why)) if why.contains("in use or rest")), "{why:?}");
    let eni = rig.give(&tasks[0]).await.eni;
    rig.network.release(tasks[0].id).await.expect("released");
    rig.hear(Heard::Recorded { revision: 6, what: Recorded::These(vec![eni.id]) }).await;
    rig.hear(Heard::Settled(6)).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    let given = loop {
        match rig.network.ensure(&late).await {
            Ok(given) => break given,
            Err(failure) => assert!(tokio::time::Instant::now() < deadline, "{failure:?}"),
        }
    };
    assert_eq!(given.eni.ipv4, eni.ipv4, "the one that is free");
}
