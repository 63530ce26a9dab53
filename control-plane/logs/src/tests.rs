//! The store through its two doors: agents' chunks, and the API as JSON.

use crate::segment::Event;
use crate::store::{Chunk, LogError, LogStore, StreamKey};
use crate::{Scope, api};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::logs::LogsOperation;
use longshore_model::{AccountId, Region};
use serde_json::{Value, json};

mod faults;

const NOW: i64 = 1_800_000_000_000;
const DAY: i64 = 86_400_000;

struct World {
    store: LogStore,
    dir: tempfile::TempDir,
    now: i64,
}

fn world() -> World {
    let dir = tempfile::tempdir().expect("a directory");
    World { store: LogStore::open(dir.path(), 1 << 30).expect("opens"), dir, now: NOW }
}

impl World {
    fn reopened(self, max_bytes: u64) -> Self {
        Self { store: LogStore::open(self.dir.path(), max_bytes).expect("opens again"), ..self }
    }

    fn try_call(&self, op: &str, body: Value) -> Result<Value, ApiError> {
        let scope = Scope {
            region: Region::new("lab-1").expect("a region"),
            account: AccountId::new("111122223333").expect("an account"),
        };
        let op = LogsOperation::from_name(op).expect("an operation");
        let answer = api::call(&self.store, &scope, op, body.to_string().as_bytes(), self.now)?;
        Ok(serde_json::from_slice(&answer).expect("JSON"))
    }

    fn call(&self, op: &str, body: Value) -> Value {
        self.try_call(op, body).unwrap_or_else(|error| panic!("{op}: {error}"))
    }

    /// The code and text of a refusal.
    fn refusal(&self, op: &str, body: Value) -> String {
        self.try_call(op, body).expect_err(op).to_string()
    }

    fn take(&self, owner: &str, stream: &str, from: &str, to: &str, words: &[&str]) -> Result<String, LogError> {
        let event = |(i, word): (usize, &&str)| Event { at_ms: self.now + i as i64, message: (*word).to_owned() };
        let chunk = Chunk {
            key: StreamKey { region: "lab-1".into(), group: "app".into(), stream: stream.into() },
            from: from.as_bytes().to_vec(),
            to: to.as_bytes().to_vec(),
            events: words.iter().enumerate().map(event).collect(),
        };
        let cursor = self.store.take(self.now, owner, &chunk)?;
        Ok(String::from_utf8(cursor).expect("ours"))
    }

    fn messages(&self, stream: &str) -> Vec<String> {
        let args = json!({"logGroupName": "app", "logStreamName": stream, "startFromHead": true});
        messages(&self.call("GetLogEvents", args))
    }
}

fn messages(answer: &Value) -> Vec<String> {
    let events = answer["events"].as_array().expect("events");
    events.iter().map(|event| event["message"].as_str().expect("a message").to_owned()).collect()
}

fn names(list: &Value, key: &str) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|item| item[key].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn what_is_sent_again_is_there_once_and_a_restart_forgets_nothing() {
    let world = world();
    assert_eq!(world.take("h1", "s", "", "", &[]).expect("asks"), "");
    assert_eq!(world.take("h1", "s", "", "c1", &["a", "b"]).expect("taken"), "c1");
    assert_eq!(world.take("h1", "s", "", "c1", &["a", "b"]).expect("said again"), "c1");
    // The answer was lost, and the same was read again with more.
    assert_eq!(world.take("h1", "s", "", "c2", &["a", "b", "c"]).expect("said again"), "c1");
    assert_eq!(world.take("h1", "s", "c1", "c2", &["c"]).expect("goes on"), "c2");
    assert_eq!(world.messages("s"), ["a", "b", "c"]);
    let world = world.reopened(1 << 30);
    assert_eq!(world.take("h1", "s", "c1", "c2", &["c"]).expect("said again"), "c2");
    assert_eq!(world.take("h1", "s", "", "", &[]).expect("asks"), "c2");
    assert_eq!(world.messages("s"), ["a", "b", "c"]);
    // Another host cannot write there, nor a client.
    assert!(matches!(world.take("h2", "s", "c2", "c3", &["x"]), Err(LogError::Refused(_))));
    let put = json!({"logGroupName": "app", "logStreamName": "s", "logEvents": [{"timestamp": NOW, "message": "x"}]});
    assert!(world.refusal("PutLogEvents", put).contains("that of a container"));
    // The stream is deleted while its container runs: it goes on from where the agent is.
    world.call("DeleteLogStream", json!({"logGroupName": "app", "logStreamName": "s"}));
    assert_eq!(world.take("h1", "s", "c2", "c3", &["d"]).expect("a new stream"), "c3");
    assert_eq!(world.messages("s"), ["d"]);
}

#[test]
fn a_cut_record_does_not_count_and_is_written_anew() {
    let world = world();
    world.take("h1", "s", "", "c1", &["a"]).expect("taken");
    world.take("h1", "s", "c1", "c2", &["b"]).expect("taken");
    let group = std::fs::read_dir(world.dir.path()).expect("the root").next().expect("a group").expect("readable");
    let segment = std::fs::read_dir(group.path())
        .expect("the group")
        .filter_map(|entry| std::fs::read_dir(entry.expect("readable").path()).ok())
        .flatten()
        .map(|file| file.expect("readable").path())
        .find(|path| path.extension().is_some_and(|e| e == "log"))
        .expect("a segment");
    let bytes = std::fs::read(&segment).expect("readable");
    for cut in [1, 9, 20] {
        std::fs::write(&segment, &bytes[..bytes.len() - cut]).expect("cut");
        let world = LogStore::open(world.dir.path(), 1 << 30).map(|store| World {
            store,
            dir: tempfile::tempdir().expect("another directory"),
            now: NOW,
        });
        let world = world.expect("opens");
        assert_eq!(world.take("h1", "s", "", "", &[]).expect("asks"), "c1", "{cut}");
        assert_eq!(world.take("h1", "s", "c1", "c2", &["b"]).expect("taken"), "c2");
        assert_eq!(world.messages("s"), ["a", "b"]);
    }
}

#[test]
fn pages_go_both_ways_and_cover_everything_once() {
    let mut world = world();
    let long = "x".repeat(100_000);
    let mut cursor = String::new();
    for i in 0..60 {
        let to = format!("c{i}");
        world.take("h1", "s", &cursor, &to, &[&format!("{i} {long}"), &format!("{i}b")]).expect("taken");
        cursor = to;
        world.now += 1000;
    }
    let get = |token: Option<&Value>, more: Value| {
        let mut args = json!({"logGroupName": "app", "logStreamName": "s", "startFromHead": true});
        args.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
        args["nextToken"] = token.cloned().unwrap_or(Value::Null);
        world.call("GetLogEvents", args)
    };
    let heads = |all: &[String]| -> Vec<String> {
        all.iter().map(|m| m.split(' ').next().expect("a word").to_owned()).collect()
    };
    let expected: Vec<String> = (0..60).flat_map(|i| [i.to_string(), format!("{i}b")]).collect();
    let (mut all, mut token) = (Vec::new(), None);
    loop {
        let page = get(token.as_ref(), json!({}));
        let forward = page["nextForwardToken"].clone();
        all.extend(messages(&page));
        if token.as_ref() == Some(&forward) {
            break;
        }
        token = Some(forward);
    }
    assert_eq!(heads(&all), expected);
    let (mut pages, mut token) = (Vec::new(), None);
    loop {
        let page = get(token.as_ref(), json!({"startFromHead": false, "limit": 7}));
        let backward = page["nextBackwardToken"].clone();
        pages.push(heads(&messages(&page)));
        if token.as_ref() == Some(&backward) {
            break;
        }
        token = Some(backward);
    }
    assert_eq!(pages.iter().rev().flatten().cloned().collect::<Vec<_>>(), expected);
    let tail = get(None, json!({"startFromHead": false, "limit": 2}));
    assert_eq!(heads(&messages(&tail)), ["59", "59b"]);
    // Who follows gets what comes, and nothing twice.
    let forward = tail["nextForwardToken"].clone();
    assert_eq!(messages(&get(Some(&forward), json!({}))), Vec::<String>::new());
    world.take("h1", "s", &cursor, "new", &["new"]).expect("taken");
    assert_eq!(messages(&get(Some(&forward), json!({}))), ["new"]);
    // A stream of the same name begins anew: whoever followed the former one is at its end, not before it.
    world.call("CreateLogStream", json!({"logGroupName": "app", "logStreamName": "short"}));
    let beyond = json!({"logGroupName": "app", "logStreamName": "short", "nextToken": forward});
    let page = world.call("GetLogEvents", beyond.clone());
    assert_eq!(page["nextForwardToken"], format!("f/{:056}", 0));
    let event = json!([{"timestamp": world.now, "message": "anew"}]);
    world.call("PutLogEvents", json!({"logGroupName": "app", "logStreamName": "short", "logEvents": event}));
    let page = json!({"logGroupName": "app", "logStreamName": "short", "nextToken": page["nextForwardToken"]});
    assert_eq!(messages(&world.call("GetLogEvents", page)), ["anew"]);
    assert_eq!(world.call("GetLogEvents", beyond)["nextForwardToken"], format!("f/{:056}", 1));
    world.call("DeleteLogStream", json!({"logGroupName": "app", "logStreamName": "short"}));
    // Times: the start is in, the end is not.
    let some = get(None, json!({"startTime": NOW + 5000, "endTime": NOW + 6001}));
    assert_eq!(heads(&messages(&some)), ["5", "5b", "6"]);
    let shown = world.call("DescribeLogStreams", json!({"logGroupName": "app"}));
    assert_eq!(shown["logStreams"][0]["firstEventTimestamp"], NOW);
    assert_eq!(shown["logStreams"][0]["lastEventTimestamp"], world.now);
    assert!(
        world
            .refusal("GetLogEvents", json!({"logGroupName": "app", "logStreamName": "s", "nextToken": "x"}))
            .contains("nextToken")
    );
}

#[test]
fn events_of_several_streams_are_filtered_by_time_and_terms() {
    let mut world = world();
    for i in 0..30 {
        let (stream, from, to) =
            (format!("web/{}", i % 3), if i < 3 { String::new() } else { format!("c{}", i - 3) }, i);
        let word = if i % 2 == 0 { "ERROR" } else { "fine" };
        world.take("h1", &stream, &from, &format!("c{to}"), &[&format!("{word} {i}")]).expect("taken");
        world.now += 1000;
    }
    let filter = |more: Value| {
        let (mut all, mut ids, mut token) = (Vec::new(), std::collections::BTreeSet::new(), Value::Null);
        loop {
            let mut args = json!({"logGroupName": "app", "nextToken": token, "limit": 4});
            args.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
            let page = world.call("FilterLogEvents", args);
            all.extend(messages(&page));
            for id in names(&page["events"], "eventId") {
                assert!(ids.insert(id), "an id came twice");
            }
            token = page["nextToken"].clone();
            if token.is_null() {
                return all;
            }
        }
    };
    let all: Vec<String> = (0..30).map(|i| format!("{} {i}", if i % 2 == 0 { "ERROR" } else { "fine" })).collect();
    assert_eq!(filter(json!({})), all);
    assert_eq!(filter(json!({"logStreamNamePrefix": "web/1"})).len(), 10);
    assert_eq!(filter(json!({"filterPattern": "ERROR -14"})).len(), 14);
    let range = json!({"startTime": NOW + 10_000, "endTime": NOW + 12_000, "logStreamNames": ["web/1", "web/2"]});
    assert_eq!(filter(range), ["ERROR 10".to_owned(), "fine 11".to_owned()]);
    let twice = json!({"startTime": NOW + 10_000, "endTime": NOW + 12_000, "logStreamNames": ["web/1", "web/1"]});
    assert_eq!(filter(twice), ["ERROR 10".to_owned()]);
    for (bad, part) in [
        (json!({"logGroupName": "app", "filterPattern": "{ $.a = 1 }"}), "Invalid filter pattern"),
        (json!({"logGroupName": "app", "nextToken": "zz"}), "nextToken"),
        (json!({"logGroupName": "app", "startTime": -1}), "startTime"),
        (json!({"logGroupName": "app", "limit": 0}), "limit"),
        (json!({"logGroupName": "none"}), "ResourceNotFoundException"),
        (json!({"logGroupName": "app", "logStreamNames": ["none"]}), "ResourceNotFoundException"),
    ] {
        let text = world.refusal("FilterLogEvents", bad.clone());
        assert!(text.contains(part), "{bad}: {text}");
    }
}

#[test]
fn groups_and_streams_are_made_listed_tagged_and_deleted() {
    let world = world();
    for name in ["b", "/ecs/app", "/ecs/web"] {
        world.call("CreateLogGroup", json!({"logGroupName": name, "tags": {"k": name}}));
    }
    assert!(world.refusal("CreateLogGroup", json!({"logGroupName": "b"})).contains("ResourceAlreadyExistsException"));
    for bad in ["", "a b", &"x".repeat(513)] {
        assert!(world.refusal("CreateLogGroup", json!({"logGroupName": bad})).contains("logGroupName"), "{bad}");
    }
    world.call("PutRetentionPolicy", json!({"logGroupName": "b", "retentionInDays": 7}));
    let bad = world.refusal("PutRetentionPolicy", json!({"logGroupName": "b", "retentionInDays": 2}));
    assert!(bad.contains("retentionInDays"), "{bad}");
    let world = world.reopened(1 << 30);
    let page = world.call("DescribeLogGroups", json!({"logGroupNamePrefix": "/ecs", "limit": 1}));
    assert_eq!(names(&page["logGroups"], "logGroupName"), ["/ecs/app"]);
    assert_eq!(page["logGroups"][0]["arn"], "arn:aws:logs:lab-1:111122223333:log-group:/ecs/app:*");
    let page = world.call("DescribeLogGroups", json!({"logGroupNamePrefix": "/ecs", "nextToken": page["nextToken"]}));
    assert_eq!(names(&page["logGroups"], "logGroupName"), ["/ecs/web"]);
    assert!(page["nextToken"].is_null());
    let all = world.call("DescribeLogGroups", json!({}));
    assert_eq!(all["logGroups"][2]["retentionInDays"], 7);
    world.call("DeleteRetentionPolicy", json!({"logGroupName": "b"}));
    assert!(
        world.call("DescribeLogGroups", json!({"logGroupNamePattern": "B"}))["logGroups"][0]["retentionInDays"]
            .is_null()
    );

    let arn = "arn:aws:logs:lab-1:111122223333:log-group:b";
    world.call("TagResource", json!({"resourceArn": arn, "tags": {"x": "y"}}));
    world.call("UntagResource", json!({"resourceArn": arn, "tagKeys": ["k"]}));
    assert_eq!(world.call("ListTagsForResource", json!({"resourceArn": arn}))["tags"], json!({"x": "y"}));
    assert_eq!(world.call("ListTagsLogGroup", json!({"logGroupName": "b"}))["tags"], json!({"x": "y"}));

    // Two at a time lose nothing of each other.
    std::thread::scope(|scope| {
        for i in 0..8 {
            let world = &world;
            let tags = json!({format!("n{i}"): "v"});
            scope.spawn(move || world.call("TagResource", json!({"resourceArn": arn, "tags": tags})));
        }
    });
    let tags = world.call("ListTagsForResource", json!({"resourceArn": arn}))["tags"].clone();
    assert_eq!(tags.as_object().expect("tags").len(), 9, "{tags}");
    let many: serde_json::Map<String, Value> = (0..42).map(|i| (format!("m{i}"), json!("v"))).collect();
    assert!(world.refusal("TagResource", json!({"resourceArn": arn, "tags": many})).contains("at most 50"));
    assert_eq!(world.call("ListTagsForResource", json!({"resourceArn": arn}))["tags"], tags);

    for name in ["s1", "s2", "s3"] {
        world.call("CreateLogStream", json!({"logGroupName": "b", "logStreamName": name}));
    }
    let event = |at: i64, text: &str| json!({"timestamp": at, "message": text});
    let put = |stream: &str, events: Value| {
        world.call("PutLogEvents", json!({"logGroupName": "b", "logStreamName": stream, "logEvents": events}))
    };
    put("s2", json!([event(NOW - 10, "late")]));
    let rejected = put("s1", json!([event(NOW - 20 * DAY, "old")]));
    assert_eq!(rejected["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"], 1);
    put("s3", json!([event(NOW - 20, "early"), event(NOW - 19, "early too")]));
    let page = world.call(
        "DescribeLogStreams",
        json!({"logGroupName": "b", "orderBy": "LastEventTime", "descending": true, "limit": 2}),
    );
    assert_eq!(names(&page["logStreams"], "logStreamName"), ["s2", "s3"]);
    let args =
        json!({"logGroupName": "b", "orderBy": "LastEventTime", "descending": true, "nextToken": page["nextToken"]});
    assert_eq!(names(&world.call("DescribeLogStreams", args)["logStreams"], "logStreamName"), ["s1"]);
    let bad = world.refusal("DescribeLogStreams", json!({"logGroupName": "b", "nextToken": "s1"}));
    assert!(bad.contains("nextToken"), "{bad}");
    for (events, part) in [
        (json!([]), "logEvents"),
        (json!([event(NOW, "b"), event(NOW - 1, "a")]), "chronological"),
        (json!([event(NOW - 2 * DAY, "a"), event(NOW, "b")]), "24 hours"),
        (json!([event(NOW, "")]), "logEvents[0].message"),
        (json!([{"message": "a"}]), "logEvents[0].timestamp"),
    ] {
        let args = json!({"logGroupName": "b", "logStreamName": "s1", "logEvents": events});
        let text = world.refusal("PutLogEvents", args);
        assert!(text.contains(part), "{text}");
    }
    world.call("DeleteLogGroup", json!({"logGroupName": "b"}));
    assert!(world.refusal("DescribeLogStreams", json!({"logGroupName": "b"})).contains("ResourceNotFoundException"));
    assert_eq!(std::fs::read_dir(world.dir.path()).expect("the root").count(), 2, "its files are gone");
}

#[test]
fn lists_of_streams_end_while_events_come() {
    let mut world = world();
    for i in 0..6 {
        world.take("h1", &format!("a/{i}"), "", "c0", &["x"]).expect("taken");
        world.now += 1000;
    }
    for order in ["LogStreamName", "LastEventTime"] {
        let (mut all, mut token, mut cursor) = (Vec::new(), Value::Null, 0);
        loop {
            let mut args = json!({"logGroupName": "app", "orderBy": order, "descending": true, "limit": 2});
            args["nextToken"] = token;
            let page = world.call("DescribeLogStreams", args);
            all.extend(names(&page["logStreams"], "logStreamName"));
            token = page["nextToken"].clone();
            if token.is_null() {
                break;
            }
            // The last one that was shown is the newest now.
            let last = all.last().expect("one").clone();
            let known = world.take("h1", &last, "", "", &[]).expect("asked");
            cursor += 1;
            world.take("h1", &last, &known, &format!("{order}{cursor}"), &["y"]).expect("taken");
            world.now += 1000;
            assert!(all.len() <= 6, "it does not end: {all:?}");
        }
        let mut each = all.clone();
        each.sort();
        each.dedup();
        assert_eq!((each.len(), all.len()), (6, 6), "{order}: {all:?}");
    }
}

#[test]
fn retention_hides_at_once_and_the_sweep_makes_room() {
    let mut world = world();
    // Files carry the time of day, so the last day ends now.
    let since = std::time::UNIX_EPOCH.elapsed().expect("after it");
    world.now = i64::try_from(since.as_millis()).expect("fits") - 4 * DAY;
    let long = "x".repeat(200_000);
    let mut cursor = String::new();
    for day in 0..4 {
        for i in 0..12 {
            let to = format!("{day}-{i}");
            world.take("h1", "s", &cursor, &to, &[&format!("{to} {long}")]).expect("taken");
            cursor = to;
        }
        world.now += DAY;
    }
    let size = |world: &World| {
        let groups = world.call("DescribeLogGroups", json!({}));
        groups["logGroups"][0]["storedBytes"].as_u64().expect("a size")
    };
    let before = size(&world);
    world.call("PutRetentionPolicy", json!({"logGroupName": "app", "retentionInDays": 3}));
    world.now += 1;
    let args = json!({"logGroupName": "app", "logStreamName": "s", "startFromHead": true, "limit": 1});
    assert!(messages(&world.call("GetLogEvents", args))[0].starts_with("2-0 "));
    world.store.sweep(world.now).expect("sweeps");
    assert!(size(&world) < before, "nothing was removed");
    assert_eq!(world.take("h1", "s", "", "", &[]).expect("asks"), cursor, "where it goes on is kept");
    let kept = size(&world);
    // A store that may take less.
    let world = world.reopened(3 << 20);
    world.store.sweep(world.now).expect("sweeps");
    let left = size(&world);
    assert!(left < kept && left <= 3 << 20, "{left} of {kept} are left");
    assert_eq!(world.take("h1", "s", "", "", &[]).expect("asks"), cursor, "where it goes on is kept");
    // Without a direction the newest page is answered.
    let newest = world.call("GetLogEvents", json!({"logGroupName": "app", "logStreamName": "s"}));
    assert!(messages(&newest).last().expect("the newest").starts_with("3-11 "));
}
