//! A host as examples have many of: included by those of the core and of the control plane.

use longshore_model::{Attribute, HostFacts, Resources};

/// The nth host, with as many attributes as a real one has, in one of three zones.
pub(crate) fn facts(n: usize) -> HostFacts {
    let capability = |n| Attribute { name: format!("com.amazonaws.ecs.capability.example-{n}"), value: None };
    let api = (17..30)
        .map(|n| Attribute { name: format!("com.amazonaws.ecs.capability.docker-remote-api.1.{n}"), value: None });
    let own = [
        ("ecs.os-type", "linux"),
        ("ecs.cpu-architecture", "x86_64"),
        ("ecs.availability-zone", ["a", "b", "c"][n % 3]),
    ];
    let own = own.map(|(name, value)| Attribute { name: name.to_owned(), value: Some(value.to_owned()) });
    HostFacts {
        hostname: format!("host-{n}"),
        resources: Resources { cpu_units: 4096, memory_mib: 16_384, ..Resources::default() },
        attributes: (0..20).map(capability).chain(api).chain(own).collect(),
        ..HostFacts::default()
    }
}
