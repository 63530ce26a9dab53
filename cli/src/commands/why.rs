//! `longshore why`: why a service has not the tasks that it should have, and what each host lacks.

use super::Context;
use crate::args::WhyArgs;
use crate::fault::Fault;
use crate::names::{HostNames, host_names, short_id};
use crate::output::{Out, or_dash, table};
use longshore_ecs_api::enums::ServiceField;
use longshore_ecs_api::requests::DescribeServicesRequest;
use longshore_ecs_api::types::{Failure, Service};

/// What asks DescribeServices for the explanation; other servers ignore it.
const WHY: &str = "LONGSHORE_WHY";

/// Carries out `why`.
pub(super) fn execute(context: &Context, args: &WhyArgs) -> Result<(), Fault> {
    let cluster = context.api.cluster().to_owned();
    let answer = context.api.call(&DescribeServicesRequest {
        cluster: Some(cluster.clone()),
        services: Some(vec![args.service.clone()]),
        include: Some(vec![ServiceField::Other(WHY.to_owned())]),
    })?;
    let failures = answer.failures.as_deref().unwrap_or_default();
    let Some(service) = answer.services.iter().flatten().next() else {
        return Err(Fault::Missing {
            kind: "service",
            name: args.service.clone(),
            place: format!("cluster {cluster}"),
            hint: "`aws ecs list-services` lists those that there are",
        });
    };
    let hosts = failures.iter().filter(|failure| !is_sentence(failure)).filter_map(|failure| failure.arn.as_deref());
    let hosts = if context.out.is_json() { HostNames::new() } else { host_names(&context.api, &cluster, hosts)? };
    Ok(context.out.print(&answer, |_: &Out| text(service, failures, &hosts))?)
}

fn is_sentence(failure: &Failure) -> bool {
    failure.reason.as_deref() == Some(WHY)
}

fn text(service: &Service, failures: &[Failure], hosts: &HostNames) -> String {
    let count = |n: Option<i32>| n.unwrap_or_default();
    let (desired, running, pending) = (service.desired_count, service.running_count, service.pending_count);
    let mut text = format!("{} of {} tasks run, {} pending.", count(running), count(desired), count(pending));
    let sentences = failures.iter().filter(|failure| is_sentence(failure)).filter_map(|f| f.detail.as_deref());
    for sentence in sentences {
        text.push('\n');
        text.push_str(sentence);
    }
    let row = |failure: &Failure| {
        let arn = failure.arn.as_deref().unwrap_or_default();
        let name = hosts.get(arn).cloned().unwrap_or_else(|| short_id(arn).to_owned());
        vec![name, short_id(arn).to_owned(), or_dash(failure.reason.as_deref()), or_dash(failure.detail.as_deref())]
    };
    let rows: Vec<Vec<String>> = failures.iter().filter(|failure| !is_sentence(failure)).map(row).collect();
    if !rows.is_empty() {
        text.push_str("\n\n");
        text.push_str(&table(&["HOST", "ID", "REASON", "DETAIL"], rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_comes_first_and_then_a_line_per_host() {
        let failure = |arn: &str, reason: &str, detail: &str| Failure {
            arn: Some(arn.to_owned()),
            reason: Some(reason.to_owned()),
            detail: Some(detail.to_owned()),
        };
        let service = Service { desired_count: Some(2), running_count: Some(1), ..Service::default() };
        let failures = [
            failure("s/web", WHY, "(service web) was unable to place a task."),
            failure("i/0123456789abcdef0123456789abcdef", "RESOURCE:CPU", "needs 5 CPU units, has 1 of 8 free"),
        ];
        let hosts = HostNames::from([("i/0123456789abcdef0123456789abcdef".to_owned(), "rack1".to_owned())]);
        assert_eq!(
            text(&service, &failures, &hosts),
            "1 of 2 tasks run, 0 pending.\n(service web) was unable to place a task.\n\n\
             HOST   ID            REASON        DETAIL\n\
             rack1  0123456789ab  RESOURCE:CPU  needs 5 CPU units, has 1 of 8 free"
        );
    }
}
