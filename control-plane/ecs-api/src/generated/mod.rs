// Generated from botocore 1.44.5, service model ecs 2014-11-13, by our generator. Do not edit; see NOTICE.

pub mod enums;
pub(crate) mod errors;
pub(crate) mod operations;
pub mod requests;
pub mod responses;
pub mod types;
