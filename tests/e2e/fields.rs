//! What else a task definition may say of its containers: volumes of the engine, links, ranges of ports, namespaces.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;

use longshore_tests::lab::process::Process;
use longshore_tests::lab::proxy::Proxy;
use longshore_tests::lab::{Lab, Node, boto, host, wait_until};
use serde_json::{Value, json};

use super::awsvpc::network;
use super::support::*;

/// Docker's own command on a host.
pub(crate) fn docker(node: &Node, args: &[&str]) -> String {
    let engine = node.docker();
    let mut all = vec!["-H", &engine];
    all.extend_from_slice(args);
    node.host.run("docker", &all).unwrap()
}

/// Runs a command in a running container of a task.
pub(crate) fn exec(node: &Node, arn: &str, container: &str, script: &str) -> String {
    docker(node, &["exec", &format!("ls-{}-{container}", id(arn)), "sh", "-c", script])
}

/// A container that waits to be looked into.
pub(crate) fn idle(name: &str) -> Value {
    shell(name, "trap 'exit 0' TERM; echo ready; while true; do sleep 0.2; done")
}

pub(crate) fn stop(lab: &Lab, arn: &str) -> Value {
    lab.ecs("stop_task", json!({"task": arn})).unwrap();
    stopped(lab, arn)
}

fn volume(node: &Node, name: &str) -> Option<Value> {
    node.engine.get(&format!("/volumes/{name}")).ok()
}

#[test]
fn volumes_of_the_engine_live_as_long_as_they_should() {
    let lab = lab(1);
    let node = lab.node(0);
    let mount = |volume: &str| json!({"sourceVolume": volume, "containerPath": format!("/{volume}")});
    let volumes = json!([
        {"name": "made", "dockerVolumeConfiguration": {"scope": "task", "driver": "local",
            "driverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, "labels": {"team": "web"}}},
        {"name": "kept", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true,
            "labels": {"team": "web"}}},
    ]);
    let mut main = idle("main");
    merge(&mut main, json!({"mountPoints": [mount("made"), mount("kept")]}));
    // Its volumes are those of `main`, of which it may only read.
    let mut taker = idle("taker");
    merge(&mut taker, json!({"volumesFrom": [{"sourceContainer": "main", "readOnly": true}]}));
    let definition = register(&lab, "volumes", json!([taker, main]), json!({"volumes": volumes}));
    let attributes = lab.ecs("describe_task_definition", json!({"taskDefinition": definition})).unwrap();
    let attributes = attributes["taskDefinition"]["requiresAttributes"].clone();
    assert!(attributes.to_string().contains("ecs.capability.docker-plugin.local"), "{attributes}");

    let arn = run_one(&lab, &definition, json!({}));
    running(&lab, &arn);
    let own = format!("ls-{}-made", id(&arn));
    let (made, kept) = (volume(node, &own).unwrap(), volume(node, "kept").unwrap());
    assert_eq!(made["Options"], json!({"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}));
    let labels = json!({"team": "web", "longshore.task": id(&arn), "longshore.volume": "made"});
    assert_eq!(made["Labels"], labels, "of the definition, and which task it is of");
    assert_eq!(kept["Labels"], json!({"team": "web", "longshore.volume": "kept"}), "a shared one is no task's");
    exec(node, &arn, "main", "echo one >/made/note; echo two >/kept/note");
    let look = "cat /made/note /kept/note; mount | grep ' /made '; touch /made/x 2>&1 || true";
    let seen = exec(node, &arn, "taker", look);
    assert!(seen.starts_with("one\ntwo\n") && seen.contains("size=1024k"), "{seen}");
    assert!(seen.contains("Read-only file system"), "{seen}");
    let started = |name: &str| inspect(node, &arn, name)["State"]["StartedAt"].as_str().unwrap().to_owned();
    assert!(started("main") < started("taker"), "the one whose volumes are taken begins first");

    // An agent that was killed meanwhile knows what to remove; what is shared stays, with what is in it.
    node.agent.kill().unwrap();
    node.launch_agent().unwrap();
    stop(&lab, &arn);
    wait_until("the end of the task's volume", DEADLINE, || Ok(volume(node, &own).is_none())).unwrap();
    let again = run_one(&lab, &definition, json!({}));
    running(&lab, &again);
    assert_eq!(exec(node, &again, "taker", "cat /kept/note; ls /made"), "two\n");
    stop(&lab, &again);

    // A shared one that is not to be made has to be there.
    let shared = json!([{"name": "theirs", "dockerVolumeConfiguration": {"scope": "shared"}}]);
    let mut main = idle("main");
    merge(&mut main, json!({"mountPoints": [mount("theirs")]}));
    let definition = register(&lab, "theirs", json!([main]), json!({"volumes": shared}));
    let ended = stopped(&lab, &run_one(&lab, &definition, json!({})));
    assert_eq!(ended["stopCode"], "TaskFailedToStart", "{ended:#}");
    let reason = ended["stoppedReason"].as_str().unwrap();
    assert!(reason.starts_with("ResourceInitializationError: volume `theirs`: there is no shared volume"), "{reason}");
    assert!(reason.contains("docker volume create theirs"), "it says what to do: {reason}");
    assert!(volume(node, "theirs").is_none(), "nothing was made in its place");
    docker(node, &["volume", "create", "theirs"]);
    let arn = run_one(&lab, &definition, json!({}));
    running(&lab, &arn);
    stop(&lab, &arn);

    // What a driver cannot mount is the task's failure, in the driver's words. Nobody serves NFS here.
    let nfs = json!({"type": "nfs", "o": "addr=127.0.0.1,nfsvers=4.1,soft,timeo=5,retrans=1", "device": ":/"});
    let volumes = json!([{"name": "nas", "dockerVolumeConfiguration": {"driverOpts": nfs}}]);
    let mut main = idle("main");
    merge(&mut main, json!({"mountPoints": [mount("nas")]}));
    let definition = register(&lab, "nas", json!([main]), json!({"volumes": volumes}));
    let ended = stopped(&lab, &run_one(&lab, &definition, json!({})));
    let reason = container(&ended, "main")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("CannotStartContainerError") && reason.contains("nas"), "{ended:#}");

    // Once the containers are removed, nobody has them.
    let engine = node.docker();
    wait_until("the end of the shared volumes", DEADLINE, || {
        node.host.run("docker", &["-H", &engine, "volume", "rm", "-f", "theirs", "kept"])?;
        Ok(true)
    })
    .unwrap();
    assert_no_leaks(&lab, &[]);
}

/// A volume driver: Docker's protocol for plugins of volumes, each a directory in which its options are kept.
const FOLDERS: &str = r#"
import http.server, json, os, shutil, socketserver, sys

root, path = sys.argv[1:]

def answer(call, name, options):
    place = os.path.join(root, name)
    if call == "/Plugin.Activate":
        return {"Implements": ["VolumeDriver"]}
    if call == "/VolumeDriver.Capabilities":
        return {"Capabilities": {"Scope": "local"}}
    if call == "/VolumeDriver.List":
        return {"Volumes": [{"Name": each, "Mountpoint": os.path.join(root, each)} for each in os.listdir(root)]}
    if call == "/VolumeDriver.Create":
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, "options"), "w") as file:
            json.dump(options, file)
    elif not os.path.isdir(place):
        return {"Err": f"there is no volume {name}"}
    elif call == "/VolumeDriver.Get":
        return {"Volume": {"Name": name, "Mountpoint": place}}
    elif call == "/VolumeDriver.Remove":
        shutil.rmtree(place)
    return {"Mountpoint": place}

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        body = json.dumps(answer(self.path, asked.get("Name", ""), asked.get("Opts"))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        print(self.path, flush=True)

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

os.makedirs(root, exist_ok=True)
os.makedirs(os.path.dirname(path), exist_ok=True)
Server(path, Handler).serve_forever()
"#;

/// Starts [`FOLDERS`] with its volumes in `root`, as Docker's driver `folders`. Where Docker looks for the sockets of
/// plugins is the host's own and goes with it.
fn start_folders(node: &Node, root: &Path) -> Process {
    const SOCKET: &str = "/run/docker/plugins/folders.sock";
    let python = boto::venv().unwrap().join("bin/python");
    let plugin = node.host.start("folders", &python, |command| {
        command.args(["-u", "-c", FOLDERS]).arg(root).arg(SOCKET);
    });
    let plugin = plugin.unwrap();
    wait_until("the plugin", DEADLINE, || {
        node.host.run("test", &["-S", SOCKET])?;
        // Docker says of a plugin that it is there once it has asked it for something.
        docker(node, &["volume", "ls"]);
        Ok(docker(node, &["info", "--format", "{{.Plugins.Volume}}"]).contains("folders"))
    })
    .unwrap();
    plugin
}

#[test]
fn a_volume_of_a_plugin_needs_a_host_that_has_the_plugin_and_goes_with_its_task() {
    let lab = lab(1);
    let node = lab.node(0);
    let attribute = "ecs.capability.docker-plugin.folders";
    let options = json!({"colour": "blue"});
    let volumes = json!([{"name": "far", "dockerVolumeConfiguration": {"scope": "task", "driver": "folders",
        "driverOpts": options, "labels": {"team": "web"}}}]);
    let mut main = idle("main");
    merge(&mut main, json!({"mountPoints": [{"sourceVolume": "far", "containerPath": "/far"}]}));
    let definition = register(&lab, "far", json!([main]), json!({"volumes": volumes}));

    let answer = lab.ecs("run_task", json!({"taskDefinition": definition})).unwrap();
    assert_eq!((&answer["tasks"], &answer["failures"][0]["reason"]), (&json!([]), &json!("ATTRIBUTE")), "{answer}");
    let needs = format!("needs attribute {attribute}, has none of this name");
    assert!(answer["failures"][0]["detail"].as_str().is_some_and(|detail| detail.contains(&needs)), "{answer}");

    // What is installed is found by the agent that starts next.
    let root = node.host.dir().join("folders");
    let _plugin = start_folders(node, &root);
    node.agent.kill().unwrap();
    node.launch_agent().unwrap();
    wait_until("a host with the driver", DEADLINE, || {
        let args = json!({"targetType": "container-instance", "attributeName": attribute});
        Ok(strings(&lab.ecs("list_attributes", args)?["attributes"], "name") == [attribute])
    })
    .unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    let arn = run_one(&lab, &definition, json!({}));
    running(&lab, &arn);
    let own = format!("ls-{}-far", id(&arn));
    let made = volume(node, &own).unwrap();
    let labels = json!({"team": "web", "longshore.task": id(&arn), "longshore.volume": "far"});
    assert_eq!((&made["Driver"], &made["Labels"]), (&json!("folders"), &labels), "{made}");
    let kept = exec(node, &arn, "main", "cat /far/options; echo written >/far/note");
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), options);
    assert_eq!(fs::read_to_string(root.join(&own).join("note")).unwrap(), "written\n");
    stop(&lab, &arn);
    wait_until("the end of the plugin's volume", DEADLINE, || Ok(!root.join(&own).exists())).unwrap();
    assert_no_leaks(&lab, &[]);
}

/// What a web server on a port of a host says.
fn says(lab: &Lab, address: SocketAddrV4, text: &str) {
    wait_until(&format!("{text} at {address}"), DEADLINE, || {
        Ok(http_get(lab, *address.ip(), address.port(), "/")?.contains(text))
    })
    .unwrap();
}

#[test]
fn links_name_other_containers_and_ranges_of_ports_stay_in_a_row() {
    let lab = lab(1);
    let node = lab.node(0);
    let serve = |port: u16| {
        format!("mkdir -p /tmp/{port}; echo page-{port} >/tmp/{port}/index.html; httpd -p {port} -h /tmp/{port};")
    };
    let mut db = shell("db", &format!("{} {} exec sleep 600", serve(7001), serve(7003)));
    merge(&mut db, json!({"portMappings": [{"containerPortRange": "7001-7003"}, {"containerPort": 80}]}));
    let mut web = idle("web");
    merge(&mut web, json!({"links": ["db", "db:database"]}));
    let definition = register(&lab, "linked", json!([web, db]), json!({}));
    let arn = run_one(&lab, &definition, json!({}));
    let task = running(&lab, &arn);
    let started = |name: &str| inspect(node, &arn, name)["State"]["StartedAt"].as_str().unwrap().to_owned();
    assert!(started("db") < started("web"), "the one that is linked begins first");
    for name in ["db", "database"] {
        wait_until("the linked server", DEADLINE, || {
            let page = exec(node, &arn, "web", &format!("wget -q -O - http://{name}:7001/ || true"));
            Ok(page == "page-7001\n")
        })
        .unwrap();
    }

    // The range has a range on the host, as long and in the same order.
    let bindings = container(&task, "db")["networkBindings"].as_array().unwrap().clone();
    assert_eq!(bindings.len(), 2, "one binding a mapping: {bindings:?}");
    let range = bindings.iter().find(|b| b["containerPortRange"] == "7001-7003").unwrap();
    assert!(range.get("containerPort").is_none() && range.get("hostPort").is_none(), "{range}");
    let (first, last) = range["hostPortRange"].as_str().unwrap().split_once('-').unwrap();
    let (first, last): (u16, u16) = (first.parse().unwrap(), last.parse().unwrap());
    assert_eq!((last - first, range["protocol"].as_str(), range["bindIP"].as_str()), (2, Some("tcp"), Some("0.0.0.0")));
    assert!((30_000..=32_767).contains(&first) && last <= 32_767, "{range} is not of the configured range");
    says(&lab, SocketAddrV4::new(node.host.address(), first), "page-7001");
    says(&lab, SocketAddrV4::new(node.host.address(), last), "page-7003");

    // A restart of the agent keeps them, and a second task has others.
    node.agent.terminate().unwrap();
    node.launch_agent().unwrap();
    let other = run_one(&lab, &definition, json!({}));
    let others = running(&lab, &other);
    let theirs = container(&others, "db")["networkBindings"].as_array().unwrap().clone();
    let theirs = theirs.iter().find(|b| b["containerPortRange"] == "7001-7003").unwrap()["hostPortRange"].clone();
    let (start, _) = theirs.as_str().unwrap().split_once('-').unwrap();
    let start: u16 = start.parse().unwrap();
    assert!(start > last || start + 2 < first, "{theirs} and {range} overlap");
    let ours = container(&super::support::task(&lab, &arn), "db")["networkBindings"].clone();
    assert_eq!(ours, json!(bindings));

    // One that needs a container that never was is not made, and says so.
    let mut never = idle("never");
    merge(&mut never, json!({"image": "longshore.invalid/none:1", "essential": false}));
    let mut needs = idle("needs");
    merge(&mut needs, json!({"links": ["never"]}));
    let definition = register(&lab, "forsaken", json!([needs, never]), json!({}));
    let ended = stopped(&lab, &run_one(&lab, &definition, json!({})));
    let reason = container(&ended, "needs")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("CannotCreateContainerError: container `never`"), "{ended:#}");
    for arn in [&arn, &other] {
        stop(&lab, arn);
    }
    assert_no_leaks(&lab, &[]);
    wait_until("closed ports", DEADLINE, || Ok(listening(node).is_empty())).unwrap();
}

/// The namespaces that a container is in: of processes, and of IPC.
fn namespaces(node: &Node, arn: &str, name: &str) -> (String, String) {
    let read = |kind: &str| exec(node, arn, name, &format!("readlink /proc/self/ns/{kind}")).trim().to_owned();
    (read("pid"), read("ipc"))
}

/// The pause containers of a host.
fn pauses(node: &Node) -> Vec<String> {
    let all = node.engine.containers().unwrap();
    all.into_iter().map(|c| c.name).filter(|name| name.ends_with(".pause")).collect()
}

#[test]
fn namespaces_are_shared_with_the_task_or_the_host_or_nobody() {
    let lab = lab(1);
    let node = lab.node(0);
    let start = |family: &str, more: Value| {
        let mut args = json!({});
        if more["networkMode"] == "awsvpc" {
            merge(&mut args, network(&lab, &[]));
        }
        let mut b = idle("b");
        if more["ipcMode"] == "task" {
            merge(&mut b, json!({"linuxParameters": {"sharedMemorySize": 3}}));
        }
        let definition = register(&lab, family, json!([idle("a"), b]), more);
        let arn = run_one(&lab, &definition, args);
        running(&lab, &arn);
        arn
    };
    let of = |arn: &str| (namespaces(node, arn, "a"), namespaces(node, arn, "b"));
    let host = |kind: &str| node.host.run("readlink", &[&format!("/proc/self/ns/{kind}")]).unwrap().trim().to_owned();

    // The whole task, on Docker's bridge and with an interface: processes and memory of one are the other's.
    for mode in ["bridge", "awsvpc"] {
        let more = json!({"networkMode": mode, "pidMode": "task", "ipcMode": "task"});
        let arn = start(&format!("shared-{mode}"), more);
        let (a, b) = of(&arn);
        assert_eq!(a, b, "{mode}");
        assert!(a.0 != host("pid") && a.1 != host("ipc"), "{mode}: {a:?}");
        assert_eq!(pauses(node), [format!("ls-{}.pause", id(&arn))]);
        exec(node, &arn, "a", "echo hello >/dev/shm/note; sleep 77 >/dev/null 2>&1 & exit 0");
        assert_eq!(exec(node, &arn, "b", "cat /dev/shm/note"), "hello\n", "{mode}");
        assert!(exec(node, &arn, "b", "ps").contains("sleep 77"), "{mode}");
        // An agent that was killed meanwhile goes on with it.
        node.agent.kill().unwrap();
        node.launch_agent().unwrap();
        stop(&lab, &arn);
        wait_until("the end of the pause container", DEADLINE, || Ok(pauses(node).is_empty())).unwrap();
    }
    // Only one of them.
    let arn = start("memory-alone", json!({"ipcMode": "task"}));
    let (a, b) = of(&arn);
    assert!(a.0 != b.0 && a.1 == b.1, "{a:?} {b:?}");
    // What one asks for is everybody's.
    assert_eq!(exec(node, &arn, "a", "df -k /dev/shm | tail -n 1 | awk '{print $2}'"), "3072\n");
    stop(&lab, &arn);

    let arn = start("of-the-host", json!({"pidMode": "host", "ipcMode": "host"}));
    let (a, b) = of(&arn);
    assert_eq!((&a, &b), (&(host("pid"), host("ipc")), &a));
    assert!(pauses(node).is_empty());
    stop(&lab, &arn);

    let arn = start("nobodys", json!({"ipcMode": "none"}));
    let (a, b) = of(&arn);
    assert!(a.1 != b.1 && a.1 != host("ipc"), "{a:?} {b:?}");
    assert_eq!(exec(node, &arn, "a", "mount | grep -c /dev/shm || true"), "0\n");
    stop(&lab, &arn);
    assert_no_leaks(&lab, &[]);

    // Whoever ends the pause container ends what lives in it; the task says that its containers were killed.
    let arn = start("killed", json!({"pidMode": "task"}));
    docker(node, &["kill", &format!("ls-{}.pause", id(&arn))]);
    let ended = stopped(&lab, &arn);
    assert_eq!(ended["stopCode"], "EssentialContainerExited", "{ended:#}");
    assert_eq!(container(&ended, "a")["exitCode"], 137, "{ended:#}");
    assert_no_leaks(&lab, &[]);
    assert!(pauses(node).is_empty());
}

/// What the kernel holds a container's swap to: with cgroup v1 memory and swap together, and its swappiness; with v2
/// swap alone.
fn swap_limits(node: &Node, arn: &str) -> Vec<u64> {
    let pid = inspect(node, arn, "main")["State"]["Pid"].as_i64().unwrap();
    let script = format!(
        "v1=$(grep ':memory:' /proc/{pid}/cgroup | cut -d: -f3); \
         v2=$(grep '^0::' /proc/{pid}/cgroup | cut -d: -f3); \
         cd /sys/fs/cgroup/memory$v1 2>/dev/null && cat memory.memsw.limit_in_bytes memory.swappiness || \
         cat /sys/fs/cgroup$v2/memory.swap.max"
    );
    let text = node.host.run("sh", &["-c", &script]).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// What the kernel gives a container of the processor, and leaves it of the memory when that is short: with cgroup v1
/// its shares and its soft limit, with v2 its weight and its low boundary.
fn reservations(node: &Node, arn: &str) -> Vec<u64> {
    let pid = inspect(node, arn, "main")["State"]["Pid"].as_i64().unwrap();
    // A hierarchy of v1 may have several controllers, as in `cpu,cpuacct`.
    let script = format!(
        "cpu=$(grep -E ':([^:]*,)?cpu(,[^:]*)?:' /proc/{pid}/cgroup | cut -d: -f3); \
         memory=$(grep ':memory:' /proc/{pid}/cgroup | cut -d: -f3); \
         v2=$(grep '^0::' /proc/{pid}/cgroup | cut -d: -f3); \
         if [ -n \"$memory\" ]; then \
         cat /sys/fs/cgroup/cpu$cpu/cpu.shares /sys/fs/cgroup/memory$memory/memory.soft_limit_in_bytes; else \
         cat /sys/fs/cgroup$v2/cpu.weight /sys/fs/cgroup$v2/memory.low; fi"
    );
    let text = node.host.run("sh", &["-c", &script]).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn limits_and_settings_of_the_kernel_hold_in_every_network_mode() {
    let lab = lab(1);
    let node = lab.node(0);
    let look = "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax; grep NoNewPrivs /proc/self/status; \
                df -k /dev/shm | tail -n 1";
    for mode in ["bridge", "none", "awsvpc", "host"] {
        let mut main =
            shell("main", "ulimit -Sn; ulimit -Hn; trap 'exit 0' TERM; echo ready; while true; do sleep 0.2; done");
        let net = json!({"namespace": "net.core.somaxconn", "value": "77"});
        let mut controls = json!([{"namespace": "kernel.msgmax", "value": "9999"}]);
        if mode != "host" {
            controls.as_array_mut().unwrap().push(net);
        }
        merge(
            &mut main,
            json!({
                "cpu": 64,
                "memoryReservation": 8,
                "systemControls": controls,
                "dockerSecurityOptions": ["no-new-privileges"],
                "ulimits": [{"name": "nofile", "softLimit": 77, "hardLimit": 88}],
                "linuxParameters": {
                    "sharedMemorySize": 3, "maxSwap": 8, "swappiness": 20, "initProcessEnabled": true,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]},
                    "devices": [
                        {"hostPath": "/dev/null", "containerPath": "/dev/nothing", "permissions": ["read"]},
                        // Every container may write to the other: it has the number of one of Docker's own.
                        {"hostPath": "/dev/loop-control", "containerPath": "/dev/reader", "permissions": ["read"]},
                    ],
                    "tmpfs": [{"containerPath": "/scratch", "size": 2, "mountOptions": ["noexec"]}],
                },
            }),
        );
        let definition = register(&lab, &format!("kernel-{mode}"), json!([main]), json!({"networkMode": mode}));
        let args = if mode == "awsvpc" { network(&lab, &[]) } else { json!({}) };
        let arn = run_one(&lab, &definition, args);
        running(&lab, &arn);
        let text = exec(node, &arn, "main", look);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0] == "77", lines[1]), (mode != "host", "9999"), "{mode}: {text}");
        assert_eq!(lines[2].split_whitespace().nth(1), Some("1"), "{mode}: {text}");
        assert_eq!(lines[3].split_whitespace().nth(1), Some("3072"), "{mode}: {text}");
        let own = exec(node, &arn, "main", "grep CapEff /proc/1/status; cat /proc/1/comm; cat /dev/nothing; mount");
        // NET_RAW is the 13th, and nothing else is left.
        assert!(own.contains("0000000000002000"), "{mode}: {own}");
        assert!(own.contains("docker-init"), "{mode}: {own}");
        assert!(own.lines().any(|l| l.contains(" /scratch ") && l.contains("noexec")), "{mode}: {own}");
        let host = inspect(node, &arn, "main")["HostConfig"].clone();
        assert_eq!(host["MemorySwap"], (16 + 8) << 20, "{mode}: maxSwap is swap beyond memory");
        assert_eq!(host["MemorySwappiness"], 20, "{mode}");
        let (both, swap): (u64, u64) = ((16 + 8) << 20, 8 << 20);
        let held = swap_limits(node, &arn);
        assert!(held == [both, 20] || held == [swap], "{mode}: {held:?}");
        // Runtimes make a weight of shares in proportion, and newer ones along a curve.
        let held = reservations(node, &arn);
        assert!([64_u64, 3, 12].iter().any(|cpu| held == [*cpu, 8 << 20]), "{mode}: {held:?}");
        let opened = exec(node, &arn, "main", "exec 3</dev/reader && echo opened; (: >/dev/reader) 2>&1 || true");
        let refused = opened.starts_with("opened\n") && opened.contains("/dev/reader: Operation not permitted");
        assert!(refused, "{mode}: {opened}");
        wait_ready(node, &arn, "main");
        let printed = output(node, &arn, "main");
        assert_eq!(printed, "77\n88\nready\n", "{mode}: the soft and the hard limit of open files");
        stop(&lab, &arn);
    }

    // What Docker leaves out of a container it only warns of: that is in the container's reason and the task's history.
    let made = node.host.dir().join("is-made");
    // As often as a shell can, and for as long as the task may take at most.
    let wrong = "end=$(($(date +%s)+60)); n=0; while [ ! -e $0 ]; do \
                 echo 0 >/proc/sys/net/ipv4/ip_forward; n=$((n+1)); \
                 [ $((n%10000)) != 0 ] || [ $(date +%s) -lt $end ] || exit 1; done; \
                 echo 1 >/proc/sys/net/ipv4/ip_forward";
    let definition = register(&lab, "warned", json!([idle("main")]), json!({}));
    // The agent puts right what its network needs, so it is wrong again and again until the container is made.
    let (arn, warned) = std::thread::scope(|scope| {
        let keeps = scope.spawn(|| node.host.run("sh", &["-c", wrong, made.to_str().unwrap()]).unwrap());
        wait_until("a host that does not forward", DEADLINE, || {
            Ok(node.host.run("cat", &["/proc/sys/net/ipv4/ip_forward"])?.trim() == "0")
        })
        .unwrap();
        let arn = run_one(&lab, &definition, json!({}));
        let tasks = wait_tasks(&lab, std::slice::from_ref(&arn), "RUNNING", DEADLINE);
        std::fs::write(&made, "").unwrap();
        keeps.join().unwrap();
        (arn, tasks[0].clone())
    });
    let said = "The container engine warns: IPv4 forwarding is disabled. Networking will not work.";
    assert_eq!(container(&warned, "main")["reason"], said, "{warned:#}");
    let args = json!({"tasks": [arn], "include": ["LONGSHORE_HISTORY"]});
    let history = lab.ecs("describe_tasks", args).unwrap()["tasks"][0]["attachments"].to_string();
    let told = "container `main`: the container engine warns: IPv4 forwarding is disabled";
    assert_eq!(history.matches(told).count(), 1, "{history}");
    stop(&lab, &arn);
    platforms_and_names(&lab);
    privileges(&lab);
    assert_no_leaks(&lab, &[]);
}

/// A container that knows a host by a name of its own, on the platform that it is for and on no other.
fn platforms_and_names(lab: &Lab) {
    let node = lab.node(0);
    let (here, elsewhere) = if cfg!(target_arch = "aarch64") { ("ARM64", "X86_64") } else { ("X86_64", "ARM64") };
    let on = |architecture: &str| {
        let mut main = idle("main");
        let hosts = json!([{"hostname": "db.lab", "ipAddress": "10.9.8.7"}]);
        merge(&mut main, json!({"extraHosts": hosts}));
        let platform = json!({"cpuArchitecture": architecture, "operatingSystemFamily": "LINUX"});
        register(lab, &format!("for-{architecture}"), json!([main]), json!({"runtimePlatform": platform}))
    };
    let arn = run_one(lab, &on(here), json!({}));
    running(lab, &arn);
    let seen = exec(node, &arn, "main", "grep db.lab /etc/hosts");
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["10.9.8.7", "db.lab"]);
    stop(lab, &arn);
    let answer = lab.ecs("run_task", json!({"taskDefinition": on(elsewhere)})).unwrap();
    assert_eq!((&answer["tasks"], &answer["failures"][0]["reason"]), (&json!([]), &json!("ATTRIBUTE")), "{answer}");
    assert!(answer["failures"][0]["detail"].to_string().contains("ecs.cpu-architecture"), "{answer}");
}

/// A container that may do everything does so, where Docker itself can run one: on a machine that lacks capabilities
/// itself it cannot, and the task says so in the same words.
fn privileges(lab: &Lab) {
    let node = lab.node(0);
    let mut main = idle("main");
    merge(&mut main, json!({"privileged": true}));
    let arn = run_one(lab, &register(lab, "mighty", json!([main]), json!({})), json!({}));
    let by_hand = node
        .host
        .run("docker", &["-H", &node.docker(), "run", "--rm", "--privileged", "--net", "none", "busybox", "true"]);
    match by_hand {
        Ok(_) => {
            running(lab, &arn);
            assert_eq!(inspect(node, &arn, "main")["HostConfig"]["Privileged"], true);
            let seen = exec(node, &arn, "main", "mount -t tmpfs none /tmp && grep CapEff /proc/1/status");
            assert_eq!(seen, node.host.run("grep", &["CapEff", "/proc/self/status"]).unwrap(), "all that there is");
            stop(lab, &arn);
        }
        Err(error) => {
            let why = "unable to apply caps: operation not permitted";
            assert!(error.to_string().contains(why), "{error}");
            let ended = stopped(lab, &arn);
            let reason = container(&ended, "main")["reason"].as_str().unwrap_or_default().to_owned();
            assert!(reason.starts_with("CannotStartContainerError: ") && reason.contains(why), "{ended:#}");
        }
    }
}

#[test]
fn a_host_that_cannot_limit_swap_is_given_no_task_that_asks_for_it() {
    let lab = lab(1);
    let node = lab.node(0);
    let swapping = |family: &str, linux: Value| {
        let mut main = idle("main");
        merge(&mut main, json!({"linuxParameters": linux}));
        register(&lab, family, json!([main]), json!({}))
    };
    let limit = swapping("swap-limit", json!({"maxSwap": 8}));
    let both = swapping("swappiness", json!({"maxSwap": 8, "swappiness": 20}));
    let nothing = swapping("no-swap", json!({"swappiness": 20}));
    for (truth, told, taken, refused, attribute) in [
        ("\"CgroupVersion\":\"1\"", "\"CgroupVersion\":\"2\"", [&limit, &nothing], vec![&both], "longshore.swappiness"),
        ("\"SwapLimit\":true", "\"SwapLimit\":null", [&nothing, &nothing], vec![&limit, &both], "longshore.swap-limit"),
    ] {
        // As on a host whose kernel cannot: this machine's can.
        let proxy = Proxy::start(node.host.dir().join("swap.sock"), node.engine.socket(), 0).unwrap();
        proxy.set_lie(truth, told);
        node.agent.kill().unwrap();
        let agent = host::program("longshore-agent").unwrap();
        node.agent.launch_as(&node.host, &proxy.address(), &agent, &[]).unwrap();
        wait_until("an agent that cannot", DEADLINE, || {
            let found =
                lab.ecs("list_attributes", json!({"targetType": "container-instance", "attributeName": attribute}))?;
            Ok(found["attributes"] == json!([]) && lab.instances()?[0]["agentConnected"] == true)
        })
        .unwrap();
        for definition in refused {
            let answer = lab.ecs("run_task", json!({"taskDefinition": definition})).unwrap();
            assert_eq!(answer["tasks"], json!([]), "{answer}");
            let failure = &answer["failures"][0];
            assert_eq!(failure["reason"], "ATTRIBUTE", "{answer}");
            assert!(failure["detail"].as_str().is_some_and(|detail| detail.contains(attribute)), "{answer}");
        }
        for definition in taken {
            let arn = run_one(&lab, definition, json!({}));
            running(&lab, &arn);
            stop(&lab, &arn);
        }
        node.agent.kill().unwrap();
    }
    node.launch_agent().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    assert_no_leaks(&lab, &[]);
}
