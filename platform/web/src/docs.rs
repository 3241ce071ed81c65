//! The page at `/docs`: Swagger UI, from the binary alone.

use std::sync::OnceLock;

use poem::Response;
use poem_openapi::OpenApiService;

/// The page in two halves, with the document between them. It is 1.5 MB, so all services of a process share one, made
/// when somebody looks.
static PAGE: OnceLock<(String, String)> = OnceLock::new();

pub(crate) fn page(document: &str) -> Response {
    let (before, after) = PAGE.get_or_init(|| {
        let empty = OpenApiService::new((), "", "");
        let (page, placeholder) = (empty.swagger_ui_html(), empty.spec());
        let (before, after) = page.split_once(&placeholder).unwrap_or((&page, ""));
        (before.to_owned(), after.to_owned())
    });
    // Inside a script a closing tag would end it.
    let document = document.replace("</", "<\\/");
    Response::builder().content_type("text/html; charset=utf-8").body(format!("{before}{document}{after}"))
}
