//! Files that are gone or damaged under a running store, and before its start.

use super::{World, messages, names, world};
use crate::segment::Event;
use crate::store::{Chunk, StreamKey};
use crate::{LogError, Logs};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

type Removal = dyn Fn(&World);

/// The directories in `dir`, each with the text of a file that it has.
fn dirs_with(dir: &Path, file: &str) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(dir).expect("readable").map(|entry| entry.expect("readable").path());
    entries.filter_map(|path| fs::read_to_string(path.join(file)).ok().map(|text| (path, text))).collect()
}

fn stream_dir(root: &Path, name: &str) -> PathBuf {
    let groups = dirs_with(root, "group.json");
    let streams = groups.iter().flat_map(|(group, _)| dirs_with(group, "stream.json"));
    let named = |text: &str| text.contains(&format!("\"name\":\"{name}\""));
    streams.into_iter().find(|(_, text)| named(text)).expect("a stream of that name").0
}

fn chunk(stream: &str, from: &str, to: &str) -> Chunk {
    Chunk {
        key: StreamKey { region: "lab-1".into(), group: "app".into(), stream: stream.into() },
        from: from.into(),
        to: to.into(),
        events: vec![Event { at_ms: 1, message: to.into() }],
    }
}

#[test]
fn a_directory_that_somebody_removes_is_made_again() {
    let remove_stream = |world: &World| fs::remove_dir_all(stream_dir(world.dir.path(), "s")).expect("removed");
    let remove_group = |world: &World| {
        let group = stream_dir(world.dir.path(), "s").parent().expect("a group").to_owned();
        fs::remove_dir_all(group).expect("removed");
    };
    let remove_root = |world: &World| fs::remove_dir_all(world.dir.path()).expect("removed");
    let removals: [(&str, &Removal); 3] =
        [("stream", &remove_stream), ("group", &remove_group), ("root", &remove_root)];
    for (what, remove) in removals {
        let world = world();
        assert_eq!(world.take("h1", "s", "", "c1", &["a"]).expect("taken"), "c1");
        remove(&world);
        assert_eq!(world.take("h1", "s", "c1", "c2", &["b"]).expect(what), "c2");
        assert_eq!(world.take("h1", "other", "", "c1", &["x"]).expect(what), "c1");
        // What was acknowledged is there after a restart: nothing of it was taken for rubbish.
        let world = world.reopened(1 << 30);
        assert_eq!(world.messages("s"), ["b"], "{what}");
        assert_eq!(world.messages("other"), ["x"], "{what}");
    }
    // A file of a stream alone: it goes on with what is there.
    let world = world();
    world.take("h1", "s", "", "c1", &["a"]).expect("taken");
    let dir = stream_dir(world.dir.path(), "s");
    fs::remove_file(dir.join(format!("{:020}.log", 0))).expect("removed");
    assert_eq!(world.take("h1", "s", "c1", "c2", &["b"]).expect("goes on"), "c2");
    assert_eq!(world.messages("s"), ["b"]);
    // So it is for clients.
    world.call("CreateLogStream", json!({"logGroupName": "app", "logStreamName": "mine"}));
    fs::remove_dir_all(stream_dir(world.dir.path(), "mine")).expect("removed");
    let events = json!([{"timestamp": world.now, "message": "m"}]);
    world.call("PutLogEvents", json!({"logGroupName": "app", "logStreamName": "mine", "logEvents": events}));
    assert_eq!(world.messages("mine"), ["m"]);
    fs::remove_dir_all(stream_dir(world.dir.path(), "mine")).expect("removed");
    world.call("DeleteLogStream", json!({"logGroupName": "app", "logStreamName": "mine"}));
    fs::remove_dir_all(world.dir.path()).expect("removed");
    world.call("PutRetentionPolicy", json!({"logGroupName": "app", "retentionInDays": 7}));
    fs::remove_dir_all(world.dir.path()).expect("removed");
    world.call("DeleteLogGroup", json!({"logGroupName": "app"}));
}

#[test]
fn what_cannot_be_read_holds_up_neither_the_start_nor_others() {
    let world = world();
    world.take("h1", "good", "", "c1", &["a"]).expect("taken");
    world.take("h1", "bad", "", "c1", &["a"]).expect("taken");
    world.call("CreateLogGroup", json!({"logGroupName": "broken"}));
    let root = world.dir.path().to_owned();
    let groups = dirs_with(&root, "group.json");
    let (broken, _) = groups.iter().find(|(_, text)| text.contains("\"broken\"")).expect("the group");
    fs::write(broken.join("group.json"), "{").expect("written");
    let bad = stream_dir(&root, "bad");
    fs::write(bad.join("stream.json"), "{").expect("written");
    fs::write(root.join("notes.txt"), "x").expect("written");
    fs::create_dir(root.join("lost+found")).expect("made");

    let world = world.reopened(1 << 30);
    assert_eq!(names(&world.call("DescribeLogGroups", json!({}))["logGroups"], "logGroupName"), ["app"]);
    assert_eq!(world.messages("good"), ["a"]);
    assert_eq!(world.take("h1", "good", "c1", "c2", &["b"]).expect("taken"), "c2");
    assert_eq!(world.take("h1", "bad", "c1", "c2", &["b"]).expect("a new stream"), "c2");
    for left in [broken, &bad, &root.join("notes.txt"), &root.join("lost+found")] {
        assert!(left.exists(), "{} was removed", left.display());
    }
}

#[tokio::test]
async fn a_stream_that_cannot_be_written_holds_up_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("logs");
    let logs = Logs::open(&root, 1 << 30).await.expect("opens");
    let take = async |chunks: Vec<Chunk>| logs.take("h1".to_owned(), chunks).await;
    let both = take(vec![chunk("bad", "", "c1"), chunk("good", "", "c1")]).await.expect("answered");
    assert_eq!(both, [Ok(b"c1".to_vec()), Ok(b"c1".to_vec())]);
    let bad = stream_dir(&root, "bad");
    fs::remove_dir_all(&bad).expect("removed");
    fs::write(&bad, "in the way").expect("written");
    let both = take(vec![chunk("bad", "c1", "c2"), chunk("good", "c1", "c2")]).await.expect("answered");
    let why = both[0].as_ref().expect_err("refused");
    assert!(why.contains("its log says why"), "{why}");
    assert_eq!(both[1], Ok(b"c2".to_vec()), "the other was not taken");
    let alone = take(vec![chunk("bad", "c1", "c2")]).await.expect("answered: the store itself works");
    assert!(alone[0].is_err(), "{alone:?}");
    fs::remove_file(&bad).expect("removed");
    let again = take(vec![chunk("bad", "c1", "c2")]).await.expect("answered");
    assert_eq!(again, [Ok(b"c2".to_vec())], "it is taken once it can be");

    // Nothing at all can be written.
    fs::remove_dir_all(&root).expect("removed");
    fs::write(&root, "in the way").expect("written");
    let failed = take(vec![chunk("good", "c2", "c3")]).await.expect_err("the store does not work");
    assert!(matches!(failed, LogError::Io { .. }), "{failed}");
}

#[test]
fn a_deleted_stream_that_is_still_held_takes_nothing() {
    let world = world();
    world.take("h1", "s", "", "c1", &["a"]).expect("taken");
    let group = world.store.group("lab-1", "app").expect("the group");
    let held = group.stream("s").expect("readable").expect("a stream");
    world.call("DeleteLogStream", json!({"logGroupName": "app", "logStreamName": "s"}));
    assert!(crate::group::lock(&held).removed);
    assert_eq!(world.take("h1", "s", "c1", "c2", &["b"]).expect("a new one"), "c2");
    world.call("DeleteLogGroup", json!({"logGroupName": "app"}));
    assert!(group.is_gone());
    assert!(group.mend_stream(&mut crate::group::lock(&held)).is_err(), "a deleted group came back");
    let meta = crate::group::lock(&held).meta.clone();
    assert!(group.ensure(meta).is_err(), "a deleted group has a stream");
    assert_eq!(world.take("h1", "s", "c2", "c3", &["c"]).expect("a new group"), "c3");
    assert_eq!(messages(&world.call("FilterLogEvents", json!({"logGroupName": "app"}))), ["c"]);
}

#[test]
fn a_stream_is_read_as_it_was_while_it_grows_and_is_removed() {
    let mut world = world();
    let long = "x".repeat(200_000);
    world.take("h1", "s", "", "c0", &["first"]).expect("taken");
    let group = world.store.group("lab-1", "app").expect("the group");
    let held = group.stream("s").expect("readable").expect("a stream");
    let snapshot = crate::group::lock(&held).snapshot().expect("readable");
    let read = || {
        let mut found = Vec::new();
        for segment in &snapshot.segments {
            snapshot.read(segment, |ordinal, event| found.push((ordinal, event.message.to_owned()))).expect("readable");
        }
        found
    };
    let first = vec![(0, "first".to_owned())];
    // What is added to the same segment is not shown; and it is sealed, which gives it another name.
    world.take("h1", "s", "c0", "c1", &["second"]).expect("taken");
    assert_eq!(read(), first);
    for i in 1..15 {
        world.take("h1", "s", &format!("c{i}"), &format!("c{}", i + 1), &[&long]).expect("taken");
        world.now += 1;
    }
    assert!(crate::group::lock(&held).listed().expect("readable").len() > 1, "nothing was sealed");
    assert_eq!(read(), first);
    world.call("DeleteLogStream", json!({"logGroupName": "app", "logStreamName": "s"}));
    assert_eq!(read(), []);
}

#[test]
fn a_stream_that_is_written_to_holds_up_no_other_of_its_group() {
    let world = world();
    world.take("h1", "busy", "", "c1", &["a"]).expect("taken");
    world.take("h1", "other", "", "c1", &["b"]).expect("taken");
    let group = world.store.group("lab-1", "app").expect("the group");
    let held = group.stream("busy").expect("readable").expect("a stream");
    std::thread::scope(|scope| {
        let busy = crate::group::lock(&held);
        let deletion = scope.spawn(|| group.remove_stream("busy"));
        // The deletion waits for the one stream, and nobody waits for the deletion.
        let (done, finished) = std::sync::mpsc::channel();
        let world = &world;
        scope.spawn(move || {
            for i in 1..200 {
                world.take("h1", "other", &format!("c{i}"), &format!("c{}", i + 1), &["b"]).expect("taken");
            }
            done.send(()).expect("heard");
        });
        let in_time = finished.recv_timeout(std::time::Duration::from_secs(60));
        assert!(!deletion.is_finished());
        drop(busy);
        in_time.expect("the other stream was held up");
        assert!(deletion.join().expect("no panic").expect("deleted"));
    });
}
