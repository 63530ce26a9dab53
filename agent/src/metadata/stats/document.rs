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
}
