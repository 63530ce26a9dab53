//! What tasks need of other machines: variables that are fetched from web servers, and file systems of EFS.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Command;

use longshore_tests::lab::process::Process;
use longshore_tests::lab::{Lab, boto, wait_until};
use serde_json::{Value, json};

use super::fields::{exec, idle, stop};
use super::support::*;

const PLAIN: u16 = 8080;
const TLS: u16 = 8443;

fn openssl(dir: &Path, args: &str) {
    let output = Command::new("openssl").current_dir(dir).args(args.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes an authority, and a certificate of it for the server.
fn certify(dir: &Path, address: &str) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(dir, &format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=lab -days 2"));
    openssl(dir, &format!("req {key} -keyout server.key -out server.csr -subj /CN=files"));
    fs::write(dir.join("names"), format!("subjectAltName=IP:{address}\n")).unwrap();
    openssl(
        dir,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out server.pem -extfile names",
    );
}

/// A web server on the control plane's machine.
fn serve(lab: &Lab, port: u16, certificate: Option<&Path>) -> Process {
    let ctl = lab.ctl();
    let python = boto::venv().unwrap().join("bin/python");
    let server = ctl.start(&format!("files-{port}"), &python, |command| {
        command.arg(boto::source_dir().join("boto/files.py")).arg(ctl.address().to_string()).arg(port.to_string());
        if let Some(dir) = certificate {
            command.arg(dir.join("server.pem")).arg(dir.join("server.key"));
        }
    });
    let server = server.unwrap();
    wait_until("the web server", DEADLINE, || Ok(lab.connect(SocketAddrV4::new(ctl.address(), port)).is_ok())).unwrap();
    server
}

/// A definition whose container takes variables from these.
fn with_files(lab: &Lab, sources: &[String]) -> String {
    let files: Vec<Value> = sources.iter().map(|source| json!({"type": "s3", "value": source})).collect();
    let mut main = idle("main");
    merge(&mut main, json!({"environment": [{"name": "OWN", "value": "definition"}], "environmentFiles": files}));
    register(lab, "web", json!([main]), json!({}))
}

#[test]
fn variables_are_fetched_from_web_servers_and_file_systems_mounted_from_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let authority = dir.path().join("ca.pem");
    let exports =
        "\"fs-0123\" = { server = \"127.0.0.1\", path = \"/export\", options = \"nfsvers=4.1,soft,timeo=5\" }";
    let lab = lab_with(1, &format!("environment_file_ca = \"{}\"\nefs = {{ {exports} }}\n", authority.display()));
    let address = lab.ctl().address().to_string();
    certify(dir.path(), &address);
    let _servers = [serve(&lab, PLAIN, None), serve(&lab, TLS, Some(dir.path()))];
    variables(&lab, &format!("http://{address}:{PLAIN}"), &format!("https://{address}:{TLS}"), &authority);
    file_systems(&lab);
    assert_no_leaks(&lab, &[]);
}

fn variables(lab: &Lab, plain: &str, tls: &str, authority: &Path) {
    let node = lab.node(0);
    // The one that does not answer has its whole time, while others are looked at.
    let stalled = run_one(lab, &with_files(lab, &[format!("{plain}/stall.env")]), json!({}));
    let secret = format!("{}/secret.env?sign=hush-hush", tls.replace("https://", "https://me:hush-hush@"));
    let definition = with_files(lab, &[format!("{plain}/a.env"), secret, format!("{plain}/flaky.env")]);
    let arn = run_one(lab, &definition, json!({}));
    running(lab, &arn);
    let seen = exec(node, &arn, "main", "echo \"$FIRST|$SECOND|$THIRD|$BOTH|$OWN\"");
    assert_eq!(seen, "web|signed|at last|first|definition\n");
    stop(lab, &arn);

    let fails = |source: &str, shown: &str, why: &str| {
        let ended = stopped(lab, &run_one(lab, &with_files(lab, &[source.to_owned()]), json!({})));
        assert_eq!(ended["stopCode"], "TaskFailedToStart", "{ended:#}");
        let reason = container(&ended, "main")["reason"].as_str().unwrap_or_default().to_owned();
        let begins = format!("ResourceInitializationError: environment file {shown}: ");
        assert!(reason.starts_with(&begins) && reason.contains(why), "{reason}");
        assert!(!ended.to_string().contains("hush-hush"), "{ended:#}");
    };
    let at = |path: &str| format!("{plain}/{path}");
    fails(&at("none.env?sign=hush-hush"), &at("none.env"), "the server answered 404 Not Found");
    fails(&at("large.env"), &at("large.env"), "it is larger than 256 KiB");
    let cloud = "http://169.254.169.254/latest/a.env";
    fails(cloud, cloud, "169.254.169.254 is a link-local address");
    fs::rename(authority, authority.with_extension("away")).unwrap();
    fails(&format!("{tls}/a.env"), &format!("{tls}/a.env"), "could not read");
    fs::copy("/etc/ssl/certs/ca-certificates.crt", authority).unwrap();
    fails(&format!("{tls}/a.env"), &format!("{tls}/a.env"), "the server's certificate does not count here");

    let ended = stopped(lab, &stalled);
    let reason = container(&ended, "main")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("/stall.env: there was no whole answer within 10 s (3 attempts within 30 s)"), "{reason}");
    assert!(!node.host.log("agent").contains("hush-hush"));
}

fn file_systems(lab: &Lab) {
    let node = lab.node(0);
    // A container that waits is there already, with its volume.
    let with = |id: &str| {
        let mut main = idle("main");
        let waits = json!({"dependsOn": [{"containerName": "first", "condition": "COMPLETE"}],
                           "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}]});
        merge(&mut main, waits);
        let mut first = shell("first", "while [ ! -e /tmp/go ]; do sleep 0.1; done");
        merge(&mut first, json!({"essential": false}));
        let efs = json!({"fileSystemId": id, "rootDirectory": "/web"});
        let volumes = json!({"volumes": [{"name": "data", "efsVolumeConfiguration": efs}]});
        register(lab, "efs", json!([first, main]), volumes)
    };
    let answer = lab.ecs("run_task", json!({"taskDefinition": with("fs-4567")})).unwrap();
    assert_eq!(answer["failures"][0]["reason"], "ATTRIBUTE", "{answer}");
    assert!(answer["failures"][0].to_string().contains("longshore.efs.fs-4567"), "{answer}");

    let arn = run_one(lab, &with("fs-0123"), json!({}));
    let name = format!("ls-{}-data", id(&arn));
    let volume = || node.engine.get(&format!("/volumes/{name}"));
    wait_until("its volume", DEADLINE, || Ok(volume().is_ok())).unwrap();
    let options = json!({"type": "nfs", "o": "addr=127.0.0.1,nfsvers=4.1,soft,timeo=5", "device": ":/export/web"});
    assert_eq!(volume().unwrap()["Options"], options);
    assert_eq!(volume().unwrap()["Driver"], "local");
    // Nobody serves NFS here, or the kernel has none: it is the container's failure, in the engine's words.
    wait_until("the first container", DEADLINE, || {
        Ok(task(lab, &arn)["containers"].as_array().unwrap().iter().any(|c| c["lastStatus"] == "RUNNING"))
    })
    .unwrap();
    exec(node, &arn, "first", "touch /tmp/go");
    let ended = stopped(lab, &arn);
    let reason = container(&ended, "main")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.starts_with("CannotStartContainerError: ") && reason.contains(":/export/web"), "{ended:#}");
    wait_until("the end of its volume", DEADLINE, || Ok(volume().is_err())).unwrap();
}
