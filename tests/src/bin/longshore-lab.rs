//! `longshore-lab`: the lab's helper. People call `up`, `down` and `sweep`; the lab itself calls the rest.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use longshore_tests::lab::standing::{self, Hosts};
use longshore_tests::lab::{cgroup, init, janitor};

const USAGE: &str = "usage: longshore-lab COMMAND
  up DIR HOSTS                     make a lab and hold it until SIGTERM; DIR/env is for shells, DIR/ready says when.
                                   HOSTS: a number, `local` (this machine's own Docker), or `docker-N` (no product)
  down DIR                         end that lab
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
        ["up", dir, hosts] => standing::up(Path::new(dir), parse_hosts(hosts)?),
        ["down", dir] => {
            println!("{}", if standing::down(Path::new(dir))? { "the lab is gone" } else { "no lab stood" });
            Ok(())
        }
        ["sweep"] => {
            for name in janitor::sweep()? {
                println!("removed {name}");
            }
            Ok(())
        }
        ["--help" | "help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}

fn parse_hosts(text: &str) -> Result<Hosts> {
    let count = |text: &str| -> Result<u8> {
        match text.parse() {
            Ok(count @ 1..=20) => Ok(count),
            _ => bail!("HOSTS is `{text}`; it has to be `local` or a number from 1 to 20"),
        }
    };
    Ok(match text.strip_prefix("docker-") {
        Some(number) => Hosts::DockerOnly(count(number)?),
        None if text == "local" => Hosts::Local,
        None => Hosts::Lab(count(text)?),
    })
}

fn exec(command: &[&str]) -> Result<()> {
    let (program, args) = command.split_first().context("no command to run")?;
    Err(Command::new(program).args(args).exec()).with_context(|| format!("could not run {program}"))
}
