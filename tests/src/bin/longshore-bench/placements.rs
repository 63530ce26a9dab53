//! Durable placements a second over a large fleet, against what etcd writes on the same disk.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::host::program;
use longshore_tests::lab::wait_until;
use serde_json::Value;

use crate::figures::scaled;

/// Callers at once.
const CALLERS: usize = 64;

/// The fleet that the aims are for.
const HOSTS: usize = 5_000;
const TASKS: usize = 100_000;

/// A directory on the disk that a control plane would use; `/tmp` may be memory.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        let base = std::env::var_os("LONGSHORE_BENCH_DIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let path = base.join(format!("longshore-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("could not make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("longshore-bench: could not remove {}: {error}", self.0.display());
        }
    }
}

pub(crate) fn run() -> Result<()> {
    let scratch = Scratch::new()?;
    let (hosts, tasks) = (scaled(HOSTS, 50), scaled(TASKS, 1_000) / 20 * 20);
    let ours = ours(&scratch.0, hosts, tasks)?;
    let puts = etcd(&scratch.0)?;
    let of = |name: &str| ours[name].as_f64().with_context(|| format!("the example did not say `{name}`"));
    println!("\n### Placements over {hosts} hosts and {tasks} tasks\n");
    println!("| ratio | what | Longshore | against | aim |");
    println!("|---|---|---|---|---|");
    for (what, name) in [("spread over hosts", "spread_per_second"), ("no strategy", "random_per_second")] {
        let rate = of(name)?;
        println!(
            "| **{:.2}** | durable placements a second, {what} | {rate:.0} /s | etcd puts of `etcdctl check perf`, \
             {puts:.0} /s | 5000 /s, and etcd's |",
            rate / puts.max(1e-9)
        );
    }
    let millis = |name: &str| of(name).map(|seconds| seconds * 1000.0);
    println!(
        "| | RunTask of ten tasks, spread | {:.1} / {:.1} ms (p50 / p99) | | |",
        millis("call_p50")?,
        millis("call_p99")?
    );
    println!(
        "| | one decision, spread over zones and hosts | {:.2} / {:.2} ms (p50 / p99) | | |",
        millis("decision_p50")?,
        millis("decision_p99")?
    );
    println!("| | resident memory | {:.0} MiB | | 600 MiB |", of("memory_mib")?);
    println!("| | start of a new process | {:.2} s, {:.0} MiB | | 2 s |", of("open_seconds")?, of("opened_mib")?);
    Ok(())
}

fn ours(directory: &Path, hosts: usize, tasks: usize) -> Result<Value> {
    let example = program("examples/placements").context("`cargo build --example placements` makes it")?;
    let numbers = [hosts, tasks, CALLERS].map(|number| number.to_string());
    let output = Command::new(example).args(numbers).env("TMPDIR", directory).stderr(Stdio::inherit()).output();
    let output = output.context("could not start the example `placements` of longshore-core")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "the example `placements` ended with {}: {text}", output.status);
    let last = text.lines().last().context("the example `placements` said nothing")?;
    serde_json::from_str(last).with_context(|| format!("not the figures of the example `placements`: {last}"))
}

/// An etcd of its own, ended when it is dropped.
struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        if let Err(error) = ended {
            eprintln!("longshore-bench: could not end etcd: {error}");
        }
    }
}

/// Durable puts a second, by etcd's own client.
fn etcd(directory: &Path) -> Result<f64> {
    let [client, peer] = [free_port()?, free_port()?].map(|port| format!("http://127.0.0.1:{port}"));
    let mut command = Command::new("etcd");
    command
        .args(["--name", "bench", "--data-dir"])
        .arg(directory.join("etcd"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("bench={peer}"), "--log-level", "error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _etcd = Etcd(command.spawn().context("could not start etcd; tests/setup.sh test installs it")?);
    let control = |args: &[&str]| -> Result<std::process::Output> {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &client]).args(args);
        command.output().context("could not start etcdctl; tests/setup.sh test installs it")
    };
    wait_until("etcd answers", Duration::from_secs(30), || Ok(control(&["endpoint", "health"])?.status.success()))?;
    // The largest load that it knows: 1000 clients, at most 15,000 puts a second, for a minute. Whether that was
    // reached decides how it ends; how many there were is printed either way.
    let output = control(&["check", "perf", "--load", "xl"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    throughput(&text).with_context(|| format!("`etcdctl check perf` said no throughput: {text}"))
}

/// The number in `Throughput is 150 writes/s` or `Throughput too low: 96 writes/s`.
fn throughput(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains("Throughput"))?;
    let before = line.split(" writes/s").next()?;
    before.rsplit(|c: char| !(c.is_ascii_digit() || c == '.')).next()?.parse().ok()
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).context("there is no free port")?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::throughput;

    #[test]
    fn what_etcd_says_is_read() {
        for (text, expected) in [
            ("PASS: Throughput is 150 writes/s\nPASS: Slowest request took 0.1s", Some(150.0)),
            (" 60 / 60 100.00% 1m0s\nFAIL: Throughput too low: 9876 writes/s", Some(9876.0)),
            ("FAIL: too many errors", None),
        ] {
            assert_eq!(throughput(text), expected, "{text}");
        }
    }
}
