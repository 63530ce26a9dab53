//! A lab host: namespaces of its own, held by its init, and the processes that are started in it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::cgroup;
use super::init::READY;
use super::process::{Process, Signal, only_child};

/// A machine of the lab.
pub struct Host {
    name: String,
    group: String,
    dir: PathBuf,
    address: Ipv4Addr,
    init_pid: AtomicI32,
    init: Mutex<Option<Init>>,
}

struct Init {
    unshare: Child,
    // Init ends when this does.
    _hold: ChildStdin,
}

impl Init {
    /// Starts it, and gives its number as seen outside.
    fn start(name: &str, group: &str, dir: &Path) -> Result<(Self, i32)> {
        cgroup::create(group)?;
        let log = log_file(dir, "init")?;
        let mut unshare = Command::new(lab_program()?)
            .args(["enter-root", "--group", group, "--", "unshare"])
            .args(["--net", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork", "--kill-child=SIGKILL"])
            .args(["--propagation", "private", "--"])
            .arg(lab_program()?)
            .args(["init", "--hostname", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("could not start the first process of a lab host")?;
        let hold = unshare.stdin.take().context("init has no standard input")?;
        let mut line = String::new();
        BufReader::new(unshare.stdout.take().context("init has no standard output")?).read_line(&mut line)?;
        if line.trim() != READY {
            let _ = unshare.kill();
            let _ = unshare.wait();
            bail!("lab host {name} did not come up: {}", tail(&dir.join("init.log")));
        }
        cgroup::settle(group)?;
        let pid = only_child(unshare.id())?;
        Ok((Self { unshare, _hold: hold }, pid))
    }
}

impl Host {
    /// Makes the host `name` with its files in `dir` and everything it runs in the control group `group`.
    ///
    /// # Errors
    /// When the kernel refuses a namespace or mount; the text says which step.
    pub fn create(name: &str, group: String, dir: PathBuf, address: Ipv4Addr) -> Result<Self> {
        std::fs::create_dir_all(&dir).with_context(|| format!("could not make {}", dir.display()))?;
        let (init, pid) = Init::start(name, &group, &dir)?;
        let (init_pid, init) = (AtomicI32::new(pid), Mutex::new(Some(init)));
        Ok(Self { name: name.to_owned(), group, dir, address, init_pid, init })
    }

    /// Cuts the power, if that was not done, and starts the machine again: nothing is left of what was not on its disk,
    /// no program runs, and the boot has another id.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn boot_again(&self) -> Result<()> {
        self.destroy();
        cgroup::remove(&self.group)?;
        let (init, pid) = Init::start(&self.name, &self.group, &self.dir)?;
        self.init_pid.store(pid, Ordering::SeqCst);
        *self.init.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(init);
        self.name_boot()
    }

    /// Gives the machine's boot an id of its own: all machines of a lab have the kernel's.
    fn name_boot(&self) -> Result<()> {
        let file = self.dir.join("boot_id");
        let id = hex::encode(rand::random::<[u8; 16]>());
        let id = format!("{}-{}-{}-{}-{}\n", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
        std::fs::write(&file, id).with_context(|| format!("could not write {}", file.display()))?;
        let file = file.to_str().context("a directory that is not text")?;
        self.run("mount", &["--bind", file, "/proc/sys/kernel/random/boot_id"]).map(drop)
    }

    /// Its short name within the lab (`h1`, `ctl`).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the lab's network.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its IPv6 address on the lab's network, which it has when the lab has IPv6.
    #[must_use]
    pub fn address6(&self) -> Ipv6Addr {
        super::net::address6(self.address)
    }

    /// Where its files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The control group that holds all its processes.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Its first process, as numbered outside.
    #[must_use]
    pub fn init_pid(&self) -> i32 {
        self.init_pid.load(Ordering::SeqCst)
    }

    /// A command that will run in this host's namespaces and control group.
    ///
    /// # Errors
    /// When the lab's own program cannot be found.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new(lab_program()?);
        command.args(["enter", "--group", &self.group, "--", "nsenter", "--target", &self.init_pid().to_string()]);
        command.args(["--net", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--"]).arg(program);
        Ok(command)
    }

    /// A command that shares only this host's network: for clients that are not part of the lab.
    #[must_use]
    pub fn net_command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init_pid().to_string(), "--net", "--"]).arg(program);
        command
    }

    /// Starts a long-lived program of this host; what it prints goes to `<dir>/<name>.log`.
    ///
    /// # Errors
    /// When it cannot be started or ends at once.
    pub fn start(&self, name: &str, program: &Path, set_up: impl FnOnce(&mut Command)) -> Result<Process> {
        let mut command = self.command(program)?;
        command.stdin(Stdio::null());
        command.stdout(log_file(&self.dir, name)?).stderr(log_file(&self.dir, name)?);
        set_up(&mut command);
        Process::spawn(name, command).with_context(|| {
            format!("could not start {name} on {}: {}", self.name, tail(&self.dir.join(format!("{name}.log"))))
        })
    }

    /// Runs a short command on this host and gives what it printed.
    ///
    /// # Errors
    /// When it fails; the text has what it printed.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let output = self.command(Path::new(program))?.args(args).stdin(Stdio::null()).output()?;
        ensure!(
            output.status.success(),
            "`{program} {}` on {} failed ({}): {}{}",
            args.join(" "),
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Gives a directory among its files a disk of its own, of so many MiB of memory, which only the host itself sees.
    /// It goes with the host.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn mount_disk(&self, directory: &str, mib: u32) -> Result<()> {
        let path = self.dir.join(directory);
        std::fs::create_dir_all(&path)?;
        let path = path.to_str().context("a directory that is not text")?;
        self.run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "tmpfs", path]).map(drop)
    }

    /// Runs `work` on a thread of its own inside this host's network; sockets made there stay in it.
    ///
    /// # Errors
    /// When the network cannot be entered, or with the error of `work`.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.inside(&PathBuf::from(format!("/proc/{}/ns/net", self.init_pid())), work)
    }

    /// The same inside a named network namespace of this host (`/run/netns/<name>`).
    ///
    /// # Errors
    /// As [`Self::in_network`].
    pub fn in_namespace<T: Send>(&self, name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        // Its own /run is seen through its first process.
        self.inside(&PathBuf::from(format!("/proc/{}/root/run/netns/{name}", self.init_pid())), work)
    }

    fn inside<T: Send>(&self, path: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let namespace = File::open(path).with_context(|| format!("could not open {}", path.display()))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)
                    .context("could not enter the network of a lab host")?;
                work()
            });
            thread.join().unwrap_or_else(|_| bail!("a thread inside the network of {} panicked", self.name))
        })
    }

    /// All that the program `name` printed.
    ///
    /// # Panics
    /// It printed nothing that can be read.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        let path = self.dir.join(format!("{name}.log"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("could not read {}: {error}", path.display()))
    }

    /// What the program `name` printed last.
    #[must_use]
    pub fn log_tail(&self, name: &str) -> String {
        tail(&self.dir.join(format!("{name}.log")))
    }

    /// Cuts the power: every process of the host is killed, its network and mounts are gone. Files remain.
    pub fn destroy(&self) {
        let taken = self.init.lock().map(|mut init| init.take());
        if let Ok(Some(mut init)) = taken {
            super::process::kill_checked(self.init_pid(), None, Signal::SIGKILL);
            let _ = init.unshare.wait();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.destroy();
    }
}

/// The lab's own program, built next to whatever runs the lab.
///
/// # Errors
/// When it was not built.
pub fn lab_program() -> Result<PathBuf> {
    program("longshore-lab")
}

/// A program of this workspace: from `LONGSHORE_BIN_DIR`, else next to the running test.
///
/// # Errors
/// When it was not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let dir = match std::env::var_os("LONGSHORE_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let own = std::env::current_exe().context("could not tell where this program is")?;
            let dir = own.parent().context("a program without a directory")?;
            if dir.ends_with("deps") { dir.parent().unwrap_or(dir).to_path_buf() } else { dir.to_path_buf() }
        }
    };
    let path = dir.join(name);
    ensure!(path.exists(), "{} is missing; build it with `cargo build --workspace --bins`", path.display());
    Ok(path)
}

fn log_file(dir: &Path, name: &str) -> Result<File> {
    let path = dir.join(format!("{name}.log"));
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("could not open {}", path.display()))
}

/// The last part of a log, for error texts.
#[must_use]
pub fn tail(path: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// How long a machine's program may take to come up before the lab gives up on it.
pub const START_DEADLINE: Duration = Duration::from_secs(60);
