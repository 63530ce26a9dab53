//! The network between hosts and the control plane: connections that are slow, cut, reset, and silent.
//!
//! A connection is a pair of wires, one each way. A wire keeps order and loses nothing, as TCP does, unless this run
//! tampers with messages: then some are lost, doubled, or change places, which the protocol has to notice.

use crate::control::Process;
use crate::entropy::Dice;
use crate::world::World;
use async_trait::async_trait;
use futures::StreamExt as _;
use longshore_agent::session::{Connection, ControlMessages, OpenError, Peer};
use longshore_model::InstanceId;
use longshore_proto::v1;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// Messages that a wire holds at its far end.
const FAR_END: usize = 64;

/// One host's line.
pub(crate) struct Link {
    dice: Dice,
    /// Whether anything passes. What is sent meanwhile waits.
    up: watch::Sender<bool>,
    /// The longest delay of a message, in milliseconds.
    pub(crate) delay: AtomicU64,
    /// Messages of a thousand that are tampered with.
    pub(crate) tamper: AtomicU32,
    wires: Mutex<Vec<Wires>>,
}

/// One connection, for whoever breaks it.
#[derive(Clone)]
struct Wires {
    process: u32,
    /// Both ends are told at once that it is over.
    reset: CancellationToken,
    /// Nothing passes any more, and nobody is told.
    silent: CancellationToken,
    /// The same, towards one side only.
    deaf: [CancellationToken; 2],
}

impl Link {
    pub(crate) fn new(dice: Dice, delay: u64, tamper: u32) -> Self {
        let up = watch::channel(true).0;
        Self { dice, up, delay: delay.into(), tamper: tamper.into(), wires: Mutex::default() }
    }

    fn wires(&self) -> std::sync::MutexGuard<'_, Vec<Wires>> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets messages pass, or holds them up.
    pub(crate) fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }

    fn pause(&self) -> Duration {
        self.dice.millis(0, self.delay.load(Ordering::Relaxed))
    }

    /// Every connection breaks, in one of the ways in which connections do.
    pub(crate) fn break_all(&self) {
        for wires in std::mem::take(&mut *self.wires()) {
            match self.dice.between(0, 3) {
                0 => wires.silent.cancel(),
                1 => wires.deaf[0].cancel(),
                2 => wires.deaf[1].cancel(),
                _ => wires.reset.cancel(),
            }
        }
    }

    /// The power of one side went: nobody says good-bye.
    pub(crate) fn silence(&self) {
        std::mem::take(&mut *self.wires()).iter().for_each(|wires| wires.silent.cancel());
    }

    /// A process of the control plane ended. Its kernel mostly says so.
    pub(crate) fn process_ended(&self, process: u32) {
        let silent = self.dice.chance(150);
        self.wires().retain(|wires| {
            let ours = wires.process == process;
            if ours {
                if silent { wires.silent.cancel() } else { wires.reset.cancel() }
            }
            !ours
        });
    }

    async fn passable(&self) {
        let mut up = self.up.subscribe();
        // The link is never dropped while somebody waits at it.
        let _ = up.wait_for(|up| *up).await;
    }
}

/// Carries messages one way until the sender ends, the receiver does, or the connection breaks.
async fn carry<M: Clone, N>(
    link: &Link,
    wires: &Wires,
    deaf: &CancellationToken,
    mut from: mpsc::Receiver<M>,
    to: mpsc::Sender<N>,
    turn: impl Fn(M) -> N,
) {
    let mut under_way: VecDeque<(Instant, M)> = VecDeque::new();
    let mut open = true;
    let mut latest = Instant::now();
    let mut up = link.up.subscribe();
    loop {
        let passable = *up.borrow_and_update();
        let due = under_way.front().map(|(at, _)| *at);
        tokio::select! {
            biased;
            () = wires.reset.cancelled() => return,
            () = deaf.cancelled() => return to.closed().await,
            () = wires.silent.cancelled() => return to.closed().await,
            message = from.recv(), if open => match message {
                None => open = false,
                Some(message) => {
                    latest = latest.max(Instant::now() + link.pause());
                    if link.dice.chance(link.tamper.load(Ordering::Relaxed)) {
                        match link.dice.between(0, 2) {
                            0 => continue,
                            1 => under_way.push_back((latest, message.clone())),
                            _ => {
                                if let Some((_, last)) = under_way.back_mut() {
                                    let before = std::mem::replace(last, message);
                                    under_way.push_back((latest, before));
                                    continue;
                                }
                            }
                        }
                    }
                    under_way.push_back((latest, message));
                }
            },
            _ = up.changed() => {}
            () = sleep_until(due), if passable && due.is_some() => {
                let Some((_, message)) = under_way.pop_front() else { continue };
                if to.send(turn(message)).await.is_err() {
                    return;
                }
            }
        }
        if !open && under_way.is_empty() {
            return;
        }
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        None => std::future::pending().await,
        Some(when) => tokio::time::sleep_until(when).await,
    }
}

/// The control plane, as one host's agent reaches it.
pub(crate) struct SimPeer {
    pub(crate) world: Arc<World>,
    pub(crate) host: usize,
    pub(crate) instance: InstanceId,
}

#[async_trait]
impl Peer for SimPeer {
    fn instance(&self) -> InstanceId {
        self.instance
    }

    fn address(&self) -> String {
        "control:7421".to_owned()
    }

    async fn connect(&self, limit: Duration) -> Result<Box<dyn Connection>, OpenError> {
        let link = &self.world.hosts[self.host].link;
        let late = |_| OpenError::Unreached("no answer in time".to_owned());
        tokio::time::timeout(limit, link.passable()).await.map_err(late)?;
        tokio::time::sleep(link.pause()).await;
        let process = self.world.control().ok_or_else(|| OpenError::Unreached("connection refused".to_owned()))?;
        let (world, host, instance) = (Arc::clone(&self.world), self.host, self.instance);
        Ok(Box::new(SimConnection { world, host, instance, process }))
    }

    fn refusal(&self, status: &Status) -> Option<String> {
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated | Code::NotFound => Some(status.message().to_owned()),
            _ => None,
        }
    }
}

struct SimConnection {
    world: Arc<World>,
    host: usize,
    instance: InstanceId,
    process: Arc<Process>,
}

#[async_trait]
impl Connection for SimConnection {
    async fn session(self: Box<Self>, messages: mpsc::Receiver<v1::AgentMessage>) -> Result<ControlMessages, Status> {
        let Self { world, host, instance, process } = *self;
        let token = CancellationToken::new;
        let wires = Wires { process: process.number, reset: token(), silent: token(), deaf: [token(), token()] };
        world.hosts[host].link.wires().push(wires.clone());
        let (up, up_end) = mpsc::channel(FAR_END);
        let (down, down_end) = mpsc::channel(FAR_END);
        let (opened, open) = oneshot::channel();
        let (there, back) = (wires.clone(), wires.clone());
        let carrier = Arc::clone(&world);
        tokio::spawn(async move {
            carry(&carrier.hosts[host].link, &there, &there.deaf[0], messages, up, Ok).await;
        });
        // What the process does for the call ends with the process, and with the connection.
        let over = process.over.clone();
        let reset = wires.reset.clone();
        let serve = async move {
            match process.front.open(instance, ReceiverStream::new(up_end).boxed()).await {
                Err(status) => {
                    let _ = opened.send(Err(status));
                }
                Ok(answers) => {
                    let _ = opened.send(Ok(()));
                    carry(&world.hosts[host].link, &back, &back.deaf[1], answers.into_inner(), down, |m| m).await;
                }
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = over.cancelled() => {}
                () = reset.cancelled() => {}
                () = serve => {}
            }
        });
        match open.await {
            Ok(Ok(())) => Ok(ReceiverStream::new(down_end).boxed()),
            Ok(Err(status)) => Err(status),
            Err(_) => Err(Status::unavailable("the connection was reset")),
        }
    }
}
