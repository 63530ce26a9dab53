//! What the agent adds to a container's environment. Pure.

use super::Keyring;
use longshore_model::{Arn, ContainerSpec, EnvVar, NetworkMode, TaskSpec};
use std::sync::Arc;

/// Where containers ask, in every network mode that has a network.
const HOST: &str = "http://169.254.170.2";

/// The launch type whose containers are told of it, as in ECS.
const EC2: &str = "EC2";

/// The task with where to ask in the environment of the container at `index`, which is ours to say: nothing else may
/// say it.
#[must_use]
pub fn with_places(spec: &Arc<TaskSpec>, index: usize, keyring: &Keyring) -> Arc<TaskSpec> {
    let Some(container) = spec.containers.get(index) else { return spec.clone() };
    let mut environment = container.environment.clone();
    for variable in places(spec, container, keyring) {
        environment.retain(|other| other.name != variable.name);
        environment.push(variable);
    }
    let mut spec = TaskSpec::clone(spec);
    spec.containers[index].environment = environment;
    Arc::new(spec)
}

/// Adds the region and the launch type to the environment of the container at `index`. What the definition or one of
/// its files says of these variables counts more; the files' have to be there by now.
pub fn add_defaults(spec: &mut TaskSpec, index: usize) {
    let defaults = defaults(spec);
    let Some(container) = spec.containers.get_mut(index) else { return };
    for variable in defaults {
        if !container.environment.iter().any(|other| other.name == variable.name) {
            container.environment.push(variable);
        }
    }
}

fn variable(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value }
}

fn places(spec: &TaskSpec, container: &ContainerSpec, keyring: &Keyring) -> Vec<EnvVar> {
    let has_network = match spec.network_mode {
        NetworkMode::Bridge | NetworkMode::Host | NetworkMode::Awsvpc => !container.disable_networking,
        NetworkMode::None => false,
    };
    if !has_network {
        return Vec::new();
    }
    let id = keyring.id(spec.id, &container.name);
    vec![
        variable("ECS_CONTAINER_METADATA_URI", format!("{HOST}/v3/{id}")),
        variable("ECS_CONTAINER_METADATA_URI_V4", format!("{HOST}/v4/{id}")),
        variable("ECS_AGENT_URI", format!("{HOST}/api/{id}")),
    ]
}

fn defaults(spec: &TaskSpec) -> Vec<EnvVar> {
    let mut all = Vec::new();
    if let Ok(arn) = spec.arn.parse::<Arn>() {
        all.extend(["AWS_REGION", "AWS_DEFAULT_REGION"].map(|name| variable(name, arn.region.to_string())));
    }
    if spec.launch_type == EC2 {
        all.push(variable("AWS_EXECUTION_ENV", "AWS_ECS_EC2".to_owned()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::task;

    fn names(spec: &TaskSpec) -> Vec<&str> {
        spec.containers[0].environment.iter().map(|v| v.name.as_str()).collect()
    }

    fn with_both(spec: &Arc<TaskSpec>, keyring: &Keyring) -> TaskSpec {
        let mut spec = TaskSpec::clone(&with_places(spec, 0, keyring));
        add_defaults(&mut spec, 0);
        spec
    }

    #[test]
    fn every_mode_with_a_network_is_told_where_to_ask() {
        let keyring = Keyring::new([7; 32]);
        let places = ["ECS_CONTAINER_METADATA_URI", "ECS_CONTAINER_METADATA_URI_V4", "ECS_AGENT_URI"];
        let defaults = ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV"];
        for (mode, told) in [
            (NetworkMode::Bridge, true),
            (NetworkMode::Host, true),
            (NetworkMode::Awsvpc, true),
            (NetworkMode::None, false),
        ] {
            let spec = Arc::new(task(mode));
            let ours = with_both(&spec, &keyring);
            let expected: Vec<&str> = places.iter().filter(|_| told).chain(&defaults).copied().collect();
            assert_eq!(names(&ours), expected, "{mode:?}");
            let values = ours.containers[0].environment.iter().rev().map(|v| v.value.as_str());
            assert_eq!(values.take(3).collect::<Vec<_>>(), ["AWS_ECS_EC2", "lab", "lab"], "{mode:?}");
            assert_eq!(ours.containers[1], spec.containers[1], "the others are as they were");
        }
        let mut cut_off = task(NetworkMode::Bridge);
        cut_off.containers[0].disable_networking = true;
        assert_eq!(names(&with_both(&Arc::new(cut_off), &keyring)), defaults);
    }

    #[test]
    fn only_the_launch_type_ec2_is_told() {
        let keyring = Keyring::new([7; 32]);
        for launch_type in ["EXTERNAL", ""] {
            let mut spec = task(NetworkMode::None);
            spec.launch_type = launch_type.to_owned();
            let ours = with_both(&Arc::new(spec), &keyring);
            assert_eq!(names(&ours), ["AWS_REGION", "AWS_DEFAULT_REGION"], "{launch_type}");
        }
    }

    #[test]
    fn a_definition_sets_its_region_and_launch_type_and_not_where_to_ask() {
        let keyring = Keyring::new([7; 32]);
        let mut spec = task(NetworkMode::Bridge);
        spec.containers[0].environment = vec![
            variable("AWS_REGION", "mine".into()),
            variable("AWS_EXECUTION_ENV", "my own".into()),
            variable("ECS_AGENT_URI", "http://elsewhere".into()),
        ];
        let ours = with_both(&Arc::new(spec), &keyring);
        let value = |name: &str| {
            let all: Vec<&EnvVar> = ours.containers[0].environment.iter().filter(|v| v.name == name).collect();
            assert_eq!(all.len(), 1, "{name}");
            all[0].value.clone()
        };
        assert_eq!(value("AWS_REGION"), "mine");
        assert_eq!(value("AWS_DEFAULT_REGION"), "lab");
        assert_eq!(value("AWS_EXECUTION_ENV"), "my own");
        assert!(value("ECS_AGENT_URI").starts_with("http://169.254.170.2/api/"));
    }
}
