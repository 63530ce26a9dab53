//! The ledger's file: three tables in redb. Definitions are written once and records often, so they are apart.

use super::mark::Mark;
use super::reserve::{self, Reserve};
use super::{Changes, Definition, Loaded, OpenError, SavedTask};
use crate::crash::{self, Place};
use crate::engine::drivers::{Clock, SystemClock};
use longshore_model::{Generation, InstanceId, TaskId};
use longshore_plan::TaskRecord;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition};
use rustix::time::{ClockId, clock_gettime};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The format of the tables below. Raised when an older agent could no longer read them.
const FORMAT: u64 = 1;

/// How often it was written, so that an older copy is known from it and its [`Mark`].
const WRITES: &str = "writes";

/// Where the two halves of the id are of the container instance whose generation it is.
const INSTANCE: (&str, &str) = ("instance-high", "instance-low");

/// The same of the host's boot in which it was last written.
const BOOT: (&str, &str) = ("boot-high", "boot-low");

/// What the host's clock then said of the moment from which the kernel counts the time that the host is awake, in
/// milliseconds since 1970: another one in the same boot says by how much the clock was moved.
const CLOCK: &str = "clock";

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const DEFINITIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("definitions");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

/// Pages kept in memory: a host's whole ledger is smaller, and the agent's memory is promised.
const CACHE_BYTES: usize = 512 * 1024;

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not a database, or a damaged one, or the disk.
    #[error("could not open it")]
    Open(#[source] DatabaseError),
    /// A transaction.
    #[error("could not {verb}")]
    Transaction {
        /// `read` or `commit`, for example.
        verb: &'static str,
        /// Why.
        #[source]
        source: redb::Error,
    },
    /// Written by a newer agent.
    #[error("its format is {0}, and this agent knows {FORMAT}")]
    Format(u64),
    /// It has tables and no format.
    #[error("it says no format")]
    NoFormat,
    /// What is in it is not what was written.
    #[error("parts of it are not what was written")]
    Integrity,
    /// Reading it ran into something that no ledger has.
    #[error("reading it failed: {0}")]
    Panicked(String),
    /// Our own types always serialise; this is for the reader of the type.
    #[error("could not write a record")]
    Encode(#[source] serde_json::Error),
}

fn transaction<E: Into<redb::Error>>(verb: &'static str) -> impl FnOnce(E) -> FileError {
    move |e| FileError::Transaction { verb, source: e.into() }
}

fn no_space(error: std::io::Error) -> FileError {
    transaction("commit")(StorageError::Io(error))
}

/// The open file.
pub(super) struct LedgerFile {
    db: Database,
}

/// Opens the file. One that cannot be used, or that is another instance's, is moved out of the way, and a new one
/// begun; `leave` is called before another instance's is.
pub(super) fn open(
    path: &Path,
    instance: Option<InstanceId>,
    leave: impl FnOnce() -> std::io::Result<()>,
) -> Result<(LedgerFile, Mark, Loaded), OpenError> {
    let mark = Mark::open(path);
    let mut opened = try_open(path, &mark);
    if let Err(error) = &opened
        && reserve::is_no_space(error)
        && Reserve::of(path).release()
    {
        opened = try_open(path, &mark);
    }
    let (kind, why) = match opened {
        Ok(opened) => match opened.loaded.instance.filter(|former| Some(*former) != instance) {
            None if opened.writes < mark.get() => {
                let (has, had) = (opened.writes, mark.get());
                ("older", format!("it was written {has} times, and this host's {had} times: somebody put a copy here"))
            }
            None => return Ok((opened.file, mark, opened.loaded)),
            Some(former) => {
                drop(opened);
                leave().map_err(|source| OpenError::File {
                    verb: "leave the network of",
                    path: path.into(),
                    source,
                })?;
                ("former", format!("it is that of container instance {former}, which this host is not any more"))
            }
        },
        Err(FileError::Open(DatabaseError::DatabaseAlreadyOpen)) => {
            return Err(OpenError::InUse { path: path.into() });
        }
        // Not the file's fault: moving it would lose it for nothing.
        Err(FileError::Open(DatabaseError::Storage(StorageError::Io(source)))) if !is_damage(&source) => {
            return Err(OpenError::File { verb: "open", path: path.into(), source });
        }
        // Neither is a full disk, wherever it shows.
        Err(fault) if reserve::is_no_space(&fault) => {
            let full = std::io::Error::new(std::io::ErrorKind::StorageFull, crate::engine::docker::chain(&fault));
            return Err(OpenError::File { verb: "open", path: path.into(), source: full });
        }
        Err(fault) => ("damaged", crate::engine::docker::chain(&fault)),
    };
    crash::before(Place::LedgerSetAside);
    let failed = |source| OpenError::File { verb: "set aside", path: path.into(), source };
    crash::space_for(Place::LedgerSetAside).map_err(failed)?;
    let aside = set_aside(path, kind)?;
    crash::after(Place::LedgerSetAside);
    let Opened { file, loaded, .. } =
        try_open(path, &mark).map_err(|source| OpenError::Make { path: path.into(), source: Box::new(source) })?;
    Ok((file, mark, Loaded { set_aside: Some((aside, why)), ..loaded }))
}

/// Renames the file to `ledger.<kind>-<time>`.
fn set_aside(path: &Path, kind: &str) -> Result<PathBuf, OpenError> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = |n: u32| {
        let more = if n == 0 { String::new() } else { format!("-{n}") };
        path.with_file_name(format!("ledger.{kind}-{seconds}{more}"))
    };
    let aside = (0..).map(name).find(|candidate| !candidate.exists()).unwrap_or_else(|| path.with_extension(kind));
    std::fs::rename(path, &aside).map_err(|source| OpenError::File { verb: "set aside", path: path.into(), source })?;
    Ok(aside)
}

/// A truncated or overwritten file shows as one of these, not as `Corrupted`.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData)
}

/// Opens the file again after a failed write. What it holds is known.
pub(super) fn reopen(path: &Path) -> Result<LedgerFile, FileError> {
    let db = builder().create(path).map_err(FileError::Open)?;
    prepare(&db, 0)?;
    Ok(LedgerFile { db })
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// A ledger that was opened and read.
struct Opened {
    file: LedgerFile,
    writes: u64,
    loaded: Loaded,
}

fn try_open(path: &Path, mark: &Mark) -> Result<Opened, FileError> {
    make_private(path).map_err(|e| FileError::Open(DatabaseError::Storage(StorageError::Io(e))))?;
    // redb trusts some of what it reads; a ledger that makes it panic must not do so at every start.
    let first = mark.get();
    let opened = std::panic::catch_unwind(|| open_checked(path, first));
    opened.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(FileError::Panicked(text.unwrap_or_default()))
    })
}

fn open_checked(path: &Path, first: u64) -> Result<Opened, FileError> {
    let mut db = builder().create(path).map_err(FileError::Open)?;
    // Checksums are looked at after a crash only, or when that is asked for.
    if !db.check_integrity().map_err(FileError::Open)? {
        return Err(FileError::Integrity);
    }
    prepare(&db, first)?;
    let (writes, loaded) = load(&db)?;
    Ok(Opened { file: LedgerFile { db }, writes, loaded })
}

/// Only root may read it: definitions hold environment values.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
}

/// Makes the tables where there are none; a new ledger has been written `first` times.
fn prepare(db: &Database, first: u64) -> Result<(), FileError> {
    let read = db.begin_read().map_err(transaction("read"))?;
    match read.open_table(META) {
        Ok(meta) => match meta.get("format").map_err(transaction("read"))?.map(|f| f.value()) {
            Some(FORMAT) => Ok(()),
            Some(other) => Err(FileError::Format(other)),
            None => Err(FileError::NoFormat),
        },
        Err(redb::TableError::TableDoesNotExist(_)) => {
            crash::before(Place::LedgerBegin);
            crash::space_for(Place::LedgerBegin).map_err(no_space)?;
            let write = db.begin_write().map_err(transaction("begin"))?;
            {
                let mut meta = write.open_table(META).map_err(transaction("begin"))?;
                meta.insert("format", FORMAT).map_err(transaction("begin"))?;
                meta.insert(WRITES, first).map_err(transaction("begin"))?;
            }
            write.open_table(DEFINITIONS).map_err(transaction("begin"))?;
            write.open_table(RECORDS).map_err(transaction("begin"))?;
            write.commit().map_err(transaction("commit"))?;
            crash::after(Place::LedgerBegin);
            Ok(())
        }
        Err(error) => Err(transaction("read")(error)),
    }
}

fn load(db: &Database) -> Result<(u64, Loaded), FileError> {
    let read = db.begin_read().map_err(transaction("read"))?;
    let meta = read.open_table(META).map_err(transaction("read"))?;
    let generation = meta.get("generation").map_err(transaction("read"))?.map_or(0, |g| g.value());
    let writes = meta.get(WRITES).map_err(transaction("read"))?.map_or(0, |w| w.value());
    let definitions = read.open_table(DEFINITIONS).map_err(transaction("read"))?;
    let records = read.open_table(RECORDS).map_err(transaction("read"))?;
    let mut tasks = Vec::new();
    for row in records.iter().map_err(transaction("read"))? {
        let (key, value) = row.map_err(transaction("read"))?;
        let definition = definitions.get(key.value()).map_err(transaction("read"))?;
        match saved_task(value.value(), definition.as_ref().map(|d| d.value())) {
            Ok(task) => tasks.push(task),
            // One bad row does not void the rest; its task is found again by its labels.
            Err(error) => {
                tracing::error!(task = hex::encode(key.value()), error, "a task in the ledger is unreadable; left out");
            }
        }
    }
    let instance = id(&meta, INSTANCE)?.map(InstanceId::from_bytes);
    let boots = id(&meta, BOOT)?.zip(this_boot());
    let rebooted = boots.is_some_and(|(was, is)| was != is);
    let clock = meta.get(CLOCK).map_err(transaction("read"))?.map(|clock| clock.value().cast_signed());
    let same_boot = boots.is_some() && !rebooted;
    let clock_moved = clock.filter(|_| same_boot).map_or(0, |was| clock_began().saturating_sub(was));
    Ok((writes, Loaded { generation: Generation(generation), tasks, instance, rebooted, clock_moved, set_aside: None }))
}

/// The id of the host's boot, where the kernel says it.
fn this_boot() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    uuid::Uuid::parse_str(text.trim()).ok().map(uuid::Uuid::into_bytes)
}

/// See [`CLOCK`].
fn clock_began() -> i64 {
    let awake = clock_gettime(ClockId::Monotonic);
    let awake_millis = awake.tv_sec.saturating_mul(1000).saturating_add(awake.tv_nsec / 1_000_000);
    SystemClock.now().millis().saturating_sub(awake_millis)
}

/// An id of which each half has a name.
fn id(meta: &impl ReadableTable<&'static str, u64>, names: (&str, &str)) -> Result<Option<[u8; 16]>, FileError> {
    let half = |name| meta.get(name).map(|half| half.map(|half| half.value())).map_err(transaction("read"));
    let halves = half(names.0)?.zip(half(names.1)?);
    Ok(halves.map(|(high, low)| ((u128::from(high) << 64) | u128::from(low)).to_be_bytes()))
}

fn put_id(meta: &mut Table<'_, &'static str, u64>, names: (&str, &str), id: &[u8; 16]) -> Result<(), FileError> {
    let half = |at: usize| id[at..].first_chunk().map_or(0, |b| u64::from_be_bytes(*b));
    meta.insert(names.0, half(0)).map_err(transaction("write"))?;
    meta.insert(names.1, half(8)).map_err(transaction("write"))?;
    Ok(())
}

fn saved_task(record: &[u8], definition: Option<&[u8]>) -> Result<SavedTask, String> {
    let record: TaskRecord = serde_json::from_slice(record).map_err(|e| format!("its record: {e}"))?;
    let definition = definition.ok_or("it has no definition")?;
    let definition: Definition = serde_json::from_slice(definition).map_err(|e| format!("its definition: {e}"))?;
    let containers = match &definition {
        Definition::Spec(spec) => spec.containers.len(),
        Definition::Outline(outline) => outline.containers.len(),
    };
    if containers != record.containers.len() {
        return Err(format!("its definition has {containers} containers, its record {}", record.containers.len()));
    }
    Ok(SavedTask { definition, record })
}

fn key(task: &TaskId) -> &[u8] {
    task.as_bytes().as_slice()
}

impl LedgerFile {
    /// One transaction, durable when this returns; how often the ledger was written by then. A generation is that of
    /// `instance`.
    pub(super) fn write<'a>(
        &self,
        all: impl Iterator<Item = &'a Changes>,
        instance: Option<InstanceId>,
    ) -> Result<u64, FileError> {
        let write = self.db.begin_write().map_err(transaction("begin a transaction"))?;
        let writes = {
            let mut meta = write.open_table(META).map_err(transaction("write"))?;
            let mut definitions = write.open_table(DEFINITIONS).map_err(transaction("write"))?;
            let mut records = write.open_table(RECORDS).map_err(transaction("write"))?;
            for changes in all {
                if let Some(generation) = changes.generation {
                    meta.insert("generation", generation.0).map_err(transaction("write"))?;
                    if let Some(instance) = instance {
                        put_id(&mut meta, INSTANCE, instance.as_bytes())?;
                    }
                }
                for (task, definition) in &changes.definitions {
                    let value = serde_json::to_vec(definition).map_err(FileError::Encode)?;
                    definitions.insert(key(task), value.as_slice()).map_err(transaction("write"))?;
                }
                for record in &changes.records {
                    let value = serde_json::to_vec(record).map_err(FileError::Encode)?;
                    records.insert(key(&record.id), value.as_slice()).map_err(transaction("write"))?;
                }
                for task in &changes.forgotten {
                    definitions.remove(key(task)).map_err(transaction("write"))?;
                    records.remove(key(task)).map_err(transaction("write"))?;
                }
            }
            let writes = meta.get(WRITES).map_err(transaction("write"))?.map_or(0, |w| w.value()) + 1;
            meta.insert(WRITES, writes).map_err(transaction("write"))?;
            if let Some(boot) = this_boot() {
                put_id(&mut meta, BOOT, &boot)?;
            }
            meta.insert(CLOCK, clock_began().cast_unsigned()).map_err(transaction("write"))?;
            writes
        };
        crash::space_for(Place::LedgerWrite).map_err(no_space)?;
        write.commit().map_err(transaction("commit"))?;
        Ok(writes)
    }
}

/// Where a ledger file of `dir` is; for tests.
#[cfg(test)]
pub(super) fn path_in(dir: &Path) -> PathBuf {
    dir.join("ledger.redb")
}

/// Makes the file claim another format; for tests.
#[cfg(test)]
pub(super) fn write_format(path: &Path, format: u64) {
    let db = builder().create(path).expect("a ledger");
    let write = db.begin_write().expect("a transaction");
    write.open_table(META).expect("the table").insert("format", format).expect("written");
    write.commit().expect("committed");
}

/// Makes the file one that was last written when the clock was so many milliseconds ahead of what it is, unless it is in
/// use; for tests.
#[cfg(test)]
pub(super) fn write_clock(path: &Path, ahead: i64) -> Result<(), DatabaseError> {
    let db = builder().create(path)?;
    let write = db.begin_write().expect("a transaction");
    let clock = (clock_began() + ahead).cast_unsigned();
    write.open_table(META).expect("the table").insert(CLOCK, clock).expect("written");
    write.commit().expect("committed");
    Ok(())
}

/// Makes the file one that was last written in another boot, unless it is in use; for tests.
#[cfg(test)]
pub(super) fn write_boot(path: &Path, boot: [u8; 16]) -> Result<(), DatabaseError> {
    let db = builder().create(path)?;
    let write = db.begin_write().expect("a transaction");
    put_id(&mut write.open_table(META).expect("the table"), BOOT, &boot).expect("written");
    write.commit().expect("committed");
    Ok(())
}
