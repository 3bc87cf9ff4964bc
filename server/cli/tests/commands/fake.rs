//! A gRPC server on a Unix socket that knows no service: it answers what a table says, and keeps what it was asked.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use prost::Message;
use prost::bytes::{Buf, BufMut};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http;
use tonic::server::{Grpc, UnaryService};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// Answers by the end of the path, such as `Agent/ListAgents`; several to one path are given one after the other.
#[derive(Default)]
pub(crate) struct World(HashMap<&'static str, Vec<Result<Vec<u8>, Status>>>);

impl World {
    pub(crate) fn with(mut self, path: &'static str, answer: &impl Message) -> Self {
        self.0.entry(path).or_default().push(Ok(answer.encode_to_vec()));
        self
    }

    pub(crate) fn refusing(mut self, path: &'static str, status: Status) -> Self {
        self.0.entry(path).or_default().push(Err(status));
        self
    }
}

type Asked = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// The running server; it ends with the runtime.
pub(crate) struct Fake {
    dir: tempfile::TempDir,
    asked: Asked,
}

impl Fake {
    pub(crate) fn start(world: World) -> Self {
        let fake = Self { dir: tempfile::tempdir().unwrap(), asked: Asked::default() };
        let listener = UnixListener::bind(fake.socket()).unwrap();
        let state = (Arc::new(Mutex::new(world)), fake.asked.clone());
        let answer = move |request: http::Request<axum::body::Body>| {
            let (world, asked) = state.clone();
            async move {
                let path = request.uri().path().to_owned();
                let call = Call { path, world, asked };
                Grpc::new(Bytes).unary(call, request.map(Body::new)).await
            }
        };
        let routes = Routes::from(axum::Router::new().fallback(answer));
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_routes(routes)
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        fake
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    pub(crate) fn asked(&self) -> Vec<(String, Vec<u8>)> {
        self.asked.lock().unwrap().clone()
    }
}

/// One call.
struct Call {
    path: String,
    world: Arc<Mutex<World>>,
    asked: Asked,
}

impl UnaryService<Vec<u8>> for Call {
    type Response = Vec<u8>;
    type Future = std::future::Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        self.asked.lock().unwrap().push((self.path.clone(), request.into_inner()));
        let mut world = self.world.lock().unwrap();
        let answers = world.0.iter_mut().find(|(end, _)| self.path.ends_with(*end)).map(|(_, answers)| answers);
        let answer = match answers {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers.first().unwrap().clone(),
            None => Err(Status::unimplemented("no such method in this world")),
        };
        std::future::ready(answer.map(Response::new))
    }
}

/// Messages as they are.
#[derive(Clone, Copy)]
struct Bytes;

impl Codec for Bytes {
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

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}
