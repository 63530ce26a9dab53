//! Cases of the query language: what holds, what is refused and with which words, and that nothing panics.

use super::{Expression, QueryError};
use crate::attributes::Attributes;
use crate::claim::Claim;
use crate::host::{Held, Host, HostStatus, Offer, Usage};
use longshore_model::{Attribute, InstanceId, Timestamp};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use std::sync::Arc;

fn attribute(name: &str, value: Option<&str>) -> Attribute {
    Attribute { name: name.to_owned(), value: value.map(str::to_owned) }
}

/// Registered 2018-06-18T22:28:28Z, runs three tasks of two groups.
fn host() -> Host {
    let mut usage = Usage::default();
    let claim = Claim::default();
    for group in ["service:production", "service:production", "family:db"] {
        usage.take(Held { claim: &claim, gpu_ids: &[], group });
    }
    Host {
        id: InstanceId::from_bytes([7; 16]),
        status: HostStatus::Active,
        connected: true,
        offer: Arc::new(Offer {
            attributes: [
                attribute("ecs.instance-type", Some("g2.2xlarge")),
                attribute("ecs.availability-zone", Some("us-east-1a")),
                attribute("ecs.capability.privileged", None),
                attribute("slots", Some("10")),
                attribute("stack", Some("prod east")),
                attribute("path", Some(r"a/b\c:d@e")),
            ]
            .into_iter()
            .collect::<Attributes>()
            .into(),
            hostname: "i-abcd1234".to_owned(),
            agent_version: "1.14.5".to_owned(),
            registered_at: Timestamp::from_millis(1_529_360_908_000),
            ..Offer::default()
        }),
        usage,
        running_tasks: 2,
        pending_tasks: 1,
        interfaces: 0,
        disk: None,
    }
}

#[test]
fn expressions_select_hosts() {
    let host = host();
    let cases = [
        // AWS's own examples.
        ("attribute:ecs.instance-type == t2.small", false),
        ("attribute:ecs.availability-zone in [us-east-1a, us-east-1b]", true),
        ("attribute:ecs.instance-type =~ g2.* and attribute:ecs.availability-zone != us-east-1d", true),
        ("task:group == service:production", true),
        ("not(task:group == database)", true),
        ("runningTasksCount == 1", false),
        ("agentVersion < 1.14.5", false),
        ("registeredAt < 2018-02-13", false),
        ("ec2InstanceId in ['i-abcd1234', 'i-wxyx7890']", true),
        // Every operator, in both forms.
        ("attribute:slots == 10", true),
        ("attribute:slots equals 10", true),
        ("attribute:slots == 10.0", false),
        ("attribute:slots != 10", false),
        ("attribute:slots not_equals 11", true),
        ("attribute:slots > 9", true),
        ("attribute:slots greater_than 10", false),
        ("attribute:slots >= 10.0", true),
        ("attribute:slots greater_than_equal 11", false),
        ("attribute:slots < 9", false),
        ("attribute:slots less_than 100", true),
        ("attribute:slots <= 10", true),
        ("attribute:slots less_than_equal 9", false),
        ("attribute:slots < nan", true),
        ("attribute:slots exists", true),
        ("attribute:nothing exists", false),
        ("attribute:slots !exists", false),
        ("attribute:nothing not_exists", true),
        ("attribute:nothing ! exists", true),
        ("attribute:slots in [9, 10]", true),
        ("attribute:slots !in [9, 10]", false),
        ("attribute:slots not_in [9]", true),
        ("attribute:ecs.instance-type matches g2.2.*", true),
        ("attribute:ecs.instance-type !~ g2.*", false),
        ("attribute:ecs.instance-type not_matches t2.*", true),
        // A pattern is about the whole value.
        ("attribute:ecs.instance-type =~ g2", false),
        ("attribute:ecs.instance-type =~ (g2|g3)[.]2xlarge", true),
        ("(attribute:ecs.instance-type =~ (g2|g3)[.]2xlarge)", true),
        (r"attribute:ecs.instance-type =~ g2\.\w+", true),
        ("attribute:stack =~ 'prod .*'", true),
        // A capability has no value and exists; what is absent differs from everything.
        ("attribute:ecs.capability.privileged exists", true),
        ("attribute:ecs.capability.privileged == x", false),
        ("attribute:ecs.capability.privileged == ''", true),
        ("attribute:nothing == ''", false),
        ("attribute:nothing != a", true),
        ("attribute:nothing !in [a]", true),
        ("attribute:nothing !~ .*", true),
        ("attribute:nothing < 5", false),
        ("attribute:nothing >= 5", false),
        // Quotes and odd characters.
        ("attribute:stack == 'prod east'", true),
        ("attribute:stack == \"prod east\"", true),
        (r"attribute:path == a/b\c:d@e", true),
        ("attribute:stack == and", false),
        // Numbers, versions, times, flags.
        ("runningTasksCount == 2", true),
        ("runningTasksCount < 3 and runningTasksCount >= 2", true),
        ("agentVersion == 1.14.5", true),
        ("agentVersion > 1.9.9", true),
        ("agentVersion < 1.14.10", true),
        ("agentVersion >= 1.14", true),
        ("agentVersion == v1.14.5.0-rc1", true),
        ("agentVersion != 1.14.5", false),
        ("registeredAt >= 2018-06-18", true),
        ("registeredAt == 2018-06-18T22:28:28", true),
        ("registeredAt == 2018-06-18T22:28:28Z", true),
        ("registeredAt == 2018-06-19T00:28:28+02:00", true),
        ("registeredAt > 2018-06-18T22:28:28+00:00", false),
        ("agentConnected == true", true),
        ("agentConnected != true", false),
        ("agentConnected in [false]", false),
        ("agentConnected =~ t.*", true),
        // Groups: any for the positive, none for the opposite.
        ("task:group != service:production", false),
        ("task:group != web", true),
        ("task:group in [web, family:db]", true),
        ("task:group !in [web, family:db]", false),
        ("task:group =~ service:.*", true),
        ("task:group !~ service:.*", false),
        ("task:group exists", true),
        ("task:group !exists", false),
        // not, and, or.
        ("attribute:slots == 1 or attribute:slots == 10 and agentConnected == true", true),
        ("(attribute:slots == 1 or attribute:slots == 10) and agentConnected == false", false),
        ("attribute:slots == 10 or agentConnected == false and agentConnected == false", true),
        ("attribute:slots == 1 || !(agentConnected == false) && runningTasksCount > 0", true),
        ("not attribute:slots == 1 and agentConnected == true", true),
        ("not not attribute:slots == 10", true),
        ("!!attribute:slots == 10", true),
        ("NOT attribute:slots == 1 AND agentConnected == TRUE", true),
        ("((attribute:slots==10))", true),
        ("attribute:slots==10&&agentConnected==true", true),
    ];
    for (text, holds) in cases {
        let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(expression.matches(&host), holds, "{text}");
        let printed = expression.to_string();
        let again = Expression::parse(&printed).unwrap_or_else(|error| panic!("{text} printed as {printed}: {error}"));
        assert_eq!(again, expression, "{text} printed as {printed}");
    }
}

#[test]
fn a_host_without_a_readable_version_only_differs() {
    let mut host = host();
    host.offer = Arc::new(Offer { agent_version: String::new(), ..Offer::default() });
    let holds = |text: &str| Expression::parse(text).expect("parses").matches(&host);
    assert!(holds("agentVersion != 1.0"));
    assert!(!holds("agentVersion == 1.0") && !holds("agentVersion < 1.0") && !holds("agentVersion >= 1.0"));
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("", "at character 1: expected a subject (agentConnected,"),
        ("   ", "at character 4: expected a subject"),
        ("attribute:", "at character 1: expected a subject"),
        (
            "colour == red",
            "at character 1: expected a subject (agentConnected, agentVersion, attribute:NAME, ec2InstanceId, \
                           registeredAt, runningTasksCount, task:group), `not` or `(`, found `colour`",
        ),
        ("'attribute:a' == b", "at character 1: expected a subject"),
        ("attribute:a", "at character 12: expected an operator (==, !=, >,"),
        ("attribute:a is b", "at character 13: expected an operator"),
        (
            "attribute:a = b",
            "at character 13: expected a subject, an operator, an argument or a parenthesis, found `=`",
        ),
        ("attribute:a ! b", "at character 15: expected `in` or `exists` after `!`, found `b`"),
        ("attribute:a ==", "at character 15: expected an argument, found the end"),
        ("attribute:a == (b)", "at character 16: expected an argument, found `(`"),
        ("attribute:a in b", "at character 16: expected `[` and a list of arguments, found `b`"),
        ("attribute:a in []", "at character 17: expected an argument of the list, found `]`"),
        ("attribute:a in [b c]", "at character 19: expected `,` or `]`, found `c`"),
        ("attribute:a in [b,", "at character 19: expected an argument of the list, found the end"),
        ("attribute:a == b attribute:c == d", "at character 18: expected `and`, `or` or the end, found `attribute:c`"),
        ("attribute:a == b and", "at character 21: expected a subject"),
        ("(attribute:a == b", "at character 18: expected `and`, `or` or `)`, found the end"),
        ("attribute:a == b)", "at character 17: expected `and`, `or` or the end, found `)`"),
        ("attribute:a == 'b", "at character 16: the quote is not closed"),
        ("attribute:a =~", "at character 15: expected a pattern, found the end"),
        ("attribute:a =~ )", "at character 16: expected a pattern, found `)`"),
        ("attribute:a =~ [", "at character 16: the pattern `[` is not usable: unclosed character class"),
        ("attribute:a =~ (?=b)", "at character 16: the pattern `(?=b)` is not usable: look-around"),
        ("attribute:a =~ 'a)(b'", "at character 16: the pattern `a)(b` is not usable: unopened group"),
        ("attribute:a =~ (a{1000}){1000}", "at character 16: the pattern `(a{1000}){1000}` is not usable: "),
        (
            "agentVersion in [1.2]",
            "at character 14: `agentVersion` cannot be used with `in`; it takes ==, !=, >, >=, <, <=",
        ),
        ("runningTasksCount exists", "`runningTasksCount` cannot be used with `exists`"),
        ("agentConnected > true", "`agentConnected` cannot be used with `>`; it takes ==, !=, in, !in, =~, !~"),
        ("task:group < a", "`task:group` cannot be used with `<`"),
        ("agentConnected == yes", "at character 19: `yes` is not `true` or `false`, as `agentConnected` needs"),
        ("agentVersion == new", "`new` is not a version such as 1.14.5"),
        ("registeredAt < yesterday", "`yesterday` is not a date such as 2018-06-18"),
        ("runningTasksCount == -1", "`-1` is not a whole number"),
        (
            "attribute:ä == b | c",
            "at character 18: expected a subject, an operator, an argument or a parenthesis, found `|`",
        ),
    ];
    for (text, wanted) in cases {
        match Expression::parse(text) {
            Ok(expression) => panic!("{text} is {expression}"),
            Err(error) => assert!(error.to_string().contains(wanted), "{text}: {error}"),
        }
    }
}

#[test]
fn size_and_depth_are_limited() {
    let long = format!("attribute:a == {}", "b".repeat(2000));
    assert_eq!(Expression::parse(&long), Err(QueryError::TooLong { chars: 2015, max: 2000 }));
    let deep = |n: usize| format!("{}attribute:a == b{}", "(".repeat(n), ")".repeat(n));
    assert!(Expression::parse(&deep(64)).is_ok());
    assert_eq!(Expression::parse(&deep(65)), Err(QueryError::TooDeep { at: 65, max: 64 }));
    assert!(Expression::parse(&format!("{}attribute:a == b", "!".repeat(1900))).is_err());
    // Side by side there is no such limit.
    let wide = vec!["attribute:a == b"; 95].join(" or ");
    assert!(Expression::parse(&wide).is_ok());
}

/// Text that looks enough like an expression to get past the first token.
fn scraps() -> impl Strategy<Value = String> {
    let scrap = prop_oneof![
        Just("attribute:a".to_owned()),
        Just("attribute:stack".to_owned()),
        Just("agentVersion".to_owned()),
        Just("agentConnected".to_owned()),
        Just("runningTasksCount".to_owned()),
        Just("registeredAt".to_owned()),
        Just("task:group".to_owned()),
        Just("ec2InstanceId".to_owned()),
        "(==|!=|<=|>=|<|>|=~|!~|in|!in|exists|!exists|not_in|matches|equals)",
        "(and|or|not|&&|\\|\\||!)",
        "[()\\[\\],'\"]",
        "[a-z0-9.*+?{}^$|\\\\-]{0,6}",
        "(true|1\\.2|2018-06-18|7|x y)",
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(scrap, 0..14).prop_map(|scraps| scraps.join(" "))
}

/// Expressions that parse.
fn expressions() -> impl Strategy<Value = String> {
    let argument = prop_oneof!["[a-z0-9.:@/-]{1,6}", "'[a-z \"()!=]{0,6}'", "\"[a-z ',\\[]{0,6}\""];
    let pattern = prop_oneof!["[a-z.]{1,4}[*]?", "\\([a-z]\\|[b-y]{1,3}\\)", "'[a-z |]{1,4}'", "[a-z]['\"]{1,3}"];
    let subject =
        || prop_oneof![Just("attribute:a"), Just("attribute:stack"), Just("task:group"), Just("ec2InstanceId")];
    let test = prop_oneof![
        (subject(), prop_oneof![Just("=="), Just("!="), Just("equals")], argument.clone())
            .prop_map(|(subject, operator, argument)| format!("{subject} {operator} {argument}")),
        (subject(), prop_oneof![Just("in"), Just("!in")], proptest::collection::vec(argument, 1..4))
            .prop_map(|(subject, operator, list)| format!("{subject} {operator} [{}]", list.join(","))),
        (subject(), prop_oneof![Just("=~"), Just("!~")], pattern)
            .prop_map(|(subject, operator, pattern)| format!("{subject} {operator} {pattern}")),
        (0..9_u64).prop_map(|count| format!("runningTasksCount >= {count}")),
        "[0-9]\\.[0-9]{1,2}(-rc)?".prop_map(|version| format!("agentVersion < {version}")),
        Just("attribute:slots !exists".to_owned()),
        Just("agentConnected == TRUE".to_owned()),
        Just("registeredAt > 2018-06-18T10:00:00+02:00".to_owned()),
    ];
    test.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join(" and "))),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join(" || "))),
            inner.clone().prop_map(|part| format!("not {part}")),
            inner.prop_map(|part| format!("!({part})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_what_parses_prints_as_itself(text in prop_oneof![scraps(), any::<String>()]) {
        if let Ok(expression) = Expression::parse(&text) {
            let _selected: bool = expression.matches(&host());
            prop_assert_eq!(Expression::parse(&expression.to_string()), Ok(expression));
        }
    }

    #[test]
    fn expressions_print_as_themselves_and_mean_the_same(text in expressions()) {
        let expression = Expression::parse(&text).expect("parses");
        let printed = expression.to_string();
        let again = Expression::parse(&printed);
        prop_assert_eq!(again.as_ref(), Ok(&expression), "{}", printed);
        prop_assert_eq!(again.expect("as above").matches(&host()), expression.matches(&host()));
    }

    #[test]
    fn not_is_the_opposite(text in expressions()) {
        let expression = Expression::parse(&text).expect("parses");
        let opposite = Expression::parse(&format!("not ({text})")).expect("parses");
        prop_assert_eq!(opposite.matches(&host()), !expression.matches(&host()));
    }
}
