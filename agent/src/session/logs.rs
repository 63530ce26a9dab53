//! Containers' output on its way to the control plane: calls of its own on a connection of its own, so that a batch
//! delays neither an assignment nor a heartbeat.

use super::chain;
use crate::identity::{IdentityHandle, dial};
use crate::logs::{Answer, Chunk, PutError, Sink};
use async_trait::async_trait;
use longshore_proto::v1;
use longshore_proto::v1::agent_service_client::AgentServiceClient;
use std::time::Duration;
use tokio::sync::watch;
use tonic::transport::Channel;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for an answer: a batch crosses a slow line and is written to a slow disk.
const ANSWER: Duration = Duration::from_secs(60);

/// The control plane, as batches are put to it.
pub(crate) struct ControlPlane {
    /// Where to connect; where the host joined when absent.
    control: Option<String>,
    member: watch::Receiver<Option<IdentityHandle>>,
    client: Option<AgentServiceClient<Channel>>,
}

impl ControlPlane {
    /// Nothing is connected yet; the first batch waits until the host is a member.
    pub(crate) fn new(control: Option<String>, member: watch::Receiver<Option<IdentityHandle>>) -> Self {
        Self { control, member, client: None }
    }

    async fn client(&mut self) -> Result<AgentServiceClient<Channel>, PutError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let member = self.member.wait_for(Option::is_some).await.ok().and_then(|member| member.clone());
        // An error says that the agent is ending.
        let Some(member) = member else { return std::future::pending().await };
        let identity = member.current();
        let control = self.control.as_deref().unwrap_or(&identity.control);
        let made = dial::connect(&identity, control, CONNECT).await.map_err(|error| PutError(chain(&error)))?;
        Ok(self.client.insert(made).clone())
    }
}

#[async_trait]
impl Sink for ControlPlane {
    async fn put(&mut self, chunks: &[Chunk]) -> Result<Vec<Answer>, PutError> {
        let mut client = self.client().await?;
        let batch = v1::LogBatch { chunks: chunks.iter().map(message).collect() };
        let answered = tokio::time::timeout(ANSWER, client.put_logs(batch)).await;
        let failed = match answered {
            Ok(Ok(ack)) => {
                let acks = ack.into_inner().chunks;
                if acks.len() == chunks.len() {
                    return Ok(acks.into_iter().map(answer).collect());
                }
                PutError("the control plane did not answer for every stream".to_owned())
            }
            Ok(Err(status)) => PutError(crate::identity::standing::describe(&status)),
            Err(_) => PutError(format!("the control plane did not answer within {} s", ANSWER.as_secs())),
        };
        // A connection that failed once is made anew, with the certificate of that time.
        self.client = None;
        Err(failed)
    }
}

fn message(chunk: &Chunk) -> v1::LogChunk {
    v1::LogChunk {
        region: chunk.target.region.clone(),
        group: chunk.target.group.clone(),
        stream: chunk.target.stream.clone(),
        from: chunk.from.to_vec().into(),
        to: chunk.to.to_vec().into(),
        events: chunk
            .events
            .iter()
            .map(|event| v1::LogEvent { at: event.at_ms, message: event.message.clone() })
            .collect(),
    }
}

fn answer(ack: v1::LogChunkAck) -> Answer {
    if ack.refused.is_empty() { Answer::At(ack.cursor.to_vec()) } else { Answer::Refused(ack.refused) }
}
