//! A small Secrets Manager: names, values and their versions, for what tasks need to pull and to run.
//!
//! A value is sealed before it becomes part of a command, and opened for an answer alone. No error quotes one.

mod list;

pub(super) use list::{describe, list};

use crate::commands::{
    CreateSecret, DeleteSecret, Found, RestoreSecret, UpdateSecret, invalid_request, marked, not_found,
};
use crate::ops::{Ctx, check};
use crate::records::{Secret, SecretKey, SecretVersion, Tags};
use crate::seal::random;
use crate::secret_name::{SUFFIX, SecretName, is_name};
use crate::secret_value::{Value, reveal};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_ecs_api::secrets::{
    CreateSecretRequest, DeleteSecretRequest, GetSecretValueRequest, GetSecretValueResponse, PutSecretValueRequest,
    SecretRequest, SecretResponse, SecretTag, SecretVersionResponse, Sensitive, UpdateSecretRequest,
};
use longshore_ecs_api::types::Tag;
use longshore_ecs_api::{ApiError, EpochSeconds, ErrorCode};
use longshore_model::Timestamp;
use secrecy::ExposeSecret as _;
use std::sync::Arc;
use std::time::Duration;

/// Secrets Manager's limits.
const MAX_VALUE: usize = 64 << 10;
const MAX_DESCRIPTION: usize = 2048;
const MAX_ID: usize = 2048;
const TOKEN: std::ops::RangeInclusive<usize> = 32..=64;
const WINDOW_DAYS: std::ops::RangeInclusive<i64> = 7..=30;
/// The key that every secret is sealed with is the control plane's own, which has this name in AWS.
const OWN_KEY: &str = "alias/aws/secretsmanager";

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

pub(crate) async fn create(ctx: Ctx<'_>, request: CreateSecretRequest) -> Result<SecretVersionResponse, ApiError> {
    let name = request.name.unwrap_or_default();
    if !is_name(&name) {
        return Err(ApiError::new(
            ErrorCode::Validation,
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
        ));
    }
    unsupported(&[
        ("KmsKeyId", request.kms_key_id.is_some_and(|key| key != OWN_KEY)),
        ("AddReplicaRegions", request.add_replica_regions.is_some_and(|regions| !regions.is_empty())),
        ("Type", request.r#type.is_some()),
        ("CrossAccountPrimaryARN", request.cross_account_primary_arn.is_some()),
    ])?;
    let tags = request.tags.unwrap_or_default().into_iter().map(|SecretTag { key, value }| Tag { key, value });
    let tags: Tags = check::tags(Some(tags.collect()))?;
    let key = SecretKey { region: ctx.caller.region.clone(), name };
    let value = value(request.secret_string, request.secret_binary)?;
    let current = version(&ctx, &key, request.client_request_token, value)?;
    let id = current.as_ref().map(|version| version.id.clone());
    let secret = Secret {
        key,
        suffix: suffix(),
        description: description(request.description)?.filter(|text| !text.is_empty()),
        tags,
        created_at: Timestamp::from_millis(0),
        changed_at: Timestamp::from_millis(0),
        deletes_at: None,
        current,
        previous: None,
        retired: Vec::new(),
    };
    let secret = ctx.submit(CreateSecret(secret)).await?;
    Ok(changed(&ctx, &secret, id, None))
}

pub(crate) fn get(ctx: &Ctx<'_>, request: &GetSecretValueRequest) -> Result<GetSecretValueResponse, ApiError> {
    let secret = usable(ctx, request.secret_id.as_deref())?;
    let stage = request.version_stage.as_deref();
    let (version, stages) = match (request.version_id.as_deref(), stage) {
        (None, stage) => {
            let stage = stage.unwrap_or(CURRENT);
            let found = versions(secret).find(|(_, name)| *name == stage);
            found.ok_or_else(|| no_value(format!("staging label: {stage}")))?
        }
        (Some(id), stage) => {
            let found = versions(secret).find(|(version, _)| version.id == id);
            let found = found.ok_or_else(|| no_value(format!("VersionId: {id}")))?;
            if stage.is_some_and(|stage| stage != found.1) {
                return Err(invalid_request(
                    "You provided a VersionStage that is not associated to the provided VersionId.",
                ));
            }
            found
        }
    };
    let value = reveal(&ctx.core.inner().sealing_key, secret, version)
        .map_err(|_| ApiError::server("The control plane cannot open the secret; its log says why."))?;
    let shown = |binary: bool| (version.binary == binary).then(|| Sensitive(value.expose_secret().to_owned()));
    Ok(GetSecretValueResponse {
        arn: Some(secret.arn(ctx.core.account())),
        name: Some(secret.key.name.clone()),
        version_id: Some(version.id.clone()),
        secret_binary: shown(true),
        secret_string: shown(false),
        version_stages: Some(vec![stages.to_owned()]),
        created_date: Some(EpochSeconds::from_millis(version.created_at.millis())),
    })
}

pub(crate) async fn put(ctx: Ctx<'_>, request: PutSecretValueRequest) -> Result<SecretVersionResponse, ApiError> {
    let stages = request.version_stages.unwrap_or_default();
    unsupported(&[
        ("VersionStages other than AWSCURRENT", stages.iter().any(|stage| stage != CURRENT)),
        ("RotationToken", request.rotation_token.is_some()),
    ])?;
    let value = value(request.secret_string, request.secret_binary)?;
    let value = value.ok_or_else(|| invalid_request("You must provide either SecretString or SecretBinary."))?;
    let secret = usable(&ctx, request.secret_id.as_deref())?;
    let version = version(&ctx, &secret.key, request.client_request_token, Some(value))?;
    let id = version.as_ref().map(|version| version.id.clone());
    let secret = found(secret);
    let secret = ctx.submit(UpdateSecret { secret, version, description: None }).await?;
    let stages = versions(&secret).filter(|(version, _)| Some(&version.id) == id.as_ref());
    let stages = stages.map(|(_, stage)| stage.to_owned()).collect();
    Ok(changed(&ctx, &secret, id, Some(stages)))
}

pub(crate) async fn update(ctx: Ctx<'_>, request: UpdateSecretRequest) -> Result<SecretVersionResponse, ApiError> {
    unsupported(&[
        ("KmsKeyId", request.kms_key_id.is_some_and(|key| key != OWN_KEY)),
        ("Type", request.r#type.is_some()),
    ])?;
    let description = description(request.description)?;
    let value = value(request.secret_string, request.secret_binary)?;
    let secret = usable(&ctx, request.secret_id.as_deref())?;
    let version = version(&ctx, &secret.key, request.client_request_token, value)?;
    let id = version.as_ref().map(|version| version.id.clone());
    let secret = found(secret);
    let secret = ctx.submit(UpdateSecret { secret, version, description }).await?;
    Ok(changed(&ctx, &secret, id, None))
}

pub(crate) async fn delete(ctx: Ctx<'_>, request: DeleteSecretRequest) -> Result<SecretResponse, ApiError> {
    let force = request.force_delete_without_recovery.unwrap_or(false);
    let now = ctx.core.inner().clock.now();
    let at = match request.recovery_window_in_days {
        Some(_) if force => {
            return Err(ApiError::invalid(
                "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
            ));
        }
        Some(days) if !WINDOW_DAYS.contains(&days) => {
            return Err(ApiError::invalid("RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."));
        }
        None if force => None,
        days => {
            let days = days.unwrap_or(*WINDOW_DAYS.end()).unsigned_abs();
            Some(now.after(Duration::from_secs(days * 24 * 3600)))
        }
    };
    let id = secret_id(request.secret_id.as_deref())?;
    let secret = match find(&ctx, &id) {
        Ok(secret) => secret,
        // As AWS has it, so that a retry of a deletion that was answered to nobody is one.
        Err(error) if force && error.code == ErrorCode::ResourceNotFound => {
            let name = match SecretName::parse(&id) {
                Some(SecretName::Arn(_, _, rest)) => rest,
                Some(SecretName::Short(name)) => name,
                None => return Err(error),
            };
            let account = ctx.core.account();
            return Ok(SecretResponse {
                arn: Some(format!("arn:aws:secretsmanager:{}:{account}:secret:{name}", ctx.caller.region)),
                name: Some(name.to_owned()),
                deletion_date: Some(EpochSeconds::from_millis(now.millis())),
            });
        }
        Err(error) => return Err(error),
    };
    let at = ctx.submit(DeleteSecret { secret: found(secret), at }).await?;
    let deletion_date = Some(EpochSeconds::from_millis(at.millis()));
    Ok(SecretResponse { deletion_date, ..named(&ctx, secret) })
}

pub(crate) async fn restore(ctx: Ctx<'_>, request: SecretRequest) -> Result<SecretResponse, ApiError> {
    let secret = find(&ctx, &secret_id(request.secret_id.as_deref())?)?;
    ctx.submit(RestoreSecret(found(secret))).await?;
    Ok(named(&ctx, secret))
}

/// The value of a request, when it has one.
fn value(string: Option<Sensitive>, binary: Option<Sensitive>) -> Result<Option<Value>, ApiError> {
    let length = |field: &str, length: usize| {
        let sound = (1..=MAX_VALUE).contains(&length);
        let text = format!("{field} must have 1 to {MAX_VALUE} bytes.");
        if sound { Ok(()) } else { Err(ApiError::invalid(text)) }
    };
    match (string, binary) {
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "You can't specify both a binary secret value and a string secret value in the same secret.",
        )),
        (None, None) => Ok(None),
        (Some(Sensitive(text)), None) => {
            length("SecretString", text.len())?;
            Ok(Some(Value { binary: false, text: text.into() }))
        }
        (None, Some(Sensitive(text))) => {
            let bytes = STANDARD.decode(&text).map_err(|_| ApiError::invalid("SecretBinary must be base64."))?;
            length("SecretBinary", bytes.len())?;
            Ok(Some(Value { binary: true, text: text.into() }))
        }
    }
}

/// The version that a value makes; its id is the request's token.
fn version(
    ctx: &Ctx<'_>,
    key: &SecretKey,
    token: Option<String>,
    value: Option<Value>,
) -> Result<Option<SecretVersion>, ApiError> {
    if token.as_ref().is_some_and(|token| !TOKEN.contains(&token.len())) {
        return Err(ApiError::invalid("ClientRequestToken must be 32 to 64 characters long."));
    }
    let id = token.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    Ok(value.map(|value| value.seal(&ctx.core.inner().sealing_key, key, id)))
}

fn description(text: Option<String>) -> Result<Option<String>, ApiError> {
    match text {
        Some(text) if text.chars().count() > MAX_DESCRIPTION => {
            Err(ApiError::invalid(format!("Description must have at most {MAX_DESCRIPTION} characters.")))
        }
        text => Ok(text),
    }
}

/// Six letters and digits, as AWS's ARNs have.
fn suffix() -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let bytes: [u8; SUFFIX] = random();
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

fn secret_id(id: Option<&str>) -> Result<String, ApiError> {
    match id {
        Some(id) if (1..=MAX_ID).contains(&id.len()) => Ok(id.to_owned()),
        _ => Err(ApiError::invalid(format!("SecretId must be a name or an ARN of 1 to {MAX_ID} characters."))),
    }
}

/// The secret that is meant, marked for deletion or not. One of another region is not found: its ARN is for a request
/// to that region.
fn find<'a>(ctx: &'a Ctx<'_>, id: &str) -> Result<&'a Arc<Secret>, ApiError> {
    let now = ctx.core.inner().clock.now();
    let region = &ctx.caller.region;
    let found = SecretName::parse(id).and_then(|name| name.find(&ctx.state, ctx.core.account(), region, now));
    found.filter(|secret| secret.key.region == *region).ok_or_else(not_found)
}

/// The secret that is meant, when it may be used.
fn usable<'a>(ctx: &'a Ctx<'_>, id: Option<&str>) -> Result<&'a Arc<Secret>, ApiError> {
    let secret = find(ctx, &secret_id(id)?)?;
    if secret.deletes_at.is_some() { Err(marked()) } else { Ok(secret) }
}

fn found(secret: &Secret) -> Found {
    Found { key: secret.key.clone(), suffix: secret.suffix.clone() }
}

/// The versions that have a value, with the stage of each.
fn versions(secret: &Secret) -> impl Iterator<Item = (&SecretVersion, &'static str)> {
    let current = secret.current.iter().map(|version| (version, CURRENT));
    current.chain(secret.previous.iter().map(|version| (version, PREVIOUS)))
}

fn no_value(what: String) -> ApiError {
    let text = format!("Secrets Manager can't find the specified secret value for {what}");
    ApiError::new(ErrorCode::ResourceNotFound, text)
}

fn changed(ctx: &Ctx<'_>, secret: &Secret, id: Option<String>, stages: Option<Vec<String>>) -> SecretVersionResponse {
    let SecretResponse { arn, name, deletion_date: _ } = named(ctx, secret);
    SecretVersionResponse { arn, name, version_id: id, version_stages: stages }
}

fn named(ctx: &Ctx<'_>, secret: &Secret) -> SecretResponse {
    let arn = Some(secret.arn(ctx.core.account()));
    SecretResponse { arn, name: Some(secret.key.name.clone()), deletion_date: None }
}

/// Refuses the first of these that is asked for.
fn unsupported(asked: &[(&str, bool)]) -> Result<(), ApiError> {
    match asked.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(ApiError::invalid(format!("{field} is not supported by this version of Longshore."))),
        None => Ok(()),
    }
}
