//! The catalogue.

use domain::product::{Category, ProductName, Sku};
use poem::Request;
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use uuid::Uuid;
use web::auth::{Admin, OptionalBearer};
use web::{Amount, Answered, IdempotencyKey, Problem, RequestContext, Ticket};

use super::answers::{Changed, Created, Deleted, Found, ProductsPage, next_page};
use super::bodies::{CreateProduct, UpdateProduct};
use super::{Shared, Tag, laptop, parsed, perhaps};
use crate::commands::{Changes, NewProduct};
use crate::entry::Entry;
use crate::listing::Question;
use crate::preconditions::Tags;
use crate::refusal;

pub(crate) struct Products(pub Shared);

#[OpenApi(tag = "Tag::Products")]
impl Products {
    /// List and search products
    ///
    /// The oldest first, 100 a page unless `limit` says otherwise; `Link` leads to the next page.
    #[oai(path = "/products", method = "get", operation_id = "listProducts")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        request: &Request,
        caller: OptionalBearer,
        /// Beginnings of words of the name, in any order; case and accents do not count. `lap` finds `Läptop`.
        search: Query<Option<String>>,
        /// The least price.
        min_price: Query<Option<Amount>>,
        /// The highest price.
        max_price: Query<Option<Amount>>,
        /// Of this kind exactly.
        category: Query<Option<String>>,
        /// Only those with stock, or only those without.
        in_stock: Query<Option<bool>>,
        /// Administrators only: those that were deleted, instead of those that are there.
        #[oai(default)]
        deleted: Query<bool>,
        /// At most so many: 1 to 1000.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<u32>>,
        /// Those behind the product of this id.
        after: Query<Option<Uuid>>,
    ) -> Result<ProductsPage, Problem> {
        if deleted.0 {
            match caller.0 {
                Some(caller) if caller.is_admin() => {}
                Some(_) => return Err(Problem::forbidden("Only administrators see what was deleted")),
                None => return Err(Problem::unauthenticated("Only administrators see what was deleted")),
            }
        }
        let question = Question {
            search: search.0,
            price_min: min_price.0,
            price_max: max_price.0,
            category: category.0,
            in_stock: in_stock.0,
            deleted: deleted.0,
            after: after.0,
            limit: limit.0,
        };
        let wanted = question.judged(self.0.currency)?;
        let page = self.0.queries.page(&wanted).await.map_err(refusal::of_query)?;
        let next = page.next.map(|last| next_page(request, "after", &last));
        Ok(ProductsPage::Page(Json(page.products), next))
    }

    /// Read a product
    ///
    /// As it is, or was a second or two ago. What an order costs is never decided by this.
    #[oai(path = "/products/:id", method = "get", operation_id = "getProduct")]
    async fn get(
        &self,
        /// The product.
        #[oai(example = "laptop")]
        id: Path<Uuid>,
        /// The `ETag` of what the caller has: answered with 304 if it is still the same.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
    ) -> Result<Found, Problem> {
        let shown = match self.0.queries.at_hand(id.0) {
            Some(shown) => shown,
            None => {
                let found = self.0.queries.product(id.0).await.map_err(refusal::of_query)?;
                found.ok_or_else(|| refusal::not_found(id.0))?
            }
        };
        let known = if_none_match.0.is_some_and(|header| Tags::parse(&header).know(&shown.entry.version));
        Ok(if known { Found::NotModified(shown) } else { Found::Product(shown) })
    }

    /// Create a product
    #[oai(path = "/products", method = "post", operation_id = "createProduct")]
    async fn create(
        &self,
        context: RequestContext,
        admin: Admin,
        /// Any text of your own. Sent again with the same key and body, the product is created once.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<CreateProduct>,
    ) -> Result<Answered<Created>, Problem> {
        let CreateProduct { name, price, stock, category, sku } = body.0;
        let new = NewProduct {
            name: parsed::<ProductName>("name", &name)?,
            price: self.0.price(&price)?,
            category: perhaps::<Category>("category", category.as_ref())?,
            sku: perhaps::<Sku>("sku", sku.as_ref())?,
            stock,
        };
        let origin = self.0.origin(&context, &admin);
        let create = |ticket: Ticket| async move {
            let answering = |entry: &Entry| ticket.answer(|| Created(entry.clone()));
            self.0.commands.create(&origin, new, &answering).await.map(Created)
        };
        self.0.keys.once(&key, Some(&admin.0), create).await
    }

    /// Change a product
    ///
    /// What is left out stays as it is.
    #[oai(path = "/products/:id", method = "put", operation_id = "updateProduct")]
    async fn update(
        &self,
        context: RequestContext,
        admin: Admin,
        /// The product.
        #[oai(example = "laptop")]
        id: Path<Uuid>,
        /// The `ETag` of what the caller has read: refused with 412 if the product has changed since.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        body: Json<UpdateProduct>,
    ) -> Result<Changed, Problem> {
        let UpdateProduct { name, price, stock, category } = body.0;
        let changes = Changes {
            name: perhaps::<ProductName>("name", name.as_ref())?,
            price: price.map(|price| self.0.price(&price)).transpose()?,
            category: perhaps::<Category>("category", category.as_ref())?,
            stock,
        };
        let seen = if_match.0.as_deref().map(Tags::parse);
        let origin = self.0.origin(&context, &admin);
        self.0.commands.update(&origin, id.0, changes, seen.as_ref()).await.map(Changed)
    }

    /// Delete a product
    ///
    /// It leaves the catalogue for ever; orders of it keep their history.
    #[oai(path = "/products/:id", method = "delete", operation_id = "deleteProduct")]
    async fn delete(
        &self,
        context: RequestContext,
        admin: Admin,
        /// The product.
        #[oai(example = "laptop")]
        id: Path<Uuid>,
        /// The `ETag` of what the caller has read: refused with 412 if the product has changed since.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
    ) -> Result<Deleted, Problem> {
        let seen = if_match.0.as_deref().map(Tags::parse);
        self.0.commands.delete(&self.0.origin(&context, &admin), id.0, seen.as_ref()).await?;
        Ok(Deleted)
    }
}
