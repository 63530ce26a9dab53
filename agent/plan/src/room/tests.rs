use super::*;
use longshore_model::Protocol;
use std::time::Duration;

fn id(n: u8) -> TaskId {
    TaskId::from_bytes([n; 16])
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn key(port: u16) -> PortKey {
    PortKey { protocol: Protocol::Tcp, port }
}

fn memory(memory_mib: u64) -> Demand {
    Demand { memory_mib, ..Demand::default() }
}

fn room(offered_mib: u64) -> Room {
    let mut room = Room::default();
    room.offer(Some(offered_mib));
    room
}

fn ask(room: &Room, n: u8, accepted: i64, demand: &Demand, now: i64) -> Result<(), String> {
    let asking = Asking { task: id(n), accepted_at: at(accepted), demand };
    room.ask(&asking, &PortClaims::default(), &Policy::default(), at(now)).map_err(|lack| lack.to_string())
}

#[test]
fn what_is_missing_is_said_with_who_has_it() {
    let mut room = room(1024);
    room.hold(id(1), memory(600), None);
    room.hold(id(2), Demand { gpus: ["g0".to_owned()].into(), ports: [key(80)].into(), memory_mib: 300 }, Some(at(5)));
    let stopping = format!("task {} (stopping since 1970-01-01T00:00:05Z)", id(2));
    let free = "128 MiB of memory (124 MiB are free), held by";
    let error = ask(&room, 3, 9, &memory(128), 9).expect_err("no room");
    assert_eq!(error, format!("{free} {stopping} with 300 MiB, task {} with 600 MiB", id(1)));
    let demand = Demand { ports: [key(80)].into(), ..memory(128) };
    let error = ask(&room, 3, 9, &demand, 9).expect_err("no room");
    assert!(error.starts_with(&format!("host port 80/tcp, which {stopping} still has; 128 MiB")), "{error}");
    let demand = Demand { gpus: ["g0".to_owned()].into(), ..Demand::default() };
    assert_eq!(ask(&room, 3, 9, &demand, 9), Err(format!("GPU g0, which {stopping} still has")));
    // Others get on.
    assert_eq!(ask(&room, 3, 9, &memory(124), 9), Ok(()));
    assert_eq!(ask(&room, 3, 9, &Demand { ports: [key(81)].into(), ..memory(1) }, 9), Ok(()));
    let too_large = "the task needs 1025 MiB of memory, and this host offers 1024 MiB to tasks";
    assert_eq!(ask(&room, 3, 9, &memory(1025), 9), Err(too_large.to_owned()));
    assert!(room.leave(id(2)) && !room.leave(id(2)));
    assert_eq!(ask(&room, 3, 9, &demand, 9), Ok(()));
}

#[test]
fn ports_that_were_chosen_count_too() {
    let room = room(1024);
    let mut claims = PortClaims::default();
    claims.claim(key(30_000), id(1)).expect("free");
    let demand = Demand { ports: [key(30_000)].into(), ..Demand::default() };
    let asking = |n| Asking { task: id(n), accepted_at: at(0), demand: &demand };
    let lack = room.ask(&asking(2), &claims, &Policy::default(), at(0));
    assert_eq!(lack, Err(Lack::Held { what: format!("host port 30000/tcp, which task {} still has", id(1)) }));
    assert_eq!(room.ask(&asking(1), &claims, &Policy::default(), at(0)), Ok(()), "its own");
}

#[test]
fn nothing_with_memory_starts_before_it_is_known_how_much_there_is() {
    let mut room = Room::default();
    assert!(ask(&room, 1, 0, &memory(1), 0).is_err());
    assert_eq!(ask(&room, 1, 0, &Demand { ports: [key(80)].into(), ..Demand::default() }, 0), Ok(()));
    assert!(room.offer(Some(1)) && !room.offer(Some(1)));
    assert_eq!(ask(&room, 1, 0, &memory(1), 0), Ok(()));
}

#[test]
fn a_large_task_is_passed_by_small_ones_for_a_while_only() {
    let patience = i64::try_from(Policy::default().patience.as_secs()).expect("short");
    let mut room = room(1000);
    room.hold(id(1), memory(500), None);
    let large = Demand { ports: [key(80)].into(), ..memory(800) };
    assert!(ask(&room, 2, 10, &large, 10).is_err());
    room.wait(&Asking { task: id(2), accepted_at: at(10), demand: &large }, at(10));
    assert_eq!(room.waiting(), 1);
    let small = memory(100);
    assert_eq!(ask(&room, 3, 11, &small, 11), Ok(()));
    let late = 10 + patience;
    let error = ask(&room, 3, 11, &small, late).expect_err("it is not its turn");
    assert!(error.contains(&format!("kept for task {}", id(2))), "{error}");
    // What was there first is not behind, nor what needs nothing that the large one needs.
    assert_eq!(ask(&room, 4, 9, &small, late), Ok(()));
    assert_eq!(ask(&room, 3, 11, &Demand { ports: [key(81)].into(), ..Demand::default() }, late), Ok(()));
    assert!(ask(&room, 3, 11, &Demand { ports: [key(80)].into(), ..Demand::default() }, late).is_err());
    // Once it has its place, what is left is for all.
    assert!(room.leave(id(1)));
    assert_eq!(ask(&room, 2, 10, &large, late), Ok(()));
    assert!(room.hold(id(2), large, None), "those behind it ask again");
    assert_eq!(ask(&room, 3, 11, &small, late), Ok(()));
}

#[test]
fn patience_is_shorter_than_the_longest_wait() {
    let policy = Policy::default();
    assert!(policy.patience + Duration::from_secs(60) < policy.room_timeout);
}

/// A task that nobody asks for any more, whose container was found running.
fn leftover() -> Task {
    let name = longshore_model::ContainerName::new("app").expect("a name");
    let container = crate::outline::OutlineContainer {
        name: name.clone(),
        arn_id: "1".to_owned(),
        essential: true,
        stop_timeout_secs: None,
        depends_on: Vec::new(),
        start_timeout_secs: None,
        restart: None,
        ports: Vec::new(),
        after: Vec::new(),
        links: Vec::new(),
    };
    let outline = Outline {
        id: id(1),
        arn: "arn".to_owned(),
        cluster: "default".to_owned(),
        family: "web".to_owned(),
        revision: 1,
        group: "family:web".to_owned(),
        network_mode: longshore_model::NetworkMode::Bridge,
        limited: false,
        containers: vec![container],
        volumes: Vec::new(),
        shared_volumes: Vec::new(),
        namespaces: false,
        pull_only: false,
        memory_mib: 600,
        gpus: Vec::new(),
        fence: None,
    };
    let mut task = Task::recovered(outline, at(0));
    task.unassign(at(0));
    let runs = crate::Sighting { id: "1".to_owned(), state: crate::RunState::Running, health: None, renamed: false };
    task.sight(&BTreeMap::from([(name, runs)]), 0);
    task
}

#[test]
fn what_runs_has_its_room_whether_or_not_its_stop_succeeds() {
    let (mut task, mut room, claims, policy) = (leftover(), room(1000), PortClaims::default(), Policy::default());
    let mut seq = 0;
    let mut now = 0;
    // Longer than ended containers are kept.
    let until = i64::try_from(policy.cleanup_wait.as_secs()).expect("short") + 600;
    let mut stops = 0;
    while now < until || stops == 0 {
        room.sync(&task);
        assert!(ask(&room, 2, 9, &memory(500), now).is_err(), "at {now} s, after {stops} stops that failed");
        let empty = Room::default();
        let view = View {
            now: at(now),
            engine: crate::EngineView::Answering,
            claims: &claims,
            room: &empty,
            policy: &policy,
            disk_short: false,
            ledger_fault: false,
            contact: crate::Contact::Ago(Duration::ZERO),
        };
        for step in task.pass(&view).steps {
            seq += 1;
            let outcome = match &step {
                Step::Stop(..) => {
                    stops += 1;
                    crate::Outcome::Halted(Err(crate::Failure::Unknown("the connection broke".to_owned())))
                }
                Step::Release(_) => crate::Outcome::Released(Ok(())),
                step => panic!("{step:?} of a container that runs"),
            };
            task.finish(&step, outcome, &policy, at(now), seq);
        }
        now += 30;
    }
    assert!(stops > 1, "it is tried again");
    // What the engine says in the end decides.
    task.sight(&BTreeMap::new(), seq);
    room.sync(&task);
    assert_eq!(ask(&room, 2, 9, &memory(500), now), Ok(()));
}
