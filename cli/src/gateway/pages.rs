//! The gateway's own pages: the front page, and one Swagger UI over all documents. They come from the binary alone and
//! load nothing from elsewhere, which the browser is told to hold them to.

use super::routing::OF_THE_PROCESS;
use crate::ports::Role;
use bytes::Bytes;
use poem::Response;
use poem::http::header::{self, HeaderMap, HeaderValue};
use poem_openapi::OpenApiService;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

/// What a page may load and call: this origin. Swagger UI has styles and images of its own inside.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// What is served beside the services, by path.
pub(super) struct Pages {
    pages: BTreeMap<String, Page>,
}

struct Page {
    kind: &'static str,
    content: Content,
}

enum Content {
    Given(Bytes),
    /// 1.5 MB, taken out of the framework's page when somebody asks.
    SwaggerUi(Asset),
}

#[derive(Clone, Copy)]
enum Asset {
    Script,
    Style,
}

impl Pages {
    /// The pages over these documents.
    pub(super) fn new(documents: Vec<(Role, Value)>) -> Self {
        let given = |kind, text: String| Page { kind, content: Content::Given(text.into()) };
        let list: Vec<Value> = documents
            .iter()
            .map(|(role, document)| json!({ "name": document["info"]["title"], "url": url(*role), "key": role.name() }))
            .collect();
        let front = include_str!("pages/front.html").replace("{documents}", &links(&documents));
        let mut pages = BTreeMap::from([
            ("/".to_owned(), given(HTML, front)),
            ("/docs".to_owned(), given(HTML, include_str!("pages/docs.html").to_owned())),
            ("/docs/page.js".to_owned(), given(SCRIPT, include_str!("pages/page.js").to_owned())),
            ("/docs/page.css".to_owned(), given(STYLE, include_str!("pages/page.css").to_owned())),
            ("/docs/documents.json".to_owned(), given("application/json", Value::Array(list).to_string())),
            ("/docs/swagger-ui.js".to_owned(), Page { kind: SCRIPT, content: Content::SwaggerUi(Asset::Script) }),
            ("/docs/swagger-ui.css".to_owned(), Page { kind: STYLE, content: Content::SwaggerUi(Asset::Style) }),
        ]);
        for (role, mut document) in documents {
            // "Try it out" asks where the page is from: the gateway.
            document["servers"] = json!([{ "url": super::PREFIX }]);
            if let Some(paths) = document["paths"].as_object_mut() {
                paths.retain(|path, _| !path.starts_with(OF_THE_PROCESS));
            }
            pages.insert(url(role), given("application/json", document.to_string()));
        }
        Self { pages }
    }

    /// Whether something stands at this path, if it is asked for by GET.
    pub(super) fn knows(&self, path: &str) -> bool {
        self.pattern(path).is_some()
    }

    /// The path as a label of metrics.
    pub(super) fn pattern(&self, path: &str) -> Option<&str> {
        let beside = ["/health", "/health/live", "/health/ready", "/metrics"].into_iter().find(|known| *known == path);
        beside.or_else(|| self.pages.get_key_value(path).map(|(path, _)| path.as_str()))
    }

    /// The page at this path; nothing of it, if the caller has it already.
    pub(super) fn find(&self, path: &str, asked: &HeaderMap) -> Option<Response> {
        let page = self.pages.get(path)?;
        let content = page.content();
        let tag = tag(&content);
        let has_it = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
        let mut response = match has_it {
            true => Response::builder().status(poem::http::StatusCode::NOT_MODIFIED).finish(),
            false => Response::builder().content_type(page.kind).body(content),
        };
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_FRAME_OPTIONS, "DENY"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        Some(response)
    }
}

impl Page {
    fn content(&self) -> Bytes {
        match &self.content {
            Content::Given(bytes) => bytes.clone(),
            Content::SwaggerUi(asset) => swagger_ui(*asset),
        }
    }
}

/// Where a document is served.
fn url(role: Role) -> String {
    format!("/openapi/{}.json", role.name())
}

fn links(documents: &[(Role, Value)]) -> String {
    let link = |(role, document): &(Role, Value)| {
        let title = document["info"]["title"].as_str().unwrap_or(role.name());
        format!(
            "<tr><td><a href=\"/docs?service={name}\">{title}</a></td><td><a href=\"{url}\">{url}</a></td></tr>",
            name = role.name(),
            url = url(*role)
        )
    };
    documents.iter().map(link).collect::<Vec<_>>().join("\n")
}

fn tag(content: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// Swagger UI's script and style, which the framework has inside its one page.
fn swagger_ui(asset: Asset) -> Bytes {
    static ASSETS: OnceLock<(Bytes, Bytes)> = OnceLock::new();
    let (script, style) = ASSETS.get_or_init(|| {
        let page = OpenApiService::new((), "", "").swagger_ui_html();
        let inside = |tag: &str| {
            let inside = page.split_once(&format!("<{tag} charset=\"UTF-8\">")).map(|(_, rest)| rest);
            let inside = inside.and_then(|rest| rest.split_once(&format!("</{tag}>"))).map(|(inside, _)| inside);
            Bytes::from(inside.unwrap_or_default().to_owned())
        };
        (inside("script"), inside("style"))
    });
    match asset {
        Asset::Script => script.clone(),
        Asset::Style => style.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Pages {
        let document = json!({ "info": { "title": "Orders" }, "servers": [{ "url": "/" }], "paths": {} });
        Pages::new(vec![(Role::Order, document)])
    }

    async fn body(path: &str) -> String {
        let response = pages().find(path, &HeaderMap::new()).expect("a page");
        response.into_body().into_string().await.expect("text")
    }

    #[tokio::test]
    async fn swagger_ui_is_all_there() {
        let (script, style) = (body("/docs/swagger-ui.js").await, body("/docs/swagger-ui.css").await);
        assert!(script.len() > 1_000_000 && script.contains("SwaggerUIBundle"), "{} bytes", script.len());
        assert!(style.len() > 100_000 && style.contains(".swagger-ui"), "{} bytes", style.len());
    }

    #[tokio::test]
    async fn documents_are_asked_at_the_gateway() {
        let document: Value = serde_json::from_str(&body("/openapi/order.json").await).expect("JSON");
        assert_eq!(document["servers"], json!([{ "url": "/api/v1" }]));
        assert!(body("/").await.contains("/docs?service=order"));
        assert!(body("/docs/documents.json").await.contains("/openapi/order.json"));
    }

    #[test]
    fn whoever_has_a_page_is_not_sent_it_again() {
        let pages = pages();
        let first = pages.find("/docs", &HeaderMap::new()).expect("a page");
        let asked = HeaderMap::from_iter([(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone())]);
        assert_eq!(pages.find("/docs", &asked).expect("a page").status().as_u16(), 304);
        assert!(pages.find("/docs/", &asked).is_none());
    }
}
