//! Many products at once.

use poem::http::header;
use poem::{Body, IntoResponse, Request, RequestBody, Response};
use poem_openapi::error::ContentTypeError;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::registry::{
    MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, OpenApi};
use web::auth::Admin;
use web::{Answered, IdempotencyKey, Problem, RequestContext, Ticket};

use super::answers::header_of;
use super::{Shared, Tag};
use crate::refusal;
use crate::transfer::import::{Import, Report};
use crate::transfer::{Format, export};

const CSV: &str = "text/csv";
const JSON_LINES: &str = "application/x-ndjson";
const CSV_EXAMPLE: &str = "sku,name,price,stock,category\nKEY-1,Mechanical keyboard,129.90,25,Accessories\n";
const JSON_LINES_EXAMPLE: &str = r#"{"sku":"KEY-1","name":"Mechanical keyboard","price":129.90,"stock":25}"#;

/// Where a catalogue comes in.
pub(super) const IMPORT: &str = "/products/import";

pub(crate) struct Transfer(pub Shared);

/// A file of products, at most 20,000 lines.
struct File {
    format: Format,
    text: String,
}

impl<'a> ApiExtractor<'a> for File {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let of = |content_type, kind, example: &str| {
            let example = Some(example.into());
            let schema = MetaSchemaRef::Inline(Box::new(MetaSchema { example, ..MetaSchema::new(kind) }));
            MetaMediaType { content_type, schema }
        };
        let description = Some(
            "The first line of CSV names the columns, some of `id,sku,name,price,currency,stock,category`; of JSON Lines \
             each line is an object with such fields. At most 20,000 lines and 8 MiB.",
        );
        // Lines of JSON have no type as a whole.
        let (csv, lines) = (of(CSV, "string", CSV_EXAMPLE), of(JSON_LINES, "", JSON_LINES_EXAMPLE));
        Some(MetaRequest { description, content: vec![csv, lines], required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let content_type = request.content_type().ok_or(ContentTypeError::ExpectContentType)?;
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let format = format_of(&kind.to_ascii_lowercase())
            .ok_or_else(|| Problem::unsupported_media_type(format!("The body has to be {CSV} or {JSON_LINES}")))?;
        let bytes = body.take()?.into_vec().await?;
        let text = String::from_utf8(bytes).map_err(|_| Problem::bad_request("The file is not valid UTF-8"))?;
        Ok(Self { format, text })
    }
}

/// The whole catalogue as a file.
struct Exported {
    format: Format,
    body: Body,
}

impl IntoResponse for Exported {
    fn into_response(self) -> Response {
        let (kind, name) = match self.format {
            Format::Csv => (CSV, "products.csv"),
            Format::JsonLines => (JSON_LINES, "products.jsonl"),
        };
        let named = format!("attachment; filename=\"{name}\"");
        Response::builder().content_type(kind).header(header::CONTENT_DISPOSITION, named).body(self.body)
    }
}

impl ApiResponse for Exported {
    fn meta() -> MetaResponses {
        let of = |content_type| MetaMediaType {
            content_type,
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
        };
        let description = "The whole catalogue.";
        let name = header_of("Content-Disposition", "A name for the file.");
        let (content, headers) = (vec![of(CSV), of(JSON_LINES)], vec![name]);
        let file = MetaResponse { description, status: Some(200), status_range: None, content, headers };
        MetaResponses { responses: vec![file] }
    }

    fn register(_: &mut Registry) {}
}

#[OpenApi(tag = "Tag::Catalogue")]
impl Transfer {
    /// Import products
    ///
    /// Good lines take effect, of bad ones the report tells what is wrong. A line with the `id` or the `sku` of a product
    /// that there is changes that product in what the line gives; any other line creates one. So the same file with ids
    /// or SKUs may be imported again, and any file under the key that it came with.
    #[oai(path = "/products/import", method = "post", operation_id = "importProducts")]
    async fn import(
        &self,
        context: RequestContext,
        admin: Admin,
        /// Only tell what would become of it.
        #[oai(default)]
        dry_run: Query<bool>,
        /// Any text of your own. Sent again with the same key and file, each line takes effect once, also where the first
        /// request was cut off in the middle.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        file: File,
    ) -> Result<Answered<Json<Report>>, Problem> {
        let Shared { commands, currency, .. } = &self.0;
        let origin = self.0.origin(&context, &admin);
        let import = |ticket: Ticket| async move {
            let import = Import { commands, origin: &origin, currency: *currency, ticket: &ticket, dry_run: dry_run.0 };
            let report = import.run(file.format, &file.text).await?;
            if !dry_run.0 {
                commands.record_answer(ticket.answer(|| Json(report.clone()))).await?;
            }
            Ok(Json(report))
        };
        self.0.keys.once(&key, Some(&admin.0), import).await
    }

    /// Export all products
    ///
    /// As CSV or, where `Accept` prefers `application/x-ndjson`, as JSON Lines: with the columns that an import reads.
    #[oai(path = "/products/export", method = "get", operation_id = "exportProducts")]
    async fn export(&self, request: &Request, admin: Admin) -> Result<Exported, Problem> {
        let Admin(_) = admin;
        let format = asked(request.header("accept").unwrap_or_default());
        let lines = export::export(self.0.queries.clone(), format).await.map_err(refusal::of_query)?;
        Ok(Exported { format, body: Body::from_bytes_stream(lines) })
    }
}

/// The format that an `Accept` names first; CSV where it names neither.
fn asked(accept: &str) -> Format {
    let mut types = accept.split(',').filter_map(|range| range.split(';').next());
    types.find_map(|kind| format_of(kind.trim())).unwrap_or(Format::Csv)
}

fn format_of(content_type: &str) -> Option<Format> {
    match content_type {
        CSV => Some(Format::Csv),
        // The name that has been taken to registration, and the one that is used.
        JSON_LINES | "application/jsonl" => Some(Format::JsonLines),
        _ => None,
    }
}
