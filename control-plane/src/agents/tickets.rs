//! How many batches of logs are read and held at once.
//!
//! A batch is decoded before the log store can make it wait, so a fleet that comes back with full rings would otherwise
//! fill the memory. A call of `PutLogs` needs a ticket before anything of its body is read: what waits for one is with
//! the agents and in HTTP/2's windows. Other calls, and the sessions above all, need none.

use super::members::Members;
use crate::pki;
use longshore_model::InstanceId;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tower::{Layer, Service};

/// How long a call may have a ticket. Agents wait no longer for an answer, and one that sends nothing more must not
/// keep others from it.
const HELD: Duration = Duration::from_secs(60);

/// Calls of one instance that have tickets or wait for them. An agent makes one at a time; those that were lost stay
/// until they are missed.
const OF_ONE: usize = 4;

/// Room for batches. Clones are the same room.
#[derive(Debug, Clone)]
pub(super) struct Tickets {
    held: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    calls: Members,
}

impl Tickets {
    /// So many calls may be read and held, and so many more wait for that.
    pub(super) fn new(held: usize, waiting: usize) -> Self {
        let calls = Members::new(Semaphore::MAX_PERMITS, OF_ONE);
        Self { held: Arc::new(Semaphore::new(held)), waiting: Arc::new(Semaphore::new(waiting)), calls }
    }

    /// Waits for a ticket for `instance`, and then for `answer`.
    async fn answer<T>(self, instance: InstanceId, answer: impl Future<Output = T>) -> Result<T, Status> {
        let Some(_call) = self.calls.try_enter(instance) else {
            return Err(Status::unavailable("this host hands over logs by many calls already"));
        };
        let ticket = match Arc::clone(&self.held).try_acquire_owned() {
            Ok(ticket) => ticket,
            Err(_) => {
                let Ok(_place) = self.waiting.try_acquire() else {
                    return Err(Status::unavailable("too many hosts hand over logs now"));
                };
                self.held.acquire_owned().await.expect("the semaphore is never closed")
            }
        };
        let answered = tokio::time::timeout(HELD, answer).await;
        drop(ticket);
        answered.map_err(|_| Status::unavailable(format!("the batch was not taken within {} s", HELD.as_secs())))
    }
}

impl<S> Layer<S> for Tickets {
    type Service = Ticketed<S>;

    fn layer(&self, inner: S) -> Ticketed<S> {
        Ticketed { inner, tickets: self.clone() }
    }
}

/// A service whose calls of `PutLogs` need tickets.
#[derive(Debug, Clone)]
pub(super) struct Ticketed<S> {
    inner: S,
    tickets: Tickets,
}

type Request = http::Request<Body>;
type Response = http::Response<Body>;

impl<S> Service<Request> for Ticketed<S>
where
    S: Service<Request, Response = Response> + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if !request.uri().path().ends_with("/PutLogs") {
            return Box::pin(self.inner.call(request));
        }
        let Some(instance) = member(&request) else {
            let status = Status::unauthenticated("this call needs the client certificate that joining gives");
            return Box::pin(async move { Ok(status.into_http()) });
        };
        let tickets = self.tickets.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            match tickets.answer(instance, answer).await {
                Ok(answered) => answered,
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

/// The instance whose certificate a call came with. Whoever has none takes no ticket.
fn member(request: &Request) -> Option<InstanceId> {
    let chain = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>()?.peer_certs()?;
    pki::instance_of(chain.first()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;
    use tonic::Code;

    fn id(n: u8) -> InstanceId {
        InstanceId::from_bytes([n; 16])
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_does_not_take_all_tickets() {
        let tickets = Tickets::new(64, 64);
        let stuck = || tokio::spawn(tickets.clone().answer(id(1), std::future::pending::<()>()));
        let stuck: Vec<_> = (0..OF_ONE).map(|_| stuck()).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let more = tickets.clone().answer(id(1), std::future::ready(())).await.expect_err("too many");
        assert_eq!(more.code(), Code::Unavailable);
        tickets.clone().answer(id(2), std::future::ready(())).await.expect("another's");
        for call in stuck {
            call.abort();
            let _ = call.await;
        }
        tickets.clone().answer(id(1), std::future::ready(())).await.expect("there is room again");
        assert!(tickets.calls.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn some_wait_for_a_ticket_and_more_are_sent_away() {
        let tickets = Tickets::new(1, 1);
        let answer = |answer: oneshot::Receiver<u8>| tokio::spawn(tickets.clone().answer(id(1), answer));
        let (tell_first, first) = oneshot::channel();
        let (tell_second, second) = oneshot::channel();
        let (first, second) = (answer(first), answer(second));
        // Both are polled in this order before time goes on.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let third = tickets.clone().answer(id(2), std::future::ready(3)).await.expect_err("no room");
        assert_eq!(third.code(), Code::Unavailable);
        tell_second.send(2).expect("it waits");
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!second.is_finished(), "it has no ticket");
        tell_first.send(1).expect("it waits");
        assert_eq!(first.await.expect("no panic").expect("answered"), Ok(1));
        assert_eq!(second.await.expect("no panic").expect("answered"), Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_has_a_ticket_for_ever() {
        let tickets = Tickets::new(1, 1);
        let stuck = tokio::spawn(tickets.clone().answer(id(1), std::future::pending::<()>()));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let next = tokio::time::timeout(HELD * 2, tickets.answer(id(2), std::future::ready(1))).await;
        assert_eq!(next.expect("in time").expect("answered"), 1);
        assert_eq!(stuck.await.expect("no panic").expect_err("ended").code(), Code::Unavailable);
    }
}
