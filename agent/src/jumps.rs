//! Jumps of the host's clock, told from the time that passed meanwhile.

use longshore_model::Timestamp;
use tokio::time::Instant;

/// What counts as a jump, in milliseconds. Less is what a clock that is slewed gains or loses in an hour.
const LEAST: u64 = 2_000;

/// So many milliseconds when they are a jump.
pub(crate) fn jump(moved: i64) -> Option<i64> {
    (moved.unsigned_abs() >= LEAST).then_some(moved)
}

/// What the clock said, and when.
#[derive(Debug)]
pub(crate) struct Jumps {
    at: Instant,
    said: Timestamp,
}

impl Jumps {
    /// Begins with what the clock says now.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { at: Instant::now(), said: now }
    }

    /// By how many milliseconds the clock was moved since it was last looked at or moved; `None` while it goes as it
    /// should.
    pub(crate) fn look(&mut self, now: Timestamp) -> Option<i64> {
        let should = self.said.after(self.at.elapsed());
        let moved = jump(now.millis().saturating_sub(should.millis()))?;
        *self = Self::new(now);
        Some(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_jump_is_seen_once_and_what_passes_is_none() {
        let at = Timestamp::from_millis;
        let mut jumps = Jumps::new(at(1_000_000));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(jumps.look(at(4_600_000)), None, "an hour passed");
        assert_eq!(jumps.look(at(4_601_900)), None, "it is a little fast");
        assert_eq!(jumps.look(at(8_200_000)), Some(3_600_000));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(jumps.look(at(8_201_000)), None, "it was seen");
        assert_eq!(jumps.look(at(1_000_000)), Some(-7_201_000));
    }
}
