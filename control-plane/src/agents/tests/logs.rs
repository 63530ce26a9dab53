//! Handing over logs: who may, what is taken, and what no agent sends.

use super::fleet::DEADLINE;
use super::peer::{Credential, Port, patient};
use super::raw::RawCodec;
use crate::agents::AgentsConfig;
use longshore_model::InstanceId;
use longshore_proto::{MAX_LOG_BATCH, SERVER_NAME, v1};
use std::time::Duration;
use tonic::Code;

const HOUR: Duration = Duration::from_secs(3600);

fn chunk(from: &str, to: &str, words: &[&str]) -> v1::LogChunk {
    let event = |word: &&str| v1::LogEvent { at: 1_800_000_000_000, message: (*word).to_owned() };
    v1::LogChunk {
        region: "lab-1".to_owned(),
        group: "app".to_owned(),
        stream: "s".to_owned(),
        from: from.to_owned().into(),
        to: to.to_owned().into(),
        events: words.iter().map(event).collect(),
    }
}

fn batch(chunks: Vec<v1::LogChunk>) -> v1::LogBatch {
    v1::LogBatch { chunks }
}

#[tokio::test]
async fn a_member_hands_over_logs_and_nobody_else() {
    let port = Port::start(patient()).await;
    let status = port.dial(None).await.put_logs(batch(vec![])).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unauthenticated);
    let stranger = port.credential(InstanceId::from_bytes([9; 16]), HOUR);
    let status = port.dial(Some(stranger)).await.put_logs(batch(vec![])).await.expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied);

    let (one, other) = (port.fleet.add_instance(), port.fleet.add_instance());
    let mut one = port.dial(Some(port.credential(one, HOUR))).await;
    let mut other = port.dial(Some(port.credential(other, HOUR))).await;
    let sent = batch(vec![chunk("", "c1", &["a", "b"])]);
    for _ in 0..2 {
        let ack = one.put_logs(sent.clone()).await.expect("taken").into_inner();
        assert_eq!((ack.chunks[0].cursor.as_ref(), ack.chunks[0].refused.as_str()), (b"c1".as_slice(), ""));
    }
    let ack = other.put_logs(batch(vec![chunk("c1", "c2", &["x"])])).await.expect("answered").into_inner();
    assert!(ack.chunks[0].refused.contains("somebody else") && ack.chunks[0].cursor.is_empty(), "{ack:?}");
    let bad = v1::LogChunk { group: "a b".to_owned(), ..chunk("", "", &[]) };
    let ack = one.put_logs(batch(vec![bad, chunk("", "", &[])])).await.expect("answered").into_inner();
    assert!(ack.chunks[0].refused.contains("logGroupName"), "{ack:?}");
    assert_eq!(ack.chunks[1].cursor.as_ref(), b"c1", "the others are answered");
}

#[tokio::test]
async fn what_no_agent_sends_is_refused_by_itself_and_the_rest_of_the_batch_is_taken() {
    let port = Port::start(patient()).await;
    let mut client = port.dial(Some(port.credential(port.fleet.add_instance(), HOUR))).await;
    let of = |stream: &str| v1::LogChunk { stream: stream.to_owned(), ..chunk("", "c1", &["a"]) };
    for (stream, odd, why) in [
        ("one", v1::LogChunk { region: "No Region".to_owned(), ..of("x") }, "`chunks[1]`: `region`"),
        ("two", of("two"), "`chunks[1]` is of a stream that came before"),
        ("three", v1::LogChunk { events: Vec::new(), ..of("x") }, "`chunks[1]`: `to` goes on without events"),
    ] {
        let sent = batch(vec![of(stream), odd, of(&format!("{stream} more"))]);
        let acks = client.put_logs(sent).await.expect("answered").into_inner().chunks;
        assert_eq!(acks.len(), 3);
        assert!(acks[1].refused.contains(why) && acks[1].cursor.is_empty(), "{acks:?}");
        for taken in [&acks[0], &acks[2]] {
            assert_eq!((taken.cursor.as_ref(), taken.refused.as_str()), (b"c1".as_slice(), ""), "{acks:?}");
        }
    }
    let many = batch(vec![v1::LogChunk::default(); 10_001]);
    assert_eq!(client.put_logs(many).await.expect_err("too many").code(), Code::InvalidArgument);
    let huge = batch(vec![chunk("", "c1", &[&"x".repeat(MAX_LOG_BATCH)])]);
    assert_eq!(client.put_logs(huge).await.expect_err("too large").code(), Code::ResourceExhausted);
    let ack = client.put_logs(batch(vec![chunk("", "", &[])])).await.expect("answered").into_inner();
    assert!(ack.chunks[0].cursor.is_empty(), "something was taken: {ack:?}");
}

/// A call whose body does not end: it lasts until the task is aborted, or the answer comes.
async fn endless(port: &Port, credential: Option<Credential>) -> tokio::task::JoinHandle<tonic::Status> {
    let channel = port.channel(credential).await.expect("a connection");
    let mut grpc = tonic::client::Grpc::with_origin(channel, format!("http://{SERVER_NAME}").parse().expect("a URI"));
    grpc.ready().await.expect("ready");
    let path = "/longshore.agent.v1.AgentService/PutLogs".parse().expect("a path");
    tokio::spawn(async move {
        match grpc.streaming(tonic::Request::new(tokio_stream::pending()), path, RawCodec).await {
            Err(status) => status,
            Ok(response) => response.into_inner().message().await.expect_err("ended"),
        }
    })
}

#[tokio::test]
async fn few_batches_are_read_at_once_and_agents_beyond_try_again() {
    let port = Port::start(AgentsConfig { log_batches: (1, 0), ..patient() }).await;
    let credential = || port.credential(port.fleet.add_instance(), HOUR);
    // Who has no certificate takes no ticket, and need not be read to be told so.
    let stranger = endless(&port, None).await;
    let refused = tokio::time::timeout(DEADLINE, stranger).await.expect("in time").expect("no panic");
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");

    let endless = endless(&port, Some(credential())).await;
    let mut other = port.dial(Some(credential())).await;
    // It may still be on its way.
    let refused = async {
        loop {
            match other.put_logs(batch(vec![])).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(status) => return status,
            }
        }
    };
    let refused = tokio::time::timeout(DEADLINE, refused).await.expect("in time");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    // Sessions and other calls need no ticket.
    port.session(port.fleet.add_instance()).await;
    other.renew(v1::RenewRequest { csr: super::peer::request().1.into() }).await.expect("renewed");
    // Its place is free again once it is gone.
    endless.abort();
    let taken = async { while other.put_logs(batch(vec![chunk("", "c1", &["a"])])).await.is_err() {} };
    tokio::time::timeout(DEADLINE, taken).await.expect("there is room again");
}
