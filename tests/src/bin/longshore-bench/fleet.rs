//! The machines that are measured on, and the two moments of every measurement.
//!
//! A start ends with the first instruction in the container: the probe writes the time as the first thing it does. It
//! begins right before the client is called. Both clocks are this kernel's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::{Agent, Boto, Container, Lab, LabConfig, Node, wait_for, wait_until};
use serde_json::{Value, json};

/// Longest that anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// What the names of sandboxes begin with, which hold the interfaces of `awsvpc` tasks and wait for them.
const SANDBOX: &str = "ls-eni-";

/// A registered definition, and what running it needs besides.
pub(crate) struct Definition {
    arn: String,
    /// The `networkConfiguration` of an `awsvpc` task, else null.
    network: Value,
}

impl Definition {
    /// Its ARN.
    pub(crate) fn arn(&self) -> &str {
        &self.arn
    }

    /// The `networkConfiguration` of its tasks, if they have addresses of their own.
    pub(crate) fn network(&self) -> &Value {
        &self.network
    }
}

/// A lab, and a directory that the containers of its first host write their stamps to.
pub(crate) struct Fleet {
    pub(crate) lab: Lab,
    pub(crate) stamps: PathBuf,
}

impl Fleet {
    /// The product on one host, at rest.
    pub(crate) fn longshore() -> Result<Self> {
        // Stopped containers go at once, so that every run finds the host as the first did.
        Self::with_agent("")
    }

    /// The same, with more lines of the agent's configuration.
    pub(crate) fn with_agent(more: &str) -> Result<Self> {
        let agent = format!("cleanup_wait = \"0s\"\nlog = \"warn\"\n{more}");
        let fleet = Self::of(LabConfig { agent, ..LabConfig::default() })?;
        fleet.wait_pool(0)?;
        Ok(fleet)
    }

    /// One host with Docker alone, able to be a Swarm.
    pub(crate) fn docker() -> Result<Self> {
        Self::of(LabConfig { product: false, live_restore: false, ..LabConfig::default() })
    }

    /// A lab that is like this.
    pub(crate) fn of(config: LabConfig) -> Result<Self> {
        let lab = Lab::new(config)?;
        let stamps = lab.node(0).host.dir().join("stamps");
        std::fs::create_dir_all(&stamps)?;
        Ok(Self { lab, stamps })
    }

    pub(crate) fn node(&self) -> &Node {
        self.lab.node(0)
    }

    /// The docker command, on this host's Engine.
    pub(crate) fn docker_command(&self, args: &[&str]) -> Result<Command> {
        let mut command = self.node().host.command(Path::new("docker"))?;
        command.args(["-H", &self.node().docker()]).args(args);
        Ok(command)
    }

    /// Runs the docker command.
    pub(crate) fn docker_run(&self, args: &[&str]) -> Result<String> {
        let output = self.docker_command(args)?.output()?;
        ensure!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Forgets all stamps.
    pub(crate) fn clear(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.stamps)? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    /// Waits for `count` stamps, and gives the latest.
    pub(crate) fn last_stamp(&self, count: usize) -> Result<u128> {
        wait_for(&format!("{count} first instructions"), DEADLINE, || {
            let mut times = BTreeMap::new();
            for entry in std::fs::read_dir(&self.stamps)?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.starts_with('.') {
                    times.insert(name, std::fs::read_to_string(entry.path())?.trim().parse::<u128>()?);
                }
            }
            ensure!(times.len() >= count, "{} of {count}", times.len());
            Ok(times.into_values().max())
        })
    }

    /// Every container but the sandboxes.
    pub(crate) fn containers(&self) -> Result<Vec<Container>> {
        let other = |c: &Container| !c.name.starts_with(SANDBOX);
        Ok(self.node().engine.containers()?.into_iter().filter(other).collect())
    }

    /// Waits until no container is left.
    pub(crate) fn wait_empty(&self) -> Result<()> {
        wait_until("a host without containers", DEADLINE, || {
            let left = self.containers()?.len();
            ensure!(left == 0, "{left} containers are left");
            Ok(true)
        })
    }

    /// Waits until no task has or wants an interface, the pool of sandboxes is as full as it is to be, and at least
    /// `free` addresses can be given at once; then gives the number of warm sandboxes.
    pub(crate) fn wait_pool(&self, free: u64) -> Result<u64> {
        self.wait_network("a full pool of sandboxes", free, |network| network["interfaces"] == json!([]))
    }

    /// The same beside tasks that have theirs.
    pub(crate) fn wait_addresses(&self, free: u64) -> Result<u64> {
        self.wait_network("a full pool of sandboxes and addresses", free, |_| true)
    }

    fn wait_network(&self, what: &str, free: u64, is_so: impl Fn(&Value) -> bool) -> Result<u64> {
        wait_for(what, DEADLINE, || {
            let network = &Agent::status(&self.node().host)?["network"];
            let number = |key: &str| network[key].as_u64().with_context(|| format!("no `{key}` in {network}"));
            let (warm, target) = (number("warm")?, number("warm_target")?);
            let idle = network["ok"] == true && is_so(network) && number("waiting")? == 0;
            let full = warm >= target && number("free")? >= free.max(1);
            ensure!(idle && full, "{network}");
            Ok(Some(warm))
        })
    }

    /// Registers a definition of one probe that stamps and then sleeps.
    pub(crate) fn define(&self, family: &str, mode: &str, port: bool) -> Result<Definition> {
        let mut main = json!({
            "name": "main", "image": "probe", "memory": 8, "stopTimeout": 1,
            "command": ["stamp", "/stamps"],
            "mountPoints": [{"sourceVolume": "stamps", "containerPath": "/stamps"}],
        });
        if port {
            main["portMappings"] = json!([{"containerPort": 80}]);
        }
        let made = self.lab.ecs(
            "register_task_definition",
            json!({
                "family": family, "networkMode": mode, "containerDefinitions": [main],
                "volumes": [{"name": "stamps", "host": {"sourcePath": self.stamps.to_str().context("a path")?}}],
            }),
        )?;
        let arn = made["taskDefinition"]["taskDefinitionArn"].as_str().context("no ARN")?.to_owned();
        let network = if mode == "awsvpc" { self.network()? } else { Value::Null };
        Ok(Definition { arn, network })
    }

    /// Registers a definition of one probe in the host's network that does nothing until it is killed. It writes no
    /// stamp: in that network all have one name, and would write the same file.
    pub(crate) fn define_quiet(&self, family: &str) -> Result<Definition> {
        let main = json!({"name": "main", "image": "probe", "memory": 8, "stopTimeout": 1, "command": ["sleep"]});
        let args = json!({"family": family, "networkMode": "host", "containerDefinitions": [main]});
        let made = self.lab.ecs("register_task_definition", args)?;
        let arn = made["taskDefinition"]["taskDefinitionArn"].as_str().context("no ARN")?.to_owned();
        Ok(Definition { arn, network: Value::Null })
    }

    /// The `networkConfiguration` of tasks in the one subnet there is and its default group.
    fn network(&self) -> Result<Value> {
        let subnets = self.lab.call("ec2", "describe_subnets", json!({}))??;
        let subnet = subnets["Subnets"][0]["SubnetId"].as_str().context("no subnet")?;
        Ok(json!({"awsvpcConfiguration": {"subnets": [subnet]}}))
    }

    /// Runs `count` tasks through the API, ten a call.
    pub(crate) fn run_tasks(
        &self,
        boto: &mut Boto,
        definition: &Definition,
        count: usize,
        key: &str,
    ) -> Result<Vec<String>> {
        let mut arns = Vec::new();
        while arns.len() < count {
            let mut args = json!({"taskDefinition": definition.arn, "count": (count - arns.len()).min(10)});
            if !definition.network.is_null() {
                args["networkConfiguration"] = definition.network.clone();
            }
            if !key.is_empty() {
                args["overrides"] = json!({"containerOverrides": [
                    {"name": "main", "environment": [{"name": "STAMP", "value": key}]}]});
            }
            let answer = boto.call("ecs", "run_task", args)??;
            ensure!(answer["failures"] == json!([]), "not placed: {}", answer["failures"]);
            let tasks = answer["tasks"].as_array().context("no tasks")?;
            arns.extend(tasks.iter().filter_map(|t| t["taskArn"].as_str()).map(str::to_owned));
        }
        Ok(arns)
    }

    /// Waits until tasks run.
    pub(crate) fn wait_running(&self, boto: &mut Boto, arns: &[String]) -> Result<()> {
        wait_until("all tasks RUNNING", DEADLINE, || {
            let tasks = self.describe(boto, arns)?;
            let running = tasks.iter().filter(|t| t["lastStatus"] == "RUNNING").count();
            ensure!(running == arns.len(), "{running} of {} run", arns.len());
            Ok(true)
        })
    }

    /// Stops tasks and waits until the host is at rest: nothing of them is left, and the pool is full again.
    pub(crate) fn stop_tasks(&self, boto: &mut Boto, arns: &[String]) -> Result<()> {
        for arn in arns {
            boto.call("ecs", "stop_task", json!({"task": arn}))??;
        }
        self.wait_empty()?;
        self.wait_pool(0).map(|_| ())
    }

    /// Describes tasks.
    pub(crate) fn describe(&self, boto: &mut Boto, arns: &[String]) -> Result<Vec<Value>> {
        let mut tasks = Vec::new();
        for chunk in arns.chunks(100) {
            let answer = boto.call("ecs", "describe_tasks", json!({"tasks": chunk}))??;
            tasks.extend(answer["tasks"].as_array().cloned().unwrap_or_default());
        }
        Ok(tasks)
    }

    /// Removes every container of the docker command's, by force.
    pub(crate) fn remove_all(&self) -> Result<()> {
        let names: Vec<String> = self.containers()?.into_iter().map(|c| c.id).collect();
        for chunk in names.chunks(25) {
            let mut args = vec!["rm", "-f", "-v"];
            args.extend(chunk.iter().map(String::as_str));
            self.docker_run(&args)?;
        }
        Ok(())
    }
}

/// Now, in nanoseconds as the probe writes them.
pub(crate) fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

/// From `begin` to `end`, both from [`now`] or a stamp.
pub(crate) fn between(begin: u128, end: u128) -> Duration {
    Duration::from_nanos(u64::try_from(end.saturating_sub(begin)).unwrap_or(u64::MAX))
}
