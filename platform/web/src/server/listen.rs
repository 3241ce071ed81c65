//! Taking connections, and ending with them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use poem::web::LocalAddr;
use poem::{Endpoint, IntoEndpoint, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Server;
use super::files::File;
use super::process::OfTheProcess;
use super::{App, Tls};
use crate::EdgeOptions;

/// After an accept that failed (no file descriptors, say) the next one waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a connection is told for which there is no room.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Serves `app` until `shutdown`. Then it is not ready; after [`EdgeOptions::drain_delay`] it takes
/// no more connections, and requests in flight have [`EdgeOptions::shutdown_timeout`] to end. What is for whoever looks
/// after the process is answered at [`EdgeOptions::admin_listen`] too, if that is given.
///
/// # Errors
/// The listener has no address, the TLS files cannot be used, or the second address cannot be had.
pub async fn serve(listener: TcpListener, app: App, shutdown: CancellationToken) -> io::Result<()> {
    let (options, health, edge) = (app.options.clone(), app.health.clone(), Arc::new(app.into_endpoint()));
    let Some(address) = options.admin_listen else {
        return serve_endpoint(listener, edge, options, shutdown, move || health.drain()).await;
    };
    let bound = TcpListener::bind(address).await;
    let admin = bound.map_err(|error| io::Error::other(format!("{address} cannot be listened on: {error}")))?;
    let process = OfTheProcess(Arc::clone(&edge));
    tokio::try_join!(
        serve_endpoint(admin, process, options.clone(), shutdown.clone(), || {}),
        serve_endpoint(listener, edge, options, shutdown, move || health.drain()),
    )?;
    Ok(())
}

/// Serves what is no [`App`], such as a gateway, with the same care for its connections. `drain` is called when it is to
/// end, so that it can say that it is not ready.
///
/// # Errors
/// As [`serve`].
pub async fn serve_endpoint<E>(
    listener: TcpListener,
    endpoint: E,
    options: EdgeOptions,
    shutdown: CancellationToken,
    drain: impl FnOnce(),
) -> io::Result<()>
where
    E: Endpoint<Output = Response> + 'static,
{
    let tls = options.tls.clone().map(|files| Tls::new(files, &["h2", "http/1.1"])).transpose();
    let server = Arc::new(Server {
        tls: tls.map_err(|error| io::Error::other(format!("{error:#}")))?,
        local: LocalAddr(listener.local_addr()?.into()),
        closing: CancellationToken::new(),
        endpoint,
        options,
    });
    let (tracker, cut) = (TaskTracker::new(), CancellationToken::new());
    tokio::select! {
        () = accept(&listener, &server, &tracker, &cut) => {}
        () = drained(&shutdown, drain, server.options.drain_delay) => {}
    }
    drop(listener);
    server.closing.cancel();
    tracker.close();
    if tokio::time::timeout(server.options.shutdown_timeout, tracker.wait()).await.is_err() {
        tracing::warn!(http.connections = tracker.len(), "requests in flight are cut off");
        cut.cancel();
        tracker.wait().await;
    }
    Ok(())
}

/// Once it is to end: the service says so first, and goes on for a while, until nobody sends it anything new.
async fn drained(shutdown: &CancellationToken, drain: impl FnOnce(), delay: Duration) {
    shutdown.cancelled().await;
    drain();
    tokio::time::sleep(delay).await;
}

/// Takes connections for ever. One that failed is no reason to end, and none to ask again as fast as one can.
async fn accept<E>(listener: &TcpListener, server: &Arc<Server<E>>, tracker: &TaskTracker, cut: &CancellationToken)
where
    E: Endpoint<Output = Response> + 'static,
{
    let places = Arc::new(Semaphore::new(server.options.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (Ok(place), Some(file)) = (Arc::clone(&places).try_acquire_owned(), File::take()) else {
            turn_away(&stream);
            continue;
        };
        let (server, cut) = (Arc::clone(server), cut.child_token());
        tracker.spawn(async move {
            let _held = (place, file);
            tokio::select! {
                biased;
                () = server.serve(stream, remote) => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

/// A last word, if it can be said without waiting.
fn turn_away(stream: &TcpStream) {
    tracing::debug!("a connection was turned away: there are too many");
    let _ = stream.try_write(FULL);
}
