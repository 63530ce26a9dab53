//! What the endpoint's tests share: tasks, and an engine in memory.

use super::details::{Look, Seen};
use crate::engine::TaskView;
use crate::engine::tests::fixtures;
use crate::metadata::{Protect, Said, Wanted};
use async_trait::async_trait;
use longshore_model::arn::Resource;
use longshore_model::{
    AccountId, Arn, AwsvpcSpec, Bandwidth, EniId, EniReport, LogConfig, Mac, NetworkMode, Region, SubnetId, TaskSpec,
    Timestamp,
};
use longshore_plan::{Interface, Outline, Phase, ResourcePhase, TaskRecord, Wish};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The address of every task here.
pub(crate) fn address() -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 1, 11)
}

/// A task of two containers.
pub(crate) fn task(mode: NetworkMode) -> TaskSpec {
    let mut spec = fixtures::spec(&[("main", &[]), ("side", &[])]);
    spec.network_mode = mode;
    let region = Region::new("lab").expect("a region");
    let account = AccountId::new("123456789012").expect("an account");
    spec.arn = Arn { region, account, resource: Resource::Task(spec.cluster.clone(), spec.id) }.to_string();
    spec.group = "service:shop".into();
    spec.launch_type = "EC2".into();
    spec.tags = [("team".to_owned(), "red".to_owned())].into();
    spec.containers[0].arn_id = "0b7e6c1e-5a3f-4a57-9d0c-2f1f4f0c7a11".into();
    spec.containers[0].cpu_units = 256;
    spec.containers[0].memory_mib = Some(128);
    spec.containers[0].docker_labels = [("tier".to_owned(), "front".to_owned())].into();
    let options = [("tag".to_owned(), "x".to_owned()), ("splunk-token".to_owned(), "hidden".to_owned())];
    spec.containers[0].log = Some(LogConfig { driver: "json-file".into(), options: options.into() });
    if mode == NetworkMode::Awsvpc {
        let bandwidth = Bandwidth::default();
        spec.awsvpc = Some(AwsvpcSpec {
            attachment_id: "0b7e6c1e".into(),
            subnet: SubnetId::random(),
            groups: BTreeSet::new(),
            bandwidth,
        });
    }
    spec
}

/// A task whose first container runs, with the engine's id `main-id`, and whose second waits.
pub(crate) fn view(mode: NetworkMode) -> TaskView {
    let spec = task(mode);
    let outline = Outline::of(&spec);
    let mut record = TaskRecord::new(&outline, Wish::Run, Timestamp::from_millis(1_700_000_000_000));
    record.containers[0].phase = Phase::Running { id: "main-id".into() };
    record.containers[0].started_at = Some(Timestamp::from_millis(1_700_000_001_500));
    record.resources.iter_mut().for_each(|resource| resource.phase = ResourcePhase::Ready);
    if mode == NetworkMode::Awsvpc {
        let eni = EniReport {
            id: EniId::random(),
            mac: Mac::of_task(address()),
            ipv4: address(),
            ipv6: None,
            attached: true,
        };
        record.interface = Some(Interface {
            eni,
            sandbox: "sandbox-id".into(),
            files: "/var/lib/files/eni".into(),
            groups: BTreeSet::new(),
            bandwidth: Bandwidth::default(),
        });
    }
    TaskView { outline: Arc::new(outline), spec: Some(Arc::new(spec)), record, waiting_for: None }
}

/// A container that runs, as the engine has it.
pub(crate) fn seen(address: Option<Ipv4Addr>) -> Seen {
    Seen {
        image_id: "sha256:abc".into(),
        labels: BTreeMap::new(),
        created_at: Some(Timestamp::from_millis(1_700_000_000_250)),
        pid: Some(1),
        address,
        mounts: Vec::new(),
    }
}

/// An engine in memory.
#[derive(Default)]
pub(crate) struct FakeEngine {
    containers: Mutex<BTreeMap<String, Seen>>,
    /// It never answers.
    pub(crate) away: AtomicBool,
    /// It answers that something is wrong with it.
    pub(crate) ill: AtomicBool,
    /// How often it was asked.
    pub(crate) asked: AtomicUsize,
}

impl FakeEngine {
    pub(crate) fn set(&self, id: &str, seen: Option<Seen>) {
        let mut containers = self.containers.lock().expect("whole");
        match seen {
            Some(seen) => _ = containers.insert(id.to_owned(), seen),
            None => _ = containers.remove(id),
        }
    }
}

#[async_trait]
impl Look for FakeEngine {
    async fn look(&self, id: &str) -> Result<Option<Seen>, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if self.ill.load(Ordering::Relaxed) {
            return Err("the engine did not answer in time".to_owned());
        }
        Ok(self.containers.lock().expect("whole").get(id).cloned())
    }
}

/// Says what it was told to say, and keeps what it was asked.
#[derive(Default)]
pub(crate) struct FakeProtector {
    says: Mutex<Option<Said>>,
    asked: Mutex<Option<(longshore_model::TaskId, Wanted)>>,
}

impl FakeProtector {
    pub(crate) fn says(&self, said: Said) {
        *self.says.lock().expect("not poisoned") = Some(said);
    }

    /// What it was asked last, once.
    pub(crate) fn asked(&self) -> Option<(longshore_model::TaskId, Wanted)> {
        self.asked.lock().expect("not poisoned").take()
    }
}

#[async_trait]
impl Protect for FakeProtector {
    async fn ask(&self, task: longshore_model::TaskId, wanted: Wanted) -> Said {
        *self.asked.lock().expect("not poisoned") = Some((task, wanted));
        self.says.lock().expect("not poisoned").clone().unwrap_or(Said::Until(None))
    }
}
