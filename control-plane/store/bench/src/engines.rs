//! The candidates, each set up as the store would.

use crate::Result;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use rusqlite::{Connection, OptionalExtension, params};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

#[derive(Clone, Copy)]
pub enum Kind {
    Redb,
    RedbQuickRepair,
    SqliteWal,
    SqliteRollback,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Redb, Self::RedbQuickRepair, Self::SqliteWal, Self::SqliteRollback];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Redb => "redb",
            Self::RedbQuickRepair => "redb-quick-repair",
            Self::SqliteWal => "sqlite-wal",
            Self::SqliteRollback => "sqlite-rollback",
        })
    }
}

impl FromStr for Kind {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.to_string() == text).ok_or_else(|| format!("no engine `{text}`"))
    }
}

pub trait Engine {
    /// Durable when it returns. Looks at every key before it writes it, as guards do.
    fn commit(&mut self, puts: &[(Vec<u8>, Vec<u8>)]) -> Result<()>;
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// How many records and bytes of values there are, every value read.
    fn scan(&self) -> Result<(u64, u64)>;
}

pub fn open(kind: Kind, file: &Path) -> Result<Box<dyn Engine>> {
    Ok(match kind {
        Kind::Redb => Box::new(Redb { db: Database::create(file)?, quick_repair: false, revision: 0 }),
        Kind::RedbQuickRepair => Box::new(Redb { db: Database::create(file)?, quick_repair: true, revision: 0 }),
        Kind::SqliteWal => Box::new(sqlite(file, "WAL")?),
        Kind::SqliteRollback => Box::new(sqlite(file, "TRUNCATE")?),
    })
}

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("kv");

struct Redb {
    db: Database,
    quick_repair: bool,
    revision: u64,
}

impl Engine for Redb {
    fn commit(&mut self, puts: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        self.revision += 1;
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(self.quick_repair);
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in puts {
                let _before = table.get(key.as_slice())?.map(|value| value.value().len());
                let mut bytes = self.revision.to_be_bytes().to_vec();
                bytes.extend(value);
                table.insert(key.as_slice(), bytes.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let transaction = self.db.begin_read()?;
        let table = match transaction.open_table(TABLE) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(table.get(key)?.map(|value| value.value()[8..].to_vec()))
    }

    fn scan(&self) -> Result<(u64, u64)> {
        let (mut records, mut bytes) = (0, 0);
        for entry in self.db.begin_read()?.open_table(TABLE)?.iter()? {
            let value = entry?.1.value()[8..].to_vec();
            records += 1;
            bytes += value.len() as u64;
        }
        Ok((records, bytes))
    }
}

struct Sqlite {
    db: Connection,
    revision: i64,
}

fn sqlite(file: &Path, journal: &str) -> Result<Sqlite> {
    let db = Connection::open(file)?;
    db.pragma_update(None, "journal_mode", journal)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.pragma_update(None, "cache_size", -65536)?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS kv (key BLOB PRIMARY KEY NOT NULL, modified INTEGER NOT NULL, value BLOB NOT NULL)",
    )?;
    Ok(Sqlite { db, revision: 0 })
}

impl Engine for Sqlite {
    fn commit(&mut self, puts: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        self.revision += 1;
        let transaction = self.db.transaction()?;
        {
            let mut look = transaction.prepare_cached("SELECT modified FROM kv WHERE key = ?1")?;
            let mut write = transaction.prepare_cached(
                "INSERT INTO kv VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET modified = ?2, value = ?3",
            )?;
            for (key, value) in puts {
                let _before: Option<i64> = look.query_row([key], |row| row.get(0)).optional()?;
                write.execute(params![key, self.revision, value])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self
            .db
            .prepare_cached("SELECT value FROM kv WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?)
    }

    fn scan(&self) -> Result<(u64, u64)> {
        let (mut records, mut bytes) = (0, 0);
        let mut statement = self.db.prepare("SELECT key, modified, value FROM kv ORDER BY key")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let value: Vec<u8> = row.get(2)?;
            records += 1;
            bytes += value.len() as u64;
        }
        Ok((records, bytes))
    }
}
