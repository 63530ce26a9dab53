//! Load over TCP between two network namespaces of this machine: a server in one, clients in the other, both of them
//! threads of this process, so that every path is loaded by the same program.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use longshore_tests::lab::{Host, Node};
use nix::sys::socket::{setsockopt, sockopt};

/// Where every server listens, in its own namespace.
pub(crate) const PORT: u16 = 7000;

/// A connection that is silent for this long is a broken path, not a slow one.
const SILENCE: Duration = Duration::from_secs(5);

/// Connections that carry requests at a time.
const REQUESTERS: usize = 4;

/// Clients that connect at a time, and threads that accept.
const CONNECTORS: usize = 2;

/// What a request and its answer are long.
const REQUEST: usize = 64;

/// What a stream is written and read by.
const CHUNK: usize = 128 << 10;

/// A network namespace.
pub(crate) struct Space(File);

impl Space {
    /// The one that a container of `node` is in.
    pub(crate) fn of_container(node: &Node, name: &str) -> Result<Self> {
        let pid = node.engine.inspect(name)?["State"]["Pid"].as_u64().filter(|pid| *pid > 0);
        let pid = pid.with_context(|| format!("container {name} does not run"))?;
        Self::of_process(&node.host, pid)
    }

    /// The one that a process is in, which has this number on `host`.
    pub(crate) fn of_process(host: &Host, pid: u64) -> Result<Self> {
        let path = format!("/proc/{}/root/proc/{pid}/ns/net", host.init_pid());
        File::open(&path).map(Self).with_context(|| format!("could not open {path}"))
    }

    /// The one of a process of this machine.
    pub(crate) fn of_local(pid: u64) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        File::open(&path).map(Self).with_context(|| format!("could not open {path}"))
    }

    /// Runs `work` on a thread in it.
    pub(crate) fn spawn<'scope, 'env, T: Send + 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        work: impl FnOnce() -> Result<T> + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, Result<T>> {
        scope.spawn(move || {
            nix::sched::setns(&self.0, nix::sched::CloneFlags::CLONE_NEWNET)
                .context("could not enter a network namespace")?;
            work()
        })
    }
}

/// The result of a thread.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a thread of the load panicked"))
}

/// A way from clients to a server.
pub(crate) struct Path {
    /// Where the server listens.
    pub(crate) server: Space,
    /// Where the clients are.
    pub(crate) client: Space,
    /// What the clients connect to.
    pub(crate) to: SocketAddrV4,
}

/// What is done over a path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    /// One connection that carries as much as it can, one way.
    Stream,
    /// Requests and answers of 64 bytes, one after the other, on each of four connections.
    Requests,
    /// Connections that the server closes as soon as it has them, one after the other, from each of two clients.
    Connects,
}

impl Load {
    pub(crate) const ALL: [Self; 3] = [Self::Stream, Self::Requests, Self::Connects];

    /// What [`measure`] counts, a second.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Stream => "Gbit/s",
            Self::Requests => "requests/s",
            Self::Connects => "connections/s",
        }
    }
}

/// Loads a path for `span`, and gives how much of [`Load::unit`] it carried.
pub(crate) fn measure(path: &Path, load: Load, span: Duration) -> Result<f64> {
    let (accepting, clients) = match load {
        Load::Stream => (1, 1),
        Load::Requests => (REQUESTERS, REQUESTERS),
        Load::Connects => (CONNECTORS, CONNECTORS),
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ready, listening) = mpsc::channel();
        let over = &over;
        let server = path.server.spawn(scope, move || {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))
                .with_context(|| format!("could not listen on port {PORT} of a task"))?;
            // So that `accept` looks up from time to time whether the load is over.
            setsockopt(&listener, sockopt::ReceiveTimeout, &nix::sys::time::TimeVal::new(0, 50_000))?;
            _ = ready.send(());
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..accepting).map(|_| scope.spawn(|| serve(&listener, load, over))).collect();
                threads.into_iter().try_fold(0.0, |sum, thread| Ok(sum + join(thread)?))
            })
        });
        // Without a listener the server has ended, and says why below.
        let counted = listening.recv().map_err(anyhow::Error::new).and_then(|()| {
            let until = Instant::now() + span;
            let threads: Vec<_> =
                (0..clients).map(|_| path.client.spawn(scope, move || ask(path.to, load, until))).collect();
            threads.into_iter().try_fold(0.0, |sum, thread| Ok(sum + join(thread)?))
        });
        over.store(true, Ordering::Relaxed);
        let streamed = join(server)?;
        Ok(match load {
            Load::Stream => counted.map(|_: f64| streamed)?,
            Load::Requests | Load::Connects => counted? / span.as_secs_f64(),
        })
    })
}

/// Takes connections until the load is over. For a stream, the rate at which the bytes came.
fn serve(listener: &TcpListener, load: Load, over: &AtomicBool) -> Result<f64> {
    let mut rate = 0.0;
    while !over.load(Ordering::Relaxed) {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => continue,
            Err(error) => return Err(error).context("could not accept a connection"),
        };
        match load {
            Load::Stream => rate = swallow(stream)?,
            Load::Requests => echo(stream)?,
            Load::Connects => drop(stream),
        }
    }
    Ok(rate)
}

fn swallow(mut stream: TcpStream) -> Result<f64> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut buffer = vec![0; CHUNK];
    let first = stream.read(&mut buffer)?;
    let begin = Instant::now();
    let mut bits = 0.0;
    let mut got = first;
    while got > 0 {
        got = stream.read(&mut buffer).context("a stream broke off")?;
        #[expect(clippy::cast_precision_loss)]
        let more = (got * 8) as f64;
        bits += more;
    }
    Ok(bits / begin.elapsed().as_secs_f64() / 1e9)
}

fn echo(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut buffer = [0; REQUEST];
    loop {
        match stream.read_exact(&mut buffer) {
            Ok(()) => stream.write_all(&buffer)?,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error).context("a connection with requests broke off"),
        }
    }
}

/// One client's part of a load; how many requests were answered, or connections made.
fn ask(to: SocketAddrV4, load: Load, until: Instant) -> Result<f64> {
    let mut count = 0.0;
    match load {
        Load::Stream => {
            let mut stream = connect(to)?;
            stream.set_write_timeout(Some(SILENCE))?;
            let buffer = vec![0x5a; CHUNK];
            while Instant::now() < until {
                stream.write_all(&buffer).context("a stream broke off")?;
            }
        }
        Load::Requests => {
            let mut stream = connect(to)?;
            stream.set_nodelay(true)?;
            let mut buffer = [0; REQUEST];
            while Instant::now() < until {
                stream.write_all(&buffer)?;
                stream.read_exact(&mut buffer).context("a request was not answered")?;
                count += 1.0;
            }
        }
        Load::Connects => {
            while Instant::now() < until {
                let mut stream = connect(to)?;
                // It ends with a reset, or its port would rest for a minute.
                let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                setsockopt(&stream, sockopt::Linger, &linger)?;
                if stream.read(&mut [0; 1]).context("a connection was not taken")? == 0 {
                    count += 1.0;
                }
            }
        }
    }
    Ok(count)
}

fn connect(to: SocketAddrV4) -> Result<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&to.into(), SILENCE).with_context(|| format!("could not connect to {to}"))?;
    stream.set_read_timeout(Some(SILENCE))?;
    Ok(stream)
}
