//! HTTP/1.1 for the three doors: EC2, instance metadata, control.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// Far above any request a client of these doors makes.
const MAX_BODY: usize = 1 << 20;

/// What a handler gives: a response in one piece, or [`Lost`].
pub(crate) type Answer = Result<Response<Body>, Lost>;

/// A body of one piece, which may end before its announced length.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Option<Bytes>,
    length: u64,
    cut: bool,
}

impl Body {
    /// All of it.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self {
            length: bytes.len() as u64,
            bytes: Some(bytes),
            cut: false,
        }
    }

    /// The first part of a body of `length` bytes; then the connection breaks.
    pub(crate) fn cut(bytes: Bytes, length: u64) -> Self {
        Self {
            bytes: Some(bytes),
            length,
            cut: true,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Lost;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        Poll::Ready(match self.bytes.take().filter(|it| !it.is_empty()) {
            Some(bytes) => Some(Ok(Frame::data(bytes))),
            None if self.cut => Some(Err(Lost)),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// The connection breaks without a response.
#[derive(Debug, thiserror::Error)]
#[error("the connection is broken on purpose")]
pub(crate) struct Lost;

/// A handler's future.
type Handling = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Serves TCP connections for ever; the handler learns the peer's address.
pub(crate) async fn serve_tcp<H>(listener: TcpListener, handler: H) -> Infallible
where
    H: Fn(Ipv4Addr, Request<Incoming>) -> Handling + Clone + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // With Nagle's algorithm a second segment would wait for the first one's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                let IpAddr::V4(peer) = peer.ip() else {
                    continue;
                };
                let handler = handler.clone();
                tokio::spawn(serve(stream, move |request| handler(peer, request)));
            }
            Err(error) => tracing::warn!(%error, "cannot accept a connection"),
        }
    }
}

/// Serves connections of a Unix socket for ever.
pub(crate) async fn serve_unix<H>(listener: UnixListener, handler: H) -> Infallible
where
    H: Fn(Request<Incoming>) -> Handling + Clone + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, handler.clone()))),
            Err(error) => tracing::warn!(%error, "cannot accept a control connection"),
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: impl Fn(Request<Incoming>) -> Handling,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service_fn(handler))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}

/// The whole body, or why it cannot be had.
pub(crate) async fn body(incoming: Incoming) -> Result<Bytes, String> {
    let body = Limited::new(incoming, MAX_BODY).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| format!("cannot read the request's body: {error}"))
}

/// A response of one piece.
pub(crate) fn response(
    status: u16,
    content_type: &'static str,
    body: impl Display,
) -> Response<Body> {
    let mut response = Response::new(Body::whole(Bytes::from(body.to_string())));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(content_type),
    );
    response
}
