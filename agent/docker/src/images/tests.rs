use super::*;
use bollard::models::ProgressDetail;

fn message(id: Option<&str>, status: &str, progress: Option<(i64, i64)>) -> CreateImageInfo {
    CreateImageInfo {
        id: id.map(str::to_owned),
        status: Some(status.to_owned()),
        progress_detail: progress.map(|(current, total)| ProgressDetail { current: Some(current), total: Some(total) }),
        error_detail: None,
    }
}

#[test]
fn only_what_moves_counts_as_progress() {
    let mut meter = Meter::default();
    let steps = [
        (message(Some("1"), "Pulling from library/busybox", None), true),
        (message(Some("aa"), "Pulling fs layer", None), true),
        (message(Some("aa"), "Downloading", Some((10, 100))), true),
        (message(Some("aa"), "Downloading", Some((10, 100))), false),
        (message(Some("aa"), "Retrying in 5 seconds", None), false),
        (message(Some("aa"), "Retrying in 4 seconds", None), false),
        (message(Some("bb"), "Already exists", None), true),
        (message(Some("aa"), "Download complete", None), true),
        (message(Some("aa"), "Pull complete", None), true),
        (message(None, "Digest: sha256:00", None), true),
        (message(None, "Digest: sha256:00", None), false),
    ];
    for (i, (message, moved)) in steps.iter().enumerate() {
        assert_eq!(meter.take(message), *moved, "step {i}: {message:?}");
    }
    let expected = PullProgress { layers: 2, layers_done: 2, bytes: 100, bytes_total: 100, queued: false };
    assert_eq!(meter.progress(), expected);
}

const PUT_OFF: [(&str, &str); 5] = [
    ("aa", "Already exists"),
    ("bb", "Pulling fs layer"),
    ("cc", "Pulling fs layer"),
    ("cc", "Waiting"),
    ("bb", "Download complete"),
];

#[test]
fn a_pull_is_queued_while_the_engine_works_on_none_of_its_layers() {
    let mut meter = Meter::default();
    for (id, status) in PUT_OFF {
        assert!(!meter.is_queued(), "before {id} {status}");
        meter.take(&message(Some(id), status, None));
    }
    assert!(meter.is_queued());
    meter.take(&message(Some("cc"), "Downloading", Some((1, 9))));
    assert!(!meter.is_queued());
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_puts_off_for_other_pulls_does_not_stall() {
    let docker = Docker::connect("unix:///nonexistent/docker.sock").await.expect("an address");
    let limits = PullLimits::default();
    let stalls = |messages: Vec<CreateImageInfo>| {
        let docker = docker.clone();
        async move {
            let began = Instant::now();
            let stream = futures::stream::iter(messages.into_iter().map(Ok)).chain(futures::stream::pending());
            let ended = docker.watch("a", limits, stream, |_| {}).await;
            assert!(matches!(ended, Err(PullError::Stalled { .. })), "{ended:?}");
            began.elapsed()
        }
    };
    let put_off = || PUT_OFF.map(|(id, status)| message(Some(id), status, None)).to_vec();
    assert_eq!(stalls(put_off()).await, limits.stall, "there is no other that it could wait for");
    // Another moves for three minutes, and stalls then.
    let moves = futures::stream::unfold(1, |n| async move {
        tokio::time::sleep(Duration::from_secs(31)).await;
        (n <= 6).then(|| (Ok(message(Some("dd"), "Downloading", Some((n, 9)))), n + 1))
    });
    let other = docker.watch("b", limits, moves.chain(futures::stream::pending()), |_| {});
    let (waited, other) = tokio::join!(stalls(put_off()), other);
    assert!(matches!(other, Err(PullError::Stalled { .. })), "{other:?}");
    // Then it has as long as any other to move.
    let stalled = Duration::from_secs(6 * 31) + limits.stall * 2;
    assert!((stalled..=stalled + LOOK).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_pull_waits_for_others_is_no_part_of_its_time() {
    let docker = Docker::connect("unix:///nonexistent/docker.sock").await.expect("an address");
    let limits = PullLimits { total: Duration::from_secs(90), ..PullLimits::default() };
    let queued = futures::stream::iter(PUT_OFF.map(|(id, status)| Ok(message(Some(id), status, None))));
    // Its turn comes after five minutes; then it moves for as long as it may.
    let turn = futures::stream::unfold(1, |n| async move {
        tokio::time::sleep(Duration::from_secs(if n == 1 { 300 } else { 30 })).await;
        Some((Ok(message(Some("cc"), "Downloading", Some((n, 99)))), n + 1))
    });
    let other = Active::new(docker.pulls());
    let began = Instant::now();
    let ended = docker.watch("a", limits, queued.chain(turn), |_| {}).await;
    drop(other);
    assert!(matches!(ended, Err(PullError::Timeout { begun: true, .. })), "{ended:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(300) + limits.total);
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_a_bound_of_its_own_is_asked_for_a_few_images_at_a_time() {
    let docker = Docker::connect("unix:///nonexistent/docker.sock").await.expect("an address");
    let never = || panic!("it need not wait");
    assert!(docker.pull_turn(never).await.is_none(), "the engine has one as far as is known");
    let status = vec![vec!["driver-type".to_owned(), "io.containerd.snapshotter.v1".to_owned()]];
    let info = bollard::models::SystemInfo { driver_status: Some(status), ..Default::default() };
    docker.learn(&crate::EngineInfo::from_engine(bollard::models::SystemVersion::default(), info));
    let mut turns = Vec::new();
    for _ in 0..UNBOUNDED_PULLS {
        turns.push(docker.pull_turn(never).await.expect("a turn"));
    }
    let waits = std::cell::Cell::new(false);
    let mut next = std::pin::pin!(docker.pull_turn(|| waits.set(true)));
    assert!(futures::poll!(&mut next).is_pending() && waits.get());
    turns.pop();
    assert!(next.await.is_some());
}

/// Messages as engines from 20.10 to 29 write them.
#[test]
fn failures_to_pull_are_told_apart_by_the_engines_words() {
    type Kind = fn(&PullError) -> bool;
    let not_found: Kind = |e| matches!(e, PullError::NotFound { .. });
    let auth: Kind = |e| matches!(e, PullError::Auth { .. });
    let unreachable: Kind = |e| matches!(e, PullError::Unreachable { .. });
    let disk: Kind = |e| matches!(e, PullError::Disk { .. });
    let other: Kind = |e| matches!(e, PullError::Other { .. });
    let cases: [(u16, &str, Kind); 12] = [
        (404, "manifest for reg:5000/a:1 not found: manifest unknown: manifest unknown", not_found),
        (404, "repository reg:5000/a not found: name unknown: repository name not known to registry", not_found),
        (404, "no matching manifest for linux/arm64 in the manifest list entries", not_found),
        (404, "pull access denied for a, repository does not exist or may require 'docker login': denied: no", auth),
        (500, "Get \"http://reg:5000/v2/a/manifests/1\": unauthorized: authentication required", auth),
        (500, "Get \"http://reg:5000/v2/\": no basic auth credentials", auth),
        (500, "Get \"http://127.0.0.1:5000/v2/\": dial tcp 127.0.0.1:5000: connect: connection refused", unreachable),
        (500, "Get \"https://reg/v2/\": dial tcp: lookup reg on 10.0.0.2:53: no such host", unreachable),
        (500, "Get \"https://reg/v2/\": net/http: TLS handshake timeout", unreachable),
        (500, "unexpected EOF", unreachable),
        (
            500,
            "failed to register layer: Error processing tar file(exit status 1): write /x: no space left on device",
            disk,
        ),
        (500, "toomanyrequests: rate exceeded", other),
    ];
    for (status, message, is_kind) in cases {
        let source = DockerError::Refused { doing: "pulling".into(), status, message: message.into() };
        let error = classify("reg:5000/a:1", source);
        assert!(is_kind(&error), "{message}: {error:?}");
        assert!(error.ecs_reason().ends_with(message), "{}", error.ecs_reason());
    }
}

#[test]
fn the_digest_is_that_of_the_repository_asked_for() {
    let info = ImageInfo {
        id: "sha256:cc".into(),
        repo_digests: vec!["a/b@sha256:aa".into(), "reg:5000/a/b@sha256:bb".into(), "reg:5000/a/b@sha256:dd".into()],
    };
    for (reference, digest) in [
        ("a/b:1", "sha256:aa"),
        ("docker.io/a/b:1", "sha256:aa"),
        ("reg:5000/a/b", "sha256:bb"),
        ("reg:5000/a/b@sha256:bb", "sha256:bb"),
        ("reg:5000/a/b@sha256:dd", "sha256:dd"),
    ] {
        assert_eq!(info.digest(reference), Some(digest), "{reference}");
    }
    for other in ["x", "reg:5000/x", "reg:5001/a/b"] {
        assert_eq!(info.digest(other), None, "{other}: a repository that does not know it");
    }
    assert_eq!(ImageInfo { id: String::new(), repo_digests: Vec::new() }.digest("a"), None);
}
