//! Containers whose output the agent ships, on an engine that is configured otherwise and with images that lie.

mod support;

use longshore_model::{LogConfig, NetworkMode, TaskId, TaskSpec};
use support::{Engine, config, connect, task};

fn shipped(mut task: TaskSpec) -> TaskSpec {
    let options = [("awslogs-group", "mine"), ("awslogs-region", "lab-1")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    task.containers[0].log = Some(LogConfig { driver: "awslogs".to_owned(), options });
    task
}

#[tokio::test]
async fn labels_of_images_make_no_container_ours() {
    let engine = Engine::start(&[]);
    let docker = connect(&engine).await;
    let ours = shipped(task(NetworkMode::None, "exec sleep 1000"));
    let made = config(&ours, &[]);
    docker.create(&made).await.expect("created");

    // An image of one of our containers has its labels.
    engine.docker(&["commit", made.name(), "committed:1"]);
    engine.docker(&["create", "--name", "foreign", "committed:1"]);
    let labels = engine.docker(&["inspect", "-f", "{{json .Config.Labels}}", "foreign"]);
    assert!(labels.contains("\"longshore.log-group\":\"mine\""), "{labels}");
    // So has a container of another task, but for what we give it.
    let mut other = task(NetworkMode::None, "exec sleep 1000");
    (other.id, other.containers[0].image) = (TaskId::from_bytes([7; 16]), "committed:1".to_owned());
    let other = config(&other, &[]);
    docker.create(&other).await.expect("created");

    let logged = docker.logged().await.expect("it answers");
    let found: Vec<_> = logged.iter().map(|c| (c.name.as_str(), c.target.group.as_str())).collect();
    assert_eq!(found, [(made.name(), "mine")]);
    let mut listed: Vec<String> = docker.list().await.expect("it answers").into_iter().map(|c| c.name).collect();
    let mut wanted = [made.name().to_owned(), other.name().to_owned()];
    listed.sort();
    wanted.sort();
    assert_eq!(listed, wanted);
}

#[tokio::test]
async fn the_engines_own_options_are_not_the_rings() {
    let configured = ["--log-opt", "max-size=1k", "--log-opt", "max-file=2", "--log-opt", "compress=true"];
    let buffer = ["--log-opt", "max-buffer-size=4m"];
    for (mode, extra) in [("blocking", &[][..]), ("non-blocking", &buffer[..])] {
        let engine = Engine::start(&[&configured[..], &["--log-opt", "mode=non-blocking"], extra].concat());
        let docker = connect(&engine).await;
        let ours = shipped(task(NetworkMode::None, "exec sleep 1000"));
        let made = config(&ours, &[]);
        docker.create(&made).await.expect("created");
        let option = |name: &str| {
            let show = format!("{{{{index .HostConfig.LogConfig.Config \"{name}\"}}}}");
            engine.docker(&["inspect", "-f", &show, made.name()])
        };
        let found = ["max-size", "max-file", "compress", "mode"].map(option);
        // An engine that has a buffer lets none of its containers block.
        assert_eq!(found, ["4194304", "4", "false", mode]);
        docker.start(made.name()).await.expect("started");
    }
}
