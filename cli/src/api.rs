//! The operations that commands are made of: typed calls, all pages of a list, any number of things described.
//!
//! Owns page sizes and batch limits of the ECS API. Never prints.

use crate::client::{CallError, Client, Repeat, Service, encoded};
use longshore_ecs_api::enums::{ContainerInstanceField, ContainerInstanceStatus, DesiredStatus, TaskField};
use longshore_ecs_api::requests::{
    DescribeContainerInstancesRequest, DescribeTasksRequest, ListContainerInstancesRequest, ListTasksRequest,
};
use longshore_ecs_api::types::{ContainerInstance, Failure, Task};
use longshore_ecs_api::{Operation, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What asks DescribeTasks for what happened to tasks; other servers ignore it.
const HISTORY: &str = "LONGSHORE_HISTORY";

/// The same for what tasks and hosts use.
const USAGE: &str = "LONGSHORE_USAGE";

/// Things described at a time (DescribeTasks, DescribeContainerInstances, DescribeClusters).
pub(crate) const DESCRIBE_LIMIT: usize = 100;

/// The API as the settings chose it.
pub(crate) struct Api {
    client: Client,
    region: String,
    cluster: Option<String>,
}

impl Api {
    /// Calls go through `client`; `cluster` is the chosen one.
    pub(crate) fn new(client: Client, region: String, cluster: Option<String>) -> Self {
        Self { client, region, cluster }
    }

    /// The cluster that is meant when none is named.
    pub(crate) fn cluster(&self) -> &str {
        self.cluster.as_deref().unwrap_or("default")
    }

    /// The cluster, if somebody chose one.
    pub(crate) fn chosen_cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// The region of all requests.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Calls an ECS operation.
    pub(crate) fn call<R: Request>(&self, request: &R) -> Result<R::Response, CallError> {
        let repeat = match R::OPERATION {
            // Each call adds one more.
            Operation::RegisterTaskDefinition | Operation::StartTask => Repeat::Never,
            // RunTask carries a client token; the others read, or set what a second call sets again.
            _ => Repeat::Safe,
        };
        self.client.call(Service::Ecs, R::OPERATION.name(), repeat, request)
    }

    /// Where streams are opened.
    pub(crate) fn line(&self) -> crate::client::Line<'_> {
        self.client.line()
    }

    /// Calls an operation of Systems Manager.
    pub(crate) fn ssm<I: Serialize, O: DeserializeOwned>(
        &self,
        operation: longshore_ecs_api::ssm::SsmOperation,
        request: &I,
    ) -> Result<O, CallError> {
        use longshore_ecs_api::ssm::SsmOperation as Op;
        let repeat = match operation {
            Op::CreateActivation => Repeat::Never,
            Op::DescribeActivations | Op::DeleteActivation => Repeat::Safe,
        };
        self.client.call(Service::Ssm, operation.name(), repeat, request)
    }

    /// Calls an operation of EventBridge Scheduler: with the name in the path, and a body where its method has one.
    pub(crate) fn scheduler<I: Serialize, O: DeserializeOwned>(
        &self,
        operation: longshore_ecs_api::scheduler::SchedulerOperation,
        name: Option<&str>,
        query: &[(&str, &str)],
        request: Option<&I>,
    ) -> Result<O, CallError> {
        use longshore_ecs_api::scheduler::SchedulerOperation as Op;
        let repeat = match operation {
            // The second of two would be told that there is nothing.
            Op::DeleteSchedule | Op::DeleteScheduleGroup => Repeat::Never,
            // What makes something carries a client token.
            Op::CreateSchedule
            | Op::CreateScheduleGroup
            | Op::GetSchedule
            | Op::GetScheduleGroup
            | Op::ListScheduleGroups
            | Op::ListSchedules
            | Op::ListTagsForResource
            | Op::TagResource
            | Op::UntagResource
            | Op::UpdateSchedule => Repeat::Safe,
        };
        let path = operation.path().replace("{Name}", &encoded(name.unwrap_or_default()));
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let path = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
        self.client.rest(Service::Scheduler, operation.name(), repeat, operation.method(), &path, request)
    }

    /// Calls an operation of CloudWatch Logs that reads, in the region of a log group.
    pub(crate) fn logs<I: Serialize, O: DeserializeOwned>(
        &self,
        region: &str,
        operation: longshore_ecs_api::logs::LogsOperation,
        request: &I,
    ) -> Result<O, CallError> {
        self.client.call_in(region, Service::Logs, operation.name(), Repeat::Safe, request)
    }

    /// Calls an operation of EventBridge that reads.
    pub(crate) fn events<I: Serialize, O: DeserializeOwned>(
        &self,
        operation: longshore_ecs_api::events::EventsOperation,
        request: &I,
    ) -> Result<O, CallError> {
        self.client.call(Service::Events, operation.name(), Repeat::Safe, request)
    }

    /// The ARNs of the tasks that `filter` lets through, in all of `statuses`.
    pub(crate) fn task_arns(
        &self,
        filter: &ListTasksRequest,
        statuses: &[DesiredStatus],
    ) -> Result<Vec<String>, CallError> {
        let mut arns = Vec::new();
        for status in statuses {
            let mut request = ListTasksRequest { desired_status: Some(status.clone()), ..filter.clone() };
            loop {
                let page = self.call(&request)?;
                arns.extend(page.task_arns.unwrap_or_default());
                request.next_token = page.next_token;
                if request.next_token.is_none() {
                    break;
                }
            }
        }
        Ok(arns)
    }

    /// The tasks, and what there is none of.
    pub(crate) fn tasks(&self, cluster: &str, ids: &[String]) -> Result<(Vec<Task>, Vec<Failure>), CallError> {
        self.tasks_with(cluster, ids, &[TaskField::Tags])
    }

    /// The same with what happened to them.
    pub(crate) fn tasks_with_history(
        &self,
        cluster: &str,
        ids: &[String],
    ) -> Result<(Vec<Task>, Vec<Failure>), CallError> {
        self.tasks_with(cluster, ids, &[TaskField::Tags, TaskField::Other(HISTORY.to_owned())])
    }

    /// The same with what they use.
    pub(crate) fn tasks_with_usage(
        &self,
        cluster: &str,
        ids: &[String],
    ) -> Result<(Vec<Task>, Vec<Failure>), CallError> {
        self.tasks_with(cluster, ids, &[TaskField::Other(USAGE.to_owned())])
    }

    fn tasks_with(
        &self,
        cluster: &str,
        ids: &[String],
        include: &[TaskField],
    ) -> Result<(Vec<Task>, Vec<Failure>), CallError> {
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for ids in ids.chunks(DESCRIBE_LIMIT) {
            let page = self.call(&DescribeTasksRequest {
                cluster: Some(cluster.to_owned()),
                tasks: Some(ids.to_vec()),
                include: Some(include.to_vec()),
            })?;
            tasks.extend(page.tasks.unwrap_or_default());
            failures.extend(page.failures.unwrap_or_default());
        }
        Ok((tasks, failures))
    }

    /// The ARNs of the cluster's hosts.
    pub(crate) fn host_arns(
        &self,
        cluster: &str,
        filter: Option<&str>,
        status: Option<ContainerInstanceStatus>,
    ) -> Result<Vec<String>, CallError> {
        let mut arns = Vec::new();
        let mut request = ListContainerInstancesRequest {
            cluster: Some(cluster.to_owned()),
            filter: filter.map(str::to_owned),
            status,
            ..ListContainerInstancesRequest::default()
        };
        loop {
            let page = self.call(&request)?;
            arns.extend(page.container_instance_arns.unwrap_or_default());
            request.next_token = page.next_token;
            if request.next_token.is_none() {
                return Ok(arns);
            }
        }
    }

    /// The hosts, and what there is none of.
    pub(crate) fn hosts(
        &self,
        cluster: &str,
        ids: &[String],
    ) -> Result<(Vec<ContainerInstance>, Vec<Failure>), CallError> {
        let include = [ContainerInstanceField::Tags, ContainerInstanceField::ContainerInstanceHealth];
        self.hosts_with(cluster, ids, &include)
    }

    /// The same with what they use.
    pub(crate) fn hosts_with_usage(
        &self,
        cluster: &str,
        ids: &[String],
    ) -> Result<(Vec<ContainerInstance>, Vec<Failure>), CallError> {
        self.hosts_with(cluster, ids, &[ContainerInstanceField::Other(USAGE.to_owned())])
    }

    fn hosts_with(
        &self,
        cluster: &str,
        ids: &[String],
        include: &[ContainerInstanceField],
    ) -> Result<(Vec<ContainerInstance>, Vec<Failure>), CallError> {
        let (mut hosts, mut failures) = (Vec::new(), Vec::new());
        for ids in ids.chunks(DESCRIBE_LIMIT) {
            let page = self.call(&DescribeContainerInstancesRequest {
                cluster: Some(cluster.to_owned()),
                container_instances: Some(ids.to_vec()),
                include: Some(include.to_vec()),
            })?;
            hosts.extend(page.container_instances.unwrap_or_default());
            failures.extend(page.failures.unwrap_or_default());
        }
        Ok((hosts, failures))
    }
}
