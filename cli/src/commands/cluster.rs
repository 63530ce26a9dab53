//! `longshore cluster`.

use super::Context;
use crate::api::DESCRIBE_LIMIT;
use crate::args::ClusterCommand;
use crate::fault::Fault;
use crate::names::all_there;
use crate::output::{Facts, or_dash, table};
use longshore_ecs_api::enums::ClusterField;
use longshore_ecs_api::requests::{
    CreateClusterRequest, DeleteClusterRequest, DescribeClustersRequest, ListClustersRequest,
};
use longshore_ecs_api::responses::DescribeClustersResponse;
use longshore_ecs_api::types::Cluster;

/// Carries out a `cluster` command.
pub(super) fn execute(context: &Context, command: ClusterCommand) -> Result<(), Fault> {
    match command {
        ClusterCommand::List => list(context),
        ClusterCommand::Create { name } => {
            let name = name.unwrap_or_else(|| context.api.cluster().to_owned());
            let request = CreateClusterRequest { cluster_name: Some(name), ..CreateClusterRequest::default() };
            let answer = context.api.call(&request)?;
            Ok(context.out.print(&answer, |_| said(answer.cluster.as_ref(), "is there"))?)
        }
        ClusterCommand::Describe { names } => {
            let names = if names.is_empty() { vec![context.api.cluster().to_owned()] } else { names };
            let answer = find(context, &names)?;
            print_in_full(context, &answer)?;
            all_there("DescribeClusters", answer.failures.as_deref().unwrap_or_default())
        }
        ClusterCommand::Delete { name } => {
            let answer = context.api.call(&DeleteClusterRequest { cluster: Some(name) })?;
            Ok(context.out.print(&answer, |_| said(answer.cluster.as_ref(), "is deleted"))?)
        }
    }
}

fn said(cluster: Option<&Cluster>, what: &str) -> String {
    format!("cluster {} {what}", or_dash(cluster.and_then(|c| c.cluster_name.as_deref())))
}

fn list(context: &Context) -> Result<(), Fault> {
    let mut arns = Vec::new();
    let mut request = ListClustersRequest::default();
    loop {
        let page = context.api.call(&request)?;
        arns.extend(page.cluster_arns.unwrap_or_default());
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    let answer = find(context, &arns)?;
    let row = |c: &Cluster| {
        let count = |n: Option<i32>| n.unwrap_or_default().to_string();
        vec![
            or_dash(c.cluster_name.as_deref()),
            or_dash(c.status.as_deref()),
            count(c.registered_container_instances_count),
            count(c.running_tasks_count),
            count(c.pending_tasks_count),
        ]
    };
    Ok(context.out.print(&answer, |_| {
        let rows = answer.clusters.iter().flatten().map(row).collect();
        table(&["CLUSTER", "STATUS", "HOSTS", "RUNNING", "PENDING"], rows)
    })?)
}

/// The clusters in full, sorted by name.
pub(super) fn find(context: &Context, names: &[String]) -> Result<DescribeClustersResponse, Fault> {
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for names in names.chunks(DESCRIBE_LIMIT) {
        let answer = context.api.call(&DescribeClustersRequest {
            clusters: Some(names.to_vec()),
            include: Some(vec![ClusterField::Settings, ClusterField::Tags]),
        })?;
        clusters.extend(answer.clusters.unwrap_or_default());
        failures.extend(answer.failures.unwrap_or_default());
    }
    clusters.sort_by(|a, b| a.cluster_name.cmp(&b.cluster_name));
    Ok(DescribeClustersResponse { clusters: Some(clusters), failures: Some(failures) })
}

/// Prints everything about the clusters.
pub(super) fn print_in_full(context: &Context, answer: &DescribeClustersResponse) -> std::io::Result<()> {
    context
        .out
        .print(answer, |_| answer.clusters.iter().flatten().map(|c| facts(c).render()).collect::<Vec<_>>().join("\n\n"))
}

fn facts(cluster: &Cluster) -> Facts {
    let mut facts = Facts::default();
    let count = |n: Option<i32>| n.map(|n| n.to_string());
    facts.add(0, "Cluster", cluster.cluster_name.as_deref());
    facts.add(0, "ARN", cluster.cluster_arn.as_deref());
    facts.add(0, "Status", cluster.status.as_deref());
    facts.add(0, "Hosts", count(cluster.registered_container_instances_count));
    facts.add(0, "Running tasks", count(cluster.running_tasks_count));
    facts.add(0, "Pending tasks", count(cluster.pending_tasks_count));
    facts.add(0, "Services", count(cluster.active_services_count));
    for setting in cluster.settings.iter().flatten() {
        let value = setting.value.as_deref();
        facts.add(0, &format!("Setting {}", setting.name.as_ref().map_or("?", |n| n.as_str())), value);
    }
    super::describe::tags(&mut facts, cluster.tags.as_deref());
    facts
}
