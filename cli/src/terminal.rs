//! This command's terminal: its size, and raw mode, which ends however this command ends.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, IsTerminal as _};

/// Whether keys and screen are a terminal's.
pub(crate) fn is_here() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Lines and characters; `None` when standard output, and input, is no terminal.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    Some((size.ws_row, size.ws_col))
}

/// Raw mode: every key is a byte for somebody else, `ctrl-c` too. Dropping it sets the terminal back; so does a panic,
/// which drops it. A signal has to be waited for by whoever holds it.
pub(crate) struct Raw {
    before: Termios,
    raw: Termios,
}

impl Raw {
    /// Sets the terminal of standard input.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        let this = Self { before, raw };
        this.again()?;
        Ok(this)
    }

    /// Sets it again: after this command was stopped and goes on, a shell has set it its own way.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn again(&self) -> io::Result<()> {
        Ok(tcsetattr(io::stdin(), OptionalActions::Now, &self.raw)?)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
