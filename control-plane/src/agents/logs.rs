//! What containers printed, on its way from an agent to the log store.

use longshore_logs::{Chunk, Event, LogError, Logs, StreamKey};
use longshore_model::{InstanceId, Region};
use longshore_proto::v1;
use std::collections::HashSet;
use tonic::Status;

/// Chunks of a batch: containers that a host may have.
const MAX_CHUNKS: usize = 10_000;

/// Takes a batch of `instance`'s, chunk by chunk. What was taken is durable when this returns.
///
/// A chunk that no agent sends is refused and the others are taken: an agent puts a batch until it is answered, so a
/// refusal of the whole would hold up everything that its host prints.
///
/// # Errors
/// `INVALID_ARGUMENT` for more chunks than a host has containers, with nothing taken; `UNAVAILABLE` when the log store
/// fails.
pub(super) async fn put(logs: &Logs, instance: InstanceId, batch: v1::LogBatch) -> Result<v1::LogAck, Status> {
    let (chunks, refused): (Vec<Option<Chunk>>, Vec<Option<String>>) = read(instance, batch)?
        .into_iter()
        .map(|read| match read {
            Ok(chunk) => (Some(chunk), None),
            Err(why) => (None, Some(why)),
        })
        .unzip();
    let chunks = chunks.into_iter().flatten().collect();
    let answers = logs.take(instance.to_string(), chunks).await.map_err(|error| unavailable(instance, &error))?;
    let mut answers = answers.into_iter();
    let ack = |refused: Option<String>| match refused.map(Err).or_else(|| answers.next()) {
        Some(Ok(cursor)) => v1::LogChunkAck { cursor: Vec::into(cursor), refused: String::new() },
        Some(Err(why)) => v1::LogChunkAck { cursor: bytes::Bytes::new(), refused: why },
        None => v1::LogChunkAck { cursor: bytes::Bytes::new(), refused: "nothing became of the chunk".to_owned() },
    };
    Ok(v1::LogAck { chunks: refused.into_iter().map(ack).collect() })
}

fn unavailable(instance: InstanceId, error: &LogError) -> Status {
    tracing::error!(%instance, error = crate::chain(error), "could not keep what containers printed");
    Status::unavailable("the control plane cannot keep logs now; its log says why")
}

/// The chunks, or why one cannot be taken.
fn read(instance: InstanceId, batch: v1::LogBatch) -> Result<Vec<Result<Chunk, String>>, Status> {
    if batch.chunks.len() > MAX_CHUNKS {
        return Err(Status::invalid_argument(format!("field `chunks` has more than {MAX_CHUNKS} items")));
    }
    let mut seen = HashSet::new();
    let mut chunks = Vec::with_capacity(batch.chunks.len());
    for (i, chunk) in batch.chunks.into_iter().enumerate() {
        let chunk = read_chunk(chunk, &mut seen).map_err(|why| format!("field `chunks[{i}]`{why}"));
        if let Err(why) = &chunk {
            tracing::warn!(%instance, why, "an agent hands over what no agent does");
        }
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn read_chunk(chunk: v1::LogChunk, seen: &mut HashSet<(String, String, String)>) -> Result<Chunk, String> {
    let v1::LogChunk { region, group, stream, from, to, events } = chunk;
    let region = Region::new(&region).map_err(|error| format!(": `region` {error}"))?;
    if !seen.insert((region.to_string(), group.clone(), stream.clone())) {
        return Err(" is of a stream that came before".to_owned());
    }
    if events.is_empty() && from != to {
        return Err(": `to` goes on without events".to_owned());
    }
    let key = StreamKey { region: region.to_string(), group, stream };
    let events = events.into_iter().map(|event| Event { at_ms: event.at, message: event.message }).collect();
    Ok(Chunk { key, from: from.to_vec(), to: to.to_vec(), events })
}
