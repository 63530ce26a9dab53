//! The way to the control plane: what carries a session's messages.
//!
//! Owns: connections by gRPC as the identity that this host has now. Never: reads a message. The simulation of a fleet
//! carries them otherwise.

use super::chain;
use crate::identity::standing::{refusal, refused_dial};
use crate::identity::{IdentityHandle, dial};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use longshore_model::InstanceId;
use longshore_proto::v1;
use longshore_proto::v1::agent_service_client::AgentServiceClient;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

/// What the control plane says, in order. It ends with the connection.
pub type ControlMessages = BoxStream<'static, Result<v1::ControlMessage, Status>>;

/// Why there is no connection.
#[derive(Debug)]
pub enum OpenError {
    /// The control plane was not reached; worth another try. Why, for people.
    Unreached(String),
    /// Only a person can help. Why, for people.
    Refused(String),
    /// It answered, and not with a session.
    Answered(Status),
}

/// The control plane, as sessions reach it.
#[async_trait]
pub trait Peer: Send + Sync {
    /// The container instance whose sessions these are.
    fn instance(&self) -> InstanceId;
    /// Where it is, for people.
    fn address(&self) -> String;
    /// Connects, within `limit`.
    async fn connect(&self, limit: Duration) -> Result<Box<dyn Connection>, OpenError>;
    /// Why this host is not to come again by itself, if an answer of the control plane says so.
    fn refusal(&self, status: &Status) -> Option<String>;
}

/// A connection that has no session yet.
#[async_trait]
pub trait Connection: Send {
    /// Begins the session that says `messages`. Returns once the control plane has let it in.
    async fn session(self: Box<Self>, messages: mpsc::Receiver<v1::AgentMessage>) -> Result<ControlMessages, Status>;
}

/// The control plane that this host joined, by gRPC.
pub(super) struct Dialled {
    identity: IdentityHandle,
    /// Where to connect; where the host joined when absent.
    control: Option<String>,
}

impl Dialled {
    pub(super) fn new(identity: IdentityHandle, control: Option<String>) -> Self {
        Self { identity, control }
    }
}

#[async_trait]
impl Peer for Dialled {
    fn instance(&self) -> InstanceId {
        self.identity.current().instance
    }

    fn address(&self) -> String {
        self.control.clone().unwrap_or_else(|| self.identity.current().control.clone())
    }

    async fn connect(&self, limit: Duration) -> Result<Box<dyn Connection>, OpenError> {
        let identity = self.identity.current();
        match dial::connect(&identity, &self.address(), limit).await {
            Ok(client) => Ok(Box::new(client)),
            Err(error) => Err(match refused_dial(&error, &identity) {
                Some(why) => OpenError::Refused(why),
                None => OpenError::Unreached(chain(&error)),
            }),
        }
    }

    fn refusal(&self, status: &Status) -> Option<String> {
        refusal(status, &self.identity.current())
    }
}

#[async_trait]
impl Connection for AgentServiceClient<Channel> {
    async fn session(
        mut self: Box<Self>,
        messages: mpsc::Receiver<v1::AgentMessage>,
    ) -> Result<ControlMessages, Status> {
        let answer = AgentServiceClient::session(&mut *self, ReceiverStream::new(messages)).await?;
        Ok(answer.into_inner().boxed())
    }
}
