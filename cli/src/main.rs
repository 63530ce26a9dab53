//! The `longshore` command: a person's view, and one more client of the public API.
//!
//! A command line becomes settings (`settings`, from flags, environment, files), settings become a client
//! (`client`: signs, sends), and a command (`commands`) makes calls through it (`api`) and prints what they
//! answered (`output`). Nothing here knows more than the ECS API tells anybody.

mod api;
mod args;
mod client;
mod commands;
mod document;
mod fault;
mod ini;
mod names;
mod output;
mod profile;
mod progress;
mod settings;
mod stream;
mod terminal;
mod wait;

use args::{Cli, Command};
use clap::Parser;
use fault::Fault;
use std::process::ExitCode;
use std::time::SystemTime;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = if let Command::Completions { shell } = cli.command {
        commands::completions(shell).map_err(Fault::from)
    } else {
        run(cli)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) if fault.reader_left() => ExitCode::SUCCESS,
        // It has said what it had to say.
        Err(Fault::Ended { status }) => ExitCode::from(status),
        Err(fault) => {
            complain(&fault);
            ExitCode::from(fault.status())
        }
    }
}

fn run(cli: Cli) -> Result<(), Fault> {
    let environment = |name: &str| std::env::var(name).ok();
    let settings = settings::Settings::resolve(&cli.global, &environment)?;
    let client = client::Client::new(&settings, SystemTime::now)?;
    let context = commands::Context {
        api: api::Api::new(client, settings.region.value, settings.cluster),
        out: output::Out::new(settings.output, jiff::Timestamp::now()),
        wait: settings.wait,
        env: |name| std::env::var(name).ok(),
    };
    commands::execute(&context, cli.command)
}

/// What was being done and to what, why it failed, and what to do next; on standard error.
fn complain(fault: &Fault) {
    eprintln!("longshore: {fault}");
    let mut cause = std::error::Error::source(fault);
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
    if let Some(hint) = fault.hint() {
        eprintln!("  {hint}");
    }
}
