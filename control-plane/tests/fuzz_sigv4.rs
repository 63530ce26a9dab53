//! Heads of requests: whatever comes, verification neither panics nor takes it for somebody's. Runs for a moment by
//! default; `LONGSHORE_FUZZ_CASES` makes it longer.

use http::{HeaderName, HeaderValue, Method, Request};
use longshore_control::auth::{AuthError, Keys, begin};
use longshore_core::Principal;
use longshore_model::AccountId;
use proptest::prelude::*;
use secrecy::SecretString;

fn config() -> ProptestConfig {
    let cases = std::env::var("LONGSHORE_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Has a key for whoever asks, with a secret that no test knows.
struct AnyKey;

impl Keys for AnyKey {
    fn access_key(&self, _id: &str) -> Option<(Principal, SecretString)> {
        let account = AccountId::new("123456789012").expect("an account");
        Some((Principal::root(&account), SecretString::from("a secret that nobody signs with")))
    }
}

/// A header that gets far: everything is in order but the signature.
const NEARLY: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/eu-north-1/ecs/aws4_request, \
                      SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
                      Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

fn try_head(method: Method, uri: &str, headers: &[(String, Vec<u8>)], body: &[u8]) -> Option<AuthError> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request = request.header(name, HeaderValue::from_bytes(value).ok()?);
    }
    let (parts, ()) = request.body(()).ok()?.into_parts();
    let now = "2026-11-22T12:00:00Z".parse().expect("a date");
    let error = match begin(&parts, now, &AnyKey) {
        Err(error) => error,
        Ok(pending) => pending.finish(&parts, body).expect_err("nobody knows the secret"),
    };
    assert_eq!(error.json().status(), 400);
    assert!(matches!(error.query().0, 400 | 403));
    assert!(error.to_string().len() < 512, "{error}");
    Some(error)
}

fn headers(authorization: String, date: String) -> Vec<(String, Vec<u8>)> {
    vec![
        ("host".into(), b"127.0.0.1".to_vec()),
        ("content-type".into(), b"application/x-amz-json-1.1".to_vec()),
        ("x-amz-target".into(), b"x.y".to_vec()),
        ("x-amz-date".into(), date.into_bytes()),
        ("authorization".into(), authorization.into_bytes()),
    ]
}

/// What the server lets through in the value of a header.
fn in_a_header() -> impl Strategy<Value = u8> {
    prop_oneof![Just(b'\t'), 0x20u8..0x7f, 0x80u8..=0xff]
}

#[test]
fn the_starting_point_gets_to_the_signature() {
    let error = try_head(Method::POST, "/", &headers(NEARLY.into(), "20261122T120000Z".into()), b"{}");
    assert_eq!(error, Some(AuthError::Mismatch));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn damaged_authorizations(at in 0usize..280, cut in 0usize..80, with in "[ -~]{0,6}",
        date in "(20261122T1200[0-9]{2}Z|[ -~]{0,18})") {
        let at = at.min(NEARLY.len());
        let header = format!("{}{with}{}", &NEARLY[..at], &NEARLY[(at + cut).min(NEARLY.len())..]);
        let error = try_head(Method::POST, "/", &headers(header, date), b"{}");
        prop_assert!(error.is_some(), "no request");
    }

    #[test]
    fn arbitrary_heads(
        uri in "/[!$-;=@-Z_a-z~]{0,40}(\\?[!$-;=?-Z_a-z~]{0,40})?",
        extra in prop::collection::vec(("(x-amz-)?[a-z-]{1,12}", prop::collection::vec(in_a_header(), 0..40)), 0..6),
        names in "[a-z;-]{0,40}",
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let listed = NEARLY.replace("content-type;host;x-amz-date;x-amz-target", &names);
        for authorization in [NEARLY.to_owned(), listed] {
            let mut all = headers(authorization, "20261122T120000Z".into());
            all.extend(extra.iter().cloned());
            let error = try_head(Method::POST, &uri, &all, &body);
            prop_assert!(error.is_some(), "no request");
        }
    }
}
