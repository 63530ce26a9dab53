//! A lab that stands until it is told to go: what `make demo` and a person at a shell use.
//!
//! `up` is a process of its own that holds the lab; `down` ends that process, and the lab goes with it.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::SigSet;

use super::local::{self, Local};
use super::owner::start_time;
use super::process::{Signal, kill_checked};
use super::product::{REGION, RootKey};
use super::wait::wait_until;
use super::{Lab, LabConfig, boto, host};

/// What the hosts of a standing lab are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// This machine's own Docker.
    Local,
    /// So many hosts with a Docker of their own.
    Lab(u8),
    /// The same without the product.
    DockerOnly(u8),
}

/// Makes the lab, writes `<dir>/env` for shells, and holds it until SIGTERM, SIGINT or SIGHUP.
///
/// # Errors
/// When one stands already, or the lab does not come up.
pub fn up(dir: &Path, hosts: Hosts) -> Result<()> {
    fs::create_dir_all(dir)?;
    if let Some(holder) = Holder::read(dir)
        && holder.lives()
    {
        bail!("a lab stands already (process {}); end it with `make demo-down`", holder.pid);
    }
    // Blocked before there is a second thread, so that the wait at the end sees them.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().context("could not block signals")?;
    let ready = dir.join("ready");
    let _ = fs::remove_file(&ready);
    Holder::own()?.write(dir)?;
    let (stands, about): (Box<dyn std::any::Any>, String) = match hosts {
        Hosts::Local => {
            let local = Local::start(&dir.join("local"))?;
            write_env(dir, local.endpoint(), local.key(), local::IMAGE)?;
            (Box::new(local), String::new())
        }
        Hosts::Lab(hosts) => {
            let lab = Lab::new(LabConfig { hosts, reachable: true, ..LabConfig::default() })?;
            write_env(dir, &lab.endpoint(), lab.control().key(), "busybox")?;
            let name = lab.name();
            (Box::new(lab), name)
        }
        Hosts::DockerOnly(hosts) => {
            let lab = Lab::new(LabConfig { hosts, product: false, ..LabConfig::default() })?;
            let name = lab.name();
            (Box::new(lab), name)
        }
    };
    fs::write(&ready, about)?;
    signals.wait().context("could not wait for a signal")?;
    let _ = fs::remove_file(ready);
    drop(stands);
    for file in ["env", Holder::FILE] {
        let _ = fs::remove_file(dir.join(file));
    }
    Ok(())
}

/// Ends the lab that [`up`] holds in `dir`, and waits until it is gone.
///
/// # Errors
/// When it is still there after two minutes.
pub fn down(dir: &Path) -> Result<bool> {
    let Some(holder) = Holder::read(dir) else { return Ok(false) };
    let lived = holder.lives();
    kill_checked(holder.pid, Some(holder.start), Signal::SIGTERM);
    let gone = wait_until("the end of the lab", Duration::from_secs(120), || Ok(!holder.lives()));
    if gone.is_err() {
        kill_checked(holder.pid, Some(holder.start), Signal::SIGKILL);
    }
    let _ = fs::remove_file(dir.join(Holder::FILE));
    let _ = fs::remove_file(dir.join("env"));
    let _ = fs::remove_file(dir.join("ready"));
    super::janitor::sweep()?;
    gone.map(|()| lived)
}

/// The process that holds a standing lab.
struct Holder {
    pid: i32,
    start: u64,
}

impl Holder {
    const FILE: &str = "holder";

    fn own() -> Result<Self> {
        let pid = std::process::id().cast_signed();
        Ok(Self { pid, start: start_time(pid).context("could not read this process's start time")? })
    }

    fn read(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join(Self::FILE)).ok()?;
        let (pid, start) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, start: start.parse().ok()? })
    }

    fn write(&self, dir: &Path) -> Result<()> {
        fs::write(dir.join(Self::FILE), format!("{} {}\n", self.pid, self.start)).context("could not write the holder")
    }

    fn lives(&self) -> bool {
        start_time(self.pid) == Some(self.start)
    }
}

fn write_env(dir: &Path, endpoint: &str, key: &RootKey, image: &str) -> Result<()> {
    let path = dir.join("env");
    let _ = fs::remove_file(&path);
    let bin = host::lab_program()?.parent().map(PathBuf::from).context("a program without a directory")?;
    let address = endpoint.trim_start_matches("http://").split(':').next().unwrap_or_default();
    let text = format!(
        "# Source this: clients of AWS then speak to the lab.\n\
         export AWS_ENDPOINT_URL={endpoint}\n\
         export AWS_ACCESS_KEY_ID={}\n\
         export AWS_SECRET_ACCESS_KEY={}\n\
         unset AWS_SESSION_TOKEN AWS_PROFILE\n\
         export AWS_DEFAULT_REGION={REGION}\n\
         export AWS_REGION={REGION}\n\
         export AWS_PAGER=\n\
         export NO_PROXY={address},10.99.0.0/24 no_proxy={address},10.99.0.0/24\n\
         export PATH='{}':'{}':\"$PATH\"\n\
         # An image that every host has, for first tasks.\n\
         export LAB_IMAGE={image}\n",
        key.id,
        key.secret,
        bin.display(),
        fs::canonicalize(boto::venv()?)?.join("bin").display(),
    );
    // Only for its owner, since the root key is in it.
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    std::io::Write::write_all(&mut file, text.as_bytes()).context("could not write the environment")
}
