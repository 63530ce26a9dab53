//! Container instances: joining, draining, deregistering.

use crate::agent::{JoinError, JoinKey, Registered};
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::network::free_leases;
use crate::commands::session::check_facts;
use crate::records::{Activation, Cluster, Connection, Instance, InstanceStatus, Stop, Task};
use crate::state::State;
use crate::token::JoinToken;
use longshore_ecs_api::ApiError;
use longshore_model::arn::Resource;
use longshore_model::{
    AccountId, Arn, ClusterKey, ClusterName, ContainerReport, ContainerStatus, DesiredStatus, HostFacts, InstanceId,
    StopCode, TaskId, TaskStatus,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Gives a host an identity and spends one use of its token; or the same identity as before, if it asks again with the
/// same key, since the answer may have been lost.
pub(crate) struct Join {
    pub(crate) account: AccountId,
    pub(crate) token: JoinToken,
    /// Where the host asks to be.
    pub(crate) cluster: Option<ClusterName>,
    pub(crate) facts: HostFacts,
    /// The key that it joins with.
    pub(crate) key: JoinKey,
    /// The id that it will have.
    pub(crate) instance: InstanceId,
}

impl Command for Join {
    const NAME: &'static str = "Join";
    type Reply = Registered;
    type Error = JoinError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Registered, JoinError> {
        let activation = tx.state().activation(&self.token.activation).cloned();
        // Compared even when there is no such activation, so that the answer takes as long.
        let proven = activation.as_ref().map_or_else(
            || !self.token.hash().matches(&self.token),
            |activation| activation.token_hash.matches(&self.token),
        );
        let activation = activation.filter(|_| proven).ok_or(JoinError::UnknownToken)?;
        if activation.expires_at <= tx.now {
            return Err(JoinError::Expired(activation.expires_at));
        }
        let cluster = join_cluster(&activation, self.cluster);
        let before = |cluster: &ClusterKey| tx.state().joined(&activation.id, &self.key, cluster);
        if let Some((cluster, instance)) = cluster.as_ref().ok().and_then(|c| Some((c.clone(), before(c)?))) {
            return Ok(registered(self.account, cluster, instance, true));
        }
        if activation.used >= activation.limit {
            return Err(JoinError::Spent(activation.used));
        }
        check_facts(&self.facts).map_err(JoinError::Facts)?;
        let cluster = cluster?;
        let exists = tx.state().cluster(&cluster).is_some_and(|c| c.record.is_active());
        match (exists, cluster.name.as_str()) {
            (true, _) => {}
            // The only cluster that is made on demand, as ECS's agents do.
            (false, "default") => tx.change(Change::Cluster(Arc::new(Cluster::new(cluster.clone(), tx.now)))),
            (false, _) => return Err(JoinError::NoCluster(cluster)),
        }
        tx.change(Change::Activation(Arc::new(Activation { used: activation.used + 1, ..(*activation).clone() })));
        tx.change(Change::Instance(Arc::new(Instance {
            id: self.instance,
            cluster: cluster.clone(),
            status: InstanceStatus::Active,
            connection: Connection::Disconnected { since: tx.now },
            facts: self.facts,
            custom_attributes: BTreeMap::new(),
            registered_at: tx.now,
            activation: activation.id.clone(),
            join_key: Some(self.key),
            tags: activation.tags.clone(),
            version: 1,
        })));
        Ok(registered(self.account, cluster, self.instance, false))
    }
}

fn registered(account: AccountId, cluster: ClusterKey, instance: InstanceId, repeated: bool) -> Registered {
    let resource = Resource::ContainerInstance(cluster.name.clone(), instance);
    let arn = Arn { region: cluster.region.clone(), account, resource }.to_string();
    Registered { instance, cluster, arn, repeated }
}

fn join_cluster(activation: &Activation, asked: Option<ClusterName>) -> Result<ClusterKey, JoinError> {
    let name = match (&activation.cluster, asked) {
        (Some(bound), Some(asked)) if *bound != asked => {
            return Err(JoinError::OtherCluster { bound: bound.to_string(), asked: asked.to_string() });
        }
        (Some(bound), _) => bound.clone(),
        (None, Some(asked)) => asked,
        (None, None) => ClusterName::new("default").expect("`default` keeps the rule for names"),
    };
    Ok(ClusterKey { region: activation.region.clone(), name })
}

/// Sets instances ACTIVE or DRAINING.
pub(crate) struct SetInstancesStatus {
    pub(crate) cluster: ClusterKey,
    pub(crate) instances: Vec<InstanceId>,
    /// Draining; otherwise active.
    pub(crate) draining: bool,
}

impl Command for SetInstancesStatus {
    const NAME: &'static str = "UpdateContainerInstancesState";
    /// For each instance in order: its record, or the reason for ECS's `failures`.
    type Reply = Vec<Result<Arc<Instance>, &'static str>>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Self::Reply, ApiError> {
        let set = |id| {
            let record = known(tx.state(), &self.cluster, id).ok_or("MISSING")?;
            let status = match (record.status, self.draining) {
                (InstanceStatus::Inactive { .. }, _) => return Err("INACTIVE"),
                (InstanceStatus::Active, false) | (InstanceStatus::Draining, true) => return Ok(record),
                (InstanceStatus::Active, true) => InstanceStatus::Draining,
                (InstanceStatus::Draining, false) => InstanceStatus::Active,
            };
            Ok(put(tx, &record, status))
        };
        Ok(self.instances.into_iter().map(set).collect())
    }
}

/// Takes an instance out of its cluster for good.
pub(crate) struct DeregisterInstance {
    pub(crate) cluster: ClusterKey,
    pub(crate) instance: InstanceId,
    /// Even while it has tasks: they count as stopped from now on, whatever the host does.
    pub(crate) force: bool,
}

impl Command for DeregisterInstance {
    const NAME: &'static str = "DeregisterContainerInstance";
    type Reply = Arc<Instance>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Instance>, ApiError> {
        let record = known(tx.state(), &self.cluster, self.instance)
            .filter(|record| record.status.is_registered())
            .ok_or_else(|| ApiError::invalid("The referenced container instance was not found."))?;
        let live: Vec<TaskId> =
            tx.state().host(self.instance).map(|host| host.live.iter().copied().collect()).unwrap_or_default();
        if !live.is_empty() && !self.force {
            return Err(ApiError::invalid("Found running tasks on the instance."));
        }
        for id in live {
            if let Some(task) = tx.state().task(id) {
                let orphan = orphaned(task, tx.now);
                tx.change(Change::Task(Arc::new(orphan)));
            }
        }
        let record = put(tx, &record, InstanceStatus::Inactive { since: tx.now });
        free_leases(tx, self.instance);
        Ok(record)
    }
}

/// The task as it is once its host no longer belongs here. What the host does with it is never heard again.
fn orphaned(task: &Task, now: longshore_model::Timestamp) -> Task {
    let stop = Stop {
        code: Some(StopCode::UserInitiated),
        reason: "Container instance deregistration forced by user".to_owned(),
    };
    let stopped = |c: &ContainerReport| ContainerReport { status: ContainerStatus::Stopped, ..c.clone() };
    let mut orphan = Task {
        status: TaskStatus::Stopped,
        desired: DesiredStatus::Stopped,
        stop: Some(task.stop.clone().unwrap_or(stop)),
        stopping_at: Some(task.stopping_at.unwrap_or(now)),
        stopped_at: Some(now),
        over_at: Some(now),
        waiting_for: None,
        reported: task.reported.iter().map(stopped).collect(),
        version: task.version + 1,
        ..task.clone()
    };
    orphan.note(Some(task), now);
    orphan
}

fn known(state: &State, cluster: &ClusterKey, id: InstanceId) -> Option<Arc<Instance>> {
    state.cluster(cluster)?.hosts.get(&id).map(|host| Arc::clone(&host.record))
}

fn put(tx: &mut Tx<'_>, record: &Instance, status: InstanceStatus) -> Arc<Instance> {
    let connection = match (status, record.connection) {
        // Its session is closed with it.
        (InstanceStatus::Inactive { since }, Connection::Connected { .. }) => Connection::Disconnected { since },
        (_, connection) => connection,
    };
    let record = Arc::new(Instance { status, connection, version: record.version + 1, ..record.clone() });
    tx.change(Change::Instance(Arc::clone(&record)));
    record
}
