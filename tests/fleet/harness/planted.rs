//! The simulation finds bugs: each one that can be planted, within so many seeds. A seed that found one finds it again,
//! line by line.

use crate::plan::{Plan, Trouble};
use crate::run::{run, run_planted};
use crate::seeds::number;
use longshore_model::planted::Bug;
use std::time::Duration;

/// Runs that a bug may take to be found. Any change of what runs do finds them by other seeds; most take a few.
const RUNS: usize = 150;

/// Whether what a bug is about happens in a run at all.
fn can_show(bug: Bug, plan: &Plan) -> bool {
    match bug {
        Bug::FencesAreNotWaitedFor => plan.fenced,
        Bug::HealthGoesByTheWallClock => {
            plan.troubles.contains(&Trouble::ClockIsSet) && plan.healthy_after >= Duration::from_secs(5)
        }
        Bug::RunsOfRulesHaveNoToken => plan.schedules,
        Bug::ProtectedAreStopped => !plan.troubles.contains(&Trouble::ClockIsSet),
        Bug::ProtectionIsNotKept => plan.troubles.contains(&Trouble::ControlDies),
        Bug::FormerAddressesAreGiven => plan.network && plan.troubles.contains(&Trouble::Rejoin),
        _ => true,
    }
}

/// `near` is the seed that found it last: `make test` begins there, and so has few runs to make as long as runs do what
/// they did then. `make sim`, which says how many seeds it wants, begins with the first. How it shows has one of `says`.
fn find(bug: Bug, near: u64, says: &[&str]) {
    if !cfg!(debug_assertions) {
        panic!("nothing can be planted in this build");
    }
    let first = number("LONGSHORE_SEEDS").map_or(near, |_| 0);
    let seeds = (first..).filter(|seed| can_show(bug, &Plan::of(*seed))).take(RUNS);
    let found = seeds.map(|seed| run_planted(seed, bug)).find(|outcome| outcome.wrong.is_some());
    let found = found.unwrap_or_else(|| panic!("{bug:?} is not found in {RUNS} runs"));
    let wrong = found.wrong.as_deref().unwrap_or_default();
    assert!(
        found.lines > 0 && says.iter().any(|says| wrong.contains(says)),
        "seed {} found something else: {found}",
        found.seed
    );
    let again = run_planted(found.seed, bug);
    assert!(again == found, "seed {} is another run each time: {found}\n\nand again\n\n{again}", found.seed);
    let without = run(found.seed);
    assert_eq!(without.wrong, None, "seed {} fails without {bug:?} as well", found.seed);
    println!("{bug:?}: seed {}: {wrong}", found.seed);
}

#[test]
fn a_stale_placement_is_found() {
    find(Bug::StalePlacement, 4, &["and its tasks hold"]);
}

#[test]
fn a_refused_batch_that_is_published_is_found() {
    find(Bug::RefusedBatchIsPublished, 28, &["went back from", "was answered to a client"]);
}

#[test]
fn stopping_tasks_that_take_no_room_are_found() {
    find(Bug::StoppingTakesNoRoom, 2, &[", of at most"]);
}

#[test]
fn a_minimum_that_is_rounded_down_is_found() {
    find(Bug::MinimumRoundedDown, 2, &["left, of at least"]);
}

#[test]
fn health_by_the_wall_clock_is_found() {
    find(Bug::HealthGoesByTheWallClock, 127, &["left, of at least"]);
}

#[test]
fn protected_tasks_that_are_stopped_are_found() {
    find(Bug::ProtectedAreStopped, 4, &["was protected and is stopped"]);
}

#[test]
fn daemons_without_a_minimum_are_found() {
    find(Bug::DaemonsHaveNoMinimum, 14, &["left on"]);
}

#[test]
fn updates_that_reset_percents_are_found() {
    find(Bug::UpdatesResetPercents, 2, &["was answered to a client as"]);
}

#[test]
fn drains_that_are_not_kept_are_found() {
    find(Bug::DrainsAreNotKept, 0, &["was answered to a client as"]);
}

#[test]
fn disabled_schedules_that_are_not_kept_are_found() {
    find(Bug::DisabledSchedulesAreNotKept, 110, &["was answered to a client as"]);
}

#[test]
fn protection_that_is_not_kept_is_found() {
    find(Bug::ProtectionIsNotKept, 7, &["was answered to a client as"]);
}

#[test]
fn a_second_start_of_what_is_gone_is_found() {
    find(Bug::GoneIsStartedAgain, 1, &["runs twice"]);
}

#[test]
fn late_firings_that_are_skipped_are_found() {
    find(Bug::LateFiringsAreSkipped, 11, &["has left out its firing"]);
}

#[test]
fn runs_of_rules_without_a_token_are_found() {
    find(Bug::RunsOfRulesHaveNoToken, 162, &["where 1 may be"]);
}

#[test]
fn fences_that_are_not_waited_for_are_found() {
    find(Bug::FencesAreNotWaitedFor, 11, &["and one of them may at most"]);
}

#[test]
fn addresses_that_do_not_rest_are_found() {
    find(Bug::AddressesDoNotRest, 65, &["and has rested"]);
}

#[test]
fn addresses_in_use_that_are_given_are_found() {
    find(Bug::AddressesInUseAreGiven, 65, &["is given to"]);
}

#[test]
fn former_addresses_that_are_given_are_found() {
    find(Bug::FormerAddressesAreGiven, 24, &["which is not its host's"]);
}

#[test]
fn leases_of_silent_hosts_that_are_given_away_are_found() {
    find(Bug::SilentHostsLoseTheirLeases, 24, &["is the lease of"]);
}

#[test]
fn interfaces_that_are_mixed_up_are_found() {
    find(Bug::InterfacesAreMixedUp, 8, &["which nobody gave it"]);
}

#[test]
fn task_sets_that_are_forgotten_are_found() {
    find(Bug::DeletedSetsAreForgotten, 44, &["which is gone"]);
}

#[test]
fn shares_of_task_sets_that_are_rounded_down_are_found() {
    find(Bug::SharesAreRoundedDown, 1, &["of 1 tasks"]);
}

#[test]
fn members_that_stay_are_found() {
    find(Bug::MembersStay, 51, &["and it knows"]);
}

#[test]
fn forgotten_removals_are_found() {
    find(Bug::RemovalsAreForgotten, 0, &["the ledger has"]);
}
