//! One try of a probe, on a thread that is in the container's network.

use longshore_model::Question;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What is read of an answer: its first line is far shorter.
const MOST: usize = 1024;

/// Asks, and says what was wrong with the answer, for people. Takes `timeout` at most.
pub(super) fn ask(question: &Question, timeout: Duration) -> Result<(), String> {
    let until = Instant::now() + timeout;
    match question {
        Question::Tcp { port } => connect(*port, until).map(drop),
        Question::Http { port, path } => {
            let mut stream = connect(*port, until)?;
            let status = get(&mut stream, path, until).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
                _ => format!("no answer: {error}"),
            })?;
            match status {
                Some(200..400) => Ok(()),
                Some(status) => Err(format!("the answer was {status}")),
                None => Err("the answer was not HTTP".to_owned()),
            }
        }
    }
}

/// By IPv4, and by IPv6 where nothing listens there.
fn connect(port: u16, until: Instant) -> Result<TcpStream, String> {
    let to =
        |address: SocketAddr| TcpStream::connect_timeout(&address, left(until).unwrap_or(Duration::from_millis(1)));
    let first = to((Ipv4Addr::LOCALHOST, port).into());
    let stream = first.or_else(|error| to((Ipv6Addr::LOCALHOST, port).into()).map_err(|_| error));
    stream.map_err(|error| format!("no connection to port {port}: {error}"))
}

/// The answer's status; `None` when it is no answer.
fn get(stream: &mut TcpStream, path: &str, until: Instant) -> io::Result<Option<u16>> {
    stream.set_write_timeout(Some(left(until)?))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: longshore\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    let mut buffer = [0; MOST];
    while line.len() < MOST && !line.contains(&b'\n') {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut buffer)? {
            0 => break,
            n => line.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(status(&line))
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Of `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|b| *b == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (version, rest) = line.split_once(' ')?;
    let code = rest.split([' ', '\r']).next()?;
    let sound = version.starts_with("HTTP/1.") && code.len() == 3;
    code.parse().ok().filter(|_| sound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one connection with `text`, and keeps it for `hold`.
    fn server(text: &'static str, hold: Duration) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 512];
            let n = stream.read(&mut request).expect("a request");
            assert!(request[..n].starts_with(b"GET /up HTTP/1.1\r\nHost: localhost\r\n"));
            stream.write_all(text.as_bytes()).expect("written");
            let began = Instant::now();
            // Until the client goes.
            stream.set_read_timeout(Some(hold)).expect("set");
            let _ = stream.read(&mut request);
            assert!(began.elapsed() <= hold + Duration::from_secs(5));
        });
        port
    }

    #[test]
    fn answers_are_told_apart() {
        let limit = Duration::from_secs(5);
        let get = |text| {
            let port = server(text, limit);
            ask(&Question::Http { port, path: "/up".into() }, limit)
        };
        assert_eq!(get("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Ok(()));
        assert_eq!(get("HTTP/1.0 302 Found\n\n"), Ok(()));
        assert_eq!(get("HTTP/1.1 503 No\r\n\r\n"), Err("the answer was 503".into()));
        assert_eq!(get("SSH-2.0-OpenSSH_9.2\r\n"), Err("the answer was not HTTP".into()));
        let port = server("HTTP/1.1 ", limit);
        let late = ask(&Question::Http { port, path: "/up".into() }, Duration::from_millis(200));
        assert_eq!(late, Err("no answer in time".into()));
    }

    #[test]
    fn a_connection_is_enough_for_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("bound").port();
        assert_eq!(ask(&Question::Tcp { port }, Duration::from_secs(5)), Ok(()));
        drop(listener);
        let refused = ask(&Question::Tcp { port }, Duration::from_secs(5)).expect_err("nobody listens");
        assert!(refused.starts_with(&format!("no connection to port {port}: ")), "{refused}");
    }
}
