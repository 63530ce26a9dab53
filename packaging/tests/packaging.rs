//! What is installed on a host is true: example configurations have every key, explained, with the defaults of
//! the code; units are sound; the installer puts everything where the units look, and takes it away again.

use longshore_agent::config as agent;
use longshore_control::config as control;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The commented-out entries of an example, each with an explanation above it: key to its line without the `#`.
fn entries(text: &str) -> BTreeMap<String, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut entries = BTreeMap::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(entry) = line.strip_prefix('#').filter(|e| e.starts_with(|c: char| c.is_ascii_lowercase())) else {
            assert!(line.is_empty() || line.starts_with("# "), "neither an entry, nor a comment: {line}");
            continue;
        };
        let (key, _) = entry.split_once(" = ").unwrap_or_else(|| panic!("no `key = value`: {line}"));
        assert!(number > 0 && lines[number - 1].starts_with("# "), "`{key}` has no explanation above it");
        assert!(entries.insert(key.to_owned(), entry.to_owned()).is_none(), "`{key}` stands twice");
    }
    entries
}

/// Keys whose value in the example is one, as they have no default.
const AGENT_EXAMPLES: [&str; 10] = [
    "control",
    "cluster",
    "token_file",
    "attributes",
    "zone",
    "registry_auth_file",
    "environment_file_dirs",
    "environment_file_ca",
    "efs",
    "underlay",
];

#[test]
fn the_agents_example_has_every_key_at_its_default() {
    let text = read("packaging/agent.toml");
    let entries = entries(&text);
    let command = <agent::Layer as clap::Args>::augment_args(clap::Command::new("agent"));
    let keys: BTreeSet<&str> = command.get_arguments().map(|a| a.get_id().as_str()).collect();
    assert_eq!(entries.keys().map(String::as_str).collect::<BTreeSet<_>>(), keys);

    let all: String = entries.values().map(|e| format!("{e}\n")).collect();
    let layer: agent::Layer = toml::from_str(&all).expect("every value has its key's type");
    agent::Config::from_layer(layer).expect("every value is accepted");

    let defaults = entries.iter().filter(|(key, _)| !AGENT_EXAMPLES.contains(&key.as_str()));
    let defaults: String = defaults.map(|(_, e)| format!("{e}\n")).collect();
    let layer: agent::Layer = toml::from_str(&defaults).expect("TOML");
    assert_eq!(
        agent::Config::from_layer(layer).expect("accepted"),
        agent::Config::from_layer(agent::Layer::default()).expect("the defaults are sound"),
    );
    for key in AGENT_EXAMPLES {
        let at = text.find(&format!("\n#{key} = ")).expect("there");
        assert!(text[..at].ends_with("Example."), "`{key}` has no default and must be called an example");
    }
}

#[test]
fn the_control_planes_example_is_the_one_the_code_makes() {
    let text = read("packaging/control.toml");
    assert!(
        text == control::example(),
        "packaging/control.toml is out of date; write it anew with `longshore-control config example`"
    );
    let entries = entries(&text);
    let keys: BTreeSet<&str> = control::KEYS.iter().map(|k| k.name).collect();
    assert_eq!(entries.keys().map(String::as_str).collect::<BTreeSet<_>>(), keys);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("control.toml");
    std::fs::write(&path, entries.values().map(|e| format!("{e}\n")).collect::<String>()).expect("written");
    control::Config::load(Some(&path), control::Flags::default()).expect("every value is accepted");
}

#[test]
fn units_name_the_directories_that_the_defaults_name() {
    let defaults = agent::Config::from_layer(agent::Layer::default()).expect("sound");
    let unit = read("systemd/longshore-agent.service");
    let state = value(&unit, "StateDirectory");
    assert_eq!(defaults.data_dir, Path::new("/var/lib").join(state));
    let runtime = value(&unit, "RuntimeDirectory");
    assert_eq!(defaults.status_socket.parent(), Some(Path::new("/run").join(runtime).as_path()));

    let unit = read("systemd/longshore-control.service");
    let default = control::KEYS.iter().find(|k| k.name == "data_dir").expect("a key").default;
    assert_eq!(default.trim_matches('"'), format!("/var/lib/{}", value(&unit, "StateDirectory")));
}

/// What gives a unit a mount namespace (systemd.exec(5)): a namespace pinned by the agent must be seen outside.
#[test]
fn the_agents_unit_shares_the_hosts_mounts() {
    let unit = read("systemd/longshore-agent.service");
    let settings = unit.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once('='));
    for (key, _) in settings {
        let isolates = ["Private", "Protect", "ReadOnlyPaths", "ReadWritePaths", "InaccessiblePaths", "BindPaths"];
        let isolates = isolates.iter().any(|prefix| key.starts_with(prefix));
        let root = ["RootDirectory", "TemporaryFileSystem", "MountFlags", "DynamicUser", "ProcSubset"].contains(&key);
        assert!(!isolates && !root, "{key}= gives the unit a mount namespace");
    }
    assert_eq!(value(&unit, "KillMode"), "process", "containers live on when the agent stops");
    assert_eq!(value(&unit, "Restart"), "always");
}

/// Docker's socket, addresses of both families, netlink, and ARP of the overlay `lan`.
#[test]
fn the_agents_unit_lets_it_have_every_socket_that_it_opens() {
    let unit = read("systemd/longshore-agent.service");
    let families: BTreeSet<&str> = value(&unit, "RestrictAddressFamilies").split(' ').collect();
    assert_eq!(families, BTreeSet::from(["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"]));
    assert!(value(&unit, "CapabilityBoundingSet").contains("CAP_NET_RAW"));
}

fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let found = unit.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {key}="))
}

/// A directory with stand-ins for the binaries.
fn binaries() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["longshore", "longshore-agent", "longshore-control"] {
        let path = directory.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\"\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    }
    directory
}

fn install(binaries: &Path, prefix: &Path, parts: &[&str]) -> Output {
    Command::new(root().join("packaging/install.sh"))
        .args(parts)
        .env("BIN", binaries)
        // With a DESTDIR nothing of this machine is touched; the units then name the prefix alone.
        .env("DESTDIR", prefix)
        .env("PREFIX", "/usr")
        .env("SYSCONFDIR", "/etc")
        .output()
        .expect("bash runs")
}

fn files(under: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories = vec![under.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("readable").flatten() {
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else {
                let path = entry.path();
                found.insert(path.strip_prefix(under).expect("below").display().to_string());
            }
        }
    }
    found
}

#[test]
fn everything_is_installed_and_taken_away() {
    let (binaries, target) = (binaries(), tempfile::tempdir().expect("a directory"));
    let out = install(binaries.path(), target.path(), &[]);
    assert!(out.status.success(), "{out:?}");
    let installed = files(target.path());
    for path in [
        "usr/bin/longshore",
        "usr/bin/longshore-agent",
        "usr/bin/longshore-control",
        "usr/lib/systemd/system/longshore-agent.service",
        "usr/lib/systemd/system/longshore-control.service",
        "usr/share/doc/longshore/install.md",
        "usr/share/doc/longshore/network-modes.md",
        "usr/share/doc/longshore/longshore.toml",
        "usr/share/bash-completion/completions/longshore",
        "etc/longshore/agent.toml",
        "etc/longshore/control.toml",
    ] {
        assert!(installed.contains(path), "{path} in {installed:#?}");
    }
    for name in ["agent", "control"] {
        let path = target.path().join(format!("usr/lib/systemd/system/longshore-{name}.service"));
        let unit = std::fs::read_to_string(path).expect("installed");
        assert!(unit.contains(&format!("ExecStart=/usr/bin/longshore-{name}")), "{unit}");
        assert!(!unit.contains('@') || !unit.contains("@BINDIR@"), "{unit}");
    }

    // An operator's configuration is never overwritten.
    let config = target.path().join("etc/longshore/agent.toml");
    std::fs::write(&config, "zone = \"mine\"\n").expect("written");
    assert!(install(binaries.path(), target.path(), &["agent"]).status.success());
    assert_eq!(std::fs::read_to_string(&config).expect("there"), "zone = \"mine\"\n");
    assert!(files(target.path()).contains("etc/longshore/agent.toml.example"));

    assert!(install(binaries.path(), target.path(), &["uninstall"]).status.success());
    let left = files(target.path());
    assert!(left.iter().all(|path| path.starts_with("etc/longshore/")), "{left:#?}");
}

#[test]
fn a_missing_binary_is_named_and_nothing_else_done() {
    let (empty, target) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let out = install(empty.path(), target.path(), &["agent"]);
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("longshore-agent; build it first"), "{out:?}");
    assert!(files(target.path()).is_empty());
    assert!(!install(empty.path(), target.path(), &["everything"]).status.success());
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let (binaries, target) = (binaries(), tempfile::tempdir().expect("a directory"));
    for name in ["longshore-agent", "longshore-control"] {
        // systemd looks for the binary, so here it is where the stand-ins are; and Docker may not be installed.
        let unit = read(&format!("systemd/{name}.service"))
            .replace("@BINDIR@", &binaries.path().display().to_string())
            .replace("@DOCDIR@", "/usr/share/doc/longshore");
        let path = target.path().join(format!("{name}.service"));
        std::fs::write(&path, unit).expect("written");
        let out = match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output() {
            Ok(out) => out,
            Err(error) => {
                eprintln!("skipped: systemd-analyze does not run here ({error})");
                return;
            }
        };
        let said = String::from_utf8_lossy(&out.stderr);
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("longshore")).collect();
        assert!(ours.is_empty(), "{ours:#?}");
    }
}
