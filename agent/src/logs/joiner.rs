//! Events of several lines: which lines belong together, and where reading goes on when only some of them are shipped.
//!
//! A line that matches begins an event; others belong to the one before, of the same side (standard output or standard
//! error). An event ends where the next begins, where it would become longer than an event may be, and with the first
//! line of either side that was printed more than [`PATIENCE_MS`] after its first. That is decided by what was printed
//! alone, so the same output gives the same events in the same order however it is read; the clock says only when
//! nothing more can come, and a second later than that, because a line is in its file a moment after its time.
//!
//! A place in the output has to say for each side where its next event begins, as one may be in the middle of a long
//! event while the other goes on: the cursor is that of the side that is behind, and where the two differ that of the
//! other side follows, of whose lines those before it are passed over.

use super::Event;
use super::file::{Cursor, Reader};
use super::follower::{LOST, MOST_MESSAGE, PATIENCE_MS, push_text};
use super::line::{Clock, Line};
use longshore_model::EventStart;
use std::io;
use std::path::Path;

/// How long after its first line an event that nothing ended is over.
const OVER_MS: i64 = PATIENCE_MS + 1_000;

/// A place, and which of several is behind which.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Bytes that were read before it.
    read: u64,
    cursor: Cursor,
}

/// Text that something may still be added to.
#[derive(Debug)]
struct Text {
    at_ms: i64,
    text: String,
    start: Place,
}

/// Standard output or standard error.
#[derive(Debug, Default)]
struct Side {
    /// Lines before this place are shipped.
    skip: Option<Cursor>,
    /// An event without its end.
    open: Option<Text>,
    /// A line without its end.
    part: Option<Text>,
}

impl Side {
    /// Where its next event begins, when that is not where reading stands.
    fn start(&self) -> Option<Place> {
        let late = self.skip.map(|cursor| Place { read: u64::MAX, cursor });
        self.open.as_ref().or(self.part.as_ref()).map(|text| text.start).or(late)
    }
}

/// Joins the lines of one container.
#[derive(Debug)]
pub(super) struct Joiner {
    begins: EventStart,
    sides: [Side; 2],
    /// Whole events, not shipped yet.
    whole: Vec<Event>,
    /// Bytes of their messages.
    size: usize,
    /// Behind the last line that was read; its `read` counts from the last [`Self::seek`].
    here: Option<Place>,
    read: u64,
}

impl Joiner {
    /// `begins` tells which lines begin an event.
    pub(super) fn new(begins: EventStart) -> Self {
        Self { begins, sides: Default::default(), whole: Vec::new(), size: 0, here: None, read: 0 }
    }

    /// A reader where the cursor says; see [`Reader::seek`]. All that was remembered is forgotten.
    pub(super) fn seek(&mut self, newest: &Path, cursor: &[u8]) -> io::Result<Option<(Reader, bool)>> {
        let (behind, ahead) = split(cursor);
        let Some((reader, lost)) = Reader::seek(newest, behind)? else { return Ok(None) };
        (self.sides, self.here, self.read) = (Default::default(), None, 0);
        self.whole.clear();
        self.size = 0;
        if let Some((side, cursor)) = ahead {
            // A file that is there no longer would be waited for in vain.
            let there = !lost || matches!(Reader::seek(newest, &cursor.to_bytes())?, Some((_, false)));
            self.sides[side].skip = Some(cursor).filter(|_| there);
        }
        Ok(Some((reader, lost)))
    }

    /// Whether there are whole events.
    pub(super) fn has_whole(&self) -> bool {
        !self.whole.is_empty() && self.here.is_some()
    }

    /// Takes whole lines from the beginning of `bytes`, which are at `place`, until there are about `most` bytes of
    /// messages. Returns how many bytes were taken.
    pub(super) fn take(&mut self, bytes: &[u8], place: Cursor, most: usize, name: &str, clock: &mut Clock) -> usize {
        let mut end = 0;
        self.reach(place);
        for newline in memchr::memchr_iter(b'\n', bytes) {
            let start = Place { read: self.read, cursor: place.moved(end) };
            let line = &bytes[end..=newline];
            end = newline + 1;
            self.read += line.len() as u64;
            match Line::parse(line, clock) {
                Some(line) => self.piece(line, start),
                None => {
                    tracing::warn!(container = name, "a line of a container's output is not as the engine writes it");
                }
            }
            self.reach(place.moved(end));
            if self.size >= most {
                break;
            }
        }
        if end == 0 && bytes.len() > 2 * MOST_MESSAGE {
            // More than any line of the engine's has, without an end.
            tracing::warn!(container = name, bytes = bytes.len(), "passed over what is not the engine's");
            end = bytes.len();
            self.read += end as u64;
        }
        if end > 0 {
            self.here = Some(Place { read: self.read, cursor: place.moved(end) });
        }
        end
    }

    /// Reading stands at `place`: lines of a side whose place this is count from here on.
    fn reach(&mut self, place: Cursor) {
        for side in &mut self.sides {
            side.skip.take_if(|skip| place.reaches(*skip) == Some(true));
        }
    }

    /// Takes a line of the file: a line that was printed, or a part of a long one.
    fn piece(&mut self, line: Line<'_>, start: Place) {
        let Line { text, ends, side: number, at_ms } = line;
        // Also by lines that are passed over, as when they were read first.
        self.end_older(at_ms, PATIENCE_MS);
        if self.sides[number].skip.is_some() {
            return;
        }
        if self.sides[number].part.as_ref().is_some_and(|part| part.text.len() + text.len() > MOST_MESSAGE) {
            self.end_part(number);
        }
        let part = &mut self.sides[number].part;
        if let Some(part) = part {
            part.text.push_str(&text);
        } else if ends {
            return self.line(number, at_ms, &text, start);
        } else {
            *part = Some(Text { at_ms, text: text.into_owned(), start });
        }
        if ends {
            self.end_part(number);
        }
    }

    fn end_part(&mut self, side: usize) {
        if let Some(part) = self.sides[side].part.take() {
            self.line(side, part.at_ms, &part.text, part.start);
        }
    }

    /// Takes a whole line.
    fn line(&mut self, side: usize, at_ms: i64, text: &str, start: Place) {
        let goes_on = |open: &Text| {
            !apart(at_ms, open.at_ms, PATIENCE_MS)
                && open.text.len() + 1 + text.len() <= MOST_MESSAGE
                && !self.begins.begins(text)
        };
        match &mut self.sides[side].open {
            Some(open) if goes_on(&*open) => {
                open.text.push('\n');
                open.text.push_str(text);
            }
            Some(_) | None => {
                self.end(side);
                // Nothing begins with an empty line.
                let text = Some(text).filter(|text| !text.is_empty());
                self.sides[side].open = text.map(|text| Text { at_ms, text: text.to_owned(), start });
            }
        }
    }

    fn end(&mut self, side: usize) {
        let Some(open) = self.sides[side].open.take() else { return };
        self.size += open.text.len() + 26;
        push_text(&mut self.whole, open.at_ms, open.text);
    }

    /// Ends what is over by the clock, when everything that was printed is read. Not the later of two sides before the
    /// earlier one: which of them ends first may be for what is printed next to say.
    pub(super) fn expire(&mut self, now_ms: i64) {
        for side in self.in_order() {
            self.end_side(side, now_ms, OVER_MS);
            if self.sides[side].part.is_some() || self.sides[side].open.is_some() {
                return;
            }
        }
    }

    /// The sides, the one whose text began first first.
    fn in_order(&self) -> [usize; 2] {
        let start = |side: &Side| side.start().map_or(u64::MAX, |start| start.read);
        if start(&self.sides[1]) < start(&self.sides[0]) { [1, 0] } else { [0, 1] }
    }

    fn end_older(&mut self, now_ms: i64, than_ms: i64) {
        self.in_order().into_iter().for_each(|side| self.end_side(side, now_ms, than_ms));
    }

    fn end_side(&mut self, side: usize, now_ms: i64, than_ms: i64) {
        let over = |text: &Option<Text>| text.as_ref().is_some_and(|text| apart(now_ms, text.at_ms, than_ms));
        if over(&self.sides[side].part) {
            self.end_part(side);
        }
        // Of a line that has begun it is not known yet whether it belongs to it.
        if self.sides[side].part.is_none() && over(&self.sides[side].open) {
            self.end(side);
        }
    }

    /// Nothing more will be printed.
    pub(super) fn finish(&mut self) {
        for side in self.in_order() {
            self.end_part(side);
            self.end(side);
        }
    }

    /// Output is missing where reading stands.
    pub(super) fn lost(&mut self, now_ms: i64) {
        self.finish();
        self.whole.push(Event { at_ms: now_ms, message: LOST.to_owned() });
        // The file that they are in may be among those that are gone.
        self.sides.iter_mut().for_each(|side| side.skip = None);
    }

    /// The whole events, and where the stream ends with them; `None` when there are none.
    pub(super) fn whole(&mut self) -> Option<(Vec<Event>, Vec<u8>)> {
        let here = self.here.filter(|_| !self.whole.is_empty())?;
        self.size = 0;
        let starts = [0, 1].map(|side| self.sides[side].start().unwrap_or(here));
        let ahead = usize::from(starts[0].read <= starts[1].read);
        let mut to = starts[1 - ahead].cursor.to_bytes();
        if starts[0].cursor != starts[1].cursor {
            to.extend(starts[ahead].cursor.to_bytes());
            to.push(u8::from(ahead == 1));
        }
        Some((std::mem::take(&mut self.whole), to))
    }
}

/// Whether two times are further apart: also the other way, where somebody turned the clock back.
fn apart(a_ms: i64, b_ms: i64, than_ms: i64) -> bool {
    a_ms.abs_diff(b_ms) > than_ms.unsigned_abs()
}

/// The two places of a cursor: that of the side that is behind, and of the other where it differs.
fn split(cursor: &[u8]) -> (&[u8], Option<(usize, Cursor)>) {
    let ahead = cursor.split_at_checked(Cursor::BYTES).and_then(|(_, rest)| match rest {
        [ahead @ .., side @ (0 | 1)] if ahead.len() == Cursor::BYTES => {
            Some((usize::from(*side), Cursor::parse(ahead)?))
        }
        _ => None,
    });
    (if ahead.is_some() { &cursor[..Cursor::BYTES] } else { cursor }, ahead)
}

#[cfg(test)]
mod tests;
