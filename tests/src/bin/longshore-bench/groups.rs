//! What members and rules of security groups cost a new connection.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddrV4;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::host::program;

use crate::figures::{Rates, rate_head, rate_row, scaled};
use crate::load::{Load, PORT, Path, Space, measure};

/// How long each load lasts.
const SPAN: Duration = Duration::from_secs(1);

/// What the example is asked for, and what that is: the first is what the others are held against.
const RULES: [(&str, &str); 5] = [
    ("none", "one rule, no other member"),
    ("members", "10,000 members, one rule"),
    ("quota", "10,000 members, 1,020 rules in 17 groups, 300 of them the task's"),
    ("long", "10,000 members, 1,000 rules in one group"),
    ("references", "10,000 members, 300 rules of the task, each of which names another group"),
];

pub(crate) fn run() -> Result<()> {
    let example = program("examples/groups").context("`cargo build --example groups` makes it")?;
    let mut child = Command::new(example)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start the example `groups` of longshore-net")?;
    let mut input = child.stdin.take().context("the example has no input")?;
    let mut output = BufReader::new(child.stdout.take().context("the example has no output")?);
    let mut say = |line: &str| -> Result<String> {
        writeln!(input, "{line}").context("the example is gone")?;
        let mut answer = String::new();
        output.read_line(&mut answer)?;
        ensure!(!answer.is_empty(), "the example ended at `{line}`; what it printed says why");
        Ok(answer.trim().to_owned())
    };
    let path = path_of(&say(&format!("tasks {PORT}"))?)?;
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); RULES.len()];
    rate_head("New connections, by members and rules of groups");
    // The first round is not counted.
    for round in 0..=scaled(9, 1) {
        for ((name, _), rates) in RULES.iter().zip(&mut rates) {
            ensure!(say(name)? == "done", "the example did not do `{name}`");
            let rate = measure(&path, Load::Connects, SPAN).with_context(|| format!("with `{name}`"))?;
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    let mut rates = rates.into_iter().map(Rates::new);
    let none = rates.next().context("nothing was measured")?;
    for ((_, what), rates) in RULES[1..].iter().zip(rates) {
        rate_row(what, Load::Connects.unit(), &rates, RULES[0].1, &none);
    }
    // Without commands it ends.
    drop(input);
    ensure!(child.wait()?.success(), "the example ended with an error");
    Ok(())
}

/// The path between the example's two tasks: the numbers of their processes, and the server's address.
fn path_of(words: &str) -> Result<Path> {
    let mut words = words.split(' ');
    let mut next = || words.next().context("the example said too little");
    let (server, client) = (Space::of_local(next()?.parse()?)?, Space::of_local(next()?.parse()?)?);
    Ok(Path { server, client, to: SocketAddrV4::new(next()?.parse()?, PORT) })
}
