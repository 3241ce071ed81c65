//! One order's story, told from the order's own events and those of its saga.

use super::follow::{Followed, Outcome};
use super::mix::Kind;
use crate::client::{Client, Moment, Saga, Session};
use crate::output::Row;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The saga's last word comes a moment after the customer's.
const END_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Something that happened to the order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scene {
    /// When.
    pub at: DateTime<Utc>,
    /// Since the order's placement.
    pub after_ms: i64,
    /// Who recorded it: the order service or the orchestrator.
    pub recorded_by: &'static str,
    /// The event's type.
    pub event: String,
    /// In plain words.
    pub text: String,
    /// Who brought it about.
    pub actor: String,
}

impl Row for Scene {
    const COLUMNS: &'static [&'static str] = &["at", "+ms", "recorded by", "event", "what happened", "because of"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.at.format("%H:%M:%S%.3f").to_string(),
            self.after_ms.to_string(),
            self.recorded_by.to_owned(),
            self.event.clone(),
            self.text.clone(),
            self.actor.clone(),
        ]
    }
}

/// The order with the most to tell: one where something was undone, if there is any.
pub fn choose(followed: &[Followed]) -> Option<&Followed> {
    let telling = |followed: &&Followed| match (followed.kind, &followed.outcome) {
        _ if followed.id.is_none() => 0,
        (Kind::LastItems, Outcome::Cancelled(_)) => 6,
        (Kind::CancelledLater, Outcome::Cancelled(_)) => 5,
        (Kind::CardDeclined, Outcome::Cancelled(_)) => 4,
        (_, Outcome::Cancelled(_)) => 3,
        (_, Outcome::Confirmed) => 2,
        _ => 1,
    };
    followed.iter().filter(|followed| followed.id.is_some()).max_by_key(telling)
}

/// The order's story, the earliest first.
///
/// # Errors
/// When the shop is away.
pub async fn tell(client: &Client, admin: &Session, customer: &Session, id: Uuid) -> anyhow::Result<Vec<Scene>> {
    let saga = ended(client, admin, id).await?;
    let order = client.history(customer, id).await?;
    Ok(merge(order, saga.timeline))
}

/// The saga once it has ended, or as it stands when that takes too long.
async fn ended(client: &Client, admin: &Session, id: Uuid) -> anyhow::Result<Saga> {
    let deadline = Instant::now() + END_MAX;
    loop {
        match client.saga(admin, id).await {
            Ok(saga) if saga.ended_at.is_some() || Instant::now() > deadline => return Ok(saga),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Ok(_) | Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn merge(order: Vec<Moment>, saga: Vec<Moment>) -> Vec<Scene> {
    let began = order.iter().chain(&saga).map(|moment| moment.at).min().unwrap_or_default();
    let scene = |recorded_by, moment: Moment| Scene {
        at: moment.at,
        after_ms: (moment.at - began).num_milliseconds(),
        recorded_by,
        event: moment.event,
        text: moment.text,
        actor: moment.actor,
    };
    let mut scenes: Vec<Scene> = order.into_iter().map(|moment| scene("order", moment)).collect();
    scenes.extend(saga.into_iter().map(|moment| scene("orchestrator", moment)));
    // Stable: what one service recorded stays in its order.
    scenes.sort_by_key(|scene| scene.at);
    scenes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(ms: i64, event: &str) -> Moment {
        let at = DateTime::from_timestamp_millis(1_700_000_000_000 + ms).expect("a time");
        Moment { at, event: event.to_owned(), text: String::new(), actor: String::new() }
    }

    #[test]
    fn a_story_is_merged_by_time() {
        let order = vec![moment(0, "order_placed"), moment(9, "order_cancelled")];
        let saga = vec![moment(3, "saga_started"), moment(12, "saga_cancelled")];
        let told: Vec<_> = merge(order, saga).into_iter().map(|scene| (scene.after_ms, scene.event)).collect();
        let expected = [(0, "order_placed"), (3, "saga_started"), (9, "order_cancelled"), (12, "saga_cancelled")];
        assert_eq!(told, expected.map(|(ms, event)| (ms, event.to_owned())));
    }

    #[test]
    fn an_order_that_was_undone_is_preferred() {
        let followed = |kind, outcome| Followed { kind, n: 0, id: Some(Uuid::nil()), outcome, took: Duration::ZERO };
        let all = [
            followed(Kind::OneLine, Outcome::Confirmed),
            followed(Kind::CancelledLater, Outcome::Cancelled(String::new())),
            followed(Kind::OneLine, Outcome::Confirmed),
        ];
        assert_eq!(choose(&all).map(|followed| followed.kind), Some(Kind::CancelledLater));
        assert!(choose(&[]).is_none());
    }
}
