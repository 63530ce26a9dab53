//! `longshore-agent`: reads the command line and the configuration, sets up logging, and hands over to `assemble`.

use anyhow::Context;
use clap::{Parser, Subcommand};
use longshore_agent::config::{Config, Layer, LogFormat};
use longshore_agent::membership::{MembershipError, Token};
use longshore_agent::{assemble, membership};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The variable that may carry a join token. There is no flag for it: command lines are readable by everybody.
const TOKEN_VARIABLE: &str = "LONGSHORE_AGENT_TOKEN";

/// Longest wait, at the end, for calls that block.
const BLOCKED: Duration = Duration::from_secs(1);

/// Runs containers on this host as a Longshore control plane assigns them.
///
/// A host joins once, with a token made by `longshore host join-token create` (or `aws ssm create-activation`), and
/// then runs `longshore-agent` for good. Containers live on when the agent stops, and it takes them up again when it
/// starts.
#[derive(Parser)]
#[command(name = "longshore-agent", version)]
#[command(after_help = "Examples:
  LONGSHORE_AGENT_TOKEN=… longshore-agent join --control control.example:7421
  longshore-agent join --control control.example:7421 --token-file /etc/longshore/token
  longshore-agent run
  longshore-agent check

Exit codes: 0 ended as asked, 1 failed and may work later, 2 wrong use, 3 failed until somebody changes something
(a wrong or spent token, a host that has not joined or already has, a key of the configuration).")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file [default: /etc/longshore/agent.toml, which may be missing]
    #[arg(long, env = "LONGSHORE_AGENT_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    keys: Layer,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent (what it does without a command)
    Run,
    /// Join a cluster with a token from LONGSHORE_AGENT_TOKEN or --token-file (`-` for standard input), and exit
    ///
    /// A host that is a member already stays what it is, unless its instance was deregistered or its certificate ran
    /// out.
    Join {
        /// Replace the identity of a host that is a member; its old instance stays behind until it is deregistered
        #[arg(long)]
        again: bool,
    },
    /// Check the configuration, warn of settings of Docker that harm tasks, and exit
    Check,
}

fn main() -> ExitCode {
    #[cfg(debug_assertions)]
    if let Some(names) = longshore_agent::crash::listed() {
        names.iter().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse();
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("longshore-agent: {error:#}");
            let member = error.downcast_ref::<MembershipError>().map(MembershipError::exit_code);
            let config = error.downcast_ref::<longshore_agent::config::ConfigError>().map(|_| 3);
            ExitCode::from(member.or(config).unwrap_or(1))
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { command, config, keys } = arguments;
    let names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    let config = Config::load(config.as_deref(), keys, &names)?;
    match command.unwrap_or(Command::Run) {
        Command::Check => {
            println!("the configuration is usable");
            if let Some(warning) = runtime(&config)?.block_on(membership::warning(&config)) {
                eprintln!("longshore-agent: warning: {warning}");
            }
            Ok(())
        }
        Command::Join { again } => {
            let runtime = runtime(&config)?;
            let identity = runtime.block_on(async {
                membership::may_join(&config, again).await?;
                let token = Token::find(std::env::var(TOKEN_VARIABLE).ok(), &config)?;
                membership::join_once(&config, token.as_ref()).await
            })?;
            println!(
                "joined cluster {} as container instance {}; now start the agent, anew if it runs",
                identity.cluster, identity.instance
            );
            Ok(())
        }
        Command::Run => {
            let runtime = runtime(&config)?;
            let ended = runtime.block_on(run(config));
            // A look at a disk that does not answer would hold up the end.
            runtime.shutdown_timeout(BLOCKED);
            ended
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not listen for SIGINT")?;
    let on_signal = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
        on_signal.cancel();
    });
    let token = token(&config)?;
    assemble::run(config, token, shutdown).await
}

/// The token is wanted only by a host that has not joined; a file that is gone since is no fault.
fn token(config: &Config) -> Result<Option<Token>, MembershipError> {
    match membership::identity_file(config).load()? {
        Some(_) => Ok(None),
        None => Token::find(std::env::var(TOKEN_VARIABLE).ok(), config),
    }
}

fn runtime(config: &Config) -> anyhow::Result<tokio::runtime::Runtime> {
    log(config)?;
    // One provider for everything that does TLS; rustls panics without one when several are compiled in.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider was installed before ours"))?;
    // Two threads carry hundreds of tasks; each more costs memory that is promised to containers.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Looks at a disk and what may be another machine's have threads of their own (`aside`).
        .max_blocking_threads(8)
        .thread_stack_size(1024 * 1024)
        .enable_all()
        .build()
        .context("could not start the async runtime")
}

fn log(config: &Config) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log).context("log")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
