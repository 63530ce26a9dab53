//! What a seed decides before a run begins: the fleet, how long it is troubled, and by what. Not every run has every
//! trouble: what a few do together is found where the others do not drown it.

use crate::entropy::Dice;
use crate::schedules::SMALL;
use std::time::Duration;

/// A trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The control plane dies at one of its next awaits.
    ControlDies,
    /// An agent dies at one of its next awaits.
    AgentDies,
    /// A host's power goes, and comes back later.
    Power,
    /// A host's line passes nothing for a while.
    Partition,
    /// The connections of a host break.
    Break,
    /// A host's line is slow for a while.
    SlowLine,
    /// A host's engine restarts, and its containers go on.
    EngineRestarts,
    /// A host's engine ends with its containers, and comes back.
    EngineDies,
    /// A host's engine takes long for everything for a while.
    EngineHangs,
    /// Somebody removes a container by hand.
    Vandal,
    /// A host is deregistered by force, and joins anew.
    Rejoin,
    /// The control plane's wall clock is set.
    ClockIsSet,
}

/// All of them.
const TROUBLES: [Trouble; 12] = [
    Trouble::ControlDies,
    Trouble::AgentDies,
    Trouble::Power,
    Trouble::Partition,
    Trouble::Break,
    Trouble::SlowLine,
    Trouble::EngineRestarts,
    Trouble::EngineDies,
    Trouble::EngineHangs,
    Trouble::Vandal,
    Trouble::Rejoin,
    Trouble::ClockIsSet,
];

/// What tasks that must not run twice stand only while it is brief and rare: the agents of their hosts have to be
/// brought back, and the engines to answer.
const BRIEF: [Trouble; 3] = [Trouble::AgentDies, Trouble::EngineRestarts, Trouble::EngineHangs];

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// CPU units and MiB of each host.
    pub(crate) hosts: Vec<(u32, u32)>,
    /// How long a task without health checks runs until it counts as healthy.
    pub(crate) healthy_after: Duration,
    /// How long it is troubled.
    pub(crate) length: Duration,
    /// The longest wait between two requests of clients, in milliseconds.
    pub(crate) pace: u64,
    /// What may happen.
    pub(crate) troubles: Vec<Trouble>,
    /// The longest wait between two troubles, in milliseconds.
    pub(crate) trouble_pace: u64,
    /// Of a thousand commits of the control plane's store, how many fail.
    pub(crate) store_faults: u32,
    /// Whether that store stalls at times.
    pub(crate) store_slow: bool,
    /// Of a thousand writes of a ledger, how many fail.
    pub(crate) ledger_faults: u32,
    /// Longest delay of a message, in milliseconds.
    pub(crate) delay: u64,
    /// Of a thousand messages, how many are lost, doubled or overtaken.
    pub(crate) tamper: u32,
    /// Of a thousand events of an engine, how many get lost.
    pub(crate) deaf: u32,
    /// Whether clients make schedules and rules.
    pub(crate) schedules: bool,
    /// Whether clients have a service whose task must not run twice.
    pub(crate) fenced: bool,
    /// Whether hosts have parts of a task network.
    pub(crate) network: bool,
    /// Whether clients have a service with task sets.
    pub(crate) sets: bool,
    /// The host that clients leave DRAINING when they end, if they leave one so.
    pub(crate) drained: Option<usize>,
}

/// The host that is left DRAINING, in some runs: the others have to have room for what the workload has in theirs. By
/// dice of its own.
fn drained(seed: u64, hosts: &[(u32, u32)], schedules: bool, fenced: bool) -> Option<usize> {
    let dice = Dice::new(seed, "drained");
    let enough = hosts.len() > if fenced { 2 } else { 1 };
    if !enough || !dice.chance(300) {
        return None;
    }
    let all: Vec<usize> = (0..hosts.len()).collect();
    let drained = *dice.pick(&all)?;
    let others = hosts.iter().enumerate().filter(|(index, _)| *index != drained);
    let size: u32 = others.map(|(_, (cpu, memory))| *cpu.min(memory)).sum();
    (!schedules || size > SMALL).then_some(drained)
}

impl Plan {
    /// Whether a trouble has to be brief and rare in this run.
    pub(crate) fn is_brief(&self, trouble: Trouble) -> bool {
        self.fenced && BRIEF.contains(&trouble)
    }

    /// The run of `seed`. One in ten has no trouble at all.
    pub(crate) fn of(seed: u64) -> Self {
        let dice = Dice::new(seed, "plan");
        let calm = dice.chance(100);
        let sizes = [512, 1024, 2048];
        let size = || dice.pick(&sizes).copied().unwrap_or(1024);
        let (schedules, fenced) = (dice.chance(500), dice.chance(300));
        // What has to be ended on one host goes on at another.
        let hosts: Vec<_> = (0..dice.between(if fenced { 2 } else { 1 }, 4)).map(|_| (size(), size())).collect();
        let some = |of_thousand, value| if !calm && dice.chance(of_thousand) { value } else { 0 };
        let always = |trouble: &Trouble| match trouble {
            Trouble::Partition => fenced,
            Trouble::ClockIsSet => schedules,
            _ => false,
        };
        Self {
            seed,
            drained: drained(seed, &hosts, schedules, fenced),
            hosts,
            healthy_after: Duration::from_secs(dice.pick(&[0, 2, 5, 20]).copied().unwrap_or(2)),
            length: Duration::from_secs(dice.between(8, 30)),
            pace: dice.pick(&[400, 1500, 4000]).copied().unwrap_or(2000),
            troubles: TROUBLES.into_iter().filter(|trouble| !calm && (dice.chance(500) || always(trouble))).collect(),
            trouble_pace: dice.pick(&[500, 2000, 6000]).copied().unwrap_or(2000),
            store_faults: some(350, 60),
            store_slow: !calm && dice.chance(250),
            ledger_faults: some(250, 50),
            delay: dice.pick(&[1, 20, 200]).copied().unwrap_or(20),
            tamper: some(200, 15),
            deaf: some(300, 300),
            schedules,
            fenced,
            network: dice.chance(400),
            sets: dice.chance(300),
        }
    }
}
