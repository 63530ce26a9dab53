//! Rules and their tags.

use super::{BUS, Nothing, invalid, required, short, tags};
use crate::commands::{DeleteRule, PutRule, SetRuleState, TagRule, new_rule, no_rule};
use crate::ops::Ctx;
use crate::records::{Rule, RuleKey};
use longshore_ecs_api::events::{
    EventTag, EventTagsRequest, EventTagsResponse, EventsOperation, ListRulesRequest, ListRulesResponse,
    PutRuleRequest, PutRuleResponse, RuleRequest, RuleResponse, TestEventPatternRequest, TestEventPatternResponse,
};
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_pattern::Pattern;
use longshore_schedule::{Dialect, Expression};

/// Members that an event must have for TestEventPattern (EventBridge).
const MEMBERS: [&str; 7] = ["id", "account", "source", "time", "region", "resources", "detail-type"];

pub(super) async fn put(ctx: Ctx<'_>, request: PutRuleRequest) -> Result<PutRuleResponse, ApiError> {
    let key = ctx.rule_key(request.name, "name", request.event_bus_name.as_deref())?;
    let pattern = request.event_pattern.filter(|text| !text.is_empty());
    let schedule = request.schedule_expression.filter(|text| !text.is_empty());
    if pattern.is_none() && schedule.is_none() {
        return Err(invalid("Parameter(s) EventPattern or ScheduleExpression must be specified."));
    }
    if let Some(text) = &pattern {
        read_pattern(text)?;
    }
    if let Some(text) = &schedule {
        check_schedule(text)?;
    }
    let enabled = match request.state.as_deref() {
        None | Some("ENABLED") => true,
        Some("DISABLED") => false,
        Some(_) => {
            return Err(invalid(
                "1 validation error detected: Value at 'state' failed to satisfy constraint: Member must satisfy enum \
                 value set: [ENABLED, DISABLED]",
            ));
        }
    };
    let rule = Rule {
        pattern,
        schedule,
        enabled,
        description: short(request.description, "description", 512)?,
        role_arn: short(request.role_arn, "roleArn", 1600)?,
        tags: tags(request.tags)?,
        ..new_rule(key)
    };
    let rule = ctx.submit(PutRule { rule }).await?;
    Ok(PutRuleResponse { rule_arn: Some(rule.arn(ctx.core.account())) })
}

/// A pattern, or the error of a text that is none.
pub(super) fn read_pattern(text: &str) -> Result<Pattern, ApiError> {
    Pattern::parse(text).map_err(|error| {
        let text = format!("Event pattern is not valid. Reason: {error}");
        ApiError::new(ErrorCode::InvalidEventPattern, text)
    })
}

/// Whether a text says when a rule fires.
fn check_schedule(text: &str) -> Result<(), ApiError> {
    Expression::parse(text, Dialect::Rules).map(drop).map_err(|error| invalid(error.to_string()))
}

fn shown(ctx: &Ctx<'_>, rule: &Rule) -> RuleResponse {
    let state = if rule.enabled { "ENABLED" } else { "DISABLED" };
    RuleResponse {
        name: Some(rule.key.name.to_string()),
        arn: Some(rule.arn(ctx.core.account())),
        event_pattern: rule.pattern.clone(),
        schedule_expression: rule.schedule.clone(),
        state: Some(state.to_owned()),
        description: rule.description.clone(),
        role_arn: rule.role_arn.clone(),
        managed_by: None,
        event_bus_name: Some(BUS.to_owned()),
        created_by: None,
    }
}

pub(super) fn describe(ctx: &Ctx<'_>, request: RuleRequest) -> Result<RuleResponse, ApiError> {
    let key = ctx.rule_key(request.name, "name", request.event_bus_name.as_deref())?;
    let rule = ctx.state.rule(&key).ok_or_else(|| no_rule(&key.name))?;
    let created_by = Some(ctx.core.account().to_string());
    Ok(RuleResponse { created_by, ..shown(ctx, &rule.record) })
}

pub(super) fn list(ctx: &Ctx<'_>, request: &ListRulesRequest) -> Result<ListRulesResponse, ApiError> {
    ctx.bus(request.event_bus_name.as_deref())?;
    let prefix = request.name_prefix.as_deref().unwrap_or_default();
    let pages = ctx.event_pages(EventsOperation::ListRules, prefix, request.limit, request.next_token.as_deref())?;
    let after = pages.after.clone();
    let rules = ctx.state.rules_of(&ctx.caller.region, after.as_deref().unwrap_or(prefix)).map(|rule| &rule.record);
    let rules = rules.filter(|rule| after.as_deref() != Some(&*rule.key.name));
    let rules = rules.take_while(|rule| rule.key.name.starts_with(prefix));
    let (page, next_token) = pages.page(rules, |rule| rule.key.name.to_string());
    Ok(ListRulesResponse { rules: Some(page.into_iter().map(|rule| shown(ctx, rule)).collect()), next_token })
}

pub(super) async fn set_state(ctx: Ctx<'_>, request: RuleRequest, enabled: bool) -> Result<Nothing, ApiError> {
    let key = ctx.rule_key(request.name, "name", request.event_bus_name.as_deref())?;
    ctx.submit(SetRuleState { key, enabled }).await?;
    Ok(Nothing {})
}

pub(super) async fn delete(ctx: Ctx<'_>, request: RuleRequest) -> Result<Nothing, ApiError> {
    let key = ctx.rule_key(request.name, "name", request.event_bus_name.as_deref())?;
    ctx.submit(DeleteRule { key }).await?;
    Ok(Nothing {})
}

/// The rule that an ARN names.
fn tagged(ctx: &Ctx<'_>, arn: Option<String>) -> Result<RuleKey, ApiError> {
    let arn = required(arn, "resourceARN")?;
    let own = RuleKey { region: ctx.caller.region.clone(), name: "".into() }.arn(ctx.core.account());
    let name = arn.strip_prefix(&own).map(|name| name.strip_prefix("default/").unwrap_or(name));
    match name.filter(|name| !name.is_empty() && !name.contains('/')) {
        Some(name) => Ok(RuleKey { region: ctx.caller.region.clone(), name: name.into() }),
        None => {
            let text = "The ARN must be that of a rule of this account and of the request's region.";
            Err(ApiError::new(ErrorCode::ResourceNotFound, text))
        }
    }
}

pub(super) async fn tag(ctx: Ctx<'_>, request: EventTagsRequest) -> Result<Nothing, ApiError> {
    let key = tagged(&ctx, request.resource_arn)?;
    let set = tags(request.tags)?;
    ctx.submit(TagRule { key, set, take: Vec::new() }).await?;
    Ok(Nothing {})
}

pub(super) async fn untag(ctx: Ctx<'_>, request: EventTagsRequest) -> Result<Nothing, ApiError> {
    let key = tagged(&ctx, request.resource_arn)?;
    let take = request.tag_keys.unwrap_or_default();
    ctx.submit(TagRule { key, set: crate::records::Tags::new(), take }).await?;
    Ok(Nothing {})
}

pub(super) fn list_tags(ctx: &Ctx<'_>, request: EventTagsRequest) -> Result<EventTagsResponse, ApiError> {
    let key = tagged(ctx, request.resource_arn)?;
    let rule = ctx.state.rule(&key).ok_or_else(|| no_rule(&key.name))?;
    let tag = |(key, value): (&String, &String)| EventTag { key: Some(key.clone()), value: Some(value.clone()) };
    Ok(EventTagsResponse { tags: Some(rule.record.tags.iter().map(tag).collect()) })
}

pub(super) fn test_pattern(request: TestEventPatternRequest) -> Result<TestEventPatternResponse, ApiError> {
    let pattern = read_pattern(&required(request.event_pattern, "eventPattern")?)?;
    let event: serde_json::Value = serde_json::from_str(&required(request.event, "event")?)
        .map_err(|_| invalid("Parameter Event is not valid."))?;
    if let Some(member) = MEMBERS.iter().find(|member| event.get(**member).is_none()) {
        return Err(invalid(format!("Parameter Event is not valid: it has no {member}.")));
    }
    Ok(TestEventPatternResponse { result: Some(pattern.matches(&event)) })
}
