//! Patterns good and bad, by a table; and that what a pattern may match includes what it does.

use longshore_pattern::Pattern;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Whether `pattern` is for `event`.
#[track_caller]
fn check(pattern: Value, event: Value, expected: bool) {
    let read = Pattern::parse(&pattern.to_string()).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    assert_eq!(read.matches(&event), expected, "{pattern} of {event}");
    assert!(!expected || read.may_match(&event), "{pattern} may not match {event}, and does");
}

/// A pattern of the one field `a`, asked of an event with `a` as given.
#[track_caller]
fn of(tests: Value, value: Value, expected: bool) {
    check(json!({"a": tests}), json!({"a": value}), expected);
}

#[test]
fn values_are_compared_as_they_are_written() {
    of(json!(["x"]), json!("x"), true);
    of(json!(["x", "y"]), json!("y"), true);
    of(json!(["x"]), json!("X"), false);
    of(json!([""]), json!(""), true);
    of(json!([300]), json!(300), true);
    of(json!([300]), json!("300"), false);
    of(json!([true]), json!(true), true);
    of(json!([true]), json!(false), false);
    of(json!([null]), json!(null), true);
    check(json!({"a": [null]}), json!({}), false);
    check(json!({"a": ["x"]}), json!({"b": "x"}), false);
}

#[test]
fn all_fields_must_match_at_any_depth() {
    let event = json!({"source": "aws.ecs", "detail": {"lastStatus": "STOPPED", "group": "service:web"}});
    check(json!({"source": ["aws.ecs"], "detail": {"lastStatus": ["STOPPED"]}}), event.clone(), true);
    check(json!({"source": ["aws.ecs"], "detail": {"lastStatus": ["RUNNING"]}}), event.clone(), false);
    check(json!({"source": ["aws.ec2"], "detail": {"lastStatus": ["STOPPED"]}}), event.clone(), false);
    check(json!({"detail": {"lastStatus": {"deeper": ["STOPPED"]}}}), event.clone(), false);
    check(json!({"detail": ["STOPPED"]}), event, false);
}

#[test]
fn of_a_list_one_element_is_enough_and_has_all_of_it() {
    of(json!(["x"]), json!(["w", "x"]), true);
    of(json!(["x"]), json!([]), false);
    of(json!([{"exists": false}]), json!([]), true);
    let event = json!({"detail": {"containers": [
        {"name": "web", "lastStatus": "RUNNING"}, {"name": "log", "lastStatus": "STOPPED", "exitCode": 1},
    ]}});
    let containers = |wanted: Value| json!({"detail": {"containers": wanted}});
    check(containers(json!({"name": ["log"], "lastStatus": ["STOPPED"]})), event.clone(), true);
    check(containers(json!({"name": ["web"], "lastStatus": ["STOPPED"]})), event.clone(), false);
    check(containers(json!({"exitCode": [{"anything-but": 0}]})), event, true);
}

#[test]
fn words_of_the_language() {
    of(json!([{"prefix": "ab"}]), json!("abc"), true);
    of(json!([{"prefix": "ab"}]), json!("Abc"), false);
    of(json!([{"prefix": {"equals-ignore-case": "AB"}}]), json!("abc"), true);
    of(json!([{"suffix": ".png"}]), json!("a.png"), true);
    of(json!([{"suffix": {"equals-ignore-case": ".PNG"}}]), json!("a.png"), true);
    of(json!([{"suffix": ".png"}]), json!("a.jpg"), false);
    of(json!([{"equals-ignore-case": "Alice"}]), json!("aLICE"), true);
    of(json!([{"equals-ignore-case": "Alice"}]), json!("alic"), false);
    of(json!([{"wildcard": "dir/*/web*.log"}]), json!("dir/a/b/web1.log"), true);
    of(json!([{"wildcard": "dir/*"}]), json!("dir/"), true);
    of(json!([{"wildcard": "*.png"}]), json!("a.png.jpg"), false);
    of(json!([{"wildcard": "a*ba"}]), json!("aba"), true);
    of(json!([{"wildcard": "ab*ba"}]), json!("aba"), false);
    of(json!([{"wildcard": "a\\*b\\\\"}]), json!("a*b\\"), true);
    of(json!([{"wildcard": "a\\*b"}]), json!("axb"), false);
    of(json!([{"anything-but": "x"}]), json!("y"), true);
    of(json!([{"anything-but": "x"}]), json!("x"), false);
    of(json!([{"anything-but": ["x", "y"]}]), json!("z"), true);
    of(json!([{"anything-but": [100, 200]}]), json!(100), false);
    of(json!([{"anything-but": {"prefix": "init"}}]), json!("initial"), false);
    of(json!([{"anything-but": {"prefix": ["a", "b"]}}]), json!("bc"), false);
    of(json!([{"anything-but": {"suffix": ".png"}}]), json!("a.jpg"), true);
    of(json!([{"anything-but": {"wildcard": "*/lib/*"}}]), json!("x/lib/y"), false);
    of(json!([{"anything-but": {"equals-ignore-case": ["X"]}}]), json!("x"), false);
    check(json!({"a": [{"anything-but": "x"}]}), json!({}), false);
    of(json!([{"numeric": ["=", 5]}]), json!(5.0), true);
    of(json!([{"numeric": [">", 0, "<=", 5]}]), json!(5), true);
    of(json!([{"numeric": [">", 0, "<=", 5]}]), json!(0), false);
    of(json!([{"numeric": ["<", 10]}]), json!("5"), false);
    of(json!([{"cidr": "10.0.0.0/24"}]), json!("10.0.0.255"), true);
    of(json!([{"cidr": "10.0.0.0/24"}]), json!("10.0.1.0"), false);
    of(json!([{"cidr": "2001:db8::/32"}]), json!("2001:db8::7"), true);
    of(json!([{"cidr": "10.0.0.0/24"}]), json!("here"), false);
    of(json!([{"exists": true}]), json!("x"), true);
    of(json!([{"exists": true}]), json!(null), true);
    of(json!([{"exists": false}]), json!("x"), false);
    check(json!({"a": [{"exists": false}]}), json!({"b": 1}), true);
    check(json!({"a": {"b": [{"exists": false}]}}), json!({}), true);
    of(json!(["x", {"prefix": "y"}, {"numeric": [">", 3]}]), json!(4), true);
}

#[test]
fn one_alternative_of_or_is_enough() {
    let pattern =
        json!({"source": ["s"], "$or": [{"detail": {"a": ["1"]}}, {"detail": {"b": [{"numeric": [">", 5]}]}}]});
    check(pattern.clone(), json!({"source": "s", "detail": {"a": "1"}}), true);
    check(pattern.clone(), json!({"source": "s", "detail": {"b": 6}}), true);
    check(pattern.clone(), json!({"source": "s", "detail": {"b": 5}}), false);
    check(pattern, json!({"source": "t", "detail": {"a": "1"}}), false);
    let inner = json!({"detail": {"$or": [{"a": ["1"]}, {"b": ["2"]}], "c": ["3"]}});
    check(inner.clone(), json!({"detail": {"b": "2", "c": "3"}}), true);
    check(inner, json!({"detail": {"b": "2"}}), false);
}

#[test]
fn a_part_of_an_event_rules_out_what_it_can() {
    let pattern =
        json!({"source": ["aws.ecs"], "detail": {"lastStatus": ["STOPPED"], "stopCode": [{"exists": false}]}});
    let pattern = Pattern::parse(&pattern.to_string()).expect("a pattern");
    assert!(pattern.may_match(&json!({})));
    assert!(pattern.may_match(&json!({"source": "aws.ecs"})));
    assert!(pattern.may_match(&json!({"source": "aws.ecs", "detail": {"lastStatus": "STOPPED"}})));
    assert!(!pattern.may_match(&json!({"source": "aws.ecs", "detail": {"lastStatus": "RUNNING"}})));
    assert!(!pattern.may_match(&json!({"source": "aws.ec2"})));
}

#[test]
fn what_is_no_pattern_is_refused_with_the_fields_name() {
    let long = format!("{{\"a\": [\"{}\"]}}", "x".repeat(4096));
    for (text, part) in [
        ("", "JSON"),
        ("{", "JSON"),
        ("[]", "must be a JSON object"),
        ("\"x\"", "must be a JSON object"),
        ("{}", "empty objects"),
        (r#"{"a": "x"}"#, "`a`: it must be an object or an array"),
        (r#"{"a": 5}"#, "`a`"),
        (r#"{"a": []}"#, "empty arrays"),
        (r#"{"detail": {"b": {}}}"#, "`detail.b`: empty objects"),
        (r#"{"a": [["x"]]}"#, "array must not stand"),
        (r#"{"a": [{}]}"#, "must not be empty"),
        (r#"{"a": [{"prefix": "x", "suffix": "y"}]}"#, "only one key"),
        (r#"{"detail": {"b": [{"pattern": "x"}]}}"#, "`detail.b`: unrecognized match type pattern"),
        (r#"{"a": [{"prefix": 5}]}"#, "prefix must be a string"),
        (r#"{"a": [{"prefix": ""}]}"#, "prefix must not be empty"),
        (r#"{"a": [{"prefix": {"suffix": "x"}}]}"#, "unsupported prefix pattern"),
        (r#"{"a": [{"suffix": ["x"]}]}"#, "suffix must be a string"),
        (r#"{"a": [{"exists": "true"}]}"#, "exists must be"),
        (r#"{"a": [{"anything-but": []}]}"#, "empty list"),
        (r#"{"a": [{"anything-but": [true]}]}"#, "anything-but must be"),
        (r#"{"a": [{"anything-but": null}]}"#, "anything-but must be"),
        (r#"{"a": [{"anything-but": {"numeric": ["=", 1]}}]}"#, "unsupported anything-but pattern"),
        (r#"{"a": [{"numeric": []}]}"#, "numeric must be"),
        (r#"{"a": [{"numeric": ["="]}]}"#, "numeric must be"),
        (r#"{"a": [{"numeric": ["!=", 5]}]}"#, "numeric must be"),
        (r#"{"a": [{"numeric": ["<", 5, ">", 0]}]}"#, "numeric must be"),
        (r#"{"a": [{"numeric": [">", 5, "<", 5]}]}"#, "bottom of a numeric range"),
        (r#"{"a": [{"numeric": ["=", 5000000001]}]}"#, "between"),
        (r#"{"a": [{"cidr": "10.0.0/24"}]}"#, "cidr must be"),
        (r#"{"a": [{"wildcard": "a**b"}]}"#, "consecutive"),
        (r#"{"a": [{"wildcard": "a\\b"}]}"#, "backslash"),
        (r#"{"$or": [{"a": ["x"]}]}"#, "two or more"),
        (r#"{"$or": {"a": ["x"]}}"#, "two or more"),
        (r#"{"$or": [{"a": ["x"]}, "y"]}"#, "two or more"),
        (&long, "4096"),
    ] {
        let error = Pattern::parse(text).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

/// Events and patterns over few names and values, so that they meet.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-2..3i64).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[xyz]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn pattern() -> impl Strategy<Value = Value> {
    let test = prop_oneof![
        (-2..3i64).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
        "[ab]{1,2}".prop_map(|text| json!({"prefix": text})),
        "[ab]{1,2}".prop_map(|text| json!({"suffix": text})),
        "[ab]{1,2}".prop_map(|text| json!({"anything-but": text})),
        "[ab][*][ab]?".prop_map(|text| json!({"wildcard": text})),
        any::<bool>().prop_map(|exists| json!({"exists": exists})),
        (-2..3i64).prop_map(|bound| json!({"numeric": [">", bound]})),
    ];
    let tests = prop::collection::vec(test, 1..3).prop_map(Value::from);
    let object = |inner: BoxedStrategy<Value>| {
        prop::collection::btree_map("[xyz]", inner, 1..3)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
            .boxed()
    };
    let tree = tests.prop_recursive(2, 8, 2, move |inner| object(inner.boxed()));
    let flat = prop::collection::btree_map("[xyz]", tree, 1..3)
        .prop_map(|members| Value::Object(members.into_iter().collect()));
    prop_oneof![flat.clone(), (flat.clone(), flat).prop_map(|(one, other)| json!({"$or": [one, other]})),]
}

/// The same event without some of its members.
fn without(event: &Value, name: &str) -> Value {
    match event {
        Value::Object(members) => {
            let mut members = members.clone();
            members.remove(name);
            Value::Object(members)
        }
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_part_never_rules_out_what_the_whole_matches(pattern in pattern(), event in value(), name in "[xyz]") {
        let read = Pattern::parse(&pattern.to_string()).expect("a pattern");
        if read.matches(&event) {
            prop_assert!(read.may_match(&event));
            prop_assert!(read.may_match(&without(&event, &name)));
        }
    }

    #[test]
    fn or_is_one_or_the_other(one in pattern(), other in pattern(), event in value()) {
        let read = |pattern: &Value| Pattern::parse(&pattern.to_string()).expect("a pattern");
        let both = read(&json!({"$or": [one, other]}));
        // Of a list an element has to be as one of them says, which is the same for a whole list.
        prop_assert_eq!(both.matches(&event), read(&one).matches(&event) || read(&other).matches(&event));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = Pattern::parse(&text);
    }
}
