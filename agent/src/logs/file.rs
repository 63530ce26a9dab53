//! The engine's files of one container's output, as one sequence of lines: `NAME` is the newest, `NAME.1` the one
//! before.
//!
//! A place in it is a [`Cursor`]: a file, known by its first line, and an offset. It says the same after the file was
//! renamed, and after this process was started anew.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Bytes of a first line that count.
const HEAD: usize = 4096;
/// Files that are looked for; the engine has as many as it was told.
const MOST_FILES: usize = 100;
/// Bytes of a cursor.
const CURSOR: usize = 16;

/// A place in a container's output, behind a whole line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    head: [u8; 8],
    offset: u64,
}

impl Cursor {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        [self.head, self.offset.to_le_bytes()].concat()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; CURSOR] = bytes.try_into().ok()?;
        let (head, offset) = bytes.split_first_chunk::<8>()?;
        Some(Self { head: *head, offset: u64::from_le_bytes(offset.try_into().ok()?) })
    }
}

/// A file that is read, and where in it.
#[derive(Debug)]
pub(super) struct Reader {
    newest: PathBuf,
    file: File,
    identity: (u64, u64),
    head: Option<[u8; 8]>,
    offset: u64,
}

/// What follows where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// More of the same file, or the beginning of the next one.
    More,
    /// The next file, and files between were overwritten, or this one was.
    MoreAfterLoss,
    /// Nothing yet.
    End,
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The files there are, the newest first, with what they are. Looked at until two looks agree, as they are renamed
/// one after the other.
fn files(newest: &Path) -> io::Result<Vec<(PathBuf, (u64, u64))>> {
    let look = || -> io::Result<Vec<(PathBuf, (u64, u64))>> {
        let mut found = Vec::new();
        let mut hole = false;
        for n in 0..MOST_FILES {
            let mut path = newest.as_os_str().to_owned();
            if n > 0 {
                path.push(format!(".{n}"));
            }
            match fs::metadata(&path) {
                Ok(metadata) => {
                    hole = false;
                    found.push((path.into(), identity(&metadata)));
                }
                // They are renamed from the oldest to the newest, so there is one hole at a time. It may be the newest.
                Err(error) if error.kind() == io::ErrorKind::NotFound && hole => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => hole = n > 0,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    };
    let mut before = look()?;
    for _ in 0..10 {
        let now = look()?;
        let same = now.iter().map(|(_, id)| id).eq(before.iter().map(|(_, id)| id));
        if same {
            return Ok(now);
        }
        before = now;
    }
    Err(io::Error::other("the files are renamed faster than they can be looked at"))
}

fn head_of(file: &File) -> io::Result<Option<[u8; 8]>> {
    let mut bytes = [0; HEAD];
    let mut length = 0;
    while length < HEAD {
        match file.read_at(&mut bytes[length..], length as u64)? {
            0 => break,
            n => length += n,
        }
    }
    let line = match bytes[..length].iter().position(|b| *b == b'\n') {
        Some(end) => &bytes[..end],
        None if length == HEAD => &bytes[..],
        None => return Ok(None),
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, line);
    Ok(digest.as_ref().first_chunk::<8>().copied())
}

impl Reader {
    fn open(newest: &Path, path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let identity = identity(&file.metadata()?);
        let head = head_of(&file)?;
        Ok(Self { newest: newest.to_owned(), file, identity, head, offset: 0 })
    }

    /// A reader at `cursor`, or at the oldest line that there is when the cursor is empty or its file is gone; the
    /// latter is a loss, and said. `None` when there is no file.
    pub(super) fn seek(newest: &Path, cursor: &[u8]) -> io::Result<Option<(Self, bool)>> {
        for (path, _) in files(newest)?.iter().rev() {
            let mut reader = match Self::open(newest, path) {
                Ok(reader) => reader,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if cursor.is_empty() {
                return Ok(Some((reader, false)));
            }
            let wanted = Cursor::parse(cursor);
            let length = reader.file.metadata()?.len();
            if let Some(wanted) = wanted.filter(|w| reader.head == Some(w.head) && w.offset <= length) {
                reader.offset = wanted.offset;
                return Ok(Some((reader, false)));
            }
        }
        if cursor.is_empty() {
            return Ok(None);
        }
        Ok(Self::seek(newest, &[])?.map(|(reader, _)| (reader, true)))
    }

    /// Where it stands; `None` before the first line of a file.
    pub(super) fn cursor(&mut self) -> io::Result<Option<Cursor>> {
        if self.head.is_none() {
            self.head = head_of(&self.file)?;
        }
        Ok(self.head.filter(|_| self.offset > 0).map(|head| Cursor { head, offset: self.offset }))
    }

    /// Reads what comes next into `buffer`, without going on.
    pub(super) fn peek<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let length = self.file.read_at(buffer, self.offset)?;
        Ok(&buffer[..length])
    }

    /// Goes on by so many bytes.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.offset += bytes as u64;
    }

    /// Bytes of this file.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether there is something that was not read, by a look at the files alone.
    pub(super) fn has_news(&self) -> io::Result<bool> {
        self.has_news_behind(self.offset)
    }

    /// Whether there is more than the first `end` bytes of this file.
    pub(super) fn has_news_behind(&self, end: u64) -> io::Result<bool> {
        if self.length()? != end {
            return Ok(true);
        }
        match fs::metadata(&self.newest) {
            Ok(newest) => Ok(identity(&newest) != self.identity),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Goes to the next file, when this one has nothing more and is the newest no longer. `whole` says how many bytes
    /// were there and held no whole line when it was read last.
    pub(super) fn advance(&mut self, rest: usize) -> io::Result<Next> {
        let length = self.file.metadata()?.len();
        if length < self.offset {
            // Somebody emptied it.
            (self.offset, self.head) = (0, None);
            return Ok(Next::MoreAfterLoss);
        }
        let all = files(&self.newest)?;
        let is_newest = match all.first() {
            Some((path, id)) => *path == self.newest && *id == self.identity,
            None => true,
        };
        // What was written between the read and the renaming.
        if is_newest || self.file.metadata()?.len() > self.offset + rest as u64 {
            return Ok(if is_newest { Next::End } else { Next::More });
        }
        let own = all.iter().position(|(_, id)| *id == self.identity);
        let (next, lost) = match own {
            // The next one is not made yet.
            Some(0) => return Ok(Next::End),
            Some(at) => (&all[at - 1], false),
            None => (all.last().expect("there is one that is the newest"), true),
        };
        let reader = Self::open(&self.newest, &next.0)?;
        if reader.identity != next.1 {
            return Ok(Next::More);
        }
        *self = reader;
        Ok(if lost { Next::MoreAfterLoss } else { Next::More })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a directory"))
        }

        fn path(&self, n: usize) -> PathBuf {
            self.0.path().join(if n == 0 { "log".to_owned() } else { format!("log.{n}") })
        }

        fn write(&self, n: usize, text: &str) {
            fs::write(self.path(n), text).expect("written");
        }

        fn rename(&self, from: usize, to: usize) {
            fs::rename(self.path(from), self.path(to)).expect("renamed");
        }

        fn seek(&self, cursor: &[u8]) -> (Reader, bool) {
            Reader::seek(&self.path(0), cursor).expect("readable").expect("there is a file")
        }
    }

    /// What a reader reads until there is nothing more, and what was lost on the way.
    fn rest(reader: &mut Reader) -> (String, usize) {
        let (mut text, mut lost) = (String::new(), 0);
        loop {
            let mut buffer = [0; 1000];
            let bytes = reader.peek(&mut buffer).expect("readable").to_vec();
            text.push_str(std::str::from_utf8(&bytes).expect("text"));
            reader.skip(bytes.len());
            match reader.advance(0).expect("readable") {
                Next::More => {}
                Next::MoreAfterLoss => lost += 1,
                Next::End => return (text, lost),
            }
        }
    }

    #[test]
    fn a_file_that_is_being_renamed_hides_no_other() {
        let files = Files::new();
        for n in 0..4 {
            files.write(n, &format!("{n}\n"));
        }
        assert_eq!(rest(&mut files.seek(&[]).0), ("3\n2\n1\n0\n".to_owned(), 0));
        // As Docker does it: the oldest is overwritten, then each of the others becomes the one before it.
        files.rename(2, 3);
        assert_eq!(rest(&mut files.seek(&[]).0), ("2\n1\n0\n".to_owned(), 0));
        files.rename(1, 2);
        assert_eq!(rest(&mut files.seek(&[]).0), ("2\n1\n0\n".to_owned(), 0));
        files.rename(0, 1);
        assert_eq!(rest(&mut files.seek(&[]).0), ("2\n1\n0\n".to_owned(), 0));
    }
}
