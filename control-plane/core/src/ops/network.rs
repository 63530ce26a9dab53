//! `networkConfiguration` of RunTask and StartTask, in ECS's words where they are known.

use crate::bandwidth;
use crate::commands::{Interfaces, no_group, unknown_group};
use crate::ec2::{expecting, is_id};
use crate::records::Definition;
use crate::state::State;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{AssignPublicIp, NetworkMode};
use longshore_ecs_api::types::NetworkConfiguration;
use longshore_model::{ClusterKey, GroupId, SubnetId};
use std::collections::BTreeSet;

/// ECS's limits.
const MAX_SUBNETS: usize = 16;
const MAX_GROUPS: usize = 5;

/// What tasks of `definition` ask of their interfaces; `None` for modes that have none.
///
/// # Errors
/// `InvalidParameterException` that names the field or the resource.
pub(crate) fn interfaces(
    state: &State,
    cluster: &ClusterKey,
    definition: &Definition,
    given: Option<NetworkConfiguration>,
) -> Result<Option<Interfaces>, ApiError> {
    let mode = definition.body.network_mode.as_ref();
    let configuration = match (mode == Some(&NetworkMode::Awsvpc), given) {
        (false, None) => return Ok(None),
        (false, Some(_)) => {
            return Err(ApiError::invalid(
                "Network Configuration is not valid for the given networkMode of this task definition.",
            ));
        }
        (true, given) => given.and_then(|given| given.awsvpc_configuration).ok_or_else(|| {
            ApiError::invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
        })?,
    };
    match configuration.assign_public_ip {
        None | Some(AssignPublicIp::Disabled) => {}
        Some(AssignPublicIp::Enabled) => {
            return Err(ApiError::invalid("Assign public IP is not supported for this launch type."));
        }
        Some(AssignPublicIp::Other(other)) => {
            return Err(ApiError::invalid(format!("assignPublicIp: `{other}` is none of ENABLED, DISABLED.")));
        }
    }
    let network = state.network().ok_or_else(|| ApiError::server("There is no task network."))?;
    let subnets = once("subnets", configuration.subnets.unwrap_or_default(), MAX_SUBNETS)?;
    if subnets.is_empty() {
        return Err(ApiError::invalid("subnets can not be empty."));
    }
    for subnet in &subnets {
        if !is_id(subnet, SubnetId::PREFIX) {
            return Err(malformed("subnet", subnet, SubnetId::PREFIX, "InvalidSubnetId.Malformed"));
        }
        if subnet.parse() != Ok::<SubnetId, _>(network.subnet) {
            return Err(ApiError::invalid(format!(
                "Error retrieving subnet information for [{subnet}]: The subnet ID '{subnet}' does not exist \
                 (ErrorCode: InvalidSubnetID.NotFound)"
            )));
        }
    }
    let named = once("securityGroups", configuration.security_groups.unwrap_or_default(), MAX_GROUPS)?;
    let groups = named.iter().map(|text| match text.parse::<GroupId>() {
        Ok(id) => Ok(id),
        Err(_) if is_id(text, GroupId::PREFIX) => Err(no_group(text)),
        Err(_) => Err(malformed("security group", text, GroupId::PREFIX, "InvalidGroupId.Malformed")),
    });
    let mut groups: BTreeSet<GroupId> = groups.collect::<Result<_, _>>()?;
    if groups.is_empty() {
        groups.insert(network.default_group);
    }
    if let Some(id) = unknown_group(state, cluster, &groups) {
        return Err(no_group(id));
    }
    let bandwidth = bandwidth::of_tags(&definition.tags, mode)?;
    Ok(Some(Interfaces { subnet: network.subnet, groups, bandwidth }))
}

/// What EC2 says to ECS of an id that cannot be one.
fn malformed(what: &str, text: &str, prefix: &str, code: &str) -> ApiError {
    let why = expecting(text, prefix);
    ApiError::invalid(format!("Error retrieving {what} information for [{text}]: {why} (ErrorCode: {code})"))
}

/// A list of ids, each of which may stand in it once.
fn once(field: &str, list: Vec<String>, max: usize) -> Result<Vec<String>, ApiError> {
    if list.len() > max {
        return Err(ApiError::invalid(format!("{field} can have at most {max} items.")));
    }
    let mut seen = BTreeSet::new();
    for item in &list {
        // What comes back in errors is short and plain.
        if item.len() > 64 || !item.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(ApiError::invalid(format!("{field}: an id has at most 64 letters, digits and hyphens.")));
        }
        if !seen.insert(item) {
            return Err(ApiError::invalid(format!("{field}: {item} stands twice.")));
        }
    }
    Ok(list)
}
