//! How long a change of one rule takes until every host of a lab keeps to it.

use std::net::{SocketAddrV4, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use longshore_tests::lab::{Boto, LabConfig};
use serde_json::{Value, json};

use crate::figures::{Figures, scaled};
use crate::fleet::{DEADLINE, Fleet};
use crate::load::{PORT, Space, join};
use crate::tasks::{Placed, group, permission, start};

const HOSTS: u8 = 3;

/// An attempt that is answered at all is answered in less: what is refused is dropped, and answered never.
const ANSWER: Duration = Duration::from_millis(2);

/// How long an attempt may stay without an answer while the port is thought open, and how many in a row are no chance.
const LOST: (Duration, usize) = (Duration::from_millis(50), 2);

/// Between two attempts that were answered.
const PAUSE: Duration = Duration::from_millis(1);

/// Who asks whom: each task is asked by one on the next host.
struct Watch {
    client: Space,
    to: SocketAddrV4,
}

/// What one change took.
#[derive(Default)]
struct Taken {
    since_call: Vec<Duration>,
    since_answer: Vec<Duration>,
    by_host: Vec<Vec<Duration>>,
}

pub(crate) fn run() -> Result<()> {
    let agent = "log = \"warn\"\n".into();
    let fleet = Fleet::of(LabConfig { hosts: HOSTS, agent, ..LabConfig::default() })?;
    let lab = &fleet.lab;
    let mut boto = lab.boto()?;
    let shut = group(lab, "shut")?;
    let asking = group(lab, "asking")?;
    let mut spaces = Vec::new();
    let mut watches = Vec::new();
    for host in 0..usize::from(HOSTS) {
        let server = start(lab, host, "awsvpc", &shut)?;
        let client = start(lab, (host + 1) % usize::from(HOSTS), "awsvpc", &asking)?;
        watches.push(watch(&fleet, &server, &client)?);
        spaces.push(server.space(lab)?);
    }
    println!("\n### One rule changed: until all {HOSTS} hosts keep to it\n");
    println!(
        "| change | from the answer, p50 / p90 | from the call, p50 / p90 | each host from the answer, p50 | runs |"
    );
    println!("|---|---|---|---|---|");
    let peers = [
        ("a range of addresses", json!({"IpRanges": [{"CidrIp": "10.77.0.0/16"}]})),
        ("a group", json!({"UserIdGroupPairs": [{"GroupId": asking}]})),
    ];
    std::thread::scope(|scope| {
        let (end, ended): (Vec<_>, Vec<_>) = spaces.iter().map(|_| mpsc::channel::<()>()).unzip();
        let servers: Vec<_> =
            spaces.iter().zip(ended).map(|(space, ended)| space.spawn(scope, move || listen(&ended))).collect();
        let measured = peers.into_iter().try_for_each(|(peer, permission_of)| {
            let args = json!({"GroupId": shut, "IpPermissions": [permission(PORT, &permission_of)]});
            changes(&mut boto, &watches, peer, &args)
        });
        drop(end);
        servers.into_iter().try_for_each(join).and(measured)
    })
}

fn watch(fleet: &Fleet, server: &Placed, client: &Placed) -> Result<Watch> {
    let to = SocketAddrV4::new(server.address.context("a task without an address")?, PORT);
    Ok(Watch { client: client.space(&fleet.lab)?, to })
}

/// Listens until the other end of `ended` goes. The kernel takes the connections; they are closed in passing.
fn listen(ended: &mpsc::Receiver<()>) -> Result<()> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, PORT))?;
    listener.set_nonblocking(true)?;
    while ended.recv_timeout(PAUSE) == Err(mpsc::RecvTimeoutError::Timeout) {
        while let Ok((stream, _)) = listener.accept() {
            drop(stream);
        }
    }
    Ok(())
}

/// Allows and takes back, some times, and prints a row for each.
fn changes(boto: &mut Boto, watches: &[Watch], peer: &str, args: &Value) -> Result<()> {
    let (mut opened, mut closed) = (Taken::default(), Taken::default());
    // The first round is not counted.
    for round in 0..=scaled(20, 2) {
        change(boto, watches, args, true, &mut opened)?;
        change(boto, watches, args, false, &mut closed)?;
        if round == 0 {
            (opened, closed) = Default::default();
        }
    }
    for (what, taken) in [("AuthorizeSecurityGroupIngress", opened), ("RevokeSecurityGroupIngress", closed)] {
        let text = |figures: &Figures| format!("{} / {} ms", figures.median().as_millis(), figures.at(0.9).as_millis());
        let hosts: Vec<String> =
            taken.by_host.into_iter().map(|times| Figures::new(times).median().as_millis().to_string()).collect();
        let (answer, call) = (Figures::new(taken.since_answer), Figures::new(taken.since_call));
        let (answers, calls) = (text(&answer), text(&call));
        println!("| {what}, {peer} | {answers} | {calls} | {} ms | {} |", hosts.join(", "), answer.count());
    }
    Ok(())
}

/// One change while every watch looks; the times of the last host and of each.
fn change(boto: &mut Boto, watches: &[Watch], args: &Value, open: bool, taken: &mut Taken) -> Result<()> {
    let op = if open { "authorize_security_group_ingress" } else { "revoke_security_group_ingress" };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            watches.iter().map(|watch| watch.client.spawn(scope, move || until(watch.to, open))).collect();
        let called = Instant::now();
        boto.call("ec2", op, args.clone())??;
        let answered = Instant::now();
        let times = threads.into_iter().map(join).collect::<Result<Vec<Instant>>>()?;
        let last = times.iter().max().context("nobody watched")?;
        taken.since_call.push(last.saturating_duration_since(called));
        taken.since_answer.push(last.saturating_duration_since(answered));
        taken.by_host.resize_with(times.len(), Vec::new);
        for (of, at) in taken.by_host.iter_mut().zip(times) {
            of.push(at.saturating_duration_since(answered));
        }
        Ok(())
    })
}

/// When `to` was first found open, or closed: the begin of the attempt that was the first to end so.
fn until(to: SocketAddrV4, open: bool) -> Result<Instant> {
    let deadline = Instant::now() + DEADLINE;
    let mut lost: (Option<Instant>, usize) = (None, 0);
    while Instant::now() < deadline {
        let begin = Instant::now();
        let passed = TcpStream::connect_timeout(&to.into(), if open { ANSWER } else { LOST.0 }).is_ok();
        match (open, passed) {
            (true, true) => return Ok(Instant::now()),
            (true, false) => {}
            (false, true) => {
                lost = (None, 0);
                std::thread::sleep(PAUSE);
            }
            (false, false) => {
                lost = (lost.0.or(Some(begin)), lost.1 + 1);
                if let (Some(first), true) = (lost.0, lost.1 >= LOST.1) {
                    return Ok(first);
                }
            }
        }
    }
    bail!("{to} did not become {}", if open { "open" } else { "closed" })
}
