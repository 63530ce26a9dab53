//! Tells a person at a terminal what is being waited for. On standard error, and only when that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A line that turns while something takes time; gone when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Starts with `text`. indicatif itself stays silent when standard error is no terminal.
    pub(crate) fn start(text: String) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.set_message(text);
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }

    /// Says how far it is.
    pub(crate) fn say(&self, text: String) {
        self.bar.set_message(text);
    }
}

impl Progress {
    /// Prints a line that stays, terminal or not.
    pub(crate) fn tell(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
