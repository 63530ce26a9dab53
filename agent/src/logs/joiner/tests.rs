//! The same output gives the same events however it is read: over real files, with rotations, crashes and lost answers.

use super::super::follower::Follower;
use super::super::{Answer, Chunk, Target};
use super::*;
use proptest::prelude::*;
use std::io::Write as _;

/// 2026-01-02T03:04:05Z
const START_MS: i64 = 1_767_323_045_000;

/// A piece of output, as the engine keeps one.
#[derive(Debug, Clone)]
struct Piece {
    side: usize,
    text: String,
    ends: bool,
    at_ms: i64,
}

#[derive(Debug, Clone)]
enum Op {
    Print {
        side: usize,
        text: String,
        ends: bool,
    },
    Wait(i64),
    Rotate,
    /// Up to so many bytes are put; then the process ends, or the answer is lost, or neither.
    Read {
        most: usize,
        crash: bool,
        lost: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let text = prop_oneof![3 => "E[a-z]{0,6}", 5 => " at [a-z\"]{0,9}", 1 => Just(String::new())];
    prop_oneof![
        12 => (0..2usize, text, prop::bool::weighted(0.85))
            .prop_map(|(side, text, ends)| Op::Print { side, text, ends }),
        3 => prop::sample::select(vec![1, 900, 3_000, 5_000, 5_001, 9_000]).prop_map(Op::Wait),
        2 => Just(Op::Rotate),
        6 => (prop::sample::select(vec![1, 60, 1 << 18]), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(most, crash, lost)| Op::Read { most, crash, lost }),
    ]
}

/// A host with one container, and its stream in the control plane.
struct Sim {
    dir: tempfile::TempDir,
    follower: Follower,
    now_ms: i64,
    printed: Vec<Piece>,
    cursor: Vec<u8>,
    stream: Vec<Event>,
}

impl Sim {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::File::create(dir.path().join("log")).expect("made");
        let follower = follower(&dir);
        Self { dir, follower, now_ms: START_MS, printed: Vec::new(), cursor: Vec::new(), stream: Vec::new() }
    }

    fn print(&mut self, side: usize, text: &str, ends: bool) {
        let log = if ends { format!("{text}\n") } else { text.to_owned() };
        let time = jiff::Timestamp::from_millisecond(self.now_ms).expect("a time").to_string();
        let stream = ["stdout", "stderr"][side];
        let line = serde_json::json!({"log": log, "stream": stream, "time": time});
        let file = std::fs::File::options().append(true).open(self.dir.path().join("log"));
        writeln!(file.expect("opens"), "{line}").expect("written");
        self.printed.push(Piece { side, text: text.to_owned(), ends, at_ms: self.now_ms });
    }

    fn rotate(&self) {
        let path = |n: usize| self.dir.path().join(if n == 0 { "log".to_owned() } else { format!("log.{n}") });
        // Docker makes a new file when there is something for it.
        if std::fs::metadata(path(0)).expect("there").len() == 0 {
            return;
        }
        let last = (1..).find(|n| !path(*n).exists()).expect("a free name");
        (0..last).rev().for_each(|n| std::fs::rename(path(n), path(n + 1)).expect("renamed"));
        std::fs::File::create(path(0)).expect("made");
    }

    /// As the control plane does it.
    fn put(&mut self, chunk: &Chunk) -> Answer {
        if !chunk.events.is_empty() && chunk.from == self.cursor {
            assert_ne!(chunk.to, chunk.from);
            assert!(chunk.to.len() <= 64, "what the control plane takes");
            self.cursor.clone_from(&chunk.to);
            self.stream.extend(chunk.events.iter().cloned());
        }
        Answer::At(self.cursor.clone())
    }

    /// Whether there was something.
    fn read(&mut self, most: usize, crash: bool, lost: bool) -> bool {
        let chunk = self.follower.next(most, &mut Vec::new(), self.now_ms);
        if let Some(chunk) = &chunk
            && !crash
        {
            let answer = self.put(chunk);
            if !lost {
                self.follower.answered(chunk, answer);
            }
        }
        if crash || lost {
            self.follower = follower(&self.dir);
        }
        chunk.is_some()
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Print { side, text, ends } => self.print(*side, text, *ends),
            Op::Wait(ms) => self.now_ms += ms,
            Op::Rotate => self.rotate(),
            Op::Read { most, crash, lost } => _ = self.read(*most, *crash, *lost),
        }
    }

    fn finish(&mut self) {
        for _ in 0..10_000 {
            self.follower.listed(false);
            if !self.read(100, false, false) && self.follower.is_done() {
                return;
            }
        }
        panic!("it is not done: {:?}", self.follower);
    }
}

fn follower(dir: &tempfile::TempDir) -> Follower {
    let target = Target { region: "r".into(), group: "g".into(), stream: "s".into() };
    Follower::new("ls-a".into(), target, dir.path().join("log"), true).joining(Some("^E"))
}

/// The rules once more, over everything at once.
fn expected(printed: &[Piece]) -> Vec<Event> {
    /// An event or a line: where it began, when, and its text.
    type Text = (usize, i64, String);
    #[derive(Default)]
    struct Side {
        open: Option<Text>,
        part: Option<Text>,
    }
    fn line(side: &mut Side, (start, at_ms, text): Text, all: &mut Vec<Event>) {
        match &mut side.open {
            Some((_, began, event)) if at_ms - *began <= 5_000 && !text.starts_with('E') => {
                event.push('\n');
                event.push_str(&text);
            }
            _ => {
                all.extend(side.open.take().map(|(_, at_ms, message)| Event { at_ms, message }));
                side.open = (!text.is_empty()).then_some((start, at_ms, text));
            }
        }
    }
    fn end(sides: &mut [Side; 2], now_ms: i64, all: &mut Vec<Event>) {
        let start = |side: &Side| side.open.as_ref().or(side.part.as_ref()).map_or(usize::MAX, |text| text.0);
        let order = if start(&sides[1]) < start(&sides[0]) { [1, 0] } else { [0, 1] };
        for n in order {
            let side = &mut sides[n];
            if let Some(part) = side.part.take_if(|part| now_ms - part.1 > 5_000) {
                line(side, part, all);
            }
            if side.part.is_none()
                && let Some((_, at_ms, message)) = side.open.take_if(|open| now_ms - open.1 > 5_000)
            {
                all.push(Event { at_ms, message });
            }
        }
    }
    let (mut all, mut sides) = (Vec::new(), [Side::default(), Side::default()]);
    for (n, piece) in printed.iter().enumerate() {
        end(&mut sides, piece.at_ms, &mut all);
        let side = &mut sides[piece.side];
        let (start, at_ms, mut text) = side.part.take().unwrap_or((n, piece.at_ms, String::new()));
        text.push_str(&piece.text);
        if piece.ends {
            line(side, (start, at_ms, text), &mut all);
        } else {
            side.part = Some((start, at_ms, text));
        }
    }
    end(&mut sides, i64::MAX, &mut all);
    all
}

proptest! {
    #[test]
    fn the_same_output_gives_the_same_events_however_it_is_read(ops in prop::collection::vec(op(), 1..60)) {
        let mut sim = Sim::new();
        ops.iter().for_each(|op| sim.run(op));
        sim.finish();
        prop_assert_eq!(&sim.stream, &expected(&sim.printed));
    }
}

fn messages(sim: &Sim) -> Vec<&str> {
    sim.stream.iter().map(|event| event.message.as_str()).collect()
}

#[test]
fn an_event_waits_for_its_end_and_not_for_ever() {
    let mut sim = Sim::new();
    sim.print(0, "E one", true);
    sim.print(0, " at a", true);
    sim.print(1, "E other", true);
    assert!(sim.read(1 << 20, false, false), "it is asked");
    assert!(!sim.read(1 << 20, false, false), "more may come");
    sim.now_ms += 4_000;
    sim.print(0, " at b", true);
    assert!(!sim.read(1 << 20, false, false));
    sim.now_ms += 2_001;
    assert!(sim.read(1 << 20, false, false));
    assert_eq!(messages(&sim), ["E one\n at a\n at b", "E other"]);
    // The next is an event of its own, without a beginning.
    sim.print(0, " at c", true);
    sim.rotate();
    sim.print(0, " at d", true);
    sim.finish();
    assert_eq!(messages(&sim)[2..], [" at c\n at d"]);
}

#[test]
fn the_side_that_began_first_ends_first_also_by_the_clock() {
    let mut sim = Sim::new();
    sim.print(1, "E one", true);
    sim.print(0, "E two", false);
    sim.now_ms += 3_000;
    assert!(sim.read(1 << 20, false, false), "it is asked");
    sim.print(1, "E three", false);
    sim.now_ms += 5_000;
    assert!(!sim.read(1 << 20, false, false), "the line that has begun may belong to the first");
    sim.finish();
    assert_eq!(messages(&sim), ["E one", "E three", "E two"]);
}

#[test]
fn a_clock_that_was_turned_back_holds_nothing_up() {
    let mut sim = Sim::new();
    sim.print(0, "E one", true);
    assert!(sim.read(1 << 20, false, false), "it is asked");
    sim.now_ms -= 3_600_000;
    assert!(sim.read(1 << 20, false, false));
    assert_eq!(messages(&sim), ["E one"]);
}

#[test]
fn a_side_that_goes_on_does_not_wait_for_the_other_and_nothing_is_shipped_twice() {
    let mut sim = Sim::new();
    sim.print(1, "E long", true);
    for n in 0..50 {
        sim.print(0, &format!("E {n}"), true);
        sim.print(1, &format!(" at {n}"), true);
        if n % 7 == 0 {
            sim.rotate();
        }
        sim.read(1, false, n % 3 == 0);
        while sim.read(1, false, false) {}
    }
    assert_eq!(sim.stream.len(), 49, "all but the last");
    assert_eq!(sim.cursor.len(), 2 * Cursor::BYTES + 1);
    sim.finish();
    assert_eq!(sim.stream, expected(&sim.printed));
}

#[test]
fn an_event_is_not_longer_than_one_may_be() {
    let mut sim = Sim::new();
    let line = "x".repeat(16_000);
    sim.print(0, "E", true);
    (0..40).for_each(|_| sim.print(0, &line, true));
    sim.finish();
    let sizes: Vec<usize> = sim.stream.iter().map(|event| event.message.len()).collect();
    assert_eq!(sizes, [1 + 16 * 16_001, 16 * 16_001 - 1, 8 * 16_001 - 1]);
}

#[test]
fn what_was_overwritten_is_missing_and_the_rest_goes_on() {
    let mut sim = Sim::new();
    sim.print(0, "E one", true);
    while sim.read(1 << 20, false, false) {}
    sim.rotate();
    // Nobody sees the next one.
    sim.print(0, " at a", true);
    std::fs::remove_file(sim.dir.path().join("log.1")).expect("removed");
    sim.follower = follower(&sim.dir);
    sim.finish();
    assert_eq!(messages(&sim), [" at a"], "nothing was shipped of it, so nobody knows");

    let mut sim = Sim::new();
    sim.print(0, "E one", true);
    sim.print(0, "E two", true);
    while sim.read(1 << 20, false, false) {}
    assert_eq!(messages(&sim), ["E one"]);
    sim.rotate();
    sim.print(0, " at a", true);
    std::fs::remove_file(sim.dir.path().join("log.1")).expect("removed");
    sim.follower = follower(&sim.dir);
    sim.finish();
    assert_eq!(messages(&sim), ["E one", LOST, " at a"]);
}
