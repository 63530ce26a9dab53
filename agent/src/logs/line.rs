//! One line of a file of the engine's driver `json-file`.

use serde::Deserialize;
use std::borrow::Cow;

/// `{"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}`
#[derive(Debug, Deserialize)]
pub(super) struct Line<'a> {
    /// A line, with its end; a part of a long one without.
    #[serde(borrow, default)]
    pub(super) log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

impl<'a> Line<'a> {
    /// Reads a line of the file; `None` for what the engine does not write.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// When it was printed, in milliseconds since the epoch.
    pub(super) fn at_ms(&self) -> Option<i64> {
        let at: jiff::Timestamp = self.time.parse().ok()?;
        Some(at.as_millisecond().max(0))
    }

    /// 0 for standard output, 1 for standard error.
    pub(super) fn side(&self) -> usize {
        usize::from(self.stream == "stderr")
    }

    /// The text, and whether the printed line ends here.
    pub(super) fn text(&self) -> (&str, bool) {
        self.log.strip_suffix('\n').map_or((&self.log, false), |text| (text, true))
    }
}
