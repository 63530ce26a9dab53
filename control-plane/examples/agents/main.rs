//! What a fleet of agents costs a control plane: memory and processor time of 10,000 sessions at rest, and how long an
//! assignment takes from the call of the API to the agent.
//!
//! ```text
//! agents DATA_DIR PID API_PORT AGENT_PORT AGENTS RATE REST_SECS LOAD_SECS
//! ```
//!
//! The control plane runs on loopback with that data directory and process id, where its root access key and its
//! authority's certificate are read. The agents are tasks of this process: each joins by the protocol with a key of its
//! own, has one TLS connection with the certificate that it was given, and answers as an agent does whose containers
//! start at once. After the control plane the same agents, with the same certificates, are connected to a bare server
//! of tonic (`echo`), which this starts as a process of its own and which answers each message and keeps nothing. The
//! last line is JSON, for `longshore-bench agents`. It ends when its standard input does.

// A measurement may end with a panic.
#![allow(clippy::unwrap_used)]

mod agent;
mod api;
mod board;
mod dial;
mod echo;
#[path = "../../core/examples/support/facts.rs"]
mod facts;
mod figures;
mod load;

use anyhow::{Context as _, Result, bail};
use api::Api;
use board::Board;
use dial::{Dialler, Identity};
use figures::{Process, Window};
use futures::stream::{self, StreamExt as _};
use longshore_control::pki::Authority;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The same allocator as the control plane's, so that the bare server is measured with it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What a bare server is started with: as much given back as the control plane gives back (its `main.rs`).
const MALLOC_CONF: (&str, &str) = ("_RJEM_MALLOC_CONF", "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0");
/// Hosts that join at once, and agents that connect at once.
const AT_ONCE: usize = 64;
/// Hosts of one join token, as many as one may have.
const OF_TOKEN: usize = 1000;
/// From the last connection to the figures at rest: what connecting took goes back to the system within a second.
const SETTLE: Duration = Duration::from_secs(10);
/// What is started before what is counted: connections to the API, caches.
const WARM_UP: Duration = Duration::from_secs(5);
/// Sessions of one agent, when some are lost.
const TRIES: u32 = 10;
/// The longest that anything here may take that has no other limit.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("the first one");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    tokio::select! {
        done = run(&arguments) => done,
        () = figures::stdin_ends() => bail!("whoever started this is gone"),
    }
}

async fn run(arguments: &[String]) -> Result<()> {
    if let [mode, dir, pace] = arguments
        && mode == "echo"
    {
        return echo::serve(Path::new(dir), pace.parse()?).await;
    }
    let [dir, numbers @ ..] = arguments else { bail!("the arguments are missing; the source says which") };
    let numbers: Vec<u64> = numbers.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let [pid, api, port, agents, rate, rest, load] = numbers.as_slice() else {
        bail!("eight arguments are needed; the source says which");
    };
    let plan = Plan {
        dir: PathBuf::from(dir),
        control: Process(*pid),
        api: u16::try_from(*api)?,
        port: u16::try_from(*port)?,
        agents: usize::try_from(*agents)?,
        rate: u32::try_from(*rate)?,
        rest: Duration::from_secs(*rest),
        load: Duration::from_secs(*load),
    };
    let (joined_secs, identities) = plan.join().await?;
    let ours = plan.control_plane(&identities, joined_secs).await?;
    let pace = ours["heartbeat_millis"].as_u64().context("no pace")?;
    let theirs = plan.bare(&identities, pace).await?;
    println!("{}", json!({"agents": plan.agents, "rate": plan.rate, "rest_secs": rest, "ours": ours, "bare": theirs}));
    Ok(())
}

struct Plan {
    dir: PathBuf,
    control: Process,
    api: u16,
    port: u16,
    agents: usize,
    /// Assignments a second.
    rate: u32,
    rest: Duration,
    load: Duration,
}

/// The agents of a fleet that are connected.
struct Fleet {
    board: Arc<Board>,
    sessions: JoinSet<()>,
    stop: CancellationToken,
    connected_in: Duration,
}

/// One agent, until `stop`. A session that is lost is begun again, as agents do; with tasks it is an error, since what
/// is measured of them would be worth nothing.
async fn live(
    n: usize,
    identity: &Identity,
    dialler: &Dialler,
    turns: &Semaphore,
    board: &Arc<Board>,
    stop: &CancellationToken,
) -> Result<()> {
    for tries in 0..TRIES {
        let turn = turns.acquire().await.expect("never closed");
        let mut agent = tokio::time::timeout(LIMIT, agent::open(n, identity, dialler, board)).await??;
        drop(turn);
        if tries == 0 {
            board.welcome();
        }
        match agent.serve(stop).await {
            Ok(()) => return Ok(()),
            Err(error) if agent.has_tasks() => return Err(error.context("a session with tasks was lost")),
            Err(_) => board.lose(),
        }
    }
    bail!("an agent lost {TRIES} sessions")
}

impl Plan {
    /// Every host joins, by the protocol: how many seconds that took, and the identities.
    async fn join(&self) -> Result<(f64, Vec<Arc<Identity>>)> {
        let authority = Authority::open(&self.dir)?;
        let dialler = Arc::new(Dialler::new(authority.certificate(), self.port)?);
        let mut api = Api::connect(self.api, &self.dir).await?;
        let begin = Instant::now();
        let mut tokens = Vec::new();
        for _ in 0..self.agents.div_ceil(OF_TOKEN) {
            let made = api.call("AmazonSSM.CreateActivation", &json!({"RegistrationLimit": OF_TOKEN})).await?;
            tokens.push(made["ActivationCode"].as_str().context("an activation without a code")?.to_owned());
        }
        let joins = (0..self.agents).map(|n| {
            let (dialler, token) = (Arc::clone(&dialler), tokens[n / OF_TOKEN].clone());
            tokio::spawn(async move { tokio::time::timeout(LIMIT, dialler.join(n, token)).await? })
        });
        let joins = stream::iter(joins).buffer_unordered(AT_ONCE);
        let identities: Vec<_> = joins.map(|joined| joined?.map(Arc::new)).collect::<Vec<_>>().await;
        let identities: Vec<_> = identities.into_iter().collect::<Result<_>>().context("a host could not join")?;
        let took = begin.elapsed();
        println!("{} hosts joined in {took:.1?}", identities.len());
        Ok((took.as_secs_f64(), identities))
    }

    /// Connects all to `port` and waits until each is welcomed.
    async fn connect(&self, identities: &[Arc<Identity>], port: u16) -> Result<Fleet> {
        let (board, stop) = (Arc::new(Board::new(self.agents)), CancellationToken::new());
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let authority = Authority::open(&self.dir)?;
        let dialler = Arc::new(Dialler::new(authority.certificate(), port)?);
        let mut sessions = JoinSet::new();
        let begin = Instant::now();
        for (n, identity) in identities.iter().enumerate() {
            let (identity, board, stop) = (Arc::clone(identity), Arc::clone(&board), stop.clone());
            let (dialler, turns) = (Arc::clone(&dialler), Arc::clone(&turns));
            sessions.spawn(async move {
                if let Err(error) = live(n, &identity, &dialler, &turns, &board, &stop).await {
                    board.fail(&error);
                }
            });
        }
        board.wait("every agent is welcomed", LIMIT, |board| board.welcomed() == self.agents).await?;
        let connected_in = begin.elapsed();
        println!("{} agents connected in {connected_in:.1?}", self.agents);
        tokio::time::sleep(SETTLE).await;
        Ok(Fleet { board, sessions, stop, connected_in })
    }

    async fn control_plane(&self, identities: &[Arc<Identity>], joined_secs: f64) -> Result<Value> {
        let before_mib = self.control.rss_mib()?;
        let mut fleet = self.connect(identities, self.port).await?;
        let rest = Window::over(self.control, self.rest).await?;
        let pace = fleet.board.pace();
        fleet.board.all_are_well()?;
        println!("at rest: {rest}");
        let api = Api::connect(self.api, &self.dir).await?;
        let load = load::through_the_api(self, api, &fleet.board).await?;
        fleet.board.all_are_well()?;
        fleet.stop.cancel();
        while fleet.sessions.join_next().await.is_some() {}
        tokio::time::sleep(SETTLE).await;
        let left_mib = self.control.rss_mib()?;
        Ok(json!({
            "joined_secs": joined_secs,
            "connected_secs": fleet.connected_in.as_secs_f64(),
            "before_mib": before_mib,
            "heartbeat_millis": pace,
            "rest": rest.json(),
            "left_mib": left_mib,
            "lost": fleet.board.lost(),
            "load": {"run": load.0.json(), "stop": load.1.json()},
        }))
    }

    /// The same with a server that does nothing else, each agent beating as often as it did last.
    async fn bare(&self, identities: &[Arc<Identity>], pace: u64) -> Result<Value> {
        let own = std::env::current_exe()?;
        let mut command = tokio::process::Command::new(own);
        command.arg("echo").arg(&self.dir).arg(pace.to_string()).env(MALLOC_CONF.0, MALLOC_CONF.1).kill_on_drop(true);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut server = command.spawn().context("could not start the bare server")?;
        let port = tokio::time::timeout(LIMIT, echo::port_of(&mut server)).await??;
        let process = Process(server.id().context("the bare server ended")?.into());
        let before_mib = process.rss_mib()?;
        let mut fleet = self.connect(identities, port).await?;
        let rest = Window::over(process, self.rest).await?;
        println!("a bare server at rest: {rest}");
        let load = load::by_asking(self, process, &fleet.board).await?;
        fleet.board.all_are_well()?;
        fleet.stop.cancel();
        while fleet.sessions.join_next().await.is_some() {}
        server.kill().await?;
        Ok(json!({
            "connected_secs": fleet.connected_in.as_secs_f64(),
            "before_mib": before_mib,
            "rest": rest.json(),
            "lost": fleet.board.lost(),
            "load": load.json(),
        }))
    }
}
