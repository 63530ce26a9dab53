//! What tasks there may be.

use longshore_model::{
    Backoff, ClusterName, ContainerCondition, ContainerName, ContainerSpec, Dependency, Fence, HostPort, Lifecycle,
    Link, NetworkMode, PidMode, PortMapping, Protocol, RestartPolicy, TaskId, TaskSpec, VolumeSource, VolumeSpec,
    VolumesFrom,
};
use proptest::prelude::*;

/// A container to come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    pub essential: bool,
    /// None, a fixed one or a dynamic one.
    pub port: Option<HostPort>,
    /// Containers before it that it depends on.
    pub after: Vec<(usize, ContainerCondition)>,
    pub restart: Option<RestartPolicy>,
}

/// A task to come: its containers and volumes.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub containers: Vec<Part>,
    pub volume: bool,
    pub limited: bool,
    /// Instead of host ports an interface of its own.
    pub awsvpc: bool,
    /// Each container takes the volumes of the one before it.
    pub chained: bool,
    /// Its containers share their processes.
    pub joined: bool,
    /// Each container links the one before it, where the network mode has links.
    pub linked: bool,
    /// MiB that it takes of the host's [`MEMORY`]; it has the host's one GPU when that is odd.
    pub memory: u32,
    /// It must not run twice: see [`FENCE`].
    pub fenced: bool,
}

/// When tasks that must not run twice are stopped because the control plane is not heard.
pub(crate) const FENCE: Fence = Fence { after_millis: 10_000, grace_millis: 4_000 };

/// MiB that the host offers to tasks: not enough for all that may come.
pub(crate) const MEMORY: u64 = 8;

impl Shape {
    pub(super) fn gpus(&self) -> Vec<String> {
        if self.memory % 2 == 1 { vec!["gpu".to_owned()] } else { Vec::new() }
    }
}

pub(crate) fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let port = prop_oneof![
        2 => Just(None),
        2 => Just(Some(HostPort::Fixed(80))),
        2 => Just(Some(HostPort::Dynamic)),
    ];
    let condition = proptest::sample::select(ContainerCondition::ALL);
    let after = proptest::collection::vec((0..2usize, condition), 0..3);
    let backoff = proptest::option::of(Just(Backoff { first_secs: 1, longest_secs: 20 }));
    let restart = (backoff, any::<bool>()).prop_map(|(backoff, when_unhealthy)| RestartPolicy {
        ignored_exit_codes: vec![2],
        attempt_period_secs: 10,
        backoff,
        when_unhealthy,
    });
    let part = (any::<bool>(), port, prop_oneof![Just(Vec::new()), after], proptest::option::of(restart));
    let part = part.prop_map(|(essential, port, after, restart)| Part { essential, port, after, restart });
    let containers = proptest::collection::vec(part, 1..4);
    let memory = prop_oneof![3 => Just(0), 1 => 1..=8u32];
    let shape = (containers, any::<[bool; 7]>(), memory);
    let shape = shape.prop_map(|(mut containers, flags, memory)| {
        let [volume, limited, awsvpc, chained, joined, linked, fenced] = flags;
        // A fixed port once in a task, no circle, and one container at least that the task cannot do without.
        let mut seen = false;
        for (i, part) in containers.iter_mut().enumerate() {
            if part.port == Some(HostPort::Fixed(80)) && std::mem::replace(&mut seen, true) {
                part.port = None;
            }
            part.after.retain(|(on, _)| *on < i);
        }
        if !containers.iter().any(|part| part.essential) {
            containers[0].essential = true;
        }
        let linked = linked && !awsvpc;
        Shape { containers, volume, limited, awsvpc, chained, joined, linked, memory, fenced }
    });
    proptest::collection::vec(shape, 3)
}

pub(crate) fn plain_shapes() -> Vec<Shape> {
    let part = |port| Part { essential: true, port, ..Part::default() };
    let plain = Shape {
        containers: vec![part(Some(HostPort::Dynamic))],
        volume: false,
        limited: true,
        awsvpc: false,
        chained: false,
        joined: false,
        linked: false,
        memory: 2,
        fenced: false,
    };
    let pair = |port| vec![part(port), Part::default()];
    vec![
        Shape { containers: pair(None), limited: false, awsvpc: true, joined: true, ..plain.clone() },
        Shape { containers: pair(Some(HostPort::Fixed(80))), volume: true, chained: true, ..plain.clone() },
        plain,
    ]
}

pub(super) fn spec(n: usize, shape: &Shape) -> TaskSpec {
    let name = |i: usize| ContainerName::new(format!("c{i}")).expect("a name");
    let container = |(i, part): (usize, &Part)| ContainerSpec {
        essential: part.essential,
        port_mappings: part
            .port
            .map(|host_port| PortMapping { container_port: 80, host_port, protocol: Protocol::Tcp, count: 1 })
            .into_iter()
            .collect(),
        volumes_from: (shape.chained && i > 0)
            .then(|| VolumesFrom {
                container: ContainerName::new(format!("c{}", i - 1)).expect("a name"),
                read_only: true,
            })
            .into_iter()
            .collect(),
        links: (shape.linked && i > 0)
            .then(|| Link { container: name(i - 1), alias: "before".to_owned() })
            .into_iter()
            .collect(),
        gpu_ids: if i == 0 { shape.gpus() } else { Vec::new() },
        lifecycle: Lifecycle {
            depends_on: part
                .after
                .iter()
                .map(|(on, condition)| Dependency { container: name(*on), condition: *condition })
                .collect(),
            restart: part.restart.clone(),
            ..Lifecycle::default()
        },
        ..ContainerSpec::new(name(i), "image")
    };
    let id = TaskId::from_bytes([u8::try_from(n + 1).expect("few tasks"); 16]);
    let cluster = ClusterName::new("default").expect("a name");
    let mode = if shape.awsvpc { NetworkMode::Awsvpc } else { NetworkMode::Bridge };
    let containers = shape.containers.iter().enumerate().map(container).collect();
    TaskSpec {
        arn: format!("arn:{n}"),
        pid_mode: shape.joined.then_some(PidMode::Task),
        cpu_units: shape.limited.then_some(256),
        memory_mib: (shape.memory > 0).then_some(shape.memory),
        volumes: shape
            .volume
            .then(|| VolumeSpec { name: "v".into(), source: VolumeSource::Task })
            .into_iter()
            .collect(),
        fence: shape.fenced.then_some(FENCE),
        ..TaskSpec::new(id, cluster, "f", mode, containers)
    }
}
