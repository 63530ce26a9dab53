//! `longshore logs`: what containers printed, from the log streams that their task definition names.
//!
//! Knows no more than anybody: where a container's output goes is in its definition, and the stream is read with
//! GetLogEvents, whose forward token never passes over what comes late.

use super::Context;
use crate::args::LogsArgs;
use crate::client::CallError;
use crate::fault::Fault;
use crate::names;
use longshore_ecs_api::enums::LogDriver;
use longshore_ecs_api::logs::{GetLogEventsRequest, GetLogEventsResponse, LogsOperation, OutputLogEvent};
use longshore_ecs_api::requests::DescribeTaskDefinitionRequest;
use longshore_ecs_api::types::{ContainerDefinition, Task};
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

/// Between two looks with `--follow`.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a task that is over may stay silent before nothing more is expected.
const SILENCE: Duration = Duration::from_secs(3);

/// One container's stream, and how far it was read.
struct Stream {
    container: String,
    region: String,
    group: String,
    stream: String,
    token: Option<String>,
    /// When its newest event arrived as the command began, by the control plane's clock; without `--follow` only. What
    /// came later is not waited for: a container that prints all the time would have no end.
    newest: Option<i64>,
    /// Nothing more was there at the last look.
    at_end: bool,
}

/// What one look at all streams brought.
struct Read {
    /// Each with its stream, by time.
    lines: Vec<(usize, OutputLogEvent)>,
    /// Every stream was answered for: nothing new means that nothing new is there.
    reached: bool,
}

/// A line for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonLine<'a> {
    container: &'a str,
    log_stream_name: &'a str,
    timestamp: i64,
    message: &'a str,
}

/// Carries out `logs`.
pub(super) fn execute(context: &Context, args: &LogsArgs) -> Result<(), Fault> {
    let since = args.since.as_deref().map(|text| since(text, jiff::Timestamp::now())).transpose()?;
    let named = names::task(&context.api, &args.task)?;
    let look = || -> Result<Task, Fault> {
        let (mut tasks, failures) = context.api.tasks(&named.cluster, std::slice::from_ref(&named.id))?;
        names::all_there("DescribeTasks", &failures)?;
        tasks.pop().ok_or_else(|| missing(context, "task", &args.task, "`longshore ps --all` lists them."))
    };
    let mut task = look()?;
    let definition = context.api.call(&DescribeTaskDefinitionRequest {
        task_definition: task.task_definition_arn.clone(),
        ..DescribeTaskDefinitionRequest::default()
    })?;
    let definitions = definition.task_definition.and_then(|d| d.container_definitions).unwrap_or_default();
    let shipped = chosen(context, args, definitions)?;
    let several = shipped.len() > 1;
    let mut streams = Vec::new();
    let mut quiet_since = Instant::now();
    loop {
        // A stream may be named by the container's id, which is known once it was created.
        add_streams(&mut streams, &shipped, &task);
        let Read { lines, reached } = read(context, args, since, &mut streams)?;
        // Nobody knows whether a control plane that is away has more.
        if !lines.is_empty() || !reached {
            quiet_since = Instant::now();
        }
        print(context, args, several, &streams, &lines)?;
        if streams.iter().any(|stream| !stream.at_end) {
            continue;
        }
        if !args.follow {
            return Ok(());
        }
        let over = task.last_status.as_deref() == Some("STOPPED");
        if over && quiet_since.elapsed() >= SILENCE {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
        if !over {
            task = match look() {
                Ok(task) => task,
                Err(Fault::Call(error)) if error.passing() => task,
                Err(fault) => return Err(fault),
            };
            if task.last_status.as_deref() == Some("STOPPED") {
                quiet_since = Instant::now();
            }
        }
    }
}

fn missing(context: &Context, kind: &'static str, name: &str, hint: &'static str) -> Fault {
    Fault::Missing { kind, name: name.to_owned(), place: format!("cluster {}", context.api.cluster()), hint }
}

/// The containers that are meant, of those whose output is kept.
fn chosen(
    context: &Context,
    args: &LogsArgs,
    definitions: Vec<ContainerDefinition>,
) -> Result<Vec<ContainerDefinition>, Fault> {
    let named = |definition: &ContainerDefinition| {
        args.container.as_ref().is_none_or(|name| definition.name.as_ref() == Some(name))
    };
    let chosen: Vec<ContainerDefinition> = definitions.into_iter().filter(named).collect();
    if let (true, Some(name)) = (chosen.is_empty(), &args.container) {
        let hint = "`longshore describe TASK` shows the containers of a task.";
        return Err(missing(context, "container", name, hint));
    }
    let is_kept = |definition: &ContainerDefinition| {
        definition.log_configuration.as_ref().is_some_and(|log| log.log_driver == Some(LogDriver::Awslogs))
    };
    let kept: Vec<ContainerDefinition> = chosen.into_iter().filter(is_kept).collect();
    if kept.is_empty() {
        let hint = "Only output of the log driver awslogs is kept here: set `logConfiguration` in the task definition. \
                    The output of other drivers is where they put it; `docker logs` on the host may have it.";
        return Err(missing(context, "container with the log driver awslogs", &args.task, hint));
    }
    Ok(kept)
}

/// The streams that have a name by now.
fn add_streams(streams: &mut Vec<Stream>, shipped: &[ContainerDefinition], task: &Task) {
    let task_id = task.task_arn.as_deref().map_or("", names::tail);
    for definition in shipped {
        let name = definition.name.as_deref().unwrap_or_default();
        if streams.iter().any(|stream| stream.container == name) {
            continue;
        }
        let options = definition.log_configuration.as_ref().and_then(|log| log.options.as_ref());
        let option = |key: &str| options.and_then(|options| options.get(key)).filter(|value| !value.is_empty());
        let containers = task.containers.iter().flatten();
        let id = containers.filter(|c| c.name.as_deref() == Some(name)).find_map(|c| c.runtime_id.clone());
        let stream = match option("awslogs-stream-prefix") {
            Some(prefix) => Some(format!("{prefix}/{name}/{task_id}")),
            None => id,
        };
        if let (Some(stream), Some(region), Some(group)) = (stream, option("awslogs-region"), option("awslogs-group")) {
            streams.push(Stream {
                container: name.to_owned(),
                region: region.clone(),
                group: group.clone(),
                stream,
                token: None,
                newest: None,
                at_end: false,
            });
        }
    }
}

/// The next page of each stream, by time.
fn read(context: &Context, args: &LogsArgs, since: Option<i64>, streams: &mut [Stream]) -> Result<Read, Fault> {
    let mut lines = Vec::new();
    let mut reached = true;
    for (i, stream) in streams.iter_mut().enumerate() {
        if stream.at_end && !args.follow {
            continue;
        }
        if !args.follow && args.tail.is_none() && stream.newest.is_none() {
            stream.newest = Some(newest(context, since, stream)?);
        }
        let request = GetLogEventsRequest {
            log_group_name: Some(stream.group.clone()),
            log_stream_name: Some(stream.stream.clone()),
            start_time: since,
            next_token: stream.token.clone(),
            start_from_head: Some(args.tail.is_none()),
            limit: args.tail.filter(|_| stream.token.is_none()).and_then(|tail| i32::try_from(tail).ok()),
            ..GetLogEventsRequest::default()
        };
        let answer: Result<GetLogEventsResponse, CallError> =
            context.api.logs(&stream.region, LogsOperation::GetLogEvents, &request);
        match answer {
            Ok(page) => {
                let token = page.next_forward_token;
                let last = page.events.iter().flatten().last();
                let is_beyond = |newest: i64| last.and_then(|event| event.ingestion_time).is_some_and(|at| at > newest);
                stream.at_end = token.is_none()
                    || token == stream.token
                    || last.is_none()
                    || (!args.follow && args.tail.is_some())
                    || stream.newest.is_some_and(is_beyond);
                stream.token = token.or(stream.token.take());
                lines.extend(page.events.unwrap_or_default().into_iter().map(|event| (i, event)));
            }
            // Nothing has come of it yet.
            Err(error) if error.code() == Some("ResourceNotFoundException") => stream.at_end = true,
            // A follower outlives a control plane that is started anew.
            Err(error) if args.follow && error.passing() => {
                stream.at_end = true;
                reached = false;
            }
            Err(error) => return Err(error.into()),
        }
    }
    lines.sort_by_key(|(_, event)| event.timestamp);
    Ok(Read { lines, reached })
}

/// When the newest event of a stream arrived; a stream has its events in the order in which they did.
fn newest(context: &Context, since: Option<i64>, stream: &Stream) -> Result<i64, Fault> {
    let request = GetLogEventsRequest {
        log_group_name: Some(stream.group.clone()),
        log_stream_name: Some(stream.stream.clone()),
        start_time: since,
        start_from_head: Some(false),
        limit: Some(1),
        ..GetLogEventsRequest::default()
    };
    let answer: Result<GetLogEventsResponse, CallError> =
        context.api.logs(&stream.region, LogsOperation::GetLogEvents, &request);
    match answer {
        Ok(page) => Ok(page.events.iter().flatten().last().and_then(|event| event.ingestion_time).unwrap_or(i64::MIN)),
        Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(i64::MIN),
        Err(error) => Err(error.into()),
    }
}

fn print(
    context: &Context,
    args: &LogsArgs,
    several: bool,
    streams: &[Stream],
    lines: &[(usize, OutputLogEvent)],
) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for (i, event) in lines {
        let stream = &streams[*i];
        let message = event.message.as_deref().unwrap_or_default();
        let timestamp = event.timestamp.unwrap_or_default();
        if context.out.is_json() {
            let line = JsonLine { container: &stream.container, log_stream_name: &stream.stream, timestamp, message };
            serde_json::to_writer(&mut out, &line)?;
            writeln!(out)?;
            continue;
        }
        if args.timestamps {
            let at = jiff::Timestamp::from_millisecond(timestamp).unwrap_or_default();
            write!(out, "{} ", at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))?;
        }
        if several {
            write!(out, "{}: ", stream.container)?;
        }
        writeln!(out, "{message}")?;
    }
    out.flush()
}

/// A point in time, in milliseconds since the epoch: so long ago, or as it is.
fn since(text: &str, now: jiff::Timestamp) -> Result<i64, Fault> {
    let wrong = || Fault::Argument {
        argument: "--since",
        value: text.to_owned(),
        why: "must be as 90s, 10m, 2h or 3d, or a time as 2026-01-02T03:04:05Z".to_owned(),
    };
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_millisecond().max(0));
    }
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let number: i64 = number.parse().ok().filter(|number| *number >= 0).ok_or_else(wrong)?;
    let millis = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    Ok(now.as_millisecond().saturating_sub(number.saturating_mul(millis)).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_or_absolute() {
        let now = jiff::Timestamp::from_second(1_000_000).expect("a time");
        let check = |text: &str, expected: Option<i64>| assert_eq!(since(text, now).ok(), expected, "{text}");
        check("90s", Some(999_910_000));
        check("10m", Some(999_400_000));
        check("2h", Some(992_800_000));
        check("100000d", Some(0));
        check("1970-01-01T00:00:05Z", Some(5_000));
        for bad in ["", "m", "-5m", "5", "5w", "yesterday", "ß"] {
            check(bad, None);
        }
    }
}
