//! The answers as they look on the wire: the names and shapes of ECS's agent, which detectors and SDKs read.

use serde::Serialize;
use std::collections::BTreeMap;

/// CPU in vCPUs of a task or units of a container, memory in MiB.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Limits {
    #[serde(rename = "CPU", skip_serializing_if = "Option::is_none")]
    pub(super) cpu: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<u32>,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Port {
    pub(super) container_port: u16,
    pub(super) protocol: &'static str,
    pub(super) host_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host_ip: Option<&'static str>,
}

/// A container's network; what follows the addresses is told by version 4 of tasks with an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Network {
    pub(super) network_mode: &'static str,
    #[serde(rename = "IPv4Addresses", skip_serializing_if = "Vec::is_empty")]
    pub(super) ipv4_addresses: Vec<String>,
    #[serde(rename = "IPv6Addresses", skip_serializing_if = "Vec::is_empty")]
    pub(super) ipv6_addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attachment_index: Option<u32>,
    #[serde(rename = "MACAddress", skip_serializing_if = "Option::is_none")]
    pub(super) mac_address: Option<String>,
    #[serde(rename = "IPv4SubnetCIDRBlock", skip_serializing_if = "Option::is_none")]
    pub(super) ipv4_subnet: Option<String>,
    #[serde(rename = "IPv6SubnetCIDRBlock", skip_serializing_if = "Option::is_none")]
    pub(super) ipv6_subnet: Option<String>,
    #[serde(rename = "PrivateDNSName", skip_serializing_if = "Option::is_none")]
    pub(super) private_dns_name: Option<String>,
    #[serde(rename = "SubnetGatewayIpv4Address", skip_serializing_if = "Option::is_none")]
    pub(super) gateway4: Option<String>,
}

/// What a container's health check says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Health {
    pub(super) status: &'static str,
}

/// Something mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Volume {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) docker_name: String,
    pub(super) source: String,
    pub(super) destination: String,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) docker_id: String,
    pub(super) name: String,
    pub(super) docker_name: String,
    pub(super) image: String,
    #[serde(rename = "ImageID")]
    pub(super) image_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ports: Vec<Port>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) desired_status: &'static str,
    pub(super) known_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit_code: Option<i32>,
    pub(super) limits: Limits,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finished_at: Option<String>,
    #[serde(rename = "Type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) health: Option<Health>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) volumes: Vec<Volume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log_driver: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log_options: Option<BTreeMap<String, String>>,
    #[serde(rename = "ContainerARN", skip_serializing_if = "Option::is_none")]
    pub(super) container_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restart_count: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) networks: Vec<Network>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Task {
    pub(super) cluster: String,
    #[serde(rename = "TaskARN")]
    pub(super) task_arn: String,
    pub(super) family: String,
    pub(super) revision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service_name: Option<String>,
    pub(super) desired_status: &'static str,
    pub(super) known_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<Limits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pull_started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pull_stopped_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) execution_stopped_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) availability_zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) launch_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) task_tags: Option<BTreeMap<String, String>>,
    pub(super) containers: Vec<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fault_injection_enabled: Option<bool>,
}

/// Nothing was given to a container beside its definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Associations {
    pub(super) associations: Vec<String>,
}

/// Why there are no keys of a role, in the words of ECS's agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NoCredentials {
    pub(super) code: &'static str,
    pub(super) message: String,
    #[serde(rename = "HTTPErrorCode")]
    pub(super) status: u16,
}
