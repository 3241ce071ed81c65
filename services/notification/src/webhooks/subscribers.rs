//! Which webhooks are to be told of what, in memory: the consumer asks for each message.

use std::sync::Arc;
use std::time::Duration;

use kernel::WebhookId;
use parking_lot::RwLock;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::queries;

/// What another instance has changed is seen within this.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The webhooks that are switched on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Subscribers {
    pool: PgPool,
    listed: Arc<RwLock<Vec<queries::Subscriber>>>,
}

impl Subscribers {
    /// # Errors
    /// The database is away.
    pub(crate) async fn load(pool: PgPool) -> Result<Self, sqlx::Error> {
        let subscribers = Self { pool, listed: Arc::default() };
        subscribers.refresh().await?;
        Ok(subscribers)
    }

    /// Those that are to be told of this.
    pub(crate) fn of(&self, kind: &str) -> Vec<WebhookId> {
        let listed = self.listed.read();
        let wanting = listed.iter().filter(|subscriber| subscriber.kinds.iter().any(|wanted| wanted == kind));
        wanting.map(|subscriber| WebhookId(subscriber.webhook_id)).collect()
    }

    /// Looks what there is.
    pub(crate) async fn refresh(&self) -> Result<(), sqlx::Error> {
        let listed = queries::subscribers(&self.pool).await?;
        *self.listed.write() = listed;
        Ok(())
    }

    /// Keeps up with other instances until shutdown.
    pub(crate) async fn follow(self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.cancelled() => return,
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "the webhooks are looked up later");
            }
        }
    }
}
