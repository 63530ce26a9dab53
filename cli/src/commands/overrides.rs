//! What `longshore run` changes about a definition: command and environment of its containers. Pure.

use crate::fault::Fault;
use longshore_ecs_api::enums::{PlacementConstraintType, PlacementStrategyType};
use longshore_ecs_api::types::{ContainerOverride, KeyValuePair, PlacementConstraint, PlacementStrategy, TaskOverride};

/// Which container `--command`, `ARGS` and plain `--env` mean.
pub(super) enum Target<'a> {
    /// `--container` said so, or there is only one.
    Named(&'a str),
    /// One of these would have to be named.
    Unclear(Vec<&'a str>),
}

fn fault(argument: &'static str, value: &str, why: impl Into<String>) -> Fault {
    Fault::Argument { argument, value: value.to_owned(), why: why.into() }
}

/// A variable as it was typed: for which container, and its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variable {
    container: Option<String>,
    name: String,
    value: String,
}

/// `KEY=VALUE`, `CONTAINER:KEY=VALUE`; without `=` the value is taken from this process's environment, so that
/// a secret need not stand on a command line that others can list.
pub(super) fn variable(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Variable, Fault> {
    let (left, value) = match text.split_once('=') {
        Some((left, value)) => (left, Some(value.to_owned())),
        None => (text, None),
    };
    let (container, name) = match left.split_once(':') {
        Some((container, name)) => (Some(container.to_owned()), name),
        None => (None, left),
    };
    if name.is_empty() {
        // Not the text itself: what stands behind the `=` may be a secret.
        return Err(fault("--env", left, "a name is missing before the `=`"));
    }
    let value = match value {
        Some(value) => value,
        None => env(name)
            .ok_or_else(|| fault("--env", left, "without a value it is taken from the environment, which lacks it"))?,
    };
    Ok(Variable { container, name: name.to_owned(), value })
}

/// The overrides, or none when nothing is changed. `existing` are those of a request file.
pub(super) fn build(
    target: &Target<'_>,
    command: Option<Vec<String>>,
    variables: Vec<Variable>,
    existing: Option<TaskOverride>,
) -> Result<Option<TaskOverride>, Fault> {
    let plain = |argument: &'static str, value: &str| match target {
        Target::Named(name) => Ok((*name).to_owned()),
        Target::Unclear(names) => {
            Err(fault(argument, value, format!("say which container is meant with --container: {}", names.join(", "))))
        }
    };
    let mut overrides = existing.unwrap_or_default();
    let mut containers = overrides.container_overrides.take().unwrap_or_default();
    fn of(containers: &mut Vec<ContainerOverride>, name: String) -> &mut ContainerOverride {
        let at = containers.iter().position(|c| c.name.as_deref() == Some(&name)).unwrap_or_else(|| {
            containers.push(ContainerOverride { name: Some(name), ..ContainerOverride::default() });
            containers.len() - 1
        });
        &mut containers[at]
    }
    if let Some(command) = command {
        let name = plain("command", command.first().map_or("", String::as_str))?;
        of(&mut containers, name).command = Some(command);
    }
    for variable in variables {
        let name = match variable.container {
            Some(container) => container,
            None => plain("--env", &variable.name)?,
        };
        let environment = of(&mut containers, name).environment.get_or_insert_default();
        environment.retain(|pair| pair.name.as_deref() != Some(&variable.name));
        environment.push(KeyValuePair { name: Some(variable.name), value: Some(variable.value) });
    }
    if !containers.is_empty() {
        overrides.container_overrides = Some(containers);
    }
    Ok((overrides != TaskOverride::default()).then_some(overrides))
}

/// Splits a text at blanks as a shell does: single and double quotes and backslashes are honoured, nothing is
/// expanded.
pub(super) fn words(text: &str) -> Result<Vec<String>, Fault> {
    // Only the first word is repeated in an error: the others may be secrets.
    let first = text.split_whitespace().next().unwrap_or_default();
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                let escaped = chars.next().ok_or_else(|| fault("--command", first, "it ends in a backslash"))?;
                word.get_or_insert_default().push(escaped);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None | Some(_), c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(fault("--command", first, "a quote is not closed"));
    }
    words.extend(word);
    if words.is_empty() { Err(fault("--command", first, "it is empty")) } else { Ok(words) }
}

/// `distinctInstance`, or a cluster query expression with or without `memberOf:` before it.
pub(super) fn constraint(text: &str) -> PlacementConstraint {
    if text == "distinctInstance" {
        return PlacementConstraint { r#type: Some(PlacementConstraintType::DistinctInstance), expression: None };
    }
    let expression = text.strip_prefix("memberOf:").unwrap_or(text).trim().to_owned();
    PlacementConstraint { r#type: Some(PlacementConstraintType::MemberOf), expression: Some(expression) }
}

/// `random`, `spread:FIELD`, `binpack:FIELD`.
pub(super) fn strategy(text: &str) -> Result<PlacementStrategy, Fault> {
    let (kind, field) = match text.split_once(':') {
        Some((kind, field)) => (kind, Some(field.to_owned()).filter(|f| !f.is_empty())),
        None => (text, None),
    };
    let r#type = match (kind, &field) {
        ("random", None) => PlacementStrategyType::Random,
        ("spread", Some(_)) => PlacementStrategyType::Spread,
        ("binpack", Some(_)) => PlacementStrategyType::Binpack,
        (_, _) => {
            let why = "it must be random, spread:FIELD (instanceId, attribute:NAME), binpack:cpu or binpack:memory";
            return Err(fault("--strategy", text, why));
        }
    };
    Ok(PlacementStrategy { r#type: Some(r#type), field })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_as_a_shell_would() {
        for (text, expected) in [
            ("sleep 60", vec!["sleep", "60"]),
            ("sh -c 'echo \"a b\"; exit 3'", vec!["sh", "-c", "echo \"a b\"; exit 3"]),
            (r#"a "b \" c" d\ e '' "#, vec!["a", "b \" c", "d e", ""]),
        ] {
            assert_eq!(words(text).expect(text), expected);
        }
        for text in ["", "  ", "'open", "end\\"] {
            assert!(words(text).is_err(), "{text}");
        }
    }

    #[test]
    fn variables_are_typed_in_three_ways() {
        let env = |name: &str| (name == "TOKEN").then(|| "from-env".to_owned());
        let check = |text: &str, container: Option<&str>, name: &str, value: &str| {
            let expected =
                Variable { container: container.map(str::to_owned), name: name.to_owned(), value: value.to_owned() };
            assert_eq!(variable(text, &env).expect(text), expected);
        };
        check("A=b=c:d", None, "A", "b=c:d");
        check("side:A=b", Some("side"), "A", "b");
        check("TOKEN", None, "TOKEN", "from-env");
        check("A=", None, "A", "");
        assert!(variable("NOPE", &env).is_err());
        let text = variable("=hunter2", &env).expect_err("refused").to_string();
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn what_is_typed_comes_over_what_the_file_says() {
        let existing = TaskOverride {
            cpu: Some("128".to_owned()),
            container_overrides: Some(vec![ContainerOverride {
                name: Some("web".to_owned()),
                environment: Some(vec![KeyValuePair { name: Some("A".to_owned()), value: Some("old".to_owned()) }]),
                ..ContainerOverride::default()
            }]),
            ..TaskOverride::default()
        };
        let typed = vec![variable("A=new", &|_| None).expect("fine")];
        let built = build(&Target::Named("web"), Some(vec!["x".to_owned()]), typed, Some(existing))
            .expect("fine")
            .expect("some");
        assert_eq!(built.cpu.as_deref(), Some("128"));
        let containers = built.container_overrides.expect("containers");
        assert_eq!(containers.len(), 1);
        assert_eq!(containers[0].command.as_deref(), Some(["x".to_owned()].as_slice()));
        assert_eq!(containers[0].environment.as_ref().map(|e| e[0].value.as_deref()), Some(Some("new")));
    }

    #[test]
    fn an_unclear_container_is_asked_for() {
        let unclear = Target::Unclear(vec!["a", "b"]);
        let text = build(&unclear, Some(vec!["x".to_owned()]), vec![], None).expect_err("refused").to_string();
        assert!(text.contains("--container: a, b"), "{text}");
        let named = vec![variable("a:K=v", &|_| None).expect("fine")];
        assert!(build(&unclear, None, named, None).expect("fine").is_some());
        assert!(build(&unclear, None, vec![], None).expect("fine").is_none());
    }

    #[test]
    fn strategies_and_constraints() {
        assert!(strategy("spread:instanceId").is_ok() && strategy("random").is_ok());
        for text in ["spread", "binpack:", "random:x", "best"] {
            assert!(strategy(text).is_err(), "{text}");
        }
        assert_eq!(constraint("distinctInstance").expression, None);
        assert_eq!(constraint("memberOf: attribute:zone == a").expression.as_deref(), Some("attribute:zone == a"));
    }
}
