//! The table `idempotency_keys`.

use std::time::Duration;

use sqlx::postgres::PgArguments;
use sqlx::{Arguments, PgPool};

use super::translate;
use crate::{Answer, Error};

/// The INSERT of all answers given as six arrays whose first argument has this number. In the order
/// of their keys, so that two processes never wait for each other.
pub(super) fn insert_answers(first: usize) -> String {
    let [scopes, keys, prints, statuses, headers, bodies] = std::array::from_fn(|n| format!("${}", first + n));
    format!(
        "INSERT INTO idempotency_keys (scope, key, fingerprint, status, headers, body)
         SELECT a.scope, a.key, a.fingerprint, a.status, a.headers::json, a.body
           FROM UNNEST({scopes}::text[], {keys}::text[], {prints}::bytea[], {statuses}::smallint[], {headers}::text[], {bodies}::bytea[])
                AS a(scope, key, fingerprint, status, headers, body)
          ORDER BY a.scope, a.key"
    )
}

/// The arrays of [`insert_answers`]: six arguments.
pub(super) fn bind_answers<'a>(
    arguments: &mut PgArguments,
    answers: impl Iterator<Item = &'a Answer> + Clone,
) -> Result<(), sqlx::error::BoxDynError> {
    let headers =
        answers.clone().map(|answer| serde_json::to_string(&answer.headers)).collect::<Result<Vec<_>, _>>()?;
    arguments.add(answers.clone().map(|answer| answer.scope.clone()).collect::<Vec<_>>())?;
    arguments.add(answers.clone().map(|answer| answer.key.clone()).collect::<Vec<_>>())?;
    arguments.add(answers.clone().map(|answer| answer.fingerprint.clone()).collect::<Vec<_>>())?;
    arguments
        .add(answers.clone().map(|answer| i16::try_from(answer.status).unwrap_or(i16::MAX)).collect::<Vec<_>>())?;
    arguments.add(headers)?;
    arguments.add(answers.map(|answer| answer.body.clone()).collect::<Vec<_>>())
}

/// The answer kept under this key.
pub(super) async fn find(pool: &PgPool, scope: &str, key: &str) -> Result<Option<Answer>, Error> {
    let row: Option<(Vec<u8>, i16, String, Vec<u8>)> = sqlx::query_as(
        "SELECT fingerprint, status, headers::text, body FROM idempotency_keys WHERE scope = $1 AND key = $2",
    )
    .bind(scope)
    .bind(key)
    .fetch_optional(pool)
    .await
    .map_err(translate)?;
    row.map(|(fingerprint, status, headers, body)| {
        Ok(Answer {
            scope: scope.to_owned(),
            key: key.to_owned(),
            fingerprint,
            status: u16::try_from(status).unwrap_or_default(),
            headers: serde_json::from_str(&headers).map_err(|error| Error::Failed(error.to_string()))?,
            body,
        })
    })
    .transpose()
}

/// Which of these keys have an answer already, as places in `answers`. Asked after a unique
/// violation, which names one row but not all of them.
pub(super) async fn repeated(pool: &PgPool, answers: &[&Answer]) -> Result<Vec<usize>, Error> {
    if answers.is_empty() {
        return Ok(Vec::new());
    }
    let (scopes, keys): (Vec<&str>, Vec<&str>) =
        answers.iter().map(|answer| (answer.scope.as_str(), answer.key.as_str())).unzip();
    let found: Vec<i64> = sqlx::query_scalar(
        "SELECT a.n FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS a(scope, key, n)
           JOIN idempotency_keys k ON k.scope = a.scope AND k.key = a.key",
    )
    .bind(scopes)
    .bind(keys)
    .fetch_all(pool)
    .await
    .map_err(translate)?;
    Ok(found.into_iter().filter_map(|n| usize::try_from(n - 1).ok()).collect())
}

/// Deletes up to `limit` answers older than `age`; several processes may do so at once.
pub(super) async fn forget(pool: &PgPool, age: Duration, limit: usize) -> Result<usize, Error> {
    let deleted = sqlx::query(
        "DELETE FROM idempotency_keys WHERE (scope, key) IN (
             SELECT scope, key FROM idempotency_keys
              WHERE created_at < clock_timestamp() - make_interval(secs => $1)
              ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(age.as_secs_f64())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .execute(pool)
    .await
    .map_err(translate)?;
    Ok(usize::try_from(deleted.rows_affected()).unwrap_or(usize::MAX))
}
