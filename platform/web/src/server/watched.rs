//! A connection that is watched: whoever is too slow, or asks nothing for too long, is left.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::EdgeOptions;

/// Requests of a connection that are being handled: until the last byte of the answer was handed over.
#[derive(Clone, Default)]
pub(crate) struct InFlight(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    in_flight: AtomicUsize,
}

/// One of them.
pub(crate) struct Flight(InFlight);

impl InFlight {
    pub fn begin(&self) -> Flight {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        Flight(self.clone())
    }

    fn none(&self) -> bool {
        self.0.in_flight.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection whose reads fail once nothing is in flight and either nothing was asked for `idle`, or what was begun
/// to be asked did not come to its end within `head`; and whose writes fail once the other end has taken nothing for
/// `idle`.
///
/// Each timer is set once and looked at when it goes off: what hurries never touches it.
pub(crate) struct Watched<S> {
    stream: S,
    in_flight: InFlight,
    /// Requests that had begun when it was last looked.
    begun: usize,
    idle: Duration,
    head: Option<Duration>,
    /// Since when nothing, or only a part of a request, is there.
    waiting: Option<Waiting>,
    reading: Option<Pin<Box<Sleep>>>,
    stuck_since: Option<Instant>,
    writing: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy)]
struct Waiting {
    since: Instant,
    begun: bool,
}

impl<S> Watched<S> {
    /// Watches a connection; `one_by_one` where it carries one request at a time, so that the time of its head can be
    /// told.
    pub fn new(stream: S, in_flight: InFlight, options: &EdgeOptions, one_by_one: bool) -> Self {
        Self {
            stream,
            in_flight,
            begun: 0,
            idle: options.idle_timeout,
            head: one_by_one.then_some(options.header_timeout),
            waiting: None,
            reading: None,
            stuck_since: None,
            writing: None,
        }
    }

    /// Whatever was waited for is over once a request has begun.
    fn look(&mut self) -> bool {
        let begun = self.in_flight.0.begun.load(Ordering::Relaxed);
        if begun != self.begun {
            (self.begun, self.waiting) = (begun, None);
        }
        self.in_flight.none()
    }

    /// Bytes came: unless they belong to a request in flight, one has begun.
    fn read(&mut self) {
        if self.look() {
            match &mut self.waiting {
                Some(waiting) if waiting.begun && self.head.is_some() => {}
                waiting => *waiting = Some(Waiting { since: Instant::now(), begun: true }),
            }
        } else {
            self.waiting = None;
        }
    }

    /// Nothing is there to read: whether it is worth waiting for. (Ready when it is not.)
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.look() {
            self.waiting = None;
            // Nobody may ask to read when the request has ended: the timer sees to it that somebody does.
            let later = Instant::now() + self.idle;
            let _ = poll_until(&mut self.reading, later, cx);
            return Poll::Pending;
        }
        let idle = || Waiting { since: Instant::now(), begun: false };
        let waiting = *self.waiting.get_or_insert_with(idle);
        let patience = if waiting.begun { self.head.unwrap_or(self.idle) } else { self.idle };
        poll_until(&mut self.reading, waiting.since + patience, cx)
    }
}

/// Ready once `deadline` is over. The timer is only set anew when it has gone off, or is set too late.
fn poll_until(timer: &mut Option<Pin<Box<Sleep>>>, deadline: Instant, cx: &mut Context<'_>) -> Poll<io::Error> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    while timer.as_mut().poll(cx).is_ready() {
        if Instant::now() >= deadline {
            return Poll::Ready(io::ErrorKind::TimedOut.into());
        }
        timer.as_mut().reset(deadline);
    }
    Poll::Pending
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(read) => {
                if buf.filled().len() > before {
                    self.read();
                }
                Poll::Ready(read)
            }
            Poll::Pending => Poll::Ready(Err(ready!(self.poll_patience(cx)))),
        }
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn poll_written<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match write(Pin::new(&mut self.stream), cx) {
            Poll::Ready(written) => {
                self.stuck_since = None;
                Poll::Ready(written)
            }
            Poll::Pending => {
                let since = *self.stuck_since.get_or_insert_with(Instant::now);
                Poll::Ready(Err(ready!(poll_until(&mut self.writing, since + self.idle, cx))))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_written(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}
