//! `longshore service`.

mod show;

use super::deploy::watch;
use super::{Context, overrides, ps, why};
use crate::args::{Breaker, PsArgs, ServiceCommand, ServiceCreateArgs, ServiceSettings, ServiceUpdateArgs};
use crate::document::{self, Servable};
use crate::fault::Fault;
use crate::names::tail;
use longshore_ecs_api::enums::{
    AvailabilityZoneRebalancing, SchedulingStrategy, ServiceDeploymentStatus, ServiceField,
    StopServiceDeploymentStopType,
};
use longshore_ecs_api::requests::{
    CreateServiceRequest, DeleteServiceRequest, DescribeServiceRevisionsRequest, DescribeServicesRequest,
    ListServiceDeploymentsRequest, ListServicesRequest, StopServiceDeploymentRequest, UpdateServiceRequest,
};
use longshore_ecs_api::responses::DescribeServicesResponse;
use longshore_ecs_api::types::{
    ContainerImage, DeploymentCircuitBreaker, DeploymentConfiguration, PlacementConstraint, PlacementStrategy, Service,
    ServiceRevision,
};

/// Services that DescribeServices takes at a time.
const DESCRIBE_LIMIT: usize = 10;
/// Revisions that DescribeServiceRevisions takes at a time.
const REVISIONS_LIMIT: usize = 20;

/// Carries out a `service` command.
pub(super) fn execute(context: &Context, command: ServiceCommand) -> Result<(), Fault> {
    match command {
        ServiceCommand::List => list(context),
        ServiceCommand::Create(args) => create(context, *args),
        ServiceCommand::Update(args) => update(context, *args),
        ServiceCommand::Scale { name, count, wait } => scale(context, &name, count, wait),
        ServiceCommand::Ps { name, all } => {
            let service = find(context, &name)?;
            let args = PsArgs { all, service: service.service_name, ..PsArgs::default() };
            ps::execute(context, &args)
        }
        ServiceCommand::Describe { names } => describe(context, &names),
        ServiceCommand::Why(args) => why::execute(context, &args),
        ServiceCommand::Rollback { name, no_wait } => rollback(context, &name, no_wait),
        ServiceCommand::Delete { name, force, wait } => delete(context, &name, force, wait),
    }
}

/// Services with their tags, and those that there are not.
fn described(context: &Context, names: &[String]) -> Result<DescribeServicesResponse, Fault> {
    let (mut services, mut failures) = (Vec::new(), Vec::new());
    for names in names.chunks(DESCRIBE_LIMIT) {
        let answer = context.api.call(&DescribeServicesRequest {
            cluster: Some(context.api.cluster().to_owned()),
            services: Some(names.to_vec()),
            include: Some(vec![ServiceField::Tags]),
        })?;
        services.extend(answer.services.unwrap_or_default());
        failures.extend(answer.failures.unwrap_or_default());
    }
    Ok(DescribeServicesResponse { services: Some(services), failures: Some(failures) })
}

/// One service.
pub(super) fn find(context: &Context, name: &str) -> Result<Service, Fault> {
    let answer = described(context, &[name.to_owned()])?;
    answer.services.into_iter().flatten().next().ok_or_else(|| Fault::Missing {
        kind: "service",
        name: name.to_owned(),
        place: format!("cluster {}", context.api.cluster()),
        hint: "`longshore service list` shows what there is.",
    })
}

fn list(context: &Context) -> Result<(), Fault> {
    let mut request = ListServicesRequest {
        cluster: Some(context.api.cluster().to_owned()),
        max_results: Some(100),
        ..ListServicesRequest::default()
    };
    let mut arns = Vec::new();
    loop {
        let page = context.api.call(&request)?;
        arns.extend(page.service_arns.unwrap_or_default());
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    let answer = described(context, &arns)?;
    print_table(context, &answer)
}

fn print_table(context: &Context, answer: &DescribeServicesResponse) -> Result<(), Fault> {
    Ok(context.out.print(answer, |out| show::table_of(out, answer.services.as_deref().unwrap_or_default()))?)
}

/// The service as it is now, for the end of a command.
pub(super) fn print_one(context: &Context, name: &str) -> Result<(), Fault> {
    let service = find(context, name)?;
    print_table(context, &DescribeServicesResponse { services: Some(vec![service]), failures: Some(Vec::new()) })
}

fn describe(context: &Context, names: &[String]) -> Result<(), Fault> {
    let answer = described(context, names)?;
    context.out.print(&answer, |out| {
        let all = answer.services.iter().flatten();
        all.map(|service| show::facts(out, service).render()).collect::<Vec<_>>().join("\n\n")
    })?;
    crate::names::all_there("DescribeServices", answer.failures.as_deref().unwrap_or_default())
}

/// Describes the service of an ARN.
pub(super) fn describe_one(context: &Context, name: &str) -> Result<(), Fault> {
    describe(context, &[name.to_owned()])
}

fn create(context: &Context, args: ServiceCreateArgs) -> Result<(), Fault> {
    let mut request = base(context, &args.what)?;
    if request.service_name.as_ref().is_some_and(|name| *name != args.name) {
        return Err(Fault::Argument {
            argument: "NAME",
            value: args.name,
            why: format!("{} has the serviceName `{}`", args.what, request.service_name.unwrap_or_default()),
        });
    }
    if context.api.chosen_cluster().is_some() || request.cluster.is_none() {
        request.cluster = Some(context.api.cluster().to_owned());
    }
    request.service_name = Some(args.name.clone());
    if args.daemon {
        request.scheduling_strategy = Some(SchedulingStrategy::Daemon);
    }
    let is_daemon = request.scheduling_strategy == Some(SchedulingStrategy::Daemon);
    request.desired_count = args.count.or(request.desired_count).or((!is_daemon).then_some(1));
    let ServiceSettings { exec, grace_secs, .. } = args.settings;
    request.deployment_configuration = configuration(&args.settings, request.deployment_configuration);
    request.health_check_grace_period_seconds = grace_secs.or(request.health_check_grace_period_seconds);
    request.enable_execute_command = exec.or(request.enable_execute_command);
    request.availability_zone_rebalancing = rebalancing(&args.settings).or(request.availability_zone_rebalancing);
    request.placement_constraints = constraints(&args.settings).or(request.placement_constraints);
    request.placement_strategy = strategies(&args.settings)?.or(request.placement_strategy);
    let made = context.api.call(&request)?.service.unwrap_or_default();
    finish(context, &made, args.wait)
}

/// What was named: a definition, or a file with one or with a request.
fn base(context: &Context, what: &str) -> Result<CreateServiceRequest, Fault> {
    let of = |definition: String| CreateServiceRequest {
        task_definition: Some(definition),
        ..CreateServiceRequest::default()
    };
    if !document::is_file(what) {
        return Ok(of(what.to_owned()));
    }
    match document::servable(what)? {
        Servable::Request(request) => Ok(*request),
        Servable::Definition(definition) => Ok(of(register(context, &definition)?)),
    }
}

/// Registers a definition and gives its ARN.
pub(super) fn register(
    context: &Context,
    definition: &longshore_ecs_api::requests::RegisterTaskDefinitionRequest,
) -> Result<String, Fault> {
    let answer = context.api.call(definition)?;
    let arn = answer.task_definition.and_then(|d| d.task_definition_arn).unwrap_or_default();
    eprintln!("registered {}", tail(&arn));
    Ok(arn)
}

/// A definition as it was named, or that of a file once it is registered.
pub(super) fn definition(context: &Context, what: &str) -> Result<String, Fault> {
    if document::is_file(what) { register(context, &document::definition(what)?) } else { Ok(what.to_owned()) }
}

fn configuration(
    settings: &ServiceSettings,
    given: Option<DeploymentConfiguration>,
) -> Option<DeploymentConfiguration> {
    let breaker = settings.breaker.map(|breaker| {
        let (enable, rollback) = match breaker {
            Breaker::Off => (false, false),
            Breaker::Stop => (true, false),
            Breaker::Rollback => (true, true),
        };
        DeploymentCircuitBreaker {
            enable: Some(enable),
            rollback: Some(rollback),
            ..DeploymentCircuitBreaker::default()
        }
    });
    if breaker.is_none() && settings.min_percent.is_none() && settings.max_percent.is_none() {
        return given;
    }
    let given = given.unwrap_or_default();
    Some(DeploymentConfiguration {
        minimum_healthy_percent: settings.min_percent.or(given.minimum_healthy_percent),
        maximum_percent: settings.max_percent.or(given.maximum_percent),
        deployment_circuit_breaker: breaker.or_else(|| given.deployment_circuit_breaker.clone()),
        ..given
    })
}

fn rebalancing(settings: &ServiceSettings) -> Option<AvailabilityZoneRebalancing> {
    settings.rebalancing.map(|on| match on {
        true => AvailabilityZoneRebalancing::Enabled,
        false => AvailabilityZoneRebalancing::Disabled,
    })
}

fn constraints(settings: &ServiceSettings) -> Option<Vec<PlacementConstraint>> {
    let all: Vec<_> = settings.constraint.iter().map(|text| overrides::constraint(text)).collect();
    (!all.is_empty()).then_some(all)
}

fn strategies(settings: &ServiceSettings) -> Result<Option<Vec<PlacementStrategy>>, Fault> {
    let all: Vec<_> = settings.strategy.iter().map(|text| overrides::strategy(text)).collect::<Result<_, _>>()?;
    Ok((!all.is_empty()).then_some(all))
}

fn update(context: &Context, args: ServiceUpdateArgs) -> Result<(), Fault> {
    let definition = args.definition.as_deref().map(|what| definition(context, what)).transpose()?;
    let changed = context.api.call(&UpdateServiceRequest {
        cluster: Some(context.api.cluster().to_owned()),
        service: Some(args.name.clone()),
        task_definition: definition,
        desired_count: args.count,
        deployment_configuration: configuration(&args.settings, None),
        health_check_grace_period_seconds: args.settings.grace_secs,
        enable_execute_command: args.settings.exec,
        placement_constraints: constraints(&args.settings),
        placement_strategy: strategies(&args.settings)?,
        availability_zone_rebalancing: rebalancing(&args.settings),
        force_new_deployment: args.force.then_some(true),
        ..UpdateServiceRequest::default()
    })?;
    finish(context, &changed.service.unwrap_or_default(), args.wait)
}

/// Shows a service after a change, once what the change set off is through if that is wanted.
fn finish(context: &Context, service: &Service, wait: bool) -> Result<(), Fault> {
    let name = service.service_arn.clone().or_else(|| service.service_name.clone()).unwrap_or_default();
    if !wait {
        return print_one(context, &name);
    }
    if watch::is_under_way(service) {
        return watch::to_the_end(context, service, &[]);
    }
    stable(context, &name)?;
    print_one(context, &name)
}

/// Waits until a service has all its tasks and no deployment under way, as `aws ecs wait services-stable` does.
fn stable(context: &Context, name: &str) -> Result<(), Fault> {
    crate::wait::until(context.wait, &format!("service {} to be stable", tail(name)), || {
        let service = find(context, name)?;
        let (running, desired) = (service.running_count.unwrap_or(0), service.desired_count.unwrap_or(0));
        let deployments = service.deployments.iter().flatten().count();
        let sets = service.task_sets.iter().flatten();
        let steady = sets
            .clone()
            .all(|set| set.running_count == set.computed_desired_count && set.pending_count.unwrap_or(0) == 0);
        let done = if service.task_sets.is_some() { steady } else { deployments == 1 && running == desired };
        Ok(if done { Ok(()) } else { Err(format!("{running} of {desired} tasks run, {deployments} deployments")) })
    })
}

fn scale(context: &Context, name: &str, count: i32, wait: bool) -> Result<(), Fault> {
    context.api.call(&UpdateServiceRequest {
        cluster: Some(context.api.cluster().to_owned()),
        service: Some(name.to_owned()),
        desired_count: Some(count),
        ..UpdateServiceRequest::default()
    })?;
    if wait {
        stable(context, name)?;
    }
    print_one(context, name)
}

fn delete(context: &Context, name: &str, force: bool, wait: bool) -> Result<(), Fault> {
    context.api.call(&DeleteServiceRequest {
        cluster: Some(context.api.cluster().to_owned()),
        service: Some(name.to_owned()),
        force: Some(force),
    })?;
    if wait {
        crate::wait::until(context.wait, &format!("service {} to be gone", tail(name)), || {
            let service = find(context, name)?;
            let left = service.running_count.unwrap_or(0) + service.pending_count.unwrap_or(0);
            let over = service.status.as_deref() == Some("INACTIVE");
            Ok(if over { Ok(()) } else { Err(format!("{left} tasks are left")) })
        })?;
    }
    print_one(context, name)
}

fn rollback(context: &Context, name: &str, no_wait: bool) -> Result<(), Fault> {
    let before = find(context, name)?;
    let arn = before.service_arn.clone().unwrap_or_else(|| name.to_owned());
    let service = if watch::is_under_way(&before) {
        context.api.call(&StopServiceDeploymentRequest {
            service_deployment_arn: before.current_service_deployment,
            stop_type: Some(StopServiceDeploymentStopType::Rollback),
        })?;
        find(context, &arn)?
    } else {
        let revision = revision_before(context, &before)?;
        let definition = revision.task_definition.as_deref().map_or("?", tail);
        eprintln!(
            "going back to service revision {}: {definition}",
            revision.service_revision_arn.as_deref().map_or("?", tail)
        );
        let request = UpdateServiceRequest {
            cluster: Some(context.api.cluster().to_owned()),
            service: Some(arn.clone()),
            // Where ECS takes a definition, Longshore also takes a revision that ran, with its network and images.
            task_definition: revision.service_revision_arn,
            ..UpdateServiceRequest::default()
        };
        context.api.call(&request)?.service.unwrap_or_default()
    };
    if no_wait {
        return print_one(context, &arn);
    }
    // A rollback that somebody wants is no failure.
    let wanted = [ServiceDeploymentStatus::RollbackSuccessful];
    watch::to_the_end(context, &service, &wanted)
}

/// What the last successful deployment before the current one ran that is not what runs now: another definition,
/// network, capacity provider strategy or image.
fn revision_before(context: &Context, service: &Service) -> Result<ServiceRevision, Fault> {
    let listed = context.api.call(&ListServiceDeploymentsRequest {
        cluster: Some(context.api.cluster().to_owned()),
        service: service.service_arn.clone(),
        status: Some(vec![ServiceDeploymentStatus::Successful]),
        max_results: Some(20),
        ..ListServiceDeploymentsRequest::default()
    })?;
    let runs = service.current_service_revisions.iter().flatten().next().and_then(|revision| revision.arn.clone());
    // The one that runs, and then the others in the order of their deployments, the newest first.
    let deployments = listed.service_deployments.unwrap_or_default();
    let targets: Vec<String> = deployments.into_iter().filter_map(|d| d.target_service_revision_arn).collect();
    // What failed is nothing to go back from: what succeeded last is other than that, whatever it runs.
    let is_proven = runs.as_ref().is_none_or(|runs| targets.contains(runs));
    let mut arns: Vec<String> = Vec::new();
    for arn in runs.clone().into_iter().chain(targets) {
        if arns.len() < REVISIONS_LIMIT && !arns.contains(&arn) {
            arns.push(arn);
        }
    }
    let missing = || Fault::Missing {
        kind: "earlier revision of service",
        name: service.service_name.clone().unwrap_or_default(),
        place: format!("cluster {}", context.api.cluster()),
        hint: "Only what was deployed successfully and is remembered can be brought back; `longshore deploy` takes any \
               definition.",
    };
    if arns.is_empty() {
        return Err(missing());
    }
    let request = DescribeServiceRevisionsRequest { service_revision_arns: Some(arns.clone()) };
    let found = context.api.call(&request)?.service_revisions.unwrap_or_default();
    let by_arn = |arn: &String| found.iter().find(|revision| revision.service_revision_arn.as_ref() == Some(arn));
    let now = runs.as_ref().and_then(by_arn);
    let is_other = |revision: &&ServiceRevision| {
        // One whose definition was deleted has no images any more, and is refused.
        let can_run = revision.container_images.is_some();
        let differs = !is_proven || now.is_none_or(|now| differs(now, revision));
        can_run && differs && revision.service_revision_arn != runs
    };
    arns.iter().filter_map(by_arn).find(is_other).cloned().ok_or_else(missing)
}

/// Whether tasks of one revision are other than those of another one, or placed by another strategy. A digest that no
/// task told yet is none that differs.
fn differs(one: &ServiceRevision, other: &ServiceRevision) -> bool {
    let settings = |revision: &ServiceRevision| {
        let strategy = revision.capacity_provider_strategy.clone();
        (revision.task_definition.clone(), revision.network_configuration.clone(), strategy)
    };
    let images = |revision: &ServiceRevision| revision.container_images.clone().unwrap_or_default();
    let others = images(other);
    let has_other_image = |image: &ContainerImage| {
        let same_container = others.iter().find(|other| other.container_name == image.container_name);
        let digests = same_container.and_then(|other| image.image_digest.as_ref().zip(other.image_digest.as_ref()));
        digests.is_some_and(|(one, other)| one != other)
    };
    settings(one) != settings(other) || images(one).iter().any(has_other_image)
}
