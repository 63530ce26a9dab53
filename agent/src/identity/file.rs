//! The identity file: everything that joining gave this host, the private key included, in one file of mode 0600.
//!
//! One file, so that key and certificate cannot part; written whole or not at all. Until there is one, the key that
//! this host joins with lies beside it: a join whose answer is lost can be repeated only with the same key.

use super::{Credential, Identity, inspect, new_key};
use crate::crash::{self, Place};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_model::{AccountId, ClusterName, InstanceId, Region};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The format that this build writes.
const FORMAT: u32 = 1;

/// Where identities are kept: `<data_dir>/identity.json`, mode 0600.
#[derive(Debug, Clone)]
pub struct IdentityFile(pub PathBuf);

/// Why the identity file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// The system refused.
    #[error("could not {verb} the identity file `{path}`", path = path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others can read the private key.
    #[error("the identity file `{path}` has mode {mode:03o}, so others can read this host's key; run `chmod 600` on \
             it, and join again if somebody may have read it", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what this wrote.
    #[error("the identity file `{path}` is damaged ({why}); remove it and join again with a new token",
            path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, without its contents.
        why: String,
    },
    /// Written by a newer version of the agent.
    #[error("the identity file `{path}` has format {format}, and this agent reads up to {FORMAT}; upgrade the agent",
            path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

/// Why there is no key to join with.
#[derive(Debug, thiserror::Error)]
pub enum JoiningKeyError {
    /// None could be made.
    #[error("could not make a key")]
    Make(#[source] rcgen::Error),
    /// It could not be read or kept.
    #[error(transparent)]
    File(#[from] IdentityFileError),
}

/// The file's contents. It has no `Debug`: it holds the key.
#[derive(Serialize, Deserialize)]
struct Contents {
    format: u32,
    instance: InstanceId,
    cluster: ClusterName,
    region: Region,
    account: AccountId,
    instance_arn: String,
    control: String,
    /// Seconds since the epoch.
    obtained_at: u64,
    /// PEM each, the agent's own first.
    certificates: Vec<String>,
    /// PEM each.
    authorities: Vec<String>,
    /// PEM.
    key: String,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl IdentityFile {
    /// Reads the identity; `None` when this host has not joined.
    ///
    /// # Errors
    /// When the file is there and cannot be read or understood, or others than its owner may read it.
    pub fn load(&self) -> Result<Option<Identity>, IdentityFileError> {
        match private_text(&self.0) {
            Ok(text) => text.map(|text| self.parse(&text)).transpose(),
            Err(Unread::Exposed(mode)) => Err(IdentityFileError::Exposed { path: self.0.clone(), mode }),
            Err(Unread::Io(error)) => Err(self.io("read", error)),
        }
    }

    fn parse(&self, text: &str) -> Result<Identity, IdentityFileError> {
        // serde's own words could quote the file, and with it the key: only the place is told.
        let at = |error: &serde_json::Error| format!("line {}, column {}", error.line(), error.column());
        let damaged = |why: String| IdentityFileError::Damaged { path: self.0.clone(), why };
        let Format { format } = serde_json::from_str(text).map_err(|error| damaged(at(&error)))?;
        if format > FORMAT {
            return Err(IdentityFileError::Newer { path: self.0.clone(), format });
        }
        let contents: Contents = serde_json::from_str(text).map_err(|error| damaged(at(&error)))?;
        let certificates = |pems: &[String]| -> Result<Vec<CertificateDer<'static>>, IdentityFileError> {
            pems.iter()
                .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()))
                .collect::<Result<_, _>>()
                .map_err(|_| damaged("a certificate is not PEM".to_owned()))
        };
        let chain = certificates(&contents.certificates)?;
        let authorities = certificates(&contents.authorities)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(contents.key.as_bytes())
            .map_err(|_| damaged("the key is not PEM".to_owned()))?;
        let pair = rcgen::KeyPair::try_from(&key).map_err(|_| damaged("the key cannot be used".to_owned()))?;
        let leaf = chain.first().and_then(|leaf| inspect(leaf));
        let (public_key, expires) = leaf.ok_or_else(|| damaged("it has no certificate".to_owned()))?;
        if public_key != rcgen::PublicKeyData::subject_public_key_info(&pair) {
            return Err(damaged("the key is not the certificate's".to_owned()));
        }
        if authorities.is_empty() {
            return Err(damaged("it names no authority to trust".to_owned()));
        }
        let obtained = UNIX_EPOCH + Duration::from_secs(contents.obtained_at);
        Ok(Identity {
            instance: contents.instance,
            cluster: contents.cluster,
            region: contents.region,
            account: contents.account,
            instance_arn: contents.instance_arn,
            control: contents.control,
            credential: Credential { chain, key, authorities, obtained, expires },
        })
    }

    /// The key that this host joins with, the same until it has joined. What is there and cannot be used, or may have
    /// been read by others, is replaced: nobody has joined with it, or the answer would be here.
    pub(super) fn joining_key(&self) -> Result<rcgen::KeyPair, JoiningKeyError> {
        let path = self.joining_key_path();
        match private_text(&path) {
            Ok(None) => {}
            Ok(Some(text)) => {
                let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).ok();
                match key.and_then(|key| rcgen::KeyPair::try_from(&key).ok()) {
                    Some(key) if rcgen::PublicKeyData::algorithm(&key) == &rcgen::PKCS_ECDSA_P256_SHA256 => {
                        return Ok(key);
                    }
                    Some(_) | None => {
                        tracing::warn!(path = %path.display(), "the key to join with is damaged; making another one");
                    }
                }
            }
            Err(Unread::Exposed(_)) => {
                tracing::warn!(path = %path.display(), "others could read the key to join with; making another one");
            }
            Err(Unread::Io(source)) => return Err(IdentityFileError::Io { verb: "read", path, source }.into()),
        }
        let key = new_key().map_err(JoiningKeyError::Make)?;
        let text = pem("PRIVATE KEY", key.serialized_der());
        crash::before(Place::JoiningKey);
        let written = crash::space_for(Place::JoiningKey).and_then(|()| write_private(&path, text.as_bytes()));
        written.map_err(|source| IdentityFileError::Io { verb: "write", path, source })?;
        crash::after(Place::JoiningKey);
        Ok(key)
    }

    /// The key that this host joined with is in the identity; another join takes another one.
    pub(super) fn joined(&self) {
        let path = self.joining_key_path();
        crash::before(Place::JoiningKeyRemoved);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "could not remove the key that this host joined with");
        }
        crash::after(Place::JoiningKeyRemoved);
    }

    fn joining_key_path(&self) -> PathBuf {
        self.0.with_file_name("joining-key.pem")
    }

    /// Writes `identity`; after a crash the old or the new one is there, never a part. Makes the directory (mode
    /// 0700) if need be.
    pub(super) fn save(&self, identity: &Identity) -> Result<(), IdentityFileError> {
        let certificates = |list: &[CertificateDer<'_>]| list.iter().map(|der| pem("CERTIFICATE", der)).collect();
        let credential = &identity.credential;
        let obtained_at = credential.obtained.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let contents = Contents {
            format: FORMAT,
            instance: identity.instance,
            cluster: identity.cluster.clone(),
            region: identity.region.clone(),
            account: identity.account.clone(),
            instance_arn: identity.instance_arn.clone(),
            control: identity.control.clone(),
            obtained_at,
            certificates: certificates(&credential.chain),
            authorities: certificates(&credential.authorities),
            key: pem("PRIVATE KEY", credential.key.secret_pkcs8_der()),
        };
        let text = serde_json::to_string_pretty(&contents).expect("strings and numbers are always JSON");
        crash::before(Place::IdentityFile);
        let written = crash::space_for(Place::IdentityFile).and_then(|()| write_private(&self.0, text.as_bytes()));
        written.map_err(|error| self.io("write", error))?;
        crash::after(Place::IdentityFile);
        Ok(())
    }

    fn io(&self, verb: &'static str, source: io::Error) -> IdentityFileError {
        IdentityFileError::Io { verb, path: self.0.clone(), source }
    }
}

/// Why a private file was not read.
pub(crate) enum Unread {
    Io(io::Error),
    /// Others can read it; its permission bits.
    Exposed(u32),
}

/// The text of a file that nobody else can read; `None` when there is none.
pub(crate) fn private_text(path: &Path) -> Result<Option<String>, Unread> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Unread::Io(error)),
    };
    let mode = file.metadata().map_err(Unread::Io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Unread::Exposed(mode));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(Unread::Io)?;
    Ok(Some(text))
}

/// Writes a file of mode 0600, whole or not at all, and makes its directory (mode 0700) if need be.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    if let Err(error) = write() {
        // Half of it takes what a full disk has not.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

/// Seconds of precision are enough for a renewal; see [`Credential::obtained`].
pub(super) fn age(credential: &Credential, now: SystemTime) -> Duration {
    now.duration_since(credential.obtained).unwrap_or_default()
}

/// PEM with lines of 64 characters (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
