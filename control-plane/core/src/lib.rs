//! The truth of a Longshore: records, commands, the owner task and the ECS operations.

pub mod definition;
