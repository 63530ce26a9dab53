//! A command in a container, as its host's agent speaks of it: a call of its own, on a connection of its own, joined
//! with the client that waits (`longshore_core::Execs`).
//!
//! Carries on and decides nothing. Both ways are bounded: a client that does not read makes this stop reading, and then
//! the agent, and then the process.

use super::refuse;
use longshore_core::{AgentEnd, Execs};
use longshore_model::{ExecInput, ExecOutput, InstanceId};
use longshore_proto::convert::exec_begin;
use longshore_proto::v1;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

/// Reads which order a call answers, and takes the client's other end.
///
/// # Errors
/// When the client is not there any more, or never was.
pub(super) async fn begin(
    execs: &Execs,
    instance: InstanceId,
    inbound: &mut Streaming<v1::ExecFromAgent>,
    limit: Duration,
) -> Result<AgentEnd, Status> {
    let late = |_| Status::deadline_exceeded("the first message of an exec stream did not come in time");
    let first = tokio::time::timeout(limit, inbound.message()).await.map_err(late)?.map_err(refuse::unreadable)?;
    let first = first.ok_or_else(|| Status::invalid_argument("field `begin` is missing"))?;
    let id = exec_begin(first).map_err(|error| refuse::field(&error))?;
    let gone = || Status::not_found(format!("nobody waits for the command {id} on this host, or not any more"));
    let end = execs.answer(instance, id).ok_or_else(gone)?;
    tracing::debug!(exec = %id, %instance, "an agent answers for a command");
    Ok(end)
}

/// Carries on what comes and goes until either side ends.
pub(super) async fn carry(
    end: AgentEnd,
    inbound: Streaming<v1::ExecFromAgent>,
    outbound: mpsc::Sender<Result<v1::ExecToAgent, Status>>,
    shutdown: CancellationToken,
) {
    let AgentEnd { input, output } = end;
    let told = output.clone();
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            let _ = told.try_send(ExecOutput::Failed("the control plane is shutting down".to_owned()));
            let _ = outbound.try_send(Err(Status::unavailable("the control plane is shutting down")));
        }
        () = out(inbound, output) => {}
        // The client left, or the agent does not take any more.
        () = inward(input, outbound.clone()) => {}
    }
}

/// From the agent to the client, until the client leaves or all is said.
async fn out(mut inbound: Streaming<v1::ExecFromAgent>, output: mpsc::Sender<ExecOutput>) {
    loop {
        let message = tokio::select! {
            message = inbound.message() => message,
            () = output.closed() => return,
        };
        let said = match message {
            Ok(Some(message)) => ExecOutput::try_from(message).unwrap_or_else(|error| {
                ExecOutput::Failed(format!("the host's agent sent what cannot be read: {error}"))
            }),
            Ok(None) => return,
            Err(status) => {
                let why = status.message();
                ExecOutput::Failed(format!("the connection to the host's agent was lost: {why}"))
            }
        };
        let last = matches!(said, ExecOutput::Exit(_) | ExecOutput::Failed(_));
        if output.send(said).await.is_err() || last {
            return;
        }
    }
}

/// From the client to the agent, until either leaves.
async fn inward(mut input: mpsc::Receiver<ExecInput>, outbound: mpsc::Sender<Result<v1::ExecToAgent, Status>>) {
    while let Some(said) = input.recv().await {
        if outbound.send(Ok(said.into())).await.is_err() {
            return;
        }
    }
}
