//! Whether what a store holds moves on: relay, read models, timers, sagas, and what waits for an operator.

use super::database::Store;
use super::{Diagnosis, Verdict, delay};
use crate::ports::Role;
use runtime::relay::FOLLOWER;

/// So many events are counted; there may be more.
const COUNT_MAX: i64 = 100_000;
/// A saga may be over its deadline for so long: after a restart there is a backlog.
const DEADLINE_GRACE_S: f64 = 60.0;

pub(super) async fn check(store: &Store, diagnosis: &mut Diagnosis) {
    let of = store.role.database();
    if let Err(error) = followers(store, diagnosis).await {
        diagnosis.unchecked("followers", of, error);
    }
    if let Err(error) = dead_letters(store, diagnosis).await {
        diagnosis.unchecked("dead letters", of, error);
    }
    if let Err(error) = timers(store, diagnosis).await {
        diagnosis.unchecked("timers", of, error);
    }
    if store.role == Role::Orchestrator
        && let Err(error) = sagas(store, diagnosis).await
    {
        diagnosis.unchecked("sagas", of, error);
    }
}

/// The relay and the read models have come to the end of the event table, or nearly.
async fn followers(store: &Store, diagnosis: &mut Diagnosis) -> Result<(), sqlx::Error> {
    // Notifications are nobody else's business: nothing is relayed.
    let relay = (store.role != Role::Notification).then_some(FOLLOWER);
    let behind: Vec<(String, i64, Option<f64>)> = sqlx::query_as(
        "SELECT f.follower, l.events, l.age_s
           FROM (SELECT follower, transaction_id, position FROM checkpoints
                 UNION ALL
                 SELECT $1::text, '0'::xid8, 0 WHERE $1 IS NOT NULL AND NOT EXISTS (SELECT FROM checkpoints WHERE follower = $1)
                ) AS f
          CROSS JOIN LATERAL (
                SELECT count(*) AS events, extract(epoch FROM clock_timestamp() - min(recorded_at))::float8 AS age_s
                  FROM (SELECT recorded_at FROM events e
                         WHERE (e.transaction_id, e.position) > (f.transaction_id, f.position)
                         ORDER BY e.transaction_id, e.position LIMIT $2) AS ahead) AS l
          ORDER BY f.follower",
    )
    .bind(relay)
    .bind(COUNT_MAX)
    .fetch_all(&store.pool)
    .await?;
    for (follower, events, age) in behind {
        let check = if follower == FOLLOWER { "relay" } else { "projection" };
        let of = if follower == FOLLOWER { store.name().to_owned() } else { format!("{} {follower}", store.name()) };
        let (verdict, age) = delay(age.unwrap_or(0.0));
        let more = if events == COUNT_MAX { "or more " } else { "" };
        let found = match events {
            0 => "nothing waits".to_owned(),
            _ => format!("{events} {more}events wait, the first for {age}"),
        };
        let advice = match verdict {
            Verdict::Ok => String::new(),
            _ if check == "relay" => {
                format!(
                    "does the {} run, and reach the broker? Look at its log, and at the oldest transaction",
                    store.name()
                )
            }
            _ => format!("does the {} run? Look at its log, and at the oldest transaction", store.role.title()),
        };
        diagnosis.add(verdict, check, of, found, advice);
    }
    Ok(())
}

async fn dead_letters(store: &Store, diagnosis: &mut Diagnosis) -> Result<(), sqlx::Error> {
    const CHECK: &str = "dead letters";
    let (dead, parked, reason): (i64, i64, Option<String>) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE NOT parked), count(*) FILTER (WHERE parked),
                (array_agg(left(reason, 120) ORDER BY created_at) FILTER (WHERE NOT parked))[1]
           FROM dead_letters",
    )
    .fetch_one(&store.pool)
    .await?;
    if dead + parked == 0 {
        diagnosis.ok(CHECK, store.name(), "none");
        return Ok(());
    }
    let found = format!("{dead}, and {parked} wait behind them; the first: {}", reason.unwrap_or_default());
    let name = store.name();
    let advice =
        format!("an operator decides: sagashop dead-letters list {name}, and \"DeadLetters\" in docs/operations.md");
    diagnosis.add(Verdict::Fail, CHECK, store.name(), found, advice);
    Ok(())
}

async fn timers(store: &Store, diagnosis: &mut Diagnosis) -> Result<(), sqlx::Error> {
    let (waiting, late): (i64, Option<f64>) =
        sqlx::query_as("SELECT count(*), extract(epoch FROM clock_timestamp() - min(due_at))::float8 FROM timers")
            .fetch_one(&store.pool)
            .await?;
    if waiting == 0 && store.role != Role::Orchestrator {
        return Ok(());
    }
    let (verdict, late) = delay(late.unwrap_or(0.0).max(0.0));
    let advice = match verdict {
        Verdict::Ok => String::new(),
        _ => format!("nobody fires them: does the {} run? Compare its clock with the database's", store.role.title()),
    };
    diagnosis.add(verdict, "timers", store.name(), format!("{waiting} set, none is more than {late} late"), advice);
    Ok(())
}

async fn sagas(store: &Store, diagnosis: &mut Diagnosis) -> Result<(), sqlx::Error> {
    let (open, stuck, paused, overdue, named): (i64, i64, i64, i64, Option<String>) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE state = 'stuck'), count(*) FILTER (WHERE state = 'paused'),
                count(*) FILTER (WHERE state NOT IN ('stuck', 'paused') AND deadline < clock_timestamp() - make_interval(secs => $1)),
                (array_agg(order_id::text ORDER BY updated_at) FILTER (WHERE state = 'stuck'))[1]
           FROM sagas WHERE ended_at IS NULL",
    )
    .bind(DEADLINE_GRACE_S)
    .fetch_one(&store.pool)
    .await?;
    match named {
        None => diagnosis.ok("stuck sagas", store.name(), format!("none, {open} are open")),
        Some(id) => {
            let advice = format!("sagashop saga list --state stuck; sagashop saga show {id}");
            diagnosis.add(Verdict::Fail, "stuck sagas", store.name(), format!("{stuck} of {open} open ones"), advice);
        }
    }
    if paused > 0 {
        let advice = "they stand still until an operator resumes them: sagashop saga list --state paused";
        diagnosis.add(Verdict::Warn, "paused sagas", store.name(), format!("{paused} of {open} open ones"), advice);
    }
    if overdue == 0 {
        diagnosis.ok("overdue sagas", store.name(), "none");
    } else {
        let advice = "nobody moves them on: does the orchestrator run? Look at its log and its consumers";
        diagnosis.add(
            Verdict::Fail,
            "overdue sagas",
            store.name(),
            format!("{overdue} are past their deadline"),
            advice,
        );
    }
    Ok(())
}
