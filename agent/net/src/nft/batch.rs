//! Transactions with the kernel's nftables, put together here and acknowledged one change at a time.

use super::elements::Element;
use crate::netlink::attr::{self, Attrs};
use crate::netlink::{NetlinkError, Refusal, Request, Socket};
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const DEL_CHAIN: u16 = SUBSYSTEM | 5;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DEL_RULE: u16 = SUBSYSTEM | 8;
const NEW_SET: u16 = SUBSYSTEM | 9;
const GET_SET: u16 = SUBSYSTEM | 10;
const DEL_SET: u16 = SUBSYSTEM | 11;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const GET_ELEMENT: u16 = SUBSYSTEM | 13;
const DEL_ELEMENT: u16 = SUBSYSTEM | 14;

const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

const NFPROTO_INET: u8 = 1;

/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`, `NFTA_SET_TABLE`, `NFTA_SET_ELEM_LIST_TABLE`.
const TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_USE: u16 = 6;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEM: u16 = 1;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const IMMEDIATE_DREG: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const REG_VERDICT: u32 = 0;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LEN: u16 = 5;
const SET_ID: u16 = 10;
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
/// `NFTA_SET_ELEM_LIST_SET`.
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEM_KEY: u16 = 1;
const ELEM_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const NF_DROP: u32 = 0;
const NFT_JUMP: u32 = (-3_i32).cast_unsigned();
const NFT_GOTO: u32 = (-4_i32).cast_unsigned();

/// Lists of elements are cut below the 64 KiB that an attribute can be long.
const LIST_BYTES: usize = 32 << 10;
/// How often a transaction is tried again without the removals of what turned out to be gone.
const TRIES: usize = 4;

/// What a rule of ours does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    /// Goes through a chain and comes back.
    Jump(String),
    /// Counts.
    Counter,
    /// Drops.
    Drop,
}

/// A part of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Adds an element; nothing happens when it is there with the same value.
    Add(Element),
    /// Removes an element; nothing happens when it is not there.
    Remove(Element),
    /// Adds a chain; nothing happens when it is there.
    AddChain(String),
    /// Adds a rule at the end of a chain.
    AddRule(String, Vec<Expr>),
    /// Removes all rules of a chain.
    FlushChain(String),
    /// Removes a chain and its rules; refused while something leads to it. Nothing happens when it is not there.
    RemoveChain(String),
    /// Adds a set of IPv4 addresses; nothing happens when it is there.
    AddSet4(String),
    /// Adds a set of IPv6 addresses; nothing happens when it is there.
    AddSet6(String),
    /// Removes a set; refused while a rule uses it. Nothing happens when it is not there.
    RemoveSet(String),
}

impl Change {
    fn may_be_gone(&self) -> bool {
        match self {
            Self::Remove(_) | Self::RemoveChain(_) | Self::RemoveSet(_) => true,
            Self::Add(_)
            | Self::AddChain(_)
            | Self::FlushChain(_)
            | Self::AddRule(..)
            | Self::AddSet4(_)
            | Self::AddSet6(_) => false,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(Element { set, goto: None, .. }) => write!(f, "add an element to `{set}`"),
            Self::Add(Element { set, goto: Some(chain), .. }) => write!(f, "add an element to `{set}` for `{chain}`"),
            Self::Remove(element) => write!(f, "remove an element from `{}`", element.set),
            Self::AddChain(chain) => write!(f, "add the chain `{chain}`"),
            Self::AddRule(chain, _) => write!(f, "add a rule to `{chain}`"),
            Self::FlushChain(chain) => write!(f, "flush the chain `{chain}`"),
            Self::RemoveChain(chain) => write!(f, "remove the chain `{chain}`"),
            Self::AddSet4(set) | Self::AddSet6(set) => write!(f, "add the set `{set}`"),
            Self::RemoveSet(set) => write!(f, "remove the set `{set}`"),
        }
    }
}

/// Why a transaction was not carried out; nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The table, or a set or chain that is named, is not there.
    #[error("could not {what} in `{table}`: the table, the set or the chain is not there")]
    Missing {
        /// The table.
        table: String,
        /// What was to be done.
        what: String,
    },
    /// It is there with another value, or something still leads to it.
    #[error("could not {what} in `{table}`: it is in use, or is there with another value")]
    InUse {
        /// The table.
        table: String,
        /// What was to be done.
        what: String,
    },
    /// There is no room.
    #[error("could not {what} in `{table}`: the kernel has no room for it")]
    Full {
        /// The table.
        table: String,
        /// What was to be done.
        what: String,
    },
    /// The kernel refused for another reason.
    #[error("could not {what} in `{table}`")]
    Refused {
        /// The table.
        table: String,
        /// What was to be done.
        what: String,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// The kernel could not be talked to.
    #[error("could not change `{table}`")]
    Netlink {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: NetlinkError,
    },
}

/// A chain as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChainInfo {
    pub(crate) name: String,
    /// Its rules and what leads to it, together.
    pub(crate) uses: u32,
}

/// The rules of chains, in order: the number that the kernel gave each, and a hash of what it does. A rule that is
/// replaced may keep its number.
type Written = BTreeMap<String, Vec<(u64, u64)>>;

/// One table of one namespace.
#[derive(Debug)]
pub(crate) struct Nft {
    socket: Socket,
    table: String,
    /// The rules of chains as we wrote them.
    written: Written,
}

/// `struct nfgenmsg`.
fn header(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

fn verdict(code: u32, chain: Option<&str>) -> Attrs {
    let verdict = Attrs::new().be32(VERDICT_CODE, code);
    let verdict = match chain {
        Some(chain) => verdict.string(VERDICT_CHAIN, chain),
        None => verdict,
    };
    Attrs::new().nest(DATA_VERDICT, verdict)
}

fn element(element: &Element) -> Attrs {
    let attrs = Attrs::new().nest(ELEM_KEY, Attrs::new().put(DATA_VALUE, &element.key));
    match &element.goto {
        Some(chain) => attrs.nest(ELEM_DATA, verdict(NFT_GOTO, Some(chain))),
        None => attrs,
    }
}

fn expression(expr: &Expr) -> Attrs {
    let immediate =
        |code, chain| Attrs::new().be32(IMMEDIATE_DREG, REG_VERDICT).nest(IMMEDIATE_DATA, verdict(code, chain));
    let (name, data) = match expr {
        Expr::Jump(chain) => ("immediate", immediate(NFT_JUMP, Some(chain.as_str()))),
        Expr::Drop => ("immediate", immediate(NF_DROP, None)),
        Expr::Counter => ("counter", Attrs::new()),
    };
    Attrs::new().string(EXPR_NAME, name).nest(EXPR_DATA, data)
}

/// A hash of the expressions of a rule, but for what its counters have counted.
fn hash_of(expressions: &[u8]) -> u64 {
    let mut hash = std::hash::DefaultHasher::new();
    for (_, expression) in attr::attributes(expressions) {
        let name = attr::find(expression, EXPR_NAME).map(attr::text).unwrap_or_default();
        let data = attr::find(expression, EXPR_DATA).filter(|_| name != "counter");
        (name, data).hash(&mut hash);
    }
    hash.finish()
}

impl Nft {
    pub(crate) fn new(socket: Socket, table: String) -> Self {
        Self { socket, table, written: Written::new() }
    }

    fn body(&self) -> Attrs {
        Attrs::after(&header(NFPROTO_INET, 0)).string(TABLE, &self.table)
    }

    fn netlink(&self) -> impl FnOnce(NetlinkError) -> NftError + use<> {
        let table = self.table.clone();
        move |source| NftError::Netlink { table, source }
    }

    fn refused(&self, change: &Change, refusal: Refusal) -> NftError {
        let (table, what) = (self.table.clone(), change.to_string());
        match refusal.errno {
            Errno::ENOENT => NftError::Missing { table, what },
            Errno::EBUSY | Errno::EEXIST => NftError::InUse { table, what },
            Errno::ENOMEM | Errno::ENFILE | Errno::ENOSPC | Errno::EMFILE => NftError::Full { table, what },
            _ => NftError::Refused { table, what, source: refusal },
        }
    }

    fn elements(&self, kind: u16, flags: u16, set: &str, list: Attrs) -> Request {
        let body = self.body().string(LIST_SET, set).nest(LIST_ELEMENTS, list);
        Request { kind, flags, body: body.into_bytes() }
    }

    /// The request for the changes from the first on, and how many it covers: additions to one set go together.
    fn request(&self, changes: &[&Change], id: u32) -> (Request, usize) {
        let message = |kind, flags, body: Attrs| (Request { kind, flags, body: body.into_bytes() }, 1);
        let set = |name: &str, key_type, key_len| {
            let body = self.body().string(SET_NAME, name).be32(SET_FLAGS, 0);
            let body = body.be32(SET_KEY_TYPE, key_type).be32(SET_KEY_LEN, key_len).be32(SET_ID, id);
            message(NEW_SET, NLM_F_CREATE, body)
        };
        match changes[0] {
            Change::Add(first) => {
                let (mut list, mut covered) = (Attrs::new(), 0);
                for change in changes {
                    match change {
                        Change::Add(next) if next.set == first.set && list.len() < LIST_BYTES => {
                            list = list.nest(LIST_ELEM, element(next));
                            covered += 1;
                        }
                        _ => break,
                    }
                }
                (self.elements(NEW_ELEMENT, NLM_F_CREATE, &first.set, list), covered)
            }
            Change::Remove(gone) => {
                // By its key alone: whatever it leads to.
                let key = Element { goto: None, ..gone.clone() };
                (self.elements(DEL_ELEMENT, 0, &gone.set, Attrs::new().nest(LIST_ELEM, element(&key))), 1)
            }
            Change::AddChain(name) => message(NEW_CHAIN, NLM_F_CREATE, self.body().string(CHAIN_NAME, name)),
            Change::RemoveChain(name) => message(DEL_CHAIN, 0, self.body().string(CHAIN_NAME, name)),
            Change::FlushChain(name) => message(DEL_RULE, 0, self.body().string(RULE_CHAIN, name)),
            Change::AddRule(chain, exprs) => {
                let list = exprs.iter().fold(Attrs::new(), |list, expr| list.nest(LIST_ELEM, expression(expr)));
                let body = self.body().string(RULE_CHAIN, chain).nest(RULE_EXPRESSIONS, list);
                message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, body)
            }
            Change::AddSet4(name) => set(name, TYPE_IPV4, 4),
            Change::AddSet6(name) => set(name, TYPE_IPV6, 16),
            Change::RemoveSet(name) => message(DEL_SET, 0, self.body().string(SET_NAME, name)),
        }
    }

    /// Carries all changes out, or none.
    pub(crate) fn commit(&mut self, changes: &[Change]) -> Result<(), NftError> {
        let mut wanted: Vec<&Change> = changes.iter().collect();
        for _ in 0..TRIES {
            if wanted.is_empty() {
                return Ok(());
            }
            let mark = |kind| Request { kind, flags: 0, body: header(0, SUBSYSTEM >> 8) };
            let mut requests = vec![mark(BATCH_BEGIN)];
            // By request: the first change of it.
            let mut firsts = Vec::new();
            let mut at = 0;
            while at < wanted.len() {
                let id = u32::try_from(firsts.len() + 1).unwrap_or(u32::MAX);
                let (request, covered) = self.request(&wanted[at..], id);
                requests.push(request);
                firsts.push(at);
                at += covered;
            }
            requests.push(mark(BATCH_END));
            let refused = self.socket.batch(&requests, firsts.len()).map_err(self.netlink())?;
            let mut gone = BTreeSet::new();
            for (request, refusal) in refused {
                // The beginning is refused when this process may not.
                let at = request.checked_sub(1).and_then(|i| firsts.get(i)).copied().unwrap_or(0);
                if refusal.errno == Errno::ENOENT && wanted[at].may_be_gone() && request > 0 {
                    gone.insert(at);
                } else {
                    return Err(self.refused(wanted[at], refusal));
                }
            }
            if gone.is_empty() {
                for change in changes {
                    if let Change::AddRule(chain, _) | Change::FlushChain(chain) | Change::RemoveChain(chain) = change {
                        self.written.remove(chain);
                    }
                }
                return Ok(());
            }
            let mut at = 0..;
            wanted.retain(|_| at.next().is_some_and(|at| !gone.contains(&at)));
        }
        Err(NftError::Netlink {
            table: self.table.clone(),
            source: NetlinkError::Garbled("what was to be removed came and went".into()),
        })
    }

    /// Whether the table is there.
    pub(crate) fn exists(&mut self) -> Result<bool, NftError> {
        let request = Request { kind: GET_TABLE, flags: 0, body: self.body().into_bytes() };
        match self.socket.get(&request) {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(false),
            Err(error) => Err(self.netlink()(error)),
        }
    }

    /// The chains of the table.
    pub(crate) fn chains(&mut self) -> Result<Vec<ChainInfo>, NftError> {
        let request = Request { kind: GET_CHAIN, flags: 0, body: self.body().into_bytes() };
        let replies = self.socket.dump(&request).map_err(self.netlink())?;
        let table = self.table.as_str();
        let chain = |body: &[u8]| {
            let attrs = body.get(4..)?;
            (attr::text(attr::find(attrs, TABLE)?) == table && body.first() == Some(&NFPROTO_INET)).then_some(())?;
            let uses = attr::find(attrs, CHAIN_USE).and_then(attr::number).unwrap_or(0);
            Some(ChainInfo { name: attr::text(attr::find(attrs, CHAIN_NAME)?), uses })
        };
        Ok(replies.iter().filter_map(|reply| chain(&reply.body)).collect())
    }

    /// Remembers the rules of these chains as ours, as they are now: they were just written.
    pub(crate) fn remember(&mut self, chains: impl IntoIterator<Item = String>) -> Result<(), NftError> {
        let chains: Vec<String> = chains.into_iter().collect();
        let only = match chains.as_slice() {
            [] => return Ok(()),
            [only] => Some(only.as_str()),
            _ => None,
        };
        let mut there = self.rules(only)?;
        for chain in &chains {
            self.written.insert(chain.clone(), there.remove(chain).unwrap_or_default());
        }
        Ok(())
    }

    /// Whether the rules of a chain were ever remembered.
    pub(crate) fn is_remembered(&self, chain: &str) -> bool {
        self.written.contains_key(chain)
    }

    /// The chains that have other rules than we wrote: somebody added, removed or replaced some.
    pub(crate) fn tampered(&mut self) -> Result<BTreeSet<String>, NftError> {
        let there = self.rules(None)?;
        let none = Vec::new();
        let changed = self.written.iter().filter(|(chain, rules)| there.get(*chain).unwrap_or(&none) != *rules);
        Ok(changed.map(|(chain, _)| chain.clone()).collect())
    }

    fn rules(&mut self, chain: Option<&str>) -> Result<Written, NftError> {
        let body = chain.into_iter().fold(self.body(), |body, chain| body.string(RULE_CHAIN, chain));
        let replies = match self.socket.dump(&Request { kind: GET_RULE, flags: 0, body: body.into_bytes() }) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(Written::new()),
            replies => replies.map_err(self.netlink())?,
        };
        let mut found = Written::new();
        for reply in &replies {
            let Some(attrs) = reply.body.get(4..) else { continue };
            let of_table = attr::find(attrs, TABLE).map(attr::text).as_deref() == Some(self.table.as_str());
            let number = |value: &[u8]| Some(u64::from_be_bytes(value.try_into().ok()?));
            let handle = attr::find(attrs, RULE_HANDLE).and_then(number);
            if let (true, Some(chain), Some(handle)) = (of_table, attr::find(attrs, RULE_CHAIN), handle) {
                let does = attr::find(attrs, RULE_EXPRESSIONS).unwrap_or_default();
                found.entry(attr::text(chain)).or_default().push((handle, hash_of(does)));
            }
        }
        Ok(found)
    }

    /// The names of the sets and maps of the table.
    pub(crate) fn sets(&mut self) -> Result<Vec<String>, NftError> {
        let request = Request { kind: GET_SET, flags: 0, body: self.body().into_bytes() };
        let replies = match self.socket.dump(&request) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(Vec::new()),
            replies => replies.map_err(self.netlink())?,
        };
        let table = self.table.as_str();
        let set = |body: &[u8]| {
            let attrs = body.get(4..)?;
            (attr::text(attr::find(attrs, TABLE)?) == table && body.first() == Some(&NFPROTO_INET)).then_some(())?;
            Some(attr::text(attr::find(attrs, SET_NAME)?))
        };
        Ok(replies.iter().filter_map(|reply| set(&reply.body)).collect())
    }

    /// The elements of a set or map, none when it is not there.
    pub(crate) fn list(&mut self, set: &str) -> Result<Vec<Element>, NftError> {
        let body = self.body().string(LIST_SET, set).into_bytes();
        let replies = match self.socket.dump(&Request { kind: GET_ELEMENT, flags: 0, body }) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(Vec::new()),
            replies => replies.map_err(self.netlink())?,
        };
        let mut found = Vec::new();
        for reply in &replies {
            let list = reply.body.get(4..).and_then(|attrs| attr::find(attrs, LIST_ELEMENTS)).unwrap_or_default();
            for (_, one) in attr::attributes(list) {
                let Some(key) = attr::find(one, ELEM_KEY).and_then(|key| attr::find(key, DATA_VALUE)) else { continue };
                let verdict = attr::find(one, ELEM_DATA).and_then(|data| attr::find(data, DATA_VERDICT));
                let goto = verdict.and_then(|verdict| attr::find(verdict, VERDICT_CHAIN)).map(attr::text);
                found.push(Element { set: set.to_owned(), key: key.to_vec(), goto });
            }
        }
        Ok(found)
    }
}
