//! The kernel's texts as numbers. Pure.

use longshore_model::Timestamp;
use std::collections::BTreeMap;

/// Nanoseconds of a tick of `/proc/stat` and of `cpuacct.stat`: user programs see 100 a second on every Linux.
const TICK_NANOS: u64 = 10_000_000;

/// What a container had used at one moment. Times of the processor are in nanoseconds, amounts in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::metadata) struct Sample {
    pub(in crate::metadata) at: Timestamp,
    pub(in crate::metadata) cpu: Cpu,
    pub(in crate::metadata) memory: Memory,
    pub(in crate::metadata) pids: Pids,
    /// Bytes, and then operations.
    pub(in crate::metadata) io_bytes: Vec<Io>,
    pub(in crate::metadata) io_operations: Vec<Io>,
    /// By link.
    pub(in crate::metadata) networks: BTreeMap<String, Traffic>,
}

/// Of the processor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::metadata) struct Cpu {
    pub(in crate::metadata) total: u64,
    pub(in crate::metadata) user: u64,
    pub(in crate::metadata) kernel: u64,
    /// Under version 1 of cgroups.
    pub(in crate::metadata) each: Vec<u64>,
    pub(in crate::metadata) periods: u64,
    pub(in crate::metadata) throttled_periods: u64,
    pub(in crate::metadata) throttled: u64,
    /// Of the whole host.
    pub(in crate::metadata) system: u64,
    pub(in crate::metadata) online: u64,
}

/// Of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::metadata) struct Memory {
    pub(in crate::metadata) usage: u64,
    /// The highest so far, where the kernel says it.
    pub(in crate::metadata) most: Option<u64>,
    /// How often the limit was hit, under version 1.
    pub(in crate::metadata) failures: Option<u64>,
    /// Its limit, or all of the host's memory.
    pub(in crate::metadata) limit: u64,
    pub(in crate::metadata) stats: BTreeMap<String, u64>,
}

/// Of processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::metadata) struct Pids {
    pub(in crate::metadata) current: u64,
    pub(in crate::metadata) limit: Option<u64>,
}

/// Of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::metadata) struct Io {
    pub(in crate::metadata) major: u64,
    pub(in crate::metadata) minor: u64,
    /// `read`, `write` and what else the kernel tells apart.
    pub(in crate::metadata) op: String,
    pub(in crate::metadata) value: u64,
}

/// Of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::metadata) struct Traffic {
    pub(in crate::metadata) rx_bytes: u64,
    pub(in crate::metadata) rx_packets: u64,
    pub(in crate::metadata) rx_errors: u64,
    pub(in crate::metadata) rx_dropped: u64,
    pub(in crate::metadata) tx_bytes: u64,
    pub(in crate::metadata) tx_packets: u64,
    pub(in crate::metadata) tx_errors: u64,
    pub(in crate::metadata) tx_dropped: u64,
}

/// A file of one number; nothing for `max`.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A file of lines of a name and a number.
pub(super) fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), number(value)?))
    };
    text.lines().filter_map(pair).collect()
}

/// `cpuacct.stat`: user and kernel time.
pub(super) fn ticks(text: &str) -> (u64, u64) {
    let pairs = pairs(text);
    let nanos = |name: &str| pairs.get(name).copied().unwrap_or_default().saturating_mul(TICK_NANOS);
    (nanos("user"), nanos("system"))
}

/// The host's time of all its processors, and how many they are, from `/proc/stat`.
pub(super) fn host(text: &str) -> (u64, u64) {
    let numbers = |line: &str| line.split_whitespace().skip(1).filter_map(|n| n.parse::<u64>().ok()).take(7).sum();
    let total: u64 = text.lines().find(|line| line.starts_with("cpu ")).map_or(0, numbers);
    let one = |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let online = text.lines().filter(one).count();
    (total.saturating_mul(TICK_NANOS), u64::try_from(online).unwrap_or(0))
}

/// The time that all processors were busy, from `/proc/stat`: all but idle and waiting for disks.
pub(super) fn busy(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "));
    let numbers = line.into_iter().flat_map(str::split_whitespace).filter_map(|n| n.parse::<u64>().ok());
    let busy = numbers.take(7).enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
    busy.map(|(_, ticks)| ticks).sum::<u64>().saturating_mul(TICK_NANOS)
}

/// The host's memory that is not available, in bytes, from `/proc/meminfo`.
pub(super) fn taken(text: &str) -> u64 {
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| number(rest.trim().trim_end_matches("kB"))).unwrap_or(0)
    };
    kib("MemTotal:").saturating_sub(kib("MemAvailable:")).saturating_mul(1024)
}

/// The host's memory, from `/proc/meminfo`.
pub(super) fn host_memory(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|rest| number(rest.trim().trim_end_matches("kB"))).unwrap_or(0).saturating_mul(1024)
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((number(major)?, number(minor)?))
}

/// Version 1: `8:0 Read 4096`. Docker spells operations as the kernel does, and some readers know no other spelling.
pub(super) fn blkio(text: &str) -> Vec<Io> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        Some(Io { major, minor, op: words.next()?.to_owned(), value: number(words.next()?)? })
    };
    text.lines().filter_map(line).collect()
}

/// Version 2: `8:0 rbytes=4096 wbytes=0 rios=1 wios=0`; bytes, then operations.
pub(super) fn io_stat(text: &str) -> (Vec<Io>, Vec<Io>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for word in words {
            let Some((name, value)) = word.split_once('=') else { continue };
            let (into, op) = match name {
                "rbytes" => (&mut bytes, "read"),
                "wbytes" => (&mut bytes, "write"),
                "rios" => (&mut operations, "read"),
                "wios" => (&mut operations, "write"),
                _ => continue,
            };
            into.push(Io { major, minor, op: op.to_owned(), value: number(value).unwrap_or(0) });
        }
    }
    (bytes, operations)
}

/// `/proc/PID/net/dev`, without `lo`.
pub(super) fn links(text: &str) -> BTreeMap<String, Traffic> {
    let link = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let n: Vec<u64> = rest.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, tx_bytes, tx_packets, tx_errors, tx_dropped, ..] =
            n[..]
        else {
            return None;
        };
        let traffic =
            Traffic { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped };
        Some((name.trim().to_owned(), traffic))
    };
    text.lines().filter_map(link).filter(|(name, _)| name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_understood() {
        assert_eq!((number("42\n"), number("max\n"), number("")), (Some(42), None, None));
        assert_eq!(ticks("user 3\nsystem 5\n"), (30_000_000, 50_000_000));
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 5\nctxt 9\n";
        assert_eq!(host(stat), (280_000_000, 2));
        assert_eq!(host_memory("MemTotal:        2048 kB\nMemFree: 1 kB\n"), 2_097_152);
        let read = Io { major: 8, minor: 0, op: "read".into(), value: 4096 };
        let write = Io { major: 8, minor: 0, op: "write".into(), value: 512 };
        let as_written = |op: &str, io: &Io| Io { op: op.to_owned(), ..io.clone() };
        let both = [as_written("Read", &read), as_written("Write", &write)];
        assert_eq!(blkio("8:0 Read 4096\n8:0 Write 512\nTotal 4608\n"), both);
        let (bytes, operations) = io_stat("8:0 rbytes=4096 wbytes=512 rios=1 wios=2 dbytes=0 dios=0\n");
        assert_eq!(bytes, [read.clone(), write.clone()]);
        assert_eq!(operations, [Io { value: 1, ..read }, Io { value: 2, ..write }]);
        let dev = "Inter-|   Receive                            |  Transmit\n \
                   face |bytes    packets errs drop fifo frame compressed multicast|bytes packets\n    \
                   lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: 100 2 3 4 0 0 0 0 200 5 6 7 0 0 0 0\n";
        let eth0 = Traffic {
            rx_bytes: 100,
            rx_packets: 2,
            rx_errors: 3,
            rx_dropped: 4,
            tx_bytes: 200,
            tx_packets: 5,
            tx_errors: 6,
            tx_dropped: 7,
        };
        assert_eq!(links(dev), [("eth0".to_owned(), eth0)].into());
    }
}
