//! Who this host is to the control plane: its instance id, its certificate and key, and whom it trusts.
//!
//! Owns: joining with a token, the identity file, renewing the certificate before it runs out, and what the control
//! plane's answers say of the identity. The private key is made here and never leaves the host. Never: talks of tasks.
//! `session` reads the current identity through [`IdentityHandle`] for each connection that it makes.

pub(crate) mod dial;
pub(crate) mod file;
mod join;
mod renew;
pub(crate) mod standing;

pub use dial::DialError;
pub(crate) use file::write_private;
pub use file::{IdentityFile, IdentityFileError, JoiningKeyError};
pub use join::{JoinError, JoinOptions, join};
pub use renew::Renewal;
pub use standing::{Standing, standing};

use longshore_model::{AccountId, ClusterName, InstanceId, Region};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a host received by joining. `Debug` does not show its key.
pub struct Identity {
    /// The container instance.
    pub instance: InstanceId,
    /// The cluster it joined.
    pub cluster: ClusterName,
    /// The region of that cluster.
    pub region: Region,
    /// The account.
    pub account: AccountId,
    /// The instance's ARN.
    pub instance_arn: String,
    /// `host:port` of the control plane that it joined.
    pub control: String,
    /// What proves it.
    credential: Credential,
}

impl Identity {
    /// When the certificate runs out.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.credential.expires
    }

    /// The same host with a renewed certificate.
    fn renewed(&self, credential: Credential) -> Self {
        Self {
            instance: self.instance,
            cluster: self.cluster.clone(),
            region: self.region.clone(),
            account: self.account.clone(),
            instance_arn: self.instance_arn.clone(),
            control: self.control.clone(),
            credential,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("instance", &self.instance)
            .field("cluster", &self.cluster)
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

/// A certificate, its key, and whom to trust.
struct Credential {
    /// The agent's certificate and its issuers.
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
    /// The authorities that may stand behind the control plane's address.
    authorities: Vec<CertificateDer<'static>>,
    /// When it was received: renewals reckon from here, since the certificate itself is backdated.
    obtained: SystemTime,
    expires: SystemTime,
}

/// Why an answer of the control plane is no certificate for this host.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A field is missing or cannot be read.
    #[error("field `{field}` of the control plane's answer {why}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// It certifies another key.
    #[error("the certificate is not for the key that was asked for")]
    OtherKey,
}

impl Credential {
    /// Takes the control plane's answer to a request made with `key`.
    fn accept(
        certificate: Option<longshore_proto::v1::Certificate>,
        key: &rcgen::KeyPair,
    ) -> Result<Self, CredentialError> {
        let field = |field, why: &str| CredentialError::Field { field, why: why.to_owned() };
        let certificate = certificate.ok_or_else(|| field("certificate", "is missing"))?;
        let owned = |der: &[u8]| CertificateDer::from(der.to_vec());
        let chain: Vec<_> = certificate.chain.iter().map(|der| owned(der)).collect();
        let authorities: Vec<_> = certificate.authorities.iter().map(|der| owned(der)).collect();
        let leaf = chain.first().ok_or_else(|| field("certificate.chain", "is empty"))?;
        if authorities.is_empty() {
            return Err(field("certificate.authorities", "is empty"));
        }
        if rustls::RootCertStore::empty().add_parsable_certificates(authorities.clone()).1 > 0 {
            return Err(field("certificate.authorities", "has one that cannot be read"));
        }
        let (public_key, expires) = inspect(leaf).ok_or_else(|| field("certificate.chain", "cannot be read"))?;
        if public_key != rcgen::PublicKeyData::subject_public_key_info(key) {
            return Err(CredentialError::OtherKey);
        }
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Self { chain, key, authorities, obtained: SystemTime::now(), expires })
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

/// A certificate's public key and when it runs out.
fn inspect(certificate: &[u8]) -> Option<(Vec<u8>, SystemTime)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let expires = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    Some((parsed.public_key().raw.to_vec(), UNIX_EPOCH + Duration::from_secs(expires)))
}

fn new_key() -> Result<rcgen::KeyPair, rcgen::Error> {
    rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
}

/// The request for a key's certificate. The control plane takes nothing from it but the public key.
fn request(key: &rcgen::KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// The current identity, shared by the session and the renewal. Cheap to clone.
#[derive(Clone)]
pub struct IdentityHandle {
    current: Arc<arc_swap::ArcSwap<Identity>>,
}

impl IdentityHandle {
    /// A handle to `identity`.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self { current: Arc::new(arc_swap::ArcSwap::from_pointee(identity)) }
    }

    /// The identity as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<Identity> {
        self.current.load_full()
    }

    fn replace(&self, identity: Identity) {
        self.current.store(Arc::new(identity));
    }
}
