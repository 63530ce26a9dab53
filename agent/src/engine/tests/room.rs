//! Room on the host: memory that others have.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_task_waits_for_memory_says_whose_and_fails_in_the_end() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let sized = |memory_mib| TaskSpec { memory_mib: Some(memory_mib), ..spec(&[("a", &[])]) };
    let (old, large, small) = (sized(600), sized(900), sized(100));
    rig.complete(1, vec![run(&old)]).await;
    rig.until_status(old.id, TaskStatus::Running).await;
    // What is on the host counts after a restart of the agent too, and after the loss of its ledger.
    let host = rig.crash().await;
    host.state().records.clear();
    host.state().definitions.clear();
    host.state().generation = Generation(0);
    let mut rig = Rig::on(&host);
    rig.complete(1, vec![run(&old), run(&large)]).await;
    rig.until("it says so", |o| o.get(&large.id).is_some_and(|r| r.waiting_for.is_some())).await;
    let text = rig.observed.borrow()[&large.id].waiting_for.clone().expect("seen");
    assert_eq!(text, format!("900 MiB of memory (424 MiB are free), held by task {} with 600 MiB", old.id));
    assert_eq!(rig.views.borrow()[&large.id].waiting_for.as_ref(), Some(&text));
    rig.complete(2, vec![run(&old), run(&large), run(&small)]).await;
    rig.until_status(small.id, TaskStatus::Running).await;
    let status = rig.status().await;
    assert_eq!((status.memory_held_mib, status.waiting_for_room), (700, 1));
    // One slow stop: it waits, and gets what becomes free.
    host.state().stop_takes = Duration::from_secs(20);
    rig.complete(
        3,
        vec![assigned(&old, DesiredStatus::Stopped), run(&large), assigned(&small, DesiredStatus::Stopped)],
    )
    .await;
    rig.until("it says since when", |o| {
        o[&large.id].waiting_for.as_ref().is_some_and(|what| what.contains("(stopping since "))
    })
    .await;
    rig.until_status(large.id, TaskStatus::Running).await;
    assert_eq!(rig.observed.borrow()[&old.id].status, TaskStatus::Stopped, "stop precedes start");

    // Nothing becomes free.
    let (late, vast) = (sized(200), sized(1025));
    rig.complete(4, vec![run(&large), run(&late), run(&vast)]).await;
    let report = rig.until_status(vast.id, TaskStatus::Stopped).await;
    assert!(report.stop.is_some_and(|s| s.reason.ends_with("this host offers 1024 MiB to tasks")));
    rig.until("it waits", |o| o[&late.id].waiting_for.is_some()).await;
    tokio::time::advance(Duration::from_secs(601)).await;
    let stop = rig.until_status(late.id, TaskStatus::Stopped).await.stop.expect("a reason");
    assert_eq!(stop.code, Some(StopCode::TaskFailedToStart));
    let why =
        "ResourceInitializationError: room on the host: waited for 600 s for 200 MiB of memory (124 MiB are free)";
    assert!(stop.reason.starts_with(why), "{}", stop.reason);
    // The host has more than it said.
    let more = sized(200);
    rig.complete(5, vec![run(&large), run(&more)]).await;
    rig.until("it waits", |o| o.get(&more.id).is_some_and(|r| r.waiting_for.is_some())).await;
    rig.facts.send_replace(facts(2048));
    rig.until_status(more.id, TaskStatus::Running).await;
}
