//! One module per command. Each makes calls through `api`, prints through `output`, and returns what went wrong.

mod cluster;
mod deploy;
mod describe;
mod events;
mod exec;
mod host;
mod image;
mod join_token;
mod logs;
mod overrides;
mod ps;
mod run;
mod schedule;
mod service;
mod stop;
mod task_def;
mod top;
mod why;

use crate::api::Api;
use crate::args::{Command, HostCommand};
use crate::fault::Fault;
use crate::output::Out;
use std::io::Write;
use std::time::Duration;

/// What every command works with.
pub(crate) struct Context {
    /// The API.
    pub(crate) api: Api,
    /// Where results go.
    pub(crate) out: Out,
    /// How long `--wait` waits.
    pub(crate) wait: Duration,
    /// This process's environment, for `--env KEY`.
    pub(crate) env: fn(&str) -> Option<String>,
}

/// Carries out a command.
pub(crate) fn execute(context: &Context, command: Command) -> Result<(), Fault> {
    match command {
        Command::Cluster(command) => cluster::execute(context, command),
        Command::Host(HostCommand::JoinToken(command)) => join_token::execute(context, command),
        Command::Host(command) => host::execute(context, command),
        Command::Image(command) => image::execute(context, command),
        Command::TaskDef(command) => task_def::execute(context, command),
        Command::Service(command) => service::execute(context, command),
        Command::Deploy(args) => deploy::execute(context, &args),
        Command::Run(args) => run::execute(context, *args),
        Command::Ps(args) => ps::execute(context, &args),
        Command::Top(args) => top::execute(context, &args),
        Command::Describe(args) => describe::execute(context, &args),
        Command::Stop(args) => stop::execute(context, &args),
        Command::Why(args) => why::execute(context, &args),
        Command::Logs(args) => logs::execute(context, &args),
        Command::Events(args) => events::execute(context, &args),
        Command::Exec(args) => exec::execute(context, &args),
        Command::Attach(args) => exec::attach(context, &args),
        Command::Schedule(command) => schedule::execute(context, command),
        Command::Completions { shell } => Ok(completions(shell)?),
    }
}

/// Prints the completion script; needs no settings.
pub(crate) fn completions(shell: clap_complete::Shell) -> std::io::Result<()> {
    use clap::CommandFactory;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::args::Cli::command(), "longshore", &mut script);
    std::io::stdout().write_all(&script)
}
