//! One container of a definition, by itself.

use super::checks::{MAX_NAME, absolute, at, at_most, given, is_name, mistake, range};
use super::{linux, logging, ports, probe, restart, size};
use crate::secret_name::SecretName;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{
    EnvironmentFileType, FirelensConfigurationType, NetworkMode, ResourceType, VersionConsistency,
};
use longshore_ecs_api::types::{ContainerDefinition, EnvironmentFile, KeyValuePair, TaskDefinition};
use longshore_model::PROBE_LABELS;
use std::net::IpAddr;

/// What the agents put on every container; a definition's own labels may not take the place of these.
const RESERVED_LABELS: &[&str] = &["longshore.", "com.amazonaws.ecs."];
/// One of them that a definition may have: the OCI runtime of the container. ECS has no field for it.
pub(super) const RUNTIME_LABEL: &str = "longshore.runtime";
/// Another: when the container's image is pulled, if not as the agent's configuration says.
const PULL_LABEL: &str = "longshore.pull-behavior";
/// ECS's names of what that may be.
const PULL_BEHAVIORS: [&str; 4] = ["default", "always", "once", "prefer-cached"];
/// What an `environmentFiles.value` of ours begins with.
pub(super) const FILE_SCHEME: &str = "file:///";
/// Those that are fetched.
const URL_SCHEMES: [&str; 2] = ["http://", "https://"];
/// So that an attribute's name can hold it.
const MAX_RUNTIME: usize = 64;
/// The name that Docker replaces by the host's address in `extraHosts`.
const HOST_GATEWAY: &str = "host-gateway";

pub(super) fn check(
    container: &ContainerDefinition,
    index: usize,
    definition: &TaskDefinition,
    mode: &NetworkMode,
) -> Result<(), ApiError> {
    identity(container)?;
    size::check_container(container, index, definition)?;
    ports::check(container, index, mode)?;
    process(container, index, mode)?;
    environment(container, index)?;
    names_and_labels(container, index, mode)?;
    lifecycle(container, index)?;
    restart::check(container, index)?;
    probe::check(container, index)?;
    health_check(container, index)?;
    linux::check(container, index, definition, mode)?;
    logging::check(container, index)?;
    resources(container, index, definition)?;
    others(container, index)
}

fn identity(container: &ContainerDefinition) -> Result<(), ApiError> {
    match given(container.name.as_ref()) {
        None => return Err(mistake("Container.name should not be null or empty.")),
        Some(name) if !is_name(name) => return Err(mistake("Container.name contains invalid characters.")),
        Some(_) => {}
    }
    match given(container.image.as_ref()) {
        None => Err(mistake("Container.image should not be null or empty.")),
        Some(image) if !is_image(image) => Err(mistake("Container.image contains invalid characters.")),
        Some(_) => Ok(()),
    }
}

/// The characters and lengths that ECS allows; whether such an image exists is the registry's to say.
fn is_image(image: &str) -> bool {
    let (name, digest) = match image.split_once('@') {
        None => (image, None),
        Some((name, digest)) => (name, Some(digest)),
    };
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"-_:./#".contains(&b);
    let digest_sound = digest.is_none_or(|digest| {
        digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(sound) && digest_sound
}

fn process(container: &ContainerDefinition, index: usize, mode: &NetworkMode) -> Result<(), ApiError> {
    if given(container.working_directory.as_ref()).is_some() {
        absolute(container.working_directory.as_ref(), || at(index, "workingDirectory"))?;
    }
    if given(container.hostname.as_ref()).is_some() && *mode == NetworkMode::Awsvpc {
        return Err(mistake(format!("{} is not supported when networkMode=awsvpc.", at(index, "hostname"))));
    }
    Ok(())
}

fn environment(container: &ContainerDefinition, index: usize) -> Result<(), ApiError> {
    for (i, KeyValuePair { name, value: _ }) in container.environment.iter().flatten().enumerate() {
        let field = || at(index, &format!("environment[{i}].name"));
        match given(name.as_ref()) {
            None => return Err(mistake(format!("{} should not be null or empty.", field()))),
            Some(name) if name.contains('=') => {
                return Err(mistake(format!("{} must not contain an equals sign.", field())));
            }
            Some(_) => {}
        }
    }
    environment_files(container.environment_files.as_ref(), &at(index, "environmentFiles"))?;
    for (i, secret) in container.secrets.iter().flatten().enumerate() {
        let field = |name: &str| at(index, &format!("secrets[{i}].{name}"));
        let Some(name) = given(secret.name.as_ref()) else {
            return Err(mistake(format!("{} should not be null or empty.", field("name"))));
        };
        if given(secret.value_from.as_ref()).is_none() {
            return Err(mistake(format!("{} should not be null or empty.", field("valueFrom"))));
        }
        let taken = container.environment.iter().flatten().any(|pair| pair.name.as_deref() == Some(name))
            || container.secrets.iter().flatten().take(i).any(|earlier| earlier.name.as_deref() == Some(name));
        if taken {
            return Err(mistake(format!(
                "The secret name must be unique and not shared with any new or existing environment variables set on \
                 the container, such as '{name}'."
            )));
        }
    }
    Ok(())
}

/// The environment files of a container or of its override, which are at `path`.
pub(super) fn environment_files(files: Option<&Vec<EnvironmentFile>>, path: &str) -> Result<(), ApiError> {
    at_most(files, 10, || path.to_owned())?;
    for (i, file) in files.into_iter().flatten().enumerate() {
        let field = |name: &str| format!("{path}[{i}].{name}");
        if file.r#type != Some(EnvironmentFileType::S3) {
            return Err(mistake(format!("{} must be s3.", field("type"))));
        }
        let value = given(file.value.as_ref()).unwrap_or_default();
        if is_url(value) && !is_sound(value) {
            return Err(mistake(format!(
                "{} must be a URL with a host, of printable ASCII and without a fragment.",
                field("value")
            )));
        }
        // What a query holds is the server's business.
        let name = if is_url(value) { value.split('?').next().unwrap_or_default() } else { value };
        if !name.ends_with(".env") {
            return Err(mistake(format!("{} must end in .env.", field("value"))));
        }
        if name.split('/').any(|part| part == "..") {
            return Err(mistake(format!("{} must not go up with '..'.", field("value"))));
        }
    }
    Ok(())
}

/// Whether an environment file is fetched from a web server.
pub(super) fn is_url(value: &str) -> bool {
    URL_SCHEMES.iter().any(|scheme| value.starts_with(scheme))
}

/// Whether a URL can be asked for.
fn is_sound(url: &str) -> bool {
    let rest = URL_SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme)).unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    };
    let printable = url.bytes().all(|b| b.is_ascii_graphic() && !b"#<>\"\\^`{|}".contains(&b));
    printable && !name.is_empty() && port.is_none_or(|port| matches!(port.parse::<u16>(), Ok(1..)))
}

fn names_and_labels(container: &ContainerDefinition, index: usize, mode: &NetworkMode) -> Result<(), ApiError> {
    for (i, server) in container.dns_servers.iter().flatten().enumerate() {
        if server.parse::<IpAddr>().is_err() {
            return Err(mistake(format!("{} must be an IP address.", at(index, &format!("dnsServers[{i}]")))));
        }
    }
    for (i, domain) in container.dns_search_domains.iter().flatten().enumerate() {
        let sound = (1..=254).contains(&domain.len())
            && domain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if !sound {
            return Err(mistake(format!("{} must be a domain name.", at(index, &format!("dnsSearchDomains[{i}]")))));
        }
    }
    if *mode == NetworkMode::Awsvpc && container.extra_hosts.iter().flatten().next().is_some() {
        return Err(mistake(format!("{} is not supported when networkMode=awsvpc.", at(index, "extraHosts"))));
    }
    for (i, host) in container.extra_hosts.iter().flatten().enumerate() {
        let field = |name: &str| at(index, &format!("extraHosts[{i}].{name}"));
        let name_sound = given(host.hostname.as_ref()).is_some_and(|name| {
            name.len() <= 253 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        });
        if !name_sound {
            return Err(mistake(format!("{} must be a host's name.", field("hostname"))));
        }
        let address = given(host.ip_address.as_ref());
        if !address.is_some_and(|text| text == HOST_GATEWAY || text.parse::<IpAddr>().is_ok()) {
            return Err(mistake(format!("{} must be an IP address or {HOST_GATEWAY}.", field("ipAddress"))));
        }
    }
    for (key, value) in container.docker_labels.iter().flatten() {
        let field = at(index, "dockerLabels");
        if key.is_empty() {
            return Err(mistake(format!("{field}: a label's name must not be empty.")));
        }
        if key == RUNTIME_LABEL {
            let sound = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
            if value.is_empty() || value.len() > MAX_RUNTIME || !value.bytes().all(sound) {
                return Err(mistake(format!(
                    "{field}.{key} must be the name of a runtime: 1 to {MAX_RUNTIME} letters, digits and '-', '_', '.'."
                )));
            }
            continue;
        }
        if key == PULL_LABEL {
            if !PULL_BEHAVIORS.contains(&value.as_str()) {
                return Err(mistake(format!("{field}.{key} must be one of [{}].", PULL_BEHAVIORS.join(", "))));
            }
            continue;
        }
        if restart::is_label(key) || key.starts_with(PROBE_LABELS) {
            continue;
        }
        if let Some(prefix) = RESERVED_LABELS.iter().find(|prefix| key.starts_with(**prefix)) {
            return Err(mistake(format!("{field}: names that begin with '{prefix}' are the agent's own.")));
        }
    }
    for (i, option) in container.docker_security_options.iter().flatten().enumerate() {
        let known = match option.split_once([':', '=']) {
            None => option == "no-new-privileges",
            Some(("no-new-privileges", value)) => matches!(value, "true" | "false"),
            Some(("label" | "apparmor", value)) => !value.is_empty(),
            Some(_) => false,
        };
        if !known {
            return Err(mistake(format!(
                "{} must be no-new-privileges, apparmor:PROFILE or label:VALUE.",
                at(index, &format!("dockerSecurityOptions[{i}]"))
            )));
        }
    }
    Ok(())
}

fn lifecycle(container: &ContainerDefinition, index: usize) -> Result<(), ApiError> {
    range(container.start_timeout, 0..=i32::MAX, || at(index, "startTimeout"))?;
    range(container.stop_timeout, 0..=i32::MAX, || at(index, "stopTimeout"))
}

fn health_check(container: &ContainerDefinition, index: usize) -> Result<(), ApiError> {
    let Some(check) = &container.health_check else {
        return Ok(());
    };
    let field = |name: &str| at(index, &format!("healthCheck.{name}"));
    let command = check.command.as_deref().unwrap_or_default();
    match command.first().map(String::as_str) {
        Some("CMD" | "CMD-SHELL") if command.len() > 1 => {}
        Some("NONE") if command.len() == 1 => {}
        Some(_) | None => {
            return Err(mistake(format!("{} must begin with CMD or CMD-SHELL and have a command.", field("command"))));
        }
    }
    range(check.interval, 5..=300, || field("interval"))?;
    range(check.timeout, 2..=60, || field("timeout"))?;
    range(check.retries, 1..=10, || field("retries"))?;
    range(check.start_period, 0..=300, || field("startPeriod"))
}

fn resources(container: &ContainerDefinition, index: usize, definition: &TaskDefinition) -> Result<(), ApiError> {
    let requirements = container.resource_requirements.as_deref().unwrap_or_default();
    for (i, requirement) in requirements.iter().enumerate() {
        let field = |name: &str| at(index, &format!("resourceRequirements[{i}].{name}"));
        let value = given(requirement.value.as_ref());
        match &requirement.r#type {
            Some(ResourceType::Gpu) => {
                let number = value.and_then(|text| text.parse::<u16>().ok()).is_some_and(|n| (1..=1024).contains(&n));
                let whole = number || value == Some("ALL");
                if value.is_some() == requirement.sharing_strategy.is_some() || (value.is_some() && !whole) {
                    return Err(mistake(format!("{} must be a number of GPUs, at least 1, or ALL.", field("value"))));
                }
            }
            Some(ResourceType::InferenceAccelerator) => {
                let devices = definition.inference_accelerators.as_deref().unwrap_or_default();
                if value.is_none() || !devices.iter().any(|device| device.device_name.as_deref() == value) {
                    return Err(mistake(format!("{} must be the deviceName of an accelerator.", field("value"))));
                }
            }
            Some(ResourceType::NeuronDevice) => {
                if value != Some("ALL") {
                    return Err(mistake(format!("{} must be ALL.", field("value"))));
                }
            }
            None | Some(ResourceType::Other(_)) => {
                return Err(mistake(format!("{} must be GPU, InferenceAccelerator or NeuronDevice.", field("type"))));
            }
        }
    }
    let gpus = requirements.iter().filter(|r| r.r#type == Some(ResourceType::Gpu)).count();
    if gpus > 1 {
        return Err(mistake(format!("{}: GPU is there more than once.", at(index, "resourceRequirements"))));
    }
    Ok(())
}

fn others(container: &ContainerDefinition, index: usize) -> Result<(), ApiError> {
    if let Some(credentials) = &container.repository_credentials {
        let field = || at(index, "repositoryCredentials.credentialsParameter");
        match given(credentials.credentials_parameter.as_ref()) {
            None => return Err(mistake(format!("{} should not be null or empty.", field()))),
            Some(text) if SecretName::parse(text).is_none() => {
                return Err(mistake(format!(
                    "{} must be the name or the ARN of a secret of Secrets Manager \
                     (arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME).",
                    field()
                )));
            }
            Some(_) => {}
        }
    }
    if let Some(firelens) = &container.firelens_configuration {
        match firelens.r#type {
            Some(FirelensConfigurationType::Fluentd | FirelensConfigurationType::Fluentbit) => {}
            None | Some(FirelensConfigurationType::Other(_)) => {
                return Err(mistake(format!(
                    "{} must be fluentd or fluentbit.",
                    at(index, "firelensConfiguration.type")
                )));
            }
        }
    }
    if matches!(container.version_consistency, Some(VersionConsistency::Other(_))) {
        return Err(mistake(format!("{} must be enabled or disabled.", at(index, "versionConsistency"))));
    }
    at_most(container.credential_specs.as_ref(), 1, || at(index, "credentialSpecs"))
}
