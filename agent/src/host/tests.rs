use super::*;
use longshore_docker::{CgroupDriver, CgroupVersion};

fn engine() -> EngineInfo {
    EngineInfo {
        version: "20.10.24".into(),
        api_version: "1.41".into(),
        min_api_version: "1.12".into(),
        cgroup_driver: CgroupDriver::Cgroupfs,
        cgroup_version: CgroupVersion::V1,
        storage_driver: "overlay2".into(),
        containerd_images: false,
        backing_file_system: "extfs".into(),
        data_root: "/var/lib/docker".into(),
        log_drivers: vec!["awslogs".into(), "json-file".into(), "journald".into()],
        volume_drivers: vec!["local".into(), "rexray/ebs:latest".into()],
        runtimes: vec!["runc".into()],
        security_options: vec!["seccomp".into(), "apparmor".into()],
        arch: "x86_64".into(),
        kernel: "6.1.0".into(),
        operating_system: "Debian GNU/Linux 12 (bookworm)".into(),
        memory_limit: true,
        swap_limit: true,
        cpu_quota: true,
        live_restore: false,
    }
}

fn probed() -> Probed {
    Probed {
        hostname: "h1".into(),
        cpus: 2,
        memory_mib: 4096,
        kernel: "6.1.0".into(),
        gpu_ids: vec!["GPU-a".into()],
        engine: engine(),
        task_limits: true,
        underlay: None,
        interfaces: false,
        output_readable: true,
        disk_mib: 10_240,
    }
}

fn settings() -> HostSettings {
    HostSettings {
        reserved_memory_mib: 96,
        reserved_ports_tcp: [22, 2375].into(),
        zone: Some("rack-1".into()),
        allow_privileged: true,
        environment_files: true,
        file_systems: ["fs-0123".to_owned()].into(),
        attributes: BTreeMap::from([("disk".into(), "ssd".into()), ("ecs.os-type".into(), "plan9".into())]),
        ..HostSettings::default()
    }
}

fn value<'a>(facts: &'a HostFacts, name: &str) -> Option<Option<&'a str>> {
    facts.attributes.iter().find(|a| a.name == name).map(|a| a.value.as_deref())
}

#[test]
fn resources_are_what_is_left() {
    let facts = facts(&settings(), &probed());
    assert_eq!(facts.resources.cpu_units, 2048);
    assert_eq!((facts.resources.memory_mib, facts.resources.disk_mib), (4000, 10_240));
    assert_eq!(facts.resources.reserved_tcp, [22, 2375].into());
    assert_eq!(facts.resources.gpu_ids, ["GPU-a"]);
    assert_eq!((facts.hostname.as_str(), facts.versions.docker.as_str()), ("h1", "20.10.24"));
}

#[test]
fn built_in_attributes_win_over_configured_ones() {
    let facts = facts(&settings(), &probed());
    for (name, expected) in
        [("ecs.os-type", "linux"), ("ecs.os-family", "LINUX"), ("ecs.availability-zone", "rack-1"), ("disk", "ssd")]
    {
        assert_eq!(value(&facts, name), Some(Some(expected)), "{name}");
    }
    let names: Vec<_> = facts.attributes.iter().map(|a| &a.name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "sorted, and each once: {names:?}");
}

#[test]
fn capabilities_are_those_that_were_found() {
    let offers = |settings: &HostSettings, probed: &Probed, name: &str| value(&facts(settings, probed), name).is_some();
    let (all, none) = (settings(), HostSettings::default());
    let mut bare = probed();
    bare.task_limits = false;
    bare.engine.log_drivers = vec!["awslogs".into()];
    bare.engine.security_options.clear();
    bare.engine.api_version = "1.24".into();
    for name in [
        "com.amazonaws.ecs.capability.docker-remote-api.1.41",
        "com.amazonaws.ecs.capability.logging-driver.json-file",
        "com.amazonaws.ecs.capability.logging-driver.awslogs",
        "com.amazonaws.ecs.capability.privileged-container",
        "com.amazonaws.ecs.capability.apparmor",
        "ecs.capability.task-cpu-mem-limit",
        "longshore.environment-files",
        "longshore.efs.fs-0123",
        "longshore.awslogs-multiline",
    ] {
        assert!(offers(&all, &probed(), name), "{name}");
        assert!(!offers(&none, &bare, name), "{name}");
    }
    for name in [
        "com.amazonaws.ecs.capability.docker-remote-api.1.17",
        "com.amazonaws.ecs.capability.logging-driver.none",
        "ecs.capability.docker-plugin.local",
        "ecs.capability.docker-plugin.rexray/ebs",
        "ecs.capability.docker-plugin.rexray/ebs.latest",
        "ecs.capability.container-port-range",
        "ecs.capability.pid-ipc-namespace-sharing",
        "longshore.runtime.runc",
        "ecs.capability.container-health-check",
        "ecs.capability.container-ordering",
        "ecs.capability.container-restart-policy",
        "ecs.capability.execute-command",
        "ecs.capability.private-registry-authentication.secretsmanager",
        "longshore.health-probes",
        "longshore.pull-only",
        "longshore.fence",
    ] {
        assert!(offers(&none, &bare, name), "{name}");
    }
    assert!(!offers(&all, &probed(), "com.amazonaws.ecs.capability.docker-remote-api.1.42"));
    assert!(!offers(&all, &probed(), "com.amazonaws.ecs.capability.selinux"));
    let swap = |engine: EngineInfo| {
        let probed = Probed { engine, ..probed() };
        ["longshore.swap-limit", "longshore.swappiness"].map(|name| offers(&none, &probed, name))
    };
    assert_eq!(swap(engine()), [true, true]);
    assert_eq!(swap(EngineInfo { swap_limit: false, ..engine() }), [false, true]);
    assert_eq!(swap(EngineInfo { cgroup_version: CgroupVersion::V2, ..engine() }), [true, false]);
    assert_eq!(swap(EngineInfo { memory_limit: false, ..engine() }), [false, false]);
    let unreadable = Probed { output_readable: false, ..probed() };
    assert!(!offers(&all, &unreadable, "com.amazonaws.ecs.capability.logging-driver.awslogs"));
}

#[test]
fn an_engine_whose_restart_ends_containers_is_warned_of_and_offers_the_same() {
    let keeps = EngineInfo { live_restore: true, ..engine() };
    assert_eq!(warning(&keeps), None);
    let why = warning(&engine()).expect("a warning");
    assert!(why.contains("{\"live-restore\": true} into /etc/docker/daemon.json"), "{why}");
    let offers = |engine: EngineInfo| facts(&settings(), &Probed { engine, ..probed() });
    assert_eq!(offers(engine()), offers(keeps), "a warning is no failure");
}

#[tokio::test]
async fn a_disk_that_does_not_answer_is_no_host_without_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("docker");
    std::fs::create_dir_all(root.join("containers")).expect("made");
    let engine = EngineInfo { data_root: root.display().to_string(), ..engine() };
    let (aside, hanging) = (Aside::default(), crate::aside::tests::Hanging::new(dir.path()));
    hanging.hold(&aside, &root).await;
    tokio::time::pause();
    for _ in 0..2 {
        let failed = probe(engine.clone(), None, &aside).await;
        assert!(matches!(failed, Err(ProbeError::Disk(HeldUp::Hangs { .. }))), "{failed:?}");
    }
    tokio::time::resume();
    hanging.answer(&aside, &root).await;
    let found = probe(engine, None, &aside).await.expect("it answers");
    assert!(found.disk_mib > 0 && found.output_readable, "{found:?}");
}
