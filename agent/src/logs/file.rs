//! The engine's files of one container's output, as one sequence of lines: `NAME` is the newest, `NAME.1` the one
//! before.
//!
//! A place in it is a [`Cursor`]: a file, known by its first line and its inode, and an offset. It says the same after
//! the file was renamed, and after this process was started anew.

use aws_lc_rs::digest;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Bytes of a first line that count: more than any line has. The engine splits lines at 16 KiB, of which each byte may
/// become six, and the time that sets a line apart is at its end.
const HEAD: usize = 128 << 10;
/// The same in cursors without an inode.
const SHORT_HEAD: usize = 4096;
/// Files that are looked for; the engine has as many as it was told.
const MOST_FILES: usize = 100;

/// A place in a container's output, behind a whole line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    head: [u8; 8],
    offset: u64,
    /// Absent in those of earlier versions.
    inode: Option<u64>,
}

impl Cursor {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = [self.head, self.offset.to_le_bytes()].concat();
        bytes.extend(self.inode.iter().flat_map(|inode| inode.to_le_bytes()));
        bytes
    }

    /// Bytes of one with an inode.
    pub(super) const BYTES: usize = 24;

    /// The same file at another place.
    pub(super) fn moved(self, bytes: usize) -> Self {
        Self { offset: self.offset + bytes as u64, ..self }
    }

    /// Whether this place is at `other` or behind it; `None` when they are not of one file.
    pub(super) fn reaches(self, other: Self) -> Option<bool> {
        ((self.head, self.inode) == (other.head, other.inode)).then_some(self.offset >= other.offset)
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<8>()?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let inode = match rest {
            [] => None,
            inode => Some(u64::from_le_bytes(inode.try_into().ok()?)),
        };
        Some(Self { head: *head, offset: u64::from_le_bytes(*offset), inode })
    }

    /// Whether it may be a place in this file.
    fn fits(&self, reader: &Reader) -> io::Result<bool> {
        if self.offset > reader.length()? {
            return Ok(false);
        }
        let head = if self.inode.is_some() { HEAD } else { SHORT_HEAD };
        Ok(head_of(&reader.file, head)? == Some(self.head))
    }
}

/// A file that is read, and where in it.
#[derive(Debug)]
pub(super) struct Reader {
    newest: PathBuf,
    file: File,
    identity: Identity,
    head: Option<[u8; 8]>,
    offset: u64,
    /// The file after this one, since it was seen: it stays the next one whatever becomes of the two.
    next: Option<(File, Identity)>,
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

/// What a file is, however it is named.
type Identity = (u64, u64);

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// When a file was written last.
fn written(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

/// A file at the time of a look.
#[derive(Debug)]
struct Seen {
    path: PathBuf,
    identity: Identity,
    written: (i64, i64),
}

impl Seen {
    /// Opens it; `None` when it is there no longer, or another.
    fn open(&self) -> io::Result<Option<File>> {
        match File::open(&self.path) {
            Ok(file) => Ok((identity(&file.metadata()?) == self.identity).then_some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The files there are, the newest first. Looked at until two looks agree, as they are renamed one after the other.
fn files(newest: &Path) -> io::Result<Vec<Seen>> {
    let look = || -> io::Result<Vec<Seen>> {
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
                    let (identity, written) = (identity(&metadata), written(&metadata));
                    found.push(Seen { path: path.into(), identity, written });
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
        let same = now.iter().map(|seen| seen.identity).eq(before.iter().map(|seen| seen.identity));
        if same {
            return Ok(now);
        }
        before = now;
    }
    Err(too_fast())
}

/// The same, opened: none is passed over because it was renamed meanwhile.
fn open(newest: &Path) -> io::Result<Vec<(File, Identity)>> {
    for _ in 0..10 {
        let seen = files(newest)?;
        let opened = seen.iter().map(|seen| Ok(seen.open()?.map(|file| (file, seen.identity))));
        if let Some(opened) = opened.collect::<io::Result<Option<Vec<_>>>>()? {
            return Ok(opened);
        }
    }
    Err(too_fast())
}

fn too_fast() -> io::Error {
    io::Error::other("the files are renamed faster than they can be looked at")
}

/// A digest of the first line of a file, of `most` bytes at most; `None` while there is none.
fn head_of(file: &File, most: usize) -> io::Result<Option<[u8; 8]>> {
    let mut digest = digest::Context::new(&digest::SHA256);
    let mut bytes = [0; SHORT_HEAD];
    let mut length = 0;
    while length < most {
        let room = bytes.len().min(most - length);
        let read = match file.read_at(&mut bytes[..room], length as u64)? {
            0 => return Ok(None),
            read => &bytes[..read],
        };
        length += read.len();
        let end = read.iter().position(|b| *b == b'\n');
        digest.update(&read[..end.unwrap_or(read.len())]);
        if end.is_some() {
            break;
        }
    }
    Ok(digest.finish().as_ref().first_chunk().copied())
}

impl Reader {
    fn new(newest: &Path, file: File, identity: Identity) -> Self {
        Self { newest: newest.to_owned(), file, identity, head: None, offset: 0, next: None }
    }

    /// A reader at `cursor`, or at the oldest line that there is when the cursor is empty or its file is gone; the
    /// latter is a loss, and said. `None` when there is no file.
    pub(super) fn seek(newest: &Path, cursor: &[u8]) -> io::Result<Option<(Self, bool)>> {
        let wanted = Cursor::parse(cursor);
        let mut found: Option<Self> = None;
        for (file, identity) in open(newest)?.into_iter().rev() {
            let reader = Self::new(newest, file, identity);
            if cursor.is_empty() {
                found = Some(reader);
                break;
            }
            let Some(wanted) = wanted else { break };
            if wanted.fits(&reader)? {
                // Files may begin alike: then it is the one that it was, or the newest.
                let sure = wanted.inode == Some(identity.1);
                found = Some(Self { offset: wanted.offset, ..reader });
                if sure {
                    break;
                }
            }
        }
        match found {
            Some(mut reader) => {
                reader.pin()?;
                Ok(Some((reader, false)))
            }
            None if cursor.is_empty() => Ok(None),
            None => Ok(Self::seek(newest, &[])?.map(|(reader, _)| (reader, true))),
        }
    }

    /// Where it stands; `None` before the first line of a file.
    pub(super) fn cursor(&mut self) -> io::Result<Option<Cursor>> {
        Ok(self.place()?.filter(|cursor| cursor.offset > 0))
    }

    /// Where it stands; `None` in a file that has no line yet.
    pub(super) fn place(&mut self) -> io::Result<Option<Cursor>> {
        if self.head.is_none() {
            self.head = head_of(&self.file, HEAD)?;
        }
        let (offset, inode) = (self.offset, Some(self.identity.1));
        Ok(self.head.map(|head| Cursor { head, offset, inode }))
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

    /// Whether there is something in this file that was not read.
    pub(super) fn is_longer(&self) -> io::Result<bool> {
        Ok(self.length()? != self.offset)
    }

    /// Whether there is more than the first `end` bytes of this file.
    pub(super) fn has_news_behind(&mut self, end: u64) -> io::Result<bool> {
        Ok(self.is_left()? || self.length()? != end)
    }

    /// Whether this file is the newest no longer: then nothing more is written to it.
    pub(super) fn is_left(&mut self) -> io::Result<bool> {
        if self.next.is_some() {
            return Ok(true);
        }
        match fs::metadata(&self.newest) {
            Ok(newest) if identity(&newest) == self.identity => Ok(false),
            Ok(_) => self.pin().map(|()| true),
            // Between the renaming of the newest and the making of the next, there is no newest.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens the next file, if there is one and this one is still among them.
    fn pin(&mut self) -> io::Result<()> {
        if self.next.is_some() {
            return Ok(());
        }
        let all = files(&self.newest)?;
        let own = all.iter().position(|seen| seen.identity == self.identity);
        if let Some(next) = own.and_then(|own| all.get(own.checked_sub(1)?)) {
            self.next = next.open()?.map(|file| (file, next.identity));
        }
        Ok(())
    }

    /// Goes to the next file, when this one has nothing more and is the newest no longer. `rest` says how many bytes
    /// were there and held no whole line when it was read last.
    pub(super) fn advance(&mut self, rest: usize) -> io::Result<Next> {
        if self.length()? < self.offset {
            // Somebody emptied it.
            (self.offset, self.head) = (0, None);
            return Ok(Next::MoreAfterLoss);
        }
        self.pin()?;
        let lost = if self.next.is_none() {
            let all = files(&self.newest)?;
            match all.iter().position(|seen| seen.identity == self.identity) {
                // The newest, or the one that will be made next is not there yet.
                Some(0) => return Ok(Next::End),
                // It was not there when it was looked for.
                Some(_) => return Ok(Next::More),
                None if all.is_empty() => return Ok(Next::End),
                None => {}
            }
            // This file was overwritten, and maybe others after it. What was written last before it was, is not next.
            let written = written(&self.file.metadata()?);
            let after = all.iter().rev().find(|seen| seen.written >= written);
            let next = after.or(all.last()).expect("there are some");
            let Some(file) = next.open()? else { return Ok(Next::More) };
            self.next = Some((file, next.identity));
            true
        } else {
            false
        };
        // What was written between the read and the renaming.
        if self.length()? > self.offset + rest as u64 {
            // One after a loss is looked for again.
            self.next.take_if(|_| lost);
            return Ok(Next::More);
        }
        let (file, identity) = self.next.take().expect("there is one by now");
        *self = Self::new(&self.newest, file, identity);
        // What follows it may be overwritten before the next look.
        let pinned = self.pin();
        if lost { Ok(Next::MoreAfterLoss) } else { pinned.map(|()| Next::More) }
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
    fn a_cursor_finds_its_file_among_those_that_begin_alike() {
        let files = Files::new();
        let long = "x".repeat(100_000);
        (0..3).for_each(|n| files.write(n, &format!("{long}{}\n{n}\n", n % 2)));
        for n in 0..3 {
            let mut reader = Reader::new(&files.path(0), File::open(files.path(n)).expect("opens"), (0, 0));
            reader.identity = identity(&reader.file.metadata().expect("known"));
            assert_eq!(reader.cursor().expect("readable"), None, "there is nothing before it");
            reader.skip(long.len() + 2);
            let cursor = reader.cursor().expect("readable").expect("a line is before it");
            let bytes = cursor.to_bytes();
            assert_eq!((bytes.len(), Cursor::parse(&bytes)), (24, Some(cursor)));
            let (found, lost) = files.seek(&bytes);
            assert_eq!((found.identity, found.offset, lost), (reader.identity, reader.offset, false), "{n}");
            // Restored from a backup, files have other inodes.
            let other = Cursor { inode: Some(0), ..cursor }.to_bytes();
            assert_eq!(files.seek(&other).0.offset, reader.offset);
            assert_eq!(files.seek(&other).0.identity == reader.identity, n < 2, "the newest that begins so");
            // Those of earlier versions know less of the line.
            let head = head_of(&reader.file, SHORT_HEAD).expect("readable").expect("long enough");
            let short = Cursor { head, inode: None, ..cursor }.to_bytes();
            assert_eq!((short.len(), files.seek(&short).0.offset), (16, reader.offset));
            assert!(files.seek(&[1, 2, 3]).1 && files.seek(&[7; 24]).1 && files.seek(&[7; 32]).1);
        }
    }

    /// As Docker does: the oldest of three is overwritten.
    fn rotate(files: &Files, text: &str) {
        for n in [1, 0] {
            if files.path(n).exists() {
                files.rename(n, n + 1);
            }
        }
        files.write(0, text);
    }

    #[test]
    fn what_was_overwritten_after_it_was_read_is_not_missing() {
        let files = Files::new();
        files.write(0, "0\n");
        rotate(&files, "1\n");
        rotate(&files, "2\n");
        let (mut reader, _) = files.seek(&[]);
        reader.skip(2);
        // Its file goes while nobody looks.
        rotate(&files, "3\n");
        assert_eq!(reader.advance(0).expect("readable"), Next::More);
        assert_eq!(rest(&mut reader), ("1\n2\n3\n".to_owned(), 0));

        // It is the newest until the next one is seen, which is not lost any more when both are overwritten.
        assert!(!reader.is_left().expect("readable"));
        rotate(&files, "4\n");
        assert!(reader.has_news_behind(2).expect("readable"));
        (5..8).for_each(|n| rotate(&files, &format!("{n}\n")));
        let mut buffer = [0; 10];
        assert_eq!(reader.advance(0).expect("readable"), Next::More);
        assert_eq!(reader.peek(&mut buffer).expect("readable"), b"4\n");
        // What was overwritten before anybody saw it is.
        (8..11).for_each(|n| rotate(&files, &format!("{n}\n")));
        assert_eq!(rest(&mut reader), ("4\n8\n9\n10\n".to_owned(), 1));
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
