//! Arbitrary values of the domain, within what its types promise.

use longshore_model::{
    AssignedTask, Assignment, Attribute, Backoff, CheckResult, CheckStatus, ClusterName, ContainerCondition,
    ContainerName, ContainerReport, ContainerSpec, ContainerStatus, Dependency, DesiredStatus, Device, DockerVolume,
    EfsVolume, EnvVar, Fence, Generation, HealthCheck, HealthStatus, HostFacts, HostPort, HostUsage, HostVersions,
    ImageDigest, InstanceHealth, IpcMode, Lifecycle, Link, LinuxParameters, LogConfig, MountPoint, NetworkBinding,
    NetworkMode, PidMode, PortMapping, Protocol, Resources, RestartPolicy, StopCode, StopInfo, TaskId, TaskReport,
    TaskSpec, TaskStatus, TaskUsage, Timestamp, Tmpfs, Ulimit, VolumeScope, VolumeSource, VolumeSpec, VolumesFrom,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use std::net::IpAddr;
use std::sync::Arc;

mod exec;
mod network;
pub(super) use exec::{exec_input, exec_order, exec_output};
pub(super) use network::network_update;
use network::{awsvpc, eni};

fn text() -> impl Strategy<Value = String> {
    "[ -~é]{0,12}"
}

fn path() -> impl Strategy<Value = String> {
    "/[a-z/.]{0,12}"
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_-]{1,12}"
}

fn task_id() -> impl Strategy<Value = TaskId> {
    any::<[u8; 16]>().prop_map(TaskId::from_bytes)
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(vec![Protocol::Tcp, Protocol::Udp])
}

fn port() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..=253_402_300_799_999i64).prop_map(Timestamp::from_millis)
}

pub(super) fn facts() -> impl Strategy<Value = HostFacts> {
    let attribute = (of("[ -~]{0,12}"), Just(())).prop_map(|(value, ())| value);
    let resources = (
        any::<u32>(),
        any::<u32>(),
        btree_set(port(), 0..4),
        btree_set(port(), 0..4),
        btree_set(name(), 0..3),
        any::<u32>(),
    );
    let attributes = btree_map("[a-zA-Z0-9_./\\\\-]{1,12}", attribute, 0..4);
    ("[a-z.]{0,12}", resources, attributes, vec("[0-9.]{0,8}", 3), of(any::<IpAddr>())).prop_map(
        |(hostname, resources, attributes, versions, underlay)| {
            let (cpu_units, memory_mib, reserved_tcp, reserved_udp, gpus, disk_mib) = resources;
            HostFacts {
                hostname,
                resources: Resources {
                    cpu_units,
                    memory_mib,
                    reserved_tcp,
                    reserved_udp,
                    gpu_ids: gpus.into_iter().collect(),
                    disk_mib,
                },
                attributes: attributes.into_iter().map(|(name, value)| Attribute { name, value }).collect(),
                versions: HostVersions {
                    agent: versions[0].clone(),
                    agent_hash: versions[1].clone(),
                    docker: versions[2].clone(),
                },
                underlay,
            }
        },
    )
}

fn linux() -> impl Strategy<Value = LinuxParameters> {
    let device =
        (path(), path(), select(vec!["", "r", "rw", "rwm"])).prop_map(|(host_path, container_path, permissions)| {
            Device { host_path, container_path, permissions: permissions.to_owned() }
        });
    let tmpfs = (path(), any::<u32>(), vec(text(), 0..2)).prop_map(|(container_path, size_mib, mount_options)| Tmpfs {
        container_path,
        size_mib,
        mount_options,
    });
    let lists = (vec(text(), 0..3), vec(text(), 0..3), vec(device, 0..2), vec(tmpfs, 0..2));
    (lists, any::<bool>(), of(any::<u32>()), of(any::<u32>()), of(0u8..=100)).prop_map(
        |((cap_add, cap_drop, devices, tmpfs), init, shared_memory_mib, max_swap_mib, swappiness)| LinuxParameters {
            cap_add,
            cap_drop,
            devices,
            tmpfs,
            init,
            shared_memory_mib,
            max_swap_mib,
            swappiness,
        },
    )
}

fn port_mapping() -> impl Strategy<Value = PortMapping> {
    let host_port = prop_oneof![Just(HostPort::Dynamic), port().prop_map(HostPort::Fixed)];
    (port(), host_port, protocol(), any::<u16>()).prop_map(|(container_port, host_port, protocol, count)| {
        let first = match host_port {
            HostPort::Fixed(port) => port.max(container_port),
            HostPort::Dynamic => container_port,
        };
        PortMapping { container_port, host_port, protocol, count: count_from(first, count) }
    })
}

/// A count of ports from `first` on, no further than there are.
fn count_from(first: u16, any: u16) -> u16 {
    1 + any % (u16::MAX - first + 1)
}

fn docker_volume() -> impl Strategy<Value = DockerVolume> {
    let scope = prop_oneof![
        Just(VolumeScope::Task),
        any::<bool>().prop_map(|autoprovision| VolumeScope::Shared { autoprovision })
    ];
    let maps = || btree_map(text(), text(), 0..3);
    (scope, of(name()), maps(), maps()).prop_map(|(scope, driver, driver_opts, labels)| DockerVolume {
        scope,
        driver,
        driver_opts,
        labels,
    })
}

fn ulimit() -> impl Strategy<Value = Ulimit> {
    (name(), -1..i64::MAX, -1..i64::MAX).prop_map(|(name, soft, hard)| Ulimit { name, soft, hard })
}

fn lifecycle() -> impl Strategy<Value = Lifecycle> {
    let command = prop_oneof![
        Just(vec!["NONE".to_owned()]),
        text().prop_map(|line| vec!["CMD-SHELL".to_owned(), line]),
        vec(text(), 1..3).prop_map(|words| [vec!["CMD".to_owned()], words].concat()),
    ];
    let check = (command, any::<[u32; 4]>()).prop_map(|(command, numbers)| {
        let [interval_secs, timeout_secs, retries, start_period_secs] = numbers;
        HealthCheck { command, interval_secs, timeout_secs, retries, start_period_secs }
    });
    let backoff =
        (1..99u32, 0..99u32).prop_map(|(first_secs, more)| Backoff { first_secs, longest_secs: first_secs + more });
    let restart = (vec(any::<i32>(), 0..3), any::<u32>(), of(backoff), any::<bool>()).prop_map(
        |(ignored_exit_codes, attempt_period_secs, backoff, when_unhealthy)| RestartPolicy {
            ignored_exit_codes,
            attempt_period_secs,
            backoff,
            when_unhealthy,
        },
    );
    (of(check), of(any::<u32>()), of(restart)).prop_map(|(health_check, start_timeout_secs, restart)| Lifecycle {
        health_check,
        depends_on: Vec::new(),
        start_timeout_secs,
        restart,
    })
}

fn digest() -> impl Strategy<Value = ImageDigest> {
    any::<[u64; 4]>().prop_map(|words| {
        let digits: String = words.iter().map(|word| format!("{word:016x}")).collect();
        ImageDigest::new(format!("sha256:{digits}")).expect("64 digits")
    })
}

/// A container that mounts the volume `data`.
fn container() -> impl Strategy<Value = ContainerSpec> {
    let mount = (path(), any::<bool>()).prop_map(|(container_path, read_only)| MountPoint {
        volume: "data".to_owned(),
        container_path,
        read_only,
    });
    let variable = ("[A-Za-z_.]{1,8}", text()).prop_map(|(name, value)| EnvVar { name, value });
    let log = (name(), btree_map(text(), text(), 0..3)).prop_map(|(driver, options)| LogConfig { driver, options });
    let maps = || btree_map(text(), text(), 0..3);
    let texts = || vec(text(), 0..3);
    (
        (name(), text(), (name(), of(digest())), any::<[bool; 6]>(), any::<u32>(), of(any::<u32>()), of(any::<u32>())),
        (of(texts()), of(texts()), of(text()), of(text()), of(text()), of(name())),
        (vec(variable, 0..3), vec(port_mapping(), 0..3), vec(mount, 0..2), vec(ulimit(), 0..2), linux()),
        (maps(), texts(), texts(), texts(), texts(), maps()),
        (of(log), of(any::<u32>()), vec(name(), 0..2), texts(), lifecycle()),
    )
        .prop_map(|(basics, image, lists, more, rest)| {
            let (name, arn_id, (image_name, image_digest), flags, cpu_units, memory_mib, memory_reservation_mib) =
                basics;
            let (entry_point, command, working_directory, user, hostname, repository_credentials) = image;
            let (environment, port_mappings, mount_points, ulimits, linux) = lists;
            let (docker_labels, dns_servers, dns_search, extra_hosts, security_options, sysctls) = more;
            let (log, stop_timeout_secs, gpu_ids, environment_files, lifecycle) = rest;
            let [essential, readonly_root, privileged, interactive, pseudo_terminal, disable_networking] = flags;
            ContainerSpec {
                name: ContainerName::new(name).expect("a name"),
                arn_id,
                image: image_name,
                image_digest,
                repository_credentials,
                essential,
                cpu_units,
                memory_mib,
                memory_reservation_mib,
                entry_point,
                command,
                working_directory,
                user,
                hostname,
                environment,
                environment_files,
                port_mappings,
                mount_points,
                volumes_from: Vec::new(),
                readonly_root,
                privileged,
                interactive,
                pseudo_terminal,
                disable_networking,
                ulimits,
                linux,
                docker_labels,
                dns_servers,
                dns_search,
                extra_hosts,
                links: Vec::new(),
                security_options,
                sysctls,
                log,
                stop_timeout_secs,
                gpu_ids,
                lifecycle,
            }
        })
}

fn task_spec() -> impl Strategy<Value = TaskSpec> {
    let modes = vec![NetworkMode::Bridge, NetworkMode::Host, NetworkMode::None, NetworkMode::Awsvpc];
    let source = prop_oneof![
        path().prop_map(|path| VolumeSource::Host { path }),
        Just(VolumeSource::Task),
        docker_volume().prop_map(VolumeSource::Docker),
        ("fs-[0-9a-f]{1,40}", path())
            .prop_map(|(file_system, root_directory)| { VolumeSource::Efs(EfsVolume { file_system, root_directory }) }),
    ];
    let pid_mode = select(vec![None, Some(PidMode::Host), Some(PidMode::Task)]);
    let ipc_mode = select(vec![None, Some(IpcMode::Host), Some(IpcMode::Task), Some(IpcMode::None)]);
    (
        (task_id(), text(), name(), text(), any::<u32>(), text(), select(modes)),
        of(any::<u32>()),
        of(any::<u32>()),
        vec((container(), of(select(ContainerCondition::ALL))), 1..4),
        source,
        awsvpc(),
        (pid_mode, ipc_mode, any::<[bool; 2]>()),
        (text(), btree_map(text(), text(), 0..3), of(any::<u32>()), of((1..=u32::MAX, any::<u32>()))),
    )
        .prop_map(|(basics, cpu_units, memory_mib, containers, source, awsvpc, shares, metadata)| {
            let (pid_mode, ipc_mode, [read_only, pull_only]) = shares;
            let (launch_type, tags, ephemeral_storage_mib, fence) = metadata;
            let (id, arn, cluster, family, revision, group, network_mode) = basics;
            let mut ordered: Vec<ContainerSpec> = Vec::new();
            for (mut container, condition) in containers {
                let i = ordered.len();
                container.name = ContainerName::new(format!("{}-{i}", container.name)).expect("a name");
                container.essential |= i == 0;
                let last = ordered.last().map(|last| last.name.clone()).zip(condition);
                container.lifecycle.depends_on =
                    last.map(|(container, condition)| Dependency { container, condition }).into_iter().collect();
                ordered.push(container);
            }
            // The last refers to the first.
            let first = ordered[0].name.clone();
            if let [_, .., last] = ordered.as_mut_slice() {
                last.volumes_from = vec![VolumesFrom { container: first.clone(), read_only }];
                last.links = vec![Link { container: first, alias: "db".to_owned() }];
            }
            let volumes = vec![VolumeSpec { name: "data".to_owned(), source }];
            let cluster = ClusterName::new(cluster).expect("a name");
            TaskSpec {
                id,
                arn,
                cluster,
                family,
                revision,
                group,
                network_mode,
                awsvpc: (network_mode == NetworkMode::Awsvpc).then_some(awsvpc),
                pid_mode,
                ipc_mode,
                cpu_units,
                memory_mib,
                containers: ordered,
                volumes,
                pull_only,
                ephemeral_storage_mib,
                fence: fence.map(|(after_millis, grace_millis)| Fence { after_millis, grace_millis }),
                launch_type,
                tags,
            }
        })
}

pub(super) fn assigned_task() -> impl Strategy<Value = AssignedTask> {
    let desired = select(DesiredStatus::ALL);
    (task_spec(), desired, any::<bool>(), text()).prop_map(|(spec, desired, may_start, stop_reason)| AssignedTask {
        spec: Arc::new(spec),
        desired,
        may_start,
        stop_reason,
    })
}

pub(super) fn assignment() -> impl Strategy<Value = Assignment> {
    let complete = (any::<u64>(), vec(assigned_task(), 0..3))
        .prop_map(|(generation, tasks)| Assignment::Complete { generation: Generation(generation), tasks });
    let removed = btree_set(task_id(), 0..3);
    let delta =
        (any::<u32>(), 1u64..9, vec(assigned_task(), 0..3), removed).prop_map(|(base, rise, tasks, removed)| {
            let base = u64::from(base);
            Assignment::Delta {
                base: Generation(base),
                generation: Generation(base + rise),
                tasks,
                removed: removed.into_iter().collect(),
            }
        });
    prop_oneof![complete, delta]
}

fn container_report() -> impl Strategy<Value = ContainerReport> {
    let ip = select(vec!["0.0.0.0", "::", "10.0.0.1"]);
    let binding = (ip, port(), port(), protocol(), any::<u16>()).prop_map(
        |(bind_ip, container_port, host_port, protocol, count)| NetworkBinding {
            bind_ip: bind_ip.to_owned(),
            container_port,
            host_port,
            protocol,
            count: count_from(container_port.max(host_port), count),
        },
    );
    (
        (name(), select(ContainerStatus::ALL), select(HealthStatus::ALL), any::<bool>(), any::<u32>()),
        (of(text()), of(text()), of(any::<i32>()), of(text())),
        (vec(binding, 0..3), vec(text(), 0..3)),
    )
        .prop_map(
            |(
                (name, status, health, has_check, restart_count),
                (runtime_id, image_digest, exit_code, reason),
                (bindings, warnings),
            )| {
                ContainerReport {
                    name: ContainerName::new(name).expect("a name"),
                    status,
                    runtime_id,
                    image_digest,
                    exit_code,
                    reason,
                    bindings,
                    health,
                    has_check,
                    restart_count,
                    warnings,
                }
            },
        )
}

pub(super) fn report() -> impl Strategy<Value = TaskReport> {
    let stop = (of(select(StopCode::ALL)), text()).prop_map(|(code, reason)| StopInfo { code, reason });
    let times = vec(of(time()), 6);
    let basics = (task_id(), any::<u64>(), select(TaskStatus::ALL), of(stop), of(text()));
    (basics, times, vec(container_report(), 0..3), of(eni())).prop_map(
        |((task, version, status, stop, waiting_for), times, mut containers, eni)| {
            for (i, container) in containers.iter_mut().enumerate() {
                container.name = ContainerName::new(format!("{}-{i}", container.name)).expect("a name");
            }
            TaskReport {
                task,
                version,
                status,
                stop,
                waiting_for,
                pull_started_at: times[0],
                pull_stopped_at: times[1],
                started_at: times[2],
                stopping_at: times[3],
                execution_stopped_at: times[4],
                stopped_at: times[5],
                containers,
                eni,
            }
        },
    )
}

pub(super) fn usage() -> impl Strategy<Value = HostUsage> {
    let tasks = prop::collection::btree_map(any::<[u8; 16]>(), (any::<u32>(), any::<u64>()), 0..5);
    (any::<u32>(), any::<u32>(), tasks).prop_map(|(cpu_units, memory_mib, tasks)| HostUsage {
        cpu_units,
        memory_mib,
        tasks: tasks
            .into_iter()
            .map(|(id, (cpu_units, memory_kib))| TaskUsage { task: TaskId::from_bytes(id), cpu_units, memory_kib })
            .collect(),
    })
}

pub(super) fn health() -> impl Strategy<Value = InstanceHealth> {
    let result = (select(CheckStatus::ALL.to_vec()), of(text()), time(), time());
    vec(result, 0..5).prop_map(|results| {
        let checks = results.into_iter().enumerate().map(|(n, (status, reason, checked_at, changed_at))| CheckResult {
            check: format!("CHECK_{n}"),
            status,
            reason,
            checked_at,
            changed_at,
        });
        InstanceHealth { checks: checks.collect() }
    })
}
