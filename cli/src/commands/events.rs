//! `longshore events`: what happens, as it does, and how deliveries of rules fare.
//!
//! Events come by FollowEvents, which is asked again and again; what rules are is asked of EventBridge's own
//! operations.

use super::Context;
use crate::args::EventsArgs;
use crate::client::CallError;
use crate::fault::Fault;
use crate::names;
use crate::output::{dash, or_dash, table};
use longshore_ecs_api::events::{
    EventTarget, EventsOperation, FollowEventsRequest, FollowEventsResponse, ListRulesRequest, ListRulesResponse,
    ListTargetsRequest, ListTargetsResponse, RuleResponse,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

/// How long one request waits for events.
const WAIT_SECS: i32 = 5;
/// Between two tries while the control plane is away.
const PAUSE: Duration = Duration::from_secs(1);

/// Carries out `events`.
pub(super) fn execute(context: &Context, args: &EventsArgs) -> Result<(), Fault> {
    if args.rules { rules(context) } else { follow(context, args) }
}

/// A pattern for the events that are asked for; `None` for all.
fn pattern(cluster: Option<&str>, service: Option<&str>) -> Option<String> {
    let cluster = cluster.map(names::tail);
    let services = match (cluster, service) {
        (None, None) => return None,
        (cluster, Some(service)) => {
            let cluster = cluster.unwrap_or("default");
            let of_cluster = json!([{"suffix": format!(":cluster/{cluster}")}]);
            json!({"$or": [
                {"detail": {"group": [format!("service:{service}")], "clusterArn": of_cluster}},
                {"resources": [{"suffix": format!(":service/{cluster}/{service}")}]},
            ]})
        }
        (Some(cluster), None) => json!({"$or": [
            {"detail": {"clusterArn": [{"suffix": format!(":cluster/{cluster}")}]}},
            {"resources": [{"wildcard": format!("*:service/{cluster}/*")}]},
        ]}),
    };
    Some(services.to_string())
}

fn follow(context: &Context, args: &EventsArgs) -> Result<(), Fault> {
    let filter = || pattern(context.api.chosen_cluster(), args.service.as_deref());
    let pattern = args.pattern.clone().or_else(filter);
    let mut cursor = None;
    let mut away = false;
    loop {
        let request = FollowEventsRequest {
            event_pattern: pattern.clone(),
            cursor: cursor.clone(),
            wait_seconds: Some(WAIT_SECS),
        };
        let answer: Result<FollowEventsResponse, CallError> =
            context.api.events(EventsOperation::FollowEvents, &request);
        let page = match answer {
            Ok(page) => page,
            // A follower outlives a control plane that is started anew.
            Err(error) if cursor.is_some() && error.passing() => {
                if !away {
                    eprintln!("longshore: {error}; going on once it answers");
                }
                away = true;
                std::thread::sleep(PAUSE);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        away = false;
        if page.missed == Some(true) {
            eprintln!(
                "longshore: events may be missing here: the control plane was started anew, or this was too slow"
            );
        }
        let mut out = std::io::stdout().lock();
        for event in page.events.iter().flatten() {
            if context.out.is_json() {
                writeln!(out, "{event}")?;
            } else if let Ok(event) = serde_json::from_str::<Value>(event) {
                writeln!(out, "{}", line(&event))?;
            }
        }
        out.flush()?;
        if cursor.is_none() {
            // Somebody may wait for this before doing what is to be seen.
            eprintln!("longshore: following events");
        }
        cursor = page.cursor;
    }
}

/// An event for people: when, what it is about, what happened.
fn line(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let detail = &event["detail"];
    let resource = text(&event["resources"][0]);
    let subject = resource.splitn(6, ':').nth(5).unwrap_or(&resource).to_owned();
    let what = match event["detail-type"].as_str() {
        Some("ECS Task State Change") => {
            let mut what = text(&detail["lastStatus"]);
            if detail["desiredStatus"] == "STOPPED" && detail["lastStatus"] != "STOPPED" {
                what.push_str(" (to stop)");
            }
            let mut words = vec![what, text(&detail["group"]), text(&detail["stoppedReason"])];
            words.retain(|word| !word.is_empty());
            words.join("  ")
        }
        Some("ECS Container Instance State Change") => {
            let heard = if detail["agentConnected"] == true { "connected" } else { "not connected" };
            format!("{}  {heard}", text(&detail["status"]))
        }
        _ => {
            // What a code stands for is beside it.
            let said = [text(&detail["message"]), text(&detail["reason"])].into_iter().find(|said| !said.is_empty());
            let said = said.unwrap_or_default();
            let name = detail["eventName"].as_str().or(event["detail-type"].as_str()).unwrap_or_default();
            let mut words = vec![name.to_owned(), text(&detail["deploymentId"]), said];
            words.retain(|word| !word.is_empty());
            words.join("  ")
        }
    };
    format!("{}  {subject}  {what}", text(&event["time"]))
}

/// A rule with its targets.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RuleWithTargets {
    #[serde(flatten)]
    rule: RuleResponse,
    targets: Vec<EventTarget>,
}

fn rules(context: &Context) -> Result<(), Fault> {
    let mut all = Vec::new();
    let mut request = ListRulesRequest::default();
    loop {
        let page: ListRulesResponse = context.api.events(EventsOperation::ListRules, &request)?;
        for rule in page.rules.unwrap_or_default() {
            let request = ListTargetsRequest { rule: rule.name.clone(), ..ListTargetsRequest::default() };
            let targets: ListTargetsResponse = context.api.events(EventsOperation::ListTargetsByRule, &request)?;
            all.push(RuleWithTargets { rule, targets: targets.targets.unwrap_or_default() });
        }
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    context.out.print(&json!({"Rules": all}), |_| {
        let mut rows = Vec::new();
        for RuleWithTargets { rule, targets } in &all {
            let (name, state) = (or_dash(rule.name.as_deref()), or_dash(rule.state.as_deref()));
            if targets.is_empty() {
                rows.push(vec![name, state, dash(), dash(), dash(), dash(), dash()]);
                continue;
            }
            for target in targets {
                let delivery = target.delivery.clone().unwrap_or_default();
                let given_up = delivery.last_given_up.and_then(|event| event.reason);
                let to = target.arn.as_deref().and_then(|arn| arn.splitn(6, ':').nth(5));
                rows.push(vec![
                    name.clone(),
                    state.clone(),
                    or_dash(target.id.as_deref()),
                    or_dash(to),
                    delivery.waiting.unwrap_or_default().to_string(),
                    delivery.given_up.unwrap_or_default().to_string(),
                    or_dash(delivery.last_error.or(given_up).as_deref()),
                ]);
            }
        }
        table(&["RULE", "STATE", "TARGET", "GOES TO", "WAITING", "GIVEN UP", "LAST FAILURE"], rows)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_followed_is_said_by_a_pattern() {
        assert_eq!(pattern(None, None), None);
        let of_cluster = pattern(Some("arn:aws:ecs:lab:1:cluster/prod"), None).expect("a pattern");
        assert!(of_cluster.contains(":cluster/prod") && of_cluster.contains("*:service/prod/*"), "{of_cluster}");
        let of_service = pattern(None, Some("web")).expect("a pattern");
        assert!(of_service.contains("service:web") && of_service.contains(":service/default/web"), "{of_service}");
    }

    #[test]
    fn lines_say_when_of_what_and_what() {
        let event = |kind: &str, resource: &str, detail: Value| {
            line(&json!({"detail-type": kind, "time": "T", "resources": [resource], "detail": detail}))
        };
        let task = "arn:aws:ecs:lab:1:task/default/0a";
        let stopping = json!({"lastStatus": "RUNNING", "desiredStatus": "STOPPED", "group": "service:web",
            "stoppedReason": "why"});
        let shown = event("ECS Task State Change", task, stopping);
        assert_eq!(shown, "T  task/default/0a  RUNNING (to stop)  service:web  why");
        let shown = event(
            "ECS Container Instance State Change",
            "arn:aws:ecs:lab:1:container-instance/default/0b",
            json!({"status": "ACTIVE", "agentConnected": false}),
        );
        assert_eq!(shown, "T  container-instance/default/0b  ACTIVE  not connected");
        let shown = event(
            "ECS Service Action",
            "arn:aws:ecs:lab:1:service/default/web",
            json!({"eventName": "SERVICE_STEADY_STATE"}),
        );
        assert_eq!(shown, "T  service/default/web  SERVICE_STEADY_STATE");
        assert_eq!(event("mine", "", json!({})), "T    mine");
    }
}
