//! What was answered under an idempotency key is in the store: whoever was told of an order, by an answer that is still
//! kept, finds it. (Answers of the user service are ciphertext, and those of others name no stream by its id alone.)

use super::report::Tally;
use super::snapshot::Snapshot;
use cqrs_es::Aggregate;
use domain::order::Order;
use serde::Deserialize;
use std::collections::HashMap;

/// Answers that are looked at in one query.
const PAGE: i64 = 5_000;

#[derive(Deserialize)]
struct Told {
    #[serde(alias = "id")]
    order_id: String,
}

/// The kept answers that say of an order that it is there, and whether it is.
pub(super) async fn of_orders(snapshot: &mut Snapshot) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut after = (String::new(), String::new());
    loop {
        let page: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
            "SELECT scope, key, body FROM idempotency_keys
              WHERE (scope, key) > ($1, $2) AND status BETWEEN 200 AND 299 ORDER BY scope, key LIMIT $3",
        )
        .bind(&after.0)
        .bind(&after.1)
        .bind(PAGE)
        .fetch_all(snapshot.connection())
        .await?;
        let Some((scope, key, _)) = page.last() else { return Ok(tally) };
        after = (scope.clone(), key.clone());
        tally.checked(page.len() as u64);
        let mut told: HashMap<String, String> = HashMap::new();
        for (scope, key, body) in page {
            match serde_json::from_slice::<Told>(&body) {
                Ok(Told { order_id }) => drop(told.insert(order_id, key)),
                Err(_) => tally.violated(|| format!("key {key} of {scope}: its answer names no order")),
            }
        }
        let ids: Vec<&String> = told.keys().collect();
        let missing: Vec<String> = sqlx::query_scalar(
            "SELECT id FROM UNNEST($1::text[]) AS id
              WHERE NOT EXISTS (SELECT FROM events e WHERE e.aggregate_type = $2 AND e.aggregate_id = id)",
        )
        .bind(ids)
        .bind(Order::TYPE)
        .fetch_all(snapshot.connection())
        .await?;
        for id in missing {
            let key = told.get(&id).cloned().unwrap_or_default();
            tally.violated(|| format!("order {id}: acknowledged under the key {key}, and not there"));
        }
    }
}
