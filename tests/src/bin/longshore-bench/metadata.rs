//! How many questions about itself a task gets answered a second, against a file that a small web server hands out on
//! the same host. Every request is a connection of its own on both sides, as programs that ask once in a while make
//! them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::{Node, wait_until};

use crate::figures::{Rates, rate_head, rate_row, scaled};
use crate::fleet::{DEADLINE, Fleet};

/// Where tasks ask.
const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 170, 2), 80);

/// Where the other server is.
const FILES: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8097);

/// Clients that ask at a time.
const MANY: usize = 16;

/// `/task` and `/task/stats` of version 4, with one client and many.
pub(crate) fn run() -> Result<()> {
    // Nobody is to be held up.
    let fleet = Fleet::with_agent("metadata_rate = \"1000000,1000000\"\n")?;
    let mut boto = fleet.lab.boto()?;
    // Processes of the host ask for tasks in its network.
    let definition = fleet.define_quiet("asks")?;
    let arns = fleet.run_tasks(&mut boto, &definition, 1, "")?;
    fleet.wait_running(&mut boto, &arns)?;
    let node = fleet.node();
    let id = arns[0].rsplit('/').next().context("no id")?;
    let told = node.engine.inspect(&format!("ls-{id}-main"))?;
    let environment = told["Config"]["Env"].as_array().context("no environment")?;
    let uri = environment.iter().filter_map(|e| e.as_str()?.strip_prefix("ECS_CONTAINER_METADATA_URI_V4=")).next();
    let path = uri.and_then(|uri| uri.strip_prefix("http://169.254.170.2")).context("no metadata URI")?;

    rate_head("Metadata of a task");
    for what in ["/task", "/task/stats"] {
        let asked = format!("{path}{what}");
        // The first answer about a container takes longer: it is looked at.
        let answer = node.host.in_network(|| ask(ENDPOINT, &asked))?;
        let pages = fleet.stamps.join("pages");
        std::fs::create_dir_all(&pages)?;
        std::fs::write(pages.join("file"), &answer)?;
        let server = serve(&fleet, &pages)?;
        for clients in [1, MANY] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for round in 0..=scaled(5, 1) {
                let each = [load(node, FILES, "/file", clients)?, load(node, ENDPOINT, &asked, clients)?];
                if round > 0 {
                    theirs.push(each[0]);
                    ours.push(each[1]);
                }
            }
            let name = format!("`/v4/ID{what}` ({} bytes), {clients} at a time", answer.len());
            row(&name, ours, theirs);
        }
        drop(server);
    }
    fleet.stop_tasks(&mut boto, &arns)
}

fn row(what: &str, ours: Vec<f64>, theirs: Vec<f64>) {
    let other = "a file of that size, busybox httpd";
    rate_row(what, "requests/s", &Rates::new(ours), other, &Rates::new(theirs));
}

fn serve(fleet: &Fleet, pages: &std::path::Path) -> Result<longshore_tests::lab::process::Process> {
    let host = &fleet.node().host;
    let address = FILES.to_string();
    let process = host.start("httpd", std::path::Path::new("busybox"), |command| {
        command.args(["httpd", "-f", "-p", &address, "-h"]).arg(pages);
    })?;
    wait_until("the other server", DEADLINE, || {
        host.in_network(|| Ok(TcpStream::connect_timeout(&FILES.into(), Duration::from_secs(1)).is_ok()))
    })?;
    Ok(process)
}

/// One request on a connection of its own; the body.
fn ask(at: SocketAddrV4, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(at).with_context(|| format!("could not connect to {at}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.0 200"), "{path}: {}", text(&answer));
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n").context("an answer without end of its head")?;
    Ok(answer.split_off(head + 4))
}

fn text(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).chars().take(200).collect()
}

/// Requests a second that `clients` get answered together.
fn load(node: &Node, at: SocketAddrV4, path: &str, clients: usize) -> Result<f64> {
    let span = Duration::from_secs(scaled(5, 1) as u64);
    node.host.in_network(|| {
        let begin = Instant::now();
        let counts: Vec<Result<usize>> = std::thread::scope(|scope| {
            // A thread is in the network of the one that made it.
            let client = || {
                let mut count = 0;
                while begin.elapsed() < span {
                    ask(at, path)?;
                    count += 1;
                }
                Ok(count)
            };
            let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|_| anyhow::bail!("a client panicked"))).collect()
        });
        let total = counts.into_iter().sum::<Result<usize>>()?;
        #[expect(clippy::cast_precision_loss)]
        let rate = total as f64 / begin.elapsed().as_secs_f64();
        Ok(rate)
    })
}
