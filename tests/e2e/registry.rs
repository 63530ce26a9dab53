//! Private registries: secrets that hold their credentials, tasks that name such a secret, and registries that stall,
//! break off and fail in between, whether they are shown a secret's credentials or the host's.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;

use longshore_tests::lab::registry::{FaultyRegistry, RegistryFault};
use longshore_tests::lab::{Agent, ApiError, Lab, Node, wait_until};
use serde_json::{Value, json};

use super::fields::{docker, exec, idle, stop};
use super::images::{REGISTRY, push_as, start_registry, write_private};
use super::support::*;

/// A way to the registry that breaks.
const BROKEN: &str = "127.0.0.1:5001";

fn secrets(lab: &Lab, op: &str, args: Value) -> Result<Value, ApiError> {
    lab.call("secretsmanager", op, args).unwrap()
}

/// What `aws secretsmanager` prints.
fn aws(lab: &Lab, args: &[&str]) -> String {
    let output = lab.aws(&[&["secretsmanager"], args].concat()).unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}{}", out.trim(), err.trim())
}

#[test]
fn secrets_are_kept_as_clients_of_secrets_manager_expect_and_the_store_shows_none() {
    let lab = api_lab();
    let made = aws(
        &lab,
        &["create-secret", "--name", "app/one", "--secret-string", "hush-one", "--query", "ARN", "--output", "text"],
    );
    assert!(made.starts_with("arn:aws:secretsmanager:eu-lab-1:111122223333:secret:app/one-"), "{made}");
    let value = |id: &str, more: &[&str]| {
        let args = ["get-secret-value", "--secret-id", id, "--query", "SecretString", "--output", "text"];
        aws(&lab, &[&args, more].concat())
    };
    assert_eq!(value(&made, &[]), "hush-one");
    secrets(&lab, "put_secret_value", json!({"SecretId": "app/one", "SecretString": "hush-two"})).unwrap();
    assert_eq!(value("app/one", &[]), "hush-two");
    assert_eq!(value("app/one", &["--version-stage", "AWSPREVIOUS"]), "hush-one");
    // boto3 makes a token for each request that has none, and takes what is no base64 for bytes.
    let bytes = json!({"Name": "app/two", "SecretBinary": "hush-bytes", "Tags": [{"Key": "team", "Value": "a"}]});
    secrets(&lab, "create_secret", bytes.clone()).unwrap();
    let got = secrets(&lab, "get_secret_value", json!({"SecretId": "app/two"})).unwrap();
    assert_eq!(got["SecretBinary"], "aHVzaC1ieXRlcw==", "the bridge shows bytes as base64");
    for (op, args, code) in [
        ("create_secret", bytes, "ResourceExistsException"),
        ("get_secret_value", json!({"SecretId": "none"}), "ResourceNotFoundException"),
        ("delete_secret", json!({"SecretId": "app/two", "RecoveryWindowInDays": 40}), "InvalidParameterException"),
        ("put_secret_value", json!({"SecretId": "app/two"}), "InvalidRequestException"),
    ] {
        assert_error(&secrets(&lab, op, args).unwrap_err(), code, "");
    }
    let pages = lab
        .ask(&json!({"kind": "paginate", "service": "secretsmanager", "op": "list_secrets", "args": {}, "page": 1}))
        .unwrap()
        .unwrap();
    let names: Vec<String> =
        pages.as_array().unwrap().iter().flat_map(|page| strings(&page["SecretList"], "Name")).collect();
    assert_eq!(names, ["app/one", "app/two"], "{pages}");
    secrets(&lab, "delete_secret", json!({"SecretId": "app/two"})).unwrap();
    let marked = secrets(&lab, "get_secret_value", json!({"SecretId": "app/two"})).unwrap_err();
    assert_error(&marked, "InvalidRequestException", "marked for deletion");
    secrets(&lab, "restore_secret", json!({"SecretId": "app/two"})).unwrap();
    aws(&lab, &["delete-secret", "--secret-id", "app/two", "--force-delete-without-recovery"]);
    let gone = secrets(&lab, "describe_secret", json!({"SecretId": "app/two"})).unwrap_err();
    assert_error(&gone, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.");

    // After a restart all is as before, and no file has a value.
    lab.control().kill().unwrap();
    lab.restart_control().unwrap();
    assert_eq!(value(&made, &[]), "hush-two");
    let dir = lab.ctl().dir();
    let found = holds(&dir.join("control"), &["hush-", "aHVzaC1"]);
    assert_eq!(found, None, "a value is in a file of the data directory");
    assert_eq!(holds(&dir.join("control.log"), &["hush-"]), None);
    assert!(holds(&dir.join("control"), &["app/one"]).is_some(), "the search finds what is there");
}

/// The first file at or below `path` with one of these texts in it.
fn holds(path: &Path, texts: &[&str]) -> Option<String> {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().find_map(|entry| holds(&entry.unwrap().path(), texts));
    }
    // Sockets cannot be read.
    let bytes = fs::read(path).ok()?;
    let text = texts.iter().find(|text| bytes.windows(text.len()).any(|part| part == text.as_bytes()))?;
    Some(format!("{text} in {}", path.display()))
}

fn login(password: &str) -> String {
    json!({"username": "puller", "password": password}).to_string()
}

/// A definition of one container whose image is pulled when `behavior` says, with the credentials of a secret.
fn private(lab: &Lab, image: &str, secret: &str, behavior: &str) -> String {
    let mut main = idle("main");
    let labels = json!({"longshore.pull-behavior": behavior});
    let credentials = json!({"credentialsParameter": secret});
    merge(&mut main, json!({"image": image, "dockerLabels": labels, "repositoryCredentials": credentials}));
    register(lab, "private", json!([main]), json!({}))
}

/// Runs a task that fails to start, for a reason with these parts.
pub(super) fn fails(lab: &Lab, definition: &str, parts: &[&str]) {
    let ended = stopped(lab, &run_one(lab, definition, json!({})));
    assert_eq!(ended["stopCode"], "TaskFailedToStart", "{ended:#}");
    let reason = container(&ended, "main")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(parts.iter().all(|part| reason.contains(part)), "expected {parts:?} in {reason}");
    assert!(!ended.to_string().contains("wrong-one") && !ended.to_string().contains("pull-me"), "{ended:#}");
}

/// Runs a task until it runs, and gives the mark of its image.
pub(super) fn mark(lab: &Lab, node: &Node, definition: &str) -> String {
    let arn = run_one(lab, definition, json!({}));
    running(lab, &arn);
    let mark = exec(node, &arn, "main", "cat /mark").trim().to_owned();
    stop(lab, &arn);
    mark
}

#[test]
fn images_of_a_private_registry_are_pulled_with_a_secret_and_in_spite_of_faults() {
    let files = tempfile::tempdir().unwrap();
    // Not there before its turn, so that no credentials but a secret's can have been shown until then.
    let auth = files.path().join("registries.json");
    let lab = lab_with(1, &format!("pull_stall_timeout = \"3s\"\nregistry_auth_file = \"{}\"", auth.display()));
    let node = lab.node(0);
    let _registry = start_registry(node);
    let address = |text: &str| text.parse::<SocketAddrV4>().unwrap();
    let broken = FaultyRegistry::start(&node.host, address(BROKEN), address(REGISTRY)).unwrap();
    for name in ["app", "errors", "away", "layers"] {
        // A layer that is large enough to break in its middle, and whose content no compression makes small.
        let script = format!("echo {name} >/mark; head -c 400000 /dev/urandom >/large");
        push_as(node, &format!("{REGISTRY}/team/{name}:1"), name, &script);
    }
    secrets(&lab, "create_secret", json!({"Name": "team/wrong", "SecretString": login("wrong-one")})).unwrap();
    credentials(&lab, node);
    faults(&lab, node, &broken);
    faults_with_the_hosts_credentials(&lab, node, &broken, &auth);
    nothing_shows_a_password(&lab, node);
    assert_no_leaks(&lab, &[]);
}

fn credentials(lab: &Lab, node: &Node) {
    let image = format!("{REGISTRY}/team/app:1");
    fails(
        lab,
        &private(lab, &image, "team/registry", "always"),
        &[
            "ResourceInitializationError: unable to pull secrets or registry auth: ",
            "`team/registry`",
            "Secrets Manager can't find the specified secret",
        ],
    );
    let made = secrets(lab, "create_secret", json!({"Name": "team/registry", "SecretString": login("pull-me")}));
    let arn = made.unwrap()["ARN"].as_str().unwrap().to_owned();
    let wanted = json!([{"name": "ecs.capability.private-registry-authentication.secretsmanager"}]);
    let definition = private(lab, &image, &arn, "always");
    let described = lab.ecs("describe_task_definition", json!({"taskDefinition": definition})).unwrap();
    let required = described["taskDefinition"]["requiresAttributes"].as_array().unwrap();
    assert!(required.contains(&wanted[0]), "{required:?}");
    assert_eq!(mark(lab, node, &definition), "app");
    // A pull of another container is none of this one's, though it was a moment ago.
    let wrong = private(lab, &image, "team/wrong", "always");
    let refused = "127.0.0.1:5000 refused the credentials of the secret `team/wrong`";
    fails(lab, &wrong, &["CannotPullContainerError: ", refused]);
    fails(lab, &private(lab, &image, "team/none", "default"), &["`team/none`", "can't find the specified secret"]);
    // What is here is for everybody, where no pull is asked for: nobody asks for the secret.
    assert_eq!(mark(lab, node, &private(lab, &image, "team/none", "prefer-cached")), "app");
    // The next task has the value of that time.
    secrets(lab, "put_secret_value", json!({"SecretId": "team/wrong", "SecretString": login("pull-me")})).unwrap();
    assert_eq!(mark(lab, node, &wrong), "app");
    secrets(lab, "create_secret", json!({"Name": "team/odd", "SecretString": "wrong-one"})).unwrap();
    let odd = private(lab, &image, "team/odd", "always");
    fails(lab, &odd, &["ResourceInitializationError: ", "`team/odd`", "is not {\"username\""]);
}

fn faults(lab: &Lab, node: &Node, broken: &FaultyRegistry) {
    let definition = |name: &str| private(lab, &format!("{BROKEN}/team/{name}:1"), "team/registry", "always");
    errors(lab, node, broken, &definition("errors"));

    // The control plane goes while the registry makes it wait; the next try needs the credentials again.
    broken.set(RegistryFault::Hold);
    let away = run_one(lab, &definition("away"), json!({}));
    broke(broken, 1);
    lab.control().kill().unwrap();
    // What was held back fails now, and so does whatever the engine asks for after it.
    broken.set(RegistryFault::Unavailable);
    wait_until("a wait that is to be seen", DEADLINE, || {
        let status = Agent::status(&node.host)?.to_string();
        Ok(status.contains("waits for the credentials") && status.contains("team/registry"))
    })
    .unwrap();
    broken.set(RegistryFault::None);
    lab.restart_control().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    runs(lab, node, &away, "away");

    // Six whose registry does not answer, and one of another.
    broken.set(RegistryFault::Hold);
    let held: Vec<String> = (0..6).map(|n| run_one(lab, &definition(&format!("held-{n}")), json!({}))).collect();
    broke(broken, 6);
    let sound = private(lab, &format!("{REGISTRY}/team/app:1"), "team/registry", "always");
    assert_eq!(mark(lab, node, &sound), "app");
    let status = Agent::status(&node.host).unwrap().to_string();
    assert_eq!(status.matches("the engine asks the registry for it").count(), 6, "{status}");
    held.iter().for_each(|arn| _ = stop(lab, arn));
    broken.set(RegistryFault::None);

    breaks(lab, node, broken, &definition("layers"), &sound);
}

/// The same faults, but for those that concern a secret, where containers name none: the registry is shown what the
/// host's file has for it.
fn faults_with_the_hosts_credentials(lab: &Lab, node: &Node, broken: &FaultyRegistry, auth: &Path) {
    let definition = |image: &str| {
        let mut main = idle("main");
        merge(&mut main, json!({"image": image, "dockerLabels": {"longshore.pull-behavior": "always"}}));
        register(lab, "plain", json!([main]), json!({}))
    };
    let sound = definition(&format!("{REGISTRY}/team/app:1"));
    fails(lab, &sound, &["CannotPullContainerError: ", "registries.json", "there is no such file"]);
    let login = json!({"username": "puller", "password": "pull-me"});
    write_private(auth, &json!({"auths": {REGISTRY: login, BROKEN: login}}).to_string(), 0o600);
    errors(lab, node, broken, &definition(&format!("{BROKEN}/team/errors:1")));
    let layers = format!("{BROKEN}/team/layers:1");
    forget(node, &layers);
    breaks(lab, node, broken, &definition(&layers), &sound);
}

/// Waits until so many answers broke or are held back.
fn broke(broken: &FaultyRegistry, times: u32) {
    wait_until("a fault of the registry", DEADLINE, || Ok(broken.broken() >= times)).unwrap();
}

/// Waits until a task runs whose image has this mark, and stops it.
fn runs(lab: &Lab, node: &Node, arn: &str, name: &str) {
    running(lab, arn);
    assert_eq!(exec(node, arn, "main", "cat /mark").trim(), name);
    stop(lab, arn);
}

/// 5xx for as long as it is tried, and for a while.
fn errors(lab: &Lab, node: &Node, broken: &FaultyRegistry, errors: &str) {
    broken.set(RegistryFault::Unavailable);
    fails(lab, errors, &["CannotPullContainerError: ", "503 Service Unavailable"]);
    broken.set(RegistryFault::Unavailable);
    let arn = run_one(lab, errors, json!({}));
    broke(broken, 2);
    broken.set(RegistryFault::None);
    runs(lab, node, &arn, "errors");
}

/// A layer that ends in its middle, and one that stalls there; pulls of another image, `sound`, go on meanwhile.
fn breaks(lab: &Lab, node: &Node, broken: &FaultyRegistry, layers: &str, sound: &str) {
    broken.set(RegistryFault::Cut(1));
    let arn = run_one(lab, layers, json!({}));
    runs(lab, node, &arn, "layers");
    assert_eq!(broken.broken(), 1);
    forget(node, &format!("{BROKEN}/team/layers:1"));
    broken.set(RegistryFault::Stall);
    let arn = run_one(lab, layers, json!({}));
    broke(broken, 1);
    assert_eq!(mark(lab, node, sound), "app");
    assert_eq!(task(lab, &arn)["lastStatus"], "PENDING");
    // It has lost its patience once and tries again.
    broke(broken, 2);
    broken.set(RegistryFault::None);
    runs(lab, node, &arn, "layers");
}

/// Removes an image, so that its layers are pulled again: no container has it any more.
fn forget(node: &Node, image: &str) {
    wait_until("an image without containers", DEADLINE, || {
        Ok(docker(node, &["ps", "-aq", "--filter", &format!("ancestor={image}")]).trim().is_empty())
    })
    .unwrap();
    docker(node, &["rmi", "-f", image]);
}

/// Looks wherever one could be, while a container runs that was pulled with it.
fn nothing_shows_a_password(lab: &Lab, node: &Node) {
    let arn = run_one(lab, &private(lab, &format!("{REGISTRY}/team/app:1"), "team/registry", "always"), json!({}));
    running(lab, &arn);
    // The passwords, and `puller:pull-me` as registries are shown it.
    let texts = ["pull-me", "wrong-one", "cHVsbGVyOnB1bGwtbW"];
    let (host, control) = (node.host.dir(), lab.ctl().dir());
    for place in [
        host.join("agent"),
        host.join("agent.log"),
        host.join("dockerd.log"),
        control.join("control"),
        control.join("control.log"),
    ] {
        assert!(place.exists(), "{}", place.display());
        assert_eq!(holds(&place, &texts), None);
    }
    assert!(holds(&control.join("control.log"), &["gave credentials for a registry"]).is_some());
    for shown in [inspect(node, &arn, "main"), Agent::status(&node.host).unwrap(), task(lab, &arn)] {
        let shown = shown.to_string();
        assert!(texts.iter().all(|text| !shown.contains(text)), "{shown}");
    }
    stop(lab, &arn);
}
