use super::*;
use clap::Parser;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    layer: Layer,
}

fn layer(flags: &[&str]) -> Layer {
    Flags::try_parse_from([&["agent"], flags].concat()).expect("flags").layer
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("agent.toml");
    std::fs::write(&path, text).expect("written");
    (dir, path)
}

#[track_caller]
fn check_refused(flags: &[&str], toml: &str, expected: &str) {
    let (_dir, path) = file(toml);
    let error = Config::load(Some(&path), layer(flags), &[]).expect_err("refused").to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn defaults_are_usable() {
    let config = Config::from_layer(Layer::default()).expect("defaults");
    assert_eq!(config.stop_timeout, Duration::from_secs(30));
    assert_eq!(config.dependency_timeout, Duration::from_secs(3600));
    assert_eq!(config.dynamic_ports, PortRange { first: 30_000, last: 32_767 });
    assert_eq!(config.reserved_ports_tcp.len(), 5);
    assert_eq!(config.metadata_rate, Rate { per_second: 40, burst: 60 });
}

#[test]
fn flags_win_over_the_file() {
    let (_dir, path) = file("zone = 'b'\nstop_timeout = '5s'\ndynamic_ports = '2000-3000'\n[attributes]\nrack = '7'\n");
    let config =
        Config::load(Some(&path), layer(&["--zone", "a", "--reserved-ports-tcp", "22,80"]), &[]).expect("usable");
    assert_eq!(config.zone.as_deref(), Some("a"));
    assert_eq!(config.stop_timeout, Duration::from_secs(5));
    assert_eq!(config.dynamic_ports.last, 3000);
    assert_eq!(config.attributes["rack"], "7");
    assert_eq!(config.reserved_ports_tcp, BTreeSet::from([22, 80]));
    // The same by a flag and by a file, with what EFS recommends.
    let flag = Config::from_layer(layer(&["--efs", "fs-1=nas:/export,fs-2=[fd00::1]:/"])).expect("usable");
    let (_dir, path) = file("[efs.fs-1]\nserver = 'nas'\npath = '/export'\n[efs.fs-2]\nserver = 'fd00::1'\n");
    assert_eq!(Config::load(Some(&path), Layer::default(), &[]).expect("usable").efs, flag.efs);
    assert!(flag.efs["fs-1"].options.starts_with("nfsvers=4.1,"));
}

#[test]
fn faults_are_named_by_their_key() {
    check_refused(&[], "colour = 'red'", "unknown field `colour`");
    check_refused(&[], "dependency_timeout = '0s'", "dependency_timeout: must be longer than 0s");
    check_refused(&[], "room_timeout = '0s'", "room_timeout: must be longer than 0s");
    check_refused(&[], "metadata_rate = '40'", "`40` is not how often a second");
    check_refused(&[], "metadata_rate = '0,60'", "metadata_rate");
    check_refused(&[], "stop_timeout = 'soon'", "stop_timeout");
    check_refused(&[], "stop_timeout = '10ms'", "stop_timeout: must be at least 1s");
    check_refused(&[], "docker = 'tcp://x'", "docker: `tcp://x`");
    check_refused(&[], "control = 'nowhere'", "control: `nowhere` must be host:port");
    check_refused(&[], "cluster = 'a b'", "cluster: `a b` contains");
    check_refused(&[], "dynamic_ports = '9-5'", "dynamic_ports");
    check_refused(&[], "task_cgroup_parent = '../x'", "task_cgroup_parent");
    check_refused(&[], "data_dir = 'here'", "data_dir");
    check_refused(&[], "registry_auth_file = 'auth.json'", "registry_auth_file: `auth.json` must be an absolute path");
    check_refused(&[], "environment_file_dirs = ['/a', 'b']", "environment_file_dirs: `b` must be an absolute path");
    check_refused(&[], "environment_file_ca = 'ca.pem'", "environment_file_ca: `ca.pem` must be an absolute path");
    check_refused(&[], "efs = { 'fs 1' = { server = 'a' } }", "efs: `fs 1`: is no file system's id");
    check_refused(&[], "[efs.fs-1]\nserver = 'a/b'", "efs: `fs-1`: server must be a name or an address");
    check_refused(&[], "[efs.fs-1]\nserver = 'a'\npath = 'b'", "efs: `fs-1`: path must be an absolute path");
    check_refused(&[], "[efs.fs-1]\nserver = 'a'\noptions = 'ro,addr=b'", "efs: `fs-1`: options must be those");
    check_refused(&[], "[efs.fs-1]\nhost = 'a'", "unknown field `host`");
    check_refused(&[], "pull_timeout = '0s'", "pull_timeout");
    check_refused(&[], "disk_clean_until = 85", "disk_clean_until: 85 must be below disk_clean_above, which is 85");
    check_refused(&[], "disk_clean_above = 96", "disk_clean_above: 96 must not be above disk_refuse_above");
    check_refused(&[], "disk_refuse_above = 101", "disk_refuse_above: 101 must be a percentage");
    check_refused(&[], "log = '=='", "log");
    check_refused(&[], "underlay = 'a/b'", "underlay: `a/b` must be an address or the name of a link");
    check_refused(&[], "warm_sandboxes = 33", "warm_sandboxes: must be at most 32");
    check_refused(&[], "attributes = { 'a b' = 'c' }", "attributes: `a b`");
    check_refused(&[], &format!("attributes = {{ 'a' = '{}' }}", "x".repeat(129)), "attributes: the value of `a`");
    check_refused(&[], &format!("zone = '{}'", "x".repeat(129)), "zone: its value");
}

#[test]
fn a_misspelt_variable_is_refused() {
    let names = ["PATH", "LONGSHORE_AGENT_ZONE", "LONGSHORE_AGENT_TOKEN", "LONGSHORE_AGENT_CONFIG"];
    assert!(layer::refuse_unknown_variables(&names.map(String::from)).is_ok());
    let error = layer::refuse_unknown_variables(&["LONGSHORE_AGENT_ZOEN".into()]).expect_err("refused");
    assert!(error.to_string().contains("LONGSHORE_AGENT_ZOEN"));
}

#[test]
fn a_missing_file_is_an_error_only_when_it_was_named() {
    let error = Config::load(Some(Path::new("/nonexistent/agent.toml")), Layer::default(), &[]).expect_err("named");
    assert!(matches!(error, ConfigError::Read { .. }));
}

#[test]
fn what_asks_for_no_proof_stays_on_the_host() {
    let config = Config::from_layer(Layer::default()).expect("defaults");
    assert_eq!((config.introspection, config.metrics), ("127.0.0.1:51678".parse().ok(), None));
    let set = layer(&["--introspection", "off", "--metrics", "[::1]:9100"]);
    let config = Config::from_layer(set).expect("usable");
    assert_eq!((config.introspection, config.metrics), (None, "[::1]:9100".parse().ok()));
    for elsewhere in ["0.0.0.0:9100", "192.0.2.1:9100", "127.0.0.1:0", "127.0.0.1", "on"] {
        check_refused(&[], &format!("metrics = '{elsewhere}'"), "a loopback address and port");
    }
}
