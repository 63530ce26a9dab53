//! Measures how many create-and-start chains in flight suit an engine best.
//!
//! `cargo run --release --example burst -- ENDPOINT IMAGE [bridge|host|none] [CONTAINERS] [ROUNDS] [WIDTHS]`
//!
//! Each round tries every width once, in turn, so that a busy machine disturbs all alike; it prints the median and the
//! fastest round of each. With `PORTS` in the environment each container publishes a port. The image needs
//! `/bin/sleep`. Everything that it makes it removes.

use futures::stream::{self, StreamExt};
use longshore_docker::{ContainerInput, Docker, container_config};
use longshore_model::{
    ClusterName, ContainerName, ContainerSpec, NetworkBinding, NetworkMode, Protocol, TaskId, TaskSpec,
};
use std::time::{Duration, Instant};

const WIDTHS: &str = "1,2,4,8,16,32,64";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, image, rest @ ..] = args.as_slice() else {
        eprintln!("usage: burst unix:///run/docker.sock IMAGE [bridge|host|none] [CONTAINERS] [ROUNDS] [WIDTHS]");
        std::process::exit(2);
    };
    let mode = match rest.first().map_or("bridge", String::as_str) {
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        _ => NetworkMode::Bridge,
    };
    let number = |i: usize, default: usize| rest.get(i).and_then(|n| n.parse().ok()).unwrap_or(default);
    let (count, rounds) = (number(1, 100), number(2, 3));
    let widths = rest.get(3).map_or(WIDTHS, String::as_str);
    let widths: Vec<usize> = widths.split(',').map(|w| w.parse().expect("widths are numbers")).collect();
    let docker = Docker::connect(endpoint).await.expect("an endpoint");
    let mut results: Vec<Vec<Duration>> = vec![Vec::new(); widths.len()];
    for _ in 0..rounds {
        for (width, times) in widths.iter().zip(&mut results) {
            times.push(burst(&docker, image, mode, count, *width).await);
        }
    }
    println!("{} x {}: seconds for create and start, by chains in flight", count, mode.as_str());
    for (width, times) in widths.iter().zip(&mut results) {
        times.sort();
        let median = times[times.len() / 2].as_secs_f64();
        println!("{width:>3}: median {median:6.2}  fastest {:6.2}", times[0].as_secs_f64());
    }
}

async fn burst(docker: &Docker, image: &str, mode: NetworkMode, count: usize, width: usize) -> Duration {
    let tasks: Vec<TaskSpec> = (0..count).map(|_| task(image, mode)).collect();
    let begun = Instant::now();
    let names: Vec<String> = stream::iter(tasks.iter().enumerate())
        .map(|(i, task)| async move {
            let host_port = 20_000 + u16::try_from(i).expect("few");
            let binding = NetworkBinding {
                bind_ip: "0.0.0.0".into(),
                container_port: 80,
                host_port,
                protocol: Protocol::Tcp,
                count: 1,
            };
            let bindings = if std::env::var_os("PORTS").is_some() { vec![binding] } else { Vec::new() };
            let input = ContainerInput {
                task,
                container: &task.containers[0],
                bindings: &bindings,
                sandbox: None,
                cgroup_parent: None,
                supervise: "{}",
            };
            let config = container_config(&input).expect("a plain container");
            docker.create(&config).await.expect("created");
            docker.start(config.name()).await.expect("started");
            config.name().to_owned()
        })
        .buffer_unordered(width)
        .collect()
        .await;
    let taken = begun.elapsed();
    stream::iter(&names)
        .for_each_concurrent(8, |name| async move {
            docker.kill(name).await.expect("killed");
            while docker.remove(name).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    taken
}

fn task(image: &str, mode: NetworkMode) -> TaskSpec {
    let name = ContainerName::new("main").expect("a name");
    let container =
        ContainerSpec { command: Some(vec!["/bin/sleep".into(), "1000".into()]), ..ContainerSpec::new(name, image) };
    let cluster = ClusterName::new("burst").expect("a name");
    TaskSpec::new(TaskId::random(), cluster, "burst", mode, vec![container])
}
