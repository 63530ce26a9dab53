//! A command's streams on their way to the control plane: a call of its own on a connection of its own, so that one
//! whose client does not read holds up nothing else.

use super::chain;
use crate::identity::{IdentityHandle, dial};
use futures::StreamExt as _;
use longshore_model::{ExecId, ExecInput, ExecOutput};
use longshore_proto::v1;
use longshore_proto::v1::agent_service_client::AgentServiceClient;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Longest wait for a connection, and for the answer to the call.
const CONNECT: Duration = Duration::from_secs(10);
/// Messages that wait to be sent, of at most 32 KiB each.
const OUTBOUND: usize = 4;

/// Where calls go.
#[derive(Clone)]
pub(crate) struct ExecLine {
    /// Where to connect; where the host joined when absent.
    control: Option<String>,
    member: watch::Receiver<Option<IdentityHandle>>,
}

/// The streams of one command.
pub(crate) struct ExecStream {
    /// Takes what the command says. Closed when its client is gone.
    pub(crate) output: mpsc::Sender<ExecOutput>,
    /// What its client says.
    pub(crate) input: ExecIncoming,
}

/// What a client says.
pub(crate) struct ExecIncoming {
    messages: Streaming<v1::ExecToAgent>,
    _client: AgentServiceClient<Channel>,
}

impl ExecLine {
    pub(crate) fn new(control: Option<String>, member: watch::Receiver<Option<IdentityHandle>>) -> Self {
        Self { control, member }
    }

    /// Answers an order.
    ///
    /// # Errors
    /// For people: when the control plane is not reached, or nobody waits any more.
    pub(crate) async fn open(&self, id: ExecId) -> Result<ExecStream, String> {
        let member = self.member.borrow().clone();
        let identity = member.ok_or("this host is no member of a cluster")?.current();
        let control = self.control.as_deref().unwrap_or(&identity.control);
        let mut client = dial::connect(&identity, control, CONNECT).await.map_err(|error| chain(&error))?;
        let (output, said) = mpsc::channel(OUTBOUND);
        let begin = v1::ExecFromAgent { kind: Some(v1::exec_from_agent::Kind::Begin(id.to_string())) };
        let messages = ReceiverStream::new(said).map(|said: ExecOutput| v1::ExecFromAgent::from(said));
        let messages = futures::stream::iter([begin]).chain(messages);
        let call = Box::pin(client.exec(messages));
        let answered = tokio::time::timeout(CONNECT, call).await;
        match answered {
            Ok(Ok(answer)) => {
                Ok(ExecStream { output, input: ExecIncoming { messages: answer.into_inner(), _client: client } })
            }
            Ok(Err(status)) => Err(crate::identity::standing::describe(&status)),
            Err(_) => Err(format!("{control} did not answer within {} s", CONNECT.as_secs())),
        }
    }
}

impl ExecIncoming {
    /// The next thing that the client says; `None` when it is gone, whatever the reason. Cancel-safe.
    ///
    /// # Errors
    /// When it cannot be read; for people.
    pub(crate) async fn next(&mut self) -> Result<Option<ExecInput>, String> {
        match self.messages.message().await {
            Ok(Some(message)) => ExecInput::try_from(message).map(Some).map_err(|error| error.to_string()),
            Ok(None) => Ok(None),
            Err(status) => {
                tracing::debug!(why = status.message(), "the stream of a command broke");
                Ok(None)
            }
        }
    }
}
