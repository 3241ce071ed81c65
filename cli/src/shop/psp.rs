//! `sagashop serve psp`: a payment provider for trying, beside the shop.

use super::asked_to_stop;
use super::serve::stop_max;
use crate::args::{GlobalArgs, ServeArgs};
use crate::exit::Code;
use crate::ports::{self, PSP_PORT};
use crate::postgres::Server;
use anyhow::Context;
use event_store::clock;
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

/// The database of its book.
pub const DATABASE: &str = "pspdb";
const CONNECTIONS_MAX: u32 = 8;

/// Runs the provider until it is asked to stop.
///
/// # Errors
/// A sentence for people: what could not be had, and what helps.
pub async fn serve(global: &GlobalArgs, args: &ServeArgs) -> anyhow::Result<Code> {
    let webhook_url = Some(args.payment.psp_webhook_url.clone()).filter(|url| !url.is_empty());
    let config = psp_service::Config {
        behaviour: args.payment.behaviour(),
        webhook_url,
        edge: args.edge.options(web::EdgeOptions::default())?,
        ..psp_service::Config::new(args.payment.provider.key()?)
    };
    let address = SocketAddr::new(args.listen, args.http_port.unwrap_or(PSP_PORT));
    let http = ports::bind(address, "payment provider", "choose another with --http-port (or HTTP_PORT)").await?;
    let server = Server::open(&args.database.options(global)?).await?;
    let database = args.db_name.as_deref().unwrap_or(DATABASE);
    server.ensure_database(database).await?;
    let shutdown = CancellationToken::new();
    let deps = psp_service::Deps {
        pool: runtime::service::pool(server.options(database), "psp", CONNECTIONS_MAX),
        clock: clock::system(),
        shutdown: shutdown.clone(),
    };
    let service = psp_service::Service::build(config, deps, http);
    let service = service.await.context("the payment provider does not start")?;
    tracing::info!(http.port = address.port(), database, "the payment provider is ready");
    let mut running = tokio::spawn(service.run_until_stopped());
    let outcome = tokio::select! {
        asked = asked_to_stop() => asked.map(|()| Code::Done),
        ended = &mut running => {
            ended??;
            anyhow::bail!("the payment provider ended by itself")
        }
        error = server.ended() => Err(error.into()),
    };
    shutdown.cancel();
    if tokio::time::timeout(stop_max(&args.edge), &mut running).await.is_err() {
        tracing::warn!("some requests did not end in time");
        running.abort();
    }
    server.stop().await?;
    outcome
}
