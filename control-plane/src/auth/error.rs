//! Why a request is not accepted as anybody's, and how each kind of service says so.

use super::{AMZ_DATE_FORMAT, MAX_SKEW_SECS};
use jiff::{SignedDuration, Timestamp};
use longshore_ecs_api::{ApiError, ErrorCode};

/// Why a request is not accepted as anybody's. The texts are AWS's where theirs are known, since SDKs and people
/// look for them; none repeats the header or shows what signature was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No `Authorization` header.
    #[error("Missing Authentication Token")]
    Missing,
    /// The header, or the date that belongs to it, cannot be understood.
    #[error("The Authorization header is not a usable signature: {0}.")]
    Malformed(&'static str),
    /// A header that may be there once is there several times.
    #[error("The header '{0}' is there several times.")]
    Repeated(&'static str),
    /// A header that must be under the signature is not.
    #[error("There were headers present in the request which were not signed: {0}")]
    NotSigned(String),
    /// A header is listed as signed and absent.
    #[error("The header '{0}' is listed in SignedHeaders and is not in the request.")]
    Absent(String),
    /// The scope's date is another day than the request's.
    #[error("Date in Credential scope does not match YYYYMMDD from X-Amz-Date: '{scope}' != '{date}'.")]
    ScopeDate {
        /// The scope's.
        scope: String,
        /// The header's.
        date: String,
    },
    /// Signed for another service than the one that is called.
    #[error("Credential should be scoped to correct service: '{0}'.")]
    Service(&'static str),
    /// The scope's region is not a region's name.
    #[error("Credential should be scoped to a valid region.")]
    Region,
    /// Too old.
    #[error(
        "Signature expired: {} is now earlier than {} ({} - {} min.)",
        stamp(*signed_at), stamp(earliest(*now)), stamp(*now), MAX_SKEW_SECS / 60
    )]
    Expired {
        /// The request's date.
        signed_at: Timestamp,
        /// Ours.
        now: Timestamp,
    },
    /// Too far ahead.
    #[error(
        "Signature not yet current: {} is still later than {} ({} + {} min.)",
        stamp(*signed_at), stamp(latest(*now)), stamp(*now), MAX_SKEW_SECS / 60
    )]
    NotYetCurrent {
        /// The request's date.
        signed_at: Timestamp,
        /// Ours.
        now: Timestamp,
    },
    /// No such access key, or a session token that was not given out here.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The request is not what was signed, or was signed with another secret.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

fn stamp(at: Timestamp) -> String {
    at.strftime(AMZ_DATE_FORMAT).to_string()
}

fn earliest(now: Timestamp) -> Timestamp {
    now.saturating_sub(SignedDuration::from_secs(MAX_SKEW_SECS)).unwrap_or(now)
}

fn latest(now: Timestamp) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(MAX_SKEW_SECS)).unwrap_or(now)
}

impl AuthError {
    /// As JSON services say it: HTTP 400.
    #[must_use]
    pub fn json(&self) -> ApiError {
        let code = match self {
            Self::Missing => ErrorCode::MissingAuthenticationToken,
            Self::Malformed(_) | Self::Repeated(_) => ErrorCode::IncompleteSignature,
            Self::UnknownKey => ErrorCode::UnrecognizedClient,
            Self::NotSigned(_)
            | Self::Absent(_)
            | Self::ScopeDate { .. }
            | Self::Service(_)
            | Self::Region
            | Self::Expired { .. }
            | Self::NotYetCurrent { .. }
            | Self::Mismatch => ErrorCode::InvalidSignature,
        };
        ApiError::new(code, self.to_string())
    }

    /// As Query services say it: the HTTP status and the code.
    #[must_use]
    pub const fn query(&self) -> (u16, &'static str) {
        match self {
            Self::Missing => (403, "MissingAuthenticationToken"),
            Self::Malformed(_) | Self::Repeated(_) => (400, "IncompleteSignature"),
            Self::UnknownKey => (403, "InvalidClientTokenId"),
            Self::NotSigned(_)
            | Self::Absent(_)
            | Self::ScopeDate { .. }
            | Self::Service(_)
            | Self::Region
            | Self::Expired { .. }
            | Self::NotYetCurrent { .. }
            | Self::Mismatch => (403, "SignatureDoesNotMatch"),
        }
    }
}
