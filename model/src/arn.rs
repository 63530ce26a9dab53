//! Amazon Resource Names of ECS, long format only:
//! `arn:aws:ecs:REGION:ACCOUNT:cluster/NAME`, `…:task/CLUSTER/ID`, `…:container-instance/CLUSTER/ID`,
//! `…:container/CLUSTER/TASK/UUID`, `…:task-definition/FAMILY:REVISION`, `…:service/CLUSTER/NAME`, and
//! parts of a service: `…:service-deployment/CLUSTER/NAME/ID`, `…:service-revision/CLUSTER/NAME/ID`,
//! `…:task-set/CLUSTER/NAME/ecs-svc/ID`.

use crate::id::{AccountId, ClusterName, IdError, InstanceId, Region, TaskId};
use std::fmt;
use std::str::FromStr;

/// What an ARN names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `cluster/NAME`
    Cluster(ClusterName),
    /// `task/CLUSTER/ID`
    Task(ClusterName, TaskId),
    /// `container-instance/CLUSTER/ID`
    ContainerInstance(ClusterName, InstanceId),
    /// `container/CLUSTER/TASK/UUID`
    Container(ClusterName, TaskId, String),
    /// `task-definition/FAMILY:REVISION`
    TaskDefinition(String, u32),
    /// `service/CLUSTER/NAME`
    Service(ClusterName, String),
    /// `KIND/CLUSTER/SERVICE/ID`, by cluster, service, kind and id.
    OfService(ClusterName, String, ServicePart, String),
    /// A kind that is known to ECS and not modelled yet, as its text after the account.
    Other(String),
}

/// What belongs to a service and has a name of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServicePart {
    /// `service-deployment`
    Deployment,
    /// `service-revision`
    Revision,
    /// `task-set`; its ids begin with `ecs-svc/`.
    TaskSet,
}

impl ServicePart {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "service-deployment",
            Self::Revision => "service-revision",
            Self::TaskSet => "task-set",
        }
    }
}

/// An ECS resource name in full.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arn {
    /// The region.
    pub region: Region,
    /// The owner.
    pub account: AccountId,
    /// What it names.
    pub resource: Resource,
}

/// Why a text is not an ECS ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArnError {
    /// Not `arn:aws:ecs:REGION:ACCOUNT:RESOURCE`.
    #[error("not of the form arn:aws:ecs:REGION:ACCOUNT:RESOURCE")]
    Form,
    /// Another service's ARN.
    #[error("names the service `{0}`, not ecs")]
    Service(String),
    /// A part of it breaks its rule.
    #[error("its {part} {source}")]
    Part {
        /// Which part.
        part: &'static str,
        /// Its fault.
        source: IdError,
    },
    /// The resource part has not the number of segments of its kind.
    #[error("`{0}` is not a resource of ecs in the long format")]
    Resource(String),
}

impl Arn {
    /// Whether a text claims to be an ARN (begins with `arn:`), as opposed to a short name.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        text.starts_with("arn:")
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:aws:ecs:{}:{}:{}", self.region, self.account, self.resource)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(c) => write!(f, "cluster/{c}"),
            Self::Task(c, t) => write!(f, "task/{c}/{t}"),
            Self::ContainerInstance(c, i) => write!(f, "container-instance/{c}/{i}"),
            Self::Container(c, t, u) => write!(f, "container/{c}/{t}/{u}"),
            Self::TaskDefinition(family, revision) => write!(f, "task-definition/{family}:{revision}"),
            Self::Service(c, s) => write!(f, "service/{c}/{s}"),
            Self::OfService(c, s, part, id) => write!(f, "{}/{c}/{s}/{id}", part.as_str()),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl FromStr for Arn {
    type Err = ArnError;

    fn from_str(s: &str) -> Result<Self, ArnError> {
        let mut parts = s.splitn(6, ':');
        let mut next = || parts.next().ok_or(ArnError::Form);
        let (arn, partition, service) = (next()?, next()?, next()?);
        let (region, account, resource) = (next()?, next()?, next()?);
        if arn != "arn" || !partition.starts_with("aws") {
            return Err(ArnError::Form);
        }
        if service != "ecs" {
            return Err(ArnError::Service(service.to_owned()));
        }
        Ok(Self {
            region: part("region", Region::new(region))?,
            account: part("account", AccountId::new(account))?,
            resource: resource.parse()?,
        })
    }
}

fn part<T>(part: &'static str, result: Result<T, IdError>) -> Result<T, ArnError> {
    result.map_err(|source| ArnError::Part { part, source })
}

impl FromStr for Resource {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let fail = || ArnError::Resource(text.to_owned());
        let (kind, rest) = text.split_once('/').ok_or_else(fail)?;
        let segments: Vec<&str> = rest.split('/').collect();
        let cluster = |name: &str| part("cluster name", ClusterName::new(name));
        Ok(match (kind, segments.as_slice()) {
            ("cluster", [name]) => Self::Cluster(cluster(name)?),
            ("task", [c, id]) => Self::Task(cluster(c)?, part("task id", id.parse())?),
            ("container-instance", [c, id]) => {
                Self::ContainerInstance(cluster(c)?, part("container instance id", id.parse())?)
            }
            ("container", [c, t, uuid]) => {
                Self::Container(cluster(c)?, part("task id", t.parse())?, (*uuid).to_owned())
            }
            ("service", [c, name]) => Self::Service(cluster(c)?, (*name).to_owned()),
            ("service-deployment", [c, s, id]) => of_service(cluster(c)?, s, ServicePart::Deployment, (*id).to_owned()),
            ("service-revision", [c, s, id]) => of_service(cluster(c)?, s, ServicePart::Revision, (*id).to_owned()),
            ("task-set", [c, s, "ecs-svc", id]) => {
                of_service(cluster(c)?, s, ServicePart::TaskSet, format!("ecs-svc/{id}"))
            }
            ("task-definition", [family_revision]) => {
                let (family, revision) = family_revision.split_once(':').ok_or_else(fail)?;
                Self::TaskDefinition(family.to_owned(), revision.parse().map_err(|_| fail())?)
            }
            (
                "task" | "container-instance" | "container" | "service" | "cluster" | "task-definition"
                | "service-deployment" | "service-revision" | "task-set",
                _,
            ) => {
                return Err(fail());
            }
            (_, _) => Self::Other(text.to_owned()),
        })
    }
}

fn of_service(cluster: ClusterName, service: &str, part: ServicePart, id: String) -> Resource {
    Resource::OfService(cluster, service.to_owned(), part, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_round_trip() {
        for text in [
            "arn:aws:ecs:eu-central-1:123456789012:cluster/prod",
            "arn:aws:ecs:eu-central-1:123456789012:task/prod/0123456789abcdef0123456789abcdef",
            "arn:aws:ecs:lab:123456789012:container-instance/prod/0123456789abcdef0123456789abcdef",
            "arn:aws:ecs:lab:123456789012:task-definition/web:7",
            "arn:aws:ecs:lab:123456789012:service/prod/web",
            "arn:aws:ecs:lab:123456789012:service-deployment/prod/web/NCWGC2ZRtaawPAYrIaU5",
            "arn:aws:ecs:lab:123456789012:service-revision/prod/web/4980306466373577095",
            "arn:aws:ecs:lab:123456789012:task-set/prod/web/ecs-svc/1234567890123456789",
            "arn:aws:ecs:lab:123456789012:capacity-provider/rack",
        ] {
            let arn: Arn = text.parse().expect(text);
            assert_eq!(arn.to_string(), text);
        }
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "arn:aws:s3:::bucket",
            "arn:aws:ecs:lab:123456789012:task/0123456789abcdef0123456789abcdef",
            "arn:aws:ecs:lab:12:cluster/prod",
            "arn:aws:ecs:lab:123456789012:service-deployment/web/NCWGC2ZRtaawPAYrIaU5",
            "arn:aws:ecs:lab:123456789012:task-set/prod/web/1234567890123456789",
            "arn:aws:ecs:lab:123456789012:task-definition/web",
            "prod",
        ] {
            assert!(text.parse::<Arn>().is_err(), "{text}");
        }
    }
}
