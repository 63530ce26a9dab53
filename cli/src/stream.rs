//! The stream of a command in a container: opened with a session's token, then frames both ways until it ends.
//!
//! Owns the connection and the flow: no more input is sent than the process takes, no more output is read than standard
//! output takes. Knows nothing of tasks. docs/protocol.md describes the frames.

use crate::client::{Line, refusal};
use crate::terminal::{self, Raw};
use longshore_model::{
    EXEC_CHUNK, EXEC_WINDOW, ExecInput, ExecOutput, FRAME_HEADER, FrameError, TerminalSize, frame_header,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Longest wait for the host's agent; the control plane answers before.
const ANSWER: Duration = Duration::from_secs(40);
/// Bytes of an answer that is no stream.
const LONGEST_ANSWER: usize = 64 * 1024;
/// The keys that leave an attachment: ctrl-p ctrl-q.
const DETACH: [u8; 2] = [0x10, 0x11];

/// What to open.
pub(crate) struct Open<'a> {
    pub(crate) line: Line<'a>,
    /// The session's stream URL, of which the last part counts, and its token.
    pub(crate) url: &'a str,
    pub(crate) token: &'a str,
    pub(crate) stdin: bool,
    /// Whether a terminal is wanted, or its size is.
    pub(crate) terminal: bool,
    pub(crate) user: Option<&'a str>,
    /// Whether keys can leave it, and what is said when it has begun.
    pub(crate) attaching: bool,
}

/// How a stream ended without an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process ended.
    Exited(i32),
    /// Somebody left it running.
    Detached,
    /// A signal told this command to end.
    Signal(i32),
}

/// Why there is no stream, or not any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// No connection.
    #[error("could not reach the control plane at {endpoint} for the command's stream")]
    Connect {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control plane said no.
    #[error("the command's stream was refused: {message} ({code})")]
    Refused {
        /// The error's name.
        code: String,
        /// Its text.
        message: String,
    },
    /// It answered something else.
    #[error("the answer of {endpoint} (HTTP {status}) is no stream of a command")]
    Nonsense {
        /// Who answered.
        endpoint: String,
        /// The HTTP status.
        status: u16,
    },
    /// A proxy.
    #[error("streams of commands do not go through a proxy, and {variable} names one for the control plane")]
    Proxy {
        /// The variable.
        variable: &'static str,
    },
    /// It was ended from there.
    #[error("{0}")]
    Failed(String),
    /// The connection broke.
    #[error("the connection to the control plane was lost, and the command with it")]
    Lost(#[source] io::Error),
    /// What came is not what comes.
    #[error("the control plane sent what cannot be read")]
    Frame(#[from] FrameError),
    /// This side.
    #[error("could not {doing}")]
    Local {
        /// What.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl StreamError {
    /// The exit status: 255 once there may have been a command.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Connect { .. } | Self::Nonsense { .. } => 4,
            Self::Refused { .. } => 1,
            Self::Proxy { .. } => 3,
            Self::Failed(_) | Self::Lost(_) | Self::Frame(_) | Self::Local { .. } => 255,
        }
    }

    /// What a person can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Proxy { .. } => "Name the control plane's host in NO_PROXY to reach it directly.",
            Self::Nonsense { .. } => "A proxy in front of the control plane must pass `Upgrade` on for /exec/.",
            Self::Connect { .. }
            | Self::Refused { .. }
            | Self::Failed(_)
            | Self::Lost(_)
            | Self::Frame(_)
            | Self::Local { .. } => return None,
        };
        Some(text.to_owned())
    }
}

/// Opens a stream and serves it until it ends.
pub(crate) fn run(open: &Open<'_>) -> Result<End, StreamError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| StreamError::Local { doing: "begin", source })?;
    let end = runtime.block_on(async {
        let (io, rest) = connect(open).await?;
        serve(io, rest, open).await
    });
    // A thread may still write to a terminal that takes nothing.
    runtime.shutdown_background();
    end
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Connects and asks; answers with the connection and what was read beyond the answer's head.
async fn connect(open: &Open<'_>) -> Result<(Box<dyn Io>, Vec<u8>), StreamError> {
    let endpoint = open.line.endpoint;
    if let Some(variable) = open.line.proxied_by {
        return Err(StreamError::Proxy { variable });
    }
    let failed = |source| StreamError::Connect { endpoint: endpoint.to_owned(), source };
    let odd = |why: &str| failed(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()));
    let uri: http::Uri = endpoint.parse().map_err(|_| odd("it is no URL"))?;
    let secure = uri.scheme_str() == Some("https");
    let host = uri.host().ok_or_else(|| odd("it names no host"))?;
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let plain_host = host.trim_start_matches('[').trim_end_matches(']');
    let late = |_| failed(io::ErrorKind::TimedOut.into());
    let tcp = TcpStream::connect((plain_host, port));
    let tcp = tokio::time::timeout(open.line.timeout, tcp).await.map_err(late)?.map_err(failed)?;
    let _ = tcp.set_nodelay(true);
    let mut io: Box<dyn Io> = match secure {
        false => Box::new(tcp),
        true => {
            let shaken = tokio::time::timeout(open.line.timeout, secured(tcp, plain_host, &open.line.trusted));
            Box::new(shaken.await.map_err(late)?.map_err(failed)?)
        }
    };
    let head = head(open, &uri);
    let asked = async {
        io.write_all(head.as_bytes()).await?;
        io.flush().await?;
        let mut answer = Vec::new();
        loop {
            if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok((answer, end + 4));
            }
            if answer.len() > LONGEST_ANSWER || io.read_buf(&mut answer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
    };
    let (mut answer, end) = tokio::time::timeout(ANSWER, asked).await.map_err(late)?.map_err(failed)?;
    let mut rest = answer.split_off(end);
    let head = String::from_utf8_lossy(&answer);
    let status: u16 = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    if status == 101 {
        return Ok((io, rest));
    }
    // The whole of a refusal: the connection closes after it, or its length says where it ends.
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = async {
        while rest.len() < length.unwrap_or(LONGEST_ANSWER).min(LONGEST_ANSWER) {
            if !matches!(io.read_buf(&mut rest).await, Ok(1..)) {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(open.line.timeout, whole).await;
    Err(match refusal(&rest) {
        Some((code, message)) => StreamError::Refused { code, message },
        None => StreamError::Nonsense { endpoint: endpoint.to_owned(), status },
    })
}

async fn secured(
    tcp: TcpStream,
    host: &str,
    trusted: &[Vec<u8>],
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().map(|der| rustls::pki_types::CertificateDer::from(der.clone())));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// The request's head. The token is in a header, as addresses get into logs.
fn head(open: &Open<'_>, uri: &http::Uri) -> String {
    let id = open.url.rsplit('/').next().unwrap_or_default();
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let path = uri.path().trim_end_matches('/');
    let mut head = format!(
        "GET {path}/exec/{id} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: longshore-exec\r\n\
         Authorization: Bearer {}\r\nLongshore-Stdin: {}\r\n",
        open.token, open.stdin
    );
    if open.terminal {
        let (rows, columns) = terminal::size().unwrap_or((24, 80));
        head.push_str(&format!("Longshore-Terminal: {rows}x{columns}\r\n"));
    }
    if let Some(user) = open.user {
        head.push_str(&format!("Longshore-User: {user}\r\n"));
    }
    head + "\r\n"
}

/// What ends this command from outside.
struct Ends([(i32, Signal); 4]);

/// What changes its terminal from outside.
struct Changes {
    size: Signal,
    goes_on: Signal,
}

impl Ends {
    fn listen() -> io::Result<Self> {
        let kinds = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()];
        let [a, b, c, d] = kinds.map(|kind| signal(kind).map(|signal| (kind.as_raw_value(), signal)));
        Ok(Self([a?, b?, c?, d?]))
    }

    /// The next; never one while nobody listens. Cancel-safe.
    async fn next(listening: &mut Option<Self>) -> i32 {
        let Some(Self([(n1, a), (n2, b), (n3, c), (n4, d)])) = listening else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = a.recv() => *n1,
            _ = b.recv() => *n2,
            _ = c.recv() => *n3,
            _ = d.recv() => *n4,
        }
    }
}

impl Changes {
    fn listen() -> io::Result<Self> {
        let goes_on = SignalKind::from_raw(rustix::process::Signal::CONT.as_raw());
        Ok(Self { size: signal(SignalKind::window_change())?, goes_on: signal(goes_on)? })
    }

    /// The next; never one while nobody listens. Cancel-safe.
    async fn next(listening: &mut Option<Self>) -> Change {
        let Some(Self { size, goes_on }) = listening else { return std::future::pending().await };
        tokio::select! {
            _ = size.recv() => Change::Size,
            _ = goes_on.recv() => Change::GoesOn,
        }
    }
}

/// What happened to the terminal.
enum Change {
    Size,
    /// This command was stopped and goes on.
    GoesOn,
}

/// Keys that leave, found in what is typed, also one at a time.
#[derive(Default)]
struct Leaving {
    /// The first of them was typed.
    held: bool,
}

impl Leaving {
    /// What of `typed` goes on, and whether it says to leave.
    fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut on = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            match (std::mem::take(&mut self.held), byte) {
                (true, byte) if byte == DETACH[1] => return (on, true),
                (held, byte) => {
                    on.extend(held.then_some(DETACH[0]));
                    match byte == DETACH[0] {
                        true => self.held = true,
                        false => on.push(byte),
                    }
                }
            }
        }
        (on, false)
    }
}

/// Serves a stream until it ends.
async fn serve(io: Box<dyn Io>, rest: Vec<u8>, open: &Open<'_>) -> Result<End, StreamError> {
    let local = |doing| move |source| StreamError::Local { doing, source };
    let (reader, mut writer) = tokio::io::split(io);
    let mut reader = tokio::io::BufReader::with_capacity(2 * EXEC_CHUNK, io::Cursor::new(rest).chain(reader));
    let (frames, mut to_send) = mpsc::channel::<ExecInput>(4);
    let window = Arc::new(Semaphore::new(EXEC_WINDOW));
    let mut raw: Option<Raw> = None;
    let (mut ends, mut changes) = (None, None);
    let (left, mut leaving) = mpsc::channel::<()>(1);
    let sending = async {
        while let Some(input) = to_send.recv().await {
            writer.write_all(&input.to_frame()).await?;
            writer.flush().await?;
        }
        // Nothing more to say; the end comes from the other side.
        std::future::pending::<io::Result<()>>().await
    };
    let mut sending = std::pin::pin!(sending);
    let mut frame = Frame::default();
    // Output that standard output has not taken yet; nothing more is read meanwhile.
    let mut writing: Option<JoinHandle<io::Result<()>>> = None;
    loop {
        let said = tokio::select! {
            biased;
            number = Ends::next(&mut ends) => {
                return Ok(End::Signal(number));
            }
            change = Changes::next(&mut changes) => {
                match (change, terminal::size(), &raw) {
                    // A full queue is full of input, and a later size is as good.
                    (Change::Size, Some((rows, columns)), _) => {
                        let _ = frames.try_send(ExecInput::Resize(TerminalSize { rows, columns }));
                    }
                    (Change::GoesOn, _, Some(raw)) => raw.again().map_err(local("set the terminal"))?,
                    (Change::Size, None, _) | (Change::GoesOn, _, None) => {}
                }
                continue;
            }
            Some(()) = leaving.recv() => return Ok(End::Detached),
            written = done(&mut writing) => {
                writing = None;
                written.map_err(local("write the command's output"))?;
                continue;
            }
            // What is said last is read although nothing can be sent any more.
            said = frame.read(&mut reader), if writing.is_none() => said?,
            Err(error) = &mut sending, if writing.is_none() => match last_word(&mut frame, &mut reader).await {
                Some(said) => said,
                None => return Err(StreamError::Lost(error)),
            },
        };
        match said {
            ExecOutput::Started { terminal, stdin } => {
                if open.attaching {
                    greet(terminal && stdin && terminal::is_here());
                }
                if terminal && stdin && terminal::is_here() {
                    ends = Some(Ends::listen().map_err(local("listen to signals"))?);
                    changes = Some(Changes::listen().map_err(local("listen to signals"))?);
                    raw = Some(Raw::enter().map_err(local("set the terminal"))?);
                }
                if stdin {
                    let keys = (open.attaching && raw.is_some()).then(Leaving::default);
                    pass_input(frames.clone(), Arc::clone(&window), keys, left.clone());
                }
            }
            ExecOutput::Stdout(bytes) => writing = Some(write(io::stdout, bytes)),
            ExecOutput::Stderr(bytes) => writing = Some(write(io::stderr, bytes)),
            ExecOutput::Taken(bytes) => window.add_permits(usize::try_from(bytes).unwrap_or(0).min(EXEC_WINDOW)),
            ExecOutput::Exit(code) => return Ok(End::Exited(code)),
            ExecOutput::Failed(why) => return Err(StreamError::Failed(why)),
        }
    }
}

/// After a failure to send: whether the other side had said how it ended.
async fn last_word(frame: &mut Frame, reader: &mut (impl AsyncRead + Unpin)) -> Option<ExecOutput> {
    tokio::time::timeout(Duration::from_secs(2), frame.read(reader)).await.ok()?.ok()
}

/// Says how to leave.
fn greet(keys: bool) {
    match keys {
        true => eprintln!("longshore: attached; ctrl-p ctrl-q leaves, and the container goes on"),
        false => eprintln!("longshore: attached; ctrl-c leaves, and the container goes on"),
    }
}

/// Writes on another thread: a terminal may take nothing for as long as somebody likes.
fn write<W: io::Write + 'static>(to: fn() -> W, bytes: Vec<u8>) -> JoinHandle<io::Result<()>> {
    tokio::task::spawn_blocking(move || {
        let mut to = to();
        io::Write::write_all(&mut to, &bytes)?;
        io::Write::flush(&mut to)
    })
}

/// The outcome of a write; never one while there is none. Cancel-safe.
async fn done(writing: &mut Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    match writing {
        None => std::future::pending().await,
        Some(writing) => writing.await.unwrap_or_else(|_| Err(io::Error::other("the thread that writes panicked"))),
    }
}

/// Reads standard input on a thread of its own, which may stay in a read for ever, and sends it on as fast as the
/// process takes it.
fn pass_input(
    frames: mpsc::Sender<ExecInput>,
    window: Arc<Semaphore>,
    mut keys: Option<Leaving>,
    left: mpsc::Sender<()>,
) {
    let (read, mut chunks) = mpsc::channel::<Vec<u8>>(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; EXEC_CHUNK];
        loop {
            match io::Read::read(&mut io::stdin().lock(), &mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if read.blocking_send(buffer[..count].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    tokio::spawn(async move {
        while let Some(mut bytes) = chunks.recv().await {
            let leaves = match &mut keys {
                None => false,
                Some(keys) => {
                    let (on, leaves) = keys.pass(&bytes);
                    bytes = on;
                    leaves
                }
            };
            if !bytes.is_empty() {
                let count = u32::try_from(bytes.len()).expect("a chunk is shorter than 4 GiB");
                let Ok(room) = window.acquire_many(count).await else { return };
                room.forget();
                if frames.send(ExecInput::Data(bytes)).await.is_err() {
                    return;
                }
            }
            if leaves {
                let _ = left.send(()).await;
                return;
            }
        }
        let _ = frames.send(ExecInput::End).await;
    });
}

/// A frame as far as it was read.
#[derive(Default)]
struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// Reads the next frame. Cancel-safe: what was read stays here.
    async fn read(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> Result<ExecOutput, StreamError> {
        loop {
            let wanted = match self.bytes.first_chunk::<FRAME_HEADER>() {
                None => FRAME_HEADER,
                Some(header) => {
                    let (kind, length) = frame_header(*header)?;
                    if self.bytes.len() == FRAME_HEADER + length {
                        let content = self.bytes.split_off(FRAME_HEADER);
                        self.bytes.clear();
                        return Ok(ExecOutput::from_frame(kind, content)?);
                    }
                    FRAME_HEADER + length
                }
            };
            let mut limited = reader.take((wanted - self.bytes.len()) as u64);
            match limited.read_buf(&mut self.bytes).await {
                Ok(0) => return Err(StreamError::Lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(StreamError::Lost(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_leave_are_found_one_at_a_time_and_others_go_on() {
        let mut keys = Leaving::default();
        assert_eq!(keys.pass(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.pass(b"c\x10\x10"), (b"\x10c\x10".to_vec(), false));
        assert_eq!(keys.pass(b"\x11never"), (Vec::new(), true));
        assert_eq!(Leaving::default().pass(b"\x11\x10"), (b"\x11".to_vec(), false));
    }

    #[tokio::test]
    async fn frames_are_read_wherever_they_are_cut() {
        let sent = [ExecOutput::Stdout(b"hello".to_vec()), ExecOutput::Stderr(Vec::new()), ExecOutput::Exit(7)];
        let bytes: Vec<u8> = sent.iter().flat_map(ExecOutput::to_frame).collect();
        let (mut near, mut far) = tokio::io::duplex(3);
        let writing = tokio::spawn(async move { far.write_all(&bytes).await });
        let mut frame = Frame::default();
        for said in &sent {
            assert_eq!(&frame.read(&mut near).await.expect("a frame"), said);
        }
        writing.await.expect("no panic").expect("written");
        assert!(matches!(frame.read(&mut near).await, Err(StreamError::Lost(_))));
    }
}
