//! The OpenAPI document, and the page at `/docs`: Swagger UI, from the binary alone.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::OnceLock;

use poem::Response;
use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem_openapi::registry::{MetaApi, Registry};
use poem_openapi::{OpenApi, OpenApiService};

use crate::admin::ProcessApi;

mod common;
mod schemas;

pub(crate) use common::completed;

/// The page in two halves, with the document between them. It is 1.5 MB, so all services of a process share one, made
/// when somebody looks.
static PAGE: OnceLock<(String, String)> = OnceLock::new();
/// What the page is told beside the document: whom one is signed in as stays over a reload, and every operation can be
/// tried at once.
const MANNERS: &str = "SwaggerUIBundle({
        persistAuthorization: true,
        tryItOutEnabled: true,
        displayRequestDuration: true,
        defaultModelsExpandDepth: 0,
        validatorUrl: null,";

pub(crate) fn page(document: &str) -> Response {
    let (before, after) = PAGE.get_or_init(|| {
        let empty = OpenApiService::new((), "", "");
        let (page, placeholder) = (empty.swagger_ui_html(), empty.spec());
        let (before, after) = page.split_once(&placeholder).unwrap_or((&page, ""));
        (before.to_owned(), after.replacen("SwaggerUIBundle({", MANNERS, 1))
    });
    // Inside a script a closing tag would end it.
    let document = document.replace("</", "<\\/");
    Response::builder()
        .content_type("text/html; charset=utf-8")
        .body(format!("<!DOCTYPE html>{before}{document}{after}"))
}

/// The OpenAPI document of an API, as JSON: what [`App::openapi`](crate::App::openapi) says of an app of that title,
/// with nothing behind it that could serve.
pub fn document<T: OpenApi>(title: &str) -> String {
    completed(&service((Described::<T>(PhantomData), ProcessApi), title).spec())
}

/// As [`document`], of an [app without accounts](crate::App::without_accounts).
pub fn document_without_accounts<T: OpenApi>(title: &str) -> String {
    completed(&service(Described::<T>(PhantomData), title).spec())
}

/// An API as every service mounts and describes it.
pub(crate) fn service<T>(api: T, title: &str) -> OpenApiService<T, ()> {
    OpenApiService::new(api, title, env!("CARGO_PKG_VERSION")).server("/api/v1").server("/")
}

/// An API that is described and not served.
struct Described<T>(PhantomData<fn() -> T>);

impl<T: OpenApi> OpenApi for Described<T> {
    fn meta() -> Vec<MetaApi> {
        T::meta()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn add_routes(self, _: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {}
}
