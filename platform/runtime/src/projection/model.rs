//! What a read model is: a table, and how a stream becomes a row of it.
//!
//! This is all that a rebuild and a verification get of a projection, and all that they may need: events go in, cells
//! come out. There is no connection, no clock and no client to charge, mail, publish or append with, so a replay cannot.

use event_store::Stored;

use super::copy::Row;

/// The table of a read model.
#[derive(Debug)]
pub struct Table {
    /// Its name, which is also that of the projection's checkpoint.
    pub name: &'static str,
    /// Of the code that makes the rows: raised whenever the same events give other rows. A service that starts with a
    /// higher one than the table's rebuilds the table in the background.
    pub version: i32,
    /// The columns as [`Fold::row`] puts them. The first is the key: the stream's id.
    pub columns: &'static [&'static str],
    /// The kinds of streams that a row is folded from; those of one id make one row.
    pub kinds: &'static [&'static str],
    /// Who keeps copies of rows listens here (`LISTEN`), and is told when the table is another one.
    pub channel: Option<&'static str>,
}

impl Table {
    /// The column with the stream's id.
    pub fn key(&self) -> &'static str {
        self.columns[0]
    }
}

/// A read model that can be made from the events alone.
pub trait ReadModel: Send + Sync + 'static {
    /// Where it lies.
    fn table(&self) -> &'static Table;

    /// A stream of which nothing is known yet.
    fn begin(&self) -> Box<dyn Fold>;
}

/// One stream, as far as it was folded.
pub trait Fold: Send + Sync {
    /// The next event. Those of one kind come in their order; those of several kinds in any.
    ///
    /// # Errors
    /// It cannot be read.
    fn take(&mut self, event: &Stored<'_>) -> anyhow::Result<()>;

    /// Puts the row's cells, all of them; or none, if the stream has no row.
    ///
    /// # Errors
    /// What cannot be said in the table's terms.
    fn row(&self, row: &mut Row<'_>) -> anyhow::Result<()>;
}
