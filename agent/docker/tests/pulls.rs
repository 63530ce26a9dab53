//! Pulls against a real engine and a real registry, and against registries that misbehave.

mod support;

use longshore_docker::{Docker, ImageInfo, PullError, PullLimits, PullProgress};
use nix::sched::{CloneFlags, setns};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Engine, IMAGE, connect, eventually};

const REGISTRY: &str = "127.0.0.1:5000";
const REPOSITORY: &str = "127.0.0.1:5000/longshore-test/busybox";

/// Well above what manifests take and well below the image's layer.
const BEFORE_THE_FAULT: usize = 200_000;

/// Short limits where a test waits for one, long ones otherwise.
fn limits() -> PullLimits {
    let long = Duration::from_secs(60);
    PullLimits { begin: long, stall: long, total: long }
}

async fn pull(docker: &Docker, reference: &str, limits: PullLimits) -> (Result<ImageInfo, PullError>, PullProgress) {
    let mut last = PullProgress::default();
    let result = docker.pull(reference, None, limits, |progress| last = progress.clone()).await;
    (result, last)
}

/// Runs `serve` on every connection to `address` in the engine's network namespace, until the test ends.
fn listen(engine: &Engine, address: &'static str, serve: impl Fn(TcpStream) + Send + Sync + 'static) {
    let netns = std::fs::File::open(engine.netns()).expect("the namespace is there");
    let (ready, listening) = std::sync::mpsc::channel();
    // A namespace belongs to a thread, and threads made by this one stay in it.
    std::thread::spawn(move || {
        setns(netns, CloneFlags::CLONE_NEWNET).expect("entered");
        let listener = TcpListener::bind(address).expect("bound");
        ready.send(()).expect("the test waits");
        let serve = Arc::new(serve);
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    listening.recv().expect("it listens");
}

/// Passes bytes on to the registry, and back until a budget is spent; then `then` decides about the connection.
fn limited(budget: usize, then: impl Fn(&TcpStream) + Send + Sync + 'static) -> impl Fn(TcpStream) + Send + Sync {
    let spent = Arc::new(AtomicUsize::new(0));
    move |client| {
        let server = TcpStream::connect(REGISTRY).expect("the registry listens");
        let (mut from_client, mut to_server) =
            (client.try_clone().expect("cloned"), server.try_clone().expect("cloned"));
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Write);
        });
        let (mut server, mut client) = (server, client);
        let mut buffer = [0; 4096];
        loop {
            match server.read(&mut buffer) {
                Ok(0) | Err(_) => return drop(client.shutdown(Shutdown::Write)),
                Ok(n) if spent.fetch_add(n, Ordering::Relaxed) > budget => return then(&client),
                Ok(n) => {
                    if client.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn start_registry(engine: &mut Engine) {
    let directory = engine.directory().join("registry");
    std::fs::create_dir_all(&directory).expect("made");
    let config = directory.join("config.yml");
    let text = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
         http:\n  addr: {REGISTRY}\n",
        directory.display()
    );
    std::fs::write(&config, text).expect("written");
    engine.beside("docker-registry", &["serve", &config.display().to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_succeed_fail_and_stall_as_themselves() {
    let registry = std::process::Command::new("docker-registry").arg("--version").output();
    registry.expect("Debian's docker-registry is there; `make setup-test` installs it");
    let mut engine = Engine::start(&[]);
    start_registry(&mut engine);
    let docker = connect(&engine).await;
    let tagged = format!("{REPOSITORY}:1");
    engine.docker(&["tag", IMAGE, &tagged]);
    eventually("the registry takes the image", || async {
        engine.cli(&["push", &tagged]).status.success().then_some(())
    })
    .await;
    let forget = |reference: &str| {
        engine.cli(&["rmi", IMAGE, reference]);
        engine.cli(&["rmi", "-f", reference]);
    };
    forget(&tagged);
    assert_eq!(docker.image(&tagged).await.expect("it answers"), None);

    a_good_pull(&docker, &tagged).await;
    unknown_ones(&docker).await;
    forget(&tagged);

    // Each fault has an address of its own, so that the engine's memory of one does not touch the next.
    listen(
        &engine,
        "127.0.0.2:5000",
        limited(BEFORE_THE_FAULT, |_| {
            loop {
                std::thread::park();
            }
        }),
    );
    stalls(&docker, "127.0.0.2:5000/longshore-test/busybox:1").await;
    listen(&engine, "127.0.0.3:5000", limited(BEFORE_THE_FAULT, |client| drop(client.shutdown(Shutdown::Both))));
    breaks_off(&docker, "127.0.0.3:5000/longshore-test/busybox:1").await;
    listen(&engine, "127.0.0.4:5000", |_stream| {
        loop {
            std::thread::park();
        }
    });
    never_begins(&docker, "127.0.0.4:5000/a:1").await;
    listen(&engine, "127.0.0.5:5000", |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(
            b"HTTP/1.1 401 Unauthorized\r\nWww-Authenticate: Basic realm=\"r\"\r\n\
              Content-Length: 0\r\nConnection: close\r\n\r\n",
        );
    });
    wants_credentials(&docker, "127.0.0.5:5000/a:1").await;
    nobody_there(&docker, "127.0.0.6:5000/a:1").await;

    // After all that, the engine is none the worse.
    a_good_pull(&docker, &tagged).await;
}

async fn a_good_pull(docker: &Docker, reference: &str) {
    let (result, progress) = pull(docker, reference, limits()).await;
    let image = result.expect("pulled");
    assert!(progress.layers > 0 && progress.layers_done == progress.layers, "{progress:?}");
    assert_eq!(docker.image(reference).await.expect("it answers"), Some(image.clone()));
    let digest = image.digest(reference).expect("a pulled image has a digest").to_owned();
    let by_digest = format!("{REPOSITORY}@{digest}");
    let (result, _) = pull(docker, &by_digest, limits()).await;
    assert_eq!(result.expect("pulled").id, image.id);
}

async fn unknown_ones(docker: &Docker) {
    for reference in [format!("{REPOSITORY}:absent"), format!("{REGISTRY}/absent:1")] {
        let begun = Instant::now();
        let (result, _) = pull(docker, &reference, limits()).await;
        let error = result.expect_err("there is no such image");
        assert!(matches!(error, PullError::NotFound { .. }), "{error:?}");
        assert!(error.ecs_reason().starts_with("CannotPullContainerError: Error response from daemon: "), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "an unknown image is known at once");
    }
    let (result, _) = pull(docker, "not a reference", limits()).await;
    assert!(matches!(result, Err(PullError::Reference { .. })));
}

async fn stalls(docker: &Docker, reference: &str) {
    let stall = Duration::from_secs(2);
    let (result, progress) = pull(docker, reference, PullLimits { stall, ..limits() }).await;
    let error = result.expect_err("nothing comes any more");
    assert!(matches!(error, PullError::Stalled { .. }), "{error:?}");
    assert!(progress.layers > 0, "it had begun: {progress:?}");
    assert_eq!(docker.image(reference).await.expect("it answers"), None, "no half image");
    let total = Duration::from_secs(1);
    let (result, _) = pull(docker, reference, PullLimits { total, ..limits() }).await;
    assert!(matches!(result, Err(PullError::Timeout { begun: true, .. })), "{result:?}");
}

async fn breaks_off(docker: &Docker, reference: &str) {
    let (result, _) = pull(docker, reference, limits()).await;
    let error = result.expect_err("half a layer is no layer");
    assert!(matches!(error, PullError::Unreachable { .. }), "{error:?}");
    assert_eq!(docker.image(reference).await.expect("it answers"), None, "no half image");
}

async fn never_begins(docker: &Docker, reference: &str) {
    let begin = Duration::from_secs(1);
    let (result, _) = pull(docker, reference, PullLimits { begin, ..limits() }).await;
    assert!(matches!(result, Err(PullError::Timeout { begun: false, .. })), "{result:?}");
}

async fn wants_credentials(docker: &Docker, reference: &str) {
    let (result, _) = pull(docker, reference, limits()).await;
    assert!(matches!(result, Err(PullError::Auth { .. })), "{result:?}");
}

async fn nobody_there(docker: &Docker, reference: &str) {
    let begun = Instant::now();
    let (result, _) = pull(docker, reference, limits()).await;
    assert!(matches!(result, Err(PullError::Unreachable { .. })), "{result:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "a refused connection is known at once");
}
