//! What people call things: beginnings of ids, host names, ARNs; and what to call things towards people.
//!
//! An ARN or a whole id goes to the API as it is. A beginning of an id or a host name is looked up in the
//! chosen cluster and must fit exactly one.

use crate::api::Api;
use crate::fault::Fault;
use longshore_ecs_api::enums::DesiredStatus;
use longshore_ecs_api::requests::ListTasksRequest;
use longshore_ecs_api::types::{ContainerInstance, Failure};
use longshore_model::Arn;
use longshore_model::arn::Resource;
use std::collections::HashMap;

/// Digits of an id that tables show. At 48 bits, ids shown together do not collide.
const SHOWN_DIGITS: usize = 12;
/// A beginning shorter than this is taken for a name.
const FEWEST_DIGITS: usize = 4;

/// A task or host, and the cluster it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Name or ARN of the cluster.
    pub(crate) cluster: String,
    /// Whole id or ARN.
    pub(crate) id: String,
}

/// The last part of an ARN, or the text itself.
pub(crate) fn tail(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// A task's or host's id as tables show it.
pub(crate) fn short_id(arn: &str) -> &str {
    let id = tail(arn);
    id.get(..SHOWN_DIGITS).unwrap_or(id)
}

/// What a host is called: its own name, else its id.
pub(crate) fn host_name(host: &ContainerInstance) -> String {
    host.ec2_instance_id
        .clone()
        .filter(|name| !name.is_empty())
        .or_else(|| host.container_instance_arn.as_deref().map(|arn| short_id(arn).to_owned()))
        .unwrap_or_else(crate::output::dash)
}

/// Host names by instance ARN.
pub(crate) type HostNames = HashMap<String, String>;

/// The names of the hosts with these ARNs. A host that is gone is called by its id.
pub(crate) fn host_names<'a>(
    api: &Api,
    cluster: &str,
    arns: impl Iterator<Item = &'a str>,
) -> Result<HostNames, Fault> {
    let mut arns: Vec<String> = arns.map(str::to_owned).collect();
    arns.sort_unstable();
    arns.dedup();
    if arns.is_empty() {
        return Ok(HostNames::new());
    }
    let (hosts, _) = api.hosts(cluster, &arns)?;
    let mut names: HostNames = arns.iter().map(|arn| (arn.clone(), short_id(arn).to_owned())).collect();
    names.extend(hosts.iter().filter_map(|host| Some((host.container_instance_arn.clone()?, host_name(host)))));
    Ok(names)
}

/// `failures[]` as one text, each reason once.
pub(crate) fn failures_text(failures: &[Failure], names: &HostNames) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for failure in failures {
        let reason = failure.reason.as_deref().unwrap_or("no reason given");
        let text = match &failure.detail {
            Some(detail) => format!("{reason}, {detail}"),
            None => reason.to_owned(),
        };
        let who = failure.arn.as_deref().map(|arn| names.get(arn).map_or_else(|| tail(arn), String::as_str));
        match groups.iter_mut().find(|(known, _)| *known == text) {
            Some((_, whos)) => whos.extend(who),
            None => groups.push((text, who.into_iter().collect())),
        }
    }
    let group = |(text, mut whos): (String, Vec<&str>)| {
        whos.sort_unstable();
        whos.dedup();
        let more = whos.len().saturating_sub(5);
        whos.truncate(5);
        match (whos.is_empty(), more) {
            (true, _) => text,
            (false, 0) => format!("{text} ({})", whos.join(", ")),
            (false, more) => format!("{text} ({} and {more} more)", whos.join(", ")),
        }
    };
    groups.into_iter().map(group).collect::<Vec<_>>().join("; ")
}

/// Refuses what the API has not got, as `failures[]` say.
pub(crate) fn all_there(operation: &'static str, failures: &[Failure]) -> Result<(), Fault> {
    if failures.is_empty() {
        return Ok(());
    }
    Err(Fault::Failures { operation, failures: failures_text(failures, &HostNames::new()) })
}

/// An ARN of this region.
fn own_arn(api: &Api, text: &str) -> Result<Option<Arn>, Fault> {
    let Ok(arn) = text.parse::<Arn>() else { return Ok(None) };
    if arn.region.as_str() == api.region() {
        return Ok(Some(arn));
    }
    let (theirs, ours) = (arn.region.to_string(), api.region().to_owned());
    Err(Fault::OtherRegion { arn: text.to_owned(), theirs, ours })
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && is_beginning(text)
}

fn is_beginning(text: &str) -> bool {
    (FEWEST_DIGITS..=32).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The task that `text` names.
pub(crate) fn task(api: &Api, text: &str) -> Result<Named, Fault> {
    if let Some(arn) = own_arn(api, text)? {
        let cluster = match &arn.resource {
            Resource::Task(cluster, _) => cluster.to_string(),
            _ => api.cluster().to_owned(),
        };
        return Ok(Named { cluster, id: text.to_owned() });
    }
    let cluster = api.cluster().to_owned();
    if is_id(text) || Arn::looks_like(text) {
        return Ok(Named { cluster, id: text.to_owned() });
    }
    let missing = || Fault::Missing {
        kind: "task",
        name: text.to_owned(),
        place: format!("cluster {}", api.cluster()),
        hint: "`longshore ps --all` lists them; another cluster: --cluster.",
    };
    if !is_beginning(text) {
        return Err(missing());
    }
    let filter = ListTasksRequest { cluster: Some(cluster.clone()), ..ListTasksRequest::default() };
    let arns = api.task_arns(&filter, &[DesiredStatus::Running, DesiredStatus::Stopped])?;
    let found = arns.into_iter().filter(|arn| tail(arn).starts_with(text)).collect();
    Ok(Named { cluster, id: only(found, "task", text)?.ok_or_else(missing)? })
}

/// The host that `text` names.
pub(crate) fn host(api: &Api, text: &str) -> Result<Named, Fault> {
    find_host(api, text)?.ok_or_else(|| Fault::Missing {
        kind: "host",
        name: text.to_owned(),
        place: format!("cluster {}", api.cluster()),
        hint: "`longshore host list` lists them; another cluster: --cluster.",
    })
}

/// The host that `text` names, if there is one.
pub(crate) fn find_host(api: &Api, text: &str) -> Result<Option<Named>, Fault> {
    if let Some(arn) = own_arn(api, text)? {
        let cluster = match &arn.resource {
            Resource::ContainerInstance(cluster, _) => cluster.to_string(),
            _ => api.cluster().to_owned(),
        };
        return Ok(Some(Named { cluster, id: text.to_owned() }));
    }
    let cluster = api.cluster().to_owned();
    if is_id(text) || Arn::looks_like(text) {
        return Ok(Some(Named { cluster, id: text.to_owned() }));
    }
    let (hosts, _) = api.hosts(&cluster, &api.host_arns(&cluster, None, None)?)?;
    let arns = |fits: &dyn Fn(&ContainerInstance, &str) -> bool| -> Vec<String> {
        let fits = |host: &ContainerInstance| host.container_instance_arn.clone().filter(|arn| fits(host, arn));
        hosts.iter().filter_map(fits).collect()
    };
    let mut found = arns(&|host, _| host.ec2_instance_id.as_deref() == Some(text));
    if found.is_empty() && is_beginning(text) {
        found = arns(&|_, arn| tail(arn).starts_with(text));
    }
    Ok(only(found, "host", text)?.map(|id| Named { cluster, id }))
}

/// The one that was found, if one was.
fn only(mut found: Vec<String>, kind: &'static str, name: &str) -> Result<Option<String>, Fault> {
    found.sort_unstable();
    found.dedup();
    if found.len() > 1 {
        let candidates = found.iter().map(|arn| tail(arn)).collect::<Vec<_>>().join(", ");
        return Err(Fault::Ambiguous { kind, name: name.to_owned(), candidates });
    }
    Ok(found.pop())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shortened() {
        assert_eq!(short_id("arn:aws:ecs:lab:1:task/c/0123456789abcdef0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("short"), "short");
        assert!(is_beginning("3f2a") && !is_beginning("3f2") && !is_beginning("rack7"));
    }

    #[test]
    fn failures_are_told_once_each() {
        let failure = |arn: &str, reason: &str| Failure {
            arn: Some(arn.to_owned()),
            reason: Some(reason.to_owned()),
            detail: None,
        };
        let names = HostNames::from([("x/1".to_owned(), "rack1".to_owned())]);
        let failures = [failure("x/1", "RESOURCE:CPU"), failure("x/2", "AGENT"), failure("x/1", "RESOURCE:CPU")];
        assert_eq!(failures_text(&failures, &names), "RESOURCE:CPU (rack1); AGENT (2)");
    }

    #[test]
    fn one_of_several_must_be_told_apart() {
        assert!(only(vec!["a/1".to_owned(), "a/2".to_owned()], "task", "1").is_err());
        assert_eq!(only(vec![], "task", "1").expect("fine"), None);
    }
}
