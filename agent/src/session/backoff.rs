//! Waits between attempts: doubling, capped, and never the same for two agents.

use std::time::Duration;

/// The waits of one series of failures.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The next wait: between a half and the whole of a length that doubles each time up to the cap.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.next.min(self.max);
        self.next = whole * 2;
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Begins again with the shortest wait.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_no_further() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(min, max);
        let mut whole = min;
        for _ in 0..40 {
            let wait = backoff.next();
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(max);
        }
        backoff.reset();
        assert!(backoff.next() <= min);
    }
}
