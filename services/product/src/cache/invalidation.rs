//! What other instances' projections have changed.
//!
//! Of several instances one commits each page of events. It tells the others with a notification in the same
//! transaction, so they hear of it when the rows have changed and not before. Nothing depends on it but how soon the
//! others see a change: an entry that nobody speaks of is dropped after its lifetime.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{PgConnection, PgExecutor, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Cache;

pub(crate) const CHANNEL: &str = "products_changed";
/// A notification has at most 8,000 bytes, an id 32.
const IDS_MAX: usize = 200;
/// After a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells the other instances, once the transaction has committed. `from` is this one.
pub(crate) async fn announce(connection: &mut PgConnection, from: Uuid, ids: &[Uuid]) -> sqlx::Result<()> {
    let messages: Vec<String> = ids.chunks(IDS_MAX).map(|ids| message(from, ids)).collect();
    sqlx::query("SELECT pg_notify($1, message) FROM UNNEST($2::text[]) AS message")
        .bind(CHANNEL)
        .bind(messages)
        .execute(connection)
        .await?;
    Ok(())
}

fn message(from: Uuid, ids: &[Uuid]) -> String {
    std::iter::once(&from).chain(ids).map(|id| id.simple().to_string()).collect::<Vec<_>>().join(" ")
}

/// Who speaks, and of which products.
fn read(message: &str) -> Option<(Uuid, Vec<Uuid>)> {
    let mut ids = message.split(' ').map(|id| Uuid::parse_str(id).ok());
    let from = ids.next()??;
    Some((from, ids.collect::<Option<_>>()?))
}

/// What is shared already is used from the first request on.
pub(crate) async fn begin(pool: &PgPool, cache: &Cache) -> sqlx::Result<()> {
    cache.is_of(Some(generation(pool).await?));
    Ok(())
}

/// Listens until shutdown, on a connection of its own.
pub(crate) async fn follow(pool: PgPool, cache: Arc<Cache>, instance: Uuid, shutdown: CancellationToken) {
    let options = (*pool.connect_options()).clone();
    let own = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    let listening = async {
        loop {
            if let Err(error) = listen(&own, &cache, instance).await {
                tracing::warn!(%error, "other instances' changes are not heard");
            }
            cache.is_of(None);
            cache.forget_all();
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = listening => {}
        () = shutdown.cancelled() => {}
    }
}

async fn listen(pool: &PgPool, cache: &Cache, instance: Uuid) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    // Whatever was made anew before we listened.
    cache.is_of(Some(generation(&mut listener).await?));
    loop {
        let said = listener.try_recv().await?;
        match said.as_ref().map(|notification| read(notification.payload())) {
            Some(Some((from, _))) if from == instance => {}
            Some(Some((_, ids))) => cache.changed(ids),
            // The rows were made anew; or the connection, and nobody knows what was said meanwhile.
            Some(None) | None => {
                cache.is_of(None);
                cache.is_of(Some(generation(&mut listener).await?));
                cache.forget_all();
            }
        }
    }
}

/// When the list of products was last made anew, in microseconds; 0: never.
async fn generation(executor: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    let made =
        "SELECT (extract(epoch FROM rebuilt_at) * 1000000)::bigint FROM projections WHERE projection = 'products'";
    let made: Option<Option<i64>> = sqlx::query_scalar(made).fetch_optional(executor).await?;
    Ok(made.flatten().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_fits_and_is_read_back() {
        let (from, ids) = (Uuid::now_v7(), (0..IDS_MAX).map(|_| Uuid::now_v7()).collect::<Vec<_>>());
        let text = message(from, &ids);
        assert!(text.len() < 8_000, "{}", text.len());
        assert_eq!(read(&text), Some((from, ids)));
        assert_eq!(read(&message(from, &[])), Some((from, vec![])));
        for foreign in ["", "x", "00000000000000000000000000000000 x"] {
            assert_eq!(read(foreign), None);
        }
    }
}
