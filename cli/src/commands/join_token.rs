//! `longshore host join-token`: tokens that let machines join, which to the API are SSM activations.

use super::Context;
use crate::args::JoinTokenCommand;
use crate::fault::Fault;
use crate::names::tail;
use crate::output::{or_dash, table};
use longshore_ecs_api::EpochSeconds;
use longshore_ecs_api::ssm::{
    Activation, CreateActivationRequest, CreateActivationResponse, DeleteActivationRequest, DeleteActivationResponse,
    DescribeActivationsRequest, DescribeActivationsResponse, SsmOperation, SsmTag,
};
use serde::Serialize;

/// Systems Manager requires a role; nothing here depends on it.
const ROLE: &str = "longshore-host";
/// The tag that binds a token to a cluster.
const CLUSTER_TAG: &str = "longshore:cluster";

/// Carries out a `host join-token` command.
pub(super) fn execute(context: &Context, command: JoinTokenCommand) -> Result<(), Fault> {
    match command {
        JoinTokenCommand::Create { hosts, hours, description } => create(context, hosts, hours, description),
        JoinTokenCommand::List => list(context),
        JoinTokenCommand::Revoke { ids } => revoke(context, ids),
    }
}

fn create(context: &Context, hosts: i32, hours: u32, description: Option<String>) -> Result<(), Fault> {
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours.into());
    let tag = |cluster: &str| SsmTag { key: Some(CLUSTER_TAG.to_owned()), value: Some(cluster.to_owned()) };
    let request = CreateActivationRequest {
        description,
        iam_role: Some(ROLE.to_owned()),
        registration_limit: Some(hosts),
        expiration_date: Some(EpochSeconds::from_millis(expires.as_millisecond())),
        // The tag holds a name, also when the cluster was chosen by its ARN.
        tags: context.api.chosen_cluster().map(|cluster| vec![tag(tail(cluster))]),
        ..CreateActivationRequest::default()
    };
    let answer: CreateActivationResponse = context.api.ssm(SsmOperation::CreateActivation, &request)?;
    if context.out.is_json() {
        return Ok(context.out.print(&answer, |_| String::new())?);
    }
    let id = or_dash(answer.activation_id.as_deref());
    let place =
        context.api.chosen_cluster().map(|c| format!(" join cluster {}", tail(c))).unwrap_or(" join".to_owned());
    let machines = if hosts == 1 { "one host".to_owned() } else { format!("{hosts} hosts") };
    eprintln!("Token {id} lets {machines}{place} within {hours} h. It is shown this once. On the new host:");
    eprintln!("  longshore-agent --control HOST:PORT --token-file FILE join");
    Ok(context.out.text(answer.activation_code.as_deref().unwrap_or_default())?)
}

fn list(context: &Context) -> Result<(), Fault> {
    let mut activations = Vec::new();
    let mut request = DescribeActivationsRequest::default();
    loop {
        let page: DescribeActivationsResponse = context.api.ssm(SsmOperation::DescribeActivations, &request)?;
        activations.extend(page.activation_list.unwrap_or_default());
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    let answer = DescribeActivationsResponse { activation_list: Some(activations), next_token: None };
    Ok(context.out.print(&answer, |out| {
        let row = |a: &Activation| {
            let (used, limit) = (a.registrations_count.unwrap_or_default(), a.registration_limit.unwrap_or(1));
            let tags = a.tags.iter().flatten();
            let cluster = tags.filter(|t| t.key.as_deref() == Some(CLUSTER_TAG)).find_map(|t| t.value.as_deref());
            let state = match a.expired {
                Some(true) => "expired",
                Some(false) | None if used >= limit => "spent",
                Some(false) | None => "open",
            };
            vec![
                or_dash(a.activation_id.as_deref()),
                state.to_owned(),
                format!("{used}/{limit}"),
                or_dash(cluster),
                out.time(a.expiration_date).unwrap_or_else(crate::output::dash),
                or_dash(a.description.as_deref()),
            ]
        };
        let rows = answer.activation_list.iter().flatten().map(row).collect();
        table(&["TOKEN", "STATE", "JOINED", "CLUSTER", "EXPIRES", "DESCRIPTION"], rows)
    })?)
}

/// What was revoked, for programs.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Revoked {
    activation_ids: Vec<String>,
}

fn revoke(context: &Context, ids: Vec<String>) -> Result<(), Fault> {
    for id in &ids {
        let request = DeleteActivationRequest { activation_id: Some(id.clone()) };
        let _: DeleteActivationResponse = context.api.ssm(SsmOperation::DeleteActivation, &request)?;
    }
    let answer = Revoked { activation_ids: ids };
    Ok(context.out.print(&answer, |_| {
        answer.activation_ids.iter().map(|id| format!("token {id} is revoked")).collect::<Vec<_>>().join("\n")
    })?)
}
