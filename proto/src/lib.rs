//! The agent protocol: its protobuf messages and the only conversions to and from them.

/// The generated messages, client and server.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("longshore.agent.v1");
}
