//! An abrupt end at a chosen place, for tests of what a crash leaves behind. Release builds have no such places.
//!
//! Every write of something that outlives the agent and every side effect on the host is a [`Place`], and all of them
//! are in the table below: code cannot name one that is not, and a test holds that each is named by code. In a debug
//! build, `LONGSHORE_TEST_CRASH` in the environment says where the process aborts:
//! - `NAME` or `NAME:N`: the first or the `N`th time that the place of this name is passed;
//! - `any:N`: at the `N`th passing of whichever place;
//! - `any:0`: nowhere, and the log has a line for each passing;
//! - `full-NAME` or `full-NAME:N`: nowhere; instead the disk is full from the first or the `N`th time on that this
//!   write is to be made, for three of them;
//! - `list`: nowhere; `longshore-agent` prints the names of all places and exits.
//!
//! Most places have two sides and so two names, `before-…` and `after-…`; those that write to the disk have `full-…`,
//! too. Those of an interface's life (A is the making
//! of a sandbox, B the start of a task, C its end) follow each other, so one side is enough.

use std::io;

/// Which side of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    /// It fails, for want of space.
    #[cfg_attr(not(debug_assertions), expect(dead_code, reason = "release builds have no such places"))]
    Full,
    After,
}

/// As many writes in a row find no space: one more than the agent makes at once, so that it has to come back to it.
#[cfg(debug_assertions)]
const FULL_FOR: u64 = 3;

macro_rules! places {
    (
        writes { $($(#[doc = $written:literal])* $write:ident = $write_name:literal,)* }
        both { $($(#[doc = $about:literal])* $both:ident = $both_name:literal,)* }
        after { $($(#[doc = $what:literal])* $after:ident = $after_name:literal,)* }
    ) => {
        /// Where the agent can be made to end.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Place {
            $($(#[doc = $written])* $write,)*
            $($(#[doc = $about])* $both,)*
            $($(#[doc = $what])* $after,)*
        }

        #[cfg(debug_assertions)]
        const ALL: &[Place] = &[$(Place::$write,)* $(Place::$both,)* $(Place::$after,)*];

        #[cfg(debug_assertions)]
        impl Place {
            /// The name of one side of it; `None` when it has no such side.
            const fn name(self, side: Side) -> Option<&'static str> {
                match (self, side) {
                    $((Self::$write, Side::Before) => Some(concat!("before-", $write_name)),
                    (Self::$write, Side::Full) => Some(concat!("full-", $write_name)),
                    (Self::$write, Side::After) => Some(concat!("after-", $write_name)),)*
                    $((Self::$both, Side::Before) => Some(concat!("before-", $both_name)),
                    (Self::$both, Side::Full) => None,
                    (Self::$both, Side::After) => Some(concat!("after-", $both_name)),)*
                    $((Self::$after, Side::Before | Side::Full) => None,
                    (Self::$after, Side::After) => Some($after_name),)*
                }
            }
        }
    };
}

places! {
    writes {
        /// A transaction of the ledger.
        LedgerWrite = "ledger-write",
        /// The first transaction of a new ledger.
        LedgerBegin = "ledger-begin",
        /// A ledger that counts no more is moved away.
        LedgerSetAside = "ledger-set-aside",
        /// The note of how far the ledger is.
        LedgerMark = "ledger-mark",
        /// Space is kept for the ledger.
        LedgerReserve = "ledger-reserve",
        /// The key that this host joins with is written.
        JoiningKey = "joining-key",
        /// The identity is written.
        IdentityFile = "identity-file",
        /// The key of the metadata endpoint is written.
        MetadataKey = "metadata-key",
        /// All that the control plane said of the network is written.
        NetworkFile = "network-file",
        /// A line of what it said since is written.
        NetworkSteps = "network-steps",
        /// The addresses that rest are written.
        RestingFile = "resting-file",
        /// The files of an interface are written.
        InterfaceFiles = "interface-files",
        /// The note of when the control plane heard this host last, for tasks that must not run twice, is written.
        ContactFile = "contact-file",
        /// The history of images is written.
        ImagesFile = "images-file",
        /// What was begun in a container for somebody is written.
        ExecRecord = "exec-record",
    }
    both {
        /// The space that was kept for the ledger is given to it.
        LedgerReserveReleased = "ledger-reserve-released",
        /// The key that this host joined with is removed.
        JoiningKeyRemoved = "joining-key-removed",
        /// The files of an interface are removed.
        InterfaceFilesRemoved = "interface-files-removed",
        /// And those of interfaces that nobody knows.
        InterfaceFilesStrays = "interface-files-strays",
        /// What a former container instance's control plane said of the network is forgotten.
        NetworkLeft = "network-left",
        /// An image that nothing uses is removed.
        ImageRemoved = "image-removed",
        /// A command that is to be executed in a container is made.
        ExecMade = "exec-made",
        /// It is started.
        ExecStart = "exec-start",
        /// One whose client is gone is ended.
        ExecEnd = "exec-end",
        /// What was written of it is removed.
        ExecRecordRemoved = "exec-record-removed",
        /// Host ports are chosen and held.
        Ports = "ports",
        /// A task's cgroup is made, with its limits.
        EnsureCgroup = "ensure-cgroup",
        /// A task is given an interface.
        EnsureInterface = "ensure-interface",
        /// A task's pause container is made and started.
        EnsureNamespaces = "ensure-namespaces",
        /// A task's volume is made.
        EnsureVolume = "ensure-volume",
        /// A shared volume is made.
        EnsureSharedVolume = "ensure-shared-volume",
        /// An image is pulled, or found, and remembered.
        Pull = "pull",
        /// A container is created.
        Create = "create",
        /// A container is started.
        Start = "start",
        /// A container is started again, as its restart policy wants.
        StartAgain = "start-again",
        /// A container is stopped.
        Stop = "stop",
        /// A container is removed.
        Remove = "remove",
        /// A container that somebody renamed gets its name back.
        Rename = "rename",
        /// A task's cgroup is removed.
        ReleaseCgroup = "release-cgroup",
        /// A task's interface is returned.
        ReleaseInterface = "release-interface",
        /// A task's pause container is removed.
        ReleaseNamespaces = "release-namespaces",
        /// A task's volume is removed.
        ReleaseVolume = "release-volume",
        /// What a task that nobody knows left behind is removed.
        Leftovers = "leftovers",
        /// The image of sandboxes and pause containers is imported.
        PauseImage = "pause-image",
        /// The sandbox of an interface is removed.
        SandboxRemoved = "sandbox-removed",
        /// The fabric is made, or found and taken over.
        FabricOpen = "fabric-open",
        /// What the kernel has of interfaces that nobody knows is removed.
        KernelStrays = "kernel-strays",
        /// What somebody else took of the fabric is put back.
        FabricRepair = "fabric-repair",
        /// The addresses that are this host's to give are put in force.
        SetLeases = "set-leases",
        /// An interface is named for its task.
        NameTask = "name-task",
        /// The metadata endpoint of the host's own networks is made.
        HostDoor = "host-door",
        /// Rules of security groups are put in force.
        SetGroups = "set-groups",
        /// Who is in which security group is put in force.
        SetMembers = "set-members",
        /// The ways to other hosts are put in force.
        SetPeers = "set-peers",
        /// An interface gets its limits.
        SetLimits = "set-limits",
        /// Output is handed to the control plane.
        PutLogs = "put-logs",
        /// Reports are handed to the control plane.
        SendReports = "send-reports",
        /// The control plane is told what is applied.
        SendApplied = "send-applied",
    }
    after {
        /// A sandbox's address is chosen.
        AddressChosen = "A1",
        /// The sandbox is created.
        SandboxCreated = "A2-created",
        /// And started.
        SandboxStarted = "A2",
        /// A sandbox that ended with the host is started again.
        SandboxStartedAgain = "sandbox-started-again",
        /// Its namespace has a name.
        Pinned = "A3",
        /// The link is there.
        Linked = "A4",
        /// The sandbox's side is set up.
        SandboxSet = "A5",
        /// And the fabric's.
        FabricSet = "A6",
        /// And both were read back.
        Wired = "A7",
        /// The ledger has the task's interface.
        InterfaceSaved = "B1",
        /// The task's files are written.
        FilesWritten = "B2",
        /// The chains of its groups are there.
        ProfileMade = "B3-chains",
        /// The firewall lets it through.
        Admitted = "B3",
        /// The control plane has recorded it.
        InterfaceRecorded = "B4",
        /// A container is created.
        ContainerCreated = "B5-created",
        /// And started.
        ContainerStarted = "B5",
        /// The containers of an interface's task have stopped.
        ContainersStopped = "C1",
        /// The firewall has forgotten it.
        Dismissed = "C2",
        /// Its address rests, on the disk.
        AddressRests = "C2-rests",
        /// Its connections are forgotten.
        ConnectionsForgotten = "C3",
        /// The sandbox is removed.
        SandboxGone = "C4",
        /// And its namespace's name.
        Unpinned = "C4-unpinned",
        /// And what else the kernel had.
        Unwired = "C4-unwired",
        /// The control plane has recorded that.
        EndRecorded = "C5",
        /// A task's cgroup is there, without its limits.
        CgroupMade = "cgroup-made",
        /// A task's pause container is created.
        NamespacesCreated = "namespaces-created",
        /// The steps of what the control plane said before are removed.
        NetworkStepsRemoved = "network-steps-removed",
    }
}

/// Says that something is about to be done.
pub(crate) fn before(place: Place) {
    passing(place, Side::Before, || true);
}

/// Says that something was done.
pub(crate) fn after(place: Place) {
    passing(place, Side::After, || true);
}

/// Says that something was done if `holds`, which is not asked in a release build.
pub(crate) fn after_if(place: Place, holds: impl FnOnce() -> bool) {
    passing(place, Side::After, holds);
}

/// Fails when there is to be no space for the write at `place`.
pub(crate) fn space_for(place: Place) -> io::Result<()> {
    full(place)
}

/// Does something, and says so before and after.
pub(crate) async fn around<T>(place: Place, work: impl Future<Output = T>) -> T {
    before(place);
    let done = work.await;
    after(place);
    done
}

/// The names of all places, when they are asked for.
#[must_use]
#[cfg(debug_assertions)]
pub fn listed() -> Option<Vec<&'static str>> {
    let sides = |place: &Place| [Side::Before, Side::Full, Side::After].map(|side| place.name(side));
    (*CHOSEN == Chosen::List).then(|| ALL.iter().flat_map(sides).flatten().collect())
}

/// Where the agent ends.
#[cfg(debug_assertions)]
#[derive(Debug, PartialEq, Eq)]
enum Chosen {
    Nowhere,
    List,
    /// At this passing of this place, or, without a name, of any.
    At {
        name: Option<String>,
        passing: u64,
    },
}

#[cfg(debug_assertions)]
impl Chosen {
    fn parse(text: &str) -> Self {
        let (name, passing) = match text.split_once(':') {
            Some((name, passing)) => (name, passing.parse().expect("LONGSHORE_TEST_CRASH is PLACE:NUMBER")),
            None => (text, 1),
        };
        match name {
            "" => Self::Nowhere,
            "list" => Self::List,
            "any" => Self::At { name: None, passing },
            name => Self::At { name: Some(name.to_owned()), passing },
        }
    }
}

#[cfg(debug_assertions)]
static CHOSEN: std::sync::LazyLock<Chosen> = std::sync::LazyLock::new(|| {
    std::env::var("LONGSHORE_TEST_CRASH").map_or(Chosen::Nowhere, |text| Chosen::parse(&text))
});

/// The name of this side, the number of this passing and the one that is chosen; none where it is not.
#[cfg(debug_assertions)]
fn count(place: Place, side: Side, holds: impl FnOnce() -> bool) -> Option<(&'static str, u64, u64)> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Chosen::At { name, passing } = &*CHOSEN else { return None };
    let step = place.name(side)?;
    let here = name.as_ref().map_or(side != Side::Full, |name| name == step);
    (here && holds()).then(|| (step, PASSED.fetch_add(1, Ordering::SeqCst) + 1, *passing))
}

#[cfg(debug_assertions)]
fn passing(place: Place, side: Side, holds: impl FnOnce() -> bool) {
    let Some((step, passed, passing)) = count(place, side, holds) else { return };
    if passed == passing {
        tracing::error!(step, "LONGSHORE_TEST_CRASH: the agent ends here");
        std::process::abort();
    } else if passing == 0 {
        tracing::info!(step, passed, "LONGSHORE_TEST_CRASH: passing");
    }
}

#[cfg(debug_assertions)]
fn full(place: Place) -> io::Result<()> {
    let Some((step, passed, passing)) = count(place, Side::Full, || true) else { return Ok(()) };
    if !(passing..passing + FULL_FOR).contains(&passed) {
        return Ok(());
    }
    tracing::error!(step, passed, "LONGSHORE_TEST_CRASH: the disk is full here");
    Err(io::Error::from_raw_os_error(nix::errno::Errno::ENOSPC as i32))
}

/// Nothing.
#[cfg(not(debug_assertions))]
fn passing(_place: Place, _side: Side, _holds: impl FnOnce() -> bool) {}

/// There is.
#[cfg(not(debug_assertions))]
fn full(_place: Place) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn sources(directory: &Path, into: &mut String) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("crash.rs") {
                into.push_str(&std::fs::read_to_string(&path).expect("text"));
            }
        }
    }

    #[test]
    fn every_place_is_in_the_code_and_has_a_name_of_its_own() {
        let mut text = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
        let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != ':').collect();
        let mut names = BTreeSet::new();
        for place in ALL {
            let name = format!("Place::{place:?}");
            let full = format!("crash::{name}");
            let used = words.contains(name.as_str()) || words.contains(full.as_str());
            assert!(used, "{place:?} is nowhere in the code");
            let writes = place.name(Side::Full).is_some();
            let fails = text.contains(&format!("crash::space_for(Place::{place:?})"));
            assert_eq!(writes, fails, "{place:?}: whether its write can be made to fail");
            let sides = [Side::Before, Side::Full, Side::After].map(|side| place.name(side));
            assert!(sides.into_iter().flatten().all(|name| names.insert(name)), "{place:?} is not alone");
        }
    }

    #[test]
    fn places_are_chosen_by_name_and_number() {
        let at = |name: Option<&str>, passing| Chosen::At { name: name.map(str::to_owned), passing };
        let cases = [
            ("", Chosen::Nowhere),
            ("list", Chosen::List),
            ("A3", at(Some("A3"), 1)),
            ("after-ledger-write:7", at(Some("after-ledger-write"), 7)),
            ("any:12", at(None, 12)),
            ("any:0", at(None, 0)),
        ];
        for (text, chosen) in cases {
            assert_eq!(Chosen::parse(text), chosen, "{text}");
        }
    }
}
