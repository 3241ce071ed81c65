//! Calls whose message is too long.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// A call's body, up to a length. No method of ours streams what it is asked, so the body is one message.
pub(super) struct Limited {
    body: Body,
    left: usize,
    bytes_max: usize,
}

impl Limited {
    pub fn new(body: Body, bytes_max: usize) -> Self {
        Self { body, left: bytes_max, bytes_max }
    }
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let Some(left) = self.left.checked_sub(data.len()) else {
                let message = format!("a message has at most {} bytes", self.bytes_max);
                return Poll::Ready(Some(Err(Status::resource_exhausted(message))));
            };
            self.left = left;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
