//! Seeds, in parts that run beside each other.

use crate::run::{run, run_aloud, run_what_is_wanted};
use crate::{check, show_log};

/// Seeds in all, unless `LONGSHORE_SEEDS` says otherwise.
const SEEDS: u64 = 1000;
/// The tests below that share them.
const PARTS: u64 = 16;

/// The number that a variable of the environment has.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name} is `{text}`, which is no number: {error}")))
}

fn part(part: u64) {
    let each = number("LONGSHORE_SEEDS").unwrap_or(SEEDS).div_ceil(PARTS);
    check(part * each..(part + 1) * each);
}

macro_rules! parts {
    ($($name:ident = $part:literal,)*) => {
        $(#[test]
        fn $name() {
            part($part);
        })*
    };
}

parts! {
    part_00 = 0,
    part_01 = 1,
    part_02 = 2,
    part_03 = 3,
    part_04 = 4,
    part_05 = 5,
    part_06 = 6,
    part_07 = 7,
    part_08 = 8,
    part_09 = 9,
    part_10 = 10,
    part_11 = 11,
    part_12 = 12,
    part_13 = 13,
    part_14 = 14,
    part_15 = 15,
}

#[test]
fn one_seed_twice_is_the_same_run() {
    for seed in 0..15 {
        let (first, second) = (run(seed), run(seed));
        assert!(first == second && first.lines > 0, "{first}\n\nand again\n\n{second}");
    }
    assert_ne!(run(1).sum, run(2).sum, "another seed is another run");
}

/// `LONGSHORE_SEED=N` runs that seed and prints all that happens, and with `LONGSHORE_LOG=debug` the product's log
/// between the lines; without a seed, seed 0 runs quietly.
#[test]
fn replay() {
    if run_what_is_wanted() {
        return;
    }
    match number("LONGSHORE_SEED") {
        Some(seed) => {
            if let Ok(filter) = std::env::var("LONGSHORE_LOG") {
                show_log(&filter);
            }
            let outcome = run_aloud(seed);
            assert!(outcome.wrong.is_none(), "{outcome}");
        }
        None => check([0]),
    }
}
