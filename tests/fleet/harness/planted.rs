//! The simulation finds bugs: each one that can be planted, within so many seeds.

use crate::run::run_planted;
use longshore_model::planted::Bug;

/// Seeds that a bug may take to be found. Any change of what runs do finds them by other seeds; most take a few.
const SEEDS: u64 = 150;

fn find(bug: Bug) {
    let found = (0..SEEDS).map(|seed| run_planted(seed, bug)).find(|outcome| outcome.wrong.is_some());
    let found = found.unwrap_or_else(|| panic!("{bug:?} is not found in {SEEDS} seeds"));
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
fn lost_wakes_are_found() {
    find(Bug::WakesOfTheBusyAreLost);
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
