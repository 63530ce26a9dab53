//! The lab's network: a bridge in a namespace of its own, one cable to each host, and the faults a cable can have.
//!
//! The bridge is not in the root namespace, where Docker's firewall would look at every frame, and nothing of the
//! network is in the root namespace at all unless a lab asks for a cable to it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::host::Host;

/// Every lab has the same addresses, since none can see another.
pub const PREFIX_LEN: u8 = 24;

/// The address of the control plane's machine.
pub const CONTROL: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// The address of host number `index`, which begins with 1.
#[must_use]
pub fn host_address(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 10 + index)
}

/// The IPv6 address of a machine beside its IPv4 address, when the lab has them: `fd99::` and the last of its bytes.
#[must_use]
pub fn address6(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, address.octets()[3].into())
}

/// The address that the machine itself gets when a lab has a cable to it.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 254);

/// The link in the root namespace when a lab has a cable to it; one lab at a time can.
pub const OUTSIDE_LINK: &str = "longshore-lab0";

/// The name of the bridge inside the switch's namespace.
const BRIDGE: &str = "br0";

/// Makes the bridge in `switch`.
///
/// # Errors
/// When `ip` refuses.
pub fn make_switch(switch: &Host) -> Result<()> {
    ip(Some(switch), &["link", "add", BRIDGE, "type", "bridge", "forward_delay", "0"])?;
    ip(Some(switch), &["link", "set", BRIDGE, "up"])
}

/// Plugs `host` into `switch`: `eth0` there, a port with the host's name here.
///
/// # Errors
/// When `ip` refuses.
pub fn plug(switch: &Host, host: &Host) -> Result<()> {
    let pid = host.init_pid().to_string();
    let port = host.name();
    ip(Some(switch), &["link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", &pid])?;
    ip(Some(switch), &["link", "set", port, "master", BRIDGE, "up"])?;
    let address = format!("{}/{PREFIX_LEN}", host.address());
    ip(Some(host), &["addr", "add", &address, "dev", "eth0"])?;
    ip(Some(host), &["link", "set", "eth0", "up"])
}

/// Takes the cable of `host` away.
///
/// # Errors
/// When `ip` refuses.
pub fn unplug(switch: &Host, host: &Host) -> Result<()> {
    ip(Some(switch), &["link", "del", host.name()])
}

/// Gives a machine that was plugged in its IPv6 address: of the same network as those of all others, without a router.
///
/// # Errors
/// When `ip` refuses.
pub fn add_address6(host: &Host) -> Result<()> {
    ip(Some(host), &["addr", "add", &format!("{}/64", host.address6()), "dev", "eth0", "nodad"])
}

/// Plugs the machine itself into `switch`, so that a person's own shell reaches the lab. The link goes with the switch.
///
/// # Errors
/// When `ip` refuses, for instance because another lab has such a cable.
pub fn plug_outside(switch: &Host) -> Result<()> {
    let pid = switch.init_pid().to_string();
    ip(None, &["link", "add", OUTSIDE_LINK, "type", "veth", "peer", "name", "outside", "netns", &pid])?;
    ip(Some(switch), &["link", "set", "outside", "master", BRIDGE, "up"])?;
    ip(None, &["addr", "add", &format!("{OUTSIDE}/{PREFIX_LEN}"), "dev", OUTSIDE_LINK])?;
    ip(None, &["link", "set", OUTSIDE_LINK, "up"])
}

/// Pulls the cable of `host` (both ends see it) or plugs it in again.
///
/// # Errors
/// When `ip` refuses.
pub fn set_cable(switch: &Host, host: &Host, plugged: bool) -> Result<()> {
    ip(Some(switch), &["link", "set", host.name(), if plugged { "up" } else { "down" }])
}

/// Makes the switch drop every frame from and to `host` without either end seeing the link go, or stop doing so.
///
/// # Errors
/// When `bridge` refuses.
pub fn set_partition(switch: &Host, host: &Host, partitioned: bool) -> Result<()> {
    // Port states as the kernel numbers them: 0 disabled, 3 forwarding.
    let state = if partitioned { "0" } else { "3" };
    run(switch.net_command(Path::new("bridge")), &["link", "set", "dev", host.name(), "state", state])
}

fn ip(host: Option<&Host>, args: &[&str]) -> Result<()> {
    let command = match host {
        Some(host) => host.net_command(Path::new("ip")),
        None => Command::new("ip"),
    };
    run(command, args)
}

fn run(mut command: Command, args: &[&str]) -> Result<()> {
    let output = command.args(args).output().context("could not run `ip`")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`ip {}` failed: {}", args.join(" "), error.trim());
    Ok(())
}
