//! What the lab runs in containers when busybox will not do.
//!
//! - `probe stamp DIR [then ARGS..]`: first thing, creates `DIR/<host name>` with the time in nanoseconds, then does
//!   what the rest says (default: sleeps until SIGTERM or SIGKILL).
//! - `probe udp PORT`: answers every datagram with its own text.
//! - `probe tcp PORT TEXT`: answers every connection with TEXT.
//! - `probe sleep`: waits until it is killed; as pid 1 it ignores SIGTERM.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    // Before anything else, since this is what the benchmarks measure.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "stamp") {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let key = std::env::var("STAMP").unwrap_or_else(|_| name.trim().to_owned());
        let dir = &args[1];
        // Written under another name first, so that a reader never sees half a number.
        let half = format!("{dir}/.{key}");
        std::fs::write(&half, now.to_string()).expect("the directory for stamps can be written");
        std::fs::rename(&half, format!("{dir}/{key}")).expect("a stamp can be renamed");
        args.drain(..2);
        if args.first().is_some_and(|a| a == "then") {
            args.remove(0);
        }
    }
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["sleep"] => loop {
            std::thread::park();
        },
        ["exit", code] => std::process::exit(code.parse().expect("an exit code")),
        ["udp", port] => {
            let socket = UdpSocket::bind(("0.0.0.0", port.parse().expect("a port"))).expect("the port is free");
            let mut buffer = [0u8; 2048];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..len], from);
            }
        }
        ["tcp", port, text] => {
            let listener = TcpListener::bind(("0.0.0.0", port.parse().expect("a port"))).expect("the port is free");
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(text.as_bytes());
            }
        }
        other => panic!("the probe does not know {other:?}"),
    }
}
