//! The format of a segment: records, one for each time that something was added.
//!
//! ```text
//! record = length of the body (u32), CRC-32 of the body (u32), body
//! body   = time of arrival (i64, ms), length of the cursor (u8), cursor, events
//! event  = time (i64, ms), length of the message (u32), message (UTF-8)
//! ```
//!
//! All numbers are little-endian. What follows the last whole record was cut by a crash and does not count.

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it happened, in milliseconds since the epoch; not negative.
    pub at_ms: i64,
    /// What was said, not empty.
    pub message: String,
}

/// An event as it lies in a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) at_ms: i64,
    pub(crate) ingested_ms: i64,
    pub(crate) message: &'a str,
}

/// What a segment's bytes hold, as far as they are whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) events: u64,
    /// Bytes of whole records.
    pub(crate) bytes: u64,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    pub(crate) first_ingested_ms: i64,
    pub(crate) ingested_ms: i64,
    /// The cursor of the last record.
    pub(crate) cursor: Vec<u8>,
}

impl Summary {
    /// Counts an event that came at `ingested_ms`.
    pub(crate) fn add(&mut self, at_ms: i64, ingested_ms: i64) {
        if self.events == 0 {
            (self.min_ms, self.max_ms) = (at_ms, at_ms);
            self.first_ingested_ms = ingested_ms;
        }
        self.events += 1;
        self.min_ms = self.min_ms.min(at_ms);
        self.max_ms = self.max_ms.max(at_ms);
        self.ingested_ms = ingested_ms;
    }
}

/// A record of `events`.
pub(crate) fn encode(ingested_ms: i64, cursor: &[u8], events: &[Event]) -> Vec<u8> {
    let text: usize = events.iter().map(|event| event.message.len() + 12).sum();
    let mut record = Vec::with_capacity(text + cursor.len() + 17);
    record.extend_from_slice(&[0; 8]);
    record.extend_from_slice(&ingested_ms.to_le_bytes());
    record.push(u8::try_from(cursor.len()).expect("cursors are checked before"));
    record.extend_from_slice(cursor);
    for event in events {
        record.extend_from_slice(&event.at_ms.to_le_bytes());
        let length = u32::try_from(event.message.len()).expect("messages are checked before");
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(event.message.as_bytes());
    }
    let body = u32::try_from(record.len() - 8).expect("a record is a part of a message of the protocol");
    record[..4].copy_from_slice(&body.to_le_bytes());
    let sum = crc32(&record[8..]);
    record[4..8].copy_from_slice(&sum.to_le_bytes());
    record
}

/// Reads `bytes` up to the first record that is not whole, and shows each event.
pub(crate) fn scan<'a>(bytes: &'a [u8], mut each: impl FnMut(Stored<'a>)) -> Summary {
    let mut summary = Summary::default();
    let mut rest = bytes;
    while let Some((body, after)) = next_body(rest) {
        if read_body(body, &mut summary, &mut each).is_none() {
            break;
        }
        rest = after;
        summary.bytes = (bytes.len() - rest.len()) as u64;
    }
    summary
}

fn next_body(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (body, rest) = rest.split_at_checked(length)?;
    (crc32(body) == u32::from_le_bytes(*sum)).then_some((body, rest))
}

fn read_body<'a>(body: &'a [u8], summary: &mut Summary, each: &mut impl FnMut(Stored<'a>)) -> Option<()> {
    let (ingested, rest) = body.split_first_chunk::<8>()?;
    let ingested_ms = i64::from_le_bytes(*ingested);
    let (cursor_len, rest) = rest.split_first()?;
    let (cursor, mut rest) = rest.split_at_checked(usize::from(*cursor_len))?;
    while !rest.is_empty() {
        let (at, after) = rest.split_first_chunk::<8>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let (message, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let stored =
            Stored { at_ms: i64::from_le_bytes(*at), ingested_ms, message: std::str::from_utf8(message).ok()? };
        summary.add(stored.at_ms, ingested_ms);
        each(stored);
        rest = after;
    }
    summary.cursor = cursor.to_vec();
    Some(())
}

/// CRC-32 as in Ethernet and zip, eight bytes of table look-ups at a time are not needed: a batch is a few kilobytes.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut value = i as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[i] = value;
            i += 1;
        }
        table
    };
    let step = |crc: u32, byte: &u8| TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize] ^ (crc >> 8);
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(words: &[&str]) -> Vec<Event> {
        let event = |(i, word): (usize, &&str)| Event { at_ms: 1000 + i as i64, message: (*word).to_owned() };
        words.iter().enumerate().map(event).collect()
    }

    fn read(bytes: &[u8]) -> (Summary, Vec<String>) {
        let mut found = Vec::new();
        let summary = scan(bytes, |event| found.push(event.message.to_owned()));
        (summary, found)
    }

    #[test]
    fn the_sum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn what_was_written_is_read_and_what_was_cut_does_not_count() {
        let first = encode(5, b"c1", &events(&["a", "ß"]));
        let whole = [first.clone(), encode(6, b"c2", &events(&["c"]))].concat();
        let (summary, found) = read(&whole);
        assert_eq!(found, ["a", "ß", "c"]);
        assert_eq!(
            (summary.cursor.as_slice(), summary.bytes, summary.events),
            (b"c2".as_slice(), whole.len() as u64, 3)
        );
        assert_eq!((summary.min_ms, summary.max_ms, summary.ingested_ms), (1000, 1001, 6));
        for cut in first.len()..whole.len() {
            let (summary, found) = read(&whole[..cut]);
            assert_eq!((summary.bytes, summary.cursor.as_slice()), (first.len() as u64, b"c1".as_slice()), "{cut}");
            assert_eq!(found.len(), 2, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200), flip in 0usize..60) {
            let _ = read(&bytes);
            let mut record = encode(1, b"cursor", &events(&["some", "words", "here"]));
            let at = flip % record.len();
            record[at] ^= 0x10;
            let (summary, found) = read(&record);
            prop_assert!(summary.bytes == 0 && summary.cursor.is_empty(), "a changed record counts: {:?}", found);
        }
    }
}
