//! Joining: a token for an identity.

use super::dial::{self, DialError};
use super::{Credential, CredentialError, Identity, IdentityFile, IdentityFileError, JoiningKeyError, request};
use longshore_model::{AccountId, ClusterName, HostFacts, Region};
use longshore_proto::v1;
use std::time::Duration;
use tonic::Code;

/// What joining needs. It has no `Debug`: the token is a secret.
pub struct JoinOptions {
    /// `host:port` of the control plane's agent port.
    pub control: String,
    /// The whole token text, as `aws ssm create-activation` gave it (`ActivationCode`).
    pub token: String,
    /// The cluster to join; the token's own (or `default`) when absent.
    pub cluster: Option<ClusterName>,
    /// Longest wait for a connection, and then for the answer.
    pub timeout: Duration,
}

/// Why a host could not join. No identity was written.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The text is no token. It is not shown.
    #[error(
        "this is not a join token: a token looks like lsj1.<activation>.<secret>.<fingerprint>; was it copied whole?"
    )]
    Token,
    /// The control plane could not be reached, or is another one than the token is for.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The control plane said no, in its own words.
    #[error("the control plane at {control} refused this host: {reason}")]
    Refused {
        /// Where.
        control: String,
        /// Its words.
        reason: String,
    },
    /// The control plane failed, or the connection did.
    #[error("the control plane at {control} could not answer: {reason}")]
    Failed {
        /// Where.
        control: String,
        /// What is known.
        reason: String,
    },
    /// It did not answer in time. It may have taken the host all the same; then the next try has the same answer.
    #[error("the control plane at {control} did not answer within {} ms", limit.as_millis())]
    Timeout {
        /// Where.
        control: String,
        /// The limit.
        limit: Duration,
    },
    /// Its answer cannot be used.
    #[error("the answer of the control plane cannot be used")]
    Answer(#[from] CredentialError),
    /// There is no key to join with. The control plane was not asked.
    #[error("could not get a key for this host ready")]
    Key(#[from] JoiningKeyError),
    /// The key makes no request.
    #[error("could not make a certificate request for this host")]
    Request(#[source] rcgen::Error),
    /// Joined, and could not keep it.
    #[error(
        "joined as container instance {instance}, and could not keep the identity; another try with the same token has \
             the same answer"
    )]
    Save {
        /// The instance that this host is to be.
        instance: String,
        /// Why.
        #[source]
        source: IdentityFileError,
    },
}

impl JoinError {
    /// Whether the same join may succeed later: nobody has to change anything on this host for it.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Dial(error) => match error {
                DialError::Connect { .. }
                | DialError::Tls { .. }
                | DialError::Timeout { .. }
                | DialError::Http { .. } => true,
                DialError::Address(_) | DialError::WrongAuthority { .. } | DialError::Credential(_) => false,
            },
            Self::Failed { .. } | Self::Timeout { .. } => true,
            // A full disk, most likely.
            Self::Save { .. } | Self::Key(JoiningKeyError::File(_)) => true,
            Self::Key(JoiningKeyError::Make(_)) | Self::Request(_) => false,
            Self::Token | Self::Refused { .. } | Self::Answer(_) => false,
        }
    }

    /// The exit code of `longshore-agent join`: 3 for what a new token or another option mends, 1 for what
    /// trying again may mend.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.may_pass() { 1 } else { 3 }
    }
}

/// Joins the control plane with a token and writes the identity file. Replaces an identity that is there: whether that
/// is right, the caller has made sure of.
///
/// May be repeated: until this host has joined it asks with the same key, and the control plane answers the same token
/// and key with the same instance. So an answer that was lost costs nothing.
///
/// # Errors
/// See [`JoinError`]; no identity is written unless joining succeeded.
pub async fn join(file: &IdentityFile, options: JoinOptions, facts: HostFacts) -> Result<Identity, JoinError> {
    let JoinOptions { control, token, cluster, timeout } = options;
    let token = token.trim().to_owned();
    let fingerprint = pinned(&token).ok_or(JoinError::Token)?;
    let key = file.joining_key()?;
    let csr = request(&key).map_err(JoinError::Request)?;
    let mut client = dial::dial(&control, dial::joining_tls(fingerprint), timeout).await?;
    let message = v1::JoinRequest {
        token,
        csr: csr.into(),
        facts: Some(facts.into()),
        cluster: cluster.map(String::from).unwrap_or_default(),
    };
    let answer = match tokio::time::timeout(timeout, Box::pin(client.join(message))).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Err(refused(control, &status)),
        Err(_) => return Err(JoinError::Timeout { control, limit: timeout }),
    };
    let field = |field, why: String| CredentialError::Field { field, why };
    let identity = Identity {
        instance: answer.instance_id.parse().map_err(|error| field("instance_id", format!("{error}")))?,
        cluster: ClusterName::new(answer.cluster).map_err(|error| field("cluster", error.to_string()))?,
        region: Region::new(answer.region).map_err(|error| field("region", error.to_string()))?,
        account: AccountId::new(answer.account_id).map_err(|error| field("account_id", error.to_string()))?,
        instance_arn: answer.instance_arn,
        control,
        credential: Credential::accept(answer.certificate, &key)?,
    };
    let instance = identity.instance.to_string();
    file.save(&identity).map_err(|source| JoinError::Save { instance, source })?;
    file.joined();
    Ok(identity)
}

fn refused(control: String, status: &tonic::Status) -> JoinError {
    let reason = status.message().to_owned();
    match status.code() {
        Code::InvalidArgument
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::AlreadyExists
        | Code::Unimplemented
        | Code::OutOfRange => JoinError::Refused { control, reason },
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => JoinError::Failed { control, reason },
    }
}

/// The authority's fingerprint in a token: its fourth part. The control plane checks the rest.
fn pinned(token: &str) -> Option<[u8; 32]> {
    let parts: Vec<&str> = token.split('.').collect();
    let [_format @ "lsj1", _activation, _secret, fingerprint] = parts.as_slice() else {
        return None;
    };
    let mut bytes = [0; 32];
    hex::decode_to_slice(fingerprint, &mut bytes).ok()?;
    Some(bytes)
}
