//! Rules in Docker's chain for other people's rules.
//!
//! Docker lets nothing be forwarded but what it knows, and a packet that one table drops is dropped whatever other
//! tables say. Its chain DOCKER-USER is asked first. The rules are written with the program that Docker uses: one
//! written through nftables itself would keep `iptables` from reading the chain.

use super::{FabricError, Repair};
use crate::netlink::own::OwnPort;
use ipnet::IpNet;
use std::io;
use std::process::{Command, Output, Stdio};

pub(super) const CHAIN: &str = "DOCKER-USER";

/// What may reach tasks through the host, beside answers to them; their groups decide afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted<'a> {
    /// Nothing else.
    Answers,
    /// What comes from these ranges: other hosts' tasks.
    From(&'a [IpNet]),
    /// What goes to these ranges, from wherever.
    To(&'a [IpNet]),
}

/// What of one family is let through: what tasks send, answers to it, and what else is `admitted`.
fn rules(leg: &str, admitted: Admitted<'_>, v4: bool) -> Vec<String> {
    let mut rules =
        vec![format!("-i {leg} -j ACCEPT"), format!("-o {leg} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")];
    let (side, ranges) = match admitted {
        Admitted::Answers => ("-s", &[][..]),
        Admitted::From(ranges) => ("-s", ranges),
        Admitted::To(ranges) => ("-d", ranges),
    };
    let ranges = ranges.iter().filter(|range| range.addr().is_ipv4() == v4);
    rules.extend(ranges.map(|range| format!("{side} {range} -o {leg} -j ACCEPT")));
    rules
}

/// Adds the rules that are missing where the chain is there, in the namespace of the calling thread.
pub(super) fn ensure(leg: &str, admitted: Admitted<'_>, v6: bool) -> Result<Vec<Repair>, FabricError> {
    let mut done = Vec::new();
    if ensure_with("iptables", &rules(leg, admitted, true))? {
        done.push(Repair::DockerUser("iptables".into()));
    }
    if v6 && ensure_with("ip6tables", &rules(leg, admitted, false))? {
        done.push(Repair::DockerUser("ip6tables".into()));
    }
    Ok(done)
}

fn run(program: &'static str, arguments: &[&str]) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.args(["-w", "5"]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn()?;
    let _own = OwnPort::new(child.id());
    child.wait_with_output()
}

fn ensure_with(program: &'static str, rules: &[String]) -> Result<bool, FabricError> {
    let failed = |message: String| FabricError::DockerUser { program, message };
    let listed = match run(program, &["-S", CHAIN]) {
        // No program, no Docker that uses it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        listed => listed.map_err(|error| failed(error.to_string()))?,
    };
    if !listed.status.success() {
        // There is no such chain. If it is there and cannot be read, adding to it would not work either; Docker itself
        // would not either, and says so.
        return Ok(false);
    }
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut added = false;
    for rule in rules {
        if listed.lines().any(|line| line.strip_prefix("-A DOCKER-USER ") == Some(rule.as_str())) {
            continue;
        }
        let words: Vec<&str> = ["-I", CHAIN].into_iter().chain(rule.split(' ')).collect();
        let output = run(program, &words).map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(failed(said.lines().next().unwrap_or_default().to_owned()));
        }
        added = true;
    }
    Ok(added)
}
