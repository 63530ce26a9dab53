//! How fast tasks really are.

use crate::world::{Host, Task, open_group, world};
use longshore_model::network::Bandwidth;
use longshore_net::LimitError;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// TCP has to find its pace first.
const WARM_UP: Duration = Duration::from_millis(700);
/// Of how many stretches the one in the middle counts, and how long each is: what piled up while this busy machine let
/// the reader wait comes faster than any limit, once.
const STRETCHES: usize = 7;
const STRETCH: Duration = Duration::from_millis(400);

/// What one TCP connection brings over at the median, in bits a second, as the receiver sees it.
async fn throughput(from: &Task, to: &Task, port: u16) -> f64 {
    let listener = to.pause().run(move || TcpListener::bind(("0.0.0.0", port))).await.expect("entered").expect("bound");
    let address = SocketAddr::new(to.ip().into(), port);
    let stream = from.pause().run(move || TcpStream::connect(address)).await.expect("entered").expect("connected");
    let sender = std::thread::spawn(move || {
        let mut stream = stream;
        while stream.write_all(&[7; 65_536]).is_ok() {}
    });
    let receiver = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().expect("accepted");
        let mut buffer = vec![0; 1 << 20];
        // Reads so long, and says what came in a second.
        let mut stretch = |long: Duration| {
            let (mut bytes, since) = (0, Instant::now());
            while since.elapsed() < long {
                bytes += stream.read(&mut buffer).expect("read");
            }
            bytes as f64 * 8.0 / since.elapsed().as_secs_f64()
        };
        stretch(WARM_UP);
        let mut rates: Vec<f64> = (0..STRETCHES).map(|_| stretch(STRETCH)).collect();
        rates.sort_by(f64::total_cmp);
        rates[STRETCHES / 2]
    });
    let bits = receiver.await.expect("measured");
    sender.join().expect("it ends when nobody reads");
    bits
}

fn close(what: &str, measured: f64, limit: f64) {
    assert!(
        (0.9 * limit..1.1 * limit).contains(&measured),
        "{what}: {measured:.0} bits/s, and {limit:.0} is the limit"
    );
}

#[test]
fn tasks_are_as_fast_as_their_limits() {
    world(async || {
        let host = Host::here().await;
        let all = open_group(&host).await;
        let (a, b) = (host.task(11, &[all]).await, host.task(12, &[all]).await);
        let set = async |ingress_bps, egress_bps| {
            let limits = Bandwidth { ingress_bps, egress_bps };
            host.fabric.set_limits(b.eni(), limits).await.expect("limited");
            host.fabric.set_limits(b.eni(), limits).await.expect("limited again");
        };
        let mut port = 9000;
        let mut measure = async |from: &Task, to: &Task| {
            port += 1;
            throughput(from, to, port).await
        };
        for mbits in [10_u32, 200] {
            let bits = u64::from(mbits) * 1_000_000;
            set(Some(bits), Some(2 * bits)).await;
            close("into", measure(&a, &b).await, bits as f64);
            close("out of", measure(&b, &a).await, 2.0 * bits as f64);
        }
        // Only one way, then none.
        set(None, Some(20_000_000)).await;
        assert!(measure(&a, &b).await > 400e6);
        close("out of", measure(&b, &a).await, 20e6);
        set(None, None).await;
        assert!(measure(&b, &a).await > 400e6);
        // Kinds, not names: an interface's name is made of an identifier and may well have "tbf" in it.
        let queues = host.fabric_sh("tc qdisc");
        assert!(!queues.contains("qdisc tbf ") && !queues.contains("qdisc ingress "), "{queues}");
        assert_eq!(host.fabric_sh("ip -o link show type ifb"), "");
    });
}

#[test]
fn limits_go_with_the_interface() {
    world(async || {
        let host = Host::here().await;
        let mut task = host.wired(11).await;
        let eni = task.eni();
        let limits = Bandwidth { ingress_bps: Some(40_000_000_000), egress_bps: Some(1_000) };
        host.fabric.set_limits(eni, limits).await.expect("limited");
        let queues = host.fabric_sh("tc qdisc");
        assert!(queues.contains("rate 40Gbit") && queues.contains("rate 1Kbit"), "{queues}");
        task.end();
        host.fabric.unwire(eni).await.expect("unwired");
        let left = host.fabric_sh("ip -o link");
        assert!(!left.contains(&eni.digits()[..14]), "{left}");
        let error = host.fabric.set_limits(eni, limits).await.expect_err("it is gone");
        assert!(matches!(error, LimitError::NoLink { .. }), "{error:?}");
    });
}
