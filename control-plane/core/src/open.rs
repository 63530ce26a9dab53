//! Reading the store at start, and what the very first start writes to it.

use crate::caller::Principal;
use crate::change::Change;
use crate::config::FirstStart;
use crate::keys;
use crate::records::{AccessKey, Account, RecordError, encode};
use crate::seal::{SealingKey, UnsealError, random};
use crate::state::State;
use longshore_model::{AccountId, Generation, Timestamp};
use longshore_store::{Batch, CommitError, KeyRange, ReadError, Revision, Store};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Entries read at once: enough to be quick, little enough that it is not the whole store.
const PAGE: usize = 1000;

/// Why the core does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store cannot be read.
    #[error("could not read the store")]
    Read(#[from] ReadError),
    /// The first records could not be written.
    #[error("could not write to the store at start")]
    Write(#[from] CommitError),
    /// A record cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store belongs to another account.
    #[error("the store belongs to account {stored}, and the configuration says {configured}")]
    OtherAccount {
        /// In the store.
        stored: AccountId,
        /// In the configuration.
        configured: AccountId,
    },
    /// The sealing key does not open the store's secrets.
    #[error("could not open the secrets in the store")]
    Unseal(#[from] UnsealError),
    /// The root access key given for the first start cannot be used.
    #[error("the root access key given for the first start is not usable: {0}")]
    RootKey(&'static str),
}

/// Which process may write. A later process takes the place by writing this record anew.
#[derive(Debug, Serialize, Deserialize)]
struct Writer {
    process: uuid::Uuid,
    since: Timestamp,
}

/// What a start found and made.
pub(crate) struct Opened {
    pub(crate) state: State,
    pub(crate) account: AccountId,
    /// The revision of this process's [`keys::WRITER`] record.
    pub(crate) writer: Revision,
}

/// Takes the writer's place, then reads everything; so nothing changes behind what was read.
pub(crate) async fn open(
    store: &dyn Store,
    sealing_key: &SealingKey,
    first: FirstStart,
    now: Timestamp,
    process: uuid::Uuid,
) -> Result<Opened, OpenError> {
    let place = encode(&Writer { process, since: now });
    let writer = store.commit(Batch::new().put(keys::WRITER, place)).await?;
    let mut state = load(store).await?;
    let account = match state.account().map(|account| account.id.clone()) {
        Some(stored) => match first.account_id {
            Some(configured) if configured != stored => return Err(OpenError::OtherAccount { stored, configured }),
            Some(_) | None => stored,
        },
        None => {
            let changes = first_records(sealing_key, first, now)?;
            let mut batch = Batch::new().expect(keys::WRITER, longshore_store::Expect::Version(writer));
            for (key, write) in changes.iter().map(Change::to_store) {
                batch.write(key, write);
            }
            let revision = store.commit(batch).await?;
            changes.iter().for_each(|change| state.apply(change, &mut BTreeSet::new()));
            state.commit_all(Generation(revision.0));
            let made = state.account().expect("the first records have the account");
            tracing::info!(account = %made.id, "first start: made the account and its root access key");
            made.id.clone()
        }
    };
    // A wrong sealing key is told at once and not with the first request.
    for key in state.access_keys() {
        sealing_key.unseal(&key.id, &key.sealed_secret)?;
    }
    Ok(Opened { state, account, writer })
}

/// The state that the store holds.
///
/// # Errors
/// When the store cannot be read, or holds what this version cannot.
pub(crate) async fn load(store: &dyn Store) -> Result<State, OpenError> {
    let snapshot = store.snapshot().await?;
    let mut ranks: [Vec<Change>; Change::RANKS] = std::array::from_fn(|_| Vec::new());
    let mut range = Some(KeyRange::all());
    while let Some(part) = range {
        let page = snapshot.range(part, PAGE).await?;
        for entry in &page.entries {
            if let Some(change) = Change::from_store(&entry.key, &entry.value)? {
                ranks[change.rank()].push(change);
            }
        }
        range = page.rest;
    }
    let mut state = State::default();
    for change in ranks.iter().flatten() {
        state.apply(change, &mut BTreeSet::new());
    }
    state.commit_all(Generation(snapshot.revision().0));
    Ok(state)
}

fn first_records(sealing_key: &SealingKey, first: FirstStart, now: Timestamp) -> Result<[Change; 2], OpenError> {
    let id = first.account_id.unwrap_or_else(random_account);
    let (key_id, secret) = match first.root_access_key {
        Some((id, secret)) => (checked_key_id(id)?, checked_secret(secret)?),
        None => (random_key_id(), random_secret()),
    };
    let key = AccessKey {
        sealed_secret: sealing_key.seal(&key_id, &secret),
        id: key_id,
        principal: Principal::root(&id),
        created_at: now,
    };
    Ok([Change::Account(Arc::new(Account { id, created_at: now })), Change::AccessKey(Arc::new(key))])
}

fn random_account() -> AccountId {
    let number = u64::from_le_bytes(random()) % 900_000_000_000 + 100_000_000_000;
    AccountId::new(number.to_string()).expect("a number from 1e11 to 1e12 - 1 has 12 digits")
}

/// As AWS's look: `AKIA` and 16 of these.
fn random_key_id() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let random: [u8; 16] = random();
    let letters = random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    "AKIA".chars().chain(letters).collect()
}

/// 40 characters, as AWS's secrets have: 30 random bytes.
fn random_secret() -> SecretString {
    use base64::Engine as _;
    let secret: [u8; 30] = random();
    SecretString::from(base64::engine::general_purpose::STANDARD.encode(secret))
}

fn checked_key_id(id: String) -> Result<String, OpenError> {
    if (16..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(id);
    }
    Err(OpenError::RootKey("its id must have 16 to 128 letters and digits"))
}

fn checked_secret(secret: SecretString) -> Result<SecretString, OpenError> {
    let text = secret.expose_secret();
    if (16..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(secret);
    }
    Err(OpenError::RootKey("its secret must have 16 to 128 printable characters and no blanks"))
}
