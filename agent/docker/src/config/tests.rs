use super::*;
use longshore_model::{
    ClusterName, ContainerName, Device, DockerVolume, EnvVar, IpcMode, Link, LogConfig, MountPoint, PidMode, Protocol,
    TaskId, Tmpfs, Ulimit, VolumeScope, VolumeSource, VolumeSpec, VolumesFrom,
};
use std::collections::BTreeMap;

fn spec() -> TaskSpec {
    let name = ContainerName::new("main").expect("a name");
    let container = ContainerSpec {
        arn_id: "6f4b5d6e-0000-4000-8000-000000000000".into(),
        ..ContainerSpec::new(name, "busybox:1")
    };
    let (id, cluster) = (TaskId::from_bytes([0xab; 16]), ClusterName::new("prod").expect("a name"));
    TaskSpec {
        arn: "arn:aws:ecs:lab:123456789012:task/prod/abababababababababababababababab".into(),
        revision: 7,
        ..TaskSpec::new(id, cluster, "web", NetworkMode::Bridge, vec![container])
    }
}

fn build(task: &TaskSpec) -> Result<ContainerCreateBody, ConfigError> {
    build_with(task, &[], None, None)
}

fn build_with(
    task: &TaskSpec,
    bindings: &[NetworkBinding],
    sandbox: Option<&str>,
    cgroup_parent: Option<&str>,
) -> Result<ContainerCreateBody, ConfigError> {
    let container = &task.containers[0];
    let sandbox = sandbox.map(|id| SandboxRef { id, files: "/var/lib/x/eni-1" });
    let input = ContainerInput { task, container, bindings, sandbox, cgroup_parent, supervise: "{}" };
    container_config(&input).map(|c| c.body)
}

/// Changes a plain container, and looks at what the engine is told.
fn check<T: PartialEq + std::fmt::Debug>(
    change: impl FnOnce(&mut ContainerSpec),
    see: impl FnOnce(ContainerCreateBody, HostConfig) -> T,
    expected: T,
) {
    let mut task = spec();
    change(&mut task.containers[0]);
    let mut body = build(&task).expect("the engine can be told");
    let host = body.host_config.take().expect("there is always one");
    assert_eq!(see(body, host), expected);
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&w| w.to_owned()).collect()
}

#[test]
fn a_plain_container_asks_for_nothing() {
    let body = build(&spec()).expect("the engine can be told");
    let host = body.host_config.clone().expect("there is always one");
    assert_eq!((body.image.as_deref(), body.cmd, body.entrypoint), (Some("busybox:1"), None, None));
    assert_eq!((body.user, body.working_dir, body.hostname, body.network_disabled), (None, None, None, None));
    assert_eq!((host.memory, host.memory_swap, host.memory_swappiness), (None, None, None));
    assert_eq!((host.binds, host.port_bindings, host.cgroup_parent), (None, None, None));
    assert_eq!((host.cap_add, host.devices, host.tmpfs, host.init, host.sysctls), (None, None, None, None, None));
    assert_eq!((host.log_config, host.device_requests, host.shm_size), (None, None, None));
    assert_eq!(host.network_mode.as_deref(), Some("bridge"));
}

#[test]
fn the_engine_never_restarts_or_removes_anything_by_itself() {
    check(|_| (), |_, h| h.restart_policy.and_then(|p| p.name), Some(RestartPolicyNameEnum::NO));
    check(|_| (), |_, h| h.auto_remove, Some(false));
}

#[test]
fn what_runs() {
    check(|c| c.entry_point = Some(words(&["/init"])), |b, _| b.entrypoint, Some(words(&["/init"])));
    check(|c| c.command = Some(words(&["a", "b c"])), |b, _| b.cmd, Some(words(&["a", "b c"])));
    check(|c| c.working_directory = Some("/srv".into()), |b, _| b.working_dir, Some("/srv".into()));
    check(|c| c.user = Some("1000:1000".into()), |b, _| b.user, Some("1000:1000".into()));
    check(|c| c.hostname = Some("web-1".into()), |b, _| b.hostname, Some("web-1".into()));
    check(|c| c.pseudo_terminal = true, |b, _| b.tty, Some(true));
    check(|c| c.interactive = true, |b, _| b.open_stdin, Some(true));
    check(|c| c.stop_timeout_secs = Some(90), |b, _| b.stop_timeout, Some(90));
    let check_of = |command: &[&str]| HealthCheck {
        command: words(command),
        interval_secs: 30,
        timeout_secs: 5,
        retries: 3,
        start_period_secs: 60,
    };
    let (probe, none) = (check_of(&["CMD-SHELL", "true"]), check_of(&["NONE"]));
    let secs = |n: i64| Some(n * 1_000_000_000);
    let wanted = HealthConfig {
        test: Some(words(&["CMD-SHELL", "true"])),
        interval: secs(30),
        timeout: secs(5),
        retries: Some(3),
        start_period: secs(60),
        ..HealthConfig::default()
    };
    check(|_| (), |b, _| b.healthcheck, None);
    check(move |c| c.lifecycle.health_check = Some(probe), |b, _| b.healthcheck, Some(wanted));
    let off = HealthConfig { test: Some(words(&["NONE"])), ..HealthConfig::default() };
    check(move |c| c.lifecycle.health_check = Some(none), |b, _| b.healthcheck, Some(off));
    let variable = |name: &str, value: &str| EnvVar { name: name.into(), value: value.into() };
    check(
        |c| c.environment = vec![variable("A", "1=2"), variable("EMPTY", "")],
        |b, _| b.env,
        Some(words(&["A=1=2", "EMPTY="])),
    );
}

#[test]
fn what_it_may_use() {
    // The kernel's least for a container without CPU units, as ECS does.
    for (units, shares) in [(0, 2), (1, 2), (2, 2), (512, 512)] {
        check(move |c| c.cpu_units = units, |_, h| h.cpu_shares, Some(shares));
    }
    check(|c| c.memory_mib = Some(128), |_, h| h.memory, Some(134_217_728));
    check(|c| c.memory_reservation_mib = Some(64), |_, h| h.memory_reservation, Some(67_108_864));
    check(|c| c.linux.shared_memory_mib = Some(32), |_, h| h.shm_size, Some(33_554_432));
    check(|c| c.gpu_ids = words(&["GPU-a"]), |_, h| h.device_requests.map(|d| d[0].device_ids.clone()), {
        Some(Some(words(&["GPU-a"])))
    });
    check(
        |c| c.ulimits = vec![Ulimit { name: "nofile".into(), soft: 1024, hard: -1 }],
        |_, h| h.ulimits,
        Some(vec![ResourcesUlimits { name: Some("nofile".into()), soft: Some(1024), hard: Some(-1) }]),
    );
    let mut task = spec();
    task.containers[0].cpu_units = 10;
    let body = build_with(&task, &[], None, Some("/longshore/x")).expect("the engine can be told");
    assert_eq!(body.host_config.expect("there").cgroup_parent.as_deref(), Some("/longshore/x"));
}

#[test]
fn swap_counts_on_top_of_memory_and_swappiness_only_with_it() {
    let swap = |memory, max, swappiness| {
        move |c: &mut ContainerSpec| {
            c.memory_mib = memory;
            c.linux.max_swap_mib = max;
            c.linux.swappiness = swappiness;
        }
    };
    let see = |_, h: HostConfig| (h.memory_swap, h.memory_swappiness);
    check(swap(Some(64), Some(32), Some(10)), see, (Some(96 << 20), Some(10)));
    check(swap(Some(64), Some(0), None), see, (Some(64 << 20), None));
    check(swap(Some(64), None, Some(10)), see, (None, None));
    let mut task = spec();
    task.containers[0].linux.max_swap_mib = Some(32);
    assert_eq!(build(&task).expect_err("no memory").field, "linuxParameters.maxSwap");
}

#[test]
fn what_it_may_do() {
    check(|c| c.readonly_root = true, |_, h| h.readonly_rootfs, Some(true));
    check(|c| c.privileged = true, |_, h| h.privileged, Some(true));
    check(|c| c.linux.cap_add = words(&["SYS_PTRACE"]), |_, h| h.cap_add, Some(words(&["SYS_PTRACE"])));
    check(|c| c.linux.cap_drop = words(&["ALL"]), |_, h| h.cap_drop, Some(words(&["ALL"])));
    check(|c| c.linux.init = true, |_, h| h.init, Some(true));
    check(
        |c| drop(c.sysctls.insert("net.core.somaxconn".into(), "512".into())),
        |_, h| h.sysctls.map(|s| s["net.core.somaxconn"].clone()),
        Some("512".into()),
    );
    for (ecs, docker) in [
        ("no-new-privileges", "no-new-privileges"),
        ("label:user:web", "label=user:web"),
        ("apparmor:docker-default", "apparmor=docker-default"),
        ("label=disable", "label=disable"),
    ] {
        check(move |c| c.security_options = words(&[ecs]), |_, h| h.security_opt, Some(words(&[docker])));
    }
    let device = |container: &str, permissions: &str| Device {
        host_path: "/dev/fuse".into(),
        container_path: container.into(),
        permissions: permissions.into(),
    };
    for (container, permissions, seen, allowed) in [("/dev/f", "r", "/dev/f", "r"), ("", "", "/dev/fuse", "rwm")] {
        check(
            move |c| c.linux.devices = vec![device(container, permissions)],
            |_, h| h.devices.map(|d| (d[0].path_in_container.clone(), d[0].cgroup_permissions.clone())),
            Some((Some(seen.to_owned()), Some(allowed.to_owned()))),
        );
    }
}

#[test]
fn what_it_sees_of_disks() {
    let tmpfs = Tmpfs { container_path: "/run".into(), size_mib: 16, mount_options: words(&["noexec", "mode=0700"]) };
    check(
        |c| c.linux.tmpfs = vec![tmpfs],
        |_, h| h.tmpfs.map(|t| t["/run"].clone()),
        Some("noexec,mode=0700,size=16m".into()),
    );
    let mut task = spec();
    let volume = |name: &str, source| VolumeSpec { name: name.into(), source };
    let mount = |volume: &str, path: &str, read_only| MountPoint {
        volume: volume.into(),
        container_path: path.into(),
        read_only,
    };
    task.volumes = vec![volume("etc", VolumeSource::Host { path: "/etc".into() }), volume("data", VolumeSource::Task)];
    let docker = |scope| {
        let (driver_opts, labels) = (BTreeMap::new(), BTreeMap::from([("team".to_owned(), "web".to_owned())]));
        VolumeSource::Docker(DockerVolume { scope, driver: None, driver_opts, labels })
    };
    let made = [docker(VolumeScope::Task), docker(VolumeScope::Shared { autoprovision: true })];
    let [own, shared] = made.map(|source| volume("made", source));
    assert_eq!(labels::name_of_volume(task.id, &own), "ls-abababababababababababababababab-made");
    assert_eq!(labels::name_of_volume(task.id, &shared), "made");
    let labels_of = |v: &VolumeSpec| labels::volume_labels(task.id, v).into_iter().collect::<BTreeMap<_, _>>();
    assert_eq!(labels_of(&own).keys().collect::<Vec<_>>(), ["longshore.task", "longshore.volume", "team"]);
    let shared = labels_of(&shared);
    assert_eq!(shared.keys().collect::<Vec<_>>(), ["longshore.volume", "team"], "it is no task's to remove");
    task.containers[0].mount_points = vec![mount("etc", "/host/etc", true), mount("data", "/data", false)];
    let body = build(&task).expect("the engine can be told");
    assert_eq!(
        body.host_config.expect("there").binds,
        Some(words(&["/etc:/host/etc:ro", "ls-abababababababababababababababab-data:/data"]))
    );

    type Change = fn(&mut TaskSpec);
    let cases: [(&str, Change); 5] = [
        ("mountPoints[0].sourceVolume", |t| t.containers[0].mount_points[0].volume = "absent".into()),
        ("mountPoints[1].containerPath", |t| t.containers[0].mount_points[1].container_path = "data".into()),
        ("mountPoints[1].containerPath", |t| t.containers[0].mount_points[1].container_path = "/a:b".into()),
        ("volumes[name=etc].host.sourcePath", |t| t.volumes[0].source = VolumeSource::Host { path: "/a:b".into() }),
        ("volumes[name=etc].host.sourcePath", |t| t.volumes[0].source = VolumeSource::Host { path: "etc".into() }),
    ];
    for (field, change) in cases {
        let mut bad = task.clone();
        change(&mut bad);
        assert_eq!(build(&bad).expect_err(field).field, field);
    }
    let long = "x".repeat(230);
    task.volumes[1].name.clone_from(&long);
    task.containers[0].mount_points[1].volume.clone_from(&long);
    assert!(build(&task).expect_err("too long").problem.starts_with("is too long"));
}

#[test]
fn each_network_mode_is_told_in_its_own_way() {
    struct Case {
        mode: NetworkMode,
        disabled: bool,
        dns: bool,
        network: &'static str,
        off: Option<bool>,
        has_dns: bool,
    }
    let cases = [
        Case { mode: NetworkMode::Bridge, disabled: false, dns: true, network: "bridge", off: None, has_dns: true },
        Case { mode: NetworkMode::Host, disabled: false, dns: true, network: "host", off: None, has_dns: true },
        Case { mode: NetworkMode::None, disabled: false, dns: false, network: "none", off: Some(true), has_dns: false },
        // The engine writes the files that dns needs only when it makes the network itself.
        Case { mode: NetworkMode::None, disabled: false, dns: true, network: "none", off: None, has_dns: true },
        Case {
            mode: NetworkMode::Bridge,
            disabled: true,
            dns: false,
            network: "none",
            off: Some(true),
            has_dns: false,
        },
        // The sandbox has them; the engine refuses them here.
        Case {
            mode: NetworkMode::Awsvpc,
            disabled: false,
            dns: true,
            network: "container:p",
            off: None,
            has_dns: false,
        },
    ];
    for case in cases {
        let mut task = spec();
        task.network_mode = case.mode;
        let container = &mut task.containers[0];
        container.disable_networking = case.disabled;
        container.hostname = Some("h".into());
        if case.dns {
            container.dns_servers = words(&["10.0.0.2"]);
            container.dns_search = words(&["lab"]);
            container.extra_hosts = words(&["db:10.0.0.3"]);
        }
        let bindings = [binding(80, 8080, Protocol::Tcp)];
        let body = build_with(&task, &bindings, Some("p"), None).expect("the engine can be told");
        let host = body.host_config.expect("there");
        let what = format!("{:?} disabled={} dns={}", case.mode, case.disabled, case.dns);
        assert_eq!(host.network_mode.as_deref(), Some(case.network), "{what}");
        assert_eq!(body.network_disabled, case.off, "{what}");
        let all = [host.dns.is_some(), host.dns_search.is_some(), host.extra_hosts.is_some()];
        assert_eq!(all, [case.has_dns; 3], "{what}");
        assert_eq!(host.port_bindings.is_some(), case.network == "bridge", "{what}");
        assert_eq!(body.exposed_ports.is_some(), case.network == "bridge", "{what}");
        assert_eq!(body.hostname.is_some(), case.mode != NetworkMode::Awsvpc, "{what}");
    }
    let mut task = spec();
    task.network_mode = NetworkMode::Awsvpc;
    assert_eq!(build(&task).expect_err("there is no sandbox").field, "networkMode");
}

#[test]
fn a_container_that_joins_a_sandbox_gets_the_tasks_files() {
    let binds =
        |task: &TaskSpec| build_with(task, &[], Some("p"), None).expect("told").host_config.expect("there").binds;
    let mut task = spec();
    task.network_mode = NetworkMode::Awsvpc;
    let files = ["resolv.conf:/etc/resolv.conf", "hosts:/etc/hosts", "hostname:/etc/hostname"];
    let files = files.map(|f| format!("/var/lib/x/eni-1/{f}:ro"));
    assert_eq!(binds(&task), Some(files.to_vec()));
    // What the definition mounts in such a place stays.
    task.volumes = vec![VolumeSpec { name: "h".into(), source: VolumeSource::Host { path: "/srv/hosts".into() } }];
    task.containers[0].mount_points =
        vec![MountPoint { volume: "h".into(), container_path: "/etc/hosts".into(), read_only: false }];
    let kept = ["/srv/hosts:/etc/hosts".to_owned(), files[0].clone(), files[2].clone()];
    assert_eq!(binds(&task), Some(kept.to_vec()));
    // Without network there is nothing to name.
    task.containers[0].mount_points.clear();
    task.containers[0].disable_networking = true;
    assert_eq!(binds(&task), None);
}

fn binding(container_port: u16, host_port: u16, protocol: Protocol) -> NetworkBinding {
    NetworkBinding { bind_ip: "0.0.0.0".into(), container_port, host_port, protocol, count: 1 }
}

#[test]
fn ports_are_published_each_where_it_was_resolved_to() {
    let bindings =
        [binding(80, 30_001, Protocol::Tcp), binding(80, 30_002, Protocol::Tcp), binding(53, 53, Protocol::Udp)];
    let body = build_with(&spec(), &bindings, None, None).expect("the engine can be told");
    assert_eq!(body.exposed_ports, Some(words(&["53/udp", "80/tcp"])));
    let ports = body.host_config.expect("there").port_bindings.expect("published");
    let host_ports = |key: &str| -> Vec<String> {
        ports[key].iter().flatten().map(|b| b.host_port.clone().expect("always given")).collect()
    };
    assert_eq!((host_ports("80/tcp"), host_ports("53/udp")), (words(&["30001", "30002"]), words(&["53"])));
    assert!(ports.values().flatten().flatten().all(|b| b.host_ip.as_deref() == Some("0.0.0.0")));
}

#[test]
fn a_range_is_published_port_by_port() {
    let range = NetworkBinding { count: 3, ..binding(7000, 30_005, Protocol::Tcp) };
    let body = build_with(&spec(), &[range], None, None).expect("the engine can be told");
    assert_eq!(body.exposed_ports, Some(words(&["7000/tcp", "7001/tcp", "7002/tcp"])));
    let ports = body.host_config.expect("there").port_bindings.expect("published");
    let first = |key: &str| ports[key].as_ref().and_then(|list| list[0].host_port.clone());
    assert_eq!([first("7000/tcp"), first("7002/tcp")], [Some("30005".into()), Some("30007".into())]);
}

#[test]
fn what_it_has_of_other_containers() {
    let other = || ContainerName::new("db").expect("a name");
    let from = |read_only| VolumesFrom { container: other(), read_only };
    check(
        |c| c.volumes_from = vec![from(true), from(false)],
        |_, h| h.volumes_from,
        Some(words(&["ls-abababababababababababababababab-db:ro", "ls-abababababababababababababababab-db"])),
    );
    let link = |c: &mut ContainerSpec| c.links = vec![Link { container: other(), alias: "database".into() }];
    check(link, |_, h| h.links, Some(words(&["ls-abababababababababababababababab-db:database"])));
    let mut task = spec();
    link(&mut task.containers[0]);
    task.network_mode = NetworkMode::Host;
    assert_eq!(build(&task).expect("the engine can be told").host_config.expect("there").links, None);
}

#[test]
fn with_whom_it_shares_its_processes_and_its_memory() {
    let modes = |pid_mode, ipc_mode| {
        let task = TaskSpec { pid_mode, ipc_mode, ..spec() };
        let host = build(&task).expect("the engine can be told").host_config.expect("there");
        (host.pid_mode, host.ipc_mode)
    };
    let pause = || Some("container:ls-abababababababababababababababab.pause".to_owned());
    assert_eq!(modes(None, None), (None, None));
    assert_eq!(modes(Some(PidMode::Host), Some(IpcMode::Host)), (Some("host".into()), Some("host".into())));
    assert_eq!(modes(Some(PidMode::Task), Some(IpcMode::Task)), (pause(), pause()));
    assert_eq!(modes(None, Some(IpcMode::None)), (None, Some("none".into())));
}

#[test]
fn logs_go_where_the_definition_says() {
    let log = LogConfig { driver: "json-file".into(), options: BTreeMap::from([("max-size".into(), "1m".into())]) };
    check(
        |c| c.log = Some(log),
        |_, h| h.log_config.map(|l| (l.typ, l.config.map(|c| c["max-size"].clone()))),
        Some((Some("json-file".into()), Some("1m".into()))),
    );
}

#[test]
fn labels_of_the_definition_cannot_replace_ours() {
    let mut task = spec();
    let labels = &mut task.containers[0].docker_labels;
    labels.insert("team".into(), "web".into());
    labels.insert("com.amazonaws.ecs.cluster".into(), "elsewhere".into());
    let all = build(&task).expect("the engine can be told").labels.expect("there");
    assert_eq!((all["team"].as_str(), all["com.amazonaws.ecs.cluster"].as_str()), ("web", "prod"));
    assert_eq!((all["longshore.task"].as_str(), all["longshore.supervise"].as_str()), ("ab".repeat(16).as_str(), "{}"));
    assert_eq!(all["com.amazonaws.ecs.task-arn"], task.arn);
    assert_eq!(all["com.amazonaws.ecs.task-definition-family"], "web");
    assert_eq!(all["com.amazonaws.ecs.task-definition-version"], "7");
    assert_eq!(all["com.amazonaws.ecs.container-name"], "main");
    // Nor can the image's, which the engine adds to what a container has not.
    let logs = ["region", "group", "stream"].map(|which| format!("longshore.log-{which}"));
    assert!(logs.iter().all(|name| all[name].is_empty()), "{all:?}");
    let options = [("awslogs-group", "g"), ("awslogs-region", "r")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    task.containers[0].log = Some(LogConfig { driver: "awslogs".into(), options });
    let all = build(&task).expect("the engine can be told").labels.expect("there");
    assert_eq!(logs.map(|name| all[&name].clone()), ["r", "g", ""]);

    task.containers[0].docker_labels.insert("longshore.task".into(), "mine".into());
    assert_eq!(build(&task).expect_err("ours").field, "dockerLabels");
}

#[test]
fn a_label_chooses_the_runtime() {
    check(|_| (), |_, h| h.runtime, None);
    let choose = |c: &mut ContainerSpec| _ = c.docker_labels.insert("longshore.runtime".into(), "runsc".into());
    check(choose, |_, h| h.runtime.as_deref() == Some("runsc"), true);
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let mut task = spec();
    task.containers[0].environment = vec![EnvVar { name: "TOKEN".into(), value: "hush-hush".into() }];
    let log = LogConfig { driver: "gelf".into(), options: BTreeMap::from([("k".into(), "hush-hush".into())]) };
    task.containers[0].log = Some(log);
    let container = &task.containers[0];
    let input =
        ContainerInput { task: &task, container, bindings: &[], sandbox: None, cgroup_parent: None, supervise: "{}" };
    let config = container_config(&input).expect("the engine can be told");
    for text in [format!("{config:?}"), format!("{input:?}")] {
        assert!(!text.contains("hush-hush"), "{text}");
    }
}
