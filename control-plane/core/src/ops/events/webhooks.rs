//! API destinations (webhooks) and the connections that they authenticate with.
//!
//! Every value of a connection is sealed before it becomes part of a command, and no answer shows one that is secret.

use super::{Nothing, invalid, name, required, short, unsupported};
use crate::commands::{DeleteConnection, DeleteDestination, PutConnection, PutDestination, no_hook};
use crate::events;
use crate::ops::Ctx;
use crate::records::{ApiDestination, ConnectionAuth, ConnectionValue, HookConnection, HookKey};
use longshore_ecs_api::events::{
    ApiDestinationRequest, ApiDestinationResponse, ApiKeyAuth, AuthParameters, BasicAuth, ConnectionHttp,
    ConnectionParameter, ConnectionRequest, ConnectionResponse, EventsOperation, ListApiDestinationsRequest,
    ListApiDestinationsResponse, ListConnectionsRequest, ListConnectionsResponse, NamedRequest,
};
use longshore_ecs_api::secrets::Sensitive;
use longshore_ecs_api::{ApiError, EpochSeconds};
use longshore_model::Timestamp;
use secrecy::ExposeSecret as _;

/// EventBridge's limits.
const MAX_VALUE: usize = 512;
const MAX_PARAMETERS: usize = 100;
const MAX_ENDPOINT: usize = 2048;
const RATE: i32 = 300;
const METHODS: [&str; 7] = ["POST", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"];

pub(super) async fn put_connection(
    ctx: Ctx<'_>,
    request: ConnectionRequest,
    create: bool,
) -> Result<ConnectionResponse, ApiError> {
    let key = hook_key(&ctx, request.name)?;
    unsupported(&[
        ("InvocationConnectivityParameters", request.invocation_connectivity_parameters.is_some()),
        ("KmsKeyIdentifier", request.kms_key_identifier.is_some_and(|key| !key.is_empty())),
    ])?;
    let old = ctx.state.connection(&key).filter(|_| !create);
    if old.is_none() && !create {
        return Err(no_hook("Connection", &key.name));
    }
    let owner = events::owner(&key);
    let seal = |value: &Sensitive| ctx.core.inner().sealing_key.seal(&owner, &value.0.clone().into());
    let parameters = request.auth_parameters;
    if let Some(parameters) = &parameters {
        unsupported(&[
            ("AuthParameters.OAuthParameters", parameters.oauth_parameters.is_some()),
            ("AuthParameters.ConnectivityParameters", parameters.connectivity_parameters.is_some()),
        ])?;
    }
    let kind = match (request.authorization_type, old) {
        (Some(kind), _) => kind,
        (None, Some(old)) => kind_of(&old.auth).to_owned(),
        (None, None) => required(None, "authorizationType")?,
    };
    let given = parameters.clone().unwrap_or_default();
    let auth = match kind.as_str() {
        "BASIC" => basic(given.basic_auth_parameters, old, &seal)?,
        "API_KEY" => api_key(given.api_key_auth_parameters, old, &seal)?,
        "OAUTH_CLIENT_CREDENTIALS" => {
            return Err(invalid(
                "AuthorizationType OAUTH_CLIENT_CREDENTIALS is not supported by this version of Longshore.",
            ));
        }
        _ => {
            return Err(invalid(
                "1 validation error detected: Value at 'authorizationType' failed to satisfy constraint: Member must \
                 satisfy enum value set: [BASIC, API_KEY]",
            ));
        }
    };
    let http = given.invocation_http_parameters;
    let (headers, query) = match (http, old) {
        (Some(http), _) => invocation(http, &seal)?,
        (None, Some(old)) => (old.headers.clone(), old.query.clone()),
        (None, None) => (Vec::new(), Vec::new()),
    };
    let description = short(request.description, "description", 512)?;
    let at = Timestamp::from_millis(0);
    let connection = HookConnection {
        key,
        id: old.map_or_else(uuid::Uuid::new_v4, |old| old.id),
        description: description.or_else(|| old.and_then(|old| old.description.clone())),
        auth,
        headers,
        query,
        created_at: old.map_or(at, |old| old.created_at),
        changed_at: at,
    };
    let connection = ctx.submit(PutConnection { connection, create }).await?;
    Ok(changed(&ctx, &connection, "AUTHORIZED"))
}

type Seal<'a> = &'a dyn Fn(&Sensitive) -> String;

fn basic(
    given: Option<BasicAuth>,
    old: Option<&std::sync::Arc<HookConnection>>,
    seal: Seal<'_>,
) -> Result<ConnectionAuth, ApiError> {
    let (old_name, old_sealed) = match old.map(|old| &old.auth) {
        Some(ConnectionAuth::Basic { username, sealed }) => (Some(username.clone()), Some(sealed.clone())),
        Some(ConnectionAuth::ApiKey { .. }) | None => (None, None),
    };
    let BasicAuth { username, password } = given.unwrap_or_default();
    if username.as_deref().is_some_and(|name| name.contains(':')) {
        return Err(invalid("AuthParameters.BasicAuthParameters.Username must not have a colon."));
    }
    let username = username.or(old_name).filter(|name| is_value(name));
    let username = username.ok_or_else(|| wrong_value("BasicAuthParameters.Username"))?;
    let sealed = sealed(password, old_sealed, "BasicAuthParameters.Password", seal)?;
    Ok(ConnectionAuth::Basic { username, sealed })
}

fn api_key(
    given: Option<ApiKeyAuth>,
    old: Option<&std::sync::Arc<HookConnection>>,
    seal: Seal<'_>,
) -> Result<ConnectionAuth, ApiError> {
    let (old_name, old_sealed) = match old.map(|old| &old.auth) {
        Some(ConnectionAuth::ApiKey { header, sealed }) => (Some(header.clone()), Some(sealed.clone())),
        Some(ConnectionAuth::Basic { .. }) | None => (None, None),
    };
    let ApiKeyAuth { api_key_name, api_key_value } = given.unwrap_or_default();
    let header = api_key_name.or(old_name).filter(|name| is_header(name));
    let header = header
        .ok_or_else(|| invalid("AuthParameters.ApiKeyAuthParameters.ApiKeyName must be the name of a header."))?;
    let sealed = sealed(api_key_value, old_sealed, "ApiKeyAuthParameters.ApiKeyValue", seal)?;
    Ok(ConnectionAuth::ApiKey { header, sealed })
}

/// A secret value, sealed: the one that is given, or the one that there was.
fn sealed(given: Option<Sensitive>, old: Option<String>, member: &str, seal: Seal<'_>) -> Result<String, ApiError> {
    match given {
        Some(value) if is_value(&value.0) => Ok(seal(&value)),
        Some(_) => Err(wrong_value(member)),
        None => old.ok_or_else(|| wrong_value(member)),
    }
}

fn wrong_value(member: &str) -> ApiError {
    invalid(format!("AuthParameters.{member} must have 1 to {MAX_VALUE} printable characters."))
}

fn is_value(text: &str) -> bool {
    (1..=MAX_VALUE).contains(&text.len()) && is_header_value(text)
}

/// Whether a header may have that name.
pub(super) fn is_header(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let own = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "trailer"];
    (1..=MAX_VALUE).contains(&name.len())
        && name.bytes().all(allowed)
        && !own.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Whether a header may have that value.
pub(super) fn is_header_value(text: &str) -> bool {
    text.len() <= MAX_VALUE && text.bytes().all(|b| (0x20..0x7f).contains(&b) || b == b'\t')
}

/// Headers and query parameters of every request.
fn invocation(http: ConnectionHttp, seal: Seal<'_>) -> Result<(Vec<ConnectionValue>, Vec<ConnectionValue>), ApiError> {
    unsupported(&[(
        "AuthParameters.InvocationHttpParameters.BodyParameters",
        http.body_parameters.is_some_and(|list| !list.is_empty()),
    )])?;
    let values = |list: Option<Vec<ConnectionParameter>>, member: &str, is_name: &dyn Fn(&str) -> bool| {
        let list = list.unwrap_or_default();
        if list.len() > MAX_PARAMETERS {
            return Err(invalid(format!("AuthParameters.InvocationHttpParameters.{member} can have 100 items.")));
        }
        let value = |ConnectionParameter { key, value, is_value_secret }: ConnectionParameter| {
            let (name, value) = (key.unwrap_or_default(), value.unwrap_or_default());
            if !is_name(&name) || !is_header_value(&value.0) {
                let text = format!(
                    "AuthParameters.InvocationHttpParameters.{member} has a key or a value of characters \
                                    that cannot be sent."
                );
                return Err(invalid(text));
            }
            // EventBridge takes a value for secret unless it is told otherwise.
            Ok(ConnectionValue { name, secret: is_value_secret.unwrap_or(true), sealed: seal(&value) })
        };
        list.into_iter().map(value).collect::<Result<Vec<_>, _>>()
    };
    let is_query = |name: &str| (1..=MAX_VALUE).contains(&name.len()) && !name.chars().any(char::is_control);
    Ok((
        values(http.header_parameters, "HeaderParameters", &is_header)?,
        values(http.query_string_parameters, "QueryStringParameters", &is_query)?,
    ))
}

fn hook_key(ctx: &Ctx<'_>, value: Option<String>) -> Result<HookKey, ApiError> {
    Ok(HookKey { region: ctx.caller.region.clone(), name: name(value, "name")?.into() })
}

const fn kind_of(auth: &ConnectionAuth) -> &'static str {
    match auth {
        ConnectionAuth::Basic { .. } => "BASIC",
        ConnectionAuth::ApiKey { .. } => "API_KEY",
    }
}

fn time(at: Timestamp) -> Option<EpochSeconds> {
    Some(EpochSeconds::from_millis(at.millis()))
}

/// A connection as the operations answer that change one.
fn changed(ctx: &Ctx<'_>, connection: &HookConnection, state: &str) -> ConnectionResponse {
    ConnectionResponse {
        connection_arn: Some(connection.arn(ctx.core.account())),
        connection_state: Some(state.to_owned()),
        creation_time: time(connection.created_at),
        last_modified_time: time(connection.changed_at),
        last_authorized_time: time(connection.changed_at),
        ..ConnectionResponse::default()
    }
}

fn listed(ctx: &Ctx<'_>, connection: &HookConnection) -> ConnectionResponse {
    ConnectionResponse {
        name: Some(connection.key.name.to_string()),
        authorization_type: Some(kind_of(&connection.auth).to_owned()),
        ..changed(ctx, connection, "AUTHORIZED")
    }
}

pub(super) fn describe_connection(ctx: &Ctx<'_>, request: NamedRequest) -> Result<ConnectionResponse, ApiError> {
    let key = hook_key(ctx, request.name)?;
    let connection = ctx.state.connection(&key).ok_or_else(|| no_hook("Connection", &key.name))?;
    let mut parameters = AuthParameters::default();
    match &connection.auth {
        ConnectionAuth::Basic { username, .. } => {
            parameters.basic_auth_parameters = Some(BasicAuth { username: Some(username.clone()), password: None });
        }
        ConnectionAuth::ApiKey { header, .. } => {
            let shown = ApiKeyAuth { api_key_name: Some(header.clone()), api_key_value: None };
            parameters.api_key_auth_parameters = Some(shown);
        }
    }
    if !connection.headers.is_empty() || !connection.query.is_empty() {
        parameters.invocation_http_parameters = Some(ConnectionHttp {
            header_parameters: Some(shown_values(ctx, connection, &connection.headers)?),
            query_string_parameters: Some(shown_values(ctx, connection, &connection.query)?),
            body_parameters: Some(Vec::new()),
        });
    }
    Ok(ConnectionResponse {
        description: connection.description.clone(),
        auth_parameters: Some(parameters),
        ..listed(ctx, connection)
    })
}

/// Parameters, with the values of those that are no secrets.
fn shown_values(
    ctx: &Ctx<'_>,
    connection: &HookConnection,
    values: &[ConnectionValue],
) -> Result<Vec<ConnectionParameter>, ApiError> {
    let owner = events::owner(&connection.key);
    let shown = |value: &ConnectionValue| {
        let open = || ctx.core.inner().sealing_key.unseal(&owner, &value.sealed);
        let text = (!value.secret).then(open).transpose().map_err(|error| {
            tracing::error!(connection = %connection.key.name, %error, "a connection cannot be shown");
            ApiError::server("The control plane cannot open the connection; its log says why.")
        })?;
        Ok(ConnectionParameter {
            key: Some(value.name.clone()),
            value: text.map(|text| Sensitive(text.expose_secret().to_owned())),
            is_value_secret: Some(value.secret),
        })
    };
    values.iter().map(shown).collect()
}

pub(super) fn list_connections(
    ctx: &Ctx<'_>,
    request: &ListConnectionsRequest,
) -> Result<ListConnectionsResponse, ApiError> {
    let prefix = request.name_prefix.as_deref().unwrap_or_default();
    let filter = format!("{prefix} {}", request.connection_state.as_deref().unwrap_or_default());
    let operation = EventsOperation::ListConnections;
    let pages = ctx.event_pages(operation, &filter, request.limit, request.next_token.as_deref())?;
    let after = pages.after.clone().unwrap_or_default();
    let in_state = request.connection_state.as_deref().is_none_or(|state| state == "AUTHORIZED");
    let all = ctx.state.connections_of(&ctx.caller.region).filter(|_| in_state);
    let all = all.filter(|connection| connection.key.name.starts_with(prefix) && *connection.key.name > *after);
    let (page, next_token) = pages.page(all, |connection| connection.key.name.to_string());
    let connections = page.into_iter().map(|connection| listed(ctx, connection)).collect();
    Ok(ListConnectionsResponse { connections: Some(connections), next_token })
}

pub(super) async fn delete_connection(ctx: Ctx<'_>, request: NamedRequest) -> Result<ConnectionResponse, ApiError> {
    let key = hook_key(&ctx, request.name)?;
    let connection = ctx.submit(DeleteConnection(key)).await?;
    Ok(changed(&ctx, &connection, "DELETING"))
}

pub(super) async fn put_destination(
    ctx: Ctx<'_>,
    request: ApiDestinationRequest,
    create: bool,
) -> Result<ApiDestinationResponse, ApiError> {
    let key = hook_key(&ctx, request.name)?;
    let old = ctx.state.destination(&key).filter(|_| !create);
    if old.is_none() && !create {
        return Err(no_hook("An api-destination", &key.name));
    }
    let connection = match (request.connection_arn, old) {
        (Some(arn), _) => connection_of(&ctx, &arn)?,
        (None, Some(old)) => old.connection.clone(),
        (None, None) => connection_of(&ctx, &required(None, "connectionArn")?)?,
    };
    let endpoint = match request.invocation_endpoint.or_else(|| old.map(|old| old.endpoint.clone())) {
        Some(endpoint) => checked_endpoint(endpoint)?,
        None => required(None, "invocationEndpoint")?,
    };
    let method = match request.http_method.or_else(|| old.map(|old| old.method.clone())) {
        Some(method) if METHODS.contains(&method.as_str()) => method,
        Some(_) => {
            return Err(invalid(
                "1 validation error detected: Value at 'httpMethod' failed to satisfy constraint: Member must satisfy \
                 enum value set: [POST, GET, HEAD, OPTIONS, PUT, PATCH, DELETE]",
            ));
        }
        None => required(None, "httpMethod")?,
    };
    let rate = match request.invocation_rate_limit_per_second {
        Some(rate) if rate < 1 => return Err(invalid("InvocationRateLimitPerSecond must be at least 1.")),
        Some(rate) => rate.min(RATE).unsigned_abs(),
        None => old.map_or(RATE.unsigned_abs(), |old| old.rate),
    };
    let description = short(request.description, "description", 512)?;
    let at = Timestamp::from_millis(0);
    let destination = ApiDestination {
        key,
        id: old.map_or_else(uuid::Uuid::new_v4, |old| old.id),
        description: description.or_else(|| old.and_then(|old| old.description.clone())),
        connection,
        endpoint,
        method,
        rate,
        created_at: old.map_or(at, |old| old.created_at),
        changed_at: at,
    };
    let destination = ctx.submit(PutDestination { destination, create }).await?;
    let shown = shown(&ctx, &destination);
    Ok(ApiDestinationResponse {
        api_destination_arn: shown.api_destination_arn,
        api_destination_state: shown.api_destination_state,
        creation_time: shown.creation_time,
        last_modified_time: shown.last_modified_time,
        ..ApiDestinationResponse::default()
    })
}

/// The connection that an ARN names, of this account and region.
fn connection_of(ctx: &Ctx<'_>, arn: &str) -> Result<HookKey, ApiError> {
    let found = ctx.state.connections_of(&ctx.caller.region).find(|found| found.arn(ctx.core.account()) == arn);
    found.map(|found| found.key.clone()).ok_or_else(|| {
        let name = arn.split_once(":connection/").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
        no_hook("Connection", &name.chars().take(64).collect::<String>())
    })
}

/// EventBridge takes `https` alone; here a webhook may be on the operator's own network.
fn checked_endpoint(endpoint: String) -> Result<String, ApiError> {
    let wrong = |why: &str| invalid(format!("InvocationEndpoint {why}."));
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    let rest = rest.ok_or_else(|| wrong("must begin with https:// or http://"))?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains(['@', '*']) {
        return Err(wrong("must name a host, without a user and without wildcards"));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-()_.!~*';/?:@&=+$,%[]".contains(&b);
    if endpoint.len() > MAX_ENDPOINT || !endpoint.bytes().all(allowed) {
        return Err(wrong("must have at most 2048 characters, all of those that an address may have"));
    }
    Ok(endpoint)
}

fn shown(ctx: &Ctx<'_>, destination: &ApiDestination) -> ApiDestinationResponse {
    let connection = ctx.state.connection(&destination.connection);
    ApiDestinationResponse {
        api_destination_arn: Some(destination.arn(ctx.core.account())),
        name: Some(destination.key.name.to_string()),
        description: destination.description.clone(),
        api_destination_state: Some(if connection.is_some() { "ACTIVE" } else { "INACTIVE" }.to_owned()),
        connection_arn: connection.map(|connection| connection.arn(ctx.core.account())),
        invocation_endpoint: Some(destination.endpoint.clone()),
        http_method: Some(destination.method.clone()),
        invocation_rate_limit_per_second: i32::try_from(destination.rate).ok(),
        creation_time: time(destination.created_at),
        last_modified_time: time(destination.changed_at),
    }
}

pub(super) fn describe_destination(ctx: &Ctx<'_>, request: NamedRequest) -> Result<ApiDestinationResponse, ApiError> {
    let key = hook_key(ctx, request.name)?;
    let destination = ctx.state.destination(&key).ok_or_else(|| no_hook("An api-destination", &key.name))?;
    Ok(shown(ctx, destination))
}

pub(super) fn list_destinations(
    ctx: &Ctx<'_>,
    request: &ListApiDestinationsRequest,
) -> Result<ListApiDestinationsResponse, ApiError> {
    let prefix = request.name_prefix.as_deref().unwrap_or_default();
    let filter = format!("{prefix} {}", request.connection_arn.as_deref().unwrap_or_default());
    let operation = EventsOperation::ListApiDestinations;
    let pages = ctx.event_pages(operation, &filter, request.limit, request.next_token.as_deref())?;
    let after = pages.after.clone().unwrap_or_default();
    let connection = request.connection_arn.as_deref().map(|arn| connection_of(ctx, arn)).transpose()?;
    let all = ctx.state.destinations_of(&ctx.caller.region);
    let all = all.filter(|hook| connection.as_ref().is_none_or(|connection| hook.connection == *connection));
    let all = all.filter(|hook| hook.key.name.starts_with(prefix) && *hook.key.name > *after);
    let (page, next_token) = pages.page(all, |hook| hook.key.name.to_string());
    let api_destinations = page.into_iter().map(|hook| shown(ctx, hook)).collect();
    Ok(ListApiDestinationsResponse { api_destinations: Some(api_destinations), next_token })
}

pub(super) async fn delete_destination(ctx: Ctx<'_>, request: NamedRequest) -> Result<Nothing, ApiError> {
    let key = hook_key(&ctx, request.name)?;
    ctx.submit(DeleteDestination(key)).await?;
    Ok(Nothing {})
}
