//! The file: whose it is, whether it is whole, which format it has. Nothing here changes a file that it did
//! not recognise.

use crate::Revision;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `LSHR`, in SQLite's header: this file is a Longshore store and nobody else's database.
const APPLICATION: i32 = 0x4c53_4852;

/// The format, in SQLite's `user_version`. A higher one was written by a newer control plane.
const FORMAT: i32 = 1;

const SCHEMA: &str = "
    CREATE TABLE entries (key BLOB PRIMARY KEY NOT NULL, modified INTEGER NOT NULL, value BLOB NOT NULL);
    CREATE TABLE store (only INTEGER PRIMARY KEY CHECK (only = 0), revision INTEGER NOT NULL);
    INSERT INTO store VALUES (0, 0);
";

/// Memory for pages, in KiB. Records live in the control plane's own memory; this is for the upper levels of
/// the tree and what one commit touches.
const CACHE_KIB: i64 = 8 * 1024;

/// Why the store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store `{}` is in use by {holder}; stop that first (lock: `{}`)", file.display(), lock.display())]
    InUse {
        /// The store's file.
        file: PathBuf,
        /// The lock's file.
        lock: PathBuf,
        /// `process 123`, or `another process` when it left no number.
        holder: String,
    },
    /// A newer version wrote it.
    #[error(
        "the store `{}` has format {found}, and this version reads formats up to {known}: it was written by a newer \
         version, which is needed to open it",
        file.display()
    )]
    NewerFormat {
        /// The store's file.
        file: PathBuf,
        /// Its format.
        found: i32,
        /// The newest format known here.
        known: i32,
    },
    /// It is a file, but no store.
    #[error("`{}` is not a Longshore store ({why}); it was left as it is", file.display())]
    NotAStore {
        /// The file.
        file: PathBuf,
        /// How that was seen.
        why: String,
    },
    /// It is a store and not whole.
    #[error(
        "the store `{}` is damaged ({why}); it was left as it is: keep a copy of it and of its -wal file, then put a \
         backup in its place",
        file.display()
    )]
    Damaged {
        /// The store's file.
        file: PathBuf,
        /// How that was seen.
        why: String,
    },
    /// The system refused something.
    #[error("could not {doing} `{}`", file.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// SQLite refused something.
    #[error("could not {doing} the store `{}`", file.display())]
    Sqlite {
        /// What was tried.
        doing: &'static str,
        /// The store's file.
        file: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// No thread could be started for it.
    #[error("could not start the store's thread")]
    Thread {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// An open store, for its one writer. Field order matters: the lock goes last.
pub(super) struct StoreFile {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) revision: Revision,
    _lock: File,
}

impl StoreFile {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|source| OpenError::Io {
            doing: "create the directory",
            file: directory.to_owned(),
            source,
        })?;
        let lock = lock(path)?;
        if !exists(path)? {
            create(path, directory)?;
        }
        let connection = connect(path)?;
        check(path, &connection)?;
        let revision = revision(&connection).map_err(|error| sort(path, "read the revision of", error))?;
        Ok(Self { path: path.to_owned(), connection, revision, _lock: lock })
    }

    /// Closes the connection, and frees the lock after it.
    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.connection.close().map_err(|(_, error)| error)
    }
}

/// `path` with something after its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A file of its own rather than a lock on the store: SQLite's locks on the store go when *any* descriptor
/// of it is closed in this process. The system frees the lock however the process ends.
fn lock(path: &Path) -> Result<File, OpenError> {
    let lock = beside(path, ".lock");
    let failed = |doing| {
        let file = lock.clone();
        move |source| OpenError::Io { doing, file, source }
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock)
        .map_err(failed("open the lock file"))?;
    match file.try_lock() {
        Ok(()) => {
            // Only for people: the lock is what counts, not the number.
            file.set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| writeln!(file, "{}", std::process::id()))
                .map_err(failed("write the lock file"))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let holder = match file.read_to_string(&mut text) {
                Ok(_) if text.trim().parse::<u32>().is_ok() => format!("process {}", text.trim()),
                Ok(_) | Err(_) => "another process".to_owned(),
            };
            Err(OpenError::InUse { file: path.to_owned(), lock, holder })
        }
        Err(TryLockError::Error(source)) => Err(failed("lock")(source)),
    }
}

/// Whether there is a store to open; its leftovers without itself are an error, since a new store in their
/// midst would hide that one was lost.
fn exists(path: &Path) -> Result<bool, OpenError> {
    let stat = |file: &Path| match std::fs::metadata(file) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenError::Io { doing: "look at", file: file.to_owned(), source }),
    };
    match stat(path)? {
        // Stores get their name when they are complete, so this one was cut off.
        Some(metadata) if metadata.len() == 0 => {
            Err(OpenError::Damaged { file: path.to_owned(), why: "it is empty".to_owned() })
        }
        Some(metadata) if !metadata.is_file() => {
            Err(OpenError::NotAStore { file: path.to_owned(), why: "it is not a regular file".to_owned() })
        }
        Some(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                let mode = format!("{mode:o}");
                tracing::warn!(file = %path.display(), mode, "others may read the store: mode 600 is enough");
            }
            Ok(true)
        }
        None if stat(&beside(path, "-wal"))?.is_some() => Err(OpenError::Damaged {
            file: path.to_owned(),
            why: "it is missing, and its -wal file, which may hold the newest commits, is there".to_owned(),
        }),
        None => Ok(false),
    }
}

/// Makes an empty store. It is complete before it gets its name, so that a crash here leaves either nothing
/// or a store.
fn create(path: &Path, directory: &Path) -> Result<(), OpenError> {
    let new = beside(path, ".new");
    let failed = |doing, file: &Path| {
        let file = file.to_owned();
        move |source| OpenError::Io { doing, file, source }
    };
    let sqlite = |doing| {
        let file = new.clone();
        move |source| OpenError::Sqlite { doing, file, source }
    };
    match std::fs::remove_file(&new) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed("remove", &new)(source)),
    }
    // SQLite gives its other files the mode of this one.
    let made =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed("create", &new))?;
    let connection = Connection::open_with_flags(&new, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sqlite("create"))?;
    let fill = || {
        connection.pragma_update(None, "application_id", APPLICATION)?;
        connection.pragma_update(None, "user_version", FORMAT)?;
        connection.execute_batch(&format!("BEGIN; {SCHEMA} COMMIT;"))
    };
    fill().map_err(sqlite("fill"))?;
    connection.close().map_err(|(_, source)| sqlite("close")(source))?;
    made.sync_all().map_err(failed("write out", &new))?;
    std::fs::rename(&new, path).map_err(failed("name", path))?;
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(failed("write out the directory", directory))?;
    tracing::info!(file = %path.display(), "created an empty store");
    Ok(())
}

/// The writing connection. WAL with `synchronous = FULL`: a commit is on the disk when it returns, with one
/// write and one fsync, and readers are not held up.
fn connect(path: &Path) -> Result<Connection, OpenError> {
    let sort = |doing| move |error| sort(path, doing, error);
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(sort("open"))?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(sort("set up"))?;
    // Before the first change to the file: whose it is.
    identify(path, &connection)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(sort("set up"))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let source = io::Error::other(format!("the file system allows journal mode {mode}, and WAL is needed"));
        return Err(OpenError::Io { doing: "set up", file: path.to_owned(), source });
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(sort("set up"))?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(sort("set up"))?;
    Ok(connection)
}

fn identify(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let number = |name: &'static str| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(|error| sort(path, "read", error))
    };
    if number("application_id")? != APPLICATION {
        let why = "a database of another program".to_owned();
        return Err(OpenError::NotAStore { file: path.to_owned(), why });
    }
    match number("user_version")? {
        FORMAT => Ok(()),
        found if found > FORMAT => Err(OpenError::NewerFormat { file: path.to_owned(), found, known: FORMAT }),
        found => {
            Err(OpenError::Damaged { file: path.to_owned(), why: format!("its format is {found}, which never was") })
        }
    }
}

/// Reads every page once: what is broken is found now and not in the middle of the night. It costs about as
/// much as loading the records, and warms the cache for that.
fn check(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| sort(path, "check", error))?;
    if verdict == "ok" { Ok(()) } else { Err(OpenError::Damaged { file: path.to_owned(), why: verdict }) }
}

/// The revision of what `connection` sees.
pub(super) fn revision(connection: &Connection) -> rusqlite::Result<Revision> {
    let revision: i64 = connection.query_row("SELECT revision FROM store", [], |row| row.get(0))?;
    Ok(from_column(revision))
}

/// Revisions are stored as SQLite's signed integers; at a million commits a second they last 290,000 years.
pub(super) fn to_column(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(super) fn from_column(revision: i64) -> Revision {
    Revision(u64::try_from(revision).unwrap_or(0))
}

/// What SQLite's error says about the file.
fn sort(path: &Path, doing: &'static str, error: rusqlite::Error) -> OpenError {
    let file = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotAStore { file, why: error.to_string() },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { file, why: error.to_string() },
        // A table that is not there, or not as it was made.
        Some(ErrorCode::Unknown) => OpenError::Damaged { file, why: error.to_string() },
        _ if matches!(error, rusqlite::Error::QueryReturnedNoRows) => {
            OpenError::Damaged { file, why: "it has no revision".to_owned() }
        }
        _ => OpenError::Sqlite { doing, file, source: error },
    }
}
