//! The whole catalogue goes out, page by page, so that its size costs no memory.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use poem_openapi::types::ToJSON;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{COLUMNS, Format};
use crate::entry::Entry;
use crate::queries::{Error, Page, Queries, Wanted};

const PAGE: u32 = 1_000;

/// The catalogue as a file that [`super::import`] reads. The first page is read at once: where that fails, nothing was
/// sent yet.
pub(crate) async fn export(
    queries: Queries,
    format: Format,
) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static, Error> {
    let first = page(&queries, None).await?;
    let head = match format {
        Format::Csv => Some(Bytes::from(format!("{}\n", COLUMNS.join(",")))),
        Format::JsonLines => None,
    };
    let pages = stream::try_unfold(Some(first), move |page| {
        let queries = queries.clone();
        async move {
            let Some(Page { products, next }) = page else { return Ok::<_, Error>(None) };
            let following = match next {
                Some(last) => Some(self::page(&queries, Some(last)).await?),
                None => None,
            };
            Ok(Some((written(format, &products), following)))
        }
    });
    let pages = pages.map_err(|error| {
        // The answer has begun: all that is left is to break it off.
        tracing::error!(%error, "an export was broken off");
        io::Error::other("the catalogue could not be read to its end")
    });
    Ok(stream::iter(head.map(Ok)).chain(pages))
}

async fn page(queries: &Queries, after: Option<Uuid>) -> Result<Page, Error> {
    queries.page(&Wanted { after, limit: PAGE, ..Wanted::default() }).await
}

fn written(format: Format, products: &[Entry]) -> Bytes {
    match format {
        Format::Csv => csv(products),
        Format::JsonLines => json_lines(products),
    }
}

fn csv(products: &[Entry]) -> Bytes {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for entry in products {
        let values = values(entry).map(|value| match value {
            Value::Null => String::new(),
            Value::String(text) => text,
            number => number.to_string(),
        });
        // Into memory, and always so many fields: it cannot fail.
        let _ = writer.write_record(values);
    }
    writer.into_inner().unwrap_or_default().into()
}

fn json_lines(products: &[Entry]) -> Bytes {
    let mut lines = Vec::new();
    for entry in products {
        let columns = COLUMNS.iter().map(|column| (*column).to_owned());
        let object: Map<String, Value> = columns.zip(values(entry)).filter(|(_, value)| !value.is_null()).collect();
        lines.extend_from_slice(Value::Object(object).to_string().as_bytes());
        lines.push(b'\n');
    }
    lines.into()
}

/// In the order of [`COLUMNS`].
fn values(entry: &Entry) -> [Value; COLUMNS.len()] {
    let text = |text: Option<&String>| text.cloned().map_or(Value::Null, Value::String);
    [
        Value::String(entry.id.to_string()),
        text(entry.sku.as_ref()),
        text(Some(&entry.name)),
        entry.price.to_json().unwrap_or_default(),
        text(Some(&entry.currency)),
        entry.stock.into(),
        text(entry.category.as_ref()),
    ]
}
