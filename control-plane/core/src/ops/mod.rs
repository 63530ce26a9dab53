//! stub
use crate::{Caller, Core};
use bytes::Bytes;
use longshore_ecs_api::ssm::SsmOperation;
use longshore_ecs_api::{ApiError, Operation};
pub(crate) async fn call(core: &Core, caller: &Caller, op: Operation, body: &[u8]) -> Result<Bytes, ApiError> {
    Err(ApiError::unsupported(op.name()))
}
pub(crate) async fn ssm(core: &Core, caller: &Caller, op: SsmOperation, body: &[u8]) -> Result<Bytes, ApiError> {
    Err(ApiError::unsupported(op.name()))
}
