//! gRPC: one HTTP/2 connection over TCP with cubic, unary calls of one message with one field.

use core::convert::Infallible;
use core::future::{Ready, ready};
use core::net::SocketAddr;
use core::ops::Deref;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::net::TcpListener;

use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::answer::Answer;
use crate::bench::sockets::spawn_server;
use crate::bench::suite::Job;
use crate::congestion::Congestion::Cubic;
use crate::runtime;

/// Requests and responses.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::bench) struct Payload {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Starts a server, and returns its port.
///
/// # Errors
/// The address is not to be had.
pub(in crate::bench) fn serve(job: &Job, answer: Answer) -> io::Result<Vec<u16>> {
    let listener = TcpListener::bind(SocketAddr::new(job.listen, 0))?;
    // Connections inherit it.
    Cubic.set(&listener)?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    spawn_server(move || {
        runtime::current_thread()?.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let server = Server::builder().add_service(Answers(answer));
            let served = server.serve_with_incoming(incoming).await;
            served.map_err(io::Error::other)
        })
    });
    Ok(vec![port])
}

/// The service: one method.
#[derive(Clone)]
struct Answers(Answer);

impl NamedService for Answers {
    const NAME: &'static str = "homa.Bench";
}

impl Service<http::Request<Body>> for Answers {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answers = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Payload, Payload>::default());
            Ok(grpc.unary(answers, request).await)
        })
    }
}

impl UnaryService<Payload> for Answers {
    type Response = Payload;
    type Future = Ready<Result<Response<Payload>, Status>>;

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        let Self(answer) = self;
        let bytes = answer.to(&request.get_ref().bytes).to_vec();
        ready(Ok(Response::new(Payload { bytes })))
    }
}

/// A client of one server.
#[derive(Clone)]
pub(in crate::bench) struct Client {
    channel: Channel,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// The server is not there.
    pub(in crate::bench) async fn connect(job: &Job) -> io::Result<Self> {
        let server = job.server();
        let endpoint = Endpoint::from_shared(format!("http://{server}"));
        let endpoint = endpoint.map_err(io::Error::other)?;
        let connected = endpoint.connect_with_connector(Connector(server)).await;
        let channel = connected.map_err(io::Error::other)?;
        Ok(Self { channel })
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// The connection is lost.
    pub(in crate::bench) async fn call(&self, request: &[u8]) -> io::Result<Payload> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(io::Error::other)?;
        let request = Request::new(Payload {
            bytes: request.to_vec(),
        });
        let path = PathAndQuery::from_static("/homa.Bench/Call");
        let response = grpc.unary(request, path, ProstCodec::default()).await;
        Ok(response.map_err(io::Error::other)?.into_inner())
    }
}

/// Makes the connection, so that it uses the same congestion control as the others.
#[derive(Clone)]
struct Connector(SocketAddr);

impl Service<Uri> for Connector {
    type Response = hyper_util::rt::TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self(server) = *self;
        Box::pin(async move {
            let stream = TcpStream::connect(server).await?;
            Cubic.set(&stream)?;
            stream.set_nodelay(true)?;
            Ok(hyper_util::rt::TokioIo::new(stream))
        })
    }
}
