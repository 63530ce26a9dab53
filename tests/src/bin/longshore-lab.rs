//! `longshore-lab`: the lab's helper. People call `up`, `down` and `sweep`; the lab itself calls the rest.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use longshore_tests::lab::{cgroup, init, janitor};

const USAGE: &str = "usage: longshore-lab COMMAND
  sweep                            remove what labs of dead processes left behind
Used by the lab itself:
  init --hostname NAME             the first process of a lab host
  enter --group G -- COMMAND       run COMMAND in a lab host's control group
  enter-root --group G -- COMMAND  the same, before the host has namespaces";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("longshore-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["init", "--hostname", name] => init::run(name),
        ["enter", "--group", group, "--", command @ ..] => {
            cgroup::enter(group, std::process::id())?;
            exec(command)
        }
        ["enter-root", "--group", group, "--", command @ ..] => {
            cgroup::enter_root(group, std::process::id())?;
            exec(command)
        }
        ["sweep"] => {
            for name in janitor::sweep()? {
                println!("removed {name}");
            }
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}

fn exec(command: &[&str]) -> Result<()> {
    let (program, args) = command.split_first().context("no command to run")?;
    Err(Command::new(program).args(args).exec()).with_context(|| format!("could not run {program}"))
}
