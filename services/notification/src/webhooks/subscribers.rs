//! Which webhooks are to be told of what, in memory: the consumer asks for each message.
//!
//! They come from the read model, which may be behind: any transaction that is open anywhere in the cluster holds it up.
//! What this instance itself has just recorded counts at once, so that whoever was answered that a webhook is registered
//! misses no news from then on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::notification::webhook::Webhook;
use event_store::Cursor;
use kernel::WebhookId;
use parking_lot::RwLock;
use runtime::ProjectionHandle;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::queries;

/// What another instance has changed is seen within this, once the read model has it.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The webhooks that are switched on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Subscribers {
    pool: PgPool,
    read_model: ProjectionHandle,
    listed: Arc<RwLock<Listed>>,
}

/// What the read model had when it was last looked at, and what it may not have had.
#[derive(Default)]
struct Listed {
    rows: Vec<queries::Subscriber>,
    recorded: HashMap<WebhookId, Recorded>,
}

/// What a webhook is to be told of since an event of this instance; none where that is nothing.
struct Recorded {
    at: Cursor,
    kinds: Option<Vec<&'static str>>,
}

impl Listed {
    fn of(&self, kind: &str) -> Vec<WebhookId> {
        let rows = self.rows.iter().filter(|row| row.kinds.iter().any(|wanted| wanted == kind));
        let rows = rows.map(|row| WebhookId(row.webhook_id)).filter(|id| !self.recorded.contains_key(id));
        let wants = |recorded: &Recorded| recorded.kinds.as_ref().is_some_and(|kinds| kinds.contains(&kind));
        let recorded = self.recorded.iter().filter(|(_, recorded)| wants(recorded)).map(|(id, _)| *id);
        rows.chain(recorded).collect()
    }

    /// The latest counts, in whichever order they come.
    fn record(&mut self, id: WebhookId, recorded: Recorded) {
        if self.recorded.get(&id).is_none_or(|known| known.at < recorded.at) {
            self.recorded.insert(id, recorded);
        }
    }

    /// These rows hold all up to there.
    fn read(&mut self, rows: Vec<queries::Subscriber>, up_to: Cursor) {
        self.rows = rows;
        self.recorded.retain(|_, recorded| recorded.at > up_to);
    }
}

impl Subscribers {
    /// # Errors
    /// The database is away.
    pub(crate) async fn load(pool: PgPool, read_model: ProjectionHandle) -> Result<Self, sqlx::Error> {
        let subscribers = Self { pool, read_model, listed: Arc::default() };
        subscribers.refresh().await?;
        Ok(subscribers)
    }

    /// Those that are to be told of this.
    pub(crate) fn of(&self, kind: &str) -> Vec<WebhookId> {
        self.listed.read().of(kind)
    }

    /// A webhook as an event of this instance has left it: from now on that counts.
    pub(crate) fn record(&self, id: WebhookId, webhook: &Webhook, at: Cursor) {
        let settings = webhook.registered().map(|registered| &registered.settings);
        let kinds = settings.filter(|settings| settings.enabled);
        let kinds = kinds.map(|settings| settings.kinds.iter().map(|kind| kind.as_str()).collect());
        self.listed.write().record(id, Recorded { at, kinds });
    }

    async fn refresh(&self) -> Result<(), sqlx::Error> {
        // Before the rows are read: they hold at least that.
        let up_to = self.read_model.at();
        let rows = queries::subscribers(&self.pool).await?;
        self.listed.write().read(rows, up_to);
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ID: WebhookId = WebhookId(Uuid::from_u128(1));

    fn at(position: i64) -> Cursor {
        Cursor { transaction_id: 7, position }
    }

    fn row(kind: &str) -> queries::Subscriber {
        queries::Subscriber { webhook_id: ID.0, kinds: vec![kind.to_owned()] }
    }

    fn wants(kind: &'static str, position: i64) -> Recorded {
        Recorded { at: at(position), kinds: Some(vec![kind]) }
    }

    #[test]
    fn what_was_recorded_counts_before_the_read_model_has_it_and_no_longer() {
        let mut listed = Listed::default();
        listed.record(ID, wants("order_confirmed", 3));
        assert_eq!(listed.of("order_confirmed"), [ID]);
        // A look that was begun before.
        listed.read(vec![], at(2));
        assert_eq!((listed.of("order_confirmed"), listed.of("order_created")), (vec![ID], vec![]));
        listed.read(vec![row("order_created")], at(3));
        assert_eq!((listed.of("order_confirmed"), listed.of("order_created")), (vec![], vec![ID]));
    }

    #[test]
    fn the_latest_of_several_counts_in_whichever_order_they_come() {
        let mut listed = Listed::default();
        listed.read(vec![row("order_created")], at(1));
        listed.record(ID, Recorded { at: at(4), kinds: None });
        listed.record(ID, wants("order_created", 3));
        assert_eq!(listed.of("order_created"), []);
    }
}
