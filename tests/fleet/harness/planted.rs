//! The simulation finds bugs: each one that can be planted, within so many seeds. A seed that found one finds it again,
//! line by line.

use crate::plan::{Plan, Trouble};
use crate::run::{run, run_planted};
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
        Bug::FormerAddressesAreGiven => plan.network && plan.troubles.contains(&Trouble::Rejoin),
        _ => true,
    }
}

fn find(bug: Bug) {
    if !cfg!(debug_assertions) {
        panic!("nothing can be planted in this build");
    }
    let seeds = (0..).filter(|seed| can_show(bug, &Plan::of(*seed))).take(RUNS);
    let found = seeds.map(|seed| run_planted(seed, bug)).find(|outcome| outcome.wrong.is_some());
    let found = found.unwrap_or_else(|| panic!("{bug:?} is not found in {RUNS} runs"));
    let again = run_planted(found.seed, bug);
    assert!(again == found, "seed {} is another run each time: {found}\n\nand again\n\n{again}", found.seed);
    let without = run(found.seed);
    assert_eq!(without.wrong, None, "seed {} fails without {bug:?} as well", found.seed);
    println!("{bug:?}: seed {}: {}", found.seed, found.wrong.unwrap_or_default());
}

#[test]
fn a_stale_placement_is_found() {
    find(Bug::StalePlacement);
}

#[test]
fn a_refused_batch_that_is_published_is_found() {
    find(Bug::RefusedBatchIsPublished);
}

#[test]
fn stopping_tasks_that_take_no_room_are_found() {
    find(Bug::StoppingTakesNoRoom);
}

#[test]
fn a_minimum_that_is_rounded_down_is_found() {
    find(Bug::MinimumRoundedDown);
}

#[test]
fn health_by_the_wall_clock_is_found() {
    find(Bug::HealthGoesByTheWallClock);
}

#[test]
fn daemons_without_a_minimum_are_found() {
    find(Bug::DaemonsHaveNoMinimum);
}

#[test]
fn updates_that_reset_percents_are_found() {
    find(Bug::UpdatesResetPercents);
}

#[test]
fn drains_that_are_not_kept_are_found() {
    find(Bug::DrainsAreNotKept);
}

#[test]
fn disabled_schedules_that_are_not_kept_are_found() {
    find(Bug::DisabledSchedulesAreNotKept);
}

#[test]
fn a_second_start_of_what_is_gone_is_found() {
    find(Bug::GoneIsStartedAgain);
}

#[test]
fn late_firings_that_are_skipped_are_found() {
    find(Bug::LateFiringsAreSkipped);
}

#[test]
fn runs_of_rules_without_a_token_are_found() {
    find(Bug::RunsOfRulesHaveNoToken);
}

#[test]
fn fences_that_are_not_waited_for_are_found() {
    find(Bug::FencesAreNotWaitedFor);
}

#[test]
fn addresses_that_do_not_rest_are_found() {
    find(Bug::AddressesDoNotRest);
}

#[test]
fn addresses_in_use_that_are_given_are_found() {
    find(Bug::AddressesInUseAreGiven);
}

#[test]
fn former_addresses_that_are_given_are_found() {
    find(Bug::FormerAddressesAreGiven);
}

#[test]
fn leases_of_silent_hosts_that_are_given_away_are_found() {
    find(Bug::SilentHostsLoseTheirLeases);
}

#[test]
fn interfaces_that_are_mixed_up_are_found() {
    find(Bug::InterfacesAreMixedUp);
}

#[test]
fn task_sets_that_are_forgotten_are_found() {
    find(Bug::DeletedSetsAreForgotten);
}

#[test]
fn shares_of_task_sets_that_are_rounded_down_are_found() {
    find(Bug::SharesAreRoundedDown);
}

#[test]
fn members_that_stay_are_found() {
    find(Bug::MembersStay);
}

#[test]
fn forgotten_removals_are_found() {
    find(Bug::RemovalsAreForgotten);
}
