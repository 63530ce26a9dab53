//! What leaves the agent: reports until they are acknowledged, and heartbeats. Pure but for the clock's type.

use super::ObservedReports;
use longshore_model::{EniId, TaskId, TaskReport};
use longshore_proto::v1;
use prost::Message as _;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Reports of one message, by number and by bytes: well below the largest message even when the last one is large.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// The reports of one stream: what the control plane has, and what is on its way.
///
/// Reports leave at once while no batch is unacknowledged and gather while one is; a batch always carries the
/// latest report of a task, so what gathers does not pile up.
#[derive(Debug)]
pub(super) struct Outbound {
    /// The version of each task's report that the control plane has made durable.
    acknowledged: BTreeMap<TaskId, u64>,
    batch: Option<Batch>,
    last_seq: u64,
    resend: Duration,
}

#[derive(Debug)]
struct Batch {
    seq: u64,
    versions: Vec<(TaskId, u64)>,
    /// Interfaces that it says are gone.
    ended: Vec<EniId>,
    resend_at: Instant,
}

impl Outbound {
    /// After a Hello that carried `observed` was welcomed. A batch that is not acknowledged within `resend` is
    /// sent again.
    pub(super) fn new(observed: &ObservedReports, resend: Duration) -> Self {
        let acknowledged = observed.iter().map(|(task, report)| (*task, report.version)).collect();
        Self { acknowledged, batch: None, last_seq: 0, resend }
    }

    /// The next batch, if there is something to report and nothing on its way.
    pub(super) fn next(&mut self, observed: &ObservedReports, now: Instant) -> Option<v1::Reports> {
        if self.batch.is_some() {
            return None;
        }
        let (mut versions, mut ended) = (Vec::new(), Vec::new());
        let mut tasks = Vec::new();
        let mut bytes = 0;
        for (task, report) in observed {
            if self.has(report) {
                continue;
            }
            let message = v1::TaskReport::from(report.as_ref().clone());
            bytes += message.encoded_len();
            tasks.push(message);
            versions.push((*task, report.version));
            ended.extend(report.eni.as_ref().filter(|eni| !eni.attached).map(|eni| eni.id));
            if tasks.len() == BATCH || bytes >= BATCH_BYTES {
                break;
            }
        }
        if tasks.is_empty() {
            return None;
        }
        self.last_seq += 1;
        self.batch = Some(Batch { seq: self.last_seq, versions, ended, resend_at: now + self.resend });
        Some(v1::Reports { seq: self.last_seq, tasks })
    }

    /// Whether the control plane has made a report durable, or a later one of its task.
    pub(super) fn has(&self, report: &TaskReport) -> bool {
        self.acknowledged.get(&report.task).is_some_and(|version| *version >= report.version)
    }

    /// How many reports the control plane has not made durable.
    pub(super) fn waiting(&self, observed: &ObservedReports) -> usize {
        observed.values().filter(|report| !self.has(report)).count()
    }

    /// Everything up to `seq` is durable at the control plane. Says whether that ended a batch.
    pub(super) fn acknowledge(&mut self, seq: u64, observed: &ObservedReports) -> bool {
        match self.batch.take_if(|batch| batch.seq <= seq) {
            Some(batch) => {
                self.acknowledged.extend(batch.versions);
                self.acknowledged.retain(|task, _| observed.contains_key(task));
                true
            }
            None => false,
        }
    }

    /// The interfaces whose end the control plane records by acknowledging `seq`.
    pub(super) fn ended_by(&self, seq: u64) -> Vec<EniId> {
        self.batch.as_ref().filter(|batch| batch.seq <= seq).map(|batch| batch.ended.clone()).unwrap_or_default()
    }

    /// When the batch on its way is to be sent again, if there is one.
    pub(super) fn resend_at(&self) -> Option<Instant> {
        self.batch.as_ref().map(|batch| batch.resend_at)
    }

    /// Gives the batch on its way up: the next one carries its tasks again, with their latest reports.
    pub(super) fn give_up(&mut self) {
        self.batch = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::{TaskReport, TaskStatus};
    use proptest::prelude::*;
    use std::sync::Arc;

    const RESEND: Duration = Duration::from_secs(5);

    fn report(task: TaskId, version: u64) -> Arc<TaskReport> {
        Arc::new(TaskReport::new(task, version, TaskStatus::Pending))
    }

    fn id(n: u8) -> TaskId {
        TaskId::from_bytes([n; 16])
    }

    fn seen(reports: &v1::Reports) -> Vec<(String, u64)> {
        reports.tasks.iter().map(|report| (report.task.clone(), report.version)).collect()
    }

    #[test]
    fn what_the_hello_carried_is_not_sent_again() {
        let observed = ObservedReports::from([(id(1), report(id(1), 3))]);
        let mut outbound = Outbound::new(&observed, RESEND);
        assert_eq!(outbound.next(&observed, Instant::now()), None);
    }

    #[test]
    fn reports_gather_while_a_batch_is_on_its_way() {
        let mut observed = ObservedReports::new();
        let mut outbound = Outbound::new(&observed, RESEND);
        observed.insert(id(1), report(id(1), 1));
        let first = outbound.next(&observed, Instant::now()).expect("a batch");
        assert_eq!(seen(&first), [(id(1).to_string(), 1)]);
        observed.insert(id(1), report(id(1), 2));
        observed.insert(id(2), report(id(2), 1));
        assert_eq!(outbound.next(&observed, Instant::now()), None);
        assert_eq!(outbound.waiting(&observed), 2);
        assert!(outbound.acknowledge(first.seq, &observed));
        let second = outbound.next(&observed, Instant::now()).expect("a batch");
        assert!(second.seq > first.seq);
        assert_eq!(seen(&second), [(id(1).to_string(), 2), (id(2).to_string(), 1)]);
    }

    #[test]
    fn a_lost_acknowledgement_sends_the_latest_again() {
        let mut observed = ObservedReports::new();
        let mut outbound = Outbound::new(&observed, RESEND);
        observed.insert(id(1), report(id(1), 1));
        let now = Instant::now();
        let first = outbound.next(&observed, now).expect("a batch");
        assert_eq!(outbound.resend_at(), Some(now + RESEND));
        observed.insert(id(1), report(id(1), 2));
        outbound.give_up();
        let again = outbound.next(&observed, now).expect("a batch");
        assert_eq!(seen(&again), [(id(1).to_string(), 2)]);
        // The late acknowledgement of the first says nothing of the second.
        assert!(!outbound.acknowledge(first.seq, &observed));
        assert!(outbound.acknowledge(again.seq, &observed));
        assert_eq!(outbound.next(&observed, now), None);
    }

    #[test]
    fn large_states_go_in_several_batches() {
        let observed: ObservedReports = (0..=BATCH as u128)
            .map(|n| TaskId::from_bytes(n.to_be_bytes()))
            .map(|task| (task, report(task, 1)))
            .collect();
        let mut outbound = Outbound::new(&ObservedReports::new(), RESEND);
        let first = outbound.next(&observed, Instant::now()).expect("a batch");
        assert_eq!(first.tasks.len(), BATCH);
        outbound.acknowledge(first.seq, &observed);
        assert_eq!(outbound.next(&observed, Instant::now()).expect("a batch").tasks.len(), 1);
    }

    /// What may happen to a stream.
    #[derive(Debug, Clone)]
    enum Event {
        /// A task's report rises.
        Report(u8),
        /// A task is forgotten.
        Forget(u8),
        /// The batch on its way arrives, and its acknowledgement comes back.
        Acknowledged,
        /// The batch on its way, or its acknowledgement, is lost.
        Lost,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0u8..4).prop_map(Event::Report),
            1 => (0u8..4).prop_map(Event::Forget),
            3 => Just(Event::Acknowledged),
            1 => Just(Event::Lost),
        ]
    }

    proptest! {
        /// Once the line is quiet, the control plane has the latest report of every task that the agent still knows.
        #[test]
        fn every_report_arrives(events in proptest::collection::vec(event(), 0..60)) {
            let now = Instant::now();
            let (mut observed, mut control) = (ObservedReports::new(), BTreeMap::new());
            let mut outbound = Outbound::new(&observed, RESEND);
            let mut line = None;
            let mut version = 0;
            let quiet = std::iter::repeat_n(Event::Acknowledged, 6);
            for event in events.into_iter().chain(quiet) {
                match event {
                    Event::Report(n) => {
                        version += 1;
                        observed.insert(id(n), report(id(n), version));
                    }
                    Event::Forget(n) => { observed.remove(&id(n)); }
                    Event::Acknowledged => if let Some(batch) = line.take() {
                        let batch: v1::Reports = batch;
                        for (task, version) in seen(&batch) {
                            let held = control.entry(task).or_insert(0);
                            prop_assert!(*held <= version, "a later batch never carries an older report");
                            *held = version;
                        }
                        outbound.acknowledge(batch.seq, &observed);
                    }
                    Event::Lost => {
                        line = None;
                        outbound.give_up();
                    }
                }
                line = line.or_else(|| outbound.next(&observed, now));
            }
            for (task, report) in &observed {
                prop_assert_eq!(control.get(&task.to_string()), Some(&report.version));
            }
        }
    }
}
