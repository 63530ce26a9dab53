//! Connections that the engine turns into a process's standard streams: `/exec/ID/start` and `/containers/ID/attach`.
//!
//! Spoken by hand on a socket of its own. bollard tells a terminal's raw bytes from framed ones by guessing at the
//! first byte, which is wrong for output that begins with a byte below 3; and both halves of the socket are needed as
//! they are: what is not read holds the process up, and closing the one for writing is the end of its input.

use crate::client::Docker;
use crate::error::{DockerError, one_line};
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes of the head of an answer, and of the engine's words when it refuses.
const LONGEST_HEAD: usize = 16 * 1024;
/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;
/// The header of a piece of framed output: the stream, three zeros, the length.
const HEADER: usize = 8;

/// A process's standard streams.
#[derive(Debug)]
pub struct Streams {
    /// What it says.
    pub output: Output,
    /// What it hears.
    pub input: Input,
}

/// A process's output. Nothing is read ahead: a reader that is slow slows the process down.
#[derive(Debug)]
pub struct Output {
    reader: OwnedReadHalf,
    /// What was read; from `at` on it is not yet given.
    buffer: Vec<u8>,
    at: usize,
    /// Absent for a terminal's raw bytes.
    framing: Option<Framing>,
}

/// Where a framed stream stands: the bytes of the piece that are still to come.
#[derive(Debug, Clone, Copy)]
struct Framing {
    stderr: bool,
    left: usize,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Standard output; all of a terminal's.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
}

/// A process's input.
#[derive(Debug)]
pub struct Input {
    writer: OwnedWriteHalf,
}

impl Input {
    /// Hands all of `bytes` over.
    ///
    /// # Errors
    /// When the process takes no more.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await
    }

    /// Tells the process that there is no more.
    ///
    /// # Errors
    /// When it had ended.
    pub async fn end(&mut self) -> io::Result<()> {
        self.writer.shutdown().await
    }
}

impl Output {
    /// The next piece, of at most 32 KiB; `None` when the process has closed its output. Cancel-safe.
    ///
    /// # Errors
    /// When the engine's connection breaks, or says what cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            if let Some(piece) = self.take()? {
                return Ok(Some(piece));
            }
            // What is left is a part of a header.
            self.buffer.drain(..self.at);
            self.at = 0;
            self.buffer.reserve(CHUNK);
            let count = self.reader.read_buf(&mut self.buffer).await?;
            if count == 0 {
                let whole = self.buffer.is_empty() && self.framing.is_none_or(|framing| framing.left == 0);
                return if whole { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// The next bytes, at most so many.
    fn give(&mut self, most: usize) -> Vec<u8> {
        let end = self.buffer.len().min(self.at + most);
        let bytes = self.buffer[self.at..end].to_vec();
        self.at = end;
        bytes
    }

    fn take(&mut self) -> io::Result<Option<Piece>> {
        let Some(mut framing) = self.framing else {
            let bytes = self.give(CHUNK);
            return Ok((!bytes.is_empty()).then_some(Piece::Stdout(bytes)));
        };
        while framing.left == 0 && self.buffer.len() - self.at >= HEADER {
            let header = self.give(HEADER);
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let stderr = match header[..4] {
                [0 | 1, 0, 0, 0] => false,
                [2, 0, 0, 0] => true,
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the engine's output is not framed")),
            };
            framing = Framing { stderr, left: usize::try_from(length).unwrap_or(usize::MAX) };
        }
        let bytes = self.give(framing.left.min(CHUNK));
        framing.left -= bytes.len();
        self.framing = Some(framing);
        if bytes.is_empty() {
            return Ok(None);
        }
        Ok(Some(if framing.stderr { Piece::Stderr(bytes) } else { Piece::Stdout(bytes) }))
    }
}

impl Docker {
    /// Asks for a connection's streams: POST `path` with `body`, within `limit`.
    pub(crate) async fn hijack(
        &self,
        doing: &str,
        path: &str,
        body: &str,
        terminal: bool,
        limit: Duration,
    ) -> Result<Streams, DockerError> {
        // Agrees on the version when nothing was asked yet.
        let version = self.client().await?.client_version();
        let path = format!("/v{}.{}{path}", version.major_version, version.minor_version);
        let begin = Instant::now();
        let asked = tokio::time::timeout(limit, self.upgrade(doing, &path, body, terminal)).await;
        let streams = asked.unwrap_or_else(|_| Err(DockerError::Timeout { doing: doing.to_owned(), after: limit }));
        self.book().enter(doing, begin.elapsed(), streams.is_err());
        streams
    }

    async fn upgrade(&self, doing: &str, path: &str, body: &str, terminal: bool) -> Result<Streams, DockerError> {
        let lost = |source: io::Error| DockerError::Lost { doing: doing.to_owned(), source: source.into() };
        let mut stream = UnixStream::connect(self.socket()).await.map_err(|source| DockerError::Unreachable {
            endpoint: self.endpoint().to_owned(),
            source: source.into(),
        })?;
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.map_err(lost)?;
        let mut answer = Vec::new();
        let end = loop {
            if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).await.map_err(lost)?;
            if count == 0 || answer.len() > LONGEST_HEAD {
                return Err(lost(io::ErrorKind::UnexpectedEof.into()));
            }
            answer.extend_from_slice(&chunk[..count]);
        };
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status: u16 = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        match status {
            // Engines that do not know the header answer 200 and do the same.
            101 | 200 => {
                let (reader, writer) = stream.into_split();
                let framing = (!terminal).then_some(Framing { stderr: false, left: 0 });
                Ok(Streams { output: Output { reader, buffer: answer, at: end, framing }, input: Input { writer } })
            }
            status => {
                let mut words = answer.split_off(end);
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
                });
                while length.is_some_and(|length| words.len() < length.min(LONGEST_HEAD)) {
                    let mut chunk = [0; 4096];
                    let count = stream.read(&mut chunk).await.map_err(lost)?;
                    if count == 0 {
                        break;
                    }
                    words.extend_from_slice(&chunk[..count]);
                }
                let words = String::from_utf8_lossy(&words);
                let message = words.trim().trim_start_matches("{\"message\":\"").trim_end_matches("\"}");
                Err(DockerError::Refused { doing: doing.to_owned(), status, message: one_line(message) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Attachable;

    fn output(terminal: bool) -> (Output, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (reader, _writer) = ours.into_split();
        let framing = (!terminal).then_some(Framing { stderr: false, left: 0 });
        (Output { reader, buffer: Vec::new(), at: 0, framing }, theirs)
    }

    #[tokio::test]
    async fn framed_output_is_taken_apart_wherever_it_is_cut() {
        let (mut output, mut engine) = output(false);
        let pieces: [(u8, &[u8]); 4] = [(1, b"out"), (2, b"err\x01\x00"), (1, b""), (1, b"\x02more")];
        let mut bytes = Vec::new();
        for (stream, content) in pieces {
            bytes.extend([stream, 0, 0, 0]);
            bytes.extend(u32::try_from(content.len()).expect("short").to_be_bytes());
            bytes.extend(content);
        }
        let writing = tokio::spawn(async move {
            for byte in bytes {
                engine.write_all(&[byte]).await.expect("taken");
                tokio::task::yield_now().await;
            }
        });
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(piece) = output.next().await.expect("readable") {
            match piece {
                Piece::Stdout(bytes) => out.extend(bytes),
                Piece::Stderr(bytes) => err.extend(bytes),
            }
        }
        writing.await.expect("written");
        assert_eq!((&out[..], &err[..]), (&b"out\x02more"[..], &b"err\x01\x00"[..]));
    }

    /// Every other way to ask the engine goes through the client, which counts.
    #[tokio::test]
    async fn asking_for_streams_counts_as_a_call() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("docker.sock");
        let listener = tokio::net::UnixListener::bind(&socket).expect("bound");
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let length = client.read(&mut request).await.expect("readable");
                let version = request[..length].windows(8).any(|part| part == b"/version");
                let (status, body) = if version {
                    ("200 OK", "{\"ApiVersion\":\"1.41\"}")
                } else {
                    ("409 Conflict", "{\"message\":\"it does not run\"}")
                };
                let kind = "Content-Type: application/json\r\nConnection: close";
                let answer = format!("HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                client.write_all(answer.as_bytes()).await.expect("taken");
            }
        });
        let endpoint = format!("unix://{}", socket.display());
        let docker = Docker::connect(&endpoint).await.expect("an endpoint");
        let with = Attachable { terminal: false, stdin: false };
        let error = docker.attach("ls-a", with).await.expect_err("refused");
        assert!(error.to_string().contains("it does not run"), "{error}");
        let calls = docker.calls()["attaching"];
        assert_eq!((calls.ended, calls.failed), (1, 1));
    }

    #[tokio::test]
    async fn a_terminals_bytes_are_given_as_they_are() {
        let (mut output, mut engine) = output(true);
        engine.write_all(&[1, 0, 0, 0, 0, 0, 0, 9, 2]).await.expect("taken");
        drop(engine);
        let piece = output.next().await.expect("readable");
        assert_eq!(piece, Some(Piece::Stdout(vec![1, 0, 0, 0, 0, 0, 0, 9, 2])));
        assert_eq!(output.next().await.expect("readable"), None);
    }

    #[tokio::test]
    async fn a_piece_that_is_cut_off_is_an_error_and_so_is_noise() {
        let (mut output_, mut engine) = output(false);
        engine.write_all(&[1, 0, 0, 0, 0, 0, 0, 9, b'x']).await.expect("taken");
        drop(engine);
        assert_eq!(output_.next().await.expect("readable"), Some(Piece::Stdout(b"x".to_vec())));
        assert!(output_.next().await.is_err());
        let (mut output, mut engine) = output(false);
        engine.write_all(b"plain text").await.expect("taken");
        assert!(output.next().await.is_err());
    }
}
