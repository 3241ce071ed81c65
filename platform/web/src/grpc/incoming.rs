//! Connections of the gRPC server.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::either::Either;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::EdgeOptions;
use crate::server::{File, InFlight, Tls, Watched};

/// After an accept that failed the next one waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Handshakes at once.
const HANDSHAKES_MAX: usize = 1_024;

/// One connection, and its place among those that there may be.
pub(super) struct Connection {
    stream: Watched<Either<TcpStream, Box<tokio_rustls::server::TlsStream<TcpStream>>>>,
    info: TcpConnectInfo,
    _place: (OwnedSemaphorePermit, File),
}

/// The connections that a listener takes.
pub(super) fn connections(
    listener: TcpListener,
    options: &EdgeOptions,
    tls: Option<Arc<Tls>>,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let places = Arc::new(Semaphore::new(options.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let options = options.clone();
    let accepted = stream::unfold(listener, |listener| async {
        let accepted = accept(&listener).await;
        Some((accepted, listener))
    });
    let opened = accepted.map(move |(stream, remote)| {
        let place = Arc::clone(&places).try_acquire_owned().ok().zip(File::take());
        let (tls, options) = (tls.clone(), options.clone());
        async move {
            // Without a place it is closed as it is: gRPC clients try again by themselves.
            let place = place?;
            let info = TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: Some(remote) };
            let stream = match tls {
                None => Either::Left(stream),
                Some(tls) => Either::Right(Box::new(tls.accept(stream).await.ok()?)),
            };
            let stream = Watched::new(stream, InFlight::default(), &options, false);
            Some(Ok(Connection { stream, info, _place: place }))
        }
    });
    opened.buffer_unordered(HANDSHAKES_MAX).filter_map(std::future::ready)
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                // Refused only where the peer is gone already; then reading finds out.
                let _ = stream.set_nodelay(true);
                return (stream, remote);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
