//! Waiting for a state with a deadline; the lab never sleeps for a while and hopes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a state is looked at. Short, since most states of the lab come within tens of milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until `look` gives a value, and gives that value.
///
/// # Errors
/// When `deadline` passes first; the text has `what`, and what `look` last said about why not.
pub fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        let last = match look() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if begin.elapsed() >= deadline {
            match last {
                Some(error) => return Err(error.context(format!("{what} did not come within {deadline:?}"))),
                None => bail!("{what} did not come within {deadline:?}"),
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Looks until `look` is true; see [`wait_for`].
///
/// # Errors
/// As [`wait_for`].
pub fn wait_until(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, deadline, || Ok(look()?.then_some(())))
}
