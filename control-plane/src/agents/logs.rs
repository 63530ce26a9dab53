//! What containers printed, on its way from an agent to the log store.

use longshore_logs::{Chunk, Event, LogError, Logs, StreamKey};
use longshore_model::{InstanceId, Region};
use longshore_proto::v1;
use std::collections::HashSet;
use tonic::Status;

/// Chunks of a batch: containers that a host may have.
const MAX_CHUNKS: usize = 10_000;

/// Takes a batch of `instance`'s. What was taken is durable when this returns.
///
/// # Errors
/// `INVALID_ARGUMENT` for a batch that no agent sends, with nothing taken; `UNAVAILABLE` when the log store fails.
pub(super) async fn put(logs: &Logs, instance: InstanceId, batch: v1::LogBatch) -> Result<v1::LogAck, Status> {
    let chunks = read(batch)?;
    let answers = logs.take(instance.to_string(), chunks).await.map_err(|error| unavailable(instance, &error))?;
    let ack = |answer| match answer {
        Ok(cursor) => v1::LogChunkAck { cursor: Vec::into(cursor), refused: String::new() },
        Err(why) => v1::LogChunkAck { cursor: bytes::Bytes::new(), refused: why },
    };
    Ok(v1::LogAck { chunks: answers.into_iter().map(ack).collect() })
}

fn unavailable(instance: InstanceId, error: &LogError) -> Status {
    tracing::error!(%instance, error = crate::chain(error), "could not keep what containers printed");
    Status::unavailable("the control plane cannot keep logs now; its log says why")
}

fn read(batch: v1::LogBatch) -> Result<Vec<Chunk>, Status> {
    if batch.chunks.len() > MAX_CHUNKS {
        return Err(Status::invalid_argument(format!("field `chunks` has more than {MAX_CHUNKS} items")));
    }
    let mut seen = HashSet::new();
    let mut chunks = Vec::with_capacity(batch.chunks.len());
    for (i, chunk) in batch.chunks.into_iter().enumerate() {
        let v1::LogChunk { region, group, stream, from, to, events } = chunk;
        let region = Region::new(&region)
            .map_err(|error| Status::invalid_argument(format!("field `chunks[{i}].region` {error}")))?;
        if !seen.insert((region.to_string(), group.clone(), stream.clone())) {
            return Err(Status::invalid_argument(format!("field `chunks[{i}]` is of a stream that came before")));
        }
        if events.is_empty() && from != to {
            return Err(Status::invalid_argument(format!("field `chunks[{i}].to` goes on without events")));
        }
        let key = StreamKey { region: region.to_string(), group, stream };
        let events = events.into_iter().map(|event| Event { at_ms: event.at, message: event.message }).collect();
        chunks.push(Chunk { key, from: from.to_vec(), to: to.to_vec(), events });
    }
    Ok(chunks)
}
