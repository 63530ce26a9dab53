//! A request to a webhook: its destination, what its connection authenticates with, and what a target adds.

use crate::records::{ApiDestination, ConnectionAuth, ConnectionValue, HookConnection};
use crate::seal::{SealingKey, UnsealError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_ecs_api::events::HttpParameters;
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt::Write as _;

/// A request that is to be made. `Debug` shows neither headers nor the query, which may hold secrets.
pub struct WebhookRequest {
    /// The method.
    pub method: String,
    /// `http` or `https`, without a query.
    pub url: String,
    /// The query, encoded; empty for none.
    pub query: SecretString,
    /// Names and values of headers.
    pub headers: Vec<(String, SecretString)>,
    /// JSON; empty for methods without a body.
    pub body: String,
}

impl std::fmt::Debug for WebhookRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookRequest").field("method", &self.method).field("url", &self.url).finish_non_exhaustive()
    }
}

/// What the secrets of a connection are sealed for.
pub(crate) fn owner(connection: &crate::records::HookKey) -> String {
    format!("connection {} {}", connection.region, connection.name)
}

/// The request that brings `input`.
///
/// # Errors
/// When a secret of the connection does not open.
pub(super) fn request(
    destination: &ApiDestination,
    connection: &HookConnection,
    more: Option<&HttpParameters>,
    input: String,
    key: &SealingKey,
) -> Result<WebhookRequest, UnsealError> {
    let owner = owner(&connection.key);
    let open = |sealed: &str| key.unseal(&owner, sealed);
    let mut headers: Vec<(String, SecretString)> = Vec::new();
    let mut set = |name: &str, value: SecretString| {
        headers.retain(|(old, _)| !old.eq_ignore_ascii_case(name));
        headers.push((name.to_owned(), value));
    };
    set("Content-Type", "application/json; charset=utf-8".into());
    set("User-Agent", concat!("longshore-control/", env!("CARGO_PKG_VERSION")).into());
    let more = more.cloned().unwrap_or_default();
    for (name, value) in more.header_parameters.into_iter().flatten() {
        set(&name, value.into());
    }
    // What a connection says goes over what a target says.
    for ConnectionValue { name, sealed, .. } in &connection.headers {
        set(name, open(sealed)?);
    }
    match &connection.auth {
        ConnectionAuth::Basic { username, sealed } => {
            let pair = zeroizing(format!("{username}:{}", open(sealed)?.expose_secret()));
            let value = format!("Basic {}", STANDARD.encode(pair.expose_secret()));
            set("Authorization", value.into());
        }
        ConnectionAuth::ApiKey { header, sealed } => set(header, open(sealed)?),
    }
    let mut url = String::new();
    let mut values = more.path_parameter_values.into_iter().flatten();
    let (address, own_query) = destination.endpoint.split_once('?').unwrap_or((&destination.endpoint, ""));
    for c in address.chars() {
        match c {
            '*' => url.push_str(&encoded(&values.next().unwrap_or_default())),
            other => url.push(other),
        }
    }
    let mut query = own_query.to_owned();
    let mut pairs: Vec<(String, SecretString)> = Vec::new();
    for (name, value) in more.query_string_parameters.into_iter().flatten() {
        pairs.push((name, value.into()));
    }
    for ConnectionValue { name, sealed, .. } in &connection.query {
        pairs.retain(|(old, _)| old != name);
        pairs.push((name.clone(), open(sealed)?));
    }
    for (name, value) in &pairs {
        let between = if query.is_empty() { "" } else { "&" };
        let _ = write!(query, "{between}{}={}", encoded(name), encoded(value.expose_secret()));
    }
    let body = match destination.method.as_str() {
        "GET" | "HEAD" | "OPTIONS" => String::new(),
        _ => input,
    };
    Ok(WebhookRequest { method: destination.method.clone(), url, query: query.into(), headers, body })
}

fn zeroizing(text: String) -> SecretString {
    text.into()
}

/// Percent-encoded, but for what is reserved nowhere.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::HookKey;
    use longshore_model::{Region, Timestamp};

    #[test]
    fn a_request_has_what_destination_connection_and_target_say() {
        let key = SealingKey::from_bytes(&[3; 32]);
        let name = HookKey { region: Region::new("lab").expect("a region"), name: "chat".into() };
        let sealed = |text: &str| key.seal(&owner(&name), &text.into());
        let value = |name: &str, text: &str| ConnectionValue { name: name.into(), secret: true, sealed: sealed(text) };
        let at = Timestamp::from_millis(0);
        let connection = HookConnection {
            key: name.clone(),
            id: uuid::Uuid::nil(),
            description: None,
            auth: ConnectionAuth::Basic { username: "me".into(), sealed: sealed("hush") },
            headers: vec![value("X-Team", "a"), value("content-type", "text/plain")],
            query: vec![value("k", "v/1")],
            created_at: at,
            changed_at: at,
        };
        let destination = ApiDestination {
            key: name.clone(),
            id: uuid::Uuid::nil(),
            description: None,
            connection: name,
            endpoint: "http://example.net/*/in?a=b".into(),
            method: "POST".into(),
            rate: 300,
            created_at: at,
            changed_at: at,
        };
        let more = HttpParameters {
            path_parameter_values: Some(vec!["a b".into()]),
            header_parameters: Some([("X-Team".into(), "b".into()), ("X-More".into(), "c".into())].into()),
            query_string_parameters: Some([("k".into(), "w".into()), ("l".into(), "m".into())].into()),
        };
        let request = request(&destination, &connection, Some(&more), "{}".into(), &key).expect("opens");
        assert_eq!(request.url, "http://example.net/a%20b/in");
        assert_eq!(request.query.expose_secret(), "a=b&l=m&k=v%2F1");
        let header = |name: &str| {
            let found: Vec<_> = request.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).collect();
            assert_eq!(found.len(), 1, "{name}");
            found[0].1.expose_secret().to_owned()
        };
        assert_eq!(header("Authorization"), "Basic bWU6aHVzaA==");
        assert_eq!(
            (header("X-Team"), header("X-More"), header("Content-Type")),
            ("a".into(), "c".into(), "text/plain".into())
        );
        assert_eq!(request.body, "{}");
        assert!(!format!("{request:?}").contains("hush"));
    }
}
