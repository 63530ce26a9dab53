//! Chance that a seed decides: on a thread that has a seed, the operating system's random bytes come from it.
//!
//! Ids, jitter and the order of hash maps all begin with `getrandom`. A binary that has a function of that name uses it
//! instead of the C library's, so that no code of the product knows of the simulation. A thread has its own hash keys
//! and generators, so each run has a thread of its own.

use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

thread_local! {
    static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// From here on, this thread's random bytes follow from `seed`.
pub(crate) fn seed(seed: u64) {
    // Keeps the function below in the binary.
    std::hint::black_box(getrandom as unsafe extern "C" fn(*mut u8, usize, u32) -> isize);
    SEEDED.with_borrow_mut(|rng| *rng = Some(StdRng::seed_from_u64(seed)));
}

/// Fills `buffer` as the C library's function of this name would.
///
/// # Safety
/// `buffer` has room for `length` bytes.
#[allow(unsafe_code, reason = "stands before the C library's function")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    let seeded = SEEDED.try_with(|rng| match rng.try_borrow_mut().ok()?.as_mut() {
        Some(rng) => {
            rng.fill_bytes(bytes);
            Some(())
        }
        None => None,
    });
    if !matches!(seeded, Ok(Some(()))) {
        // A thread without a seed: the test harness. What it does with chance is none of a run's business.
        use std::io::Read as _;
        let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes));
        if read.is_err() {
            return -1;
        }
    }
    isize::try_from(length).unwrap_or(-1)
}

/// One part's own chance, so that what another part does with its own changes nothing here.
#[derive(Debug)]
pub(crate) struct Dice(Mutex<StdRng>);

impl Dice {
    /// The dice of the part `name` in the run of `seed`.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let mut mixed = seed ^ 0x9E37_79B9_7F4A_7C15;
        for byte in name.bytes() {
            mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3).rotate_left(17);
        }
        Self(Mutex::new(StdRng::seed_from_u64(mixed)))
    }

    fn rng<T>(&self, roll: impl FnOnce(&mut StdRng) -> T) -> T {
        roll(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True in so many of a thousand times.
    pub(crate) fn chance(&self, per_mille: u32) -> bool {
        self.rng(|rng| rng.random_range(0..1000)) < per_mille
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        self.rng(|rng| rng.random_range(low..=high))
    }

    /// The same for a span of time, in milliseconds.
    pub(crate) fn millis(&self, low: u64, high: u64) -> std::time::Duration {
        std::time::Duration::from_millis(self.between(low, high))
    }

    /// One of them; `None` of nothing.
    pub(crate) fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { Some(&of[self.rng(|rng| rng.random_range(0..of.len()))]) }
    }
}
