//! Requests that are not signed, or badly: the error that AWS clients expect, and nothing changed.

use longshore_tests::lab::Lab;
use serde_json::{Value, json};

use super::support::api_lab;

/// One bad request, and the error it gets.
struct Case {
    what: &'static str,
    request: Value,
    code: &'static str,
}

fn send(lab: &Lab, request: Value) -> Value {
    let mut full = json!({
        "kind": "raw",
        "target": "AmazonEC2ContainerServiceV20141113.CreateCluster",
        "body": "{\"clusterName\":\"intruder\"}",
    });
    super::support::merge(&mut full, request);
    lab.ask(&full).unwrap().unwrap()
}

#[test]
fn requests_that_are_not_signed_right_are_refused_and_change_nothing() {
    let lab = api_lab();
    let cases = [
        Case { what: "no signature", request: json!({"sign": false}), code: "MissingAuthenticationTokenException" },
        Case { what: "another secret", request: json!({"secret": "x".repeat(40)}), code: "InvalidSignatureException" },
        Case {
            what: "an unknown key",
            request: json!({"key": "AKIAAAAAAAAAAAAAAAAA"}),
            code: "UnrecognizedClientException",
        },
        Case { what: "signed six minutes ago", request: json!({"skew": -360}), code: "InvalidSignatureException" },
        Case { what: "signed in six minutes", request: json!({"skew": 360}), code: "InvalidSignatureException" },
        Case {
            what: "another body than the signed one",
            request: json!({"tamper_body": "{\"clusterName\":\"other\"}"}),
            code: "InvalidSignatureException",
        },
        Case {
            what: "another target than the signed one",
            request: json!({"tamper": {"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.DeleteCluster"}}),
            code: "InvalidSignatureException",
        },
        Case {
            what: "a session token that nobody gave out",
            request: json!({"session_token": "made-up"}),
            code: "UnrecognizedClientException",
        },
    ];
    for case in cases {
        let answer = send(&lab, case.request);
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap_or_default();
        assert_eq!(answer["status"], 400, "{}: {answer}", case.what);
        let kind = body["__type"].as_str().unwrap_or_default();
        assert!(kind.ends_with(case.code), "{}: {answer}", case.what);
        let header = &answer["headers"]["x-amzn-errortype"];
        assert!(header.as_str().is_some_and(|h| h.starts_with(case.code)), "{}: {answer}", case.what);
    }
    let broken = ["AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a", "Bearer x", "AWS4-HMAC-SHA256 =,=,="];
    for text in broken {
        let answer = send(&lab, json!({"tamper": {"Authorization": text}}));
        assert_eq!(answer["status"], 400, "{text}: {answer}");
    }
    let dropped = send(&lab, json!({"drop": ["X-Amz-Date"]}));
    assert_eq!(dropped["status"], 400, "without a date: {dropped}");
    assert_eq!(lab.ecs("list_clusters", json!({})).unwrap()["clusterArns"], json!([]), "something was changed");

    for skew in [-240, 240] {
        let answer = send(&lab, json!({"skew": skew}));
        assert_eq!(answer["status"], 200, "four minutes of skew are fine: {answer}");
    }
}

#[test]
fn who_am_i_is_answered_for_the_root_key_in_any_region() {
    let lab = api_lab();
    let me = lab.call("sts", "get_caller_identity", json!({})).unwrap().unwrap();
    assert_eq!(me["Account"], longshore_tests::lab::product::ACCOUNT);
    assert_eq!(me["Arn"], format!("arn:aws:iam::{}:root", longshore_tests::lab::product::ACCOUNT));
    let made = lab
        .ask(&json!({
            "kind": "call", "service": "ecs", "op": "create_cluster", "region": "us-west-2",
            "args": {"clusterName": "far"},
        }))
        .unwrap()
        .unwrap();
    let arn = made["cluster"]["clusterArn"].as_str().unwrap();
    assert!(arn.starts_with("arn:aws:ecs:us-west-2:"), "{arn}");
    // A cluster of another region is another cluster.
    assert_eq!(lab.ecs("list_clusters", json!({})).unwrap()["clusterArns"], json!([]));
    let foreign = lab.ecs("describe_clusters", json!({"clusters": [arn]})).unwrap();
    assert_eq!(foreign["clusters"], json!([]), "an ARN does not resolve by its tail");
}
