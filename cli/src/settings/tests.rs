//! Each source of a setting, and who wins.

use super::*;
use std::collections::HashMap;

struct World {
    dir: tempfile::TempDir,
    env: HashMap<String, String>,
    flags: GlobalArgs,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let env = [
            ("HOME", dir.path().display().to_string()),
            ("AWS_ACCESS_KEY_ID", "AKENV".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "SECRETENV".to_owned()),
            ("AWS_REGION", "lab".to_owned()),
        ];
        Self { dir, env: env.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(), flags: GlobalArgs::default() }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        std::fs::write(path, text).expect("write");
        self
    }

    fn settings(&self) -> Result<Settings, SettingsError> {
        Settings::resolve(&self.flags, &|name| self.env.get(name).cloned())
    }

    fn endpoint(&self) -> String {
        self.settings().expect("settings").endpoint.value
    }

    fn fault(&self) -> String {
        let error = self.settings().expect_err("refused");
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}

#[test]
fn the_first_that_says_something_wins() {
    let mut world = World::new();
    assert_eq!(world.endpoint(), DEFAULT_ENDPOINT);
    world = world
        .file(".aws/config", "[default]\nendpoint_url = http://profile:1\n[profile r]\nendpoint_url = http://r:1\n");
    assert_eq!(world.endpoint(), "http://profile:1");
    world = world.file(".config/longshore/config.toml", "endpoint_url = \"http://file:1/\"\n");
    assert_eq!(world.endpoint(), "http://file:1");
    world = world.env("AWS_PROFILE", "r");
    assert_eq!(world.endpoint(), "http://r:1", "a profile chosen by name comes before the file");
    world = world.env("AWS_ENDPOINT_URL", "http://general:1");
    assert_eq!(world.endpoint(), "http://general:1");
    world = world.env("AWS_ENDPOINT_URL_ECS", "http://ecs:1");
    assert_eq!(world.endpoint(), "http://ecs:1");
    world = world.env("LONGSHORE_ENDPOINT_URL", "http://own:1");
    assert_eq!(world.endpoint(), "http://own:1");
    world.flags.endpoint_url = Some("http://flag:1".to_owned());
    assert_eq!(world.endpoint(), "http://flag:1");
}

#[test]
fn configured_endpoints_can_be_ignored() {
    let world = World::new()
        .env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
        .env("AWS_ENDPOINT_URL", "http://general:1")
        .file(".aws/config", "[default]\nendpoint_url = http://profile:1\n");
    assert_eq!(world.endpoint(), DEFAULT_ENDPOINT);
}

#[test]
fn a_profile_flag_puts_its_keys_first() {
    let mut world = World::new()
        .file(".aws/credentials", "[r]\naws_access_key_id = AKFILE\naws_secret_access_key = S\n")
        .env("AWS_PROFILE", "r");
    assert_eq!(world.settings().expect("settings").keys.id, "AKENV");
    world.flags.profile = Some("r".to_owned());
    assert_eq!(world.settings().expect("settings").keys.id, "AKFILE");
}

#[test]
fn faults_name_what_is_wrong_and_where() {
    for (variable, value, expected) in [
        ("AWS_ENDPOINT_URL", "control:7420", "AWS_ENDPOINT_URL"),
        ("AWS_ENDPOINT_URL", "http://control/api", "no path"),
        ("AWS_REGION", "a b", "AWS_REGION"),
        ("LONGSHORE_OUTPUT", "yaml", "`table` or `json`"),
        ("LONGSHORE_TIMEOUT_SECS", "0", "LONGSHORE_TIMEOUT_SECS"),
        ("LONGSHORE_WAIT_SECS", "soon", "LONGSHORE_WAIT_SECS"),
        ("AWS_PROFILE", "nobody", "nobody"),
        ("LONGSHORE_CONFIG", "/nonexistent/longshore.toml", "/nonexistent/longshore.toml"),
        ("AWS_SECRET_ACCESS_KEY", "", "AWS_SECRET_ACCESS_KEY"),
    ] {
        let text = World::new().env(variable, value).fault();
        assert!(text.contains(expected), "{variable}={value}: {text}");
    }
    let text = World::new().file(".config/longshore/config.toml", "endpoint = \"http://x\"\n").fault();
    assert!(text.contains("unknown field `endpoint`") && text.contains("config.toml"), "{text}");
    let text = World::new().env("AWS_REGION", "").fault();
    assert!(text.contains("no region"), "{text}");
    let text = World::new().env("AWS_ACCESS_KEY_ID", "").env("AWS_SECRET_ACCESS_KEY", "").fault();
    assert!(text.contains("root-credentials"), "{text}");
}

#[test]
fn proxies_are_chosen_as_the_aws_tools_choose() {
    let proxy = |endpoint: &str, variables: &[(&str, &str)]| {
        let mut world = World::new().env("AWS_ENDPOINT_URL", endpoint);
        for (name, value) in variables {
            world = world.env(name, value);
        }
        world.settings().expect("settings").proxy.map(|p| p.url)
    };
    let both = [("HTTP_PROXY", "http://plain:1"), ("https_proxy", "http://tls:1")];
    assert_eq!(proxy("http://control:7420", &both).as_deref(), Some("http://plain:1"));
    assert_eq!(proxy("https://control", &both).as_deref(), Some("http://tls:1"));
    assert_eq!(proxy("https://control", &both[..1]), None);
    for endpoint in ["http://127.0.0.1:7420", "http://localhost:1", "http://[::1]:7420"] {
        assert_eq!(proxy(endpoint, &both), None, "{endpoint}");
    }
    for list in ["*", "other, rack.example", ".rack.example", "*.example", "c.rack.example"] {
        assert_eq!(proxy("http://c.rack.example:1", &[both[0], ("NO_PROXY", list)]), None, "{list}");
    }
    assert_eq!(proxy("http://10.99.0.2:1", &[both[0], ("NO_PROXY", "10.99.0.0/24")]), None);
    assert!(proxy("http://10.98.0.2:1", &[both[0], ("NO_PROXY", "10.99.0.0/24")]).is_some());
    for list in ["ack.example", "rack", ""] {
        assert!(proxy("http://c.rack.example:1", &[both[0], ("no_proxy", list)]).is_some(), "{list}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let settings = World::new().settings().expect("settings");
    assert!(!format!("{settings:?}").contains("SECRETENV"));
}

/// Every key stands in the shipped example with a comment above it, and the example parses when uncommented.
#[test]
fn the_shipped_example_explains_every_key() {
    let example = include_str!("../../../packaging/longshore.toml");
    let lines: Vec<&str> = example.lines().collect();
    let mut uncommented = String::new();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let entry = line.strip_prefix('#').unwrap_or(line);
        let Some((key, _)) = entry.split_once(" = ") else { continue };
        if !key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            continue;
        }
        assert!(number > 0 && lines[number - 1].starts_with("# "), "`{key}` has no explanation above it");
        found.push(key.to_owned());
        uncommented.push_str(entry);
        uncommented.push('\n');
    }
    let parsed: File = toml::from_str(&uncommented).expect("the example's values are valid");
    found.sort();
    assert_eq!(
        found,
        ["ca_bundle", "cluster", "endpoint_url", "output", "profile", "region", "timeout_secs", "wait_secs"]
    );
    let File { endpoint_url, region, profile, cluster, output, ca_bundle, timeout_secs, wait_secs } = parsed;
    assert!(endpoint_url.is_some() && region.is_some() && profile.is_some() && cluster.is_some());
    assert!(output.is_some() && ca_bundle.is_some() && timeout_secs.is_some() && wait_secs.is_some());
}
