//! Reading the store at start, and what the very first start writes to it.

use crate::caller::Principal;
use crate::change::Change;
use crate::config::FirstStart;
use crate::keys;
use crate::records::{
    AccessKey, Account, Direction, Network, RecordError, SecurityGroup, SecurityGroupRule, Tags, encode,
};
use crate::seal::{SealingKey, UnsealError, random};
use crate::state::{State, Touched};
use longshore_model::{
    AccountId, Generation, GroupId, NetworkConfig, Overlay, Rule, RuleId, RulePeer, SubnetId, Timestamp, Traffic, VpcId,
};
use longshore_store::{Batch, CommitError, Entry, KeyRange, ReadError, Revision, Store};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Entries read at once: enough to be quick, little enough that it is not the whole store.
const PAGE: usize = 1000;

/// Threads that decode what was read: more would wait for the store.
const DECODERS: usize = 4;

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
    /// Hosts have parts of a network that is configured otherwise now.
    #[error(
        "the configuration key `{key}` says {configured}, and hosts have addresses of a task network that was made \
         with {stored}: set it back, or deregister all container instances that have addresses first"
    )]
    OtherNetwork {
        /// The key.
        key: &'static str,
        /// In the store.
        stored: String,
        /// In the configuration.
        configured: String,
    },
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
    network: NetworkConfig,
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
            commit(store, writer, &mut state, &changes).await?;
            let made = state.account().expect("the first records have the account");
            tracing::info!(account = %made.id, "first start: made the account and its root access key");
            made.id.clone()
        }
    };
    let changes = network_records(&state, network, now)?;
    if !changes.is_empty() {
        commit(store, writer, &mut state, &changes).await?;
    }
    // A wrong sealing key is told at once and not with the first request.
    for key in state.access_keys() {
        sealing_key.unseal(&key.id, &key.sealed_secret)?;
    }
    Ok(Opened { state, account, writer })
}

/// Changes the store and the state at start.
async fn commit(store: &dyn Store, writer: Revision, state: &mut State, changes: &[Change]) -> Result<(), OpenError> {
    let mut batch = Batch::new().expect(keys::WRITER, longshore_store::Expect::Version(writer));
    for (key, write) in changes.iter().filter_map(Change::to_store) {
        batch.write(key, write);
    }
    let revision = store.commit(batch).await?;
    changes.iter().for_each(|change| state.apply(change, &mut Touched::default()));
    state.commit_all(Generation(revision.0));
    Ok(())
}

/// The task network as it is configured: made when there is none, changed while no host has a part of it.
fn network_records(state: &State, config: NetworkConfig, now: Timestamp) -> Result<Vec<Change>, OpenError> {
    let Some(stored) = state.network() else {
        let (network, group) = new_network(config, now);
        tracing::info!(vpc = %network.vpc, subnet = %network.subnet, range = %config.v4, "made the task network");
        return Ok(vec![Change::Network(Arc::new(network)), Change::SecurityGroup(Arc::new(group))]);
    };
    let Some((key, was, is)) = difference(&stored.config, &config) else { return Ok(Vec::new()) };
    if state.leased_hosts().next().is_some() {
        return Err(OpenError::OtherNetwork { key, stored: was, configured: is });
    }
    tracing::info!(key, was, is, "the task network changes: no host has a part of it yet");
    let mut changes = vec![Change::Network(Arc::new(Network { config, last_lease: None, ..(**stored).clone() }))];
    if stored.config.v6.is_none() && config.v6.is_some() {
        changes.extend(state.security_groups().filter_map(|group| with_ipv6_egress(group)).map(Change::SecurityGroup));
    }
    Ok(changes)
}

/// A group when its network gets an IPv6 prefix, if that changes it: as in EC2, one that still lets out everything of
/// IPv4 and nothing else, as it was made, lets out everything of IPv6 as well. One that was edited stays as it is.
fn with_ipv6_egress(group: &SecurityGroup) -> Option<Arc<SecurityGroup>> {
    let everything = |peer| Rule { traffic: Traffic::All, peer };
    let mut egress = group.rules.values().filter(|rule| rule.direction == Direction::Egress).map(|rule| rule.rule);
    let as_made = everything(RulePeer::V4(ipnet::Ipv4Net::default()));
    if egress.next() != Some(as_made) || egress.next().is_some() {
        return None;
    }
    let mut group = group.clone();
    let rule = everything(RulePeer::V6(ipnet::Ipv6Net::default()));
    let rule = SecurityGroupRule { direction: Direction::Egress, rule, description: None, tags: Tags::new() };
    group.rules.insert(RuleId::random(), rule);
    Some(Arc::new(group))
}

/// The first configuration key that says something else, and what it says.
fn difference(stored: &NetworkConfig, configured: &NetworkConfig) -> Option<(&'static str, String, String)> {
    let texts = |config: &NetworkConfig| {
        let (overlay, vni, port) = match config.overlay {
            Overlay::Vxlan { vni, port } => ("vxlan", Some(vni), Some(port)),
            Overlay::Routes => ("routes", None, None),
            Overlay::Lan => ("lan", None, None),
        };
        let number = |number: Option<u32>| number.map_or_else(|| "nothing".to_owned(), |number| number.to_string());
        [
            ("task_network", config.v4.to_string()),
            ("task_network6", config.v6.map_or_else(|| "nothing".to_owned(), |net| net.to_string())),
            ("task_network_overlay", overlay.to_owned()),
            ("task_network_vni", number(vni)),
            ("task_network_port", number(port.map(Into::into))),
            ("task_network_mtu", config.mtu.to_string()),
            ("task_network_lease", config.lease_length.to_string()),
        ]
    };
    let pairs = texts(stored).into_iter().zip(texts(configured));
    pairs.into_iter().find(|(was, is)| was != is).map(|((key, was), (_, is))| (key, was, is))
}

/// A network, and its default group as EC2 makes one: members reach each other, and everything outwards.
fn new_network(config: NetworkConfig, now: Timestamp) -> (Network, SecurityGroup) {
    let id = GroupId::random();
    let rule = |direction, peer| {
        let rule = Rule { traffic: Traffic::All, peer };
        (RuleId::random(), SecurityGroupRule { direction, rule, description: None, tags: Tags::new() })
    };
    let rules = [
        Some(rule(Direction::Ingress, RulePeer::Group(id))),
        Some(rule(Direction::Egress, RulePeer::V4(ipnet::Ipv4Net::default()))),
        config.v6.map(|_| rule(Direction::Egress, RulePeer::V6(ipnet::Ipv6Net::default()))),
    ];
    let group = SecurityGroup {
        id,
        region: None,
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        rules: rules.into_iter().flatten().collect(),
        tags: Tags::new(),
        created_at: now,
    };
    let (vpc, subnet) = (VpcId::random(), SubnetId::random());
    let network = Network { vpc, subnet, default_group: id, config, created_at: now, last_lease: None };
    (network, group)
}

/// The state that the store holds.
///
/// # Errors
/// When the store cannot be read, or holds what this version cannot.
pub(crate) async fn load(store: &dyn Store) -> Result<State, OpenError> {
    let snapshot = store.snapshot().await?;
    let mut ranks: [Vec<Change>; Change::RANKS] = std::array::from_fn(|_| Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(DECODERS);
    let mut page = snapshot.range(KeyRange::all(), PAGE).await?;
    loop {
        // The store reads on while this page is decoded: what is polled first goes on by itself.
        let next = async {
            match page.rest.clone() {
                Some(rest) => snapshot.range(rest, PAGE).await.map(Some),
                None => Ok(None),
            }
        };
        let (next, changes) = futures::join!(next, async { decoded(&page.entries, threads) });
        for change in changes? {
            ranks[change.rank()].push(change);
        }
        match next? {
            Some(next) => page = next,
            None => break,
        }
    }
    let mut state = State::default();
    for change in ranks.iter().flatten() {
        state.apply(change, &mut Touched::default());
    }
    state.commit_all(Generation(snapshot.revision().0));
    Ok(state)
}

/// The records of a page, in its order. Each thread has its part of it.
fn decoded(entries: &[Entry], threads: usize) -> Result<Vec<Change>, RecordError> {
    let decode = |part: &[Entry]| -> Result<Vec<Change>, RecordError> {
        part.iter().filter_map(|entry| Change::from_store(&entry.key, &entry.value).transpose()).collect()
    };
    if threads == 1 || entries.len() < PAGE {
        return decode(entries);
    }
    std::thread::scope(|scope| {
        let part = entries.len().div_ceil(threads);
        let parts: Vec<_> = entries.chunks(part).map(|part| scope.spawn(move || decode(part))).collect();
        let mut all = Vec::with_capacity(entries.len());
        for part in parts {
            all.extend(part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
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
