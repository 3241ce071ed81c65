//! A body that passes through: held to a pace, and counted until its end.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

/// Gives up when nothing came for a while, and holds its place among those in flight until it is dropped.
pub(super) struct Watched<B> {
    inner: B,
    pause_max: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<B> Watched<B> {
    pub(super) fn new(inner: B, pause_max: Duration, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { inner, pause_max, pause: None, _place: place }
    }
}

impl<B> Body for Watched<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            this.pause = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let until = Instant::now() + this.pause_max;
        let pause = this.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        match pause.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use http_body_util::{BodyExt, StreamBody};

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_given_up() {
        let part = |at: u64, text: &'static str| async move {
            tokio::time::sleep(Duration::from_secs(at)).await;
            Ok::<_, io::Error>(Frame::data(Bytes::from_static(text.as_bytes())))
        };
        let parts = [part(8, "one"), part(8, "two"), part(11, "three")];
        let body = StreamBody::new(Box::pin(stream::StreamExt::then(stream::iter(parts), |part| part)));
        let mut body = Watched::new(body, Duration::from_secs(10), None);
        for expected in ["one", "two"] {
            let frame = body.frame().await.expect("a frame").expect("in time");
            assert_eq!(frame.into_data().expect("data"), expected);
        }
        let error = body.frame().await.expect("an end").expect_err("too late");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
