//! `longshore deploy`: a new definition for a service, watched until it runs or has failed.

pub(super) mod watch;

use super::{Context, service, task_def};
use crate::args::DeployArgs;
use crate::document;
use crate::fault::Fault;
use longshore_ecs_api::requests::{RegisterTaskDefinitionRequest, UpdateServiceRequest};
use longshore_ecs_api::types::Service;

/// Carries out `deploy`.
pub(super) fn execute(context: &Context, args: &DeployArgs) -> Result<(), Fault> {
    let before = service::find(context, &args.service)?;
    let definition = match (&args.what, &args.image) {
        (Some(what), _) => Some(service::definition(context, what)?),
        (None, Some(image)) => {
            Some(service::register(context, &with_image(context, &before, image, args.container.as_deref())?)?)
        }
        (None, None) => None,
    };
    let answer = context.api.call(&UpdateServiceRequest {
        cluster: Some(context.api.cluster().to_owned()),
        service: Some(args.service.clone()),
        task_definition: definition,
        force_new_deployment: Some(true),
        ..UpdateServiceRequest::default()
    })?;
    let now = answer.service.unwrap_or_default();
    if args.no_wait {
        return service::print_one(context, &args.service);
    }
    watch::to_the_end(context, &now, &[])
}

/// The definition that a service runs, with another image.
fn with_image(
    context: &Context,
    service: &Service,
    image: &str,
    container: Option<&str>,
) -> Result<RegisterTaskDefinitionRequest, Fault> {
    let current = service.task_definition.as_deref().unwrap_or_default();
    let described = task_def::find(context, current)?;
    let mut definition = document::anew(described)?;
    let containers = definition.container_definitions.get_or_insert_default();
    let names: Vec<String> = containers.iter().filter_map(|c| c.name.clone()).collect();
    let unclear =
        |why: String| Fault::Argument { argument: "--container", value: container.unwrap_or_default().to_owned(), why };
    let found = match (container, containers.as_mut_slice()) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(name), all) => all.iter_mut().find(|c| c.name.as_deref() == Some(name)),
    };
    let Some(found) = found else {
        return Err(unclear(format!("{current} has the containers {}; say which", names.join(", "))));
    };
    found.image = Some(image.to_owned());
    Ok(definition)
}
