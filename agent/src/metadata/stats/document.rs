//! Two readings as Docker's own statistics, which is what readers of the endpoint expect. Pure.

use super::Pair;
use super::parse::{Cpu, Io, Memory, Sample, Traffic};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The figures of a container that runs.
pub(in crate::metadata) fn document(id: &str, name: &str, pair: &Pair, with_network: bool) -> Value {
    let Pair { before, now } = pair;
    let mut told = json!({
        "read": now.at.to_string(),
        "preread": before.at.to_string(),
        "pids_stats": pids(now),
        "blkio_stats": {
            "io_service_bytes_recursive": devices(&now.io_bytes),
            "io_serviced_recursive": devices(&now.io_operations),
            "io_queue_recursive": [],
            "io_service_time_recursive": [],
            "io_wait_time_recursive": [],
            "io_merged_recursive": [],
            "io_time_recursive": [],
            "sectors_recursive": [],
        },
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(&now.cpu),
        "precpu_stats": cpu(&before.cpu),
        "memory_stats": memory(&now.memory),
        "name": format!("/{name}"),
        "id": id,
    });
    // On the host's own network the figures would be the host's.
    if with_network {
        told["networks"] = networks(&now.networks);
        told["network_rate_stats"] = rates(before, now);
    }
    told
}

fn cpu(cpu: &Cpu) -> Value {
    let mut usage = json!({
        "total_usage": cpu.total,
        "usage_in_kernelmode": cpu.kernel,
        "usage_in_usermode": cpu.user,
    });
    if !cpu.each.is_empty() {
        usage["percpu_usage"] = json!(cpu.each);
    }
    json!({
        "cpu_usage": usage,
        "system_cpu_usage": cpu.system,
        "online_cpus": cpu.online,
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": cpu.throttled,
        },
    })
}

fn memory(memory: &Memory) -> Value {
    let mut told = json!({"usage": memory.usage, "stats": memory.stats, "limit": memory.limit});
    for (name, value) in [("max_usage", memory.most), ("failcnt", memory.failures)] {
        if let Some(value) = value {
            told[name] = json!(value);
        }
    }
    told
}

fn pids(sample: &Sample) -> Value {
    let mut told = json!({"current": sample.pids.current});
    if let Some(limit) = sample.pids.limit {
        told["limit"] = json!(limit);
    }
    told
}

fn devices(all: &[Io]) -> Value {
    all.iter().map(|io| json!({"major": io.major, "minor": io.minor, "op": io.op, "value": io.value})).collect()
}

fn networks(all: &BTreeMap<String, Traffic>) -> Value {
    let link = |traffic: &Traffic| {
        json!({
            "rx_bytes": traffic.rx_bytes,
            "rx_packets": traffic.rx_packets,
            "rx_errors": traffic.rx_errors,
            "rx_dropped": traffic.rx_dropped,
            "tx_bytes": traffic.tx_bytes,
            "tx_packets": traffic.tx_packets,
            "tx_errors": traffic.tx_errors,
            "tx_dropped": traffic.tx_dropped,
        })
    };
    Value::Object(all.iter().map(|(name, traffic)| (name.clone(), link(traffic))).collect())
}

/// Bytes a second on all links together.
fn rates(before: &Sample, now: &Sample) -> Value {
    let seconds = now.at.since(before.at).as_secs_f64();
    let sum = |sample: &Sample, of: fn(&Traffic) -> u64| sample.networks.values().map(of).sum::<u64>();
    let rate = |of: fn(&Traffic) -> u64| {
        let bytes = sum(now, of).saturating_sub(sum(before, of));
        if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 }
    };
    json!({"rx_bytes_per_sec": rate(|t| t.rx_bytes), "tx_bytes_per_sec": rate(|t| t.tx_bytes)})
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::Timestamp;
    use std::sync::Arc;

    fn sample(at: i64, bytes: u64) -> Sample {
        let traffic = Traffic { rx_bytes: bytes, tx_bytes: 2 * bytes, ..Traffic::default() };
        Sample {
            at: Timestamp::from_millis(at),
            cpu: Cpu { total: bytes, system: 10 * bytes, online: 2, each: vec![bytes, 0], ..Cpu::default() },
            memory: Memory { usage: 4096, limit: 8192, ..Memory::default() },
            networks: [("eth0".to_owned(), traffic)].into(),
            io_bytes: vec![Io { major: 8, minor: 0, op: "read".into(), value: 7 }],
            ..Sample::default()
        }
    }

    #[test]
    fn figures_have_dockers_shape_and_rates() {
        let pair = Pair { before: Arc::new(sample(1000, 100)), now: Arc::new(sample(3000, 500)) };
        let told = document("abc", "ls-x", &pair, true);
        assert_eq!((&told["name"], &told["id"]), (&json!("/ls-x"), &json!("abc")));
        assert_eq!((&told["read"], &told["preread"]), (&json!("1970-01-01T00:00:03Z"), &json!("1970-01-01T00:00:01Z")));
        assert_eq!(told["cpu_stats"]["cpu_usage"]["total_usage"], 500);
        assert_eq!(told["cpu_stats"]["cpu_usage"]["percpu_usage"], json!([500, 0]));
        assert_eq!(told["precpu_stats"]["system_cpu_usage"], 1000);
        assert_eq!(told["memory_stats"], json!({"usage": 4096, "stats": {}, "limit": 8192}));
        assert_eq!(told["networks"]["eth0"]["tx_bytes"], 1000);
        assert_eq!(told["network_rate_stats"], json!({"rx_bytes_per_sec": 200.0, "tx_bytes_per_sec": 400.0}));
        let read = json!([{"major": 8, "minor": 0, "op": "read", "value": 7}]);
        assert_eq!(told["blkio_stats"]["io_service_bytes_recursive"], read);
        let told = document("abc", "ls-x", &pair, false);
        assert!(told.get("networks").is_none() && told.get("network_rate_stats").is_none(), "{told}");
    }

    /// As Datadog's agent decodes the figures: into fixed types, so one member of another type loses it all of them.
    /// What is not there is nothing to it.
    mod datadog {
        use super::super::{Cpu, Io, Memory, Pair, Sample, Traffic, document};
        use longshore_model::Timestamp;
        use serde::Deserialize;
        use std::collections::BTreeMap;
        use std::sync::Arc;

        #[derive(Debug, PartialEq, Deserialize)]
        struct Stats {
            read: String,
            cpu_stats: CpuStats,
            memory_stats: MemoryStats,
            blkio_stats: IoStats,
            #[serde(default)]
            networks: BTreeMap<String, NetworkStats>,
        }

        #[derive(Debug, PartialEq, Deserialize)]
        struct CpuStats {
            cpu_usage: CpuUsage,
            system_cpu_usage: u64,
        }

        #[derive(Debug, PartialEq, Deserialize)]
        struct CpuUsage {
            total_usage: u64,
            usage_in_usermode: u64,
            usage_in_kernelmode: u64,
        }

        #[derive(Debug, PartialEq, Deserialize)]
        struct MemoryStats {
            stats: MemoryDetails,
            limit: u64,
            #[serde(default)]
            max_usage: u64,
            usage: u64,
        }

        /// The names of version 1 of cgroups; version 2 has only the last.
        #[derive(Debug, Default, PartialEq, Deserialize)]
        #[serde(default)]
        struct MemoryDetails {
            rss: u64,
            cache: u64,
            pgfault: u64,
        }

        #[derive(Debug, PartialEq, Deserialize)]
        struct IoStats {
            io_service_bytes_recursive: Vec<Operation>,
            io_serviced_recursive: Vec<Operation>,
        }

        #[derive(Debug, PartialEq, Deserialize)]
        struct Operation {
            major: i64,
            minor: i64,
            op: String,
            value: u64,
        }

        #[derive(Debug, PartialEq, Deserialize)]
        struct NetworkStats {
            rx_bytes: u64,
            rx_packets: u64,
            tx_bytes: u64,
            tx_packets: u64,
        }

        fn read(sample: Sample, with_network: bool) -> Stats {
            let before = Sample { at: Timestamp::from_millis(1_700_000_000_000), ..Sample::default() };
            let pair = Pair { before: Arc::new(before), now: Arc::new(sample) };
            let told = document("abc", "ls-x", &pair, with_network).to_string();
            serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
        }

        fn stats(all: &[(&str, u64)]) -> BTreeMap<String, u64> {
            all.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        }

        fn io(op: &str, value: u64) -> Io {
            Io { major: 259, minor: 1, op: op.to_owned(), value }
        }

        fn operation(op: &str, value: u64) -> Operation {
            Operation { major: 259, minor: 1, op: op.to_owned(), value }
        }

        #[test]
        fn figures_are_what_it_reads() {
            let traffic =
                Traffic { rx_bytes: 1000, rx_packets: 10, tx_bytes: 2000, tx_packets: 20, ..Traffic::default() };
            let sample = Sample {
                at: Timestamp::from_millis(1_700_000_001_500),
                cpu: Cpu { total: 500, user: 300, kernel: 200, system: 276_134_970_000_000, ..Cpu::default() },
                memory: Memory {
                    usage: 4096,
                    most: Some(6144),
                    failures: Some(3),
                    limit: u64::MAX,
                    stats: stats(&[("rss", 1024), ("cache", 2048), ("pgfault", 7), ("mapped_file", 5)]),
                },
                io_bytes: vec![io("read", 7_593_984), io("write", 28_672)],
                io_operations: vec![io("read", 12), io("write", 3)],
                networks: [("eth0".to_owned(), traffic)].into(),
                ..Sample::default()
            };
            let expected = Stats {
                read: "2023-11-14T22:13:21.5Z".into(),
                cpu_stats: CpuStats {
                    cpu_usage: CpuUsage { total_usage: 500, usage_in_usermode: 300, usage_in_kernelmode: 200 },
                    system_cpu_usage: 276_134_970_000_000,
                },
                memory_stats: MemoryStats {
                    stats: MemoryDetails { rss: 1024, cache: 2048, pgfault: 7 },
                    limit: u64::MAX,
                    max_usage: 6144,
                    usage: 4096,
                },
                blkio_stats: IoStats {
                    io_service_bytes_recursive: vec![operation("read", 7_593_984), operation("write", 28_672)],
                    io_serviced_recursive: vec![operation("read", 12), operation("write", 3)],
                },
                networks: [(
                    "eth0".to_owned(),
                    NetworkStats { rx_bytes: 1000, rx_packets: 10, tx_bytes: 2000, tx_packets: 20 },
                )]
                .into(),
            };
            assert_eq!(read(sample, true), expected);
        }

        #[test]
        fn figures_are_read_where_the_kernel_tells_less() {
            let memory = Memory {
                usage: 4096,
                limit: 8192,
                stats: stats(&[("anon", 1024), ("file", 2048), ("pgfault", 9)]),
                ..Memory::default()
            };
            let Stats { memory_stats, blkio_stats, networks, .. } = read(Sample { memory, ..Sample::default() }, false);
            let details = MemoryDetails { pgfault: 9, ..MemoryDetails::default() };
            assert_eq!(memory_stats, MemoryStats { stats: details, limit: 8192, max_usage: 0, usage: 4096 });
            let nothing = IoStats { io_service_bytes_recursive: vec![], io_serviced_recursive: vec![] };
            assert_eq!((blkio_stats, networks.len()), (nothing, 0));
        }
    }
}
