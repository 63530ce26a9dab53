//! Bugs that are put in on purpose, one at a time, to show that the simulation of a fleet finds such bugs.
//!
//! A debug build has the places; a bug is there only on a thread that planted it. A release build has neither.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A placement is carried out without a look at what its host has by then.
    StalePlacement,
    /// What a batch changed is published though the store refused it.
    RefusedBatchIsPublished,
    /// A task that is on its way out does not count for the maximum of its service.
    StoppingTakesNoRoom,
    /// The minimum of a service is rounded down.
    MinimumRoundedDown,
    /// How long a task runs is reckoned by the wall clock, which may be set.
    HealthGoesByTheWallClock,
    /// A task that is protected goes as any other.
    ProtectedAreStopped,
    /// A DAEMON service replaces its tasks on as many hosts at once as it likes.
    DaemonsHaveNoMinimum,
    /// An update of a service that says nothing of its percents sets them to what they are by default.
    UpdatesResetPercents,
    /// That a host drains is not written to the store.
    DrainsAreNotKept,
    /// That a schedule is disabled is not written to the store.
    DisabledSchedulesAreNotKept,
    /// That a task is protected is not written to the store.
    ProtectionIsNotKept,
    /// A container that was about to start and is gone is made and started again.
    GoneIsStartedAgain,
    /// An agent is not told which tasks left its assignment.
    RemovalsAreForgotten,
    /// Firings of a schedule that are due and not decided yet are left out when one before them is.
    LateFiringsAreSkipped,
    /// What a rule runs has no token, so that what became of it unheard is run again.
    RunsOfRulesHaveNoToken,
    /// What must not run twice is replaced as soon as its host is silent.
    FencesAreNotWaitedFor,
    /// An address is given again as soon as its task is over.
    AddressesDoNotRest,
    /// An address that a task has is given to another one of its host.
    AddressesInUseAreGiven,
    /// A host that joined anew gives tasks what it made in its former part of the network.
    FormerAddressesAreGiven,
    /// A part of the network whose host is silent is given to another one.
    SilentHostsLoseTheirLeases,
    /// The first interface that reports tell of is taken for that of all of their tasks.
    InterfacesAreMixedUp,
    /// A host is not told which addresses left a group.
    MembersStay,
    /// A task set that is deleted is gone at once, and nobody stops its tasks.
    DeletedSetsAreForgotten,
    /// The share of the desired count that a task set has is rounded down.
    SharesAreRoundedDown,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::StalePlacement,
        Self::RefusedBatchIsPublished,
        Self::StoppingTakesNoRoom,
        Self::MinimumRoundedDown,
        Self::HealthGoesByTheWallClock,
        Self::ProtectedAreStopped,
        Self::DaemonsHaveNoMinimum,
        Self::UpdatesResetPercents,
        Self::DrainsAreNotKept,
        Self::DisabledSchedulesAreNotKept,
        Self::ProtectionIsNotKept,
        Self::GoneIsStartedAgain,
        Self::RemovalsAreForgotten,
        Self::LateFiringsAreSkipped,
        Self::RunsOfRulesHaveNoToken,
        Self::FencesAreNotWaitedFor,
        Self::AddressesDoNotRest,
        Self::AddressesInUseAreGiven,
        Self::FormerAddressesAreGiven,
        Self::SilentHostsLoseTheirLeases,
        Self::InterfacesAreMixedUp,
        Self::MembersStay,
        Self::DeletedSetsAreForgotten,
        Self::SharesAreRoundedDown,
    ];
}

#[cfg(debug_assertions)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// From here on, this thread has the bug. For the simulation alone.
#[cfg(debug_assertions)]
pub fn plant(bug: Bug) {
    PLANTED.set(Some(bug));
}

/// Whether this thread has the bug.
#[cfg(debug_assertions)]
#[must_use]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this thread has the bug. It cannot.
#[cfg(not(debug_assertions))]
#[must_use]
pub const fn is_planted(_: Bug) -> bool {
    false
}
