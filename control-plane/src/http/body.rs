//! Request bodies: read whole, within limits, or thrown away.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use longshore_ecs_api::{ApiError, ErrorCode};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// How much of an unwanted body is thrown away before its connection is closed, and for how long. A client that is
/// still sending when its connection closes may never see the answer.
const DISCARD_BYTES: usize = 4 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// The whole body.
///
/// # Errors
/// `RequestEntityTooLargeException` beyond `limit` bytes; `RequestTimeoutException` when it does not come in time;
/// `SerializationException` when the client breaks off.
pub(super) async fn read(body: Incoming, limit: usize, within: Duration) -> Result<Bytes, ApiError> {
    if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > limit) {
        discard(body).await;
        return Err(too_large(limit));
    }
    match timeout(within, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Ok(Err(_)) => Err(ApiError::new(ErrorCode::Serialization, "The request body broke off.")),
        Err(_) => Err(ApiError::new(
            ErrorCode::RequestTimeout,
            format!("The request body did not come within {} seconds.", within.as_secs()),
        )),
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(ErrorCode::RequestEntityTooLarge, format!("The request body is larger than {limit} bytes."))
}

/// Reads and forgets a body that nobody will look at.
pub(super) async fn discard(mut body: Incoming) {
    let until = Instant::now() + DISCARD_TIME;
    let mut left = DISCARD_BYTES;
    while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        if length > left {
            return;
        }
        left -= length;
    }
}
