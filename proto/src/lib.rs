//! The agent protocol: its protobuf messages and the only conversions to and from them.
//!
//! Owns: the generated types ([`v1`]), the conversions between them and the domain ([`convert`]), the limits
//! of a message, and which versions of the protocol this build speaks. Never: opens a connection. Used by
//! the control plane's `agents` and the agent's `session` and `identity`, and by nothing else.

pub mod codec;
pub mod convert;
mod redacted;

/// The generated messages, client and server.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("longshore.agent.v1");
}

pub use convert::{FieldError, ReadAssignment, ReadHello, ReadReports, RefusedTask, UnreadableReport};

/// The oldest version of the protocol that this build speaks.
pub const MIN_VERSION: u32 = 1;
/// The newest version of the protocol that this build speaks.
pub const MAX_VERSION: u32 = 1;

/// Bytes of the largest message that either side takes on a session. A complete assignment of 200 tasks, each
/// with a definition of the largest size that is registered (64 KiB), fits.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// Bytes of the largest message that a host without a session may send (joining, renewing): a certificate
/// request and the host's facts.
pub const MAX_JOIN_MESSAGE: usize = 256 * 1024;

/// Bytes of the largest batch of logs.
pub const MAX_LOG_BATCH: usize = 4 * 1024 * 1024;

/// The name that the control plane's certificate carries and that agents ask for, whatever address they
/// dialled. Its authority certifies no other server, so the name adds nothing to the authority's word;
/// it spares operators a certificate that fails because a host dials another name.
pub const SERVER_NAME: &str = "control.longshore.internal";

/// The highest version that both ranges contain.
#[must_use]
pub fn common_version(ours: std::ops::RangeInclusive<u32>, theirs: std::ops::RangeInclusive<u32>) -> Option<u32> {
    let highest = *ours.end().min(theirs.end());
    (highest >= *ours.start() && highest >= *theirs.start() && highest > 0).then_some(highest)
}

#[cfg(test)]
mod tests {
    use super::{common_version, v1};

    #[test]
    fn the_highest_common_version_is_spoken() {
        assert_eq!(common_version(1..=1, 1..=1), Some(1));
        assert_eq!(common_version(1..=3, 2..=9), Some(3));
        assert_eq!(common_version(2..=3, 1..=1), None);
        assert_eq!(common_version(1..=1, 2..=2), None);
        // A peer that sends nonsense has no version in common with anybody.
        assert_eq!(common_version(1..=1, 0..=0), None);
        assert_eq!(common_version(1..=5, std::ops::RangeInclusive::new(4, 3)), None);
    }

    #[test]
    fn what_waits_in_a_queue_for_an_agent_takes_little_room() {
        // A queue takes room for 32 of them at once, for each of thousands of sessions.
        let size = size_of::<Result<v1::ControlMessage, tonic::Status>>();
        assert!(size <= 96, "{size} bytes");
    }
}
