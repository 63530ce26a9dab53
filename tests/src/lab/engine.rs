//! The Docker Engine of a lab host: its daemon, and a small client that looks at it from outside the product.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::host::{Host, START_DEADLINE};
use super::process::{Process, Signal};
use super::wait::wait_until;

/// containerd dies with its dockerd, a moment later. A dockerd that starts in that moment takes it for alive, waits for
/// it and gives up.
const FORGET_CONTAINERD: &str = "file=/run/docker-lab/containerd/containerd.pid
pid=$(cat $file 2>/dev/null) || { echo gone; exit 0; }
stat=$(cat /proc/$pid/stat 2>/dev/null) || stat=
case \"$stat\" in
*'(containerd) Z'*) ;;
*'(containerd) '*) echo alive; exit 0 ;;
esac
rm -f $file
echo gone";

/// A dockerd of the lab's own.
pub struct Engine {
    socket: PathBuf,
    live_restore: bool,
    process: Mutex<Option<Process>>,
}

impl Engine {
    /// Starts dockerd on `host`. With `live_restore`, containers outlive the daemon, as on a host that is set up for
    /// it; Swarm mode does not work then. `runtimes` are those beside `runc`.
    ///
    /// # Errors
    /// When the daemon does not answer within a minute; the text has the end of its log.
    pub fn start(host: &Host, live_restore: bool, runtimes: &[(String, Vec<String>)]) -> Result<Self> {
        let of = |(name, command): &(String, Vec<String>)| {
            let (path, args) = command.split_first().context("a runtime without a command")?;
            anyhow::Ok((name.clone(), json!({"path": path, "runtimeArgs": args})))
        };
        let runtimes: Map<String, Value> = runtimes.iter().map(of).collect::<Result<_>>()?;
        let config = json!({"runtimes": runtimes}).to_string();
        std::fs::write(host.dir().join("daemon.json"), config).context("could not write dockerd's configuration")?;
        let engine = Self { socket: host.dir().join("docker.sock"), live_restore, process: Mutex::new(None) };
        engine.launch(host)?;
        engine.wait_ready(host)?;
        Ok(engine)
    }

    /// An Engine that somebody else runs, to look at and to import images into.
    #[must_use]
    pub fn foreign(socket: PathBuf) -> Self {
        Self { socket, live_restore: false, process: Mutex::new(None) }
    }

    /// The path of its socket, which is visible outside the host.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Starts the daemon again after [`Self::kill`], without waiting for it.
    ///
    /// # Errors
    /// When it ends at once.
    pub fn launch(&self, host: &Host) -> Result<()> {
        let dir = host.dir();
        // After a kill these name a process that is gone; in the host's pid namespace the number may be another's.
        let _ = std::fs::remove_file(dir.join("docker.pid"));
        let _ = std::fs::remove_file(&self.socket);
        wait_until("the end of the last dockerd's containerd", Duration::from_secs(10), || {
            Ok(host.run("sh", &["-c", FORGET_CONTAINERD])?.trim() == "gone")
        })?;
        let socket = format!("unix://{}", self.socket.display());
        let process = host.start("dockerd", Path::new("dockerd"), |command| {
            command.arg("--config-file").arg(dir.join("daemon.json"));
            command.arg("--data-root").arg(dir.join("docker"));
            // Under /run, which is the host's own: the paths of containerd's sockets have to be short.
            command.args(["--exec-root", "/run/docker-lab", "--exec-opt", "native.cgroupdriver=cgroupfs"]);
            command.arg("--pidfile").arg(dir.join("docker.pid")).args(["-H", &socket]);
            command.args(["--group", "root"]);
            if self.live_restore {
                command.arg("--live-restore");
            }
        })?;
        self.lock().replace(process);
        Ok(())
    }

    /// Waits until the daemon answers.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub fn wait_ready(&self, host: &Host) -> Result<()> {
        wait_until("an answer of dockerd", START_DEADLINE, || {
            ensure!(self.lock().as_ref().is_some_and(Process::lives), "dockerd ended: {}", host.log_tail("dockerd"));
            Ok(self.request("GET", "/_ping", "text/plain", b"").is_ok_and(|(status, _)| status == 200))
        })
    }

    /// Kills the daemon (and with it its containerd) with SIGKILL.
    ///
    /// # Errors
    /// When it does not die.
    pub fn kill(&self) -> Result<()> {
        let process = self.lock().take();
        process.map_or(Ok(()), Process::kill)
    }

    /// Stops the daemon as an operator would.
    ///
    /// # Errors
    /// When it does not end within 40 s.
    pub fn terminate(&self) -> Result<()> {
        let process = self.lock().take();
        process.map_or(Ok(()), |p| p.terminate(Duration::from_secs(40)))
    }

    /// Stops the daemon where it is, so that it answers nobody; [`Self::thaw`] lets it go on.
    pub fn freeze(&self) {
        if let Some(process) = self.lock().as_ref() {
            process.signal(Signal::SIGSTOP);
        }
    }

    /// Ends a [`Self::freeze`].
    pub fn thaw(&self) {
        if let Some(process) = self.lock().as_ref() {
            process.signal(Signal::SIGCONT);
        }
    }

    /// Asks the Engine API; gives the status and the body.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let mut stream = UnixStream::connect(&self.socket).context("could not connect to dockerd")?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        // HTTP/1.0, so that the answer ends with the connection and needs no parser.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("dockerd broke off")?;
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("an answer without a head")?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("an answer without a status")?;
        Ok((status, answer[end + 4..].to_vec()))
    }

    /// GETs JSON from the Engine API.
    ///
    /// # Errors
    /// When the daemon cannot be reached or answers with an error.
    pub fn get(&self, path: &str) -> Result<Value> {
        let (status, body) = self.request("GET", path, "application/json", b"")?;
        ensure!(status == 200, "dockerd answered {status} to GET {path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).with_context(|| format!("an odd answer to GET {path}"))
    }

    /// Every container, running or not, as the Engine lists them.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn containers(&self) -> Result<Vec<Container>> {
        let list = self.get("/containers/json?all=1")?;
        let list = list.as_array().context("a list of containers that is none")?;
        Ok(list.iter().map(Container::read).collect())
    }

    /// What inspecting a container says.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn inspect(&self, name: &str) -> Result<Value> {
        self.get(&format!("/containers/{name}/json"))
    }

    /// Imports a root file system, given as a tar archive, as the image `name:latest`.
    ///
    /// # Errors
    /// When the daemon refuses it.
    pub fn import(&self, name: &str, tar: &[u8], changes: &[&str]) -> Result<()> {
        let mut path = format!("/images/create?fromSrc=-&repo={name}&tag=latest");
        for change in changes {
            path.push_str("&changes=");
            path.push_str(&encode(change));
        }
        let (status, body) = self.request("POST", &path, "application/x-tar", tar)?;
        let text = String::from_utf8_lossy(&body);
        ensure!(status == 200 && !text.contains("\"error\""), "could not import image {name}: {status} {text}");
        Ok(())
    }

    /// Removes an image's name; nothing happens when it has none such.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub fn forget_image(&self, name: &str) -> Result<()> {
        self.request("DELETE", &format!("/images/{name}"), "application/json", b"").map(|_| ())
    }

    /// Resident memory of the daemon, in KiB.
    ///
    /// # Errors
    /// When it does not run.
    pub fn rss_kib(&self) -> Result<u64> {
        self.lock().as_ref().context("dockerd is not running")?.rss_kib()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A container as the Engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The Engine's id.
    pub id: String,
    /// Its name, without the slash.
    pub name: String,
    /// `created`, `running`, `exited` and so on.
    pub state: String,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Container {
    fn read(value: &Value) -> Self {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let labels = value["Labels"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), text(v))).collect();
        Self {
            id: text(&value["Id"]),
            name: text(&value["Names"][0]).trim_start_matches('/').to_owned(),
            state: text(&value["State"]),
            labels,
        }
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
