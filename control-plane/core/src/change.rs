//! Changes: the only way in which the state changes, in memory and in the store alike.
//!
//! A change is one record in its new form, or the end of one. The same change is written to the store and applied
//! to the state, and reading the store back applies it again: what memory holds is what a restart finds.

use crate::keys;
use crate::records::{
    AccessKey, Account, Activation, ActivationKey, ApiDestination, CapacityProvider, CapacityProviderKey, ClientToken,
    ClientTokenKey, Cluster, Definition, DefinitionKey, DeploymentRecord, FamilyRecord, Firing, FiringKey,
    HookConnection, HookKey, HostLeases, ImagePins, Instance, InstanceStatus, Network, Outbox, PinKey, RecordError,
    Rule, RuleKey, ScalingTarget, Schedule, ScheduleGroup, ScheduleGroupKey, ScheduleKey, Secret, SecretKey,
    SecurityGroup, Service, ServiceEvent, ServiceKey, Setting, SettingKey, TargetKey, TargetProgress, Task, decode,
    encode,
};
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{ClusterKey, DiskStatus, GroupId, InstanceId, NetworkStatus, TaskId};
use longshore_store::Write;
use std::sync::Arc;

/// One record's change.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Account(Arc<Account>),
    AccessKey(Arc<AccessKey>),
    Setting(Arc<Setting>),
    ForgetSetting(SettingKey),
    Activation(Arc<Activation>),
    ForgetActivation(ActivationKey),
    Secret(Arc<Secret>),
    ForgetSecret(SecretKey),
    CapacityProvider(Arc<CapacityProvider>),
    ForgetCapacityProvider(CapacityProviderKey),
    Network(Arc<Network>),
    SecurityGroup(Arc<SecurityGroup>),
    ForgetSecurityGroup(GroupId),
    Cluster(Arc<Cluster>),
    ForgetCluster(ClusterKey),
    Family(Arc<FamilyRecord>),
    Definition(Arc<Definition>),
    ForgetDefinition(DefinitionKey),
    Instance(Arc<Instance>),
    ForgetInstance(InstanceId),
    Leases(Arc<HostLeases>),
    ForgetLeases(InstanceId),
    /// Not kept: an agent says it again in each session.
    NetworkStatus(InstanceId, Arc<NetworkStatus>),
    Service(Arc<Service>),
    ForgetService(ServiceKey),
    ServiceEvent(Arc<ServiceEvent>),
    ForgetServiceEvent(ServiceKey, u64),
    ServiceDeployment(Arc<DeploymentRecord>),
    ForgetServiceDeployment(ServiceKey, u64),
    Scaling(Arc<ScalingTarget>),
    ForgetScaling(ServiceKey),
    Pins(Arc<ImagePins>),
    ForgetPins(PinKey),
    /// Not kept, as above.
    DiskStatus(InstanceId, Arc<DiskStatus>),
    ScheduleGroup(Arc<ScheduleGroup>),
    ForgetScheduleGroup(ScheduleGroupKey),
    Schedule(Arc<Schedule>),
    ForgetSchedule(ScheduleKey),
    Firing(Arc<Firing>),
    ForgetFiring(FiringKey),
    Task(Arc<Task>),
    ForgetTask(TaskId),
    ClientToken(Arc<ClientToken>),
    ForgetClientToken(ClientTokenKey),
    Connection(Arc<HookConnection>),
    ForgetConnection(HookKey),
    Destination(Arc<ApiDestination>),
    ForgetDestination(HookKey),
    Rule(Arc<Rule>),
    ForgetRule(RuleKey),
    Progress(Arc<TargetProgress>),
    ForgetProgress(TargetKey),
    Outbox(Arc<Outbox>),
    ForgetOutbox(u64),
}

impl Change {
    /// What it is in the store; `None` for what is true in memory only.
    pub(crate) fn to_store(&self) -> Option<(String, Write)> {
        fn put<R: serde::Serialize>(key: String, record: &R) -> (String, Write) {
            (key, Write::Put(encode(record).into()))
        }
        Some(match self {
            Self::Account(r) => put(keys::ACCOUNT.to_owned(), &**r),
            Self::AccessKey(r) => put(keys::access_key(&r.id), &**r),
            Self::Setting(r) => put(keys::setting(&r.key), &**r),
            Self::ForgetSetting(key) => (keys::setting(key), Write::Delete),
            Self::Activation(r) => put(keys::activation(&r.key()), &**r),
            Self::ForgetActivation(key) => (keys::activation(key), Write::Delete),
            Self::Secret(r) => put(keys::secret(&r.key), &**r),
            Self::ForgetSecret(key) => (keys::secret(key), Write::Delete),
            Self::CapacityProvider(r) => put(keys::capacity_provider(&r.key), &**r),
            Self::ForgetCapacityProvider(key) => (keys::capacity_provider(key), Write::Delete),
            Self::Network(r) => put(keys::NETWORK.to_owned(), &**r),
            Self::SecurityGroup(r) => put(keys::security_group(r.id), &**r),
            Self::ForgetSecurityGroup(id) => (keys::security_group(*id), Write::Delete),
            Self::Cluster(r) => put(keys::cluster(&r.key), &**r),
            Self::ForgetCluster(key) => (keys::cluster(key), Write::Delete),
            Self::Family(r) => put(keys::family(&r.key), &**r),
            Self::Definition(r) => put(keys::definition(&r.key), &**r),
            Self::ForgetDefinition(key) => (keys::definition(key), Write::Delete),
            Self::Instance(r) if r.status == InstanceStatus::Draining && is_planted(Bug::DrainsAreNotKept) => {
                return None;
            }
            Self::Instance(r) => put(keys::instance(r.id), &**r),
            Self::ForgetInstance(id) => (keys::instance(*id), Write::Delete),
            Self::Leases(r) => put(keys::leases(r.instance), &**r),
            Self::ForgetLeases(id) => (keys::leases(*id), Write::Delete),
            Self::NetworkStatus(..) | Self::DiskStatus(..) => return None,
            Self::Pins(r) => put(keys::pins(&r.key), &**r),
            Self::ForgetPins(key) => (keys::pins(key), Write::Delete),
            Self::Service(r) => put(keys::service(&r.key), &**r),
            Self::ForgetService(key) => (keys::service(key), Write::Delete),
            Self::ServiceEvent(r) => put(keys::service_event(&r.service, r.number), &**r),
            Self::ForgetServiceEvent(key, number) => (keys::service_event(key, *number), Write::Delete),
            Self::ServiceDeployment(r) => put(keys::service_deployment(&r.service, r.number), &**r),
            Self::ForgetServiceDeployment(key, number) => (keys::service_deployment(key, *number), Write::Delete),
            Self::ScheduleGroup(r) => put(keys::schedule_group(&r.key), &**r),
            Self::ForgetScheduleGroup(key) => (keys::schedule_group(key), Write::Delete),
            Self::Schedule(r) if !r.settings.enabled && is_planted(Bug::DisabledSchedulesAreNotKept) => return None,
            Self::Schedule(r) => put(keys::schedule(&r.key), &**r),
            Self::ForgetSchedule(key) => (keys::schedule(key), Write::Delete),
            Self::Firing(r) => put(keys::firing(&r.key), &**r),
            Self::ForgetFiring(key) => (keys::firing(key), Write::Delete),
            Self::Scaling(r) => put(keys::scaling(&r.key), &**r),
            Self::ForgetScaling(key) => (keys::scaling(key), Write::Delete),
            Self::Task(r) if r.protected_until.is_some() && is_planted(Bug::ProtectionIsNotKept) => {
                put(keys::task(r.id), &Task { protected_until: None, ..(**r).clone() })
            }
            Self::Task(r) => put(keys::task(r.id), &**r),
            Self::ForgetTask(id) => (keys::task(*id), Write::Delete),
            Self::ClientToken(r) => put(keys::client_token(&r.key), &**r),
            Self::ForgetClientToken(key) => (keys::client_token(key), Write::Delete),
            Self::Connection(r) => put(keys::connection(&r.key), &**r),
            Self::ForgetConnection(key) => (keys::connection(key), Write::Delete),
            Self::Destination(r) => put(keys::destination(&r.key), &**r),
            Self::ForgetDestination(key) => (keys::destination(key), Write::Delete),
            Self::Rule(r) => put(keys::rule(&r.key), &**r),
            Self::ForgetRule(key) => (keys::rule(key), Write::Delete),
            Self::Progress(r) => put(keys::progress(&r.target), &**r),
            Self::ForgetProgress(key) => (keys::progress(key), Write::Delete),
            Self::Outbox(r) => put(keys::outbox(r.first), &**r),
            Self::ForgetOutbox(first) => (keys::outbox(*first), Write::Delete),
        })
    }

    /// Where its kind stands when a store is read back: what others refer to comes first.
    pub(crate) const fn rank(&self) -> usize {
        match self {
            Self::Account(_) => 0,
            Self::AccessKey(_) | Self::Setting(_) | Self::ForgetSetting(_) => 1,
            Self::Activation(_) | Self::ForgetActivation(_) | Self::Secret(_) | Self::ForgetSecret(_) => 2,
            Self::ScheduleGroup(_) | Self::ForgetScheduleGroup(_) | Self::Schedule(_) | Self::ForgetSchedule(_) => 2,
            Self::Firing(_) | Self::ForgetFiring(_) => 2,
            Self::CapacityProvider(_) | Self::ForgetCapacityProvider(_) => 2,
            Self::Network(_) => 3,
            Self::SecurityGroup(_) | Self::ForgetSecurityGroup(_) => 4,
            Self::Cluster(_) | Self::ForgetCluster(_) => 5,
            Self::Family(_) => 6,
            Self::Definition(_) | Self::ForgetDefinition(_) => 7,
            Self::Instance(_) | Self::ForgetInstance(_) => 8,
            Self::Leases(_) | Self::ForgetLeases(_) | Self::NetworkStatus(..) | Self::DiskStatus(..) => 9,
            Self::Service(_) | Self::ForgetService(_) => 10,
            Self::ServiceEvent(_)
            | Self::ForgetServiceEvent(..)
            | Self::ServiceDeployment(_)
            | Self::ForgetServiceDeployment(..)
            | Self::Scaling(_)
            | Self::ForgetScaling(_) => 11,
            Self::Pins(_) | Self::ForgetPins(_) => 12,
            Self::Task(_) | Self::ForgetTask(_) => 13,
            Self::ClientToken(_) | Self::ForgetClientToken(_) => 14,
            Self::Connection(_) | Self::ForgetConnection(_) => 15,
            Self::Destination(_) | Self::ForgetDestination(_) => 16,
            Self::Rule(_) | Self::ForgetRule(_) => 17,
            Self::Progress(_) | Self::ForgetProgress(_) => 18,
            Self::Outbox(_) | Self::ForgetOutbox(_) => 19,
        }
    }

    /// How many ranks there are.
    pub(crate) const RANKS: usize = 20;

    /// The change that the entry of a store came from; `None` for what is not part of the state.
    ///
    /// # Errors
    /// When this version cannot read the entry.
    pub(crate) fn from_store(key: &[u8], value: &[u8]) -> Result<Option<Self>, RecordError> {
        let key = String::from_utf8_lossy(key);
        if key == keys::ACCOUNT {
            return Ok(Some(Self::Account(Arc::new(decode(&key, value)?))));
        }
        if key == keys::NETWORK {
            return Ok(Some(Self::Network(Arc::new(decode(&key, value)?))));
        }
        if key == keys::WRITER {
            return Ok(None);
        }
        Ok(Some(match key.split_once('/').map(|(kind, _)| kind) {
            Some("access-key") => Self::AccessKey(Arc::new(decode(&key, value)?)),
            Some("setting") => Self::Setting(Arc::new(decode(&key, value)?)),
            Some("activation") => Self::Activation(Arc::new(decode(&key, value)?)),
            Some("capacity-provider") => Self::CapacityProvider(Arc::new(decode(&key, value)?)),
            Some("secret") => Self::Secret(Arc::new(decode(&key, value)?)),
            Some("security-group") => Self::SecurityGroup(Arc::new(decode(&key, value)?)),
            Some("leases") => Self::Leases(Arc::new(decode(&key, value)?)),
            Some("cluster") => Self::Cluster(Arc::new(decode(&key, value)?)),
            Some("family") => Self::Family(Arc::new(decode(&key, value)?)),
            Some("definition") => Self::Definition(Arc::new(decode(&key, value)?)),
            Some("instance") => Self::Instance(Arc::new(decode(&key, value)?)),
            Some("service") => Self::Service(Arc::new(decode(&key, value)?)),
            Some("service-event") => Self::ServiceEvent(Arc::new(decode(&key, value)?)),
            Some("service-deployment") => Self::ServiceDeployment(Arc::new(decode(&key, value)?)),
            Some("scaling") => Self::Scaling(Arc::new(decode(&key, value)?)),
            Some("pins") => Self::Pins(Arc::new(decode(&key, value)?)),
            Some("schedule-group") => Self::ScheduleGroup(Arc::new(decode(&key, value)?)),
            Some("schedule") => Self::Schedule(Arc::new(decode(&key, value)?)),
            Some("firing") => Self::Firing(Arc::new(decode(&key, value)?)),
            Some("task") => Self::Task(Arc::new(decode(&key, value)?)),
            Some("connection") => Self::Connection(Arc::new(decode(&key, value)?)),
            Some("api-destination") => Self::Destination(Arc::new(decode(&key, value)?)),
            Some("rule") => Self::Rule(Arc::new(decode(&key, value)?)),
            Some("delivery") => Self::Progress(Arc::new(decode(&key, value)?)),
            Some("outbox") => Self::Outbox(Arc::new(decode(&key, value)?)),
            Some("token") => Self::ClientToken(Arc::new(decode(&key, value)?)),
            _ => return Err(RecordError::UnknownKey(key.into_owned())),
        }))
    }
}
