//! Connections: accepted, limited, and led to whoever answers.

use super::front::Answer;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Connections at once of one address: a task's, or all of the host's own processes.
const OF_ONE: usize = 64;

/// Connections at once of all.
const OF_ALL: usize = 1024;

/// From a connection's start, or its last answer, until the whole head of a request has come.
const HEAD: Duration = Duration::from_secs(5);

/// How old a connection may become.
const AGE: Duration = Duration::from_secs(60);

/// How long its last answer may take then.
const LAST: Duration = Duration::from_secs(5);

/// After a failure to accept (no file descriptors, for example): without a wait this would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections each address has.
#[derive(Debug, Default)]
struct Counts(Mutex<HashMap<IpAddr, usize>>);

impl Counts {
    fn all(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let mut all = self.all();
        let total: usize = all.values().sum();
        let of_peer = all.entry(peer).or_default();
        if *of_peer >= OF_ONE || total >= OF_ALL {
            if *of_peer == 0 {
                all.remove(&peer);
            }
            return None;
        }
        *of_peer += 1;
        drop(all);
        Some(Place { counts: self.clone(), peer })
    }
}

/// A connection's place among those that are open.
struct Place {
    counts: Arc<Counts>,
    peer: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.counts.all();
        if let Some(count) = all.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.peer);
            }
        }
    }
}

/// The longest body that is read.
const BODY: usize = 4096;

/// What of a request is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// Of a PUT; empty for all others, and when it is too long or does not come.
    pub(super) body: Bytes,
}

/// Serves until it is dropped. Connections that are open then end by themselves.
pub(super) async fn serve<F, R>(listener: std::net::TcpListener, answer: F)
where
    F: Fn(IpAddr, Head) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "could not watch a socket"),
    };
    let counts = Arc::new(Counts::default());
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match counts.take(peer.ip()) {
                Some(place) => _ = tokio::spawn(connection(stream, peer, place, answer.clone())),
                None => tracing::debug!(%peer, "too many connections of one address; one more was closed"),
            },
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection<F, R>(stream: TcpStream, peer: SocketAddr, place: Place, answer: F)
where
    F: Fn(IpAddr, Head) -> R,
    R: Future<Output = Answer>,
    F: Clone,
{
    // Answers are written whole; waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let uri = request.uri();
        let (path, query) = (uri.path().to_owned(), uri.query().map(str::to_owned));
        let answer = answer.clone();
        async move {
            let method = request.method().clone();
            let body = if method == Method::PUT { body(request.into_body()).await } else { Bytes::new() };
            Ok::<_, Infallible>(response(answer(peer.ip(), Head { method, path, query, body }).await))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        // Small clients say that they have nothing more to ask before they read.
        .half_close(true)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = match tokio::time::timeout(AGE, &mut connection).await {
        Ok(ended) => ended,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            // A reader that does not read must not hold a place for ever.
            tokio::time::timeout(LAST, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%peer, %error, "a connection ended early");
    }
    drop(place);
}

/// A small body that comes in time.
async fn body(incoming: Incoming) -> Bytes {
    match tokio::time::timeout(HEAD, Limited::new(incoming, BODY).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_)) | Err(_) => Bytes::new(),
    }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let kind = header::HeaderValue::from_static(answer.kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_takes_all_the_places() {
        let counts = Arc::new(Counts::default());
        let address = |last: u8| IpAddr::from([10, 77, 1, last]);
        let mut places: Vec<Place> = (0..OF_ONE).map(|_| counts.take(address(1)).expect("a place")).collect();
        assert!(counts.take(address(1)).is_none());
        places.push(counts.take(address(2)).expect("another's"));
        for last in 3..=255 {
            places.extend((0..OF_ONE).map_while(|_| counts.take(address(last))));
        }
        assert_eq!(places.len(), OF_ALL);
        drop(places);
        assert!(counts.all().is_empty());
        assert!(counts.take(address(1)).is_some());
    }
}
