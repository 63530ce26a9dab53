//! A cable between an agent and its control plane that tests can cut.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the cable does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cable {
    Whole,
    /// Bytes vanish in both directions; connections stay open, as when a real cable is cut.
    Cut,
    /// Bytes towards the agent vanish: it is heard and hears nothing.
    Deaf,
}

/// Listens for an agent and passes its bytes on to a control plane.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    pub(crate) cable: watch::Sender<Cable>,
    /// How many connections there were.
    pub(crate) connections: watch::Receiver<u32>,
}

impl Line {
    pub(crate) async fn to(control: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (cable, state) = watch::channel(Cable::Whole);
        let (count, connections) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let state = state.clone();
                tokio::spawn(async move {
                    if *state.borrow() == Cable::Cut {
                        // Nobody answers on a cut cable.
                        std::future::pending::<()>().await;
                    }
                    let Ok(control) = TcpStream::connect(control).await else { return };
                    let (from_agent, to_agent) = agent.into_split();
                    let (from_control, to_control) = control.into_split();
                    let up = pass(from_agent, to_control, state.clone(), |cable| cable == Cable::Cut);
                    let down = pass(from_control, to_agent, state, |cable| cable != Cable::Whole);
                    tokio::join!(up, down);
                });
            }
        });
        Self { address, cable, connections }
    }
}

/// Passes bytes on, or loses them. Bytes lost from the middle of a connection end it for good, as far as TLS goes.
async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    state: watch::Receiver<Cable>,
    lost: impl Fn(Cable) -> bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut broken = false;
    loop {
        let Ok(n) = from.read(&mut buffer).await else { return };
        if n == 0 && !broken {
            return;
        }
        broken |= lost(*state.borrow());
        if broken {
            if n == 0 {
                // The far end is never told.
                std::future::pending::<()>().await;
            }
            continue;
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
