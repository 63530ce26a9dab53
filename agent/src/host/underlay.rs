//! Where other hosts' tunnel packets reach this one.

use crate::network::Underlay;
use longshore_net::Handle;
use std::net::IpAddr;

/// Finds the address: the configured one, or that of the configured link; else the one from which this host reaches the
/// control plane, unless they share a machine. `control` is `host:port`.
pub async fn find(configured: Option<&str>, control: Option<&str>) -> Underlay {
    let found = match configured {
        Some(text) => named(text).await,
        None => towards(control).await,
    };
    match found {
        Ok(address) => Underlay::At(address),
        Err(why) => Underlay::Absent { why },
    }
}

async fn named(text: &str) -> Result<IpAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let links = match Handle::here() {
        Ok(handle) => handle.links().await,
        Err(error) => Err(error),
    };
    let links = links.map_err(|e| format!("underlay: {}", crate::engine::docker::chain(&e)))?;
    let link = links.iter().find(|link| link.name == text).ok_or_else(|| format!("underlay: no link `{text}`"))?;
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let mut addresses: Vec<IpAddr> = link.addresses.iter().map(|net| net.addr()).filter(usable).collect();
    addresses.sort_by_key(|address| !address.is_ipv4());
    addresses.first().copied().ok_or_else(|| format!("underlay: the link `{text}` has no address"))
}

async fn towards(control: Option<&str>) -> Result<IpAddr, String> {
    let control = control.ok_or("underlay: not set, and no control plane is known yet")?;
    let failed = |why: String| format!("underlay: not set, and the way to the control plane {control}: {why}");
    let mut resolved = tokio::net::lookup_host(control).await.map_err(|e| failed(e.to_string()))?;
    let to = resolved.next().ok_or_else(|| failed("it has no address".to_owned()))?.ip();
    let handle = Handle::here().map_err(|e| failed(crate::engine::docker::chain(&e)))?;
    let source = handle.source_towards(to).await.map_err(|e| failed(crate::engine::docker::chain(&e)))?;
    if source.is_loopback() {
        return Err(failed("it is on this host; set `underlay` to the address that other hosts reach".to_owned()));
    }
    Ok(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn what_is_configured_counts_and_a_local_control_plane_says_nothing() {
        let set = find(Some("192.0.2.7"), Some("127.0.0.1:7443")).await;
        assert_eq!(set, Underlay::At(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))));
        let cases = [
            (Some("no-such-link"), None, "no link `no-such-link`"),
            (Some("lo"), None, "the link `lo` has no address"),
            (None, None, "no control plane is known yet"),
            (None, Some("127.0.0.1:7443"), "it is on this host; set `underlay`"),
        ];
        for (configured, control, expected) in cases {
            match find(configured, control).await {
                Underlay::Absent { why } => assert!(why.contains(expected), "{why}"),
                other => panic!("{configured:?} {control:?}: {other:?}"),
            }
        }
    }
}
