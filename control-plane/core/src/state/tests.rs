//! Random sequences of commands. After each one: nothing is overcommitted, indexes and sums are what the records
//! say, nothing final is undone; and what a store would hold gives the same state again.

mod checks;
mod lab;
mod network;
mod services;
mod things;
mod updates;

use crate::agent::Unavailable;
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::{ImagePins, PinKey, Task};
use crate::state::Grave;
use lab::Lab;
use longshore_model::TaskStatus;
use network::NetworkStep;
use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;
use services::ServiceStep;
use std::sync::Arc;
use std::time::Duration;

const HEALTHY_AFTER: Duration = Duration::from_secs(40);
const RETENTION: Duration = Duration::from_secs(3600);

/// What may happen. Numbers choose among what there is at the time.
#[derive(Debug, Clone)]
enum Step {
    CreateCluster(u8),
    DeleteCluster(u8),
    Register {
        family: u8,
        kind: u8,
    },
    Deregister(u8),
    Delete(u8),
    Join {
        cluster: u8,
        cpu: u32,
        gpus: u8,
    },
    Connect {
        host: u8,
        observed: Vec<(u8, u8, u8)>,
    },
    Disconnect(u8),
    Drain {
        host: u8,
        draining: bool,
    },
    Leave {
        host: u8,
        force: bool,
    },
    /// `age`: placed with a plan that is that many commands old.
    Run {
        cluster: u8,
        definition: u8,
        count: u32,
        how: u8,
        age: u8,
    },
    Start {
        host: u8,
        definition: u8,
    },
    Stop(u8),
    Report {
        host: u8,
        reports: Vec<(u8, u8, u8)>,
    },
    Later {
        secs: u16,
    },
    Network(NetworkStep),
    Service(ServiceStep),
    /// The deployment goes on, or is over.
    Hold(bool),
}

/// What a deployment does at its beginning and its end.
struct Hold(bool);

impl Command for Hold {
    const NAME: &'static str = "Hold";
    type Reply = ();
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Unavailable> {
        let key = deployment();
        let known = tx.state().pins(&key).map(|pins| pins.digests.clone()).unwrap_or_default();
        tx.change(Change::Pins(Arc::new(ImagePins { key, digests: known, held: self.0 })));
        Ok(())
    }
}

fn deployment() -> PinKey {
    PinKey::new("deployment")
}

fn step() -> impl Strategy<Value = Step> {
    let reports = || prop::collection::vec((any::<u8>(), any::<u8>(), 0..8u8), 0..6);
    prop_oneof![
        2 => (0..3u8).prop_map(Step::CreateCluster),
        1 => (0..3u8).prop_map(Step::DeleteCluster),
        3 => (0..3u8, 0..6u8).prop_map(|(family, kind)| Step::Register { family, kind }),
        1 => any::<u8>().prop_map(Step::Deregister),
        2 => any::<u8>().prop_map(Step::Delete),
        4 => (0..3u8, 1..4096u32, 0..3u8).prop_map(|(cluster, cpu, gpus)| Step::Join { cluster, cpu, gpus }),
        5 => (any::<u8>(), reports()).prop_map(|(host, observed)| Step::Connect { host, observed }),
        1 => any::<u8>().prop_map(Step::Disconnect),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(host, draining)| Step::Drain { host, draining }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(host, force)| Step::Leave { host, force }),
        12 => (0..3u8, any::<u8>(), 1..11u32, 0..6u8, 0..4u8).prop_map(|(cluster, definition, count, how, age)| {
            Step::Run { cluster, definition, count, how, age }
        }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(host, definition)| Step::Start { host, definition }),
        4 => any::<u8>().prop_map(Step::Stop),
        8 => (any::<u8>(), reports()).prop_map(|(host, reports)| Step::Report { host, reports }),
        3 => any::<u16>().prop_map(|secs| Step::Later { secs }),
        12 => network::step().prop_map(Step::Network),
        30 => services::step().prop_map(Step::Service),
        1 => any::<bool>().prop_map(Step::Hold),
    ]
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]

    #[test]
    fn whatever_happens_the_state_is_right(steps in prop::collection::vec(step(), 1..80)) {
        let mut lab = Lab::new();
        for (nth, step) in steps.into_iter().enumerate() {
            lab.step(step);
            lab.check()?;
            if nth % 10 == 0 {
                lab.check_store()?;
            }
        }
        lab.check_store()?;
    }
}

#[test]
fn random_steps_do_reach_everything() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut tasks, mut stopped, mut inactive, mut forgotten) = (0, 0, 0, 0);
    let (mut pinned, mut told) = (0, 0);
    // The steps are the same every time; what they hit depends on ids, which are random.
    for _ in 0..200 {
        if pinned > 100 && told > 20 && tasks > 200 && stopped > 20 && forgotten > 5 && inactive > 2 {
            break;
        }
        let steps = prop::collection::vec(step(), 100).new_tree(&mut runner).expect("steps").current();
        let mut lab = Lab::new();
        for step in steps {
            lab.step(step);
            lab.check().expect("holds");
            let awaits = |t: &&Arc<Task>| t.reported.is_empty() && t.is_live();
            let known = |t: &Arc<Task>| t.pins.as_ref().and_then(|key| lab.state.pins(key)).is_some();
            told += lab.state.tasks.values().filter(awaits).filter(|t| known(t)).count();
            pinned += usize::from(lab.state.pins(&deployment()).is_some_and(|pins| !pins.digests.is_empty()));
        }
        lab.check_store().expect("holds");
        tasks += lab.seen.len();
        stopped += lab.seen.values().filter(|(status, ..)| *status == TaskStatus::Stopped).count();
        forgotten += lab.seen.keys().filter(|id| lab.state.task(**id).is_none()).count();
        inactive += lab.state.graves().filter(|(_, grave)| matches!(grave, Grave::Instance(_))).count();
    }
    assert!(pinned > 100 && told > 20, "{pinned} {told}");
    assert!(tasks > 200 && stopped > 20 && forgotten > 5 && inactive > 2, "{tasks} {stopped} {forgotten} {inactive}");
}
