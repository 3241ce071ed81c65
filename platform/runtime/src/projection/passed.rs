//! Rows of the event table that mean nothing today: a read model's row stands behind them all the same.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use sqlx::types::Uuid;

/// The last of such events of each stream.
#[derive(Debug, Default)]
pub struct Passed(BTreeMap<Uuid, i64>);

impl Passed {
    /// The stream's event of this sequence means nothing.
    pub fn note(&mut self, id: Uuid, sequence: i64) {
        self.0.insert(id, sequence);
    }

    /// The streams.
    pub fn ids(&self) -> impl Iterator<Item = Uuid> {
        self.0.keys().copied()
    }

    /// Moves the rows on, those that there are. To be called once the page's other changes are written.
    ///
    /// # Errors
    /// The database's.
    pub async fn write(
        self,
        connection: &mut PgConnection,
        table: &str,
        key: &str,
        sequence: &str,
    ) -> sqlx::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let (ids, sequences): (Vec<Uuid>, Vec<i64>) = self.0.into_iter().unzip();
        sqlx::query(&format!(
            "UPDATE {table} AS t SET {sequence} = GREATEST(t.{sequence}, p.sequence)
               FROM UNNEST($1::uuid[], $2::bigint[]) AS p(id, sequence)
              WHERE t.{key} = p.id"
        ))
        .bind(ids)
        .bind(sequences)
        .execute(connection)
        .await?;
        Ok(())
    }
}
