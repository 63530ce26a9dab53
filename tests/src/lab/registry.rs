//! A way to a registry that breaks: a port in front of its port, on the same lab host.
//!
//! It speaks just enough HTTP/1.1 to know what is asked for: each connection carries one request without a body, as
//! pulls have. Faults are the test's to choose and end; nothing is random.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use super::host::Host;

/// What is larger than this is a layer: a configuration and a manifest are not.
const LAYER: u64 = 64 << 10;

/// Between two looks at what the test wants.
const LOOK: Duration = Duration::from_millis(20);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryFault {
    /// Nothing.
    None,
    /// Manifests are answered with 503.
    Unavailable,
    /// Manifests are not answered until the fault ends, and then with 503.
    Hold,
    /// The next layers, so many, end in their middle.
    Cut(u32),
    /// Layers stop in their middle until the fault ends, and then end there.
    Stall,
}

/// The port in front of a registry. Ends with it.
pub struct FaultyRegistry {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    registry: SocketAddrV4,
    state: Mutex<State>,
}

struct State {
    fault: RegistryFault,
    /// Answers that broke, or wait to.
    broken: u32,
    over: bool,
}

impl FaultyRegistry {
    /// Listens at `address` of `host` for the registry at `registry`. Nothing breaks until [`FaultyRegistry::set`].
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn start(host: &Host, address: SocketAddrV4, registry: SocketAddrV4) -> Result<Self> {
        let state = Mutex::new(State { fault: RegistryFault::None, broken: 0, over: false });
        let shared = Arc::new(Shared { registry, state });
        let for_thread = Arc::clone(&shared);
        let accepting = host.in_network(|| {
            let listener = TcpListener::bind(address).with_context(|| format!("could not listen at {address}"))?;
            // So that it sees when it is over.
            listener.set_nonblocking(true)?;
            // Threads that are made by one inside the host's network stay in it.
            Ok(std::thread::spawn(move || accept(&listener, &for_thread)))
        })?;
        Ok(Self { shared, accepting: Some(accepting) })
    }

    /// What goes wrong from now on. Whatever the last fault holds back is let go.
    pub fn set(&self, fault: RegistryFault) {
        let mut state = self.shared.state();
        state.fault = fault;
        state.broken = 0;
    }

    /// How many answers broke, or are held back, since the last [`FaultyRegistry::set`].
    #[must_use]
    pub fn broken(&self) -> u32 {
        self.shared.state().broken
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.over = true;
        drop(state);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.state().over {
        match listener.accept() {
            Ok((client, _)) => {
                let shared = Arc::clone(shared);
                std::thread::spawn(move || {
                    // A connection that breaks on either side is the client's to notice.
                    let _ = client.set_nonblocking(false).and_then(|()| shared.serve(&client));
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

impl Shared {
    /// A poisoned lock holds whole values.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut client: &TcpStream) -> io::Result<()> {
        let (head, _) = read_head(client)?;
        let line = head.lines().next().unwrap_or_default().to_owned();
        if line.contains("/manifests/")
            && self.breaks(|fault| match fault {
                RegistryFault::Unavailable | RegistryFault::Hold => Some(fault),
                RegistryFault::None | RegistryFault::Cut(_) | RegistryFault::Stall => None,
            })
        {
            self.hold(RegistryFault::Hold);
            return client
                .write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let mut registry = TcpStream::connect(self.registry)?;
        registry.write_all(with_close(&head).as_bytes())?;
        let (answer, rest) = read_head(&registry)?;
        let length = length(&answer);
        client.write_all(answer.as_bytes())?;
        let layer = line.starts_with("GET ") && line.contains("/blobs/") && length > LAYER;
        if layer
            && self.breaks(|fault| match fault {
                RegistryFault::Cut(0) => None,
                RegistryFault::Cut(left) => Some(RegistryFault::Cut(left - 1)),
                RegistryFault::Stall => Some(fault),
                RegistryFault::None | RegistryFault::Unavailable | RegistryFault::Hold => None,
            })
        {
            client.write_all(&rest)?;
            let half = (length / 2).saturating_sub(rest.len() as u64);
            io::copy(&mut registry.take(half), &mut client)?;
            self.hold(RegistryFault::Stall);
            return Ok(());
        }
        client.write_all(&rest)?;
        io::copy(&mut registry, &mut client).map(drop)
    }

    /// Whether this answer breaks: `next` says what the fault is after it if it does.
    fn breaks(&self, next: impl FnOnce(RegistryFault) -> Option<RegistryFault>) -> bool {
        let mut state = self.state();
        let Some(fault) = next(state.fault) else { return false };
        state.fault = fault;
        state.broken += 1;
        true
    }

    /// Waits while that is the fault.
    fn hold(&self, fault: RegistryFault) {
        loop {
            let state = self.state();
            if state.fault != fault || state.over {
                return;
            }
            drop(state);
            std::thread::sleep(LOOK);
        }
    }
}

/// Everything up to the empty line, and what was read beyond it.
fn read_head(mut stream: &TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = got.windows(4).position(|part| part == b"\r\n\r\n") {
            let rest = got.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&got).into_owned(), rest));
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => got.extend_from_slice(&buffer[..n]),
        }
        // dockerd tries TLS first, and waits ten seconds for somebody who does not understand it.
        if !got[0].is_ascii_uppercase() {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// The request's head, with the wish that the connection ends with the answer.
fn with_close(head: &str) -> String {
    let lines = head.trim_end().lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let kept: Vec<&str> = lines.collect();
    format!("{}\r\nConnection: close\r\n\r\n", kept.join("\r\n"))
}

fn length(head: &str) -> u64 {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let found = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    found.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}
