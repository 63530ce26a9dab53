//! Verification against requests signed by AWS's own signer and by AWS's published test suite, and against every way
//! that such a request can be spoilt.

use super::{AuthError, Keys, Verified, begin};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use jiff::Timestamp;
use longshore_core::Principal;
use longshore_ecs_api::ErrorCode;
use longshore_model::AccountId;
use proptest::prelude::*;
use secrecy::SecretString;
use std::time::SystemTime;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const BODY: &[u8] = br#"{"clusterName":"prod"}"#;

struct OneKey;

impl Keys for OneKey {
    fn access_key(&self, id: &str) -> Option<(Principal, SecretString)> {
        let account = AccountId::new("123456789012").expect("an account");
        (id == KEY).then(|| (Principal::root(&account), SecretString::from(SECRET)))
    }
}

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().expect("a date")
}

struct Signing {
    secret: &'static str,
    at: Timestamp,
    region: &'static str,
    session_token: Option<&'static str>,
}

impl Default for Signing {
    fn default() -> Self {
        Self { secret: SECRET, at: now(), region: "eu-north-1", session_token: None }
    }
}

/// A request of ECS as an SDK sends it, signed by AWS's signer.
fn signed(signing: &Signing, uri: &str, body: &[u8], extra: &[(&'static str, &str)]) -> Parts {
    let mut request = Request::post(uri)
        .header("host", "127.0.0.1:7420")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "AmazonEC2ContainerServiceV20141113.CreateCluster");
    for (name, value) in extra {
        request = request.header(*name, *value);
    }
    let mut request = request.body(()).expect("a request");
    let credentials =
        Credentials::new(KEY, signing.secret, signing.session_token.map(str::to_owned), None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&credentials)
        .region(signing.region)
        .name("ecs")
        .time(SystemTime::from(signing.at))
        .settings(SigningSettings::default())
        .build()
        .expect("all set")
        .into();
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text")));
    let signable = SignableRequest::new("POST", uri, headers, SignableBody::Bytes(body)).expect("signable");
    let (instructions, _) = sign(signable, &params).expect("signed").into_parts();
    instructions.apply_to_request_http1x(&mut request);
    request.into_parts().0
}

fn verify(parts: &Parts, body: &[u8], now: Timestamp) -> Result<Verified, AuthError> {
    begin(parts, now, &OneKey)?.finish(parts, body)
}

/// What becomes of a good request after `spoil`.
fn spoilt(spoil: impl FnOnce(&mut Parts)) -> AuthError {
    let mut parts = signed(&Signing::default(), "http://127.0.0.1:7420/", BODY, &[]);
    verify(&parts, BODY, now()).expect("good before it is spoilt");
    spoil(&mut parts);
    verify(&parts, BODY, now()).expect_err("spoilt")
}

fn set(parts: &mut Parts, name: &'static str, value: &str) {
    parts.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
}

/// Changes the text of the Authorization header.
fn authorization(change: impl FnOnce(String) -> String) -> impl FnOnce(&mut Parts) {
    |parts| {
        let text = parts.headers["authorization"].to_str().expect("text").to_owned();
        set(parts, "authorization", &change(text));
    }
}

#[test]
fn a_signed_request_is_somebodys() {
    for region in ["eu-north-1", "us-east-1", "rack-7"] {
        let parts = signed(&Signing { region, ..Signing::default() }, "http://127.0.0.1:7420/", BODY, &[]);
        let verified = verify(&parts, BODY, now()).expect("verified");
        assert_eq!((verified.access_key_id.as_str(), verified.region.as_str()), (KEY, region));
        assert_eq!((verified.service.as_str(), verified.principal.user_id.as_str()), ("ecs", "123456789012"));
    }
}

#[test]
fn what_was_signed_must_be_what_came() {
    let mismatch = [
        spoilt(|parts| set(parts, "x-amz-target", "AmazonEC2ContainerServiceV20141113.DeleteCluster")),
        spoilt(|parts| set(parts, "host", "elsewhere")),
        spoilt(|parts| set(parts, "content-type", "text/plain")),
        spoilt(|parts| parts.method = http::Method::PUT),
        spoilt(|parts| parts.uri = "/other".parse().expect("a path")),
        spoilt(|parts| parts.uri = "/?a=b".parse().expect("a path")),
        spoilt(|parts| set(parts, "x-amz-date", "20261122T120001Z")),
        spoilt(authorization(|text| text.replace("eu-north-1", "eu-north-2"))),
        spoilt(authorization(|text| text.replace("/ecs/", "/ssm/"))),
        spoilt(authorization(|text| {
            let (before, signature) = text.split_at(text.len() - 1);
            format!("{before}{}", if signature == "0" { "1" } else { "0" })
        })),
    ];
    for (i, error) in mismatch.into_iter().enumerate() {
        assert_eq!(error, AuthError::Mismatch, "case {i}");
    }
    let parts = signed(&Signing::default(), "http://127.0.0.1:7420/", BODY, &[]);
    assert_eq!(verify(&parts, br#"{"clusterName":"proD"}"#, now()), Err(AuthError::Mismatch));
    assert_eq!(verify(&parts, b"", now()), Err(AuthError::Mismatch));
    let wrong = signed(&Signing { secret: "another", ..Signing::default() }, "http://127.0.0.1:7420/", BODY, &[]);
    assert_eq!(verify(&wrong, BODY, now()), Err(AuthError::Mismatch));
}

#[test]
fn the_head_alone_shows_these() {
    assert_eq!(spoilt(|parts| drop(parts.headers.remove("authorization"))), AuthError::Missing);
    assert_eq!(spoilt(authorization(|text| text.replace(KEY, "AKIDOTHER"))), AuthError::UnknownKey);
    assert_eq!(
        spoilt(|parts| set(parts, "x-amz-extra", "1")),
        AuthError::NotSigned("x-amz-extra".into()),
        "added on the way"
    );
    assert_eq!(spoilt(authorization(|text| text.replace("host;", ""))), AuthError::NotSigned("host".into()));
    assert_eq!(spoilt(|parts| drop(parts.headers.remove("content-type"))), AuthError::Absent("content-type".into()));
    assert_eq!(
        spoilt(authorization(|text| text.replace("/20261122/", "/20261121/"))),
        AuthError::ScopeDate { scope: "20261121".into(), date: "20261122T120000Z".into() }
    );
    for name in ["authorization", "x-amz-date", "host", "x-amz-target"] {
        let error = spoilt(|parts| {
            let value = parts.headers[name].clone();
            parts.headers.append(HeaderName::from_static(name), value);
        });
        assert_eq!(error, AuthError::Repeated(name));
    }
    let token = Signing { session_token: Some("token"), ..Signing::default() };
    let parts = signed(&token, "http://127.0.0.1:7420/", BODY, &[]);
    assert_eq!(verify(&parts, BODY, now()), Err(AuthError::UnknownKey), "session tokens are not given out yet");
}

#[test]
fn what_cannot_be_read_is_refused() {
    let malformed = [
        spoilt(authorization(|text| text.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"))),
        spoilt(authorization(|text| text.replace("AWS4-HMAC-SHA256", "Basic"))),
        spoilt(authorization(|_| "AWS4-HMAC-SHA256".into())),
        spoilt(authorization(|_| "AWS4-HMAC-SHA256 Credential".into())),
        spoilt(authorization(|_| "AWS4-HMAC-SHA256 Credential=a/20261122/b/ecs/aws4_request".into())),
        spoilt(authorization(|text| text.replace("aws4_request", "aws5_request"))),
        spoilt(authorization(|text| text.replace("/ecs/", "/"))),
        spoilt(authorization(|text| text.replace("/ecs/", "//"))),
        spoilt(authorization(|text| text.replace("/20261122/", "/2026112/"))),
        spoilt(authorization(|text| format!("{text}, Signature=00"))),
        spoilt(authorization(|text| format!("{text}, Other=00"))),
        spoilt(authorization(|text| format!("{text}00"))),
        spoilt(authorization(|text| text.replace("content-type;host", "host;content-type"))),
        spoilt(authorization(|text| text.replace("content-type;host", "content-type;content-type;host"))),
        spoilt(authorization(|text| text.replace("content-type;host", "Content-Type;host"))),
        spoilt(authorization(|text| text.replace("content-type;host", "content-type;;host"))),
        spoilt(|parts| drop(parts.headers.remove("x-amz-date"))),
        spoilt(|parts| set(parts, "x-amz-date", "2026-11-22T12:00:00Z")),
        spoilt(|parts| set(parts, "x-amz-date", "20261322T120000Z")),
        spoilt(|parts| set(parts, "x-amz-date", "20261122T12000 Z")),
    ];
    for (i, error) in malformed.into_iter().enumerate() {
        assert!(matches!(error, AuthError::Malformed(_)), "case {i}: {error}");
    }
}

#[test]
fn five_minutes_either_way() {
    let parts = signed(&Signing::default(), "http://127.0.0.1:7420/", BODY, &[]);
    let at = |text: &str| verify(&parts, BODY, text.parse().expect("a date"));
    assert!(at("2026-11-22T12:05:00Z").is_ok());
    assert!(at("2026-11-22T11:55:00Z").is_ok());
    let expired = at("2026-11-22T12:05:01Z").expect_err("too old");
    assert_eq!(
        expired.to_string(),
        "Signature expired: 20261122T120000Z is now earlier than 20261122T120001Z (20261122T120501Z - 5 min.)"
    );
    let early = at("2026-11-22T11:54:59Z").expect_err("too far ahead");
    assert_eq!(
        early.to_string(),
        "Signature not yet current: 20261122T120000Z is still later than 20261122T115959Z (20261122T115459Z + 5 min.)"
    );
    assert_eq!((expired.json().code, early.query()), (ErrorCode::InvalidSignature, (403, "SignatureDoesNotMatch")));
}

#[test]
fn each_kind_of_service_has_its_words() {
    for (error, json, query) in [
        (AuthError::Missing, "MissingAuthenticationTokenException", (403, "MissingAuthenticationToken")),
        (AuthError::UnknownKey, "UnrecognizedClientException", (403, "InvalidClientTokenId")),
        (AuthError::Mismatch, "InvalidSignatureException", (403, "SignatureDoesNotMatch")),
        (AuthError::Malformed("x"), "IncompleteSignatureException", (400, "IncompleteSignature")),
    ] {
        assert_eq!((error.json().code.as_str(), error.json().status(), error.query()), (json, 400, query));
    }
}

/// Cases of AWS's "Signature Version 4 Test Suite" (Apache-2.0): request line, headers beside host and date, body,
/// signed headers, signature.
#[test]
fn aws_test_suite() {
    for (line, headers, body, names, signature) in [
        ("GET /", &[][..], "", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "GET /?Param2=value2&Param1=value1",
            &[],
            "",
            "host;x-amz-date",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET /",
            &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
            "",
            "host;my-header1;my-header2;x-amz-date",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "GET /",
            &[("my-header1", "value2"), ("my-header1", "value2"), ("my-header1", "value1")],
            "",
            "host;my-header1;x-amz-date",
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            "POST /",
            &[("my-header1", "value1")],
            "",
            "host;my-header1;x-amz-date",
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        ),
        (
            "GET /?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=\
             -._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            &[],
            "",
            "host;x-amz-date",
            "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
        ),
    ] {
        let (method, uri) = line.split_once(' ').expect("a request line");
        let mut request = Request::builder().method(method).uri(uri);
        request = request.header("host", "example.amazonaws.com").header("x-amz-date", "20150830T123600Z");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let text = format!(
            "AWS4-HMAC-SHA256 Credential={KEY}/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, \
             Signature={signature}"
        );
        let (parts, ()) = request.header("authorization", text).body(()).expect("a request").into_parts();
        let at = "2015-08-30T12:36:00Z".parse().expect("a date");
        assert!(verify(&parts, body.as_bytes(), at).is_ok(), "{line} {names}");
    }
}

proptest! {
    /// Whatever AWS's signer signs verifies, and no other body does. Paths that end in a dot segment are left out:
    /// botocore and the Rust signer disagree on them, and no service here has such paths.
    #[test]
    fn agrees_with_the_signer(
        path in "(/([a-zA-Z0-9_~-][a-zA-Z0-9._~-]{0,6})?){1,4}",
        query in prop::collection::vec(("[a-zA-Z0-9._~-]{1,4}", "[a-zA-Z0-9._~-]{0,4}"), 0..4),
        value in "[!-~]{1,4}( {1,3}[!-~]{1,4}){0,3}",
        body in prop::collection::vec(any::<u8>(), 0..64),
        other in any::<u8>(),
    ) {
        let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let uri = format!("http://127.0.0.1:7420{path}{}{}", if query.is_empty() { "" } else { "?" }, query.join("&"));
        let parts = signed(&Signing::default(), &uri, &body, &[("x-amz-meta", value.as_str())]);
        prop_assert!(verify(&parts, &body, now()).is_ok(), "{}", uri);
        let mut tampered = body;
        tampered.push(other);
        prop_assert_eq!(verify(&parts, &tampered, now()), Err(AuthError::Mismatch));
    }

    /// No header makes the verifier panic or accept.
    #[test]
    fn rubbish_is_refused(header in "\\PC{0,200}", date in "[0-9TZ]{0,20}") {
        let request = Request::post("/").header("host", "x").header("x-amz-date", date).header("authorization",
            header.as_bytes());
        if let Ok(request) = request.body(()) {
            prop_assert!(verify(&request.into_parts().0, b"", now()).is_err());
        }
    }

    /// Nor does a header that is nearly right.
    #[test]
    fn damaged_headers_are_refused(at in 0usize..300, with in "[ -~]{0,3}", cut in 0usize..4) {
        let mut parts = signed(&Signing::default(), "http://127.0.0.1:7420/", BODY, &[]);
        let good = parts.headers["authorization"].to_str().expect("text").to_owned();
        let at = at.min(good.len());
        let bad = format!("{}{with}{}", &good[..at], &good[(at + cut).min(good.len())..]);
        // Spaces after commas and around the whole are allowed, so compare what is left without them.
        prop_assume!(bad.replace(' ', "") != good.replace(' ', ""));
        set(&mut parts, "authorization", &bad);
        prop_assert!(verify(&parts, BODY, now()).is_err(), "{}", bad);
    }
}
