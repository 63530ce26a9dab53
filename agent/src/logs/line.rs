//! One line of a file of the engine's driver `json-file`.

use serde::Deserialize;
use std::borrow::Cow;

/// What is printed, as the engine keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The text, without the end of the line.
    pub(super) text: Cow<'a, str>,
    /// Whether the printed line ends here; it does not after a part of a long one.
    pub(super) ends: bool,
    /// 0 for standard output, 1 for standard error.
    pub(super) side: usize,
    /// When it was printed, in milliseconds since the epoch.
    pub(super) at_ms: i64,
}

/// `{"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}`
#[derive(Debug, Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

impl<'a> Line<'a> {
    /// Reads a line of the file; `None` for what the engine does not write.
    pub(super) fn parse(bytes: &'a [u8], clock: &mut Clock) -> Option<Self> {
        Self::plain(bytes, clock).or_else(|| Self::any(bytes, clock))
    }

    /// Most lines are exactly as the engine writes them and have nothing to unescape.
    fn plain(bytes: &'a [u8], clock: &mut Clock) -> Option<Self> {
        const LEAD: &[u8] = b"{\"log\":\"";
        const STDOUT: &[u8] = b"\",\"stream\":\"stdout";
        const STDERR: &[u8] = b"\",\"stream\":\"stderr";
        const TIME: &[u8] = b"\",\"time\":\"";
        let rest = bytes.strip_prefix(LEAD)?.strip_suffix(b"\"}\n")?;
        let time = rest.iter().rev().take(Clock::LONGEST + 1).position(|b| *b == b'"')?;
        let (rest, time) = rest.split_at(rest.len() - time);
        let rest = rest.strip_suffix(TIME)?;
        let (rest, side) = match (rest.strip_suffix(STDOUT), rest.strip_suffix(STDERR)) {
            (Some(rest), _) => (rest, 0),
            (None, Some(rest)) => (rest, 1),
            (None, None) => return None,
        };
        let (text, ends) = rest.strip_suffix(b"\\n").map_or((rest, false), |text| (text, true));
        // The whole is looked through without a branch, so that it is done for many bytes at a time.
        let odd = text.iter().fold(false, |odd, b| odd | (*b < b' ') | (*b == b'"') | (*b == b'\\'));
        if odd {
            return None;
        }
        let text = Cow::Borrowed(std::str::from_utf8(text).ok()?);
        let at_ms = clock.read(std::str::from_utf8(time).ok()?)?;
        Some(Self { text, ends, side, at_ms })
    }

    fn any(bytes: &'a [u8], clock: &mut Clock) -> Option<Self> {
        let Raw { log, stream, time } = serde_json::from_slice(bytes).ok()?;
        let ends = log.ends_with('\n');
        let text = match log {
            Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix('\n').unwrap_or(text)),
            Cow::Owned(mut text) => {
                text.truncate(text.len() - usize::from(ends));
                Cow::Owned(text)
            }
        };
        let at_ms = clock.read(&time)?;
        Some(Self { text, ends, side: usize::from(stream == "stderr"), at_ms })
    }
}

/// Reads times. Most are of the minute of the one before.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// `2026-01-02T03:04:`
    minute: [u8; Self::MINUTE],
    /// When that began, in milliseconds since the epoch.
    began_ms: i64,
}

impl Clock {
    const MINUTE: usize = 17;
    /// `2026-01-02T03:04:05.678901234Z`
    const LONGEST: usize = 30;

    /// Milliseconds since the epoch; `None` for what is no time.
    fn read(&mut self, text: &str) -> Option<i64> {
        let Some((minute, Some(in_minute))) =
            text.as_bytes().split_first_chunk::<{ Self::MINUTE }>().map(|(minute, rest)| (minute, in_minute(rest)))
        else {
            return parse(text);
        };
        if *minute != self.minute {
            let began_ms = text.parse::<jiff::Timestamp>().ok()?.as_millisecond() - in_minute;
            (self.minute, self.began_ms) = (*minute, began_ms);
        }
        Some((self.began_ms + in_minute).max(0))
    }
}

fn parse(text: &str) -> Option<i64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(at.as_millisecond().max(0))
}

/// The milliseconds that `05.678901234Z` says.
fn in_minute(text: &[u8]) -> Option<i64> {
    let (seconds, rest) = text.strip_suffix(b"Z")?.split_first_chunk::<2>()?;
    let fraction = match rest {
        [] => rest,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => digits,
        _ => return None,
    };
    let number =
        |digits: &[u8]| digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')));
    number(fraction)?;
    let kept = &fraction[..fraction.len().min(3)];
    let scale = [0, 100, 10, 1][kept.len()];
    let seconds = number(seconds).filter(|seconds| *seconds < 60)?;
    Some(seconds * 1000 + number(kept)? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[ -~]{0,40}", "\\PC{0,20}", "[a-z\\\\\"\n\t\u{1}ß]{0,12}", "[a-z ]{0,30}\n", "[a-z]{0,9}\\\\n"]
    }

    fn time() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "2026-01-0[1-9]T0[0-3]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?Z",
            1 => "[12][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?(Z|\\+01:00|z)",
            1 => "[0-9TZ:.-]{0,32}",
        ]
    }

    /// As the engine writes it, or with the text as it is.
    fn bytes(text: &str, escaped: bool, stream: &str, time: &str) -> Vec<u8> {
        let log = if escaped { serde_json::to_string(text).expect("a string") } else { format!("\"{text}\"") };
        format!("{{\"log\":{log},\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n").into_bytes()
    }

    proptest! {
        #[test]
        fn the_short_way_and_the_long_one_read_the_same(
            lines in prop::collection::vec((text(), any::<bool>(), "(stdout|stderr|other)", time()), 1..6),
        ) {
            let (mut short, mut none) = (Clock::default(), Clock::default());
            for (text, escaped, stream, time) in &lines {
                let bytes = bytes(text, *escaped, stream, time);
                let long = Line::any(&bytes, &mut none);
                prop_assert_eq!(&Line::parse(&bytes, &mut short), &long);
                let plain = Line::plain(&bytes, &mut short);
                prop_assert!(plain.is_none() || plain == long, "{:?} and {:?}", plain, long);
                if let Some(long) = long {
                    prop_assert_eq!(Some(long.at_ms), parse(time));
                }
            }
        }
    }

    #[test]
    fn a_plain_line_is_not_copied() {
        let bytes = bytes("hello ß\n", true, "stderr", "2026-01-02T03:04:05.6Z");
        let line = Line::plain(&bytes, &mut Clock::default()).expect("it is plain");
        assert!(matches!(line.text, Cow::Borrowed("hello ß")), "{line:?}");
        assert_eq!((line.ends, line.side, line.at_ms), (true, 1, 1_767_323_045_600));
    }
}
