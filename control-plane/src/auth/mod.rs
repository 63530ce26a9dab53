//! Signature Version 4: who sent a request, and whether it is what they signed.
//!
//! Owns the verification of the `Authorization` header. It never decides what a principal may do, never reads a
//! body by itself, and never logs or returns a secret or an expected signature. `http` calls it twice for each
//! request: [`begin`] with the head, so that nobody unknown makes this process hold a body, and
//! [`Pending::finish`] with the body.
//!
//! There is no anonymous access. Presigned URLs, chunked and streaming signatures are refused: no client of the
//! services here sends them.

mod authorization;
mod canonical;
mod error;

pub use error::AuthError;

use authorization::Authorization;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use longshore_core::Principal;
use secrecy::{ExposeSecret, SecretString};

/// How far a request's date may be from ours, either way, in seconds (five minutes, as AWS documents for ECS).
pub const MAX_SKEW_SECS: i64 = 300;

const AMZ_DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// Where secrets come from. Called for every request: it must not block.
pub trait Keys {
    /// The owner and the secret of an access key; `None` when there is no such key.
    fn access_key(&self, id: &str) -> Option<(Principal, SecretString)>;
}

/// A request whose head is in order: the key is known and the date is near. Its signature is still unproven.
pub struct Pending {
    authorization: Authorization,
    amz_date: String,
    principal: Principal,
    secret: SecretString,
}

/// Who signed a request, proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The key that signed.
    pub access_key_id: String,
    /// Its owner.
    pub principal: Principal,
    /// The region of the signature's scope.
    pub region: String,
    /// The service of the signature's scope.
    pub service: String,
}

/// Checks everything about a signature that the head of a request can show.
///
/// # Errors
/// See [`AuthError`].
pub fn begin(parts: &Parts, now: Timestamp, keys: &impl Keys) -> Result<Pending, AuthError> {
    let Some(header) = single(&parts.headers, "authorization")? else {
        return Err(AuthError::Missing);
    };
    let authorization = Authorization::parse(header)?;
    let amz_date =
        single(&parts.headers, "x-amz-date")?.ok_or(AuthError::Malformed("it needs an X-Amz-Date header"))?;
    let signed_at = parse_date(amz_date)?;
    for once in ["host", "x-amz-target", "x-amz-security-token"] {
        single(&parts.headers, once)?;
    }
    require_signed(&parts.headers, &authorization)?;
    if amz_date.get(..8) != Some(authorization.date.as_str()) {
        return Err(AuthError::ScopeDate { scope: authorization.date, date: amz_date.to_owned() });
    }
    check_skew(signed_at, now)?;
    // Session tokens come with task roles; until then no key that carries one was given out here.
    if parts.headers.contains_key("x-amz-security-token") {
        return Err(AuthError::UnknownKey);
    }
    let (principal, secret) = keys.access_key(&authorization.access_key_id).ok_or(AuthError::UnknownKey)?;
    Ok(Pending { amz_date: amz_date.to_owned(), authorization, principal, secret })
}

impl Pending {
    /// Checks the signature over the head and this body, in constant time.
    ///
    /// # Errors
    /// [`AuthError::Mismatch`] when either is not what was signed, or the secret is another.
    pub fn finish(self, parts: &Parts, body: &[u8]) -> Result<Verified, AuthError> {
        let Self { authorization, amz_date, principal, secret } = self;
        let request = canonical::request(parts, &authorization.signed_headers, body);
        let scope = authorization.scope();
        let text = format!("{}\n{amz_date}\n{scope}\n{}", authorization::ALGORITHM, sha256_hex(&request));
        let expected = hmac::sign(&signing_key(&secret, &authorization), text.as_bytes());
        if verify_slices_are_equal(expected.as_ref(), &authorization.signature).is_err() {
            return Err(AuthError::Mismatch);
        }
        let Authorization { access_key_id, region, service, .. } = authorization;
        Ok(Verified { access_key_id, principal, region, service })
    }

    /// The service of the signature's scope, unproven yet.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.authorization.service
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({} in {})", self.authorization.access_key_id, self.authorization.scope())
    }
}

fn signing_key(secret: &SecretString, authorization: &Authorization) -> hmac::Key {
    let mut key = zeroize::Zeroizing::new(b"AWS4".to_vec());
    key.extend_from_slice(secret.expose_secret().as_bytes());
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    for part in [&authorization.date, &authorization.region, &authorization.service, authorization::TERMINATOR] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    key
}

fn sha256_hex(data: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, data))
}

/// The one value of a header; an error when there are several, since which one counts would be a guess.
fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, AuthError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(AuthError::Repeated(name));
    }
    value.to_str().map(Some).map_err(|_| AuthError::Malformed("a header of the signature is not ASCII text"))
}

/// `host`, `x-amz-date` and every other `x-amz-` header must be under the signature (AWS refuses others likewise):
/// what is not signed could have been added on the way.
fn require_signed(headers: &HeaderMap, authorization: &Authorization) -> Result<(), AuthError> {
    let signed = |name: &str| authorization.signed_headers.iter().any(|h| h == name);
    if !signed("host") {
        return Err(AuthError::NotSigned("host".into()));
    }
    for name in headers.keys().filter(|n| n.as_str().starts_with("x-amz-")) {
        if !signed(name.as_str()) {
            return Err(AuthError::NotSigned(name.to_string()));
        }
    }
    match authorization.signed_headers.iter().find(|name| !headers.contains_key(name.as_str())) {
        Some(absent) => Err(AuthError::Absent(absent.clone())),
        None => Ok(()),
    }
}

fn parse_date(text: &str) -> Result<Timestamp, AuthError> {
    let wrong = AuthError::Malformed("X-Amz-Date must look like 20060102T150405Z");
    // strptime alone would take fewer digits and spaces.
    let form = text.len() == 16
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 => b == b'T',
            15 => b == b'Z',
            _ => b.is_ascii_digit(),
        });
    if !form {
        return Err(wrong);
    }
    DateTime::strptime(AMZ_DATE_FORMAT, text)
        .and_then(|date| date.to_zoned(TimeZone::UTC))
        .map(|date| date.timestamp())
        .map_err(|_| wrong)
}

fn check_skew(signed_at: Timestamp, now: Timestamp) -> Result<(), AuthError> {
    let (signed, ours) = (signed_at.as_second(), now.as_second());
    if signed < ours.saturating_sub(MAX_SKEW_SECS) {
        return Err(AuthError::Expired { signed_at, now });
    }
    if signed > ours.saturating_add(MAX_SKEW_SECS) {
        return Err(AuthError::NotYetCurrent { signed_at, now });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
