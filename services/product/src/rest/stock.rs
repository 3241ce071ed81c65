//! How many there are.

use poem::Request;
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use uuid::Uuid;
use web::auth::Admin;
use web::{Answered, IdempotencyKey, Problem, RequestContext, Ticket};

use super::answers::{Changed, MovementsPage, next_page};
use super::bodies::{Availability, Restock};
use super::{Shared, Tag, laptop, quantity};
use crate::entry::Entry;
use crate::preconditions::Tags;
use crate::refusal::{not_valid, not_valid_parameter};
use crate::{history, listing, refusal};

pub(crate) struct Stock(pub Shared);

#[OpenApi(tag = "Tag::Stock")]
impl Stock {
    /// Restock a product
    #[oai(path = "/products/:id/restock", method = "post", operation_id = "restockProduct")]
    #[allow(clippy::too_many_arguments)]
    async fn restock(
        &self,
        context: RequestContext,
        admin: Admin,
        /// The product.
        #[oai(example = "laptop")]
        id: Path<Uuid>,
        /// The `ETag` of what the caller has read: refused with 412 if the product has changed since.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        /// Any text of your own. Sent again with the same key and body, the stock rises once.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<Restock>,
    ) -> Result<Answered<Changed>, Problem> {
        let quantity = quantity(body.0.quantity).map_err(|error| not_valid("quantity", error))?;
        let seen = if_match.0.as_deref().map(Tags::parse);
        let origin = self.0.origin(&context, &admin);
        let restock = |ticket: Ticket| async move {
            let answering = |entry: &Entry| ticket.answer(|| Changed(entry.clone()));
            self.0.commands.restock(&origin, id.0, quantity, seen.as_ref(), &answering).await.map(Changed)
        };
        self.0.keys.once(&key, Some(&admin.0), restock).await
    }

    /// Ask whether so many could be ordered now
    #[oai(path = "/products/:id/availability", method = "get", operation_id = "checkAvailability")]
    async fn availability(
        &self,
        /// The product.
        #[oai(example = "laptop")]
        id: Path<Uuid>,
        /// How many: 1 to 1,000,000.
        #[oai(example = "two", validator(minimum(value = "1"), maximum(value = "1000000")))]
        quantity: Query<i64>,
    ) -> Result<Json<Availability>, Problem> {
        let wanted = self::quantity(quantity.0).map_err(|error| not_valid_parameter("quantity", error))?;
        let wanted = i64::from(wanted);
        let entry = self.0.queries.stored(id.0).await.map_err(refusal::of_query)?;
        let stock = entry.ok_or_else(|| refusal::not_found(id.0))?.stock;
        Ok(Json(Availability { product_id: id.0, quantity: wanted, available: stock >= wanted, stock }))
    }

    /// Read what became of a product's stock
    ///
    /// The newest first; `Link` leads to what was before. Of a deleted product too.
    #[oai(path = "/products/:id/stock/history", method = "get", operation_id = "getStockHistory")]
    async fn history(
        &self,
        request: &Request,
        admin: Admin,
        /// The product.
        #[oai(example = "laptop")]
        id: Path<Uuid>,
        /// At most so many: 1 to 1000.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<u32>>,
        /// What was before the movement of this sequence.
        #[oai(validator(minimum(value = "0")))]
        before: Query<Option<u64>>,
    ) -> Result<MovementsPage, Problem> {
        let Admin(_) = admin;
        let limit = listing::limit(limit.0)?;
        if !self.0.queries.ever_was(id.0).await.map_err(refusal::of_query)? {
            return Err(refusal::not_found(id.0));
        }
        let page = history::page(&self.0.pool, id.0, before.0, limit).await;
        let (movements, next) = page.map_err(refusal::of_query)?;
        let next = next.map(|sequence| next_page(request, "before", &sequence));
        Ok(MovementsPage::Page(Json(movements), next))
    }
}

/// As an example.
fn two() -> i64 {
    2
}
