//! Waiting for a state with a deadline; the lab never sleeps for a while and hopes.
//!
//! While a state is waited for an error mostly says "not yet": an API that is not up, a container that is gone. What
//! must hold the whole time is said with [`invariant`], and ends the wait when it does not.

use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};

/// How often a state is looked at. Short, since most states of the lab come within tens of milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Something that must never be was seen.
#[derive(Debug)]
struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

/// That something holds which must hold at every look of a wait, with what was seen where it does not.
///
/// # Errors
/// When it does not hold. A [`wait_for`] that is given the error ends with it at once.
pub fn invariant(holds: bool, seen: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(Broken(seen()))) }
}

/// Looks until `look` gives a value, and gives that value. Its errors are taken for "not yet", but for those of
/// [`invariant`].
///
/// # Errors
/// When `deadline` passes first; the text has `what`, and what `look` last said about why not. At once when an
/// [`invariant`] does not hold.
pub fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        let last = match look() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) if error.is::<Broken>() => return Err(error.context(format!("while waiting for: {what}"))),
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

#[cfg(test)]
mod tests {
    use super::{invariant, wait_for, wait_until};
    use anyhow::{Context, bail};
    use std::time::Duration;

    #[test]
    fn an_error_is_not_yet_and_a_broken_invariant_is_the_end() {
        let mut looks = 0;
        let found = wait_for("the third look", Duration::from_secs(10), || {
            looks += 1;
            if looks < 3 {
                bail!("look {looks}");
            }
            Ok(Some(looks))
        });
        assert_eq!(found.unwrap(), 3);

        // It holds again at the next look, which does not come.
        for has_context in [false, true] {
            let mut looks = 0;
            let error = wait_until("the end", Duration::from_secs(10), || {
                looks += 1;
                let one_at_most = invariant(looks != 2, || format!("it runs {looks} times"));
                if has_context {
                    one_at_most.context("a look")?
                } else {
                    one_at_most?
                }
                Ok(looks > 2)
            });
            let text = format!("{:#}", error.unwrap_err());
            assert_eq!(looks, 2);
            assert!(text.starts_with("while waiting for: the end: ") && text.ends_with("it runs 2 times"), "{text}");
        }

        let late = wait_until("nothing", Duration::ZERO, || bail!("no")).unwrap_err();
        assert_eq!(format!("{late:#}"), "nothing did not come within 0ns: no");
    }
}
