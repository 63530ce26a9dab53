//! The agent, the fabric or a part of it goes, and what is there is taken over or made again.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_restart_adopts_what_is_claimed_keeps_what_is_warm_and_removes_the_rest() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let (kept, labelled, unknown, returned) = (task(), task(), task(), task());
    let mut interfaces = Vec::new();
    for spec in [&kept, &labelled, &unknown, &returned] {
        interfaces.push(rig.give(spec).await);
    }
    rig.until_warm(4).await;
    rig.crash().await;
    let before = host.state().made;
    {
        let mut state = host.state();
        state.labelled = [(labelled.id, interfaces[1].clone()), (returned.id, interfaces[3].clone())].into();
        // A sandbox of an older agent, and one that ended.
        let spare: Vec<EniId> =
            state.sandboxes.keys().filter(|eni| !interfaces.iter().any(|i| i.eni.id == **eni)).copied().collect();
        state.sandboxes.get_mut(&spare[0]).expect("there").current = false;
        state.sandboxes.get_mut(&spare[1]).expect("there").running = false;
    }
    let owned = BTreeMap::from([
        (kept.id, Owned::Held(interfaces[0].clone())),
        (labelled.id, Owned::Perhaps),
        (returned.id, Owned::Not),
    ]);
    // No control plane: what it said is on the disk.
    let mut rig = Rig::on(&host, dir.path(), owned);
    assert_eq!(rig.give(&kept).await, interfaces[0]);
    assert_eq!(rig.give(&labelled).await, interfaces[1]);
    rig.until_status(|s| s.health == NetworkHealth::Ready && s.applied == Generation(5)).await;
    let line = rig.until("two are left", |line| line.interfaces.len() == 2).await;
    assert_eq!(line.resting, 4, "those that were let through rest, and those that may have been");
    rig.until_warm(3).await;
    assert_eq!(host.state().made, before + 1, "two warm ones were good");
    let admitted: BTreeSet<EniId> = host.state().admitted.keys().copied().collect();
    assert_eq!(admitted, interfaces[..2].iter().map(|i| i.eni.id).collect());
    assert_eq!(host.state().sandboxes.len(), 5);
}

/// Of a sandbox of no use nobody knows any more whether a task had it: as another container instance the host was told
/// nothing of its former tasks.
#[tokio::test(start_paused = true)]
async fn the_address_of_a_sandbox_of_no_use_rests() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let given = rig.give(&task()).await.eni.id;
    rig.until_warm(3).await;
    rig.crash().await;
    host.state().sandboxes.get_mut(&given).expect("there").current = false;
    let rig = Rig::on(&host, dir.path(), BTreeMap::new());
    let gone = || !host.state().sandboxes.contains_key(&given);
    rig.until("it is gone, and its address rests", |line| line.resting == 1 && gone()).await;
}

/// Its containers ended while there was no agent, so the next one releases it before it has the fabric.
#[tokio::test(start_paused = true)]
async fn what_ends_before_the_fabric_is_taken_over_is_cut_off_too() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let (ends, stays) = (task(), task());
    let (ended, stayed) = (rig.give(&ends).await, rig.give(&stays).await);
    rig.crash().await;
    let owned = [(ends.id, Owned::Held(ended.clone())), (stays.id, Owned::Held(stayed.clone()))].into();
    let rig = Rig::on(&host, dir.path(), owned);
    rig.network.release(ends.id).await.expect("released");
    assert!(host.state().admitted.contains_key(&ended.eni.id), "there was no fabric yet");
    let line = rig.until("one is left", |line| line.ok && line.interfaces.len() == 1).await;
    assert_eq!(line.resting, 1);
    assert_eq!(host.state().admitted.keys().collect::<Vec<_>>(), [&stayed.eni.id]);
    assert!(!host.state().wired.contains_key(&ended.eni.id) && !host.state().sandboxes.contains_key(&ended.eni.id));
}

#[tokio::test(start_paused = true)]
async fn a_lost_fabric_is_made_again_with_its_tasks() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let (good, bad) = (task(), task());
    let (good_eni, bad_eni) = (rig.give(&good).await, rig.give(&bad).await);
    rig.crash().await;
    {
        let mut state = host.state();
        state.wired.clear();
        state.admitted.clear();
        state.sandboxes.get_mut(&bad_eni.eni.id).expect("there").running = false;
    }
    let owned = [(good.id, Owned::Held(good_eni.clone())), (bad.id, Owned::Held(bad_eni.clone()))].into();
    let rig = Rig::on(&host, dir.path(), owned);
    rig.until("it is let through again", |_| host.state().admitted.contains_key(&good_eni.eni.id)).await;
    assert!(host.state().wired.contains_key(&good_eni.eni.id));
    assert!(host.state().sandboxes.contains_key(&bad_eni.eni.id), "whether its task ends is not decided here");
    rig.network.release(bad.id).await.expect("released");
    let gone = |_: &status::NetworkLine| !host.state().sandboxes.contains_key(&bad_eni.eni.id);
    rig.until("it goes with its task", gone).await;
}

/// As after a restart of the engine: the sandbox has ended, and what was kept of its namespace is still there. An agent
/// that dies when it has started it leaves a sandbox that runs and is not wired.
#[tokio::test(start_paused = true)]
async fn a_sandbox_that_runs_in_another_namespace_is_wired_anew() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let spec = task();
    let given = rig.give(&spec).await;
    let eni = given.eni.id;
    rig.crash().await;
    host.state().pids.insert(eni, 7);
    let rig = Rig::on(&host, dir.path(), [(spec.id, Owned::Held(given))].into());
    rig.until("a network", |line| line.ok).await;
    assert_eq!(host.state().inside[&eni], 1, "what is kept looks well");
    rig.network.ensure_again(&spec).await.expect("there again");
    assert_eq!(host.state().inside[&eni], 7);
    let wired = || host.state().calls.iter().filter(|call| **call == "wire").count();
    let before = wired();
    rig.network.ensure_again(&spec).await.expect("nothing is to be done");
    assert_eq!(wired(), before, "once is enough");
}

/// A container joins others whose link somebody took away: it has it before it starts, and they are not in its way.
#[tokio::test(start_paused = true)]
async fn a_link_that_is_lost_beside_running_containers_is_there_before_a_start() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let spec = task();
    let eni = rig.give(&spec).await.eni.id;
    rig.until("a network", |line| line.ok).await;
    host.state().live.insert(spec.id);
    host.state().wired.remove(&eni);
    rig.network.ensure_again(&spec).await.expect("there again");
    assert!(host.state().wired.contains_key(&eni));
}

/// One that the engine never starts again ends its task: nothing else can hold what its containers are made for.
#[tokio::test(start_paused = true)]
async fn a_sandbox_that_never_starts_ends_its_task() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let spec = task();
    let eni = rig.give(&spec).await.eni.id;
    {
        let mut state = host.state();
        state.sandboxes.get_mut(&eni).expect("there").running = false;
        state.stubborn = true;
    }
    for _ in 0..19 {
        rig.network.ensure_again(&spec).await.expect_err("refused");
        assert!(host.state().sandboxes.contains_key(&eni));
    }
    rig.network.ensure_again(&spec).await.expect_err("refused");
    assert!(host.state().sandboxes.contains_key(&eni), "not for a moment of the engine's");
    tokio::time::sleep(Duration::from_secs(300)).await;
    rig.network.ensure_again(&spec).await.expect_err("refused");
    rig.until("its sandbox goes", |_| !host.state().sandboxes.contains_key(&eni)).await;
    rig.network.release(spec.id).await.expect("released");
}

/// What only waits for the host's network has not failed: how often that may be is nobody's count.
#[tokio::test(start_paused = true)]
async fn a_start_that_waits_for_the_hosts_network_is_no_failure() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let spec = task();
    let given = rig.give(&spec).await;
    rig.crash().await;
    {
        let mut state = host.state();
        state.sandboxes.get_mut(&given.eni.id).expect("there").running = false;
        state.script.insert("open", vec![fault("nft is not installed"); 15]);
    }
    let rig = Rig::on(&host, dir.path(), [(spec.id, Owned::Held(given))].into());
    let refused = rig.network.ensure_again(&spec).await.expect_err("there is no network yet");
    assert!(matches!(&refused, Failure::Away(why) if why.ends_with("nft is not installed")), "{refused:?}");
    rig.until("a network", |line| line.ok).await;
    rig.network.ensure_again(&spec).await.expect("there again");
}

/// As after a reboot: the sandbox has ended, its link is gone, and a container of its task is started again.
#[tokio::test(start_paused = true)]
async fn a_sandbox_that_ended_is_started_again_for_its_task() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let spec = task();
    let given = rig.give(&spec).await;
    let eni = given.eni.id;
    rig.network.ensure_again(&spec).await.expect("nothing is to be done");
    rig.crash().await;
    {
        let mut state = host.state();
        state.wired.clear();
        state.admitted.clear();
        state.named.clear();
        state.sandboxes.get_mut(&eni).expect("there").running = false;
    }
    let owned = || [(spec.id, Owned::Held(given.clone()))].into();
    // With a container that outlived it, and a start that does not work at once. It is asked for before anything is known
    // of the network, and waits for that.
    let rig = Rig::on(&host, dir.path(), owned());
    host.state().live.insert(spec.id);
    let refused = rig.network.ensure_again(&spec).await.expect_err("it is in the former namespace");
    assert!(matches!(&refused, Failure::Passing(why) if why == "a container of the task runs"), "{refused:?}");
    assert!(!host.state().sandboxes[&eni].running, "it is not started beside it");
    host.state().live.clear();
    rig.until_warm(3).await;
    host.state().script.insert("wire", vec![fault("the link is busy")]);
    let refused = rig.network.ensure_again(&spec).await.expect_err("refused");
    assert!(matches!(&refused, Failure::Passing(why) if why == "the link is busy"), "{refused:?}");
    assert!(host.state().sandboxes[&eni].running, "it has begun");
    // Its namespace is the one that is kept, and it is not let through: that is still to be done.
    host.state().script.insert("admit", vec![fault("nft is busy")]);
    let refused = rig.network.ensure_again(&spec).await.expect_err("refused");
    assert!(matches!(&refused, Failure::Passing(why) if why == "nft is busy"), "{refused:?}");
    assert_eq!(host.state().inside[&eni], 2, "it is wired");
    // A repair that fails ends nothing that is still to be started.
    host.state().wired.remove(&eni);
    host.state().script.insert("wire", vec![fault("the link is busy")]);
    host.stir.notify_one();
    rig.until("a repair has tried", |_| host.state().script["wire"].is_empty()).await;
    rig.until("another has done it", |_| host.state().wired.contains_key(&eni)).await;
    rig.network.ensure_again(&spec).await.expect("there again");
    {
        let state = host.state();
        assert!(state.sandboxes[&eni].running && state.wired.contains_key(&eni), "it has its link");
        assert!(state.admitted.contains_key(&eni) && state.named.contains_key(&eni));
    }
    assert_eq!(rig.give(&spec).await, given, "it is the same");
    // It is one like any other from here on: what is lost of it is made again.
    host.state().wired.remove(&eni);
    host.stir.notify_one();
    rig.until("its link is made again", |_| host.state().wired.contains_key(&eni)).await;
    rig.network.release(spec.id).await.expect("released");
    rig.until("nothing of it is left", |_| !host.state().sandboxes.contains_key(&eni)).await;
    let refused = rig.network.ensure_again(&spec).await.expect_err("it has none");
    assert!(matches!(&refused, Failure::Passing(why) if why == "the task has no interface"), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_is_lost_is_made_again_if_its_sandbox_runs() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let mut limited = task();
    limited.awsvpc.as_mut().expect("awsvpc").bandwidth.egress_bps = Some(1_000_000);
    let bad = task();
    let (good_eni, bad_eni) = (rig.give(&limited).await.eni.id, rig.give(&bad).await.eni.id);
    assert_eq!(host.state().named, [(good_eni, limited.id), (bad_eni, bad.id)].into());
    rig.until_warm(3).await;
    let warm: Vec<EniId> =
        host.state().sandboxes.keys().filter(|eni| **eni != good_eni && **eni != bad_eni).copied().collect();
    {
        let mut state = host.state();
        state.limits.clear();
        state.wired.retain(|eni, _| warm[1..].contains(eni));
        state.sandboxes.get_mut(&bad_eni).expect("there").running = false;
    }
    host.stir.notify_one();
    rig.until("it is made again, with its limits", |_| host.state().limits.contains_key(&good_eni)).await;
    assert!(host.state().wired.contains_key(&good_eni) && host.state().sandboxes.contains_key(&good_eni));
    rig.until("the warm one goes", |_| !host.state().sandboxes.contains_key(&warm[0])).await;
    rig.until_warm(3).await;
    rig.network.release(bad.id).await.expect("released");
    rig.until("nothing of it is left", |_| !host.state().wired.contains_key(&bad_eni)).await;
    assert!(host.state().wired.contains_key(&good_eni), "once is enough");
    rig.crash().await;
}

/// Killed at any moment of claims and ends, with or without what was said on the disk: afterwards every sandbox is warm
/// or a task's, none has two lives, and nothing of it is left over.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_leaves_nothing_behind() {
    for after in (0..1_500).step_by(13) {
        let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
        let rig = Rig::on(&host, dir.path(), BTreeMap::new());
        let (stays, ends) = (task(), task());
        let mut given: BTreeMap<TaskId, Interface> = BTreeMap::new();
        let mut over = BTreeSet::new();
        let script = async {
            rig.hear(complete(5, &["10.77.1.0/24"])).await;
            for spec in [&stays, &ends] {
                let interface = loop {
                    match rig.network.ensure(spec).await {
                        Ok(interface) => break interface,
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                };
                given.insert(spec.id, interface);
            }
            rig.network.release(ends.id).await.expect("released");
            over.insert(ends.id);
            std::future::pending::<()>().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(after), script).await;
        rig.crash().await;
        let owned = [stays.id, ends.id].map(|id| match given.get(&id) {
            Some(_) if over.contains(&id) => (id, Owned::Not),
            Some(interface) => (id, Owned::Held(interface.clone())),
            None => (id, Owned::Perhaps),
        });
        let held: BTreeSet<TaskId> = given.keys().filter(|id| !over.contains(id)).copied().collect();
        let mut rig = Rig::on(&host, dir.path(), owned.into());
        rig.hear(complete(5, &["10.77.1.0/24"])).await;
        rig.until_status(|s| s.health == NetworkHealth::Ready).await;
        rig.until_warm(3).await;
        let line = rig.until("nothing is in between", |l| l.interfaces.iter().all(|i| i.stage == "claimed")).await;
        let listed: BTreeSet<TaskId> = rig.network.list().await.expect("listed").into_iter().collect();
        assert_eq!(listed, held, "after {after} ms");
        let state = host.state();
        let sandboxes: BTreeSet<EniId> = state.sandboxes.keys().copied().collect();
        assert_eq!(sandboxes, state.wired.keys().copied().collect(), "after {after} ms: {line:#?}");
        assert_eq!(sandboxes.len(), 3 + held.len(), "after {after} ms: {line:#?}");
        let admitted: BTreeSet<EniId> = state.admitted.keys().copied().collect();
        let theirs = held.iter().map(|id| given[id].eni.id).collect();
        assert_eq!(admitted, theirs, "after {after} ms: {line:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_address_of_this_host_opens_the_fabric_again() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let mut rig = Rig::ready(&host, dir.path()).await;
    let interface = rig.give(&task()).await;
    let there = IpAddr::V4(Ipv4Addr::new(192, 168, 50, 9));
    // No address for now is no other address.
    rig.underlay.send_replace(Underlay::Absent { why: "no route".into() });
    rig.underlay.send_replace(Underlay::At(there));
    rig.until("opened again", |line| line.underlay.as_deref() == Some("192.168.50.9")).await;
    rig.until_status(|s| s.health == NetworkHealth::Ready).await;
    rig.until("with the new one", |_| host.state().opened.last().is_some_and(|s| s.underlay == there)).await;
    assert!(host.state().admitted.contains_key(&interface.eni.id));
}

/// A restart on a host whose underlay is gone, or whose routes are in the way, takes over what is there.
#[tokio::test(start_paused = true)]
async fn a_restart_on_a_host_in_trouble_takes_its_tasks_over() {
    let (host, dir) = (FakeHost::new(), tempfile::tempdir().expect("a directory"));
    let rig = Rig::ready(&host, dir.path()).await;
    let kept = task();
    let interface = rig.give(&kept).await;
    rig.crash().await;
    host.state().script.insert("set_peers", vec![fault("no link has the address")]);
    host.state().script.insert("repair", vec![fault("no link has the address"); 2]);
    let mut rig = Rig::on(&host, dir.path(), [(kept.id, Owned::Held(interface.clone()))].into());
    rig.until_status(|s| s.health == NetworkHealth::Degraded { reason: "no link has the address".into() }).await;
    assert!(host.state().admitted.contains_key(&interface.eni.id));
    rig.network.release(kept.id).await.expect("its end is noticed");
    assert!(host.state().admitted.is_empty());
    rig.until_status(|s| s.health == NetworkHealth::Ready).await;
}
