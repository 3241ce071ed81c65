//! Reading orders.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use domain::Reason;
use domain::order::{Order, OrderLine, OrderStatus, Placed};
use event_store::PgStore;
use kernel::{AddressId, Money, OrderId, UserId};
use runtime::Commands;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgPool, Row};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use web::auth::Identity;

use crate::ended::Ended;
use crate::error::Error;
use crate::projection::Progress;
use crate::timeline::{Happening, Timeline};
use crate::waiters::Waiters;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, status, lines, total_minor, currency, address_id, payment_method, cancel_reason, \
             cancel_requested, created_at, updated_at FROM orders ",
            $rest
        )
    };
}

macro_rules! select_page {
    ($whose:literal) => {
        concat!(
            select!("WHERE id >= $1 AND id < $2 AND ($3::text IS NULL OR status = $3)"),
            " AND ($4::timestamptz IS NULL OR created_at >= $4) AND ($5::timestamptz IS NULL OR created_at < $5) ",
            $whose,
            " ORDER BY id DESC LIMIT $6"
        )
    };
}

const OF_USER: &str = select_page!("AND user_id = $7");
const OF_ALL: &str = select_page!("");

/// Years in which an order may have been placed.
const YEARS: RangeInclusive<i32> = 1970..=9999;

/// Answers questions about orders.
pub(crate) struct Queries {
    pool: PgPool,
    store: Arc<PgStore>,
    commands: Commands,
    progress: Arc<Progress>,
    waiters: Arc<Waiters>,
    ended: Arc<Ended>,
    shutdown: CancellationToken,
}

/// Which orders, the newest first.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Page {
    /// Only this user's; of all users otherwise.
    pub of: Option<UserId>,
    /// Only those that stand so.
    pub status: Option<OrderStatus>,
    /// Only those placed at this moment or later.
    pub created_after: Option<DateTime<Utc>>,
    /// Only those placed before this moment.
    pub created_before: Option<DateTime<Utc>>,
    /// Those older than this one.
    pub after: Option<OrderId>,
    /// At most so many.
    pub limit: u32,
}

impl Queries {
    pub fn new(
        pool: PgPool,
        store: Arc<PgStore>,
        commands: Commands,
        progress: Arc<Progress>,
        waiters: Arc<Waiters>,
        ended: Arc<Ended>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { pool, store, commands, progress, waiters, ended, shutdown }
    }

    /// An order that the caller may see. One that the read model does not know yet is read from its events: whoever
    /// was told that an order was placed finds it.
    pub async fn order(&self, id: OrderId, caller: &Identity) -> Result<Placed, Error> {
        let order = self.ended.get_or(id, self.read(id)).await?;
        let visible = order.filter(|order| caller.may_see(order.user_id));
        visible.map(Arc::unwrap_or_clone).ok_or_else(Error::no_such_order)
    }

    async fn read(&self, id: OrderId) -> Result<Option<Placed>, Error> {
        let row: Option<OrderRow> =
            sqlx::query_as(select!("WHERE id = $1")).bind(id.0).fetch_optional(&self.pool).await?;
        Ok(match row {
            Some(row) => Some(row.0),
            None => match self.commands.load::<Order>(&id.to_string()).await?.0 {
                Order::Placed(order) => Some(order),
                Order::Unknown => None,
            },
        })
    }

    /// As [`Queries::order`], as soon as the order has ended, or as it stands when the wait is over.
    pub async fn order_once_ended(&self, id: OrderId, caller: &Identity, wait: Duration) -> Result<Placed, Error> {
        // Before the look: an end in between is not missed.
        let waiter = self.waiters.register(id);
        let order = self.order(id, caller).await?;
        let Some(mut waiter) = waiter.filter(|_| order.status == OrderStatus::Pending && !wait.is_zero()) else {
            return Ok(order);
        };
        tokio::select! {
            () = waiter.ended() => {}
            () = tokio::time::sleep(wait) => {}
            () = self.shutdown.cancelled() => {}
        }
        self.order(id, caller).await
    }

    /// A page of orders, the newest first, and whether there are more.
    pub async fn orders(&self, page: Page) -> Result<(Vec<Placed>, bool), Error> {
        self.progress.caught_up().await;
        let (from, to) = page.ids();
        let query = sqlx::query_as(if page.of.is_some() { OF_USER } else { OF_ALL })
            .bind(from)
            .bind(to)
            .bind(page.status.map(OrderStatus::as_str))
            .bind(page.created_after)
            .bind(page.created_before)
            .bind(i64::from(page.limit) + 1);
        let query = match page.of {
            Some(user) => query.bind(user.0),
            None => query,
        };
        let rows: Vec<OrderRow> = query.fetch_all(&self.pool).await?;
        let more = rows.len() > page.limit as usize;
        Ok((rows.into_iter().take(page.limit as usize).map(|row| row.0).collect(), more))
    }

    /// What happened to an order that the caller may see, from its events.
    pub async fn history(&self, id: OrderId, caller: &Identity) -> Result<Vec<Happening>, Error> {
        let mut timeline = Timeline::default();
        let happenings = timeline.read(self.store.as_ref(), id).await?;
        let visible = timeline.order().is_some_and(|order| caller.may_see(order.user_id));
        if visible { Ok(happenings) } else { Err(Error::no_such_order()) }
    }
}

impl Page {
    /// The most orders of one page.
    pub const LIMIT_MAX: u32 = 200;
    /// Where nothing is said.
    pub const LIMIT_DEFAULT: u32 = 50;

    /// The page, if it can be asked for.
    pub fn checked(self) -> Result<Self, Error> {
        for (field, at) in [("created_after", self.created_after), ("created_before", self.created_before)] {
            if at.is_some_and(|at| !YEARS.contains(&at.year())) {
                return Err(Error::invalid(field, "must be a moment of the years 1970 to 9999"));
            }
        }
        if (1..=Self::LIMIT_MAX).contains(&self.limit) {
            Ok(self)
        } else {
            Err(Error::invalid("limit", format!("must be 1 to {}", Self::LIMIT_MAX)))
        }
    }

    /// Whose orders the caller may list: their own; an administrator, all or one customer's.
    pub fn whose(caller: &Identity, all: bool, customer: Option<UserId>) -> Result<Option<UserId>, Error> {
        match customer {
            Some(_) if all => Err(Error::invalid("customer_id", "cannot be given beside all")),
            None if !all => Ok(Some(caller.user_id)),
            Some(customer) if caller.may_see(customer) => Ok(Some(customer)),
            None if caller.is_admin() => Ok(None),
            _ => Err(Error::NotYours),
        }
    }

    /// Ids contain the time at which they were made, shortly before the order was placed: those that the page's times
    /// leave, with a minute to spare, and its cursor.
    fn ids(&self) -> (Uuid, Uuid) {
        let spare = TimeDelta::minutes(1);
        let from = self.created_after.map_or(Uuid::nil(), |at| first_id_of(at - spare));
        let to = self.created_before.map_or(Uuid::max(), |at| first_id_of(at + spare));
        (from, self.after.map_or(to, |after| to.min(after.0)))
    }
}

/// No UUIDv7 made at this moment or later is below it.
fn first_id_of(at: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or_default().min((1 << 48) - 1);
    Uuid::from_u128(u128::from(millis) << 80)
}

/// A row of the read model as the order that it stands for.
struct OrderRow(Placed);

impl FromRow<'_, PgRow> for OrderRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let currency = parsed(row, "currency")?;
        let Json(lines) = row.try_get::<Json<Vec<OrderLine>>, _>("lines")?;
        Ok(Self(Placed {
            order_id: OrderId(row.try_get("id")?),
            user_id: UserId(row.try_get("user_id")?),
            lines,
            total: Money::new(row.try_get("total_minor")?, currency),
            address_id: row.try_get::<Option<Uuid>, _>("address_id")?.map(AddressId),
            payment_method: parsed(row, "payment_method")?,
            status: parsed(row, "status")?,
            cancellation_requested: row.try_get("cancel_requested")?,
            cancel_reason: row.try_get::<Option<&str>, _>("cancel_reason")?.map(Reason::from),
            placed_at: row.try_get("created_at")?,
            // Only decisions need it, and they load the stream.
            confirmed_at: None,
            updated_at: row.try_get("updated_at")?,
        }))
    }
}

fn parsed<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &PgRow,
    column: &str,
) -> sqlx::Result<T> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|error| sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_page_contain_its_times() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let made = |seconds: i64| first_id_of(at + TimeDelta::seconds(seconds));
        let page = Page { created_after: Some(at), created_before: Some(at + TimeDelta::hours(1)), ..Page::default() };
        let (from, to) = page.ids();
        assert!(made(-61) < from && from <= made(-60) && made(3_659) < to && to <= made(3_660));
        let after = Some(OrderId(made(5)));
        assert_eq!(Page { after, ..page }.ids().1, made(5));
        assert_eq!(Page { after: Some(OrderId(made(9_999))), ..page }.ids().1, to);
        assert_eq!(Page::default().ids(), (Uuid::nil(), Uuid::max()));
        let long_ago = DateTime::from_timestamp(-1, 0).unwrap();
        assert_eq!(first_id_of(long_ago), Uuid::nil());
    }
}
