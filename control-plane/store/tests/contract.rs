//! What every store keeps, asked of each implementation in turn.

use longshore_store::{
    Batch, Bytes, Change, CommitError, EmbeddedStore, Expect, KeyRange, Limits, MAX_KEY_BYTES, MemoryStore, Revision,
    Store, WatchError, Write,
};
use std::sync::Arc;
use std::time::Duration;

/// Runs a test over each implementation, on a store of its own.
async fn each<F: Future<Output = ()>>(test: impl Fn(Arc<dyn Store>) -> F) {
    test(Arc::new(MemoryStore::new())).await;
    let directory = tempfile::tempdir().expect("a directory");
    let store = EmbeddedStore::open(directory.path().join("store.db")).await.expect("a new store");
    test(Arc::new(store)).await;
}

async fn text(store: &dyn Store, key: &str) -> Option<(String, u64)> {
    let entry = store.get(key.as_bytes()).await.expect("a read")?;
    Some((String::from_utf8_lossy(&entry.value).into_owned(), entry.modified.0))
}

fn text_is(value: &str, modified: u64) -> Option<(String, u64)> {
    Some((value.to_owned(), modified))
}

#[tokio::test]
async fn a_commit_is_seen_by_the_next_read() {
    each(|store| async move {
        assert_eq!(store.revision().await.expect("a read"), Revision(0));
        assert_eq!(text(&*store, "a").await, None);
        let first = store.commit(Batch::new().put("a", "1").put("b", "2")).await.expect("a commit");
        assert_eq!(first, Revision(1));
        assert_eq!(text(&*store, "a").await, text_is("1", 1));
        let second = store.commit(Batch::new().put("a", "3").delete("b")).await.expect("a commit");
        assert_eq!(second, Revision(2));
        assert_eq!(text(&*store, "a").await, text_is("3", 2));
        assert_eq!(text(&*store, "b").await, None);
        assert_eq!(store.revision().await.expect("a read"), Revision(2));
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_changes_nothing_makes_no_revision() {
    each(|store| async move {
        assert_eq!(store.commit(Batch::new()).await.expect("a commit"), Revision(0));
        assert_eq!(store.commit(Batch::new().delete("a")).await.expect("a commit"), Revision(0));
        let put = store.commit(Batch::new().put("a", "")).await.expect("a commit");
        assert_eq!(put, Revision(1));
        // The same value again is a change: it has a new version.
        assert_eq!(store.commit(Batch::new().put("a", "")).await.expect("a commit"), Revision(2));
        let guards_only = Batch::new().expect("a", Expect::Version(Revision(2)));
        assert_eq!(store.commit(guards_only).await.expect("a commit"), Revision(2));
    })
    .await;
}

#[tokio::test]
async fn a_failed_guard_changes_nothing_and_names_its_key() {
    each(|store| async move {
        store.commit(Batch::new().put("a", "1").put("b", "1")).await.expect("a commit");
        let cases = [
            ("a", Expect::Absent, Some(Revision(1))),
            ("a", Expect::Version(Revision(9)), Some(Revision(1))),
            ("c", Expect::Present, None),
            ("c", Expect::Version(Revision(1)), None),
        ];
        for (key, expect, is) in cases {
            let batch = Batch::new().expect("b", Expect::Present).expect(key, expect).put("b", "2").put("d", "2");
            match store.commit(batch).await {
                Err(CommitError::Guard { key: named, expected, actual }) => {
                    assert_eq!((&named[..], expected, actual), (key.as_bytes(), expect, is));
                }
                other => panic!("{key} {expect}: {other:?}"),
            }
        }
        assert_eq!(text(&*store, "b").await, text_is("1", 1));
        assert_eq!(text(&*store, "d").await, None);
        assert_eq!(store.revision().await.expect("a read"), Revision(1));
        let holds = Batch::new()
            .expect("a", Expect::Version(Revision(1)))
            .expect("b", Expect::Present)
            .expect("c", Expect::Absent)
            .put("c", "2");
        assert_eq!(store.commit(holds).await.expect("a commit"), Revision(2));
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_is_too_large_or_has_a_bad_key_is_refused() {
    each(|store| async move {
        let Limits { ops, bytes } = store.limits();
        let mut many = Batch::new();
        for n in 0..=ops {
            many.write(format!("{n}"), Write::Delete);
        }
        assert!(matches!(store.commit(many).await, Err(CommitError::TooLarge { what: "operations", .. })));
        let large = Batch::new().put("a", vec![0; bytes]);
        assert!(matches!(store.commit(large).await, Err(CommitError::TooLarge { what: "bytes", .. })));
        let bad = store.commit(Batch::new().put("", "1")).await;
        assert!(matches!(bad, Err(CommitError::Key { len: 0, .. })), "{bad:?}");
        let bad = store.commit(Batch::new().expect("k".repeat(MAX_KEY_BYTES + 1), Expect::Absent)).await;
        assert!(matches!(bad, Err(CommitError::Key { .. })), "{bad:?}");
        assert_eq!(store.revision().await.expect("a read"), Revision(0));
        let longest = Batch::new().put("k".repeat(MAX_KEY_BYTES), vec![0; bytes - MAX_KEY_BYTES]);
        assert_eq!(store.commit(longest).await.expect("a commit"), Revision(1));
    })
    .await;
}

#[tokio::test]
async fn ranges_are_in_byte_order_and_come_in_pages() {
    each(|store| async move {
        let mut batch = Batch::new();
        let keys: [&[u8]; 7] = [b"a", b"a/", b"a/1", b"a/\xff", b"a/\xff\xff", b"a0", b"\xff\xff"];
        for key in keys {
            batch.write(key, Write::Put(Bytes::from_static(key)));
        }
        store.commit(batch).await.expect("a commit");
        let snapshot = store.snapshot().await.expect("a snapshot");
        let all = |range: KeyRange, limit| {
            let snapshot = &snapshot;
            async move {
                let (mut keys, mut pages, mut rest) = (Vec::new(), 0, Some(range));
                while let Some(range) = rest {
                    let page = snapshot.range(range, limit).await.expect("a page");
                    assert!(page.entries.len() <= limit);
                    keys.extend(page.entries.into_iter().map(|entry| entry.key));
                    rest = page.rest;
                    pages += 1;
                }
                (keys, pages)
            }
        };
        assert_eq!(all(KeyRange::all(), 100).await, (keys.map(Bytes::from_static).to_vec(), 1));
        assert_eq!(all(KeyRange::all(), 3).await, (keys.map(Bytes::from_static).to_vec(), 3));
        assert_eq!(all(KeyRange::all(), 7).await.1, 1);
        assert_eq!(all(KeyRange::prefix("a/"), 2).await.0, keys[1..5].to_vec());
        assert_eq!(all(KeyRange::prefix(&b"\xff"[..]), 2).await.0, keys[6..].to_vec());
        assert_eq!(all(KeyRange::between("a/", "a/1"), 9).await.0, keys[1..2].to_vec());
        assert_eq!(all(KeyRange::between("b", "a"), 9).await.0, Vec::<Bytes>::new());
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_stays_at_its_revision() {
    each(|store| async move {
        store.commit(Batch::new().put("a", "1").put("b", "1")).await.expect("a commit");
        let snapshot = store.snapshot().await.expect("a snapshot");
        store.commit(Batch::new().put("a", "2").delete("b").put("c", "2")).await.expect("a commit");
        assert_eq!(snapshot.revision(), Revision(1));
        let page = snapshot.range(KeyRange::all(), 9).await.expect("a page");
        let seen: Vec<_> =
            page.entries.iter().map(|entry| (&entry.key[..], &entry.value[..], entry.modified.0)).collect();
        assert_eq!(seen, [(&b"a"[..], &b"1"[..], 1), (&b"b"[..], &b"1"[..], 1)]);
        assert_eq!(snapshot.get(b"c").await.expect("a read"), None);
    })
    .await;
}

#[tokio::test]
async fn a_watch_gives_every_commit_once_in_order() {
    each(|store| async move {
        store.commit(Batch::new().put("w/0", "0")).await.expect("a commit");
        let after = store.revision().await.expect("a read");
        let writer = Arc::clone(&store);
        let writing = tokio::spawn(async move {
            for n in 1..=300_u32 {
                let other = Batch::new().put("other", "x");
                writer.commit(other).await.expect("a commit");
                let batch =
                    Batch::new().put(format!("w/{}", n % 7), n.to_string()).delete(format!("w/{}", (n + 1) % 7));
                writer.commit(batch).await.expect("a commit");
            }
        });
        let mut watch = store.watch(Bytes::from("w/"), after).await.expect("a watch");
        let mut before = after;
        for n in 1..=300_u32 {
            // Every third wait is dropped half way, as `select!` does.
            if n % 3 == 0 {
                let cut = tokio::time::timeout(Duration::ZERO, std::future::pending::<()>());
                let next = tokio::select! { biased; next = watch.next() => Some(next), _ = cut => None };
                if let Some(next) = next {
                    assert_eq!(put_value(&next.expect("changes").changes), n.to_string());
                    continue;
                }
            }
            let next =
                tokio::time::timeout(Duration::from_secs(30), watch.next()).await.expect("in time").expect("changes");
            assert!(next.revision > before, "{next:?} after {before}");
            before = next.revision;
            assert_eq!(put_value(&next.changes), n.to_string());
        }
        writing.await.expect("the writer ends");
        // A late watcher sees the same past.
        let mut late = store.watch(Bytes::new(), Revision(0)).await.expect("a watch");
        for revision in 1..=601 {
            assert_eq!(late.next().await.expect("changes").revision, Revision(revision));
        }
    })
    .await;
}

fn put_value(changes: &[Change]) -> String {
    let mut values = changes.iter().filter_map(|change| match &change.write {
        Write::Put(value) => Some(String::from_utf8_lossy(value).into_owned()),
        Write::Delete => None,
    });
    let value = values.next().expect("one put");
    assert_eq!(values.next(), None);
    value
}

#[tokio::test]
async fn a_watch_too_far_behind_is_told() {
    each(|store| async move {
        let mut watch = store.watch(Bytes::new(), Revision(0)).await.expect("a watch");
        let value = Bytes::from(vec![7; 8 << 20]);
        for _ in 0..4 {
            store.commit(Batch::new().put("a", value.clone())).await.expect("a commit");
        }
        match watch.next().await {
            Err(WatchError::Compacted { at: Revision(0), up_to }) => assert!(up_to >= Revision(1)),
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_watch_ends_with_its_store_after_the_last_change() {
    each(|store| async move {
        let mut watch = store.watch(Bytes::new(), Revision(0)).await.expect("a watch");
        store.commit(Batch::new().put("a", "1")).await.expect("a commit");
        drop(store);
        assert_eq!(watch.next().await.expect("changes").revision, Revision(1));
        assert!(matches!(watch.next().await, Err(WatchError::Closed)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_that_expect_the_same_version_one_wins() {
    each(|store| async move {
        store.commit(Batch::new().put("counter", "0")).await.expect("a commit");
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let store = Arc::clone(&store);
            writers.spawn(async move {
                let mut lost = 0;
                for _ in 0..20 {
                    loop {
                        let entry = store.get(b"counter").await.expect("a read").expect("the counter");
                        let count: u32 = String::from_utf8_lossy(&entry.value).parse().expect("a number");
                        let batch = Batch::new()
                            .expect("counter", Expect::Version(entry.modified))
                            .put("counter", (count + 1).to_string());
                        match store.commit(batch).await {
                            Ok(_) => break,
                            Err(CommitError::Guard { .. }) => lost += 1,
                            Err(other) => panic!("{other}"),
                        }
                    }
                }
                lost
            });
        }
        while let Some(ended) = writers.join_next().await {
            ended.expect("the writer ends");
        }
        assert_eq!(text(&*store, "counter").await, text_is("160", 161));
    })
    .await;
}
