//! What stands behind the front.

use crate::auth::Keys;
use bytes::Bytes;
use longshore_core::{Caller, Core, Ec2Error, Ec2Operation, Principal};
use longshore_ecs_api::autoscaling::ScalingOperation;
use longshore_ecs_api::events::EventsOperation;
use longshore_ecs_api::logs::LogsOperation;
use longshore_ecs_api::scheduler::SchedulerOperation;
use longshore_ecs_api::secrets::SecretsOperation;
use longshore_ecs_api::ssm::SsmOperation;
use longshore_ecs_api::{ApiError, Operation};
use longshore_logs::{Logs, Scope};
use secrecy::SecretString;
use std::future::Future;

/// What the front needs: keys to verify with, and somebody who carries out requests.
///
/// Bodies are the JSON that the client sent and the JSON that it gets.
pub trait Backend: Keys + Send + Sync + 'static {
    /// Carries out an operation of ECS.
    fn ecs(
        &self,
        caller: &Caller,
        operation: Operation,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, ApiError>> + Send;

    /// Whose sessions of ExecuteCommand clients come for; nobody's when absent.
    fn exec(&self) -> Option<Core> {
        None
    }

    /// Carries out an operation of Systems Manager.
    fn ssm(
        &self,
        caller: &Caller,
        operation: SsmOperation,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, ApiError>> + Send;

    /// Carries out an operation of CloudWatch Logs.
    fn logs(
        &self,
        caller: &Caller,
        operation: LogsOperation,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, ApiError>> + Send;

    /// Carries out an operation of Secrets Manager.
    fn secrets(
        &self,
        caller: &Caller,
        operation: SecretsOperation,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, ApiError>> + Send;

    /// Carries out an operation of EventBridge Scheduler, of all its members as one object.
    fn scheduler(
        &self,
        caller: &Caller,
        operation: SchedulerOperation,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, ApiError>> + Send;

    /// Carries out an operation of EventBridge.
    fn events(
        &self,
        caller: &Caller,
        operation: EventsOperation,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, ApiError>> + Send;

    /// Carries out an operation of Application Auto Scaling.
    fn scaling(
        &self,
        caller: &Caller,
        operation: ScalingOperation,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, ApiError>> + Send;

    /// Carries out an operation of EC2: the parameters of a form, to XML.
    fn ec2(
        &self,
        caller: &Caller,
        operation: Ec2Operation,
        form: Vec<(String, String)>,
        request_id: &str,
    ) -> impl Future<Output = Result<String, Ec2Error>> + Send;
}

/// Everything that requests are for.
#[derive(Clone)]
pub struct Services {
    /// Clusters, tasks, hosts, and the keys that requests are signed with.
    pub core: Core,
    /// Log groups.
    pub logs: Logs,
}

impl Keys for Services {
    fn access_key(&self, id: &str) -> Option<(Principal, SecretString)> {
        self.core.access_key(id)
    }
}

impl Backend for Services {
    async fn ecs(&self, caller: &Caller, operation: Operation, body: Bytes) -> Result<Bytes, ApiError> {
        self.core.call(caller, operation, body).await
    }

    fn exec(&self) -> Option<Core> {
        Some(self.core.clone())
    }

    async fn ssm(&self, caller: &Caller, operation: SsmOperation, body: Bytes) -> Result<Bytes, ApiError> {
        self.core.ssm(caller, operation, body).await
    }

    async fn logs(&self, caller: &Caller, operation: LogsOperation, body: Bytes) -> Result<Bytes, ApiError> {
        let scope = Scope { region: caller.region.clone(), account: caller.account.clone() };
        self.logs.call(scope, operation, body).await
    }

    async fn secrets(&self, caller: &Caller, operation: SecretsOperation, body: Bytes) -> Result<Bytes, ApiError> {
        self.core.secrets(caller, operation, body).await
    }

    async fn scheduler(&self, caller: &Caller, operation: SchedulerOperation, body: Bytes) -> Result<Bytes, ApiError> {
        self.core.scheduler(caller, operation, body).await
    }

    async fn scaling(&self, caller: &Caller, operation: ScalingOperation, body: Bytes) -> Result<Bytes, ApiError> {
        self.core.scaling(caller, operation, body).await
    }

    async fn events(&self, caller: &Caller, operation: EventsOperation, body: Bytes) -> Result<Bytes, ApiError> {
        self.core.events(caller, operation, body).await
    }

    async fn ec2(
        &self,
        caller: &Caller,
        operation: Ec2Operation,
        form: Vec<(String, String)>,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        self.core.ec2(caller, operation, form, request_id).await
    }
}
