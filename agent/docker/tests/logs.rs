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
