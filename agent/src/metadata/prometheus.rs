//! Figures of the agent and of tasks as Prometheus reads them. Nothing is measured between two questions.

use super::Metered;
use super::front::{Answer, Front, has_network};
use super::render;
use super::server::Head;
use super::stats::{Sample, Traffic};
use crate::engine::TaskView;
use crate::session::SessionState;
use http::{Method, StatusCode};
use longshore_model::{CheckStatus, NetworkMode};
use longshore_plan::Phase;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// The type of the text format.
const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Longest wait for the engine's own figures.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of a MiB.
const MIB: f64 = 1_048_576.0;

/// Nanoseconds of a second.
const NANOS: f64 = 1e9;

/// The metrics endpoint.
pub(super) struct Prometheus {
    pub(super) front: Arc<Front>,
    pub(super) metered: Metered,
}

/// The text as it grows.
#[derive(Default)]
struct Page(String);

impl Page {
    /// One metric with its values; nothing when there are none.
    fn metric(&mut self, name: &str, kind: &str, help: &str, values: &[(String, f64)]) {
        if values.is_empty() {
            return;
        }
        // A `String` takes everything.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.metric(name, kind, help, &[(String::new(), value)]);
    }
}

/// `{a="b",c="d"}`.
fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let all: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", all.join(","))
}

fn truth(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

/// A container's figures with what names it.
struct Reading {
    labels: String,
    sample: Arc<Sample>,
    /// Whether the network's are its own, and not told by another container of the same interface.
    network: bool,
}

impl Prometheus {
    pub(super) async fn answer(&self, head: &Head) -> Answer {
        if head.path != "/metrics" || !matches!(head.method, Method::GET | Method::HEAD) {
            return Answer::json(StatusCode::NOT_FOUND, &"the metrics are at /metrics");
        }
        let mut page = Page::default();
        self.agent(&mut page).await;
        let tasks = self.front.tasks();
        let mut known: BTreeMap<&str, f64> = BTreeMap::new();
        tasks.iter().for_each(|view| *known.entry(render::known(view)).or_default() += 1.0);
        let known: Vec<_> = known.iter().map(|(status, n)| (labels(&[("status", *status)]), *n)).collect();
        page.metric("longshore_tasks", "gauge", "Tasks by what they are.", &known);
        runs(&mut page, &tasks);
        containers(&mut page, &self.readings(&tasks).await);
        self.front.forget();
        Answer { status: StatusCode::OK, kind: KIND, body: page.0.into_bytes() }
    }

    async fn agent(&self, page: &mut Page) {
        let version = labels(&[("version", env!("CARGO_PKG_VERSION"))]);
        page.metric("longshore_agent_info", "gauge", "The agent's version.", &[(version, 1.0)]);
        process(page);
        self.work(page);
        let counts = self.front.counts();
        let counts: Vec<_> =
            counts.iter().map(|(code, n)| (labels(&[("code", code.to_string().as_str())]), *n as f64)).collect();
        page.metric("longshore_metadata_requests_total", "counter", "Answers to tasks, by HTTP status.", &counts);
        let (question, answer) = oneshot::channel();
        let asked = async {
            self.metered.engine.send(question).await.ok()?;
            answer.await.ok()
        };
        // A loop that is busy for so long is a figure of its own: these are missing then.
        let Ok(Some(engine)) = tokio::time::timeout(PATIENCE, asked).await else { return };
        page.one("longshore_docker_up", "gauge", "Whether Docker answers.", truth(engine.docker.ok));
        page.one("longshore_ledger_up", "gauge", "Whether the ledger can be written.", truth(engine.ledger.ok));
        page.one("longshore_generation", "gauge", "The assignment that is applied.", engine.generation as f64);
        let ports = engine.ports_claimed as f64;
        page.one("longshore_host_ports_claimed", "gauge", "Host ports that tasks have.", ports);
        let held = engine.memory_held_mib as f64 * MIB;
        page.one("longshore_host_memory_held_bytes", "gauge", "Memory that tasks on this host were given.", held);
        let waiting = engine.waiting_for_room as f64;
        page.one("longshore_tasks_waiting_for_room", "gauge", "Tasks that wait for what others still have.", waiting);
    }

    /// What the agent has done: its session, its ledger, its calls to the container engine, and what it found.
    fn work(&self, page: &mut Page) {
        let Metered { engine: _, session, figures, writes, docker, health } = &self.metered;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let connected = matches!(*session.borrow(), SessionState::Connected { .. });
        page.one("longshore_session_connected", "gauge", "Whether the control plane is reached.", truth(connected));
        let streams = read(&figures.streams);
        page.one("longshore_session_streams_total", "counter", "Streams to the control plane that began.", streams);
        let failures = read(&figures.failures);
        page.one("longshore_session_failures_total", "counter", "Streams that ended or did not begin.", failures);
        let sent = read(&figures.reports_sent);
        page.one("longshore_session_reports_total", "counter", "Reports of tasks that were sent.", sent);
        let waiting = read(&figures.reports_waiting);
        page.one("longshore_session_reports_waiting", "gauge", "Reports that are not recorded yet.", waiting);
        page.one("longshore_ledger_writes_total", "counter", "Transactions of the ledger.", read(&writes.ended));
        let failed = read(&writes.failed);
        page.one("longshore_ledger_failures_total", "counter", "Transactions that could not be written.", failed);
        page.one("longshore_ledger_saves_total", "counter", "Saves in these transactions.", read(&writes.saves));
        let took = read(&writes.micros) / 1e6;
        page.one("longshore_ledger_write_seconds_total", "counter", "Time that these transactions took.", took);
        let calls = docker.calls();
        let mut each = |name: &str, help: &str, of: &dyn Fn(&longshore_docker::Calls) -> f64| {
            let values: Vec<_> = calls.iter().map(|(kind, calls)| (labels(&[("call", kind)]), of(calls))).collect();
            page.metric(&format!("longshore_docker_{name}"), "counter", help, &values);
        };
        each("calls_total", "Calls to Docker that ended.", &|calls| calls.ended as f64);
        each("call_failures_total", "Calls that Docker refused or did not answer.", &|calls| calls.failed as f64);
        each("call_seconds_total", "Time that these calls took.", &|calls| calls.took.as_secs_f64());
        let health = health.borrow();
        let well: Vec<_> = health
            .checks
            .iter()
            .map(|c| (labels(&[("check", c.check.as_str())]), truth(c.status == CheckStatus::Ok)))
            .collect();
        page.metric("longshore_health_ok", "gauge", "Whether a check of this host is well.", &well);
    }

    async fn readings(&self, tasks: &[Arc<TaskView>]) -> Vec<Reading> {
        let mut readings = Vec::new();
        for view in tasks {
            let mut told = false;
            for (index, container) in view.record.containers.iter().enumerate() {
                if !container.phase.is_running() {
                    continue;
                }
                let Some(sample) = self.front.reading(view, index).await else { continue };
                let shared = view.outline.network_mode == NetworkMode::Awsvpc;
                let network = has_network(view, index) && !(shared && told);
                told |= network;
                readings.push(Reading { labels: named(view, index), sample, network });
            }
        }
        readings
    }
}

/// Of this process; nothing where the kernel does not tell.
fn process(page: &mut Page) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let stat = read("stat");
    // After the name, which may hold anything, come the state and numbers.
    let fields: Vec<&str> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
    let number = |index: usize| fields.get(index).and_then(|field| field.trim().parse::<f64>().ok());
    if let (Some(user), Some(kernel)) = (number(11), number(12)) {
        let name = "process_cpu_seconds_total";
        page.one(name, "counter", "Time of the processor that the agent took.", (user + kernel) / 100.0);
    }
    let status = read("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    if let Some(kib) = resident.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<f64>().ok()) {
        page.one("process_resident_memory_bytes", "gauge", "The agent's memory.", kib * 1024.0);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.one("process_open_fds", "gauge", "The agent's open files.", open.count() as f64);
    }
}

/// What names a container.
fn named(view: &TaskView, index: usize) -> String {
    labels(&[
        ("cluster", view.outline.cluster.as_str()),
        ("family", view.outline.family.as_str()),
        ("task", view.record.id.to_string().as_str()),
        ("container", view.record.containers[index].name.as_str()),
    ])
}

/// What restart policies did. Containers that are over are not told of any more.
fn runs(page: &mut Page, tasks: &[Arc<TaskView>]) {
    let (mut restarts, mut down, mut row) = (Vec::new(), Vec::new(), Vec::new());
    for view in tasks {
        for (index, container) in view.record.containers.iter().enumerate() {
            if container.phase.is_stopped() {
                continue;
            }
            let labels = named(view, index);
            restarts.push((labels.clone(), f64::from(container.restarts.count)));
            down.push((labels.clone(), truth(matches!(container.phase, Phase::Restarting { .. }))));
            row.push((labels, f64::from(container.restarts.soon)));
        }
    }
    let name = |name: &str| format!("longshore_container_{name}");
    page.metric(&name("restarts_total"), "counter", "How often its restart policy started it again.", &restarts);
    page.metric(&name("restart_pending"), "gauge", "Whether it is down and will be started again.", &down);
    let help = "How often in a row it ended too soon: from 2 on it is in a crash loop.";
    page.metric(&name("early_ends"), "gauge", help, &row);
}

fn containers(page: &mut Page, readings: &[Reading]) {
    let mut each = |name: &str, kind: &str, help: &str, of: &dyn Fn(&Reading) -> Option<f64>| {
        let values: Vec<_> = readings.iter().filter_map(|r| Some((r.labels.clone(), of(r)?))).collect();
        page.metric(&format!("longshore_container_{name}"), kind, help, &values);
    };
    each("cpu_seconds_total", "counter", "Time of the processor.", &|r| Some(r.sample.cpu.total as f64 / NANOS));
    each("cpu_throttled_seconds_total", "counter", "Time for which a limit held it up.", &|r| {
        Some(r.sample.cpu.throttled as f64 / NANOS)
    });
    each("memory_usage_bytes", "gauge", "Memory, with the page cache.", &|r| Some(r.sample.memory.usage as f64));
    each("memory_working_set_bytes", "gauge", "Memory without the page cache that could go at once.", &|r| {
        let idle = ["total_inactive_file", "inactive_file"].iter().find_map(|name| r.sample.memory.stats.get(*name));
        Some(r.sample.memory.usage.saturating_sub(idle.copied().unwrap_or_default()) as f64)
    });
    each("memory_limit_bytes", "gauge", "Its limit, or the host's memory.", &|r| Some(r.sample.memory.limit as f64));
    each("processes", "gauge", "Processes and threads.", &|r| Some(r.sample.pids.current as f64));
    let disk = |op: &'static str| {
        move |r: &Reading| {
            let of_op = r.sample.io_bytes.iter().filter(|io| io.op.eq_ignore_ascii_case(op));
            Some(of_op.map(|io| io.value).sum::<u64>() as f64)
        }
    };
    each("disk_read_bytes_total", "counter", "Read from disks.", &disk("read"));
    each("disk_written_bytes_total", "counter", "Written to disks.", &disk("write"));
    let operations = |op: &'static str| {
        move |r: &Reading| {
            let of_op = r.sample.io_operations.iter().filter(|io| io.op.eq_ignore_ascii_case(op));
            Some(of_op.map(|io| io.value).sum::<u64>() as f64)
        }
    };
    each("disk_reads_total", "counter", "Reads from disks.", &operations("read"));
    each("disk_writes_total", "counter", "Writes to disks.", &operations("write"));
    let network = |of: fn(&Traffic) -> u64| {
        move |r: &Reading| r.network.then(|| r.sample.networks.values().map(of).sum::<u64>() as f64)
    };
    let of_task = "by the network; of tasks with an interface, all containers together.";
    each("network_received_bytes_total", "counter", &format!("Received {of_task}"), &network(|t| t.rx_bytes));
    each("network_sent_bytes_total", "counter", &format!("Sent {of_task}"), &network(|t| t.tx_bytes));
    for (name, help, of) in [
        ("received_packets_total", "Packets received", (|t| t.rx_packets) as fn(&Traffic) -> u64),
        ("sent_packets_total", "Packets sent", |t| t.tx_packets),
        ("received_dropped_total", "Packets that came and were dropped", |t| t.rx_dropped),
        ("sent_dropped_total", "Packets that were to go and were dropped", |t| t.tx_dropped),
        ("received_errors_total", "Packets that came damaged", |t| t.rx_errors),
        ("sent_errors_total", "Packets that could not go", |t| t.tx_errors),
    ] {
        each(&format!("network_{name}"), "counter", &format!("{help} {of_task}"), &network(of));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.metric("a_total", "counter", "What it is.", &[(labels(&[("x", "1"), ("y", "\"\\\n")]), 2.5)]);
        page.metric("none", "gauge", "Nothing.", &[]);
        page.one("b", "gauge", "One.", 3.0);
        assert_eq!(
            page.0,
            "# HELP a_total What it is.\n# TYPE a_total counter\na_total{x=\"1\",y=\"\\\"\\\\\\n\"} 2.5\n\
             # HELP b One.\n# TYPE b gauge\nb 3\n"
        );
    }

    #[test]
    fn this_process_has_figures() {
        let mut page = Page::default();
        process(&mut page);
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
            let value = page.0.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            assert!(value.is_some_and(|value| value.parse::<f64>().is_ok_and(|value| value >= 0.0)), "{}", page.0);
        }
    }
}
