//! The smallest fleet: a control plane on loopback and one agent on this machine's own Docker. No faults, no isolation.
//!
//! It touches nothing of Docker's but the containers of its own tasks and one image name, and takes both back, as it
//! does the agent's table and address for tasks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::boto::Boto;
use super::cgroup;
use super::engine::Engine;
use super::host::{program, tail};
use super::image;
use super::process::{Signal, kill_checked};
use super::product::{ACCOUNT, REGION, RootKey};
use super::wait::wait_until;

/// What busybox is called in this machine's Docker while the fleet stands.
pub const IMAGE: &str = "longshore-demo";

/// The control group above the tasks' own.
const TASKS_GROUP: &str = "longshore-demo";

/// What takes back the agent's place for tasks' questions (docs/metadata.md), which is this machine's own here. An
/// agent that is installed on it would put it back.
const FOR_TASKS: [&str; 2] = ["nft delete table inet ls_meta", "ip addr del 169.254.170.2/32 dev lo"];

/// A control plane and an agent on this machine.
pub struct Local {
    dir: PathBuf,
    endpoint: String,
    key: RootKey,
    engine: Engine,
    children: Vec<Child>,
}

impl Local {
    /// Starts both, with files in `dir`, and waits until the agent is connected.
    ///
    /// # Errors
    /// When no Docker answers here, or a program does not come up.
    pub fn start(dir: &Path) -> Result<Self> {
        let socket = match std::env::var("DOCKER_HOST") {
            Ok(host) => host.strip_prefix("unix://").map(PathBuf::from).with_context(|| {
                format!("DOCKER_HOST is {host}; only a socket on this machine (unix://...) can be the one host")
            })?,
            Err(_) => PathBuf::from("/var/run/docker.sock"),
        };
        let engine = Engine::foreign(socket);
        if engine.request("GET", "/_ping", "text/plain", b"").is_err() {
            bail!(
                "no Docker Engine answers at {}; start it (`systemctl start docker` or `service docker start`), \
                 set DOCKER_HOST, or leave HOSTS=local away to get three hosts with a Docker of their own",
                engine.socket().display()
            );
        }
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        let dir = fs::canonicalize(dir)?;
        image::load_busybox(&engine, &dir.join("images"), IMAGE)?;
        let endpoint = "http://127.0.0.1:7420".to_owned();
        let mut local = Self { dir, endpoint, key: RootKey::random(), engine, children: Vec::new() };
        local.start_control()?;
        local.start_agent()?;
        Ok(local)
    }

    fn start_control(&mut self) -> Result<()> {
        let file = self.dir.join("control.toml");
        let text = format!(
            "data_dir = \"{}\"\napi_listen = \"127.0.0.1:7420\"\nagent_listen = \"127.0.0.1:7421\"\n\
             advertise = \"127.0.0.1:7421\"\naccount_id = \"{ACCOUNT}\"\n",
            self.dir.join("control").display()
        );
        fs::write(&file, text)?;
        let mut command = Command::new(program("longshore-control")?);
        command.arg("--config").arg(&file);
        command.env("LONGSHORE_CONTROL_ROOT_ACCESS_KEY_ID", &self.key.id);
        command.env("LONGSHORE_CONTROL_ROOT_SECRET_ACCESS_KEY", &self.key.secret);
        self.spawn("control", command)?;
        wait_until("the control plane's API", Duration::from_secs(60), || {
            self.check_alive("control")?;
            Ok(std::net::TcpStream::connect("127.0.0.1:7420").is_ok())
        })
    }

    fn start_agent(&mut self) -> Result<()> {
        let mut boto = self.boto()?;
        let made = boto.call("ssm", "create_activation", json!({"IamRole": "demo"}))??;
        let token = self.dir.join("token");
        fs::write(&token, made["ActivationCode"].as_str().context("an activation without a code")?)?;
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
        let file = self.dir.join("agent.toml");
        let text = format!(
            "data_dir = \"{}\"\ncontrol = \"127.0.0.1:7421\"\ntoken_file = \"{}\"\ndocker = \"unix://{}\"\n\
             status_socket = \"{}\"\ntask_cgroup_parent = \"{TASKS_GROUP}\"\ncleanup_wait = \"1s\"\n\
             task_network = false\n",
            self.dir.join("agent").display(),
            token.display(),
            self.engine.socket().display(),
            self.dir.join("status.sock").display(),
        );
        fs::write(&file, text)?;
        let mut command = Command::new(program("longshore-agent")?);
        command.arg("--config").arg(&file);
        self.spawn("agent", command)?;
        wait_until("a connected agent", Duration::from_secs(60), || {
            self.check_alive("agent")?;
            let list = boto.call("ecs", "list_container_instances", json!({"filter": "agentConnected == true"}))?;
            Ok(list.is_ok_and(|l| l["containerInstanceArns"].as_array().is_some_and(|a| !a.is_empty())))
        })
        .with_context(|| tail(&self.dir.join("agent.log")))
    }

    fn spawn(&mut self, name: &str, mut command: Command) -> Result<()> {
        let log = fs::File::create(self.dir.join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.children.push(command.spawn().with_context(|| format!("could not start {name}"))?);
        Ok(())
    }

    fn check_alive(&self, name: &str) -> Result<()> {
        let pid = self.children.last().map_or(0, Child::id).cast_signed();
        let text = || format!("{name} ended: {}", tail(&self.dir.join(format!("{name}.log"))));
        ensure!(super::owner::start_time(pid).is_some(), text());
        Ok(())
    }

    /// A boto3 for it.
    ///
    /// # Errors
    /// When Python cannot be started.
    pub fn boto(&self) -> Result<Boto> {
        Boto::start(None, &self.key, &self.endpoint)
    }

    /// The URL of its API.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its root access key.
    #[must_use]
    pub fn key(&self) -> &RootKey {
        &self.key
    }

    /// The region that clients use.
    #[must_use]
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// Stops every task, and waits until their containers are gone from Docker.
    fn stop_tasks(&self) -> Result<()> {
        let mut boto = self.boto()?;
        let mut ids = Vec::new();
        for status in ["RUNNING", "STOPPED"] {
            let list = boto.call("ecs", "list_tasks", json!({"desiredStatus": status}))??;
            for arn in list["taskArns"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if status == "RUNNING" {
                    boto.call("ecs", "stop_task", json!({"task": arn, "reason": "the demonstration ends"}))??;
                }
                ids.extend(arn.rsplit('/').next().map(str::to_owned));
            }
        }
        wait_until("the end of the tasks' containers", Duration::from_secs(90), || {
            let containers = self.engine.containers()?;
            Ok(!containers.iter().any(|c| ids.iter().any(|id| c.name.contains(id.as_str()))))
        })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.children.len() == 2
            && let Err(error) = self.stop_tasks()
        {
            eprintln!("lab: could not stop the demonstration's tasks: {error:#}");
        }
        for child in self.children.iter_mut().rev() {
            // Not waited for yet, so the number cannot have become another's.
            kill_checked(child.id().cast_signed(), None, Signal::SIGTERM);
            let _ = wait_until("the end of a program", Duration::from_secs(20), || Ok(child.try_wait()?.is_some()));
            let _ = child.kill();
            let _ = child.wait();
        }
        for line in FOR_TASKS {
            let _ = Command::new("sh").args(["-c", line]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        let _ = self.engine.forget_image(IMAGE);
        let _ = cgroup::remove_empty(TASKS_GROUP);
        let _ = fs::remove_dir_all(&self.dir);
    }
}
