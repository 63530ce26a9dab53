//! Ten thousand agents on one control plane: its memory and processor time at rest, and the way of an assignment,
//! against a bare server with as many streams.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use longshore_tests::lab::host::{program, tail};
use longshore_tests::lab::wait_until;
use serde_json::Value;

use crate::figures::scaled;
use crate::placements::Scratch;

/// The fleet that the aims are for.
const AGENTS: usize = 10_000;
/// Assignments a second.
const RATE: usize = 500;
/// Seconds of each measurement.
const SPAN: usize = 60;
/// The longest that all of it may take; with what is measured, joining and connecting of ten thousand is a few minutes.
const LIMIT: Duration = Duration::from_secs(1800);

/// Raises the number of files that may be open to the highest that is allowed, and becomes the program then: each
/// connection is a file on both sides.
const WITH_FILES: [&str; 3] = ["-c", "ulimit -S -n \"$(ulimit -H -n)\" && exec \"$@\"", "sh"];

/// A program of the measurement, ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        if let Err(error) = ended {
            eprintln!("longshore-bench: could not end a program: {error}");
        }
    }
}

pub(crate) fn run() -> Result<()> {
    let agents = scaled(AGENTS, 50);
    let (rate, span) = (scaled(RATE, 20), scaled(SPAN, 5));
    let scratch = Scratch::new()?;
    let data = scratch.0.join("control");
    let ports = free_ports()?;
    let control = control(&scratch.0, &data, ports)?;
    let numbers = [control.0.id() as usize, ports[0].into(), ports[1].into(), agents, rate, span, span];
    let figures = simulate(&scratch.0, &data, &numbers)?;
    drop(control);
    print(&figures, span)
}

/// Two ports, which are not the same.
fn free_ports() -> Result<[u16; 2]> {
    let bind = || TcpListener::bind(("127.0.0.1", 0)).context("there is no free port");
    let [first, second] = [bind()?, bind()?];
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}

/// A control plane as it is by default, on loopback.
fn control(scratch: &Path, data: &Path, [api, agents]: [u16; 2]) -> Result<Running> {
    let config = scratch.join("control.toml");
    let text = format!(
        "data_dir = \"{}\"\napi_listen = \"127.0.0.1:{api}\"\nagent_listen = \"127.0.0.1:{agents}\"\n",
        data.display()
    );
    std::fs::write(&config, text)?;
    let log_path = scratch.join("control.log");
    let log = File::create(&log_path)?;
    let mut command = Command::new("sh");
    command.args(WITH_FILES).arg(program("longshore-control")?).arg("--config").arg(&config);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut control = Running(command.spawn().context("could not start a control plane")?);
    wait_until("the control plane's API", Duration::from_secs(30), || {
        if let Some(status) = control.0.try_wait()? {
            bail!("the control plane ended with {status}: {}", tail(&log_path));
        }
        // It listens before it has written the root access key.
        Ok(data.join("root-credentials").exists() && TcpStream::connect(("127.0.0.1", api)).is_ok())
    })?;
    Ok(control)
}

/// Runs the fleet of `control-plane/examples/agents` until it has its figures.
fn simulate(scratch: &Path, data: &Path, numbers: &[usize]) -> Result<Value> {
    let example: PathBuf = program("examples/agents").context("`cargo build --example agents` makes it")?;
    let out = scratch.join("agents.log");
    let mut command = Command::new("sh");
    command.args(WITH_FILES).arg(example).arg(data).args(numbers.iter().map(usize::to_string));
    // It ends when this end of its input is closed, also by a death of this process.
    command.stdin(Stdio::piped()).stdout(File::create(&out)?).stderr(Stdio::inherit());
    let mut fleet = Running(command.spawn().context("could not start the example `agents` of longshore-control")?);
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = fleet.0.try_wait()? {
            break status;
        }
        ensure!(Instant::now() < deadline, "the agents took longer than {LIMIT:?}: {}", tail(&out));
        std::thread::sleep(Duration::from_millis(100));
    };
    let text = std::fs::read_to_string(&out)?;
    ensure!(status.success(), "the example `agents` ended with {status}: {text}");
    let last = text.lines().last().context("the example `agents` said nothing")?;
    serde_json::from_str(last).with_context(|| format!("not the figures of the example `agents`: {last}"))
}

fn print(figures: &Value, span: usize) -> Result<()> {
    let of = |path: &str| figures.pointer(path).and_then(Value::as_f64).with_context(|| format!("no figure `{path}`"));
    let both = |path: &str| Ok::<_, anyhow::Error>((of(&format!("/ours/{path}"))?, of(&format!("/bare/{path}"))?));
    let (agents, rate) = (of("/agents")?, of("/rate")?);
    println!("\n### {agents} agents on one control plane\n");
    println!("| ratio | what | Longshore | against: a bare tonic server | aim |");
    println!("|---|---|---|---|---|");
    let (ours, bare) = both("rest/mib")?;
    println!(
        "| **{:.2}** | resident memory, all connected and idle | {ours:.0} MiB | {bare:.0} MiB | 600 MiB |",
        ours / bare
    );
    let (ours, bare) = both("rest/cpu")?;
    let ratio = ours / bare.max(1e-9);
    let pace = of("/ours/heartbeat_millis")? / 1000.0;
    println!(
        "| **{ratio:.2}** | idle, a heartbeat every {pace:.2} s each, over {span} s | {ours:.3} cores \
         | {bare:.3} cores | 0.25 cores |"
    );
    let run = |what: &str| -> Result<String> {
        let at = |name: &str| of(&format!("/ours/load/{what}/{name}"));
        Ok(format!("{:.1} / {:.1} / {:.1} ms", at("p50")?, at("p99")?, at("max")?))
    };
    let bare = |name: &str| of(&format!("/bare/load/{name}"));
    let there = format!("{:.1} / {:.1} / {:.1} ms", bare("p50")?, bare("p99")?, bare("max")?);
    let ratio = of("/ours/load/run/p99")? / bare("p99")?.max(1e-9);
    println!(
        "| **{ratio:.2}** | RunTask to the agent, {rate} a second (p50 / p99 / worst) | {} \
         | a message there and back, {there} | 100 ms (p99) |",
        run("run")?
    );
    println!("| | StopTask to the agent, {rate} a second | {} | | |", run("stop")?);
    for (what, name) in [("RunTask", "run"), ("StopTask", "stop")] {
        let at = |name: &str| of(&format!("/ours/load/{name}"));
        let (p50, p99) = (at(&format!("{name}/answer_p50"))?, at(&format!("{name}/answer_p99"))?);
        println!("| | {what} until the API's answer (p50 / p99) | {p50:.1} / {p99:.1} ms | | |");
    }
    let used = |path: &str| of(&format!("{path}/used/cpu"));
    println!(
        "| | processor time, starting and stopping {rate} tasks a second | {:.3} and {:.3} cores \
         | {:.3} cores, messages alone | |",
        used("/ours/load/run")?,
        used("/ours/load/stop")?,
        used("/bare/load")?
    );
    let generator =
        ["/ours/rest/own_cpu", "/ours/load/run/used/own_cpu", "/ours/load/stop/used/own_cpu", "/bare/rest/own_cpu"];
    let generator: Vec<String> = generator.iter().map(|path| Ok(format!("{:.3}", of(path)?))).collect::<Result<_>>()?;
    println!(
        "\nThe agents themselves took {} and {} MiB: at rest, while tasks started, while they stopped, and at rest \
         with the bare server. All joined in {:.0} s and connected in {:.1} s; without agents the control plane had \
         {:.0} MiB before and {:.0} MiB ten seconds after. {} sessions were lost and begun again, {} with the bare \
         server.",
        format_args!("{} cores", generator.join(", ")),
        of("/ours/rest/own_mib")?.round(),
        of("/ours/joined_secs")?,
        of("/ours/connected_secs")?,
        of("/ours/before_mib")?,
        of("/ours/left_mib")?,
        of("/ours/lost")?,
        of("/bare/lost")?
    );
    Ok(())
}
