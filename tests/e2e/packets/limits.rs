//! How fast tasks with limits really are.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Wired, start_on, still, wired};
use crate::support::*;

/// TCP has to find its pace first, and the queue's first burst has to be over.
const WARM_UP: Duration = Duration::from_millis(1000);
/// Of how many stretches the one in the middle counts, and how long each is: what piled up while this busy machine let
/// the reader wait comes faster than any limit, once.
const STRETCHES: usize = 7;
const STRETCH: Duration = Duration::from_millis(700);

const INTO: f64 = 40e6;
const OUT: f64 = 20e6;

/// What one TCP connection brings over at the median, in bits a second, as the receiver sees it.
fn throughput(from: &Wired<'_>, to: &Wired<'_>, port: u16) -> f64 {
    let listener = to.place().inside(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?)).unwrap();
    let address = SocketAddr::from((to.address, port));
    let mut sender = from.place().inside(|| Ok(TcpStream::connect_timeout(&address, DEADLINE)?)).unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    sender.set_write_timeout(Some(DEADLINE)).unwrap();
    receiver.set_read_timeout(Some(DEADLINE)).unwrap();
    std::thread::scope(|scope| {
        // It ends when nobody reads any more.
        scope.spawn(move || while sender.write_all(&[7; 65_536]).is_ok() {});
        let mut buffer = vec![0; 1 << 18];
        // Reads so long, and says what came in a second.
        let mut stretch = |long: Duration| {
            let (mut bytes, since) = (0, Instant::now());
            while since.elapsed() < long {
                bytes += receiver.read(&mut buffer).unwrap();
            }
            bytes as f64 * 8.0 / since.elapsed().as_secs_f64()
        };
        stretch(WARM_UP);
        let mut rates: Vec<f64> = (0..STRETCHES).map(|_| stretch(STRETCH)).collect();
        drop(receiver);
        rates.sort_by(f64::total_cmp);
        rates[STRETCHES / 2]
    })
}

fn close(what: &str, measured: f64, limit: f64) {
    println!("{what}: {:.2} Mbit/s of {:.0}, {:.1} %", measured / 1e6, limit / 1e6, measured / limit * 100.0);
    assert!((0.85 * limit..=limit).contains(&measured), "{what}: {measured:.0} bits/s, and {limit:.0} is the limit");
}

#[test]
fn tasks_are_as_fast_as_their_definition_says() {
    let lab = lab(2);
    let tags = json!([
        {"key": "longshore:bandwidth-in", "value": "40mbit"},
        {"key": "longshore:bandwidth-out", "value": "20mbit"},
    ]);
    let limited = still(&lab, "limited", tags);
    let free = still(&lab, "free", json!([]));
    let arns = [start_on(&lab, 0, &limited, &[]), start_on(&lab, 0, &free, &[]), start_on(&lab, 1, &free, &[])];
    let tasks = wired(&lab, &arns);
    let [limited, beside, far] = &tasks[..] else { panic!("three tasks") };
    for (name, other, port) in [("on one host", beside, 7200), ("from host to host", far, 7210)] {
        close(&format!("into, {name}"), throughput(other, limited, port), INTO);
        close(&format!("out of, {name}"), throughput(limited, other, port + 1), OUT);
    }
    // Both ways at once, and a task beside it that has no limit at the same time.
    let (into, out, unlimited) = std::thread::scope(|scope| {
        let into = scope.spawn(|| throughput(far, limited, 7220));
        let out = scope.spawn(|| throughput(limited, far, 7221));
        let unlimited = scope.spawn(|| throughput(beside, far, 7222));
        (into.join().unwrap(), out.join().unwrap(), unlimited.join().unwrap())
    });
    println!("at once: {into:.0} into, {out:.0} out of, {unlimited:.0} beside");
    assert!(unlimited > 3.0 * INTO, "a task without limits beside it: {unlimited:.0} bits/s");
    // With a stream of hundreds of megabits on the same processors, only the upper bound is the limit's.
    assert!(into <= INTO && into > 0.5 * INTO, "into, at once: {into:.0} bits/s");
    assert!(out <= OUT && out > 0.5 * OUT, "out of, at once: {out:.0} bits/s");
}
