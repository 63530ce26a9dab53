//! Where in its flexible window a firing lies.

use longshore_model::Timestamp;
use std::time::Duration;

/// The moment from `at` on, and before `at + window`, at which a firing is carried out; whole seconds after `at`.
///
/// Follows from the arguments alone. `seed` is what tells one schedule from all others, as bytes: schedules that fire
/// at the same time are spread over their windows evenly.
#[must_use]
pub fn place_in_window(seed: &[u8], at: Timestamp, window: Duration) -> Timestamp {
    let seconds = window.as_secs();
    if seconds == 0 {
        return at;
    }
    at.after(Duration::from_secs(mix(seed, at) % seconds))
}

/// FNV-1a over the seed and the time, then a finish that every bit of the input moves every bit of (as in SplitMix64).
fn mix(seed: &[u8], at: Timestamp) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = seed.iter().chain(&at.millis().to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, fold);
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firings_are_spread_and_stay_where_they_are() {
        let window = Duration::from_secs(15 * 60);
        let mut quarters = [0u32; 4];
        for n in 0..4000u32 {
            let at = Timestamp::from_millis(1_700_000_000_000 + i64::from(n % 10) * 60_000);
            let place = place_in_window(&n.to_le_bytes(), at, window);
            assert!(place >= at && place < at.after(window), "{place}");
            assert_eq!(place, place_in_window(&n.to_le_bytes(), at, window));
            quarters[usize::try_from(place.since(at).as_secs() / 225).expect("small")] += 1;
        }
        assert!(quarters.iter().all(|count| (850..1150).contains(count)), "{quarters:?}");
        let at = Timestamp::from_millis(5);
        assert_eq!(place_in_window(b"x", at, Duration::ZERO), at);
    }
}
