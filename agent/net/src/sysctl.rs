//! Settings under `/proc/sys/net`, of the network namespace of the calling thread.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A setting that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("could not set net.{key} to {value}; is /proc/sys read-only?")]
pub struct SysctlError {
    /// Which, without `net.`.
    key: String,
    /// What it was to be.
    value: String,
    /// Why.
    #[source]
    source: io::Error,
}

fn file(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(key)
}

/// What a setting (`ipv4/ip_forward`) is; nothing when this kernel has no such setting.
pub(crate) fn get(key: &str) -> Option<String> {
    fs::read_to_string(file(key)).ok().map(|text| text.trim().to_owned())
}

/// Sets it, unless it is so already; says whether there was something to do. A setting of a part that the kernel was
/// made without (IPv6) is left alone.
pub(crate) fn set(key: &str, value: &str) -> Result<bool, SysctlError> {
    match get(key) {
        None => Ok(false),
        Some(now) if now == value => Ok(false),
        Some(_) => fs::write(file(key), value).map(|()| true).map_err(|source| SysctlError {
            key: key.replace('/', "."),
            value: value.to_owned(),
            source,
        }),
    }
}
