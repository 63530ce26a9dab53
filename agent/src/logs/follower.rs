//! One container's output: asked about, read, shipped, and over.

use super::file::{Next, Reader};
use super::gate::LONGEST;
use super::joiner::Joiner;
use super::line::{Clock, Line};
use super::{Answer, Chunk, Event, Target};
use longshore_model::EventStart;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bytes of the longest message of an event; longer ones become several.
pub(super) const MOST_MESSAGE: usize = 256 * 1024 - 26;
/// Room to read a file into: lines are longer there than their messages.
const BUFFER: usize = 512 << 10;
/// How long a part of a line waits for the rest.
pub(super) const PATIENCE_MS: i64 = 5_000;
/// After a refusal.
const REFUSED: Duration = Duration::from_secs(60);
/// What the stream says where output is missing.
pub(super) const LOST: &str = "[longshore] Output is missing here: the host overwrote it before it could be shipped.";

/// Where a follower stands with the control plane.
#[derive(Debug)]
enum State {
    /// It is asked where the stream is.
    Asking,
    /// From here on, what is read is shipped.
    Following { reader: Box<Option<Reader>>, shipped: Vec<u8> },
    /// The control plane does not take it; it is asked again then.
    Refused { until: Instant },
    /// Everything was shipped, and nothing more comes unless the container is started again. `end` is the length of
    /// the newest file.
    Done { reader: Box<Option<Reader>>, shipped: Vec<u8>, end: u64 },
}

/// A part of a long line.
#[derive(Debug)]
struct Part {
    at_ms: i64,
    text: String,
}

/// Follows one container's output. Reading never goes further than one chunk beyond what is shipped.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) name: String,
    target: Target,
    path: PathBuf,
    runs: bool,
    state: State,
    lost: bool,
    told: bool,
    /// When there was something last.
    busy: Instant,
    looked: Instant,
    /// Since when its container is there no longer.
    gone_since: Option<Instant>,
    /// Why its files could not be read when they were looked at last.
    unreadable: Option<String>,
    clock: Clock,
    /// Where an event may have several lines.
    joiner: Option<Box<Joiner>>,
}

/// A look at a quiet file now and then is enough.
const QUIET_AFTER: Duration = Duration::from_secs(10);
const QUIET_LOOK: Duration = Duration::from_millis(950);

impl Follower {
    pub(super) fn new(name: String, target: Target, path: PathBuf, runs: bool) -> Self {
        let now = Instant::now();
        Self {
            name,
            target,
            path,
            runs,
            state: State::Asking,
            lost: false,
            told: false,
            busy: now,
            looked: now,
            gone_since: None,
            unreadable: None,
            clock: Clock::default(),
            joiner: None,
        }
    }

    /// The same; lines that match the regular expression begin events, if there is one.
    pub(super) fn joining(mut self, begins: Option<&str>) -> Self {
        match begins.map(EventStart::parse).transpose() {
            Ok(begins) => self.joiner = begins.map(|begins| Box::new(Joiner::new(begins))),
            Err(error) => {
                let (container, why) = (&self.name, error.to_string());
                tracing::warn!(container, why, "lines of a container's output are not joined");
            }
        }
        self
    }

    /// Told by a listing. What was printed until it ended is in the files by then. Whether it goes on although it was
    /// done: its container was started again.
    pub(super) fn listed(&mut self, runs: bool) -> bool {
        self.set_runs(runs);
        self.gone_since = None;
        let State::Done { reader, shipped, end } = &mut self.state else { return false };
        // It may have run and ended since the last listing. What cannot be told is found out by reading.
        let news = runs
            || match reader.as_mut() {
                Some(reader) => reader.has_news_behind(*end).unwrap_or(true),
                None => self.path.exists(),
            };
        if news {
            let (reader, shipped) = (std::mem::take(reader), std::mem::take(shipped));
            self.state = State::Following { reader, shipped };
            self.told = false;
        }
        news
    }

    /// Told by a listing that it is not in. Whether to go on: its files stay readable, and stay on the disk, for as
    /// long as they are open.
    pub(super) fn gone(&mut self, now: Instant) -> bool {
        self.set_runs(false);
        let since = *self.gone_since.get_or_insert(now);
        match self.state {
            State::Done { .. } | State::Refused { .. } => false,
            State::Asking | State::Following { .. } if now.duration_since(since) < LONGEST => true,
            State::Asking | State::Following { .. } => {
                tracing::error!(container = self.name, "a container is gone before its output was shipped; it is lost");
                false
            }
        }
    }

    fn set_runs(&mut self, runs: bool) {
        if self.runs != runs {
            self.runs = runs;
            self.busy = Instant::now();
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done { .. })
    }

    fn done(&mut self) {
        let State::Following { reader, shipped } = &mut self.state else { return };
        let end = reader.as_ref().as_ref().and_then(|reader| reader.length().ok()).unwrap_or(0);
        let (reader, shipped) = (std::mem::take(reader), std::mem::take(shipped));
        self.state = State::Done { reader, shipped, end };
    }

    /// Whether it is done, the first time that somebody asks since.
    pub(super) fn becomes_done(&mut self) -> bool {
        self.is_done() && !std::mem::replace(&mut self.told, true)
    }

    /// Whether it is worth to ask for what is next.
    pub(super) fn is_due(&self) -> bool {
        match &self.state {
            State::Done { .. } => false,
            State::Refused { until } => *until <= Instant::now(),
            State::Asking => true,
            State::Following { .. } => self.busy.elapsed() <= QUIET_AFTER || self.looked.elapsed() >= QUIET_LOOK,
        }
    }

    /// The next chunk to ship, of about `most` bytes; `None` when there is nothing now. `buffer` is room to read into,
    /// which is made when there is something to read.
    pub(super) fn next(&mut self, most: usize, buffer: &mut Vec<u8>, now_ms: i64) -> Option<Chunk> {
        if !self.is_due() {
            return None;
        }
        match &self.state {
            State::Done { .. } => None,
            State::Refused { .. } | State::Asking => {
                self.state = State::Asking;
                Some(Chunk { target: self.target.clone(), from: Vec::new(), to: Vec::new(), events: Vec::new() })
            }
            State::Following { .. } => {
                self.looked = Instant::now();
                let read = match self.opens() {
                    Ok(false) => Ok(None),
                    Ok(true) if self.joiner.is_some() => self.read_joined(most, buffer, now_ms),
                    Ok(true) => self.read(most, buffer, now_ms),
                    Err(error) => Err(error),
                };
                self.say(read.as_ref().err());
                let chunk = read.unwrap_or(None);
                if chunk.is_some() {
                    self.busy = Instant::now();
                }
                chunk
            }
        }
    }

    /// Warns of an error when it is not that of the last time.
    fn say(&mut self, error: Option<&io::Error>) {
        let why = error.map(ToString::to_string);
        if let Some(why) = why.as_ref().filter(|why| self.unreadable.as_ref() != Some(why)) {
            tracing::warn!(container = self.name, why, "could not read a container's output; trying again");
        }
        self.unreadable = why;
    }

    /// Whether there is a file to read; looks for where what was shipped ends in it, once.
    fn opens(&mut self) -> io::Result<bool> {
        let State::Following { reader, shipped } = &mut self.state else { return Ok(false) };
        if reader.is_some() {
            return Ok(true);
        }
        let found = match &mut self.joiner {
            Some(joiner) => joiner.seek(&self.path, shipped)?,
            None => Reader::seek(&self.path, shipped)?,
        };
        match found {
            Some((found, lost)) => {
                **reader = Some(found);
                self.lost |= lost;
                return Ok(true);
            }
            None if self.runs => {}
            None => self.done(),
        }
        Ok(false)
    }

    fn read(&mut self, most: usize, buffer: &mut Vec<u8>, now_ms: i64) -> io::Result<Option<Chunk>> {
        let State::Following { reader, shipped } = &mut self.state else { return Ok(None) };
        let Some(reader) = reader.as_mut() else { return Ok(None) };
        loop {
            // Looked at before the file is read: one that is left has all that it ever will.
            let left = reader.is_left()?;
            if self.runs && !left && !reader.is_longer()? {
                return Ok(None);
            }
            buffer.resize(BUFFER, 0);
            let bytes = reader.peek(buffer)?;
            let full = bytes.len() == BUFFER;
            let cut = Cut { most, now_ms, whole: full, over: !self.runs || (left && !full) };
            let taken = take(bytes, cut, &self.name, &mut self.clock);
            let rest = bytes.len() - taken.bytes;
            let held = rest > 0 && bytes[taken.bytes..].contains(&b'\n');
            reader.skip(taken.bytes);
            if !taken.events.is_empty() {
                let mut events = taken.events;
                if std::mem::take(&mut self.lost) {
                    tracing::warn!(container = self.name, "output was overwritten before it could be shipped");
                    let at_ms = events[0].at_ms;
                    events.insert(0, Event { at_ms, message: LOST.to_owned() });
                }
                let to = reader.cursor()?.map(super::file::Cursor::to_bytes).unwrap_or_default();
                return Ok(Some(Chunk { target: self.target.clone(), from: shipped.clone(), to, events }));
            }
            if taken.bytes > 0 {
                continue;
            }
            if held {
                // Parts of a line whose rest has not come.
                return Ok(None);
            }
            match reader.advance(rest)? {
                Next::More => {}
                Next::MoreAfterLoss => self.lost = true,
                Next::End if self.runs => return Ok(None),
                Next::End => {
                    self.done();
                    return Ok(None);
                }
            }
        }
    }

    /// The same where an event may have several lines. What is read is remembered until its event is whole, so reading
    /// goes on behind it, into other files too; `shipped` stays where the oldest event that is not whole begins.
    fn read_joined(&mut self, most: usize, buffer: &mut Vec<u8>, now_ms: i64) -> io::Result<Option<Chunk>> {
        let (State::Following { reader, shipped }, Some(joiner)) = (&mut self.state, &mut self.joiner) else {
            return Ok(None);
        };
        let Some(reader) = reader.as_mut() else { return Ok(None) };
        loop {
            // Looked at before the file is read, as above.
            let left = reader.is_left()?;
            if !self.runs || left || reader.is_longer()? {
                buffer.resize(BUFFER, 0);
                let place = reader.place()?;
                let bytes = reader.peek(buffer)?;
                let taken = match place {
                    Some(place) => joiner.take(bytes, place, most, &self.name, &mut self.clock),
                    None => 0,
                };
                let rest = bytes.len() - taken;
                reader.skip(taken);
                if taken == 0 && !joiner.has_whole() {
                    match reader.advance(rest)? {
                        Next::More => continue,
                        Next::MoreAfterLoss => {
                            tracing::warn!(container = self.name, "output was overwritten before it could be shipped");
                            joiner.lost(now_ms);
                            continue;
                        }
                        Next::End if self.runs => joiner.expire(now_ms),
                        Next::End => joiner.finish(),
                    }
                } else if !joiner.has_whole() {
                    continue;
                }
            } else {
                joiner.expire(now_ms);
            }
            let Some((mut events, to)) = joiner.whole() else {
                // It was read to its end.
                if !self.runs {
                    self.done();
                }
                return Ok(None);
            };
            if std::mem::take(&mut self.lost) {
                tracing::warn!(container = self.name, "output was overwritten before it could be shipped");
                let at_ms = events[0].at_ms;
                events.insert(0, Event { at_ms, message: LOST.to_owned() });
            }
            return Ok(Some(Chunk { target: self.target.clone(), from: shipped.clone(), to, events }));
        }
    }

    /// Takes the answer to the chunk that was given last.
    pub(super) fn answered(&mut self, chunk: &Chunk, answer: Answer) {
        match answer {
            Answer::Refused(why) => {
                if !matches!(self.state, State::Refused { .. }) {
                    let (container, group) = (&self.name, &self.target.group);
                    tracing::error!(container, group, why, "the control plane does not take a container's output");
                }
                self.state = State::Refused { until: Instant::now() + REFUSED };
            }
            Answer::At(cursor) => match &mut self.state {
                State::Following { shipped, .. } if cursor == chunk.to => *shipped = cursor,
                // Asked for the first time, or somebody shipped it before: an answer was lost.
                State::Following { .. } | State::Asking | State::Refused { .. } => {
                    self.state = State::Following { reader: Box::new(None), shipped: cursor };
                }
                State::Done { .. } => {}
            },
        }
    }
}

/// How much is taken of what was read.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// About so many bytes of messages.
    most: usize,
    now_ms: i64,
    /// There is more than was read.
    whole: bool,
    /// There is no rest of what is in parts: nothing more will be printed, or not into this file.
    over: bool,
}

/// What was taken: events, and the bytes of the file that they are from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    events: Vec<Event>,
    bytes: usize,
}

/// Takes whole lines from the beginning of `bytes`. It ends where no line is in parts, so that whoever goes on from
/// there misses nothing; parts that wait too long, or that are too many, become events of their own.
fn take(bytes: &[u8], cut: Cut, name: &str, clock: &mut Clock) -> Taken {
    let mut events: Vec<Event> = Vec::new();
    let mut parts: [Option<Part>; 2] = [None, None];
    let mut clean = (0, 0);
    let (mut end, mut size, mut limited) = (0, 0, false);
    for newline in memchr::memchr_iter(b'\n', bytes) {
        let line = &bytes[end..=newline];
        end = newline + 1;
        let Some(Line { text, ends, side, at_ms }) = Line::parse(line, clock) else {
            tracing::warn!(container = name, "a line of a container's output is not as the engine writes it");
            if parts.iter().all(Option::is_none) {
                clean = (end, events.len());
            }
            continue;
        };
        size += text.len() + 26;
        let part = &mut parts[side];
        if part.as_ref().is_some_and(|part| part.text.len() + text.len() > MOST_MESSAGE) {
            push(&mut events, part.take());
        }
        match part {
            Some(part) => part.text.push_str(&text),
            None if ends && text.is_empty() => {}
            None => *part = Some(Part { at_ms, text: text.into_owned() }),
        }
        if ends {
            push(&mut events, part.take());
        }
        if parts.iter().all(Option::is_none) {
            clean = (end, events.len());
            limited = size >= cut.most;
            if limited {
                break;
            }
        }
    }
    let waited = parts.iter().flatten().any(|part| cut.now_ms - part.at_ms > PATIENCE_MS);
    if clean.0 < end && !limited && (cut.over || waited || (cut.whole && clean.0 == 0)) {
        // In the order in which they began.
        parts.sort_by_key(|part| part.as_ref().map(|part| part.at_ms));
        for part in parts {
            push(&mut events, part);
        }
        clean = (end, events.len());
    }
    if clean.0 == 0 && end == 0 && cut.whole {
        // More than any line of the engine's has, without an end.
        tracing::warn!(container = name, bytes = bytes.len(), "passed over what is not the engine's");
        clean.0 = bytes.len();
    }
    events.truncate(clean.1);
    Taken { events, bytes: clean.0 }
}

/// Makes events of a line; an empty one is none.
fn push(events: &mut Vec<Event>, part: Option<Part>) {
    let Some(Part { at_ms, text }) = part else { return };
    push_text(events, at_ms, text);
}

/// The same of a text.
pub(super) fn push_text(events: &mut Vec<Event>, at_ms: i64, mut text: String) {
    while text.len() > MOST_MESSAGE {
        let mut at = MOST_MESSAGE;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let rest = text.split_off(at);
        events.push(Event { at_ms, message: std::mem::replace(&mut text, rest) });
    }
    if !text.is_empty() {
        events.push(Event { at_ms, message: text });
    }
}

#[cfg(test)]
mod tests;
