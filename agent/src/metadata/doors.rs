//! The two sockets for tasks: opened, looked after, and opened again when they are lost.

use super::caller::Door;
use super::front::{Answer, Front};
use super::status::{DoorLine, MetadataLine};
use super::{PORT, server};
use crate::crash::{self, Place};
use crate::engine::docker::chain;
use crate::network::Inside;
use crate::network::kernel::DOCKER_BRIDGE;
use longshore_net::{EndpointConfig, HostEndpoint, Names, TaskSockets};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Between two looks at what the host's side needs of the kernel.
const LOOK: Duration = Duration::from_secs(10);

/// Between two tries of what failed.
const AGAIN: Duration = Duration::from_secs(2);

/// Answers tasks.
fn for_tasks(listener: std::net::TcpListener, door: Door, front: Arc<Front>) -> AbortOnDropHandle<()> {
    let answer = move |peer, head: server::Head| {
        let front = front.clone();
        async move { front.answer(door, peer, &head).await }
    };
    AbortOnDropHandle::new(tokio::spawn(server::serve(listener, answer)))
}

/// The host's side.
#[derive(Default)]
struct Host {
    endpoint: Option<HostEndpoint>,
    /// What serves; absent until the socket is open.
    serving: Option<AbortOnDropHandle<()>>,
    /// It has been as it should be.
    was_whole: bool,
    /// What tasks on the host's network are told by.
    tasks: TaskSockets,
    /// It was said that tasks on the host's network cannot be kept from its cloud.
    told: bool,
}

impl Host {
    /// Makes everything so that containers are answered.
    async fn tend(&mut self, front: &Arc<Front>, tasks: TaskSockets) -> Result<(), String> {
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => {
                let bridges = vec![DOCKER_BRIDGE.to_owned()];
                let config = EndpointConfig { port: PORT, bridges, names: Names::default(), host: None };
                let opened = crash::around(Place::HostDoor, HostEndpoint::open(config)).await;
                let opened = opened.map_err(|e| chain(&e))?;
                self.endpoint.insert(opened).clone()
            }
        };
        if self.serving.as_ref().is_none_or(|serving| serving.is_finished()) {
            let listener = endpoint.listen().await.map_err(|e| chain(&e))?;
            self.serving = Some(for_tasks(listener, Door::Host, front.clone()));
        }
        // Rules about tasks that are known only now belong to none that somebody removed.
        let news = self.tasks != tasks;
        let done = endpoint.repair(tasks.clone()).await.map_err(|e| chain(&e))?;
        self.tasks = tasks;
        for what in done {
            if self.was_whole && !news {
                tracing::warn!(%what, "put back what somebody else removed from the metadata endpoint");
            }
        }
        if let Some(why) = endpoint.refused().filter(|_| !std::mem::replace(&mut self.told, true)) {
            tracing::warn!(why, "tasks of mode `host` reach the host's cloud at link-local addresses");
        }
        self.was_whole = true;
        Ok(())
    }
}

/// Looks after the socket for tasks on the host's own networks.
pub(super) async fn host(
    front: Arc<Front>,
    mut sockets: watch::Receiver<TaskSockets>,
    status: &watch::Sender<MetadataLine>,
) {
    let mut host = Host::default();
    loop {
        let tasks = sockets.borrow_and_update().clone();
        let line = match host.tend(&front, tasks).await {
            Ok(()) => DoorLine::open(),
            Err(why) => DoorLine::closed(why),
        };
        say(status, "bridge and host", line, |status| &mut status.host);
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            Ok(()) = sockets.changed() => {}
        }
    }
}

/// Looks after the socket in the fabric, which is another one each time that the fabric was opened anew.
pub(super) async fn fabric(
    front: Arc<Front>,
    mut inside: watch::Receiver<Option<Inside>>,
    status: &watch::Sender<MetadataLine>,
) {
    let mut serving: Option<AbortOnDropHandle<()>> = None;
    loop {
        let now = inside.borrow_and_update().clone();
        let Some(now) = now else {
            if inside.changed().await.is_err() {
                return std::future::pending().await;
            }
            continue;
        };
        // The earlier one has the address, if it is the same namespace.
        if let Some(earlier) = serving.take() {
            earlier.abort();
            let _ = earlier.await;
        }
        match now.fabric.listen().await {
            Ok(listener) => {
                serving = Some(for_tasks(listener, Door::Fabric, front.clone()));
                say(status, "awsvpc", DoorLine::open(), |status| &mut status.awsvpc);
                if inside.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
            Err(fault) => {
                say(status, "awsvpc", DoorLine::closed(fault.why), |status| &mut status.awsvpc);
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Looks after a socket for the host's own programs, where one is wanted.
pub(super) async fn local<F, R>(
    name: &'static str,
    address: Option<SocketAddr>,
    status: &watch::Sender<MetadataLine>,
    answer: F,
) where
    F: Fn(IpAddr, server::Head) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let Some(address) = address else { return };
    loop {
        let line = match std::net::TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l)) {
            Ok(listener) => {
                say(status, name, DoorLine::open(), |status| status.local.entry(name).or_default());
                server::serve(listener, answer.clone()).await;
                DoorLine::closed("it ended")
            }
            Err(error) => DoorLine::closed(format!(
                "could not listen on {address}: {error}; set `{name}` to another address, or to \"off\""
            )),
        };
        say(status, name, line, |status| status.local.entry(name).or_default());
        tokio::time::sleep(LOOK).await;
    }
}

/// Publishes how a door is, and logs what is new.
fn say(
    status: &watch::Sender<MetadataLine>,
    door: &str,
    line: DoorLine,
    of: impl Fn(&mut MetadataLine) -> &mut DoorLine,
) {
    status.send_if_modified(|known| {
        let known = of(known);
        if *known == line {
            return false;
        }
        match &line.why {
            None => tracing::info!(door, "the metadata endpoint answers"),
            Some(why) => tracing::error!(door, why, "the metadata endpoint does not answer here; it is tried again"),
        }
        *known = line;
        true
    });
}
