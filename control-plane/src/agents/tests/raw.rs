//! Streams of bytes that are no messages.

use super::peer::{Port, patient};
use bytes::{Buf as _, BufMut as _};
use longshore_proto::SERVER_NAME;
use std::time::Duration;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

/// Sends bytes as they are and reads what comes as bytes.
#[derive(Default)]
pub(super) struct RawCodec;

impl Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining()).to_vec()))
    }
}

/// The status that a session ends with when its first message is `bytes`.
async fn first_message(port: &Port, bytes: Vec<u8>) -> Status {
    let instance = port.fleet.add_instance();
    let credential = port.credential(instance, Duration::from_secs(3600));
    let channel = port.channel(Some(credential)).await.expect("a connection");
    let mut grpc = tonic::client::Grpc::with_origin(channel, format!("http://{SERVER_NAME}").parse().expect("a URI"));
    grpc.ready().await.expect("ready");
    let path = "/longshore.agent.v1.AgentService/Session".parse().expect("a path");
    let request = tonic::Request::new(tokio_stream::iter([bytes]));
    match grpc.streaming(request, path, RawCodec).await {
        Err(status) => status,
        Ok(response) => response.into_inner().message().await.expect_err("ended"),
    }
}

#[tokio::test]
async fn garbage_is_an_invalid_argument() {
    let port = Port::start(patient()).await;
    let noise: Vec<u8> = (0u8..200).map(|n| n.wrapping_mul(37) ^ 0xa5).collect();
    for bytes in [vec![0xff; 40], noise, b"GET / HTTP/1.1".to_vec(), vec![0x0a, 0x7f], Vec::new()] {
        let status = first_message(&port, bytes.clone()).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{bytes:?}: {status}");
    }
    // The largest message, and one more byte.
    let status = first_message(&port, vec![0; longshore_proto::MAX_MESSAGE + 1]).await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(port.fleet.lock().instances.values().all(|instance| instance.hellos.is_empty()));
}
