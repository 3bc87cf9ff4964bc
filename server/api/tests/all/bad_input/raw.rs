//! Calls with bytes that no client's library would let through.

use std::time::Duration;

use prost::bytes::{Buf as _, BufMut as _, Bytes};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Longer than any call takes; a server that hangs fails the test and not the machine.
const PATIENCE: Duration = Duration::from_secs(100);

#[derive(Clone, Copy, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
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
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let len = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(len)))
    }
}

/// Sends one message and takes the first of the answer, whatever kind of stream the method has; an answer without a message is an empty one.
pub(super) async fn call(channel: &Channel, path: &str, message: Vec<u8>) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(64 << 20);
    client.ready().await.map_err(|error| Status::unknown(format!("{path}: no connection: {error}")))?;
    let path = PathAndQuery::try_from(path).unwrap();
    let request = Request::new(tokio_stream::once(Bytes::from(message)));
    let answered = async {
        let mut answers = client.streaming(request, path.clone(), RawCodec).await?.into_inner();
        Ok(answers.message().await?.unwrap_or_default())
    };
    tokio::time::timeout(PATIENCE, answered).await.unwrap_or_else(|_elapsed| panic!("{path} does not answer"))
}
