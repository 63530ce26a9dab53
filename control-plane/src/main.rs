//! `longshore-control`: the control plane's command.
//!
//! Reads the command line, the environment and the configuration, sets logging up, and hands over to `start`.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use longshore_control::config::{self, Config, DEFAULT_FILE, Flags, LogFormat};
use longshore_control::start;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Gives memory back: after ten thousand agents left, glibc's allocator keeps what they took.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc's options: unused pages go back to the system within a second, by a thread of its own.
#[allow(unsafe_code, reason = "jemalloc reads its options from a symbol with this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; 63] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0\0\0\0";

/// The control plane of Longshore: the ECS API for operators and tools, and the port that agents connect to.
///
/// The first start makes an account, its root access key and a certificate authority in the data directory and says
/// where. Every request is signed (SigV4) with an access key; point any AWS client at the API with
/// AWS_ENDPOINT_URL=http://HOST:7420. Hosts join with a token that `aws ssm create-activation` makes.
#[derive(Parser)]
#[command(
    version,
    after_help = "Flags go over the environment, the environment over the file, the file over defaults."
)]
struct Arguments {
    /// The configuration file [default: /etc/longshore/control.toml, where present]
    #[arg(long, env = "LONGSHORE_CONTROL_CONFIG", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the control plane (what happens without a command, too)
    Run,
    /// Show or check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print a configuration file with every key explained
    Example,
    /// Check the configuration and print what is in force
    Check,
}

fn main() -> anyhow::Result<()> {
    let Arguments { config: file, flags, command } = Arguments::parse();
    match command {
        Some(Command::Config(ConfigCommand::Example)) => {
            print!("{}", config::example());
            Ok(())
        }
        Some(Command::Config(ConfigCommand::Check)) => {
            let config = Config::load(file.as_deref(), flags)?;
            println!("{config:#?}");
            Ok(())
        }
        Some(Command::Run) | None => {
            let config = Config::load(file.as_deref(), flags).with_context(|| {
                format!("not started; `longshore-control config example` explains every key of {DEFAULT_FILE}")
            })?;
            serve(config)
        }
    }
}

fn serve(config: Config) -> anyhow::Result<()> {
    start_logging(&config)?;
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("a TLS provider was installed before this one; this is a bug");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("could not start threads")?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("could not listen for SIGINT")?;
        let asked = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            notify(&[sd_notify::NotifyState::Stopping]);
            asked.cancel();
        });
        let ended = start::run(config, shutdown, |_| notify(&[sd_notify::NotifyState::Ready])).await;
        if let Err(error) = &ended {
            tracing::error!(error = longshore_control::chain(error), "the control plane failed");
        }
        Ok(ended?)
    })
}

fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "could not tell systemd the state");
    }
}

fn start_logging(config: &Config) -> anyhow::Result<()> {
    let filter: Targets = config.log_level.parse().context("configuration key `log_level`")?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match config.log_format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().context("could not set logging up")
}
