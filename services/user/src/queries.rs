//! When an account was made: the time within its id (UUIDv7).

use chrono::{DateTime, Utc};
use kernel::UserId;

/// The moment at which the id was made.
pub(crate) fn created_at(user_id: UserId) -> DateTime<Utc> {
    let (seconds, nanoseconds) = user_id.0.get_timestamp().map_or((0, 0), |time| time.to_unix());
    DateTime::from_timestamp(i64::try_from(seconds).unwrap_or(0), nanoseconds).unwrap_or_default()
}
