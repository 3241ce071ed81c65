//! A walk through the streams of a store that stops at moments.

use super::Figures;
use crate::audit::recorded;
use crate::events::store::{COLUMNS, Store, failed};
use crate::ports::Role;
use chrono::{DateTime, Utc};
use domain::order::Order;
use domain::payment::Payment;
use domain::product::Product;
use domain::stock::Stock;
use futures::TryStreamExt;
use kernel::Decide;

/// What a store tells of each moment.
pub(super) async fn store(store: &mut Store, times: &[DateTime<Utc>]) -> anyhow::Result<Vec<Figures>> {
    let mut figures = vec![Figures::new(); times.len()];
    match store.role {
        Role::Order => walk::<Order>(store, times, |n, order| figures[n].order(order)).await?,
        Role::Payment => walk::<Payment>(store, times, |n, payment| figures[n].payment(payment)).await?,
        Role::Product => {
            walk::<Product>(store, times, |n, product| figures[n].product(product)).await?;
            walk::<Stock>(store, times, |n, stock| figures[n].stock(stock)).await?;
        }
        Role::User | Role::Notification | Role::Orchestrator => {}
    }
    Ok(figures)
}

/// Gives each aggregate of a kind as it was at each moment; the moments rise. Rows come as they are taken, so that one
/// stream is held at a time.
async fn walk<A: Decide>(
    store: &mut Store,
    times: &[DateTime<Utc>],
    mut take: impl FnMut(usize, &A),
) -> anyhow::Result<()> {
    let role = store.role;
    let Some(last) = times.last() else { return Ok(()) };
    let query = format!(
        "SELECT {COLUMNS} FROM events AS e WHERE e.aggregate_type = $1 AND e.recorded_at <= $2
          ORDER BY e.aggregate_type, e.aggregate_id, e.sequence"
    );
    let mut rows = sqlx::query(&query).bind(A::TYPE).bind(last).fetch(&mut store.connection);
    let (mut id, mut state, mut told) = (String::new(), A::default(), times.len());
    while let Some(row) = rows.try_next().await.map_err(|error| failed(role, error))? {
        let event = recorded(&row)?;
        if event.aggregate_id != id {
            (told..times.len()).for_each(|n| take(n, &state));
            (id, state, told) = (event.aggregate_id.clone(), A::default(), 0);
        }
        while told < times.len() && times[told] < event.recorded_at {
            take(told, &state);
            told += 1;
        }
        event.decode_all::<A>()?.for_each(|event| state.apply(event));
    }
    (told..times.len()).for_each(|n| take(n, &state));
    Ok(())
}
