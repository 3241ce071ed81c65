//! A catalogue as one file: CSV or JSON Lines, in and out, with the same columns.

pub(crate) mod export;
pub(crate) mod import;
mod lines;
mod wish;

/// The columns, in the order in which they go out.
const COLUMNS: [&str; 7] = ["id", "sku", "name", "price", "currency", "stock", "category"];

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    JsonLines,
}
