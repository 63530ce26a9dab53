//! Results on standard output: tables and lists of facts for people, JSON for programs.
//!
//! JSON keeps the shapes of the ECS API, so that it is as stable as that API and `jq` recipes for `aws ecs`
//! fit. Nothing else is written to standard output; progress and errors go to standard error.

use crate::settings::Output;
use comfy_table::{ContentArrangement, Table};
use longshore_ecs_api::EpochSeconds;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Where results go, and in which form.
pub(crate) struct Out {
    format: Output,
    now: jiff::Timestamp,
}

impl Out {
    /// Prints in `format`; ages are counted until `now`.
    pub(crate) fn new(format: Output, now: jiff::Timestamp) -> Self {
        Self { format, now }
    }

    /// Whether results are for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Output::Json
    }

    /// Prints `value` for programs, or what `table` makes for people.
    pub(crate) fn print<T: Serialize>(&self, value: &T, people: impl FnOnce(&Self) -> String) -> std::io::Result<()> {
        let text = match self.format {
            Output::Json => serde_json::to_string_pretty(value)?,
            Output::Table => people(self),
        };
        self.text(&text)
    }

    /// Prints a text and a line end.
    pub(crate) fn text(&self, text: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", text.trim_end())?;
        out.flush()
    }

    /// How long ago, as in `3m`.
    pub(crate) fn age(&self, at: Option<EpochSeconds>) -> String {
        at.map_or_else(dash, |at| duration(self.now.as_millisecond() - at.millis()))
    }

    /// A point in time in this machine's zone, and how long ago.
    pub(crate) fn time(&self, at: Option<EpochSeconds>) -> Option<String> {
        let at = at?;
        let time = jiff::Timestamp::from_millisecond(at.millis()).ok()?;
        let zoned = time.to_zoned(jiff::tz::TimeZone::system());
        let ahead = at.millis() > self.now.as_millisecond();
        let distance = duration((self.now.as_millisecond() - at.millis()).abs());
        let relation = if ahead { format!("in {distance}") } else { format!("{distance} ago") };
        Some(format!("{} ({relation})", zoned.strftime("%Y-%m-%d %H:%M:%S %Z")))
    }
}

/// What stands for "nothing" in a table.
pub(crate) fn dash() -> String {
    "-".to_owned()
}

/// A text, or a dash.
pub(crate) fn or_dash(text: Option<&str>) -> String {
    text.filter(|t| !t.is_empty()).map_or_else(dash, str::to_owned)
}

/// Milliseconds as the two largest units that matter to a person.
pub(crate) fn duration(millis: i64) -> String {
    let secs = millis.max(0) / 1000;
    match secs {
        0..=119 => format!("{secs}s"),
        120..=7_199 => format!("{}m", secs / 60),
        7_200..=172_799 => format!("{}h", secs / 3_600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// A table without lines; on a terminal long cells wrap, elsewhere a row is a line.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let wrap = std::io::stdout().is_terminal();
    table.set_content_arrangement(if wrap { ContentArrangement::Dynamic } else { ContentArrangement::Disabled });
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Facts one below the other, for one thing in full. Those without a value are left out.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    lines: Vec<(usize, String, String)>,
}

impl Facts {
    /// Adds a fact, unless it has no value.
    pub(crate) fn add(&mut self, depth: usize, name: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value.map(Into::into).filter(|v| !v.is_empty()) {
            self.lines.push((depth, name.to_owned(), value));
        }
    }

    /// Adds a heading for deeper facts.
    pub(crate) fn heading(&mut self, depth: usize, name: &str) {
        self.lines.push((depth, name.to_owned(), String::new()));
    }

    /// The text, with the values in one column.
    pub(crate) fn render(&self) -> String {
        let width = self.lines.iter().filter(|l| !l.2.is_empty()).map(|l| 2 * l.0 + l.1.len()).max().unwrap_or(0);
        let line = |(depth, name, value): &(usize, String, String)| {
            let left = format!("{}{name}:", "  ".repeat(*depth));
            if value.is_empty() { left } else { format!("{left:w$} {value}", w = width + 1) }
        };
        self.lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (millis, text) in [(-5, "0s"), (119_000, "119s"), (120_000, "2m"), (7_200_000, "2h"), (172_800_000, "2d")] {
            assert_eq!(duration(millis), text);
        }
    }

    #[test]
    fn tables_have_no_trailing_blanks() {
        let text = table(&["A", "LONG"], vec![vec!["1".to_owned(), "x".to_owned()], vec!["22".to_owned(), dash()]]);
        assert_eq!(text, "A   LONG\n1   x\n22  -");
    }

    #[test]
    fn facts_line_up_and_leave_out_what_is_absent() {
        let mut facts = Facts::default();
        facts.add(0, "Task", Some("t"));
        facts.add(0, "Nothing", None::<String>);
        facts.heading(0, "Containers");
        facts.add(1, "Image", Some("i"));
        assert_eq!(facts.render(), "Task:    t\nContainers:\n  Image: i");
    }
}
