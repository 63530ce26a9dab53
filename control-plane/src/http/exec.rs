//! The stream of a session of ExecuteCommand: `GET /exec/ID` with the session's token, upgraded to frames.
//!
//! Owns the client's end: who came with which token, the frames, how long nothing may happen, and that it is logged and
//! in the task's history who executed what, before it is executed and when it ended. The agent's end is joined in the
//! core. A client that leaves ends the command.

use super::answer::Front;
use super::backend::Backend;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use longshore_core::{Claimed, ClientEnd, Core, ExecError, ExecStart};
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::{ExecId, ExecInput, ExecOutput, FRAME_HEADER, FrameError, TerminalSize, frame_header};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Where sessions are.
pub(super) const PATH: &str = "/exec/";
/// What the connection is upgraded to.
const PROTOCOL: &str = "longshore-exec";
/// How long an upgrade may take, and a last word to a client with its leaving after it: less than what the process
/// waits for when it ends.
const PATIENCE: Duration = Duration::from_secs(5);
/// Characters of a user's name.
const LONGEST_USER: usize = 128;

/// How a session ended.
#[derive(Debug)]
enum End {
    Exited(i32),
    Failed(String),
    ClientLeft,
    Idle(Duration),
    Stopping,
    AgentLost,
    Frame(FrameError),
}

impl End {
    /// For logs, histories and, where it did not hear of it, the client.
    fn text(&self) -> String {
        match self {
            Self::Exited(code) => format!("ended with exit code {code}"),
            Self::Failed(why) => format!("failed: {why}"),
            Self::ClientLeft => "was ended, as its client left".to_owned(),
            Self::Idle(limit) => format!("was ended, as nothing happened for {} s", limit.as_secs()),
            Self::Stopping => "was ended, as the control plane is shutting down".to_owned(),
            Self::AgentLost => "was lost: the host's agent ended or was cut off".to_owned(),
            Self::Frame(error) => format!("was ended: {error}"),
        }
    }
}

/// Answers a client that comes for a session: with 101 when the agent has answered, or with an error of the API.
pub(super) async fn answer<B: Backend>(
    front: &Front<B>,
    request: Request<hyper::body::Incoming>,
    peer: SocketAddr,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let Some(core) = front.backend.exec() else { return refuse(ExecError::Token) };
    let (claimed, start) = match claim(core.execs(), &parts) {
        Ok(claimed) => claimed,
        Err(refusal) => {
            tracing::info!(%peer, why = %refusal, "refused a stream of ExecuteCommand");
            return refused(&refusal);
        }
    };
    let who = who(&claimed);
    let session = &claimed.session;
    tracing::info!(
        %peer, exec = %session.id, task = %session.task, container = %session.container, command = session.label,
        principal = session.caller.principal_arn, access_key = session.caller.access_key_id, user = start.user,
        "executing a command"
    );
    let user = start.user.as_ref().map(|user| format!(" as user {user}")).unwrap_or_default();
    // Nothing is executed that the history will not say.
    if let Err(error) = core.note_exec(session, format!("{}, {who}{user}", brief(&session.label))).await {
        return refused(&ApiError::server(error.to_string()));
    }
    let upgrade = hyper::upgrade::on(Request::from_parts(parts, body));
    let idle = core.exec_config().idle;
    let stop = front.stop.clone();
    let (mut answered, answer) = oneshot::channel();
    // Goes on when the client leaves meanwhile: what the history says began, it says the end of.
    front.tasks.spawn(async move {
        let started = Instant::now();
        let begun = tokio::select! {
            begun = claimed.start(start) => Some(begun),
            () = answered.closed() => None,
        };
        let end = match begun {
            None => End::ClientLeft,
            Some(Err(error)) => {
                let end = End::Failed(error.to_string());
                let _ = answered.send(Err(error));
                end
            }
            Some(Ok(client)) => {
                let _ = answered.send(Ok(()));
                match timeout(PATIENCE, upgrade).await {
                    Ok(Ok(upgraded)) => carry(TokioIo::new(upgraded), client, idle, stop).await,
                    Ok(Err(_)) | Err(_) => End::ClientLeft,
                }
            }
        };
        finished(&core, &claimed, &end, started).await;
    });
    match answer.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return refuse(error),
        // The control plane is stopping.
        Err(_) => return refuse(ExecError::NoAnswer),
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    response
}

/// As much of what a command is called as leaves room for who executed it.
fn brief(label: &str) -> String {
    label.chars().take(80).collect()
}

fn who(claimed: &Claimed) -> String {
    let caller = &claimed.session.caller;
    format!("for {} (access key {})", caller.principal_arn, caller.access_key_id)
}

/// Says how a session ended, in the log and in the task's history.
async fn finished(core: &Core, claimed: &Claimed, end: &End, started: Instant) {
    let session = &claimed.session;
    let secs = started.elapsed().as_secs();
    tracing::info!(
        exec = %session.id, task = %session.task, container = %session.container, command = session.label,
        principal = session.caller.principal_arn, access_key = session.caller.access_key_id, secs, how = end.text(),
        "a command ended"
    );
    let what = format!("{}, {}: {} after {secs} s", brief(&session.label), who(claimed), end.text());
    if let Err(error) = core.note_exec(session, what).await {
        tracing::warn!(exec = %session.id, %error, "how a command ended is not in its task's history");
    }
}

/// Checks the request, and takes the session that its token is for.
fn claim(execs: &longshore_core::Execs, parts: &Parts) -> Result<(Claimed, ExecStart), ApiError> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let invalid = |what: &str| ApiError::invalid(what.to_owned());
    if parts.method != http::Method::GET || !text("upgrade").is_some_and(|to| to.eq_ignore_ascii_case(PROTOCOL)) {
        return Err(invalid("A stream of ExecuteCommand is a GET request with `Upgrade: longshore-exec`."));
    }
    let start = start(&parts.headers)?;
    let id: Option<ExecId> = parts.uri.path().strip_prefix(PATH).and_then(|id| id.parse().ok());
    let token = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    match (id, token) {
        (Some(id), Some(token)) => Ok((execs.claim(id, token).map_err(api_error)?, start)),
        (None, _) | (_, None) => Err(api_error(ExecError::Token)),
    }
}

/// What a client's headers ask for.
fn start(headers: &HeaderMap) -> Result<ExecStart, ApiError> {
    let text = |name: &'static str| match headers.get(name) {
        None => Ok(None),
        Some(value) => match value.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(ApiError::invalid(format!("The header {name} must be ASCII text."))),
        },
    };
    let stdin = match text("longshore-stdin")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ApiError::invalid("The header Longshore-Stdin must be true or false.")),
    };
    let size = |text: &str| {
        let (rows, columns) = text.split_once('x')?;
        Some(TerminalSize { rows: rows.parse().ok()?, columns: columns.parse().ok()? })
    };
    let wrong = || ApiError::invalid("The header Longshore-Terminal must be ROWSxCOLUMNS, as in 24x80.");
    let terminal = text("longshore-terminal")?.map(|text| size(text).ok_or_else(wrong)).transpose()?;
    let user = text("longshore-user")?.map(str::to_owned);
    let odd =
        |user: &String| user.is_empty() || user.len() > LONGEST_USER || user.contains(|c: char| !c.is_ascii_graphic());
    if user.as_ref().is_some_and(odd) {
        return Err(ApiError::invalid(
            "The header Longshore-User must be a user, a uid, or either and `:` and a group.",
        ));
    }
    Ok(ExecStart { stdin, terminal, user })
}

fn api_error(error: ExecError) -> ApiError {
    let code = match error {
        ExecError::Token => ErrorCode::AccessDenied,
        ExecError::Away | ExecError::NoAnswer => ErrorCode::TargetNotConnected,
        ExecError::Crowded | ExecError::Full => ErrorCode::Client,
    };
    ApiError::new(code, format!("The execute command failed: {error}."))
}

fn refuse(error: ExecError) -> Response<Full<Bytes>> {
    refused(&api_error(error))
}

fn refused(error: &ApiError) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(error.to_json().into()));
    *response.status_mut() = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    response
}

/// When something went to or fro last.
struct Activity(Mutex<Instant>);

impl Activity {
    fn happens(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns once nothing has happened for `limit`.
    async fn ends(&self, limit: Duration) {
        loop {
            let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// Carries frames until the command, the client, the agent or time ends it, and tells the client how.
async fn carry(io: impl AsyncRead + AsyncWrite, end: ClientEnd, idle: Duration, stop: CancellationToken) -> End {
    let (mut reader, mut writer) = tokio::io::split(io);
    let ClientEnd { input, mut output } = end;
    let activity = Activity(Mutex::new(Instant::now()));
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => End::Stopping,
        // A client that left is noticed whether or not it still takes what is sent.
        end = read(&mut reader, &input, &activity) => end,
        end = write(&mut writer, &mut output, &activity) => end,
        () = activity.ends(idle) => End::Idle(idle),
    };
    // From here on the agent ends what still runs.
    drop((input, output));
    let last = match &ended {
        End::ClientLeft => return ended,
        // It was told.
        End::Exited(_) | End::Failed(_) => None,
        End::Idle(_) | End::Stopping | End::AgentLost | End::Frame(_) => Some(ExecOutput::Failed(ended.text())),
    };
    let goodbye = async {
        if let Some(last) = last {
            writer.write_all(&last.to_frame()).await?;
        }
        writer.shutdown().await?;
        // To close with unread input would take what is on its way to the client with it.
        let mut rest = [0; 4096];
        while reader.read(&mut rest).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // One that does not listen is left.
    let _ = timeout(PATIENCE, goodbye).await;
    ended
}

/// From the client, until it leaves.
async fn read(reader: &mut (impl AsyncRead + Unpin), input: &mpsc::Sender<ExecInput>, activity: &Activity) -> End {
    loop {
        let mut header = [0; FRAME_HEADER];
        if reader.read_exact(&mut header).await.is_err() {
            return End::ClientLeft;
        }
        let (kind, length) = match frame_header(header) {
            Ok(header) => header,
            Err(error) => return End::Frame(error),
        };
        let mut content = vec![0; length];
        if reader.read_exact(&mut content).await.is_err() {
            return End::ClientLeft;
        }
        match ExecInput::from_frame(kind, content) {
            Ok(said) => {
                activity.happens();
                // Closed: what ended it is on its way from the other side.
                if input.send(said).await.is_err() {
                    return std::future::pending().await;
                }
            }
            Err(error) => return End::Frame(error),
        }
    }
}

/// To the client, until all is said.
async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    output: &mut mpsc::Receiver<ExecOutput>,
    activity: &Activity,
) -> End {
    loop {
        let Some(said) = output.recv().await else { return End::AgentLost };
        if writer.write_all(&said.to_frame()).await.is_err() || writer.flush().await.is_err() {
            return End::ClientLeft;
        }
        match said {
            ExecOutput::Exit(code) => return End::Exited(code),
            ExecOutput::Failed(why) => return End::Failed(why),
            ExecOutput::Started { .. } | ExecOutput::Stdout(_) | ExecOutput::Stderr(_) => activity.happens(),
            ExecOutput::Taken(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (ClientEnd, mpsc::Receiver<ExecInput>, mpsc::Sender<ExecOutput>) {
        let (input, from_client) = mpsc::channel(4);
        let (to_client, output) = mpsc::channel(4);
        (ClientEnd { input, output }, from_client, to_client)
    }

    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_session_and_the_client_hears_why() {
        let (client, server) = tokio::io::duplex(1024);
        let (end, mut agent_input, agent_output) = ends();
        let serving = tokio::spawn(carry(server, end, IDLE, CancellationToken::new()));
        tokio::time::sleep(IDLE / 2).await;
        agent_output.send(ExecOutput::Stdout(b"x".to_vec())).await.expect("taken");
        let (mut reader, _writer) = tokio::io::split(client);
        let mut heard = vec![0; 6];
        reader.read_exact(&mut heard).await.expect("a frame");
        let quiet = Instant::now();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.expect("the end");
        assert!(quiet.elapsed() >= IDLE - Duration::from_secs(1), "{:?}", quiet.elapsed());
        assert!(String::from_utf8_lossy(&rest).contains("nothing happened for 60 s"), "{rest:?}");
        assert_eq!(agent_input.recv().await, None);
        drop((reader, _writer));
        assert!(matches!(serving.await.expect("no panic"), End::Idle(_)));
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_noticed_while_it_does_not_read() {
        let (client, server) = tokio::io::duplex(64);
        let (end, mut agent_input, agent_output) = ends();
        let serving = tokio::spawn(carry(server, end, IDLE, CancellationToken::new()));
        agent_output.send(ExecOutput::Stdout(vec![0; 4096])).await.expect("taken");
        drop(client);
        assert!(matches!(serving.await.expect("no panic"), End::ClientLeft));
        assert_eq!(agent_input.recv().await, None);
    }

    #[tokio::test]
    async fn frames_that_are_none_end_it() {
        let (mut client, server) = tokio::io::duplex(1024);
        let (end, _agent_input, _agent_output) = ends();
        let serving = tokio::spawn(carry(server, end, IDLE, CancellationToken::new()));
        client.write_all(&[9, 0, 0, 0, 0]).await.expect("written");
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.expect("the end");
        assert!(String::from_utf8_lossy(&heard).contains("unknown kind 9"), "{heard:?}");
        drop(client);
        assert!(matches!(serving.await.expect("no panic"), End::Frame(_)));
    }

    #[test]
    fn headers_are_checked() {
        let read = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a value"));
            start(&headers).map_err(|error| error.to_string())
        };
        let size = read("longshore-terminal", "24x80").expect("a size").terminal;
        assert_eq!(size, Some(TerminalSize { rows: 24, columns: 80 }));
        for (name, value) in [
            ("longshore-terminal", "24"),
            ("longshore-stdin", "yes"),
            ("longshore-user", "a b"),
            ("longshore-user", ""),
        ] {
            assert!(read(name, value).is_err(), "{name}: {value}");
        }
    }
}
