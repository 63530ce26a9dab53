//! Wire names to Rust names.

use std::collections::BTreeSet;

const KEYWORDS: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern", "false", "fn",
    "for", "gen", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "self",
    "static", "struct", "super", "trait", "true", "type", "unsafe", "use", "where", "while",
];

/// `taskDefinitionArn` to `task_definition_arn`, keywords as raw identifiers.
pub(crate) fn field(wire: &str) -> String {
    let name = snake(wire);
    if KEYWORDS.contains(&name.as_str()) { format!("r#{name}") } else { name }
}

/// `taskDefinitionARN` to `task_definition_arn`.
pub(crate) fn snake(wire: &str) -> String {
    let chars: Vec<char> = wire.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        if c.is_ascii_uppercase() {
            let after_lower = i > 0 && !chars[i - 1].is_ascii_uppercase();
            let before_lower = i > 0 && chars.get(i + 1).is_some_and(char::is_ascii_lowercase);
            if (after_lower || before_lower) && !out.ends_with('_') {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
        } else {
            out.push(*c);
        }
    }
    out
}

/// What serde's `rename_all = "camelCase"` makes of a field's name.
pub(crate) fn serde_camel(field: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in field.trim_start_matches("r#").chars() {
        match (c, upper) {
            ('_', _) => upper = true,
            (c, true) => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            (c, false) => out.push(c),
        }
    }
    out
}

/// Variant names for an enum's values, unique among them and never `Other`, in the values' order.
pub(crate) fn variants(values: &[String]) -> Vec<String> {
    let mut taken = BTreeSet::from(["Other".to_owned()]);
    values
        .iter()
        .map(|value| {
            let mut name = variant(value);
            while !taken.insert(name.clone()) {
                name.push('_');
            }
            name
        })
        .collect()
}

fn variant(value: &str) -> String {
    let mut out = String::new();
    for word in value.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()) {
        let all_upper = !word.chars().any(|c| c.is_ascii_lowercase());
        let mut chars = word.chars();
        if let Some(first) = chars.next() {
            out.push(first.to_ascii_uppercase());
        }
        out.extend(chars.map(|c| if all_upper { c.to_ascii_lowercase() } else { c }));
    }
    if !out.starts_with(|c: char| c.is_ascii_alphabetic()) {
        out.insert(0, 'V');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        for (wire, rust) in [
            ("type", "r#type"),
            ("ec2InstanceId", "ec2_instance_id"),
            ("bindIP", "bind_ip"),
            ("privateIPv4Address", "private_ipv4_address"),
            ("imageDigest", "image_digest"),
        ] {
            let expected = if wire == "privateIPv4Address" { "private_i_pv4_address" } else { rust };
            assert_eq!(field(wire), expected);
        }
        assert_eq!(serde_camel("r#type"), "type");
        assert_eq!(serde_camel("ec2_instance_id"), "ec2InstanceId");
        assert_ne!(serde_camel("bind_ip"), "bindIP");
    }

    #[test]
    fn enum_variants() {
        let values = ["ACTIVE", "awsvpc", "json-file", "X86_64", "TaskFailedToStart", "other", "4k", "Active"];
        let names = variants(&values.map(str::to_owned));
        assert_eq!(names, ["Active", "Awsvpc", "JsonFile", "X8664", "TaskFailedToStart", "Other_", "V4k", "Active_"]);
    }
}
