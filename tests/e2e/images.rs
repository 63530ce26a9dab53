//! What a container is made from on its host: when its image is pulled and with which credentials, the variables in
//! files, and whether the host makes it at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use longshore_tests::lab::process::Process;
use longshore_tests::lab::{Lab, Node, wait_until};
use serde_json::{Value, json};

use super::fields::{docker, exec, idle, stop};
use super::support::*;

pub(crate) const REGISTRY: &str = "127.0.0.1:5000";
pub(crate) const IMAGE: &str = "127.0.0.1:5000/team/app:1";
/// The user `puller` with the password `pull-me`.
const HTPASSWD: &str = "puller:$2b$04$dXZrdsU1im.KL.er9ERDreYwMU6RL2I9Syfh2G07gwWEDtrM/zE22\n";

/// A registry on the host's loopback that wants a password.
pub(crate) fn start_registry(node: &Node) -> Process {
    let dir = node.host.dir().join("registry");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
    let config = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {dir}\n\
         http:\n  addr: {REGISTRY}\nauth:\n  htpasswd:\n    realm: lab\n    path: {dir}/htpasswd\n",
        dir = dir.display()
    );
    fs::write(dir.join("config.yml"), config).unwrap();
    node.host
        .start("registry", Path::new("docker-registry"), |command| {
            command.arg("serve").arg(dir.join("config.yml"));
        })
        .unwrap()
}

/// Puts busybox into the registry, with a mark of its own each time, and forgets it here.
fn push(node: &Node, mark: &str) {
    push_as(node, IMAGE, mark, &format!("echo {mark} >/mark"));
}

/// Puts what a script makes of busybox into the registry as `image`, and forgets it here.
pub(crate) fn push_as(node: &Node, image: &str, mark: &str, script: &str) {
    let client = node.host.dir().join("client");
    let client = client.to_str().unwrap();
    let name = format!("mark-{mark}");
    docker(node, &["run", "--name", &name, "--net", "none", "busybox", "sh", "-c", script]);
    docker(node, &["commit", "-c", "CMD [\"sh\"]", &name, image]);
    docker(node, &["rm", &name]);
    wait_until("the registry", DEADLINE, || {
        node.host.run(
            "docker",
            &["--config", client, "-H", &node.docker(), "login", "-u", "puller", "-p", "pull-me", REGISTRY],
        )?;
        Ok(true)
    })
    .unwrap();
    docker(node, &["--config", client, "push", image]);
    docker(node, &["rmi", "-f", image]);
}

pub(crate) fn write_private(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What a host's file of credentials says for the registry.
pub(crate) fn credentials(password: &str) -> String {
    json!({"auths": {REGISTRY: {"username": "puller", "password": password}}}).to_string()
}

/// A container of the image in the registry, pulled when `behavior` says.
pub(crate) fn app(behavior: Option<&str>) -> Value {
    let mut app = idle("main");
    merge(&mut app, json!({"image": IMAGE}));
    if let Some(behavior) = behavior {
        merge(&mut app, json!({"dockerLabels": {"longshore.pull-behavior": behavior}}));
    }
    app
}

#[test]
fn images_are_pulled_when_they_should_be_and_with_the_hosts_credentials() {
    let files = tempfile::tempdir().unwrap();
    let auth = files.path().join("registries.json");
    let lab = lab_with(1, &format!("registry_auth_file = \"{}\"", auth.display()));
    let node = lab.node(0);
    let registry = start_registry(node);
    push(node, "one");

    let plain = register(&lab, "app", json!([app(None)]), json!({}));
    let fails = |definition: &str, parts: &[&str]| {
        let ended = stopped(&lab, &run_one(&lab, definition, json!({})));
        assert_eq!(ended["stopCode"], "TaskFailedToStart", "{ended:#}");
        let reason = container(&ended, "main")["reason"].as_str().unwrap_or_default().to_owned();
        assert!(reason.starts_with("CannotPullContainerError: "), "{ended:#}");
        assert!(parts.iter().all(|part| reason.contains(part)), "expected {parts:?} in {reason}");
        let all = format!("{ended} {}", node.host.log("agent"));
        assert!(!all.contains("wrong-one") && !all.contains("pull-me"), "a password got out: {all}");
    };
    fails(&plain, &["registries.json", "there is no such file"]);
    write_private(&auth, "{\"auths\": {}}", 0o644);
    fails(&plain, &["registries.json", "others can read it (mode 644); chmod 600 it"]);
    write_private(&auth, "{\"auths\": {}}", 0o600);
    fails(&plain, &["no basic auth credentials", "this host has no credentials for 127.0.0.1:5000"]);
    write_private(&auth, &credentials("wrong-one"), 0o600);
    fails(&plain, &["127.0.0.1:5000 refused the credentials", "registry_auth_file"]);
    write_private(&auth, &credentials("pull-me"), 0o600);
    let mark = |definition: &str| {
        let arn = run_one(&lab, definition, json!({}));
        running(&lab, &arn);
        let mark = exec(node, &arn, "main", "cat /mark").trim().to_owned();
        stop(&lab, &arn);
        mark
    };
    assert_eq!(mark(&plain), "one");

    // The registry has another one under the same name, and this host still the first.
    docker(node, &["tag", IMAGE, "first"]);
    push(node, "two");
    docker(node, &["tag", "first", IMAGE]);
    let definition =
        |behavior: &str| register(&lab, &format!("app-{behavior}"), json!([app(Some(behavior))]), json!({}));
    let [always, default, once, cached] = ["always", "default", "once", "prefer-cached"].map(definition);
    assert_eq!(mark(&cached), "one", "it is here");
    assert_eq!(mark(&plain), "one", "which is the agent's default");
    // The agent before this one has.
    let history = node.host.dir().join("agent/images.json");
    wait_until("the agent's memory of it", DEADLINE, || Ok(fs::read_to_string(&history)?.contains(IMAGE))).unwrap();
    node.agent.kill().unwrap();
    node.launch_agent().unwrap();
    assert_eq!(mark(&once), "one", "the agent has pulled it");
    assert_eq!(mark(&always), "two");
    push(node, "three");
    docker(node, &["tag", "first", IMAGE]);
    assert_eq!(mark(&default), "three", "it pulls while it can");

    // Without the registry what is here is good enough for all but one.
    registry.kill().unwrap();
    for definition in [&default, &once, &cached] {
        assert_eq!(mark(definition), "three", "{definition}");
    }
    // That one asks each time, also for what was just pulled.
    fails(&always, &["connection refused"]);
    docker(node, &["rmi", "-f", IMAGE, "first"]);
    assert_no_leaks(&lab, &[]);
}

#[test]
fn variables_come_from_files_of_the_host() {
    let files = tempfile::tempdir().unwrap();
    let dir = files.path().join("env");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.env"), "# comment\nFIRST=a\nBOTH=from a\nOWN=file\nGIVEN=file\nEMPTY=\n").unwrap();
    fs::write(dir.join("b.env"), "SECOND=b=c\nBOTH=from b\nAWS_REGION=moon\n").unwrap();
    fs::write(files.path().join("c.env"), "SECRET=hush-hush\n").unwrap();
    let lab = lab_with(1, &format!("environment_file_dirs = [\"{}\"]", dir.display()));
    let node = lab.node(0);
    let with = |files: &[String]| {
        let mut main = idle("main");
        let of = |file: &String| json!({"type": "s3", "value": format!("file://{file}")});
        let environment = json!([{"name": "OWN", "value": "definition"}]);
        merge(
            &mut main,
            json!({
            "environment": environment, "environmentFiles": files.iter().map(of).collect::<Vec<_>>()}),
        );
        register(&lab, "env", json!([main]), json!({}))
    };
    let at = |name: &str| dir.join(name).display().to_string();
    let definition = with(&[at("a.env"), at("b.env")]);
    let given =
        json!({"containerOverrides": [{"name": "main", "environment": [{"name": "GIVEN", "value": "override"}]}]});
    let arn = run_one(&lab, &definition, json!({"overrides": given}));
    running(&lab, &arn);
    // The region that the agent adds gives way; the other name for it is not in any file.
    let seen = exec(
        node,
        &arn,
        "main",
        "echo \"$FIRST|$SECOND|$BOTH|$OWN|$GIVEN|${EMPTY-unset}|$AWS_REGION|$AWS_DEFAULT_REGION\"",
    );
    assert_eq!(seen, "a|b=c|from a|definition|override|unset|moon|eu-lab-1\n");
    stop(&lab, &arn);

    // The files of an override take the place of the definition's.
    let file = json!([{"type": "s3", "value": format!("file://{}", at("b.env"))}]);
    let given = json!({"containerOverrides": [{"name": "main", "environmentFiles": file}]});
    let arn = run_one(&lab, &definition, json!({"overrides": given}));
    running(&lab, &arn);
    let seen = exec(node, &arn, "main", "echo \"${FIRST-unset}|$SECOND|$BOTH|$OWN\"");
    assert_eq!(seen, "unset|b=c|from b|definition\n");
    stop(&lab, &arn);

    // A change of a file is for the next task. One that cannot be read is the task's failure.
    fs::write(dir.join("b.env"), "SECOND=later\n").unwrap();
    let arn = run_one(&lab, &definition, json!({}));
    running(&lab, &arn);
    assert_eq!(exec(node, &arn, "main", "echo $SECOND"), "later\n");
    stop(&lab, &arn);
    for (file, why) in [
        (files.path().join("c.env").display().to_string(), "no directory of environment_file_dirs"),
        (at("none.env"), "there is no such file on this host"),
    ] {
        let ended = stopped(&lab, &run_one(&lab, &with(std::slice::from_ref(&file)), json!({})));
        assert_eq!(ended["stopCode"], "TaskFailedToStart", "{ended:#}");
        let reason = container(&ended, "main")["reason"].as_str().unwrap_or_default().to_owned();
        let begins = format!("ResourceInitializationError: environment file file://{file}: ");
        assert!(reason.starts_with(&begins) && reason.contains(why), "{reason}");
        assert!(!format!("{ended} {}", node.host.log("agent")).contains("hush-hush"));
    }
    assert_no_leaks(&lab, &[]);
}

/// The attributes that a host's agent registered.
fn offers(lab: &Lab, name: &str) -> bool {
    lab.instances().unwrap()[0]["attributes"].as_array().unwrap().iter().any(|a| a["name"] == name)
}

#[test]
fn a_host_without_privileged_containers_is_given_none_and_makes_none() {
    let lab = lab(1);
    let node = lab.node(0);
    let mut main = idle("main");
    merge(&mut main, json!({"privileged": true}));
    let definition = register(&lab, "mighty", json!([main]), json!({}));
    // One is on its way to the host when its owner changes the configuration.
    node.agent.freeze();
    let late = run_one(&lab, &definition, json!({}));
    node.agent.kill().unwrap();
    let agent = longshore_tests::lab::host::program("longshore-agent").unwrap();
    let variables = [("LONGSHORE_AGENT_ALLOW_PRIVILEGED", "false")];
    node.agent.launch_as(&node.host, &node.docker(), &agent, &variables).unwrap();
    let ended = stopped(&lab, &late);
    let reason = container(&ended, "main")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("this host runs no privileged containers; set allow_privileged"), "{ended:#}");

    // From then on none is placed there.
    let capability = "com.amazonaws.ecs.capability.privileged-container";
    wait_until("the host's new attributes", DEADLINE, || Ok(!offers(&lab, capability))).unwrap();
    assert!(!offers(&lab, "longshore.environment-files"), "no directory is configured");
    let answer = lab.ecs("run_task", json!({"taskDefinition": definition})).unwrap();
    assert_eq!(answer["tasks"], json!([]), "{answer}");
    assert_eq!(answer["failures"][0]["reason"], "ATTRIBUTE", "{answer}");
    assert!(answer["failures"][0].to_string().contains(capability), "{answer}");
    node.agent.kill().unwrap();
    node.launch_agent().unwrap();
    wait_until("the capability", Duration::from_secs(60), || Ok(offers(&lab, capability))).unwrap();
    assert_no_leaks(&lab, &[]);
}
