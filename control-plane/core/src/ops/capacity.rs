//! Capacity providers: named pools of hosts, and how tasks are shared out among them.
//!
//! ECS's shape asks for an Auto Scaling group. Machines that people own have none: its ARN is kept and echoed, the
//! hosts are those whose attribute [`capacity::ATTRIBUTE`] is the provider's name, and nothing makes or ends machines.

use crate::capacity;
use crate::commands::{
    BUILT_IN, CreateCapacityProvider, DeleteCapacityProvider, PutClusterCapacityProviders, UpdateCapacityProvider,
    unknown,
};
use crate::ops::{Ctx, check};
use crate::records::{CapacityProvider, CapacityProviderKey, Cluster, Tags};
use crate::show::{self, ClusterShow};
use longshore_ecs_api::enums::{
    CapacityProviderField, CapacityProviderStatus, CapacityProviderType, CapacityProviderUpdateStatus, ManagedDraining,
    ManagedScalingStatus, ManagedTerminationProtection,
};
use longshore_ecs_api::requests::{
    CreateCapacityProviderRequest, DeleteCapacityProviderRequest, DescribeCapacityProvidersRequest,
    PutClusterCapacityProvidersRequest, UpdateCapacityProviderRequest,
};
use longshore_ecs_api::responses::{
    CreateCapacityProviderResponse, DeleteCapacityProviderResponse, DescribeCapacityProvidersResponse,
    PutClusterCapacityProvidersResponse, UpdateCapacityProviderResponse,
};
use longshore_ecs_api::types::{
    self, AutoScalingGroupProvider, AutoScalingGroupProviderUpdate, CapacityProviderStrategyItem, Failure,
    ManagedScaling,
};
use longshore_ecs_api::{ApiError, Operation};
use longshore_model::arn::Resource;
use longshore_model::{Arn, ClusterName, Timestamp};
use std::collections::BTreeSet;

/// ECS's limits.
const MAX_ITEMS: usize = 20;
const MAX_WEIGHT: i32 = 1000;
const MAX_BASE: i32 = 100_000;
const PAGE: usize = 10;

/// The kind in ARNs.
const KIND: &str = "capacity-provider";

pub(crate) async fn create(
    ctx: Ctx<'_>,
    request: CreateCapacityProviderRequest,
) -> Result<CreateCapacityProviderResponse, ApiError> {
    let name = request.name.unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    ClusterName::new(&name).map_err(|error| ApiError::invalid(format!("The capacity provider name {error}.")))?;
    if ["aws", "ecs", "fargate"].iter().any(|reserved| lower.starts_with(reserved)) {
        return Err(ApiError::invalid(
            "The capacity provider name must not begin with `aws`, `ecs` or `fargate`, which are reserved.",
        ));
    }
    only_groups(request.managed_instances_provider.is_some(), request.cluster.as_deref())?;
    let group = request.auto_scaling_group_provider.ok_or_else(|| {
        ApiError::invalid("autoScalingGroupProvider must be given; its autoScalingGroupArn may be any name here.")
    })?;
    if group.auto_scaling_group_arn.as_deref().is_none_or(str::is_empty) {
        return Err(ApiError::invalid("autoScalingGroupProvider.autoScalingGroupArn must not be empty."));
    }
    check_group(group.managed_scaling.as_ref(), group.managed_termination_protection.as_ref())?;
    let group = AutoScalingGroupProvider {
        managed_scaling: Some(group.managed_scaling.unwrap_or_else(unscaled)),
        managed_termination_protection: Some(ManagedTerminationProtection::Disabled),
        managed_draining: Some(group.managed_draining.unwrap_or(ManagedDraining::Enabled)),
        ..group
    };
    let key = CapacityProviderKey { region: ctx.caller.region.clone(), name };
    let tags = check::tags(request.tags)?;
    let provider = CapacityProvider { key, group, updated: false, created_at: Timestamp::from_millis(0), tags };
    let made = ctx.submit(CreateCapacityProvider { provider }).await?;
    Ok(CreateCapacityProviderResponse { capacity_provider: Some(shown(&ctx, &made, true)) })
}

pub(crate) async fn update(
    ctx: Ctx<'_>,
    request: UpdateCapacityProviderRequest,
) -> Result<UpdateCapacityProviderResponse, ApiError> {
    only_groups(request.managed_instances_provider.is_some(), request.cluster.as_deref())?;
    let key = ctx.provider_key(request.name.as_deref().unwrap_or_default())?;
    built_in(&key.name, "updated")?;
    let update = request
        .auto_scaling_group_provider
        .ok_or_else(|| ApiError::invalid("autoScalingGroupProvider must be given: it is what can be updated."))?;
    let AutoScalingGroupProviderUpdate { managed_scaling, managed_termination_protection, .. } = &update;
    check_group(managed_scaling.as_ref(), managed_termination_protection.as_ref())?;
    let changed = ctx.submit(UpdateCapacityProvider { key, update }).await?;
    Ok(UpdateCapacityProviderResponse { capacity_provider: Some(shown(&ctx, &changed, true)) })
}

pub(crate) async fn delete(
    ctx: Ctx<'_>,
    request: DeleteCapacityProviderRequest,
) -> Result<DeleteCapacityProviderResponse, ApiError> {
    let key = ctx.provider_key(request.capacity_provider.as_deref().unwrap_or_default())?;
    built_in(&key.name, "deleted")?;
    let gone = ctx.submit(DeleteCapacityProvider { key }).await?;
    let provider = types::CapacityProvider {
        status: Some(CapacityProviderStatus::Inactive),
        update_status: Some(CapacityProviderUpdateStatus::DeleteComplete),
        ..shown(&ctx, &gone, false)
    };
    Ok(DeleteCapacityProviderResponse { capacity_provider: Some(provider) })
}

pub(crate) fn describe(
    ctx: &Ctx<'_>,
    request: DescribeCapacityProvidersRequest,
) -> Result<DescribeCapacityProvidersResponse, ApiError> {
    let with_tags = request.include.unwrap_or_default().contains(&CapacityProviderField::Tags);
    let mut failures = Vec::new();
    let names: Vec<String> = match request.capacity_providers.filter(|names| !names.is_empty()) {
        Some(names) => {
            let mut known = Vec::new();
            for given in names {
                let name = ctx.provider_key(&given).map(|key| key.name).unwrap_or_default();
                if ctx.is_provider(&name) {
                    known.push(name);
                } else {
                    failures.push(Failure { arn: Some(given), reason: Some("MISSING".to_owned()), detail: None });
                }
            }
            known
        }
        None => {
            let own = ctx.state.capacity_providers(&ctx.caller.region).map(|provider| provider.key.name.clone());
            BUILT_IN.iter().map(|name| (*name).to_owned()).chain(own).collect::<BTreeSet<_>>().into_iter().collect()
        }
    };
    let sizes = (request.max_results, PAGE, 100);
    let token = request.next_token.as_deref();
    let listing = ctx.listing_of(Operation::DescribeCapacityProviders, &names, sizes, token)?;
    let after = listing.after.clone();
    let rest = names.into_iter().skip_while(|name| after.as_ref().is_some_and(|after| name != after));
    let rest = rest.skip(usize::from(after.is_some()));
    let (page, next_token) = listing.page(rest, Clone::clone);
    let show = |name: String| match ctx.provider(&name) {
        Some(provider) => shown(ctx, provider, with_tags),
        None => shown_built_in(ctx, name),
    };
    let providers = page.into_iter().map(show).collect();
    Ok(DescribeCapacityProvidersResponse { capacity_providers: Some(providers), failures: Some(failures), next_token })
}

pub(crate) async fn put(
    ctx: Ctx<'_>,
    request: PutClusterCapacityProvidersRequest,
) -> Result<PutClusterCapacityProvidersResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    // Both must be there, and may be empty.
    let providers = request.capacity_providers.unwrap_or_default();
    let strategy = request.default_capacity_provider_strategy.unwrap_or_default();
    let (providers, default_strategy) = of_cluster(&ctx, providers, strategy)?;
    ctx.submit(PutClusterCapacityProviders { cluster: cluster.clone(), providers, default_strategy }).await?;
    let ctx = ctx.refreshed();
    let cluster = ctx.state.cluster(&cluster).map(|c| show::cluster(ctx.core.account(), c, ClusterShow::CHANGED));
    Ok(PutClusterCapacityProvidersResponse { cluster })
}

/// The providers of a cluster by their names, and its default strategy.
///
/// # Errors
/// When a provider does not exist, or the strategy is none or names others.
pub(crate) fn of_cluster(
    ctx: &Ctx<'_>,
    providers: Vec<String>,
    strategy: Vec<CapacityProviderStrategyItem>,
) -> Result<(Vec<String>, Vec<CapacityProviderStrategyItem>), ApiError> {
    if providers.len() > MAX_ITEMS {
        return Err(ApiError::invalid(format!("capacityProviders can have at most {MAX_ITEMS} items.")));
    }
    let mut names: Vec<String> = Vec::new();
    for given in &providers {
        let name = ctx.provider_key(given)?.name;
        if !ctx.is_provider(&name) {
            return Err(unknown(given));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let strategy = checked(ctx, &names, strategy, "defaultCapacityProviderStrategy")?;
    Ok((names, strategy))
}

/// The strategy of a request: its own, else the cluster's when the request has no launch type; names instead of ARNs.
///
/// # Errors
/// What the client is told.
pub(crate) fn strategy(
    ctx: &Ctx<'_>,
    cluster: &Cluster,
    given: Option<Vec<CapacityProviderStrategyItem>>,
    has_launch_type: bool,
) -> Result<Vec<CapacityProviderStrategyItem>, ApiError> {
    let given = given.unwrap_or_default();
    if given.is_empty() {
        let default = if has_launch_type { Vec::new() } else { cluster.default_strategy.clone() };
        return usable(default);
    }
    if has_launch_type {
        return Err(ApiError::invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        ));
    }
    usable(checked(ctx, &cluster.capacity_providers, given, "capacityProviderStrategy")?)
}

/// Tasks of FARGATE are promised what no host here keeps yet.
fn usable(strategy: Vec<CapacityProviderStrategyItem>) -> Result<Vec<CapacityProviderStrategyItem>, ApiError> {
    let names = strategy.iter().filter_map(|item| item.capacity_provider.as_deref());
    if let Some(name) = names.into_iter().find(|name| BUILT_IN.contains(name)) {
        let text = format!("The capacity provider {name} is not supported yet by this version of Longshore.");
        return Err(ApiError::unsupported(text));
    }
    Ok(strategy)
}

fn checked(
    ctx: &Ctx<'_>,
    associated: &[String],
    items: Vec<CapacityProviderStrategyItem>,
    field: &str,
) -> Result<Vec<CapacityProviderStrategyItem>, ApiError> {
    if items.len() > MAX_ITEMS {
        return Err(ApiError::invalid(format!("{field} can have at most {MAX_ITEMS} items.")));
    }
    let mut strategy: Vec<CapacityProviderStrategyItem> = Vec::new();
    for item in items {
        let given = item.capacity_provider.clone().unwrap_or_default();
        let name = ctx.provider_key(&given)?.name;
        if !ctx.is_provider(&name) {
            return Err(unknown(&given));
        }
        if !associated.contains(&name) {
            return Err(ApiError::invalid(format!(
                "{field}: the capacity provider {name} is not associated with the cluster."
            )));
        }
        if strategy.iter().any(|other| other.capacity_provider.as_ref() == Some(&name)) {
            return Err(ApiError::invalid(format!("{field} names the capacity provider {name} twice.")));
        }
        for (part, value, most) in [("weight", item.weight, MAX_WEIGHT), ("base", item.base, MAX_BASE)] {
            if value.is_some_and(|value| !(0..=most).contains(&value)) {
                return Err(ApiError::invalid(format!("{field}.{part} must be between 0 and {most}.")));
            }
        }
        strategy.push(CapacityProviderStrategyItem { capacity_provider: Some(name), ..item });
    }
    if strategy.iter().filter(|item| item.base.is_some_and(|base| base > 0)).count() > 1 {
        return Err(ApiError::invalid(format!("{field}: only one capacity provider can have a base.")));
    }
    if !strategy.is_empty() && capacity::pools(&strategy).iter().all(|pool| pool.weight == 0) {
        return Err(ApiError::invalid(format!("{field}: at least one capacity provider must have a weight above 0.")));
    }
    Ok(strategy)
}

fn only_groups(managed_instances: bool, cluster: Option<&str>) -> Result<(), ApiError> {
    if managed_instances || cluster.is_some_and(|cluster| !cluster.is_empty()) {
        return Err(ApiError::unsupported(
            "managedInstancesProvider and cluster are not supported by this version of Longshore; \
             autoScalingGroupProvider is.",
        ));
    }
    Ok(())
}

fn built_in(name: &str, what: &str) -> Result<(), ApiError> {
    if BUILT_IN.contains(&name) {
        return Err(ApiError::client(format!("The capacity provider {name} is reserved and cannot be {what}.")));
    }
    Ok(())
}

/// Nothing here makes or ends machines, and nobody is to think that something does.
fn check_group(
    scaling: Option<&ManagedScaling>,
    protection: Option<&ManagedTerminationProtection>,
) -> Result<(), ApiError> {
    let enabled = |field: &str| {
        Err(ApiError::unsupported(format!(
            "autoScalingGroupProvider.{field} ENABLED is not supported by Longshore, which makes and ends no machines; \
             DISABLED is."
        )))
    };
    match scaling.and_then(|scaling| scaling.status.as_ref()) {
        None | Some(ManagedScalingStatus::Disabled) => {}
        Some(ManagedScalingStatus::Enabled) => return enabled("managedScaling.status"),
        Some(ManagedScalingStatus::Other(other)) => {
            return Err(ApiError::invalid(format!("managedScaling.status: `{other}` is none of ENABLED, DISABLED.")));
        }
    }
    match protection {
        None | Some(ManagedTerminationProtection::Disabled) => Ok(()),
        Some(ManagedTerminationProtection::Enabled) => enabled("managedTerminationProtection"),
        Some(ManagedTerminationProtection::Other(other)) => {
            Err(ApiError::invalid(format!("managedTerminationProtection: `{other}` is none of ENABLED, DISABLED.")))
        }
    }
}

fn unscaled() -> ManagedScaling {
    ManagedScaling { status: Some(ManagedScalingStatus::Disabled), ..ManagedScaling::default() }
}

fn shown(ctx: &Ctx<'_>, provider: &CapacityProvider, with_tags: bool) -> types::CapacityProvider {
    types::CapacityProvider {
        auto_scaling_group_provider: Some(provider.group.clone()),
        r#type: Some(CapacityProviderType::Ec2Autoscaling),
        update_status: Some(match provider.updated {
            true => CapacityProviderUpdateStatus::UpdateComplete,
            false => CapacityProviderUpdateStatus::CreateComplete,
        }),
        tags: Some(show::tags(if with_tags { &provider.tags } else { &NO_TAGS })),
        ..named(ctx, provider.key.name.clone())
    }
}

static NO_TAGS: Tags = Tags::new();

fn shown_built_in(ctx: &Ctx<'_>, name: String) -> types::CapacityProvider {
    let kind = if name == "FARGATE" { CapacityProviderType::Fargate } else { CapacityProviderType::FargateSpot };
    types::CapacityProvider { r#type: Some(kind), tags: Some(Vec::new()), ..named(ctx, name) }
}

fn named(ctx: &Ctx<'_>, name: String) -> types::CapacityProvider {
    types::CapacityProvider {
        capacity_provider_arn: Some(ctx.arn(Resource::Other(format!("{KIND}/{name}")))),
        name: Some(name),
        status: Some(CapacityProviderStatus::Active),
        ..types::CapacityProvider::default()
    }
}

impl Ctx<'_> {
    /// The provider that a request names, by its name or ARN, whether or not there is one.
    ///
    /// # Errors
    /// When it cannot be one of ours.
    pub(crate) fn provider_key(&self, given: &str) -> Result<CapacityProviderKey, ApiError> {
        let name = if Arn::looks_like(given) {
            match self.resource(given)? {
                Some(resource) => named_by(&resource).ok_or_else(|| unknown(given))?,
                None => return Err(unknown(given)),
            }
        } else {
            given.to_owned()
        };
        Ok(CapacityProviderKey { region: self.caller.region.clone(), name })
    }

    fn provider(&self, name: &str) -> Option<&CapacityProvider> {
        let key = CapacityProviderKey { region: self.caller.region.clone(), name: name.to_owned() };
        self.state.capacity_provider(&key).map(|provider| &**provider)
    }

    fn is_provider(&self, name: &str) -> bool {
        BUILT_IN.contains(&name) || self.provider(name).is_some()
    }
}

/// The name in the ARN of a capacity provider.
pub(crate) fn named_by(resource: &Resource) -> Option<String> {
    match resource {
        Resource::Other(text) => match text.split_once('/') {
            Some((KIND, name)) => Some(name.to_owned()),
            Some(_) | None => None,
        },
        Resource::Cluster(_)
        | Resource::Task(..)
        | Resource::ContainerInstance(..)
        | Resource::Container(..)
        | Resource::TaskDefinition(..)
        | Resource::Service(..)
        | Resource::OfService(..) => None,
    }
}
