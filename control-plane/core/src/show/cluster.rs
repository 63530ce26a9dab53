//! Clusters.

use super::count;
use crate::records::ClusterStatus;
use crate::show::{arn_in, tags};
use crate::state::ClusterState;
use longshore_ecs_api::enums::{ClusterField, ClusterSettingName};
use longshore_ecs_api::types::{Cluster, ClusterSetting, KeyValuePair};
use longshore_model::AccountId;
use longshore_model::arn::Resource;

/// What of a cluster is shown beside what always is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ClusterShow {
    pub(crate) configuration: bool,
    pub(crate) settings: bool,
    pub(crate) statistics: bool,
    pub(crate) tags: bool,
}

impl ClusterShow {
    /// As the operations answer that change a cluster.
    pub(crate) const CHANGED: Self = Self { configuration: true, settings: true, statistics: false, tags: true };

    /// What `include` asks for.
    pub(crate) fn new(include: &[ClusterField]) -> Self {
        let mut show = Self::default();
        for field in include {
            match field {
                ClusterField::Configurations => show.configuration = true,
                ClusterField::Settings => show.settings = true,
                ClusterField::Statistics => show.statistics = true,
                ClusterField::Tags => show.tags = true,
                // There are none yet.
                ClusterField::Attachments | ClusterField::Other(_) => {}
            }
        }
        show
    }
}

/// A cluster.
pub(crate) fn cluster(account: &AccountId, cluster: &ClusterState, show: ClusterShow) -> Cluster {
    let record = &*cluster.record;
    let status = match record.status {
        ClusterStatus::Active => "ACTIVE",
        ClusterStatus::Inactive { .. } => "INACTIVE",
    };
    Cluster {
        cluster_arn: Some(arn_in(account, &record.key, Resource::Cluster(record.key.name.clone()))),
        cluster_name: Some(record.key.name.to_string()),
        status: Some(status.to_owned()),
        registered_container_instances_count: count(cluster.registered()),
        running_tasks_count: count(cluster.running.total()),
        pending_tasks_count: count(cluster.pending.total()),
        active_services_count: Some(0),
        statistics: Some(if show.statistics { statistics(cluster) } else { Vec::new() }),
        tags: Some(if show.tags { tags(&record.tags) } else { Vec::new() }),
        settings: Some(if show.settings { settings(&record.settings) } else { Vec::new() }),
        capacity_providers: Some(record.capacity_providers.clone()),
        default_capacity_provider_strategy: Some(record.default_strategy.clone()),
        configuration: record.configuration.clone().filter(|_| show.configuration),
        service_connect_defaults: record.service_connect_defaults.clone().filter(|_| show.configuration),
        attachments: None,
        // Terraform waits for it where there are some.
        attachments_status: (!record.capacity_providers.is_empty()).then(|| "UPDATE_COMPLETE".to_owned()),
    }
}

/// ECS shows `containerInsights` whether or not it was set.
fn settings(set: &[ClusterSetting]) -> Vec<ClusterSetting> {
    let name = Some(ClusterSettingName::ContainerInsights);
    if set.iter().any(|setting| setting.name == name) {
        return set.to_vec();
    }
    let default = ClusterSetting { name, value: Some("disabled".to_owned()) };
    std::iter::once(default).chain(set.iter().cloned()).collect()
}

fn statistics(cluster: &ClusterState) -> Vec<KeyValuePair> {
    let (running, pending) = (cluster.running, cluster.pending);
    [
        ("runningEC2TasksCount", running.ec2),
        ("runningFargateTasksCount", running.fargate),
        ("runningExternalTasksCount", running.external),
        ("pendingEC2TasksCount", pending.ec2),
        ("pendingFargateTasksCount", pending.fargate),
        ("pendingExternalTasksCount", pending.external),
        ("activeEC2ServiceCount", 0),
        ("activeFargateServiceCount", 0),
        ("activeExternalServiceCount", 0),
        ("drainingEC2ServiceCount", 0),
        ("drainingFargateServiceCount", 0),
        ("drainingExternalServiceCount", 0),
    ]
    .map(|(name, value)| KeyValuePair { name: Some(name.to_owned()), value: Some(value.to_string()) })
    .to_vec()
}
