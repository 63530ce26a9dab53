//! The lab: several real hosts on one machine, each with a kernel's view of its own (network, mounts, processes,
//! names, control groups), its own dockerd and its own agent; and a control plane on a machine of its own.
//!
//! It owns every process that it starts and leaves nothing behind: when the process that made a lab ends, however it
//! ends, the first process of each lab host ends too, and the kernel takes the rest (`init`); files and empty control
//! groups of a killed test are removed by the next lab (`janitor`).
//! It never looks into the product: what it checks, it sees through Docker, the kernel and the public API.

pub mod boto;
pub mod cgroup;
pub mod engine;
pub mod host;
pub mod image;
pub mod init;
pub mod janitor;
pub mod local;
pub mod net;
pub mod owner;
pub mod process;
pub mod product;
pub mod proxy;
pub mod registry;
pub mod standing;
pub mod wait;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

pub use boto::{ApiError, Boto};
pub use engine::{Container, Engine};
pub use host::Host;
pub use product::{Agent, Control, RootKey};
pub use wait::{invariant, wait_for, wait_until};

use owner::LabName;

/// How a lab is to be.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// How many hosts; 0 for the API alone.
    pub hosts: u8,
    /// Whether the product runs; without it, hosts have only Docker.
    pub product: bool,
    /// Whether the hosts' agents are joined and started.
    pub join: bool,
    /// Whether containers outlive dockerd, as on a host that is set up for it.
    pub live_restore: bool,
    /// OCI runtimes of each dockerd beside `runc`: a name, and the command that is one, with its arguments.
    pub runtimes: Vec<(String, Vec<String>)>,
    /// Whether the machine itself gets a cable to the lab.
    pub reachable: bool,
    /// MiB of a disk of its own for each host's Docker, in memory; without it, Docker has its data on the machine's.
    pub docker_mib: Option<u32>,
    /// The same for what each agent keeps.
    pub agent_mib: Option<u32>,
    /// Whether machines have IPv6 addresses beside their IPv4 addresses ([`net::address6`]).
    pub ipv6: bool,
    /// Lines added to the control plane's configuration.
    pub control: String,
    /// Lines added to each agent's configuration; `{address6}` in them is the host's IPv6 address, `{zone}` is `z1` on
    /// the first, third and so on, and `z2` on the others.
    pub agent: String,
}

impl Default for LabConfig {
    fn default() -> Self {
        Self {
            hosts: 1,
            product: true,
            join: true,
            live_restore: true,
            runtimes: Vec::new(),
            reachable: false,
            docker_mib: None,
            agent_mib: None,
            ipv6: false,
            control: String::new(),
            agent: String::new(),
        }
    }
}

/// A host with its Docker and its agent.
pub struct Node {
    /// The machine.
    pub host: Host,
    /// Its dockerd.
    pub engine: Engine,
    /// Its agent.
    pub agent: Agent,
}

impl Node {
    /// Where its Docker listens, as agents and Docker's own clients write it.
    #[must_use]
    pub fn docker(&self) -> String {
        format!("unix://{}", self.engine.socket().display())
    }

    /// Starts the agent, without waiting for it.
    ///
    /// # Errors
    /// When it ends at once.
    pub fn launch_agent(&self) -> Result<()> {
        self.agent.launch(&self.host, &self.docker())
    }

    /// Containers of ECS tasks, by name, whatever their state. Sandboxes of their interfaces are not among them.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub fn task_containers(&self) -> Result<Vec<Container>> {
        let ours = |c: &Container| c.name.starts_with("ls-") && !c.name.starts_with("ls-eni-");
        Ok(self.engine.containers()?.into_iter().filter(ours).collect())
    }
}

/// A control plane and its hosts.
pub struct Lab {
    // Order matters when a lab is dropped: clients, then programs, then machines, then files.
    boto: Mutex<Option<Boto>>,
    control: Option<Control>,
    nodes: Vec<Node>,
    ctl: Host,
    switch: Host,
    config: LabConfig,
    files: Files,
}

/// Removes the lab's files and groups, last of all.
struct Files {
    name: LabName,
    dir: PathBuf,
}

impl Drop for Files {
    fn drop(&mut self) {
        for group in cgroup::names_with(&format!("{}.", self.name)).unwrap_or_default() {
            if let Err(error) = cgroup::remove(&group) {
                eprintln!("lab: could not remove control group {group}: {error:#}");
            }
        }
        if std::env::var_os("LONGSHORE_LAB_KEEP_FILES").is_some() {
            eprintln!("lab: files kept in {}", self.dir.display());
        } else {
            janitor::remove_dir(&self.dir);
            // Only when no other lab has its files there.
            let _ = std::fs::remove_dir(janitor::LABS_DIR);
        }
    }
}

impl Lab {
    /// Makes a lab: machines and Docker in parallel, then the control plane, then the agents, and waits until each
    /// agent is connected.
    ///
    /// # Errors
    /// When anything does not come up; the text has the end of the log that says why. Nothing is left behind.
    pub fn new(config: LabConfig) -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "a lab needs root: it makes namespaces and runs dockerd");
        janitor::sweep()?;
        let name = LabName::new()?;
        let dir = Path::new(janitor::LABS_DIR).join(name.to_string());
        // Again, in case a lab that just went has taken the empty parent with it.
        wait_until("the lab's directory", Duration::from_secs(2), || {
            std::fs::create_dir_all(&dir).with_context(|| format!("could not make {}", dir.display()))?;
            Ok(true)
        })?;
        let files = Files { name, dir };

        let make = |short: &str, address: Ipv4Addr| {
            Host::create(short, format!("{}.{short}", files.name), files.dir.join(short), address)
        };
        let switch = make("switch", Ipv4Addr::UNSPECIFIED)?;
        net::make_switch(&switch)?;
        let ctl = make("ctl", net::CONTROL)?;
        let plug = |host: &Host| {
            net::plug(&switch, host)?;
            if config.ipv6 { net::add_address6(host) } else { Ok(()) }
        };
        plug(&ctl)?;
        if config.reachable {
            net::plug_outside(&switch)?;
        }
        let node = |index: u8| -> Result<Node> {
            let host = make(&format!("h{index}"), net::host_address(index))?;
            plug(&host)?;
            for (directory, mib) in [("docker", config.docker_mib), ("agent", config.agent_mib)] {
                mib.map_or(Ok(()), |mib| host.mount_disk(directory, mib))?;
            }
            let engine = Engine::start(&host, config.live_restore, &config.runtimes)?;
            image::load(&engine, &host.dir().join("images"))?;
            let zone = if index % 2 == 1 { "z1" } else { "z2" };
            let agent = config.agent.replace("{address6}", &host.address6().to_string()).replace("{zone}", zone);
            let agent = Agent::new(&agent);
            Ok(Node { host, engine, agent })
        };
        // One thread a host, and the control plane meanwhile.
        let (nodes, control) = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=config.hosts).map(|i| scope.spawn(move || node(i))).collect();
            let control = config.product.then(|| Control::start(&ctl, RootKey::random(), &config.control)).transpose();
            let nodes: Result<Vec<Node>> =
                threads.into_iter().map(|t| t.join().unwrap_or_else(|_| anyhow::bail!("a host panicked"))).collect();
            (nodes, control)
        });
        let lab = Self { boto: Mutex::new(None), control: control?, nodes: nodes?, ctl, switch, config, files };
        if lab.config.product && lab.config.join && !lab.nodes.is_empty() {
            lab.join_all()?;
        }
        Ok(lab)
    }

    /// A lab with `hosts` hosts and everything else usual.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_hosts(hosts: u8) -> Result<Self> {
        Self::new(LabConfig { hosts, ..LabConfig::default() })
    }

    fn join_all(&self) -> Result<()> {
        let limit = self.nodes.len();
        let token = self.join_token(json!({"RegistrationLimit": limit}))?;
        for node in &self.nodes {
            Agent::write_token(&node.host, &token)?;
            node.launch_agent()?;
        }
        self.wait_connected(limit, Duration::from_secs(60))
    }

    /// Waits until `count` container instances of the cluster `default` are connected.
    ///
    /// # Errors
    /// When they are not before `deadline`; the text has the end of the agents' logs.
    pub fn wait_connected(&self, count: usize, deadline: Duration) -> Result<()> {
        wait_until(&format!("{count} connected agents"), deadline, || {
            let connected = self.instances()?.iter().filter(|i| i["agentConnected"] == true).count();
            Ok(connected >= count)
        })
        .map_err(|error| {
            let logs: Vec<String> = self
                .nodes
                .iter()
                .map(|n| format!("--- agent of {} ---\n{}", n.host.name(), n.host.log_tail("agent")))
                .collect();
            let control = self.ctl.log_tail("control");
            error.context(format!("{}\n--- control plane ---\n{control}", logs.join("\n")))
        })
    }

    /// Makes a join token as ECS Anywhere does: `ssm create-activation`. The activation code is the token.
    ///
    /// # Errors
    /// When the API refuses.
    pub fn join_token(&self, mut args: Value) -> Result<String> {
        args["IamRole"] = json!("lab");
        let made = self.call("ssm", "create_activation", args)??;
        Ok(made["ActivationCode"].as_str().context("an activation without a code")?.to_owned())
    }

    /// The container instances of the cluster `default`; none while it does not exist.
    ///
    /// # Errors
    /// When the API refuses.
    pub fn instances(&self) -> Result<Vec<Value>> {
        let list = match self.ecs("list_container_instances", json!({})) {
            Err(error) if error.downcast_ref::<ApiError>().is_some_and(|e| e.code == "ClusterNotFoundException") => {
                return Ok(Vec::new());
            }
            other => other?,
        };
        if list["containerInstanceArns"].as_array().is_none_or(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let args = json!({"containerInstances": list["containerInstanceArns"]});
        let found = self.ecs("describe_container_instances", args)?;
        Ok(found["containerInstances"].as_array().cloned().unwrap_or_default())
    }

    /// The hosts, the first of which is `h1`.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Host number `index`, from 0.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// The control plane.
    ///
    /// # Panics
    /// When this lab was made without the product.
    #[must_use]
    pub fn control(&self) -> &Control {
        self.control.as_ref().expect("a lab with the product has a control plane")
    }

    /// The machine of the control plane.
    #[must_use]
    pub fn ctl(&self) -> &Host {
        &self.ctl
    }

    /// The machine that joins the others.
    #[must_use]
    pub fn switch(&self) -> &Host {
        &self.switch
    }

    /// The lab's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.files.dir
    }

    /// The name that everything of this lab carries.
    #[must_use]
    pub fn name(&self) -> String {
        self.files.name.to_string()
    }

    /// The URL of the API, for clients in the lab's network.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}:{}", net::CONTROL, product::API_PORT)
    }

    /// Starts the control plane again after a kill and waits for its API.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart_control(&self) -> Result<()> {
        self.control().launch(&self.ctl)?;
        self.control().wait_ready(&self.ctl)
    }

    /// A further boto3, for calls that are to happen at the same time.
    ///
    /// # Errors
    /// When Python cannot be started.
    pub fn boto(&self) -> Result<Boto> {
        Boto::start(Some(&self.ctl), self.control().key(), &self.endpoint())
    }

    /// Asks the lab's own boto3; see [`Boto::ask`].
    ///
    /// # Errors
    /// See [`Boto::ask`].
    pub fn ask(&self, request: &Value) -> Result<Result<Value, ApiError>> {
        let mut boto = self.boto.lock().unwrap_or_else(PoisonError::into_inner);
        if boto.is_none() {
            *boto = Some(self.boto()?);
        }
        boto.as_mut().context("no boto3")?.ask(request)
    }

    /// Calls an operation of any service through boto3.
    ///
    /// # Errors
    /// See [`Boto::ask`].
    pub fn call(&self, service: &str, op: &str, args: Value) -> Result<Result<Value, ApiError>> {
        self.ask(&json!({"kind": "call", "service": service, "op": op, "args": args}))
    }

    /// Calls an ECS operation that is expected to succeed; the error is an [`ApiError`] when the API refused.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub fn ecs(&self, op: &str, args: Value) -> Result<Value> {
        Ok(self.call("ecs", op, args)??)
    }

    /// Calls an ECS operation that is expected to fail, and gives the error.
    ///
    /// # Errors
    /// When it succeeds.
    pub fn ecs_error(&self, op: &str, args: Value) -> Result<ApiError> {
        match self.call("ecs", op, args.clone())? {
            Err(error) => Ok(error),
            Ok(value) => anyhow::bail!("{op} {args} was expected to fail and answered {value}"),
        }
    }

    /// Runs one of boto3's waiters, with a shorter delay between looks.
    ///
    /// # Errors
    /// When the waiter gives up.
    pub fn wait_ecs(&self, waiter: &str, args: Value) -> Result<()> {
        let request =
            json!({"kind": "wait", "service": "ecs", "waiter": waiter, "args": args, "delay": 1, "attempts": 90});
        self.ask(&request)??;
        Ok(())
    }

    /// Runs the real `aws` command.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn aws(&self, args: &[&str]) -> Result<Output> {
        boto::aws(&self.ctl, self.control().key(), &self.endpoint(), args)
    }

    /// The real `aws` command of version 2, to run or to spawn.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn aws2(&self, args: &[&str]) -> Result<std::process::Command> {
        boto::aws2(&self.ctl, self.control().key(), &self.endpoint(), args)
    }

    /// Starts a Python program with boto3 on the control plane's machine; what it prints goes to `<dir>/<name>.log`.
    ///
    /// # Errors
    /// When it cannot be started or ends at once.
    pub fn python(&self, name: &str, program: &str, args: &[&str]) -> Result<process::Process> {
        self.ctl.start(name, &boto::venv()?.join("bin/python"), |command| {
            boto::client_environment(command, self.control().key(), &self.endpoint());
            command.args(["-u", "-c", program]).args(args);
        })
    }

    /// Connects to an address of the lab from the control plane's machine.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn connect(&self, address: SocketAddrV4) -> Result<std::net::TcpStream> {
        self.ctl.in_network(|| Ok(std::net::TcpStream::connect_timeout(&address.into(), Duration::from_secs(5))?))
    }

    /// Cuts the power of host `index` and starts it again with its dockerd: processes, namespaces, mounts and control
    /// groups are gone, files are there. The agent is not started.
    ///
    /// # Errors
    /// When the machine or its dockerd does not come up.
    pub fn reboot(&self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        net::unplug(&self.switch, &node.host)?;
        node.host.destroy();
        node.agent.kill()?;
        node.engine.kill()?;
        node.host.boot_again()?;
        net::plug(&self.switch, &node.host)?;
        if self.config.ipv6 {
            net::add_address6(&node.host)?;
        }
        node.engine.launch(&node.host)?;
        node.engine.wait_ready(&node.host)
    }

    /// Pulls the cable of host `index`: both ends see the link go.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn cut(&self, index: usize) -> Result<()> {
        net::set_cable(&self.switch, &self.nodes[index].host, false)
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn mend(&self, index: usize) -> Result<()> {
        net::set_cable(&self.switch, &self.nodes[index].host, true)
    }

    /// Makes the network drop everything from and to host `index`, which sees its link stay up.
    ///
    /// # Errors
    /// When `bridge` refuses.
    pub fn partition(&self, index: usize) -> Result<()> {
        net::set_partition(&self.switch, &self.nodes[index].host, true)
    }

    /// Ends a [`Self::partition`].
    ///
    /// # Errors
    /// When `bridge` refuses.
    pub fn heal(&self, index: usize) -> Result<()> {
        net::set_partition(&self.switch, &self.nodes[index].host, false)
    }

    /// Prints where to look when a test fails: the ends of all logs.
    pub fn print_logs(&self) {
        if self.control.is_none() {
            return;
        }
        println!("--- control plane ---\n{}", self.ctl.log_tail("control"));
        for node in &self.nodes {
            println!("--- agent of {} ---\n{}", node.host.name(), node.host.log_tail("agent"));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        // All at once: a machine takes a moment to die.
        std::thread::scope(|scope| {
            for node in &self.nodes {
                scope.spawn(|| node.host.destroy());
            }
            self.ctl.destroy();
            self.switch.destroy();
        });
    }
}
