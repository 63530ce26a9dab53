//! What a host says of itself, and the Hello that carries it.

use super::{Fault, FieldError, ReadReports, Within, at_most, each, read_reports, repeated, required};
use crate::v1;
use longshore_model::{
    Attribute, DiskStatus, Generation, HostFacts, HostVersions, MAX_ATTRIBUTE_CHARS, MAX_ATTRIBUTES,
    MAX_DISK_REASON_CHARS, MAX_HOST_TEXT_CHARS, Resources,
};
use std::collections::BTreeSet;

/// GPUs of one host.
const MAX_GPUS: usize = 256;

/// A Hello, read.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadHello {
    /// The versions that the agent speaks.
    pub versions: std::ops::RangeInclusive<u32>,
    /// The host.
    pub facts: HostFacts,
    /// What the agent has saved.
    pub applied: Generation,
    /// Everything that the agent knows of.
    pub observed: ReadReports,
    /// Random for each start of the agent; for logs.
    pub boot_id: String,
}

impl TryFrom<v1::Hello> for ReadHello {
    type Error = FieldError;

    fn try_from(hello: v1::Hello) -> Result<Self, FieldError> {
        at_most("boot_id", hello.boot_id.chars().count(), MAX_HOST_TEXT_CHARS)?;
        Ok(Self {
            versions: hello.min_version..=hello.max_version,
            facts: required("facts", hello.facts)?.try_into().within("facts")?,
            applied: Generation(hello.applied_generation),
            observed: read_reports("observed", hello.observed)?,
            boot_id: hello.boot_id,
        })
    }
}

impl From<Attribute> for v1::Attribute {
    fn from(attribute: Attribute) -> Self {
        Self { name: attribute.name, value: attribute.value }
    }
}

impl TryFrom<v1::Attribute> for Attribute {
    type Error = FieldError;

    fn try_from(attribute: v1::Attribute) -> Result<Self, FieldError> {
        if attribute.name.is_empty() {
            return Err(FieldError::new("name", Fault::Missing));
        }
        at_most("name", attribute.name.chars().count(), MAX_ATTRIBUTE_CHARS)?;
        if !attribute.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./\\".contains(c)) {
            let rule = "may have letters, digits and - _ . / \\ only";
            return Err(FieldError::new("name", Fault::Rule(rule)));
        }
        if let Some(value) = &attribute.value {
            at_most("value", value.chars().count(), MAX_ATTRIBUTE_CHARS)?;
            if value.chars().any(char::is_control) {
                return Err(FieldError::new("value", Fault::Rule("may not have control characters")));
            }
        }
        Ok(Self { name: attribute.name, value: attribute.value })
    }
}

impl From<HostFacts> for v1::HostFacts {
    fn from(facts: HostFacts) -> Self {
        let HostFacts { hostname, resources, attributes, versions, underlay } = facts;
        let ports = |set: BTreeSet<u16>| set.into_iter().map(u32::from).collect();
        Self {
            hostname,
            cpu_units: resources.cpu_units,
            memory_mib: resources.memory_mib,
            reserved_tcp: ports(resources.reserved_tcp),
            reserved_udp: ports(resources.reserved_udp),
            gpu_ids: resources.gpu_ids,
            disk_mib: resources.disk_mib,
            attributes: attributes.iter().cloned().map(Into::into).collect(),
            agent_version: versions.agent,
            agent_hash: versions.agent_hash,
            docker_version: versions.docker,
            underlay: underlay.map(|address| address.to_string()),
        }
    }
}

impl TryFrom<v1::HostFacts> for HostFacts {
    type Error = FieldError;

    fn try_from(facts: v1::HostFacts) -> Result<Self, FieldError> {
        for (field, text) in [
            ("hostname", &facts.hostname),
            ("agent_version", &facts.agent_version),
            ("agent_hash", &facts.agent_hash),
            ("docker_version", &facts.docker_version),
        ] {
            at_most(field, text.chars().count(), MAX_HOST_TEXT_CHARS)?;
            if text.chars().any(char::is_control) {
                return Err(FieldError::new(field, Fault::Rule("may not have control characters")));
            }
        }
        at_most("attributes", facts.attributes.len(), MAX_ATTRIBUTES)?;
        at_most("gpu_ids", facts.gpu_ids.len(), MAX_GPUS)?;
        for (i, gpu) in facts.gpu_ids.iter().enumerate() {
            at_most("", gpu.chars().count(), MAX_HOST_TEXT_CHARS).within_item("gpu_ids", i)?;
        }
        if let Some(gpu) = repeated(facts.gpu_ids.iter()) {
            return Err(FieldError::new("gpu_ids", Fault::Repeated(gpu)));
        }
        let attributes: Vec<Attribute> = each("attributes", facts.attributes)?;
        if let Some(name) = repeated(attributes.iter().map(|a| &a.name)) {
            return Err(FieldError::new("attributes", Fault::Repeated(name)));
        }
        Ok(Self {
            hostname: facts.hostname,
            resources: Resources {
                cpu_units: facts.cpu_units,
                memory_mib: facts.memory_mib,
                reserved_tcp: ports("reserved_tcp", facts.reserved_tcp)?,
                reserved_udp: ports("reserved_udp", facts.reserved_udp)?,
                gpu_ids: facts.gpu_ids,
                disk_mib: facts.disk_mib,
            },
            attributes: attributes.into(),
            versions: HostVersions {
                agent: facts.agent_version,
                agent_hash: facts.agent_hash,
                docker: facts.docker_version,
            },
            underlay: facts
                .underlay
                .map(|text| text.parse())
                .transpose()
                .map_err(|_| FieldError::new("underlay", Fault::Rule("is not an address")))?,
        })
    }
}

impl From<DiskStatus> for v1::DiskStatus {
    fn from(status: DiskStatus) -> Self {
        let short = status.short.map(|why| why.chars().take(MAX_DISK_REASON_CHARS).collect());
        Self { free_mib: status.free_mib, short }
    }
}

impl TryFrom<v1::DiskStatus> for DiskStatus {
    type Error = FieldError;

    fn try_from(status: v1::DiskStatus) -> Result<Self, FieldError> {
        if let Some(why) = &status.short {
            at_most("short", why.chars().count(), MAX_DISK_REASON_CHARS)?;
        }
        Ok(Self { free_mib: status.free_mib, short: status.short })
    }
}

fn ports(field: &str, values: Vec<u32>) -> Result<BTreeSet<u16>, FieldError> {
    at_most(field, values.len(), usize::from(u16::MAX))?;
    values.into_iter().enumerate().map(|(i, value)| super::port("", value).within_item(field, i)).collect()
}
