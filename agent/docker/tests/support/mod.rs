//! A Docker Engine of a test's own: own network namespace, own directories, gone with the test.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use longshore_docker::{ContainerInput, CreateContainer, Docker, container_config};
use longshore_model::{ClusterName, ContainerName, ContainerSpec, NetworkBinding, NetworkMode, TaskId, TaskSpec};
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The image that every test engine has: busybox, static, with a link for each applet that tests use.
pub(crate) const IMAGE: &str = "longshore-test/busybox:1";

const APPLETS: [&str; 20] = [
    "sh", "sleep", "cat", "echo", "ls", "id", "ip", "hostname", "mount", "env", "pwd", "true", "false", "kill", "nc",
    "dd", "stat", "touch", "sed", "test",
];

/// A running engine. Dropping it ends it, its containers and everything that it wrote.
pub(crate) struct Engine {
    directory: tempfile::TempDir,
    daemon: Option<Child>,
    helpers: Vec<Child>,
    extra: Vec<String>,
}

/// Why there is no real engine to test with, or `None` when there can be one.
pub(crate) fn missing() -> Option<&'static str> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    let have = |program: &str| {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
        found.is_ok_and(|s| s.success())
    };
    if !root {
        return Some("this is not root");
    }
    ["dockerd", "unshare", "nsenter", "setpriv", "busybox", "tar"]
        .into_iter()
        .find(|p| !have(p))
        .map(|_| "dockerd, unshare, nsenter, setpriv, busybox or tar is not installed")
}

impl Engine {
    /// Starts an engine and gives it [`IMAGE`]. A machine where that is impossible fails the test: nothing was shown.
    pub(crate) fn start(extra: &[&str]) -> Self {
        if let Some(why) = missing() {
            panic!("no real Docker Engine to test with: {why}; `make setup-test` installs what is missing");
        }
        let directory = tempfile::Builder::new().prefix("longshore-docker-").tempdir().expect("a temporary directory");
        let extra = extra.iter().map(|&e| e.to_owned()).collect();
        let mut engine = Self { directory, daemon: None, helpers: Vec::new(), extra };
        engine.start_daemon();
        engine.import(IMAGE);
        engine
    }

    /// (Re)starts the daemon on the same data and waits until it answers.
    pub(crate) fn start_daemon(&mut self) {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        self.forget_dead_containerd();
        let log = std::fs::File::options().create(true).append(true).open(path("log")).expect("a log file");
        // The daemon dies with the test, whatever ends the test. lo is down in a fresh namespace.
        let script = "ip link set lo up && exec dockerd \"$@\"";
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "unshare", "--net", "--mount", "--", "sh", "-c", script, "dockerd"])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--host", &self.endpoint(), "--max-download-attempts", "1"])
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("dockerd starts");
        self.daemon = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.cli(&["version", "--format", "ok"]).status.success() {
            let text = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "dockerd did not come up:\n{}", text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// dockerd takes a containerd whose process id exists for alive: one that dies with the last dockerd, a moment
    /// later, and one that nobody has reaped yet. It would wait for it and give up.
    fn forget_dead_containerd(&self) {
        let file = self.directory.path().join("exec/containerd/containerd.pid");
        let Ok(pid) = std::fs::read_to_string(&file) else { return };
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            if !stat.contains("(containerd) ") || stat.contains(") Z ") {
                break;
            }
            assert!(Instant::now() < deadline, "the last dockerd's containerd does not end: {stat}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = std::fs::remove_file(file);
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}/docker.sock", self.directory.path().display())
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// The daemon's network namespace, for tools that must run beside it.
    pub(crate) fn netns(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.pid()).into()
    }

    /// Runs the `docker` command against this engine.
    pub(crate) fn cli(&self, args: &[&str]) -> std::process::Output {
        Command::new("docker").args(["-H", &self.endpoint()]).args(args).output().expect("the docker command runs")
    }

    /// Runs the `docker` command and returns what it printed; fails the test when it fails.
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(output.status.success(), "docker {args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Makes an image of busybox without a registry.
    pub(crate) fn import(&self, reference: &str) {
        let root = self.directory.path().join("image");
        let bin = root.join("bin");
        std::fs::create_dir_all(&bin).expect("made");
        let busybox =
            String::from_utf8(Command::new("sh").args(["-c", "command -v busybox"]).output().expect("sh").stdout)
                .expect("a path");
        std::fs::copy(busybox.trim(), bin.join("busybox")).expect("copied");
        for applet in APPLETS {
            let _ = std::os::unix::fs::symlink("busybox", bin.join(applet));
        }
        let tar = Command::new("tar").args(["-C", &root.display().to_string(), "-c", "."]).output().expect("tar runs");
        let mut import = Command::new("docker")
            .args(["-H", &self.endpoint(), "import", "--change", "CMD [\"/bin/sleep\",\"1000\"]"])
            .args(["--change", "ENV PATH=/bin", "-", reference])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("docker import starts");
        import.stdin.take().expect("piped").write_all(&tar.stdout).expect("the image is taken");
        assert!(import.wait().expect("docker import ends").success());
    }

    /// Runs a program in the engine's network namespace until the engine goes.
    pub(crate) fn beside(&mut self, program: &str, args: &[&str]) {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "nsenter", &format!("--net={}", self.netns().display()), program])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the helper starts");
        self.helpers.push(child);
    }

    /// Runs a program in the engine's network namespace and returns what it printed.
    pub(crate) fn inside(&self, args: &[&str]) -> String {
        let netns = format!("--net={}", self.netns().display());
        let output = Command::new("nsenter").arg(netns).args(args).output().expect("nsenter runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Kills the daemon without notice; containers and their shims stay.
    pub(crate) fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("killed");
            daemon.wait().expect("reaped");
        }
    }

    /// Freezes (`STOP`) or thaws (`CONT`) the daemon. Once it is frozen no thread of it answers any more.
    pub(crate) fn signal(&self, signal: &str) {
        signal_pid(signal, self.pid());
        let deadline = Instant::now() + Duration::from_secs(10);
        while signal == "STOP" && !is_frozen(self.pid()) {
            assert!(Instant::now() < deadline, "the daemon goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for helper in &mut self.helpers {
            let _ = helper.kill();
            let _ = helper.wait();
        }
        if let Some(mut daemon) = self.daemon.take() {
            let pid = daemon.id();
            signal_pid("CONT", pid);
            let ids = self.cli(&["ps", "-aq"]);
            let ids = String::from_utf8_lossy(&ids.stdout).into_owned();
            let ids: Vec<&str> = ids.split_whitespace().collect();
            if !ids.is_empty() {
                self.cli(&[&["rm", "-f", "-v"], ids.as_slice()].concat());
            }
            signal_pid("TERM", pid);
            let deadline = Instant::now() + Duration::from_secs(20);
            while Instant::now() < deadline && !matches!(daemon.try_wait(), Ok(Some(_))) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Whether every thread of a process is stopped.
fn is_frozen(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    let mut stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    let stopped = |stat: String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
    stats.all(stopped)
}

fn signal_pid(signal: &str, pid: u32) {
    let _ = Command::new("kill").args(["-s", signal, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Waits until `check` gives a value, and fails after half a minute.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A handle on the engine.
pub(crate) async fn connect(engine: &Engine) -> Docker {
    Docker::connect(&engine.endpoint()).await.expect("the endpoint is well-formed")
}

/// A task of one container that runs `command` by `sh -c`.
pub(crate) fn task(mode: NetworkMode, command: &str) -> TaskSpec {
    let cluster = ClusterName::new("prod").expect("a name");
    TaskSpec {
        arn: "arn:aws:ecs:lab:123456789012:task/prod/0123456789abcdef0123456789abcdef".into(),
        revision: 7,
        ..TaskSpec::new(TaskId::random(), cluster, "web", mode, vec![container(command)])
    }
}

/// A container named `main` that runs `command` by `sh -c`.
pub(crate) fn container(command: &str) -> ContainerSpec {
    ContainerSpec {
        arn_id: "6f4b5d6e-0000-4000-8000-000000000000".into(),
        command: Some(vec!["/bin/sh".into(), "-c".into(), command.into()]),
        ..ContainerSpec::new(ContainerName::new("main").expect("a name"), IMAGE)
    }
}

/// The task's first container, ready to be created.
pub(crate) fn config(task: &TaskSpec, bindings: &[NetworkBinding]) -> CreateContainer {
    let container = &task.containers[0];
    let input =
        ContainerInput { task, container, bindings, sandbox: None, cgroup_parent: None, supervise: "{\"v\":1}" };
    container_config(&input).expect("the engine can be told")
}
