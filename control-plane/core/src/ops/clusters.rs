//! Clusters.

use crate::commands::{ClusterUpdate, CreateCluster, DeleteCluster, UpdateCluster};
use crate::ops::{Ctx, capacity, check};
use crate::show::{self, ClusterShow};
use longshore_ecs_api::enums::ClusterSettingName;
use longshore_ecs_api::requests::{
    CreateClusterRequest, DeleteClusterRequest, DescribeClustersRequest, ListClustersRequest, UpdateClusterRequest,
    UpdateClusterSettingsRequest,
};
use longshore_ecs_api::responses::{
    CreateClusterResponse, DeleteClusterResponse, DescribeClustersResponse, ListClustersResponse,
    UpdateClusterResponse, UpdateClusterSettingsResponse,
};
use longshore_ecs_api::types::{
    Cluster, ClusterServiceConnectDefaults, ClusterServiceConnectDefaultsRequest, ClusterSetting, Failure,
};
use longshore_ecs_api::{ApiError, Operation};
use longshore_model::arn::Resource;
use longshore_model::{ClusterKey, ClusterName};

pub(crate) async fn create(ctx: Ctx<'_>, request: CreateClusterRequest) -> Result<CreateClusterResponse, ApiError> {
    let (providers, strategy) = (request.capacity_providers, request.default_capacity_provider_strategy);
    let (capacity_providers, default_strategy) =
        capacity::of_cluster(&ctx, providers.unwrap_or_default(), strategy.unwrap_or_default())?;
    let key = ctx.cluster_key(request.cluster_name.as_deref())?;
    let command = CreateCluster {
        key: key.clone(),
        settings: settings(request.settings)?.unwrap_or_default(),
        configuration: request.configuration,
        service_connect_defaults: defaults(request.service_connect_defaults),
        tags: check::tags(request.tags)?,
        capacity_providers,
        default_strategy,
    };
    ctx.submit(command).await?;
    Ok(CreateClusterResponse { cluster: shown(&ctx, &key) })
}

pub(crate) fn describe(ctx: &Ctx<'_>, request: DescribeClustersRequest) -> Result<DescribeClustersResponse, ApiError> {
    let show = ClusterShow::new(request.include.as_deref().unwrap_or(&[]));
    let names = request.clusters.filter(|names| !names.is_empty()).unwrap_or_else(|| vec!["default".to_owned()]);
    if names.len() > 100 {
        return Err(ApiError::invalid("clusters can have at most 100 items."));
    }
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let found = ctx.cluster_key(Some(&name)).ok().and_then(|key| ctx.state.cluster(&key));
        match found {
            Some(cluster) => clusters.push(show::cluster(ctx.core.account(), cluster, show)),
            None => {
                let name_arn = ClusterName::new(&name).map(|name| ctx.arn(Resource::Cluster(name)));
                failures.push(Failure {
                    arn: Some(name_arn.unwrap_or(name)),
                    reason: Some("MISSING".to_owned()),
                    detail: None,
                });
            }
        }
    }
    Ok(DescribeClustersResponse { clusters: Some(clusters), failures: Some(failures) })
}

pub(crate) fn list(ctx: &Ctx<'_>, request: ListClustersRequest) -> Result<ListClustersResponse, ApiError> {
    let size = request.max_results;
    let listing = ctx.listing(Operation::ListClusters, &(), size, request.next_token.as_deref())?;
    let region = &ctx.caller.region;
    let after = listing.after.as_deref();
    // The smallest name that there can be begins the region.
    let first = ClusterName::new(after.unwrap_or("-")).map_err(|_| ApiError::invalid("Invalid nextToken."))?;
    let first = ClusterKey { region: region.clone(), name: first };
    let clusters = ctx
        .state
        .clusters_from(&first)
        .map(|cluster| &cluster.record)
        .take_while(|record| record.key.region == *region)
        .filter(|record| record.is_active() && after != Some(record.key.name.as_str()));
    let (page, next_token) = listing.page(clusters, |record| record.key.name.to_string());
    let arns = page.iter().map(|record| ctx.arn(Resource::Cluster(record.key.name.clone())));
    Ok(ListClustersResponse { cluster_arns: Some(arns.collect()), next_token })
}

pub(crate) async fn update(ctx: Ctx<'_>, request: UpdateClusterRequest) -> Result<UpdateClusterResponse, ApiError> {
    let key = ctx.cluster_key(request.cluster.as_deref())?;
    let update = ClusterUpdate {
        settings: settings(request.settings)?,
        configuration: request.configuration,
        service_connect_defaults: defaults(request.service_connect_defaults),
    };
    ctx.submit(UpdateCluster { key: key.clone(), update }).await?;
    Ok(UpdateClusterResponse { cluster: shown(&ctx, &key) })
}

pub(crate) async fn update_settings(
    ctx: Ctx<'_>,
    request: UpdateClusterSettingsRequest,
) -> Result<UpdateClusterSettingsResponse, ApiError> {
    let key = ctx.cluster_key(request.cluster.as_deref())?;
    let update = ClusterUpdate { settings: settings(request.settings)?, ..ClusterUpdate::default() };
    ctx.submit(UpdateCluster { key: key.clone(), update }).await?;
    Ok(UpdateClusterSettingsResponse { cluster: shown(&ctx, &key) })
}

pub(crate) async fn delete(ctx: Ctx<'_>, request: DeleteClusterRequest) -> Result<DeleteClusterResponse, ApiError> {
    let key = ctx.cluster_key(request.cluster.as_deref())?;
    ctx.submit(DeleteCluster { key: key.clone() }).await?;
    Ok(DeleteClusterResponse { cluster: shown(&ctx, &key) })
}

/// The cluster as it is after a command.
fn shown(ctx: &Ctx<'_>, key: &ClusterKey) -> Option<Cluster> {
    let ctx = ctx.refreshed();
    ctx.state.cluster(key).map(|cluster| show::cluster(ctx.core.account(), cluster, ClusterShow::CHANGED))
}

fn settings(settings: Option<Vec<ClusterSetting>>) -> Result<Option<Vec<ClusterSetting>>, ApiError> {
    for setting in settings.iter().flatten() {
        match (setting.name.as_ref(), setting.value.as_deref()) {
            (Some(ClusterSettingName::ContainerInsights), Some("enabled" | "disabled" | "enhanced")) => {}
            (Some(ClusterSettingName::ContainerInsights), _) => {
                return Err(ApiError::invalid(
                    "settings: the value of containerInsights must be enabled, enhanced or disabled.",
                ));
            }
            (Some(ClusterSettingName::Other(_)) | None, _) => {
                return Err(ApiError::invalid("settings: the only name of a cluster setting is containerInsights."));
            }
        }
    }
    Ok(settings)
}

fn defaults(request: Option<ClusterServiceConnectDefaultsRequest>) -> Option<ClusterServiceConnectDefaults> {
    request.map(|request| ClusterServiceConnectDefaults { namespace: request.namespace })
}
