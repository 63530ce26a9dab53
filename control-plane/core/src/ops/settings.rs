//! Account settings: kept and echoed. They change nothing here.

use crate::commands::{DeleteSetting, PutSetting};
use crate::ops::Ctx;
use crate::records::{Setting, SettingKey};
use longshore_ecs_api::enums::{SettingName, SettingType};
use longshore_ecs_api::requests::{
    DeleteAccountSettingRequest, ListAccountSettingsRequest, PutAccountSettingDefaultRequest, PutAccountSettingRequest,
};
use longshore_ecs_api::responses::{
    DeleteAccountSettingResponse, ListAccountSettingsResponse, PutAccountSettingDefaultResponse,
    PutAccountSettingResponse,
};
use longshore_ecs_api::types::Setting as ApiSetting;
use longshore_ecs_api::{ApiError, Operation};

pub(crate) async fn put(
    ctx: Ctx<'_>,
    request: PutAccountSettingRequest,
) -> Result<PutAccountSettingResponse, ApiError> {
    let principal = Some(request.principal_arn.unwrap_or_else(|| ctx.caller.principal_arn.clone()));
    let setting = put_setting(&ctx, request.name, principal, request.value).await?;
    Ok(PutAccountSettingResponse { setting: Some(setting) })
}

pub(crate) async fn put_default(
    ctx: Ctx<'_>,
    request: PutAccountSettingDefaultRequest,
) -> Result<PutAccountSettingDefaultResponse, ApiError> {
    let setting = put_setting(&ctx, request.name, None, request.value).await?;
    Ok(PutAccountSettingDefaultResponse { setting: Some(setting) })
}

pub(crate) async fn delete(
    ctx: Ctx<'_>,
    request: DeleteAccountSettingRequest,
) -> Result<DeleteAccountSettingResponse, ApiError> {
    let name = known(request.name)?;
    let principal = Some(request.principal_arn.unwrap_or_else(|| ctx.caller.principal_arn.clone()));
    let key = key(&ctx, &name, principal);
    let was = ctx.submit(DeleteSetting(key.clone())).await?;
    let value = was.map_or_else(|| default_value(&name).to_owned(), |setting| setting.value.clone());
    Ok(DeleteAccountSettingResponse { setting: Some(shown(&ctx, name, key.principal_arn, value)) })
}

/// Settings that were put; with `effectiveSettings` every one, with what it is for the principal.
pub(crate) fn list(
    ctx: &Ctx<'_>,
    request: ListAccountSettingsRequest,
) -> Result<ListAccountSettingsResponse, ApiError> {
    if let Some(SettingName::Other(other)) = &request.name {
        return Err(ApiError::invalid(format!("name: there is no account setting `{other}`.")));
    }
    let principal = request.principal_arn.clone().unwrap_or_else(|| ctx.caller.principal_arn.clone());
    let effective = request.effective_settings.unwrap_or(false);
    let filters = (&request.name, &request.value, &principal, effective);
    let token = request.next_token.as_deref();
    let listing = ctx.listing_of(Operation::ListAccountSettings, &filters, (request.max_results, 10, 10), token)?;
    let value_of = |name: &SettingName, principal: Option<&String>| {
        ctx.state.setting(&key(ctx, name, principal.cloned())).map(|setting| setting.value.clone())
    };
    let mut all: Vec<ApiSetting> = SettingName::ALL
        .iter()
        .filter_map(|name| {
            let own = value_of(name, Some(&principal));
            let value = if effective {
                Some(own.or_else(|| value_of(name, None)).unwrap_or_else(|| default_value(name).to_owned()))
            } else {
                own
            };
            Some(shown(ctx, name.clone(), Some(principal.clone()), value?))
        })
        .collect();
    all.sort_by_key(|setting| setting.name.as_ref().map(ToString::to_string));
    let text = |setting: &ApiSetting| setting.name.as_ref().map(ToString::to_string).unwrap_or_default();
    let wanted = all.into_iter().filter(|setting| {
        request.name.as_ref().is_none_or(|name| setting.name.as_ref() == Some(name))
            && request.value.as_ref().is_none_or(|value| setting.value.as_ref() == Some(value))
            && listing.after.as_ref().is_none_or(|after| text(setting) > *after)
    });
    let (settings, next_token) = listing.page(wanted, text);
    Ok(ListAccountSettingsResponse { settings: Some(settings), next_token })
}

async fn put_setting(
    ctx: &Ctx<'_>,
    name: Option<SettingName>,
    principal: Option<String>,
    value: Option<String>,
) -> Result<ApiSetting, ApiError> {
    let name = known(name)?;
    let value = value.unwrap_or_default();
    if value.is_empty() || value.len() > 256 {
        return Err(ApiError::invalid("value must have 1 to 256 characters."));
    }
    let key = key(ctx, &name, principal);
    let setting = ctx.submit(PutSetting(Setting { key, value })).await?;
    Ok(shown(ctx, name, setting.key.principal_arn.clone(), setting.value.clone()))
}

fn known(name: Option<SettingName>) -> Result<SettingName, ApiError> {
    match name.unwrap_or(SettingName::Other(String::new())) {
        SettingName::Other(other) => Err(ApiError::invalid(format!("name: there is no account setting `{other}`."))),
        name => Ok(name),
    }
}

fn key(ctx: &Ctx<'_>, name: &SettingName, principal_arn: Option<String>) -> SettingKey {
    SettingKey { region: ctx.caller.region.clone(), name: name.as_str().to_owned(), principal_arn }
}

fn shown(ctx: &Ctx<'_>, name: SettingName, principal: Option<String>, value: String) -> ApiSetting {
    ApiSetting {
        name: Some(name),
        value: Some(value),
        // ECS shows the account's root for a default.
        principal_arn: Some(principal.unwrap_or_else(|| format!("arn:aws:iam::{}:root", ctx.core.account()))),
        r#type: Some(SettingType::User),
    }
}

/// What holds when nobody has said anything: what this version does.
fn default_value(name: &SettingName) -> &'static str {
    match name {
        SettingName::ServiceLongArnFormat
        | SettingName::TaskLongArnFormat
        | SettingName::ContainerInstanceLongArnFormat => "enabled",
        SettingName::DefaultLogDriverMode => "non-blocking",
        SettingName::FargateTaskRetirementWaitPeriod => "7",
        SettingName::TagResourceAuthorization => "off",
        SettingName::AwsvpcTrunking
        | SettingName::ContainerInsights
        | SettingName::FargateFIPSMode
        | SettingName::GuardDutyActivate
        | SettingName::FargateEventWindows
        | SettingName::Other(_) => "disabled",
    }
}
